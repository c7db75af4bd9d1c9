//! A cluster as tests use it: SQL, databases of their own, copies from colder days.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::server::{Options, PATIENCE, Server};
use super::session::connect;

/// The versions that every test of a server's behaviour runs on.
pub(crate) const VERSIONS: [u32; 4] = [15, 16, 17, 18];

/// A throw-away cluster of one test, or one that tests share.
#[derive(Debug)]
pub(crate) struct Cluster {
    server: Server,
}

/// The data of a cluster that was stopped, kept in its folder.
#[derive(Debug)]
pub(crate) struct Snapshot {
    data: PathBuf,
}

impl Deref for Cluster {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Cluster {
    /// A running cluster that belongs to the test alone.
    pub(crate) fn start(major: u32, options: &Options) -> Self {
        let mut server = Server::new(major, options).unwrap();
        server.start().unwrap();
        note_version(server.port(), major);
        Self { server }
    }

    /// The cluster of this version that all tests of the process share: for tests that make a database of their own
    /// and break nothing. It ends with the process.
    pub(crate) fn shared(major: u32) -> &'static Self {
        static CLUSTERS: [OnceLock<Cluster>; VERSIONS.len()] = [const { OnceLock::new() }; VERSIONS.len()];
        let index = VERSIONS.iter().position(|version| *version == major).unwrap();
        CLUSTERS[index].get_or_init(|| Self::start(major, &Options::default()))
    }

    /// A session of the superuser, by the Unix socket.
    pub(crate) async fn connect(&self, dbname: &str) -> Client {
        connect(&self.socket(), dbname).await.unwrap()
    }

    /// The same, unless the server has no room.
    pub(crate) async fn try_connect(&self, dbname: &str) -> Option<Client> {
        connect(&self.socket(), dbname).await.ok()
    }

    /// Runs `sql`, which may be several statements.
    pub(crate) async fn execute(&self, dbname: &str, sql: &str) {
        self.connect(dbname).await.batch_execute(sql).await.unwrap();
    }

    /// The first column of the last row, as text; `None` for a null or no row.
    pub(crate) async fn value(&self, dbname: &str, sql: &str) -> Option<String> {
        value(&self.connect(dbname).await, sql).await
    }

    /// Waits until the value of `sql` is `wanted`; panics after a minute. It is run again and again, so what has to be
    /// repeated until then may stand in it, before the question.
    pub(crate) async fn await_value(&self, dbname: &str, sql: &str, wanted: &str) {
        let client = self.connect(dbname).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = value(&client, sql).await;
            if last.as_deref() == Some(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "still {last:?}, and not {wanted:?}: {sql}\n{}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// `pg_ctl stop -m smart`, which waits for the sessions that there are; returns at once.
    pub(crate) fn ask_to_stop(&self) {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let pid = file.lines().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?)).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits until it has logged `words`; panics after a minute.
    pub(crate) async fn await_log(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(words) {
            assert!(Instant::now() < deadline, "it never logged {words}\n{}", self.log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes a database whose name no other test of the process has, and so no other slot made from it.
    pub(crate) async fn create_database(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("it_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        name
    }

    /// The entry of `postgres_databases` for a database here, named as the database is. Further keys may follow.
    pub(crate) fn entry(&self, dbname: &str) -> String {
        format!(
            "[[postgres_databases]]\nname = \"{dbname}\"\nhostname = \"127.0.0.1\"\nport = {}\n\
             database = \"{dbname}\"\nusername = \"postgres\"\npassword = \"none is asked for\"\nssl = false\n",
            self.port()
        )
    }

    /// Starts it after a crash.
    pub(crate) fn start_again(&mut self) {
        self.server.start().unwrap();
    }

    /// `stop_fast` and `start`.
    pub(crate) fn restart(&mut self) {
        self.server.stop_fast().unwrap();
        self.server.start().unwrap();
    }

    /// Keeps a copy of the data. The cluster is stopped for it and started again.
    pub(crate) fn save(&mut self) -> Snapshot {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let data = self.folder().join(format!("saved-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        self.server.stop_fast().unwrap();
        self.server.copy(&self.server.data(), &data).unwrap();
        self.server.start().unwrap();
        Snapshot { data }
    }

    /// Puts the data back as it was, at the same address: what restoring a snapshot of the disk does. Stopped after it.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        self.server.stop_immediate().unwrap();
        fs::remove_dir_all(self.server.data()).unwrap();
        self.server.copy(&snapshot.data, &self.server.data()).unwrap();
    }

    /// A second cluster from a snapshot of this one, with a port of its own; not started.
    pub(crate) fn twin(&self, snapshot: &Snapshot, options: &Options) -> Self {
        Self { server: self.server.of_copy(&snapshot.data, options).unwrap() }
    }

    /// The next start is that of a standby; `primary_conninfo` is for the caller to set.
    pub(crate) fn make_standby(&self) {
        let path = self.put("data/standby.signal", "").unwrap();
        assert!(path.exists());
    }

    /// Ends recovery: a new timeline begins.
    pub(crate) async fn promote(&self) {
        assert_eq!(self.value("postgres", "SELECT pg_promote()").await.as_deref(), Some("t"), "{}", self.log());
    }
}

async fn value(client: &Client, sql: &str) -> Option<String> {
    let answers = client.simple_query(sql).await.unwrap();
    answers.iter().rev().find_map(|answer| match answer {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
        _ => None,
    })?
}

static VERSIONS_AT: Mutex<BTreeMap<u16, u32>> = Mutex::new(BTreeMap::new());

/// What answers at `port` is of this version, or stands before a server that is.
pub(crate) fn note_version(port: u16, major: u32) {
    VERSIONS_AT.lock().unwrap().insert(port, major);
}

/// The version of what answers at `port`.
pub(crate) fn version_at(port: u16) -> u32 {
    VERSIONS_AT.lock().unwrap()[&port]
}
