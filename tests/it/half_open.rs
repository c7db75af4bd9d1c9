//! A link that breaks under running streams, without a word to either end, and comes back.

use std::time::{Duration, Instant};

use crate::support::{Cluster, FAR, History, Network, Options, Slotd, compare, on_a_host, seed};

/// How long server and slotd wait for each other.
const PATIENCE: Duration = Duration::from_secs(2);
/// What a busy machine may add to a bound.
const LATE: Duration = Duration::from_secs(10);

#[test]
fn a_link_that_breaks_under_a_stream_is_found_out_by_both_ends_and_nothing_is_lost_or_repeated() {
    on_a_host(Network::Both, async |host| {
        let beyond = host.beyond_a_link();
        let options = Options {
            hba: vec!["host all all all trust".to_owned()],
            network: Some(beyond.pid()),
            ..Options::default()
        };
        let options = options.set("listen_addresses", "*");
        let clusters = [15, 18].map(|major| Cluster::start(major, &options));
        let mut text =
            format!("agent.wal_sender_timeout = \"{0}s\"\nagent.connect_timeout = \"{0}s\"\n", PATIENCE.as_secs());
        let mut workloads = Vec::new();
        let names = ["old", "new"];
        for (name, cluster) in names.iter().zip(&clusters) {
            History::create(cluster, "postgres").await;
            let entry = cluster.entry("postgres").replace("127.0.0.1", FAR);
            text.push_str(&entry.replace("name = \"postgres\"\nhost", &format!("name = \"{name}\"\nhost")));
        }
        let mut slotd = Slotd::run(&text);
        for (name, cluster) in names.iter().zip(&clusters) {
            slotd.await_state(name, "streaming").await;
            workloads.push(History::begin(cluster, "postgres", 1, seed()));
            History::await_more(cluster, "postgres", 20).await;
        }

        beyond.goes_dark(host);
        let begun = Instant::now();
        for (name, cluster) in names.iter().zip(&clusters) {
            // The test itself comes by the Unix socket.
            cluster.await_value("postgres", "SELECT count(*) FROM pg_stat_replication", "0").await;
            let lasted = begun.elapsed();
            assert!(lasted < PATIENCE + LATE, "{name}: its walsender lived for {lasted:?}");
        }
        for name in names {
            let health = slotd.await_state(name, "retrying").await;
            let lasted = begun.elapsed();
            println!("{name}: after {lasted:?}, {}", health["sentence"]);
            assert_eq!(health["reason"], "connection", "{health:#}");
            assert!(lasted < 6 * PATIENCE + LATE, "{name}: told after {lasted:?}");
        }

        beyond.comes_back(host);
        for ((name, cluster), workload) in names.iter().zip(&clusters).zip(workloads) {
            slotd.await_state(name, "streaming").await;
            workload.stop().await;
            slotd.await_acknowledged(cluster, name).await;
            compare(&slotd.lines(name), &History::expected(cluster, "postgres").await).assert_exact();
        }
    });
}
