//! The configuration as the rest of slotd sees it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{GeneratedColumns, Mistake, OnDisable, OnSlotLost, OnWalLimit, Password, Provision, Publish, Scope};
use crate::ident::{DatabaseName, PublicationName, SinkName, SlotName, TableName};

/// A whole file, with those that it includes.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub agent: Agent,
    pub http: Http,
    /// Every sink that a database may name; `changes` is always there.
    pub sinks: BTreeMap<SinkName, Arc<SinkConfig>>,
    /// In the order of the files; names are unique, and no two share a slot of one server.
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
    pub resolver: Resolver,
    /// How long a clean stop may take.
    pub stop_timeout: Duration,
    /// How long a sink may be blocked before the copy is ended.
    pub sink_stall_timeout: Duration,
    /// The server's patience with our own replication connections.
    pub wal_sender_timeout: Duration,
}

/// Who turns names into addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// slotd itself, by /etc/hosts and the name servers of /etc/resolv.conf.
    Hickory,
    /// `getent`, by what /etc/nsswitch.conf names.
    System,
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
    /// The server that has the slot.
    pub connection: Connection,
    /// Where the publication is made, if the slot is on a replica.
    pub primary: Option<Connection>,
    pub slot: SlotName,
    pub publication: PublicationName,
    pub status: Status,
    /// `None` where the file is silent: all tables if we make the publication, any if it exists.
    pub scope: Option<Scope>,
    /// `None` where the file is silent.
    pub publish: Option<Publish>,
    /// `None` where the file is silent: true if we make the publication.
    pub publish_via_partition_root: Option<bool>,
    /// `None` where the file is silent; 18 and later.
    pub publish_generated_columns: Option<GeneratedColumns>,
    /// What the running agent does by itself.
    pub provision: Provision,
    /// At least one.
    pub sinks: Vec<SinkName>,
    pub max_retained_wal: Budget,
    pub on_wal_limit: OnWalLimit,
    pub on_disable: OnDisable,
    pub on_slot_lost: OnSlotLost,
    /// Tables that may be published though their UPDATE and DELETE will fail.
    pub allow_no_identity: Vec<TableName>,
    /// Whether it is streamed though the server counts our session as a synchronous standby.
    pub allow_sync_standby: bool,
    /// Whether the server's standbys keep copies of the slot, so that it outlives a failover; 17 and later.
    pub failover: bool,
}

impl Database {
    /// Where the publication is made. `of_standby` says that the server that has the slot is one, whose primary the file names.
    #[must_use]
    pub fn publisher(&self, of_standby: bool) -> &Connection {
        self.primary.as_ref().filter(|_| of_standby).unwrap_or(&self.connection)
    }
}

/// The operator's wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Active,
    Disabled,
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
    /// Further servers: the one of them all that is the primary is meant.
    pub others: Vec<Server>,
    /// Of `hosts`, all but the one that this leads to, once that one was found to be the primary.
    pub standbys: Vec<Server>,
    /// The database's name on the server.
    pub database: String,
    pub username: String,
    pub password: Password,
    /// `None`: plain text, in so many words.
    pub tls: Option<Tls>,
    pub channel_binding: ChannelBinding,
    /// Only IPv6 addresses.
    pub ipv6: bool,
}

impl Connection {
    /// The servers that it may lead to, in the order of the file; mostly one.
    #[must_use]
    pub fn servers(&self) -> Vec<Server> {
        let first = Server { host: self.host.clone(), port: self.port };
        std::iter::once(first).chain(self.others.iter().cloned()).collect()
    }

    /// The same, to `server` and no other.
    #[must_use]
    pub fn to(&self, server: &Server) -> Self {
        let standbys = self.servers().into_iter().filter(|other| other != server).collect();
        let Server { host, port } = server.clone();
        Self { host, port, others: Vec::new(), standbys, ..self.clone() }
    }
}

/// One server; two connections that may lead to equal ones are on one server.
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

/// How TLS is spoken. Two databases with equal ones share what was read from the files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    pub mode: SslMode,
    /// What is shown to a server that asks who we are.
    pub client_cert: Option<ClientCert>,
    pub negotiation: SslNegotiation,
}

/// libpq's names for what is verified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SslMode {
    /// Encrypted; nothing verified.
    Require,
    /// The chain.
    VerifyCa(Trust),
    /// The chain and the name.
    VerifyFull(Trust),
}

/// Whom a chain has to lead to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// `None`: the system's roots.
    pub root_cert: Option<PathBuf>,
    /// Lists of what was revoked; with them each certificate of a chain needs the list of its issuer.
    pub crl: Option<PathBuf>,
}

/// Our own certificate, in its file the chain to its authority behind it, and its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientCert {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SslNegotiation {
    /// The server is asked first.
    Postgres,
    /// At once; servers of 17 and later.
    Direct,
}

/// Whether a login has to be bound to the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Where server and certificate can.
    Prefer,
    /// SCRAM-SHA-256-PLUS and nothing else.
    Require,
}

impl Tls {
    /// Encrypted; nothing verified, nothing shown.
    pub const REQUIRE: Self = Self { mode: SslMode::Require, client_cert: None, negotiation: SslNegotiation::Postgres };
}

impl SslMode {
    /// What is trusted, where something is verified.
    #[must_use]
    pub const fn trust(&self) -> Option<&Trust> {
        match self {
            Self::Require => None,
            Self::VerifyCa(trust) | Self::VerifyFull(trust) => Some(trust),
        }
    }
}
