//! Where the file and the socket are, and reading the file: all that the command line wants of `config`.

use std::path::{Path, PathBuf};

use super::failure::{Exit, Failure};
use super::out;
use crate::config::{self, Config, Surroundings};

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The file: `given`, or the first of the known places that exists.
pub(super) fn file(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let found = Surroundings::new(&variable).config_file(given);
    found.map_err(|missing| Failure::because(Exit::WrongFile, &missing))
}

/// Where a new file goes: `given`, or the first place where slotd looks.
pub(super) fn new_file(given: Option<&Path>) -> Result<PathBuf, Failure> {
    match Surroundings::new(&variable).config_file(given) {
        Ok(found) => Ok(found),
        Err(missing) => {
            let first = missing.tried.first().cloned();
            first.ok_or_else(|| Failure::because(Exit::WrongFile, &missing))
        }
    }
}

/// Where an agent may listen, the first that answers counts: `given` alone, or the usual places.
pub(super) fn sockets(given: Option<PathBuf>) -> Vec<PathBuf> {
    given.map_or_else(|| Surroundings::new(&variable).sockets(), |given| vec![given])
}

/// Where an agent of this user listens.
pub(super) fn socket() -> Result<PathBuf, Failure> {
    Surroundings::new(&variable).socket().ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "there is no folder for the socket: neither $RUNTIME_DIRECTORY nor $XDG_RUNTIME_DIR is set",
        )
        .hint("set XDG_RUNTIME_DIR to a folder of yours")
    })
}

/// The file's meaning; `None` after its mistakes have been shown.
pub(super) fn load(path: &Path) -> Option<Config> {
    match config::load(path) {
        Ok(config) => Some(config),
        Err(mistakes) => {
            out::show_mistakes(mistakes.as_slice());
            None
        }
    }
}
