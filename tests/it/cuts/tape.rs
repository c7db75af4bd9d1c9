//! A life between the library and a server: written down once, played again and again, each time to another end.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// The port that names the Unix socket of whoever stands in the server's place.
pub(super) const PORT: u16 = 5432;

/// What the server said on one connection, and how many questions of the client came before each piece.
pub(super) type Tape = Vec<(usize, Vec<u8>)>;

/// The connections of each kind in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    pub(super) replication: Vec<Tape>,
    pub(super) sql: Vec<Tape>,
}

/// Which connection ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Replication,
    Sql(usize),
}

/// What a server does that is done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Closes it.
    Cut,
    /// Says nothing more, and reads on.
    Stall,
}

/// How a life ends: behind so many bytes of one connection. The others come to the same end behind all of theirs.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) which: Which,
    pub(super) bytes: usize,
    pub(super) how: How,
    /// Gets a permit once all that comes has been said.
    pub(super) reached: Arc<Semaphore>,
}

impl Life {
    fn tapes(&mut self, replication: bool) -> &mut Vec<Tape> {
        if replication { &mut self.replication } else { &mut self.sql }
    }

    pub(super) fn tape(&self, which: Which) -> &Tape {
        match which {
            Which::Replication => &self.replication[0],
            Which::Sql(at) => &self.sql[at],
        }
    }

    pub(super) fn connections(&self) -> Vec<Which> {
        (0..self.sql.len()).map(Which::Sql).chain([Which::Replication]).collect()
    }
}

/// All bytes of `tape`.
pub(super) fn bytes_of(tape: &Tape) -> Vec<u8> {
    tape.iter().flat_map(|(_, said)| said).copied().collect()
}

/// Where each message of `bytes` begins and ends; one that is cut has no end and is not given.
pub(super) fn messages(bytes: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(length) = bytes.get(at + 1..at + 5) {
        let end = at + 1 + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if end > bytes.len() {
            break;
        }
        found.push((at, end));
        at = end;
    }
    found
}

/// What a client has said. Feedback asks nothing, and comes when it comes: it is not counted.
#[derive(Debug, Default)]
struct Client {
    started: bool,
    questions: usize,
    rest: Vec<u8>,
    /// The highest LSN that it has acknowledged.
    flushed: Arc<AtomicU64>,
}

impl Client {
    fn hear(&mut self, came: &[u8]) {
        self.rest.extend(came);
        loop {
            // The first message has no tag.
            let tag = usize::from(self.started);
            let Some(length) = self.rest.get(tag..tag + 4) else { return };
            let length = tag + u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if self.rest.len() < length {
                return;
            }
            let message: Vec<u8> = self.rest.drain(..length).collect();
            // CopyData, and in it 'r', what is written, what is flushed.
            match message.get(14..22).filter(|_| self.started && message[0] == b'd') {
                Some(flushed) => {
                    let flushed = u64::from_be_bytes(flushed.try_into().unwrap());
                    self.flushed.fetch_max(flushed, Ordering::Relaxed);
                }
                None => self.questions += 1,
            }
            self.started = true;
        }
    }
}

/// The startup message, and whether it asks for replication.
async fn startup(client: &mut UnixStream) -> std::io::Result<(Vec<u8>, bool)> {
    let length = client.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(length as usize, 0);
    client.read_exact(&mut message[4..]).await?;
    let replication = message.windows(12).any(|bytes| bytes == b"replication\0");
    Ok((message, replication))
}

fn listen(folder: &Path) -> UnixListener {
    UnixListener::bind(folder.join(format!(".s.PGSQL.{PORT}"))).unwrap()
}

/// Stands between the library and the server at `upstream`, and writes down what the server says.
pub(super) fn record(folder: &Path, upstream: &Path, life: Arc<Mutex<Life>>) -> AbortOnDropHandle<()> {
    let listener = listen(folder);
    let upstream = upstream.to_owned();
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (first, replication) = startup(&mut client).await.unwrap();
            let mut server = UnixStream::connect(&upstream).await.unwrap();
            server.write_all(&first).await.unwrap();
            let at = {
                let mut life = life.lock().unwrap();
                let tapes = life.tapes(replication);
                tapes.push(Tape::new());
                tapes.len() - 1
            };
            let life = Arc::clone(&life);
            tokio::spawn(async move {
                let mut heard = Client::default();
                heard.hear(&first);
                let (mut said, mut asked) = (Vec::new(), Vec::new());
                loop {
                    tokio::select! {
                        biased;
                        Ok(1..) = client.read_buf(&mut asked) => {
                            heard.hear(&asked);
                            // One that is gone ends at the next read.
                            let _ = server.write_all(&asked).await;
                            asked.clear();
                        }
                        Ok(1..) = server.read_buf(&mut said) => {
                            life.lock().unwrap().tapes(replication)[at].push((heard.questions, said.clone()));
                            let _ = client.write_all(&said).await;
                            said.clear();
                        }
                        else => return,
                    }
                }
            });
        }
    }))
}

/// Plays `life` to whoever connects in `folder`, until this is dropped; with the highest LSN that was acknowledged.
pub(super) fn play(folder: &Path, life: Arc<Life>, ending: Ending) -> (AbortOnDropHandle<()>, Arc<AtomicU64>) {
    let listener = listen(folder);
    let flushed = Arc::<AtomicU64>::default();
    let acknowledged = Arc::clone(&flushed);
    let playing = tokio::spawn(async move {
        let (mut replications, mut sqls) = (0, 0);
        while let Ok((mut client, _)) = listener.accept().await {
            let Ok((first, replication)) = startup(&mut client).await else { continue };
            let (next, tapes) =
                if replication { (&mut replications, &life.replication) } else { (&mut sqls, &life.sql) };
            let which = if replication { Which::Replication } else { Which::Sql(*next) };
            // Whoever comes once more finds the server gone.
            let Some(tape) = tapes.get(*next).cloned() else { continue };
            *next += 1;
            let mut heard = Client { flushed: Arc::clone(&flushed), ..Client::default() };
            heard.hear(&first);
            let ending = ending.clone();
            // An end that the client has hung up on is one, too.
            tokio::spawn(async move { drop(play_tape(client, &tape, heard, which, &ending).await) });
        }
    });
    (AbortOnDropHandle::new(playing), acknowledged)
}

async fn play_tape(
    mut client: UnixStream,
    tape: &Tape,
    mut heard: Client,
    which: Which,
    ending: &Ending,
) -> std::io::Result<()> {
    let is_it = which == ending.which;
    let mut left = if is_it { ending.bytes } else { usize::MAX };
    let mut asked = Vec::new();
    for (after, said) in tape {
        while left > 0 && heard.questions < *after {
            if client.read_buf(&mut asked).await? == 0 {
                return Ok(());
            }
            heard.hear(&asked);
            asked.clear();
        }
        let said = &said[..said.len().min(left)];
        client.write_all(said).await?;
        left -= said.len();
    }
    if is_it {
        ending.reached.add_permits(1);
    }
    while ending.how == How::Stall && client.read_buf(&mut asked).await? > 0 {
        heard.hear(&asked);
        asked.clear();
    }
    Ok(())
}
