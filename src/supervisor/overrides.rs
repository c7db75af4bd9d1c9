//! Wishes that commands have put in place of the file's: `overrides.json` in the state directory.
//!
//! One holds until another command, or until the file's own value changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Database, OnDisable, Status};
use crate::ident::DatabaseName;
use crate::storage::SharedStorage;
use crate::storage::json::{JsonFile, JsonFileError};

/// Its name in the state directory.
const NAME: &str = "overrides.json";

/// What a command wished of one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Override {
    pub(super) status: Status,
    /// What the file said then.
    pub(super) instead_of: Status,
    /// Its slot is not to be there.
    pub(super) dropped: bool,
}

/// The file; clones share it.
#[derive(Debug, Clone)]
pub struct Overrides {
    file: JsonFile<BTreeMap<DatabaseName, Override>>,
}

/// A database as it is wished, by the file and by commands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wished {
    pub(super) database: Arc<Database>,
    pub(super) over: Option<Override>,
}

impl Overrides {
    /// Reads `overrides.json` in `dir`, if it is there. Blocks.
    ///
    /// # Errors
    /// It can't be read, or is not what slotd wrote.
    pub fn open(storage: SharedStorage, dir: &Path) -> Result<Self, JsonFileError> {
        Ok(Self { file: JsonFile::open(storage, &dir.join(NAME))? })
    }

    /// The databases of `config` as they are wished.
    pub(super) fn wished(&self, config: &Config) -> Vec<Wished> {
        self.file.get(|overrides| {
            config.databases.iter().map(|database| wished(database, overrides.get(&database.name).copied())).collect()
        })
    }

    /// `database` as it is wished.
    #[must_use]
    pub fn effective(&self, database: &Arc<Database>) -> Arc<Database> {
        let over = self.file.get(|overrides| overrides.get(&database.name).copied());
        wished(database, over).database
    }

    /// Puts `over` in place of what was wished of `name`; `None`: the file counts again.
    pub(super) async fn set(&self, name: &DatabaseName, over: Option<Override>) -> Result<(), JsonFileError> {
        self.file
            .change(|overrides| {
                match over {
                    Some(over) => overrides.insert(name.clone(), over),
                    None => overrides.remove(name),
                };
            })
            .await
    }

    /// Forgets what is overtaken by the file.
    pub(super) async fn prune(&self, config: &Config) -> Result<(), JsonFileError> {
        let holds = |name: &DatabaseName, over: &Override| {
            config.databases.iter().any(|database| database.name == *name && database.status == over.instead_of)
        };
        if self.file.get(|overrides| overrides.iter().all(|(name, over)| holds(name, over))) {
            return Ok(());
        }
        self.file.change(|overrides| overrides.retain(|name, over| holds(name, over))).await
    }
}

fn wished(database: &Arc<Database>, over: Option<Override>) -> Wished {
    let over = over.filter(|over| over.instead_of == database.status);
    let Some(Override { status, dropped, .. }) = over else {
        return Wished { database: Arc::clone(database), over: None };
    };
    let on_disable = if dropped { OnDisable::Drop } else { database.on_disable };
    Wished { database: Arc::new(Database { status, on_disable, ..(**database).clone() }), over }
}
