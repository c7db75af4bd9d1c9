//! The log as a person reads it, as systemd's journal gets it, and as machines do.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{Cluster, Options, Slotd};

/// The lines that name the database, without their time.
fn lines_of(log: &str, name: &str) -> Vec<String> {
    let lines = log.lines().filter_map(|line| line.split_once(' ').map(|(_, rest)| rest.trim_start()));
    lines.filter(|line| line.contains(&format!(" {name}: "))).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_start_is_one_line_for_each_thing_that_happens() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let text =
        format!("sinks.screen = {{ type = \"stdout\" }}\n{}sink = [\"screen\", \"changes\"]\n", cluster.entry(&dbname));
    let mut slotd = Slotd::run(&text);
    slotd.await_state(&dbname, "streaming").await;
    let log = slotd.log();
    let lines = lines_of(&log, &dbname);
    let slot = format!("slotd_{dbname}");
    let expected = [
        format!("INFO {dbname}: provisioning, starting: connecting and comparing (nothing to do) slot={slot}"),
        format!("INFO {dbname}: made the publication {slot}: CREATE PUBLICATION"),
        format!("INFO {dbname}: made the slot {slot}"),
        format!("INFO {dbname}: the slot is taken up at "),
        format!("INFO {dbname}: streaming from "),
    ];
    assert_eq!(lines.len(), expected.len(), "{log}");
    for (line, expected) in lines.iter().zip(&expected) {
        assert!(line.starts_with(expected), "{line}\n{expected}");
        assert_eq!(line.matches(&format!(" {dbname}:")).count(), 1, "{line}");
        assert!(!line.contains("database=") && !line.contains("state="), "the message has it already: {line}");
    }
    assert!(log.lines().all(|line| line.split(' ').next().unwrap().parse::<jiff::Timestamp>().is_ok()), "{log}");
}

#[tokio::test]
async fn a_server_that_stays_away_is_one_line_and_one_when_it_is_back() {
    let mut cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    // So that the guard finds it away too.
    cluster.kill9().unwrap();
    let health = slotd.await_state(&dbname, "retrying").await;
    assert_eq!(health["reason"], "connection", "{health:#}");
    slotd.await_tries(&dbname, "retrying", 4).await;
    slotd.await_log(|log| log.contains("can't be observed")).await;
    cluster.start_again();
    slotd.await_state(&dbname, "streaming").await;
    slotd.await_log(|log| log.contains("are observed again after")).await;

    let log = slotd.log();
    let refused: Vec<_> =
        log.lines().filter(|line| line.contains("connection refused") && line.contains("retrying")).collect();
    assert_eq!(refused.len(), 1, "the same refusal is told once: {log}");
    let back = log.lines().rfind(|line| line.contains("streaming from")).unwrap();
    let count = back.split_once(" after ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 4) && back.contains(" failures, "), "{back}");
    assert_eq!(log.matches("can't be observed").count(), 1, "{log}");
}

/// Splits one datagram of the journal's native protocol, in the form for values without a line break.
fn fields(entry: &[u8]) -> BTreeMap<String, String> {
    let lines = std::str::from_utf8(entry).unwrap().lines().filter(|line| !line.is_empty());
    let split = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    lines.map(|line| split(line).unwrap_or_else(|| panic!("no field: {line}"))).collect()
}

/// Reads entries until one fits.
fn await_entry(journal: &UnixDatagram, wish: impl Fn(&BTreeMap<String, String>) -> bool) -> BTreeMap<String, String> {
    let mut seen = Vec::new();
    loop {
        let mut buffer = vec![0; 65_536];
        let length = journal.recv(&mut buffer).unwrap_or_else(|error| panic!("no such entry: {error}: {seen:#?}"));
        let entry = fields(&buffer[..length]);
        if wish(&entry) {
            return entry;
        }
        seen.push(entry);
    }
}

/// Names the file that is standard error as systemd names the journal's stream.
fn journal_stream(log: &Path) -> String {
    let stream = File::options().create(true).append(true).open(log).unwrap().metadata().unwrap();
    format!("{}:{}", stream.dev(), stream.ino())
}

#[tokio::test]
async fn under_systemd_the_journal_gets_the_fields_and_a_message_that_can_be_read_alone() {
    let cluster = Cluster::shared(18);
    let mut slotd = Slotd::new(&cluster.entry("no_such_database"));
    let folder = slotd.config_path().with_file_name("journal");
    fs::create_dir(&folder).unwrap();
    let journal = UnixDatagram::bind(folder.join("socket")).unwrap();
    journal.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let log = slotd.config_path().with_file_name("log");
    slotd.set_env("JOURNAL_STREAM", &journal_stream(&log));
    slotd.start_with_journal(&folder);

    let entry = tokio::task::spawn_blocking(move || {
        await_entry(&journal, |entry| entry.contains_key("SLOTD_HINT") && entry["PRIORITY"] == "3")
    });
    let entry = entry.await.unwrap();
    let health = slotd.health("no_such_database").await;
    let [sentence, hint] = ["sentence", "hint"].map(|key| health[key].as_str().unwrap().to_owned());
    let message = format!("no_such_database: failed, server: {sentence} ({hint})");
    for (name, value) in [
        ("MESSAGE", message.as_str()),
        ("PRIORITY", "3"),
        ("SYSLOG_IDENTIFIER", "slotd"),
        ("SLOTD_DATABASE", "no_such_database"),
        ("SLOTD_SLOT", "slotd_no_such_database"),
        ("SLOTD_STATE", "failed"),
        ("SLOTD_REASON", "server"),
        ("SLOTD_HINT", hint.as_str()),
    ] {
        assert_eq!(entry.get(name).map(String::as_str), Some(value), "{name}: {entry:#?}");
    }
    assert_eq!(slotd.log(), "", "nothing is told twice");
}

#[tokio::test]
async fn the_journal_is_used_only_if_standard_error_leads_there_and_its_socket_answers() {
    let mut slotd = Slotd::new("");
    let folder = slotd.config_path().with_file_name("journal");
    fs::create_dir(&folder).unwrap();
    let log = slotd.config_path().with_file_name("log");
    // No socket: text, without the time, which the journal adds.
    slotd.set_env("JOURNAL_STREAM", &journal_stream(&log));
    slotd.start_with_journal(&folder);
    slotd.await_log(|log| log.contains("commands are taken")).await;
    assert!(slotd.log().lines().all(|line| line.trim_start().starts_with("INFO ")), "{}", slotd.log());
    assert!(slotd.sigterm().await.success());

    // A socket, and a variable that names another stream: left over from whoever started a terminal.
    let _journal = UnixDatagram::bind(folder.join("socket")).unwrap();
    slotd.set_env("JOURNAL_STREAM", "1:1");
    let before = slotd.log().len();
    slotd.start_with_journal(&folder);
    slotd.await_log(|log| log[before..].contains("commands are taken")).await;
    let log = slotd.log();
    let time = log[before..].split(' ').next().unwrap().to_owned();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{log}");
}

/// Has `slotd`, whose log nobody reads, log until lines are lost, and then stream, answer and stop as ever.
async fn work_with_a_stuck_log(slotd: &mut Slotd, cluster: &Cluster, dbname: &str) {
    slotd.await_state(dbname, "streaming").await;
    cluster.execute(dbname, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let mut id = 0;
    loop {
        // A reload with another level is told each time, and so is a file that is rejected.
        for level in ["trace", "info", "no level"] {
            slotd.configure(&format!("agent.log = \"{level}\"\n{}", cluster.entry(dbname)));
            let (_, _) = slotd.command_output(&["reload"]).await;
        }
        id += 1;
        cluster.execute(dbname, &format!("INSERT INTO t VALUES ({id})")).await;
        slotd.await_acknowledged(cluster, dbname).await;
        let (_, metrics) = slotd.get("/metrics").await.unwrap();
        let lost = metrics.lines().find_map(|line| line.strip_prefix("slotd_log_lines_lost_total ")).unwrap();
        if lost != "0" {
            break;
        }
    }
    assert_eq!(slotd.lines(dbname).len(), id);
    assert_eq!(slotd.health(dbname).await["state"], "streaming");
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing_and_says_how_much_of_it_is_lost() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::new(&format!("agent.log = \"trace\"\n{}", cluster.entry(&dbname)));
    let log = slotd.start_with_log_piped();
    work_with_a_stuck_log(&mut slotd, cluster, &dbname).await;
    let mut lines = BufReader::new(log).lines();
    let told = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("lines of the log are lost") {
                return line;
            }
        }
        panic!("nothing is said of the lines that are lost");
    };
    let told = tokio::time::timeout(Duration::from_secs(60), told).await.unwrap();
    assert!(told.contains(" WARN "), "{told}");
    // From here on nobody reads it again, and it ends all the same.
    assert!(slotd.sigterm().await.success());
}

#[tokio::test]
async fn a_journal_that_hangs_stops_nothing() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::new(&format!("agent.log = \"trace\"\n{}", cluster.entry(&dbname)));
    let folder = slotd.config_path().with_file_name("journal");
    fs::create_dir(&folder).unwrap();
    let _unread = UnixDatagram::bind(folder.join("socket")).unwrap();
    let log = slotd.config_path().with_file_name("log");
    slotd.set_env("JOURNAL_STREAM", &journal_stream(&log));
    slotd.start_with_journal(&folder);
    work_with_a_stuck_log(&mut slotd, cluster, &dbname).await;
    assert!(slotd.sigterm().await.success());
}

#[tokio::test]
async fn json_has_one_object_a_line_with_the_same_fields() {
    let cluster = Cluster::shared(18);
    let mut slotd = Slotd::new(&cluster.entry("no_such_database"));
    slotd.set_env("SLOTD_LOG_FORMAT", "json");
    slotd.start();
    slotd.await_state("no_such_database", "failed").await;
    slotd.await_log(|log| log.contains("ERROR")).await;
    let log = slotd.log();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = events.iter().find(|event| event["state"] == "failed").unwrap();
    for (key, value) in
        [("level", "ERROR"), ("database", "no_such_database"), ("slot", "slotd_no_such_database"), ("reason", "server")]
    {
        assert_eq!(failed[key], value, "{failed:#}");
    }
    assert!(failed["message"].as_str().unwrap().starts_with("no_such_database: failed, server: "), "{failed:#}");
    assert!(failed["hint"].is_string() && failed["timestamp"].is_string(), "{failed:#}");
}

#[tokio::test]
async fn the_level_changes_while_it_runs_by_command_and_by_file() {
    let mut slotd = Slotd::run("");
    slotd.await_log(|log| log.contains("commands are taken")).await;
    let (status, said) = slotd.command_output(&["log-level", "error"]).await;
    assert!(status.success(), "{said}");
    assert_eq!(
        said,
        "the log level is error now and was info; it lasts until slotd is started again, or the file gets another one\n"
    );
    assert!(slotd.log().contains("the log level is error now and was info"), "{}", slotd.log());
    let (_, said) = slotd.command_output(&["log-level", "error"]).await;
    assert_eq!(said, "the log level is error already\n");
    // A file that says the same as before changes nothing; one that says something else does, and is told.
    let (_, _) = slotd.command_output(&["reload"]).await;
    assert!(!slotd.log().contains("read again"), "{}", slotd.log());
    slotd.configure("agent.log = \"debug\"\n");
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success(), "{said}");
    let log = slotd.log();
    assert!(log.contains("the log level is debug now and was error; the changed file says so"), "{log}");
    assert!(log.contains("read again") && !log.contains("next start"), "{log}");

    let (status, said) = slotd.command_output(&["log-level", "loud"]).await;
    assert_eq!(status.code(), Some(64), "{said}");
    assert!(said.contains("error, warn, info, debug or trace"), "{said}");
    assert!(slotd.sigterm().await.success());
    let (status, said) = slotd.command_output(&["log-level", "info"]).await;
    assert_eq!(status.code(), Some(69), "{said}");
}
