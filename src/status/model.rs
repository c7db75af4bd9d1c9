//! State, reason, sentence, hint: the words that log, health answer and metrics share.

use jiff::Timestamp;
use serde::Serialize;

use crate::config::Status;
use crate::ident::{DatabaseName, PublicationName, SlotName};
use crate::lsn::Lsn;

/// What the agent observes of a database's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Disabled,
    /// Needs the operator.
    Failed,
    /// The slot no longer leads on from where the sink stands.
    Lost,
    /// No round yet.
    Pending,
    Provisioning,
    Retrying,
    Streaming,
    /// Another session holds the slot.
    Waiting,
}

impl State {
    /// As it is written everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Pending => "pending",
            Self::Provisioning => "provisioning",
            Self::Retrying => "retrying",
            Self::Streaming => "streaming",
            Self::Waiting => "waiting",
        }
    }
}

/// Why a state is what it is; a code that does not change between versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The server refused the credentials or the address it saw.
    Authentication,
    /// The server can't be reached, or broke off.
    Connection,
    /// `lost`: our position is not part of this server's history.
    Diverged,
    /// The file says `disabled`.
    DisabledByFile,
    /// The publication would make UPDATE or DELETE of these tables fail.
    NoReplicaIdentity,
    /// `lost`: another system identifier.
    OtherCluster,
    /// `lost`: nothing is recorded, and the slot is past the sink's cursor.
    PositionUnknown,
    /// The role lacks a privilege.
    Privilege,
    /// `lost`: the publication is younger than the slot's position.
    PublicationGap,
    /// A publication that was asked to be left alone does not fit, or names what does not exist.
    Publication,
    /// The server is not set up for logical decoding, or is too old.
    Server,
    /// The sink can't be written.
    Sink,
    /// `lost`: changes were taken out of the sink, and the slot is past them.
    SinkBehind,
    /// `lost`: the slot was moved or made anew behind our back.
    SlotAdvanced,
    /// Another session holds the slot.
    SlotHeld,
    /// `lost`: the server invalidated the slot.
    SlotInvalidated,
    /// `lost`: the slot is gone.
    SlotMissing,
    /// A slot of this name exists that can't be used: another plugin, database or kind.
    SlotUnusable,
    /// slotd has just begun with it.
    Starting,
    /// The server's certificate or TLS itself was refused.
    Tls,
}

impl Reason {
    /// As it is written everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Connection => "connection",
            Self::Diverged => "diverged",
            Self::DisabledByFile => "disabled_by_file",
            Self::NoReplicaIdentity => "no_replica_identity",
            Self::OtherCluster => "other_cluster",
            Self::PositionUnknown => "position_unknown",
            Self::Privilege => "privilege",
            Self::PublicationGap => "publication_gap",
            Self::Publication => "publication",
            Self::Server => "server",
            Self::Sink => "sink",
            Self::SinkBehind => "sink_behind",
            Self::SlotAdvanced => "slot_advanced",
            Self::SlotHeld => "slot_held",
            Self::SlotInvalidated => "slot_invalidated",
            Self::SlotMissing => "slot_missing",
            Self::SlotUnusable => "slot_unusable",
            Self::Starting => "starting",
            Self::Tls => "tls",
        }
    }
}

/// Why, in words: every state but `streaming` has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    pub reason: Reason,
    /// What happened: lower case, no full stop, no secret and no row value in it.
    pub sentence: String,
    /// The command, the setting or the SQL that ends it.
    pub hint: String,
}

/// A state with its reason; `streaming` has none, all others have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Streaming,
    /// Never [`State::Streaming`].
    Other(State, Trouble),
}

impl Condition {
    /// The state alone.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::Streaming => State::Streaming,
            Self::Other(state, _) => *state,
        }
    }

    /// The reason and its words, unless it streams.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Trouble> {
        match self {
            Self::Streaming => None,
            Self::Other(_, trouble) => Some(trouble),
        }
    }
}

/// Something to mend that does not stop the stream: warns in health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A code: `no_replica_identity`, `publication_drift`, `config_rejected`…
    pub code: &'static str,
    pub sentence: String,
    pub hint: String,
}

/// Where the stream stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Positions {
    /// The server's WAL end, as last heard or observed.
    pub wal_end: Option<Lsn>,
    /// The last position received.
    pub received: Option<Lsn>,
    /// What all sinks have.
    pub durable: Option<Lsn>,
    /// What was last acknowledged.
    pub acknowledged: Option<Lsn>,
    /// As observed in `pg_replication_slots`.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// As observed in `pg_replication_slots`.
    pub restart_lsn: Option<Lsn>,
}

/// What a slot costs its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalUse {
    /// WAL end − `restart_lsn`.
    pub retained_bytes: u64,
    /// WAL end − `confirmed_flush_lsn`: what we have not acknowledged.
    pub ours_bytes: u64,
    /// `max_retained_wal`, resolved.
    pub budget_bytes: u64,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
    /// What can still be written before the slot may be lost; `None` without a limit.
    pub safe_wal_size: Option<i64>,
}

/// All that is known of one database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatabaseStatus {
    pub name: DatabaseName,
    pub slot: SlotName,
    pub publication: PublicationName,
    /// The wish.
    pub status: Status,
    #[serde(skip)]
    pub condition: Condition,
    /// Since when the state and its reason are what they are.
    pub since: Timestamp,
    /// When a retry comes.
    pub next_try: Option<Timestamp>,
    pub positions: Positions,
    /// When a change or a keepalive last came.
    pub last_message: Option<Timestamp>,
    /// When something was last acknowledged.
    pub last_acknowledged: Option<Timestamp>,
    pub wal: Option<WalUse>,
    /// When the slot was last seen in `pg_replication_slots`, or its absence was.
    pub observed: Option<Timestamp>,
    /// When a round last ended.
    pub last_round: Option<Timestamp>,
    pub findings: Vec<Finding>,
}
