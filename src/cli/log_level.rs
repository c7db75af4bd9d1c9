//! `slotd log-level`.

use std::path::Path;

use axum::http::Method;

use super::client;
use super::failure::{Exit, Failure};
use super::out;
use crate::config::LogLevel;

pub(super) async fn log_level(socket: &Path, level: LogLevel) -> Result<Exit, Failure> {
    let body = format!("{{\"level\": \"{level}\"}}");
    let answer = client::ask(socket, Method::POST, "/control/log-level", body).await?;
    out::say(&answer.done()?);
    Ok(Exit::Done)
}
