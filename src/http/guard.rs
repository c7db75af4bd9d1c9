//! Who may ask what on a TCP port.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::answer::summary;

/// What a port shows, by where it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposure {
    /// On loopback: everything, to requests that name loopback.
    Loopback,
    /// Off loopback, with `public_status = true`: everything.
    Public,
    /// Off loopback: `/livez` and `/readyz`.
    Probes,
}

impl Exposure {
    /// Of a port bound to `address`.
    pub(super) fn of(address: SocketAddr, public_status: bool) -> Self {
        match (address.ip().to_canonical().is_loopback(), public_status) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Public,
            (false, false) => Self::Probes,
        }
    }
}

/// Lets a request pass, or says why not.
pub(super) async fn guard(State(exposure): State<Exposure>, request: Request, next: Next) -> Response {
    let refusal = match exposure {
        Exposure::Loopback => misdirected(&request),
        Exposure::Public => None,
        Exposure::Probes => hidden(request.uri().path()),
    };
    match refusal {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn hidden(path: &str) -> Option<Response> {
    (!matches!(path, "/livez" | "/readyz")).then(|| {
        let mut answer = summary(
            StatusCode::UNAUTHORIZED,
            "off loopback only /livez and /readyz are shown; set public_status = true under [http], and restart slotd, to show the rest",
        );
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        answer
    })
}

/// A request that names a host other than loopback was brought here by a name that somebody else controls.
fn misdirected(request: &Request) -> Option<Response> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Some(summary(StatusCode::BAD_REQUEST, "the request has no Host header, or more than one"));
    };
    let named = host.to_str().is_ok_and(is_loopback) && request.uri().host().is_none_or(is_loopback);
    (!named).then(|| {
        summary(
            StatusCode::MISDIRECTED_REQUEST,
            "on loopback the Host header must be localhost or a loopback address, with any port",
        )
    })
}

/// Whether `host`, with or without a port, is `localhost` or a loopback address.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = Authority::from_str(host) else { return false };
    if host.contains('@') {
        return false;
    }
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_loopback() {
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:7356", "127.9.9.9", "[::1]", "[::1]:7356", "[::ffff:127.0.0.1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "localhost@evil.example",
            "evil@localhost",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn exposure_follows_the_address() {
        for (address, public, expected) in [
            ("127.0.0.1:1", false, Exposure::Loopback),
            ("[::1]:1", true, Exposure::Loopback),
            ("0.0.0.0:1", false, Exposure::Probes),
            ("[::]:1", true, Exposure::Public),
        ] {
            assert_eq!(Exposure::of(address.parse().unwrap(), public), expected, "{address}");
        }
    }
}
