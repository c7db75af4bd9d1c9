//! The watchdog: the manager kills and restarts a service that it does not hear from in time.
//!
//! What is withheld from it is not what a server does: one that is frozen leaves every clock scheduled. It is a thread
//! that never comes back, or a runtime that stands still; in the latter this does not run either.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::notify::NotifySocket;
use crate::status::{BEAT, Registry};

/// How long the manager waits for a message, if it waits for one of the process `own`.
pub(super) fn interval(env: &dyn Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let given = |name| env(name).filter(|value: &String| !value.is_empty());
    let micros = given("WATCHDOG_USEC")?;
    let pid = given("WATCHDOG_PID");
    match (micros.parse(), pid.as_deref().map_or(Ok(own), str::parse)) {
        (Ok(1..), Ok(other)) if other != own => None,
        (Ok(micros @ 1..), Ok(_)) => Some(Duration::from_micros(micros)),
        _ => {
            warn!("WATCHDOG_USEC is {micros:?} and WATCHDOG_PID {pid:?}: there is no watchdog");
            None
        }
    }
}

/// Says at each half of `interval` that slotd is not stuck, as long as that is true.
pub(super) async fn feed(socket: Arc<NotifySocket>, registry: Registry, interval: Duration) {
    let half = interval / 2;
    let patience = half.max(BEAT * 2);
    let mut hungry = false;
    loop {
        match registry.stuck(patience) {
            None => {
                if std::mem::take(&mut hungry) {
                    info!("every feedback is scheduled again; WATCHDOG=1 is sent");
                }
                socket.send("WATCHDOG=1").await;
                sleep(half).await;
            }
            Some(stuck) => {
                if !std::mem::replace(&mut hungry, true) {
                    error!(
                        database = %stuck.database,
                        hint = "a defect of slotd, or a machine that is out of CPU or memory; report it with this line and those before it",
                        "{stuck}: no WATCHDOG=1 is sent, and systemd restarts slotd unless that ends"
                    );
                }
                // It may well turn again before the manager's patience ends.
                sleep(half / 8).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_for_the_process_that_it_names() {
        let of = |usec: Option<&str>, pid: Option<&str>| {
            let env = |name: &str| match name {
                "WATCHDOG_USEC" => usec.map(str::to_owned),
                "WATCHDOG_PID" => pid.map(str::to_owned),
                _ => None,
            };
            interval(&env, 42)
        };
        assert_eq!(of(Some("60000000"), Some("42")), Some(Duration::from_secs(60)));
        assert_eq!(of(Some("1500000"), None), Some(Duration::from_millis(1500)));
        assert_eq!(of(Some("60000000"), Some("1")), None);
        assert_eq!(of(None, Some("42")), None);
        for usec in ["", "0", "-1", "60s"] {
            assert_eq!(of(Some(usec), None), None, "{usec:?}");
        }
        assert_eq!(of(Some("60000000"), Some("me")), None);
    }
}
