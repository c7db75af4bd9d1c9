//! The history of a server's timelines: which one wrote which part of the WAL.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-replication.html>, `TIMELINE_HISTORY`.

use crate::lsn::{Lsn, Timeline};

/// The timelines that lead to the one a server is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The timelines before, oldest first, and where each ended.
    ended: Vec<(u32, Lsn)>,
    current: u32,
}

/// A history file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the history of timeline {timeline} has a line that can't be read")]
pub struct HistoryError {
    pub timeline: u32,
}

impl History {
    /// Timeline 1, which has no history, or one whose history was not asked for.
    #[must_use]
    pub const fn begin(timeline: u32) -> Self {
        Self { ended: Vec::new(), current: timeline }
    }

    /// Parses the content of a history file: `timeline`, tab, LSN, tab, reason; a line for each earlier timeline.
    ///
    /// # Errors
    /// A line has another form.
    pub fn parse(timeline: u32, content: &str) -> Result<Self, HistoryError> {
        let ended = content
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let mut fields = line.split_ascii_whitespace();
                let earlier = fields.next()?.parse().ok()?;
                Some((earlier, fields.next()?.parse().ok()?))
            })
            .collect::<Option<_>>()
            .ok_or(HistoryError { timeline })?;
        Ok(Self { ended, current: timeline })
    }

    /// The timeline that the server is on.
    #[must_use]
    pub fn current(&self) -> Timeline {
        Timeline { id: self.current, begin: self.ended.last().map_or(Lsn::ZERO, |(_, end)| *end) }
    }

    /// The timeline that wrote the record at `lsn`.
    #[must_use]
    pub fn timeline_of(&self, lsn: Lsn) -> u32 {
        self.ended.iter().find(|(_, end)| lsn < *end).map_or(self.current, |(timeline, _)| *timeline)
    }

    /// Where `timeline` ended; `None` if it is the current one, an error if it is not part of this history.
    ///
    /// # Errors
    /// The server does not descend from that timeline.
    pub fn end_of(&self, timeline: Timeline) -> Result<Option<Lsn>, Unrelated> {
        if timeline == self.current() {
            return Ok(None);
        }
        let mut begin = Lsn::ZERO;
        for &(id, end) in &self.ended {
            if timeline == (Timeline { id, begin }) {
                return Ok(Some(end));
            }
            begin = end;
        }
        Err(Unrelated)
    }
}

/// A timeline is not part of a server's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unrelated;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lsn_has_the_timeline_that_wrote_it() {
        let history = History::parse(3, "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\twhy\n").unwrap();
        assert_eq!(history.timeline_of(Lsn(0x2FF_FFFF)), 1);
        assert_eq!(history.timeline_of(Lsn(0x300_0000)), 2);
        assert_eq!(history.timeline_of(Lsn(0x500_0000)), 3);
        let end_of = |id, begin| history.end_of(Timeline { id, begin: Lsn(begin) });
        assert_eq!(end_of(1, 0), Ok(Some(Lsn(0x300_0000))));
        assert_eq!(end_of(2, 0x300_0000), Ok(Some(Lsn(0x500_0000))));
        assert_eq!(end_of(3, 0x500_0000), Ok(None));
        assert_eq!(end_of(4, 0x500_0000), Err(Unrelated));
        assert_eq!(end_of(2, 0x200_0000), Err(Unrelated), "one of the same number that forked elsewhere");
        assert_eq!(end_of(3, 0x200_0000), Err(Unrelated));
        assert_eq!(History::parse(2, "1\tnonsense\twhy"), Err(HistoryError { timeline: 2 }));
    }
}
