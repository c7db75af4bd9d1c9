//! The slot: gone, invalidated, advanced, disabled, in another's hands, or another one.

use serde_json::Value;

use super::Scene;
use crate::support::{Cluster, Options, Slotd, VERSIONS, lines_of, lsn_of};

#[tokio::test]
async fn a_slot_that_is_dropped_while_it_streams_is_missing() {
    for major in [15, 18] {
        let mut scene = Scene::begin(major, Options::default()).await;
        let slot = scene.slot();
        // slotd comes back within milliseconds; dropping goes on until it wins.
        let drop = format!(
            "DO $$ BEGIN LOOP
                PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active;
                BEGIN PERFORM pg_drop_replication_slot('{slot}'); EXIT; EXCEPTION WHEN object_in_use THEN NULL; END;
            END LOOP; END $$"
        );
        scene.sql(&drop).await;
        scene.insert(2).await;
        scene.is_lost("slot_missing").await;
        let exists = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}'");
        assert_eq!(scene.cluster.value("postgres", &exists).await, None, "made anew in silence");
        scene.resumes("slot_missing").await;
        assert_eq!(scene.told(), "1 slot_missing 900 ");
    }
}

#[tokio::test]
async fn a_slot_that_the_server_invalidates_is_named_with_its_reason() {
    for major in [15, 18] {
        let options = Options::default()
            .set("max_slot_wal_keep_size", "16MB")
            .set("max_wal_size", "32MB")
            .set("min_wal_size", "32MB");
        let mut scene = Scene::begin(major, options).await;
        assert!(scene.slotd.sigterm().await.success());
        for _ in 0..6 {
            scene.sql("SELECT pg_switch_wal()").await;
            scene.sql("CREATE TABLE IF NOT EXISTS filler (t text); INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 10000); CHECKPOINT").await;
        }
        scene.slotd.start();
        let health = scene.is_lost("slot_invalidated").await;
        assert!(health["sentence"].as_str().unwrap().ends_with("wal_removed"), "{health:#}");
        scene.resumes("slot_invalidated").await;
    }
}

#[tokio::test]
async fn a_slot_that_was_advanced_behind_our_back_is_told() {
    for major in [15, 18] {
        let mut scene = Scene::begin(major, Options::default()).await;
        assert!(scene.slotd.sigterm().await.success());
        scene.insert(2).await;
        let slot = scene.slot();
        scene.sql(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")).await;
        scene.slotd.start();
        scene.is_lost("slot_advanced").await;
        scene.resumes("slot_advanced").await;
        assert_eq!(scene.told(), "1 slot_advanced 900 ");
    }
}

#[tokio::test]
async fn a_slot_that_was_dropped_and_made_again_by_hand_is_told() {
    for major in [15, 18] {
        let mut scene = Scene::begin(major, Options::default()).await;
        assert!(scene.slotd.sigterm().await.success());
        scene.insert(2).await;
        let slot = scene.slot();
        scene.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
        scene.sql(&format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")).await;
        scene.slotd.start();
        scene.is_lost("slot_advanced").await;
        scene.resumes("slot_advanced").await;
    }
}

#[tokio::test]
async fn a_publication_that_was_made_anew_is_a_gap() {
    for major in [15, 18] {
        let mut scene = Scene::begin(major, Options::default()).await;
        let publication = scene.slot();
        scene.sql(&format!("DROP PUBLICATION {publication}")).await;
        scene.insert(2).await;
        scene.is_lost("publication_gap").await;
        scene.sql(&format!("CREATE PUBLICATION {publication} FOR ALL TABLES")).await;
        scene.insert(3).await;
        assert_eq!(scene.told(), "1 ", "PostgreSQL {major}");
        scene.resumes("publication_gap").await;
        assert_eq!(scene.told(), "1 publication_gap 900 ", "PostgreSQL {major}");
    }
}

/// Before it is streamed, by whoever asks; and only if a change was made meanwhile.
#[tokio::test]
async fn a_publication_that_is_younger_than_its_slot_is_told_before_the_stream_runs_into_it() {
    for major in VERSIONS {
        let cluster = Cluster::start(major, &Options::default());
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
        let slot = format!("slotd_{dbname}");
        let make_slot = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        let make_publication = format!("CREATE PUBLICATION {slot} FOR ALL TABLES");
        // Nothing was changed between the two, or the publication was altered alone.
        cluster.execute(&dbname, &make_slot).await;
        cluster.execute(&dbname, &make_publication).await;
        let slotd = Slotd::new(&cluster.entry(&dbname));
        for change in [
            "SELECT 1".to_owned(),
            "INSERT INTO items VALUES (1)".to_owned(),
            format!("ALTER PUBLICATION {slot} SET (publish_via_partition_root = true)"),
        ] {
            cluster.execute(&dbname, &change).await;
            let (status, said) = slotd.command_output(&["check", "--connect"]).await;
            assert!(status.success(), "PostgreSQL {major}, {change}: {said}");
        }
        let make_anew = [
            format!("SELECT pg_drop_replication_slot('{slot}'); DROP PUBLICATION {slot}"),
            make_slot,
            "INSERT INTO items VALUES (2)".to_owned(),
            make_publication,
            "INSERT INTO items VALUES (3)".to_owned(),
        ];
        for statement in make_anew {
            cluster.execute(&dbname, &statement).await;
        }
        for command in ["plan", "check --connect"] {
            let args: Vec<_> = command.split(' ').collect();
            let (status, said) = slotd.command_output(&args).await;
            assert!(!status.success() && said.contains("publication_gap"), "PostgreSQL {major}, {command}: {said}");
        }
        let mut scene = Scene { cluster, dbname, slotd };
        scene.slotd.start();
        let health = scene.is_lost("publication_gap").await;
        assert!(health["sentence"].as_str().unwrap().contains("is younger than"), "{health:#}");
        scene.resumes("publication_gap").await;
        assert_eq!(scene.told(), "publication_gap 900 ", "PostgreSQL {major}");
    }
}

#[tokio::test]
async fn another_slot_into_the_same_file_begins_behind_a_gap_record() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let publication = scene.slot();
    scene.slotd.configure(&format!(
        "{}slot_name = \"another\"\npublication_name = \"{publication}\"\n",
        scene.cluster.entry(&scene.dbname)
    ));
    scene.slotd.sighup();
    scene
        .slotd
        .await_until(&scene.dbname, |health| health["slot"] == "another" && health["state"] == "streaming")
        .await;
    scene.insert(2).await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 another slot was streamed here before 2 ");
}

/// What the other agent has delivered is in its files; taking its slot over would leave a hole in ours.
#[tokio::test]
async fn a_slot_that_another_agent_held_is_not_taken_over_until_a_restart() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let mut other = Slotd::run(&format!("agent.grace = \"1s\"\n{}", scene.cluster.entry(&scene.dbname)));
    let behind = other.await_state(&scene.dbname, "waiting").await;
    assert!(behind["holder"]["application_name"].as_str().unwrap().starts_with("slotd/"), "{behind:#}");
    assert_eq!(behind["verdict"], "warn", "{behind:#}");
    scene.insert(2).await;
    scene.delivered().await;
    assert!(scene.slotd.sigterm().await.success());
    scene.insert(3).await;
    let free = |health: &Value| health["holder"].is_null() && health["verdict"] == "fail";
    let alone = other.await_until(&scene.dbname, free).await;
    assert_eq!((&alone["state"], &alone["reason"]), (&"waiting".into(), &"slot_held".into()), "{alone:#}");
    assert!(other.log().contains(alone["sentence"].as_str().unwrap()), "{}", other.log());
    assert_eq!(other.lines(&scene.dbname), [Value::Null; 0]);

    // A reload is no restart.
    other.configure(&format!("agent.grace = \"1s\"\n{}publish = \"insert\"\n", scene.cluster.entry(&scene.dbname)));
    other.sighup();
    let again = |health: &Value| health["since"] != alone["since"] && health["state"] == "waiting";
    other.await_until(&scene.dbname, again).await;

    // The agent that comes back goes on; after it is gone for good, this one is restarted.
    scene.slotd.start();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 2 3 ");
    assert!(scene.slotd.sigterm().await.success());
    assert!(other.sigterm().await.success());
    other.start();
    other.await_state(&scene.dbname, "streaming").await;
    scene.insert(4).await;
    other.await_acknowledged(&scene.cluster, &scene.dbname).await;
    let ids: Vec<_> = other.lines(&scene.dbname).iter().map(|line| line["record"]["id"].clone()).collect();
    assert_eq!(ids, [4]);
}

#[tokio::test]
async fn a_slot_that_is_made_anew_after_another_agent_is_ours_for_good() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let mut other = Slotd::run(&scene.cluster.entry(&scene.dbname));
    other.await_state(&scene.dbname, "waiting").await;
    assert!(scene.slotd.sigterm().await.success());
    scene.sql(&format!("SELECT pg_drop_replication_slot('{}')", scene.slot())).await;
    other.await_state(&scene.dbname, "streaming").await;
    scene.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication").await;
    scene.insert(2).await;
    other.await_lines(&scene.dbname, 1).await;
}

#[tokio::test]
async fn a_slot_that_was_dropped_is_missing_for_another_sink_too() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    scene.insert(2).await;
    scene.sql(&format!("SELECT pg_drop_replication_slot('{}')", scene.slot())).await;
    let elsewhere = scene.slotd.state_dir().join("elsewhere/{database}.jsonl");
    scene.slotd.configure(&format!(
        "[sinks.other]\ntype = \"file\"\npath = \"{}\"\n{}sink = \"other\"\n",
        elsewhere.display(),
        scene.cluster.entry(&scene.dbname)
    ));
    scene.slotd.start();
    scene.is_lost("slot_missing").await;
    let (status, said) = scene.slotd.command_output(&["resume", &scene.dbname, "--accept-gap", "--yes"]).await;
    assert!(status.success(), "{said}");
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    let lines = lines_of(elsewhere.parent().unwrap(), &scene.dbname);
    assert_eq!(lines[0]["metadata"]["reason"], "slot_missing", "{lines:?}");
}

/// The slot and its record speak of the same stretch, so its WAL was somewhere; what lies in it is named before the first
/// change.
#[tokio::test]
async fn a_slot_that_is_lost_when_it_is_first_seen_is_left_behind_a_gap_record_too() {
    let cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
    let slot = format!("slotd_{dbname}");
    let made = format!("SELECT lsn FROM pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    let made = cluster.value(&dbname, &made).await.as_deref().and_then(lsn_of).unwrap();
    cluster.execute(&dbname, "INSERT INTO items VALUES (1)").await;
    let slotd = Slotd::run(&cluster.entry(&dbname));
    let mut scene = Scene { cluster, dbname, slotd };
    scene.is_lost("publication_gap").await;
    scene.resumes("publication_gap").await;
    assert_eq!(scene.told(), "publication_gap 900 ");
    let (from, to) = scene.gap();
    assert!(from == made && to > from, "{from} to {to}, and the slot was made at {made}");
}

/// The rows between are of both slots; a record of a hole that is none would only mislead.
#[tokio::test]
async fn a_slot_that_comes_back_behind_another_one_makes_no_gap_backwards() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let (publication, entry) = (scene.slot(), scene.cluster.entry(&scene.dbname));
    let another = format!("{entry}slot_name = \"another\"\npublication_name = \"{publication}\"\n");
    for (id, config) in [(2, &another), (3, &entry)] {
        assert!(scene.slotd.sigterm().await.success());
        scene.slotd.configure(config);
        scene.slotd.start();
        scene.slotd.await_state(&scene.dbname, "streaming").await;
        scene.insert(id).await;
        scene.delivered().await;
    }
    assert_eq!(scene.told(), "1 another slot was streamed here before 2 2 3 ");
}

/// The slot is looked for although the sink can't be opened: whoever mends the sink wants to know the rest.
#[tokio::test]
async fn a_slot_that_is_dropped_while_the_sink_is_in_trouble_is_missing_all_the_same() {
    let mut scene = Scene::begin(18, Options::default()).await;
    assert!(scene.slotd.sigterm().await.success());
    let path = scene.slotd.state_dir().join(format!("changes/{}.jsonl", scene.dbname));
    let own = scene.slotd.state_dir().join("own");
    std::fs::rename(&path, &own).unwrap();
    std::fs::create_dir(&path).unwrap();
    scene.slotd.start();
    scene.slotd.await_until(&scene.dbname, |health| health["reason"] == "sink").await;
    scene.sql(&format!("SELECT pg_drop_replication_slot('{}')", scene.slot())).await;
    scene.insert(2).await;
    scene.is_lost("slot_missing").await;
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&own, &path).unwrap();
    scene.resumes("slot_missing").await;
    assert_eq!(scene.told(), "1 slot_missing 900 ");
}

#[tokio::test]
async fn a_disabled_slot_is_kept_and_watched_and_goes_on_where_it_stood() {
    let mut scene = Scene::begin(18, Options::default()).await;
    let disabled = format!("{}status = \"disabled\"\n", scene.cluster.entry(&scene.dbname));
    scene.slotd.configure(&disabled);
    scene.slotd.sighup();
    scene.slotd.await_state(&scene.dbname, "disabled").await;
    scene.insert(2).await;
    let pinned = |health: &Value| health["wal"]["ours_bytes"].as_u64().is_some_and(|bytes| bytes > 0);
    scene.slotd.await_until(&scene.dbname, pinned).await;
    scene.slotd.configure(&scene.cluster.entry(&scene.dbname));
    scene.slotd.sighup();
    scene.slotd.await_state(&scene.dbname, "streaming").await;
    scene.delivered().await;
    assert_eq!(scene.told(), "1 2 ");

    scene.slotd.configure(&disabled);
    scene.slotd.sighup();
    scene.slotd.await_state(&scene.dbname, "disabled").await;
    scene.sql(&format!("SELECT pg_drop_replication_slot('{}')", scene.slot())).await;
    scene.is_lost("slot_missing").await;
}

#[tokio::test]
async fn a_slot_that_is_disabled_from_the_start_is_not_made() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&format!("{}status = \"disabled\"\n", cluster.entry(&dbname)));
    slotd.await_until(&dbname, |health| health["state"] == "disabled" && health["observed"].is_string()).await;
    let exists = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'slotd_{dbname}'");
    assert_eq!(cluster.value("postgres", &exists).await, None);
    assert_eq!(cluster.value(&dbname, "SELECT pubname FROM pg_publication").await, None);
}
