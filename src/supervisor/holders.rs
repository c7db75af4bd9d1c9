//! The other agents that were seen holding a slot.
//!
//! What such an agent has delivered stands in its files, and our file sink knows nothing of it; so a slot that it held is
//! not taken over while this process runs. A process that starts later can't know, and adopts the slot where it stands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Server;
use crate::ident::SlotName;
use crate::status::Holder;

/// A slot, and where it is.
type Place = (Vec<Server>, SlotName);

/// Which agent held which slot; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders {
    seen: Arc<Mutex<HashMap<Place, Holder>>>,
}

impl Holders {
    /// Another agent holds `slot` of `servers`.
    pub(super) fn saw(&self, servers: Vec<Server>, slot: SlotName, holder: Holder) {
        self.lock().insert((servers, slot), holder);
    }

    /// Who has held `slot` of `servers`.
    pub(super) fn of(&self, servers: Vec<Server>, slot: SlotName) -> Option<Holder> {
        self.lock().get(&(servers, slot)).cloned()
    }

    /// We stream `slot` of `servers` now: what others did before stands in no one's way any more.
    pub(super) fn forget(&self, servers: Vec<Server>, slot: SlotName) {
        self.lock().remove(&(servers, slot));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Holder>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
