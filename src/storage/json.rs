//! A small JSON file that is read once and replaced whole, by write, fsync and rename.

use std::io;
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

/// The file and what it says; clones share it.
#[derive(Debug, Clone)]
pub struct JsonFile<T> {
    storage: SharedStorage,
    path: PathBuf,
    content: Arc<Mutex<T>>,
    /// One write at a time.
    writing: Arc<tokio::sync::Mutex<()>>,
}

impl<T: Clone + Default + DeserializeOwned + Serialize + Send + 'static> JsonFile<T> {
    /// Reads the file at `path`; one that is not there says nothing. Blocks.
    ///
    /// # Errors
    /// It can't be read, or is not what slotd wrote.
    pub fn open(storage: SharedStorage, path: &Path) -> Result<Self, JsonFileError> {
        let content = content(&*storage, path).map_err(|source| JsonFileError {
            verb: "read",
            path: path.to_owned(),
            source: Arc::new(source),
        })?;
        let content = Arc::new(Mutex::new(content));
        Ok(Self { storage, path: path.to_owned(), content, writing: Arc::default() })
    }

    /// What is durable.
    pub fn get<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.lock())
    }

    /// Changes it; what it said before stands until the change is durable.
    ///
    /// # Errors
    /// It can't be written.
    pub async fn change(&self, change: impl FnOnce(&mut T)) -> Result<(), JsonFileError> {
        let _one = self.writing.lock().await;
        let mut content = self.lock().clone();
        change(&mut content);
        let (storage, path, to_write) = (Arc::clone(&self.storage), self.path.clone(), content.clone());
        let write = move || {
            let mut text = serde_json::to_vec_pretty(&to_write)?;
            text.push(b'\n');
            replace(&*storage, &path, &text).map(drop)
        };
        let written = tokio::task::spawn_blocking(write).await.unwrap_or_else(|broken| Err(io::Error::other(broken)));
        written.map_err(|source| JsonFileError { verb: "write", path: self.path.clone(), source: Arc::new(source) })?;
        *self.lock() = content;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, T> {
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
    async fn what_slotd_did_not_write_is_named_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.json");
        std::fs::write(&path, "{ broken").unwrap();
        let opened = JsonFile::<Vec<u32>>::open(Arc::new(Disk), &path);
        let error = opened.unwrap_err().to_string();
        assert!(error.starts_with(&format!("can't read {}: ", path.display())), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{ broken");
    }
}
