//! The format `sequin`.

use std::sync::Arc;

use super::Out;
use crate::change::{Change, StreamIdentity};

/// Encodes changes as lines of JSON: `{record, changes, action, metadata}`.
#[derive(Debug)]
pub struct Sequin {
    stream: Arc<StreamIdentity>,
}

impl Sequin {
    /// An encoder for the changes of one stream.
    #[must_use]
    pub fn new(stream: Arc<StreamIdentity>) -> Self {
        Self { stream }
    }

    /// Appends `change` as one line, its line break included.
    pub fn line(&mut self, change: &Change<'_>, out: &mut impl Out) {
        let _ = (&self.stream, change, out);
        todo!()
    }
}
