//! Giving up what a slot holds back, on purpose: a gap record is opened in every sink, and durable, before the slot is
//! moved or dropped. Whoever takes the slot up again closes it, by [`resume::judge`](super::resume::judge).

use super::pipeline::sink_trouble;
use super::resume::Judgement;
use super::{End, Opened, Pipeline, resume};
use crate::change::{Gap, OpenGap, Record};
use crate::lsn::{EndLsn, Lsn};
use crate::postgres::catalog::SlotFacts;

impl Pipeline {
    /// Opens a gap in each sink that has none open, from where its changes end; a sink that holds nothing misses nothing
    /// before where the slot stands. `dropped` says that the slot is about to be dropped.
    ///
    /// # Errors
    /// A sink takes nothing now.
    pub async fn give_up(
        &self,
        opened: &mut Opened,
        slot: &SlotFacts,
        in_recovery: bool,
        reason: &str,
        dropped: bool,
    ) -> Result<Lsn, End> {
        opened.ready().await?;
        let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
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
            // The sink may be ahead of the slot, which then has that once more, unless all of it is given up.
            let server = self.server(&opened.server, confirmed, in_recovery);
            let is_lost = matches!(resume::judge(&server, &open.standing), Judgement::Lost { .. });
            let holds = ours.filter(|_| !is_lost);
            let acknowledged = holds.and_then(|record| record.acknowledged);
            let acknowledged = acknowledged.max(Some(EndLsn::of_confirmed_flush(confirmed)));
            let begun = Record::begin(&opened.server.identity, acknowledged);
            let record = Record {
                publication: holds.map_or(&begun, |holds| holds).publication.clone(),
                cursor: holds.and(open.standing.cursor),
                open_gap: Some(OpenGap { from, reason, dropped }),
                ..begun
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
