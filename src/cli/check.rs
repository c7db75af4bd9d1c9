//! `slotd check`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::failure::{Exit, Failure};
use super::{context, out};
use crate::config::{Config, Password};
use crate::net::tls::{TlsClient, Verify};
use crate::status::databases;

pub(super) fn check(given: Option<PathBuf>) -> Result<Exit, Failure> {
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path) else { return Ok(Exit::WrongFile) };
    out::show_mistakes(&config.warnings);
    if !named_files_are_right(&config) {
        return Ok(Exit::WrongFile);
    }
    out::say(&format!("{}: {}, no mistakes", path.display(), databases(config.databases.len())));
    Ok(Exit::Done)
}

/// Whether the files that the databases name can be used; says of each that can't why. One that is closed to this user
/// may be open to the agent's, so it is told and no mistake. `run` does not ask: it tries again until they can be read.
fn named_files_are_right(config: &Config) -> bool {
    let mut right = true;
    for database in &config.databases {
        let to = &database.connection;
        let mut look = |key: &str, path: &Path, looked: Result<(), Failure>| {
            let closed = fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
            if let Err(Failure { sentence, .. }) = looked {
                right &= closed;
                let hint = if closed {
                    "check as the user of the agent, or see that it may read the file".to_owned()
                } else {
                    format!("correct the file, or `{key}`")
                };
                let sentence = format!("{}: {sentence}", database.name);
                out::complain(&Failure::new(Exit::WrongFile, sentence).hint(hint));
            }
        };
        let because = |error: &dyn std::error::Error| Failure::because(Exit::WrongFile, error);
        if let Password::File(path) = &to.password {
            look("password_file", path, to.password.reveal().map(drop).map_err(|error| because(&error)));
        }
        if let Some(path) = to.tls.as_ref().and_then(|tls| tls.root_cert.as_deref()) {
            let client = TlsClient::new(Verify::Full, Some(path));
            look("ssl_root_cert", path, client.map(drop).map_err(|error| because(&error)));
        }
    }
    right
}
