//! What is in force: every key with its value and the line that says so, as TOML that reads back to the same.
//!
//! A key that is silent and has no value that could be written down is a comment, with what that means in words. Passwords
//! are masked. To show one more key, add it to the list of its table below; a test knows all keys.

mod lines;
mod values;

use std::path::PathBuf;

use super::origins::Origins;
use super::parts::Parts;
use super::sinks::SinkEntry;
use super::source::Source;
use super::text::MASK;
use super::{
    Agent, Budget, ChannelBinding, Connection, Database, FileSinkConfig, Host, Http, Keep, LogLevel, MinFree,
    OnDisable, OnSlotLost, OnWalLimit, Password, Provision, Resolver, Scope, SinkConfig, SslMode, SslNegotiation,
    Status,
};
use lines::{Line, Lines};
use values::{flag, list, path, text, time, word};

use crate::ident::{SinkName, quote_ident};

/// The keys of a table, each with what is in force.
type Keys = Vec<(&'static str, Line)>;

/// All of `parts`, which were read from `source`: the main file and those that it includes.
pub(super) fn show(source: &Source<'_>, parts: &Parts) -> String {
    let mut lines = Lines::new(source);
    let main = source.main();
    lines.comment(&format!("What {} says; behind each value, where it stands.", main.display()));
    for included in source.included() {
        lines.comment(&format!("include: {}", lines.name(included)));
    }
    lines.table("[agent]", agent(&parts.agent), &parts.agent_origins);
    lines.table("[http]", http(&parts.http), &parts.http_origins);
    for (name, sink) in &parts.sinks {
        lines.table(&format!("[sinks.{}]", name_in_header(name)), self::sink(sink), &sink.origins);
    }
    for entry in &parts.entries {
        let Some(database) = &entry.database else { continue };
        let origins = &entry.origins;
        lines.table("[[postgres_databases]]", vec![("name", text(database.name.as_str()))], &origins.slot);
        lines.more(connection(&database.connection), &origins.connection);
        lines.more(slot(database, &origins.slot), &origins.slot);
        if let (Some(primary), Some(origins)) = (&database.primary, &origins.primary) {
            lines.table("[postgres_databases.primary]", connection(primary), origins);
        }
    }
    lines.into_text()
}

/// A sink's name may have a dot, which would part it.
fn name_in_header(name: &SinkName) -> String {
    if name.as_str().contains('.') { format!("\"{name}\"") } else { name.to_string() }
}

fn agent(agent: &Agent) -> Keys {
    let resolver = match agent.resolver {
        Resolver::Hickory => "hickory",
        Resolver::System => "system",
    };
    vec![
        ("state_dir", path(&agent.state_dir)),
        ("log", word(LogLevel::ALL, agent.log)),
        ("grace", time(agent.grace)),
        ("connect_timeout", time(agent.connect_timeout)),
        ("resolver", text(resolver)),
        ("stop_timeout", time(agent.stop_timeout)),
        ("sink_stall_timeout", time(agent.sink_stall_timeout)),
        ("wal_sender_timeout", time(agent.wal_sender_timeout)),
    ]
}

fn http(http: &Http) -> Keys {
    let listen = http.listen.map_or_else(|| "off".to_owned(), |listen| listen.to_string());
    vec![("listen", text(&listen)), ("public_status", flag(http.public_status))]
}

fn sink(sink: &SinkEntry) -> Keys {
    let kind = |name| [("type", text(name)), ("format", text("sequin"))];
    match sink.config.as_ref() {
        SinkConfig::File(file) => [kind("file").to_vec(), self::file(file)].concat(),
        SinkConfig::Stdout => kind("stdout").to_vec(),
    }
}

fn file(file: &FileSinkConfig) -> Keys {
    let keep = match file.keep {
        Keep::Forever => text("forever"),
        Keep::For(age) => time(age),
        Keep::Bytes(bytes) => values::size(bytes),
    };
    let min_free = match file.min_free {
        MinFree::Bytes(bytes) => values::size(bytes),
        MinFree::Percent(share) => text(&format!("{share}%")),
    };
    vec![
        ("path", path(&file.path)),
        ("rotate_size", values::size(file.rotate_size)),
        ("keep", keep),
        ("min_free", min_free),
    ]
}

fn connection(to: &Connection) -> Keys {
    let none = || Line::void("none");
    let (password, password_file) = match &to.password {
        Password::None => (none(), none()),
        Password::Value(_) => (text(MASK), none()),
        Password::File(file) => (none(), path(file)),
    };
    let binding = match to.channel_binding {
        ChannelBinding::Prefer => "prefer",
        ChannelBinding::Require => "require",
    };
    let (hostname, port, hosts) = match to.servers().as_slice() {
        [_] => (text(&to.host.to_string()), Line::value(to.port.to_string()), none()),
        several => {
            let servers = several.iter().map(|server| values::quoted(&server.to_string()));
            (Line::void("the one of hosts that is the primary"), Line::void("in hosts"), list(servers))
        }
    };
    let ssl = match to.host {
        Host::Socket(_) => Line::void("a Unix socket has no TLS"),
        Host::Address { .. } | Host::Name(_) => flag(to.tls.is_some()),
    };
    let mut keys = vec![
        ("hostname", hostname),
        ("port", port),
        ("hosts", hosts),
        ("database", text(&to.database)),
        ("username", text(&to.username)),
        ("password", password),
        ("password_file", password_file),
        ("ipv6", flag(to.ipv6)),
        ("ssl", ssl),
    ];
    let trust = to.tls.as_ref().and_then(|tls| tls.mode.trust());
    let client_cert = to.tls.as_ref().and_then(|tls| tls.client_cert.as_ref());
    let file = |file: Option<&PathBuf>, absent| file.map_or_else(|| Line::void(absent), |file| path(file));
    let mode = to.tls.as_ref().map(|tls| match tls.mode {
        SslMode::Require => "require",
        SslMode::VerifyCa(_) => "verify-ca",
        SslMode::VerifyFull(_) => "verify-full",
    });
    let negotiation = to.tls.as_ref().map(|tls| match tls.negotiation {
        SslNegotiation::Postgres => "postgres",
        SslNegotiation::Direct => "direct",
    });
    let of_tls = |word: Option<&str>| word.map_or_else(|| Line::void("no TLS"), text);
    let roots = match (&to.tls, trust) {
        (None, _) => "no TLS",
        (Some(_), None) => "nothing is verified",
        (Some(_), Some(_)) => "the system's roots",
    };
    keys.extend([
        ("ssl_mode", of_tls(mode)),
        ("ssl_root_cert", file(trust.and_then(|trust| trust.root_cert.as_ref()), roots)),
        ("ssl_crl", file(trust.and_then(|trust| trust.crl.as_ref()), "none")),
        ("ssl_cert", file(client_cert.map(|own| &own.cert), "none")),
        ("ssl_key", file(client_cert.map(|own| &own.key), "none")),
        ("ssl_negotiation", of_tls(negotiation)),
        ("channel_binding", text(binding)),
    ]);
    keys
}

fn slot(database: &Database, origins: &Origins) -> Keys {
    // With `slot_on = "primary"` the server above is the primary already.
    let moved = database.primary.is_none() && origins.get("primary").is_some();
    let (slot_on, primary) = match (&database.primary, moved) {
        (Some(_), _) => (text("replica"), Line::words("below")),
        (None, true) => (Line::words("\"primary\", the server above"), Line::words("the server above")),
        (None, false) => (Line::void("no primary"), Line::void("none")),
    };
    let failover = match &database.primary {
        Some(_) => Line::void("the slot is on a replica"),
        None => flag(database.failover),
    };
    let status = match database.status {
        Status::Active => "active",
        Status::Disabled => "disabled",
    };
    let (tables, schemas) = match &database.scope {
        None => (Line::words("all, or as a publication has"), Line::void("none")),
        // No file says so: it is what silence means.
        Some(Scope::AllTables) => (Line::words("all"), Line::void("none")),
        Some(Scope::Tables(tables)) => (list(tables.iter().map(values::table)), Line::void("none")),
        Some(Scope::Schemas(schemas)) => {
            (Line::void("all of the schemas"), list(schemas.iter().map(|name| values::quoted(&quote_ident(name)))))
        }
    };
    let as_is = |words| move || Line::words(words);
    let every = "all, or as a publication has";
    let budget = match database.max_retained_wal {
        Budget::Server => Line::words("the server's, or 10GB"),
        Budget::Bytes(bytes) => values::size(bytes),
    };
    let root = database.publish_via_partition_root.map(flag);
    let generated = database.publish_generated_columns.map(|columns| text(columns.as_str()));
    vec![
        ("slot_on", slot_on),
        ("slot_name", text(database.slot.as_str())),
        ("publication_name", text(database.publication.as_str())),
        ("status", text(status)),
        ("tables", tables),
        ("schemas", schemas),
        ("publish", database.publish.map_or_else(as_is(every), |publish| text(&publish.operations()))),
        ("publish_via_partition_root", root.unwrap_or_else(as_is("true, or as a publication has"))),
        ("publish_generated_columns", generated.unwrap_or_else(as_is("as the server does"))),
        ("sink", list(database.sinks.iter().map(|name| values::quoted(name.as_str())))),
        ("provision", word(Provision::ALL, database.provision)),
        ("max_retained_wal", budget),
        ("on_wal_limit", word(OnWalLimit::ALL, database.on_wal_limit)),
        ("on_disable", word(OnDisable::ALL, database.on_disable)),
        ("on_slot_lost", word(OnSlotLost::ALL, database.on_slot_lost)),
        ("allow_no_identity", list(database.allow_no_identity.iter().map(|table| values::quoted(&table.to_string())))),
        ("allow_sync_standby", flag(database.allow_sync_standby)),
        ("failover", failover),
        ("primary", primary),
    ]
}
