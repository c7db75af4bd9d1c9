//! A server that breaks off, or says nothing more, behind any byte of the protocol.
//!
//! A whole life is recorded between the library and a real server: the login, the round with its SQL sessions, the slot
//! that is made, the stream. It is played again and again, each time to another end. Whatever the end, what is
//! delivered is what came whole, nothing else is acknowledged, and nothing hangs: each life ends with an error. What a
//! recording can't answer, SCRAM with its nonces, and the whole binary are cut off from a real server.

mod shears;
mod tape;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;
use slotd::config::{self, Config};
use slotd::net::resolve::Resolver;
use slotd::postgres::{Connector, trouble};
use slotd::provision::made::Made;
use slotd::provision::{Consent, Ensured, Refusal, Round};
use slotd::sink::{FileSink, Sink};
use slotd::status::{Bounds, DatabaseStatus, Registry};
use slotd::storage::Disk;
use slotd::stream::positions::{Key, Positions};
use slotd::stream::{End, Holes, NamedSink, Pipeline};
use tempfile::TempDir;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::shears::{Place, Shears};
use self::tape::{Ending, How, Life, PORT, Tape, Which, bytes_of, messages};
use crate::support::guard::{Folder, User};
use crate::support::{Cluster, History, Options, Slotd, compare, lines_of, lsn_of, seed};

/// A life and what it delivered.
#[derive(Debug)]
struct Recorded {
    dbname: String,
    life: Arc<Life>,
    lines: Vec<Value>,
}

/// The configuration of the database `dbname` behind the socket in `folder`, with its state there too.
fn configuration(folder: &Path, dbname: &str) -> Config {
    let text = format!(
        "agent.state_dir = \"{0}\"\n[[postgres_databases]]\nname = \"life\"\nhostname = \"{0}\"\nport = {PORT}\ndatabase = \
         \"{dbname}\"\nusername = \"postgres\"\npassword = \"none is asked for\"\nssl = false\n",
        folder.display()
    );
    config::parse(Path::new("/nowhere/slotd.toml"), &text, &|_| None).unwrap()
}

fn connector(config: &Config) -> Connector {
    let resolver = Resolver::new(config::Resolver::Hickory);
    let agent = &config.agent;
    Connector::new(resolver, agent.connect_timeout, agent.wal_sender_timeout, "slotd/test".to_owned())
}

/// All that a keeper holds.
fn pipeline(folder: &Path, config: &Config) -> Pipeline {
    let database = Arc::clone(&config.databases[0]);
    let agent = &config.agent;
    let registry = Registry::new("/nowhere/slotd.toml", Bounds::from(agent));
    let status = DatabaseStatus::new(
        database.name.clone(),
        database.slot.clone(),
        database.publication.clone(),
        database.status,
        jiff::Timestamp::now(),
    );
    let name = database.sinks[0].clone();
    let config::SinkConfig::File(file) = &*config.sinks[&name] else { panic!("the default is no file") };
    let file = config::FileSinkConfig { path: file.path_for(&database.name), ..file.clone() };
    let key = Key::File(file.path.clone());
    let sink = Sink::File(FileSink::new(file, Arc::new(Disk)));
    Pipeline {
        connector: connector(config),
        sinks: vec![NamedSink { name, key, sink: Arc::new(tokio::sync::Mutex::new(sink)) }],
        positions: Arc::new(Positions::open(Arc::new(Disk), folder).unwrap()),
        reporter: Arc::new(registry.add(status)),
        unacknowledged: Arc::default(),
        sink_stall_timeout: agent.sink_stall_timeout,
        database,
    }
}

/// What was made in this process.
fn made() -> &'static Made {
    static MADE: OnceLock<(Folder, Made)> = OnceLock::new();
    let (_, made) = MADE.get_or_init(|| {
        let user = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let folder = Folder::new("made", user).unwrap();
        let made = Made::open(Arc::new(Disk), folder.path()).unwrap();
        (folder, made)
    });
    made
}

/// From nothing to the end of the stream, as a keeper goes.
async fn live(pipeline: &Pipeline, stop: &CancellationToken) -> End {
    match begin(pipeline, stop).await {
        Ok(end) | Err(end) => end,
    }
}

async fn begin(pipeline: &Pipeline, stop: &CancellationToken) -> Result<End, End> {
    let Pipeline { database, connector, reporter, .. } = pipeline;
    let to = &database.connection;
    let connected = connector.replication(to).await;
    let mut replication = connected.map_err(|error| End::Trouble(trouble::of_connect(&error, to)))?;
    let server = pipeline.identify(&mut replication).await?;
    let opened = pipeline.open(server).await.map_err(|(_, end)| end)?;
    let system_identifier = opened.system_identifier();
    let round = Round { database, connector, reporter, made: made(), system_identifier, former: None };
    let consent = Consent::from(database.provision);
    let ensured = Box::pin(round.ensure(&mut replication, opened.knows_slot(), Holes::Refuse, consent)).await;
    let Ensured { ready, visit, .. } = ensured.map_err(|refusal| match refusal {
        Refusal::Trouble(diagnosis) => End::Trouble(diagnosis),
        lost @ Refusal::Lost { .. } => panic!("{lost:?}"),
    })?;
    let started = pipeline.start(opened, replication, &ready, Holes::Refuse, visit).await?;
    Ok(pipeline.run(started, stop).await)
}

/// The life on a server of version `major`, which is recorded once. The server is its own: a slot waits for the
/// transactions of the whole server.
async fn recorded(major: u32) -> &'static Recorded {
    static LIVES: [OnceCell<Recorded>; 2] = [const { OnceCell::const_new() }; 2];
    LIVES[usize::from(major == 18)].get_or_init(|| record(major)).await
}

async fn record(major: u32) -> Recorded {
    let cluster = Cluster::start(major, &Options::default());
    let dbname = cluster.create_database().await;
    cluster.execute(&dbname, "CREATE TABLE t (id int PRIMARY KEY, s text)").await;
    let folder = folder();
    let config = configuration(folder.path(), &dbname);
    let pipeline = pipeline(folder.path(), &config);
    let life = Arc::default();
    let _recording = tape::record(folder.path(), &cluster.socket(), Arc::clone(&life));
    let stop = CancellationToken::new();
    let lines = || lines_of(&folder.path().join("changes"), "life");
    let work = async {
        let client = cluster.connect(&dbname).await;
        let streaming = || pipeline.reporter.status().condition.trouble().is_none();
        while !streaming() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for statement in [
            "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
            "UPDATE t SET s = 'three' WHERE id = 2",
            "SELECT pg_logical_emit_message(false, 'outside', 'of any'); DELETE FROM t WHERE id = 1",
        ] {
            client.batch_execute(statement).await.unwrap();
        }
        while lines().len() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        end = live(&pipeline, &stop) => panic!("the life that is recorded ended: {end:?}"),
        () = work => {}
    }
    let life: Life = Mutex::lock(&life).unwrap().clone();
    assert_eq!(life.replication.len(), 1, "{} SQL sessions", life.sql.len());
    Recorded { dbname, life: Arc::new(life), lines: lines() }
}

/// In memory where that can be had: thousands of files are fsynced.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

/// What has come whole in the first bytes of a stream.
#[derive(Debug, Default)]
struct Whole {
    changes: usize,
    /// The highest LSN that may be acknowledged.
    acknowledgeable: u64,
}

fn whole(stream: &[u8]) -> Whole {
    let mut whole = Whole::default();
    let lsn = |at: usize| u64::from_be_bytes(stream[at..at + 8].try_into().unwrap());
    let mut open = false;
    for (at, _) in messages(stream) {
        // XLogData has the plugin's message behind three numbers; COMMIT says its end behind its flags and its LSN.
        match (stream[at], stream.get(at + 5), stream.get(at + 30)) {
            (b'd', Some(b'w'), Some(b'B')) => open = true,
            (b'd', Some(b'w'), Some(b'C')) => {
                open = false;
                whole.acknowledgeable = whole.acknowledgeable.max(lsn(at + 40));
            }
            (b'd', Some(b'w'), Some(b'I' | b'U' | b'D' | b'M')) => whole.changes += 1,
            (b'd', Some(b'k'), _) if !open => whole.acknowledgeable = whole.acknowledgeable.max(lsn(at + 6)),
            _ => {}
        }
    }
    whole
}

/// How a life ended, and what came of it.
struct Lived {
    end: End,
    lines: Vec<Value>,
    acknowledged: u64,
    ended: Instant,
}

/// Lives once more until `ending`.
async fn relive(recorded: &'static Recorded, ending: Ending) -> Lived {
    let folder = folder();
    let config = configuration(folder.path(), &recorded.dbname);
    let pipeline = pipeline(folder.path(), &config);
    let case = format!("{ending:?}");
    let (_playing, acknowledged) = tape::play(folder.path(), Arc::clone(&recorded.life), ending);
    let stop = CancellationToken::new();
    let end = tokio::time::timeout(HANGS, live(&pipeline, &stop)).await;
    let end = end.unwrap_or_else(|_| panic!("it hangs: {case}"));
    let lines = lines_of(&folder.path().join("changes"), "life");
    Lived { end, lines, acknowledged: acknowledged.load(Ordering::Relaxed), ended: Instant::now() }
}

/// Longer than anything may take.
const HANGS: Duration = Duration::from_secs(300);

/// A line without what differs from life to life: the folder is the name of the host.
fn same(line: &Value) -> (&Value, &Value, &Value, &Value) {
    (&line["action"], &line["record"], &line["metadata"]["commit_lsn"], &line["metadata"]["commit_idx"])
}

impl Recorded {
    /// It is retried, and no more is there, or acknowledged, than came whole. Gives that.
    fn assert_sound(&self, case: &str, which: Which, bytes: usize, lived: &Lived) -> Whole {
        let Lived { end, lines, acknowledged, .. } = lived;
        let retried = matches!(end, End::Trouble(diagnosis) if diagnosis.class == trouble::Class::Retry);
        assert!(retried, "{case}: {end:?}");
        let mut stream = bytes_of(self.life.tape(Which::Replication));
        if which == Which::Replication {
            stream.truncate(bytes);
        }
        let whole = whole(&stream);
        assert!(lines.len() <= whole.changes, "{case}: {} lines of {}", lines.len(), whole.changes);
        assert!(lines.iter().map(same).eq(self.lines[..lines.len()].iter().map(same)), "{case}: {lines:?}");
        // Where the slot stands is known before the stream.
        let slot = self.slot_at();
        let most = whole.acknowledgeable.max(slot);
        assert!(*acknowledged <= most, "{case}: {acknowledged:X} is acknowledged, of {most:X}");
        whole
    }

    /// Where the slot stood when it was made: its second value is the LSN.
    fn slot_at(&self) -> u64 {
        let stream = bytes_of(self.life.tape(Which::Replication));
        let mut rows = messages(&stream).into_iter().filter(|(at, _)| stream[*at] == b'D');
        let (at, _) = rows.next_back().unwrap();
        // 'D', the length, how many values; then each with its length.
        let length = |at: usize| u32::from_be_bytes(stream[at..at + 4].try_into().unwrap()) as usize;
        let second = at + 7 + 4 + length(at + 7);
        lsn_of(std::str::from_utf8(&stream[second + 4..second + 4 + length(second)]).unwrap()).unwrap()
    }
}

/// How many lives are lived at once.
const AT_ONCE: usize = 16;

async fn cut_everywhere(major: u32) {
    let recorded = recorded(major).await;
    let mut lives = JoinSet::new();
    for which in recorded.life.connections() {
        for bytes in 0..=bytes_of(recorded.life.tape(which)).len() {
            if lives.len() == AT_ONCE {
                lives.join_next().await.unwrap().unwrap();
            }
            lives.spawn(async move {
                let ending = Ending { which, bytes, how: How::Cut, reached: Arc::new(Semaphore::new(0)) };
                let lived = relive(recorded, ending).await;
                let case = format!("PostgreSQL {major}, {which:?} cut behind {bytes} bytes");
                recorded.assert_sound(&case, which, bytes, &lived);
            });
        }
    }
    while let Some(lived) = lives.join_next().await {
        lived.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_cut_behind_any_byte_ends_with_an_error_and_no_half_change() {
    for major in [15, 18] {
        cut_everywhere(major).await;
    }
}

/// Where the messages of `tape` end, and the middle of each.
fn places(tape: &Tape) -> Vec<usize> {
    let messages = messages(&bytes_of(tape));
    [0].into_iter().chain(messages.iter().flat_map(|(at, end)| [at.midpoint(*end), *end])).collect()
}

/// How long a server that is silent behind `bytes` bytes of `which` may go unnoticed.
fn bound(life: &Life, which: Which, bytes: usize, config: &Config) -> Duration {
    let said = bytes_of(life.tape(which));
    let rows = |said: &[u8]| messages(said).iter().filter(|(at, _)| said[*at] == b'D').count();
    let started = rows(&said[..bytes]) == rows(&said);
    match which {
        // The answer to one statement: what the server gives it, and a little.
        Which::Sql(_) if bytes < said.len() => Duration::from_secs(35),
        Which::Replication if !started => config.agent.connect_timeout,
        // The start of the stream has a minute, and so has the stream itself.
        _ => 6 * config.agent.wal_sender_timeout,
    }
}

/// All lives come to their end, then time passes at once: whatever waits, waits for nothing but time.
async fn stall_everywhere(major: u32) {
    let recorded = recorded(major).await;
    let config = configuration(Path::new("/nowhere"), &recorded.dbname);
    let all: Vec<_> = recorded.life.connections();
    let all: Vec<_> = all
        .into_iter()
        .flat_map(|which| places(recorded.life.tape(which)).into_iter().map(move |bytes| (which, bytes)))
        .collect();
    for some in all.chunks(STALLS_AT_ONCE) {
        let reached = Arc::new(Semaphore::new(0));
        let mut lives = JoinSet::new();
        for (which, bytes) in some.iter().copied() {
            let ending = Ending { which, bytes, how: How::Stall, reached: Arc::clone(&reached) };
            lives.spawn(async move { (which, bytes, relive(recorded, ending).await) });
        }
        let all_silent = reached.acquire_many(u32::try_from(some.len()).unwrap());
        let silent = tokio::time::timeout(HANGS, all_silent).await.expect("a life never comes to its end").unwrap();
        tokio::time::pause();
        let begun = Instant::now();
        while let Some(lived) = lives.join_next().await {
            let (which, bytes, lived) = lived.unwrap();
            let case = format!("PostgreSQL {major}, {which:?} silent behind {bytes} bytes");
            let whole = recorded.assert_sound(&case, which, bytes, &lived);
            if which == Which::Replication {
                assert_eq!(lived.lines.len(), whole.changes, "{case}: what came whole is delivered");
            }
            let bound = bound(&recorded.life, which, bytes, &config) + Duration::from_secs(1);
            let taken = lived.ended - begun;
            assert!(taken <= bound, "{case}: {taken:?}, and not {bound:?}: {:?}", lived.end);
        }
        tokio::time::resume();
        drop(silent);
    }
}

/// Each has a few files open.
const STALLS_AT_ONCE: usize = 64;

#[tokio::test]
async fn a_server_that_says_nothing_more_behind_any_message_ends_with_an_error_within_its_bound() {
    for major in [15, 18] {
        stall_everywhere(major).await;
    }
}

/// A login with SCRAM through `shears`, which cut it behind each byte of what convinces the server.
async fn cut_scram(major: u32) {
    let options = Options { hba: vec!["host all all all scram-sha-256".to_owned()], ..Options::default() };
    let cluster = Cluster::start(major, &options);
    cluster.execute("postgres", "CREATE ROLE slotd SUPERUSER LOGIN REPLICATION PASSWORD 'right'").await;
    let shears = Shears::before(cluster.port()).await;
    let entry = shears
        .entry(&cluster, "postgres")
        .replace("\"postgres\"\npassword = \"none is asked for\"", "\"slotd\"\npassword = \"right\"");
    let config =
        config::parse(Path::new("/nowhere/slotd.toml"), &format!("agent.state_dir = \"/nowhere\"\n{entry}"), &|_| None)
            .unwrap();
    let to = &config.databases[0].connection;
    let connector = connector(&config);
    for replication in [true, false] {
        let mut bytes = 0;
        loop {
            shears.cut_at(Place::Login(bytes));
            let outcome =
                if replication { connector.replication(to).await.map(drop) } else { connector.sql(to).await.map(drop) };
            let Err(error) = outcome else { break };
            let diagnosis = trouble::of_connect(&error, to);
            assert_eq!(diagnosis.class, trouble::Class::Retry, "PostgreSQL {major}, cut behind {bytes} bytes: {error}");
            bytes += 1;
        }
        // AuthenticationSASL, SASLContinue, SASLFinal and AuthenticationOk.
        assert!(bytes > 150, "PostgreSQL {major}: let in behind {bytes} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_cut_behind_any_byte_of_scram_lets_nobody_in_and_is_retried() {
    let (old, new) = tokio::join!(tokio::spawn(cut_scram(15)), tokio::spawn(cut_scram(18)));
    old.unwrap();
    new.unwrap();
}

/// A running slotd, whose stream is cut at one place after the other.
async fn cut_binary(major: u32) {
    let cluster = Cluster::shared(major);
    let dbname = cluster.create_database().await;
    History::create(cluster, &dbname).await;
    let shears = Shears::before(cluster.port()).await;
    let mut slotd = Slotd::run(&format!("agent.wal_sender_timeout = \"2s\"\n{}", shears.entry(cluster, &dbname)));
    slotd.await_state(&dbname, "streaming").await;
    let workload = History::begin(cluster, &dbname, 2, seed());
    for place in [Place::Row, Place::Commit, Place::Keepalive, Place::Start, Place::Login(5)] {
        History::await_more(cluster, &dbname, 5).await;
        // They are counted from nothing again once a stream has run for a while.
        let mut least = u64::MAX;
        shears.cut_at(place);
        if matches!(place, Place::Start | Place::Login(_)) {
            shears.cut_all();
        }
        let told = |health: &Value| {
            let failures = health["failures"].as_u64().unwrap();
            least = least.min(failures);
            shears.has_cut() && (health["state"] == "retrying" || failures > least)
        };
        let health = slotd.await_until(&dbname, told).await;
        println!("PostgreSQL {major}, {place:?}: {}", health["sentence"]);
        slotd.await_state(&dbname, "streaming").await;
    }
    assert!(slotd.log().contains("retrying, connection: "), "{}", slotd.log());
    workload.stop().await;
    slotd.await_acknowledged(cluster, &dbname).await;
    compare(&slotd.lines(&dbname), &History::expected(cluster, &dbname).await).assert_exact();
}

#[tokio::test]
async fn a_stream_that_is_cut_at_any_kind_of_place_is_told_and_goes_on_with_nothing_lost_or_repeated() {
    tokio::join!(cut_binary(15), cut_binary(18));
}

/// A slot may rightly take hours to be made: what tells a lost answer from that is another session.
#[tokio::test]
async fn a_slot_whose_making_is_answered_into_a_dead_line_is_not_waited_for() {
    for major in [15, 18] {
        let cluster = Cluster::shared(major);
        let dbname = cluster.create_database().await;
        let shears = Shears::before(cluster.port()).await;
        shears.cut_at(Place::SlotMade);
        let mut slotd = Slotd::run(&format!("agent.connect_timeout = \"1s\"\n{}", shears.entry(cluster, &dbname)));
        let health = slotd.await_state(&dbname, "retrying").await;
        let sentence = health["sentence"].as_str().unwrap();
        assert!(sentence.ends_with("CREATE_REPLICATION_SLOT was not answered within 1s"), "{sentence}");
        slotd.await_state(&dbname, "streaming").await;
    }
}
