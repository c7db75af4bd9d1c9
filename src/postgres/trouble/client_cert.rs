//! The server wants a client certificate, or another one than it got.
//!
//! Source: <https://www.postgresql.org/docs/current/auth-cert.html>.

use super::{Class, Diagnosis, address, diagnosis};
use crate::config::{ClientCert, Connection};
use crate::status::Reason;
use crate::wire::ServerError;

/// Whether a refusal with 28000 is about a client certificate. The same function refuses where pg_hba.conf lets nobody
/// in, and names that file, which is called so in every language.
pub(super) fn is_meant(error: &ServerError, to: &Connection) -> bool {
    error.sqlstate == "28000"
        && match error.routine.as_deref() {
            Some("ClientAuthentication") => !error.message.contains("pg_hba.conf"),
            Some("auth_failed") => ours(to).is_some(),
            _ => false,
        }
}

/// The certificate that slotd shows.
fn ours(to: &Connection) -> Option<&ClientCert> {
    to.tls.as_ref()?.client_cert.as_ref()
}

/// The words.
pub(super) fn refused(error: &ServerError, to: &Connection) -> Diagnosis {
    let place = address(to);
    let (sentence, hint) = match (error.routine.as_deref(), ours(to)) {
        (_, None) => (
            format!("{place}: the server demands a client certificate, and none is given: {error}"),
            "give `ssl_cert` and `ssl_key`".to_owned(),
        ),
        (Some("ClientAuthentication"), Some(ours)) => (
            format!(
                "{place}: the server could do nothing with our client certificate {}: {error}",
                ours.cert.display()
            ),
            "give an `ssl_cert` with a key of RSA or ECDSA, that an authority in the server's ssl_ca_file has signed"
                .to_owned(),
        ),
        (_, Some(ours)) => (
            format!("{place}: the client certificate {} is not the user's: {error}", ours.cert.display()),
            format!(
                "its common name has to be {0}, or pg_ident.conf has to map it to {0} and pg_hba.conf to name that map",
                to.username
            ),
        ),
    };
    diagnosis(Class::Operator, Reason::Authentication, sentence, hint)
}
