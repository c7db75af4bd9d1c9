use fastrand::Rng;
use futures_util::future::join_all;

use super::*;
use crate::change::OpenGap;
use crate::ident::{PublicationName, SlotName};
use crate::lsn::{EndLsn, Lsn, Timeline};
use crate::storage::forgetful::Forgetful;
use crate::storage::{Storage, read};

const DIR: &str = "/state";

fn key(number: usize) -> Key {
    Key::File(PathBuf::from(format!("/changes/db{number}.jsonl")))
}

fn record(acknowledged: u64) -> Record {
    Record {
        beginning: 1,
        system_identifier: 7,
        timeline: Timeline { id: 1, begin: Lsn::ZERO },
        slot: SlotName::new("slotd_shop").unwrap(),
        publication: PublicationName::new("slotd_shop").unwrap(),
        standby: false,
        acknowledged: Some(EndLsn::of_idle(Lsn(acknowledged))),
        cursor: None,
        open_gap: None,
        diverged: None,
    }
}

fn path() -> PathBuf {
    Path::new(DIR).join(log::NAME)
}

fn lines(storage: &Forgetful) -> usize {
    read(storage, &path()).unwrap().iter().filter(|byte| **byte == b'\n').count()
}

fn open(storage: &Forgetful) -> Positions {
    Positions::open(Arc::new(storage.clone()), Path::new(DIR)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_recorded_is_there_after_a_power_cut() {
    let storage = Forgetful::new();
    let positions = open(&storage);
    assert_eq!(positions.get(&key(1)), None);
    positions.record(key(1), record(10)).await.unwrap();
    positions.record(key(1), record(20)).await.unwrap();
    positions.record_now(key(2), record(5)).await.unwrap();
    let stdout = || Key::Stdout(DatabaseName::new("shop").unwrap(), SinkName::new("screen").unwrap());
    positions.record_now(stdout(), record(6)).await.unwrap();
    for seed in 0..20 {
        let after = open(&storage.crash(seed));
        for positions in [&positions, &after] {
            assert_eq!(positions.get(&key(1)), Some(record(20)));
            assert_eq!(positions.get(&key(2)), Some(record(5)));
            assert_eq!(positions.get(&stdout()), Some(record(6)));
            assert_eq!(positions.get(&key(3)), None);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn idle_positions_of_all_slots_share_one_write_a_second() {
    let storage = Forgetful::new();
    let positions = open(&storage);
    positions.record(key(0), record(1)).await.unwrap();
    let (begun, before) = (Instant::now(), lines(&storage));
    join_all((0..300).map(|number| positions.record(key(number), record(2)))).await;
    assert_eq!(lines(&storage), before + 1);
    assert!(begun.elapsed() >= TICK && begun.elapsed() < 2 * TICK, "{:?}", begun.elapsed());
    assert!((0..300).all(|number| positions.get(&key(number)) == Some(record(2))));
}

/// An idle position and a batch's record are made in one order and may come in the other.
#[tokio::test(start_paused = true)]
async fn no_position_goes_back_but_with_another_beginning() {
    let storage = Forgetful::new();
    let positions = open(&storage);
    let (new, old) = tokio::join!(positions.record(key(1), record(20)), positions.record(key(1), record(10)));
    new.and(old).unwrap();
    assert_eq!(positions.get(&key(1)), Some(record(20)));
    positions.record_now(key(1), record(15)).await.unwrap();
    assert_eq!(open(&storage.crash(1)).get(&key(1)), Some(record(20)));
    let anew = Record { beginning: 2, ..record(5) };
    positions.record_now(key(1), anew.clone()).await.unwrap();
    assert_eq!(open(&storage.crash(1)).get(&key(1)), Some(anew));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_found_by_its_beginning_and_by_its_slot() {
    let positions = open(&Forgetful::new());
    positions.record(key(1), record(20)).await.unwrap();
    positions.record(key(2), record(30)).await.unwrap();
    positions.record(key(3), Record { beginning: 2, ..record(5) }).await.unwrap();
    assert_eq!(positions.of_beginning(1), Some(record(30)), "a file that was copied: the furthest counts");
    assert_eq!(positions.of_beginning(3), None);
    assert_eq!(positions.of_slot_elsewhere(&record(0).slot, &[&key(9)]).len(), 3);
    assert_eq!(positions.of_slot_elsewhere(&SlotName::new("other").unwrap(), &[]), []);
}

#[tokio::test(start_paused = true)]
async fn an_urgent_one_does_not_wait_and_takes_along_what_does() {
    let storage = Forgetful::new();
    let positions = open(&storage);
    positions.record(key(0), record(1)).await.unwrap();
    let (begun, before) = (Instant::now(), lines(&storage));
    let (idle, urgent) = tokio::join!(positions.record(key(1), record(2)), positions.record_now(key(2), record(3)));
    idle.unwrap();
    urgent.unwrap();
    assert_eq!(lines(&storage), before + 1);
    assert!(begun.elapsed() < TICK);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_told_to_all_and_a_new_file_is_begun_after_it() {
    for syncs in 0..2 {
        for seed in 0..20 {
            let storage = Forgetful::new();
            let positions = open(&storage);
            positions.record_now(key(0), record(1)).await.unwrap();
            let old = storage.open(&path(), false).unwrap();
            storage.fail_sync(0, seed);
            let both = join_all([1, 2].map(|number| positions.record(key(number), record(2)))).await;
            assert!(both.iter().all(Result::is_err), "{both:?}");
            assert_eq!((positions.get(&key(0)), positions.get(&key(1))), (Some(record(1)), None));
            // The new file's own fsync, or that of its folder, may fail as well.
            if syncs > 0 {
                storage.fail_sync(syncs - 1, seed);
                positions.record(key(1), record(3)).await.unwrap_err();
            }
            positions.record(key(1), record(3)).await.unwrap();
            assert!(!old.is_at(&path()).unwrap());
            let after = open(&storage.crash(seed));
            assert_eq!((after.get(&key(0)), after.get(&key(1))), (Some(record(1)), Some(record(3))));
        }
    }
}

#[test]
fn no_position_goes_back_wherever_the_power_goes_off() {
    for seed in 0..20 {
        for operations in 0.. {
            let mut rng = Rng::with_seed(seed << 32 | operations);
            let storage = Forgetful::new();
            storage.die_after(operations);
            let mut told = 0;
            if let Ok(mut log) = Log::open(Arc::new(storage.clone()), Path::new(DIR)) {
                while told < 20 && log.write(BTreeMap::from([(key(0), record(told + 1))])).is_ok() {
                    told += 1;
                }
            }
            let died = storage.is_dead();
            let storage = storage.crash(rng.u64(..));
            let log = Log::open(Arc::new(storage.clone()), Path::new(DIR)).unwrap();
            let found = log.records().get(&key(0)).and_then(|record| record.acknowledged);
            let found = found.map_or(0, |acknowledged| acknowledged.lsn().0);
            assert!(found == told || found == told + 1, "seed {seed}, operation {operations}: {told}, found {found}");
            // What was read may be acknowledged, so the next crash must not take it back.
            let again = Log::open(Arc::new(storage.crash(rng.u64(..))), Path::new(DIR)).unwrap();
            assert_eq!(again.records(), log.records());
            if !died {
                break;
            }
        }
    }
}

#[test]
fn it_stays_small_however_long_it_runs() {
    let storage = Forgetful::new();
    let mut log = Log::open(Arc::new(storage.clone()), Path::new(DIR)).unwrap();
    let all = |acknowledged| (0..200).map(|number| (key(number), record(acknowledged))).collect();
    let mut largest = 0;
    for acknowledged in 0..200 {
        log.write(all(acknowledged)).unwrap();
        largest = largest.max(storage.open(&path(), false).unwrap().len().unwrap());
    }
    assert!(largest > 1 << 20 && largest < (1 << 20) + 200_000, "{largest}");
    let again = Log::open(Arc::new(storage), Path::new(DIR)).unwrap();
    assert_eq!(again.records().len(), 200);
    assert!(again.records().values().all(|found| *found == record(199)));
}

#[test]
fn a_line_that_is_damaged_does_not_take_the_others_along() {
    let storage = Forgetful::new();
    let mut log = Log::open(Arc::new(storage.clone()), Path::new(DIR)).unwrap();
    for number in 0..3 {
        log.write(BTreeMap::from([(key(number), record(1))])).unwrap();
    }
    let text = String::from_utf8(read(&storage, &path()).unwrap()).unwrap();
    let damaged = text.replacen("db1", "dbX", 1) + "{\"crc32\":\"0";
    crate::storage::replace(&storage, &path(), damaged.as_bytes()).unwrap();
    let log = Log::open(Arc::new(storage), Path::new(DIR)).unwrap();
    assert_eq!(log.records().keys().cloned().collect::<Vec<_>>(), [key(0), key(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_was_dropped_is_not_known_until_it_is_delivered_again() {
    let storage = Forgetful::new();
    let positions = open(&storage);
    let slot = SlotName::new("slotd_shop").unwrap();
    let dropped = |at| {
        let open_gap = OpenGap { from: Lsn(at), reason: "dropped".to_owned(), dropped: true };
        Record { open_gap: Some(open_gap), ..record(at) }
    };
    // Both sinks, then one: the other's record stays as it was.
    positions.record_now(key(1), record(10)).await.unwrap();
    positions.record_now(key(2), record(10)).await.unwrap();
    assert_eq!(positions.delivered(&slot, 7), Some(Lsn(10)));
    positions.record_now(key(1), dropped(10)).await.unwrap();
    assert_eq!(positions.delivered(&slot, 7), None);
    positions.record_now(key(2), dropped(10)).await.unwrap();
    positions.record_now(key(1), Record { beginning: 2, ..record(20) }).await.unwrap();
    assert_eq!(positions.delivered(&slot, 7), Some(Lsn(20)));
    // Of another slot.
    let other = SlotName::new("slotd_stock").unwrap();
    positions.record_now(key(3), Record { slot: other.clone(), ..dropped(30) }).await.unwrap();
    assert_eq!((positions.delivered(&slot, 7), positions.delivered(&other, 7)), (Some(Lsn(20)), None));
}
