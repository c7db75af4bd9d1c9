//! Where a stream starts, or why it must not.
//!
//! A pure function over what is recorded, what the sink really holds, and what the server says. It is asked for each
//! sink; the stream starts at the lowest start, and each sink drops what it holds already.

use crate::change::{Cursor, Record};
use crate::ident::SlotName;
use crate::lsn::{EndLsn, Lsn};
use crate::postgres::History;
use crate::sink::Standing;
use crate::status::Reason;

/// What the server says.
#[derive(Debug, Clone)]
pub struct Server<'a> {
    pub system_identifier: u64,
    pub history: &'a History,
    /// The end of its WAL.
    pub wal_end: Lsn,
    pub in_recovery: bool,
    /// Of the slot.
    pub confirmed_flush_lsn: Lsn,
    pub slot: &'a SlotName,
}

/// What follows for one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing of this slot is known: it begins where the slot stands. `behind` is where another slot's changes end in
    /// this sink, which makes a hole.
    Adopt { at: Lsn, behind: Option<Lsn> },
    /// The slot no longer leads on from where the sink stands.
    Lost { reason: Reason, sentence: String },
    /// The stream goes on at `start`; the sink drops what `held` holds.
    Resume { start: Lsn, held: Option<Cursor> },
    /// The standby has not replayed as far as we stand.
    Wait { sentence: String },
}

/// Judges one sink. The rows stand in the order in which they count.
#[must_use]
pub fn judge(server: &Server<'_>, standing: &Standing) -> Judgement {
    let ours = standing.record.as_ref().filter(|record| record.slot == *server.slot);
    let Some(record) = ours else { return without_record(server, standing) };
    let held = standing.cursor;
    let position = position(record);

    if let Some(sentence) = other_cluster(server.system_identifier, server.slot, standing) {
        return lost(Reason::OtherCluster, sentence);
    }
    if let Some(diverged) = off_history(server, record, position) {
        return diverged;
    }
    if position > server.wal_end && server.history.current() == record.timeline {
        let sentence = format!(
            "the sink stands at {position} and the server's WAL ends at {}, on the same timeline {}",
            server.wal_end, record.timeline
        );
        return if server.in_recovery { Judgement::Wait { sentence } } else { lost(Reason::Diverged, sentence) };
    }
    let confirmed = server.confirmed_flush_lsn;
    let start = held.map(|held| held.start_lsn());
    if held != record.cursor && start.is_none_or(|start| confirmed > start) {
        return lost(
            Reason::SinkBehind,
            format!(
                "changes up to {} are recorded as delivered, the sink holds {}, and the slot is at {confirmed}",
                record.cursor.map_or(Lsn::ZERO, |cursor| cursor.start_lsn()),
                start.map_or_else(|| "none of this stream".to_owned(), |start| format!("those up to {start}")),
            ),
        );
    }
    if confirmed > position {
        return lost(
            Reason::SlotAdvanced,
            format!("the slot {} is at {confirmed} and we have acknowledged {position} at the most", server.slot),
        );
    }
    let acknowledged = record.acknowledged.map_or(Lsn::ZERO, EndLsn::lsn);
    Judgement::Resume { start: start.unwrap_or(acknowledged), held }
}

/// The first row, which counts before the slot is even looked for: why the server is another cluster than the one that
/// `slot` was streamed from.
#[must_use]
pub fn other_cluster(system_identifier: u64, slot: &SlotName, standing: &Standing) -> Option<String> {
    let record = standing.record.as_ref().filter(|record| record.slot == *slot)?;
    (record.system_identifier != system_identifier).then(|| {
        format!(
            "the server is cluster {system_identifier} and the slot {slot} was streamed from cluster {}",
            record.system_identifier
        )
    })
}

/// How far we are known to have come, in WAL.
#[must_use]
pub fn position(record: &Record) -> Lsn {
    let acknowledged = record.acknowledged.map_or(Lsn::ZERO, EndLsn::lsn);
    acknowledged.max(record.cursor.map_or(Lsn::ZERO, |cursor| cursor.start_lsn()))
}

fn without_record(server: &Server<'_>, standing: &Standing) -> Judgement {
    let confirmed = server.confirmed_flush_lsn;
    match (&standing.record, standing.cursor) {
        // Another slot's record: its changes end somewhere, ours begin at the slot.
        (Some(other), _) => Judgement::Adopt { at: confirmed, behind: Some(position(other)) },
        (None, Some(held)) if confirmed > held.start_lsn() => lost(
            Reason::PositionUnknown,
            format!("nothing is recorded, the sink stands at {} and the slot is at {confirmed}", held.start_lsn()),
        ),
        (None, Some(held)) => Judgement::Resume { start: held.start_lsn(), held: Some(held) },
        (None, None) => Judgement::Adopt { at: confirmed, behind: None },
    }
}

fn off_history(server: &Server<'_>, record: &Record, position: Lsn) -> Option<Judgement> {
    let current = server.history.current();
    match server.history.end_of(record.timeline) {
        Ok(None) => None,
        Err(_) => Some(lost(
            Reason::Diverged,
            format!("the server is on timeline {current}, which does not descend from timeline {}", record.timeline),
        )),
        // Our stream lived through the promotion: the server took what we acknowledged with it.
        Ok(Some(switch)) if server.confirmed_flush_lsn > switch && server.confirmed_flush_lsn <= position => None,
        Ok(Some(switch)) if position > switch => Some(lost(
            Reason::Diverged,
            format!(
                "the server left timeline {} at {switch} for timeline {current}, and the sink stands at {position}",
                record.timeline
            ),
        )),
        Ok(Some(_)) => None,
    }
}

const fn lost(reason: Reason, sentence: String) -> Judgement {
    Judgement::Lost { reason, sentence }
}

#[cfg(test)]
mod tests;
