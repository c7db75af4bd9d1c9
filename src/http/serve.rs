//! Accepting and serving connections, so that a slow or hostile client costs little.
//!
//! Heads must arrive in time and be small, connections are counted for each listener (the socket's are not taken by
//! the port's), and each has an end. `axum::serve` has none of these bounds.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Listeners, routes};
use crate::status::{Command, Registry};

/// How long the head of a request may take, and how long a connection may idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest head; hyper answers 431 beyond it.
const MAX_HEAD: usize = 16 * 1024;
/// Connections at once on each listener; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// After this a connection is closed behind the answer that is under way.
const LIFETIME: Duration = Duration::from_secs(300);
/// How long that answer may take to be read.
const LINGER: Duration = Duration::from_secs(2);

/// Serves `listeners` until `cancel`; answers that are under way are finished, within two seconds.
pub async fn serve(
    listeners: Listeners,
    registry: Registry,
    commands: mpsc::Sender<Command>,
    cancel: CancellationToken,
) {
    let Listeners { port, socket } = listeners;
    let on_port = async {
        if let Some(port) = port {
            tracing::info!("health listens on {}", port.address);
            accept(port.listener, &routes::port(registry.clone(), port.exposure), &cancel).await;
        }
    };
    let on_socket = async {
        if let Some(socket) = socket {
            tracing::info!("commands are taken on {}", socket.file.path.display());
            let _file = socket.file;
            accept(socket.listener, &routes::socket(registry.clone(), commands), &cancel).await;
        }
    };
    tokio::join!(on_port, on_socket);
}

async fn accept<L: Listener>(mut listener: L, router: &Router, cancel: &CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let full = connections.len() >= MAX_CONNECTIONS;
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(ended) = connections.join_next() => log_panic(ended),
            (io, _) = listener.accept(), if !full => {
                connections.spawn(connection(io, router.clone(), cancel.clone()));
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a request ended in a panic (report it; the other requests go on)");
    }
}

async fn connection<Io>(io: Io, router: Router, cancel: CancellationToken)
where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(io), TowerToHyperService::new(router))
    );
    tokio::select! {
        biased;
        // A client that broke off or was too slow; there is nobody left to tell.
        _ = connection.as_mut() => return,
        () = cancel.cancelled() => {}
        () = sleep(LIFETIME) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LINGER, connection).await;
}
