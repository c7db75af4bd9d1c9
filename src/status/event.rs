//! One event of a database in the log: fields for machines, and a message that can be read alone.
//!
//! The message has the words of `/healthz`: `shop: lost, slot_missing: the slot slotd_shop is gone (slotd resume …)`.
//! Everything that is logged of a database is logged here, so that no line lacks the database's name or has it twice.

use tracing::Level;

use super::{DatabaseStatus, Reason, State, one_line};
use crate::lsn::Lsn;

/// What an event has besides the database and its slot; what is `None` is not in it.
#[derive(Debug, Default)]
pub(super) struct Event<'a> {
    pub(super) state: Option<State>,
    pub(super) reason: Option<Reason>,
    /// The code of a finding.
    pub(super) finding: Option<&'static str>,
    pub(super) lsn: Option<Lsn>,
    /// How often it has failed.
    pub(super) failures: Option<u32>,
    pub(super) hint: Option<&'a str>,
}

/// Expands to an event of a level that is known at build time, as `tracing` wants it.
macro_rules! event {
    ($level:expr, $status:expr, $event:expr, $message:expr) => {
        tracing::event!(
            $level,
            database = $status.name.as_str(),
            slot = $status.slot.as_str(),
            state = $event.state.map(State::as_str),
            reason = $event.reason.map(Reason::as_str),
            finding = $event.finding,
            lsn = $event.lsn.map(tracing::field::display),
            failures = $event.failures,
            hint = $event.hint.map(one_line).as_deref(),
            "{}",
            $message
        )
    };
}

impl Event<'_> {
    /// Logs `sentence` of the database.
    pub(super) fn log(&self, level: Level, status: &DatabaseStatus, sentence: &str) {
        let mut message = format!("{}: {sentence}", status.name);
        if let Some(hint) = self.hint {
            message.push_str(&format!(" ({hint})"));
        }
        let message = one_line(&message);
        match level {
            Level::ERROR => event!(Level::ERROR, status, self, message),
            Level::WARN => event!(Level::WARN, status, self, message),
            Level::INFO => event!(Level::INFO, status, self, message),
            _ => event!(Level::DEBUG, status, self, message),
        }
    }
}
