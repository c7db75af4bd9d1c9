//! What a line sink needs of a format.

use std::sync::Arc;

use crate::change::{Change, StreamIdentity};
use crate::encode::{Out, Sequin};

/// A format of one line for each change.
pub(super) trait Lines: Send + 'static {
    /// What every line begins with.
    const BEGIN: &'static [u8];

    /// An encoder for the changes of one stream.
    fn new(stream: Arc<StreamIdentity>) -> Self;

    /// Appends `change` as one line, its line break included.
    fn line(&mut self, change: &Change<'_>, out: &mut impl Out);
}

impl Lines for Sequin {
    const BEGIN: &'static [u8] = br#"{"record":"#;

    fn new(stream: Arc<StreamIdentity>) -> Self {
        Self::new(stream)
    }

    fn line(&mut self, change: &Change<'_>, out: &mut impl Out) {
        self.line(change, out);
    }
}
