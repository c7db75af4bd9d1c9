//! From a server's name to a byte stream that is ready for Postgres' startup message.
//!
//! One path for both kinds of session: [`resolve`] gives addresses, [`dial`] races them, [`tls`] asks for encryption
//! and verifies. `tokio-postgres` and our replication sessions start on the same [`Stream`].

pub mod dial;
pub mod resolve;
mod socket;
mod stream;
pub mod tls;

pub use socket::{Lull, Socket};
pub use stream::Stream;
