//! The ordinary ways and the operator's mistakes, on a real file system where nothing else is needed.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::crash::{Plain, config, record, stream};
use super::*;
use crate::change::testing::{HandMade, text_table};
use crate::change::{BatchBuilder, Cursor};
use crate::config::{Keep, MinFree};
use crate::lsn::{EndLsn, Lsn};
use crate::storage::forgetful::Forgetful;
use crate::storage::{Disk, Storage, read};

fn series(storage: impl Storage + 'static, config: FileSinkConfig) -> Series<Plain> {
    Series::new(config, Arc::new(storage), Breaks::default())
}

fn on_disk(dir: &Path) -> FileSinkConfig {
    FileSinkConfig { path: dir.join("shop.jsonl"), ..config(Keep::Forever) }
}

/// One whole transaction of one row.
fn batch(commit_lsn: u64, text: &str) -> Batch {
    let mut made = HandMade::default();
    made.begin(Lsn(commit_lsn), 0);
    made.insert(&text_table("t", &["text"]), &[text]);
    made.commit(Lsn(commit_lsn + 40));
    made.finish()
}

fn cursor(commit_lsn: u64, whole: bool) -> Option<Cursor> {
    let end_lsn = whole.then_some(EndLsn::of_commit(Lsn(commit_lsn + 40)));
    Some(Cursor { timeline: 1, commit_lsn: Lsn(commit_lsn), ordinal: Some(0), end_lsn })
}

/// Of a series that nothing was ever written to.
fn bare() -> Standing {
    Standing { bare: true, ..Standing::default() }
}

/// A series that holds three changes and is closed again.
fn three(config: &FileSinkConfig) {
    let mut series = series(Disk, config.clone());
    assert_eq!(series.open(stream("a")).unwrap(), bare());
    series.adopt(record("a", Some(50)), None).unwrap();
    for commit_lsn in [100, 200, 300] {
        series.write(&batch(commit_lsn, "row")).unwrap();
    }
}

#[test]
fn a_series_goes_on_where_it_was_left() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(&temp.path().join("made/by/slotd"));
    three(&config);
    let before = fs::read_to_string(&config.path).unwrap();
    assert_eq!(before.lines().count(), 3);
    let mut series = series(Disk, config.clone());
    let standing = series.open(stream("a")).unwrap();
    assert_eq!(standing.cursor, cursor(300, true));
    assert_eq!(
        standing.record,
        Some(Record {
            acknowledged: Some(EndLsn::of_commit(Lsn(340))),
            cursor: cursor(300, true),
            ..record("a", None)
        })
    );
    series.write(&batch(400, "row")).unwrap();
    let after = fs::read_to_string(&config.path).unwrap();
    assert!(after.starts_with(&before) && after.lines().count() == 4);
}

#[test]
fn what_is_acknowledged_does_not_go_back_with_a_batch_that_ends_no_transaction() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    three(&config);
    let mut series = series(Disk, config);
    series.open(stream("a")).unwrap();
    let mut made = HandMade::default();
    made.begin(Lsn(400), 0);
    made.insert(&text_table("t", &["text"]), &["half"]);
    series.write(&made.finish()).unwrap();
    let found = series.open(stream("a")).unwrap();
    assert_eq!(found.record.unwrap().acknowledged, Some(EndLsn::of_commit(Lsn(340))));
    assert_eq!(found.cursor, cursor(400, false));
}

#[test]
fn a_change_that_can_no_longer_be_decoded_is_not_left_out_in_silence() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    three(&config);
    let mut builder = BatchBuilder::default();
    let whole = batch(400, "row");
    builder.push(0, 4, None, whole.cursor.unwrap());
    let broken = builder.finish(bytes::Bytes::from_static(b"what"), None);
    let mut series = series(Disk, config);
    series.open(stream("a")).unwrap();
    let error = series.write(&broken).unwrap_err();
    assert!(error.sentence.contains("of a batch of 1 changes"), "{error}");
    assert_eq!(series.open(stream("a")).unwrap().cursor, cursor(300, true));
}

#[test]
fn a_series_has_one_writer() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    let mut one = series(Disk, config.clone());
    one.open(stream("a")).unwrap();
    one.open(stream("a")).unwrap();
    let error = series(Disk, config.clone()).open(stream("a")).unwrap_err();
    assert!(error.sentence.contains("somebody else"), "{error}");
    drop(one);
    series(Disk, config).open(stream("a")).unwrap();
}

#[test]
fn a_foreign_file_is_named_kept_and_out_of_the_way_once_it_is_moved() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    fs::write(&config.path, "notes\n").unwrap();
    let mut fresh = series(Disk, config.clone());
    for _ in 0..2 {
        let error = fresh.open(stream("a")).unwrap_err();
        assert!(error.sentence.contains("shop.jsonl has 6 bytes"), "{error}");
        assert!(error.hint.contains("move"), "{}", error.hint);
    }
    assert_eq!(fs::read_to_string(&config.path).unwrap(), "notes\n");
    fs::rename(&config.path, temp.path().join("notes")).unwrap();
    assert_eq!(fresh.open(stream("a")).unwrap(), bare());
    drop(fresh);

    // In place of a file that is empty: there is nothing yet by which slotd's own could be told.
    for foreign in ["notes\n", "{\"some\":1}\n", "x"] {
        let mut series = series(Disk, config.clone());
        series.open(stream("a")).unwrap();
        series.adopt(record("a", None), None).unwrap();
        fs::write(&config.path, foreign).unwrap();
        let error = series.open(stream("a")).unwrap_err();
        assert!(error.sentence.contains("is not the file"), "{error}");
        assert_eq!(fs::read_to_string(&config.path).unwrap(), foreign);
        fs::remove_file(&config.path).unwrap();
        assert_eq!(series.open(stream("a")).unwrap().cursor, None);
    }
    // What a crash leaves of the first batch is cut: lines, zeros in their place, or both.
    for torn in [&b"{\"acti"[..], b"\0\0\0", b"\0\0act\0on\":1", b"{\"action\":\"insert\",\0\0"] {
        fs::write(&config.path, torn).unwrap();
        series(Disk, config.clone()).open(stream("a")).unwrap();
        assert!(fs::read(&config.path).unwrap().is_empty());
    }
    fs::remove_dir_all(temp.path()).unwrap();

    // Beside a sidecar: longer, as long, and shorter than slotd's own.
    three(&config);
    let own = fs::read(&config.path).unwrap();
    for len in [own.len() + 100, own.len(), 20] {
        let foreign = "x".repeat(len - 1) + "\n";
        fs::write(&config.path, &foreign).unwrap();
        let mut series = series(Disk, config.clone());
        let error = series.open(stream("a")).unwrap_err();
        assert!(error.sentence.contains("is not the file"), "{error}");
        assert_eq!(fs::read_to_string(&config.path).unwrap(), foreign);
        fs::write(&config.path, &own).unwrap();
        assert_eq!(series.open(stream("a")).unwrap().cursor, cursor(300, true));
    }
}

#[test]
fn a_sidecar_that_cannot_be_read_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    three(&config);
    let sidecar = temp.path().join("shop.jsonl.cursor");
    fs::write(&sidecar, "{}\n").unwrap();
    let error = series(Disk, config.clone()).open(stream("a")).unwrap_err();
    assert!(error.sentence.contains("shop.jsonl.cursor"), "{error}");
    fs::remove_file(&sidecar).unwrap();
    series(Disk, config).open(stream("a")).unwrap_err();
}

#[test]
fn a_torn_tail_is_cut() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    three(&config);
    let own = fs::read(&config.path).unwrap();
    fs::write(&config.path, [&own[..], b"{\"action\":\"ins"].concat()).unwrap();
    let mut series = series(Disk, config.clone());
    assert_eq!(series.open(stream("a")).unwrap().cursor, cursor(300, true));
    assert_eq!(fs::read(&config.path).unwrap(), own);
}

#[test]
fn a_file_that_was_cut_or_removed_tells_the_change_that_is_really_the_last() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    three(&config);
    let own = fs::read(&config.path).unwrap();
    let line = own.len() / 3;
    for (left, expected) in [
        (own.len() - 1, cursor(200, false)),
        (2 * line, cursor(200, false)),
        (line + 5, cursor(100, false)),
        (5, None),
        (0, None),
    ] {
        fs::write(&config.path, &own[..left]).unwrap();
        // The answer is the same at the next start, when the file is as it was made then.
        for _ in 0..2 {
            let standing = series(Disk, config.clone()).open(stream("a")).unwrap();
            assert_eq!(standing.cursor, expected, "{left}");
            assert_eq!(standing.record.unwrap().cursor, cursor(300, true), "{left}");
        }
        assert_eq!(fs::read(&config.path).unwrap().len(), left / line * line);
        fs::remove_dir_all(temp.path()).unwrap();
        three(&config);
    }
    // Whoever goes on writes behind what is there, and the sidecar follows.
    fs::write(&config.path, &own[..2 * line]).unwrap();
    let mut series = series(Disk, config.clone());
    series.open(stream("a")).unwrap();
    series.write(&batch(300, "row")).unwrap();
    assert_eq!(fs::read(&config.path).unwrap(), own);
    let standing = series.open(stream("a")).unwrap();
    assert_eq!((standing.cursor, standing.record.unwrap().cursor), (cursor(300, true), cursor(300, true)));
}

#[test]
fn a_file_that_was_taken_is_told_from_the_finished_ones() {
    let temp = tempfile::tempdir().unwrap();
    let config = FileSinkConfig { rotate_size: 1, ..on_disk(temp.path()) };
    three(&config);
    let large = FileSinkConfig { rotate_size: 1 << 20, ..config.clone() };
    let mut series = series(Disk, large);
    series.open(stream("a")).unwrap();
    series.write(&batch(400, "row")).unwrap();
    fs::remove_file(&config.path).unwrap();
    let standing = series.open(stream("a")).unwrap();
    assert_eq!(standing.cursor, cursor(300, false));
    assert_eq!(standing.record.unwrap().cursor, cursor(400, true));
}

#[test]
fn a_file_that_is_moved_or_cut_while_it_is_written_is_an_error_before_anything_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    three(&config);
    let own = fs::read(&config.path).unwrap();
    let away = temp.path().join("away");
    let mut series = series(Disk, config.clone());
    let moved = || fs::rename(&config.path, &away).unwrap();
    let cut = || fs::write(&config.path, &own[..10]).unwrap();
    let appended = || fs::write(&config.path, [&own[..], b"appended\n"].concat()).unwrap();
    let harms: [&dyn Fn(); 3] = [&moved, &cut, &appended];
    for harm in harms {
        series.open(stream("a")).unwrap();
        harm();
        let error = series.write(&batch(400, "row")).unwrap_err();
        assert!(error.sentence.contains("moved, removed or changed"), "{error}");
        assert!(series.write(&batch(400, "row")).unwrap_err().sentence.contains("closed"));
        fs::write(&config.path, &own).unwrap();
        assert_eq!(series.open(stream("a")).unwrap().cursor, cursor(300, true));
    }
}

#[test]
fn a_finished_file_is_never_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    let config = FileSinkConfig { rotate_size: 1, ..on_disk(temp.path()) };
    let name = |number| temp.path().join(format!("shop.{number:06}.jsonl"));
    fs::write(name(1), "somebody's\n").unwrap();
    let mut series = series(Disk, config);
    series.open(stream("a")).unwrap();
    series.adopt(record("a", None), None).unwrap();
    fs::write(name(2), "somebody else's\n").unwrap();
    series.write(&batch(100, "row")).unwrap();
    assert_eq!(fs::read_to_string(name(1)).unwrap(), "somebody's\n");
    assert_eq!(fs::read_to_string(name(2)).unwrap(), "somebody else's\n");
    assert!(fs::read_to_string(name(3)).unwrap().contains("row"));
}

#[test]
fn finished_files_are_kept_for_their_time() {
    let temp = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let config = FileSinkConfig { rotate_size: 1, keep: Keep::For(hour), ..on_disk(temp.path()) };
    let name = |number| temp.path().join(format!("shop.{number:06}.jsonl"));
    let mut series = series(Disk, config);
    series.open(stream("a")).unwrap();
    series.adopt(record("a", None), None).unwrap();
    for commit_lsn in [100, 200, 300] {
        series.write(&batch(commit_lsn, "row")).unwrap();
    }
    for number in [1, 2] {
        fs::File::open(name(number)).unwrap().set_modified(SystemTime::now() - 2 * hour).unwrap();
    }
    series.write(&batch(400, "row")).unwrap();
    assert_eq!([1, 2, 3, 4].map(|number| name(number).exists()), [false, false, true, true]);
}

#[test]
fn a_file_with_a_number_that_is_not_given_yet_is_nobodys_to_remove() {
    let temp = tempfile::tempdir().unwrap();
    let config = FileSinkConfig { rotate_size: 1, keep: Keep::Bytes(0), ..on_disk(temp.path()) };
    let name = |number| temp.path().join(format!("shop.{number:06}.jsonl"));
    let mut series = series(Disk, config);
    series.open(stream("a")).unwrap();
    series.adopt(record("a", None), None).unwrap();
    fs::write(name(3), "somebody's\n").unwrap();
    series.write(&batch(100, "row")).unwrap();
    series.write(&batch(200, "row")).unwrap();
    assert_eq!([1, 2, 3].map(|number| name(number).exists()), [false, true, true]);
}

/// A batch whose lines are several times longer than what came over the wire.
fn many(commit_lsn: u64, rows: usize) -> Batch {
    let mut made = HandMade::default();
    made.begin(Lsn(commit_lsn), 0);
    for _ in 0..rows {
        made.insert(&text_table("t", &["text"]), &["x"]);
    }
    made.commit(Lsn(commit_lsn + 40));
    made.finish()
}

#[test]
fn the_disk_is_never_fuller_than_min_free_allows_whatever_a_batch_grows_to() {
    let floor = 1 << 20;
    for rows in [1, 30, 1000, 20_000] {
        let storage = Forgetful::new();
        let config = FileSinkConfig { min_free: MinFree::Bytes(floor), rotate_size: 1 << 30, ..config(Keep::Forever) };
        let mut series = series(storage.clone(), config.clone());
        series.open(stream("a")).unwrap();
        series.adopt(record("a", None), None).unwrap();
        storage.set_room(Some(floor + 100_000));
        let free = || storage.space(Path::new("/changes")).unwrap().free;
        let mut at = 100;
        while let Ok(()) = series.write(&many(at, rows)) {
            at += 100;
            assert!(free() >= floor, "{rows} rows leave {} bytes", free());
        }
        // What was written of the batch that is refused takes no room.
        let held = read(&storage, &config.path).unwrap();
        assert_eq!(held.iter().filter(|byte| **byte == b'\n').count() as u64, (at / 100 - 1) * rows as u64);
        assert_eq!(free(), floor + 100_000 - held.len() as u64);
    }
}

#[test]
fn once_refused_nothing_smaller_slips_in_until_there_is_room_for_what_was_refused() {
    // Of 1 GiB, as the storage has it, the margin is 16 MB.
    for (min_free, says) in [
        (1 << 20, "no room above min_free, which keeps 1 MB of 1024 MB free"),
        (0, "the file system of /changes is full"),
    ] {
        let storage = Forgetful::new();
        let config =
            FileSinkConfig { min_free: MinFree::Bytes(min_free), rotate_size: 1 << 30, ..config(Keep::Forever) };
        let mut series = series(storage.clone(), config.clone());
        series.open(stream("a")).unwrap();
        series.adopt(record("a", None), None).unwrap();
        storage.set_room(Some(min_free + 100_000));
        let error = series.write(&many(100, 20_000)).unwrap_err();
        assert!(error.sentence.contains(says), "{error}");
        assert!(error.hint.contains(&format!("until {} MB are free", 16 + (min_free >> 20))), "{}", error.hint);
        for free in [100_000, 1 << 20, 15 << 20] {
            storage.set_room(Some(min_free + free));
            assert_eq!(series.open(stream("a")).unwrap().cursor, None, "a full disk hides nothing");
            assert_eq!(series.ready().unwrap_err().to_string(), error.to_string());
            assert!(series.write(&batch(100, "small")).unwrap_err().sentence.contains("closed"));
        }
        storage.set_room(Some(min_free + (16 << 20)));
        series.open(stream("a")).unwrap();
        series.ready().unwrap();
        series.write(&many(100, 20_000)).unwrap();
        // Forgotten with the first batch that went well.
        storage.set_room(Some(min_free + (1 << 20)));
        series.open(stream("a")).unwrap();
        series.ready().unwrap();
        series.write(&batch(200, "small")).unwrap();
    }
}

#[test]
fn a_share_of_the_disk_is_kept_free_from_the_start() {
    let storage = Forgetful::new();
    let config = FileSinkConfig { min_free: MinFree::Percent(1.0), ..config(Keep::Forever) };
    let mut series = series(storage.clone(), config);
    storage.set_room(Some(10 << 20));
    series.open(stream("a")).unwrap();
    let error = series.ready().unwrap_err();
    assert!(error.sentence.contains("keeps 11 MB of 1024 MB free"), "{error}");
    storage.set_room(Some(28 << 20));
    series.open(stream("a")).unwrap();
    series.ready().unwrap();
}

#[test]
fn what_keep_gives_up_is_removed_before_the_sink_is_refused_again() {
    let temp = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let config = FileSinkConfig { rotate_size: 1, keep: Keep::For(hour), ..on_disk(temp.path()) };
    three(&config);
    let name = |number| temp.path().join(format!("shop.{number:06}.jsonl"));
    fs::File::open(name(1)).unwrap().set_modified(SystemTime::now() - 2 * hour).unwrap();
    let mut series = series(Disk, FileSinkConfig { min_free: MinFree::Bytes(u64::MAX), ..config });
    series.open(stream("a")).unwrap();
    assert!(name(1).exists(), "looking at a sink removes nothing");
    series.ready().unwrap_err();
    assert_eq!([1, 2, 3].map(|number| name(number).exists()), [false, true, true]);
}

/// Three changes of the slot `a`, a gap, and, if `more`, a change of the slot `b`; its lines.
fn two_streams(config: &FileSinkConfig, more: bool) -> Vec<String> {
    three(config);
    let mut series = series(Disk, config.clone());
    series.open(stream("b")).unwrap();
    let gap = Gap { from: Lsn(340), to: Some(Lsn(50)), reason: "other_cluster".to_owned() };
    series.adopt(record("b", Some(50)), Some(gap)).unwrap();
    if more {
        series.write(&batch(60, "row")).unwrap();
    }
    fs::read_to_string(&config.path).unwrap().split_inclusive('\n').map(str::to_owned).collect()
}

#[test]
fn what_stands_before_a_gap_is_never_taken_for_the_end_of_the_stream_behind_it() {
    let temp = tempfile::tempdir().unwrap();
    let config = on_disk(temp.path());
    let lines = two_streams(&config, true);
    assert_eq!(lines.len(), 5);
    // Of the gap record as last thing, of half of it, and of none of it: the other slot's positions are higher.
    for left in
        [lines[..4].concat(), lines[..4].concat()[..lines[..3].concat().len() + 5].to_owned(), lines[..2].concat()]
    {
        fs::write(&config.path, &left).unwrap();
        for _ in 0..2 {
            let mut series = series(Disk, config.clone());
            let standing = series.open(stream("b")).unwrap();
            assert_eq!(standing.cursor, None, "{left}");
            assert_eq!(standing.record.unwrap().cursor, cursor(60, true));
            series.ready().unwrap();
        }
        fs::remove_dir_all(temp.path()).unwrap();
        assert_eq!(two_streams(&config, true), lines);
    }
}

#[test]
fn finished_files_of_the_stream_before_are_not_taken_for_this_ones() {
    let temp = tempfile::tempdir().unwrap();
    // The gap's record ends the file that it stands in, and the change behind it the next one.
    let config = FileSinkConfig { rotate_size: 1, ..on_disk(temp.path()) };
    let name = |number| temp.path().join(format!("shop.{number:06}.jsonl"));
    two_streams(&config, true);
    let standing = |config: &FileSinkConfig| {
        let mut series = series(Disk, FileSinkConfig { rotate_size: 1 << 20, ..config.clone() });
        series.open(stream("b")).unwrap();
        series.write(&batch(160, "row")).unwrap();
        fs::remove_file(&config.path).unwrap();
        series.open(stream("b")).unwrap().cursor
    };
    assert_eq!(standing(&config), cursor(60, false));
    fs::remove_file(&config.path).unwrap();
    fs::remove_file(name(5)).unwrap();
    let standing = series(Disk, config).open(stream("b")).unwrap();
    assert_eq!(standing.cursor, None, "{:?}", fs::read_to_string(name(4)));
}

#[test]
fn a_full_disk_is_an_error_and_no_line_is_lost_or_repeated_by_it() {
    for room in 0..400 {
        let storage = Forgetful::new();
        let config = config(Keep::Forever);
        let mut series = series(storage.clone(), config.clone());
        series.open(stream("a")).unwrap();
        series.adopt(record("a", None), None).unwrap();
        series.write(&batch(100, "row")).unwrap();
        storage.set_room(Some(room));
        if let Err(error) = series.write(&batch(200, &"long".repeat(50))) {
            assert_eq!(error.sentence, "the file system of /changes is full");
            assert!(error.hint.contains("make room"), "{}", error.hint);
            storage.set_room(None);
            assert_eq!(series.open(stream("a")).unwrap().cursor, cursor(100, true));
            series.write(&batch(200, "row")).unwrap();
        }
        assert_eq!(read(&storage, &config.path).unwrap().iter().filter(|byte| **byte == b'\n').count(), 2);
    }
}

/// Also by a reload, which opens the series anew in the same process and knows nothing of the failure.
#[test]
fn what_a_failed_fsync_left_is_cut_off_and_written_anew() {
    for (seed, reload) in (0..40).flat_map(|seed| [(seed, false), (seed, true)]) {
        let storage = Forgetful::new();
        let config = config(Keep::Forever);
        let mut series = series(storage.clone(), config.clone());
        series.open(stream("a")).unwrap();
        series.adopt(record("a", None), None).unwrap();
        series.write(&batch(100, "row")).unwrap();
        let durable = read(&storage, &config.path).unwrap();
        let file = storage.open(&config.path, false).unwrap();
        storage.fail_sync(0, seed);
        let error = series.write(&batch(200, "row")).unwrap_err();
        assert!(error.sentence.contains("can't fsync /changes/shop.jsonl"), "{error}");
        if reload {
            drop(series);
            series = self::series(storage.clone(), config.clone());
        }
        assert_eq!(series.open(stream("a")).unwrap().cursor, cursor(100, true));
        assert!(file.is_at(&config.path).unwrap(), "it is the same file");
        assert_eq!(read(&storage, &config.path).unwrap(), durable, "nothing stands behind what counts");
        series.write(&batch(200, "row")).unwrap();
        let lines = read(&storage.crash(seed), &config.path).unwrap();
        assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 2, "and all of it is durable");
        assert!(!lines.contains(&0));
    }
}

#[tokio::test]
async fn a_call_that_is_not_waited_for_closes_the_sink() {
    let temp = tempfile::tempdir().unwrap();
    let mut sink = FileSink::new(on_disk(temp.path()), Arc::new(Disk));
    let empty = || Arc::new(HandMade::default().finish());
    assert!(sink.write(empty()).await.unwrap_err().sentence.contains("closed"));
    assert_eq!(sink.open(stream("a")).await.unwrap(), bare());
    sink.adopt(record("a", Some(50)), None).await.unwrap();
    // Polled once, and dropped while the thread still works.
    let dropped = tokio::select! {
        biased;
        _ = sink.write(empty()) => false,
        () = std::future::ready(()) => true,
    };
    assert!(dropped);
    assert!(sink.write(empty()).await.unwrap_err().sentence.contains("closed"));
    let standing = sink.open(stream("a")).await.unwrap();
    assert_eq!(standing.record.and_then(|record| record.acknowledged), Some(EndLsn::of_commit(Lsn(50))));
    sink.write(empty()).await.unwrap();
}
