//! Which database of the file has which slot of which cluster: host names may hide that two name one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ident::{DatabaseName, SlotName};

type Slot = (u64, SlotName);

/// Who has which; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    claimed: Arc<Mutex<HashMap<Slot, DatabaseName>>>,
}

/// A slot that one database has, until this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    slot: Slot,
}

impl Claims {
    /// Takes `slot` of the cluster for `database`.
    ///
    /// # Errors
    /// Another database has it: its name.
    pub(super) fn take(
        &self,
        system_identifier: u64,
        slot: SlotName,
        database: &DatabaseName,
    ) -> Result<Claim, DatabaseName> {
        let slot = (system_identifier, slot);
        let mut claimed = self.lock();
        match claimed.get(&slot) {
            Some(other) if other != database => Err(other.clone()),
            _ => {
                claimed.insert(slot.clone(), database.clone());
                Ok(Claim { claims: self.clone(), slot })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Slot, DatabaseName>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Whether it is on this cluster.
    pub(super) const fn is_of(&self, system_identifier: u64) -> bool {
        self.slot.0 == system_identifier
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.slot);
    }
}
