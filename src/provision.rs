//! The control plane: what is declared against what the server has.
//!
//! [`observe`] reads, [`plan`] decides without touching anything, [`apply`] takes the steps, publication first, slot
//! second: a slot decodes with the catalog as it was at each position, so a publication that is younger than the slot
//! leaves a hole. A round takes no input but these, so the path after a restart is the path of every day. Nothing that
//! exists is changed.

mod apply;
mod observe;
mod plan;
mod round;

pub use observe::{Observed, observe};
pub use plan::{Action, Plan, Refusal, plan};
pub use round::{Ensured, Round, check, release_commits};
