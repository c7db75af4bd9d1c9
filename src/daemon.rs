//! The agent as a whole: what is built, in which order, and how it ends.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http;
use crate::status::{Bounds, Registry};

/// The agent can't begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Http(#[from] http::ServeError),
    #[error("signals can't be received: {0}")]
    Signals(#[source] std::io::Error),
}

/// Runs the agent on `config`, which stands in `file`, until a signal ends it. `socket` is where commands are taken.
///
/// # Errors
/// It can't begin.
pub async fn run(file: PathBuf, config: Config, socket: PathBuf) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let registry = Registry::new(file, Bounds::from(&config.agent));
    let (commands, _to_carry_out) = mpsc::channel(16);
    let cancel = CancellationToken::new();
    let listeners = http::bind(&config.http, &socket).await?;
    let serving = http::serve(listeners, registry, commands, cancel.clone());
    tokio::join!(serving, async {
        terminate.recv().await;
        cancel.cancel();
    });
    Ok(())
}
