//! What is asked of Postgres over SQL sessions.

pub mod types;
