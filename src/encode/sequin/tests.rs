use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::*;
use crate::change::{Column, Transaction, builtin};
use crate::ident::{DatabaseName, PublicationName, SlotName, TableName};
use crate::lsn::{Lsn, Timeline};
use crate::pgoutput::{self, Message, ReplicaIdentity};

/// A value of a tuple: text, null, or unchanged TOAST.
#[derive(Clone, Copy)]
enum V<'a> {
    T(&'a str),
    N,
    U,
}
use V::{N, T, U};

/// A tuple as it lies on the wire.
fn tuple(values: &[V<'_>]) -> Vec<u8> {
    let mut bytes = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        match value {
            T(text) => {
                bytes.push(b't');
                bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            N => bytes.push(b'n'),
            U => bytes.push(b'u'),
        }
    }
    bytes
}

fn insert(new: &[V<'_>]) -> Vec<u8> {
    [b"I\0\0\0\x01N", &tuple(new)[..]].concat()
}

fn update(old: Option<(u8, &[V<'_>])>, new: &[V<'_>]) -> Vec<u8> {
    let old = old.map(|(kind, old)| [&[kind][..], &tuple(old)].concat()).unwrap_or_default();
    [b"U\0\0\0\x01", &old[..], b"N", &tuple(new)].concat()
}

fn delete(kind: u8, old: &[V<'_>]) -> Vec<u8> {
    [b"D\0\0\0\x01", &[kind][..], &tuple(old)].concat()
}

fn stream() -> Arc<StreamIdentity> {
    Arc::new(StreamIdentity {
        system_identifier: 7_300_000_000_000_000_001,
        timeline: Timeline { id: 9, begin: Lsn(1) },
        standby: false,
        slot: SlotName::new("slotd_shop").unwrap(),
        publication: PublicationName::new("slotd_shop").unwrap(),
        database: DatabaseName::new("shop").unwrap(),
        dbname: "shop_production".to_owned(),
        hostname: "db.example.com".to_owned(),
    })
}

fn transaction() -> Transaction {
    Transaction {
        timeline: 1,
        commit_lsn: Lsn(123_456_790),
        commit_timestamp: Some("2026-01-01T00:00:00.000001Z".parse::<Timestamp>().unwrap()),
        xid: Some(741),
    }
}

fn relation(columns: &[(&str, bool, u32)]) -> Arc<Relation> {
    let column = |&(name, key, oid): &(&str, bool, u32)| Column {
        name: name.to_owned(),
        key,
        r#type: builtin(oid).unwrap(),
        before: None,
    };
    Arc::new(Relation {
        oid: 1,
        name: TableName { schema: "public".to_owned(), table: "items".to_owned() },
        identity: ReplicaIdentity::Default,
        columns: columns.iter().map(column).collect(),
    })
}

fn items() -> Arc<Relation> {
    relation(&[("id", true, 20), ("name", false, 25), ("price", false, 1700)])
}

fn put(
    sequin: &mut Sequin,
    transaction: &Transaction,
    ordinal: impl Into<Option<u64>>,
    kind: ChangeKind<'_>,
) -> String {
    let mut out = Vec::new();
    sequin.line(&Change { transaction, ordinal: ordinal.into(), kind }, &mut out);
    let line = String::from_utf8(out).unwrap();
    assert_eq!(line.find('\n'), Some(line.len() - 1), "one line, and a whole one");
    serde_json::from_str::<Json>(&line).unwrap();
    line
}

/// The line of a row's change, given as it lies on the wire.
fn row(sequin: &mut Sequin, relation: &Arc<Relation>, ordinal: u64, bytes: &[u8]) -> String {
    let kind = match pgoutput::decode(bytes).unwrap() {
        Message::Insert { new, .. } => ChangeKind::Insert { relation, new },
        Message::Update { old, new, .. } => ChangeKind::Update { relation, old, new },
        Message::Delete { old, .. } => ChangeKind::Delete { relation, old },
        other => panic!("{other:?} is no change of a row"),
    };
    put(sequin, &transaction(), ordinal, kind)
}

/// `record`, `changes` and `metadata.unchanged` of a row's change.
fn parts(relation: &Arc<Relation>, bytes: &[u8]) -> (Json, Json, Json) {
    let line = row(&mut Sequin::new(stream()), relation, 0, bytes);
    let mut line: Json = serde_json::from_str(&line).unwrap();
    (line["record"].take(), line["changes"].take(), line["metadata"]["unchanged"].take())
}

#[test]
fn the_lines_of_the_format_document_are_what_is_written() {
    let (items, transaction) = (items(), transaction());
    let mut sequin = Sequin::new(stream());
    let mut lines = Vec::new();
    let old = [T("7"), T("lamp"), T("19.90")];
    for bytes in [
        insert(&old),
        update(Some((b'O', &old)), &[T("7"), U, T("17.50")]),
        update(None, &[T("7"), U, T("17.50")]),
        update(Some((b'K', &[T("7"), N, N])), &[T("8"), T("lamp"), T("17.50")]),
        delete(b'K', &[T("8"), N, N]),
    ] {
        lines.push(row(&mut sequin, &items, lines.len() as u64, &bytes));
    }
    let truncate = ChangeKind::Truncate { relation: &items, cascade: false, restart_identity: true };
    lines.push(put(&mut sequin, &transaction, 5, truncate));
    let message = |transactional, content| ChangeKind::Message { transactional, prefix: b"audit", content };
    lines.push(put(&mut sequin, &transaction, 6, message(true, Content(b"import 12 begins"))));
    let alone = Transaction { commit_lsn: Lsn(123_456_800), commit_timestamp: None, xid: None, ..transaction };
    lines.push(put(&mut sequin, &alone, None, message(false, Content(b"\xff\0\xfe"))));
    let gap = |to| Gap { from: Lsn(123_456_790), to, reason: "slot_missing".to_owned() };
    lines.push(put(&mut sequin, &transaction, None, ChangeKind::Gap(&gap(None))));
    lines.push(put(&mut sequin, &transaction, None, ChangeKind::Gap(&gap(Some(Lsn(234_567_890))))));

    let document = include_str!("../../../docs/FORMAT.md");
    let written: Vec<_> = document.lines().filter(|line| line.starts_with(r#"{"record""#)).collect();
    assert_eq!(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), written);
}

#[test]
fn the_key_is_the_base64_of_the_place_whatever_its_length() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    let items = items();
    let bytes = insert(&[T("1"), N, N]);
    let Ok(Message::Insert { new, .. }) = pgoutput::decode(&bytes) else { panic!("not an insert") };
    let mut sequin = Sequin::new(stream());
    for commit_lsn in [1, 12, 123, u64::MAX] {
        for ordinal in [0, 10, 999, 1000, u64::MAX] {
            let transaction = Transaction { commit_lsn: Lsn(commit_lsn), ..transaction() };
            let line = put(&mut sequin, &transaction, ordinal, ChangeKind::Insert { relation: &items, new });
            let line: Json = serde_json::from_str(&line).unwrap();
            // The timeline of the change, and not the one that the server is on.
            let key = STANDARD.encode(format!("7300000000000000001/1/slotd_shop/{commit_lsn}/{ordinal}"));
            assert_eq!(line["metadata"]["idempotency_key"], json!(key));
            assert_eq!(line["metadata"]["commit_lsn"], json!(commit_lsn));
            assert_eq!(line["metadata"]["commit_idx"], json!(ordinal));
        }
    }
}

#[test]
fn changes_are_the_old_values_that_were_sent_and_differ() {
    let items = items();
    let old = [T("7"), T("lamp"), N];
    let table: &[(&str, Vec<u8>, Json)] = &[
        ("no old row", update(None, &[T("7"), T("lamp"), N]), json!({})),
        ("all the same", update(Some((b'O', &old)), &old), json!({})),
        ("from null", update(Some((b'O', &old)), &[T("7"), T("lamp"), T("1")]), json!({"price": null})),
        ("to null", update(Some((b'O', &old)), &[T("7"), N, N]), json!({"name": "lamp"})),
        ("two", update(Some((b'O', &old)), &[T("8"), N, N]), json!({"id": 7, "name": "lamp"})),
        ("the key", update(Some((b'K', &[T("7"), N, N])), &[T("8"), T("lamp"), T("1")]), json!({"id": 7})),
        ("unchanged", update(Some((b'O', &old)), &[T("7"), U, T("2")]), json!({"price": null})),
    ];
    for (what, bytes, expected) in table {
        assert_eq!(parts(&items, bytes).1, *expected, "{what}");
    }
}

#[test]
fn unchanged_toast_is_filled_from_the_old_row_or_named() {
    let items = items();
    let old = [T("7"), T("lamp"), T("1")];
    let (record, _, unchanged) = parts(&items, &update(Some((b'O', &old)), &[T("7"), U, T("2")]));
    assert_eq!((record, unchanged), (json!({"id": 7, "name": "lamp", "price": "2"}), Json::Null));

    let (record, _, unchanged) = parts(&items, &update(None, &[U, U, T("2")]));
    assert_eq!((record, unchanged), (json!({"price": "2"}), json!(["id", "name"])));

    // The key of an old row fills the key, and its blanks fill nothing.
    let (record, _, unchanged) = parts(&items, &update(Some((b'K', &[T("7"), N, N])), &[U, U, T("2")]));
    assert_eq!((record, unchanged), (json!({"id": 7, "price": "2"}), json!(["name"])));

    let (record, _, unchanged) = parts(&items, &update(None, &[T("7"), T("lamp"), U]));
    assert_eq!((record, unchanged), (json!({"id": 7, "name": "lamp"}), json!(["price"])));
}

#[test]
fn a_deleted_row_has_the_columns_that_were_sent() {
    let items = items();
    let full = parts(&items, &delete(b'O', &[T("7"), N, T("1")])).0;
    assert_eq!(full, json!({"id": 7, "name": null, "price": "1"}));
    let key = parts(&items, &delete(b'K', &[T("7"), N, N])).0;
    assert_eq!(key, json!({"id": 7}));
    // A partition with another identity than its root's.
    let partition = parts(&items, &delete(b'K', &[T("7"), T("lamp"), N])).0;
    assert_eq!(partition, json!({"id": 7, "name": "lamp"}));
    // An identity that is not the first column.
    let second = relation(&[("note", false, 25), ("id", true, 23)]);
    assert_eq!(parts(&second, &delete(b'K', &[N, T("3")])).0, json!({"id": 3}));
}

#[test]
fn a_table_of_a_new_shape_takes_the_place_of_the_old_one() {
    let mut sequin = Sequin::new(stream());
    let before = items();
    let after = relation(&[("id", true, 20), ("label", false, 25)]);
    for _ in 0..2 {
        let line = row(&mut sequin, &before, 0, &insert(&[T("7"), T("lamp"), T("1")]));
        assert!(line.starts_with(r#"{"record":{"id":7,"name":"lamp","price":"1"}"#), "{line}");
        let line = row(&mut sequin, &after, 1, &insert(&[T("7"), T("lamp")]));
        assert!(line.starts_with(r#"{"record":{"id":7,"label":"lamp"}"#), "{line}");
    }
    assert_eq!(sequin.plans.len(), 1);
}

#[test]
fn names_are_escaped_wherever_they_stand() {
    let odd = "a \"b\"\\\n";
    let column = Column { name: odd.to_owned(), key: true, r#type: builtin(25).unwrap(), before: None };
    let relation = Arc::new(Relation {
        oid: 1,
        name: TableName { schema: odd.to_owned(), table: odd.to_owned() },
        identity: ReplicaIdentity::Default,
        columns: vec![column],
    });
    let stream = StreamIdentity { dbname: odd.to_owned(), hostname: odd.to_owned(), ..(*stream()).clone() };
    let mut sequin = Sequin::new(Arc::new(stream));
    let line: Json = serde_json::from_str(&row(&mut sequin, &relation, 0, &update(None, &[U]))).unwrap();
    for name in ["/metadata/table_schema", "/metadata/table_name", "/metadata/unchanged/0"] {
        assert_eq!(line.pointer(name), Some(&json!(odd)), "{name}");
    }
    assert_eq!(line["metadata"]["database"], json!({"name": "shop", "database": odd, "hostname": odd}));
    let line: Json = serde_json::from_str(&row(&mut sequin, &relation, 0, &insert(&[T(odd)]))).unwrap();
    assert_eq!(line["record"], json!({ odd: odd }));
    let message =
        ChangeKind::Message { transactional: false, prefix: odd.as_bytes(), content: Content(odd.as_bytes()) };
    let line: Json = serde_json::from_str(&put(&mut sequin, &transaction(), 0, message)).unwrap();
    assert_eq!(line["record"], json!({"prefix": odd, "content": odd}));
}

#[test]
fn a_table_without_columns_has_empty_records() {
    let empty = relation(&[]);
    assert_eq!(parts(&empty, &insert(&[])).0, json!({}));
}

#[test]
fn a_value_goes_out_in_runs_and_is_never_put_together() {
    /// Notes the largest piece, and that it lies where it lay.
    struct Pieces<'a> {
        value: &'a [u8],
        borrowed: usize,
    }

    impl Out for Pieces<'_> {
        fn put(&mut self, bytes: &[u8]) {
            if self.value.as_ptr_range().contains(&bytes.as_ptr()) {
                self.borrowed += bytes.len();
            } else {
                assert!(bytes.len() < 1000, "a copy of {} bytes", bytes.len());
            }
        }
    }

    let large = "x".repeat(1 << 20);
    for (oid, text) in [(25, large.clone()), (3802, format!("\"{large}\"")), (1009, format!("{{{large},\"{large}\"}}"))]
    {
        let relation = relation(&[("value", false, oid)]);
        let bytes = insert(&[T(&text)]);
        let Ok(Message::Insert { new, .. }) = pgoutput::decode(&bytes) else { panic!("not an insert") };
        let mut out = Pieces { value: &bytes, borrowed: 0 };
        let kind = ChangeKind::Insert { relation: &relation, new };
        Sequin::new(stream()).line(&Change { transaction: &transaction(), ordinal: Some(0), kind }, &mut out);
        assert!(out.borrowed >= large.len());
    }
}

fn numbered(oid: u32) -> Arc<Relation> {
    let name = TableName { schema: "public".to_owned(), table: format!("t{oid}") };
    Arc::new(Relation { oid, name, identity: ReplicaIdentity::Default, columns: Vec::new() })
}

#[test]
fn plans_of_tables_that_come_and_go_do_not_pile_up() {
    let mut plans = HashMap::new();
    for oid in 0..3 * u32::try_from(PLANS).unwrap() {
        let relation = numbered(oid);
        assert!(plan(&mut plans, &relation).is_of(&relation));
        assert!(plans.len() <= PLANS);
    }
}
