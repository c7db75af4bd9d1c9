//! The watch over a server's slots.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use slotd::config;
use slotd::guard::{self, Watched};
use slotd::net::resolve::Resolver;
use slotd::postgres::Connector;
use slotd::status::{Bounds, DatabaseStatus, PERIOD, Registry};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::support::Cluster;

#[tokio::test]
async fn databases_that_let_nobody_in_keep_the_others_from_nothing() {
    let cluster = Cluster::shared(15);
    let dbname = cluster.create_database().await;
    let mut text: String = (0..4).map(|n| cluster.entry(&format!("nosuch_{n}"))).collect();
    text.push_str(&cluster.entry(&dbname));
    let config = config::parse(Path::new("/nowhere/slotd.toml"), &text, &|_| None).unwrap();
    let registry = Registry::new(PathBuf::new(), Bounds::from(&config.agent));
    let mut seen = Vec::new();
    let slots = config.databases.iter().map(|database| {
        let (name, slot, publication) = (&database.name, &database.slot, &database.publication);
        let now = jiff::Timestamp::now();
        let status = DatabaseStatus::new(name.clone(), slot.clone(), publication.clone(), database.status, now);
        let (tell, told) = watch::channel(None);
        seen.push(told);
        Watched { database: Arc::clone(database), reporter: Arc::new(registry.add(status)), seen: tell }
    });
    let slots: Vec<_> = slots.collect();
    let patience = Duration::from_secs(60);
    let connector =
        Connector::new(Resolver::new(config::Resolver::Hickory), patience, patience, "slotd/test".to_owned());
    let begun = Instant::now();
    let _watch = AbortOnDropHandle::new(tokio::spawn(guard::watch(connector, slots, CancellationToken::new())));
    for told in &mut seen {
        told.wait_for(Option::is_some).await.unwrap();
    }
    // One door at each look would take four periods.
    assert!(begun.elapsed() < 2 * PERIOD, "{:?}", begun.elapsed());
}
