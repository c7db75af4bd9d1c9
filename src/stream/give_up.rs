//! Giving up what a slot holds back, on purpose: a gap record is opened in every sink, and durable, before the slot is
//! moved or dropped. Whoever takes the slot up again closes it, by [`resume::judge`](super::resume::judge).

use super::pipeline::sink_trouble;
use super::{End, Opened, Pipeline, resume};
use crate::change::{Gap, OpenGap, Record};
use crate::lsn::{EndLsn, Lsn};

impl Pipeline {
    /// Opens a gap in each sink that has none open, from where its changes end; a sink that holds nothing misses nothing
    /// before `confirmed`, where the slot stands. `dropped` says that the slot is about to be dropped.
    ///
    /// # Errors
    /// A sink takes nothing now.
    pub async fn give_up(&self, opened: &mut Opened, confirmed: Lsn, reason: &str, dropped: bool) -> Result<Lsn, End> {
        opened.ready().await?;
        let mut begins = confirmed;
        for at in 0..opened.sinks.len() {
            let Some(open) = opened.sinks.iter().nth(at) else { continue };
            let ours = open.standing.record.as_ref().filter(|record| record.slot == self.database.slot);
            let known = ours.and_then(|record| record.open_gap.clone());
            let from = known.as_ref().map(|open| open.from).or_else(|| resume::end_of_sink(&open.standing));
            let from = from.unwrap_or(confirmed);
            begins = begins.min(from);
            if known.as_ref().is_some_and(|open| open.dropped == dropped) {
                continue;
            }
            let reason = known.as_ref().map_or_else(|| reason.to_owned(), |open| open.reason.clone());
            let gap = Gap { from, to: None, reason: reason.clone() };
            let record = Record {
                open_gap: Some(OpenGap { from, reason, dropped }),
                ..Record::begin(&opened.server.identity, Some(EndLsn::of_confirmed_flush(confirmed)))
            };
            // It stands there already if it is open.
            let gap = known.is_none().then_some(gap);
            opened.sinks.adopt(at, record, gap).await.map_err(sink_trouble)?;
        }
        Ok(begins)
    }
}

impl Opened {
    /// The gap that is open in one of the sinks, if there is any.
    #[must_use]
    pub fn open_gap(&self) -> Option<&OpenGap> {
        let slot = &self.server.identity.slot;
        let records = self.sinks.iter().filter_map(|open| open.standing.record.as_ref());
        records.filter(|record| record.slot == *slot).find_map(|record| record.open_gap.as_ref())
    }
}
