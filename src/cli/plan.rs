//! `slotd plan`: what `slotd apply` would do, and why.

mod look;
mod text;
mod view;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub(super) use look::{Looked, Share, chosen, look};
pub(super) use text::render;
pub(super) use view::{By, Obstacle, Planned};

use super::failure::{Exit, Failure};
use super::{context, out};
use crate::ident::DatabaseName;

/// What a plan is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Sql,
    Text,
}

pub(super) async fn plan(given: Option<PathBuf>, names: &[DatabaseName], form: Form) -> Result<Exit, Failure> {
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path) else { return Ok(Exit::WrongFile) };
    let looked = look(&config, &chosen(&config, names)?).await?;
    let exit = exit(&looked);
    let all: Vec<Planned> = looked.into_iter().map(|looked| looked.planned).collect();
    out::say(&match form {
        Form::Json => serde_json::to_string_pretty(&all).map_err(|error| Failure::because(Exit::Failed, &error))?,
        Form::Sql => text::sql(&all),
        Form::Text => render(&all),
    });
    Ok(exit)
}

/// The worst counts: a server that was not reached, what stands in the way, something to do.
pub(super) fn exit(all: &[Looked]) -> Exit {
    if all.iter().any(|looked| !looked.reached) {
        Exit::NotReached
    } else if all.iter().any(|looked| !looked.planned.obstacles.is_empty()) {
        Exit::Failed
    } else if all.iter().any(|looked| !looked.planned.steps.is_empty()) {
        Exit::Warn
    } else {
        Exit::Done
    }
}
