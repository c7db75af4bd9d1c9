//! `url`: `postgresql://username:password@hostname:port/database`.
//!
//! The URL is split as it stands in the file and its variables are put in place in the parts, so that a password from
//! a variable may hold `@`, `/` or `%`. Percent-escapes are decoded in what is written out, never in what a variable
//! holds. A URL that is one variable and nothing else (`${DATABASE_URL}`) is put in place first and then split, with
//! nothing in it expanded again. No mistake quotes a part of the URL: where a password is written without its escapes,
//! any part may be a piece of it.
//!
//! Source: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>.

use super::Host;
use super::expand::{Env, Piece, pieces};
use super::host::host;
use super::wrong::Wrong;

/// The port where the URL names none.
pub(super) const DEFAULT_PORT: u16 = 5432;

const SHAPE: &str = "write it as \"postgresql://username:password@hostname:port/database\"";

/// libpq's parameters, and what takes their place.
const PARAMETERS: &[(&str, &str)] = &[
    ("channel_binding", "`channel_binding`"),
    ("connect_timeout", "`connect_timeout` in [agent]"),
    ("dbname", "the path of the URL"),
    ("host", "`hostname`, in place of `url`"),
    ("hostaddr", "`hostname`, in place of `url`"),
    ("passfile", "`password_file`"),
    ("password", "`password_file`, or the URL itself"),
    ("port", "the port in the URL"),
    ("sslcert", "`ssl_cert`"),
    ("sslcrl", "`ssl_crl`"),
    ("sslkey", "`ssl_key`"),
    ("sslmode", "`ssl_mode`, or `ssl = false`"),
    ("sslnegotiation", "`ssl_negotiation`"),
    ("sslrootcert", "`ssl_root_cert`"),
    ("user", "the user in the URL"),
];

/// The parts of a URL, without TLS and whatever else has keys of its own.
#[derive(PartialEq, Eq)]
pub(super) struct Url {
    pub(super) username: String,
    pub(super) password: Option<String>,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) database: String,
}

/// Reads `text` as it stands in the file.
pub(super) fn url(text: &str, env: Env<'_>) -> Result<Url, Wrong> {
    let pieces = pieces(text).map_err(|(_, wrong)| wrong)?;
    if let [(_, only @ Piece::Variable { .. })] = pieces.as_slice() {
        let whole: Vec<_> = only.value(env)?.chars().map(Token::Written).collect();
        return split(&whole);
    }
    let mut tokens = Vec::new();
    for (_, piece) in pieces {
        match piece {
            Piece::Literal(text) => tokens.extend(text.chars().map(Token::Written)),
            held => tokens.push(Token::Held(held.value(env)?)),
        }
    }
    split(&tokens)
}

/// A URL in small parts, of which only what is written out can be syntax.
enum Token {
    Written(char),
    /// What a variable holds.
    Held(String),
}

impl Token {
    const fn is(&self, c: char) -> bool {
        matches!(self, Self::Written(written) if *written == c)
    }
}

fn split(url: &[Token]) -> Result<Url, Wrong> {
    let rest = ["postgresql://", "postgres://"].iter().find_map(|scheme| strip_prefix(url, scheme));
    let rest = rest.ok_or_else(|| Wrong::new("`url` begins with `postgresql://` or `postgres://`").hint(SHAPE))?;
    let end = rest.iter().position(|token| ['/', '?', '#'].iter().any(|c| token.is(*c))).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if !authority.iter().any(|token| token.is('@')) && tail.iter().any(|token| token.is('@')) {
        return Err(Wrong::new("`url` has a `/`, `?` or `#` before its `@`")
            .hint("in a password write `%2F`, `%3F`, `%23`, or take it from a variable, where it needs no escapes"));
    }
    if let Some(at) = tail.iter().position(|token| token.is('?')) {
        return Err(parameter(tail.get(at + 1..).unwrap_or_default()));
    }
    if tail.iter().any(|token| token.is('#')) {
        return Err(Wrong::new("`url` has a `#`, which ends it").hint("write `%23` for the character"));
    }
    let (user, place) = match authority.iter().rposition(|token| token.is('@')) {
        Some(at) => (authority.get(..at).unwrap_or_default(), authority.get(at + 1..).unwrap_or_default()),
        None => (&[][..], authority),
    };
    let (username, password) = match user.iter().position(|token| token.is(':')) {
        Some(at) => (decode(user.get(..at).unwrap_or_default())?, decode(user.get(at + 1..).unwrap_or_default())?),
        None => (decode(user)?, String::new()),
    };
    if username.is_empty() {
        return Err(Wrong::new("`url` names no user").hint(SHAPE));
    }
    let (host, port) = host_and_port(place)?;
    let database = tail.get(1..).unwrap_or_default();
    if database.iter().any(|token| token.is('/')) {
        return Err(Wrong::new("`url` has more than a database behind its host").hint(SHAPE));
    }
    let database = decode(database)?;
    if database.is_empty() {
        return Err(Wrong::new("`url` names no database").hint(SHAPE));
    }
    Ok(Url { username, password: Some(password).filter(|password| !password.is_empty()), host, port, database })
}

fn strip_prefix<'a>(url: &'a [Token], scheme: &str) -> Option<&'a [Token]> {
    let fits = url.len() >= scheme.len() && scheme.chars().zip(url).all(|(c, token)| token.is(c));
    fits.then(|| url.get(scheme.len()..)).flatten()
}

/// The first parameter is named only if it is one of libpq's: any other word may be a piece of a password.
fn parameter(query: &[Token]) -> Wrong {
    let end = query.iter().position(|token| token.is('=')).unwrap_or(query.len());
    let name: String =
        query.iter().take(end).map_while(|t| if let Token::Written(c) = t { Some(*c) } else { None }).collect();
    match PARAMETERS.iter().find(|(parameter, _)| *parameter == name) {
        Some((_, ours)) => {
            Wrong::new(format!("`url` takes no parameters, and this one has `{name}`")).hint(format!("write {ours}"))
        }
        None => Wrong::new("`url` takes no parameters")
            .hint("settings have keys of their own; in a password write `%3F` for `?`"),
    }
}

fn host_and_port(place: &[Token]) -> Result<(Host, u16), Wrong> {
    let bracketed = place.first().is_some_and(|token| token.is('['));
    let (name, port) = if bracketed {
        let end = place.iter().position(|token| token.is(']'));
        let end = end.ok_or_else(|| Wrong::new("`url` has a `[` without its `]`"))? + 1;
        let (name, port) = place.split_at(end);
        // A zone's `%` is either escaped or written as it is everywhere else.
        (plain(name).replace("%25", "%"), port)
    } else {
        let colons = place.iter().filter(|token| token.is(':')).count();
        if colons > 1 {
            return Err(Wrong::new("`url` has more than one `:` in its host")
                .hint("write an IPv6 address in brackets, and one host only"));
        }
        let end = place.iter().position(|token| token.is(':')).unwrap_or(place.len());
        let (name, port) = place.split_at(end);
        (decode(name)?, port)
    };
    if name.is_empty() {
        return Err(Wrong::new("`url` names no host").hint(SHAPE));
    }
    let host =
        host(&name).map_err(|wrong| Wrong { sentence: format!("the host in `url`: {}", wrong.sentence), ..wrong })?;
    let port = match port.split_first() {
        None => DEFAULT_PORT,
        Some((colon, digits)) if colon.is(':') => port_number(&plain(digits))
            .map_err(|wrong| Wrong { sentence: format!("the port in `url`: {}", wrong.sentence), ..wrong })?,
        Some(_) => return Err(Wrong::new("`url` has more than a port behind its host").hint(SHAPE)),
    };
    Ok((host, port))
}

/// Reads a port.
pub(super) fn port_number(text: &str) -> Result<u16, Wrong> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = text.parse::<u16>().ok().filter(|port| digits && *port > 0);
    port.ok_or_else(|| Wrong::new("a port is a number from 1 to 65535"))
}

fn plain(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens {
        match token {
            Token::Written(c) => text.push(*c),
            Token::Held(value) => text.push_str(value),
        }
    }
    text
}

/// The text of `tokens`, with the percent-escapes of what is written out decoded.
fn decode(tokens: &[Token]) -> Result<String, Wrong> {
    let digit = |token: Option<&Token>| match token {
        Some(Token::Written(c)) => c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()),
        _ => None,
    };
    let mut bytes = Vec::new();
    let mut tokens = tokens.iter();
    while let Some(token) = tokens.next() {
        match token {
            Token::Written('%') => match (digit(tokens.next()), digit(tokens.next())) {
                (Some(high), Some(low)) => bytes.push(high << 4 | low),
                _ => {
                    return Err(Wrong::new("`url` has a `%` without its two hexadecimal digits")
                        .hint("write `%25` for the character"));
                }
            },
            Token::Written(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Token::Held(value) => bytes.extend_from_slice(value.as_bytes()),
        }
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| Wrong::new("`url` has percent-escapes that are not UTF-8 text"))
}

#[cfg(test)]
mod tests;
