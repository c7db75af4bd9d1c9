//! The verdict on what is known: one pure function, the table of docs/HEALTH.md.
//!
//! Every row that fits a database is kept, and the worst of them is its verdict. Age counts from when the database
//! last streamed steadily, not from the last change of its state, so that a trouble with many names still grows old.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{DatabaseStatus, State, WalUse, age, one_line, size};
use crate::config::Agent;

/// How often slots are observed; whatever befalls one is reported within it.
pub const PERIOD: Duration = Duration::from_secs(10);

/// A record older than this is stale: three observations in a row did not come.
pub const STALE: Duration = PERIOD.saturating_mul(3);

/// A slot that the server invalidates within this time warns.
const SOON: Duration = Duration::from_hours(1);
/// The share of the budget at which retained WAL warns, in percent.
const WARN_PERCENT: u64 = 50;
/// The share of the budget at which retained WAL fails, in percent.
const FAIL_PERCENT: u64 = 80;

/// pass, warn or fail; the greater is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
}

impl Verdict {
    /// As it is written everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// What retained WAL alone says.
    #[must_use]
    pub fn of_wal(wal: &WalUse) -> Self {
        match wal.percent() {
            ..WARN_PERCENT => Self::Pass,
            WARN_PERCENT..FAIL_PERCENT => Self::Warn,
            FAIL_PERCENT.. => Self::Fail,
        }
    }
}

/// How long things may take before they are trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Trouble younger than this warns and does not fail.
    pub grace: Duration,
    /// A stream that has heard nothing for longer is stale: the reader asks for a keepalive well within it.
    pub silence: Duration,
}

impl From<&Agent> for Bounds {
    /// As `agent` has them; silence is three times `wal_sender_timeout`.
    fn from(agent: &Agent) -> Self {
        Self { grace: agent.grace, silence: agent.wal_sender_timeout.saturating_mul(3) }
    }
}

/// One row of the table that fits, unless it passes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// [`Verdict::Warn`] or [`Verdict::Fail`].
    pub verdict: Verdict,
    /// What is wrong, on one line.
    pub sentence: String,
    /// What ends it, on one line.
    pub hint: String,
}

impl Row {
    pub(super) fn new(verdict: Verdict, sentence: &str, hint: &str) -> Self {
        Self { verdict, sentence: one_line(sentence), hint: one_line(hint) }
    }
}

/// A verdict and the rows that made it; no rows is a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    pub verdict: Verdict,
    /// The worst first.
    pub rows: Vec<Row>,
}

impl From<Vec<Row>> for Assessment {
    fn from(mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(|row| std::cmp::Reverse(row.verdict));
        Self { verdict: rows.first().map_or(Verdict::Pass, |worst| worst.verdict), rows }
    }
}

/// How long ago `then` was at `now`; zero if it lies ahead.
pub(super) fn elapsed(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// Judges one database at `now`.
#[must_use]
pub fn judge(status: &DatabaseStatus, now: Timestamp, bounds: &Bounds) -> Assessment {
    let mut rows = Vec::new();
    rows.extend(judge_state(status, now, bounds));
    rows.extend(judge_record(status, now, bounds));
    if let Some(wal) = &status.wal {
        rows.extend(judge_wal(status, wal));
        rows.extend(judge_server_limits(status, wal));
    }
    rows.extend(status.findings.iter().map(|finding| Row::new(Verdict::Warn, &finding.sentence, &finding.hint)));
    Assessment::from(rows)
}

fn judge_state(status: &DatabaseStatus, now: Timestamp, bounds: &Bounds) -> Option<Row> {
    let trouble = status.condition.trouble()?;
    let state = status.condition.state();
    let unsettled = elapsed(status.unsettled, now);
    let old = unsettled >= bounds.grace;
    let verdict = match state {
        State::Streaming | State::Disabled => return None,
        State::Failed | State::Lost => Verdict::Fail,
        State::Pending | State::Provisioning if old => Verdict::Fail,
        State::Pending | State::Provisioning => return None,
        State::Waiting if status.is_behind_an_agent() => Verdict::Warn,
        State::Retrying | State::Waiting if old => Verdict::Fail,
        State::Retrying | State::Waiting => Verdict::Warn,
    };
    let (state, reason) = (state.as_str(), trouble.reason.as_str());
    let sentence = match status.condition.state() {
        State::Failed | State::Lost => format!("{state}, {reason}: {}", trouble.sentence),
        _ => format!("{state} for {}, {reason}: {}", age(unsettled), trouble.sentence),
    };
    Some(Row::new(verdict, &sentence, &trouble.hint))
}

/// Whether what is recorded is still true: a loop that hangs reports nothing, and its last good word would stand.
///
/// States other than these two fail by their age anyway.
fn judge_record(status: &DatabaseStatus, now: Timestamp, bounds: &Bounds) -> Option<Row> {
    let last = |moment: Option<Timestamp>| elapsed(moment.map_or(status.since, |moment| moment.max(status.since)), now);
    let unobserved = last(status.observed);
    let slot = &status.slot;
    match status.condition.state() {
        State::Disabled if unobserved > STALE => Some(Row::new(
            Verdict::Warn,
            &format!("slot {slot} can't be observed for {}, and its WAL may grow unseen", age(unobserved)),
            "see the log for what keeps slotd from the server",
        )),
        State::Streaming if unobserved > STALE => Some(Row::new(
            Verdict::Fail,
            &format!("the record is stale: slot {slot} was not observed for {}", age(unobserved)),
            "see the log for what keeps slotd from the server; if there is nothing, restart slotd and report it",
        )),
        State::Streaming if last(status.last_message) > bounds.silence => Some(Row::new(
            Verdict::Fail,
            &format!("the record is stale: the server has sent nothing for {}", age(last(status.last_message))),
            "see the log; if there is nothing, restart slotd and report it",
        )),
        _ => None,
    }
}

fn judge_wal(status: &DatabaseStatus, wal: &WalUse) -> Option<Row> {
    let verdict = Verdict::of_wal(wal);
    (verdict != Verdict::Pass).then(|| Row::new(verdict, &wal_sentence(status, wal), &wal_hint(status, wal)))
}

/// What the server itself is about to do to the slot.
fn judge_server_limits(status: &DatabaseStatus, wal: &WalUse) -> Vec<Row> {
    let slot = &status.slot;
    let mut rows = Vec::new();
    let left = wal.seconds_to_invalidation.map(Duration::from_secs_f64);
    if wal.wal_status.as_deref() == Some("unreserved") {
        let sentence = format!(
            "the server may invalidate slot {slot} at its next checkpoint: its max_slot_wal_keep_size is used up"
        );
        rows.push(Row::new(Verdict::Fail, &sentence, &wal_hint(status, wal)));
    } else if let Some(left) = left.filter(|left| *left < SOON) {
        let sentence =
            format!("the server will invalidate slot {slot} in about {}, by max_slot_wal_keep_size", age(left));
        rows.push(Row::new(Verdict::Warn, &sentence, &wal_hint(status, wal)));
    }
    if let (Some(idle), Some(limit)) = (wal.inactive_seconds, wal.idle_timeout_seconds) {
        let verdict = match idle / limit {
            share if share >= 0.8 => Verdict::Fail,
            share if share >= 0.5 => Verdict::Warn,
            _ => Verdict::Pass,
        };
        if verdict != Verdict::Pass && wal.invalidation.is_none() {
            let when = if idle < limit {
                format!("in {} at the earliest", age(Duration::from_secs_f64(limit - idle)))
            } else {
                "at its next checkpoint".to_owned()
            };
            let sentence = format!(
                "nobody has read slot {slot} for {}: the server invalidates it {when}, by idle_replication_slot_timeout",
                age(Duration::from_secs_f64(idle))
            );
            let hint = match status.condition.state() {
                State::Disabled => {
                    let name = &status.name;
                    format!("slotd enable {name}, or slotd drop {name}, or raise the setting: {RAISE_IDLE}")
                }
                _ => format!("end what keeps it from streaming, or raise the setting: {RAISE_IDLE}"),
            };
            rows.push(Row::new(verdict, &sentence, &hint));
        }
    }
    rows
}

const RAISE_IDLE: &str = "ALTER SYSTEM SET idle_replication_slot_timeout = '7d'; SELECT pg_reload_conf();";

/// What ends it.
pub(super) fn wal_hint(status: &DatabaseStatus, wal: &WalUse) -> String {
    if let Some(holder) = wal.held_by.as_ref().filter(|_| !wal.is_ours()) {
        return format!("end {holder}: {}", holder.end());
    }
    let name = &status.name;
    match status.condition.state() {
        State::Disabled => {
            format!("slotd enable {name}, or slotd drop {name}; `on_disable` says what becomes of it by itself")
        }
        _ => "end what keeps the slot back, or raise max_retained_wal".to_owned(),
    }
}

/// What a slot costs, in words.
pub(super) fn wal_sentence(status: &DatabaseStatus, wal: &WalUse) -> String {
    let WalUse { retained_bytes, ours_bytes, held_bytes, budget_bytes, .. } = wal;
    let mut sentence = format!(
        "slot {} retains {} of WAL, {} % of its budget of {}",
        status.slot,
        size(*retained_bytes),
        wal.percent(),
        size(*budget_bytes)
    );
    match wal.seconds_to_budget {
        _ if wal.percent() >= 100 => sentence.push_str(", and is over it"),
        Some(left) => {
            let rate = wal.wal_bytes_per_second.map_or_else(String::new, |rate| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a rate of bytes for people"
                )]
                let rate = rate as u64;
                format!(", at {} a second", size(rate))
            });
            sentence.push_str(&format!(", and reaches it in about {}{rate}", age(Duration::from_secs_f64(left))));
        }
        None => {}
    }
    match &wal.held_by {
        Some(holder) if !wal.is_ours() => {
            sentence.push_str(&format!("; {} of it is held by {holder}", size(*held_bytes)));
        }
        _ if *held_bytes > *ours_bytes => {
            sentence.push_str(&format!(
                "; {} of it is acknowledged, and held by a transaction that was open then",
                size(*held_bytes)
            ));
        }
        _ => {}
    }
    sentence
}

#[cfg(test)]
mod tests;
