//! `slotd enable` and `slotd disable`.

use std::path::PathBuf;

use super::failure::{Exit, Failure};
use super::plan::chosen;
use super::{command, context};
use crate::config::Status;
use crate::ident::DatabaseName;
use crate::status::Command;

pub(super) async fn set(
    given: Option<PathBuf>,
    socket: Option<PathBuf>,
    name: DatabaseName,
    status: Status,
) -> Result<Exit, Failure> {
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path) else { return Ok(Exit::WrongFile) };
    chosen(&config, std::slice::from_ref(&name))?;
    let word = if status == Status::Active { "enable" } else { "disable" };
    let request = command::Request { path: format!("/control/databases/{name}/{word}"), body: "" };
    let database = name.clone();
    command::carry_out(&path, config, socket, &name, request, |reply| match status {
        Status::Active => Command::Enable { database, reply },
        Status::Disabled => Command::Disable { database, reply },
    })
    .await
}
