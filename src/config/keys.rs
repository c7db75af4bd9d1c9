//! The keys of the file.

pub(super) const TOP: &[&str] = &["agent", "http", "postgres_databases", "sinks"];

pub(super) const AGENT: &[&str] = &[
    "connect_timeout",
    "grace",
    "log",
    "resolver",
    "sink_stall_timeout",
    "state_dir",
    "stop_timeout",
    "wal_sender_timeout",
];

pub(super) const HTTP: &[&str] = &["listen", "public_status"];

pub(super) const SINK: &[&str] = &["format", "keep", "min_free", "path", "rotate_size", "type"];

/// The keys of a database that stand in no other table.
pub(super) const DATABASE: &[&str] = &["name", "primary"];

/// The keys that say how a server is reached.
pub(super) const CONNECTION: &[&str] = &[
    "channel_binding",
    "database",
    "hostname",
    "hosts",
    "ipv6",
    "password",
    "password_file",
    "port",
    "ssl",
    "ssl_cert",
    "ssl_crl",
    "ssl_key",
    "ssl_mode",
    "ssl_negotiation",
    "ssl_root_cert",
    "url",
    "username",
];

/// The keys of a database that say what its slot is like; they may stand in `replication_slots` instead.
pub(super) const SLOT: &[&str] = &[
    "allow_no_identity",
    "allow_sync_standby",
    "failover",
    "max_retained_wal",
    "on_disable",
    "on_slot_lost",
    "on_wal_limit",
    "provision",
    "publication_name",
    "publish",
    "publish_generated_columns",
    "publish_via_partition_root",
    "schemas",
    "sink",
    "slot_name",
    "slot_on",
    "status",
    "tables",
];

/// The keys of an entry of `tables`.
pub(super) const PUBLISHED: &[&str] = &["columns", "name", "where"];

/// The nested form of [`SLOT`].
pub(super) const NESTED: &[&str] = &["replication_slots"];

/// libpq's spellings, and ours.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("dbname", "database"),
    ("host", "hostname"),
    ("hostaddr", "hostname"),
    ("passfile", "password_file"),
    ("sslcert", "ssl_cert"),
    ("sslcrl", "ssl_crl"),
    ("sslkey", "ssl_key"),
    ("sslmode", "ssl_mode"),
    ("sslnegotiation", "ssl_negotiation"),
    ("sslrootcert", "ssl_root_cert"),
    ("user", "username"),
];

/// The tables of the file and their keys.
pub(super) const TABLES: &[(&str, &[&[&str]])] = &[
    ("[agent]", &[AGENT]),
    ("[http]", &[HTTP]),
    ("[sinks.NAME]", &[SINK]),
    ("[[postgres_databases]]", &[DATABASE, CONNECTION, SLOT, NESTED]),
    ("[postgres_databases.primary]", &[CONNECTION]),
    ("an entry of `tables`", &[PUBLISHED]),
];

/// Whether `key` is known and its value holds no secret.
pub(super) fn is_open(key: &str) -> bool {
    let secret = matches!(key, "password" | "url");
    !secret && TABLES.iter().any(|(_, keys)| keys.iter().any(|keys| keys.contains(&key)))
}
