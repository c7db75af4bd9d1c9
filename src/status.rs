//! What is: the state of every database, and the registry that holds it.
//!
//! The planes report through a [`Reporter`] into the [`Registry`]; HTTP, the socket and systemd read from it and from
//! nothing else. A request does no work against Postgres: it reads what is recorded, or sends a [`Command`]. What is
//! recorded is judged in one place, [`judge`], and shown in one shape, [`Health`].

mod clocks;
mod command;
mod counters;
mod database;
mod event;
mod health;
mod lag;
mod log_switch;
mod model;
mod registry;
mod reporter;
mod streak;
mod told;
mod verdict;
mod wal_growth;
mod words;

pub use clocks::{BEAT, Clock, Stuck};
pub use command::{Command, Refusal, Reply};
pub use counters::{Counts, SinkCounts};
pub use database::DatabaseStatus;
pub use health::{DatabaseHealth, Health, LagHealth};
pub use lag::Lag;
pub use log_switch::{LOST_LINES, LogSwitch};
pub use model::{Condition, Finding, Holder, Positions, Reason, SqlState, State, Trouble, WalUse, XidHolder};
pub use registry::{AgentStatus, Registry};
pub use reporter::{Reporter, WAL_NOT_FREED};
pub use streak::Streak;
pub use told::STEADY;
pub use verdict::{Assessment, Bounds, PERIOD, Row, STALE, Verdict, judge};
pub use words::{age, databases, failures, lasted, one_line, size};

#[cfg(test)]
pub(crate) mod tests;
