//! The plan as a table: what there is, what is wished, what follows.

use super::*;
use crate::config::{DeclaredTable, Publish};
use crate::ident::{PublicationName, TableName};
use crate::postgres::catalog::{ServerFacts, SlotFacts, SlotHolder};
use crate::postgres::identity::{Unpublishable, Why};
use crate::postgres::publication::PublishedTable;
use crate::postgres::trouble::Class;
use crate::provision::testing::{database, server, slot};
use crate::status::{Reason, Trouble};

const OWN: &str = "slotd/0123456789abcdef";

fn table(schema: &str, table: &str) -> TableName {
    TableName { schema: schema.to_owned(), table: table.to_owned() }
}

fn unpublishable(name: &str) -> Unpublishable {
    Unpublishable { table: table("public", name), why: Why::NoIdentity, full_mends: true }
}

fn nothing() -> Observed {
    Observed {
        server: ServerFacts { version: 170_002, max_slot_wal_keep_size: None, ..server() },
        primary: None,
        standby: None,
        publication: None,
        made: None,
        slot: None,
        younger: false,
        former: None,
        unpublishable: Vec::new(),
        unpublishable_then: Vec::new(),
        allowed: None,
        missing: Vec::new(),
    }
}

fn everything() -> Observed {
    let publication = PublicationFacts {
        oid: 16_400,
        xmin: 700,
        all_tables: true,
        schemas: Vec::new(),
        tables: Vec::new(),
        publish: Publish::ALL,
        via_partition_root: true,
        generated_columns: None,
    };
    Observed { publication: Some(publication), slot: Some(slot()), ..nothing() }
}

fn with_slot(change: impl FnOnce(&mut SlotFacts)) -> Observed {
    let mut observed = everything();
    observed.slot.as_mut().map(change);
    observed
}

fn steps(keys: &str, observed: &Observed) -> (Option<String>, Vec<SlotStep>) {
    let plan = plan(&database(keys), observed, false, Holes::Refuse, OWN);
    assert_eq!(plan.refusals, []);
    (plan.publication.map(|step| step.sql()), plan.slot)
}

fn sql(keys: &str) -> String {
    steps(keys, &nothing()).0.unwrap()
}

fn trouble(observed: &Observed, known: bool) -> (Class, Reason, String, String) {
    match plan(&database(""), observed, known, Holes::Refuse, OWN).refusals.into_iter().next() {
        Some(Refusal::Trouble(diagnosis)) => {
            let Trouble { reason, sentence, hint, .. } = diagnosis.trouble;
            (diagnosis.class, reason, sentence, hint)
        }
        other => panic!("{other:?}"),
    }
}

fn lost(observed: &Observed, known: bool) -> Reason {
    match plan(&database(""), observed, known, Holes::Refuse, OWN).refusals.into_iter().next() {
        Some(Refusal::Lost { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_publication_is_made_first_and_the_slot_second() {
    let (publication, steps) = steps("", &nothing());
    assert!(publication.is_some());
    assert_eq!(steps, [SlotStep::Create]);
}

#[test]
fn what_is_there_is_left_alone() {
    assert_eq!(steps("", &everything()), (None, vec![]));
}

#[test]
fn a_publication_without_a_slot_gets_one() {
    assert_eq!(steps("", &Observed { slot: None, ..everything() }), (None, vec![SlotStep::Create]));
}

#[test]
fn each_scope_has_its_statement() {
    let with = "WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true)";
    assert_eq!(sql(""), format!("CREATE PUBLICATION slotd_shop FOR ALL TABLES {with};"));
    assert_eq!(
        sql("schemas = [\"public\", '\"Sales\"']"),
        format!("CREATE PUBLICATION slotd_shop FOR TABLES IN SCHEMA public, \"Sales\" {with};")
    );
    assert_eq!(
        sql("tables = [\"orders\", \"sales.order\"]\npublish = \"insert\"\npublish_via_partition_root = false"),
        "CREATE PUBLICATION slotd_shop FOR TABLE public.orders, sales.\"order\" WITH (publish = 'insert', \
         publish_via_partition_root = false);"
    );
}

#[test]
fn tables_whose_updates_would_fail_are_refused_by_name() {
    let observed = Observed { unpublishable: vec![unpublishable("log")], ..nothing() };
    let (class, reason, sentence, hint) = trouble(&observed, false);
    assert_eq!((class, reason), (Class::Operator, Reason::NoReplicaIdentity));
    assert!(sentence.contains("public.log"), "{sentence}");
    assert!(hint.contains("ALTER TABLE public.log REPLICA IDENTITY FULL;"), "{hint}");
}

#[test]
fn such_a_table_of_a_publication_that_exists_is_a_finding() {
    let observed = Observed { unpublishable: vec![unpublishable("log")], ..everything() };
    let plan = plan(&database(""), &observed, false, Holes::Refuse, OWN);
    assert_eq!((plan.refusals, plan.findings[0].code), (vec![], "no_replica_identity"));
}

#[test]
fn a_publication_is_compared_only_where_the_file_speaks() {
    let mut observed = everything();
    let publication = observed.publication.as_mut().unwrap();
    publication.all_tables = false;
    let table = DeclaredTable::from(table("public", "a"));
    publication.tables = vec![PublishedTable { table, inherited: false, overruled: false }];
    let findings = |keys| plan(&database(keys), &observed, false, Holes::Refuse, OWN).findings;
    assert_eq!(findings(""), []);
    assert_eq!(findings("tables = [\"a\"]"), []);
    let drift = findings("tables = [\"a\", \"b\"]\npublish = \"insert\"");
    assert_eq!(drift[0].code, "publication_drift");
    assert!(drift[0].sentence.contains("public.b") && drift[0].sentence.contains("'insert'"), "{drift:?}");
}

#[test]
fn missing_tables_are_named() {
    let observed = Observed { missing: vec!["no such table: public.nosuch".to_owned()], ..nothing() };
    assert!(trouble(&observed, false).2.contains("no such table: public.nosuch"));
}

#[test]
fn a_server_that_cannot_decode_is_refused_with_what_mends_it() {
    let server = |change: fn(&mut ServerFacts)| {
        let mut observed = nothing();
        change(&mut observed.server);
        trouble(&observed, false)
    };
    assert!(server(|server| server.version = 140_010).2.contains("PostgreSQL 14"));
    assert!(server(|server| server.in_recovery = true).2.contains("standby"));
    assert!(server(|server| "replica".clone_into(&mut server.wal_level)).3.contains("ALTER SYSTEM SET wal_level"));
}

#[test]
fn a_slot_that_is_not_ours_to_use_says_why() {
    let why = |change: fn(&mut SlotFacts)| {
        let (class, reason, sentence, _) = trouble(&with_slot(change), false);
        assert_eq!((class, reason), (Class::Operator, Reason::SlotUnusable));
        sentence
    };
    assert!(why(|slot| "physical".clone_into(&mut slot.slot_type)).contains("physical"));
    assert!(why(|slot| slot.plugin = Some("test_decoding".to_owned())).contains("test_decoding"));
    assert!(why(|slot| slot.database = Some("other".to_owned())).contains("other"));
    assert!(why(|slot| slot.temporary = true).contains("temporary"));
    assert!(why(|slot| slot.two_phase = true).contains("two_phase"));
}

#[test]
fn a_slot_that_is_held_names_the_holder_and_our_own_is_just_waited_for() {
    let held = |name: &str| {
        let holder =
            SlotHolder { pid: 42, application_name: Some(name.to_owned()), client_addr: Some("10.0.0.7".to_owned()) };
        trouble(&with_slot(|slot| (slot.active_pid, slot.holder) = (Some(42), Some(holder))), true)
    };
    let (class, reason, sentence, _) = held("psql");
    assert_eq!((class, reason), (Class::Held, Reason::SlotHeld));
    assert!(sentence.contains("42") && sentence.contains("psql") && sentence.contains("10.0.0.7"), "{sentence}");
    let (class, _, sentence, hint) = held(OWN);
    assert_eq!(class, Class::Held);
    assert!(sentence.contains("pid 42"), "{sentence}");
    assert!(hint.contains("wal_sender_timeout") && !hint.contains("pg_terminate_backend"), "{hint}");
}

#[test]
fn a_slot_that_is_gone_is_lost_only_if_it_was_ours() {
    let observed = Observed { slot: None, ..everything() };
    assert_eq!(lost(&observed, true), Reason::SlotMissing);
    assert_eq!(steps("", &observed), (None, vec![SlotStep::Create]));
}

#[test]
fn an_invalidated_slot_is_lost_and_made_anew_only_behind_an_accepted_gap() {
    let observed = with_slot(|slot| slot.wal_status = Some("lost".to_owned()));
    assert_eq!(lost(&observed, true), Reason::SlotInvalidated);
    let plan = plan(&database(""), &observed, true, Holes::Accept(Reason::SlotInvalidated), OWN);
    assert_eq!((plan.refusals, plan.slot), (vec![], vec![SlotStep::Drop, SlotStep::Create]));
}

#[test]
fn a_slot_without_its_publication_is_a_gap() {
    let observed = Observed { publication: None, ..everything() };
    assert_eq!(lost(&observed, false), Reason::PublicationGap);
    let accept = |reason| plan(&database(""), &observed, true, Holes::Accept(reason), OWN);
    let accepted = accept(Reason::PublicationGap);
    assert_eq!((accepted.publication.is_some(), accepted.slot), (true, vec![SlotStep::Advance]));
    let other = accept(Reason::SlotInvalidated);
    let gap = matches!(other.refusals[0], Refusal::Lost { reason: Reason::PublicationGap, .. });
    assert!(gap, "what was accepted is not what is the matter now: {other:?}");
}

#[test]
fn a_publication_that_is_younger_than_the_slot_is_a_gap() {
    let observed = Observed { younger: true, ..everything() };
    assert_eq!(lost(&observed, false), Reason::PublicationGap);
    let accepted = plan(&database(""), &observed, true, Holes::Accept(Reason::PublicationGap), OWN);
    assert_eq!((accepted.refusals, accepted.slot), (vec![], vec![SlotStep::Advance]));
}

#[test]
fn another_publication_for_a_slot_is_made_while_the_former_one_goes_on() {
    let former = Some(PublicationName::new("former").unwrap());
    let missing = Observed { publication: None, former: former.clone(), ..everything() };
    let younger = Observed { younger: true, former: former.clone(), ..everything() };
    for (observed, makes) in [(missing, true), (younger, false)] {
        let plan = plan(&database(""), &observed, true, Holes::Refuse, OWN);
        assert_eq!((plan.refusals, plan.slot, plan.publication.is_some()), (vec![], vec![], makes));
        assert_eq!(plan.findings[0].code, "former_publication");
    }
    let old_enough = Observed { former, ..everything() };
    assert_eq!(plan(&database(""), &old_enough, true, Holes::Refuse, OWN).findings, vec![]);
}

#[test]
fn a_slot_that_is_still_being_made_is_waited_for() {
    let (class, ..) = trouble(&with_slot(|slot| slot.confirmed_flush_lsn = None), false);
    assert_eq!(class, Class::Retry);
    let made_by = |application_name: &str| {
        let holder = SlotHolder { pid: 42, application_name: Some(application_name.to_owned()), client_addr: None };
        trouble(
            &with_slot(|slot| {
                (slot.active_pid, slot.holder, slot.confirmed_flush_lsn) = (Some(42), Some(holder), None);
            }),
            false,
        )
    };
    let (class, reason, sentence, hint) = made_by("slotd/other");
    assert_eq!((class, reason), (Class::Held, Reason::SlotHeld));
    assert!(sentence.contains("still being made by pid 42 (slotd/other)"), "{sentence}");
    assert!(hint.contains("transactions") && hint.ends_with("pg_terminate_backend(42);"), "{hint}");
}

#[test]
fn that_a_slot_is_lost_is_not_hidden_by_what_stands_in_the_way_of_another() {
    let gone = Observed { slot: None, publication: None, unpublishable: vec![unpublishable("t")], ..everything() };
    let server = |change: fn(&mut ServerFacts)| {
        let mut observed = gone.clone();
        change(&mut observed.server);
        observed
    };
    for observed in [
        gone.clone(),
        server(|server| server.wal_level = "replica".to_owned()),
        server(|server| server.synchronous_standby_names = "*".to_owned()),
    ] {
        assert_eq!(lost(&observed, true), Reason::SlotMissing);
    }
    // A standby never had it.
    let standby = server(|server| server.in_recovery = true);
    assert_eq!(trouble(&standby, true).1, Reason::Server);
}

#[test]
fn a_server_that_would_wait_for_us_is_refused_unless_that_is_allowed() {
    let mut observed = everything();
    observed.server.synchronous_standby_names = "*".to_owned();
    assert_eq!(trouble(&observed, true).1, Reason::SyncStandby);
    assert_eq!(plan(&database("allow_sync_standby = true"), &observed, true, Holes::Refuse, OWN).refusals, []);
}

#[test]
fn all_that_stands_in_the_way_is_told_at_once() {
    let mut observed = Observed { unpublishable: vec![unpublishable("log")], ..nothing() };
    observed.server.wal_level = "replica".to_owned();
    observed.server.synchronous_standby_names = "*".to_owned();
    let refusals = plan(&database(""), &observed, false, Holes::Refuse, OWN).refusals;
    let reasons = refusals.into_iter().map(|refusal| match refusal {
        Refusal::Trouble(diagnosis) => diagnosis.trouble.reason,
        Refusal::Lost { reason, .. } => reason,
    });
    assert!(reasons.eq([Reason::Server, Reason::SyncStandby, Reason::NoReplicaIdentity]));
}

#[test]
fn each_step_is_taken_by_whom_may_take_it() {
    use crate::config::Provision::{Apply, Create, Report};

    let step = |keys: &str, observed: &Observed| {
        plan(&database(keys), observed, false, Holes::Refuse, OWN).publication.unwrap()
    };
    let create = step("", &nothing());
    let alter = step("publish = \"insert\"", &everything());
    let recreate = step("tables = [\"a\"]", &everything());
    let missing = Observed { missing: vec!["no such table: public.a".to_owned()], ..everything() };
    let harmful = Observed { unpublishable_then: vec![unpublishable("log")], ..everything() };
    let blocked = [step("tables = [\"a\"]", &missing), step("publish = \"insert, update\"", &harmful)];
    assert_eq!([create.kind, alter.kind, recreate.kind], [Kind::Create, Kind::Alter, Kind::Recreate]);
    let operator = Consent::of_operator(false);
    let with_flag = Consent::of_operator(true);
    // (who, whether slotd made the publication): (create, alter, recreate)
    for (consent, ours, allowed) in [
        (Consent::from(Report), true, [false, false, false]),
        (Consent::from(Create), true, [true, false, false]),
        (Consent::from(Apply), false, [true, false, false]),
        (Consent::from(Apply), true, [true, true, false]),
        (operator, false, [true, true, false]),
        (operator, true, [true, true, false]),
        (with_flag, false, [true, true, true]),
    ] {
        let steps = [&create, &alter, &recreate].map(|step| step.is_allowed(consent, ours));
        assert_eq!(steps, allowed, "{consent:?}, {ours}");
        assert!(blocked.iter().all(|step| !step.is_allowed(consent, ours)));
    }
}

#[test]
fn a_filter_that_counts_for_nothing_is_found() {
    let mut observed = everything();
    let publication = observed.publication.as_mut().unwrap();
    publication.all_tables = false;
    publication.schemas = vec!["public".to_owned()];
    let filtered = DeclaredTable { row_filter: Some("(qty > 0)".to_owned()), ..table("public", "items").into() };
    publication.tables = vec![PublishedTable { table: filtered, inherited: false, overruled: true }];
    let findings = plan(&database(""), &observed, false, Holes::Refuse, OWN).findings;
    assert_eq!(findings[0].code, "filter_without_effect");
    assert!(findings[0].sentence.contains("public.items"), "{findings:?}");
}
