//! PgBouncer before a server.

use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Instant;

use super::Cluster;
use super::cluster::{note_version, version_at};
use super::guard::User;
use super::server::{PATIENCE, free_port};

/// A PgBouncer that lets everyone in; it ends when this is dropped, and with the server's folder at the latest.
#[derive(Debug)]
pub(crate) struct Pooler {
    child: Child,
    port: u16,
}

impl Pooler {
    /// Before `cluster`, on 127.0.0.1, once it takes connections.
    pub(crate) fn before(cluster: &Cluster) -> Self {
        Self::with(cluster, "")
    }

    /// The same, that lets in whoever brings settings, and forgets them: what some do who are told of unknown parameters.
    pub(crate) fn forgetting_settings(cluster: &Cluster) -> Self {
        Self::with(cluster, "ignore_startup_parameters = options\n")
    }

    fn with(cluster: &Cluster, settings: &str) -> Self {
        let port = free_port().unwrap();
        note_version(port, version_at(cluster.port()));
        let users = cluster.put("pooler-users", "\"postgres\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\n{settings}",
            cluster.port(),
            users.display()
        );
        let config = cluster.put("pooler.ini", &text).unwrap();
        let mut command = User::of_servers().unwrap().command("pgbouncer");
        command.arg("--quiet").arg(config).current_dir(cluster.folder());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("PgBouncer can't be run: `tests/servers.sh --tools` gets it");
        let pooler = Self { child, port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "PgBouncer takes no connections");
            std::thread::yield_now();
        }
        pooler
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // One that has ended by itself is as dead as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
