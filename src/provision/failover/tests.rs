//! A table of what a standby may lack, in the order in which it is told.

use super::*;
use crate::config::Host;
use crate::postgres::catalog::SlotFacts;
use crate::provision::testing::{database, server, slot};

fn ready() -> StandbyCopy {
    StandbyCopy {
        in_recovery: true,
        syncs: true,
        feedback: true,
        physical_slot: Some("b".to_owned()),
        lacks_dbname: false,
        slot: Some(SlotFacts { synced: true, failover: true, ..slot() }),
    }
}

fn told(waited_for: &str, copy: StandbyCopy) -> Vec<(&'static str, String)> {
    let server_of = |name: &str| Server { host: Host::Name(name.to_owned()), port: 5432 };
    let primary = ServerFacts { synchronized_standby_slots: Some(waited_for.to_owned()), ..server() };
    let asked = [Asked { server: server_of("b"), copy: Ok(copy) }];
    let found = findings(&database("failover = true"), &primary, &asked);
    found.into_iter().map(|finding| (finding.code, format!("{}; {}", finding.sentence, finding.hint))).collect()
}

#[test]
fn a_standby_that_has_it_all_is_not_told() {
    assert_eq!(told("b", ready()), []);
    assert_eq!(told("a, \"b\"", ready()), []);
}

#[test]
fn what_a_failover_would_cost_is_told_with_what_mends_it() {
    type Change = fn(&mut StandbyCopy);
    let cases: [(&str, Change, &str, &str); 9] = [
        ("", |_| {}, "failover_loses", "SET synchronized_standby_slots = 'b';"),
        ("a", |_| {}, "failover_not_ready", "SET synchronized_standby_slots = 'a, b';"),
        ("b", |copy| copy.in_recovery = false, "second_primary", "pg_rewind"),
        (
            "b",
            |copy| copy.slot.as_mut().unwrap().synced = false,
            "failover_not_ready",
            "pg_drop_replication_slot('slotd_shop')",
        ),
        ("b", |copy| copy.syncs = false, "failover_not_ready", "SET sync_replication_slots = on"),
        ("b", |copy| copy.feedback = false, "failover_not_ready", "SET hot_standby_feedback = on"),
        ("b", |copy| copy.physical_slot = None, "failover_not_ready", "primary_slot_name"),
        ("b", |copy| copy.lacks_dbname = true, "failover_not_ready", "dbname"),
        ("b", |copy| copy.slot = None, "failover_not_ready", "no copy of it yet"),
    ];
    for (waited_for, change, code, said) in cases {
        let mut copy = ready();
        change(&mut copy);
        let found = told(waited_for, copy);
        assert!(matches!(&found[..], [(found, text)] if *found == code && text.contains(said)), "{said}: {found:?}");
    }
}

#[test]
fn a_slot_that_is_not_to_fail_over_is_told_nothing() {
    assert_eq!(findings(&database(""), &server(), &[]), []);
}
