//! What the service manager that started slotd is told: that it is ready, how it is, that it reads its file again, that
//! it stops, and that it is not stuck. Without one, which is so in a terminal, nothing is told and nothing is done.
//!
//! | when | message |
//! |---|---|
//! | the file is right, HTTP listens; the agent works, or waits for the state directory | `READY=1`, `STATUS=…` |
//! | a state changes, a file is rejected | `STATUS=…`, once a second at the most |
//! | the file is read again | `RELOADING=1` and `MONOTONIC_USEC=…`, then `READY=1` |
//! | a signal ends it | `STOPPING=1`, `EXTEND_TIMEOUT_USEC=…` of `stop_timeout`, `STATUS=…` |
//! | each half of `WATCHDOG_USEC` | `WATCHDOG=1`, as long as each stream's feedback is scheduled |
//!
//! Ready does not mean that the databases answer: a server that is down is no reason to fail the unit.
//!
//! Source: <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>,
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_watchdog_enabled.html>.

mod notify;
mod reloads;
mod summary;
mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::error;

use crate::status::{Command, Registry};
use notify::NotifySocket;
use summary::summary;

/// The shortest time between two messages of `STATUS`.
const PACE: Duration = Duration::from_secs(1);
/// What a stop takes beyond `stop_timeout`: the last answers of HTTP, and the end of the process.
const MARGIN: Duration = Duration::from_secs(5);

/// This process as a service of the manager that started it, if one did.
#[derive(Debug)]
pub struct Service {
    manager: Option<Manager>,
}

#[derive(Debug)]
struct Manager {
    socket: Arc<NotifySocket>,
    registry: Registry,
    watchdog: Option<Duration>,
    /// Ends when the stop begins, which has a status of its own.
    telling: Option<JoinHandle<()>>,
}

impl Service {
    /// As the variables `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say, which `env` looks up.
    #[must_use]
    pub fn new(env: &dyn Fn(&str) -> Option<String>, registry: Registry) -> Self {
        let manager = NotifySocket::from_env(env).map(|socket| Manager {
            socket: Arc::new(socket),
            registry,
            watchdog: watchdog::interval(env, std::process::id()),
            telling: None,
        });
        Self { manager }
    }

    /// Hands `commands` on, and tells of each reload among them: from whichever side it is asked for, it comes by here.
    #[must_use]
    pub fn telling_reloads(&self, commands: mpsc::Receiver<Command>) -> mpsc::Receiver<Command> {
        let Some(manager) = &self.manager else { return commands };
        let (on, handed_on) = mpsc::channel(commands.max_capacity());
        tokio::spawn(reloads::hand_on(Arc::clone(&manager.socket), commands, on));
        handed_on
    }

    /// The agent is up. From now on its status is told, and that it is not stuck. What is ready stays so.
    pub async fn ready(&mut self) {
        let Some(manager) = self.manager.as_mut().filter(|manager| manager.telling.is_none()) else { return };
        let (socket, registry) = (&manager.socket, &manager.registry);
        let changes = registry.changes();
        let status = summary(&registry.agent(), &registry.snapshot());
        socket.send(&format!("READY=1\nSTATUS={status}")).await;
        let telling = tell_status(Arc::clone(socket), registry.clone(), changes, status);
        manager.telling = Some(tokio::spawn(telling));
        if let Some(interval) = manager.watchdog
            && let Err(error) = watchdog::start(Arc::clone(socket), registry.clone(), interval)
        {
            error!("the watchdog has no thread, and systemd will take slotd for stuck: {error}");
        }
    }

    /// The agent stops, which takes `stop_timeout` at the most.
    pub async fn stopping(&mut self, stop_timeout: Duration) {
        let Some(manager) = &mut self.manager else { return };
        if let Some(telling) = manager.telling.take() {
            telling.abort();
            // It was aborted: there is nothing to hear from it.
            drop(telling.await);
        }
        let patience = stop_timeout.saturating_add(MARGIN).as_micros();
        let status = "stopping: what the sinks were given is made durable and acknowledged";
        manager.socket.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={patience}\nSTATUS={status}")).await;
    }
}

/// Keeps the status current, from `told` on.
async fn tell_status(
    socket: Arc<NotifySocket>,
    registry: Registry,
    mut changes: watch::Receiver<u64>,
    mut told: String,
) {
    while changes.changed().await.is_ok() {
        let status = summary(&registry.agent(), &registry.snapshot());
        if status != told {
            socket.deliver(&format!("STATUS={status}")).await;
            told = status;
            sleep(PACE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::status::tests::{at, shop, trouble};
    use crate::status::{Bounds, Condition, Reason, State};

    #[tokio::test(start_paused = true)]
    async fn the_status_is_told_once_a_second_at_the_most_and_not_while_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut told = Vec::new();
        let mut listen = || {
            let mut buffer = [0; 4096];
            while let Ok(length) = manager.recv(&mut buffer) {
                told.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
        };
        let registry = Registry::new("slotd.toml", Bounds { grace: Duration::ZERO, silence: Duration::ZERO });
        let reporter = registry.add(shop(at(0)));
        let env = |name: &str| (name == "NOTIFY_SOCKET").then(|| path.to_str().unwrap().to_owned());
        let mut service = Service::new(&env, registry.clone());
        service.ready().await;
        for round in 0..50 {
            reporter.condition(match round % 2 {
                0 => trouble(State::Retrying, Reason::Connection),
                _ => Condition::Streaming,
            });
            sleep(PACE / 10).await;
            listen();
        }
        for _ in 0..3 {
            registry.declare([]);
            sleep(PACE * 2).await;
        }
        listen();
        service.stopping(Duration::from_secs(20)).await;
        reporter.condition(trouble(State::Lost, Reason::SlotMissing));
        sleep(PACE * 2).await;
        listen();
        assert_eq!(told.remove(0), "READY=1\nSTATUS=1 pending");
        assert!(told.pop().unwrap().starts_with("STOPPING=1\n"));
        assert!((3..=6).contains(&told.len()), "{told:?}");
        assert_eq!(told.last().unwrap(), "STATUS=1 streaming");
    }
}
