use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::config::{
    Agent, Budget, ChannelBinding, ClientCert, Connection, Database, FileSinkConfig, Host, Http, Keep, LogLevel,
    MinFree, Password, Publish, Resolver, Scope, SinkConfig, SslMode, SslNegotiation, Status, Tls, Trust, load, parse,
};
use crate::ident::{DatabaseName, SinkName, TableName};

fn good(text: &str) -> Config {
    read(text).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Style::Plain)))
}

fn one(text: &str) -> Arc<Database> {
    let config = good(text);
    assert_eq!(config.databases.len(), 1);
    Arc::clone(&config.databases[0])
}

fn changes() -> FileSinkConfig {
    FileSinkConfig {
        path: "/var/lib/slotd/changes/{database}.jsonl".into(),
        rotate_size: 256 << 20,
        keep: Keep::Forever,
        min_free: MinFree::Percent(5.0),
    }
}

fn sink(name: &str) -> SinkName {
    SinkName::new(name).unwrap()
}

fn table(schema: &str, table: &str) -> TableName {
    TableName { schema: schema.to_owned(), table: table.to_owned() }
}

#[test]
fn an_empty_file_is_valid_and_has_all_defaults() {
    let expected = Config {
        agent: Agent {
            state_dir: "/var/lib/slotd".into(),
            log: LogLevel::Info,
            grace: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(10),
            resolver: Resolver::Hickory,
            stop_timeout: Duration::from_secs(20),
            sink_stall_timeout: Duration::from_secs(30),
            wal_sender_timeout: Duration::from_secs(10),
        },
        http: Http { listen: Some("127.0.0.1:7356".parse().unwrap()), public_status: false },
        sinks: BTreeMap::from([(sink("changes"), Arc::new(SinkConfig::File(changes())))]),
        databases: Vec::new(),
        warnings: Vec::new(),
    };
    assert_eq!(good(""), expected);
    assert_eq!(good("[agent]\n[http]\n[sinks]\n[sinks.changes]\n"), expected);
}

#[test]
fn a_database_in_three_lines_has_all_defaults() {
    let shop = one("[[postgres_databases]]\nname = \"Shop.eu-1\"\nurl = \"postgres://slotd:${PASSWORD}@DB/shop\"\n");
    assert_eq!(shop.name.as_str(), "Shop.eu-1");
    assert_eq!((shop.slot.as_str(), shop.publication.as_str()), ("slotd_shop_eu_1", "slotd_shop_eu_1"));
    assert_eq!(shop.connection.host, Host::Name("db".to_owned()));
    assert_eq!((shop.connection.port, shop.connection.database.as_str()), (5432, "shop"));
    assert_eq!(shop.connection.username, "slotd");
    assert_eq!(shop.connection.password.reveal().unwrap().unwrap().expose_secret(), "p@ss/w%rd");
    let (mode, negotiation) = (SslMode::VerifyFull(Trust::default()), SslNegotiation::Postgres);
    assert_eq!(shop.connection.tls, Some(Tls { mode, client_cert: None, negotiation }));
    assert_eq!(shop.connection.channel_binding, ChannelBinding::Prefer);
    assert!(!shop.connection.ipv6);
    assert_eq!((shop.status, &shop.scope, shop.publish), (Status::Active, &None, None));
    assert_eq!((shop.publish_via_partition_root, shop.max_retained_wal), (None, Budget::Server));
    assert_eq!((shop.sinks.clone(), shop.allow_no_identity.clone()), (vec![sink("changes")], Vec::new()));
}

#[test]
fn a_primary_takes_what_it_is_silent_about_from_its_replica() {
    let replica = "[[postgres_databases]]\nname = \"a\"\nurl = \"postgres://me:pw@replica:5433/shop\"\nssl_root_cert = \"ca.pem\"\n\
                   ipv6 = true\n";
    let of = |keys: &str| one(&format!("{replica}{keys}\n"));
    let (a, secret) =
        (of("primary = { hostname = \"first\" }"), |of: &Connection| of.password.reveal().unwrap().unwrap());
    let expected = Connection { host: Host::Name("first".to_owned()), ..a.connection.clone() };
    let primary = a.primary.clone().unwrap();
    assert_eq!(primary, expected);
    assert_eq!((primary.port, secret(&primary).expose_secret()), (5433, "pw"));
    let b = of("[postgres_databases.primary]\nurl = \"postgres://other@first/shop\"\nssl = false\nipv6 = false");
    let primary = b.primary.as_ref().unwrap();
    assert_eq!((primary.username.as_str(), primary.port, secret(primary).expose_secret()), ("other", 5432, "pw"));
    assert_eq!((&primary.tls, primary.ipv6), (&None, false));
    let c = of("primary = { hostname = \"first\", password = \"its\", ssl_mode = \"verify-ca\" }");
    let primary = c.primary.as_ref().unwrap();
    let trust = Trust { root_cert: Some("/etc/slotd/ca.pem".into()), crl: None };
    assert_eq!(primary.tls.as_ref().unwrap().mode, SslMode::VerifyCa(trust));
    assert_eq!(secret(primary).expose_secret(), "its");
    let on_primary = of("primary = { hostname = \"first\" }\nslot_on = \"primary\"");
    assert_eq!((&on_primary.connection, &on_primary.primary), (&expected, &None));
}

#[test]
fn several_hosts_are_read_with_their_ports_and_stand_in_a_primary_too() {
    let keys = "[[postgres_databases]]\nname = \"a\"\ndatabase = \"shop\"\nusername = \"me\"\n";
    let shown = |to: &Connection| to.servers().iter().map(ToString::to_string).collect::<Vec<_>>();
    let a = one(&format!(
        "{keys}hosts = [\"a.example.com:5433\", \"B\", \"::1\", \"[::2]:7\", \"10.0.0.1:1\"]\nfailover = true\n"
    ));
    assert_eq!(shown(&a.connection), ["a.example.com:5433", "b:5432", "[::1]:5432", "[::2]:7", "10.0.0.1:1"]);
    assert!(a.failover && a.connection.tls.is_some());
    let first = a.connection.to(&a.connection.others[0]);
    assert_eq!((shown(&first), first.standbys.len()), (vec!["b:5432".to_owned()], 4));
    let on_replica = one(&format!("{keys}hostname = \"r\"\nprimary = {{ hosts = [\"a\", \"b\"] }}\n"));
    assert_eq!(shown(on_replica.primary.as_ref().unwrap()), ["a:5432", "b:5432"]);
}

#[test]
fn a_login_that_is_bound_may_take_its_password_from_the_replica() {
    let keys = "[[postgres_databases]]\nname = \"a\"\nhostname = \"r\"\ndatabase = \"shop\"\nusername = \"me\"\n";
    let bound = one(&format!(
        "{keys}password_file = \"p\"\nchannel_binding = \"require\"\nprimary = {{ hostname = \"first\" }}\n"
    ));
    assert_eq!(bound.primary.as_ref().unwrap().channel_binding, ChannelBinding::Require);
}

#[test]
fn every_key_is_read() {
    let config = good(
        r#"
[agent]
state_dir = "state"
log = "debug"
grace = "2min"
connect_timeout = "1500ms"
resolver = "system"
stop_timeout = "1h"
sink_stall_timeout = "45s"
wal_sender_timeout = "30s"
[http]
listen = "[::]:80"
public_status = "${ON}"
[sinks.changes]
path = "c-{database}.json"
rotate_size = "1GB"
keep = "7d"
min_free = "2GB"
[sinks.kept]
type = "file"
path = "/kept/{database}"
keep = "20GB"
min_free = "0.5%"
format = "sequin"
[sinks.screen]
type = "stdout"
format = "sequin"
[[postgres_databases]]
name = "shop"
hostname = "${HOST}"
port = "${PORT}"
database = "my shop"
username = "me"
password = "a$$b"
ssl = true
ssl_mode = "verify-ca"
ssl_root_cert = "rds.pem"
ssl_crl = "revoked.pem"
ssl_cert = "/keys/slotd.crt"
ssl_key = "slotd.key"
ssl_negotiation = "direct"
channel_binding = "require"
ipv6 = true
slot_name = "s_1"
publication_name = "My Pub"
status = "disabled"
tables = ["orders", 'sales."Items"']
publish = "insert,delete"
publish_via_partition_root = false
sink = ["kept", "screen"]
max_retained_wal = "5GB"
allow_no_identity = ["log.lines"]
allow_sync_standby = true
"#,
    );
    let agent = &config.agent;
    assert_eq!((agent.state_dir.as_path(), agent.log), (Path::new("/etc/slotd/state"), LogLevel::Debug));
    assert_eq!((agent.grace, agent.connect_timeout), (Duration::from_mins(2), Duration::from_millis(1500)));
    assert_eq!(agent.resolver, Resolver::System);
    assert_eq!((agent.stop_timeout, agent.sink_stall_timeout), (Duration::from_hours(1), Duration::from_secs(45)));
    assert_eq!(agent.wal_sender_timeout, Duration::from_secs(30));
    assert_eq!(config.http, Http { listen: Some("[::]:80".parse().unwrap()), public_status: true });
    let changes = FileSinkConfig {
        path: "/etc/slotd/state/c-{database}.json".into(),
        rotate_size: 1 << 30,
        keep: Keep::For(Duration::from_hours(7 * 24)),
        min_free: MinFree::Bytes(2 << 30),
    };
    let kept = FileSinkConfig {
        path: "/kept/{database}".into(),
        rotate_size: 256 << 20,
        keep: Keep::Bytes(20 << 30),
        min_free: MinFree::Percent(0.5),
    };
    assert_eq!(
        config.sinks,
        BTreeMap::from([
            (sink("changes"), Arc::new(SinkConfig::File(changes))),
            (sink("kept"), Arc::new(SinkConfig::File(kept))),
            (sink("screen"), Arc::new(SinkConfig::Stdout)),
        ])
    );
    let shop = &config.databases[0];
    assert_eq!(shop.connection.host, Host::Name("db.example.com".to_owned()));
    assert_eq!((shop.connection.port, shop.connection.database.as_str()), (6000, "my shop"));
    assert_eq!(shop.connection.password, Password::Value("a$b".into()));
    let trust = Trust { root_cert: Some("/etc/slotd/rds.pem".into()), crl: Some("/etc/slotd/revoked.pem".into()) };
    let client_cert = Some(ClientCert { cert: "/keys/slotd.crt".into(), key: "/etc/slotd/slotd.key".into() });
    let tls = Tls { mode: SslMode::VerifyCa(trust), client_cert, negotiation: SslNegotiation::Direct };
    assert_eq!(shop.connection.tls, Some(tls));
    assert_eq!(shop.connection.channel_binding, ChannelBinding::Require);
    assert!(shop.connection.ipv6);
    assert_eq!((shop.slot.as_str(), shop.publication.as_str()), ("s_1", "My Pub"));
    assert_eq!(shop.status, Status::Disabled);
    assert_eq!(shop.scope, Some(Scope::Tables(vec![table("public", "orders").into(), table("sales", "Items").into()])));
    assert_eq!(shop.publish, Some(Publish { insert: true, update: false, delete: true, truncate: false }));
    assert_eq!(shop.publish_via_partition_root, Some(false));
    assert_eq!(shop.sinks, [sink("kept"), sink("screen")]);
    assert_eq!(shop.max_retained_wal, Budget::Bytes(5 << 30));
    assert_eq!(shop.allow_no_identity, [table("log", "lines")]);
    assert!(shop.allow_sync_standby);
}

#[test]
fn the_nested_form_says_the_same() {
    let keys = "slot_name = \"a\"\npublication_name = \"b\"\nstatus = \"disabled\"\nschemas = [\"sales\"]\n\
                publish = \"insert\"\npublish_via_partition_root = true\nsink = \"changes\"\nmax_retained_wal = \"1GB\"\n\
                allow_no_identity = [\"t\"]\nallow_sync_standby = true\n";
    let nested = one(&shop(&format!("[[postgres_databases.replication_slots]]\n{keys}")));
    assert_eq!(nested, one(&shop(keys)));
    assert_eq!(nested.scope, Some(Scope::Schemas(vec!["sales".to_owned()])));
    let bare = one(&shop("[[postgres_databases.replication_slots]]"));
    assert_eq!(bare, one(&shop("")));
}

#[test]
fn a_socket_has_no_tls() {
    let keys = "hostname = \"/run/postgresql\"\ndatabase = \"d\"\nusername = \"u\"\n";
    let config = good(&format!("[[postgres_databases]]\nname = \"a\"\n{keys}"));
    assert_eq!(config.databases[0].connection.tls, None);
    assert_eq!(config.databases[0].connection.host, Host::Socket("/run/postgresql".into()));
    assert_eq!(config.warnings, []);
}

#[test]
fn plain_text_over_a_network_is_a_warning() {
    let config = good(&shop("ssl = false"));
    assert_eq!(config.databases[0].connection.tls, None);
    insta::assert_snapshot!(crate::config::render_all(&config.warnings, Style::Plain), @r"
    warning: this database is reached without TLS: its password and all changes can be read on the way
     --> /etc/slotd/slotd.toml:4:7
      |
    4 | ssl = false
      |       ^^^^^
      |
      = help: leave `ssl = false` out
    ");
    let local = good("[[postgres_databases]]\nname = \"a\"\nurl = \"postgres://u@[::1]/d\"\nssl = false\n");
    assert_eq!((local.databases[0].connection.tls.clone(), local.warnings.len()), (None, 0));
}

#[test]
fn a_port_that_shows_only_the_probes_is_a_warning() {
    let config = good("[http]\nlisten = \"0.0.0.0:7356\"\n");
    assert_eq!(config.http, Http { listen: Some("0.0.0.0:7356".parse().unwrap()), public_status: false });
    insta::assert_snapshot!(crate::config::render_all(&config.warnings, Style::Plain), @r#"
    warning: `listen` is not a loopback address: only /livez and /readyz are shown there
     --> /etc/slotd/slotd.toml:2:10
      |
    2 | listen = "0.0.0.0:7356"
      |          ^^^^^^^^^^^^^^
      |
      = help: say `public_status = true`, and health is open to all who reach it
    "#);
    for text in ["listen = \"0.0.0.0:1\"\npublic_status = true", "listen = \"[::1]:1\"", "listen = \"off\""] {
        assert_eq!(good(&format!("[http]\n{text}")).warnings, [], "{text}");
    }
}

#[test]
fn no_grace_is_a_grace() {
    assert_eq!(good("[agent]\ngrace = \"0s\"").agent.grace, Duration::ZERO);
}

#[test]
fn paths_start_where_they_should() {
    let config = parse(Path::new("x.toml"), "[agent]\nstate_dir = \"s\"", &|_| None).unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.agent.state_dir, here.join("s"));
    let SinkConfig::File(file) = config.sinks[&sink("changes")].as_ref() else { panic!() };
    assert_eq!(file.path_for(&DatabaseName::new("a").unwrap()), here.join("s/changes/a.jsonl"));
    let shop = one(&shop("password_file = \"secrets/shop\"").replace("db/", "[fe80::1%25eth0]:1/"));
    assert_eq!(shop.connection.password, Password::File("/etc/slotd/secrets/shop".into()));
    assert!(matches!(&shop.connection.host, Host::Address { zone: Some(zone), .. } if zone == "eth0"));
}

#[test]
fn the_state_directory_may_be_systemds() {
    let state = |root, text| {
        let env = |name: &str| (name == "STATE_DIRECTORY").then(|| "/given".to_owned());
        parse_in(Path::new("a"), text, Surroundings::of(&env, root), &NoFiles).unwrap().agent.state_dir
    };
    assert_eq!(state(true, ""), Path::new("/given"));
    assert_eq!(state(false, ""), Path::new("/given"));
    assert_eq!(state(false, "[agent]\nstate_dir = \"/key\""), Path::new("/key"));
    let nowhere = parse_in(Path::new("a.toml"), "", Surroundings::of(&|_| None, false), &NoFiles).unwrap_err();
    insta::assert_snapshot!(nowhere.render(Style::Plain), @r#"
    error: there is no place for the state: neither `state_dir` nor a home is known
    --> a.toml
     = help: write `state_dir = "/var/lib/slotd"` under [agent]
    "#);
}

#[test]
fn equal_databases_of_two_files_are_equal() {
    let before = one(&shop("password_file = \"a\""));
    assert_eq!(before, one(&shop("# moved\n\npassword_file = \"a\"")));
    assert_ne!(before, one(&shop("password_file = \"b\"")));
}

fn in_repository(name: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

#[test]
fn the_reference_is_a_working_file() {
    let (path, text) = in_repository("slotd.toml");
    let config = parse(&path, &text, &|_| None).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Style::Plain)));
    assert_eq!((config.databases.len(), config.warnings.len()), (1, 0));
}

/// Every commented line of the reference that is TOML, switched on.
fn reference_switched_on() -> (PathBuf, String) {
    let (path, text) = in_repository("slotd.toml");
    let is_toml = |line: &str| {
        line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains([' ', '`', '.']))
    };
    let on = |line: &str| match line.strip_prefix('#') {
        Some(hidden) if is_toml(hidden) => format!("{hidden}\n"),
        _ => format!("{line}\n"),
    };
    (path, text.lines().map(on).collect())
}

#[test]
fn the_reference_is_right_in_what_it_comments_out() {
    let (path, text) = reference_switched_on();
    let env = |name: &str| (name == "WAREHOUSE_PASSWORD").then(|| "x".to_owned());
    let on = parse_in(&path, &text, Surroundings::of(&env, true), &Beside(&[]));
    let on = on.unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Style::Plain)));
    assert_eq!((on.databases.len(), on.sinks.len()), (2, 2));

    let (path, text) = in_repository("slotd.toml");
    let off = parse_in(&path, &text, Surroundings::of(&env, true), &NoFiles).unwrap();
    assert_eq!((&on.agent, &on.http), (&off.agent, &off.http), "what is commented out is not the default");
    assert_eq!(on.sinks[&sink("changes")], off.sinks[&sink("changes")]);
    let (on, off) = (&on.databases[0], &off.databases[0]);
    assert_eq!((&on.slot, &on.publication, &on.sinks), (&off.slot, &off.publication, &off.sinks));
    assert_eq!((on.connection.port, on.status), (off.connection.port, off.status));
}

#[test]
fn the_reference_names_every_key() {
    use crate::config::keys;
    let (_, text) = reference_switched_on();
    for key in
        [keys::INCLUDE, keys::AGENT, keys::HTTP, keys::SINK, keys::DATABASE, keys::CONNECTION, keys::SLOT].concat()
    {
        let beside = ["hosts", "password", "schemas"].contains(&key);
        let named = text
            .lines()
            .any(|line| line.starts_with(&format!("{key} = ")) || (beside && line.contains(&format!("or {key} = "))));
        assert!(named, "{key}");
    }
    let tables = ["[agent]", "[http]", "[defaults]", "[sinks.", "[[postgres_databases]]"];
    assert_eq!(tables.len() + keys::INCLUDE.len(), keys::TOP.len());
    for table in tables {
        assert!(text.lines().any(|line| line.starts_with(table)), "{table}");
    }
    // Where the database's name is filled in.
    for (key, _) in keys::FILLED {
        let line = text.lines().find(|line| line.starts_with("# {name} stands")).unwrap();
        assert!(line.contains(key), "{key}: {line}");
    }
}

#[test]
fn the_demo_is_a_working_file() {
    let (path, text) = in_repository("demo.toml");
    let env = |name: &str| match name {
        "SLOTD_DEMO_DIR" => Some("/demo".to_owned()),
        "SLOTD_DEMO_PORT" => Some("6001".to_owned()),
        "SLOTD_DEMO_HTTP_PORT" => Some("6002".to_owned()),
        _ => None,
    };
    let config = parse(&path, &text, &env).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Style::Plain)));
    assert_eq!(config.agent.state_dir, Path::new("/demo"));
    assert_eq!((config.databases[0].connection.port, config.warnings.len()), (6001, 0));
    assert_eq!(config.databases[0].sinks, [sink("screen"), sink("changes")]);
}

#[test]
fn a_file_is_loaded_with_the_variables_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slotd.toml");
    fs::write(&path, "[agent]\nstate_dir = \"${CARGO_MANIFEST_DIR:-none}\"").unwrap();
    let expected = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| "none".to_owned());
    assert_eq!(load(&path).unwrap().agent.state_dir, dir.path().join(expected));

    fs::write(&path, b"\xff").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("not UTF-8"));
    let gone = load(&dir.path().join("gone.toml")).unwrap_err();
    assert!(gone.to_string().contains("gone.toml: the file can't be read: No such file"), "{gone}");
}
