//! A changed file: what of it is refused, what counts from the next start on, and how that is told.

use serde_json::Value;

use crate::support::{Cluster, Slotd};

/// The troubles of the agent itself, a sentence each.
async fn troubles(slotd: &Slotd) -> Vec<String> {
    let (_, body) = slotd.get("/health").await.unwrap();
    let health: Value = serde_json::from_str(&body).unwrap();
    let rows = health["troubles"].as_array().unwrap();
    rows.iter().map(|row| row["sentence"].as_str().unwrap().to_owned()).collect()
}

/// One without a database, which takes commands.
async fn agent() -> Slotd {
    let slotd = Slotd::run("");
    slotd.await_log(|log| log.contains("commands are taken")).await;
    slotd
}

#[tokio::test]
async fn another_state_dir_is_refused_and_the_stream_goes_on_into_its_files() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY)").await;
    let entry = cluster.entry(&dbname);
    let mut slotd = Slotd::run(&entry);
    slotd.await_state(&dbname, "streaming").await;

    slotd.configure(&format!("agent.state_dir = \"elsewhere\"\n{entry}publish = \"insert\"\n"));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert_eq!(status.code(), Some(78), "{said}");
    let why = "`state_dir` can't change while slotd runs; restart it";
    assert!(said.contains(why), "{said}");
    assert!(slotd.log().contains(why), "{}", slotd.log());
    let told = troubles(&slotd).await;
    assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
    cluster.execute(&dbname, "INSERT INTO items DEFAULT VALUES").await;
    slotd.await_acknowledged(cluster, &dbname).await;
    assert_eq!(slotd.lines(&dbname).len(), 1);

    slotd.configure(&entry);
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success(), "{said}");
    assert_eq!(troubles(&slotd).await, [""; 0]);
}

#[tokio::test]
async fn what_agent_and_http_say_counts_from_the_next_start_on() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY)").await;
    let entry = cluster.entry(&dbname);
    let mut slotd = Slotd::new(&format!("agent.stop_timeout = \"1s\"\n{entry}"));
    slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO items DEFAULT VALUES").await;
    slotd.await_log(|log| log.contains("stall point")).await;

    slotd.configure(&format!("agent.stop_timeout = \"1h\"\n{entry}"));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success() && said.contains("0 databases begun"), "{said}");
    assert!(slotd.log().contains("count from the next start on"), "{}", slotd.log());
    // An hour would be longer than this waits.
    assert!(slotd.sigterm().await.success());
    assert!(slotd.log().contains("did not end within stop_timeout"), "{}", slotd.log());
}

#[tokio::test]
async fn a_rejected_file_is_told_once_and_in_short() {
    let slotd = agent().await;
    slotd.configure("[agent]\ngrcae = \"1s\"\nlog = \"inof\"\n");
    for _ in 0..2 {
        let (status, said) = slotd.command_output(&["reload"]).await;
        assert_eq!(status.code(), Some(78), "{said}");
        assert!(said.contains("| grcae = ") && said.contains("log = \"inof\""), "the answer has all mistakes: {said}");
    }
    let first = "slotd.toml:3:1: unknown key `grcae` in [agent], and one more mistake";
    let told = troubles(&slotd).await;
    assert!(told.len() == 1 && told[0].ends_with(first), "{told:?}");
    let log = slotd.log();
    assert_eq!(log.matches("rejected").count(), 1, "{log}");
    assert!(log.contains(&told[0]) && !log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn files_that_are_included_are_read_again_and_a_wrong_one_changes_nothing() {
    let cluster = Cluster::shared(18);
    let (first, second) = (cluster.create_database().await, cluster.create_database().await);
    let mut slotd = Slotd::new("");
    std::fs::create_dir(slotd.path("conf.d")).unwrap();
    let (main, folder) = (slotd.config_path(), slotd.path("conf.d"));
    let write = |path: &std::path::Path, text: &str| std::fs::write(path, text).unwrap();
    let head = "include = [\"conf.d/*.toml\"]\nhttp.listen = \"127.0.0.1:0\"\n";
    let (first_file, second_file) = (folder.join("1.toml"), folder.join("2.toml"));
    write(&main, head);
    write(&first_file, &cluster.entry(&first));
    slotd.start();
    slotd.await_state(&first, "streaming").await;

    // A new file.
    write(&second_file, &cluster.entry(&second));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success() && said.contains("1 database"), "{said}");
    slotd.await_state(&second, "streaming").await;

    // A wrong one.
    write(&second_file, &format!("{}prot = 1\n", cluster.entry(&second)));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("conf.d/2.toml:") && said.contains("prot = "), "{said}");
    let told = troubles(&slotd).await;
    assert!(
        told.len() == 1 && told[0].contains("conf.d/2.toml:") && told[0].contains("unknown key `prot`"),
        "{told:?}"
    );
    assert!(slotd.log().contains("conf.d/2.toml:"), "{}", slotd.log());
    for name in [&first, &second] {
        assert_eq!(slotd.health(name).await["state"], "streaming");
    }

    // A changed one, one that is gone, and another of [defaults].
    std::fs::remove_file(&second_file).unwrap();
    write(&first_file, &format!("{}publish = \"insert\"\n", cluster.entry(&first)));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success(), "{said}");
    assert_eq!(troubles(&slotd).await, [""; 0]);
    assert!(slotd.health(&second).await["state"].is_null());
    write(&main, &format!("{head}[defaults]\nstatus = \"disabled\"\n"));
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success(), "{said}");
    slotd.await_state(&first, "disabled").await;
}

#[tokio::test]
async fn the_warnings_of_a_changed_file_are_logged() {
    let slotd = agent().await;
    slotd.configure("[http]\nlisten = \"192.0.2.1:7356\"\n");
    let (status, said) = slotd.command_output(&["reload"]).await;
    assert!(status.success(), "{said}");
    let log = slotd.log();
    assert!(log.contains("WARN") && log.contains("`listen` is not a loopback address"), "{log}");
}

#[tokio::test]
async fn a_publication_that_can_not_be_looked_at_is_told_once_and_once_more_when_it_can() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let mut slotd = Slotd::run(&cluster.entry(&dbname));
    slotd.await_state(&dbname, "streaming").await;
    // New sessions are refused, the stream lives on.
    let allow = async |allowed: bool| {
        let sql = format!("ALTER DATABASE {dbname} ALLOW_CONNECTIONS {allowed}");
        cluster.execute("postgres", &sql).await;
    };
    for allowed in [false, false, true, true] {
        allow(allowed).await;
        let before = slotd.health(&dbname).await["last_round"].clone();
        // A reload brings the next look at once.
        slotd.sighup();
        let health = slotd.await_until(&dbname, |health| health["last_round"] != before).await;
        assert_eq!(health["state"], "streaming", "{health:#}");
    }
    let log = slotd.log();
    for (level, said) in
        [("WARN", "the publication can't be looked at: "), ("INFO", "the publication is looked at again")]
    {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(said)).collect();
        assert!(lines.len() == 1 && lines[0].contains(level), "{log}");
    }
}
