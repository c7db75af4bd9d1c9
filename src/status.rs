//! What is: the state of every database, and the registry that holds it.
//!
//! The planes report into the [`Registry`]; HTTP, the socket and systemd read from it and from nothing else.

mod model;
mod registry;
mod verdict;

pub use model::{Condition, DatabaseStatus, Finding, Positions, Reason, State, Trouble, WalUse};
pub use registry::{Registry, Reporter};
pub use verdict::{Health, Verdict};
