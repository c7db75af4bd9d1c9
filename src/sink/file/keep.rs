//! Removing finished files that are no longer kept.

use std::io;
use std::time::SystemTime;

use super::series::Series;
use super::trouble;
use crate::config::Keep;
use crate::faults::{self, Point};
use crate::sink::SinkError;
use crate::storage::Entry;

impl<E> Series<E> {
    /// The finished files and their numbers, the oldest first.
    pub(super) fn finished(&self) -> Result<Vec<(u64, Entry)>, SinkError> {
        let dir = self.names.dir();
        let entries = self.storage.list(dir).map_err(trouble::io("list", dir))?;
        let mut finished: Vec<_> =
            entries.into_iter().filter_map(|entry| Some((self.names.number(&entry.name)?, entry))).collect();
        finished.sort_unstable_by_key(|(number, _)| *number);
        Ok(finished)
    }

    /// Removes what `keep` gives up among the finished files up to the number `last`. What can't be removed is logged:
    /// it takes room, and no change is lost by it.
    pub(super) fn remove_old(&self, last: u64) {
        if self.keep == Keep::Forever {
            return;
        }
        let mut finished = match self.finished() {
            Ok(finished) => finished,
            Err(error) => {
                tracing::warn!("finished files that `keep` gives up can't be removed: {error}");
                return;
            }
        };
        finished.retain(|(number, _)| *number <= last);
        for (at, (number, _)) in finished[..given_up(self.keep, &finished)].iter().enumerate() {
            let path = self.names.finished(*number);
            // So that no crash leaves an older file beside a hole.
            let before = if at > 0 { self.storage.sync_dir(self.names.dir()) } else { Ok(()) };
            match before.and_then(|()| self.storage.remove(&path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!("{}, which `keep` gives up, can't be removed: {error}", path.display());
                    return;
                }
                _ => faults::point(Point::KeepRemoved),
            }
        }
    }
}

/// How many of `finished`, the oldest first, are given up.
fn given_up(keep: Keep, finished: &[(u64, Entry)]) -> usize {
    match keep {
        Keep::Forever => 0,
        Keep::For(age) => {
            let now = SystemTime::now();
            let old = |(_, entry): &&(u64, Entry)| now.duration_since(entry.modified).is_ok_and(|found| found > age);
            finished.iter().take_while(old).count()
        }
        // The newest one stays whatever its length: a large row can make it longer than `keep`, and a file that is
        // removed as it is finished can't be read by anybody.
        Keep::Bytes(most) => {
            let mut bytes = 0_u64;
            let fits = |(_, entry): &&(u64, Entry)| {
                bytes = bytes.saturating_add(entry.len);
                bytes <= most
            };
            finished.len() - finished.iter().rev().take_while(fits).count().max(finished.len().min(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn files(of: &[(u64, u64)]) -> Vec<(u64, Entry)> {
        let now = SystemTime::now();
        let entry = |&(len, age)| Entry { name: String::new(), len, modified: now - Duration::from_secs(age) };
        of.iter().map(entry).enumerate().map(|(at, entry)| (at as u64, entry)).collect()
    }

    #[test]
    fn the_oldest_are_given_up_first() {
        let found = files(&[(10, 500), (20, 50), (30, 200), (40, 0)]);
        let age = |seconds| Keep::For(Duration::from_secs(seconds));
        for (keep, expected) in [
            (Keep::Forever, 0),
            (Keep::Bytes(100), 0),
            (Keep::Bytes(99), 1),
            (Keep::Bytes(70), 2),
            (Keep::Bytes(39), 3),
            (Keep::Bytes(0), 3),
            (age(1000), 0),
            (age(100), 1),
            (age(40), 3),
        ] {
            assert_eq!(given_up(keep, &found), expected, "{keep:?}");
        }
    }
}
