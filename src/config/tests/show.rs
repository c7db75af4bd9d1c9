use std::fs;

use super::*;
use crate::config::file::show_in;
use crate::config::{keys, parse};

/// What is in force of `text` with `files` beside it.
fn in_force(text: &str, files: &[(&str, &str)]) -> String {
    let surroundings = Surroundings::of(&env, true);
    let (shown, _) = show_in(Path::new("/etc/slotd/slotd.toml"), text, surroundings, &Beside(files))
        .unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Style::Plain)));
    shown
}

const MAIN: &str = r#"include = ["conf.d/*.toml"]

[agent]
state_dir = "state"
grace = "90s"

[defaults]
hostname = "${HOST}"
username = "cdc"
password = "hunter2"
max_retained_wal = "5GB"
slot_name = "cdc_{name}"

[sinks.changes]
keep = "20GB"

[[postgres_databases]]
name = "shop"
database = "shop"
"#;

const STOCK: &str = r#"[sinks."a.b"]
type = "stdout"

# A replica, read in full.
[[postgres_databases]]
name = "Stock.eu"
url = "postgresql://me:hunter2@[fe80::1%25eth0]:6000/st%20ock"
primary = { hostname = "/run/postgresql", password_file = "secret" }
ssl_mode = "verify-ca"
ssl_root_cert = "ca$$.pem"
ssl_cert = "c.crt"
ssl_key = "c.key"
tables = ["orders", { name = "sales.\"Items\"", columns = ["id", "\"Größe\""], where = "note = 'it''s $$5 \"x\"'" }]
publish = "insert, update"
publish_via_partition_root = false
publish_generated_columns = "stored"
sink = ["a.b", "changes"]
on_disable = "drain"
allow_no_identity = ["log.lines", "log.with_a_name_that_is_rather_long", "log.others"]
status = "disabled"
"#;

const HOSTS: &str = r#"[[postgres_databases]]
name = "fail"
hosts = ["a.example.com", "[fe80::1%eth0]:6000"]
database = "d"
failover = true
"#;

const NESTED: &str = r#"[[postgres_databases]]
name = "moved"
hostname = "10.0.0.7"
database = "d"
password_file = "${PASSWORD:-x}"
primary = { hostname = "first", ssl_mode = "require" }
channel_binding = "require"
[[postgres_databases.replication_slots]]
slot_on = "primary"
schemas = ["sales", "My Schema"]
"#;

const FILES: &[(&str, &str)] =
    &[("conf.d/stock.toml", STOCK), ("conf.d/moved.toml", NESTED), ("conf.d/hosts.toml", HOSTS)];

fn quoted_schema() -> Vec<(&'static str, String)> {
    FILES.iter().map(|(name, text)| (*name, text.replace("\"My Schema\"", "'\"My Schema\"'"))).collect()
}

fn whole() -> String {
    let files = quoted_schema();
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    in_force(MAIN, &files)
}

#[test]
fn all_that_is_in_force_is_shown_with_where_it_stands() {
    insta::assert_snapshot!(whole());
}

#[test]
fn a_file_without_anything_is_shown_with_its_defaults() {
    insta::assert_snapshot!(in_force("", &[]));
}

#[test]
fn what_is_shown_reads_back_to_the_same() {
    let files = quoted_schema();
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let without_warnings = |config: Config| Config { warnings: Vec::new(), ..config };
    let before = without_warnings(good_with(MAIN, &files));
    let shown = in_force(MAIN, &files).replace("********", "hunter2");
    let after = read(&shown).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Style::Plain)));
    assert_eq!(without_warnings(after), before);

    for name in ["slotd.toml", "demo.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        let text = fs::read_to_string(&path).unwrap();
        let env = |name: &str| Some(if name.ends_with("PORT") { "6000" } else { "/demo" }.to_owned());
        let (shown, _) = show_in(&path, &text, Surroundings::of(&env, true), &NoFiles).unwrap();
        assert_eq!(parse(&path, &shown, &env).unwrap().databases, parse(&path, &text, &env).unwrap().databases);
    }
}

#[test]
fn no_secret_is_shown_and_what_is_none_is_not_masked() {
    let shown = whole();
    assert!(!shown.contains("hunter2") && shown.matches("password = \"********\"").count() == 3, "{shown}");
    assert!(shown.contains("password_file = \"/etc/slotd/conf.d/p@ss/w%rd\""), "{shown}");
    assert!(shown.contains("password = \"********\"                           # conf.d/stock.toml:7"), "{shown}");
    let variable = in_force("[[postgres_databases]]\nname = \"a\"\nurl = \"postgresql://u:${PASSWORD}@h/d\"", &[]);
    assert!(!variable.contains("p@ss") && variable.contains("\"********\""), "{variable}");
}

/// A key that joins [`keys`] joins what is shown.
#[test]
fn every_key_is_shown() {
    let shown = whole();
    let table = |header: &str| -> Vec<&str> {
        let from = shown.find(&format!("\n{header}\n")).unwrap() + header.len() + 2;
        let body = &shown[from..];
        body[..body.find("\n\n").unwrap_or(body.len())].lines().collect()
    };
    let database = [keys::DATABASE, keys::CONNECTION, keys::SLOT].concat();
    for (header, keys) in [
        ("[agent]", keys::AGENT),
        ("[http]", keys::HTTP),
        ("[sinks.changes]", keys::SINK),
        ("[[postgres_databases]]", &database),
        ("[postgres_databases.primary]", keys::CONNECTION),
    ] {
        // What a URL says is shown by the keys that say the same.
        for key in keys.iter().filter(|key| **key != "url") {
            let is_it = |line: &&str| line.starts_with(&format!("{key} = ")) || line.starts_with(&format!("# {key}: "));
            assert_eq!(table(header).into_iter().filter(is_it).count(), 1, "{key} in {header}:\n{shown}");
        }
    }
    assert!(keys::PUBLISHED.iter().all(|key| shown.contains(&format!("{key} = "))), "{shown}");
}
