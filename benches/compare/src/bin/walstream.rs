//! The contender pg_walstream: decodes a slot to its end and writes nothing. PORT DATABASE SLOT PUBLICATION END.
//!
//! `END` is an LSN as an integer; what it saw is printed: inserts, updates, deletes.

use std::error::Error;
use std::time::Duration;

use pg_walstream::{
    CancellationToken, EventType, LogicalReplicationStream, ReplicationStreamConfig, RetryConfig, StreamingMode,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, dbname, slot, publication, end] = &arguments[..] else {
        return Err("PORT DATABASE SLOT PUBLICATION END".into());
    };
    let end: u64 = end.parse()?;
    let config = ReplicationStreamConfig::new(
        slot.clone(),
        publication.clone(),
        1,
        StreamingMode::Off,
        Duration::from_secs(10),
        Duration::from_secs(30),
        Duration::from_secs(60),
        RetryConfig::default(),
    );
    let address = format!("postgresql://postgres@127.0.0.1:{port}/{dbname}?replication=database&sslmode=disable");
    let mut stream = LogicalReplicationStream::new(&address, config).await?;
    stream.start(None).await?;
    let never = CancellationToken::new();
    let mut counts = [0_u64; 3];
    loop {
        match stream.next_event(&never).await?.event_type {
            EventType::Insert { table, .. } if &*table != "finish" => counts[0] += 1,
            EventType::Update { .. } => counts[1] += 1,
            EventType::Delete { .. } => counts[2] += 1,
            EventType::Commit { end_lsn, .. } if end_lsn.value() >= end => break,
            _ => {}
        }
    }
    println!("{} {} {}", counts[0], counts[1], counts[2]);
    Ok(())
}
