//! slotd keeps Postgres publications and logical replication slots as a file declares them, and streams each slot to
//! a sink without losing or repeating a change.
//!
//! Two planes meet in the supervisor. The control plane ([`provision`], [`guard`]) compares what is declared with
//! what a server has and takes steps. The data plane ([`stream`]) carries one slot's WAL to its sinks and acknowledges
//! what is durable. Both report to [`status`], the only thing that HTTP and the command line read.
//!
//! A room imports only from floors below it; `tests/it/layers.rs` holds the order. ARCHITECTURE.md has the tour.

pub mod faults;
pub mod lsn;
pub mod ident;
pub mod retry;
pub mod storage;

pub mod pgoutput;
pub mod config;
pub mod status;
pub mod change;
pub mod encode;
pub mod sink;
pub mod stream;
pub mod http;

pub mod logging;
pub mod daemon;
pub mod cli;
