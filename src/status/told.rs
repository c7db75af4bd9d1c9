//! Which of a database's conditions are logged, and which are only counted.
//!
//! A trouble is logged when it comes. While it comes again and again it is counted, and logged with the count once in
//! [`AGAIN`]; so is one of several that come in turn, and a stream that breaks each time soon after it began. Yet what
//! the log said last is never untrue for long: a state that is back is logged anew once it has lasted for [`STEADY`].

use std::net::Ipv4Addr;
use std::time::Duration;

use jiff::Timestamp;

use super::streak::AGAIN;
use super::verdict::elapsed;
use super::{Condition, PERIOD, Reason, State};

/// A stream that lived this long has recovered; one that broke sooner is still in the trouble it was in.
pub const STEADY: Duration = PERIOD;
/// How many sentences are remembered; more than come in turn.
const MOST: usize = 16;

/// What was logged since the database last streamed steadily.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Told {
    said: Vec<Said>,
    /// What the log says now.
    last: Option<What>,
    /// What was reported last, and since when nothing else was.
    current: Option<(What, Timestamp)>,
    /// Tries and streams that ended in trouble.
    failures: u32,
    /// Since when there has been trouble.
    since: Option<Timestamp>,
}

/// One sentence of the log, without its figures: one with a position that moves is not another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct What {
    state: State,
    reason: Option<Reason>,
    words: String,
}

/// What was said before, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    what: What,
    first: Timestamp,
    last: Timestamp,
    /// Of a trouble, how often it came; else how many there had been of any when this was logged.
    failures: u32,
}

/// How often tries have failed, and over which time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) failures: u32,
    pub(super) over: Duration,
}

impl Told {
    /// Takes in that the state and the reason of `condition` have held since `entered`; `failed` if one more try or
    /// stream has just ended so. Gives what to log with it, if it is to be logged.
    pub(super) fn report(
        &mut self,
        condition: &Condition,
        entered: Timestamp,
        failed: bool,
        now: Timestamp,
    ) -> Option<Count> {
        let what = What::of(condition);
        let trouble = matches!(what.state, State::Failed | State::Lost | State::Retrying | State::Waiting);
        let since = match &self.current {
            Some((current, since)) if *current == what => *since,
            _ => now,
        };
        self.current = Some((what.clone(), since));
        // The sentence of a trouble may change while its state and its reason stay.
        let lasts = elapsed(if trouble { since } else { entered }, now) >= STEADY;
        if trouble {
            if self.since.is_none() {
                self.since = Some(now);
                self.said.clear();
            }
            self.failures = self.failures.saturating_add(failed.into());
        }
        let all = match (what.state, self.since) {
            (State::Streaming, Some(since)) => Count { failures: self.failures, over: elapsed(since, now) },
            _ => Count::default(),
        };
        let count = match self.said.iter_mut().find(|said| said.what == what) {
            None => {
                if self.said.len() == MOST {
                    self.said.remove(0);
                }
                let failures = if trouble { failed.into() } else { all.failures };
                self.said.push(Said { what: what.clone(), first: now, last: now, failures });
                Some(all)
            }
            Some(said) if trouble => {
                said.failures = said.failures.saturating_add(failed.into());
                let untrue = self.last.as_ref() != Some(&what) && lasts;
                let due = failed && elapsed(said.last, now) >= AGAIN;
                (untrue || due).then(|| {
                    said.last = now;
                    Count { failures: said.failures, over: elapsed(said.first, now) }
                })
            }
            Some(said) => {
                let untrue = self.last.as_ref() != Some(&what) || all.failures > said.failures;
                (untrue && lasts).then(|| {
                    said.failures = all.failures;
                    all
                })
            }
        };
        if count.is_some() {
            self.last = Some(what.clone());
        }
        if what.state == State::Disabled || what.state == State::Streaming && lasts {
            self.said.retain(|said| said.what == what);
            self.said.iter_mut().for_each(|said| said.failures = 0);
            (self.failures, self.since) = (0, None);
        }
        count
    }

    /// Whether there was trouble since the database last streamed steadily.
    pub(super) const fn is_open(&self) -> bool {
        self.since.is_some()
    }
}

impl What {
    /// `condition` with a mark in its sentence in place of each number and each LSN.
    fn of(condition: &Condition) -> Self {
        let trouble = condition.trouble();
        let sentence = trouble.map_or("", |trouble| trouble.sentence.as_str());
        let words = sentence.split_inclusive(' ').map(|word| if is_figure(word.trim_end()) { "# " } else { word });
        Self { state: condition.state(), reason: trouble.map(|trouble| trouble.reason), words: words.collect() }
    }
}

/// Whether `word` is a number or an LSN. An address is another place, and not another number.
fn is_figure(word: &str) -> bool {
    let word = word.trim_end_matches(|c: char| c.is_ascii_punctuation());
    let word = word.trim_start_matches(|c: char| c.is_ascii_punctuation() && c != ':');
    word.contains(|c: char| c.is_ascii_digit())
        && word.split('/').all(|part| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F' | b'.')))
        && word.parse::<Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Trouble;
    use crate::status::tests::{at, trouble};

    /// A log as it is written: what is reported when, and what of it is logged with which count.
    #[derive(Default)]
    struct Log {
        told: Told,
        entered: Option<((State, Option<Reason>), i64)>,
    }

    impl Log {
        fn report(&mut self, condition: &Condition, failed: bool, second: i64) -> Option<(u32, u64)> {
            let state = (condition.state(), condition.trouble().map(|trouble| trouble.reason));
            let entered = match self.entered {
                Some((before, entered)) if before == state => entered,
                _ => second,
            };
            self.entered = Some((state, entered));
            let count = self.told.report(condition, at(entered), failed, at(second));
            count.map(|count| (count.failures, count.over.as_secs()))
        }

        fn fail(&mut self, condition: &Condition, second: i64) -> Option<(u32, u64)> {
            self.report(condition, true, second)
        }

        fn stream(&mut self, second: i64) -> Option<(u32, u64)> {
            self.report(&Condition::Streaming, false, second)
        }
    }

    const QUIET: Option<(u32, u64)> = None;

    #[test]
    fn an_hour_of_the_same_trouble_is_one_line_then_a_count_each_ten_minutes_then_its_end() {
        let away = trouble(State::Retrying, Reason::Connection);
        let mut log = Log::default();
        assert_eq!(log.stream(0), Some((0, 0)));
        assert_eq!(log.stream(100), QUIET);
        assert_eq!(log.fail(&away, 1000), Some((0, 0)));
        let told: Vec<_> = (1..=360).filter_map(|n| log.fail(&away, 1000 + 10 * n)).collect();
        assert_eq!(told, [(61, 600), (121, 1200), (181, 1800), (241, 2400), (301, 3000), (361, 3600)]);
        assert_eq!(log.stream(4605), Some((361, 3605)));
        assert_eq!(log.stream(4606), QUIET);
        // It has recovered once it has streamed for a while: what comes then is new.
        assert_eq!(log.stream(4620), QUIET);
        assert_eq!(log.fail(&away, 4630), Some((0, 0)));
    }

    #[test]
    fn a_stream_that_breaks_soon_each_time_is_counted_too() {
        let broken = trouble(State::Failed, Reason::Server);
        let mut log = Log::default();
        assert_eq!(log.fail(&broken, 0), Some((0, 0)));
        assert_eq!(log.stream(1), Some((1, 1)));
        let mut told = Vec::new();
        for n in 1..=100 {
            told.extend(log.fail(&broken, 10 * n));
            assert_eq!(log.stream(10 * n + 1), QUIET);
        }
        assert_eq!(told, [(61, 600)]);
        // The log said last that it failed; once it streams steadily, that is told.
        assert_eq!(log.stream(1010), QUIET);
        assert_eq!(log.stream(1011), Some((101, 1011)));
        assert!(!log.told.is_open());
    }

    #[test]
    fn a_trouble_that_is_back_to_stay_is_told_again_before_ten_minutes_are_over() {
        let away = trouble(State::Retrying, Reason::Connection);
        let mut log = Log::default();
        assert_eq!(log.fail(&away, 0), Some((0, 0)));
        assert_eq!(log.stream(1), Some((1, 1)));
        assert_eq!(log.fail(&away, 3), QUIET);
        assert_eq!(log.fail(&away, 8), QUIET);
        assert_eq!(log.fail(&away, 13), Some((4, 13)));
        assert_eq!(log.fail(&away, 23), QUIET);
    }

    #[test]
    fn troubles_in_turn_are_told_once_each_and_figures_make_no_other_trouble() {
        let says = |sentence: &str| Condition::Other(State::Retrying, Trouble::new(Reason::Sink, sentence, ""));
        let mut log = Log::default();
        for (sentence, told) in [("full", true), ("stuck", true), ("full", false), ("stuck", false)] {
            assert_eq!(log.fail(&says(sentence), 1).is_some(), told, "{sentence}");
        }
        assert!(log.fail(&says("the WAL of shop1 ends at 0/16B3748, 12 behind"), 2).is_some());
        assert!(log.fail(&says("the WAL of shop1 ends at 1/AF, 9 behind"), 2).is_none());
        assert!(log.fail(&says("the WAL of shop2 ends at 1/AF, 9 behind"), 2).is_some());
        for number in 0..100 {
            assert!(log.fail(&says(&format!("table t{number}")), 3).is_some());
        }
        assert_eq!(log.told.said.len(), MOST, "memory has a bound");
    }

    #[test]
    fn a_sentence_that_is_back_to_stay_is_told_again_though_state_and_reason_are_the_same() {
        let says = |sentence: &str| Condition::Other(State::Retrying, Trouble::new(Reason::Connection, sentence, ""));
        let (refused, silent) = (says("10.0.0.1:5432: refused"), says("10.0.0.1:5432: no answer"));
        let mut log = Log::default();
        assert!(log.fail(&refused, 0).is_some() && log.fail(&silent, 30).is_some());
        // In turn, neither is: each is in the log, and will be again after ten minutes.
        for second in [60, 120, 180] {
            assert_eq!(log.fail(&refused, second), QUIET);
            assert_eq!(log.fail(&silent, second + 30), QUIET);
        }
        assert_eq!(log.fail(&refused, 240), QUIET);
        assert_eq!(log.fail(&refused, 250), Some((6, 250)), "the log said last that there is no answer");
        assert_eq!(log.fail(&refused, 260), QUIET);
    }

    #[test]
    fn addresses_are_no_figures() {
        let says = |host: &str| {
            let sentence = format!("the server at {host} (12 kB behind) does not answer");
            Condition::Other(State::Retrying, Trouble::new(Reason::Connection, sentence, ""))
        };
        let mut log = Log::default();
        for (host, told) in [("10.0.0.1", true), ("10.0.0.2", true), ("::1", true), ("::2", true), ("10.0.0.1", false)]
        {
            assert_eq!(log.fail(&says(host), 1).is_some(), told, "{host}");
        }
    }

    #[test]
    fn what_is_merely_seen_again_is_no_failure() {
        let blocked = trouble(State::Retrying, Reason::Sink);
        let mut log = Log::default();
        assert!(log.report(&blocked, false, 0).is_some());
        for second in 1..700 {
            assert_eq!(log.report(&blocked, false, second), QUIET);
        }
        assert_eq!(log.stream(700), Some((0, 700)));
    }
}
