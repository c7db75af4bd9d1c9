//! What the tests of this room share.

use jiff::Timestamp;

use super::*;
use crate::config::Status;
use crate::ident::{DatabaseName, PublicationName, SlotName};

/// A moment, in seconds from an arbitrary one.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

/// A database of this name, active, before its first round.
pub(crate) fn database(name: &str, now: Timestamp) -> DatabaseStatus {
    DatabaseStatus::new(
        DatabaseName::new(name).unwrap(),
        SlotName::new(format!("slotd_{name}")).unwrap(),
        PublicationName::new(format!("slotd_{name}")).unwrap(),
        Status::Active,
        now,
    )
}

/// The database `shop`.
pub(crate) fn shop(now: Timestamp) -> DatabaseStatus {
    database("shop", now)
}

/// A condition with words.
pub(crate) fn trouble(state: State, reason: Reason) -> Condition {
    Condition::Other(state, Trouble::new(reason, "what happened", "what ends it"))
}
