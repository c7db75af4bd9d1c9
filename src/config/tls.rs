//! The keys of a database that say how its connection is encrypted and what is verified.
//!
//! Source: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-SSLMODE> and the parameters below it.

use std::ops::Range;

use super::read::At;
use super::table::Table;
use super::wrong::Wrong;
use super::{ChannelBinding, ClientCert, Host, SslMode, SslNegotiation, Tls, Trust, keys};

/// What is verified, before it is known by which files.
#[derive(Clone, Copy)]
enum Mode {
    Require,
    VerifyCa,
    VerifyFull,
}

/// Reads them, for a database on `host`; `None` where there is no TLS.
pub(super) fn tls(table: &Table<'_>, host: Option<&Host>) -> Option<Tls> {
    let reader = table.reader();
    let ssl = table.flag("ssl");
    let mode = table.parsed("ssl_mode", mode);
    let root_cert = table.path("ssl_root_cert");
    let crl = table.path("ssl_crl");
    let client_cert = client_cert(table);
    let negotiation =
        table.choice("ssl_negotiation", &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)]);
    if let Some(ssl) = &ssl
        && !ssl.value
    {
        if let Some((key, span)) = table.first_of(keys::TLS) {
            let wrong = Wrong::new(format!("`{key}` is given, and `ssl = false` switches TLS off"));
            reader.error_with(&span, wrong.hint("leave one of them out"), &ssl.span, "TLS is off here");
        } else if host.is_some_and(|host| !host.is_local()) {
            let wrong =
                Wrong::new("this database is reached without TLS: its password and all changes can be read on the way");
            reader.warn(&ssl.span, wrong.hint("leave `ssl = false` out"));
        }
        return None;
    }
    if let Some(Host::Socket(_)) = host {
        if let Some((key, span)) = table.first_of(&["ssl"]).or_else(|| table.first_of(keys::TLS)) {
            let wrong = Wrong::new(format!("`{key}` asks for TLS, and a Unix socket has none"));
            reader.error(&span, wrong.hint(format!("leave `{key}` out")));
        }
        return None;
    }
    let (mode, mode_span) = mode.map_or((Mode::VerifyFull, None), |at| (at.value, Some(at.span)));
    if let (Mode::Require, Some(span)) = (mode, mode_span) {
        let given = |(key, file): &&(&str, &Option<At<_>>)| file.is_some() && table.has(key);
        for (key, _) in [("ssl_root_cert", &root_cert), ("ssl_crl", &crl)].iter().filter(given) {
            let wrong = Wrong::new(format!("`ssl_mode = \"require\"` verifies nothing, so `{key}` would not be used"));
            reader.error(&span, wrong.hint(format!("write \"verify-ca\" or \"verify-full\", or leave `{key}` out")));
        }
    }
    let trust = Trust { root_cert: root_cert.map(|at| at.value), crl: crl.map(|at| at.value) };
    Some(Tls {
        mode: match mode {
            Mode::Require => SslMode::Require,
            Mode::VerifyCa => SslMode::VerifyCa(trust),
            Mode::VerifyFull => SslMode::VerifyFull(trust),
        },
        client_cert,
        negotiation: negotiation.map_or(SslNegotiation::Postgres, |at| at.value),
    })
}

fn mode(text: &str) -> Result<Mode, Wrong> {
    match text {
        "require" => Ok(Mode::Require),
        "verify-ca" => Ok(Mode::VerifyCa),
        "verify-full" => Ok(Mode::VerifyFull),
        "disable" => Err(Wrong::new("TLS is switched off by another key").hint("write `ssl = false`")),
        "allow" | "prefer" => {
            Err(Wrong::new("TLS that is used only where it is offered protects nothing").hint("write \"require\""))
        }
        _ => Err(Wrong::new("the values are \"require\", \"verify-ca\", \"verify-full\"")),
    }
}

fn client_cert(table: &Table<'_>) -> Option<ClientCert> {
    let [cert, key] = ["ssl_cert", "ssl_key"].map(|key| table.path(key));
    let alone = |given: &str, missing: &str, span: &Range<usize>| {
        let wrong = Wrong::new(format!("`{given}` stands without `{missing}`, and neither works alone"));
        table.reader().error(span, wrong.hint(format!("write `{missing}` too, or leave `{given}` out")));
    };
    // Under libpq's spelling the other is there, and the mistake is another.
    let libpq = table.first_of(&["sslcert", "sslkey"]).is_some();
    match (table.key("ssl_cert"), table.key("ssl_key")) {
        (Some(span), None) if !libpq => alone("ssl_cert", "ssl_key", &span),
        (None, Some(span)) if !libpq => alone("ssl_key", "ssl_cert", &span),
        _ => {}
    }
    Some(ClientCert { cert: cert?.value, key: key?.value })
}

/// Reads `channel_binding`, for a database on `host` that is reached by `tls`, with or without a password.
pub(super) fn channel_binding(
    table: &Table<'_>,
    tls: Option<&Tls>,
    host: Option<&Host>,
    passwordless: bool,
) -> ChannelBinding {
    let given = table.parsed("channel_binding", |text| match text {
        "prefer" => Ok(ChannelBinding::Prefer),
        "require" => Ok(ChannelBinding::Require),
        "disable" => {
            Err(Wrong::new("a login that could be bound to the server's certificate is").hint("write \"prefer\""))
        }
        _ => Err(Wrong::new("the values are \"prefer\", \"require\"")),
    });
    let Some(given) = given else { return ChannelBinding::Prefer };
    if let (ChannelBinding::Require, Some(host)) = (given.value, host) {
        let never = match (host, tls) {
            (Host::Socket(_), _) => Some("a Unix socket has no TLS to bind to"),
            (_, None) => Some("without TLS there is nothing to bind to"),
            _ if passwordless => Some("only a login with a password is bound, and none is given"),
            _ => None,
        };
        if let Some(never) = never {
            let wrong = Wrong::new(format!("`channel_binding = \"require\"` can't be kept: {never}"));
            let without = if table.has("channel_binding") {
                "leave `channel_binding` out"
            } else {
                "write `channel_binding = \"prefer\"` there"
            };
            let hint = if passwordless { format!("give `password_file`, or {without}") } else { without.to_owned() };
            let wrong = wrong.hint(hint);
            if passwordless {
                table.reader().absent(&given.span, wrong);
            } else {
                table.reader().error(&given.span, wrong);
            }
        }
    }
    given.value
}
