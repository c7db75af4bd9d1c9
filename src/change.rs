//! What flows: a change, the batch that carries it, and the cursor that says how far a sink has come.
//!
//! ```text
//!  wire frames ──► Batch { wire, changes, transactions, relations } ──► encode ──► sink ──► Cursor
//!                    └ a Change is an index into `wire`: nothing is copied before it is encoded
//! ```

mod batch;
mod cursor;
mod relation;
#[cfg(any(test, feature = "faults"))]
pub mod testing;
mod types;

pub use batch::{Batch, BatchBuilder, Change, ChangeKind, Gap, Transaction};
pub use cursor::{Cursor, OpenGap, Record, StreamIdentity, Unit};
pub use relation::{Column, Relation};
pub use types::{Field, Type, builtin};
