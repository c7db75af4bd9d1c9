use std::collections::BTreeSet;

use super::*;
use crate::storage::{read, replace};

const DIR: &str = "/state";

fn fresh() -> Forgetful {
    let storage = Forgetful::new();
    storage.create_dir_all(Path::new(DIR)).unwrap();
    storage
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A file `name` that is durable with `content`.
fn settled(storage: &Forgetful, name: &str, content: &[u8]) -> Box<dyn File> {
    let mut file = storage.open(&path(name), true).unwrap();
    file.write_all_at(content, 0).unwrap();
    file.sync().unwrap();
    storage.sync_dir(Path::new(DIR)).unwrap();
    file
}

/// Everything that may stand under `name` after a crash.
fn outcomes(storage: &Forgetful, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..400).map(|seed| read(&storage.crash(seed), &path(name)).ok()).collect()
}

#[test]
fn what_was_synced_survives_every_crash() {
    let storage = fresh();
    settled(&storage, "a", b"kept");
    assert_eq!(outcomes(&storage, "a"), BTreeSet::from([Some(b"kept".to_vec())]));
}

#[test]
fn an_unsynced_write_survives_wholly_partly_or_not_at_all() {
    let storage = fresh();
    let mut file = settled(&storage, "a", b"12");
    file.write_all_at(b"34", 2).unwrap();
    assert_eq!(read(&storage, &path("a")).unwrap(), b"1234", "the process sees it");
    let found = outcomes(&storage, "a");
    for possible in [&b"12"[..], b"123", b"1234"] {
        assert!(found.contains(&Some(possible.to_vec())), "{possible:?}");
    }
    assert_eq!(found.len(), 3);
}

#[test]
fn writes_survive_independently_and_by_sectors() {
    let storage = fresh();
    let mut file = settled(&storage, "a", b"");
    file.write_all_at(b"1", 0).unwrap();
    file.write_all_at(b"2", 1).unwrap();
    assert!(outcomes(&storage, "a").contains(&Some(b"\x002".to_vec())), "the later one alone");
    let mut large = settled(&storage, "b", &[b'.'; 3 * SECTOR]);
    large.write_all_at(&[b'x'; 3 * SECTOR], 0).unwrap();
    let middle = [vec![b'.'; SECTOR], vec![b'x'; SECTOR], vec![b'.'; SECTOR]].concat();
    assert!(outcomes(&storage, "b").contains(&Some(middle)));
}

#[test]
fn a_cut_that_was_not_synced_may_come_undone() {
    let storage = fresh();
    let mut file = settled(&storage, "a", b"1234");
    file.set_len(1).unwrap();
    assert_eq!(outcomes(&storage, "a"), BTreeSet::from([Some(b"1".to_vec()), Some(b"1234".to_vec())]));
}

#[test]
fn names_are_durable_only_once_their_folder_is_synced() {
    let storage = fresh();
    let mut file = storage.open(&path("new"), true).unwrap();
    file.write_all_at(b"n", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(outcomes(&storage, "new"), BTreeSet::from([None, Some(b"n".to_vec())]));

    let storage = fresh();
    settled(&storage, "a", b"a");
    storage.rename(&path("a"), &path("b")).unwrap();
    storage.open(&path("a"), true).unwrap();
    storage.remove(&path("b")).unwrap();
    let found: BTreeSet<Vec<String>> = (0..400)
        .map(|seed| storage.crash(seed).list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect())
        .collect();
    let possible = [&["a"][..], &["b"], &["a", "b"], &[]];
    assert_eq!(found, possible.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect());
    storage.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(outcomes(&storage, "b"), BTreeSet::from([None]));

    storage.open(&path("c"), true).unwrap();
    storage.open(&path("d"), true).unwrap();
    let alone = |seed| storage.crash(seed).list(Path::new(DIR)).unwrap().iter().all(|entry| entry.name != "c");
    assert!((0..400).any(|seed| alone(seed) && storage.crash(seed).open(&path("d"), false).is_ok()));
}

#[test]
fn a_folder_is_a_name_too_and_all_in_it_goes_with_it() {
    let storage = Forgetful::new();
    let (outer, inner) = (Path::new("/a"), Path::new("/a/b"));
    assert_eq!(storage.create_dir(inner).unwrap_err().kind(), io::ErrorKind::NotFound, "it has no parent");
    storage.create_dir(outer).unwrap();
    storage.create_dir(inner).unwrap();
    assert_eq!(storage.create_dir(inner).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    storage.open(&inner.join("f"), true).unwrap();
    storage.sync_dir(inner).unwrap();
    storage.sync_dir(outer).unwrap();
    let found = |storage: &Forgetful| -> BTreeSet<_> {
        let file = |after: &Forgetful| after.open(&inner.join("f"), false).is_ok();
        (0..400).map(|seed| storage.crash(seed)).map(|after| (after.is_dir(outer), file(&after))).collect()
    };
    assert_eq!(found(&storage), BTreeSet::from([(false, false), (true, true)]));
    storage.sync_dir(Path::new("/")).unwrap();
    assert_eq!(found(&storage), BTreeSet::from([(true, true)]));
}

/// Whatever was left by a process that died on the way.
#[test]
fn folders_are_durable_once_they_and_their_parents_are_made() {
    let dir = Path::new("/a/b/c");
    for operations in 0..8 {
        let storage = Forgetful::new();
        storage.die_after(operations);
        let made = storage.create_dir_all(dir);
        storage.revive();
        if made.is_err() {
            storage.create_dir_all(dir).unwrap();
        }
        assert!((0..400).all(|seed| storage.crash(seed).is_dir(dir)), "died after {operations} operations");
    }
}

#[test]
fn a_replaced_file_is_the_old_or_the_new_one_whenever_the_process_dies() {
    for operations in 0..10 {
        let storage = fresh();
        replace(&storage, &path("a"), b"old").unwrap();
        storage.die_after(operations);
        let done = replace(&storage, &path("a"), b"new");
        let found = outcomes(&storage, "a");
        let new = Some(b"new".to_vec());
        assert!(found.is_subset(&BTreeSet::from([Some(b"old".to_vec()), new.clone()])), "{operations}");
        assert!(done.is_err() || found == BTreeSet::from([new]), "{operations}");
    }
}

#[test]
fn a_dead_process_does_nothing_any_more() {
    let storage = fresh();
    let mut file = settled(&storage, "a", b"a");
    storage.die_after(1);
    file.write_all_at(b"b", 0).unwrap();
    assert!(storage.is_dead());
    assert!(file.sync().is_err() && file.len().is_err());
    assert!(storage.list(Path::new(DIR)).is_err() && storage.open(&path("a"), false).is_err());
    assert!(storage.crash(1).open(&path("a"), false).is_ok());
    storage.revive();
    assert_eq!(read(&storage, &path("a")).unwrap(), b"b");
    assert_eq!(outcomes(&storage, "a").len(), 2, "it is still not durable");
}

#[test]
fn what_a_failed_sync_lost_no_later_sync_brings_back() {
    let mut survived = BTreeSet::new();
    for seed in 0..40 {
        let storage = fresh();
        let mut file = settled(&storage, "a", b"");
        file.write_all_at(b"12", 0).unwrap();
        // The two syncs of `b` go well.
        storage.fail_sync(2, seed);
        settled(&storage, "b", b"b");
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(file.len().unwrap(), 2, "the process still sees it");
        let found = outcomes(&storage, "a");
        assert_eq!(found.len(), 1, "nothing waits any more");
        survived.extend(found);
        file.write_all_at(b"34", 0).unwrap();
        file.sync().unwrap();
        assert_eq!(outcomes(&storage, "a"), BTreeSet::from([Some(b"34".to_vec())]), "what is written anew counts");
    }
    assert_eq!(survived.len(), 3, "all of it, a part, or nothing");
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let storage = fresh();
    let mut file = settled(&storage, "a", b"12");
    storage.set_room(Some(1));
    assert_eq!(storage.space(Path::new(DIR)).unwrap().free, 1);
    file.write_all_at(b"ab", 0).unwrap();
    assert_eq!(file.write_all_at(b"34", 2).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(read(&storage, &path("a")).unwrap(), b"ab3");
    storage.set_room(None);
    file.write_all_at(b"34", 2).unwrap();
    assert_eq!(read(&storage, &path("a")).unwrap(), b"ab34");
}

#[test]
fn a_lock_has_one_holder_and_ends_with_a_crash() {
    let storage = fresh();
    let held = storage.lock(&path("lock")).unwrap();
    assert_eq!(storage.lock(&path("lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    storage.crash(1).lock(&path("lock")).unwrap();
    drop(held);
    storage.lock(&path("lock")).unwrap();
}
