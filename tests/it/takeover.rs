//! Two agents with one configuration: one streams, the other waits, and takes over once nothing can be written twice.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Cluster, FAR, History, Manager, Network, Options, Slotd, compare, on_a_host, seed, stands_in_the_page,
};

/// `wal_sender_timeout` unless the file says otherwise: within it the slot is ours.
const AT_MOST: Duration = Duration::from_secs(10);

async fn is_exact(cluster: &Cluster, dbname: &str, slotd: &mut Slotd) {
    slotd.await_acknowledged(cluster, dbname).await;
    compare(&slotd.lines(dbname), &History::expected(cluster, dbname).await).assert_exact();
}

#[tokio::test]
async fn of_two_agents_with_one_state_directory_one_streams_until_it_is_gone() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        History::create(cluster, &dbname).await;
        let mut first = Slotd::run(&format!("agent.wal_sender_timeout = \"1s\"\n{}", cluster.entry(&dbname)));
        first.await_state(&dbname, "streaming").await;
        let mut second = Slotd::beside(&first);
        second.start();
        let health = second.await_state(&dbname, "waiting").await;
        assert_eq!((&health["reason"], &health["verdict"]), (&"state_held".into(), &"warn".into()), "{health:#}");
        assert_eq!(health["holder"]["pid"], first.pid().unwrap(), "{health:#}");
        let (pid, who) = (health["holder"]["pid"].to_string(), health["holder"]["application_name"].as_str().unwrap());
        let state_dir = first.state_dir();
        let names = [(&*pid, "4711"), (who, "slotd/5c0f1e"), (state_dir.to_str().unwrap(), "/var/lib/slotd")];
        stands_in_the_page(&health, &names);
        assert_eq!(second.get("/readyz").await.unwrap().0, 200, "its first look was one");
        let workload = History::begin(cluster, &dbname, 1, seed());
        History::await_more(cluster, &dbname, 20).await;

        // The server misses the one that is frozen and the slot is free, but it would write on waking.
        first.freeze();
        let free = format!("SELECT active FROM pg_replication_slots WHERE slot_name = 'slotd_{dbname}'");
        cluster.await_value("postgres", &free, "f").await;
        // A reload has it try at once, and say what came of it.
        second.sighup();
        second.await_log(|log| log.matches("waiting: process").count() == 2).await;
        let health = second.health(&dbname).await;
        assert_eq!(health["reason"], "state_held", "{health:#}");
        first.thaw();
        first.await_state(&dbname, "streaming").await;
        History::await_more(cluster, &dbname, 20).await;

        first.kill9().await;
        let begun = Instant::now();
        second.await_state(&dbname, "streaming").await;
        println!("PostgreSQL {major}: taken over after {:?}", begun.elapsed());
        assert!(begun.elapsed() < AT_MOST, "PostgreSQL {major}: {:?}", begun.elapsed());
        History::await_more(cluster, &dbname, 20).await;
        workload.stop().await;
        is_exact(cluster, &dbname, &mut second).await;
        let (status, said) = first.command_output(&["status"]).await;
        assert!(status.success() && said.contains("streaming"), "it takes the commands too: {said}");
        let made = "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()";
        assert_eq!(cluster.value(&dbname, made).await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn who_waits_for_the_state_directory_reads_its_file_again_and_ends_when_asked() {
    let cluster = Cluster::shared(18);
    let (dbname, other) = (cluster.create_database().await, cluster.create_database().await);
    let mut first = Slotd::run(&cluster.entry(&dbname));
    first.await_state(&dbname, "streaming").await;
    let (manager, mut second) = (Manager::new(), Slotd::beside(&first));
    manager.look_after(&mut second, None);
    second.start();
    assert_eq!(manager.next().await, format!("READY=1\nSTATUS=1 waiting ({dbname})"));
    second.await_state(&dbname, "waiting").await;
    second.configure("this is not TOML");
    second.sighup();
    second.await_log(|log| log.contains("the changed file was rejected")).await;
    assert_eq!(second.health(&dbname).await["state"], "waiting");
    second.configure(&cluster.entry(&other));
    second.sighup();
    second.await_state(&other, "waiting").await;
    assert_eq!(second.health(&dbname).await["state"], Value::Null);
    assert!(second.sigterm().await.success());
    assert_eq!(first.health(&dbname).await["state"], "streaming");
    second.start();
    second.await_state(&other, "waiting").await;
    assert!(first.sigterm().await.success());
    second.await_state(&other, "streaming").await;
}

/// What the first has delivered is in its own files, on its own host.
#[test]
fn an_agent_on_another_host_does_not_take_over_what_is_in_the_files_of_the_first() {
    on_a_host(Network::Both, async |host| {
        let beyond = host.beyond_a_link();
        let options = Options {
            hba: vec!["host all all all trust".to_owned()],
            network: Some(beyond.pid()),
            ..Options::default()
        };
        let cluster = Cluster::start(18, &options.set("listen_addresses", "*"));
        History::create(&cluster, "postgres").await;
        let config = format!(
            "[agent]\nwal_sender_timeout = \"1s\"\ngrace = \"2s\"\n{}",
            cluster.entry("postgres").replace("127.0.0.1", FAR)
        );
        let mut first = Slotd::run(&config);
        first.await_state("postgres", "streaming").await;
        let mut second = Slotd::new(&config);
        let inside = ["nsenter", "--target", &beyond.pid().to_string(), "--net", "--"].map(str::to_owned);
        second.run_by(&inside);
        second.start();
        let health = second.await_state("postgres", "waiting").await;
        let holder = health["holder"]["application_name"].as_str().unwrap().to_owned();
        assert_eq!(health["verdict"], "warn", "{health:#}");
        let workload = History::begin(&cluster, "postgres", 1, seed());
        History::await_more(&cluster, "postgres", 20).await;

        beyond.goes_dark(host);
        let left_alone = |health: &Value| health["holder"].is_null() && health["verdict"] == "fail";
        let health = second.await_until("postgres", left_alone).await;
        assert_eq!(health["state"], "waiting", "{health:#}");
        let sentence = health["sentence"].as_str().unwrap();
        assert!(sentence.contains(&holder) && sentence.contains("not in our files"), "{sentence}");

        beyond.comes_back(host);
        first.await_state("postgres", "streaming").await;
        second.await_until("postgres", |health| health["verdict"] == "warn").await;
        workload.stop().await;
        is_exact(&cluster, "postgres", &mut first).await;
        assert_eq!(second.lines("postgres"), [Value::Null; 0]);
    });
}
