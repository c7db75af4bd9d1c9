//! Where the file, the state and the socket are.

/// The places.
#[derive(Debug)]
pub struct Locations {}

/// Finds them.
#[must_use]
pub const fn locate() -> Locations {
    Locations {}
}
