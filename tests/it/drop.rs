//! `slotd drop`: the slot goes, and the publication if slotd made it, behind a gap record and through crashes; `enable` is
//! the way back.

use futures_util::future::join;

use crate::support::{Cluster, Slotd};

const LEFT: &str = "SELECT (SELECT count(*) FROM pg_replication_slots WHERE database = current_database())::text || \
                    (SELECT count(*) FROM pg_publication)";

async fn begin(major: u32) -> (&'static Cluster, String, Slotd) {
    let cluster = Cluster::shared(major);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO items VALUES (1)").await;
    slotd.await_acknowledged(cluster, &dbname).await;
    (cluster, dbname, slotd)
}

async fn says(slotd: &Slotd, args: &[&str], exit: i32) -> String {
    let (status, said) = slotd.command_output(args).await;
    assert_eq!(status.code(), Some(exit), "{args:?}\n{said}\n{}", slotd.log());
    said
}

fn told(slotd: &Slotd, dbname: &str) -> Vec<String> {
    let line = |line: serde_json::Value| match line["action"].as_str().unwrap() {
        "gap" => format!("gap {} {}", line["metadata"]["reason"].as_str().unwrap(), line["metadata"]["to"].is_null()),
        _ => line["record"]["id"].to_string(),
    };
    slotd.lines(dbname).into_iter().map(line).collect()
}

#[tokio::test]
async fn a_dropped_slot_is_gone_with_its_publication_and_stays_so_until_it_is_enabled() {
    join(dropped_on(15), dropped_on(18)).await;
}

async fn dropped_on(major: u32) {
    let (cluster, dbname, mut slotd) = begin(major).await;
    let said = says(&slotd, &["drop", &dbname], 64).await;
    assert!(said.contains("loses: every change after ") && said.contains("so this takes --yes"), "{said}");
    assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("11"), "nothing is done without the word");
    let said = says(&slotd, &["drop", &dbname, "--yes"], 0).await;
    assert!(said.contains("nothing of them is left on the server"), "{said}");
    assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("00"));
    let health = slotd.health(&dbname).await;
    assert_eq!(
        [&health["state"], &health["reason"], &health["verdict"]],
        ["disabled", "dropped", "pass"],
        "{health:#}"
    );
    assert_eq!(told(&slotd, &dbname), ["1", "gap dropped true"]);
    // Neither a reload nor a crash brings it back, nor a second word harm.
    slotd.sighup();
    slotd.kill9().await;
    cluster.execute(&dbname, "INSERT INTO items VALUES (2)").await;
    slotd.start();
    slotd.await_until(&dbname, |health| health["reason"] == "dropped" && health["last_round"].is_string()).await;
    says(&slotd, &["drop", &dbname, "--yes"], 0).await;
    assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("00"));

    says(&slotd, &["enable", &dbname], 0).await;
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO items VALUES (3)").await;
    slotd.await_lines(&dbname, 4).await;
    assert_eq!(told(&slotd, &dbname), ["1", "gap dropped true", "gap dropped false", "3"]);
}

#[tokio::test]
async fn a_publication_of_somebody_else_stays_and_is_named() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, &format!("CREATE PUBLICATION slotd_{dbname} FOR ALL TABLES")).await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    let said = says(&slotd, &["drop", &dbname, "--yes"], 0).await;
    assert!(said.contains(&format!("slotd did not make it (DROP PUBLICATION slotd_{dbname};)")), "{said}");
    assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("01"));
}

#[tokio::test]
async fn without_an_agent_it_is_done_here() {
    for major in [15, 18] {
        let (cluster, dbname, mut slotd) = begin(major).await;
        assert!(slotd.sigterm().await.success());
        says(&slotd, &["drop", &dbname, "--yes"], 0).await;
        assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("00"));
        assert_eq!(told(&slotd, &dbname), ["1", "gap dropped true"]);
        says(&slotd, &["enable", &dbname], 0).await;
        slotd.start();
        slotd.await_state(&dbname, "streaming").await;
        assert_eq!(told(&slotd, &dbname), ["1", "gap dropped true", "gap dropped false"]);
    }
}

#[tokio::test]
async fn a_wish_by_command_counts_until_the_file_says_something_else() {
    let (cluster, dbname, mut slotd) = begin(18).await;
    says(&slotd, &["disable", &dbname], 0).await;
    let by_command = |health: &serde_json::Value| health["reason"] == "disabled_by_command";
    slotd.await_until(&dbname, by_command).await;
    slotd.sighup();
    slotd.kill9().await;
    slotd.start();
    slotd.await_until(&dbname, |health| by_command(health) && health["last_round"].is_string()).await;
    assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("11"), "the slot stays");
    // The file's own value changes, there and back: the command is overtaken.
    slotd.configure(&format!("{}status = \"disabled\"\n", cluster.entry(&dbname)));
    slotd.sighup();
    slotd.await_until(&dbname, |health| health["reason"] == "disabled_by_file").await;
    slotd.configure(&cluster.entry(&dbname));
    slotd.sighup();
    slotd.await_state(&dbname, "streaming").await;
    says(&slotd, &["enable", &dbname], 0).await;
    says(&slotd, &["enable", "nosuch"], 1).await;
}

/// A server that is away: the wish is kept, and carried out once it is back.
#[tokio::test]
async fn a_drop_that_could_not_be_done_goes_on() {
    let mut cluster = Cluster::start(18, &crate::support::Options::default());
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    cluster.stop_immediate().unwrap();
    slotd.await_state(&dbname, "retrying").await;
    let said = says(&slotd, &["drop", &dbname, "--yes"], 1).await;
    assert!(said.contains("connection refused"), "{said}");
    slotd.kill9().await;
    cluster.start_again();
    slotd.start();
    cluster.await_value(&dbname, LEFT, "00").await;
}

/// As root beside an agent of another user: what root wrote there the agent could not write any more.
#[tokio::test]
async fn the_state_directory_of_another_user_is_left_to_its_agent() {
    let (cluster, dbname, mut slotd) = begin(18).await;
    std::os::unix::fs::chown(slotd.state_dir(), Some(65_534), None)
        .expect("this test needs the privilege to give files away (CAP_CHOWN): run it as root");
    cluster.execute(&dbname, &format!("DROP PUBLICATION slotd_{dbname}")).await;
    says(&slotd, &["apply", &dbname], 0).await;
    assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("11"));
    says(&slotd, &["drop", &dbname, "--yes"], 0).await;
    assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("00"));
    assert!(slotd.sigterm().await.success());
    for args in [&["enable", &dbname][..], &["drop", &dbname, "--yes"]] {
        let said = says(&slotd, args, 1).await;
        assert!(said.contains("belongs to the user 65534") && said.contains("sudo -u '#65534'"), "{said}");
    }
}

#[tokio::test]
async fn apply_without_an_agent_makes_no_slot_that_was_dropped() {
    let (cluster, dbname, mut slotd) = begin(18).await;
    assert!(slotd.sigterm().await.success());
    says(&slotd, &["drop", &dbname, "--yes"], 0).await;
    says(&slotd, &["apply", &dbname], 0).await;
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
    assert_eq!(cluster.value(&dbname, slots).await.as_deref(), Some("0"));
}

/// Two slots through one publication: it goes with the second of them, with an agent and without one.
#[tokio::test]
async fn a_publication_that_another_slot_is_read_through_stays() {
    for has_agent in [true, false] {
        let cluster = Cluster::shared(18);
        let dbname = cluster.create_database().await;
        cluster.execute(&dbname, "CREATE TABLE items (id int PRIMARY KEY)").await;
        let other = format!("{dbname}_b");
        let entry = format!("{}publication_name = \"app\"\n", cluster.entry(&dbname));
        let name = |name: &str| format!("name = \"{name}\"");
        let text = format!("{entry}{}", entry.replacen(&name(&dbname), &name(&other), 1));
        let mut slotd = Slotd::run(&text);
        for name in [&dbname, &other] {
            slotd.await_state(name, "streaming").await;
        }
        if !has_agent {
            assert!(slotd.sigterm().await.success());
        }
        let said = says(&slotd, &["drop", &dbname, "--yes"], 0).await;
        let stays = format!("the publication app stays, since the slot slotd_{other} is read through it");
        assert!(said.contains(&stays), "{said}");
        assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("11"));
        if has_agent {
            cluster.execute(&dbname, "INSERT INTO items VALUES (1)").await;
            slotd.await_acknowledged(cluster, &other).await;
            assert_eq!(told(&slotd, &other), ["1"]);
        }
        says(&slotd, &["drop", &other, "--yes"], 0).await;
        assert_eq!(cluster.value(&dbname, LEFT).await.as_deref(), Some("00"));
    }
}
