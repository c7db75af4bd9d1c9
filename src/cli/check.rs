//! `slotd check`.

mod cluster;
mod connect;

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::failure::{Exit, Failure};
use super::{context, out};
use crate::config::{Config, Password, Tls};
use crate::ident::DatabaseName;
use crate::net::tls::{FileError, TlsClient};
use crate::status::databases;

/// Which databases are connected to, and how what is found is shown.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) names: Vec<DatabaseName>,
    pub(super) json: bool,
}

pub(super) async fn check(given: Option<PathBuf>, connecting: Option<Connecting>) -> Result<Exit, Failure> {
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path) else { return Ok(Exit::WrongFile) };
    out::show_mistakes(&config.warnings);
    if !named_files_are_right(&config) {
        return Ok(Exit::WrongFile);
    }
    if let Some(Connecting { names, json }) = connecting {
        return connect::connect(&config, &names, json).await;
    }
    out::say(&format!("{}: {}, no mistakes", path.display(), databases(config.databases.len())));
    Ok(Exit::Done)
}

/// Whether the files that the databases name can be used; says of each that can't why. One that is closed to this user
/// may be open to the agent's, so it is told and no mistake. `run` does not ask: it tries again until they can be read.
fn named_files_are_right(config: &Config) -> bool {
    let mut right = true;
    // Most databases have the same, and reading it takes a while.
    let mut of_tls: HashMap<&Tls, Vec<FileError>> = HashMap::new();
    for database in &config.databases {
        let to = &database.connection;
        let mut wrong = |path: &Path, error: &dyn Error, hint: String| {
            let closed = fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
            right &= closed;
            let hint = if closed {
                "check as the user of the agent, or see that it may read the file".to_owned()
            } else {
                hint
            };
            let Failure { sentence, .. } = Failure::because(Exit::WrongFile, error);
            let sentence = format!("{}: {sentence}", database.name);
            out::complain(&Failure::new(Exit::WrongFile, sentence).hint(hint));
        };
        if let Password::File(path) = &to.password
            && let Err(error) = to.password.reveal()
        {
            wrong(path, &error, error.hint());
        }
        if let Some(open) = to.password.open_to_all() {
            let sentence = format!("warning: {}: {open}", database.name);
            out::complain(&Failure::new(Exit::Done, sentence).hint(open.hint()));
        }
        if let Some(tls) = &to.tls {
            for error in of_tls.entry(tls).or_insert_with(|| TlsClient::mistakes(tls)) {
                wrong(&error.path, error, error.hint());
            }
        }
    }
    right
}
