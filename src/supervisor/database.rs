//! The life of one database: try, stream ([`streaming`](super::streaming)), wait, try again; or not at all
//! ([`disabled`](super::disabled)).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::ask::{Ask, Wish, not_disabled, not_lost};
use super::claims::{Claim, Claims, Refused as Rival};
use super::holders::Holders;
use super::overrides::Override;
use super::readers::Declared;
use super::relief::{self, Relief};
use crate::config::{Database, OnSlotLost, Server, Status};
use crate::guard::Seen;
use crate::ident::DatabaseName;
use crate::lsn::Lsn;
use crate::postgres::catalog::{self, ServerFacts, SlotFacts};
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::postgres::{ConnectError, ReplicationSession, preflight, slot_trouble};
use crate::provision::made::Made;
use crate::provision::{self, Consent, Ensured, Refusal as Refused, Round};
use crate::retry::Backoff;
use crate::status::{Condition, Finding, Holder, Reason, Refusal, Reply, State, Trouble};
use crate::stream::{End, Holes, Identified, Opened, Pipeline, Ready, Started};
use crate::wire::login::LoginError;

/// A sink that takes longer to open is stuck, or recovers much: the slot is looked at meanwhile.
const OPEN_SOON: Duration = Duration::from_secs(1);
/// The longest wait for our own last session, which the server ends by itself; so many times.
const OURS: (Duration, u32) = (Duration::from_secs(1), 60);

/// The longest wait for one of several servers to become the primary.
const SEARCH: Duration = Duration::from_secs(2);

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
    /// Of `hosts`, it leads to the one that a round is with, and between rounds to whichever is the primary.
    pub(super) pipeline: Pipeline,
    /// As the file has it.
    of_file: Arc<Database>,
    /// What a command wished in place of the file.
    pub(super) over: Option<Override>,
    holders: Holders,
    claims: Claims,
    pub(super) declared: Declared,
    /// That its slot is no other database's; or that it is.
    pub(super) claim: Mutex<Option<Result<Claim, Rival>>>,
    pub(super) seen: watch::Receiver<Option<Seen>>,
    pub(super) made: Made,
    pub(super) asks: mpsc::Receiver<Ask>,
    /// Somebody wants the next round now.
    pub(super) poke: Arc<Notify>,
    pub(super) backoff: Backoff,
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
            of_file: Arc::clone(&pipeline.database),
            pipeline,
            over,
            holders: shared.holders.clone(),
            claims: shared.claims.clone(),
            declared: shared.declared.clone(),
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
                Some(Wish::Resume(reason)) => {
                    holes = Holes::Accept(reason);
                    consent.create = true;
                }
                Some(Wish::Apply(more)) => consent = more,
                Some(Wish::Drop) | None => {}
            }
            let prepared = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // It is let go of before the stream begins: an idle one holds the memory of the stream alone.
                prepared = Box::pin(self.prepare(holes, consent)) => prepared,
            };
            self.pipeline.reporter.round_done();
            let streamed = prepared.is_ok();
            let end = match prepared {
                Ok((through, started)) => {
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
                    self.stream(&through, started, &stop).await
                }
                Err(end) => end,
            };
            if stop.is_cancelled() {
                return;
            }
            self.pipeline.database = Arc::clone(&self.of_file);
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
                    let most = if self.of_file.connection.others.is_empty() { Duration::MAX } else { SEARCH };
                    (State::Retrying, trouble, Some(self.backoff.wait().min(most)))
                }
                End::Trouble(Diagnosis { class: Class::Held, trouble }) => {
                    let ours = trouble.holder.as_ref().is_some_and(|holder| holder.ours);
                    let most = if ours && self.backoff.failures() < OURS.1 { OURS.0 } else { Duration::MAX };
                    (State::Waiting, trouble, Some(self.backoff.wait().min(most)))
                }
            };
            let (state, trouble, wait) = match self.recreation(state, &trouble) {
                None => (state, trouble, wait),
                // Told first, in the log and in health, and then done. What did not end it is not tried at once again.
                Some(Recreation::Allowed) => {
                    recreate = Some(trouble.reason);
                    let wait = if recreating.is_some() && !streamed { Backoff::long_wait() } else { Duration::ZERO };
                    (state, trouble, Some(wait))
                }
                Some(Recreation::Exhausted) => {
                    let sentence = format!(
                        "{}; it was made anew {} times within the last hour, and is left alone now",
                        trouble.sentence, RECREATIONS.0
                    );
                    (State::Failed, Trouble { sentence, ..trouble }, wait)
                }
            };
            // A stream that is lost is not tried again, but its slot can be given up.
            let may_drop = matches!(Relief::at_limit(&self.pipeline.database), Some(Relief::Drop { .. }));
            let wait = wait.or((may_drop && is_over_limit(&self.seen)).then(Backoff::long_wait));
            let is_lost = trouble.reason.is_lost();
            let held_up_commits = streamed && trouble.reason == Reason::SyncStandby;
            if let Some(ask) = ask.take() {
                ask.answer(Err(Refusal::Failed(trouble.sentence.clone())));
            }
            if trouble.reason == Reason::SlotMissing {
                // Sooner than the guard's next look.
                self.pipeline.reporter.wal(None);
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
                () = over_limit(&mut over, &self.pipeline.database), if wait.is_some() || may_drop => None,
                () = self.poke.notified(), if wait.is_some() => None,
            };
            match ask.as_ref().map(|ask| ask.wish) {
                Some(Wish::Resume(_)) if !is_lost => {
                    if let Some(ask) = ask.take() {
                        ask.answer(Err(not_lost()));
                    }
                }
                Some(Wish::Apply(consent)) => ask = self.apply_paused(ask, consent, state, &stop).await,
                Some(Wish::Drop) => {
                    if let Some(ask) = ask.take() {
                        ask.answer(Err(not_disabled()));
                    }
                }
                Some(Wish::Resume(_)) | None => {}
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

    /// From nothing to a stream that has started, and through what.
    async fn prepare(&mut self, holes: Holes, consent: Consent) -> Result<(Pipeline, Started), End> {
        let reporter = &self.pipeline.reporter;
        if reporter.status().condition.state() == State::Pending {
            let trouble = Trouble::new(Reason::Starting, "connecting and comparing", "nothing to do");
            reporter.condition(Condition::Other(State::Provisioning, trouble));
        }
        let servers = self.of_file.connection.servers();
        let mut passed_over = Vec::new();
        loop {
            let replication = self.connect(&passed_over).await?;
            let (replication, opened) = self.open(replication, holes).await?;
            let off_history = passed_over.len() + 1 < servers.len() && self.pipeline.is_off_history(&opened);
            if !off_history {
                return self.prepare_on(replication, opened, holes, consent).await;
            }
            // A primary that was left behind, or that never was ours; another one may be.
            passed_over.extend(self.pipeline.database.connection.servers());
        }
    }

    /// Connects to the server that the round is with.
    async fn connect(&mut self, passed_over: &[Server]) -> Result<ReplicationSession, End> {
        let to = &self.of_file.connection;
        let (replication, connection) = match self.pipeline.connector.replication_beside(to, passed_over).await {
            Ok(connected) => connected,
            Err(error) => return Err(self.without_replication(&error).await),
        };
        if !to.others.is_empty() {
            self.pipeline.database = Arc::new(Database { connection, ..(*self.of_file).clone() });
        }
        Ok(replication)
    }

    /// Asks what `replication` leads to, and opens the sinks for it.
    async fn open(
        &self,
        mut replication: ReplicationSession,
        holes: Holes,
    ) -> Result<(ReplicationSession, Opened), End> {
        let server = self.pipeline.identify(&mut replication).await?;
        self.claim(server.system_identifier())?;
        let opened = tokio::select! {
            biased;
            opened = self.pipeline.open(server.clone()) => opened,
            trouble = self.lost_meanwhile(&server), if holes == Holes::Refuse => return Err(End::Lost(trouble)),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err((server, end)) => {
                let lost = if holes == Holes::Refuse { self.inspect_closed(&server).await } else { None };
                return Err(lost.map_or(end, End::Lost));
            }
        };
        Ok((replication, opened))
    }

    /// From sinks that are open for the server to a stream that has started, and through what.
    async fn prepare_on(
        &self,
        mut replication: ReplicationSession,
        opened: Opened,
        holes: Holes,
        consent: Consent,
    ) -> Result<(Pipeline, Started), End> {
        let database = &self.pipeline.database;
        if holes != Holes::Accept(Reason::OtherCluster)
            && let Some(trouble) = self.pipeline.other_cluster(&opened)
        {
            return Err(End::Lost(trouble));
        }
        let (pipeline, mut opened, through_former) = match holes {
            Holes::Refuse => self.through(opened, consent).await?,
            Holes::Accept(_) => (self.pipeline.clone(), opened, None),
        };
        if holes != Holes::Refuse {
            // The slot is made before the gap record is written, and would stand without it.
            opened.ready().await?;
        }
        let round = Round { database: &pipeline.database, former: None, ..self.round(opened.system_identifier()) };
        let ensured = round.ensure(&mut replication, opened.knows_slot(), holes, consent).await;
        let Ensured { ready, findings, visit } = ensured.map_err(|refused| self.note_holder(self.refused(refused)))?;
        let findings = through_former.into_iter().chain(findings).chain(shared(&self.claim, database));
        self.pipeline.reporter.findings(findings.collect());
        self.leave_to_other(&ready)?;
        let started = pipeline.start(opened, replication, &ready, holes, visit).await;
        let started = started.map_err(|end| self.note_holder(end))?;
        self.holders.forget(self.of_file.connection.servers(), database.slot.clone());
        Ok((pipeline, started))
    }

    /// No replication session is to be had. Where that is for want of a right or a walsender, all that the server would refuse
    /// besides is told too.
    async fn without_replication(&self, error: &ConnectError) -> End {
        let Pipeline { database, connector, positions, .. } = &self.pipeline;
        let to = &database.connection;
        let end = End::Trouble(trouble::of_connect(error, to));
        let lets_in = matches!(error, ConnectError::Login(LoginError::Refused(server))
            if matches!(server.sqlstate.as_str(), "42501" | "53300"));
        if !lets_in {
            return end;
        }
        let system_identifier = match connector.visit(to).await {
            Ok(sql) => preflight::system_identifier(&sql).await.ok(),
            Err(_) => None,
        };
        if let Some(system_identifier) = system_identifier {
            let known = positions.delivered(&database.slot, system_identifier).is_some();
            // What keeps us from asking that is told by the next round.
            drop(self.round(system_identifier).tell_all(known).await);
        }
        end
    }

    /// Takes the slot for this database, unless another of the file has it under another name of the server.
    fn claim(&self, system_identifier: u64) -> Result<(), End> {
        let database = &*self.pipeline.database;
        let Database { name, slot, .. } = database;
        let mut ours = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(claim)) = &*ours
            && claim.is_of(system_identifier)
        {
            return Ok(());
        }
        // What was refused before counts no more.
        *ours = None;
        let taken = ours.insert(self.claims.take(system_identifier, slot.clone(), name));
        taken.as_ref().map(|_| ()).map_err(|refused| {
            let (sentence, hint) = one_slot(&refused.by, database);
            let trouble = Trouble::new(Reason::SlotUnusable, sentence, hint);
            End::Trouble(Diagnosis { class: Class::Operator, trouble })
        })
    }

    pub(super) fn round(&self, system_identifier: u64) -> Round<'_> {
        let Pipeline { database, connector, reporter, positions, .. } = &self.pipeline;
        let former = positions.former(&database.slot, system_identifier, &database.publication);
        Round { database, connector, reporter, made: &self.made, system_identifier, former }
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
    pub(super) async fn apply_publication(&self, consent: Consent) -> Reply {
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
        let other = self.holders.of(self.of_file.connection.servers(), slot.clone());
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
            let Database { connection, slot, .. } = &*self.of_file;
            self.holders.saw(connection.servers(), slot.clone(), holder.clone());
        }
        end
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

    /// Judges without touching anything: why the slot no longer leads on, if it does not.
    pub(super) async fn inspect(&self) -> Result<Option<Trouble>, End> {
        let (server, slot, facts) = self.look().await?;
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
        Ok(self.pipeline.inspect(&opened, &slot, facts.in_recovery).await)
    }

    /// What there is, in one turn for both sessions: hundreds of disabled databases can come to look at once.
    pub(super) async fn look(&self) -> Result<(Identified, Option<SlotFacts>, ServerFacts), End> {
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
        Ok((server, slot, facts))
    }
}

/// That another database of the file names the slot that this one has.
pub(super) fn shared(claim: &Mutex<Option<Result<Claim, Rival>>>, database: &Database) -> Option<Finding> {
    let claim = claim.lock().unwrap_or_else(PoisonError::into_inner);
    let rival = claim.as_ref()?.as_ref().ok()?.rival()?;
    let (sentence, hint) = one_slot(&rival, database);
    Some(Finding { code: "shared_slot", sentence, hint: hint.to_owned() })
}

fn one_slot(other: &DatabaseName, Database { name, slot, .. }: &Database) -> (String, &'static str) {
    (
        format!("{other} and {name} name one slot of one cluster, {slot}, by two names of its server"),
        "give one of them another `slot_name`, or take it out of the file",
    )
}

/// Whether the guard last saw the slot over its budget by what we have not read.
pub(super) fn is_over_limit(seen: &watch::Receiver<Option<Seen>>) -> bool {
    let over = |seen: &Seen| seen.slot.as_ref().is_some_and(|slot| slot.over_limit);
    seen.borrow().as_ref().is_some_and(over)
}

/// Waits until the guard sees that, if anything is to be done then.
pub(super) async fn over_limit(seen: &mut watch::Receiver<Option<Seen>>, database: &Database) {
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
pub(super) async fn next<T>(seen: &mut watch::Receiver<Option<Seen>>, wanted: impl Fn(&Seen) -> Option<T>) -> T {
    while seen.changed().await.is_ok() {
        if let Some(found) = seen.borrow_and_update().as_ref().and_then(&wanted) {
            return found;
        }
    }
    std::future::pending().await
}
