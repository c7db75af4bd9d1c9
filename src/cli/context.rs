//! Where the file and the socket are, and reading the file: all that the command line wants of `config`.

use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::failure::{Exit, Failure};
use super::out::Out;
use crate::config::{self, Config};

const EXAMPLE: &str = "\
[[postgres_databases]]
name = \"shop\"
url = \"postgresql://slotd:${SHOP_PASSWORD}@db.example.com/shop\"";

type Lookup<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The file: `given`, or the first of the known places that exists.
pub(super) fn file(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    find_file(given, geteuid().is_root(), &variable, &|path| path.exists())
}

pub(super) fn find_file(
    given: Option<PathBuf>,
    root: bool,
    variable: Lookup<'_>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<PathBuf, Failure> {
    // A file that was named is used or found wrong, never passed over.
    if let Some(named) = given.or_else(|| variable("SLOTD_CONFIG")) {
        return Ok(named);
    }
    let home = || variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    let own = (!root).then(home).flatten().map(|folder| folder.join("slotd/slotd.toml"));
    let places: Vec<_> = own.into_iter().chain([PathBuf::from("/etc/slotd/slotd.toml")]).collect();
    if let Some(found) = places.iter().find(|place| exists(place)) {
        return Ok(found.clone());
    }
    let tried: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
    Err(Failure::new(Exit::WrongFile, format!("there is no file: tried {}", tried.join(" and ")))
        .hint(format!("name one with -c or $SLOTD_CONFIG; this is a whole one:\n\n{EXAMPLE}")))
}

/// The socket: `given`, or where an agent of this user listens.
pub(super) fn socket(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    find_socket(given, geteuid().is_root(), &variable)
}

pub(super) fn find_socket(given: Option<PathBuf>, root: bool, variable: Lookup<'_>) -> Result<PathBuf, Failure> {
    if let Some(given) = given {
        return Ok(given);
    }
    let folder = variable("RUNTIME_DIRECTORY")
        .or_else(|| root.then(|| PathBuf::from("/run/slotd")))
        .or_else(|| Some(variable("XDG_RUNTIME_DIR")?.join("slotd")));
    let folder = folder.ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "there is no folder for the socket: neither $RUNTIME_DIRECTORY nor $XDG_RUNTIME_DIR is set",
        )
        .hint("set XDG_RUNTIME_DIR to a folder of yours")
    })?;
    Ok(folder.join("slotd.sock"))
}

/// The file's meaning; `None` after its mistakes have been shown.
pub(super) fn load(path: &Path, out: &Out) -> Option<Config> {
    match config::load(path) {
        Ok(config) => Some(config),
        Err(mistakes) => {
            out.show_mistakes(&format!("{mistakes:?}\n"));
            None
        }
    }
}
