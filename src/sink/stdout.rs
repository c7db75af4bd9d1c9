//! The sink `stdout`.

use std::sync::Arc;

use super::{SinkError, Standing};
use crate::change::{Batch, Gap, Record, StreamIdentity};

/// The sink `stdout`.
#[derive(Debug)]
pub struct StdoutSink {}

impl StdoutSink {
    pub(super) async fn open(&mut self, _stream: Arc<StreamIdentity>) -> Result<Standing, SinkError> {
        todo!()
    }

    pub(super) async fn adopt(&mut self, _record: Record, _gap: Option<Gap>) -> Result<(), SinkError> {
        todo!()
    }

    pub(super) async fn write(&mut self, _batch: Arc<Batch>) -> Result<(), SinkError> {
        todo!()
    }
}
