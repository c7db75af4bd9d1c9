//! Bad days, each through the whole binary: what is told, in the same words in log and health, that nothing is lost, and
//! that it goes on without a restart. docs/BAD_DAY.md tells the operator the same: what is told here has
//! to stand in it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::support::{Cluster, History, Options, Slotd, SmallDisk, compare, lines_of, seed, stands_in_the_page};

/// A database with a table, and a slotd for it that is not started.
struct Scene<'a> {
    cluster: &'a Cluster,
    dbname: String,
    slotd: Slotd,
    rows: i64,
}

impl<'a> Scene<'a> {
    /// `sinks` stands before the database's entry.
    async fn new(cluster: &'a Cluster, sinks: &str) -> Self {
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY, t text)").await;
        let slotd = Slotd::new(&format!("{sinks}{}", cluster.entry(&dbname)));
        Self { cluster, dbname, slotd, rows: 0 }
    }

    async fn start(&mut self) {
        self.slotd.start();
        self.slotd.await_state(&self.dbname, "streaming").await;
    }

    /// So many rows of 1 kB in one transaction.
    async fn insert(&mut self, rows: i64) {
        let sql = format!("INSERT INTO items (t) SELECT repeat('x', 1000) FROM generate_series(1, {rows})");
        self.cluster.execute(&self.dbname, &sql).await;
        self.rows += rows;
    }

    /// Waits for `state`, holds the log and the page against the health answer.
    async fn told(&mut self, state: &str, reason: &str) -> Value {
        let health =
            self.slotd.await_until(&self.dbname, |health| health["state"] == state && health["reason"] == reason).await;
        let sentence = health["sentence"].as_str().unwrap();
        assert!(self.slotd.log().contains(sentence), "{sentence} is not in the log:\n{}", self.slotd.log());
        self.stands_in_the_page(&health);
        health
    }

    /// The page shows it as it is told of the database `shop` on `db.example.com`.
    fn stands_in_the_page(&self, health: &Value) {
        let shown = |path: &Path| path.display().to_string();
        let (port, state_dir) = (format!("127.0.0.1:{}", self.cluster.port()), shown(&self.slotd.state_dir()));
        let config_dir = shown(self.slotd.config_path().parent().unwrap());
        let names = [
            (&*self.dbname, "shop"),
            (&*port, "db.example.com:5432"),
            (&*state_dir, "/var/lib/slotd"),
            (&*config_dir, "/etc/slotd"),
            // What these tests set sink_stall_timeout to, and its default.
            ("for 1s", "for 30s"),
            ("for more than 1s", "for more than 30s"),
        ];
        stands_in_the_page(health, &names);
    }

    /// Waits until all is delivered: each row once, in order.
    async fn delivered(&mut self) {
        self.slotd.await_state(&self.dbname, "streaming").await;
        self.slotd.await_acknowledged(self.cluster, &self.dbname).await;
        let ids: Vec<_> = self.slotd.lines(&self.dbname).iter().map(|line| line["record"]["id"].as_i64()).collect();
        assert!(ids.iter().copied().eq((1..=self.rows).map(Some)), "{} rows: {ids:?}", self.rows);
    }

    fn slot(&self) -> String {
        format!("slotd_{}", self.dbname)
    }

    fn slot_sql(&self, column: &str) -> String {
        format!("SELECT {column} FROM pg_replication_slots WHERE slot_name = '{}'", self.slot())
    }

    async fn slot_column(&self, column: &str) -> Option<String> {
        self.cluster.value("postgres", &self.slot_sql(column)).await
    }

    async fn accept_gap(&mut self) {
        let args = ["resume", &self.dbname, "--accept-gap", "--yes"];
        let (status, said) = self.slotd.command_output(&args).await;
        assert!(status.success(), "{said}\n{}", self.slotd.log());
        self.slotd.await_state(&self.dbname, "streaming").await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_the_right_one_ends_it() {
    let options = Options { hba: vec!["host all all all scram-sha-256".to_owned()], ..Options::default() };
    let cluster = Cluster::start(18, &options);
    cluster.execute("postgres", "CREATE ROLE slotd SUPERUSER LOGIN REPLICATION PASSWORD 'right'").await;
    let mut scene = Scene::new(&cluster, "").await;
    let entry = cluster.entry(&scene.dbname).replace("\"postgres\"", "\"slotd\"");
    scene.slotd.configure(&entry.replace("password = \"none is asked for\"", "password_file = \"password\""));
    let file = scene.slotd.config_path().with_file_name("password");
    fs::write(&file, "wr0ng\n").unwrap();
    scene.slotd.start();
    scene.told("failed", "authentication").await;
    assert!(!scene.slotd.log().contains("wr0ng"), "{}", scene.slotd.log());
    fs::write(&file, "right\n").unwrap();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(3).await;
    scene.delivered().await;
}

#[tokio::test]
async fn a_server_that_is_stopped_is_told_and_streamed_from_again() {
    let mut cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    History::create(&cluster, &dbname).await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    let workload = History::begin(&cluster, &dbname, 2, seed());
    cluster.stop_fast().unwrap();
    let refused = |health: &Value| health["sentence"].as_str().is_some_and(|sentence| sentence.contains("refused"));
    let health = slotd.await_until(&dbname, refused).await;
    assert!(slotd.log().contains(health["sentence"].as_str().unwrap()), "{}", slotd.log());
    cluster.start().unwrap();
    slotd.await_state(&dbname, "streaming").await;
    workload.stop().await;
    slotd.await_acknowledged(&cluster, &dbname).await;
    compare(&slotd.lines(&dbname), &History::expected(&cluster, &dbname).await).assert_exact();
    let scene = Scene { cluster: &cluster, dbname, slotd, rows: 0 };
    scene.stands_in_the_page(&health);
}

#[tokio::test]
async fn a_slot_that_is_dropped_while_it_streams_is_told_and_not_made_anew() {
    let cluster = Cluster::start(18, &Options::default());
    let mut scene = Scene::new(&cluster, "").await;
    scene.start().await;
    scene.insert(1).await;
    scene.delivered().await;
    let drop = format!(
        "DO $$ BEGIN LOOP
            PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{0}' AND active;
            BEGIN PERFORM pg_drop_replication_slot('{0}'); EXIT; EXCEPTION WHEN object_in_use THEN NULL; END;
        END LOOP; END $$",
        scene.slot()
    );
    cluster.execute("postgres", &drop).await;
    scene.told("lost", "slot_missing").await;
    assert_eq!(scene.slot_column("slot_name").await, None, "made anew in silence");
    scene.accept_gap().await;
}

/// A cluster that gives a slot up at 16 MB.
fn impatient(major: u32) -> Cluster {
    let options = Options::default()
        .set("max_slot_wal_keep_size", "16MB")
        .set("max_wal_size", "32MB")
        .set("min_wal_size", "32MB");
    Cluster::start(major, &options)
}

/// Writes WAL until the slot is given up.
async fn give_up(scene: &Scene<'_>) {
    let filler = "CREATE TABLE IF NOT EXISTS filler (t text); ALTER TABLE filler SET UNLOGGED; SELECT pg_switch_wal();
        SELECT pg_logical_emit_message(false, 'filler', repeat('x', 8000000)); CHECKPOINT";
    let sql = format!("{filler}; {}", scene.slot_sql("wal_status"));
    scene.cluster.await_value("postgres", &sql, "lost").await;
}

#[tokio::test]
async fn a_slot_that_is_invalidated_while_it_streams_is_told() {
    for major in [15, 18] {
        let cluster = impatient(major);
        let mut scene = Scene::new(&cluster, "").await;
        scene.start().await;
        scene.insert(1).await;
        scene.delivered().await;
        // It does not keep up, and the server ends its walsender.
        scene.slotd.freeze();
        give_up(&scene).await;
        scene.slotd.thaw();
        scene.told("lost", "slot_invalidated").await;
        scene.accept_gap().await;
    }
}

/// A sink on the small disk keeps so much of it free; further keys follow.
fn keeps_free(share: &str) -> String {
    format!("[sinks.changes]\nmin_free = \"{share}\"\n")
}

#[tokio::test]
async fn below_min_free_it_stops_before_the_disk_is_full_and_goes_on_by_itself() {
    let mut scene = Scene::new(Cluster::shared(18), &keeps_free("25%")).await;
    let disk = SmallDisk::mount(&scene.slotd.state_dir(), 32);
    disk.fill(16);
    scene.start().await;
    let mut least = u64::MAX;
    // Some 11 MB of lines: more than there is room for, and less than there will be.
    for _ in 0..80 {
        scene.insert(100).await;
        least = least.min(disk.free());
    }
    let health = scene.told("retrying", "sink").await;
    // Small transactions wait as the large one does, and are no reason to begin a stream.
    let before = health["positions"]["acknowledged"].clone();
    for _ in 0..3 {
        scene.insert(1).await;
    }
    let name = scene.dbname.clone();
    scene.slotd.await_tries(&name, "retrying", 4).await;
    let health = scene.told("retrying", "sink").await;
    assert_eq!(health["positions"]["acknowledged"], before);
    // slotd's own records, a few kB, are on this disk too.
    assert!(least.min(disk.free()) >= (8 << 20) - (64 << 10), "{least} bytes were left");
    let sentence = health["sentence"].as_str().unwrap();
    assert_eq!(scene.slotd.log().matches(sentence).count(), 1, "told once:\n{}", scene.slotd.log());
    disk.make_room();
    scene.delivered().await;
}

#[tokio::test]
async fn a_disk_that_is_really_full_is_told_and_nothing_is_lost() {
    let mut scene = Scene::new(Cluster::shared(18), &keeps_free("0%")).await;
    let disk = SmallDisk::mount(&scene.slotd.state_dir(), 32);
    disk.fill(16);
    scene.start().await;
    // Some 21 MB of lines: more than there is room for, and less than there will be.
    for _ in 0..30 {
        scene.insert(500).await;
    }
    scene.told("retrying", "sink").await;
    for _ in 0..3 {
        scene.insert(1).await;
    }
    let name = scene.dbname.clone();
    scene.slotd.await_tries(&name, "retrying", 4).await;
    let health = scene.told("retrying", "sink").await;
    let sentence = health["sentence"].as_str().unwrap();
    assert_eq!(scene.slotd.log().matches(sentence).count(), 1, "told once:\n{}", scene.slotd.log());
    // Killed on the full disk, it comes back to the same words and not one line is torn.
    scene.slotd.kill9().await;
    scene.slotd.start();
    scene.slotd.await_state(&name, "retrying").await;
    disk.make_room();
    scene.delivered().await;
}

#[tokio::test]
async fn a_full_disk_does_not_hide_that_the_slot_is_lost() {
    let cluster = impatient(18);
    let mut scene = Scene::new(&cluster, &keeps_free("25%")).await;
    let disk = SmallDisk::mount(&scene.slotd.state_dir(), 32);
    scene.start().await;
    scene.insert(1).await;
    scene.delivered().await;
    disk.fill(24);
    scene.insert(10).await;
    scene.slotd.await_state(&scene.dbname, "retrying").await;
    give_up(&scene).await;
    scene.told("lost", "slot_invalidated").await;
    // No slot is made that could not be streamed: the gap record has no room.
    let (status, said) = scene.slotd.command_output(&["resume", &scene.dbname, "--accept-gap", "--yes"]).await;
    assert!(!status.success() && said.contains("min_free"), "{said}");
    assert_eq!(scene.slot_column("wal_status").await.as_deref(), Some("lost"));
    scene.told("lost", "slot_invalidated").await;
    disk.make_room();
    scene.accept_gap().await;
    let gap = scene.slotd.lines(&scene.dbname).into_iter().find(|line| line["action"] == "gap");
    assert_eq!(gap.unwrap()["metadata"]["reason"], "slot_invalidated");
}

#[tokio::test]
async fn a_foreign_file_is_named_and_never_overwritten() {
    let mut scene = Scene::new(Cluster::shared(18), "").await;
    let folder = scene.slotd.state_dir().join("changes");
    let path = folder.join(format!("{}.jsonl", scene.dbname));
    fs::create_dir(&folder).unwrap();
    fs::write(&path, "somebody's notes\n").unwrap();
    scene.slotd.start();
    scene.told("retrying", "sink").await;
    scene.insert(2).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's notes\n");
    fs::rename(&path, folder.join("notes")).unwrap();
    // Before the slot is taken up nothing is promised of what was committed before.
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(2).await;
    scene.slotd.await_acknowledged(scene.cluster, &scene.dbname).await;
    let own = fs::read_to_string(&path).unwrap();
    assert!(own.ends_with('\n') && own.lines().count() >= 2, "{own}");

    // In place of its own, while it runs and while it does not.
    for stopped in [false, true] {
        let before = scene.slotd.lines(&scene.dbname).len();
        if stopped {
            assert!(scene.slotd.sigterm().await.success());
        }
        fs::rename(&path, folder.join("own")).unwrap();
        fs::write(&path, "somebody's notes\n".repeat(100)).unwrap();
        if stopped {
            scene.slotd.start();
        }
        scene.insert(3).await;
        let exchanged =
            |health: &Value| health["sentence"].as_str().is_some_and(|sentence| sentence.contains("is not the file"));
        let health = scene.slotd.await_until(&scene.dbname, exchanged).await;
        assert!(scene.slotd.log().contains(health["sentence"].as_str().unwrap()), "{}", scene.slotd.log());
        scene.stands_in_the_page(&health);
        assert_eq!(fs::read_to_string(&path).unwrap(), "somebody's notes\n".repeat(100));
        fs::rename(folder.join("own"), &path).unwrap();
        scene.slotd.await_state(&scene.dbname, "streaming").await;
        scene.slotd.await_acknowledged(scene.cluster, &scene.dbname).await;
        assert_eq!(scene.slotd.lines(&scene.dbname).len(), before + 3);
    }
}

/// The entry of a second database, which goes to standard output.
async fn screen_entry(cluster: &Cluster) -> (String, String) {
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY, t text)").await;
    let entry = format!("{}sink = \"screen\"\n", cluster.entry(&dbname));
    (dbname, entry)
}

#[tokio::test]
async fn a_standard_output_that_nobody_reads_holds_one_thread_and_no_other_database() {
    let cluster = Cluster::shared(18);
    let mut scene = Scene::new(cluster, "").await;
    let mut text = format!(
        "agent.sink_stall_timeout = \"1s\"\n[sinks.screen]\ntype = \"stdout\"\n{}",
        cluster.entry(&scene.dbname)
    );
    let mut blocked = Vec::new();
    for _ in 0..2 {
        let (name, entry) = screen_entry(cluster).await;
        text += &entry;
        blocked.push(name);
    }
    scene.slotd.configure(&text);
    let mut reader = scene.slotd.start_piped();
    for name in blocked.iter().chain([&scene.dbname]) {
        scene.slotd.await_state(name, "streaming").await;
    }
    let sql = "INSERT INTO items (t) SELECT repeat('x', 1000) FROM generate_series(1, 500)";
    for name in &blocked {
        cluster.execute(name, sql).await;
    }
    for name in &blocked {
        scene.slotd.await_until(name, |health| health["reason"] == "sink").await;
    }
    let before = scene.slotd.threads();
    for name in &blocked {
        scene.slotd.await_tries(name, "retrying", 3).await;
    }
    let after = scene.slotd.threads();
    // Others come and go with other work; a thread for each try would be more.
    assert!(after < before + 2 * blocked.len(), "{after} threads after further tries, {before} before");
    scene.insert(100).await;
    scene.delivered().await;
    let health = scene.slotd.health(&blocked[0]).await;
    scene.stands_in_the_page(&health);
    // Somebody reads again: all of it comes, at least once.
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).await.unwrap();
        all
    });
    for name in &blocked {
        scene.slotd.await_state(name, "streaming").await;
        scene.slotd.await_acknowledged(cluster, name).await;
    }
    assert!(scene.slotd.sigterm().await.success());
    let lines = String::from_utf8(reading.await.unwrap()).unwrap();
    for name in &blocked {
        let ours = |line: &&str| line.contains(&format!("\"database\":{{\"name\":\"{name}\""));
        let ids: std::collections::BTreeSet<_> = lines
            .lines()
            .filter(ours)
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["record"]["id"].as_i64().unwrap())
            .collect();
        assert!(ids.into_iter().eq(1..=500), "{name}");
    }
}

#[tokio::test]
async fn a_disk_that_hangs_holds_one_thread_and_is_told_and_two_signals_end_slotd() {
    let cluster = Cluster::shared(18);
    let mut scene = Scene::new(cluster, "agent.sink_stall_timeout = \"1s\"\nagent.stop_timeout = \"1h\"\n").await;
    scene.slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
    scene.start().await;
    scene.insert(1).await;
    let stuck = |health: &Value| health["sentence"].as_str().is_some_and(|said| said.contains("is stuck"));
    let health = scene.slotd.await_until(&scene.dbname, stuck).await;
    scene.stands_in_the_page(&health);
    assert!(scene.slotd.log().contains(health["sentence"].as_str().unwrap()), "{}", scene.slotd.log());
    let (before, name) = (scene.slotd.threads(), scene.dbname.clone());
    scene.slotd.await_tries(&name, "retrying", 3).await;
    assert!(scene.slotd.threads() < before + 3, "further tries held further threads");
    assert_eq!(scene.slot_column("active").await.as_deref(), Some("f"), "the copy is ended");
    scene.slotd.kill9().await;
    scene.slotd.unset_env("SLOTD_STALL_AT");
    scene.start().await;
    scene.delivered().await;
}

#[tokio::test]
async fn a_sink_that_fails_is_told_though_another_hangs() {
    let cluster = Cluster::shared(18);
    let mut scene = Scene::new(cluster, "").await;
    let sinks = "agent.sink_stall_timeout = \"1h\"\n[sinks.screen]\ntype = \"stdout\"\n";
    scene.slotd.configure(&format!("{sinks}{}sink = [\"screen\", \"changes\"]\n", cluster.entry(&scene.dbname)));
    let _unread = scene.slotd.start_piped();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    let file = scene.slotd.state_dir().join(format!("changes/{}.jsonl", scene.dbname));
    fs::write(&file, "somebody's notes\n").unwrap();
    scene.insert(500).await;
    let of_the_file = |health: &Value| health["sentence"].as_str().is_some_and(|said| said.contains(".jsonl"));
    scene.slotd.await_until(&scene.dbname, of_the_file).await;
}

#[tokio::test]
async fn a_state_directory_without_room_holds_idle_positions_back_and_no_change() {
    let mut scene = Scene::new(Cluster::shared(18), "").await;
    let elsewhere = scene.slotd.config_path().with_file_name("elsewhere");
    let path = elsewhere.join("{database}.jsonl");
    let sink = format!("agent.sink_stall_timeout = \"4s\"\n[sinks.changes]\npath = \"{}\"\n", path.display());
    scene.slotd.configure(&format!("{sink}{}", scene.cluster.entry(&scene.dbname)));
    let disk = SmallDisk::mount(&scene.slotd.state_dir(), 4);
    scene.start().await;
    let walsender = format!(
        "SELECT pid FROM pg_stat_replication WHERE pid = (SELECT active_pid FROM pg_replication_slots WHERE database = '{}')",
        scene.dbname
    );
    let client = scene.cluster.connect(&scene.dbname).await;
    let walsender = async || client.query_one(&walsender, &[]).await.unwrap().get::<_, i32>(0);
    let before = walsender().await;
    disk.fill_up();
    // The last page of the file of positions has room for some more.
    let health = loop {
        scene.cluster.execute("postgres", "SELECT txid_current()").await;
        let health = scene.slotd.health(&scene.dbname).await;
        if health["state"] == "retrying" {
            break scene.told("retrying", "sink").await;
        }
    };
    assert!(health["sentence"].as_str().unwrap().contains("no position can be recorded"), "{health:#}");
    // Traffic goes on for longer than the sink's bound.
    let begun = Instant::now();
    let mut rows = 0;
    while begun.elapsed() < Duration::from_secs(6) {
        scene.insert(3).await;
        rows += 3;
        scene.slotd.await_until(&scene.dbname, |_| lines_of(&elsewhere, &scene.dbname).len() == rows).await;
    }
    disk.make_room();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    assert_eq!(walsender().await, before, "the stream went on all the time");
}

#[tokio::test]
async fn a_state_directory_that_hangs_keeps_no_server_from_stopping() {
    let mut cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::new(&format!("agent.sink_stall_timeout = \"1s\"\n{}", cluster.entry(&dbname)));
    // The first time is that of the slot's beginning.
    slotd.set_env("SLOTD_STALL_AT", "PositionsWritten:2");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute("postgres", "SELECT txid_current()").await;
    let health = slotd.await_until(&dbname, |health| health["reason"] == "sink").await;
    cluster.stop_fast().unwrap();
    let scene = Scene { cluster: &cluster, dbname, slotd, rows: 0 };
    scene.stands_in_the_page(&health);
}

#[tokio::test]
async fn a_disk_that_hangs_does_not_hide_that_the_slot_is_lost() {
    let cluster = Cluster::shared(18);
    let mut scene = Scene::new(cluster, "agent.sink_stall_timeout = \"10s\"\n").await;
    scene.slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
    scene.start().await;
    scene.insert(1).await;
    let ended = |health: &Value| health["sentence"].as_str().is_some_and(|said| said.contains("the copy was ended"));
    scene.slotd.await_until(&scene.dbname, ended).await;
    cluster.await_value("postgres", &scene.slot_sql("active"), "f").await;
    let begun = Instant::now();
    cluster.execute("postgres", &format!("SELECT pg_drop_replication_slot('{}')", scene.slot())).await;
    scene.slotd.await_until(&scene.dbname, |health| health["reason"] == "slot_missing").await;
    // Before the sink is given up.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_stop_drains_and_frees_the_slot_and_a_second_signal_waits_for_nothing() {
    let cluster = Cluster::shared(18);
    let mut scene = Scene::new(cluster, "agent.stop_timeout = \"1h\"\n").await;
    scene.start().await;
    for _ in 0..20 {
        scene.insert(50).await;
    }
    assert!(scene.slotd.sigterm().await.success());
    // Free as soon as slotd has ended, and told what the file holds.
    assert_eq!(scene.slot_column("active").await.as_deref(), Some("f"));
    let sidecar = scene.slotd.state_dir().join(format!("changes/{}.jsonl.cursor", scene.dbname));
    let sidecar = fs::read_to_string(sidecar).unwrap();
    let states = sidecar.lines().filter_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    let state = states.map(|entry| entry["state"].clone()).max_by_key(|state| state["sequence"].as_u64()).unwrap();
    let end = state["record"]["cursor"]["end_lsn"].clone();
    let confirmed = scene.slot_column("confirmed_flush_lsn").await.unwrap();
    let confirmed = crate::support::lsn_of(&confirmed).unwrap();
    assert!(end.as_u64().or_else(|| end.as_str().and_then(crate::support::lsn_of)) <= Some(confirmed), "{state:#}");
    scene.start().await;
    scene.delivered().await;

    // A sink that is blocked holds a stop up, for stop_timeout at the most; a second signal does not wait for it.
    assert!(scene.slotd.sigterm().await.success());
    scene.slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
    for (stop_timeout, signals) in [("1h", 2), ("1s", 1)] {
        scene.slotd.configure(&format!("agent.stop_timeout = \"{stop_timeout}\"\n{}", cluster.entry(&scene.dbname)));
        // The log is that of all starts.
        let stalls = scene.slotd.log().matches("stall point").count();
        scene.start().await;
        scene.insert(1).await;
        scene.slotd.await_log(|log| log.matches("stall point").count() > stalls).await;
        for said in ["stopping", "a second signal"].iter().take(signals) {
            let times = scene.slotd.log().matches(said).count() + 1;
            scene.slotd.ask_to_end();
            scene.slotd.await_log(|log| log.matches(said).count() >= times).await;
        }
        assert!(scene.slotd.ended().await.success());
    }
    assert!(scene.slotd.log().contains("did not end within stop_timeout"), "{}", scene.slotd.log());
    scene.slotd.unset_env("SLOTD_STALL_AT");
    scene.start().await;
    scene.delivered().await;
}

#[tokio::test]
async fn a_panic_fails_its_database_alone_and_a_reload_begins_it_again() {
    let cluster = Cluster::shared(18);
    let mut scene = Scene::new(cluster, "").await;
    let other = cluster.create_database().await;
    cluster.execute(&other, "CREATE TABLE items (id bigserial PRIMARY KEY)").await;
    scene.slotd.configure(&format!("{}{}", cluster.entry(&scene.dbname), cluster.entry(&other)));
    scene.slotd.set_env("SLOTD_PANIC_AT", "BatchCut");
    scene.start().await;
    scene.slotd.await_state(&other, "streaming").await;
    scene.insert(1).await;
    scene.told("failed", "defect").await;
    assert!(scene.slotd.log().contains("a defect of slotd"), "{}", scene.slotd.log());
    assert!(!scene.slotd.log().contains("panic point"), "what a panic says may be of rows");
    assert_eq!(scene.slot_column("active").await.as_deref(), Some("f"));
    cluster.execute(&other, "INSERT INTO items DEFAULT VALUES").await;
    scene.slotd.await_acknowledged(cluster, &other).await;
    assert_eq!(scene.slotd.lines(&other).len(), 1);
    let (status, said) = scene.slotd.command_output(&["reload"]).await;
    assert!(status.success() && said.contains("1 database begun"), "{said}");
    scene.delivered().await;
}

#[tokio::test]
async fn a_reload_that_waits_for_a_stuck_stream_holds_up_neither_others_nor_a_stop() {
    let cluster = Cluster::shared(18);
    let agent = "agent.stop_timeout = \"1h\"\nagent.sink_stall_timeout = \"1h\"\n";
    let mut scene = Scene::new(cluster, agent).await;
    let (entry, other) = (cluster.entry(&scene.dbname), cluster.create_database().await);
    let disabled = format!("{}status = \"disabled\"\n", cluster.entry(&other));
    scene.slotd.configure(&format!("{agent}{entry}{disabled}"));
    scene.slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
    scene.start().await;
    scene.insert(1).await;
    scene.slotd.await_log(|log| log.matches("stall point").count() >= 1).await;
    // The stuck one is changed, and the other one is to begin.
    scene.slotd.configure(&format!("{agent}{entry}max_retained_wal = \"1GB\"\n{}", cluster.entry(&other)));
    scene.slotd.sighup();
    scene.slotd.await_state(&other, "streaming").await;
    // A second reload is heard while the first one goes on.
    let third = cluster.create_database().await;
    let all = format!("{agent}{entry}{}{}", cluster.entry(&other), cluster.entry(&third));
    scene.slotd.configure(&all);
    scene.slotd.sighup();
    scene.slotd.await_state(&third, "streaming").await;
    scene.slotd.ask_to_end();
    for name in [&other, &third] {
        let active = format!("SELECT active FROM pg_replication_slots WHERE slot_name = 'slotd_{name}'");
        cluster.await_value("postgres", &active, "f").await;
    }
    // The stuck one may take its hour, unless it is asked again.
    assert!(scene.slotd.log().contains("stopping"), "{}", scene.slotd.log());
    scene.slotd.ask_to_end();
    assert!(scene.slotd.ended().await.success());
    assert!(scene.slotd.log().contains("a second signal"), "{}", scene.slotd.log());
    scene.slotd.unset_env("SLOTD_STALL_AT");
    scene.start().await;
    scene.delivered().await;
}
