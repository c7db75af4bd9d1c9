//! Moments in words: `2026-11-20T10:00:00Z, 5 days ago`.

use std::fmt;

use jiff::Timestamp;

/// From which length on a unit is used: below two of it, a smaller one says more.
const UNITS: &[(i64, &str)] = &[(2 * 86_400, "days"), (2 * 3_600, "hours"), (2 * 60, "minutes"), (2, "seconds")];

/// A moment as it looks from another: in RFC 3339, and how far off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When {
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.now.as_second() - self.at.as_second();
        write!(f, "{:.0}, ", self.at)?;
        let far = seconds.unsigned_abs().cast_signed();
        match UNITS.iter().find(|(least, _)| far >= *least) {
            Some((least, unit)) if seconds > 0 => write!(f, "{} {unit} ago", 2 * far / least),
            Some((least, unit)) => write!(f, "in {} {unit}", 2 * far / least),
            None => f.write_str("just now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_off_is_said_in_the_unit_that_says_most() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (offset, words) in [
            (0, "just now"),
            (-1, "just now"),
            (-2, "2 seconds ago"),
            (-119, "119 seconds ago"),
            (-120, "2 minutes ago"),
            (-7_199, "119 minutes ago"),
            (-7_200, "2 hours ago"),
            (-172_799, "47 hours ago"),
            (-172_800, "2 days ago"),
            (-400 * 86_400, "400 days ago"),
            (90, "in 90 seconds"),
            (3 * 86_400 + 5, "in 3 days"),
        ] {
            let at = Timestamp::from_second(now.as_second() + offset).unwrap();
            assert_eq!(When { at, now }.to_string(), format!("{at}, {words}"));
        }
        let at = "2026-11-20T10:00:00.9Z".parse().unwrap();
        assert!(When { at, now }.to_string().starts_with("2026-11-20T10:00:00Z, "));
    }
}
