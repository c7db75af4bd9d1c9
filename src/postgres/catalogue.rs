//! What each refusal of a server means: one table, [`ROWS`], from (step, SQLSTATE, what else the error says) to class,
//! meaning and hint. docs/ERRORS.md shows the same rows.
//!
//! Never matched on the server's text, which comes in many languages: where one SQLSTATE has several meanings at one step,
//! the function of the server's source tells them apart, which the error names and which is the same in 15 to 18.
//!
//! Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>,
//! <https://www.postgresql.org/docs/current/protocol-error-fields.html>; which step gives which code was read off servers
//! of 15 to 18.

mod rows;
mod words;

pub use rows::ROWS;

use super::trouble::{Class, Diagnosis, address};
use crate::config::{Connection, Host};
use crate::status::{Reason, Trouble};
use crate::wire::ServerError;

/// What was being done when the server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Opening a SQL session.
    Connect,
    /// Opening a replication session.
    ConnectReplication,
    Observe,
    CreatePublication,
    CreateSlot,
    AlterSlot,
    DropSlot,
    AdvanceSlot,
    Start,
    Stream,
}

/// What a refusal means.
#[derive(Debug)]
pub struct Row {
    /// Its name in the tests.
    pub case: &'static str,
    /// The steps where it comes; none: any.
    pub at: &'static [Step],
    /// Whole, or its first two characters, which are the class of an error, or nothing.
    pub sqlstate: &'static str,
    pub when: When,
    pub class: Class,
    pub reason: Reason,
    /// What happened: what stands for `{…}` is in `words.rs`.
    pub means: &'static str,
    /// What ends it, likewise.
    pub hint: &'static str,
    pub proof: Proof,
}

/// What else has to be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// The error names one of these functions.
    By(&'static [&'static str]),
    /// The same, over a Unix socket.
    OverSocketBy(&'static [&'static str]),
    /// The error names no function: it comes from something before the server, since the server names one always.
    NotByPostgres,
}

/// How a row is known to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The test in `tests/it/errors.rs` that has real servers of these versions say it.
    Test(&'static str, &'static [u32]),
    /// Why no test does.
    Not(&'static str),
}

impl Step {
    /// As the page of errors calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "SQL login",
            Self::ConnectReplication => "replication login",
            Self::Observe => "observing",
            Self::CreatePublication => "making the publication",
            Self::CreateSlot => "making the slot",
            Self::AlterSlot => "altering the slot",
            Self::DropSlot => "dropping the slot",
            Self::AdvanceSlot => "advancing the slot",
            Self::Start => "starting",
            Self::Stream => "streaming",
        }
    }
}

impl Row {
    fn fits(&self, step: Step, error: &ServerError, to: &Connection) -> bool {
        let by = |routines: &[&str]| error.routine.as_deref().is_some_and(|routine| routines.contains(&routine));
        (self.at.is_empty() || self.at.contains(&step))
            && error.sqlstate.starts_with(self.sqlstate)
            && match self.when {
                When::Always => true,
                When::By(routines) => by(routines),
                When::OverSocketBy(routines) => by(routines) && matches!(to.host, Host::Socket(_)),
                When::NotByPostgres => error.routine.is_none(),
            }
    }

    /// The words for an error of `to`; `known` is what was found out besides, in words.
    fn told(&self, error: &ServerError, to: &Connection, known: &str) -> Diagnosis {
        let word = |name: &str| words::word(name, error, to, known);
        let sentence = format!("{}: {}: {error}", address(to), words::fill(self.means, word));
        // What is said of a whole class is less than what the server itself may have to say.
        let of_server = error.hint.as_ref().filter(|_| self.sqlstate.len() < 5);
        let hint = words::fill(self.hint, word);
        let hint = of_server.map_or_else(|| hint.clone(), |said| format!("the server says: {said}; else {hint}"));
        Diagnosis {
            class: self.class,
            trouble: Trouble::new(self.reason, sentence, hint).with_sqlstate(&error.sqlstate),
        }
    }
}

/// The row of an error: the first that fits. The last one fits all.
#[must_use]
pub fn row(step: Step, error: &ServerError, to: &Connection) -> &'static Row {
    ROWS.iter().find(|row| row.fits(step, error, to)).unwrap_or(&rows::UNKNOWN)
}

/// What the server's refusal means; `known` is what was found out besides, in words, or empty.
#[must_use]
pub fn of_server(step: Step, error: &ServerError, to: &Connection, known: &str) -> Diagnosis {
    row(step, error, to).told(error, to, known)
}
