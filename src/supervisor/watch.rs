//! The guard's watch of one server, for the databases that are on it.

use std::collections::BTreeSet;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::guard::{self, Watched};
use crate::postgres::Connector;

/// A watch that runs.
#[derive(Debug)]
pub(super) struct Watch {
    /// Of those that it is for.
    reporters: BTreeSet<u64>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins one for `slots`, which are on one server.
    pub(super) fn begin(connector: Connector, slots: Vec<Watched>) -> Self {
        let (reporters, stop) = (reporters(&slots), CancellationToken::new());
        Self { reporters, task: tokio::spawn(guard::watch(connector, slots, stop.clone())), stop }
    }

    /// Whether it is for these very `slots`.
    pub(super) fn is_of(&self, slots: &[Watched]) -> bool {
        self.reporters == reporters(slots)
    }

    /// Ends it.
    pub(super) async fn end(self) {
        self.stop.cancel();
        // A panic in it has been reported by then.
        drop(self.task.await);
    }
}

fn reporters(slots: &[Watched]) -> BTreeSet<u64> {
    slots.iter().map(|watched| watched.reporter.id()).collect()
}
