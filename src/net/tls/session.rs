//! A connection on which TLS stands.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::alert::{Alert, OwnCertificate};
use super::certificate::Certificate;
use super::{TlsError, binding};
use crate::net::Socket;

/// A connection on which TLS stands. An alert of the server comes out of it as a [`TlsError`] inside of the
/// [`io::Error`]: since TLS 1.3 a server judges our certificate only after our side of the handshake is over.
#[derive(Debug)]
pub struct TlsSession {
    stream: TlsStream<Socket<TcpStream>>,
    ours: Option<Arc<OwnCertificate>>,
    /// Bytes of the server were taken out while its last word was looked for.
    torn: bool,
}

impl TlsSession {
    pub(super) const fn new(stream: TlsStream<Socket<TcpStream>>, ours: Option<Arc<OwnCertificate>>) -> Self {
        Self { stream, ours, torn: false }
    }

    /// The hash of the server's certificate that SCRAM binds to.
    ///
    /// # Errors
    /// The certificate names none.
    pub fn end_point(&self) -> Result<Vec<u8>, TlsError> {
        let shown = self.stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        shown.and_then(|der| binding::end_point(der)).ok_or_else(|| {
            let read = shown.and_then(|der| Certificate::read(der));
            TlsError::Unbindable(read.map_or_else(|| "something unknown".to_owned(), |shown| shown.signed_by))
        })
    }

    /// The socket below.
    pub(in crate::net) fn socket(&mut self) -> &mut Socket<TcpStream> {
        self.stream.get_mut().0
    }

    fn told(&self, error: io::Error) -> io::Error {
        let said = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match said {
            Some(rustls::Error::AlertReceived(said)) => {
                io::Error::new(error.kind(), TlsError::Alert(Alert { said: *said, ours: self.ours.clone() }))
            }
            _ => error,
        }
    }

    /// Writing failed: the server may have said why before it closed.
    fn last_word(&mut self, cx: &mut Context<'_>, error: io::Error) -> io::Error {
        let mut room = [0; 64];
        let mut room = ReadBuf::new(&mut room);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        // What it brought is gone: nobody may go on behind it.
        self.torn |= !room.filled().is_empty();
        match read {
            Poll::Ready(Err(said))
                if said.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
            {
                self.told(said)
            }
            _ => error,
        }
    }
}

impl AsyncRead for TlsSession {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.torn {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf).map_err(|error| self.told(error))
    }
}

impl AsyncWrite for TlsSession {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes).map_err(|error| self.last_word(cx, error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(|error| self.last_word(cx, error))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
