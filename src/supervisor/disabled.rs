//! A database that is not read: its slot is watched, and drained or dropped as the file or a command says.

use std::sync::Arc;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ask::{Wish, disabled};
use super::database::{Keep, is_over_limit};
use super::overrides::Override;
use super::relief::{self, Relief};
use crate::config::{Database, OnDisable};
use crate::status::{Condition, PERIOD, Reason, State, Trouble};

impl Keep {
    /// Not read; its slot is watched all the same, by the guard, and judged anew whenever the guard sees it changed.
    pub(super) async fn disabled(&mut self, stop: CancellationToken) {
        let database = Arc::clone(&self.pipeline.database);
        loop {
            let inspected = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                inspected = self.inspect() => inspected,
            };
            let unseen = inspected.is_err();
            let reporter = &self.pipeline.reporter;
            let is_lost = match inspected {
                Ok(Some(trouble)) => {
                    reporter.condition(Condition::Other(State::Lost, trouble));
                    true
                }
                // What was found before stands until the next look. That a disabled database can't be observed shows in
                // the age of its observation.
                Err(_) if reporter.status().condition.state() == State::Lost => true,
                Ok(None) | Err(_) => {
                    reporter.condition(Condition::Other(State::Disabled, disabled_trouble(&database, self.over)));
                    false
                }
            };
            let mut relief = Relief::of_disabled(&database).map(|relief| {
                (relief, if self.over.is_some_and(|over| over.dropped) { relief::DROPPED } else { relief::DISABLED })
            });
            if relief.is_none() && is_over_limit(&self.seen) {
                relief = Relief::at_limit(&database).map(|relief| (relief, relief::WAL_LIMIT));
            }
            let mut relieved = true;
            if let Some((relief, reason)) =
                relief.filter(|(relief, _)| !unseen && (!is_lost || *relief != Relief::Drain))
            {
                relieved = self.relieve(relief, reason, &stop).await;
            }
            let dropped = self.over.is_some_and(|over| over.dropped);
            if dropped && !unseen && self.made.has_publication(&database.connection.database, &database.publication) {
                // What keeps it from being dropped is told to who asks, and it is tried again.
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    dropped = self.dropped() => relieved &= dropped.is_ok(),
                }
            }
            self.pipeline.reporter.round_done();
            let drains = matches!(relief, Some((Relief::Drain, relief::DISABLED)));
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    Some(ask) = self.asks.recv() => {
                        let outcome = match ask.wish {
                            Wish::Resume(_) => Err(disabled()),
                            Wish::Drop => tokio::select! {
                                biased;
                                () = stop.cancelled() => return,
                                dropped = self.dropped() => dropped,
                            },
                            Wish::Apply(consent) => tokio::select! {
                                biased;
                                () = stop.cancelled() => return,
                                applied = self.apply_publication(consent) => applied,
                            },
                        };
                        ask.answer(outcome);
                    }
                    changed = self.seen.changed() => if changed.is_err() { return } else { break },
                    () = sleep(PERIOD), if unseen || drains || !relieved => break,
                    () = self.poke.notified() => break,
                }
            }
        }
    }
}

/// What is said of a database that is not read.
fn disabled_trouble(database: &Database, over: Option<Override>) -> Trouble {
    let Database { name, on_disable, .. } = database;
    let slot = match on_disable {
        OnDisable::Keep => "the slot, if there is one, is watched, and pins WAL",
        OnDisable::Drain => "what the slot holds is discarded, behind a gap record",
        OnDisable::Drop => "the slot is dropped, and made anew behind a gap record once the database is active",
    };
    match over {
        None => Trouble::new(
            Reason::DisabledByFile,
            format!("the file says `disabled`: nothing is read, and {slot}"),
            "set status = \"active\" and reload",
        ),
        Some(Override { dropped: true, .. }) => Trouble::new(
            Reason::Dropped,
            "`slotd drop` has dropped the slot, whatever the file says: nothing is read",
            format!(
                "take the entry out of the file; or slotd enable {name}, which makes the slot anew behind a gap record"
            ),
        ),
        Some(Override { dropped: false, .. }) => Trouble::new(
            Reason::DisabledByCommand,
            format!("`slotd disable` has disabled it, whatever the file says: nothing is read, and {slot}"),
            format!("slotd enable {name}"),
        ),
    }
}
