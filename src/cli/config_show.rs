//! `slotd config show`.

use std::path::PathBuf;

use super::failure::{Exit, Failure};
use super::{context, out};
use crate::config;

/// Prints what is in force once the file is read, whether an agent runs or not.
pub(super) fn show(given: Option<PathBuf>) -> Result<Exit, Failure> {
    match config::in_force(&context::file(given.as_deref())?) {
        Ok((text, warnings)) => {
            out::show_mistakes(&warnings);
            out::say(&text);
            Ok(Exit::Done)
        }
        Err(mistakes) => {
            out::show_mistakes(mistakes.as_slice());
            Ok(Exit::WrongFile)
        }
    }
}
