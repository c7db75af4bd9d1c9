use jiff::Timestamp;
use proptest::prelude::*;

use super::message::Prepared;
use super::*;
use crate::lsn::{EndLsn, Lsn};

/// 2026-01-01T00:00:00.000001Z as the wire counts: microseconds since 2000.
const NEW_YEAR: [u8; 8] = 820_540_800_000_001_i64.to_be_bytes();

/// Bytes of a message, put together from its fields.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn of(kind: u8) -> Self {
        Self(vec![kind])
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(self, value: u8) -> Self {
        self.raw(&[value])
    }

    fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn lsn(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    fn time(self) -> Self {
        self.raw(&NEW_YEAR)
    }

    fn cstr(self, text: &str) -> Self {
        self.raw(text.as_bytes()).u8(0)
    }

    fn text(self, text: &str) -> Self {
        self.u8(b't').u32(text.len().try_into().unwrap()).raw(text.as_bytes())
    }

    fn prepared(self) -> Self {
        self.lsn(0x10).lsn(0x20).time().u32(7).cstr("gid")
    }
}

fn new_year() -> Timestamp {
    "2026-01-01T00:00:00.000001Z".parse().unwrap()
}

fn prepared() -> Prepared<'static> {
    Prepared { lsn: Lsn(0x10), end_lsn: Lsn(0x20), timestamp: new_year(), xid: 7, gid: "gid" }
}

/// A tuple of the text `a`, a null, and a value that is unchanged.
const ROW: &[u8] = b"\0\x03t\0\0\0\x01anu";

fn tuple_bytes(bytes: Bytes) -> Bytes {
    bytes.raw(ROW)
}

fn tuple(values: &[u8]) -> Tuple<'_> {
    let mut rest = values;
    let tuple = Tuple::split_off(&mut rest).unwrap();
    assert!(rest.is_empty());
    tuple
}

/// Each kind of message outside a streamed block, and what it means.
fn messages() -> Vec<(Vec<u8>, Message<'static>)> {
    let (end_lsn, commit_lsn, commit_timestamp) = (EndLsn::of_commit(Lsn(0x20)), Lsn(0x10), new_year());
    let column = |key, name, type_oid, type_modifier| RelationColumn { key, name, type_oid, type_modifier };
    let relation = |schema, identity| Message::Relation {
        xid: None,
        oid: 16_384,
        schema,
        name: "orders",
        identity,
        columns: vec![column(true, "id", 23, -1), column(false, "price", 1700, 655_366)],
    };
    let relation_bytes = |schema, identity| {
        Bytes::of(b'R')
            .u32(16_384)
            .cstr(schema)
            .cstr("orders")
            .u8(identity)
            .u16(2)
            .u8(1)
            .cstr("id")
            .u32(23)
            .u32(u32::MAX)
            .u8(0)
            .cstr("price")
            .u32(1700)
            .u32(655_366)
    };
    let truncate = |cascade, restart_identity| Message::Truncate {
        xid: None,
        relations: message::Relations(&[0, 0, 64, 0, 0, 0, 64, 1]),
        cascade,
        restart_identity,
    };
    let update = |old| Message::Update { xid: None, relation: 16_384, old, new: tuple(ROW) };
    let emitted = |transactional, content| Message::Message {
        xid: None,
        transactional,
        lsn: Lsn(0x10),
        prefix: b"audit",
        content: Content(content),
    };
    let new = |bytes: Bytes| tuple_bytes(bytes.u8(b'N'));
    let table = |kind| Bytes::of(kind).u32(16_384);
    vec![
        (Bytes::of(b'B').lsn(0x10).time().u32(7), Message::Begin { commit_lsn, commit_timestamp, xid: 7 }),
        (Bytes::of(b'C').u8(0).lsn(0x10).lsn(0x20).time(), Message::Commit { commit_lsn, end_lsn, commit_timestamp }),
        (Bytes::of(b'O').lsn(0x10).cstr("east"), Message::Origin { commit_lsn }),
        (Bytes::of(b'Y').u32(16_400).cstr("public").cstr("mood"), Message::Type { xid: None, oid: 16_400 }),
        (relation_bytes("public", b'd'), relation("public", ReplicaIdentity::Default)),
        (relation_bytes("public", b'f'), relation("public", ReplicaIdentity::Full)),
        (relation_bytes("public", b'i'), relation("public", ReplicaIdentity::Index)),
        (relation_bytes("", b'n'), relation("pg_catalog", ReplicaIdentity::Nothing)),
        (new(table(b'I')), Message::Insert { xid: None, relation: 16_384, new: tuple(ROW) }),
        (new(table(b'U')), update(None)),
        (new(tuple_bytes(table(b'U').u8(b'K'))), update(Some(OldTuple::Key(tuple(ROW))))),
        (new(tuple_bytes(table(b'U').u8(b'O'))), update(Some(OldTuple::Full(tuple(ROW))))),
        (
            tuple_bytes(table(b'D').u8(b'K')),
            Message::Delete { xid: None, relation: 16_384, old: OldTuple::Key(tuple(ROW)) },
        ),
        (
            tuple_bytes(table(b'D').u8(b'O')),
            Message::Delete { xid: None, relation: 16_384, old: OldTuple::Full(tuple(ROW)) },
        ),
        (Bytes::of(b'T').u32(2).u8(0).u32(16_384).u32(16_385), truncate(false, false)),
        (Bytes::of(b'T').u32(2).u8(1).u32(16_384).u32(16_385), truncate(true, false)),
        (Bytes::of(b'T').u32(2).u8(2).u32(16_384).u32(16_385), truncate(false, true)),
        (Bytes::of(b'M').u8(0).lsn(0x10).cstr("audit").u32(3).raw(b"\0\xff\n"), emitted(false, b"\0\xff\n")),
        (Bytes::of(b'M').u8(1).lsn(0x10).cstr("audit").u32(0), emitted(true, b"")),
        (Bytes::of(b'S').u32(7).u8(1), Message::StreamStart { xid: 7, first: true }),
        (Bytes::of(b'E'), Message::StreamStop),
        (
            Bytes::of(b'c').u32(7).u8(0).lsn(0x10).lsn(0x20).time(),
            Message::StreamCommit { xid: 7, commit_lsn, end_lsn, commit_timestamp },
        ),
        (Bytes::of(b'A').u32(7).u32(8), Message::StreamAbort { xid: 7, subtransaction: 8, abort: None }),
        (
            Bytes::of(b'A').u32(7).u32(8).lsn(0x10).time(),
            Message::StreamAbort { xid: 7, subtransaction: 8, abort: Some((Lsn(0x10), new_year())) },
        ),
        (Bytes::of(b'b').prepared(), Message::BeginPrepare(prepared())),
        (Bytes::of(b'P').u8(0).prepared(), Message::Prepare(prepared())),
        (Bytes::of(b'K').u8(0).prepared(), Message::CommitPrepared(prepared())),
        (Bytes::of(b'p').u8(0).prepared(), Message::StreamPrepare(prepared())),
        (
            Bytes::of(b'r').u8(0).lsn(0x10).lsn(0x20).time().time().u32(7).cstr("gid"),
            Message::RollbackPrepared {
                prepare_end_lsn: Lsn(0x10),
                rollback_end_lsn: Lsn(0x20),
                prepared: new_year(),
                rolled_back: new_year(),
                xid: 7,
                gid: "gid",
            },
        ),
    ]
    .into_iter()
    .map(|(bytes, message)| (bytes.0, message))
    .collect()
}

#[test]
fn each_kind_is_read_as_the_manual_lays_it_out() {
    let mut kinds: Vec<u8> = Vec::new();
    for (bytes, message) in messages() {
        assert_eq!(decode(&bytes), Ok(message), "kind {}", char::from(bytes[0]));
        kinds.push(bytes[0]);
    }
    for kind in b"BCOYRIUDTMSEcAbPKrp" {
        assert!(kinds.contains(kind), "no example of {}", char::from(*kind));
    }
}

#[test]
fn inside_a_streamed_block_changes_carry_their_transaction() {
    for (bytes, message) in messages() {
        let kind = bytes[0];
        let with_xid = [&[kind][..], &9_u32.to_be_bytes(), &bytes[1..]].concat();
        match message {
            Message::Insert { relation, new, .. } => {
                assert_eq!(decode_streamed(&with_xid), Ok(Message::Insert { xid: Some(9), relation, new }));
            }
            Message::Message { transactional, lsn, prefix, content, .. } => assert_eq!(
                decode_streamed(&with_xid),
                Ok(Message::Message { xid: Some(9), transactional, lsn, prefix, content }),
            ),
            Message::Relation { .. } | Message::Update { .. } | Message::Delete { .. } => {
                assert!(decode_streamed(&with_xid).is_ok());
            }
            Message::Truncate { .. } | Message::Type { .. } => assert!(decode_streamed(&with_xid).is_ok()),
            message => assert_eq!(decode_streamed(&bytes), Ok(message)),
        }
    }
}

#[test]
fn a_message_that_is_cut_or_too_long_is_refused() {
    assert_eq!(decode(b""), Err(DecodeError::Empty));
    assert_eq!(decode(b"?"), Err(DecodeError::UnknownKind(b'?')));
    for (bytes, _) in messages() {
        let kind = bytes[0];
        for len in 1..bytes.len() {
            // The optional end of a StreamAbort is all that may be missing.
            if kind == b'A' && len == 9 {
                continue;
            }
            assert_eq!(
                decode(&bytes[..len]),
                Err(DecodeError::Malformed { kind }),
                "{} cut at {len}",
                char::from(kind)
            );
        }
        let long = [&bytes[..], b"\0\0\0"].concat();
        let refused = decode(&long).unwrap_err();
        // Behind a short StreamAbort the bytes are the start of its optional end.
        let expected = match (kind, bytes.len()) {
            (b'A', 9) => DecodeError::Malformed { kind },
            _ => DecodeError::TrailingBytes { kind, left: 3 },
        };
        assert_eq!(refused, expected);
    }
}

#[test]
fn what_no_server_sends_is_refused() {
    let table = |kind| Bytes::of(kind).u32(16_384);
    let malformed: &[(&str, Bytes)] = &[
        ("a tuple of an unknown kind", table(b'I').u8(b'X').u16(0)),
        ("an old tuple where the new one belongs", table(b'I').u8(b'K').u16(0)),
        ("a delete of a new tuple", table(b'D').u8(b'N').u16(0)),
        ("a value of an unknown kind", table(b'I').u8(b'N').u16(1).u8(b'x').u32(0)),
        ("a value of negative length", table(b'I').u8(b'N').u16(1).u8(b't').u32(u32::MAX)),
        ("a value longer than the message", table(b'I').u8(b'N').u16(1).u8(b't').u32(1 << 30)),
        ("more columns than there are", table(b'I').u8(b'N').u16(u16::MAX).u8(b'n')),
        ("an identity of an unknown kind", Bytes::of(b'R').u32(1).cstr("a").cstr("b").u8(b'x').u16(0)),
        ("more truncated tables than there are", Bytes::of(b'T').u32(u32::MAX).u8(0).u32(1)),
        ("a name that is not UTF-8", Bytes::of(b'R').u32(1).cstr("a").raw(b"\xff\0").u8(b'd').u16(0)),
        ("an origin whose name does not end", Bytes::of(b'O').lsn(1).raw(b"east")),
        ("a timestamp beyond all calendars", Bytes::of(b'B').lsn(1).lsn(i64::MAX.cast_unsigned()).u32(1)),
    ];
    for (what, bytes) in malformed {
        assert_eq!(decode(&bytes.0), Err(DecodeError::Malformed { kind: bytes.0[0] }), "{what}");
    }
}

#[test]
fn values_come_as_they_were_sent() {
    let tuple = tuple(ROW);
    assert_eq!(tuple.len(), 3);
    assert_eq!(tuple.values().collect::<Vec<_>>(), [Value::Text(b"a"), Value::Null, Value::Unchanged]);
    let binary = Bytes::default().u16(1).u8(b'b').u32(2).raw(b"\0\x01").0;
    assert_eq!(self::tuple(&binary).values().collect::<Vec<_>>(), [Value::Binary(b"\0\x01")]);
}

#[test]
fn truncate_names_its_tables_in_the_servers_order() {
    let bytes = Bytes::of(b'T').u32(2).u8(0).u32(16_385).u32(16_384).0;
    let Ok(Message::Truncate { relations, .. }) = decode(&bytes) else { panic!("not a truncate") };
    assert_eq!(relations.iter().collect::<Vec<_>>(), [16_385, 16_384]);
}

#[test]
fn debug_and_errors_show_no_row_and_no_content() {
    let secret = "4111-1111";
    let insert = Bytes::of(b'I').u32(1).u8(b'N').u16(1).text(secret).0;
    let message = Bytes::of(b'M').u8(0).lsn(1).cstr("audit").u32(9).raw(secret.as_bytes()).0;
    for bytes in [insert, message] {
        let shown = format!("{:?}", decode(&bytes).unwrap());
        // Neither as text nor as a list of bytes.
        assert!(!shown.contains("4111") && !shown.contains("52, 49, 49"), "{shown}");
        let cut = decode(&bytes[..bytes.len() - 1]).unwrap_err();
        assert!(!format!("{cut} {cut:?}").contains("411"), "{cut}");
    }
}

/// Reads all that can be read from what was decoded.
fn walk(message: &Message<'_>) -> usize {
    let values = |tuple: &Tuple<'_>| {
        let values = tuple.values();
        assert_eq!(values.clone().count(), tuple.len());
        values.map(|value| if let Value::Text(text) | Value::Binary(text) = value { text.len() } else { 0 }).sum()
    };
    match message {
        Message::Insert { new, .. } => values(new),
        Message::Update { old, new, .. } => old.map_or(0, |old| values(&old.tuple())) + values(new),
        Message::Delete { old, .. } => values(&old.tuple()),
        Message::Truncate { relations, .. } => relations.iter().count(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        kind in prop::sample::select(&b"BCOYRIUDTMSEcAbPKrp"[..]),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [&[kind][..], &body].concat();
        for decoded in [decode(&bytes), decode_streamed(&bytes)].into_iter().flatten() {
            prop_assert!(walk(&decoded) <= bytes.len());
        }
    }

    #[test]
    fn no_damage_to_a_message_makes_it_panic(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let messages = messages();
        let (mut bytes, _) = messages[which.index(messages.len())].clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for decoded in [decode(&bytes), decode_streamed(&bytes)].into_iter().flatten() {
            prop_assert!(walk(&decoded) <= bytes.len());
        }
    }

    #[test]
    fn a_row_reads_back_as_it_was_written(texts in prop::collection::vec(prop::option::of(".{0,40}"), 0..20)) {
        let mut bytes = Bytes::of(b'I').u32(1).u8(b'N').u16(texts.len().try_into().unwrap());
        for text in &texts {
            bytes = match text {
                Some(text) => bytes.text(text),
                None => bytes.u8(b'n'),
            };
        }
        let Ok(Message::Insert { new, .. }) = decode(&bytes.0) else { panic!("not an insert") };
        let expected = texts.iter().map(|text| text.as_ref().map_or(Value::Null, |text| Value::Text(text.as_bytes())));
        prop_assert!(new.values().eq(expected));
    }
}
