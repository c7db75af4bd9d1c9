//! No slot that slotd looks after fills a disk unannounced: what `on_disable` and `on_wal_limit` do is done behind a gap
//! record, and what `on_slot_lost` makes anew is too.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use futures_util::future::join;
use serde_json::Value;

use crate::support::{Cluster, Options, Slotd, SmallDisk, lsn_of};

/// A cluster, a database with a table, and a slotd that has delivered its row 1.
struct Scene {
    cluster: Cluster,
    dbname: String,
    keys: String,
    slotd: Slotd,
}

impl Scene {
    async fn begin(major: u32, keys: &str) -> Self {
        let cluster = Cluster::start(major, &Options::default());
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
        let slotd = Slotd::run(&format!("{}{keys}\n", cluster.entry(&dbname)));
        let mut scene = Self { cluster, dbname, keys: keys.to_owned(), slotd };
        scene.slotd.await_state(&scene.dbname, "streaming").await;
        scene.insert(1).await;
        scene.slotd.await_acknowledged(&scene.cluster, &scene.dbname).await;
        scene
    }

    async fn insert(&self, id: u32) {
        self.cluster.execute(&self.dbname, &format!("INSERT INTO items VALUES ({id})")).await;
    }

    /// `active` or `disabled`, by a reload.
    fn set(&self, status: &str) {
        let Self { cluster, dbname, keys, slotd } = self;
        slotd.configure(&format!("{}{keys}\nstatus = \"{status}\"\n", cluster.entry(dbname)));
        slotd.sighup();
    }

    /// Megabytes of WAL that nothing is delivered of.
    async fn write_wal(&self, megabytes: u32) {
        let client = self.cluster.connect("postgres").await;
        for _ in 0..megabytes {
            client.simple_query("SELECT pg_logical_emit_message(false, 'x', repeat('x', 1048576))").await.unwrap();
        }
    }

    async fn slot(&self, what: &str) -> Option<String> {
        self.cluster.value("postgres", &format!("SELECT {what} FROM pg_replication_slots")).await
    }

    async fn wal_end(&self) -> u64 {
        lsn_of(&self.cluster.value("postgres", "SELECT pg_current_wal_lsn()").await.unwrap()).unwrap()
    }

    /// What stands in the file: ids of rows, and gaps with their reason, open or not.
    fn told(&self) -> String {
        let mut told = String::new();
        for line in self.slotd.lines(&self.dbname) {
            let what = match line["action"].as_str().unwrap() {
                "gap" if line["metadata"]["to"].is_null() => {
                    format!("{}(", line["metadata"]["reason"].as_str().unwrap())
                }
                "gap" => format!("){}", line["metadata"]["reason"].as_str().unwrap()),
                _ => line["record"]["id"].to_string(),
            };
            write!(told, "{what} ").unwrap();
        }
        told
    }

    fn gaps(&self) -> Vec<Value> {
        let lines = self.slotd.lines(&self.dbname).into_iter();
        lines.filter(|line| line["action"] == "gap").map(|line| line["metadata"].clone()).collect()
    }

    async fn await_told(&mut self, told: &str) {
        let Self { cluster, dbname, slotd, .. } = self;
        let _ = cluster;
        let lines = told.split_whitespace().count();
        slotd.await_lines(dbname, lines).await;
        assert_eq!(self.told().trim_end(), told);
    }

    fn sink_file(&self) -> PathBuf {
        self.slotd.state_dir().join(format!("changes/{}.jsonl", self.dbname))
    }

    /// A folder stands where the sink's file was.
    fn break_sink(&self) {
        let file = self.sink_file();
        fs::rename(&file, self.slotd.path("kept")).unwrap();
        fs::create_dir(file).unwrap();
    }

    fn mend_sink(&self) {
        let file = self.sink_file();
        fs::remove_dir(&file).unwrap();
        fs::rename(self.slotd.path("kept"), file).unwrap();
    }

    /// Both records name one hole: the second ends it where the stream went on.
    fn one_hole(&self) {
        let gaps = self.gaps();
        let [open, closed] = &gaps[..] else { panic!("{gaps:#?}") };
        assert_eq!((&open["from"], &open["to"]), (&closed["from"], &Value::Null));
        assert!(closed["to"].as_u64() >= closed["from"].as_u64(), "{gaps:#?}");
    }
}

#[tokio::test]
async fn a_disabled_slot_that_is_drained_pins_nothing_and_says_so_in_the_sink_first() {
    join(drained_on(15), drained_on(18)).await;
}

async fn drained_on(major: u32) {
    let mut scene = Scene::begin(major, "on_disable = \"drain\"").await;
    scene.set("disabled");
    scene.await_told("1 disabled(").await;
    scene.insert(2).await;
    let written = scene.wal_end().await;
    // The gap record comes first; then all that is written is let go, again and again.
    let behind = |health: &Value| health["positions"]["confirmed_flush_lsn"].as_str().and_then(lsn_of) < Some(written);
    let health = scene.slotd.await_until(&scene.dbname, |health| !behind(health)).await;
    assert_eq!((&health["state"], &health["verdict"]), (&"disabled".into(), &"pass".into()), "{health:#}");
    assert!(health["sentence"].as_str().unwrap().contains("is discarded, behind a gap record"), "{health:#}");
    // It stays so through a crash, and there is one record of it.
    scene.slotd.kill9().await;
    scene.insert(3).await;
    let written = scene.wal_end().await;
    scene.slotd.start();
    let behind = |health: &Value| health["positions"]["confirmed_flush_lsn"].as_str().and_then(lsn_of) < Some(written);
    scene.slotd.await_until(&scene.dbname, |health| !behind(health)).await;
    scene.set("active");
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(4).await;
    scene.await_told("1 disabled( )disabled 4").await;
    scene.one_hole();
    // It is over: the next start goes on as ever.
    scene.slotd.kill9().await;
    scene.insert(5).await;
    scene.slotd.start();
    scene.await_told("1 disabled( )disabled 4 5").await;
}

#[tokio::test]
async fn a_disabled_slot_that_is_dropped_is_made_anew_behind_its_gap_once_it_is_active() {
    join(dropped_on(15), dropped_on(18)).await;
}

async fn dropped_on(major: u32) {
    let mut scene = Scene::begin(major, "on_disable = \"drop\"").await;
    scene.set("disabled");
    scene.cluster.await_value("postgres", "SELECT count(*) FROM pg_replication_slots", "0").await;
    assert_eq!(scene.told(), "1 disabled( ", "the record came first");
    scene.slotd.kill9().await;
    scene.slotd.start();
    let health = scene.slotd.await_until(&scene.dbname, |health| health["last_round"].is_string()).await;
    assert_eq!(
        (&health["state"], &health["verdict"]),
        (&"disabled".into(), &"pass".into()),
        "it is not lost: {health:#}"
    );
    scene.insert(2).await;
    let (status, plan) = scene.slotd.command_output(&["plan"]).await;
    assert!(status.success() && plan.contains("not made while the database is disabled"), "{plan}");
    scene.set("active");
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(3).await;
    scene.await_told("1 disabled( )disabled 3").await;
    scene.one_hole();
}

#[tokio::test]
async fn a_slot_at_its_limit_is_drained_whoever_does_not_read_it() {
    join(limited_on(15), limited_on(18)).await;
}

async fn limited_on(major: u32) {
    let mut scene = Scene::begin(major, "max_retained_wal = \"20MB\"\non_wal_limit = \"drain\"").await;
    scene.set("disabled");
    scene.slotd.await_state(&scene.dbname, "disabled").await;
    scene.insert(2).await;
    scene.write_wal(12).await;
    // Half of it warns, and nothing is done.
    scene.slotd.await_until(&scene.dbname, |health| health["verdict"] == "warn").await;
    assert_eq!(scene.told(), "1 ");
    scene.write_wal(10).await;
    scene.await_told("1 wal_limit(").await;
    let freed = |health: &Value| health["wal"]["ours_bytes"].as_u64().is_some_and(|ours| ours < 4 << 20);
    scene.slotd.await_until(&scene.dbname, freed).await;
    scene.set("active");
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(3).await;
    scene.await_told("1 wal_limit( )wal_limit 3").await;
    scene.one_hole();

    // An active one that can't be streamed, though its sink could take it.
    let hold_up = "ALTER SYSTEM SET synchronous_standby_names = '*'";
    scene.cluster.execute("postgres", hold_up).await;
    scene.cluster.execute("postgres", "SELECT pg_reload_conf()").await;
    scene.slotd.await_state(&scene.dbname, "failed").await;
    scene.write_wal(22).await;
    scene.await_told("1 wal_limit( )wal_limit 3 wal_limit(").await;
    scene.cluster.execute("postgres", "ALTER SYSTEM RESET synchronous_standby_names").await;
    scene.cluster.execute("postgres", "SELECT pg_reload_conf()").await;
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(4).await;
    scene.await_told("1 wal_limit( )wal_limit 3 wal_limit( )wal_limit 4").await;
}

#[tokio::test]
async fn a_slot_that_an_open_transaction_holds_is_not_dropped_at_its_limit_since_that_frees_nothing_of_it() {
    let mut scene = Scene::begin(18, "max_retained_wal = \"10MB\"\non_wal_limit = \"drop\"").await;
    let holder = scene.cluster.connect("postgres").await;
    let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    holder.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    scene.write_wal(12).await;
    scene.slotd.await_acknowledged(&scene.cluster, &scene.dbname).await;
    let named = |health: &Value| {
        let troubles = health["troubles"].to_string();
        troubles.contains("and is over it") && troubles.contains(&format!("pid {pid}"))
    };
    let health = scene.slotd.await_until(&scene.dbname, named).await;
    assert_eq!((&health["state"], &health["verdict"]), (&"streaming".into(), &"fail".into()), "{health:#}");
    assert_eq!(scene.told(), "1 ");
    assert!(scene.slot("slot_name").await.is_some());
    holder.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_slot_that_is_dropped_at_its_limit_is_lost_and_left_by_resume() {
    join(dropped_at_limit_on(15), dropped_at_limit_on(18)).await;
}

async fn dropped_at_limit_on(major: u32) {
    let mut scene = Scene::begin(major, "max_retained_wal = \"10MB\"\non_wal_limit = \"drop\"").await;
    scene.set("disabled");
    scene.slotd.await_state(&scene.dbname, "disabled").await;
    scene.write_wal(12).await;
    let health = scene.slotd.await_state(&scene.dbname, "lost").await;
    assert_eq!(health["reason"], "slot_missing", "{health:#}");
    assert_eq!(scene.slot("slot_name").await, None);
    assert!(scene.slotd.log().contains("dropped the slot slotd_"), "{}", scene.slotd.log());
    scene.set("active");
    scene.slotd.await_until(&scene.dbname, |health| health["state"] == "lost" && health["status"] == "active").await;
    let (status, said) = scene.slotd.command_output(&["resume", &scene.dbname, "--accept-gap", "--yes"]).await;
    assert!(status.success(), "{said}");
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.insert(2).await;
    scene.await_told("1 wal_limit( )slot_missing 2").await;
    scene.one_hole();
}

#[tokio::test]
async fn a_lost_slot_is_made_anew_by_itself_three_times_an_hour_and_then_no_more() {
    join(recreated_on(15), recreated_on(18)).await;
}

async fn recreated_on(major: u32) {
    let mut scene = Scene::begin(major, "on_slot_lost = \"recreate\"").await;
    let drop = format!(
        "DO $$ BEGIN LOOP
            PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active;
            BEGIN PERFORM pg_drop_replication_slot('{slot}'); EXIT; EXCEPTION WHEN object_in_use THEN NULL; END;
        END LOOP; END $$",
        slot = format!("slotd_{}", scene.dbname)
    );
    let mut told = "1".to_owned();
    for time in 2..5 {
        scene.cluster.execute("postgres", &drop).await;
        let gaps = time - 1;
        let lines = told.split_whitespace().count() + 1;
        scene.slotd.await_lines(&scene.dbname, lines).await;
        assert_eq!(scene.gaps().len(), gaps, "{}", scene.told());
        scene.slotd.await_state(&scene.dbname, "streaming").await;
        scene.insert(u32::try_from(time).unwrap()).await;
        told.push_str(&format!(" )slot_missing {time}"));
        scene.await_told(&told).await;
        let each = format!("goes on behind a gap record by itself: {gaps} of 3 times an hour");
        assert!(scene.slotd.log().contains(&each), "{}", scene.slotd.log());
    }
    scene.cluster.execute("postgres", &drop).await;
    let health = scene.slotd.await_state(&scene.dbname, "failed").await;
    assert_eq!(health["reason"], "slot_missing");
    assert!(
        health["sentence"].as_str().unwrap().ends_with("made anew 3 times within the last hour, and is left alone now")
    );
    assert_eq!(scene.slot("slot_name").await, None);
    let (status, said) = scene.slotd.command_output(&["resume", &scene.dbname, "--accept-gap", "--yes"]).await;
    assert!(status.success(), "{said}");
    scene.slotd.await_state(&scene.dbname, "streaming").await;
}

/// Between what is written to the sink, to the store and to the server: one hole, with one beginning and one end.
#[tokio::test]
async fn wherever_it_dies_while_it_gives_up_there_is_one_hole_and_nothing_outside_of_it() {
    for on_disable in ["drain", "drop"] {
        let mut scene = Scene::begin(18, &format!("on_disable = \"{on_disable}\"")).await;
        assert!(scene.slotd.sigterm().await.success());
        let active = format!("{}{}\n", scene.cluster.entry(&scene.dbname), scene.keys);
        let mut next = 1;
        for point in ["FileWritten", "SidecarWritten", "SidecarSynced", "PositionsWritten", "PositionsSynced"] {
            next += 1;
            scene.insert(next).await;
            let written = scene.cluster.value("postgres", "SELECT pg_current_wal_lsn()").await.unwrap();
            scene.slotd.configure(&format!("{active}status = \"disabled\"\n"));
            scene.slotd.set_env("SLOTD_CRASH_AT", &format!("{point}:1"));
            scene.slotd.start();
            scene.slotd.ended_at(point).await;
            scene.slotd.unset_env("SLOTD_CRASH_AT");
            scene.slotd.start();
            let given_up = format!(
                "SELECT count(*) = 0 OR bool_and(confirmed_flush_lsn >= '{written}') FROM pg_replication_slots"
            );
            scene.cluster.await_value("postgres", &given_up, "t").await;
            scene.slotd.configure(&active);
            scene.slotd.sighup();
            scene.slotd.await_state(&scene.dbname, "streaming").await;
            next += 1;
            scene.insert(next).await;
            scene.slotd.await_acknowledged(&scene.cluster, &scene.dbname).await;
            assert!(scene.slotd.sigterm().await.success());
            let told = scene.told();
            assert!(told.ends_with(&format!("disabled( )disabled {next} ")), "{on_disable}, {point}: {told}");
        }
        let gaps = scene.gaps();
        for pair in gaps.chunks(2) {
            assert_eq!((&pair[0]["from"], &pair[0]["to"]), (&pair[1]["from"], &Value::Null), "{gaps:#?}");
        }
    }
}

/// What may not be streamed is somebody else's.
#[tokio::test]
async fn a_slot_that_slotd_may_not_use_is_neither_drained_nor_dropped() {
    let cluster = Cluster::shared(18);
    let physical = "SELECT pg_create_physical_replication_slot($slot, true)";
    let mut slots = Vec::new();
    let mut text = String::new();
    for (made, elsewhere, keys, why) in [
        (physical, false, "status = \"disabled\"\non_disable = \"drop\"", "is a physical slot"),
        (physical, false, "status = \"disabled\"\non_disable = \"drain\"", "is a physical slot"),
        (
            "SELECT pg_create_logical_replication_slot($slot, 'test_decoding')",
            false,
            "max_retained_wal = \"1kB\"\non_wal_limit = \"drop\"",
            "uses the plugin test_decoding",
        ),
        (
            "SELECT pg_create_logical_replication_slot($slot, 'pgoutput')",
            true,
            "status = \"disabled\"\non_disable = \"drop\"",
            "belongs to the database postgres",
        ),
    ] {
        let dbname = cluster.create_database().await;
        let slot = format!("theirs_{dbname}");
        let place = if elsewhere { "postgres" } else { &dbname };
        cluster.execute(place, &made.replace("$slot", &format!("'{slot}'"))).await;
        text.push_str(&format!("{}slot_name = \"{slot}\"\n{keys}\n", cluster.entry(&dbname)));
        slots.push((dbname, slot, why));
    }
    cluster.execute("postgres", "SELECT pg_logical_emit_message(true, 'x', repeat('x', 3000))").await;
    let stands = |slot: &str| {
        format!("SELECT restart_lsn || ' ' || active FROM pg_replication_slots WHERE slot_name = '{slot}'")
    };
    let mut before = Vec::new();
    for (_, slot, _) in &slots {
        before.push(cluster.value("postgres", &stands(slot)).await.unwrap());
    }
    let mut slotd = Slotd::run(&text);
    for ((dbname, slot, why), before) in slots.iter().zip(before) {
        let told = |health: &Value| {
            let findings = health["findings"].as_array().into_iter().flatten();
            findings.map(Value::to_string).any(|it| it.contains("wal_not_freed") && it.contains(why))
        };
        slotd.await_until(dbname, told).await;
        let (status, said) = slotd.command_output(&["drop", dbname, "--yes"]).await;
        assert!(status.code() == Some(1) && said.contains(why), "{said}");
        assert_eq!(cluster.value("postgres", &stands(slot)).await, Some(before), "{slot}");
    }
    for (_, slot, _) in &slots {
        cluster.execute("postgres", &format!("SELECT pg_drop_replication_slot('{slot}')")).await;
    }
}

/// Whose slot it is was known before the sink broke.
#[tokio::test]
async fn a_slot_of_another_cluster_is_not_dropped_while_the_sink_is_broken() {
    let mut scene = Scene::begin(18, "max_retained_wal = \"1MB\"\non_wal_limit = \"drop\"").await;
    assert!(scene.slotd.sigterm().await.success());
    scene.break_sink();
    let other = Cluster::start(18, &Options { own_identifier: true, ..Options::default() });
    let Scene { dbname, keys, slotd, .. } = &mut scene;
    other.execute("postgres", &format!("CREATE DATABASE {dbname}")).await;
    other.execute(dbname, &format!("SELECT pg_create_logical_replication_slot('slotd_{dbname}', 'pgoutput')")).await;
    other.execute(dbname, "SELECT pg_logical_emit_message(true, 'x', repeat('x', 3000000))").await;
    slotd.configure(&format!("{}{keys}\n", other.entry(dbname)));
    slotd.start();
    let told = |health: &Value| health["findings"].to_string().contains("wal_not_freed");
    let health = slotd.await_until(dbname, told).await;
    assert_eq!((&health["state"], &health["reason"]), (&"lost".into(), &"other_cluster".into()), "{health:#}");
    let there = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(other.value("postgres", there).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_slot_that_could_not_be_dropped_is_dropped_once_the_sink_takes_the_gap() {
    let cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    let entry = format!("{}on_disable = \"drop\"\n", cluster.entry(&dbname));
    let mut slotd = Slotd::new(&entry);
    let disk = SmallDisk::mount(&slotd.state_dir(), 32);
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    disk.fill(31);
    slotd.configure(&format!("{entry}status = \"disabled\"\n"));
    slotd.sighup();
    // The guard has news with its first look, and then no more.
    let mut rounds = BTreeSet::new();
    let twice = |health: &Value| {
        let told = health["findings"].to_string().contains("wal_not_freed");
        rounds.extend(health["last_round"].as_str().filter(|_| told).map(str::to_owned));
        rounds.len() == 2
    };
    slotd.await_until(&dbname, twice).await;
    disk.make_room();
    cluster.await_value("postgres", "SELECT count(*) FROM pg_replication_slots", "0").await;
}

#[tokio::test]
async fn a_slot_that_is_made_anew_is_not_judged_by_what_the_one_before_it_retained() {
    let keys = "max_retained_wal = \"10MB\"\non_wal_limit = \"drop\"\non_slot_lost = \"recreate\"";
    let mut scene = Scene::begin(18, keys).await;
    assert!(scene.slotd.sigterm().await.success());
    scene.break_sink();
    scene.write_wal(12).await;
    scene.slotd.start();
    scene.slotd.await_log(|log| log.contains("dropped the slot")).await;
    scene.mend_sink();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    // Sooner than the next look at what it retains.
    scene.cluster.execute("postgres", "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots").await;
    scene.slotd.await_log(|log| log.matches(": streaming from").count() > 2).await;
    scene.insert(2).await;
    scene.await_told("1 )slot_missing 2").await;
    assert_eq!(scene.slotd.log().matches("dropped the slot").count(), 1, "{}", scene.slotd.log());
}

#[tokio::test]
async fn a_slot_that_was_lost_while_it_streamed_is_dropped_at_its_limit_too() {
    let mut scene = Scene::begin(18, "max_retained_wal = \"10MB\"\non_wal_limit = \"drop\"").await;
    scene.cluster.execute(&scene.dbname, &format!("DROP PUBLICATION slotd_{}", scene.dbname)).await;
    scene.insert(2).await;
    scene.slotd.await_until(&scene.dbname, |health| health["reason"] == "publication_gap").await;
    scene.write_wal(12).await;
    scene.cluster.await_value("postgres", "SELECT count(*) FROM pg_replication_slots", "0").await;
    scene.slotd.await_until(&scene.dbname, |health| health["reason"] == "slot_missing").await;
    assert_eq!(scene.told(), "1 wal_limit( ");
}

/// Killed before it acknowledged what the sink has, and then before it discarded anything.
#[tokio::test]
async fn a_gap_that_nothing_was_discarded_in_repeats_nothing() {
    for on_disable in ["drain", "drop"] {
        let mut scene = Scene::begin(18, &format!("on_disable = \"{on_disable}\"")).await;
        assert!(scene.slotd.sigterm().await.success());
        let active = format!("{}{}\n", scene.cluster.entry(&scene.dbname), scene.keys);
        for (status, point) in [("active", "BatchDurable"), ("disabled", "PositionsSynced")] {
            scene.slotd.configure(&format!("{active}status = \"{status}\"\n"));
            scene.slotd.set_env("SLOTD_CRASH_AT", point);
            scene.slotd.start();
            if status == "active" {
                scene.slotd.await_state(&scene.dbname, "streaming").await;
                scene.insert(2).await;
            }
            scene.slotd.ended_at(point).await;
            scene.slotd.unset_env("SLOTD_CRASH_AT");
        }
        assert_eq!(scene.told(), "1 2 disabled( ", "{on_disable}");
        assert!(scene.slot("slot_name").await.is_some());
        scene.slotd.configure(&active);
        scene.slotd.start();
        scene.slotd.await_state(&scene.dbname, "streaming").await;
        scene.insert(3).await;
        scene.await_told("1 2 disabled( )disabled 3").await;
        scene.one_hole();
    }
}
