//! Mistakes of a file, shown where they stand.

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {}

/// All mistakes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {}
