//! slotd as a service: what the manager that started it is told, in order, and what it hands over.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Cluster, Manager, Options, Slotd, told_of};

/// How long the manager waits for a sign of life, where there is a watchdog.
const WATCHDOG: Duration = Duration::from_secs(2);

/// Waits for the end of a reload, and for the status that it leads to; gives the latter.
async fn await_reload(manager: &Manager, is_status: impl Fn(&str) -> bool) -> String {
    let is_last = |told: &[String]| told_of(told, "STATUS").last().is_some_and(|status| is_status(status));
    let mut told = manager.until(|told| !told_of(told, "READY").is_empty() && is_last(told)).await;
    let status = told_of(&told, "STATUS")[0].to_owned();
    told.retain(|message| !message.starts_with("STATUS="));
    assert!(told.len() == 2 && told[1] == "READY=1", "{told:?}");
    let (["1"], [micros]) = (&told_of(&told[..1], "RELOADING")[..], &told_of(&told[..1], "MONOTONIC_USEC")[..]) else {
        panic!("{told:?}")
    };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
    let begun = micros.parse::<i64>().unwrap() / 1_000_000;
    assert!((now - 60..=now).contains(&begun), "it is {now} and the reload began at {micros}");
    status
}

#[tokio::test]
async fn start_reload_and_stop_are_told_in_order() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    let entry = cluster.entry(&dbname);
    let manager = Manager::new();
    let mut slotd = Slotd::new(&entry);
    manager.look_after(&mut slotd, None);
    slotd.start();
    let first = manager.next().await;
    assert!(first.starts_with("READY=1\nSTATUS=1 "), "{first}");
    assert_eq!(slotd.get("/livez").await, Some((200, "live\n".to_owned())), "ready, and nobody answers");
    slotd.await_state(&dbname, "streaming").await;
    if !first.ends_with("STATUS=1 streaming") {
        let told = manager.until_status("1 streaming").await;
        assert_eq!(told_of(&told, "STATUS").len(), told.len(), "{told:?}");
    }

    slotd.configure(&format!("{entry}status = \"disabled\"\n"));
    slotd.sighup();
    await_reload(&manager, |status| status == "1 disabled").await;

    slotd.configure(&format!("{entry}tabels = []\n"));
    let (code, said) = slotd.command_output(&["reload"]).await;
    assert_eq!(code.code(), Some(78), "{said}");
    let status = await_reload(&manager, |status| status.contains("rejected")).await;
    let why = "slotd.toml:10:1: unknown key `tabels`";
    assert!(status.starts_with("1 disabled; the changed file was rejected: ") && status.contains(why), "{status}");

    slotd.configure(&entry);
    let (code, said) = slotd.command_output(&["reload"]).await;
    assert!(code.success(), "{said}");
    await_reload(&manager, |status| status == "1 streaming").await;

    assert!(slotd.sigterm().await.success());
    let last = manager.rest();
    let stopping = "stopping: what the sinks were given is made durable and acknowledged";
    assert_eq!(last, [format!("STOPPING=1\nEXTEND_TIMEOUT_USEC=25000000\nSTATUS={stopping}")]);
}

#[tokio::test]
async fn ready_waits_for_no_database_and_the_status_names_who_is_down() {
    let manager = Manager::hidden();
    // Nobody listens on the port 1.
    let mut slotd = Slotd::new(
        "[[postgres_databases]]\nname = \"shop\"\nurl = \"postgresql://slotd:pw@127.0.0.1:1/shop\"\nssl = false\n\
         [[postgres_databases]]\nname = \"old\"\nurl = \"postgresql://slotd:pw@127.0.0.1:1/old\"\nssl = false\n\
         status = \"disabled\"\n",
    );
    manager.look_after(&mut slotd, None);
    slotd.start();
    let told = manager.until_status("1 retrying (shop), 1 disabled").await;
    assert!(told[0].starts_with("READY=1\n"), "{told:?}");
    assert!(slotd.sigterm().await.success());
}

#[tokio::test]
async fn a_stop_asks_for_the_time_that_it_may_take_before_it_takes_it() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY)").await;
    let manager = Manager::new();
    let mut slotd = Slotd::new(&format!("agent.stop_timeout = \"1s\"\n{}", cluster.entry(&dbname)));
    slotd.set_env("SLOTD_STALL_AT", "FileHalfWritten");
    manager.look_after(&mut slotd, None);
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    cluster.execute(&dbname, "INSERT INTO items DEFAULT VALUES").await;
    slotd.await_log(|log| log.contains("stall point")).await;
    manager.rest();
    slotd.ask_to_end();
    let told = [manager.next().await];
    assert_eq!(told_of(&told, "STOPPING"), ["1"], "{told:?}");
    assert_eq!(told_of(&told, "EXTEND_TIMEOUT_USEC"), ["6000000"], "{told:?}");
    assert!(slotd.pid().is_some_and(|pid| fs::exists(format!("/proc/{pid}")).unwrap()), "{}", slotd.log());
    assert!(slotd.ended().await.success());
    assert_eq!(manager.rest(), [""; 0]);
}

#[tokio::test]
async fn the_watchdog_is_told_nothing_while_a_feedback_is_stuck() {
    let cluster = Cluster::shared(18);
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE items (id bigserial PRIMARY KEY)").await;
    let manager = Manager::new();
    let mut slotd = Slotd::new(&cluster.entry(&dbname));
    slotd.set_env("SLOTD_STALL_AT", "AckEncoded:2");
    manager.look_after(&mut slotd, Some(WATCHDOG));
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    manager.until(|told| !told_of(told, "WATCHDOG").is_empty()).await;
    cluster.execute(&dbname, "INSERT INTO items DEFAULT VALUES").await;
    // The thread that is stuck may be the one that all others wait for, or not.
    let said = "scheduled for ";
    slotd.await_log(|log| log.split_once("stall point").is_some_and(|(_, after)| after.contains(said))).await;
    manager.rest();
    let deadline = tokio::time::Instant::now() + WATCHDOG * 2;
    while let Some(told) = manager.within(deadline.saturating_duration_since(tokio::time::Instant::now())).await {
        assert!(!told.contains("WATCHDOG"), "{told}");
    }
    let log = slotd.log();
    let line = log.lines().find(|line| line.contains(said)).unwrap();
    assert!(line.contains("ERROR"), "{line}");
    let page = include_str!("../../docs/BAD_DAY.md");
    for words in [
        "no WATCHDOG=1 is sent, and systemd restarts slotd unless that ends",
        "report it with the lines before it, unless this machine was out of CPU or memory",
    ] {
        assert!(line.contains(words) && page.contains(words), "{words}: {line}");
    }
    slotd.kill9().await;
}

#[tokio::test]
async fn the_watchdog_is_told_on_while_a_server_is_frozen() {
    let cluster = Cluster::start(18, &Options::default());
    let dbname = cluster.create_database().await;
    let manager = Manager::new();
    let mut slotd = Slotd::new(&cluster.entry(&dbname));
    manager.look_after(&mut slotd, Some(WATCHDOG));
    // As systemd has it: the variable names the process itself.
    slotd.run_by(&["sh", "-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh"].map(str::to_owned));
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    let pid = |text: &str| Pid::from_raw(text.trim().parse().unwrap()).unwrap();
    let walsender = cluster.value("postgres", "SELECT active_pid FROM pg_replication_slots").await.unwrap();
    let postmaster = fs::read_to_string(cluster.data().join("postmaster.pid")).unwrap();
    let frozen = [pid(postmaster.lines().next().unwrap()), pid(&walsender)];
    for process in frozen {
        kill_process(process, Signal::STOP).unwrap();
    }
    manager.rest();
    manager.until(|told| told_of(told, "WATCHDOG").len() == 6).await;
    for process in frozen {
        kill_process(process, Signal::CONT).unwrap();
    }
    assert!(slotd.sigterm().await.success());
    assert_eq!(slotd.log().matches("scheduled").count(), 0, "{}", slotd.log());
}

#[tokio::test]
async fn a_watchdog_of_another_process_is_left_alone() {
    let manager = Manager::new();
    let mut slotd = Slotd::new("");
    manager.look_after(&mut slotd, Some(WATCHDOG));
    slotd.set_env("WATCHDOG_PID", "1");
    slotd.start();
    assert_eq!(manager.next().await, "READY=1\nSTATUS=no database");
    assert!(slotd.sigterm().await.success());
    let last = manager.rest();
    assert!(last.len() == 1 && last[0].starts_with("STOPPING=1\n"), "{last:?}");
}

#[tokio::test]
async fn a_password_comes_as_a_credential_and_without_systemd_from_its_file() {
    let hba = vec!["host all all all scram-sha-256".to_owned()];
    let cluster = Cluster::start(18, &Options { hba, ..Options::default() });
    cluster.execute("postgres", "CREATE ROLE keeper SUPERUSER LOGIN REPLICATION PASSWORD 'c0rrect'").await;
    let dbname = cluster.create_database().await;
    let file = "password_file = \"${CREDENTIALS_DIRECTORY:-secrets}/shop\"";
    let entry = cluster.entry(&dbname);
    let entry = entry.replace("username = \"postgres\"", "username = \"keeper\"");
    let mut slotd = Slotd::new(&entry.replace("password = \"none is asked for\"", file));
    let credentials = slotd.path("credentials");
    for folder in [&credentials, &slotd.path("secrets")] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(slotd.path("secrets/shop"), "wrong").unwrap();
    fs::write(credentials.join("shop"), "c0rrect\n").unwrap();
    let (status, said) = slotd.command_output(&["check"]).await;
    assert!(status.success(), "what stands in the file is found in a shell too: {said}");
    slotd.set_env("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    slotd.start();
    slotd.await_state(&dbname, "streaming").await;
    assert!(slotd.sigterm().await.success());
}
