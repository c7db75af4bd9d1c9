//! The keys of the file.

pub(super) const TOP: &[&str] = &["agent", "defaults", "http", "include", "postgres_databases", "sinks"];

/// Those of [`TOP`] that an included file can't have, as they are written.
pub(super) const MAIN: &[(&str, &str)] =
    &[("agent", "[agent]"), ("defaults", "[defaults]"), ("http", "[http]"), ("include", "include")];

/// The one of [`TOP`] that is no table.
pub(super) const INCLUDE: &[&str] = &["include"];

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

/// What each database says for itself, and [defaults] can't say.
pub(super) const OWN: &[(&str, &str)] = &[
    ("name", "leave it out; `{name}` stands for it in `database`, `slot_name` and others here"),
    ("replication_slots", "write the slot's keys here without that table"),
    ("url", "write `hostname`, `username` and so on; `{name}` in `database` stands for the database's name"),
];

/// The keys of which the databases' own, on the left, make those on the right void in [defaults].
pub(super) const INSTEAD: &[(&[&str], &[&str])] = &[
    (&["url"], &["hostname", "hosts", "port", "database", "username"]),
    (&["hostname"], &["hosts"]),
    (&["hosts"], &["hostname", "port"]),
    // A primary belongs to its replica.
    (&["hostname", "hosts", "url"], &["primary"]),
    (&["password"], &["password_file"]),
    (&["password_file"], &["password"]),
    (TLS, &["ssl"]),
    (&["schemas"], &["tables"]),
    (&["tables"], &["schemas"]),
];

/// The keys that make no sense without TLS.
pub(super) const TLS: &[&str] = &["ssl_mode", "ssl_root_cert", "ssl_crl", "ssl_cert", "ssl_key", "ssl_negotiation"];

/// The keys in whose values `{name}` stands for the database's name in [defaults], and whether it is made fit for the
/// name of a slot there.
pub(super) const FILLED: &[(&str, bool)] = &[
    ("database", false),
    ("hostname", false),
    ("hosts", false),
    ("password_file", false),
    ("publication_name", true),
    ("slot_name", true),
    ("ssl_cert", false),
    ("ssl_key", false),
    ("username", false),
];

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
    ("the first lines of the main file, above its tables", &[INCLUDE]),
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
