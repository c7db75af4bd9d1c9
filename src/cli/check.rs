//! `slotd check`.

use std::path::PathBuf;

use super::context;
use super::failure::{Exit, Failure};
use super::out::Out;

pub(super) fn check(given: Option<PathBuf>, out: &Out) -> Result<Exit, Failure> {
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path, out) else { return Ok(Exit::WrongFile) };
    out.show_mistakes(&config.warnings);
    let databases = match config.databases.len() {
        1 => "1 database".to_owned(),
        count => format!("{count} databases"),
    };
    out.say(&format!("{}: {databases}, no mistakes", path.display()));
    Ok(Exit::Done)
}
