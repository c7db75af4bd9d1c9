//! One slot's pipeline, from the replication session to the sinks and back to the acknowledgement.

pub mod positions;
