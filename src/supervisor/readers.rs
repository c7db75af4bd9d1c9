//! Which other slots are read through the publication of a database: it is not dropped under them.

use std::sync::{Arc, Mutex, PoisonError};

use super::database::Keep;
use crate::config::Database;
use crate::ident::SlotName;
use crate::provision::Readers;
use crate::stream::Pipeline;

/// What the file declares; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Declared {
    databases: Arc<Mutex<Vec<Arc<Database>>>>,
}

impl Declared {
    pub(super) fn set(&self, databases: &[Arc<Database>]) {
        *self.databases.lock().unwrap_or_else(PoisonError::into_inner) = databases.to_vec();
    }

    fn get(&self) -> Vec<Arc<Database>> {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Keep {
    /// What other slots of the cluster read our publication.
    pub(super) fn readers(&self, system_identifier: u64) -> Readers {
        let Pipeline { database, positions, .. } = &self.pipeline;
        let beside_us = |other: &Arc<Database>| {
            other.name != database.name && other.connection.database == database.connection.database
        };
        let declared: Vec<_> = self.declared.get().into_iter().filter(beside_us).collect();
        let mut slots = positions.read_through(&database.publication, system_identifier);
        slots.retain(|slot| *slot != database.slot);
        let is_declared = |slot: &SlotName| declared.iter().any(|other| other.slot == *slot);
        // It may be on another server of the cluster.
        let known =
            slots.iter().find(|slot| is_declared(slot) && positions.delivered(slot, system_identifier).is_some());
        let known = known.cloned();
        slots.extend(declared.iter().filter(|it| it.publication == database.publication).map(|it| it.slot.clone()));
        Readers { known, if_there: slots }
    }
}
