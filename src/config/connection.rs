//! The keys of a database that say how it is reached.

use std::ops::Range;

use secrecy::SecretString;

use super::host::{host, server};
use super::read::At;
use super::table::Table;
use super::url::{DEFAULT_PORT, Url, port_number, url};
use super::wrong::Wrong;
use super::{Connection, Host, Password, Server, keys, tls};
use crate::ident::MAX_NAME_BYTES;

/// What `url` says, and what therefore must not be said again.
pub(super) const IN_URL: &[&str] = &["hostname", "hosts", "port", "database", "username", "password"];

/// The host, the user and so on, without TLS; and where the host is named.
struct Address {
    url: Url,
    /// Of `hosts`, those behind the first.
    others: Vec<Server>,
    span: Range<usize>,
}

impl Address {
    fn hosts(&self) -> impl Iterator<Item = &Host> {
        std::iter::once(&self.url.host).chain(self.others.iter().map(|other| &other.host))
    }

    /// The host that needs the most care.
    fn farthest(&self) -> &Host {
        self.hosts().find(|host| !host.is_local()).unwrap_or(&self.url.host)
    }
}

/// What a primary takes from its replica where it is silent; the rest by value, since that may stand in the replica's `url`.
const INHERITED: &[&str] = &[
    "channel_binding",
    "ipv6",
    "ssl",
    "ssl_cert",
    "ssl_crl",
    "ssl_key",
    "ssl_mode",
    "ssl_negotiation",
    "ssl_root_cert",
];

/// Reads them; `None` if a part of them is absent or wrong.
pub(super) fn connection(table: &Table<'_>) -> Option<Connection> {
    read(table, None)
}

/// The one in the table `primary` of `replica`.
pub(super) fn primary(primary: &Table<'_>, replica: &Connection) -> Option<Connection> {
    read(primary, Some(replica))
}

/// The table `primary` of the database in `table`.
pub(super) fn primary_table<'a>(table: &Table<'a>) -> Option<Table<'a>> {
    table.inside("primary", &[keys::CONNECTION], INHERITED)
}

fn read(table: &Table<'_>, above: Option<&Connection>) -> Option<Connection> {
    let address = match table.raw("url") {
        Some(given) => from_url(table, &given),
        None if table.key("url").is_some() => None,
        None => from_keys(table, above),
    };
    let password_file = table.path("password_file");
    let named = address.as_ref().is_some_and(|address| address.url.password.is_some());
    // That of [defaults] gives way to the password in a database's `url`.
    let password_file = password_file.filter(|_| table.has("password_file") || !named);
    if let Some(span) = table.key("password_file").filter(|_| table.has("password_file"))
        && (named || table.key("password").is_some())
    {
        let wrong = Wrong::new("the password is given twice");
        table.reader().error(&span, wrong.hint("leave out `password_file`, or the password"));
    }
    let ipv6 = table.flag("ipv6");
    let tls = tls::tls(table, address.as_ref().map(Address::farthest));
    let inherited = above.is_some_and(|above| !matches!(above.password, Password::None));
    let given = ["password", "password_file"].iter().any(|key| table.key(key).is_some());
    let farthest = address.as_ref().map(Address::farthest);
    let channel_binding = tls::channel_binding(table, tls.as_ref(), farthest, !named && !inherited && !given);
    let address = address?;
    if ipv6.as_ref().is_some_and(|at| at.value) {
        let never = |host: &Host| match host {
            Host::Socket(_) => Some("a Unix socket"),
            Host::Address { ip, .. } if ip.is_ipv4() => Some("an IPv4 address"),
            Host::Address { .. } | Host::Name(_) => None,
        };
        if let Some(never) = address.hosts().find_map(never) {
            let wrong = Wrong::new(format!("`ipv6 = true` allows IPv6 addresses only, and the host is {never}"));
            let without = if table.has("ipv6") { "leave `ipv6` out" } else { "write `ipv6 = false`" };
            table.reader().error(&address.span, wrong.hint(without));
        }
    }
    let Address { url, others, .. } = address;
    let password = match (password_file, url.password) {
        (Some(file), _) => Password::File(file.value),
        (None, Some(password)) => Password::Value(SecretString::from(password)),
        (None, None) => above.map_or(Password::None, |above| above.password.clone()),
    };
    Some(Connection {
        host: url.host,
        port: url.port,
        others,
        standbys: Vec::new(),
        database: url.database,
        username: url.username,
        password,
        tls,
        channel_binding,
        ipv6: ipv6.is_some_and(|at| at.value),
    })
}

fn from_url(table: &Table<'_>, given: &At<&str>) -> Option<Address> {
    for key in IN_URL {
        if let Some((_, span)) = table.first_of(&[key]) {
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
        Ok(mut url) => {
            url.password = url.password.or_else(|| password(table));
            Some(Address { url, others: Vec::new(), span: given.span.clone() })
        }
        Err(wrong) => {
            table.reader().error(&given.span, wrong);
            None
        }
    }
}

fn from_keys(table: &Table<'_>, above: Option<&Connection>) -> Option<Address> {
    let servers = servers(table, above);
    let database = table.parsed("database", name_on_server);
    let username = table.parsed("username", name_on_server);
    let password = password(table);
    // Under libpq's spelling it is there, and the mistake is another.
    let alias = |ours: &str| keys::ALIASES.iter().any(|(alias, key)| *key == ours && table.key(alias).is_some());
    let absent = |key: &&str| table.key(key).is_none() && !alias(key);
    let needed: &[&str] = if above.is_some() { &["hostname"] } else { &["hostname", "database", "username"] };
    let listed = |key: &&str| *key == "hostname" && table.key("hosts").is_some();
    let missing: Vec<_> = needed.iter().copied().filter(|key| absent(key) && !listed(key)).collect();
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
            let wrong = Wrong::new(format!("{names} {verb} missing from {}", table.title()));
            table.reader().absent(table.span(), wrong);
        }
    }
    let At { value: mut servers, span } = servers?;
    let others = servers.split_off(1);
    let Server { host, port } = servers.pop()?;
    Some(Address {
        url: Url {
            username: username.map(|at| at.value).or_else(|| Some(above?.username.clone()))?,
            password,
            host,
            port,
            database: database.map(|at| at.value).or_else(|| Some(above?.database.clone()))?,
        },
        others,
        span,
    })
}

/// The one server of `hostname` and `port`, or those of `hosts`; at least one.
fn servers(table: &Table<'_>, above: Option<&Connection>) -> Option<At<Vec<Server>>> {
    let hostname = table.parsed("hostname", host);
    let port = table.number("port", port_number);
    let Some(span) = table.key("hosts") else {
        let At { value: host, span } = hostname?;
        let port = port.map_or(above.map_or(DEFAULT_PORT, |above| above.port), |at| at.value);
        return Some(At { value: vec![Server { host, port }], span });
    };
    if let Some((key, other)) = table.first_of(&["hostname", "port"]) {
        let wrong = Wrong::new(format!("`{key}` is given beside `hosts`"));
        let hint = "leave out one of the two; a port stands in `hosts`, as \"a.example.com:5432\"";
        table.reader().error_with(&other, wrong.hint(hint), &span, "this names the servers already");
        return None;
    }
    let At { value: listed, span } = table.list("hosts", false, server)?;
    if listed.is_empty() {
        let wrong = Wrong::new("`hosts` is empty, and nothing says where this database is");
        table.reader().error(&span, wrong.hint("write hosts = [\"a.example.com:5432\", \"b.example.com:5432\"]"));
        return None;
    }
    Some(At { value: listed.into_iter().map(|at| at.value).collect(), span })
}

/// The key `password`; as in libpq, an empty one is none.
fn password(table: &Table<'_>) -> Option<String> {
    table.secret("password").map(|at| at.value).filter(|password| !password.is_empty())
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
