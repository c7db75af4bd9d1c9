//! Sizes, ages and foreign text as people read them, the same in log, health and table.

use std::time::Duration;

/// `bytes` with the units of Postgres (1 kB is 1024 bytes), to three figures at most before the unit changes.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = u128::from(bytes) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    if whole < 10 && tenth > 0 {
        format!("{whole}.{tenth} {}", UNITS[unit])
    } else {
        format!("{whole} {}", UNITS[unit])
    }
}

/// `age` in its largest whole unit, with the units of the file.
#[must_use]
pub fn age(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `time` in two units, for what is over: `1 h 0 min`.
#[must_use]
pub fn lasted(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..172_800 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// `1 failure`, `2 failures`.
#[must_use]
pub fn failures(count: u32) -> String {
    format!("{count} failure{}", if count == 1 { "" } else { "s" })
}

/// `1 database`, `2 databases`.
#[must_use]
pub fn databases(count: usize) -> String {
    format!("{count} database{}", if count == 1 { "" } else { "s" })
}

/// `text` without line breaks and other control characters: text of a server must not forge a line of a log or answer.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_in_postgres_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 kB"),
            (1536, "1.5 kB"),
            (16 << 20, "16 MB"),
            ((1 << 30) - 1, "1023 MB"),
            (10 << 30, "10 GB"),
            (u64::MAX, "15 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_599, "59 min"), (7_200, "2 h"), (172_800, "2 d")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn what_is_over_has_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_661, "1 h 1 min"),
            (172_800, "2 d 0 h"),
            (180_000, "2 d 2 h"),
        ] {
            assert_eq!(lasted(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(one_line("a\r\nb\u{1b}[31mc"), "a  b [31mc");
    }
}
