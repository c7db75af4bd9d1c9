//! One slot's pipeline, from the replication session to the sinks and back to the acknowledgement.
//!
//! ```text
//!  walsender ══► reader ──batch──► sink task (one per sink) ──► file, stdout
//!      ▲            │ keepalive            │ durable
//!      │            ▼                      ▼
//!      └── feedback ◄──────────────── Progress ──► positions (idle acknowledgements, fsynced)
//! ```
//!
//! The reader never waits for a sink while it could read, and feedback goes out on its own clock whatever the reader
//! does. What may be acknowledged is decided in one place, [`progress`]; where a stream starts, in one pure function,
//! [`resume::judge`].

mod calm;
mod feedback;
mod gather;
mod give_up;
mod hush;
mod pipeline;
pub mod positions;
pub mod progress;
mod reader;
mod relations;
pub mod resume;
mod sinks;

pub use pipeline::{Anew, End, Former, Holes, Identified, Opened, Pipeline, Ready, Started};
pub use sinks::NamedSink;
