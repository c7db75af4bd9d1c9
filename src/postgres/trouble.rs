//! What an error means for the operator: class, reason, sentence and hint. What the server itself says is looked up in
//! [`catalogue`]; DETAIL is not shown anywhere, since it quotes rows.

mod client_cert;

use crate::config::{Connection, Host, Server};
use crate::net::dial::ReachError;
use crate::net::tls::TlsError;
pub use crate::postgres::catalogue::Step;
use crate::postgres::{ConnectError, NotPrimary, ReplicationError, SqlError, catalogue};
use crate::status::{Reason, Trouble};
use crate::wire::ServerError;
use crate::wire::login::LoginError;

/// Whether to try again by ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may end by itself: `retrying`.
    Retry,
    /// Somebody must do something: `failed`, looked at again every so often.
    Operator,
    /// Another session holds the slot: `waiting`.
    Held,
}

/// The class and the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    pub class: Class,
    pub trouble: Trouble,
}

fn diagnosis(class: Class, reason: Reason, sentence: impl AsRef<str>, hint: impl AsRef<str>) -> Diagnosis {
    Diagnosis { class, trouble: Trouble::new(reason, sentence, hint) }
}

/// `host:port`, as the file names them.
#[must_use]
pub fn address(to: &Connection) -> String {
    to.servers().iter().map(Server::to_string).collect::<Vec<_>>().join(" or ")
}

/// The server's name alone, as the file has it.
#[must_use]
pub fn hostname(to: &Connection) -> String {
    match &to.host {
        Host::Address { ip, .. } => ip.to_string(),
        Host::Name(name) => name.clone(),
        Host::Socket(folder) => folder.display().to_string(),
    }
}

/// Why there is no session.
#[must_use]
pub fn of_connect(error: &ConnectError, to: &Connection) -> Diagnosis {
    let place = address(to);
    let connection = |sentence: String, hint: &str| diagnosis(Class::Retry, Reason::Connection, sentence, hint);
    match error {
        ConnectError::Reach(source @ ReachError::Resolve(_)) => connection(error.to_string(), &source.hint()),
        ConnectError::Reach(source) => connection(format!("{place}: {error}"), &source.hint()),
        ConnectError::Socket { .. } => connection(
            format!("{place}: {error}"),
            "start the server, or correct `hostname` and `port`; listen_addresses and a firewall can be in the way too",
        ),
        ConnectError::Frame(_) => {
            connection(format!("{place} does not speak Postgres' protocol: {error}"), "correct `hostname` and `port`")
        }
        ConnectError::Io(_) | ConnectError::Timeout { .. } => {
            connection(format!("{place}: {error}"), "see whether the server and the way to it are up")
        }
        ConnectError::Login(error) => of_login(error, to),
        ConnectError::NoPrimary { tried } => of_hosts(error, tried, to),
        ConnectError::Password(source) => {
            diagnosis(Class::Operator, Reason::Authentication, error.to_string(), source.hint())
        }
        ConnectError::Sql(source) => match source.as_db_error() {
            Some(server) => of_server(Step::Connect, &ServerError::from_sql(server), to, ""),
            None => connection(format!("{place}: {error}"), "see the server's log"),
        },
        ConnectError::Tls(source) => of_tls(source, to),
    }
}

/// Why none of several servers is the primary. What somebody has to do at one of them is said first; it is that alone if there
/// is something at each.
fn of_hosts(error: &ConnectError, tried: &[(Server, NotPrimary)], to: &Connection) -> Diagnosis {
    let operators: Vec<_> = tried
        .iter()
        .filter_map(|(server, what)| match what {
            NotPrimary::Failed(error) => Some(of_connect(error, &to.to(server))),
            NotPrimary::PassedOver | NotPrimary::Standby => None,
        })
        .filter(|failed| failed.class == Class::Operator)
        .collect();
    let class = if operators.len() == tried.len() { Class::Operator } else { Class::Retry };
    match operators.first() {
        Some(Diagnosis { trouble, .. }) => diagnosis(class, trouble.reason, error.to_string(), &trouble.hint),
        None => diagnosis(
            Class::Retry,
            Reason::Connection,
            error.to_string(),
            "promote one of them, or correct `hosts`; each is tried again within two seconds",
        ),
    }
}

fn of_tls(error: &TlsError, to: &Connection) -> Diagnosis {
    let (class, reason) = match error.is_of_connection() {
        true => (Class::Retry, Reason::Connection),
        // A certificate is renewed, a file corrected: it is tried again at the slow pace.
        false => (Class::Operator, Reason::Tls),
    };
    diagnosis(class, reason, format!("{}: {error}", address(to)), error.hint())
}

fn of_login(error: &LoginError, to: &Connection) -> Diagnosis {
    let place = address(to);
    let authentication =
        |hint: &str| diagnosis(Class::Operator, Reason::Authentication, format!("{place}: {error}"), hint);
    match error {
        LoginError::Refused(server) => of_server(Step::ConnectReplication, server, to, ""),
        LoginError::Method(_) => authentication("let pg_hba.conf ask this user for scram-sha-256"),
        LoginError::NoPassword => authentication("give `password` or `password_file`"),
        LoginError::Unsafe(_) => authentication(
            "let pg_hba.conf ask for scram-sha-256, or have the server's certificate verified in full (`ssl = true`)",
        ),
        LoginError::Unbound(_) => diagnosis(
            Class::Operator,
            Reason::Tls,
            format!("{place}: {error}"),
            "let pg_hba.conf ask this user for scram-sha-256 in a hostssl line, and let TLS end at the server itself; or \
             leave `channel_binding` out",
        ),
        LoginError::Scram(_) => {
            authentication("correct the password; if it is right, somebody else answers in the server's place")
        }
        LoginError::Protocol(_) => diagnosis(
            Class::Retry,
            Reason::Connection,
            format!("{place}: {error}"),
            "see the server's log; a pooler does not pass replication connections on",
        ),
    }
}

/// Why a statement of a SQL session failed.
#[must_use]
pub fn of_sql(step: Step, error: &SqlError, to: &Connection) -> Diagnosis {
    match error {
        SqlError::Connect(error) => of_connect(error, to),
        SqlError::Server(error) => of_server(step, error, to, ""),
        SqlError::Session(_) | SqlError::Silent { .. } => broken_off(error, to),
        SqlError::Unexpected { .. } => diagnosis(
            Class::Operator,
            Reason::Server,
            format!("{}: {error}", address(to)),
            "report this with the server's version; the slot is kept and nothing is lost",
        ),
    }
}

/// Why a command of a replication session failed, or its stream ended.
#[must_use]
pub fn of_replication(step: Step, error: &ReplicationError, to: &Connection) -> Diagnosis {
    match error {
        ReplicationError::Connect(error) => of_connect(error, to),
        ReplicationError::Server(error) => of_server(step, error, to, ""),
        ReplicationError::Silent { .. } => diagnosis(
            Class::Retry,
            Reason::Connection,
            format!("{}: {error}", address(to)),
            "see what the server waits for: SELECT pid, wait_event_type, wait_event FROM pg_stat_activity WHERE \
             backend_type = 'walsender'; if it hangs on its disk, nothing else there goes on either",
        ),
        _ => broken_off(error, to),
    }
}

fn broken_off(error: &dyn std::fmt::Display, to: &Connection) -> Diagnosis {
    diagnosis(Class::Retry, Reason::Connection, format!("{}: {error}", address(to)), "see the server's log")
}

/// What the server's own refusal means; `known` is what was found out besides, in words, or empty.
#[must_use]
pub fn of_server(step: Step, error: &ServerError, to: &Connection, known: &str) -> Diagnosis {
    if client_cert::is_meant(error, to) {
        return client_cert::refused(error, to);
    }
    catalogue::of_server(step, error, to, known)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_somebody_has_to_do_at_one_of_several_hosts_is_said_before_all_else() {
        let text =
            "[[postgres_databases]]\nname = \"shop\"\nhosts = [\"a\", \"b\"]\ndatabase = \"shop\"\nusername = \"me\"\n";
        let config = crate::config::parse(Path::new("slotd.toml"), text, &|_| None).unwrap();
        let to = &config.databases[0].connection;
        let none = || NotPrimary::Failed(Box::new(ConnectError::Login(LoginError::NoPassword)));
        let told = |what: [NotPrimary; 2]| {
            let tried = to.servers().into_iter().zip(what).collect();
            let Diagnosis { class, trouble } = of_connect(&ConnectError::NoPrimary { tried }, to);
            (class, trouble.reason, trouble.hint)
        };
        let password = "give `password` or `password_file`".to_owned();
        let authentication = |class| (class, Reason::Authentication, password.clone());
        assert_eq!(told([NotPrimary::Standby, none()]), authentication(Class::Retry));
        assert_eq!(told([none(), none()]), authentication(Class::Operator));
        let (class, reason, hint) = told([NotPrimary::Standby, NotPrimary::PassedOver]);
        assert_eq!((class, reason), (Class::Retry, Reason::Connection));
        assert!(hint.starts_with("promote one of them"), "{hint}");
    }
}
