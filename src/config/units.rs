//! Sizes, times and shares, with their units in so many words.
//!
//! Units are those of Postgres' own settings, so that a value can be copied from `postgresql.conf`: kB, MB, GB, TB are
//! powers of 1024, and case matters. A number without a unit is refused, since no reader can know what it means.
//!
//! Source: <https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-NAMES-VALUES>.

use std::time::Duration;

use super::wrong::Wrong;

const SIZES: &[(&str, u64)] = &[("kB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("TB", 1 << 40)];
const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// What sums and clocks can still take: eight exabytes, a century.
const MAX_SIZE: u64 = i64::MAX as u64;
const MAX_TIME: u64 = 36_525 * 86_400_000;

/// What people write instead, in lower case, and the unit they mean.
const SIZE_HABITS: &[(&str, &str)] = &[
    ("k", "kB"),
    ("kb", "kB"),
    ("kib", "kB"),
    ("m", "MB"),
    ("mb", "MB"),
    ("mib", "MB"),
    ("g", "GB"),
    ("gb", "GB"),
    ("gib", "GB"),
    ("t", "TB"),
    ("tb", "TB"),
    ("tib", "TB"),
];
const TIME_HABITS: &[(&str, &str)] = &[
    ("m", "min"),
    ("mins", "min"),
    ("minute", "min"),
    ("minutes", "min"),
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("hr", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("milliseconds", "ms"),
];

/// A size in bytes: `256MB`.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    quantity(text, "a size", SIZES, SIZE_HABITS, MAX_SIZE)
}

/// `bytes` as it can be written, in the largest unit of which it is a whole number: `256MB`.
pub(super) fn in_units(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes.is_multiple_of(*factor);
    let (name, factor) = SIZES.iter().rev().find(fits).copied().unwrap_or(SIZES[0]);
    format!("{}{name}", bytes.div_ceil(factor))
}

/// `time` as it can be written, in the largest unit of which it is a whole number: `90s`.
pub(super) fn time_in_units(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    // No time is no time of any unit.
    let fits = |(_, factor): &&(&str, u64)| millis > 0 && millis.is_multiple_of(*factor);
    let (name, factor) = TIMES.iter().rev().find(fits).copied().unwrap_or(TIMES[1]);
    format!("{}{name}", millis / factor)
}

/// A time: `30s`.
pub(super) fn time(text: &str) -> Result<Duration, Wrong> {
    quantity(text, "a time", TIMES, TIME_HABITS, MAX_TIME).map(Duration::from_millis)
}

/// A share of the whole, 0 to under 100: `5%`.
pub(super) fn percent(text: &str) -> Result<f64, Wrong> {
    let number = text.trim().strip_suffix('%').map(str::trim_end);
    let plain = number.filter(|number| number.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    plain
        .and_then(|number| number.parse::<f64>().ok())
        .filter(|share| (0.0..100.0).contains(share))
        .ok_or_else(|| Wrong::new("a share is a number from 0 to under 100 and `%`").hint("write \"5%\""))
}

fn quantity(
    text: &str,
    what: &str,
    units: &'static [(&str, u64)],
    habits: &'static [(&str, &str)],
    most: u64,
) -> Result<u64, Wrong> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let unit = unit.trim_start();
    let names = units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if digits.is_empty() {
        return Err(Wrong::new(format!("{what} is a whole number and a unit: {names}")));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let meant = habits.iter().find(|(habit, _)| *habit == unit.to_lowercase());
        let wrong = if unit.is_empty() {
            Wrong::new(format!("{what} needs a unit: {names}"))
        } else if unit.starts_with('.') {
            Wrong::new(format!("{what} is a whole number and a unit")).hint("use the next smaller unit")
        } else {
            Wrong::new(format!("this is not a unit of {what}: {names}"))
        };
        return Err(match meant {
            Some((_, name)) => wrong.hint(format!("write \"{digits}{name}\"")),
            None => wrong,
        });
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .filter(|number| *number <= most)
        .ok_or_else(|| Wrong::new(format!("{what} as large as this can't be meant")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_those_of_postgres() {
        assert_eq!(size("1kB").unwrap(), 1024);
        assert_eq!(size(" 256 MB ").unwrap(), 256 << 20);
        assert_eq!(size("2TB").unwrap(), 2 << 40);
        assert_eq!(time("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(time("5min").unwrap(), Duration::from_mins(5));
        assert_eq!(time("7d").unwrap(), Duration::from_hours(7 * 24));
    }

    #[test]
    fn a_size_is_shown_as_people_write_it() {
        for text in ["0TB", "1kB", "256MB", "1025MB", "20GB", "3TB"] {
            assert_eq!(in_units(size(text).unwrap()), text);
        }
    }

    #[test]
    fn a_wrong_unit_is_answered_with_the_right_one() {
        for (text, meant) in [("256mb", "256MB"), ("256MiB", "256MB"), ("1K", "1kB"), ("20 G", "20GB")] {
            assert_eq!(size(text).unwrap_err().hint.unwrap(), format!("write \"{meant}\""), "{text}");
        }
        for (text, meant) in [("5m", "5min"), ("10 seconds", "10s"), ("1Days", "1d")] {
            assert_eq!(time(text).unwrap_err().hint.unwrap(), format!("write \"{meant}\""), "{text}");
        }
    }

    #[test]
    fn what_has_no_unit_or_no_number_is_refused() {
        for bad in ["", "5", "kB", "-1kB", "+1kB", "1.5GB", "0x10kB", "1 2kB", "99999999999999999999kB", "8388608TB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "5", "s", "-1s", "1.5h", "1s1s", "١s", "36526d"] {
            assert!(time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_share_is_under_a_hundred() {
        assert_eq!(percent("5%").unwrap(), 5.0);
        assert_eq!(percent("0.5 %").unwrap(), 0.5);
        for bad in ["", "%", "5", "100%", "-1%", "NaN%", "inf%", "1e1%", "."] {
            assert!(percent(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_size_is_its_number_times_its_unit(number in 0_u64..1 << 23, unit in 0..SIZES.len()) {
            let (name, factor) = SIZES[unit];
            prop_assert_eq!(size(&format!("{number}{name}")).unwrap(), number * factor);
            prop_assert_eq!(size(&in_units(number * factor)).unwrap(), number * factor);
            prop_assert_eq!(size(&format!("{number} {name}")).unwrap(), number * factor);
            prop_assert!(size(&number.to_string()).is_err());
        }

        #[test]
        fn every_time_is_its_number_times_its_unit(number in 0_u64..36_525, unit in 0..TIMES.len()) {
            let (name, factor) = TIMES[unit];
            prop_assert_eq!(time(&format!("{number}{name}")).unwrap(), Duration::from_millis(number * factor));
            prop_assert_eq!(time(&time_in_units(Duration::from_millis(number * factor))).unwrap().as_millis(), u128::from(number * factor));
            prop_assert!(time(&number.to_string()).is_err());
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = (size(&text), time(&text), percent(&text));
        }
    }
}
