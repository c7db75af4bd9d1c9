//! What an error means for the operator: one table from (step, error) to reason, sentence and hint.
//!
//! Matched on SQLSTATE and the step that failed, never on the server's text: 55000 alone has nine meanings. DETAIL is
//! not shown anywhere, since it quotes rows.
//!
//! Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>; which step gives which code was read off
//! servers of 15 to 18.

mod client_cert;

use crate::config::{Connection, Host};
use crate::net::dial::ReachError;
use crate::net::tls::TlsError;
use crate::postgres::{ConnectError, ReplicationError, SqlError};
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

/// What was being done when the server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Connect,
    CreatePublication,
    CreateSlot,
    Observe,
    Start,
    Stream,
}

/// The class and the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    pub class: Class,
    pub trouble: Trouble,
}

fn diagnosis(class: Class, reason: Reason, sentence: impl Into<String>, hint: impl Into<String>) -> Diagnosis {
    Diagnosis { class, trouble: Trouble::new(reason, sentence, hint) }
}

/// `host:port`, as the file names them.
#[must_use]
pub fn address(to: &Connection) -> String {
    match &to.host {
        Host::Address { ip, zone: None } if ip.is_ipv4() => format!("{ip}:{}", to.port),
        Host::Address { ip, zone } => {
            let zone = zone.as_ref().map(|zone| format!("%{zone}")).unwrap_or_default();
            format!("[{ip}{zone}]:{}", to.port)
        }
        Host::Name(name) => format!("{name}:{}", to.port),
        Host::Socket(folder) => format!("{} port {}", folder.display(), to.port),
    }
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
        ConnectError::Password(_) => diagnosis(
            Class::Operator,
            Reason::Authentication,
            error.to_string(),
            "make `password_file` a file that the user of slotd can read",
        ),
        ConnectError::Sql(source) => match source.as_db_error() {
            Some(server) => of_server(Step::Connect, &ServerError::from_sql(server), to),
            None => connection(format!("{place}: {error}"), "see the server's log"),
        },
        ConnectError::Tls(source) => of_tls(source, to),
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
        LoginError::Refused(server) => of_server(Step::Connect, server, to),
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
        SqlError::Server(error) => of_server(step, error, to),
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
        ReplicationError::Server(error) => of_server(step, error, to),
        _ => broken_off(error, to),
    }
}

fn broken_off(error: &dyn std::fmt::Display, to: &Connection) -> Diagnosis {
    diagnosis(Class::Retry, Reason::Connection, format!("{}: {error}", address(to)), "see the server's log")
}

/// What the server's own refusal means.
#[must_use]
pub fn of_server(step: Step, error: &ServerError, to: &Connection) -> Diagnosis {
    let user = &to.username;
    let database = &to.database;
    let said = |reason: Reason, class: Class, hint: String| {
        let trouble = Trouble::new(reason, format!("{}: {error}", address(to)), hint).with_sqlstate(&error.sqlstate);
        Diagnosis { class, trouble }
    };
    match (step, error.sqlstate.as_str()) {
        (_, "28P01") => said(
            Reason::Authentication,
            Class::Operator,
            format!("correct the password of {user}; a `password_file` is read again at every try"),
        ),
        // The server's words for it are the same SQLSTATE as for a missing line of pg_hba.conf.
        (Step::Connect, "28000")
            if matches!(error.routine.as_deref(), Some("read_client_first_message" | "read_client_final_message")) =>
        {
            diagnosis(
                Class::Operator,
                Reason::Tls,
                format!(
                    "{}: TLS does not end at the server: the certificate that slotd was shown is not the server's \
                     (channel binding failed): {error}",
                    address(to)
                ),
                "find out who stands between and ends TLS: a proxy has to pass TLS on as it is, anyone else was about \
                 to read all that is said",
            )
        }
        (Step::Connect, "28000") if client_cert::is_meant(error) => client_cert::refused(error, to),
        (Step::Connect, "28000") => said(
            Reason::Authentication,
            Class::Operator,
            format!(
                "add a line to pg_hba.conf that lets {user} into {database} from the address that the server names, or \
                 create the role"
            ),
        ),
        (Step::Connect, "42501") if error.routine.as_deref() == Some("CheckMyDatabase") => said(
            Reason::Privilege,
            Class::Operator,
            format!(
                "run: GRANT CONNECT ON DATABASE {} TO {};",
                crate::ident::quote_ident(database),
                crate::ident::quote_ident(user)
            ),
        ),
        (Step::Connect, "42501") => said(
            Reason::Privilege,
            Class::Operator,
            format!(
                "run: ALTER ROLE {} REPLICATION; (on RDS: GRANT rds_replication TO …)",
                crate::ident::quote_ident(user)
            ),
        ),
        (Step::Connect, "3D000") => {
            said(Reason::Server, Class::Operator, format!("correct `database`, or create {database}"))
        }
        (_, "53300") => said(
            Reason::Server,
            Class::Retry,
            "end other connections, or raise max_connections or max_wal_senders".to_owned(),
        ),
        (_, "57P01" | "57P02" | "57P03") => {
            said(Reason::Connection, Class::Retry, "nothing to do if the server is being restarted".to_owned())
        }
        (Step::CreateSlot, "53400") => said(
            Reason::Server,
            Class::Operator,
            "drop slots that nobody uses, or raise max_replication_slots and restart the server".to_owned(),
        ),
        (Step::CreateSlot, "55000") => said(
            Reason::Server,
            Class::Operator,
            "run: ALTER SYSTEM SET wal_level = 'logical'; and restart the server".to_owned(),
        ),
        (Step::CreateSlot, "55P03" | "57014") => said(
            Reason::Server,
            Class::Retry,
            "end the transactions that are open: making a slot waits for all of them".to_owned(),
        ),
        (Step::CreatePublication, "42501") => said(
            Reason::Privilege,
            Class::Operator,
            format!(
                "let an owner or a superuser make the publication, or run: GRANT CREATE ON DATABASE {} TO {}; all tables \
                 and schemas need a superuser",
                crate::ident::quote_ident(database),
                crate::ident::quote_ident(user)
            ),
        ),
        (Step::CreatePublication, "55P03") => said(
            Reason::Publication,
            Class::Retry,
            "end what holds a lock on one of the tables, a schema change or a vacuum, or wait for it".to_owned(),
        ),
        (Step::CreatePublication, "42P01" | "3F000" | "22023") => {
            said(Reason::Publication, Class::Operator, "correct `tables` or `schemas`".to_owned())
        }
        (Step::Start | Step::CreateSlot, "55006") => {
            said(Reason::SlotHeld, Class::Held, "end the session that holds the slot, or wait for it".to_owned())
        }
        (Step::Start, "42704") => {
            said(Reason::Server, Class::Retry, "nothing to do: the slot is looked for again".to_owned())
        }
        (Step::Stream, "42704") => said(
            Reason::PublicationGap,
            Class::Operator,
            "the publication is younger than the slot's position: `slotd resume` with `--accept-gap` goes on behind it"
                .to_owned(),
        ),
        (_, "42501") => said(Reason::Privilege, Class::Operator, "grant what the server's message names".to_owned()),
        (_, code) if code.starts_with("42") => {
            said(Reason::Server, Class::Operator, "report this with the server's version".to_owned())
        }
        _ => {
            said(Reason::Server, Class::Retry, error.hint.clone().unwrap_or_else(|| "see the server's log".to_owned()))
        }
    }
}
