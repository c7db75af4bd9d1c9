//! The other agents that were seen holding a slot.
//!
//! What such an agent has delivered stands in its files, and our file sink knows nothing of it; so a slot that it held is
//! not taken over while this process runs. A process that starts later can't know, and adopts the slot where it stands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ident::SlotName;
use crate::status::Holder;

/// Which agent held which slot; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders {
    seen: Arc<Mutex<HashMap<(String, SlotName), Holder>>>,
}

impl Holders {
    /// Another agent holds `slot` of the server at `address`.
    pub(super) fn saw(&self, address: String, slot: SlotName, holder: Holder) {
        self.lock().insert((address, slot), holder);
    }

    /// Who has held `slot` of the server at `address`.
    pub(super) fn of(&self, address: String, slot: SlotName) -> Option<Holder> {
        self.lock().get(&(address, slot)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, SlotName), Holder>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
