use clap::CommandFactory as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

#[test]
fn the_definition_holds_and_help_has_examples() {
    Cli::command().debug_assert();
    insta::assert_snapshot!(Cli::command().render_help());
}

#[test]
fn commands_are_read_as_they_are_written() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' '));
    assert!(parse("slotd status shop --json --socket /tmp/s.sock").is_ok());
    assert!(parse("slotd run -c slotd.toml --log-format json").is_ok());
    assert!(parse("slotd resume shop --accept-gap --yes").is_ok());
    for wrong in ["slotd resume shop --yes", "slotd resume --accept-gap", "slotd statsu", "slotd status ../x"] {
        assert!(parse(wrong).unwrap_err().use_stderr(), "{wrong}");
    }
}

fn one(name: &str, verdict: &str, state: &str, reason: Option<&str>, seconds: i64) -> Value {
    json!({
        "name": name, "verdict": verdict, "state": state, "reason": reason, "sentence": null,
        "since": at(-seconds).to_string(), "lag": {"bytes": 20_000_000, "seconds": 1.5},
        "wal": {"retained_bytes": 6_500_000_000_u64}, "troubles": [],
        "a_key_of_a_later_version": 1,
    })
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_750_000_000 + second).unwrap()
}

fn table(answer: &Value, colour: bool) -> String {
    table::render(&serde_json::from_value(answer.clone()).unwrap(), at(0), colour)
}

#[test]
fn the_table_fits_in_80_columns_and_tells_what_is_wrong_below() {
    let mut crm = one("crm", "fail", "lost", Some("slot_missing"), 7_300);
    crm["lag"] = json!({"bytes": null, "seconds": null});
    crm["wal"] = Value::Null;
    crm["failures"] = json!(7);
    crm["next_try"] = json!(at(4).to_string());
    crm["troubles"] = json!([
        {"verdict": "fail", "sentence": "lost, slot_missing: slot slotd_crm is gone", "hint": "slotd resume crm --accept-gap"},
    ]);
    let mut long = one(&"a".repeat(63), "warn", "provisioning", Some("no_replica_identity"), 3_500);
    long["troubles"] = json!([{"verdict": "warn", "sentence": "slot a retains 6 GB of WAL", "hint": "drop it"}]);
    let answer = json!({
        "status": "fail",
        "troubles": [{"verdict": "warn", "sentence": "the changed file was rejected", "hint": "mend it"}],
        "databases": [one("shop", "pass", "streaming", None, 59), long, crm],
    });
    let text = table(&answer, false);
    assert!(text.lines().take(4).all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!(text);

    let coloured = table(&answer, true);
    assert!(coloured.contains("\u{1b}[31mlost"), "{coloured}");
}

#[test]
fn a_file_without_databases_has_no_table() {
    let answer = json!({"status": "pass", "databases": []});
    assert_eq!(table(&answer, false), "the file names no database\n");
}

#[test]
fn a_cause_is_said_once() {
    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("it failed: {0}")]
        Repeats(#[source] std::fmt::Error),
        #[error("it failed")]
        Silent(#[source] std::fmt::Error),
    }
    let cause = std::fmt::Error.to_string();
    for error in [Outer::Repeats(std::fmt::Error), Outer::Silent(std::fmt::Error)] {
        assert_eq!(Failure::because(Exit::Failed, &error).sentence, format!("it failed: {cause}"));
    }
}

#[tokio::test]
async fn the_first_socket_that_answers_is_taken_and_else_all_that_were_tried_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let places = || vec![at("mine.sock"), at("system.sock")];
    let failure = client::reach(places()).await.unwrap_err();
    assert_eq!(failure.exit, Exit::NotReached);
    let [mine, system] = ["mine.sock", "system.sock"].map(|name| at(name).display().to_string());
    let missing = "No such file or directory (os error 2)";
    let sentence = format!("no agent answers on {mine}: {missing}; nor on {system}: {missing}");
    assert_eq!((failure.sentence, failure.hint.unwrap().contains("--socket")), (sentence, true));

    let listener = tokio::net::UnixListener::bind(at("system.sock")).unwrap();
    assert_eq!(client::reach(places()).await.unwrap(), at("system.sock"));
    // What a dead agent left behind is passed over.
    drop(tokio::net::UnixListener::bind(at("mine.sock")).unwrap());
    assert_eq!(client::reach(places()).await.unwrap(), at("system.sock"));
    drop(listener);
}
