//! What slotd has made on servers: `made.json` in the state directory.
//!
//! Only what slotd made is altered or dropped by itself. A publication is told by its oid, since another one of the same
//! name is not ours. An intent is written before the statement and completed behind it, each by write, fsync and rename.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::ident::{PublicationName, SlotName, TableName};
use crate::storage::{self, SharedStorage, Storage};

/// Its name in the state directory.
const NAME: &str = "made.json";

/// A publication that slotd made, or altered at the operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadePublication {
    pub system_identifier: u64,
    /// The database on the server.
    pub database: String,
    pub publication: PublicationName,
    /// Whether slotd made it, and did not merely alter it.
    pub ours: bool,
    /// `None` from the intent until it is known.
    pub oid: Option<u32>,
    /// How the server writes what the file says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<MadeFilter>,
}

/// A row filter that slotd declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeFilter {
    pub schema: String,
    pub table: String,
    /// In the file.
    pub declared: String,
    /// In the catalog.
    pub stored: String,
}

/// A slot that slotd made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeSlot {
    pub system_identifier: u64,
    /// The database on the server.
    pub database: String,
    pub slot: SlotName,
}

/// `made.json` is not what slotd wrote, or can't be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("can't {verb} {path}, which holds what slotd has made: {source}", path = path.display())]
pub struct MadeError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: Arc<io::Error>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    publications: Vec<MadePublication>,
    slots: Vec<MadeSlot>,
}

/// The file; clones share it.
#[derive(Debug, Clone)]
pub struct Made {
    storage: SharedStorage,
    path: PathBuf,
    content: Arc<Mutex<Content>>,
    /// One write at a time.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl MadePublication {
    /// How the filter of `table` was declared and stored.
    #[must_use]
    pub fn filter(&self, table: &TableName) -> Option<&MadeFilter> {
        self.filters.iter().find(|filter| filter.schema == table.schema && filter.table == table.table)
    }

    fn is(&self, other: &Self) -> bool {
        let key = |made: &Self| (made.system_identifier, made.database.clone(), made.publication.clone());
        key(self) == key(other)
    }
}

impl Made {
    /// Reads `made.json` in `dir`, if it is there. Blocks.
    ///
    /// # Errors
    /// It can't be read, or is not what slotd wrote.
    pub fn open(storage: SharedStorage, dir: &Path) -> Result<Self, MadeError> {
        let path = dir.join(NAME);
        let content = read(&*storage, &path).map_err(|source| MadeError {
            verb: "read",
            path: path.clone(),
            source: Arc::new(source),
        })?;
        Ok(Self { storage, path, content: Arc::new(Mutex::new(content)), writing: Arc::default() })
    }

    /// What is known of `publication`.
    #[must_use]
    pub fn publication(
        &self,
        system_identifier: u64,
        database: &str,
        publication: &PublicationName,
    ) -> Option<MadePublication> {
        let is = |made: &&MadePublication| {
            made.system_identifier == system_identifier && made.database == database && made.publication == *publication
        };
        self.lock().publications.iter().find(is).cloned()
    }

    /// Whether slotd made the slot.
    #[must_use]
    pub fn made_slot(&self, system_identifier: u64, slot: &SlotName) -> bool {
        self.lock().slots.iter().any(|made| made.system_identifier == system_identifier && made.slot == *slot)
    }

    /// Records `publication`, in place of what was known of it.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn note_publication(&self, publication: MadePublication) -> Result<(), MadeError> {
        self.change(|content| {
            content.publications.retain(|made| !made.is(&publication));
            content.publications.push(publication);
        })
        .await
    }

    /// Forgets a publication that is gone, or another's.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn forget_publication(&self, publication: &MadePublication) -> Result<(), MadeError> {
        self.change(|content| content.publications.retain(|made| !made.is(publication))).await
    }

    /// Records `slot`.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn note_slot(&self, slot: MadeSlot) -> Result<(), MadeError> {
        self.change(|content| {
            content.slots.retain(|made| *made != slot);
            content.slots.push(slot);
        })
        .await
    }

    /// Forgets a slot that is gone.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn forget_slot(&self, system_identifier: u64, slot: &SlotName) -> Result<(), MadeError> {
        self.change(|content| {
            content.slots.retain(|made| made.system_identifier != system_identifier || made.slot != *slot);
        })
        .await
    }

    async fn change(&self, change: impl FnOnce(&mut Content)) -> Result<(), MadeError> {
        let _one = self.writing.lock().await;
        let mut content = self.lock().clone();
        change(&mut content);
        let (storage, path, to_write) = (Arc::clone(&self.storage), self.path.clone(), content.clone());
        let write = move || {
            let mut text = serde_json::to_vec_pretty(&to_write)?;
            text.push(b'\n');
            storage::replace(&*storage, &path, &text).map(drop)
        };
        let written = tokio::task::spawn_blocking(write).await.unwrap_or_else(|broken| Err(io::Error::other(broken)));
        written.map_err(|source| MadeError { verb: "write", path: self.path.clone(), source: Arc::new(source) })?;
        *self.lock() = content;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(storage: &dyn Storage, path: &Path) -> io::Result<Content> {
    match storage::read(storage, path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Content::default()),
        Err(error) => Err(error),
    }
}
