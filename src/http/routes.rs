//! The paths and what they answer.

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::answer::{health, status_code, summary, text};
use super::control;
use super::guard::{Exposure, guard};
use super::metrics::metrics;
use crate::status::{Command, DatabaseHealth, Registry, STALE, age};

/// The largest body of a command.
const MAX_BODY: usize = 4096;

/// What a TCP port serves.
pub(super) fn port(registry: Registry, exposure: Exposure) -> Router {
    finish(probes()).layer(from_fn_with_state(exposure, guard)).with_state(registry)
}

/// What the Unix socket serves: the same, and commands.
pub(super) fn socket(registry: Registry, commands: mpsc::Sender<Command>) -> Router {
    let control = control::Control { registry: registry.clone(), commands };
    let commands = Router::new()
        .route("/control/log-level", post(control::log_level))
        .route("/control/reload", post(control::reload))
        .route("/control/databases/{name}/apply", post(control::apply))
        .route("/control/databases/{name}/disable", post(control::disable))
        .route("/control/databases/{name}/drop", post(control::drop_slot))
        .route("/control/databases/{name}/enable", post(control::enable))
        .route("/control/databases/{name}/resume", post(control::resume))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(control);
    finish(probes().with_state(registry).merge(commands))
}

fn probes() -> Router<Registry> {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/healthz", get(healthz))
        .route("/healthz/{name}", get(healthz_of))
        .route("/metrics", get(metrics))
        .route("/health", get(health_of_all))
        .route("/health/{name}", get(health_of))
}

fn finish<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .fallback(async || summary(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            summary(StatusCode::METHOD_NOT_ALLOWED, "this path takes another method; Allow names it")
        })
}

async fn livez(State(registry): State<Registry>) -> Response {
    let supervisor = registry.hangs().map(|silence| format!("the supervisor has not turned for {}", age(silence)));
    let feedback = registry.stuck(STALE).map(|stuck| stuck.to_string());
    let lines: Vec<_> = supervisor.into_iter().chain(feedback).collect();
    if lines.is_empty() {
        text(StatusCode::OK, "live", [])
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "hanging", lines)
    }
}

async fn readyz(State(registry): State<Registry>) -> Response {
    let starting = registry.starting();
    if starting.is_empty() {
        text(StatusCode::OK, "ready", [])
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "starting", starting)
    }
}

async fn healthz(State(registry): State<Registry>) -> Response {
    let health = registry.health(Timestamp::now());
    text(status_code(health.status), health.status.as_str(), health.lines())
}

async fn health_of_all(State(registry): State<Registry>) -> Response {
    let body = registry.health(Timestamp::now());
    health(body.status, &body)
}

async fn healthz_of(State(registry): State<Registry>, name: Result<Path<String>, PathRejection>) -> Response {
    match one(&registry, name) {
        Ok(database) => text(status_code(database.verdict), database.verdict.as_str(), database.lines()),
        Err(unknown) => unknown,
    }
}

async fn health_of(State(registry): State<Registry>, name: Result<Path<String>, PathRejection>) -> Response {
    match one(&registry, name) {
        Ok(database) => health(database.verdict, &database),
        Err(unknown) => unknown,
    }
}

#[expect(clippy::result_large_err, reason = "the error is the answer, made once")]
fn one(registry: &Registry, name: Result<Path<String>, PathRejection>) -> Result<DatabaseHealth, Response> {
    let status = name.ok().and_then(|Path(name)| registry.get(&name));
    let status = status.ok_or_else(unknown_database)?;
    Ok(DatabaseHealth::new(&status, Timestamp::now(), &registry.agent().bounds))
}

/// The name isn't repeated: it is the caller's text.
pub(super) fn unknown_database() -> Response {
    summary(StatusCode::NOT_FOUND, "no database has this name; /health lists them")
}
