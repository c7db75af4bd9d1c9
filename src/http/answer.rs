//! The bodies: text, JSON, and a sentence where there is nothing to show.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::status::Verdict;

pub(super) const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
pub(super) const NO_SNIFF: (HeaderName, HeaderValue) =
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
const HEALTH_JSON: (HeaderName, HeaderValue) =
    (header::CONTENT_TYPE, HeaderValue::from_static("application/health+json"));

/// A sentence as JSON: `{"summary": "…"}`.
#[derive(Debug, Serialize)]
struct Summary {
    summary: String,
}

/// 200 for pass and warn, 503 for fail.
pub(super) const fn status_code(verdict: Verdict) -> StatusCode {
    match verdict {
        Verdict::Pass | Verdict::Warn => StatusCode::OK,
        Verdict::Fail => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// `head`, then one line for each of `lines`.
pub(super) fn text(code: StatusCode, head: &str, lines: impl IntoIterator<Item = String>) -> Response {
    let mut body = format!("{head}\n");
    for line in lines {
        body.push_str(&line);
        body.push('\n');
    }
    (code, [NO_STORE, NO_SNIFF], body).into_response()
}

/// `body` as health+json.
pub(super) fn health(verdict: Verdict, body: &impl Serialize) -> Response {
    // The later header wins over the content type of `Json`.
    (status_code(verdict), [NO_STORE, NO_SNIFF, HEALTH_JSON], Json(body)).into_response()
}

/// A sentence.
pub(super) fn summary(code: StatusCode, sentence: impl Into<String>) -> Response {
    (code, [NO_STORE, NO_SNIFF], Json(Summary { summary: sentence.into() })).into_response()
}
