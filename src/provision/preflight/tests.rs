use std::time::Duration;

use super::*;
use crate::ident::TableName;
use crate::postgres::catalog::ServerFacts;
use crate::postgres::preflight::{Anothers, Limit};
use crate::provision::plan;
use crate::provision::testing::{database, server};
use crate::stream::Holes;

fn allowing() -> Allowed {
    let free = Limit { used: 1, most: 10 };
    Allowed {
        slots: free,
        walsenders: free,
        superuser: true,
        may_create: true,
        not_usable: Vec::new(),
        not_owned: Vec::new(),
    }
}

fn look(keys: &str, server: ServerFacts, allowed: &Allowed) -> Preflight {
    look_at(keys, server, None, allowed)
}

/// The same of a standby, if it has a `primary`.
fn look_at(keys: &str, server: ServerFacts, primary: Option<ServerFacts>, allowed: &Allowed) -> Preflight {
    let observed = Observed {
        younger: false,
        former: None,
        server,
        primary,
        standby: None,
        publication: None,
        made: None,
        slot: None,
        unpublishable: Vec::new(),
        unpublishable_then: Vec::new(),
        allowed: Some(allowed.clone()),
        missing: Vec::new(),
    };
    let database = database(keys);
    let plan = plan(&database, &observed, false, Holes::Refuse, "slotd/1");
    preflight(&database, &observed, &plan, allowed)
}

fn codes(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(|found| found.code).collect()
}

fn anothers(owner: &str, of_superuser: bool) -> Anothers {
    let table = TableName { schema: "public".to_owned(), table: "a".to_owned() };
    Anothers { table, owner: owner.to_owned(), of_superuser }
}

#[test]
fn all_that_a_role_lacks_is_told_at_once() {
    let plain = Allowed { superuser: false, ..allowing() };
    let used_up = Limit { used: 10, most: 10 };
    let nothing = Allowed {
        slots: used_up,
        walsenders: used_up,
        may_create: false,
        not_usable: vec!["public".to_owned()],
        not_owned: vec![anothers("owner", false)],
        ..plain
    };
    for (keys, allowed, codes) in [
        ("", &allowing(), &[][..]),
        ("", &plain, &["not_a_superuser"]),
        ("schemas = [\"a\"]", &plain, &["not_a_superuser"]),
        ("tables = [\"a\"]", &plain, &[]),
        (
            "tables = [\"a\"]",
            &nothing,
            &["no_free_slot", "no_free_walsender", "may_not_create", "may_not_use_schema", "not_the_owner"],
        ),
        // Nothing is made of a disabled one but its publication.
        (
            "status = \"disabled\"\ntables = [\"a\"]",
            &nothing,
            &["may_not_create", "may_not_use_schema", "not_the_owner"],
        ),
    ] {
        let found = look(keys, server(), allowed);
        assert_eq!(self::codes(&found.blocks), codes, "{keys}, {allowed:?}");
        let is_active = !keys.contains("disabled");
        assert_eq!((found.takes_slot, found.takes_walsender), (is_active, is_active), "{keys}");
    }
}

#[test]
fn nobody_is_told_to_grant_a_superuser() {
    for (owners, grants) in [
        (vec![anothers("owner", false)], "run: GRANT owner TO slotd; or have "),
        (
            vec![anothers("b", false), anothers("Owner", false), anothers("b", false)],
            "run: GRANT \"Owner\", b TO slotd; or ",
        ),
        (vec![anothers("owner", false), anothers("postgres", true)], "have their owner, or a superuser, run: CREATE "),
    ] {
        let allowed = Allowed { superuser: false, not_owned: owners, ..allowing() };
        let hint = &look("tables = [\"a\"]", server(), &allowed).blocks[0].hint;
        assert!(hint.starts_with(grants), "{hint}");
    }
}

/// The roles of both may differ, and the publication is made there.
#[test]
fn what_the_role_of_the_primary_lacks_is_told_of_that_one() {
    let keys = "primary = { hostname = \"primary.test\", username = \"maker\" }\ntables = [\"a\"]";
    let allowed = Allowed { superuser: false, may_create: false, ..allowing() };
    let standby = ServerFacts { in_recovery: true, ..server() };
    let hint = look_at(keys, standby, Some(server()), &allowed).blocks[0].hint.clone();
    assert!(hint.starts_with("run: GRANT CREATE ON DATABASE shop TO maker; or "), "{hint}");
}

#[test]
fn what_the_server_will_do_some_day_is_told() {
    let idle = ServerFacts { idle_replication_slot_timeout: Some(Duration::from_hours(1)), ..server() };
    for (keys, server, codes) in [
        ("", server(), &[][..]),
        ("max_retained_wal = \"1GB\"", server(), &[]),
        ("max_retained_wal = \"2GB\"", server(), &["server_strikes_first"]),
        ("", idle.clone(), &[]),
        ("status = \"disabled\"", idle.clone(), &["idle_timeout"]),
        ("status = \"disabled\"\non_disable = \"drop\"", idle, &[]),
        ("", ServerFacts { connection_limit: Some(3), ..server() }, &[]),
        ("", ServerFacts { connection_limit: Some(2), ..server() }, &["few_connections"]),
        ("", ServerFacts { has_our_settings: false, ..server() }, &["pooler"]),
        ("", ServerFacts { version: 189_999, ..server() }, &[]),
        ("", ServerFacts { version: 190_000, ..server() }, &["server_version"]),
    ] {
        assert_eq!(self::codes(&look(keys, server, &allowing()).warns), codes, "{keys}");
    }
}
