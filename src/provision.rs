//! The control plane: what is declared against what the server has.
//!
//! [`observe`] reads, [`plan`] decides without touching anything, [`apply`] takes the steps, publication first, slot
//! second: a slot decodes with the catalog as it was at each position, so a publication that is younger than the slot
//! leaves a hole. A round takes no input but these, so the path after a restart is the path of every day. What exists is
//! changed as far as [`Consent`] goes, and no further.

mod apply_publication;
mod apply_slot;
mod consent;
pub mod difference;
pub mod failover;
mod identities;
pub mod made;
mod observe;
mod plan;
mod preflight;
pub mod primary;
mod refusals;
mod round;
#[cfg(test)]
mod testing;

pub use apply_slot::advance;
pub use consent::Consent;
pub use observe::{Observed, Unobserved, observe};
pub use plan::{Kind, Plan, PublicationStep, SlotStep, plan};
pub use preflight::{Preflight, preflight};
pub use refusals::{Refusal, unusable};
pub use round::{Dropped, Ensured, Readers, Round, create_slot_sql, release_commits};
