//! Many databases of one server that has few connections to give.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::support::{Cluster, Options, Slotd};

/// One application after the other, each with two sessions of its own.
async fn keep_connecting(cluster: Arc<Cluster>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let (first, second) = (cluster.connect("postgres").await, cluster.connect("postgres").await);
        first.batch_execute("SELECT 1").await.unwrap();
        second.batch_execute("SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn hundreds_of_databases_leave_the_application_its_connections_at_the_start_and_at_a_reload() {
    let options = Options::default().set("max_connections", "20").set("superuser_reserved_connections", "0");
    let cluster = Arc::new(Cluster::start(18, &options));
    let dbname = cluster.create_database().await;
    let names: Vec<_> = (0..80).map(|n| format!("many_{n}")).collect();
    let entry = |name: &String| {
        cluster.entry(&dbname).replacen(&format!("name = \"{dbname}\""), &format!("name = \"{name}\""), 1)
    };
    let stop = CancellationToken::new();
    let application = tokio::spawn(keep_connecting(Arc::clone(&cluster), stop.clone()));
    let mut slotd = Slotd::run(&names.iter().map(entry).collect::<String>());
    for name in &names {
        slotd.await_state(name, "streaming").await;
    }
    let drops: String = names.iter().map(|name| format!("DROP PUBLICATION slotd_{name};")).collect();
    cluster.execute(&dbname, &drops).await;
    slotd.sighup();
    for name in &names {
        slotd.await_until(name, |health| health["findings"][0]["code"] == "publication_missing").await;
    }
    stop.cancel();
    application.await.unwrap();
    assert!(!cluster.log().contains("too many clients"), "{}", cluster.log());
}
