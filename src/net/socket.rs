//! A socket that is woken for little by little only while little comes.
//!
//! A walsender sends each row by itself. To be woken for each costs the reader more than the row, and the walsender too,
//! which does the waking. So a stream that reads without a pause takes its socket out of the runtime's watch, lets
//! [`NAP`] pass between two looks, and takes all that has come at once. A look that finds nothing puts it back: whatever
//! comes after a pause is read as soon as it is there. While the reader says that nothing of what comes is urgent
//! ([`Lull`]), it is looked at more seldom still.

use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Sleep;

/// Between two looks at a socket that is not watched.
const NAP: Duration = Duration::from_millis(1);
/// The same in a [`Lull`]: the most that its end is seen late.
const LONG_NAP: Duration = Duration::from_millis(32);
/// So many reads, each within [`NAP`] of the one before, make a load.
const LOAD: u32 = 16;
/// The least and the most that is asked for at once of a socket that is not watched. The room is cleaned before each read,
/// so it is no larger than what came after the last nap makes likely.
const CHUNKS: [usize; 2] = [4 * 1024, 64 * 1024];

/// What the runtime can watch, and let go of again.
pub trait Descriptor: AsyncRead + AsyncWrite + Unpin + Debug + Sized {
    /// The same socket, not watched, and never waiting.
    type Unwatched: Read + Write + Unpin + Debug;

    /// Takes it out of the runtime's watch.
    ///
    /// # Errors
    /// The system refuses.
    fn unwatch(self) -> io::Result<Self::Unwatched>;

    /// Puts it back.
    ///
    /// # Errors
    /// The system refuses.
    fn watch(unwatched: Self::Unwatched) -> io::Result<Self>;
}

macro_rules! descriptor {
    ($watched:ty, $unwatched:ty) => {
        impl Descriptor for $watched {
            type Unwatched = $unwatched;

            fn unwatch(self) -> io::Result<Self::Unwatched> {
                self.into_std()
            }

            fn watch(unwatched: Self::Unwatched) -> io::Result<Self> {
                Self::from_std(unwatched)
            }
        }
    };
}

descriptor!(TcpStream, std::net::TcpStream);
descriptor!(UnixStream, std::os::unix::net::UnixStream);

/// Whether all that comes can wait a little: told by who reads, heeded by the socket.
#[derive(Debug, Clone, Default)]
pub struct Lull(Arc<AtomicBool>);

impl Lull {
    /// Begins or ends it.
    pub fn set(&self, lull: bool) {
        self.0.store(lull, Ordering::Relaxed);
    }

    /// Whether it lasts.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A socket; see the module.
#[derive(Debug)]
pub struct Socket<S: Descriptor> {
    state: State<S>,
    /// `None` as long as it may not be taken out of the watch at all.
    gathers: Option<Lull>,
    /// Whether a write waits for room, which the watch will tell.
    write_waits: bool,
    last_read: Option<Instant>,
    /// Reads in a row without a pause.
    streak: u32,
}

#[derive(Debug)]
enum State<S: Descriptor> {
    Watched(S),
    Unwatched {
        socket: S::Unwatched,
        nap: Pin<Box<Sleep>>,
        /// Whether that nap is a long one.
        long: bool,
        /// Who waits for the nap to end, which it does not once the socket is watched again.
        reader: Option<Waker>,
        /// How many bytes have come since the last nap.
        brought: usize,
        /// How much the next read asks for.
        chunk: usize,
    },
    /// The system would not have it in the other state.
    Lost,
}

impl<S: Descriptor> Socket<S> {
    /// `socket`, watched all the time until [`Socket::gather`] is called.
    pub const fn new(socket: S) -> Self {
        Self { state: State::Watched(socket), gathers: None, write_waits: false, last_read: None, streak: 0 }
    }

    /// From now on, what comes under load is gathered, and what comes in the lull that this gives.
    pub fn gather(&mut self) -> Lull {
        self.gathers.insert(Lull::default()).clone()
    }

    fn in_lull(&self) -> bool {
        self.gathers.as_ref().is_some_and(Lull::lasts)
    }

    /// Notes a read; whether so many come that they are better gathered.
    fn is_loaded(&mut self) -> bool {
        if self.gathers.is_none() {
            return false;
        }
        let now = Instant::now();
        let close = self.last_read.replace(now).is_some_and(|last| now.duration_since(last) < NAP);
        self.streak = if close { self.streak.saturating_add(1) } else { 0 };
        (self.streak >= LOAD || self.in_lull()) && !self.write_waits
    }

    fn unwatch(&mut self) -> io::Result<()> {
        let long = self.in_lull();
        self.state = match std::mem::replace(&mut self.state, State::Lost) {
            State::Watched(socket) => {
                let nap = Box::pin(tokio::time::sleep(length(long)));
                State::Unwatched { socket: socket.unwatch()?, nap, long, reader: None, brought: 0, chunk: CHUNKS[0] }
            }
            other => other,
        };
        Ok(())
    }

    fn watch(&mut self) -> io::Result<()> {
        self.streak = 0;
        self.state = match std::mem::replace(&mut self.state, State::Lost) {
            State::Unwatched { socket, reader, .. } => {
                if let Some(reader) = reader {
                    reader.wake();
                }
                State::Watched(S::watch(socket)?)
            }
            other => other,
        };
        Ok(())
    }
}

impl<S: Descriptor> AsyncRead for Socket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let lull = this.in_lull();
        loop {
            match &mut this.state {
                State::Watched(socket) => {
                    ready!(Pin::new(socket).poll_read(cx, buf))?;
                    if this.is_loaded() {
                        this.unwatch()?;
                    }
                    return Poll::Ready(Ok(()));
                }
                State::Unwatched { socket, nap, long, reader, brought, chunk } => {
                    if *long && !lull {
                        *long = again(nap, false);
                    }
                    if nap.as_mut().poll(cx).is_pending() {
                        *reader = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    *reader = None;
                    let room = buf.remaining().min(*chunk);
                    match socket.read(buf.initialize_unfilled_to(room)) {
                        Ok(len) => {
                            buf.advance(len);
                            *brought += len;
                            *chunk = (2 * *brought).clamp(CHUNKS[0], CHUNKS[1]);
                            // All that there was, if it does not fill the room.
                            if len < room {
                                *brought = 0;
                                *long = again(nap, lull);
                            }
                            return Poll::Ready(Ok(()));
                        }
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(error) if error.kind() == ErrorKind::WouldBlock && *brought > 0 => {
                            *brought = 0;
                            *long = again(nap, lull);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => this.watch()?,
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                State::Lost => return Poll::Ready(Err(ErrorKind::NotConnected.into())),
            }
        }
    }
}

/// Begins the next nap; whether it is a long one.
fn again(nap: &mut Pin<Box<Sleep>>, long: bool) -> bool {
    nap.as_mut().reset(tokio::time::Instant::now() + length(long));
    long
}

const fn length(long: bool) -> Duration {
    if long { LONG_NAP } else { NAP }
}

impl<S: Descriptor> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Watched(socket) => {
                    let written = Pin::new(socket).poll_write(cx, bytes);
                    this.write_waits = written.is_pending();
                    return written;
                }
                State::Unwatched { socket, .. } => match socket.write(bytes) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => this.watch()?,
                    written => return Poll::Ready(written),
                },
                State::Lost => return Poll::Ready(Err(ErrorKind::NotConnected.into())),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            State::Watched(socket) => Pin::new(socket).poll_flush(cx),
            // A socket holds nothing back.
            State::Unwatched { .. } => Poll::Ready(Ok(())),
            State::Lost => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.watch()?;
        match &mut this.state {
            State::Watched(socket) => Pin::new(socket).poll_shutdown(cx),
            _ => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Socket<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        theirs.set_nodelay(true).unwrap();
        let mut ours = Socket::new(ours);
        ours.gather();
        (ours, theirs)
    }

    const fn is_watched<S: Descriptor>(socket: &Socket<S>) -> bool {
        matches!(socket.state, State::Watched(_))
    }

    /// Sends pieces until `socket` is not watched; gives how many bytes were sent and read by then.
    async fn load(socket: &mut Socket<TcpStream>, peer: &mut TcpStream) -> usize {
        let mut sent = 0;
        while is_watched(socket) {
            peer.write_all(b"row").await.unwrap();
            sent += 3;
            socket.read_exact(&mut [0; 3]).await.unwrap();
        }
        sent
    }

    #[tokio::test]
    async fn what_comes_alone_is_read_from_a_watched_socket() {
        let (mut socket, mut peer) = pair().await;
        for _ in 0..2 * LOAD {
            // The pause is what makes it come alone.
            tokio::time::sleep(NAP).await;
            peer.write_all(b"row").await.unwrap();
            socket.read_exact(&mut [0; 3]).await.unwrap();
            assert!(is_watched(&socket));
        }
    }

    #[tokio::test]
    async fn a_write_that_waits_leaves_no_reader_asleep() {
        let (mut socket, mut peer) = pair().await;
        load(&mut socket, &mut peer).await;
        let (mut read, mut write) = tokio::io::split(socket);
        let read = tokio::spawn(async move { read.read_u8().await });
        // It lets its nap pass, and meanwhile more is written than the peer takes.
        tokio::task::yield_now().await;
        let write = tokio::spawn(async move { write.write_all(&vec![0; 64 << 20]).await });
        tokio::task::yield_now().await;
        peer.write_all(b"x").await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(10), read).await;
        assert_eq!(read.expect("the reader was not woken").unwrap().unwrap(), b'x');
        write.abort();
    }

    #[tokio::test]
    async fn under_load_it_is_not_watched_and_after_a_pause_it_is_again() {
        let (mut socket, mut peer) = pair().await;
        load(&mut socket, &mut peer).await;
        // Nothing comes: the next look puts it back, and what comes then wakes it.
        let mut byte = [0];
        let read = socket.read_exact(&mut byte);
        tokio::pin!(read);
        assert!(tokio::time::timeout(3 * NAP, &mut read).await.is_err(), "read what was not sent");
        peer.write_all(b"x").await.unwrap();
        read.await.unwrap();
        assert!(is_watched(&socket) && byte == *b"x");
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_lull_it_is_looked_at_seldom_and_after_it_often_again() {
        let (mut socket, mut peer) = pair().await;
        let lull = socket.gather();
        lull.set(true);
        // How long the nap is that a read leaves.
        let mut nap = async |socket: &mut Socket<TcpStream>| {
            peer.write_all(b"x").await.unwrap();
            // A read that fills its room is followed by another look at once.
            assert_eq!(socket.read(&mut [0; 16]).await.unwrap(), 1);
            let State::Unwatched { nap, .. } = &socket.state else { panic!("it is watched") };
            nap.deadline().duration_since(tokio::time::Instant::now())
        };
        for _ in 0..3 {
            assert!(nap(&mut socket).await > LONG_NAP - NAP);
        }
        lull.set(false);
        let before = tokio::time::Instant::now();
        assert!(nap(&mut socket).await <= NAP);
        assert!(before.elapsed() <= 2 * NAP, "the long nap was slept out");
    }

    #[tokio::test]
    async fn no_byte_is_lost_or_moved_in_either_direction() {
        let (socket, peer) = pair().await;
        let (mut read, mut write) = tokio::io::split(socket);
        let (mut from_us, mut to_us) = peer.into_split();
        let bytes = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            std::iter::repeat_with(move || random.u8(..)).take(8 << 20).collect::<Vec<_>>()
        };
        let (theirs, ours) = (bytes(1), bytes(2));
        let send = {
            let theirs = theirs.clone();
            tokio::spawn(async move {
                let (mut random, mut rest) = (fastrand::Rng::with_seed(3), &theirs[..]);
                while !rest.is_empty() {
                    let (piece, left) = rest.split_at(random.usize(1..3000).min(rest.len()));
                    to_us.write_all(piece).await.unwrap();
                    rest = left;
                }
            })
        };
        let answer = {
            let ours = ours.clone();
            tokio::spawn(async move {
                write.write_all(&ours).await.unwrap();
                write.shutdown().await.unwrap();
            })
        };
        let echoed = tokio::spawn(async move {
            let mut all = Vec::new();
            from_us.read_to_end(&mut all).await.unwrap();
            all
        });
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.unwrap();
        assert!(all == theirs);
        send.await.unwrap();
        answer.await.unwrap();
        assert!(echoed.await.unwrap() == ours);
    }

    #[tokio::test]
    async fn the_end_is_seen_whether_it_is_watched_or_not() {
        let (mut socket, mut peer) = pair().await;
        load(&mut socket, &mut peer).await;
        drop(peer);
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
