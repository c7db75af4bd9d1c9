//! Commands, on the Unix socket alone: whoever may open the socket may give them.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::answer::summary;
use super::routes::unknown_database;
use crate::config::LogLevel;
use crate::ident::DatabaseName;
use crate::status::{Command, Refusal, Registry, Reply};

/// How long a command may take before the caller is told that it goes on without him.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) registry: Registry,
    pub(super) commands: mpsc::Sender<Command>,
}

/// The body of a resume.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeBody {
    accept_gap: bool,
}

pub(super) async fn reload(State(control): State<Control>) -> Response {
    control.send(|reply| Command::Reload { reply }).await
}

/// The body of a change of the log's level.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevelBody {
    level: LogLevel,
}

pub(super) async fn log_level(State(control): State<Control>, body: Result<Bytes, BytesRejection>) -> Response {
    match body.ok().and_then(|body| serde_json::from_slice(&body).ok()) {
        Some(LogLevelBody { level }) => control.send(|reply| Command::LogLevel { level, reply }).await,
        None => summary(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the body is {\"level\": \"info\"}, or error, warn, debug or trace in its place",
        ),
    }
}

pub(super) async fn resume(
    state: State<Control>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = body.ok().and_then(|body| serde_json::from_slice::<ResumeBody>(&body).ok());
    if !body.is_some_and(|body| body.accept_gap) {
        return summary(
            StatusCode::UNPROCESSABLE_ENTITY,
            "resume leaves a gap in the sink; the body that accepts it is {\"accept_gap\": true}",
        );
    }
    of_one(state, name, |database, reply| Command::Resume { database, reply }).await
}

/// The body of an apply.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyBody {
    recreate_publication: bool,
}

pub(super) async fn apply(
    state: State<Control>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = body.ok().and_then(|body| serde_json::from_slice::<ApplyBody>(&body).ok());
    let Some(ApplyBody { recreate_publication }) = body else {
        return summary(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the body is {\"recreate_publication\": false}; true drops the publication where it can't be altered",
        );
    };
    of_one(state, name, |database, reply| Command::Apply { database, recreate_publication, reply }).await
}

pub(super) async fn disable(state: State<Control>, name: Result<Path<String>, PathRejection>) -> Response {
    of_one(state, name, |database, reply| Command::Disable { database, reply }).await
}

pub(super) async fn enable(state: State<Control>, name: Result<Path<String>, PathRejection>) -> Response {
    of_one(state, name, |database, reply| Command::Enable { database, reply }).await
}

/// The body of a drop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DropBody {
    drop_slot: bool,
}

pub(super) async fn drop_slot(
    state: State<Control>,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = body.ok().and_then(|body| serde_json::from_slice::<DropBody>(&body).ok());
    if !body.is_some_and(|body| body.drop_slot) {
        return summary(
            StatusCode::UNPROCESSABLE_ENTITY,
            "what is not delivered is lost with the slot; the body that accepts it is {\"drop_slot\": true}",
        );
    }
    of_one(state, name, |database, reply| Command::Drop { database, reply }).await
}

async fn of_one(
    State(control): State<Control>,
    name: Result<Path<String>, PathRejection>,
    command: impl FnOnce(DatabaseName, oneshot::Sender<Reply>) -> Command,
) -> Response {
    let status = name.ok().and_then(|Path(name)| control.registry.get(&name));
    let Some(status) = status else { return unknown_database() };
    control.send(|reply| command(status.name.clone(), reply)).await
}

impl Control {
    async fn send(&self, command: impl FnOnce(oneshot::Sender<Reply>) -> Command) -> Response {
        let (reply, answer) = oneshot::channel();
        match self.commands.try_send(command(reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return summary(StatusCode::SERVICE_UNAVAILABLE, "too many commands are waiting; try again");
            }
            Err(TrySendError::Closed(_)) => return stopping(),
        }
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(done))) => summary(StatusCode::OK, done),
            Ok(Ok(Err(refusal))) => refused(&refusal),
            Ok(Err(_)) => stopping(),
            Err(_) => summary(
                StatusCode::GATEWAY_TIMEOUT,
                "the command was given and goes on, but has not ended in a minute; see slotd status",
            ),
        }
    }
}

fn stopping() -> Response {
    summary(StatusCode::SERVICE_UNAVAILABLE, "the agent is stopping")
}

fn refused(refusal: &Refusal) -> Response {
    let code = match refusal {
        Refusal::Conflict(_) => StatusCode::CONFLICT,
        Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Refusal::File(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
    };
    summary(code, refusal.to_string())
}
