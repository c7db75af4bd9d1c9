//! What the server says when it refuses, warns or breaks off.

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// How grave a message of the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Notice,
    Warning,
    Error,
    Fatal,
    Panic,
}

/// An ErrorResponse or NoticeResponse. DETAIL is left out: it quotes rows.
///
/// Source: <https://www.postgresql.org/docs/current/protocol-error-fields.html>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub severity: Severity,
    /// Five characters; <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
    pub sqlstate: String,
    /// In the server's own language: shown, never compared.
    pub message: String,
    pub hint: Option<String>,
    /// The function of the server's source that says it, the same in every language: what tells apart messages of one
    /// SQLSTATE.
    pub routine: Option<String>,
}

impl ServerError {
    /// Gathers the fields of a response; what can't be read is left out.
    #[must_use]
    pub fn from_fields(mut fields: ErrorFields<'_>) -> Self {
        let mut error = Self {
            severity: Severity::Error,
            sqlstate: String::new(),
            message: String::new(),
            hint: None,
            routine: None,
        };
        while let Ok(Some(field)) = fields.next() {
            let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'V' => error.severity = Severity::parse(&value()),
                b'C' => error.sqlstate = value(),
                b'M' => error.message = value(),
                b'H' => error.hint = Some(value()),
                b'R' => error.routine = Some(value()),
                _ => {}
            }
        }
        error
    }

    /// The same of an error that a SQL session has met.
    #[must_use]
    pub fn from_sql(error: &tokio_postgres::error::DbError) -> Self {
        Self {
            severity: Severity::parse(error.severity()),
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            hint: error.hint().map(str::to_owned),
            routine: error.routine().map(str::to_owned),
        }
    }

    /// Whether the server warns that changes are passed by, since the publication did not exist when they were made: 18 and
    /// later. 55000 is the code of other warnings too, and the text may be in any language.
    #[must_use]
    pub fn skips_publication(&self) -> bool {
        self.sqlstate == "55000" && self.routine.as_deref() == Some("LoadPublications")
    }
}

impl Severity {
    fn parse(text: &str) -> Self {
        match text {
            "PANIC" => Self::Panic,
            "FATAL" => Self::Fatal,
            "WARNING" => Self::Warning,
            "NOTICE" | "DEBUG" | "INFO" | "LOG" => Self::Notice,
            _ => Self::Error,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)
    }
}

impl std::error::Error for ServerError {}
