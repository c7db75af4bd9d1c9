//! The verdict on what is known.

/// pass, warn or fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
}

/// The health answer.
#[derive(Debug)]
pub struct Health {}
