//! The positions that no sink holds.
