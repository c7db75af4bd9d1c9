//! Reloads, as the manager is told of them.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};

use super::notify::NotifySocket;
use crate::status::Command;

/// Hands commands on to the supervisor. Before the first of the reloads that are under way, and once the last of them
/// has been answered, the manager is told; who asked for it hears the answer after that.
pub(super) async fn hand_on(
    manager: Arc<NotifySocket>,
    mut commands: mpsc::Receiver<Command>,
    supervisor: mpsc::Sender<Command>,
) {
    let mut reloads = FuturesUnordered::new();
    loop {
        let command = tokio::select! {
            biased;
            Some((reply, answer)) = reloads.next() => {
                let reply: oneshot::Sender<_> = reply;
                // Without an answer the supervisor has ended, and the agent is not ready for anything.
                if let Ok(answer) = answer {
                    if reloads.is_empty() {
                        manager.send("READY=1").await;
                    }
                    // A signal waits for no answer.
                    drop(reply.send(answer));
                }
                continue;
            }
            () = supervisor.closed() => return,
            command = commands.recv() => command,
        };
        let command = match command {
            Some(Command::Reload { reply }) => {
                if reloads.is_empty() {
                    manager.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros())).await;
                }
                let (answered, answer) = oneshot::channel();
                reloads.push(async { (reply, answer.await) });
                Command::Reload { reply: answered }
            }
            Some(other) => other,
            None => return,
        };
        if supervisor.send(command).await.is_err() {
            return;
        }
    }
}

/// What `CLOCK_MONOTONIC` shows: systemd of version 253 and later takes a reload for the one that it asked for by it.
fn monotonic_micros() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::status::Refusal;

    /// What the manager has been told by now, the first line of each message.
    fn told(manager: &UnixDatagram) -> Vec<String> {
        let mut told = Vec::new();
        let mut buffer = [0; 128];
        while let Ok(length) = manager.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            told.push(text.lines().next().unwrap().to_owned());
        }
        told
    }

    #[tokio::test]
    async fn reloads_that_overlap_are_told_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = Arc::new(NotifySocket::new(path.to_str().unwrap()).unwrap());
        let (commands, to_hand_on) = mpsc::channel(4);
        let (on, mut supervisor) = mpsc::channel(4);
        let relay = tokio::spawn(hand_on(socket, to_hand_on, on));
        let mut asked = Vec::new();
        let mut open = Vec::new();
        for _ in 0..2 {
            let (reply, answer) = oneshot::channel();
            commands.send(Command::Reload { reply }).await.unwrap();
            asked.push(answer);
            let Some(Command::Reload { reply }) = supervisor.recv().await else { panic!("no reload") };
            open.push(reply);
        }
        assert_eq!(told(&manager), ["RELOADING=1"]);
        open.remove(0).send(Ok("done".to_owned())).unwrap();
        assert_eq!(asked.remove(0).await.unwrap(), Ok("done".to_owned()));
        assert_eq!(told(&manager), [""; 0]);
        let refusal = Refusal::File("a mistake".to_owned());
        open.remove(0).send(Err(refusal.clone())).unwrap();
        assert_eq!(asked.remove(0).await.unwrap(), Err(refusal));
        assert_eq!(told(&manager), ["READY=1"], "the old file is in force, and that is told before the answer");

        // A supervisor that ends leaves nothing ready and nobody waiting.
        let (reply, answer) = oneshot::channel();
        commands.send(Command::Reload { reply }).await.unwrap();
        drop(supervisor.recv().await);
        drop(supervisor);
        assert!(answer.await.is_err());
        relay.await.unwrap();
        assert_eq!(told(&manager), ["RELOADING=1"]);
        assert!(commands.is_closed());
    }
}
