use super::*;

#[test]
fn all_at_once() {
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
fn what_is_not_toml() {
    insta::assert_snapshot!(shown(
        "[agent]\ngrace = 10s\nlog = \"info\nlog = \"warn\"\n[http\nlisten = \"off\"\n[[sinks]]\nx\n"
    ));
}

#[test]
fn other() {
    for t in [
        "[[postgres_databases]]\nname = \"a.b\"\n[[postgres_databases]]\nname = \"shöp\"\nurl = 5 # x\nport = 70000\n",
        "x = { password = \"hunter22222222\", y = 3 }\n  url\t= \"x\" # secret\n",
        "[postgres_databases]\nname=\"x\"\n",
        "sinks = 3\nagent = 4\npostgres_databases=[1]\n[http]\n[sinks2]\n\r\n",
        "\n[[postgres_databases]]\nname=\"a\"\nurl=\"postgres://u@h/d\"\nsink='x'\nstatus = \"\\u0041${NO}\"\nschemas=[]\nssl=false\n[[postgres_databases]]\nname=\"A\"\nurl=\"postgres://u@h/e\"\n",
    ] {
        println!("{}", shown(t));
    }
    panic!();
}
