//! From a message's bytes to a [`Message`].

use jiff::{SignedDuration, Timestamp};

use super::message::{Content, Message, Prepared, RelationColumn, Relations, ReplicaIdentity};
use super::tuple::{OldTuple, Tuple, bytes_to_nul, cstr};
use crate::lsn::{EndLsn, Lsn};

/// 2000-01-01T00:00:00Z: what Postgres counts its microseconds from.
pub const POSTGRES_EPOCH: Timestamp = Timestamp::constant(946_684_800, 0);

/// The bytes are not a message of protocol versions 1 to 4. Nothing of them is shown: they may hold rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("an empty pgoutput message")]
    Empty,
    #[error("a pgoutput message of kind `{}` that is cut short or malformed", char::from(*.kind))]
    Malformed { kind: u8 },
    #[error("{left} bytes left over behind a pgoutput message of kind `{}`", char::from(*.kind))]
    TrailingBytes { kind: u8, left: usize },
    #[error("a pgoutput message of an unknown kind, byte {0:#04x}")]
    UnknownKind(u8),
}

/// Decodes one message outside a streamed block.
///
/// # Errors
/// The message is malformed, cut, too long, or of an unknown kind.
pub fn decode(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    decode_in(bytes, false)
}

/// Decodes one message between StreamStart and StreamStop, where changes carry their transaction's id.
///
/// # Errors
/// As [`decode`].
pub fn decode_streamed(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    decode_in(bytes, true)
}

fn decode_in(bytes: &[u8], streamed: bool) -> Result<Message<'_>, DecodeError> {
    let (&kind, mut rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if !b"BCOYRIUDTMSEcAbPKrp".contains(&kind) {
        return Err(DecodeError::UnknownKind(kind));
    }
    let message = body(kind, &mut rest, streamed).ok_or(DecodeError::Malformed { kind })?;
    match rest.len() {
        0 => Ok(message),
        left => Err(DecodeError::TrailingBytes { kind, left }),
    }
}

fn body<'a>(kind: u8, rest: &mut &'a [u8], streamed: bool) -> Option<Message<'a>> {
    let xid = match kind {
        b'I' | b'U' | b'D' | b'T' | b'M' | b'R' | b'Y' if streamed => Some(u32(rest)?),
        _ => None,
    };
    Some(match kind {
        b'B' => Message::Begin { commit_lsn: lsn(rest)?, commit_timestamp: timestamp(rest)?, xid: u32(rest)? },
        b'C' => {
            u8(rest)?; // Flags, unused.
            let commit_lsn = lsn(rest)?;
            Message::Commit { commit_lsn, end_lsn: EndLsn::of_commit(lsn(rest)?), commit_timestamp: timestamp(rest)? }
        }
        b'O' => {
            let commit_lsn = lsn(rest)?;
            bytes_to_nul(rest)?;
            Message::Origin { commit_lsn }
        }
        b'Y' => {
            let oid = u32(rest)?;
            bytes_to_nul(rest)?;
            bytes_to_nul(rest)?;
            Message::Type { xid, oid }
        }
        b'R' => relation(rest, xid)?,
        b'I' => {
            let relation = u32(rest)?;
            Message::Insert { xid, relation, new: new_tuple(rest)? }
        }
        b'U' => {
            let relation = u32(rest)?;
            let old = match rest.first()? {
                b'K' | b'O' => Some(old_tuple(rest)?),
                _ => None,
            };
            Message::Update { xid, relation, old, new: new_tuple(rest)? }
        }
        b'D' => Message::Delete { xid, relation: u32(rest)?, old: old_tuple(rest)? },
        b'T' => {
            let count = usize::try_from(u32(rest)?).ok()?;
            let options = u8(rest)?;
            let (oids, left) = rest.split_at_checked(count.checked_mul(4)?)?;
            *rest = left;
            Message::Truncate {
                xid,
                relations: Relations(oids),
                cascade: options & 0x01 != 0,
                restart_identity: options & 0x02 != 0,
            }
        }
        b'M' => {
            let flags = u8(rest)?;
            let lsn = lsn(rest)?;
            let prefix = bytes_to_nul(rest)?;
            let len = usize::try_from(u32(rest)?).ok()?;
            let (content, left) = rest.split_at_checked(len)?;
            *rest = left;
            Message::Message { xid, transactional: flags & 0x01 != 0, lsn, prefix, content: Content(content) }
        }
        b'S' => Message::StreamStart { xid: u32(rest)?, first: u8(rest)? != 0 },
        b'E' => Message::StreamStop,
        b'c' => {
            let xid = u32(rest)?;
            u8(rest)?; // Flags, unused.
            let commit_lsn = lsn(rest)?;
            Message::StreamCommit {
                xid,
                commit_lsn,
                end_lsn: EndLsn::of_commit(lsn(rest)?),
                commit_timestamp: timestamp(rest)?,
            }
        }
        b'A' => {
            let xid = u32(rest)?;
            let subtransaction = u32(rest)?;
            // From protocol version 4 with `streaming 'parallel'` on, and only then.
            let abort = if rest.is_empty() { None } else { Some((lsn(rest)?, timestamp(rest)?)) };
            Message::StreamAbort { xid, subtransaction, abort }
        }
        b'b' => Message::BeginPrepare(prepared(rest)?),
        b'P' => {
            u8(rest)?; // Flags, unused.
            Message::Prepare(prepared(rest)?)
        }
        b'p' => {
            u8(rest)?; // Flags, unused.
            Message::StreamPrepare(prepared(rest)?)
        }
        b'K' => {
            u8(rest)?; // Flags, unused.
            Message::CommitPrepared(prepared(rest)?)
        }
        b'r' => {
            u8(rest)?; // Flags, unused.
            Message::RollbackPrepared {
                prepare_end_lsn: lsn(rest)?,
                rollback_end_lsn: lsn(rest)?,
                prepared: timestamp(rest)?,
                rolled_back: timestamp(rest)?,
                xid: u32(rest)?,
                gid: cstr(rest)?,
            }
        }
        _ => return None,
    })
}

fn relation<'a>(rest: &mut &'a [u8], xid: Option<u32>) -> Option<Message<'a>> {
    let oid = u32(rest)?;
    let schema = cstr(rest)?;
    let name = cstr(rest)?;
    let identity = match u8(rest)? {
        b'd' => ReplicaIdentity::Default,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        b'n' => ReplicaIdentity::Nothing,
        _ => return None,
    };
    let columns = (0..u16(rest)?)
        .map(|_| {
            Some(RelationColumn {
                key: u8(rest)? & 0x01 != 0,
                name: cstr(rest)?,
                type_oid: u32(rest)?,
                type_modifier: u32(rest)?.cast_signed(),
            })
        })
        .collect::<Option<_>>()?;
    // `pg_catalog` is sent as an empty name.
    let schema = if schema.is_empty() { "pg_catalog" } else { schema };
    Some(Message::Relation { xid, oid, schema, name, identity, columns })
}

fn new_tuple<'a>(rest: &mut &'a [u8]) -> Option<Tuple<'a>> {
    (u8(rest)? == b'N').then_some(())?;
    Tuple::split_off(rest)
}

fn old_tuple<'a>(rest: &mut &'a [u8]) -> Option<OldTuple<'a>> {
    match u8(rest)? {
        b'K' => Tuple::split_off(rest).map(OldTuple::Key),
        b'O' => Tuple::split_off(rest).map(OldTuple::Full),
        _ => None,
    }
}

fn prepared<'a>(rest: &mut &'a [u8]) -> Option<Prepared<'a>> {
    Some(Prepared {
        lsn: lsn(rest)?,
        end_lsn: lsn(rest)?,
        timestamp: timestamp(rest)?,
        xid: u32(rest)?,
        gid: cstr(rest)?,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn u8(rest: &mut &[u8]) -> Option<u8> {
    take(rest).map(|[byte]| byte)
}

fn u16(rest: &mut &[u8]) -> Option<u16> {
    take(rest).map(u16::from_be_bytes)
}

fn u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_be_bytes)
}

fn lsn(rest: &mut &[u8]) -> Option<Lsn> {
    take(rest).map(u64::from_be_bytes).map(Lsn)
}

fn timestamp(rest: &mut &[u8]) -> Option<Timestamp> {
    let micros = take(rest).map(i64::from_be_bytes)?;
    POSTGRES_EPOCH.checked_add(SignedDuration::from_micros(micros)).ok()
}
