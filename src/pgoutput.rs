//! The messages of the `pgoutput` plugin, protocol versions 1 to 4.
//!
//! Bytes in, borrowed messages out; no I/O, no clock, no state. [`decode`] walks a message to its end once, so that
//! what it returned can be read again without an error. The kinds that only streamed and prepared transactions use
//! are decoded as well.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>.

mod decode;
mod message;
mod tuple;

#[cfg(test)]
mod tests;

pub use decode::{DecodeError, POSTGRES_EPOCH, decode, decode_streamed};
pub use message::{Content, Message, RelationColumn, ReplicaIdentity};
pub use tuple::{OldTuple, Tuple, Value, Values};
