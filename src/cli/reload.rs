//! `slotd reload`.

use std::path::Path;

use axum::http::{Method, StatusCode};

use super::client;
use super::failure::{Exit, Failure};
use super::out;

pub(super) async fn reload(socket: &Path) -> Result<Exit, Failure> {
    let answer = client::ask(socket, Method::POST, "/control/reload", "").await?;
    if answer.code == StatusCode::UNPROCESSABLE_ENTITY {
        out::show_verbatim(&answer.summary());
        return Err(Failure::new(Exit::WrongFile, "the file is wrong and the old one stays in force")
            .hint("mend it, then run slotd reload again"));
    }
    out::say(&answer.done()?);
    Ok(Exit::Done)
}
