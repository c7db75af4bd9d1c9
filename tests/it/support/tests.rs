//! The support proves itself: what it starts runs and ends, and its comparison sees what it has to.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::history::Expected;
use super::{Authority, Cluster, History, Options, VERSIONS, compare, http, slotd};

#[tokio::test]
async fn every_version_comes_back_from_every_end() {
    for version in VERSIONS {
        let mut cluster = Cluster::start(version, &Options { fsync: true, ..Options::default() });
        let shown = cluster.value("postgres", "SHOW server_version").await.unwrap();
        assert!(shown.starts_with(&version.to_string()), "{shown}");
        cluster.execute("postgres", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await;
        cluster.kill9().unwrap();
        cluster.start().unwrap();
        cluster.stop_immediate().unwrap();
        cluster.start().unwrap();
        cluster.restart();
        assert_eq!(cluster.value("postgres", "SELECT count(*) FROM t").await.as_deref(), Some("1"));
    }
}

/// With the clock paused the minute is over as soon as the server has answered often enough.
#[tokio::test(start_paused = true)]
#[should_panic(expected = "still Some(\"1\"), and not \"2\"")]
async fn a_value_that_never_comes_fails_its_test() {
    Cluster::shared(18).await_value("postgres", "SELECT 0; SELECT 1", "2").await;
}

#[tokio::test]
async fn a_snapshot_is_restored_promoted_and_doubled() {
    const TIMELINE: &str = "SELECT timeline_id FROM pg_control_checkpoint()";
    let mut cluster = Cluster::start(18, &Options { own_identifier: true, ..Options::default() });
    let snapshot = cluster.save();
    cluster.execute("postgres", "CREATE TABLE later ()").await;
    cluster.restore(&snapshot);
    cluster.make_standby();
    cluster.start().unwrap();
    assert_eq!(cluster.value("postgres", "SELECT to_regclass('later')").await, None);
    cluster.promote().await;
    cluster.execute("postgres", "CHECKPOINT").await;
    assert_eq!(cluster.value("postgres", TIMELINE).await.as_deref(), Some("2"));

    let mut twin = cluster.twin(&snapshot, &Options::default());
    twin.start().unwrap();
    assert_ne!(twin.port(), cluster.port());
    assert_eq!(twin.value("postgres", TIMELINE).await.as_deref(), Some("1"));
    let identifier = "SELECT system_identifier FROM pg_control_system()";
    let shared = Cluster::shared(18).value("postgres", identifier).await;
    assert_eq!(twin.value("postgres", identifier).await, cluster.value("postgres", identifier).await);
    assert_ne!(twin.value("postgres", identifier).await, shared);
}

#[tokio::test]
async fn a_server_takes_a_certificate_and_rules_of_access() {
    let authority = Authority::new();
    assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----"));
    let options = Options {
        certificate: Some(authority.leaf(&["localhost", "127.0.0.1", "::1"])),
        hba: vec!["hostssl all all all scram-sha-256".to_owned()],
        ..Options::default()
    };
    let cluster = Cluster::start(15, &options.set("work_mem", "5MB"));
    assert_eq!(cluster.value("postgres", "SHOW ssl").await.as_deref(), Some("on"));
    assert_eq!(cluster.value("postgres", "SHOW work_mem").await.as_deref(), Some("5MB"));
    let rules = "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NULL";
    assert_eq!(cluster.value("postgres", rules).await.as_deref(), Some("2"));
}

/// Set in the process that [`nothing_is_left_of_a_process_that_is_killed`] kills.
const HOLD: &str = "SLOTD_TEST_HOLDS_A_CLUSTER";

#[test]
fn hold_a_cluster_until_killed() {
    if std::env::var_os(HOLD).is_some() {
        let cluster = Cluster::start(18, &Options::default());
        println!("\nholding {}", cluster.folder().display());
        std::thread::park();
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_process_that_is_killed() {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "support::tests::hold_a_cluster_until_killed"])
        .env(HOLD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let folder = lines.find_map(|line| line.strip_prefix("holding ").map(str::to_owned)).unwrap();
    let postmaster = fs::read_to_string(Path::new(&folder).join("data/postmaster.pid")).unwrap();
    let pid = postmaster.lines().next().unwrap().to_owned();
    process.kill().unwrap();
    process.wait().unwrap();
    let gone = async {
        while Path::new(&folder).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), gone).await.unwrap();
    assert!(fs::read_link(format!("/proc/{pid}/cwd")).is_err(), "postgres {pid} runs on");
}

#[test]
fn servers_are_kept_in_no_folder_that_others_can_change() {
    let parent = tempfile::tempdir().unwrap();
    let (open, own) = (parent.path().join("open"), parent.path().join("own"));
    for (folder, mode) in [(&open, 0o777), (&own, 0o755)] {
        fs::create_dir(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    }
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&own, &link).unwrap();
    for place in [open, link] {
        // There is no such version: nothing is fetched in any case.
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers.sh");
        let output = Command::new(script).arg("99").env("SLOTD_SERVERS", &place).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("nobody else can write to"), "{said}");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "{said}");
    }
}

#[tokio::test]
async fn the_client_reads_status_and_body() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slotd.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let len = stream.read(&mut asked).await.unwrap();
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 15\r\n\r\n").await.unwrap();
        stream.write_all(b"{\"state\":1234}\n and what is past the length").await.unwrap();
        String::from_utf8_lossy(&asked[..len]).into_owned()
    });
    let answer = http::get(&path, "/health/shop").await.unwrap();
    assert_eq!(answer, (503, "{\"state\":1234}\n".to_owned()));
    assert!(server.await.unwrap().starts_with("GET /health/shop HTTP/1.1\r\n"));
}

#[test]
fn a_series_is_read_in_order_and_without_its_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    put("shop.000002.jsonl", "3\n4\n");
    put("shop.000001.jsonl", "1\n2\n");
    put("shop.jsonl", "5\n{\"torn");
    put("shop.two.jsonl", "9\n");
    put("shop.jsonl.state", "9\n");
    let lines = slotd::lines_of(folder.path(), "shop");
    assert_eq!(lines, [1, 2, 3, 4, 5].map(Value::from));
    assert_eq!(slotd::lsn_of("1/F0"), Some(0x1_0000_00f0));
}

/// The lines that a sink would hold of a history.
fn lines_of(expected: &[Expected]) -> Vec<Value> {
    let mut commits = 0;
    let mut lines = Vec::new();
    for (index, change) in expected.iter().enumerate() {
        if index == 0 || expected[index - 1].xid != change.xid {
            commits += 1;
        }
        let (xid, key) = (change.xid.parse::<u64>().unwrap(), index.to_string());
        let mut line = json!({
            "action": change.action,
            "record": {"id": change.id},
            "metadata": {"table_name": "events", "commit_lsn": commits, "xid": xid, "idempotency_key": key},
        });
        if matches!(&*change.action, "message" | "outside") {
            line["action"] = json!("message");
            line["record"] = json!({"prefix": "history", "content": change.id.to_string()});
            line["metadata"]["transactional"] = json!(change.action == "message");
            line["metadata"]["table_name"] = Value::Null;
        } else if change.action != "delete" {
            line["record"]["stamp"] = change.stamp.into();
        }
        match &change.payload {
            Some(payload) if change.kept && payload.len() > 2000 => line["metadata"]["unchanged"] = json!(["payload"]),
            Some(payload) => line["record"]["payload"] = payload.as_str().into(),
            None => {}
        }
        lines.push(line);
    }
    lines
}

fn history() -> Vec<Expected> {
    let change = |stamp, xid: &str, action: &str, id| Expected {
        stamp,
        xid: xid.to_owned(),
        action: action.to_owned(),
        id,
        payload: matches!(action, "insert" | "update").then(|| format!("p{stamp}")),
        kept: false,
    };
    let keeps = |stamp, id, payload: String| Expected {
        payload: Some(payload),
        kept: true,
        ..change(stamp, "10", "update", id)
    };
    vec![
        change(1, "7", "insert", 1),
        change(2, "7", "insert", 2),
        change(3, "8", "update", 1),
        change(4, "8", "delete", 2),
        change(5, "9", "insert", 3),
        keeps(6, 1, "narrow".to_owned()),
        keeps(7, 3, "wide".repeat(1000)),
        change(8, "11", "message", 1),
        change(9, "11", "message", 3),
        change(10, "11", "outside", 2),
        change(11, "11", "outside", 4),
    ]
}

#[test]
fn the_comparison_sees_every_kind_of_difference() {
    let (history, lines) = (history(), lines_of(&history()));
    compare(&lines, &history).assert_exact();
    let counts = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        let report = compare(&lines, &history);
        assert!(!report.is_exact(), "{report}");
        (report.lost.len(), report.repeated.len(), report.out_of_order.len(), report.wrong.len())
    };
    assert_eq!(counts(&|lines| drop(lines.remove(3))), (1, 0, 0, 0));
    assert_eq!(counts(&|lines| lines.push(lines[4].clone())), (0, 1, 0, 0));
    assert_eq!(counts(&|lines| lines[3]["metadata"]["idempotency_key"] = json!("2")), (0, 1, 0, 0));
    assert_eq!(counts(&|lines| lines[2]["record"]["payload"] = json!("another")), (0, 0, 0, 1));
    assert_eq!(counts(&|lines| lines[2]["metadata"]["xid"] = json!(7)), (0, 0, 0, 1));
    assert_eq!(counts(&|lines| lines[3]["record"]["payload"] = json!(null)), (0, 0, 0, 1));
    assert_eq!(counts(&|lines| lines[5]["record"]["payload"] = json!(null)), (0, 0, 0, 1));
    assert_eq!(counts(&|lines| lines[5]["metadata"]["unchanged"] = json!(["payload"])), (0, 0, 0, 1));
    assert_eq!(counts(&|lines| lines[6]["record"]["payload"] = json!(null)), (0, 0, 0, 1));
    assert_eq!(counts(&|lines| drop(lines[6]["metadata"].as_object_mut().unwrap().remove("unchanged"))), (0, 0, 0, 1));
    assert_eq!(counts(&|lines| lines[0]["record"]["stamp"] = json!(99)), (1, 0, 0, 1));
    assert_eq!(counts(&|lines| lines[3]["metadata"]["commit_lsn"] = json!(3)), (0, 0, 2, 0));
    assert!(counts(&|lines| lines.swap(0, 1)).2 > 0);
    assert!(counts(&|lines| lines.swap(1, 2)).2 > 0);
    assert_eq!(counts(&|lines| drop(lines.remove(7))), (1, 0, 0, 0));
    assert_eq!(counts(&|lines| lines.swap(7, 8)), (0, 0, 1, 0));
    assert_eq!(counts(&|lines| lines[7]["metadata"]["xid"] = json!(7)), (0, 0, 0, 1));
    assert_eq!(counts(&|lines| drop(lines.remove(9))), (1, 0, 0, 0));
    assert_eq!(counts(&|lines| lines.swap(9, 10)), (0, 0, 1, 0));
    let again = |line: &Value, content: &str| {
        let mut line = line.clone();
        line["record"]["content"] = json!(content);
        line["metadata"]["idempotency_key"] = json!("another");
        line
    };
    assert_eq!(counts(&|lines| lines.push(again(&lines[10], "4"))), (0, 1, 0, 0));
    assert_eq!(counts(&|lines| lines.push(again(&lines[8], "5"))), (0, 0, 0, 1), "one of no committed transaction");
    let rolled_back = [&lines[..], &[again(&lines[10], "5")]].concat();
    compare(&rolled_back, &history).assert_exact();
    let (_, _, order, _) = counts(&|lines| lines.rotate_left(2));
    assert!(order > 0, "whole transactions in another order");
}

#[tokio::test]
async fn the_journal_is_what_was_committed_through_a_crash() {
    let mut cluster = Cluster::start(17, &Options::default());
    let dbname = cluster.create_database().await;
    History::create(&cluster, &dbname).await;
    let workload = History::begin(&cluster, &dbname, 3, super::seed());
    for _ in 0..2 {
        History::await_more(&cluster, &dbname, 300).await;
        cluster.kill9().unwrap();
        cluster.start().unwrap();
    }
    workload.stop().await;
    let expected = History::expected(&cluster, &dbname).await;
    let rows = expected.iter().fold(0, |rows, change| match &*change.action {
        "insert" => rows + 1,
        "delete" => rows - 1,
        _ => rows,
    });
    let counted = cluster.value(&dbname, "SELECT count(*) FROM events").await;
    assert_eq!(counted, Some(rows.to_string()));
    let stray = "SELECT count(*) FROM events WHERE stamp NOT IN (SELECT stamp FROM journal)";
    assert_eq!(cluster.value(&dbname, stray).await.as_deref(), Some("0"));
}
