//! What stands for the words in braces.

use std::net::IpAddr;
use std::path::Path;

use crate::config::{Connection, Host, Password};
use crate::ident::quote_ident;
use crate::wire::ServerError;

/// `template` with its words filled in.
pub(super) fn fill(template: &str, word: impl Fn(&str) -> String) -> String {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, (name, after))) =
        rest.split_once('{').and_then(|(before, after)| Some((before, after.split_once('}')?)))
    {
        filled.push_str(before);
        filled.push_str(&word(name));
        rest = after;
    }
    filled + rest
}

/// What stands for `{name}`, names as they go into SQL; a word that is not known stands as it is.
pub(super) fn word(name: &str, error: &ServerError, to: &Connection, known: &str) -> String {
    match name {
        "user" => quote_ident(&to.username),
        "database" => quote_ident(&to.database),
        "credentials" => credentials(to, std::env::var_os("CREDENTIALS_DIRECTORY").as_deref().map(Path::new)),
        "hba_line" => hba_line(error, to),
        "encryption" => encryption(to).to_owned(),
        "known" => known.to_owned(),
        _ => format!("{{{name}}}"),
    }
}

/// What to do about a password that was refused, by where it comes from.
fn credentials(to: &Connection, handed_over: Option<&Path>) -> String {
    let password = match &to.password {
        Password::File(path) if handed_over.is_some_and(|folder| path.starts_with(folder)) => {
            "correct the credential and restart slotd, since systemd copies it when the unit starts".to_owned()
        }
        Password::File(path) => {
            format!("correct the password in `password_file` {}, which is read again at every try", path.display())
        }
        Password::None | Password::Value(_) => "correct `password` and reload".to_owned(),
    };
    let certificate = to.tls.as_ref().and_then(|tls| tls.client_cert.as_ref());
    certificate.map_or_else(
        || password.clone(),
        |ours| {
            format!(
                "{password}; or `ssl_cert` {} is not made out to {}, where pg_hba.conf says clientcert=verify-full",
                ours.cert.display(),
                to.username
            )
        },
    )
}

/// The line of `pg_hba.conf` that lets us in, from the address that the server saw where its message names it, as it does
/// in every language.
fn hba_line(error: &ServerError, to: &Connection) -> String {
    let (user, database) = (hba_name(&to.username), hba_name(&to.database));
    if matches!(to.host, Host::Socket(_)) {
        return format!("local {database} {user} scram-sha-256");
    }
    let kind = if to.tls.is_some() { "hostssl" } else { "host" };
    let of_address = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':');
    let saw = error.message.split(|c| !of_address(c)).find_map(|part| part.parse::<IpAddr>().ok());
    let from = saw.map_or_else(|| "all".to_owned(), |ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }));
    format!("{kind} {database} {user} {from} scram-sha-256")
}

/// A name in `pg_hba.conf`, which knows words of its own, and lists, and patterns.
fn hba_name(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let keyword = ["all", "sameuser", "samerole", "samegroup", "replication"].contains(&name);
    if plain && !keyword { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// What `no encryption` in the server's message asks for.
fn encryption(to: &Connection) -> &'static str {
    match (&to.host, &to.tls) {
        (Host::Address { .. } | Host::Name(_), None) => {
            "if it has a hostssl line for this, set `ssl = true`: this connection is not encrypted, and such a line does \
             not count for it; else "
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;
    use crate::postgres::catalogue::ROWS;
    use crate::wire::Severity;

    fn connection(keys: &str) -> Connection {
        let text = format!("[[postgres_databases]]\nname = \"db\"\ndatabase = \"shop\"\nusername = \"slotd\"\n{keys}");
        config::parse(Path::new("/etc/slotd/slotd.toml"), &text, &|_| None).unwrap().databases[0].connection.clone()
    }

    fn says(message: &str) -> ServerError {
        let message = message.to_owned();
        ServerError { severity: Severity::Fatal, sqlstate: "28000".to_owned(), message, hint: None, routine: None }
    }

    #[test]
    fn each_word_in_braces_is_known() {
        let to = connection("hostname = \"db\"\npassword = \"x\"\n");
        for row in ROWS {
            for template in [row.means, row.hint] {
                let filled = fill(template, |name| word(name, &says("no"), &to, ""));
                assert!(!filled.contains('{'), "{}: {filled}", row.case);
            }
        }
    }

    #[test]
    fn the_line_for_pg_hba_has_the_address_that_the_server_saw() {
        let refusal = |host: &str| says(&format!("no pg_hba.conf entry for host \"{host}\", user \"slotd\""));
        let tls = connection("hostname = \"db.example.com\"\npassword = \"x\"\n");
        assert_eq!(hba_line(&refusal("10.0.0.7"), &tls), "hostssl shop slotd 10.0.0.7/32 scram-sha-256");
        assert_eq!(hba_line(&refusal("fd00::7"), &tls), "hostssl shop slotd fd00::7/128 scram-sha-256");
        let plain = connection("hostname = \"db.example.com\"\npassword = \"x\"\nssl = false\n");
        assert_eq!(hba_line(&refusal("10.0.0.7"), &plain), "host shop slotd 10.0.0.7/32 scram-sha-256");
        assert!(encryption(&plain).contains("ssl = true") && encryption(&tls).is_empty());
        let socket = connection("hostname = \"/run/postgresql\"\n");
        assert_eq!(hba_line(&refusal("[local]"), &socket), "local shop slotd scram-sha-256");
        assert_eq!(hba_name("all"), "\"all\"");
    }

    #[test]
    fn a_refused_password_is_corrected_where_it_stands() {
        let file = connection("hostname = \"db\"\npassword_file = \"/run/credentials/shop\"\n");
        assert!(credentials(&file, None).contains("`password_file` /run/credentials/shop, which is read again"));
        assert!(credentials(&file, Some(Path::new("/run/credentials"))).contains("restart slotd"));
        assert!(credentials(&connection("hostname = \"db\"\npassword = \"x\"\n"), None).contains("reload"));
        let certificate = "hostname = \"db\"\npassword = \"x\"\nssl_cert = \"c.pem\"\nssl_key = \"k.pem\"\n";
        assert!(credentials(&connection(certificate), None).contains("c.pem is not made out to slotd"));
    }
}
