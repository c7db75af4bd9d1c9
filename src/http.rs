//! The health answers over HTTP, on TCP and on the Unix socket, and the commands on the socket alone.
//!
//! A request reads the [`Registry`](crate::status::Registry) or sends the supervisor a
//! [`Command`](crate::status::Command); it never waits for a server, so the answer comes while a database hangs.
//! What may be asked by whom is decided by the listener: the socket's file mode guards commands, a loopback port has
//! the Host header checked (a web page can point a name of its own at 127.0.0.1), and a port off loopback shows only
//! the probes unless the file says `public_status = true`. docs/HEALTH.md describes the answers.

mod answer;
mod control;
mod guard;
mod listen;
mod metrics;
mod routes;
mod serve;

pub use listen::{ControlSocket, HealthPort, Listeners, ServeError};
pub use serve::serve;

#[cfg(test)]
mod tests;
