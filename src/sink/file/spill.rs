//! From the encoder to the file, without the whole of a batch in memory.

use std::path::Path;

use super::room::{Room, Why};
use super::trouble;
use crate::encode::Out;
use crate::faults::{self, Point};
use crate::sink::SinkError;
use crate::storage::File;

/// The most bytes that wait in memory.
const SPILL: usize = 256 * 1024;

/// Collects bytes and writes them to the end of a file, [`SPILL`] at a time, as long as there is room. The first error
/// is kept and told by [`Spill::finish`]; nothing is written after it.
pub(super) struct Spill<'a> {
    file: &'a mut dyn File,
    path: &'a Path,
    room: &'a mut Room,
    start: u64,
    at: u64,
    expected: usize,
    buffer: Vec<u8>,
    done: Result<(), SinkError>,
}

impl<'a> Spill<'a> {
    /// Writes to `file`, which stands at `path`, from `start` on; `expected` bytes, more or less.
    pub(super) fn new(file: &'a mut dyn File, path: &'a Path, room: &'a mut Room, start: u64, expected: usize) -> Self {
        let buffer = Vec::with_capacity(expected.min(SPILL));
        Self { file, path, room, start, at: start, expected, buffer, done: Ok(()) }
    }

    /// Writes what is left, and tells where the file now ends.
    pub(super) fn finish(mut self) -> Result<u64, SinkError> {
        let bytes = std::mem::take(&mut self.buffer);
        let (first, second) = bytes.split_at(faults::torn_at(bytes.len()));
        if !first.is_empty() {
            self.write(first);
            faults::point(Point::FileHalfWritten);
        }
        self.write(second);
        self.done.map(|()| self.at)
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.done.is_ok() && !bytes.is_empty() {
            let end = self.at + bytes.len() as u64;
            let wanted = (end - self.start).max(self.expected as u64);
            self.done = self.room.take(bytes.len() as u64, wanted).and_then(|()| {
                self.file.write_all_at(bytes, self.at).map_err(|error| match Why::of(&error) {
                    Some(why) => self.room.refuse(why, wanted),
                    None => trouble::io("write", self.path)(error),
                })
            });
            self.at = end;
        }
    }

    fn flush(&mut self) {
        let mut bytes = std::mem::take(&mut self.buffer);
        self.write(&bytes);
        bytes.clear();
        self.buffer = bytes;
    }
}

impl Out for Spill<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > SPILL {
            self.flush();
            if bytes.len() >= SPILL {
                return self.write(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::MinFree;
    use crate::storage::forgetful::Forgetful;
    use crate::storage::{Storage, read};

    fn room(storage: &Forgetful) -> Room {
        Room::new(Arc::new(storage.clone()), "/c".into(), MinFree::Bytes(0))
    }

    #[test]
    fn what_is_put_stands_in_the_file_in_order_and_memory_stays_small() {
        let storage = Forgetful::new();
        storage.create_dir_all(Path::new("/c")).unwrap();
        let mut file = storage.open(Path::new("/c/f"), true).unwrap();
        let mut expected = b"before".to_vec();
        file.write_all_at(&expected, 0).unwrap();
        let mut room = room(&storage);
        let mut spill = Spill::new(&mut *file, Path::new("/c/f"), &mut room, 6, 10);
        for (at, len) in [1, 1000, SPILL - 500, SPILL, 3 * SPILL, 7, 0, SPILL - 7].into_iter().enumerate() {
            let bytes = vec![b'a' + u8::try_from(at).unwrap(); len];
            spill.put(&bytes);
            expected.extend_from_slice(&bytes);
            assert!(spill.buffer.capacity() <= 2 * SPILL);
        }
        assert_eq!(spill.finish().unwrap(), expected.len() as u64);
        assert!(read(&storage, Path::new("/c/f")).unwrap() == expected);
    }

    #[test]
    fn the_first_error_is_told_at_the_end_and_nothing_follows_it() {
        let storage = Forgetful::new();
        storage.create_dir_all(Path::new("/c")).unwrap();
        let mut file = storage.open(Path::new("/c/f"), true).unwrap();
        storage.set_room(Some(SPILL as u64));
        let mut room = room(&storage);
        let mut spill = Spill::new(&mut *file, Path::new("/c/f"), &mut room, 0, 0);
        for _ in 0..3 {
            spill.put(&[b'x'; SPILL]);
        }
        storage.set_room(None);
        spill.put(&[b'y'; SPILL]);
        assert_eq!(spill.finish().unwrap_err().sentence, "the file system of /c is full");
        assert_eq!(file.len().unwrap(), SPILL as u64);
    }
}
