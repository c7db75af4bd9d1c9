//! The watchdog: the manager kills and restarts a service that it does not hear from in time.
//!
//! What withholds the message is not what a server does: one that is frozen leaves every clock scheduled. It is a task
//! that never comes back to its thread, or a runtime that stands still. So this is a thread of its own, which sees
//! both and can say so before the manager acts.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem, thread};

use tracing::{error, info, warn};

use super::notify::NotifySocket;
use crate::ident::DatabaseName;
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

/// Says at each half of `interval` that slotd is not stuck, as long as that is true and there is a process.
pub(super) fn start(socket: Arc<NotifySocket>, registry: Registry, interval: Duration) -> io::Result<()> {
    tokio::spawn(registry.clock().during(pending::<()>()));
    let watch = move || {
        let mut hungry = false;
        loop {
            let fed = feed(&socket, &registry, interval / 2, &mut hungry);
            // What is stuck may well go on before the manager's patience ends.
            thread::park_timeout(if fed { interval / 2 } else { interval / 16 });
        }
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

/// Sends a message if nothing is stuck.
fn feed(socket: &NotifySocket, registry: &Registry, half: Duration, hungry: &mut bool) -> bool {
    let Some(stuck) = registry.stuck(half.max(BEAT * 2)) else {
        if mem::take(hungry) {
            info!("what was stuck goes on, and WATCHDOG=1 is sent again");
        }
        return socket.try_send("WATCHDOG=1");
    };
    if !mem::replace(hungry, true) {
        error!(
            database = stuck.database.as_ref().map(DatabaseName::as_str),
            hint = "report it with the lines before it, unless this machine was out of CPU or memory",
            "{stuck}: no WATCHDOG=1 is sent, and systemd restarts slotd unless that ends"
        );
    }
    false
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
