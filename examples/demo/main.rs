//! `make demo`: a throw-away Postgres, a shop at work in it, and the shop's changes as slotd streams them.
//!
//! With a number of seconds it ends by itself and fails unless every kind of change was shown. Whatever ends it, no
//! process and no folder is left.

#[path = "../../tests/it/support/guard.rs"]
mod guard;
#[path = "../../tests/it/support/http.rs"]
mod http;
mod screen;
#[expect(dead_code, reason = "tests use the rest")]
#[path = "../../tests/it/support/server.rs"]
mod server;
#[path = "../../tests/it/support/session.rs"]
mod session;
mod shop;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep_until, timeout};

use guard::{Folder, User};
use screen::Screen;
use server::{Failure, Options, Server, free_port};

/// How long slotd may take to stream, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let screen = &mut Screen::new();
    let ended = match std::env::args().nth(1).map(|seconds| seconds.parse()).transpose() {
        Ok(seconds) => demo(screen, seconds.map(Duration::from_secs)).await,
        Err(_) => Err("FOR is a number of seconds: make demo FOR=20".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A screen that is gone can't be told that it is.
            let _ = screen.say(&format!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn demo(screen: &mut Screen, length: Option<Duration>) -> Result<(), Failure> {
    let mut end = ending()?;
    screen.say(
        "slotd makes Postgres publications and replication slots as a file declares them, and streams each slot:",
    )?;
    screen.say(
        "every committed change, once and in commit order, through crashes of either side. Here a shop writes to a",
    )?;
    screen.say(
        "throw-away Postgres 18; each line below is a change as slotd hands it on. Ctrl-C ends it and cleans up.\n",
    )?;

    let mut server = Server::new(18, &Options::default())?;
    server.start()?;
    shop::open(&server.socket()).await?;
    // The default port may be a real slotd's.
    let http_port = free_port()?;
    let mut slotd = Slotd::start(server.port(), http_port)?;
    screen.say(&format!("Health, for a browser too: http://127.0.0.1:{http_port}/health/shop\n"))?;
    let outcome = tokio::select! {
        outcome = show(screen, &mut slotd, &server, length) => outcome,
        _ = end.recv() => Ok(()),
    };
    let outcome = outcome.map_err(|error| format!("{error}\n{}", slotd.log()));
    slotd.stop().await?;
    server.stop_fast()?;
    drop((slotd, server));
    screen.sum_up()?;
    outcome?;
    let missing = screen.missing();
    if length.is_some() && !missing.is_empty() {
        return Err(format!("not every kind of change was shown: {} is missing", missing.join(", ")).into());
    }
    Ok(())
}

/// Shows changes and health until `length` is over, from when slotd streams on.
async fn show(
    screen: &mut Screen,
    slotd: &mut Slotd,
    server: &Server,
    length: Option<Duration>,
) -> Result<(), Failure> {
    timeout(PATIENCE, slotd.streams()).await.map_err(|_| "slotd does not stream")??;
    slotd.health(screen).await?;
    let far = Duration::from_secs(86_400 * 365);
    let end = Instant::now() + length.unwrap_or(far);
    let mut lines = BufReader::new(slotd.child.stdout.take().ok_or("slotd has no standard output")?).lines();
    let mut health = interval(Duration::from_secs(4));
    health.reset();
    let socket = server.socket();
    let work = shop::work(&socket);
    tokio::pin!(work);
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => screen.change(&serde_json::from_str(&line)?)?,
                None => return Err("slotd ended".into()),
            },
            _ = health.tick() => slotd.health(screen).await?,
            ended = &mut work => return ended,
            () = sleep_until(end) => return Ok(()),
        }
    }
}

/// Gets a message for each signal that asks for an end.
fn ending() -> Result<mpsc::Receiver<()>, Failure> {
    let (sender, receiver) = mpsc::channel(1);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let (mut signals, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // Full means that the end has been asked for already.
                let _ = sender.try_send(());
            }
        });
    }
    Ok(receiver)
}

/// The slotd of the demo.
struct Slotd {
    child: Child,
    // Last: its guard ends what is left.
    folder: Folder,
}

impl Slotd {
    /// `slotd run -c config/demo.toml`, the binary that was built beside this one.
    fn start(port: u16, http_port: u16) -> Result<Self, Failure> {
        let user = User { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let folder = Folder::new("demo", user)?;
        for name in ["run", "state"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let own = std::env::current_exe()?;
        let program = own.parent().and_then(Path::parent).ok_or("this program has no folder")?.join("slotd");
        let child = Command::new(&program)
            .args(["run", "-c"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo.toml"))
            .env("SLOTD_DEMO_PORT", port.to_string())
            .env("SLOTD_DEMO_HTTP_PORT", http_port.to_string())
            .env("SLOTD_DEMO_DIR", folder.path())
            .env("STATE_DIRECTORY", folder.path().join("state"))
            .env("RUNTIME_DIRECTORY", folder.path().join("run"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(folder.path().join("log"))?)
            // Ctrl-C is for the demo, which then stops slotd.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} can't be started: {error}", program.display()))?;
        Ok(Self { child, folder })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/slotd.sock")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Returns once the health answer says that it streams.
    async fn streams(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("slotd ended with {status}").into());
            }
            if let Ok((_, health)) = http::get(&self.socket(), "/health/shop").await
                && serde_json::from_str::<serde_json::Value>(&health)?["state"] == "streaming"
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Shows the health answer.
    async fn health(&self, screen: &Screen) -> Result<(), Failure> {
        let (status, health) = http::get(&self.socket(), "/health/shop").await?;
        screen.health(status, &serde_json::from_str(&health)?)
    }

    /// A clean stop.
    async fn stop(&mut self) -> Result<(), Failure> {
        // Nobody reads any more, and slotd is not to wait for it.
        drop(self.child.stdout.take());
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // One that ended meanwhile is stopped.
            let _ = kill_process(pid, Signal::TERM);
        }
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.map(drop).map_err(Failure::from),
            Err(_) => self.child.kill().await.map_err(Failure::from),
        }
    }
}
