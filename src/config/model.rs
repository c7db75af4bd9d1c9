//! The configuration as the rest of slotd sees it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Mistake, Password};
use crate::ident::{DatabaseName, PublicationName, SinkName, SlotName, TableName};

/// A whole file.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub agent: Agent,
    pub http: Http,
    /// Every sink that a database may name; `changes` is always there.
    pub sinks: BTreeMap<SinkName, Arc<SinkConfig>>,
    /// In the order of the file; names are unique, and no two share a slot of one server.
    pub databases: Vec<Arc<Database>>,
    /// What works and should be known; `slotd check` shows it.
    pub warnings: Vec<Mistake>,
}

/// `[agent]`: the process as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub state_dir: PathBuf,
    pub log: LogLevel,
    /// Trouble younger than this warns and does not fail.
    pub grace: Duration,
    pub connect_timeout: Duration,
    /// How long a clean stop may take.
    pub stop_timeout: Duration,
    /// How long a sink may be blocked before the copy is ended.
    pub sink_stall_timeout: Duration,
    /// The server's patience with our own replication connections.
    pub wal_sender_timeout: Duration,
}

/// How much is logged; each level has those before it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// All, with their names in the file and on the command line.
    pub const ALL: &[(&str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl std::fmt::Display for LogLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, level)| level == self).map_or("", |(name, _)| name))
    }
}

/// `[http]`: the health listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// `None` is `"off"`.
    pub listen: Option<SocketAddr>,
    /// Whether a listener off loopback may show health without a token.
    pub public_status: bool,
}

/// One entry of `[sinks]`.
#[derive(Debug, Clone, PartialEq)]
pub enum SinkConfig {
    File(FileSinkConfig),
    Stdout,
}

/// A sink of type `file`.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSinkConfig {
    /// The path with `{database}` in it, absolute.
    pub path: PathBuf,
    /// A file is finished once it has this many bytes.
    pub rotate_size: u64,
    pub keep: Keep,
    pub min_free: MinFree,
}

/// How long finished files stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Forever,
    /// Until they are this old.
    For(Duration),
    /// The newest that fit into this many bytes together.
    Bytes(u64),
}

/// How much room a sink leaves on its file system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MinFree {
    Bytes(u64),
    /// Of the whole file system, 0 to 100.
    Percent(f64),
}

/// One entry of `postgres_databases`.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    pub name: DatabaseName,
    pub connection: Connection,
    pub slot: SlotName,
    pub publication: PublicationName,
    pub status: Status,
    /// `None` where the file is silent: all tables if we make the publication, any if it exists.
    pub scope: Option<Scope>,
    /// `None` where the file is silent.
    pub publish: Option<Publish>,
    /// `None` where the file is silent: true if we make the publication.
    pub publish_via_partition_root: Option<bool>,
    /// At least one.
    pub sinks: Vec<SinkName>,
    pub max_retained_wal: Budget,
    /// Tables that may be published though their UPDATE and DELETE will fail.
    pub allow_no_identity: Vec<TableName>,
    /// Whether it is streamed though the server counts our session as a synchronous standby.
    pub allow_sync_standby: bool,
}

/// The operator's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Active,
    Disabled,
}

/// What a publication publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    AllTables,
    Schemas(Vec<String>),
    Tables(Vec<TableName>),
}

/// Which operations a publication publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub truncate: bool,
}

impl Publish {
    /// What a publication publishes if nothing is said.
    pub const ALL: Self = Self { insert: true, update: true, delete: true, truncate: true };
}

/// How much WAL a slot may retain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// The server's `max_slot_wal_keep_size`, and 10 GB where it has none.
    Server,
    Bytes(u64),
}

/// How a server is reached. Two databases with equal connections but for `database` are on one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    pub host: Host,
    pub port: u16,
    /// The database's name on the server.
    pub database: String,
    pub username: String,
    pub password: Password,
    /// `None`: plain text, in so many words.
    pub tls: Option<Tls>,
    /// Only IPv6 addresses.
    pub ipv6: bool,
}

impl Connection {
    /// The server that it leads to.
    #[must_use]
    pub fn server(&self) -> Server {
        Server { host: self.host.clone(), port: self.port }
    }
}

/// What makes two connections lead to one server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub host: Host,
    pub port: u16,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A literal; a zone (`%eth0`) stays as text.
    Address {
        ip: IpAddr,
        zone: Option<String>,
    },
    Name(String),
    /// The folder of a Unix socket.
    Socket(PathBuf),
}

/// How TLS is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub mode: TlsMode,
    /// `None`: the system's roots.
    pub root_cert: Option<PathBuf>,
}

/// libpq's names for what is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Encrypted; nothing verified.
    Require,
    /// The chain.
    VerifyCa,
    /// The chain and the name.
    VerifyFull,
}
