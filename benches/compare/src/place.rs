//! Where a part runs: a server of its own that makes durable what it says it does, and a database in it.

use std::fs;

use jiff::Timestamp;
use slotd::lsn::Lsn;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::server::{Failure, Options, Server};
use crate::session::connect;
use crate::tls::Authority;

/// The database of a part, and its publication.
pub(crate) const BENCH: &str = "bench";

/// Has the server log each connection with the time, for [`Place::first_connection`].
pub(crate) const LOG_CONNECTIONS: [(&str, &str); 2] = [("log_connections", "on"), ("log_line_prefix", "%n ")];

/// A running server.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) server: Server,
    /// The certificate that its own is signed with.
    pub(crate) authority: String,
}

impl Place {
    /// A server of version `major`, from the template, with `fsync` and TLS.
    pub(crate) fn start(major: u32, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let authority = Authority::new();
        let certificate = Some(authority.leaf(&["127.0.0.1"]));
        let common = [
            // A checkpoint in the middle of a drain would be the bench's own noise.
            ("max_wal_size", "16GB"),
            ("checkpoint_timeout", "1h"),
            ("shared_buffers", "256MB"),
            ("timezone", "UTC"),
            ("log_min_messages", "warning"),
        ];
        let options = Options { fsync: true, certificate, ..Options::default() };
        let options = common.iter().chain(settings).fold(options, |options, (name, value)| options.set(name, value));
        let mut server = Server::new(major, &options)?;
        server.start()?;
        Ok(Self { server, authority: authority.pem() })
    }

    /// A session of the superuser.
    pub(crate) async fn connect(&self, dbname: &str) -> Result<Client, Failure> {
        connect(&self.server.socket(), dbname).await
    }

    /// When the first connection over TCP came in, of those that the log tells of behind its first `len` bytes. The bench's
    /// own sessions come by the Unix socket.
    pub(crate) fn first_connection(&self, len: usize) -> Result<Timestamp, Failure> {
        let log = self.server.log();
        let mut lines = log.get(len..).unwrap_or_default().lines();
        let time = lines.find_map(|line| line.split_once(" LOG:  connection received: host=127.0.0.1"));
        let (time, _) = time.ok_or("the server's log tells of no connection")?;
        // Seconds since the epoch, always with three digits behind the point.
        Ok(Timestamp::from_millisecond(time.replace('.', "").parse()?)?)
    }

    /// The id of its first process, which is the parent of all others.
    pub(crate) fn pid(&self) -> Result<u32, Failure> {
        let file = fs::read_to_string(self.server.data().join("postmaster.pid"))?;
        Ok(file.lines().next().unwrap_or_default().parse()?)
    }
}

/// The first column of the last row.
pub(crate) async fn value(client: &Client, sql: &str) -> Result<String, Failure> {
    let answers = client.simple_query(sql).await?;
    let rows = answers.iter().rev().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.ok_or_else(|| format!("nothing came back: {sql}").into())
}

/// Makes the last transaction, which inserts into `finish`. Gives the LSN at which its COMMIT ends, and that at which the
/// WAL ended right after it.
///
/// Both, since either alone can mislead: with `synchronous_commit = off` WAL that is not flushed has no place in
/// `pg_current_wal_lsn()`, and behind the insert position's last COMMIT there may be other records.
pub(crate) async fn finish(client: &Client) -> Result<(Lsn, Lsn), Failure> {
    client.batch_execute("SELECT pg_create_logical_replication_slot('finish', 'pgoutput')").await?;
    client.batch_execute("SET synchronous_commit = on; INSERT INTO finish VALUES (1)").await?;
    let end = value(client, "SELECT pg_current_wal_insert_lsn()").await?.parse()?;
    let commit = value(
        client,
        "SELECT max(lsn) FROM pg_logical_slot_peek_binary_changes('finish', NULL, NULL, 'proto_version', '1', \
         'publication_names', 'bench')",
    );
    let commit = commit.await?.parse()?;
    // A checkpoint puts WAL behind it, and all that is dirty onto the disk.
    client.batch_execute("SELECT pg_drop_replication_slot('finish'); CHECKPOINT").await?;
    Ok((commit, end))
}
