//! One case for each row of the table in docs/HEALTH.md, at the edges of its times.

use super::*;
use crate::status::XidHolder;
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

/// The sentence and the hint of the first row of `state` with `wal`.
fn first_row(state: Condition, wal: WalUse) -> (Verdict, String, String) {
    let mut status = shop(at(0));
    let _ = status.enter(state, true, at(0));
    status.wal = Some(wal);
    let row = judge(&status, at(1), &BOUNDS).rows.remove(0);
    (row.verdict, row.sentence, row.hint)
}

#[test]
fn what_a_slot_retains_is_told_with_the_time_that_is_left_and_with_who_holds_it() {
    let disabled = || trouble(State::Disabled, Reason::DisabledByFile);
    let of = |retained_bytes: u64, ours_bytes: u64| WalUse {
        retained_bytes: retained_bytes << 20,
        ours_bytes: ours_bytes << 20,
        held_bytes: (retained_bytes - ours_bytes) << 20,
        budget_bytes: 100 << 20,
        wal_bytes_per_second: Some(f64::from(2 << 20)),
        seconds_to_budget: Some(7200.0),
        ..WalUse::default()
    };
    let (_, sentence, hint) = first_row(disabled(), of(60, 60));
    assert_eq!(
        sentence,
        "slot slotd_shop retains 60 MB of WAL, 60 % of its budget of 100 MB, and reaches it in about 2 h, at 2 MB a second"
    );
    assert!(hint.starts_with("slotd enable shop, or slotd drop shop"), "{hint}");
    let (_, sentence, _) = first_row(disabled(), of(160, 160));
    assert_eq!(sentence, "slot slotd_shop retains 160 MB of WAL, 160 % of its budget of 100 MB, and is over it");

    let holder = |pid, gid: Option<&str>, since| XidHolder {
        pid,
        gid: gid.map(str::to_owned),
        application_name: Some("psql".to_owned()),
        database: Some("shop".to_owned()),
        since,
    };
    for (holder, who, hint) in [
        (
            holder(Some(42), None, Some(at(0))),
            "the transaction of pid 42 (psql) in the database shop, open since 2025-06-15T15:06:40Z",
            "SELECT pg_terminate_backend(42);",
        ),
        (
            holder(None, Some("it's"), None),
            "the prepared transaction 'it''s' in the database shop, whose start only pg_read_all_stats may see",
            "ROLLBACK PREPARED 'it''s'; or COMMIT PREPARED",
        ),
    ] {
        let held = WalUse { held_by: Some(holder.clone()), seconds_to_budget: None, ..of(60, 10) };
        let (_, sentence, its_hint) = first_row(Condition::Streaming, held);
        assert!(sentence.ends_with(&format!("; 50 MB of it is held by {who}")), "{sentence}");
        assert_eq!(its_hint, format!("end {who}: {hint}"));
        // Who reads slowly gets no excuse.
        let ours = WalUse { held_by: Some(holder), seconds_to_budget: None, ..of(60, 30) };
        assert!(!first_row(Condition::Streaming, ours).1.contains("held"));
    }
}

#[test]
fn what_the_server_is_about_to_do_to_a_slot_is_told_before_it_strikes() {
    let idle = |seconds: f64| WalUse {
        inactive_seconds: Some(seconds),
        idle_timeout_seconds: Some(100.0),
        ..WalUse::default()
    };
    for (seconds, expected) in [(49.0, None), (50.0, Some(Verdict::Warn)), (80.0, Some(Verdict::Fail))] {
        let mut status = shop(at(0));
        let _ = status.enter(trouble(State::Disabled, Reason::DisabledByFile), true, at(0));
        status.wal = Some(idle(seconds));
        assert_eq!(judge(&status, at(1), &BOUNDS).rows.first().map(|row| row.verdict), expected, "{seconds}");
    }
    let (_, sentence, hint) = first_row(Condition::Streaming, idle(60.0));
    let words = "nobody has read slot slotd_shop for 1 min: the server invalidates it in 40 s at the earliest, by \
                 idle_replication_slot_timeout";
    assert_eq!(sentence, words);
    assert!(hint.contains("ALTER SYSTEM SET idle_replication_slot_timeout"), "{hint}");

    let unreserved = WalUse { wal_status: Some("unreserved".to_owned()), ..WalUse::default() };
    assert_eq!(first_row(Condition::Streaming, unreserved).0, Verdict::Fail);
    let soon = WalUse { seconds_to_invalidation: Some(1800.0), ..WalUse::default() };
    let (verdict, sentence, _) = first_row(Condition::Streaming, soon);
    assert_eq!(verdict, Verdict::Warn);
    assert!(sentence.contains("in about 30 min"), "{sentence}");
}
