//! Requests to the running agent over its Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::failure::{Exit, Failure};

/// Longer than the agent lets a command wait.
const PATIENCE: Duration = Duration::from_secs(70);

/// What the agent answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) body: Bytes,
}

#[derive(Deserialize)]
struct Summary {
    summary: String,
}

impl Answer {
    /// The sentence of an answer that has one.
    pub(super) fn summary(&self) -> String {
        serde_json::from_slice::<Summary>(&self.body)
            .map_or_else(|_| format!("the agent answered {}", self.code), |answer| answer.summary)
    }

    /// The sentence if the command was carried out, else as a failure.
    pub(super) fn done(&self) -> Result<String, Failure> {
        if self.code.is_success() { Ok(self.summary()) } else { Err(Failure::new(Exit::Failed, self.summary())) }
    }
}

/// Asks the agent that listens on `socket`.
pub(super) async fn ask(socket: &Path, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Answer, Failure> {
    match timeout(PATIENCE, exchange(socket, method, path, body.into())).await {
        Ok(answered) => answered,
        Err(_) => Err(Failure::new(Exit::NotReached, format!("the agent on {} does not answer", socket.display()))
            .hint("see its log; it may hang")),
    }
}

async fn exchange(socket: &Path, method: Method, path: &str, body: Bytes) -> Result<Answer, Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| not_reached(&[(socket.to_owned(), error)]))?;
    let broken = |error: &dyn std::error::Error| {
        let cause = Failure::because(Exit::NotReached, error).sentence;
        Failure::new(Exit::NotReached, format!("the agent on {} broke off: {cause}", socket.display()))
            .hint("see its log; it may be stopping")
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "slotd")
        .body(Full::new(body))
        .map_err(|error| broken(&error))?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let code = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Answer { code, body })
    };
    // The connection does the work; it ends when the sender is dropped, so the answer ends this first.
    tokio::select! {
        biased;
        answer = answered => answer.map_err(|error: hyper::Error| broken(&error)),
        Err(error) = connection => Err(broken(&error)),
    }
}

/// The first of `sockets` on which an agent listens.
pub(super) async fn reach(sockets: Vec<PathBuf>) -> Result<PathBuf, Failure> {
    let mut tried = Vec::new();
    for socket in sockets {
        match UnixStream::connect(&socket).await {
            Ok(_) => return Ok(socket),
            Err(error) => tried.push((socket, error)),
        }
    }
    Err(not_reached(&tried))
}

fn not_reached(tried: &[(PathBuf, io::Error)]) -> Failure {
    let hint = if tried.iter().any(|(_, error)| error.kind() == io::ErrorKind::PermissionDenied) {
        "run it as the agent's user, as a member of its group, or as root"
    } else {
        "start it with slotd run or systemctl start slotd; --socket PATH names another socket"
    };
    let places: Vec<_> = tried.iter().map(|(socket, error)| format!("{}: {error}", socket.display())).collect();
    Failure::new(Exit::NotReached, format!("no agent answers on {}", places.join("; nor on "))).hint(hint)
}
