use super::*;

#[test]
fn all_of_a_file_are_shown_at_once_and_in_order() {
    insta::assert_snapshot!(shown(
        r#"
[agent]
grace = 60
connect_timeout = "5m"
log = "inof"

[http]
listen = "0.0.0.0:7356"
port = 80

[sinks.archive]
type = "file"
rotate_size = "256mb"
path = "{table}.jsonl"

[[postgres_databases]]
name = "shop"
prot = 5433
host = "db.example.com"
database = "shop"
username = "slotd"
ssl_mode = "prefer"
sink = "archiv"
tables = ["Orders", "a-b"]

[[postgres_databases]]
name = "shop"
url = "postgresql://slotd:hunter2@db/shop?sslmode=require"
password_file = "${NOWHERE}/shop"
slot_name = "Shop"
"#
    ));
}

#[test]
fn hosts_stand_alone_and_are_several_servers() {
    insta::assert_snapshot!(shown(
        r#"
[[postgres_databases]]
name = "a"
database = "shop"
username = "slotd"
hosts = ["a", "b"]
port = 5432

[[postgres_databases]]
name = "b"
database = "shop"
username = "slotd"
hosts = ["a:5432", "A", "b:port", "/run/postgresql"]

[[postgres_databases]]
name = "c"
database = "shop"
username = "slotd"
hosts = []

[[postgres_databases]]
name = "d"
url = "postgresql://slotd@db/shop"
hosts = ["a", "b"]

[[postgres_databases]]
name = "e"
database = "shop"
username = "slotd"
hosts = ["c", "d"]
primary = { hostname = "e" }

[[postgres_databases]]
name = "f"
hostname = "f,g"
database = "shop"
username = "slotd"

[[postgres_databases]]
name = "g"
url = "postgresql://slotd@replica/shop"
primary = { hostname = "first", database = "other" }

[[postgres_databases]]
name = "h"
url = "postgresql://slotd@replica2/shop"
primary = { hostname = "first" }
failover = true

[[postgres_databases]]
name = "i"
database = "shop"
username = "slotd"
hosts = ["x", "y"]
slot_name = "s"

[[postgres_databases]]
name = "j"
database = "other"
username = "slotd"
hosts = ["y", "z"]
slot_name = "s"
"#
    ));
}

#[test]
fn a_primary_is_another_server_and_has_a_hostname() {
    insta::assert_snapshot!(shown(
        r#"
[[postgres_databases]]
name = "a"
url = "postgresql://slotd@db/shop"
primary = { host = "other", slot_name = "s" }

[[postgres_databases]]
name = "b"
url = "postgresql://slotd@db/shop"
slot_name = "b"
primary = { hostname = "DB", password = "hunter2" }

[[postgres_databases]]
name = "c"
url = "postgresql://slotd@db/shop"
slot_on = "primary"

[[postgres_databases]]
name = "d"
url = "postgresql://slotd@db/shop"
primary = "other"
"#
    ));
}

#[test]
fn what_is_not_toml_is_shown_once_for_each_line() {
    insta::assert_snapshot!(shown(
        "[agent]\ngrace = 10s\nlog = \"info\nlog = \"warn\"\n[http\nlisten = \"off\"\n[[sinks]]\nssl\nx\na = [1,\n2 3\n"
    ));
}

#[test]
fn what_two_databases_share_is_shown_at_both() {
    insta::assert_snapshot!(shown(
        r#"
[sinks.one]
type = "file"
path = "one.jsonl"
[sinks.two]
type = "file"
path = "../slotd/changes/{database}.jsonl"

[[postgres_databases]]
name = "a.b"
url = "postgres://u@db/first"
sink = "one"
[[postgres_databases]]
name = "a-b"
url = "postgres://u@db/second"
sink = ["one", "changes"]
[[postgres_databases]]
name = "A_b"
url = "postgres://u@elsewhere/third"
[[postgres_databases]]
name = "own"
url = "postgres://u@DB:5432/fourth"
slot_name = "slotd_a_b"
sink = ["changes", "two"]
"#
    ));
}

/// One mistake after the other, each by what it must say.
#[test]
fn each_is_answered_with_what_to_write() {
    for (text, answers) in [
        // The whole.
        ("state_dir = \"/x\"", &["unknown key `state_dir` at the top", "belongs in [agent]"][..]),
        ("[[databases]]", &["did you mean `postgres_databases`?"]),
        ("[postgres_databases]\nname = \"a\"", &["[[postgres_databases]], in double brackets"]),
        ("postgres_databases = [1]", &["in double brackets"]),
        ("agent = 1", &["write [agent] on a line of its own"]),
        ("sinks = 1", &["write [sinks.NAME]"]),
        ("[sinks]\nchanges = 1", &["write [sinks.changes]"]),
        ("[http.tokens]\nops = \"sha256:\"", &["unknown key `tokens` in [http]", "known here: listen, public_status"]),
        // Values.
        ("[agent]\ngrace = 1.5", &["bare number has no unit", "\"60s\""]),
        ("[agent]\ngrace = true", &["neither a number with a unit nor a word"]),
        ("[agent]\ngrace = \"5\"", &["a time needs a unit"]),
        ("[agent]\nwal_sender_timeout = \"0s\"", &["less than can work", "write at least \"1s\""]),
        ("[agent]\nconnect_timeout = \"999ms\"", &["write at least \"1s\""]),
        ("[agent]\nstop_timeout = \"0s\"", &["write at least \"1s\""]),
        ("[agent]\nsink_stall_timeout = \"1ms\"", &["= \"1ms\"", "^^^^^", "write at least \"1s\""]),
        ("[agent]\nwal_sender_timeout = \"30d\"", &["= \"30d\"", "^^^^^", "write at most \"24d\""]),
        ("[agent]\nconnect_timeout = \"25d\"", &["write at most \"24d\""]),
        ("[agent]\nstop_timeout = \"25d\"", &["write at most \"24d\""]),
        ("[agent]\nsink_stall_timeout = \"25d\"", &["write at most \"24d\""]),
        ("[agent]\ngrace = \"25d\"", &["write at most \"24d\""]),
        ("[agent]\nstate_dir = \"\"", &["a path can't be empty"]),
        ("[agent]\nstate_dir = \"~/x\"", &["write `${HOME}`"]),
        ("[agent]\nstate_dir = \"$HOME/x\"", &["write `$$` for a dollar"]),
        ("[agent]\nstate_dir = \"\\u0000\"", &["a NUL can't be part"]),
        ("[http]\nlisten = \"7356\"", &["neither an address", "127.0.0.1:7356"]),
        ("[http]\npublic_status = \"true\"", &["true or false, without quotes"]),
        ("[http]\npublic_status = \"${WORD}\"", &["neither true nor false"]),
        // Sinks.
        ("[sinks.a]\n", &["the sink `a` has no `type`"]),
        ("[sinks.a]\ntype = \"kafka\"", &["the values are \"file\", \"stdout\""]),
        ("[sinks.\"a/b\"]\ntype = \"file\"", &["a sink name is made of"]),
        ("[sinks.a]\ntype = \"stdout\"\nkeep = \"7d\"", &["`keep` is a key of files"]),
        ("[sinks.a]\ntype = \"file\"\nformat = \"debezium\"", &["the one value is \"sequin\""]),
        ("[sinks.a]\ntype = \"file\"\npath = \"a/\"", &["a folder, not a file"]),
        ("[sinks.a]\ntype = \"file\"\npath = \"{database}.000001.jsonl\"", &["finished ones"]),
        ("[sinks.a]\ntype = \"file\"\nrotate_size = \"1kB\"", &["\"64kB\""]),
        ("[sinks.a]\ntype = \"file\"\nkeep = 7", &["bare number", "\"7d\""]),
        ("[sinks.a]\ntype = \"file\"\nkeep = \"always\"", &["\"forever\""]),
        ("[sinks.changes]\nkeep = \"255MB\"", &["less than one finished file", "write at least \"256MB\""]),
        (
            "[sinks.changes]\nkeep = \"1MB\"\nrotate_size = \"1025kB\"",
            &["keep = \"1MB\"", "a file is finished at this size", "write at least \"1025kB\""],
        ),
        ("[sinks.a]\ntype = \"file\"\nmin_free = \"5\"", &["\"2GB\""]),
        ("[sinks.a]\ntype = \"file\"\nmin_free = \"100%\"", &["under 100"]),
        // Where a database is.
        (
            &shop("").replace("\"shop\"", &format!("\"{}\"", "x".repeat(64))),
            &["a database name has at most 63 bytes and this one has 64\n"],
        ),
        ("[[postgres_databases]]", &["`name` is missing", "nothing says where this database is"]),
        ("[[postgres_databases]]\nname = \"a\"\nhostname = \"h\"", &["`database` and `username` are missing"]),
        (&shop("hostname = \"h\""), &["`hostname` is given beside `url`", "this names it already"]),
        (&shop("port = 1"), &["`port` is given beside `url`"]),
        (&shop("database = \"h\""), &["`database` is given beside `url`"]),
        (&shop("username = \"h\""), &["`username` is given beside `url`"]),
        (&shop("password = \"h\""), &["`password` is given beside `url`"]),
        (&shop("dbname = \"h\""), &["libpq's spelling; write `database`"]),
        (&shop("user = \"h\""), &["libpq's spelling; write `username`"]),
        (&shop("sslmode = \"require\""), &["libpq's spelling; write `ssl_mode`"]),
        (&shop("sslrootcert = \"x\""), &["libpq's spelling; write `ssl_root_cert`"]),
        (&shop("").replace("slotd@db", "slotd:x@db").replace("\n\n", "\npassword_file = \"p\"\n"), &["given twice"]),
        ("[[postgres_databases]]\npassword = \"x\"\npassword_file = \"p\"", &["given twice"]),
        ("[[postgres_databases]]\nport = 0", &["1 to 65535"]),
        ("[[postgres_databases]]\nport = 65536", &["1 to 65535"]),
        ("[[postgres_databases]]\nport = 0x10", &["1 to 65535"]),
        ("[[postgres_databases]]\nport = \"5432\"", &["a number without quotes"]),
        ("[[postgres_databases]]\nport = \"${WORD}\"", &["1 to 65535"]),
        ("[[postgres_databases]]\nhostname = \"db:5432\"", &["give it as `port`"]),
        ("[[postgres_databases]]\nusername = \"\"", &["`username`: this can't be empty"]),
        (&format!("[[postgres_databases]]\ndatabase = \"{}\"", "x".repeat(64)), &["more than 63 bytes"]),
        (&shop("").replace("/shop\"", &format!("/{}\"", "x".repeat(64))), &["the database in `url`", "63 bytes"]),
        (&shop("ipv6 = true").replace("@db", "@10.0.0.1"), &["IPv6 addresses only", "an IPv4 address"]),
        (&shop("ipv6 = true").replace("@db", "@%2Frun"), &["IPv6 addresses only", "a Unix socket"]),
        // TLS.
        (&shop("ssl = false\nssl_mode = \"require\""), &["`ssl = false` switches TLS off", "TLS is off here"]),
        (&shop("ssl = false\nssl_root_cert = \"x\""), &["`ssl_root_cert` is given"]),
        (&shop("ssl_mode = \"require\"\nssl_root_cert = \"x\""), &["verifies nothing", "\"verify-ca\""]),
        (&shop("ssl_mode = \"disable\""), &["write `ssl = false`"]),
        (&shop("ssl = true").replace("@db", "@%2Frun"), &["a Unix socket has none", "leave `ssl` out"]),
        (&shop("ssl_mode = \"require\"").replace("@db", "@%2Frun"), &["leave `ssl_mode` out"]),
        (&shop("ssl_mode = \"require\"\nssl_crl = \"x\""), &["\"require\"", "^^^^", "`ssl_crl` would not be used"]),
        (&shop("ssl_cert = \"x\""), &["`ssl_cert` stands without `ssl_key`", "write `ssl_key` too"]),
        (&shop("ssl_key = \"x\""), &["`ssl_key` stands without `ssl_cert`", "write `ssl_cert` too"]),
        (&shop("ssl = false\nssl_cert = \"x\"\nssl_key = \"y\""), &["`ssl_cert` is given", "TLS is off here"]),
        (&shop("ssl = false\nssl_negotiation = \"direct\""), &["`ssl_negotiation` is given"]),
        (&shop("ssl_crl = \"x\"").replace("@db", "@%2Frun"), &["leave `ssl_crl` out"]),
        (&shop("ssl_negotiation = \"drect\""), &["\"postgres\", \"direct\"", "did you mean \"direct\"?"]),
        (&shop("channel_binding = \"disable\""), &["`channel_binding`", "write \"prefer\""]),
        (&shop("channel_binding = \"always\""), &["the values are \"prefer\", \"require\""]),
        (
            &shop("channel_binding = \"require\"\npassword_file = \"p\"").replace("@db", "@%2Frun"),
            &["channel_binding = \"require\"", "^^^^^^^^^", "a Unix socket has no TLS to bind to"],
        ),
        (&shop("channel_binding = \"require\"\npassword_file = \"p\"\nssl = false"), &["without TLS there is nothing"]),
        (&shop("channel_binding = \"require\""), &["only a login with a password is bound", "give `password_file`"]),
        (&shop("sslcert = \"x\"\nssl_key = \"y\""), &["libpq's spelling; write `ssl_cert`"]),
        (&shop("sslkey = \"x\""), &["libpq's spelling; write `ssl_key`"]),
        (&shop("sslcrl = \"x\""), &["libpq's spelling; write `ssl_crl`"]),
        (&shop("sslnegotiation = \"direct\""), &["libpq's spelling; write `ssl_negotiation`"]),
        (&shop("").replace("/shop\"", "/shop?sslcert=x\""), &["write `ssl_cert`"]),
        // The slot.
        (&shop(&format!("slot_name = \"{}\"", "x".repeat(64))), &["at most 63 bytes"]),
        (&shop(&format!("publication_name = \"{}\"", "é".repeat(32))), &["at most 63 bytes"]),
        (&shop("").replace("\"shop\"", &format!("\"{}\"", "x".repeat(60))), &["`slot_name` is missing", "63 bytes"]),
        (&shop("status = \"paused\""), &["the values are \"active\", \"disabled\""]),
        (&shop("tables = [\"a\"]\nschemas = [\"b\"]"), &["one of the two is meant"]),
        (&shop("tables = []"), &["leave `tables` out to publish all"]),
        (&shop("schemas = []"), &["leave `schemas` out to publish all"]),
        (&shop("tables = \"a\""), &["a list of texts and of tables"]),
        (&shop("tables = [1]"), &["a list of texts and of tables"]),
        (&shop("tables = [{ columns = [\"id\"] }]"), &["`name` is missing from an entry of `tables`"]),
        (&shop("tables = [{ name = \"a\", columns = [] }]"), &["`columns` is empty", "leave `columns` out"]),
        (&shop("tables = [{ name = \"a\", columns = [\"Id\"] }]"), &["small letters"]),
        (&shop("tables = [{ name = \"a\", where = \"\" }]"), &["`where`", "a condition in SQL"]),
        (&shop("tables = [{ name = \"a\", where = \"true) or (true\" }]"), &["closed that was not opened"]),
        (&shop("tables = [{ name = \"a\", filter = \"x\" }]"), &["unknown key `filter` in an entry of `tables`"]),
        (&shop("tables = [\"a\", { name = \"a\", where = \"x\" }]"), &["in the list twice", "first here"]),
        (&shop("columns = [\"a\"]"), &["`columns` belongs in an entry of `tables`"]),
        (&shop("provision = \"aply\""), &["did you mean \"apply\"?"]),
        (&shop("on_wal_limit = \"keep\""), &["\"alert\", \"drain\", \"drop\""]),
        (&shop("on_disable = \"alert\""), &["\"keep\", \"drain\", \"drop\""]),
        (&shop("on_slot_lost = \"drop\""), &["\"stop\", \"recreate\""]),
        (&shop("publish_generated_columns = \"all\""), &["\"none\", \"stored\""]),
        (&shop("tables = [\"a\", \"public.a\"]"), &["in the list twice", "first here"]),
        (&shop("tables = [\"Orders\"]"), &["small letters", "if the capitals are meant, as '\"Orders\"'"]),
        (&shop("publish = \"insert, upsert\""), &["insert, update, delete, truncate"]),
        (&shop("publish = \"\""), &["insert, update, delete, truncate"]),
        (&shop("publish = \"insert, insert\""), &["named twice"]),
        (&shop("sink = []"), &["changes would go nowhere"]),
        (&shop("sink = \"chanegs\""), &["did you mean \"changes\"?"]),
        (&shop("sink = [\"changes\", \"changes\"]"), &["in the list twice"]),
        (&shop("max_retained_wal = \"0MB\""), &["a budget of nothing"]),
        (&shop("max_retained_wal = 10"), &["bare number", "\"10GB\""]),
        (&shop("slot_on = \"replica\""), &["`slot_on` is given, and no `primary`"]),
        (&shop("replication_slots = []"), &["one replication slot, and this one has 0"]),
        (
            &shop("[[postgres_databases.replication_slots]]\n[[postgres_databases.replication_slots]]"),
            &["one replication slot, and this one has 2"],
        ),
        (
            &shop("tables = [\"a\"]\n[[postgres_databases.replication_slots]]\nslot_name = \"a\""),
            &["`tables` stands beside `replication_slots`"],
        ),
        (
            &shop("[[postgres_databases.replication_slots]]\nport = 1"),
            &["unknown key `port` in [[postgres_databases.replication_slots]]", "belongs in [[postgres_databases]]"],
        ),
    ] {
        let shown = shown(text);
        for answer in answers {
            assert!(shown.contains(answer), "{text}\nis answered with\n{shown}\nand not with {answer}");
        }
    }
}

#[test]
fn a_path_that_no_file_system_takes_is_refused() {
    let long = format!("[sinks.changes]\npath = \"{}{{database}}.jsonl\"\n{}", "x".repeat(200), shop(""));
    assert!(shown(&long).contains("at most 200 fit"));
}

#[test]
fn one_slot_of_two_servers_is_two_slots() {
    let two = |port: u16| {
        let second =
            format!("[[postgres_databases]]\nname = \"b\"\nurl = \"postgres://u@db:{port}/d\"\nslot_name = \"s\"\n");
        read(&format!("{}{second}", shop("slot_name = \"s\"")))
    };
    assert!(two(5433).is_ok());
    assert!(two(5432).is_err());
}

#[test]
fn line_and_column_are_counted_in_characters() {
    for (text, places) in [
        ("# é\n\n[agent]\nlog = { \"é\" = \"é\", x = 1 }\n", &["4:7"][..]),
        ("agent = { grace = \"é\", grcae = 1 }", &["1:19", "1:24"]),
    ] {
        let shown = shown(text);
        let found: Vec<_> = shown.lines().filter_map(|line| line.split_once("slotd.toml:")).map(|(_, at)| at).collect();
        assert_eq!(found, places);
    }
}

#[test]
fn a_log_line_counts_the_mistakes() {
    let line = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(line("a = 1"), "/etc/slotd/slotd.toml:1:1: unknown key `a` at the top of the file");
    assert!(line("a = 1\nb = 1").ends_with(", and one more mistake"));
    assert!(line("a = 1\nb = 1\nc = 1").ends_with(", and 2 more mistakes"));
}

#[test]
fn colour_is_shown_only_when_asked() {
    let mistakes = read("a = 1").unwrap_err();
    assert!(!mistakes.render(Style::Plain).contains('\u{1b}'));
    assert!(mistakes.render(Style::Colour).contains('\u{1b}'));
}
