//! slotd keeps Postgres publications and logical replication slots as a file declares them, and streams each slot to
//! a sink without losing or repeating a change.
//!
//! Two planes meet in the supervisor. The control plane ([`provision`], [`guard`]) compares what is declared with
//! what a server has and takes steps. The data plane ([`stream`]) carries one slot's WAL to its sinks and acknowledges
//! what is durable. Both report to [`status`], the only thing that HTTP and the command line read.
//!
//! A room imports only from floors below it; `tests/it/layers.rs` holds the order. ARCHITECTURE.md has the tour.

pub mod change;
pub mod child;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod encode;
pub mod faults;
pub mod guard;
pub mod http;
pub mod ident;
pub mod logging;
pub mod lsn;
pub mod net;
pub mod pgoutput;
pub mod postgres;
pub mod provision;
pub mod retry;
pub mod sink;
pub mod status;
pub mod storage;
pub mod stream;
pub mod supervisor;
pub mod systemd;
pub mod task;
pub mod wire;
