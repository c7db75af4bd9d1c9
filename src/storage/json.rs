//! A small JSON file that is read once and replaced whole, by write, fsync and rename.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{SharedStorage, Storage, read, replace};

/// It can't be read or written, or is not what slotd wrote.
#[derive(Debug, Clone, thiserror::Error)]
#[error("can't {verb} {path}: {source}", path = path.display())]
pub struct JsonFileError {
    verb: &'static str,
    path: PathBuf,
    #[source]
    source: Arc<io::Error>,
}

/// The file and what it says; clones share it. Changes that wait for a write are in the next one together: hundreds of
/// databases that begin at once cost a few.
#[derive(Debug, Clone)]
pub struct JsonFile<T> {
    storage: SharedStorage,
    path: PathBuf,
    content: Arc<Mutex<Content<T>>>,
    /// One write at a time.
    writing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Content<T> {
    durable: T,
    /// With the changes that are not durable yet.
    next: T,
    /// How many changes there were, and up to which of them all are durable or undone.
    changes: u64,
    written: u64,
    /// Those that the last write that failed has undone.
    undone: Option<(RangeInclusive<u64>, JsonFileError)>,
}

impl<T: Clone + Default + DeserializeOwned + Serialize + Send + 'static> JsonFile<T> {
    /// Reads the file at `path`; one that is not there says nothing. Blocks.
    ///
    /// # Errors
    /// It can't be read, or is not what slotd wrote.
    pub fn open(storage: SharedStorage, path: &Path) -> Result<Self, JsonFileError> {
        let durable: T = content(&*storage, path).map_err(|source| JsonFileError {
            verb: "read",
            path: path.to_owned(),
            source: Arc::new(source),
        })?;
        let content = Content { next: durable.clone(), durable, changes: 0, written: 0, undone: None };
        let content = Arc::new(Mutex::new(content));
        Ok(Self { storage, path: path.to_owned(), content, writing: Arc::default() })
    }

    /// What is durable.
    pub fn get<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.lock().durable)
    }

    /// Changes it; what it said before stands until the change is durable. A write that has begun ends, also if it is not waited
    /// for any more.
    ///
    /// # Errors
    /// It can't be written, and the change is undone, with those that waited with it.
    pub async fn change(&self, change: impl FnOnce(&mut T)) -> Result<(), JsonFileError> {
        let ours = {
            let mut content = self.lock();
            change(&mut content.next);
            content.changes += 1;
            content.changes
        };
        let one = Arc::clone(&self.writing).lock_owned().await;
        let (to_write, changes) = {
            let content = self.lock();
            if let Some((_, error)) = content.undone.as_ref().filter(|(undone, _)| undone.contains(&ours)) {
                return Err(error.clone());
            }
            if content.written >= ours {
                return Ok(());
            }
            (content.next.clone(), content.changes)
        };
        let file = self.clone();
        let write = move || {
            let _one = one;
            let written = file.write(&to_write);
            file.settle(written.map(|()| (to_write, changes)))
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.unwrap_or_else(|broken| self.settle(Err(io::Error::other(broken))))
    }

    fn write(&self, content: &T) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(content)?;
        text.push(b'\n');
        replace(&*self.storage, &self.path, &text).map(drop)
    }

    /// What has become of a write: what is durable, up to which change; or nothing more.
    fn settle(&self, written: io::Result<(T, u64)>) -> Result<(), JsonFileError> {
        let mut content = self.lock();
        match written {
            Ok((durable, changes)) => {
                content.durable = durable;
                content.written = changes;
                Ok(())
            }
            Err(source) => {
                let error = JsonFileError { verb: "write", path: self.path.clone(), source: Arc::new(source) };
                // All that has come so far, also while this was being written, rested on what is undone.
                content.next = content.durable.clone();
                content.undone = Some((content.written + 1..=content.changes, error.clone()));
                content.written = content.changes;
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Content<T>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn content<T: Default + DeserializeOwned>(storage: &dyn Storage, path: &Path) -> io::Result<T> {
    match read(storage, path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Disk;
    use crate::storage::forgetful::Forgetful;

    #[tokio::test]
    async fn what_was_changed_is_there_after_a_crash_and_half_of_it_never() {
        let mut storage = Forgetful::new();
        let path = Path::new("/state/numbers.json");
        storage.create_dir_all(Path::new("/state")).unwrap();
        let file: JsonFile<Vec<u32>> = JsonFile::open(Arc::new(storage.clone()), path).unwrap();
        assert_eq!(file.get(Vec::clone), Vec::<u32>::new());
        for number in 0..5 {
            let file: JsonFile<Vec<u32>> = JsonFile::open(Arc::new(storage.clone()), path).unwrap();
            file.change(|numbers| numbers.push(number)).await.unwrap();
            storage = storage.crash(number.into());
            let again: JsonFile<Vec<u32>> = JsonFile::open(Arc::new(storage.clone()), path).unwrap();
            assert_eq!(again.get(Vec::clone), (0..=number).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn changes_that_come_at_once_are_all_there_and_cost_few_writes() {
        let storage = Forgetful::new();
        storage.create_dir_all(Path::new("/state")).unwrap();
        let file: JsonFile<Vec<u32>> =
            JsonFile::open(Arc::new(storage.clone()), Path::new("/state/numbers.json")).unwrap();
        file.change(|numbers| numbers.push(0)).await.unwrap();
        let of_one = storage.operations();
        let changes = (1..=100).map(|number| file.change(move |numbers| numbers.push(number)));
        // They come while one is being written.
        let writing = Arc::clone(&file.writing).lock_owned().await;
        let written = async {
            tokio::task::yield_now().await;
            drop(writing);
        };
        let (changed, ()) = tokio::join!(futures_util::future::join_all(changes), written);
        for changed in changed {
            changed.unwrap();
        }
        assert_eq!(file.get(Vec::clone), (0..=100).collect::<Vec<_>>());
        assert!(storage.operations() <= 4 * of_one, "{} operations, and {of_one} for one", storage.operations());
    }

    #[tokio::test]
    async fn a_change_that_could_not_be_written_is_undone_and_told_to_all_who_wait() {
        let storage = Forgetful::new();
        storage.create_dir_all(Path::new("/state")).unwrap();
        let file: JsonFile<Vec<u32>> =
            JsonFile::open(Arc::new(storage.clone()), Path::new("/state/numbers.json")).unwrap();
        file.change(|numbers| numbers.push(0)).await.unwrap();
        storage.set_room(Some(0));
        let changes = (1..=3).map(|number| file.change(move |numbers| numbers.push(number)));
        assert!(futures_util::future::join_all(changes).await.iter().all(Result::is_err));
        assert_eq!(file.get(Vec::clone), [0]);
        storage.set_room(None);
        file.change(|numbers| numbers.push(4)).await.unwrap();
        assert_eq!(file.get(Vec::clone), [0, 4]);
    }

    #[tokio::test]
    async fn what_slotd_did_not_write_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.json");
        std::fs::write(&path, "{ broken").unwrap();
        let opened = JsonFile::<Vec<u32>>::open(Arc::new(Disk), &path);
        let error = opened.unwrap_err().to_string();
        assert!(error.starts_with(&format!("can't read {}: ", path.display())), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{ broken");
    }

    /// Blocks in its write until the gate is open.
    #[derive(Debug, Clone, Default, serde::Deserialize)]
    struct Slow(u32);

    static GATE: (Mutex<bool>, std::sync::Condvar) = (Mutex::new(false), std::sync::Condvar::new());

    impl Serialize for Slow {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |open| !*open).unwrap());
            serializer.serialize_u32(self.0)
        }
    }

    #[tokio::test]
    async fn a_write_that_is_not_waited_for_any_more_counts_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = JsonFile::<Slow>::open(Arc::new(Disk), &folder.path().join("made.json")).unwrap();
        let mut first = Box::pin(file.change(|content| content.0 = 1));
        // It has begun.
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        *GATE.0.lock().unwrap() = true;
        GATE.1.notify_all();
        let counts = async {
            while file.get(|content| content.0) != 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), counts).await.unwrap();
        file.change(|content| content.0 = 2).await.unwrap();
        assert_eq!(file.get(|content| content.0), 2);
    }
}
