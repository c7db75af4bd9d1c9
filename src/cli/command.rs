//! A command on one database: by the agent that holds the state directory, or without one here, under the lock.

use std::path::{Path, PathBuf};

use axum::http::Method;
use tokio::sync::oneshot;

use super::failure::{Exit, Failure};
use super::{client, context, out};
use crate::config::Config;
use crate::daemon::{self, StartError};
use crate::ident::DatabaseName;
use crate::status::{Command, Reply};

/// How the agent is asked.
pub(super) struct Request {
    pub(super) path: String,
    pub(super) body: &'static str,
}

/// Carries it out and says what was done.
pub(super) async fn carry_out(
    file: &Path,
    config: Config,
    socket: Option<PathBuf>,
    name: &DatabaseName,
    request: Request,
    command: impl FnOnce(oneshot::Sender<Reply>) -> Command,
) -> Result<Exit, Failure> {
    match daemon::once(file, config, name, command).await {
        Ok(Ok(done)) => out::say(&done),
        Ok(Err(refusal)) => return Err(Failure::because(Exit::Failed, &refusal)),
        Err(error) => {
            let socket = agent_instead(&error, socket).await?;
            let answer = client::ask(&socket, Method::POST, &request.path, request.body).await?;
            out::say(&answer.done()?);
        }
    }
    Ok(Exit::Done)
}

/// Where the agent listens that is to do what could not be done here; why it could not, if there is none.
pub(super) async fn agent_instead(error: &StartError, socket: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match (error, client::reach(context::sockets(socket)).await) {
        (StartError::Locked { .. } | StartError::Foreign { .. }, Ok(socket)) => Ok(socket),
        (StartError::Locked { .. }, Err(unreached)) => Err(unreached),
        _ => Err(not_here(error)),
    }
}

/// Why it can't be done here.
fn not_here(error: &StartError) -> Failure {
    let failure = Failure::because(Exit::Failed, error);
    match error {
        StartError::Foreign { uid, .. } => {
            failure.hint(format!("start the agent, or run it as that user: sudo -u '#{uid}' slotd …"))
        }
        _ => failure,
    }
}
