//! The whole text of a plan, word for word.

use super::text;
use super::view::{Action, By, Kept, Obstacle, Planned, Step};
use crate::ident::DatabaseName;
use crate::provision::difference::Difference;
use crate::status::Finding;

fn planned(name: &str) -> Planned {
    Planned {
        name: DatabaseName::new(name).unwrap(),
        server: "db.example.com:5432".to_owned(),
        database: name.to_owned(),
        steps: Vec::new(),
        kept: Vec::new(),
        obstacles: Vec::new(),
        findings: Vec::new(),
        slot_of: None,
        unbounded: false,
        undelivered: None,
    }
}

fn step(action: Action, object: &str, by: By, sql: &[&str]) -> Step {
    Step {
        action,
        object: object.to_owned(),
        why: "it does not exist".to_owned(),
        differences: Vec::new(),
        server: None,
        sql: sql.iter().map(|&line| line.to_owned()).collect(),
        by,
        loses: None,
    }
}

fn all() -> Vec<Planned> {
    let difference = |found: Option<&str>, declared: Option<&str>| Difference {
        found: found.map(str::to_owned),
        declared: declared.map(str::to_owned),
    };
    let new = Planned {
        steps: vec![
            Step {
                server: Some("primary.example.com:5432".to_owned()),
                ..step(
                    Action::Create,
                    "publication slotd_new",
                    By::Agent,
                    &["CREATE PUBLICATION slotd_new FOR ALL TABLES;"],
                )
            },
            step(Action::Create, "slot slotd_new", By::Apply, &["SELECT pg_create_logical_replication_slot();"]),
        ],
        ..planned("new")
    };
    let drifted = Planned {
        steps: vec![Step {
            why: "it is not as declared".to_owned(),
            differences: vec![
                difference(Some("TABLE public.old"), None),
                difference(Some("TABLE public.items"), Some("TABLE public.items (id) WHERE (qty > 0)")),
                difference(None, Some("TABLE public.orders")),
            ],
            ..step(
                Action::Alter,
                "publication slotd_drifted",
                By::Apply,
                &["BEGIN;", "ALTER PUBLICATION …;", "COMMIT;"],
            )
        }],
        kept: vec![Kept { object: "slot slotd_drifted".to_owned(), why: "as declared, in use by pid 42".to_owned() }],
        findings: vec![Finding {
            code: "no_replica_identity",
            sentence: "UPDATE and DELETE fail".to_owned(),
            hint: "give it a primary key".to_owned(),
        }],
        ..planned("drifted")
    };
    let lost = Planned {
        steps: vec![
            Step {
                why: "it is not as declared, and can't be altered into that".to_owned(),
                differences: vec![difference(Some("FOR ALL TABLES"), Some("FOR TABLE public.a"))],
                loses: Some("changes of tables that it publishes now and not then".to_owned()),
                ..step(
                    Action::Recreate,
                    "publication slotd_lost",
                    By::RecreatePublication,
                    &["BEGIN;", "DROP PUBLICATION slotd_lost;", "COMMIT;"],
                )
            },
            Step {
                why: "lost, slot_missing: the slot slotd_lost is gone".to_owned(),
                loses: Some("every change after 0/16B3748".to_owned()),
                ..step(Action::Recreate, "slot slotd_lost", By::RecreateSlot, &[])
            },
        ],
        ..planned("lost")
    };
    let away = Planned {
        obstacles: vec![Obstacle {
            reason: "connection",
            sentence: "db.example.com:5432: connection refused".to_owned(),
            hint: "start the server".to_owned(),
        }],
        ..planned("away")
    };
    vec![new, drifted, lost, away]
}

#[test]
fn a_plan_reads_like_a_diff() {
    assert_eq!(
        text::render(&all()),
        "\
new (the database new at db.example.com:5432)
  + publication slotd_new: it does not exist
      on the primary, primary.example.com:5432:
      CREATE PUBLICATION slotd_new FOR ALL TABLES;
  + slot slotd_new: it does not exist
      SELECT pg_create_logical_replication_slot();
      by: slotd apply new

drifted (the database drifted at db.example.com:5432)
  ~ publication slotd_drifted: it is not as declared
      - TABLE public.old
      - TABLE public.items
      + TABLE public.items (id) WHERE (qty > 0)
      + TABLE public.orders
      BEGIN;
      ALTER PUBLICATION …;
      COMMIT;
      by: slotd apply drifted
  = slot slotd_drifted: as declared, in use by pid 42
  ? UPDATE and DELETE fail
      hint: give it a primary key

lost (the database lost at db.example.com:5432)
-/+ publication slotd_lost: it is not as declared, and can't be altered into that
      - FOR ALL TABLES
      + FOR TABLE public.a
      BEGIN;
      DROP PUBLICATION slotd_lost;
      COMMIT;
      loses: changes of tables that it publishes now and not then
      by: slotd apply lost --recreate-publication --yes
-/+ slot slotd_lost: lost, slot_missing: the slot slotd_lost is gone
      loses: every change after 0/16B3748
      by: slotd apply lost --recreate-slot --yes

away (the database away at db.example.com:5432)
  ! db.example.com:5432: connection refused
      hint: start the server

2 to create, 1 to alter, 2 to make anew; 1 thing stands in the way
"
    );
    assert_eq!(text::render(&[]), "nothing to do\n");
}

#[test]
fn the_sql_of_a_plan_destroys_nothing_by_itself() {
    assert_eq!(
        text::sql(&all()),
        "\
-- new: in the database new at db.example.com:5432
-- publication slotd_new: it does not exist
-- on the primary, primary.example.com:5432:
CREATE PUBLICATION slotd_new FOR ALL TABLES;
-- slot slotd_new: it does not exist
SELECT pg_create_logical_replication_slot();

-- drifted: in the database drifted at db.example.com:5432
-- publication slotd_drifted: it is not as declared
BEGIN;
ALTER PUBLICATION …;
COMMIT;

-- lost: in the database lost at db.example.com:5432
-- publication slotd_lost: it is not as declared, and can't be altered into that
-- this loses: changes of tables that it publishes now and not then
-- BEGIN;
-- DROP PUBLICATION slotd_lost;
-- COMMIT;
-- slot slotd_lost: lost, slot_missing: the slot slotd_lost is gone
-- this loses: every change after 0/16B3748
-- not by SQL, since a gap record comes first: slotd apply lost --recreate-slot --yes

-- away: in the database away at db.example.com:5432
-- in the way: db.example.com:5432: connection refused
--   start the server

"
    );
    assert_eq!(text::sql(&[planned("fine")]), "-- nothing to do\n");
}
