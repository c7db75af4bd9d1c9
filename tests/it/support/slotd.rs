//! The real binary, with a configuration, a state directory and a socket of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::guard::{Folder, User};
use super::http;

/// How long a state may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A slotd, running or not; what it left on the disk stays until this is dropped.
#[derive(Debug)]
pub(crate) struct Slotd {
    child: Option<Child>,
    envs: Vec<(String, String)>,
    /// The words before it on the command line of `slotd run`.
    wrapper: Vec<String>,
    program: PathBuf,
    /// Where its state and its socket are, if not in its own folder.
    home: Option<PathBuf>,
    // Last: its guard ends what is left.
    folder: Folder,
}

impl Slotd {
    /// One that is not started, for the configuration `text`.
    pub(crate) fn new(text: &str) -> Self {
        let user = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let slotd = Self {
            child: None,
            envs: Vec::new(),
            wrapper: Vec::new(),
            program: PathBuf::from(env!("CARGO_BIN_EXE_slotd")),
            home: None,
            folder: Folder::new("run", user).unwrap(),
        };
        for folder in ["state", "run"] {
            fs::create_dir(slotd.path(folder)).unwrap();
        }
        slotd.configure(text);
        slotd
    }

    /// One that runs.
    pub(crate) fn run(text: &str) -> Self {
        let mut slotd = Self::new(text);
        slotd.start();
        slotd
    }

    /// Another one with the configuration, the state directory and the socket of `other`; not started.
    pub(crate) fn beside(other: &Self) -> Self {
        let mut slotd = Self::new("");
        fs::copy(other.config_path(), slotd.config_path()).unwrap();
        slotd.home = Some(other.folder.path().to_owned());
        slotd
    }

    /// Writes the configuration anew; [`Slotd::sighup`] makes it read. HTTP listens on a free port unless `text` says
    /// otherwise.
    pub(crate) fn configure(&self, text: &str) {
        let listen = if text.contains("[http]") { "" } else { "http.listen = \"127.0.0.1:0\"\n" };
        fs::write(self.config_path(), format!("{listen}{text}")).unwrap();
    }

    /// A variable of its environment, from its next start on.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.unset_env(name);
        self.envs.push((name.to_owned(), value.to_owned()));
    }

    /// Takes the variable away again.
    pub(crate) fn unset_env(&mut self, name: &str) {
        self.envs.retain(|(known, _)| known != name);
    }

    /// Has it run by another program, which has to become it, from its next start on.
    pub(crate) fn run_by(&mut self, wrapper: &[String]) {
        self.wrapper = wrapper.to_vec();
    }

    /// Another binary, from its next start on.
    pub(crate) fn use_program(&mut self, program: &Path) {
        self.program = program.to_owned();
    }

    /// `slotd run`, on what the last one left.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "slotd runs already");
        let child = self.wrapped(&self.wrapper, &["run"]).kill_on_drop(true).spawn().unwrap();
        self.child = Some(child);
    }

    /// `slotd run` in a mount namespace where `folder` is where the journal has its socket.
    pub(crate) fn start_with_journal(&mut self, folder: &Path) {
        assert!(self.child.is_none(), "slotd runs already");
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && \
                      mount --bind \"$0\" /run/systemd/journal && exec \"$@\" || \
                      { echo 'this test needs the privilege to mount (CAP_SYS_ADMIN): run it as root' >&2; exit 1; }";
        let folder = folder.to_str().unwrap();
        let wrapper = ["unshare", "--mount", "sh", "-c", script, folder].map(str::to_owned);
        let child = self.wrapped(&wrapper, &["run"]).kill_on_drop(true).spawn().unwrap();
        self.child = Some(child);
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid().unwrap())).unwrap().count()
    }

    /// Asks it to end; [`Slotd::ended`] waits for that.
    pub(crate) fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until so many further tries of `name` have ended, all of them in `state`.
    pub(crate) async fn await_tries(&mut self, name: &str, state: &str, tries: usize) {
        let mut seen = std::collections::BTreeSet::new();
        self.await_until(name, |health| {
            assert_eq!(health["state"], *state, "it wavers: {health:#}");
            seen.extend(health["next_try"].as_str().map(str::to_owned));
            seen.len() > tries
        })
        .await;
    }

    /// `slotd run` whose standard output is a pipe; gives its other end.
    pub(crate) fn start_piped(&mut self) -> ChildStdout {
        assert!(self.child.is_none(), "slotd runs already");
        let mut child = self.command(&["run"]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        self.child = Some(child);
        stdout
    }

    /// `slotd run` whose log is a pipe; gives its other end.
    pub(crate) fn start_with_log_piped(&mut self) -> ChildStderr {
        assert!(self.child.is_none(), "slotd runs already");
        let mut child = self.command(&["run"]).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        self.child = Some(child);
        stderr
    }

    /// Another command on the same configuration, state and socket, to its end: status, standard output, and behind it
    /// standard error.
    pub(crate) async fn command_output(&self, args: &[&str]) -> (ExitStatus, String) {
        output_of(self.command(args)).await
    }

    /// [`Slotd::command_output`], run by another program as [`Slotd::run_by`] has it.
    pub(crate) async fn command_by(&self, wrapper: &[String], args: &[&str]) -> (ExitStatus, String) {
        output_of(self.wrapped(wrapper, args)).await
    }

    fn command(&self, args: &[&str]) -> Command {
        self.wrapped(&[], args)
    }

    fn wrapped(&self, wrapper: &[String], args: &[&str]) -> Command {
        let open = |name: &str| File::options().create(true).append(true).open(self.path(name)).unwrap();
        let mut words = wrapper.iter().map(OsStr::new).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command
            .args(words)
            .args(args)
            .env("SLOTD_CONFIG", self.config_path())
            .env("STATE_DIRECTORY", self.state_dir())
            .env("RUNTIME_DIRECTORY", self.home().join("run"))
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            // The guard knows its processes by their folder.
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(open("stdout"))
            .stderr(open("log"));
        command
    }

    /// Its state directory.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.home().join("state")
    }

    fn home(&self) -> &Path {
        self.home.as_deref().unwrap_or_else(|| self.folder.path())
    }

    /// Its configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.path("slotd.toml")
    }

    /// A place in its folder, which goes with it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// All that it has logged, over all of its starts.
    pub(crate) fn log(&self) -> String {
        read(&self.path("log"))
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The status and the body of `GET path`; `None` while nobody answers.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        if self.home.is_none() {
            return http::get(&self.path("run").join("slotd.sock"), path).await.ok();
        }
        // The socket may be the other one's.
        let log = self.log();
        let (_, port) = log.rsplit_once("health listens on ")?;
        let stream = TcpStream::connect(port.split_whitespace().next()?).await.ok()?;
        http::ask(stream, path).await.ok()
    }

    /// What `GET /health/{name}` says; null while nobody answers.
    pub(crate) async fn health(&self, name: &str) -> Value {
        let answer = self.get(&format!("/health/{name}")).await;
        answer.and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default()
    }

    /// Waits until the health answer of `name` is as wished, and gives it; panics after a minute, and as soon as slotd
    /// has ended.
    pub(crate) async fn await_until(&mut self, name: &str, mut wish: impl FnMut(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let health = self.health(name).await;
            if wish(&health) {
                return health;
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "slotd ended with {ended:?}; last health {health:#}\n{}", self.log());
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late, "the health answer of {name} is not as awaited: {health:#}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until its log is as wished; panics after a minute.
    pub(crate) async fn await_log(&self, wish: impl Fn(&str) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !wish(&self.log()) {
            assert!(tokio::time::Instant::now() < deadline, "the log is not as awaited:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for the state `state` of `name`.
    pub(crate) async fn await_state(&mut self, name: &str, state: &str) -> Value {
        self.await_until(name, |health| health["state"] == state).await
    }

    /// Waits until all that was committed on the server before this call is acknowledged.
    pub(crate) async fn await_acknowledged(&mut self, cluster: &super::Cluster, name: &str) -> Value {
        let lsn = cluster.value("postgres", "SELECT pg_current_wal_insert_lsn()").await.unwrap();
        let end = lsn_of(&lsn).unwrap();
        let reached = |health: &Value| {
            health["positions"]["acknowledged"]
                .as_str()
                .and_then(lsn_of)
                .is_some_and(|acknowledged| acknowledged >= end)
        };
        self.await_until(name, reached).await
    }

    /// Waits until the default file sink holds at least so many changes of `database`.
    pub(crate) async fn await_lines(&mut self, database: &str, count: usize) {
        let folder = self.state_dir().join("changes");
        self.await_until(database, |_| lines_of(&folder, database).len() >= count).await;
    }

    /// Waits until the files of the default file sink hold so many bytes of `database`; panics after a minute in which
    /// they did not grow.
    pub(crate) async fn await_bytes(&self, database: &str, bytes: u64) {
        let (mut held, mut grown) = (0, tokio::time::Instant::now());
        while held < bytes {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = self.bytes(database);
            if now > held {
                (held, grown) = (now, tokio::time::Instant::now());
            }
            assert!(grown.elapsed() < PATIENCE, "{held} bytes are in the files of {database}\n{}", self.log());
        }
    }

    /// Waits until it dies by itself with the line `said`, and gives the status.
    pub(crate) async fn ended_at(&mut self, said: &str) -> ExitStatus {
        let status = self.ended_or(|| format!("{said} was never reached")).await;
        let last = self.log();
        let last = last.lines().rfind(|line| line.contains(said));
        assert!(last.is_some() && status.signal() == Some(Signal::ABORT.as_raw()), "{status}\n{}", self.log());
        status
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("slotd does not run");
        kill_process(pid, signal).unwrap();
    }

    /// Asks it to read its configuration again.
    pub(crate) fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    /// All that it has written to standard output, over all of its starts.
    pub(crate) fn stdout(&self) -> String {
        read(&self.path("stdout"))
    }

    /// Stops it from doing anything, until [`Slotd::thaw`].
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// A clean stop; gives the exit status.
    pub(crate) async fn sigterm(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// SIGKILL; it is gone on return.
    pub(crate) async fn kill9(&mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.ended().await.signal(), Some(Signal::KILL.as_raw()), "{}", self.log());
    }

    /// Waits for its end: at a crash point, or after a second signal.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        self.ended_or(|| "slotd runs on".to_owned()).await
    }

    async fn ended_or(&mut self, complaint: impl Fn() -> String) -> ExitStatus {
        let mut child = self.child.take().expect("slotd does not run");
        match tokio::time::timeout(PATIENCE, child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("{}\n{}", complaint(), self.log()),
        }
    }

    /// How many bytes the default file sink holds of `database`.
    pub(crate) fn bytes(&self, database: &str) -> u64 {
        let folder = self.state_dir().join("changes");
        let len = |name: &String| fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
        series(&folder, database).iter().map(len).sum()
    }

    /// The paths of the files that the default file sink has of `database`, the oldest first.
    pub(crate) fn files(&self, database: &str) -> Vec<PathBuf> {
        let folder = self.state_dir().join("changes");
        series(&folder, database).iter().map(|name| folder.join(name)).collect()
    }

    /// The changes that the default file sink holds of `database`: its finished files in order, then the current one,
    /// without an unfinished last line.
    pub(crate) fn lines(&self, database: &str) -> Vec<Value> {
        lines_of(&self.state_dir().join("changes"), database)
    }
}

/// Waits until the text of a file is as wished, and gives it; panics after a minute.
pub(crate) async fn await_file(path: &Path, wish: impl Fn(&str) -> bool) -> String {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let text = read(path);
        if wish(&text) {
            return text;
        }
        let last: Vec<_> = text.lines().rev().take(5).collect();
        assert!(tokio::time::Instant::now() < deadline, "{} is not as awaited, its end: {last:#?}", path.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a command to its end: status, standard output, and behind it standard error.
async fn output_of(mut command: Command) -> (ExitStatus, String) {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8(said).unwrap())
}

/// The changes in a file series. A rotation in between is noticed, and the reading begun again.
pub(crate) fn lines_of(folder: &Path, database: &str) -> Vec<Value> {
    loop {
        let names = series(folder, database);
        let text: String = names.iter().map(|name| whole_lines(read(&folder.join(name)))).collect();
        if names == series(folder, database) {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
    }
}

/// The names of a file series, the oldest first; `{database}.000001.jsonl` is older than `{database}.jsonl`.
fn series(folder: &Path, database: &str) -> Vec<String> {
    let current = format!("{database}.jsonl");
    let finished = |name: &String| {
        let number = name.strip_prefix(database).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".jsonl"));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let mut series: Vec<String> = names.iter().filter(|name| finished(name)).cloned().collect();
    series.sort();
    series.extend(names.into_iter().filter(|name| *name == current));
    series
}

fn whole_lines(mut text: String) -> String {
    text.truncate(text.rfind('\n').map_or(0, |last| last + 1));
    text
}

fn read(path: &Path) -> String {
    fs::read(path).map_or_else(|_| String::new(), |text| String::from_utf8_lossy(&text).into_owned())
}

/// An LSN as Postgres writes it.
pub(crate) fn lsn_of(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}
