//! What a request may ask the supervisor for.
//!
//! Commands cross on a bounded channel, each with its own way back. They stand here, below the supervisor, so that
//! neither it nor HTTP has to know the other.

use tokio::sync::oneshot;

use crate::config::LogLevel;
use crate::ident::DatabaseName;

/// What was done, in a sentence, or why not.
pub type Reply = Result<String, Refusal>;

/// Something that only the supervisor may do.
#[derive(Debug)]
pub enum Command {
    /// Make publication and slot as declared, and alter what is there otherwise; the operator says so.
    Apply { database: DatabaseName, recreate_publication: bool, reply: oneshot::Sender<Reply> },
    /// Disable it, whatever the file says.
    Disable { database: DatabaseName, reply: oneshot::Sender<Reply> },
    /// Disable it, and drop its slot, and its publication if slotd made that.
    Drop { database: DatabaseName, reply: oneshot::Sender<Reply> },
    /// Make it active, whatever the file says.
    Enable { database: DatabaseName, reply: oneshot::Sender<Reply> },
    /// Change the level of the log until the next start, or until a changed file says otherwise.
    LogLevel { level: LogLevel, reply: oneshot::Sender<Reply> },
    /// Read the file again and apply the difference.
    Reload { reply: oneshot::Sender<Reply> },
    /// End `lost` at the price of a gap; the operator has accepted it.
    Resume { database: DatabaseName, reply: oneshot::Sender<Reply> },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not fit the state the database is in.
    #[error("{0}")]
    Conflict(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// The file has mistakes; the text shows all of them. The old one stays in force.
    #[error("{0}")]
    File(String),
    /// No database of this name.
    #[error("no database is called {0}")]
    Unknown(DatabaseName),
}
