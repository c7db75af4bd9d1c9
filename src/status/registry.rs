//! The registry: what both planes report, and the only thing that HTTP reads.

/// What is known of every database.
#[derive(Debug, Clone)]
pub struct Registry {}

/// Reports for one database.
#[derive(Debug)]
pub struct Reporter {}
