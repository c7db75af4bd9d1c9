//! What goes wrong with files, in words for the operator.

use std::io;
use std::path::Path;

use super::room::Why;
use crate::sink::SinkError;

/// Turns an error of the file system into the sink's: `verb` is what was tried on `path`.
pub(super) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SinkError {
    move |error| match Why::of(&error) {
        // The same words whichever file it was.
        Some(why) => SinkError { source: Some(error), ..no_room(path.parent().unwrap_or(path), why, None, 0) },
        None => SinkError {
            sentence: format!("can't {verb} {}: {}", path.display(), error.kind()),
            hint: hint(verb, path, error.kind()),
            source: Some(error),
        },
    }
}

fn hint(verb: &str, path: &Path, kind: io::ErrorKind) -> String {
    let dir = path.parent().unwrap_or(path).display();
    match kind {
        io::ErrorKind::PermissionDenied => {
            format!("let the user that slotd runs as write in {dir}; under systemd, name it in ReadWritePaths= too")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("mount the file system of {dir} for writing; it may have gone read-only after an error: see dmesg")
        }
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            format!("move away what stands at {}, or set another `path` on the sink", path.display())
        }
        _ if verb == "fsync" => format!(
            "the disk did not take what was written: see dmesg and the disk's health; slotd goes on in a new copy of {}",
            path.display()
        ),
        _ => format!("see dmesg and the health of the file system of {dir}; slotd tries again by itself"),
    }
}

/// Another process, or another database of this one, has the series.
pub(super) fn locked(path: &Path) -> SinkError {
    SinkError {
        sentence: format!("the files of {} are being written by somebody else", path.display()),
        hint: "another agent is running, or another database has the same `path`: end it, or put {database} into the \
               sink's `path`"
            .to_owned(),
        source: None,
    }
}

/// A file without a sidecar.
pub(super) fn foreign(path: &Path, len: u64, sidecar: &Path) -> SinkError {
    SinkError {
        sentence: format!(
            "{} has {len} bytes that slotd does not know: there is no {} beside it",
            path.display(),
            sidecar.display()
        ),
        hint: format!("move {} away, and slotd begins a new file there; nothing is overwritten", path.display()),
        source: None,
    }
}

/// A file that is not the one of which the sidecar tells.
pub(super) fn exchanged(path: &Path, sidecar: &Path) -> SinkError {
    SinkError {
        sentence: format!("{} is not the file that {} tells of", path.display(), sidecar.display()),
        hint: format!(
            "put slotd's own file back; or move {} away, and slotd looks what is missing; nothing is overwritten",
            path.display()
        ),
        source: None,
    }
}

/// A sidecar of which no entry is whole.
pub(super) fn unreadable_sidecar(path: &Path) -> SinkError {
    SinkError {
        sentence: format!("{} can't be understood: neither of its two entries is whole", path.display()),
        hint: "restore it; or move it and the file beside it away, and the stream begins anew where the slot stands, \
               the last changes perhaps once more"
            .to_owned(),
        source: None,
    }
}

/// The file was moved, removed or cut under the sink's hands.
pub(super) fn touched(path: &Path) -> SinkError {
    SinkError {
        sentence: format!("{} was moved, removed or changed while slotd writes it", path.display()),
        hint: "put it back if it is still there; leave the current file alone and take finished files only".to_owned(),
        source: None,
    }
}

/// Lines would be missing.
pub(super) fn undecoded(path: &Path, found: usize, expected: usize) -> SinkError {
    SinkError {
        sentence: format!("of a batch of {expected} changes for {} only {found} can be decoded again", path.display()),
        hint: "this is a defect of slotd; nothing of the batch counts, and nothing is acknowledged".to_owned(),
        source: None,
    }
}

/// There is no room in `dir`, for the reason `why`; it goes on once `needed` bytes are free, of `total`.
///
/// No figure in the sentence that changes while nothing is done about it: each new sentence is a line of the log.
pub(super) fn no_room(dir: &Path, why: Why, needed: Option<u64>, total: u64) -> SinkError {
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let dir = dir.display();
    let sentence = match why {
        Why::MinFree(floor) => format!(
            "the file system of {dir} has no room above min_free, which keeps {} MB of {} MB free",
            megabytes(floor),
            megabytes(total)
        ),
        Why::Full => format!("the file system of {dir} is full"),
        Why::Quota => format!("the quota on the file system of {dir} is used up"),
    };
    let until = needed.map_or_else(String::new, |needed| format!(" until {} MB are free", megabytes(needed)));
    let lower = if matches!(why, Why::MinFree(_)) { ", or lower its `min_free`" } else { "" };
    SinkError {
        sentence,
        hint: format!("make room there{until}, or set `keep` on the sink{lower}; slotd then goes on by itself"),
        source: None,
    }
}

/// The call before it failed or was not waited for.
pub(super) fn closed(path: &Path) -> SinkError {
    SinkError {
        sentence: format!("{} is closed after an error", path.display()),
        hint: "slotd opens it again by itself".to_owned(),
        source: None,
    }
}

/// The thread that wrote ended early.
pub(super) fn ended(path: &Path, error: tokio::task::JoinError) -> SinkError {
    SinkError {
        sentence: format!("writing {} ended early", path.display()),
        hint: "slotd opens it again by itself; if this comes back, the log says what broke".to_owned(),
        source: Some(io::Error::other(error)),
    }
}
