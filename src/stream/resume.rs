//! Where a stream starts, or why it must not.
//!
//! A pure function over what is recorded, what the sink really holds, and what the server says. It is asked for each
//! sink; the stream starts at the lowest start, and each sink drops what it holds already.

use crate::change::{Cursor, OpenGap, Record, Unit};
use crate::ident::{PublicationName, SlotName};
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
    /// Through which it is read from now on.
    pub publication: &'a PublicationName,
}

/// What follows for one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing of this slot is known: it begins where the slot stands. `behind` is where another slot's changes end in
    /// this sink, which makes a hole.
    Adopt { at: Lsn, behind: Option<Lsn> },
    /// What was discarded on purpose ends where the slot stands; `from` is where it began.
    Close { from: Lsn, reason: String },
    /// A transaction is half in the sink, by the numbers that this publication gives to its changes; another one may give
    /// others.
    HalfOf { publication: PublicationName },
    /// The slot no longer leads on from where the sink stands.
    Lost { reason: Reason, sentence: String },
    /// The stream goes on at `start`; the sink drops what `held` holds. If `start` makes the server send the unit of
    /// `held` once more, one that does not has another history.
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
    let position = record.position();

    if let Some(sentence) = other_cluster(server.system_identifier, record) {
        return lost(Reason::OtherCluster, sentence);
    }
    if let Some(sentence) = off_history(server, record) {
        return lost(Reason::Diverged, sentence);
    }
    if let Some(sentence) = record.diverged.clone().or_else(|| diverged(server, record)) {
        return lost(Reason::Diverged, sentence);
    }
    if position > server.wal_end && server.history.current() == record.timeline {
        return Judgement::Wait {
            sentence: format!("the sink stands at {position}, and the standby has replayed {}", server.wal_end),
        };
    }
    let confirmed = server.confirmed_flush_lsn;
    // Up to where the gap begins the sink has all, and the record says so unless it was lost.
    if let Some(OpenGap { from, reason, .. }) = record.open_gap.clone().filter(|_| !standing.bare)
        && (confirmed > from || position < from)
    {
        return Judgement::Close { from, reason };
    }
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
    if confirmed > position && standing.bare {
        let sentence = format!(
            "the sink has lost its record, and with it all that was delivered up to {confirmed}, where the slot is"
        );
        return lost(Reason::SinkBehind, sentence);
    }
    if confirmed > position {
        return lost(
            Reason::SlotAdvanced,
            format!("the slot {} is at {confirmed} and we have acknowledged {position} at the most", server.slot),
        );
    }
    if held.is_some_and(|held| held.is_half()) && record.publication != *server.publication {
        return Judgement::HalfOf { publication: record.publication.clone() };
    }
    let start = match held {
        // The slot fell back behind the sink: with its server's crash, or with its server's restoration.
        Some(held) if held.unit().is_sent_from(confirmed) => match held.unit() {
            // It is sent to who asks for what is before it, and where it begins is not known.
            Unit::Message(_) => confirmed,
            Unit::Transaction(commit_lsn) => commit_lsn,
        },
        Some(held) => held.start_lsn(),
        None => acknowledged(record),
    };
    Judgement::Resume { start, held }
}

/// The first row, which counts before the slot is even looked for: why the server is another cluster than the one that
/// `record`'s slot was streamed from.
#[must_use]
pub fn other_cluster(system_identifier: u64, record: &Record) -> Option<String> {
    (record.system_identifier != system_identifier).then(|| {
        format!(
            "the server is cluster {system_identifier} and the slot {} was streamed from cluster {}",
            record.slot, record.system_identifier
        )
    })
}

/// Why the server has another history than `record`'s on the same timeline: its WAL ends before our position. It is to
/// be recorded, since what the server writes from then on passes the position.
#[must_use]
pub fn diverged(server: &Server<'_>, record: &Record) -> Option<String> {
    let behind = record.position() > server.wal_end && server.history.current() == record.timeline;
    (behind && !server.in_recovery && record.slot == *server.slot).then(|| {
        format!(
            "the sink stands at {}, and the server was restored with a WAL that ended at {}, on the same timeline {}",
            record.position(),
            server.wal_end,
            record.timeline.id
        )
    })
}

/// Where what the sink really holds ends: a hole begins there. `None` if nothing is known of any slot.
#[must_use]
pub fn end_of_sink(standing: &Standing) -> Option<Lsn> {
    let held = standing.cursor.map(|held| held.start_lsn());
    match &standing.record {
        Some(Record { open_gap: Some(open), .. }) => Some(open.from),
        Some(record) if record.cursor == standing.cursor => Some(record.position()),
        Some(_) => Some(held.unwrap_or_default()),
        None => held,
    }
}

fn without_record(server: &Server<'_>, standing: &Standing) -> Judgement {
    let confirmed = server.confirmed_flush_lsn;
    match (&standing.record, standing.cursor) {
        // Another slot's record: its changes end somewhere, ours begin at the slot.
        (Some(_), _) => Judgement::Adopt { at: confirmed, behind: end_of_sink(standing) },
        (None, Some(held)) if confirmed > held.start_lsn() => lost(
            Reason::PositionUnknown,
            format!("nothing is recorded, the sink stands at {} and the slot is at {confirmed}", held.start_lsn()),
        ),
        (None, Some(held)) => Judgement::Resume { start: held.start_lsn(), held: Some(held) },
        (None, None) => Judgement::Adopt { at: confirmed, behind: None },
    }
}

/// Why our position is not part of the server's history, if it is not.
fn off_history(server: &Server<'_>, record: &Record) -> Option<String> {
    let (current, ours, position) = (server.history.current(), record.timeline, record.position());
    let left = |at: Lsn| if at == Lsn::ZERO { String::new() } else { format!(", which began at {at}") };
    match server.history.end_of(ours) {
        Ok(None) => None,
        // A stream that lived through the promotion of its standby: the slot has taken our word from beyond the switch, so this
        // server sent what we have.
        Ok(Some(switch))
            if record.standby
                && server.confirmed_flush_lsn > switch
                && server.confirmed_flush_lsn <= acknowledged(record) =>
        {
            None
        }
        Ok(Some(switch)) => (position > switch).then(|| {
            format!(
                "the server left timeline {} at {switch} for timeline {}, and the sink stands at {position}",
                ours.id, current.id
            )
        }),
        Err(_) => Some(format!(
            "the server is on timeline {}{}, which does not descend from our timeline {}{}",
            current.id,
            left(current.begin),
            ours.id,
            left(ours.begin)
        )),
    }
}

fn acknowledged(record: &Record) -> Lsn {
    record.acknowledged.map_or(Lsn::ZERO, EndLsn::lsn)
}

const fn lost(reason: Reason, sentence: String) -> Judgement {
    Judgement::Lost { reason, sentence }
}

#[cfg(test)]
mod tests;
