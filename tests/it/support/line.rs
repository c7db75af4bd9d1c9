//! The line between slotd and a server, which can go dead without a word.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A port that leads to a server; what runs through it is cut off when this is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    port: u16,
    cuts: watch::Sender<u32>,
    _serving: AbortOnDropHandle<()>,
}

impl Line {
    /// To the server at `upstream` of 127.0.0.1.
    pub(crate) async fn to(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = watch::Sender::new(0);
        let theirs = cuts.clone();
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)).await else { continue };
                let mut cut = theirs.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => return,
                        Ok(()) = cut.changed() => {}
                    }
                    // Neither end hears that the other is not there any more, until the line itself is gone.
                    while cut.changed().await.is_ok() {}
                });
            }
        }));
        Self { port, cuts, _serving: serving }
    }

    /// Where it begins, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing passes through the connections that there are. New ones work.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}
