//! What slotd has made on servers: `made.json` in the state directory.
//!
//! Only what slotd made is altered or dropped by itself. A publication is told by its oid, since another one of the same
//! name is not ours. An intent is written before the statement and completed behind it, each by write, fsync and rename.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::ident::{PublicationName, SlotName, TableName};
use crate::storage::SharedStorage;
use crate::storage::json::{JsonFile, JsonFileError};

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

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    publications: Vec<MadePublication>,
    slots: Vec<MadeSlot>,
}

/// The file; clones share it.
#[derive(Debug, Clone)]
pub struct Made {
    file: JsonFile<Content>,
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
    pub fn open(storage: SharedStorage, dir: &Path) -> Result<Self, JsonFileError> {
        Ok(Self { file: JsonFile::open(storage, &dir.join(NAME))? })
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
        self.file.get(|content| content.publications.iter().find(is).cloned())
    }

    /// Whether there is anything to be dropped of `publication`, on whatever cluster; asks no server.
    #[must_use]
    pub fn has_publication(&self, database: &str, publication: &PublicationName) -> bool {
        let is = |made: &MadePublication| made.ours && made.database == database && made.publication == *publication;
        self.file.get(|content| content.publications.iter().any(is))
    }

    /// Whether slotd made a slot of this name, on whatever cluster.
    #[must_use]
    pub fn has_slot(&self, slot: &SlotName) -> bool {
        self.file.get(|content| content.slots.iter().any(|made| made.slot == *slot))
    }

    /// Records `publication`, in place of what was known of it.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn note_publication(&self, publication: MadePublication) -> Result<(), JsonFileError> {
        self.file
            .change(|content| {
                content.publications.retain(|made| !made.is(&publication));
                content.publications.push(publication);
            })
            .await
    }

    /// Records that a publication is about to be made, and gives what was known of one of its name.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn intend_publication(&self, intent: MadePublication) -> Result<Option<MadePublication>, JsonFileError> {
        let mut before = None;
        self.file
            .change(|content| {
                before = content.publications.extract_if(.., |made| made.is(&intent)).last();
                content.publications.push(intent);
            })
            .await?;
        // Another intent says nothing of what is there.
        Ok(before.filter(|before| before.oid.is_some()))
    }

    /// Takes `intent` back, since nothing came of it: what was known `before` counts again, unless more is known by now.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn retract_publication(
        &self,
        intent: &MadePublication,
        before: Option<MadePublication>,
    ) -> Result<(), JsonFileError> {
        self.file
            .change(|content| {
                content.publications.retain(|made| made != intent);
                if !content.publications.iter().any(|made| made.is(intent)) {
                    content.publications.extend(before);
                }
            })
            .await
    }

    /// Forgets a publication that is gone, or another's.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn forget_publication(&self, publication: &MadePublication) -> Result<(), JsonFileError> {
        self.file.change(|content| content.publications.retain(|made| !made.is(publication))).await
    }

    /// Records `slot`.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn note_slot(&self, slot: MadeSlot) -> Result<(), JsonFileError> {
        self.file
            .change(|content| {
                content.slots.retain(|made| *made != slot);
                content.slots.push(slot);
            })
            .await
    }

    /// Forgets a slot that is gone.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn forget_slot(&self, system_identifier: u64, slot: &SlotName) -> Result<(), JsonFileError> {
        self.file
            .change(|content| {
                content.slots.retain(|made| made.system_identifier != system_identifier || made.slot != *slot);
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::Disk;

    #[tokio::test]
    async fn an_intent_that_came_to_nothing_leaves_what_was_known() {
        let folder = tempfile::tempdir().unwrap();
        let made = Made::open(Arc::new(Disk), folder.path()).unwrap();
        let name = PublicationName::new("app").unwrap();
        let noted = |oid| MadePublication {
            system_identifier: 7,
            database: "shop".to_owned(),
            publication: name.clone(),
            ours: true,
            oid,
            filters: Vec::new(),
        };
        let known = || made.publication(7, "shop", &name);
        let intent = noted(None);
        assert_eq!(made.intend_publication(intent.clone()).await.unwrap(), None);
        // Of two that make it at once the second sees only the intent of the first.
        assert_eq!(made.intend_publication(intent.clone()).await.unwrap(), None);
        made.note_publication(noted(Some(5))).await.unwrap();
        made.retract_publication(&intent, None).await.unwrap();
        assert_eq!(known(), Some(noted(Some(5))));

        let before = made.intend_publication(intent.clone()).await.unwrap();
        assert_eq!((&before, known()), (&Some(noted(Some(5))), Some(intent.clone())));
        made.retract_publication(&intent, before).await.unwrap();
        assert_eq!(known(), Some(noted(Some(5))));

        made.forget_publication(&intent).await.unwrap();
        made.intend_publication(intent.clone()).await.unwrap();
        made.retract_publication(&intent, None).await.unwrap();
        assert_eq!(known(), None);
    }
}
