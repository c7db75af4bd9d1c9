//! The health answer: what is known, judged, in the one shape that HTTP serves and `slotd status` reads.
//!
//! Two words are easily confused. In [`Health`], `status` is the verdict, as the health+json draft wants it. In
//! [`DatabaseHealth`], `status` is the operator's wish, as the file has it, and the verdict is `verdict`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    AgentStatus, Assessment, Bounds, DatabaseStatus, Finding, Holder, Positions, Reason, Row, State, Verdict, WalUse,
    judge,
};
use crate::config::Status;
use crate::ident::{DatabaseName, PublicationName, SlotName};

/// What ends that a changed file was rejected.
pub(super) const MEND: &str = "run slotd check, mend the file, run slotd reload";

/// The whole agent; the worst of its databases and of itself.
///
/// Source of `status` and `version`: <https://datatracker.ietf.org/doc/html/draft-inadarei-api-health-check-06>.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// The verdict on all.
    pub status: Verdict,
    /// Of slotd.
    pub version: &'static str,
    pub started: Timestamp,
    pub config_file: PathBuf,
    /// Whether each declared database had its first round.
    pub ready: bool,
    /// What is wrong with the agent itself.
    pub troubles: Vec<Row>,
    /// In the order of the file.
    pub databases: Vec<DatabaseHealth>,
}

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatabaseHealth {
    pub name: DatabaseName,
    pub verdict: Verdict,
    /// The wish.
    pub status: Status,
    pub state: State,
    /// `None` while it streams, as are `sentence` and `hint`.
    pub reason: Option<Reason>,
    pub sentence: Option<String>,
    pub hint: Option<String>,
    /// Since when state and reason are what they are.
    pub since: Timestamp,
    /// Under `waiting`: who holds the slot.
    pub holder: Option<Holder>,
    /// Tries that have failed since it last streamed steadily.
    pub failures: u32,
    pub next_try: Option<Timestamp>,
    /// What made the verdict, the worst first.
    pub troubles: Vec<Row>,
    pub slot: SlotName,
    pub publication: PublicationName,
    pub positions: Positions,
    pub lag: LagHealth,
    pub wal: Option<WalUse>,
    pub last_message: Option<Timestamp>,
    pub last_acknowledged: Option<Timestamp>,
    pub observed: Option<Timestamp>,
    pub last_round: Option<Timestamp>,
    pub findings: Vec<Finding>,
}

/// From what is safe in every sink to the server's WAL end; `None` while one of them is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LagHealth {
    pub bytes: Option<u64>,
    /// To the millisecond.
    pub seconds: Option<f64>,
}

impl DatabaseHealth {
    /// Judges `status` at `now`.
    #[must_use]
    pub fn new(status: &DatabaseStatus, now: Timestamp, bounds: &Bounds) -> Self {
        let Assessment { verdict, rows } = judge(status, now, bounds);
        let trouble = status.condition.trouble();
        let lag = status.lag.at(&status.positions, now);
        let millis = |lag: Duration| Duration::from_millis(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
        Self {
            name: status.name.clone(),
            verdict,
            status: status.status,
            state: status.condition.state(),
            reason: trouble.map(|trouble| trouble.reason),
            sentence: trouble.map(|trouble| trouble.sentence.clone()),
            hint: trouble.map(|trouble| trouble.hint.clone()),
            since: status.since,
            holder: trouble.and_then(|trouble| trouble.holder.clone()),
            failures: status.failures,
            next_try: status.next_try,
            troubles: rows,
            slot: status.slot.clone(),
            publication: status.publication.clone(),
            positions: status.positions,
            lag: LagHealth { bytes: status.positions.lag_bytes(), seconds: lag.map(|lag| millis(lag).as_secs_f64()) },
            wal: status.wal.clone(),
            last_message: status.last_message,
            last_acknowledged: status.last_acknowledged,
            observed: status.observed,
            last_round: status.last_round,
            findings: status.findings.clone(),
        }
    }

    /// One line for each trouble.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.troubles.iter().map(|row| format!("{}: {} ({})", self.name, row.sentence, row.hint))
    }
}

impl Health {
    /// Judges the agent and its `databases` at `now`.
    #[must_use]
    pub fn new(agent: &AgentStatus, databases: &[Arc<DatabaseStatus>], now: Timestamp) -> Self {
        let troubles: Vec<_> = agent
            .config_rejected
            .iter()
            .map(|why| {
                let sentence = format!("the changed file was rejected and the old one is in force: {why}");
                Row::new(Verdict::Warn, &sentence, MEND)
            })
            .collect();
        let databases: Vec<_> =
            databases.iter().map(|status| DatabaseHealth::new(status, now, &agent.bounds)).collect();
        let worst = databases.iter().map(|database| database.verdict);
        Self {
            status: worst.chain(troubles.iter().map(|row| row.verdict)).max().unwrap_or(Verdict::Pass),
            version: agent.version,
            started: agent.started,
            config_file: agent.config_file.clone(),
            ready: agent.starting(databases.iter().map(|database| (&database.name, database.last_round))).is_empty(),
            troubles,
            databases,
        }
    }

    /// One line for each trouble, those that fail first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let own = self.troubles.iter().map(|row| (row.verdict, format!("slotd: {} ({})", row.sentence, row.hint)));
        let theirs = self
            .databases
            .iter()
            .flat_map(|database| database.troubles.iter().map(|row| row.verdict).zip(database.lines()));
        let mut lines: Vec<_> = own.chain(theirs).collect();
        lines.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
        lines.into_iter().map(|(_, line)| line).collect()
    }
}
