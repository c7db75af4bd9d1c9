//! One real Postgres server in a [`Folder`]: start, stop, kill. The demo uses it too.

use std::error::Error;
use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::guard::{Folder, User};

/// Why a server could not be had.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How long a server may take to start or to stop, and a test for a value in it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a server is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// `fsync = on`: for tests that rest on what a server makes durable.
    pub(crate) fsync: bool,
    /// Runs initdb instead of copying the template, whose clusters share one system identifier.
    pub(crate) own_identifier: bool,
    /// Lines of `pg_hba.conf` for TCP in place of trust for all; the Unix socket is trusted always.
    pub(crate) hba: Vec<String>,
    /// A certificate chain and its key as PEM: `ssl = on`.
    pub(crate) certificate: Option<(String, String)>,
    /// The process whose network is the server's, if that is not ours.
    pub(crate) network: Option<u32>,
    /// Further settings, as in `postgresql.conf`.
    pub(crate) settings: Vec<(String, String)>,
}

impl Options {
    /// With a setting more.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A cluster, running or not.
#[derive(Debug)]
pub(crate) struct Server {
    bin: PathBuf,
    port: u16,
    user: User,
    network: Option<u32>,
    postmaster: Option<Child>,
    // Last, so that the folder goes after the server.
    folder: Folder,
}

/// Where the program `name` of Postgres `major` is.
pub(crate) fn program(major: u32, name: &str) -> Result<PathBuf, Failure> {
    // The benchmarks are a package below this one.
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut scripts = packages.map(|package| package.join("tests/servers.sh"));
    let script = scripts.find(|script| script.exists()).ok_or("tests/servers.sh is missing")?;
    let folder = PathBuf::from(run(Command::new(script).arg("--where"))?.trim_end());
    let program = folder.join(format!("{major}/native/bin/{name}"));
    if !program.exists() {
        return Err(
            format!("Postgres {major} is not in {}: run `make servers`, which gets it", folder.display()).into()
        );
    }
    Ok(program)
}

impl Server {
    /// A cluster of version `major`, not started.
    pub(crate) fn new(major: u32, options: &Options) -> Result<Self, Failure> {
        let bin = program(major, "postgres")?.with_file_name("");
        let template = bin.join("../../template");
        let mut server = Self::empty(bin)?;
        server.network = options.network;
        if options.own_identifier || !template.exists() {
            let mut initdb = server.user.command(server.bin.join("initdb"));
            initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
            run(initdb.arg(server.data()))?;
        } else {
            server.copy(&template, &server.data())?;
        }
        server.configure(options)?;
        Ok(server)
    }

    /// A second cluster that is a copy of `data`, with a port of its own; not started.
    pub(crate) fn of_copy(&self, data: &Path, options: &Options) -> Result<Self, Failure> {
        let server = Self::empty(self.bin.clone())?;
        server.copy(data, &server.data())?;
        server.configure(options)?;
        Ok(server)
    }

    fn empty(bin: PathBuf) -> Result<Self, Failure> {
        let user = User::of_servers()?;
        let folder = Folder::new("postgres", user)?;
        Ok(Self { bin, port: free_port()?, user, network: None, postmaster: None, folder })
    }

    fn configure(&self, options: &Options) -> Result<(), Failure> {
        let on = |yes: bool| if yes { "on" } else { "off" };
        let mut text = format!(
            "\nlisten_addresses = '127.0.0.1,::1'\nport = {}\nunix_socket_directories = '{}'\n\
             wal_level = logical\nmax_wal_senders = 100\nmax_replication_slots = 200\nmax_connections = 200\n\
             fsync = {}\nautovacuum = off\nlog_min_messages = info\n",
            self.port,
            self.folder.path().display(),
            on(options.fsync),
        );
        for (name, value) in &options.settings {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        if let Some((certificate, key)) = &options.certificate {
            let (certificate, key) = (self.put("server.crt", certificate)?, self.put("server.key", key)?);
            text.push_str(&format!(
                "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
                certificate.display(),
                key.display()
            ));
        }
        let mut file = File::options().append(true).open(self.data().join("postgresql.conf"))?;
        file.write_all(text.as_bytes())?;
        if !options.hba.is_empty() {
            let text = format!("local all all trust\n{}\n", options.hba.join("\n"));
            fs::write(self.data().join("pg_hba.conf"), text)?;
        }
        Ok(())
    }

    /// Its port, on 127.0.0.1 and ::1; the same for its whole life.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join(format!(".s.PGSQL.{}", self.port))
    }

    /// Its folder, which is the Unix socket's too.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read(self.log_path()).map_or_else(|_| String::new(), |text| String::from_utf8_lossy(&text).into_owned())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Makes a file in its folder that it may read and nobody else.
    pub(crate) fn put(&self, name: &str, content: &str) -> Result<PathBuf, Failure> {
        let path = self.folder.path().join(name);
        fs::write(&path, content)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        self.user.own(&path)?;
        Ok(path)
    }

    /// Copies a folder as the servers' user.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> Result<(), Failure> {
        run(self.user.command("cp").args(["-a", "--reflink=auto", "--"]).arg(from).arg(to)).map(drop)
    }

    /// Starts it and returns once it takes connections, as a standby too.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        let data = self.data();
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let program = self.bin.join("postgres");
        let mut command = match self.network {
            None => self.user.command(program),
            Some(pid) => self.user.command_in(pid, program),
        };
        let mut child = command
            .arg("-D")
            .arg(&data)
            // The guard knows its processes by their folder.
            .current_dir(&data)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let pid = child.id().to_string();
        let ended = until(|| {
            let file = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            let mut lines = file.lines();
            let ours = lines.next() == Some(&pid);
            let ready = ours && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby"));
            Ok(match child.try_wait()? {
                Some(status) => Some(Some(status)),
                None => ready.then_some(None),
            })
        })?;
        if let Some(status) = ended {
            return Err(format!("postgres ended at its start with {status}: {}", self.log()).into());
        }
        self.postmaster = Some(child);
        Ok(())
    }

    /// `pg_ctl stop -m fast`: returns once it is down, or tells that it is not after a minute.
    pub(crate) fn stop_fast(&mut self) -> Result<(), Failure> {
        self.stop(Signal::INT)
    }

    /// `pg_ctl stop -m immediate`: the next start recovers.
    pub(crate) fn stop_immediate(&mut self) -> Result<(), Failure> {
        self.stop(Signal::QUIT)
    }

    fn stop(&mut self, signal: Signal) -> Result<(), Failure> {
        let Some(child) = &mut self.postmaster else { return Ok(()) };
        kill_process(Pid::from_child(child), signal)?;
        until(|| Ok(child.try_wait()?))?;
        self.postmaster = None;
        Ok(())
    }

    /// SIGSTOP for the postmaster and all of its children: the kernel goes on taking what is sent to them.
    pub(crate) fn freeze(&self) -> Result<(), Failure> {
        self.signal_all(Signal::STOP)
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) -> Result<(), Failure> {
        self.signal_all(Signal::CONT)
    }

    fn signal_all(&self, signal: Signal) -> Result<(), Failure> {
        let Some(postmaster) = &self.postmaster else { return Ok(()) };
        kill_process(Pid::from_child(postmaster), signal)?;
        for pid in children_of(postmaster.id())?.into_iter().filter_map(Pid::from_raw) {
            // One that has ended by itself needs nothing.
            let _ = kill_process(pid, signal);
        }
        Ok(())
    }

    /// SIGKILL for the postmaster and all of its children: what a power cut does to processes.
    pub(crate) fn kill9(&mut self) -> Result<(), Failure> {
        let Some(mut child) = self.postmaster.take() else { return Ok(()) };
        // Stopped first, so that it starts no child in between.
        kill_process(Pid::from_child(&child), Signal::STOP)?;
        let backends = children_of(child.id())?;
        child.kill()?;
        child.wait()?;
        for pid in backends.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // One that has ended by itself is as dead as it should be.
            let _ = kill_process(pid, Signal::KILL);
        }
        // A child that lives on holds the shared memory, and no start would succeed.
        let alive = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.data());
        until(|| Ok((!backends.iter().any(alive)).then_some(())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The folder's guard ends what this could not.
        let _ = self.stop_immediate();
    }
}

/// Runs a command to its end, and gives what it printed.
fn run(command: &mut Command) -> Result<String, Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{} ended with {}: {said}", command.get_program().display(), output.status).into())
}

/// The processes whose parent is `parent`.
pub(crate) fn children_of(parent: u32) -> Result<Vec<i32>, Failure> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the command's name, which may hold anything: state, then parent.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        if fields.split_whitespace().nth(1) == Some(&parent.to_string()) {
            children.push(pid);
        }
    }
    Ok(children)
}

/// A port that nobody listens on, below those that the kernel gives to outgoing connections.
pub(crate) fn free_port() -> Result<u16, Failure> {
    (0..1000)
        .map(|_| fastrand::u16(20_000..32_000))
        .find(|port| {
            let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, *port));
            let no_v6 = v6.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AddrNotAvailable);
            TcpListener::bind(("127.0.0.1", *port)).is_ok() && (v6.is_ok() || no_v6)
        })
        .ok_or_else(|| "no port from 20000 to 32000 is free".into())
}

/// Looks until `state` answers, or a minute is over.
#[expect(clippy::disallowed_methods, reason = "nobody tells when a process has started or ended; no async code waits")]
fn until<T>(mut state: impl FnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        if let Some(answer) = state()? {
            return Ok(answer);
        }
        if start.elapsed() > PATIENCE {
            return Err("postgres took longer than a minute".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
