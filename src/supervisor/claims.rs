//! Which database of the file has which slot of which cluster: host names may hide that two name one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ident::{DatabaseName, SlotName};

type Slot = (u64, SlotName);

/// Who has which; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    claimed: Arc<Mutex<HashMap<Slot, Claimed>>>,
}

#[derive(Debug)]
struct Claimed {
    by: DatabaseName,
    /// Who was refused it.
    rivals: BTreeSet<DatabaseName>,
}

/// A slot that one database has, until this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    claims: Claims,
    slot: Slot,
}

/// A slot that another database has. Who has it is told of that, until this is dropped.
#[derive(Debug)]
pub(super) struct Refused {
    /// Who has it.
    pub(super) by: DatabaseName,
    claims: Claims,
    slot: Slot,
    us: DatabaseName,
}

impl Claims {
    /// Takes `slot` of the cluster for `database`.
    ///
    /// # Errors
    /// Another database has it.
    pub(super) fn take(
        &self,
        system_identifier: u64,
        slot: SlotName,
        database: &DatabaseName,
    ) -> Result<Claim, Refused> {
        let slot = (system_identifier, slot);
        let mut claimed = self.lock();
        match claimed.get_mut(&slot) {
            Some(other) if other.by != *database => {
                other.rivals.insert(database.clone());
                Err(Refused { by: other.by.clone(), claims: self.clone(), slot, us: database.clone() })
            }
            _ => {
                claimed.insert(slot.clone(), Claimed { by: database.clone(), rivals: BTreeSet::new() });
                Ok(Claim { claims: self.clone(), slot })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Slot, Claimed>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Whether it is on this cluster.
    pub(super) const fn is_of(&self, system_identifier: u64) -> bool {
        self.slot.0 == system_identifier
    }

    /// Another database that names the same slot.
    pub(super) fn rival(&self) -> Option<DatabaseName> {
        self.claims.lock().get(&self.slot)?.rivals.first().cloned()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.slot);
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        if let Some(claimed) = self.claims.lock().get_mut(&self.slot) {
            claimed.rivals.remove(&self.us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_know_of_each_other_for_as_long_as_both_want_it() {
        let claims = Claims::default();
        let name = |name: &str| DatabaseName::new(name).unwrap();
        let take = |cluster, database: &str| claims.take(cluster, SlotName::new("s").unwrap(), &name(database));
        let first = take(1, "a").unwrap();
        let elsewhere = take(2, "b").unwrap();
        assert_eq!((first.rival(), elsewhere.rival()), (None, None));
        let refused = take(1, "b").unwrap_err();
        assert_eq!((refused.by.clone(), first.rival()), (name("a"), Some(name("b"))));
        drop(refused);
        assert_eq!(first.rival(), None);
        let refused = take(1, "b").unwrap_err();
        drop(first);
        let second = take(1, "b").unwrap();
        drop(refused);
        assert_eq!((second.rival(), take(1, "a").unwrap_err().by.clone()), (None, name("b")));
    }
}
