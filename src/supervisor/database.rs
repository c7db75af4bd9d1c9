//! The life of one database: try, stream, wait, try again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::ask::{Ask, Wish, disabled, not_lost};
use super::claims::{Claim, Claims};
use super::holders::Holders;
use super::overrides::Override;
use super::relief::{self, Relief};
use crate::config::{Database, OnDisable, OnSlotLost, Status};
use crate::guard::Seen;
use crate::lsn::Lsn;
use crate::postgres::catalog::{self, SlotFacts};
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::postgres::{slot_trouble, sync_standby};
use crate::provision::made::Made;
use crate::provision::{self, Consent, Ensured, Refusal as Refused, Round};
use crate::retry::Backoff;
use crate::status::{Condition, Holder, PERIOD, Reason, Refusal, Reply, STEADY, State, Streak, Trouble};
use crate::stream::{End, Holes, Identified, Pipeline, Ready, Started};

/// How often the publication of a database that streams is looked at.
const CHECK_PERIOD: Duration = Duration::from_secs(60);
/// A sink that takes longer to open is stuck, or recovers much: the slot is looked at meanwhile.
const OPEN_SOON: Duration = Duration::from_secs(1);
/// How old an answer about synchronous standbys may be, so that many streams that are held up ask as one.
const FRESH: Duration = Duration::from_millis(100);
/// The longest wait for our own last session, which the server ends by itself; so many times.
const OURS: (Duration, u32) = (Duration::from_secs(1), 60);

/// So often a lost slot is made anew without being asked, within so long.
const RECREATIONS: (usize, Duration) = (3, Duration::from_hours(1));

/// What `on_slot_lost = "recreate"` does.
enum Recreation {
    Allowed,
    Exhausted,
}

/// The task of one database.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) pipeline: Pipeline,
    /// What a command wished in place of the file.
    over: Option<Override>,
    holders: Holders,
    claims: Claims,
    /// That its slot is no other database's.
    claim: Mutex<Option<Claim>>,
    seen: watch::Receiver<Option<Seen>>,
    pub(super) made: Made,
    asks: mpsc::Receiver<Ask>,
    /// Somebody wants the next round now.
    poke: Arc<Notify>,
    backoff: Backoff,
    /// When a lost slot was made anew without being asked.
    recreated: VecDeque<Instant>,
}

impl Keep {
    pub(super) fn new(
        pipeline: Pipeline,
        over: Option<Override>,
        shared: &Shared,
        seen: watch::Receiver<Option<Seen>>,
        asks: mpsc::Receiver<Ask>,
        poke: Arc<Notify>,
    ) -> Self {
        Self {
            pipeline,
            over,
            holders: shared.holders.clone(),
            claims: shared.claims.clone(),
            claim: Mutex::default(),
            seen,
            made: shared.made.clone(),
            asks,
            poke,
            backoff: Backoff::default(),
            recreated: VecDeque::new(),
        }
    }

    /// Looks after the database until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        match self.pipeline.database.status {
            Status::Active => self.active(stop).await,
            Status::Disabled => self.disabled(stop).await,
        }
    }

    async fn active(&mut self, stop: CancellationToken) {
        let mut ask: Option<Ask> = None;
        let mut recreate: Option<Reason> = None;
        loop {
            if is_over_limit(&self.seen)
                && let Some(relief) = Relief::at_limit(&self.pipeline.database)
            {
                self.relieve(relief, relief::WAL_LIMIT, &stop).await;
            }
            let recreating = recreate.take();
            let mut holes = recreating.map_or(Holes::Refuse, Holes::Accept);
            let mut consent = Consent::from(self.pipeline.database.provision);
            match ask.as_ref().map(|ask| ask.wish) {
                Some(Wish::Resume(reason)) => holes = Holes::Accept(reason),
                Some(Wish::Apply(more)) => consent = more,
                Some(Wish::Drop) | None => {}
            }
            let prepared = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                prepared = self.prepare(holes, consent) => prepared,
            };
            self.pipeline.reporter.round_done();
            let streamed = prepared.is_ok();
            let end = match prepared {
                Ok(started) => {
                    if let Some(reason) = recreating {
                        self.recreated.push_back(Instant::now());
                        let sentence = format!(
                            "the slot was lost, {}, and goes on behind a gap record by itself: {} of {} times an hour",
                            reason.as_str(),
                            self.recreated.len(),
                            RECREATIONS.0
                        );
                        self.pipeline.reporter.warn(&sentence, "`on_slot_lost` says so; find what took the slot away");
                    }
                    self.pipeline.reporter.tries(self.backoff.failures(), None);
                    if let Some(ask) = ask.take() {
                        let done = match ask.wish {
                            Wish::Apply(_) => "the publication and the slot are as declared; streaming",
                            Wish::Drop | Wish::Resume(_) => "streaming behind a gap record",
                        };
                        ask.answer(Ok(done.to_owned()));
                    }
                    self.stream(started, &stop).await
                }
                Err(end) => end,
            };
            if stop.is_cancelled() {
                return;
            }
            self.backoff.fail();
            let (state, trouble, wait) = match end {
                End::Stopped => return,
                // A stream that ran into a hole would run into it again, and show itself as streaming until then.
                End::Lost(trouble) if streamed => (State::Lost, trouble, None),
                End::Lost(trouble) => (State::Lost, trouble, Some(Backoff::long_wait())),
                End::Trouble(Diagnosis { class: Class::Operator, trouble }) => {
                    (State::Failed, trouble, Some(Backoff::long_wait()))
                }
                End::Trouble(Diagnosis { class: Class::Retry, trouble }) => {
                    (State::Retrying, trouble, Some(self.backoff.wait()))
                }
                End::Trouble(Diagnosis { class: Class::Held, trouble }) => {
                    let ours = trouble.holder.as_ref().is_some_and(|holder| holder.ours);
                    let most = if ours && self.backoff.failures() < OURS.1 { OURS.0 } else { Duration::MAX };
                    (State::Waiting, trouble, Some(self.backoff.wait().min(most)))
                }
            };
            let (state, trouble, wait) = match self.recreation(state, &trouble) {
                None => (state, trouble, wait),
                // Told first, in the log and in health, and then done.
                Some(Recreation::Allowed) => {
                    recreate = Some(trouble.reason);
                    (state, trouble, Some(Duration::ZERO))
                }
                Some(Recreation::Exhausted) => {
                    let sentence = format!(
                        "{}; it was made anew {} times within the last hour, and is left alone now",
                        trouble.sentence, RECREATIONS.0
                    );
                    (State::Failed, Trouble { sentence, ..trouble }, Some(Backoff::long_wait()))
                }
            };
            let is_lost = trouble.reason.is_lost();
            let held_up_commits = streamed && trouble.reason == Reason::SyncStandby;
            if let Some(ask) = ask.take() {
                ask.answer(Err(Refusal::Failed(trouble.sentence.clone())));
            }
            self.pipeline.reporter.failed(state, trouble);
            let until = wait.and_then(|wait| Timestamp::now().checked_add(SignedDuration::try_from(wait).ok()?).ok());
            self.pipeline.reporter.tries(self.backoff.failures(), until);
            if held_up_commits {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.release_commits() => {}
                }
            }
            let acknowledged = self.pipeline.reporter.status().positions.acknowledged;
            let mut over = self.seen.clone();
            ask = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(ask) = self.asks.recv() => Some(ask),
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => None,
                // A slot that goes meanwhile is told within a look of the guard, however long the wait is.
                () = gone(&mut self.seen, acknowledged), if wait.is_some() && state != State::Lost => None,
                () = over_limit(&mut over, &self.pipeline.database), if wait.is_some() => None,
                () = self.poke.notified(), if wait.is_some() => None,
            };
            match ask.as_ref().map(|ask| ask.wish) {
                Some(Wish::Resume(_)) if !is_lost => {
                    if let Some(ask) = ask.take() {
                        ask.answer(Err(not_lost()));
                    }
                }
                Some(Wish::Apply(consent)) => ask = self.apply_paused(ask, consent, state, &stop).await,
                _ => {}
            }
        }
    }

    /// Whether a lost slot is to be made anew without being asked.
    fn recreation(&mut self, state: State, trouble: &Trouble) -> Option<Recreation> {
        let wanted = state == State::Lost && trouble.reason.is_lost();
        if !wanted || self.pipeline.database.on_slot_lost == OnSlotLost::Stop {
            return None;
        }
        self.recreated.retain(|at| at.elapsed() < RECREATIONS.1);
        Some(if self.recreated.len() < RECREATIONS.0 { Recreation::Allowed } else { Recreation::Exhausted })
    }

    /// From nothing to a stream that has started.
    async fn prepare(&self, holes: Holes, consent: Consent) -> Result<Started, End> {
        let Pipeline { database, connector, reporter, .. } = &self.pipeline;
        let to = &database.connection;
        if reporter.status().condition.state() == State::Pending {
            let trouble = Trouble::new(Reason::Starting, "connecting and comparing", "nothing to do");
            reporter.condition(Condition::Other(State::Provisioning, trouble));
        }
        let connect = |error| End::Trouble(trouble::of_connect(&error, to));
        let mut replication = connector.replication(to).await.map_err(connect)?;
        let server = self.pipeline.identify(&mut replication).await?;
        self.claim(server.system_identifier())?;
        let opened = tokio::select! {
            biased;
            opened = self.pipeline.open(server.clone()) => opened,
            trouble = self.lost_meanwhile(&server), if holes == Holes::Refuse => return Err(End::Lost(trouble)),
        };
        let mut opened = match opened {
            Ok(opened) => opened,
            Err((server, end)) => {
                let lost = if holes == Holes::Refuse { self.inspect_closed(&server).await } else { None };
                return Err(lost.map_or(end, End::Lost));
            }
        };
        if holes != Holes::Accept(Reason::OtherCluster)
            && let Some(trouble) = self.pipeline.other_cluster(&opened)
        {
            return Err(End::Lost(trouble));
        }
        if holes != Holes::Refuse {
            // The slot is made before the gap record is written, and would stand without it.
            opened.ready().await?;
        }
        let round = self.round(opened.system_identifier());
        let ensured = round.ensure(&mut replication, opened.knows_slot(), holes, consent).await;
        let Ensured { ready, findings, visit } = ensured.map_err(|refused| self.note_holder(self.refused(refused)))?;
        reporter.findings(findings);
        self.leave_to_other(&ready)?;
        let started = self.pipeline.start(opened, replication, &ready, holes, visit).await;
        let started = started.map_err(|end| self.note_holder(end))?;
        self.holders.forget(database.connection.server(), database.slot.clone());
        Ok(started)
    }

    /// Takes the slot for this database, unless another of the file has it under another name of the server.
    fn claim(&self, system_identifier: u64) -> Result<(), End> {
        let Database { name, slot, .. } = &*self.pipeline.database;
        let mut ours = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        if ours.as_ref().is_some_and(|claim| claim.is_of(system_identifier)) {
            return Ok(());
        }
        match self.claims.take(system_identifier, slot.clone(), name) {
            Ok(claim) => {
                *ours = Some(claim);
                Ok(())
            }
            Err(other) => {
                let sentence =
                    format!("{other} and {name} name one slot of one cluster, {slot}, by two names of its server");
                let hint = "give one of them another `slot_name`, or take it out of the file";
                let trouble = Trouble::new(Reason::SlotUnusable, sentence, hint);
                Err(End::Trouble(Diagnosis { class: Class::Operator, trouble }))
            }
        }
    }

    pub(super) fn round(&self, system_identifier: u64) -> Round<'_> {
        let Pipeline { database, connector, reporter, .. } = &self.pipeline;
        Round { database, connector, reporter, made: &self.made, system_identifier }
    }

    /// Makes or alters the publication while nothing is streamed. Gives `ask` back if the next round is to go on with it.
    async fn apply_paused(
        &self,
        ask: Option<Ask>,
        consent: Consent,
        state: State,
        stop: &CancellationToken,
    ) -> Option<Ask> {
        let ask = ask?;
        let applied = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            applied = self.apply_publication(consent) => applied,
        };
        match applied {
            Err(refusal) => ask.answer(Err(refusal)),
            Ok(done) if state == State::Lost => {
                let name = &self.pipeline.database.name;
                let way_out =
                    format!("{done}; the slot is lost, and `slotd resume {name} --accept-gap` says what that costs");
                ask.answer(Err(Refusal::Conflict(way_out)));
            }
            Ok(_) => return Some(ask),
        }
        None
    }

    /// The same, of whatever server is there.
    async fn apply_publication(&self, consent: Consent) -> Reply {
        let Pipeline { database, connector, .. } = &self.pipeline;
        let to = &database.connection;
        let failed = |Trouble { sentence, hint, .. }: &Trouble| Refusal::Failed(format!("{sentence} ({hint})"));
        let connect = |error| failed(&trouble::of_connect(&error, to).trouble);
        let mut replication = connector.replication(to).await.map_err(connect)?;
        let server = self.pipeline.identify(&mut replication).await.map_err(|end| match end {
            End::Lost(trouble) | End::Trouble(Diagnosis { trouble, .. }) => failed(&trouble),
            End::Stopped => Refusal::Failed("the database is being ended".to_owned()),
        })?;
        drop(replication);
        let applied = self.round(server.system_identifier()).apply_publication(consent, false).await;
        applied.map_err(|Diagnosis { trouble, .. }| failed(&trouble))
    }

    /// Whether the slot that is free now was another agent's while we looked on.
    fn leave_to_other(&self, ready: &Ready) -> Result<(), End> {
        let Pipeline { database, .. } = &self.pipeline;
        let slot = &database.slot;
        let other = self.holders.of(database.connection.server(), slot.clone());
        let Some(Holder { application_name, .. }) = other.filter(|_| ready.anew.is_none() && self.pipeline.has_file())
        else {
            return Ok(());
        };
        let trouble = Trouble::new(
            Reason::SlotHeld,
            format!(
                "the slot {slot} is free, and {application_name} held it before: what that agent has delivered is not in our files"
            ),
            "start that agent again; or restart this one, and it takes the slot up where it stands",
        );
        Err(End::Trouble(Diagnosis { class: Class::Held, trouble }))
    }

    /// Waits until the slot is lost, while the sinks are being opened: a look when that takes long, and one whenever the
    /// guard has news.
    async fn lost_meanwhile(&self, server: &Identified) -> Trouble {
        let mut seen = self.seen.clone();
        sleep(OPEN_SOON).await;
        loop {
            if let Some(trouble) = self.inspect_closed(server).await {
                return trouble;
            }
            if seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Why the slot is lost, while a sink can't be opened.
    async fn inspect_closed(&self, server: &Identified) -> Option<Trouble> {
        let Pipeline { database, connector, .. } = &self.pipeline;
        let sql = connector.visit(&database.connection).await.ok()?;
        let slots = catalog::slots(&sql, &[&database.slot]).await.ok()?;
        self.pipeline.inspect_closed(server, slots.first())
    }

    fn refused(&self, refused: Refused) -> End {
        match refused {
            Refused::Lost { reason, sentence } => End::Lost(self.pipeline.lost(reason, sentence)),
            Refused::Trouble(diagnosis) => End::Trouble(diagnosis),
        }
    }

    /// Keeps in mind who held the slot, if another agent did.
    fn note_holder(&self, end: End) -> End {
        if let End::Trouble(Diagnosis { class: Class::Held, trouble }) = &end
            && let Some(holder) = trouble.holder.as_ref().filter(|holder| holder.is_agent())
        {
            let Database { connection, slot, .. } = &*self.pipeline.database;
            self.holders.saw(connection.server(), slot.clone(), holder.clone());
        }
        end
    }

    /// Streams, and looks at the publication every so often.
    async fn stream(&mut self, started: Started, stop: &CancellationToken) -> End {
        let Self { pipeline, asks, poke, seen, backoff, made, .. } = self;
        let Pipeline { database, connector, reporter, unacknowledged, .. } = &*pipeline;
        let own = connector.application_name();
        let first = CHECK_PERIOD.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
        let mut checks = interval_at(Instant::now() + first, CHECK_PERIOD);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let system_identifier = started.system_identifier();
        let round = Round { database, connector, reporter, made, system_identifier };
        let streaming = pipeline.run(started, stop);
        let mut over = seen.clone();
        let sync_standby = async {
            loop {
                // What the guard saw may be older than the stream; one that does not answer has not changed.
                let told = tokio::select! {
                    refusal = next(seen, |seen| {
                        sync_standby::refusal(database, &seen.synchronous_standby_names, own)
                    }) => Some(refusal),
                    () = unacknowledged.notified(), if !database.allow_sync_standby => None,
                };
                let refusal = match connector.synchronous_standby_names(&database.connection, FRESH).await {
                    Ok(names) => sync_standby::refusal(database, &names, own),
                    Err(_) => told,
                };
                if let Some(refusal) = refusal {
                    break refusal;
                }
            }
        };
        // A connect that breaks at once again is no success, nor is a stream whose sink takes nothing.
        let steady = async {
            loop {
                sleep(STEADY).await;
                if reporter.status().condition.state() == State::Streaming {
                    break;
                }
            }
        };
        // What is done then is done once the stream has ended.
        let over = over_limit(&mut over, database);
        tokio::pin!(streaming, sync_standby, steady, over);
        let mut is_steady = false;
        let mut blind = Streak::default();
        loop {
            let mut ask = None;
            tokio::select! {
                biased;
                end = &mut streaming => return end,
                diagnosis = &mut sync_standby => return End::Trouble(diagnosis),
                () = &mut over => return End::Trouble(over_its_budget(database)),
                Some(asked) = asks.recv() => ask = Some(asked),
                () = &mut steady, if !is_steady => {
                    is_steady = true;
                    backoff.reset();
                    reporter.tries(0, None);
                    continue;
                }
                _ = checks.tick() => {}
                () = poke.notified() => {}
            }
            let checking = async {
                if let Some(ask) = ask {
                    let outcome = match ask.wish {
                        Wish::Drop | Wish::Resume(_) => Err(not_lost()),
                        Wish::Apply(consent) => {
                            let applied = round.apply_publication(consent, true).await;
                            applied.map_err(|Diagnosis { trouble, .. }| {
                                Refusal::Failed(format!("{} ({})", trouble.sentence, trouble.hint))
                            })
                        }
                    };
                    ask.answer(outcome);
                }
                round.check(Consent::from(database.provision)).await
            };
            let checked = tokio::select! {
                biased;
                end = &mut streaming => return end,
                diagnosis = &mut sync_standby => return End::Trouble(diagnosis),
                checked = checking => checked,
            };
            match &checked {
                Ok(_) => {
                    if let Some(after) = blind.ended(Timestamp::now()) {
                        reporter.info(None, &format!("the publication is looked at again{after}"));
                    }
                }
                Err(Diagnosis { trouble, .. }) => {
                    if let Some(times) = blind.failed(Timestamp::now()) {
                        let sentence = format!("the publication can't be looked at{times}: {}", trouble.sentence);
                        reporter.warn(&sentence, &trouble.hint);
                    }
                }
            }
            if let Ok(findings) = checked {
                reporter.findings(findings);
            }
            reporter.round_done();
        }
    }

    /// The stream has ended since commits waited for it; they are to wait no longer.
    async fn release_commits(&self) {
        let Pipeline { database, connector, reporter, .. } = &self.pipeline;
        if let Err(error) = provision::release_commits(database, connector).await {
            let trouble = trouble::of_sql(Step::Observe, &error, &database.connection).trouble;
            let sentence = format!(
                "COMMITs that waited for slotd may wait until a standby answers by itself: {}",
                trouble.sentence
            );
            reporter.warn(&sentence, &trouble.hint);
        }
    }

    /// Not read; its slot is watched all the same, by the guard, and judged anew whenever the guard sees it changed.
    async fn disabled(&mut self, stop: CancellationToken) {
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
            if let Some((relief, reason)) =
                relief.filter(|(relief, _)| !unseen && (!is_lost || *relief != Relief::Drain))
            {
                self.relieve(relief, reason, &stop).await;
            }
            let dropped = self.over.is_some_and(|over| over.dropped);
            if dropped && !unseen && self.made.has_publication(&database.connection.database, &database.publication) {
                // What keeps it from being dropped is told to who asks, and it is tried again.
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = self.dropped() => {}
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
                    () = sleep(PERIOD), if unseen || drains => break,
                    () = self.poke.notified() => break,
                }
            }
        }
    }

    /// Judges without touching anything: why the slot no longer leads on, if it does not.
    async fn inspect(&self) -> Result<Option<Trouble>, End> {
        let (server, slot, in_recovery) = self.look().await?;
        let opened = match self.pipeline.open(server).await {
            Ok(opened) => opened,
            Err((server, end)) => return self.pipeline.inspect_closed(&server, slot.as_ref()).map(Some).ok_or(end),
        };
        if let Some(trouble) = self.pipeline.other_cluster(&opened) {
            return Ok(Some(trouble));
        }
        if let Some((reason, sentence)) = slot_trouble::lost(&self.pipeline.database.slot, slot.as_ref()) {
            let known = slot.is_some() || opened.knows_slot();
            return Ok(known.then(|| self.pipeline.lost(reason, sentence)));
        }
        let Some(slot) = slot else { return Ok(None) };
        Ok(self.pipeline.inspect(&opened, &slot, in_recovery).await)
    }

    /// What there is, in one turn for both sessions: hundreds of disabled databases can come to look at once.
    pub(super) async fn look(&self) -> Result<(Identified, Option<SlotFacts>, bool), End> {
        let Pipeline { database, connector, .. } = &self.pipeline;
        let to = &database.connection;
        let connect = |error| End::Trouble(trouble::of_connect(&error, to));
        let refused = |error| End::Trouble(trouble::of_sql(Step::Observe, &error, to));
        let sql = connector.visit(to).await.map_err(connect)?;
        let mut replication = connector.replication(to).await.map_err(connect)?;
        let server = self.pipeline.identify(&mut replication).await?;
        drop(replication);
        self.claim(server.system_identifier())?;
        let facts = catalog::server(&sql).await.map_err(refused)?;
        let slot = catalog::slots(&sql, &[&database.slot]).await.map_err(refused)?.pop();
        Ok((server, slot, facts.in_recovery))
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

/// The stream was ended to free the disk.
fn over_its_budget(database: &Database) -> Diagnosis {
    let trouble = Trouble::new(
        Reason::WalLimit,
        format!("the slot {} retains all of its budget, and `on_wal_limit` is carried out", database.slot),
        "nothing to do: it goes on by itself",
    );
    Diagnosis { class: Class::Retry, trouble }
}

/// Whether the guard last saw the slot over its budget by what we have not read.
fn is_over_limit(seen: &watch::Receiver<Option<Seen>>) -> bool {
    let over = |seen: &Seen| seen.slot.as_ref().is_some_and(|slot| slot.over_limit);
    seen.borrow().as_ref().is_some_and(over)
}

/// Waits until the guard sees that, if anything is to be done then.
async fn over_limit(seen: &mut watch::Receiver<Option<Seen>>, database: &Database) {
    if Relief::at_limit(database).is_none() {
        return std::future::pending().await;
    }
    next(seen, |seen| seen.slot.as_ref().is_some_and(|slot| slot.over_limit).then_some(())).await;
}

/// Waits until the guard sees that the slot is gone, invalidated, or past what we have acknowledged.
async fn gone(seen: &mut watch::Receiver<Option<Seen>>, acknowledged: Option<Lsn>) {
    let is_past = |confirmed: Option<Lsn>| acknowledged.is_some_and(|ours| confirmed > Some(ours));
    let is_gone = |seen: &Seen| {
        seen.slot.as_ref().is_none_or(|slot| slot.invalidation.is_some() || is_past(slot.confirmed_flush_lsn))
    };
    next(seen, |seen| is_gone(seen).then_some(())).await;
}

/// Waits until the guard tells what `wanted` is after. What it tells first may be of before.
async fn next<T>(seen: &mut watch::Receiver<Option<Seen>>, wanted: impl Fn(&Seen) -> Option<T>) -> T {
    while seen.changed().await.is_ok() {
        if let Some(found) = seen.borrow_and_update().as_ref().and_then(&wanted) {
            return found;
        }
    }
    std::future::pending().await
}
