//! `slotd drop`: says what will be lost before it does anything.

use std::path::PathBuf;

use super::failure::{Exit, Failure};
use super::plan::{chosen, look};
use super::{command, context, out};
use crate::ident::DatabaseName;
use crate::status::Command;

pub(super) async fn drop_slot(
    given: Option<PathBuf>,
    socket: Option<PathBuf>,
    name: DatabaseName,
    yes: bool,
) -> Result<Exit, Failure> {
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path) else { return Ok(Exit::WrongFile) };
    let databases = chosen(&config, std::slice::from_ref(&name))?;
    let Some(database) = databases.first() else { return Ok(Exit::Failed) };
    if !yes {
        let looked = look(&config, &databases).await?;
        for looked in &looked {
            out::say(&looked.planned.price_of_drop(database));
        }
        return Err(Failure::new(Exit::Usage, "nothing was done: what is dropped is gone, so this takes --yes")
            .hint(format!("slotd drop {name} --yes")));
    }
    let request = command::Request { path: format!("/control/databases/{name}/drop"), body: r#"{"drop_slot": true}"# };
    let to_drop = name.clone();
    command::carry_out(&path, config, socket, &name, request, |reply| Command::Drop { database: to_drop, reply }).await
}
