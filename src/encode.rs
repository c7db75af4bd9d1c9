//! From a change to the bytes of a format.
//!
//! One format lives here, `sequin`: JSON Lines whose records are those of Sequin's consumers; docs/FORMAT.md describes
//! it for them. Text from the wire is copied or escaped straight into the output; no value is parsed into a number and
//! printed again, and none is held as a whole a second time. Whatever the bytes of a value are, the line is JSON.

mod json;
mod nested;
mod runs;
mod sequin;
mod value;

pub use sequin::Sequin;

/// Where encoded bytes go. Failures are kept by the implementation and asked for at the end of a batch, so that the
/// encoder itself cannot fail.
pub trait Out {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
