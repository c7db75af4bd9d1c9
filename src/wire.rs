//! The frontend/backend protocol on the byte level: bytes in, messages out.
//!
//! No I/O, no clock: sessions feed a buffer and ask for what is whole in it, so a read can be cancelled at any byte.
//! Parsing rests on `postgres-protocol`; what replication adds to the protocol stands here.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol.html>.

pub mod frame;
pub mod login;
pub mod replication;
mod server_error;

pub use server_error::{ServerError, Severity};
