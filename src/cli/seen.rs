//! The health answer as the command line reads it.
//!
//! Words are taken as text, and what is missing is left out, so that a command reads the answer of an agent that is a
//! version older or newer.

use jiff::Timestamp;
use serde::Deserialize;

use super::failure::{Exit, Failure};
use crate::status::Verdict;

/// What a table needs of a database.
#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    pub(super) name: String,
    verdict: String,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) sentence: Option<String>,
    pub(super) since: Timestamp,
    #[serde(default)]
    pub(super) lag: Lag,
    #[serde(default)]
    pub(super) positions: Positions,
    pub(super) wal: Option<Wal>,
    #[serde(default)]
    pub(super) failures: u32,
    pub(super) next_try: Option<Timestamp>,
    #[serde(default)]
    pub(super) troubles: Vec<Trouble>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Lag {
    pub(super) bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Positions {
    pub(super) durable: Option<String>,
    pub(super) acknowledged: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Wal {
    pub(super) retained_bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Trouble {
    verdict: String,
    pub(super) sentence: String,
    pub(super) hint: String,
}

/// The whole answer.
#[derive(Debug, Deserialize)]
pub(super) struct All {
    status: String,
    #[serde(default)]
    pub(super) troubles: Vec<Trouble>,
    pub(super) databases: Vec<Seen>,
}

impl All {
    pub(super) fn verdict(&self) -> Verdict {
        verdict(&self.status)
    }
}

impl From<Seen> for All {
    /// One database as if it were the only one.
    fn from(one: Seen) -> Self {
        Self { status: one.verdict.clone(), troubles: Vec::new(), databases: vec![one] }
    }
}

impl Seen {
    pub(super) fn verdict(&self) -> Verdict {
        verdict(&self.verdict)
    }
}

impl Trouble {
    pub(super) fn verdict(&self) -> Verdict {
        verdict(&self.verdict)
    }
}

/// A word that this version doesn't know is no pass.
fn verdict(word: &str) -> Verdict {
    match word {
        "pass" => Verdict::Pass,
        "warn" => Verdict::Warn,
        _ => Verdict::Fail,
    }
}

/// Reads an answer's body.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::new(Exit::Failed, format!("the agent's answer can't be read: {error}"))
            .hint("see that slotd --version is the agent's; restart the agent after an update")
    })
}
