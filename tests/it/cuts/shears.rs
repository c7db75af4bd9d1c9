//! One who stands before a server, on loopback, and cuts a replication session off at a place of its protocol.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::Cluster;

/// Where a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind so many bytes of what the server says of the authentication; of a SQL session, too.
    Login(usize),
    /// Behind the answer to START_REPLICATION.
    Start,
    /// In the middle of an inserted row.
    Row,
    /// In the middle of a COMMIT.
    Commit,
    /// In the middle of a keepalive.
    Keepalive,
    /// Before the row that says that a slot was made; nothing is closed there, and neither end hears of it.
    SlotMade,
}

/// The place, until somebody comes there, and those who are not cut yet.
#[derive(Debug)]
pub(super) struct Shears {
    port: u16,
    place: Arc<Mutex<Option<Place>>>,
    all: watch::Sender<u32>,
    _serving: AbortOnDropHandle<()>,
}

impl Shears {
    /// Before the server at `upstream` of 127.0.0.1; they cut nothing yet.
    pub(super) async fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let place = Arc::<Mutex<Option<Place>>>::default();
        let all = watch::Sender::new(0);
        let (theirs, ends) = (Arc::clone(&place), all.clone());
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else { continue };
                let ((mut from_client, to_client), (from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let (place, mut end) = (Arc::clone(&theirs), ends.subscribe());
                tokio::spawn(async move {
                    // Both ends are closed by whoever is done first.
                    tokio::select! {
                        _ = copy(&mut from_client, &mut to_server) => {}
                        _ = pass(from_server, to_client, &place) => {}
                        _ = end.changed() => {}
                    }
                });
            }
        }));
        Self { port, place, all, _serving: serving }
    }

    /// The next session that comes to `place` ends there.
    pub(super) fn cut_at(&self, place: Place) {
        *self.place.lock().unwrap() = Some(place);
    }

    /// Whether somebody came there.
    pub(super) fn has_cut(&self) -> bool {
        self.place.lock().unwrap().is_none()
    }

    /// Ends all sessions that there are.
    pub(super) fn cut_all(&self) {
        self.all.send_modify(|cuts| *cuts += 1);
    }

    /// The entry of a database that is reached through them.
    pub(super) fn entry(&self, cluster: &Cluster, dbname: &str) -> String {
        cluster.entry(dbname).replace(&format!("port = {}", cluster.port()), &format!("port = {}", self.port))
    }
}

/// Passes on what the server says, message by message, up to the place.
async fn pass(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    place: &Mutex<Option<Place>>,
) -> std::io::Result<()> {
    let mut authenticated = 0;
    loop {
        let (tag, length) = (server.read_u8().await?, server.read_u32().await?);
        let mut message = [&[tag][..], &length.to_be_bytes()].concat();
        message.resize(1 + length as usize, 0);
        server.read_exact(&mut message[5..]).await?;
        let (cut, at) = {
            let mut place = place.lock().unwrap();
            let at = place.and_then(|place| place.within(&message, authenticated));
            (at.and_then(|_| place.take()), at)
        };
        let Some(cut) = cut else {
            authenticated += if tag == b'R' { message.len() } else { 0 };
            client.write_all(&message).await?;
            continue;
        };
        client.write_all(&message[..at.unwrap_or_default()]).await?;
        if cut == Place::SlotMade {
            return std::future::pending().await;
        }
        return Ok(());
    }
}

impl Place {
    /// Behind how many bytes of `message` it is, if it is there; `authenticated` bytes of the authentication came before.
    fn within(self, message: &[u8], authenticated: usize) -> Option<usize> {
        // XLogData has the plugin's message behind three numbers.
        let content = match (message[0], message.get(5)) {
            (b'd', Some(b'w')) => message.get(30).copied(),
            (b'd', Some(b'k')) => Some(b'k'),
            _ => None,
        };
        let middle = message.len() / 2;
        match self {
            Self::Login(bytes) => {
                let left = bytes.checked_sub(authenticated)?;
                (message[0] == b'R' && left < message.len()).then_some(left)
            }
            Self::Start => (message[0] == b'W').then_some(message.len()),
            Self::Row => (content == Some(b'I')).then_some(middle),
            Self::Commit => (content == Some(b'C')).then_some(middle),
            Self::Keepalive => (content == Some(b'k')).then_some(middle),
            Self::SlotMade => {
                let tells = message[0] == b'T' && message.windows(16).any(|name| name == b"consistent_point");
                tells.then_some(0)
            }
        }
    }
}
