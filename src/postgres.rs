//! Sessions with a server: SQL by `tokio-postgres`, replication by our own; what the catalog holds; what errors mean.

pub mod catalog;
pub mod catalogue;
mod connector;
pub mod failover;
mod history;
mod hosts;
pub mod identity;
pub mod orphans;
pub mod preflight;
pub mod publication;
mod replication;
pub mod slot_trouble;
mod sql;
pub mod standby;
mod stream_facts;
pub mod sync_standby;
pub mod tables;
pub mod trouble;
mod turns;
pub mod types;
mod visit;
pub mod xid_holder;
pub mod younger;

pub use connector::{ConnectError, Connector};
pub use history::{History, HistoryError};
pub use hosts::NotPrimary;
pub use replication::{CopyReader, CopyWriter, ReplicationError, ReplicationSession, SystemIdentity};
pub use sql::{SqlError, SqlSession};
pub use stream_facts::StreamFacts;
pub use visit::Visit;
