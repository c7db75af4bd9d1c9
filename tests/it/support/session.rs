//! A session of the superuser by the Unix socket, where everyone is trusted.

use std::path::Path;

use tokio::net::UnixStream;
use tokio_postgres::{Client, NoTls};

use super::server::Failure;

/// Connects to `dbname` at the Unix socket `path`.
pub(crate) async fn connect(path: &Path, dbname: &str) -> Result<Client, Failure> {
    let stream = UnixStream::connect(path).await?;
    let mut config = tokio_postgres::Config::new();
    config.user("postgres").dbname(dbname).application_name("slotd tests");
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    // It ends with the client, or with an error that the client's next call tells as well.
    tokio::spawn(connection);
    Ok(client)
}
