//! One case for each row of the table in docs/HEALTH.md, at the edges of its times.

use super::*;
use crate::status::tests::{at, shop, trouble};
use crate::status::{Condition, Finding, Holder, Reason, Trouble, WalUse};

const BOUNDS: Bounds = Bounds { grace: Duration::from_secs(60), silence: Duration::from_secs(30) };

fn wal(percent: u64) -> WalUse {
    WalUse {
        retained_bytes: percent << 20,
        ours_bytes: 0,
        budget_bytes: 100 << 20,
        wal_status: None,
        safe_wal_size: None,
        ..WalUse::default()
    }
}

fn held_by(application_name: &str) -> Condition {
    let holder = Holder { pid: 7, application_name: application_name.to_owned(), client_addr: None, ours: false };
    Condition::Other(State::Waiting, Trouble::new(Reason::SlotHeld, "held", "wait").held_by(holder))
}

/// The verdict on a database in `condition` since second 0, that was observed and heard from at second `fresh`.
fn verdict(condition: Condition, fresh: i64, age: i64) -> Verdict {
    let mut status = shop(at(0));
    let _ = status.enter(condition, true, at(0));
    status.observed = Some(at(fresh));
    status.last_message = Some(at(fresh));
    let assessment = judge(&status, at(age), &BOUNDS);
    assert_eq!(assessment.rows.is_empty(), assessment.verdict == Verdict::Pass, "{assessment:?}");
    assessment.verdict
}

#[test]
fn every_row_of_the_table() {
    use State::{Disabled, Failed, Lost, Pending, Provisioning, Retrying, Waiting};
    use Verdict::{Fail, Pass, Warn};
    let other = |state| trouble(state, Reason::Connection);
    for (row, condition, fresh, age, expected) in [
        ("streaming", Condition::Streaming, 100, 100, Pass),
        ("streaming for long", Condition::Streaming, 100_000, 100_000, Pass),
        ("disabled", other(Disabled), 1_000, 1_000, Pass),
        ("pending, young", other(Pending), 0, 59, Pass),
        ("provisioning, young", other(Provisioning), 0, 59, Pass),
        ("retrying, young", other(Retrying), 0, 59, Warn),
        ("retrying, never observed for longer than a record lives", other(Retrying), 0, 45, Warn),
        ("waiting behind a live agent", held_by("slotd/1f2e"), 0, 59, Warn),
        ("waiting behind a live agent for long", held_by("slotd/1f2e"), 0, 100_000, Warn),
        ("waiting behind another session, young", held_by("pg_recvlogical"), 0, 59, Warn),
        ("waiting behind an unknown session, young", other(Waiting), 0, 59, Warn),
        ("disabled, not observed", other(Disabled), 0, 31, Warn),
        ("lost", other(Lost), 0, 0, Fail),
        ("failed", other(Failed), 0, 0, Fail),
        ("retrying, old", other(Retrying), 60, 60, Fail),
        ("pending, old", other(Pending), 60, 60, Fail),
        ("provisioning, old", other(Provisioning), 60, 60, Fail),
        ("waiting behind another session, old", held_by("pg_recvlogical"), 60, 60, Fail),
        ("waiting behind a look-alike, old", held_by("notslotd/1"), 60, 60, Fail),
        ("waiting behind an unknown session, old", other(Waiting), 60, 60, Fail),
        ("streaming, observed just in time", Condition::Streaming, 0, 30, Pass),
        ("streaming, stale", Condition::Streaming, 0, 31, Fail),
    ] {
        assert_eq!(verdict(condition, fresh, age), expected, "{row}");
    }
}

#[test]
fn an_old_record_from_before_the_stream_began_is_not_stale_yet() {
    let mut status = shop(at(0));
    status.observed = Some(at(0));
    let _ = status.enter(Condition::Streaming, true, at(1_000));
    assert_eq!(judge(&status, at(1_030), &BOUNDS).verdict, Verdict::Pass);
    assert_eq!(judge(&status, at(1_031), &BOUNDS).verdict, Verdict::Fail);
}

#[test]
fn a_stream_that_hears_nothing_is_stale_though_it_is_observed() {
    let mut status = shop(at(0));
    let _ = status.enter(Condition::Streaming, true, at(0));
    status.observed = Some(at(31));
    status.last_message = Some(at(0));
    assert_eq!(judge(&status, at(30), &BOUNDS).verdict, Verdict::Pass);
    assert_eq!(judge(&status, at(31), &BOUNDS).verdict, Verdict::Fail);
}

#[test]
fn retained_wal_warns_at_half_of_the_budget_and_fails_at_four_fifths_in_any_state() {
    for condition in [Condition::Streaming, trouble(State::Disabled, Reason::DisabledByFile)] {
        for (percent, expected) in
            [(49, Verdict::Pass), (50, Verdict::Warn), (79, Verdict::Warn), (80, Verdict::Fail), (1_000, Verdict::Fail)]
        {
            let mut status = shop(at(0));
            let _ = status.enter(condition.clone(), true, at(0));
            status.wal = Some(wal(percent));
            assert_eq!(judge(&status, at(1), &BOUNDS).verdict, expected, "{percent} % {condition:?}");
        }
    }
}

#[test]
fn a_finding_warns() {
    let mut status = shop(at(0));
    let _ = status.enter(Condition::Streaming, true, at(0));
    status.findings = vec![Finding {
        code: "publication_drift",
        sentence: "drift\nforged line".to_owned(),
        hint: "mend it".to_owned(),
    }];
    let assessment = judge(&status, at(1), &BOUNDS);
    assert_eq!(assessment.verdict, Verdict::Warn);
    assert_eq!(assessment.rows[0].sentence, "drift forged line");
}

#[test]
fn the_worst_row_counts_and_stands_first() {
    let mut status = shop(at(0));
    let _ = status.enter(trouble(State::Retrying, Reason::Connection), true, at(0));
    status.wal = Some(wal(90));
    let assessment = judge(&status, at(1), &BOUNDS);
    assert_eq!(assessment.verdict, Verdict::Fail);
    assert_eq!(assessment.rows.iter().map(|row| row.verdict).collect::<Vec<_>>(), [Verdict::Fail, Verdict::Warn]);
}

#[test]
fn trouble_that_changes_its_name_fails_after_grace() {
    let mut status = shop(at(0));
    for second in 1..60 {
        let state = if second % 2 == 0 { State::Retrying } else { State::Provisioning };
        let _ = status.enter(trouble(state, Reason::Connection), true, at(second));
    }
    assert_eq!(judge(&status, at(59), &BOUNDS).verdict, Verdict::Pass);
    assert_eq!(judge(&status, at(60), &BOUNDS).verdict, Verdict::Fail);
}
