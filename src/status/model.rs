//! State, reason, sentence, hint: the words that log, health answer and metrics share.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::one_line;
use crate::ident::quote_literal;
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
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Disabled,
        Self::Failed,
        Self::Lost,
        Self::Pending,
        Self::Provisioning,
        Self::Retrying,
        Self::Streaming,
        Self::Waiting,
    ];

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
    /// slotd itself failed: a panic.
    Defect,
    /// `lost`: our position is not part of this server's history.
    Diverged,
    /// `slotd disable` says so, whatever the file says.
    DisabledByCommand,
    /// The file says `disabled`.
    DisabledByFile,
    /// `slotd drop` has dropped the slot.
    Dropped,
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
    /// Another slotd holds the state directory.
    StateHeld,
    /// The server counts our session as a synchronous standby: a sink that is blocked would hang every COMMIT.
    SyncStandby,
    /// The server sends a failover slot nothing, since it waits for a standby of this setting.
    SynchronizedStandbySlots,
    /// The server's certificate or TLS itself was refused.
    Tls,
    /// The slot retained all of its budget, and what `on_wal_limit` says is done.
    WalLimit,
    /// Something is missing, and the file says that slotd makes nothing by itself.
    Unprovisioned,
}

impl Reason {
    /// Those under `lost`.
    pub const LOST: [Self; 8] = [
        Self::Diverged,
        Self::OtherCluster,
        Self::PositionUnknown,
        Self::PublicationGap,
        Self::SinkBehind,
        Self::SlotAdvanced,
        Self::SlotInvalidated,
        Self::SlotMissing,
    ];

    /// Whether it is one of those under `lost`.
    #[must_use]
    pub fn is_lost(self) -> bool {
        Self::LOST.contains(&self)
    }

    /// As it is written everywhere.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authentication => "authentication",
            Self::Connection => "connection",
            Self::Defect => "defect",
            Self::Diverged => "diverged",
            Self::DisabledByCommand => "disabled_by_command",
            Self::DisabledByFile => "disabled_by_file",
            Self::Dropped => "dropped",
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
            Self::StateHeld => "state_held",
            Self::SyncStandby => "sync_standby",
            Self::SynchronizedStandbySlots => "synchronized_standby_slots",
            Self::Tls => "tls",
            Self::Unprovisioned => "unprovisioned",
            Self::WalLimit => "wal_limit",
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
    /// Under `waiting`: who holds the slot, where the role may see it.
    pub holder: Option<Holder>,
    /// The code that the server gave for it.
    pub sqlstate: Option<SqlState>,
}

/// The server's code for an error: five digits or capital letters.
///
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// `code`, if it is one.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        let bytes = code.as_bytes().try_into().ok()?;
        code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()).then_some(Self(bytes))
    }

    /// As the server writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Trouble {
    /// A trouble without a holder. What a server said in it can't forge a line wherever it is shown.
    #[must_use]
    pub fn new(reason: Reason, sentence: impl AsRef<str>, hint: impl AsRef<str>) -> Self {
        let (sentence, hint) = (one_line(sentence.as_ref()), one_line(hint.as_ref()));
        Self { reason, sentence, hint, holder: None, sqlstate: None }
    }

    /// The same, and the server's code for it, if that is one.
    #[must_use]
    pub fn with_sqlstate(self, code: &str) -> Self {
        Self { sqlstate: SqlState::new(code), ..self }
    }

    /// The same, and who holds the slot.
    #[must_use]
    pub fn held_by(self, holder: Holder) -> Self {
        Self { holder: Some(holder), ..self }
    }
}

/// Whom we wait for: the session that holds our slot, as `pg_stat_activity` shows it, or the process that holds our
/// state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    pub pid: i32,
    pub application_name: String,
    /// `None` over a Unix socket.
    pub client_addr: Option<String>,
    /// It calls itself as we do: a session that we left behind, which the server has not missed yet.
    #[serde(skip)]
    pub ours: bool,
}

impl Holder {
    /// How our own sessions begin their `application_name`.
    pub const AGENT_PREFIX: &'static str = "slotd/";

    /// Whether it is another slotd: its stream is in good hands, so waiting behind it only warns.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        !self.ours && self.application_name.starts_with(Self::AGENT_PREFIX)
    }
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
    /// When the oldest transaction in flight was committed, by the server's clock; `None` with nothing in flight.
    pub oldest_commit: Option<Timestamp>,
}

impl Positions {
    /// How far the slot's changes are safe, by the best that is known.
    #[must_use]
    pub fn done(&self) -> Option<Lsn> {
        self.durable.max(self.acknowledged).max(self.confirmed_flush_lsn)
    }

    /// Bytes of WAL from what is safe to the server's WAL end.
    #[must_use]
    pub fn lag_bytes(&self) -> Option<u64> {
        Some(self.wal_end?.since(self.done()?))
    }
}

/// What a slot costs its server.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
    /// `confirmed_flush_lsn` − `restart_lsn`: what transactions hold that were open then.
    pub held_bytes: u64,
    /// The oldest of them, while `held_bytes` is most of what is retained.
    pub held_by: Option<XidHolder>,
    /// How much WAL the server writes, in bytes a second; `None` after a single look.
    pub wal_bytes_per_second: Option<f64>,
    /// How long until `budget_bytes` is retained; `None` while the slot follows, or too little was seen.
    pub seconds_to_budget: Option<f64>,
    /// How long `safe_wal_size` lasts; likewise.
    pub seconds_to_invalidation: Option<f64>,
    /// The server's process that holds the slot.
    pub active_pid: Option<i32>,
    /// Since when nobody holds the slot, by the server's clock; 17 and later.
    pub inactive_since: Option<Timestamp>,
    /// How long nobody has held it, when it was last seen.
    pub inactive_seconds: Option<f64>,
    /// `idle_replication_slot_timeout`: after so long the server invalidates it; 18 and later, if it is on.
    pub idle_timeout_seconds: Option<f64>,
    /// Why the server has invalidated it.
    pub invalidation: Option<String>,
}

/// A transaction that holds back what is acknowledged: a session's, or a prepared one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct XidHolder {
    /// `None` of a prepared one, which has no session.
    pub pid: Option<i32>,
    /// Of a prepared one.
    pub gid: Option<String>,
    pub application_name: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// `None` where the role may not see it.
    pub since: Option<Timestamp>,
}

impl fmt::Display for XidHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.gid, self.pid) {
            (Some(gid), _) => write!(f, "the prepared transaction {}", quote_literal(gid))?,
            (None, Some(pid)) => {
                let name = self.application_name.as_deref().unwrap_or("no name");
                write!(f, "the transaction of pid {pid} ({name})")?;
            }
            (None, None) => write!(f, "a transaction")?,
        }
        if let Some(database) = &self.database {
            write!(f, " in the database {database}")?;
        }
        match self.since {
            Some(since) => write!(f, ", open since {since:.0}"),
            None => write!(f, ", whose start only pg_read_all_stats may see"),
        }
    }
}

impl XidHolder {
    /// The SQL that ends it; a prepared one is ended in its own database.
    #[must_use]
    pub fn end(&self) -> String {
        match (&self.gid, self.pid) {
            (Some(gid), _) => format!("ROLLBACK PREPARED {}; or COMMIT PREPARED", quote_literal(gid)),
            (None, Some(pid)) => format!("SELECT pg_terminate_backend({pid});"),
            (None, None) => "SELECT * FROM pg_stat_activity WHERE backend_xid IS NOT NULL;".to_owned(),
        }
    }
}

impl WalUse {
    /// Whether what is retained is the reader's doing: draining or reading a slot that an open transaction holds frees
    /// nothing.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.ours_bytes >= self.retained_bytes / 2
    }

    /// Retained WAL in percent of the budget, rounded down.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let percent = u128::from(self.retained_bytes) * 100 / u128::from(self.budget_bytes.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_forges_no_line_and_paints_no_terminal() {
        let trouble = Trouble::new(Reason::Server, "refused:\nfail  other: lost\u{1b}[2J", "run: SELECT\r\n1;");
        assert_eq!(trouble.sentence, "refused: fail  other: lost [2J");
        assert_eq!(trouble.hint, "run: SELECT  1;");
    }
}
