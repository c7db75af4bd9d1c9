//! What an operator asks of one database.

use tokio::sync::oneshot;

use crate::provision::Consent;
use crate::status::{Reason, Refusal, Reply};

/// Asked, and how it is answered.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) wish: Wish,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The publication and the slot as declared, as far as this goes.
    Apply(Consent),
    /// The word on what has become of the slot, which is being dropped, and of its publication.
    Drop,
    /// To go on behind the gap of this reason, and of no other: it is what they were told.
    Resume(Reason),
}

impl Ask {
    pub(super) fn answer(self, outcome: Reply) {
        // The one who asked may have gone.
        drop(self.reply.send(outcome));
    }
}

pub(super) fn not_lost() -> Refusal {
    Refusal::Conflict("the database is not lost: there is no gap to accept".to_owned())
}

pub(super) fn disabled() -> Refusal {
    Refusal::Conflict("the database is disabled: set status = \"active\" and reload first".to_owned())
}

pub(super) fn not_disabled() -> Refusal {
    Refusal::Conflict("the database is active: its slot is not to be dropped".to_owned())
}
