//! The crash test: a series is written over a storage that forgets what was not fsynced and dies after every single
//! operation in turn, comes back, and goes on where it says it stands. Afterwards no line is missing or stands twice.
//!
//! It plays both neighbours: the server, which sends anew what the cursor does not hold and is told what may be
//! acknowledged, and the consumer, which takes finished files away at any time.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;

use super::Breaks;
use super::series::Series;
use crate::change::testing::{HandMade, text_table};
use crate::change::{Batch, Change, ChangeKind, Cursor, Gap, Record, StreamIdentity};
use crate::config::{FileSinkConfig, Keep, MinFree};
use crate::encode::Out;
use crate::ident::{DatabaseName, PublicationName, SlotName};
use crate::lsn::{EndLsn, Lsn, Timeline};
use crate::pgoutput::Value;
use crate::sink::lines::Lines;
use crate::sink::{SinkError, Standing};
use crate::storage::forgetful::Forgetful;
use crate::storage::{Storage, read};

const DIR: &str = "/changes";
const SEEDS: u64 = 25;

/// A line that is made and read with the naked eye.
#[derive(Debug)]
pub(super) struct Plain;

impl Lines for Plain {
    const BEGIN: &'static [u8] = br#"{"action":"#;

    fn new(_: Arc<StreamIdentity>) -> Self {
        Self
    }

    fn line(&mut self, change: &Change<'_>, out: &mut impl Out) {
        let place = (change.transaction.commit_lsn.0, change.ordinal.unwrap_or_default());
        match change.kind {
            ChangeKind::Insert { new, .. } => match new.values().next() {
                Some(Value::Text(text)) => {
                    out.put(line("insert", place, std::str::from_utf8(text).unwrap()).as_bytes());
                }
                other => panic!("{other:?}"),
            },
            ChangeKind::Gap(gap) => out.put(line("gap", place, &gap.reason).as_bytes()),
            _ => panic!("only rows that were inserted"),
        }
    }
}

fn line(action: &str, (commit_lsn, commit_idx): (u64, u64), text: &str) -> String {
    let metadata = format!(r#"{{"commit_lsn":{commit_lsn},"commit_idx":{commit_idx}}}"#);
    format!("{{\"action\":\"{action}\",\"metadata\":{metadata},\"text\":\"{text}\"}}\n")
}

/// A transaction with the lengths of its rows.
struct Committed {
    commit_lsn: u64,
    rows: &'static [usize],
}

impl Committed {
    fn end(&self) -> EndLsn {
        EndLsn::of_commit(Lsn(self.commit_lsn + 40))
    }

    fn row(&self, ordinal: usize) -> String {
        format!("{}.{ordinal}.", self.commit_lsn).repeat(self.rows[ordinal])
    }

    fn lines(&self) -> impl Iterator<Item = ((Lsn, u64), String)> {
        (0..self.rows.len()).map(|at| {
            let place = (self.commit_lsn, at as u64);
            ((Lsn(place.0), place.1), line("insert", place, &self.row(at)))
        })
    }
}

/// What the slot `a` streams: small, empty, long and wide transactions.
const FIRST: &[Committed] = &[
    Committed { commit_lsn: 1000, rows: &[1, 2] },
    Committed { commit_lsn: 1100, rows: &[] },
    Committed { commit_lsn: 1200, rows: &[9, 9, 120, 9, 9, 9, 9] },
    Committed { commit_lsn: 1300, rows: &[1] },
    Committed { commit_lsn: 1400, rows: &[300, 1] },
    Committed { commit_lsn: 1500, rows: &[40, 40, 40] },
];
/// What the slot `b` streams, which was made in its place.
const SECOND: &[Committed] = &[
    Committed { commit_lsn: 2000, rows: &[80] },
    Committed { commit_lsn: 2100, rows: &[] },
    Committed { commit_lsn: 2200, rows: &[1, 1, 150, 60] },
];
const TIMELINE: Timeline = Timeline { id: 1, begin: Lsn::ZERO };
const GAP: &str = "slot_missing";
const ADOPTED_AT: u64 = 1900;

fn gap() -> Gap {
    Gap { from: Lsn(1540), to: Some(Lsn(ADOPTED_AT)), reason: GAP.to_owned() }
}

pub(super) fn stream(slot: &str) -> Arc<StreamIdentity> {
    Arc::new(StreamIdentity {
        system_identifier: 7,
        timeline: TIMELINE,
        standby: false,
        slot: SlotName::new(slot).unwrap(),
        publication: PublicationName::new("shop").unwrap(),
        database: DatabaseName::new("shop").unwrap(),
        dbname: "shop".to_owned(),
        hostname: "localhost".to_owned(),
    })
}

pub(super) fn record(slot: &str, acknowledged: Option<u64>) -> Record {
    Record {
        beginning: 1,
        system_identifier: 7,
        timeline: TIMELINE,
        slot: SlotName::new(slot).unwrap(),
        publication: PublicationName::new("shop").unwrap(),
        standby: false,
        acknowledged: acknowledged.map(|lsn| EndLsn::of_commit(Lsn(lsn))),
        cursor: None,
        open_gap: None,
        diverged: None,
    }
}

pub(super) fn config(keep: Keep) -> FileSinkConfig {
    FileSinkConfig { path: PathBuf::from(DIR).join("shop.jsonl"), rotate_size: 1500, keep, min_free: MinFree::Bytes(0) }
}

/// What the server sends to a sink that stands at `cursor`, cut into batches.
fn batches(history: &[Committed], cursor: Option<Cursor>, rng: &mut Rng) -> Vec<Batch> {
    let relation = text_table("t", &["text"]);
    let mut made = HandMade::default();
    let mut batches = Vec::new();
    for committed in history {
        let commit_lsn = Lsn(committed.commit_lsn);
        if cursor.is_some_and(|cursor| cursor.start_lsn() >= committed.end().lsn()) {
            continue;
        }
        let held = |ordinal: &usize| cursor.is_some_and(|cursor| cursor.holds(commit_lsn, Some(*ordinal as u64)));
        let first = (0..committed.rows.len()).take_while(held).count();
        made.begin(commit_lsn, first as u64);
        for ordinal in first..committed.rows.len() {
            made.insert(&relation, &[&committed.row(ordinal)]);
            if rng.u8(0..3) == 0 {
                batches.push(made.finish());
            }
        }
        made.commit(committed.end().lsn());
        if rng.bool() {
            batches.push(made.finish());
        }
    }
    let last = made.finish();
    batches.extend(last.cursor.is_some().then_some(last));
    batches
}

/// Why a run ended before its end.
enum End {
    Sink(SinkError),
    Wrong(String),
}

impl From<SinkError> for End {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// What the neighbours remember, which no crash of ours takes from them.
#[derive(Default)]
struct World {
    /// The slot that was last adopted, as far as `adopt` returned.
    adopted: &'static str,
    /// The highest that the server was told.
    acknowledged: Option<EndLsn>,
    /// The cursor that was durable when `write` last returned.
    durable: Option<Cursor>,
    /// What the consumer took, and the number of the last file of it.
    taken: Vec<u8>,
    last_taken: u64,
}

impl World {
    /// What an opened sink says must agree with what we know, and with what is in the files.
    fn check(&mut self, storage: &Forgetful, keep: Keep, standing: &Standing) -> Result<(), End> {
        let wrong = |text: &str| Err(End::Wrong(format!("{text}: {standing:?}")));
        let slot = standing.record.as_ref().map_or("", |record| record.slot.as_str());
        let acknowledged = standing.record.as_ref().and_then(|record| record.acknowledged);
        if slot < self.adopted || acknowledged < self.acknowledged {
            return wrong("the record went back");
        }
        let adopted_at = (slot == "b").then_some(EndLsn::of_commit(Lsn(ADOPTED_AT)));
        let start = standing.cursor.map(|cursor| cursor.start_lsn()).max(adopted_at.map(EndLsn::lsn));
        if start < acknowledged.map(EndLsn::lsn) {
            return wrong("more was acknowledged than is durable");
        }
        let position = |cursor: &Option<Cursor>| cursor.map(|cursor| (cursor.position(), cursor.end_lsn));
        if slot == self.adopted && position(&standing.cursor) < position(&self.durable) {
            return wrong("a batch that was durable is gone");
        }
        // From now on it may be acknowledged.
        self.acknowledged = acknowledged;
        self.durable = standing.cursor;
        self.adopted = match slot {
            "" => "",
            "a" => "a",
            _ => "b",
        };

        if storage.is_dead() {
            // It died with the last operation of `open`; nothing can be read any more.
            return Ok(());
        }
        let held = |history: &[Committed], cursor: Option<Cursor>| -> String {
            let lines = history.iter().flat_map(Committed::lines);
            let held = |(lsn, ordinal)| cursor.is_some_and(|cursor| cursor.holds(lsn, Some(ordinal)));
            lines.filter(|(place, _)| held(*place)).map(|(_, line)| line).collect()
        };
        let expected = match slot {
            "" => String::new(),
            "a" => held(FIRST, standing.cursor),
            _ => {
                let first: String = FIRST.iter().flat_map(Committed::lines).map(|(_, line)| line).collect();
                first + &line("gap", (ADOPTED_AT, 0), GAP) + &held(SECOND, standing.cursor)
            }
        };
        let mut found = self.taken.clone();
        let files = files(storage);
        for (_, path) in files.iter().filter(|(number, _)| *number > self.last_taken) {
            found.extend(read(storage, path).unwrap_or_default());
        }
        let fits = match keep {
            Keep::Forever => found == expected.as_bytes(),
            _ => expected
                .strip_suffix(str::from_utf8(&found).unwrap_or("not ours"))
                .is_some_and(|removed| removed.is_empty() || removed.ends_with('\n')),
        };
        if fits { Ok(()) } else { wrong(&format!("{}\nexpected\n{expected}", String::from_utf8_lossy(&found))) }
    }

    /// Takes the finished files away.
    fn consume(&mut self, storage: &Forgetful) {
        let files = files(storage);
        for (number, path) in &files[..files.len() - 1] {
            if *number > self.last_taken {
                self.taken.extend(read(storage, path).unwrap());
                self.last_taken = *number;
            }
            storage.remove(path).unwrap();
        }
    }
}

/// The finished files, and then the current one with a number above all.
fn files(storage: &Forgetful) -> Vec<(u64, PathBuf)> {
    let names = super::names::Names::new(config(Keep::Forever).path);
    let entries = storage.list(Path::new(DIR)).unwrap_or_default();
    let mut files: Vec<_> = entries
        .iter()
        .filter_map(|entry| names.number(&entry.name))
        .map(|number| (number, names.finished(number)))
        .collect();
    files.sort_unstable();
    files.push((u64::MAX, names.current().to_owned()));
    files
}

/// Opens the series as a stream does that is about to start.
fn open(series: &mut Series<Plain>, slot: &str) -> Result<Standing, SinkError> {
    let standing = series.open(stream(slot))?;
    series.ready()?;
    Ok(standing)
}

/// Opens the series, looks whether all is right, and writes what is left of both histories.
fn run(storage: &Forgetful, series: &mut Series<Plain>, world: &mut World, rng: &mut Rng) -> Result<(), End> {
    let standing = open(series, "a")?;
    world.check(storage, series.keep, &standing)?;
    let mut slot = world.adopted;
    let mut cursor = standing.cursor;
    for (next, history) in [("a", FIRST), ("b", SECOND)] {
        if slot > next {
            continue;
        }
        if slot < next {
            if next == "b" {
                let standing = open(series, next)?;
                world.check(storage, series.keep, &standing)?;
                series.adopt(record(next, Some(ADOPTED_AT)), Some(gap()))?;
            } else {
                series.adopt(record(next, None), None)?;
            }
            (slot, cursor) = (next, None);
            (world.adopted, world.durable) = (next, None);
        } else if next == "b" {
            open(series, next)?;
        }
        for batch in batches(history, cursor, rng) {
            series.write(&batch)?;
            world.durable = batch.cursor;
            world.acknowledged = world.acknowledged.max(batch.end_lsn);
        }
    }
    let standing = open(series, "b")?;
    let all = world.durable.is_some_and(|cursor| cursor.end_lsn == SECOND.last().map(Committed::end));
    if !all || standing.cursor != world.durable {
        return Err(End::Wrong(format!("not all was delivered: {standing:?}")));
    }
    world.check(storage, series.keep, &standing)
}

fn begin(storage: &Forgetful, keep: Keep, breaks: Breaks) -> Series<Plain> {
    Series::new(config(keep), Arc::new(storage.clone()), breaks)
}

/// One life after the other: the first dies after `operations`, later ones sometimes early on, the last one lives; the
/// power goes off with most of them. Tells whether the first one died.
fn live(operations: u64, seed: u64, keep: Keep, breaks: Breaks) -> Result<bool, String> {
    let mut rng = Rng::with_seed(seed << 32 | operations);
    let mut world = World::default();
    let mut storage = Forgetful::new();
    storage.die_after(operations);
    let mut died = false;
    for life in 1.. {
        let ended = run(&storage, &mut begin(&storage, keep, breaks), &mut world, &mut rng);
        match ended {
            Err(End::Wrong(text)) => return Err(format!("seed {seed}, operation {operations}, life {life}: {text}")),
            Err(End::Sink(error)) if !storage.is_dead() => {
                return Err(format!("seed {seed}, operation {operations}, life {life}: {error}"));
            }
            _ => {}
        }
        if ended.is_err() && life < 4 && rng.bool() {
            // The process alone died. What it left in the kernel is not durable yet when the next one begins, and that
            // one dies at once, too.
            storage.revive();
            storage.die_after(rng.u64(0..12));
            died = true;
            continue;
        }
        // The power goes off even after a good end: all that was told must still be there.
        storage = storage.crash(rng.u64(..));
        if ended.is_ok() {
            let standing = open(&mut begin(&storage, keep, breaks), "b").map_err(|error| error.to_string())?;
            return match world.check(&storage, keep, &standing) {
                Err(End::Wrong(text)) => Err(text),
                _ => Ok(died),
            };
        }
        died = true;
        if keep == Keep::Forever && rng.bool() {
            world.consume(&storage);
        }
        if life < 4 && rng.bool() {
            storage.die_after(rng.u64(0..60));
        }
    }
    Ok(died)
}

/// Dies after every operation there is, with many seeds each.
fn die_everywhere(keep: Keep, breaks: Breaks) -> Result<(), String> {
    for seed in 0..SEEDS {
        let mut operations = 0;
        while live(operations, seed, keep, breaks)? {
            operations += 1;
        }
        assert!(operations > 40, "only {operations} operations");
    }
    Ok(())
}

#[test]
fn no_line_is_lost_or_repeated_wherever_the_power_goes_off() {
    die_everywhere(Keep::Forever, Breaks::default()).unwrap();
}

#[test]
fn nor_while_finished_files_are_removed() {
    die_everywhere(Keep::Bytes(2500), Breaks::default()).unwrap();
}

#[test]
fn the_crash_test_catches_an_acknowledgement_before_fsync() {
    let breaks = Breaks { ack_before_fsync: true, ..Breaks::default() };
    die_everywhere(Keep::Forever, breaks).unwrap_err();
}

#[test]
fn the_crash_test_catches_a_torn_tail_that_is_kept() {
    let breaks = Breaks { keep_torn_tail: true, ..Breaks::default() };
    die_everywhere(Keep::Forever, breaks).unwrap_err();
}

/// An fsync fails once; the process, or the next one under the same kernel, goes on; then the power goes off.
#[test]
fn what_a_failed_fsync_lost_is_never_taken_for_durable() {
    for seed in 0..SEEDS {
        for syncs in 0.. {
            let mut rng = Rng::with_seed(seed << 32 | syncs);
            let mut world = World::default();
            let storage = Forgetful::new();
            storage.fail_sync(syncs, rng.u64(..));
            let mut series = begin(&storage, Keep::Forever, Breaks::default());
            let mut failed = false;
            loop {
                match run(&storage, &mut series, &mut world, &mut rng) {
                    Ok(()) => break,
                    Err(End::Sink(error)) => {
                        assert!(!failed, "seed {seed}, sync {syncs}: {error}");
                        failed = true;
                    }
                    Err(End::Wrong(text)) => panic!("seed {seed}, sync {syncs}: {text}"),
                }
                if rng.bool() {
                    drop(series);
                    series = begin(&storage, Keep::Forever, Breaks::default());
                }
                if rng.bool() {
                    // A crash soon after, when only what the failed fsync left may count on being there.
                    let standing = open(&mut series, "a");
                    let after = storage.crash(rng.u64(..));
                    let told = standing.unwrap();
                    let standing = begin(&after, Keep::Forever, Breaks::default()).open(stream("a")).unwrap();
                    assert_eq!(standing, told, "seed {seed}, sync {syncs}");
                }
            }
            if !failed {
                break;
            }
            let after = storage.crash(rng.u64(..));
            let standing = begin(&after, Keep::Forever, Breaks::default()).open(stream("b")).unwrap();
            if let Err(End::Wrong(text)) = world.check(&after, Keep::Forever, &standing) {
                panic!("seed {seed}, sync {syncs}: {text}");
            }
        }
    }
}
