//! Other programs that slotd runs.

use std::process::Stdio;

use tokio::process::Command;

/// What systemd says to slotd alone.
///
/// Source: <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>.
const OURS: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// The command of `program`, without arguments: it reads nothing, is killed once nobody waits for it, and does not know
/// where the manager of our service listens, since what it said there could count as ours.
#[must_use]
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    for name in OURS {
        command.env_remove(name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_does_not_know_where_our_manager_listens() {
        let command = command("env");
        let removed: Vec<_> =
            command.as_std().get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert_eq!(removed, OURS);
    }

    #[tokio::test]
    async fn it_reads_nothing_and_ends_with_whoever_waits_for_it() {
        assert!(command("cat").output().await.unwrap().stdout.is_empty());
        let child = command("sleep").arg("infinity").spawn().unwrap();
        let proc = format!("/proc/{}/stat", child.id().unwrap());
        drop(child);
        let lives = || std::fs::read_to_string(&proc).is_ok_and(|stat| !stat.contains(") Z "));
        tokio::time::timeout(std::time::Duration::from_secs(60), async {
            while lives() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }
}
