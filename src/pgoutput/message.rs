//! What a message says.

use std::fmt;

use jiff::Timestamp;

use super::{OldTuple, Tuple};
use crate::lsn::{EndLsn, Lsn};

/// One message of the stream; text and tuples borrow from its bytes.
///
/// `xid` is set inside a streamed block only, where the server puts it in front of each change.
#[derive(Debug, Clone, PartialEq)]
pub enum Message<'a> {
    Begin {
        commit_lsn: Lsn,
        commit_timestamp: Timestamp,
        xid: u32,
    },
    BeginPrepare(Prepared<'a>),
    Commit {
        commit_lsn: Lsn,
        end_lsn: EndLsn,
        commit_timestamp: Timestamp,
    },
    CommitPrepared(Prepared<'a>),
    Delete {
        xid: Option<u32>,
        relation: u32,
        old: OldTuple<'a>,
    },
    Insert {
        xid: Option<u32>,
        relation: u32,
        new: Tuple<'a>,
    },
    /// `pg_logical_emit_message`.
    Message {
        xid: Option<u32>,
        transactional: bool,
        lsn: Lsn,
        /// In the database's encoding, as text of any kind.
        prefix: &'a [u8],
        content: Content<'a>,
    },
    /// The name is left out: nothing needs it.
    Origin {
        commit_lsn: Lsn,
    },
    Prepare(Prepared<'a>),
    Relation {
        xid: Option<u32>,
        oid: u32,
        schema: &'a str,
        name: &'a str,
        identity: ReplicaIdentity,
        columns: Vec<RelationColumn<'a>>,
    },
    RollbackPrepared {
        prepare_end_lsn: Lsn,
        rollback_end_lsn: Lsn,
        prepared: Timestamp,
        rolled_back: Timestamp,
        xid: u32,
        gid: &'a str,
    },
    StreamAbort {
        xid: u32,
        subtransaction: u32,
        abort: Option<(Lsn, Timestamp)>,
    },
    StreamCommit {
        xid: u32,
        commit_lsn: Lsn,
        end_lsn: EndLsn,
        commit_timestamp: Timestamp,
    },
    StreamPrepare(Prepared<'a>),
    StreamStart {
        xid: u32,
        first: bool,
    },
    StreamStop,
    Truncate {
        xid: Option<u32>,
        relations: Relations<'a>,
        cascade: bool,
        restart_identity: bool,
    },
    /// The name is left out: the catalog is asked.
    Type {
        xid: Option<u32>,
        oid: u32,
    },
    Update {
        xid: Option<u32>,
        relation: u32,
        old: Option<OldTuple<'a>>,
        new: Tuple<'a>,
    },
}

/// What a message of `pg_logical_emit_message` carries: any bytes, shown in sinks alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Content<'a>(pub &'a [u8]);

impl fmt::Debug for Content<'_> {
    /// Without the bytes: they belong into sinks alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

/// A prepared transaction at one of its steps. Its LSNs are no [`EndLsn`]: to acknowledge a PREPARE loses the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepared<'a> {
    pub lsn: Lsn,
    pub end_lsn: Lsn,
    pub timestamp: Timestamp,
    pub xid: u32,
    pub gid: &'a str,
}

/// The OIDs that a TRUNCATE names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relations<'a>(pub(super) &'a [u8]);

impl Relations<'_> {
    /// The OIDs, in the server's order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.as_chunks().0.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

/// What the server sends of a row's old version (`pg_class.relreplident`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// All columns.
    Full,
    /// A unique index.
    Index,
    /// Nothing.
    Nothing,
}

/// A column as a Relation message describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationColumn<'a> {
    /// Part of the replica identity.
    pub key: bool,
    pub name: &'a str,
    pub type_oid: u32,
    pub type_modifier: i32,
}
