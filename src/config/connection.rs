//! The keys of a database that say how it is reached.

use std::ops::Range;
use std::path::Path;

use secrecy::SecretString;

use super::file::path_in;
use super::host::host;
use super::read::At;
use super::table::Table;
use super::url::{DEFAULT_PORT, Url, port_number, url};
use super::wrong::Wrong;
use super::{Connection, Host, Password, Tls, TlsMode, keys};
use crate::ident::MAX_NAME_BYTES;

/// What `url` says, and what therefore must not be said again.
const IN_URL: &[&str] = &["hostname", "port", "database", "username", "password"];

/// The host, the user and so on, without TLS; and where the host is named.
struct Address {
    url: Url,
    span: Range<usize>,
}

/// Reads them; `None` if a part of them is absent or wrong. Relative paths start at `dir`.
pub(super) fn connection(table: &Table<'_>, dir: &Path) -> Option<Connection> {
    let address = match table.raw("url") {
        Some(given) => from_url(table, &given),
        None if table.key("url").is_some() => None,
        None => from_keys(table),
    };
    let password_file = table.parsed("password_file", |text| path_in(dir, text));
    let named = address.as_ref().is_some_and(|address| address.url.password.is_some());
    if let Some(span) = table.key("password_file")
        && (named || table.key("password").is_some())
    {
        let wrong = Wrong::new("the password is given twice");
        table.reader().error(&span, wrong.hint("leave out `password_file`, or the password"));
    }
    let ipv6 = table.flag("ipv6");
    let tls = tls(table, dir, address.as_ref());
    let Address { url, span } = address?;
    if ipv6.as_ref().is_some_and(|at| at.value) {
        let never = match &url.host {
            Host::Socket(_) => Some("a Unix socket"),
            Host::Address { ip, .. } if ip.is_ipv4() => Some("an IPv4 address"),
            Host::Address { .. } | Host::Name(_) => None,
        };
        if let Some(never) = never {
            let wrong = Wrong::new(format!("`ipv6 = true` allows IPv6 addresses only, and the host is {never}"));
            table.reader().error(&span, wrong.hint("leave `ipv6` out"));
        }
    }
    let password = match (password_file, url.password) {
        (Some(file), _) => Password::File(file.value),
        (None, Some(password)) => Password::Value(SecretString::from(password)),
        (None, None) => Password::None,
    };
    Some(Connection {
        host: url.host,
        port: url.port,
        database: url.database,
        username: url.username,
        password,
        tls,
        ipv6: ipv6.is_some_and(|at| at.value),
    })
}

fn from_url(table: &Table<'_>, given: &At<&str>) -> Option<Address> {
    for key in IN_URL {
        if let Some(span) = table.key(key) {
            let wrong = Wrong::new(format!("`{key}` is given beside `url`"));
            let hint = format!("leave out one of the two; `url` excludes {}", IN_URL.join(", "));
            table.reader().error_with(&span, wrong.hint(hint), &given.span, "this names it already");
        }
    }
    let read = url(given.value, table.reader().env()).and_then(|url| {
        for (what, name) in [("database", &url.database), ("user", &url.username)] {
            name_on_server(name)
                .map_err(|wrong| Wrong { sentence: format!("the {what} in `url`: {}", wrong.sentence), ..wrong })?;
        }
        Ok(url)
    });
    match read {
        Ok(url) => Some(Address { url, span: given.span.clone() }),
        Err(wrong) => {
            table.reader().error(&given.span, wrong);
            None
        }
    }
}

fn from_keys(table: &Table<'_>) -> Option<Address> {
    let hostname = table.parsed("hostname", host);
    let port = table.number("port", port_number);
    let database = table.parsed("database", name_on_server);
    let username = table.parsed("username", name_on_server);
    let password = table.secret("password");
    // Under libpq's spelling it is there, and the mistake is another.
    let alias = |ours: &str| keys::ALIASES.iter().any(|(alias, key)| *key == ours && table.key(alias).is_some());
    let absent = |key: &&str| table.key(key).is_none() && !alias(key);
    let missing: Vec<_> = ["hostname", "database", "username"].into_iter().filter(absent).collect();
    match missing.as_slice() {
        [] => {}
        [_, _, _] => table.reader().absent(
            table.span(),
            Wrong::new("nothing says where this database is")
                .hint("write `url`, or `hostname`, `database` and `username`"),
        ),
        some => {
            let names = some.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ");
            let verb = if some.len() == 1 { "is" } else { "are" };
            table
                .reader()
                .absent(table.span(), Wrong::new(format!("{names} {verb} missing from [[postgres_databases]]")));
        }
    }
    let hostname = hostname?;
    Some(Address {
        url: Url {
            username: username?.value,
            // As in libpq, an empty password is none.
            password: password.map(|at| at.value).filter(|password| !password.is_empty()),
            host: hostname.value,
            port: port.map_or(DEFAULT_PORT, |at| at.value),
            database: database?.value,
        },
        span: hostname.span,
    })
}

/// A database or a role: the server cuts longer names.
fn name_on_server(text: &str) -> Result<String, Wrong> {
    match text.len() {
        0 => Err(Wrong::new("this can't be empty")),
        bytes if bytes > MAX_NAME_BYTES => {
            let rule = format!("Postgres has no name of more than {MAX_NAME_BYTES} bytes");
            Err(Wrong::new(format!("{rule}, and this one has {bytes}")))
        }
        _ => Ok(text.to_owned()),
    }
}

fn tls(table: &Table<'_>, dir: &Path, address: Option<&Address>) -> Option<Tls> {
    let reader = table.reader();
    let ssl = table.flag("ssl");
    let mode = table.parsed("ssl_mode", tls_mode);
    let root_cert = table.parsed("ssl_root_cert", |text| path_in(dir, text));
    let details = || table.first_of(&["ssl_mode", "ssl_root_cert"]);
    if let Some(ssl) = &ssl
        && !ssl.value
    {
        if let Some((key, span)) = details() {
            let wrong = Wrong::new(format!("`{key}` is given, and `ssl = false` switches TLS off"));
            reader.error_with(&span, wrong.hint("leave one of them out"), &ssl.span, "TLS is off here");
        } else if address.is_some_and(|address| !address.url.host.is_local()) {
            let wrong =
                Wrong::new("this database is reached without TLS: its password and all changes can be read on the way");
            reader.warn(&ssl.span, wrong.hint("leave `ssl = false` out"));
        }
        return None;
    }
    if let Some(address) = address
        && matches!(address.url.host, Host::Socket(_))
    {
        let asked = ssl.map(|ssl| ("ssl", ssl.span)).or_else(details);
        if let Some((key, span)) = asked {
            let wrong = Wrong::new(format!("`{key}` asks for TLS, and a Unix socket has none"));
            reader.error(&span, wrong.hint(format!("leave `{key}` out")));
        }
        return None;
    }
    let (mode, mode_span) = mode.map_or((TlsMode::VerifyFull, None), |at| (at.value, Some(at.span)));
    if let (TlsMode::Require, Some(span), Some(_)) = (mode, mode_span, &root_cert) {
        let wrong = Wrong::new("`ssl_mode = \"require\"` verifies nothing, so `ssl_root_cert` would not be used");
        reader.error(&span, wrong.hint("write \"verify-ca\" or \"verify-full\", or leave `ssl_root_cert` out"));
    }
    Some(Tls { mode, root_cert: root_cert.map(|at| at.value) })
}

fn tls_mode(text: &str) -> Result<TlsMode, Wrong> {
    match text {
        "require" => Ok(TlsMode::Require),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-full" => Ok(TlsMode::VerifyFull),
        "disable" => Err(Wrong::new("TLS is switched off by another key").hint("write `ssl = false`")),
        "allow" | "prefer" => {
            Err(Wrong::new("TLS that is used only where it is offered protects nothing").hint("write \"require\""))
        }
        _ => Err(Wrong::new("the values are \"require\", \"verify-ca\", \"verify-full\"")),
    }
}
