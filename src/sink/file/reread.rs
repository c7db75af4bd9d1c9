//! Reading back what was written: where a file that is shorter than it was left really ends.

use std::io;

use memchr::memrchr;
use serde::Deserialize;

use crate::lsn::Lsn;
use crate::storage::File;

/// How much is read at once while looking for a line break.
const CHUNK: u64 = 64 * 1024;

/// What the last complete lines of a file say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LastLine {
    /// The commit LSN and the ordinal of the last change, as a cursor has them.
    Change(Lsn, Option<u64>),
    /// No line, or a gap record: what stands before that is of another stream.
    None,
    /// The line is not one of ours.
    Foreign,
}

/// As much of a line as is needed here.
#[derive(Deserialize)]
struct Line {
    action: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    commit_lsn: Option<u64>,
    commit_idx: Option<u64>,
}

/// Where the last complete line before `before` ends, its line break included; 0 if there is none.
pub(super) fn end_of_lines(file: &dyn File, before: u64) -> io::Result<u64> {
    let mut end = before;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let chunk = bytes(file, start, end)?;
        if let Some(at) = memrchr(b'\n', &chunk) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// What the line says that ends at `end`, which is what [`end_of_lines`] told.
pub(super) fn last_line(file: &dyn File, end: u64) -> io::Result<LastLine> {
    if end == 0 {
        return Ok(LastLine::None);
    }
    let start = end_of_lines(file, end - 1)?;
    let line = serde_json::from_slice::<Line>(&bytes(file, start, end)?);
    Ok(match line.map(|line| (line.action, line.metadata.commit_lsn, line.metadata.commit_idx)) {
        Ok((action, ..)) if action == "gap" => LastLine::None,
        Ok((_, Some(commit_lsn), Some(ordinal))) => LastLine::Change(Lsn(commit_lsn), Some(ordinal)),
        Ok((action, Some(commit_lsn), None)) if action == "message" => LastLine::Change(Lsn(commit_lsn), None),
        _ => LastLine::Foreign,
    })
}

/// Whether the first of `len` bytes may be a line that begins with `begin`: a crash may have left zeros in their place.
pub(super) fn begins_as(file: &dyn File, len: u64, begin: &[u8]) -> io::Result<bool> {
    let found = bytes(file, 0, len.min(begin.len() as u64))?;
    Ok(found.iter().zip(begin).all(|(found, expected)| found == expected || *found == 0))
}

fn bytes(file: &dyn File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::storage::Storage;
    use crate::storage::forgetful::Forgetful;

    fn read(content: &str) -> (u64, LastLine) {
        let storage = Forgetful::new();
        storage.create_dir_all(Path::new("/c")).unwrap();
        let mut file = storage.open(Path::new("/c/f"), true).unwrap();
        file.write_all_at(content.as_bytes(), 0).unwrap();
        let end = end_of_lines(&*file, content.len() as u64).unwrap();
        (end, last_line(&*file, end).unwrap())
    }

    #[test]
    fn the_last_change_is_found_before_torn_lines_and_not_before_gaps() {
        let a =
            "{\"action\":\"insert\",\"record\":{\"x\":\"\\\"\"},\"metadata\":{\"commit_lsn\":7,\"commit_idx\":2}}\n";
        let gap = "{\"action\":\"gap\",\"metadata\":{\"from\":\"0/1\",\"commit_lsn\":9}}\n";
        let long = a.replace("\\\"", &"y".repeat(200_000));
        let change = |lsn, ordinal| LastLine::Change(Lsn(lsn), Some(ordinal));
        let message = "{\"action\":\"message\",\"metadata\":{\"commit_lsn\":7,\"commit_idx\":null}}\n";
        for (content, kept, expected) in [
            (String::new(), 0, LastLine::None),
            ("{\"act".to_owned(), 0, LastLine::None),
            (a.to_owned(), a.len(), change(7, 2)),
            (format!("{a}{{\"action\":"), a.len(), change(7, 2)),
            (format!("{a}{message}"), a.len() + message.len(), LastLine::Change(Lsn(7), None)),
            (format!("{a}{gap}"), a.len() + gap.len(), LastLine::None),
            (format!("{gap}{a}"), a.len() + gap.len(), change(7, 2)),
            (gap.repeat(3), 3 * gap.len(), LastLine::None),
            (format!("{a}{}", long.replace(":2", ":3")), a.len() + long.len(), change(7, 3)),
            (format!("{a}{}", &long[..150_000]), a.len(), change(7, 2)),
            ("somebody's notes\n".to_owned(), 17, LastLine::Foreign),
            (format!("{a}\n"), a.len() + 1, LastLine::Foreign),
            ("{\"action\":\"insert\",\"metadata\":{}}\n".to_owned(), 34, LastLine::Foreign),
        ] {
            let label = &content[..content.len().min(60)];
            assert_eq!(read(&content), (kept as u64, expected), "{label}");
        }
    }
}
