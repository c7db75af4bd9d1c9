//! Servers that take a login and then answer nothing, while the connection lives.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use slotd::config;
use slotd::ident::{PublicationName, SlotName};
use slotd::lsn::Lsn;
use slotd::net::resolve::Resolver;
use slotd::postgres::trouble::{self, Step};
use slotd::postgres::{Connector, catalog};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Cluster, Slotd};

/// The end of a login: the server awaits a command.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// Stands before the server at `port`; while `mute`, nothing of it passes after the login. Gives his own port.
async fn relay(port: u16, mute: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let mute = Arc::clone(&mute);
            tokio::spawn(async move {
                let (mut came, mut logged_in) = (Vec::new(), false);
                while let Ok(1..) = from_server.read_buf(&mut came).await {
                    if logged_in && mute.load(Ordering::Relaxed) {
                        return std::future::pending().await;
                    }
                    logged_in |= came.ends_with(READY);
                    // One whose client is gone ends at its next read.
                    let _ = to_client.write_all(&came).await;
                    came.clear();
                }
            });
        }
    });
    own
}

#[tokio::test]
async fn a_server_that_goes_mute_after_the_login_is_told_with_what_it_left_unanswered() {
    // Where the login ends with the startup message: from 17 on a statement follows.
    let cluster = Cluster::shared(15);
    let dbname = cluster.create_database().await;
    let mute = Arc::new(AtomicBool::new(true));
    let port = relay(cluster.port(), Arc::clone(&mute)).await;
    let entry = cluster.entry(&dbname).replace(&cluster.port().to_string(), &port.to_string());
    let mut slotd = Slotd::run(&format!("agent.connect_timeout = \"1s\"\n{entry}"));
    let health = slotd.await_state(&dbname, "retrying").await;
    let sentence = health["sentence"].as_str().unwrap();
    assert!(sentence.ends_with("IDENTIFY_SYSTEM was not answered within 1s"), "{sentence}");
    mute.store(false, Ordering::Relaxed);
    slotd.await_state(&dbname, "streaming").await;

    mute.store(true, Ordering::Relaxed);
    let config = config::parse(Path::new("/nowhere/slotd.toml"), &entry, &|_| None).unwrap();
    let patience = Duration::from_secs(10);
    let connector =
        Connector::new(Resolver::new(config::Resolver::Hickory), patience, patience, "slotd/test".to_owned());
    let to = &config.databases[0].connection;
    let sql = connector.sql(to).await.unwrap();
    let (mut dropping, starting) = (connector.replication(to).await.unwrap(), connector.replication(to).await.unwrap());
    // Nothing else happens here, so that time passes at once.
    tokio::time::pause();
    let error = catalog::server(&sql).await.unwrap_err().to_string();
    assert_eq!(error, "the question about the server's settings was not answered within 35s");
    // What the server may have work with is waited for for longer.
    let (slot, publication) = (SlotName::new("s").unwrap(), PublicationName::new("p").unwrap());
    let error = dropping.drop_slot(&slot).await.unwrap_err().to_string();
    assert_eq!(error, "DROP_REPLICATION_SLOT was not answered within 60s");
    let error = starting.start(&slot, &publication, Lsn::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "START_REPLICATION was not answered within 60s");
    assert!(trouble::of_replication(Step::Start, &error, to).trouble.hint.contains("backend_type = 'walsender'"));
}
