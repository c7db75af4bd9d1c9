//! One round: observe, plan, apply, until there is nothing to do.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::apply_slot::unrecorded;
use super::made::{Made, MadePublication};
use super::plan::{Kind, Plan, PublicationStep, SlotStep, plan, publication_missing, through_former};
use super::preflight::{Preflight, preflight};
use super::primary::{self, Primary};
use super::refusals::Refusal;
use super::{Consent, Observed, apply_publication, apply_slot, failover, observe};
use crate::config::{Connection, Database};
use crate::ident::{PublicationName, SlotName, quote_ident};
use crate::postgres::catalog;
use crate::postgres::preflight::Allowed;
use crate::postgres::trouble::{self, Class, Diagnosis, Step};
use crate::postgres::{Connector, ReplicationSession, SqlError, SqlSession, Visit};
use crate::status::{Finding, Reason, Reporter, Trouble};
use crate::stream::{Anew, Holes, Ready};

/// How often a lost race or a step is followed by another look.
const LOOKS: usize = 4;

/// The slot is there and as declared.
#[derive(Debug)]
pub struct Ensured {
    pub ready: Ready,
    pub findings: Vec<Finding>,
    /// In which that was seen.
    pub visit: Visit,
}

/// Other slots of a cluster that read a publication.
#[derive(Debug, Clone)]
pub struct Readers {
    /// One that is known to, wherever it is.
    pub known: Option<SlotName>,
    /// Those that do if they are there.
    pub if_there: BTreeSet<SlotName>,
}

/// What has become of a publication that a database reads no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// It stays: slotd did not make it.
    Anothers,
    Gone,
    /// It stays: this slot is read through it.
    Read(SlotName),
}

/// What there is, and the sessions in which that was seen.
struct Looked {
    visit: Visit,
    /// Of a standby.
    primary: Option<Primary>,
    observed: Observed,
}

/// Where the publication is made, and how that is reached.
#[derive(Clone, Copy)]
pub(super) struct Publisher<'a> {
    pub(super) sql: &'a SqlSession,
    pub(super) to: &'a Connection,
}

impl<'a> Publisher<'a> {
    /// `primary` is that of the standby where the slot is.
    fn new(database: &'a Database, visit: &'a Visit, primary: Option<&'a Primary>) -> Result<Self, Diagnosis> {
        match primary {
            None => Ok(Self { sql: visit, to: database.publisher(false) }),
            Some(Primary::At(primary)) => Ok(Self { sql: primary, to: database.publisher(true) }),
            Some(Primary::Away(why)) => Err(why.clone()),
        }
    }
}

impl Looked {
    /// Where the publication is made.
    fn publisher<'a>(&'a self, database: &'a Database) -> Result<Publisher<'a>, Diagnosis> {
        Publisher::new(database, &self.visit, self.primary.as_ref())
    }
}

/// That nothing can be made, nor looked at there.
fn away(primary: Option<&Primary>) -> Option<Finding> {
    let Some(Primary::Away(Diagnosis { trouble, .. })) = primary else { return None };
    Some(Finding { code: "primary_away", sentence: trouble.sentence.clone(), hint: trouble.hint.clone() })
}

/// One round of one database.
#[derive(Debug, Clone)]
pub struct Round<'a> {
    pub database: &'a Database,
    pub connector: &'a Connector,
    pub reporter: &'a Reporter,
    pub made: &'a Made,
    /// Of the server.
    pub system_identifier: u64,
    /// Through which other publication the slot was streamed last.
    pub former: Option<PublicationName>,
}

impl Round<'_> {
    /// Makes what is missing, and alters the publication if `consent` allows that. `known` says that the slot has been
    /// streamed before.
    ///
    /// # Errors
    /// Why it may not be made, or could not.
    pub async fn ensure(
        &self,
        replication: &mut ReplicationSession,
        known: bool,
        holes: Holes,
        consent: Consent,
    ) -> Result<Ensured, Refusal> {
        let Self { database, reporter, .. } = *self;
        // The stream broke off because its publication is younger than the slot's position.
        let mut advance = holes == Holes::Accept(Reason::PublicationGap);
        // It is altered once: what differs all the same afterwards is a finding.
        let (mut altered, mut unaltered) = (false, None);
        let mut anew = None;
        // What there is after what was done, where that is known without another look.
        let mut known_after = None;
        for _ in 0..LOOKS {
            let Looked { visit, primary, mut observed } = match known_after.take() {
                Some(seen) => seen,
                None => self.look().await.map_err(Refusal::Trouble)?,
            };
            let plan = self.plan(&observed, known, holes);
            let Preflight { blocks, warns, .. } = self.preflight(&observed, &plan);
            let Plan { publication, slot: mut steps, mut refusals, mut findings } = plan;
            findings.extend(warns);
            findings.extend(failover::findings(database, &observed.server, &[]));
            findings.extend(away(primary.as_ref()));
            if !consent.create {
                steps.retain(|step| *step != SlotStep::LetFailOver);
            }
            refusals.extend(self.refuse_by_policy(publication.as_ref(), &steps, consent));
            if let Some(first) = refusals.first().cloned() {
                findings.extend(refusals.into_iter().skip(1).map(Finding::from));
                findings.extend(blocks);
                reporter.findings(findings);
                return Err(first);
            }
            if !blocks.is_empty() {
                // The step that runs into one of them tells it; the others are told here.
                reporter.findings(findings.iter().cloned().chain(blocks).collect());
            }
            let ours = observed.is_ours();
            let publication =
                publication.filter(|step| step.is_allowed(consent, ours) && (step.kind == Kind::Create || !altered));
            if std::mem::take(&mut advance) && steps.is_empty() {
                steps.push(SlotStep::Advance);
            }
            let before = observed.slot.as_ref().and_then(|slot| slot.confirmed_flush_lsn);
            match observed.slot {
                Some(slot) if publication.is_none() && steps.is_empty() => {
                    if let Some(Diagnosis { trouble, .. }) = unaltered {
                        findings.push(unalterable(database, &trouble));
                    }
                    let ready = Ready { slot, anew, in_recovery: observed.server.in_recovery };
                    return Ok(Ensured { ready, findings, visit });
                }
                _ if steps.iter().any(|step| matches!(step, SlotStep::Advance | SlotStep::Create)) => {
                    anew = anew.or(Some(Anew { before }));
                }
                _ => {}
            }
            let mut is_known = true;
            if let Some(step) = publication {
                let publisher = Publisher::new(database, &visit, primary.as_ref()).map_err(Refusal::Trouble)?;
                let taken = apply_publication::publication(&step, &observed.unpublishable, ours, self, publisher).await;
                altered |= step.kind != Kind::Create;
                is_known = false;
                match (taken, step.kind) {
                    (Ok(Some((found, noted))), Kind::Create) => {
                        is_known = true;
                        observed.publication = Some(found);
                        observed.made = Some(noted);
                    }
                    (Ok(_), _) => {}
                    (Err(refused), Kind::Create) => return Err(Refusal::Trouble(refused)),
                    // What is there can be streamed.
                    (Err(refused), Kind::Alter | Kind::Recreate) => unaltered = Some(refused),
                }
            }
            match &primary {
                Some(Primary::At(_)) => {
                    drop((visit, primary));
                    // The slot decodes what the standby replays.
                    primary::replayed(self).await.map_err(Refusal::Trouble)?;
                    self.apply_slot(steps, database.primary.as_ref(), replication).await.map_err(Refusal::Trouble)?;
                    continue;
                }
                Some(Primary::Away(why)) if steps.contains(&SlotStep::Create) => {
                    return Err(Refusal::Trouble(why.clone()));
                }
                Some(Primary::Away(_)) | None => {}
            }
            let (taken, visit) = visit.during(self.apply_slot(steps, None, replication)).await;
            taken.map_err(Refusal::Trouble)?;
            if let Some(visit) = visit.filter(|_| is_known) {
                let slot = catalog::slots(&visit, &[&database.slot]).await;
                let slot = slot.map_err(|error| trouble::of_sql(Step::Observe, &error, &database.connection));
                let slot = slot.map_err(Refusal::Trouble)?.pop();
                let observed = Observed { slot, younger: false, allowed: None, ..observed };
                known_after = Some(Looked { visit, primary, observed });
            }
        }
        Err(Refusal::Trouble(raced(database)))
    }

    /// `primary` is that of the standby where the slot is.
    async fn apply_slot(
        &self,
        steps: Vec<SlotStep>,
        primary: Option<&Connection>,
        replication: &mut ReplicationSession,
    ) -> Result<(), Diagnosis> {
        for step in steps {
            apply_slot::slot(step, self, primary, replication).await?;
        }
        Ok(())
    }

    /// What is to be mended of a database that streams; alters its publication, if `consent` allows that.
    ///
    /// # Errors
    /// The server refuses, or can't be reached.
    pub async fn check(&self, consent: Consent) -> Result<Vec<Finding>, Diagnosis> {
        let Self { database, connector, .. } = *self;
        let mut unaltered = None;
        // Before the turn, since a standby that is gone takes its time.
        let asked = failover::ask(connector, database).await;
        loop {
            let looked = self.look().await?;
            let observed = &looked.observed;
            let plan = self.plan(observed, true, Holes::Refuse);
            let Preflight { warns, .. } = self.preflight(observed, &plan);
            let Plan { publication, mut findings, .. } = plan;
            findings.extend(warns);
            findings.extend(failover::findings(database, &observed.server, &asked));
            let away = away(looked.primary.as_ref());
            findings.extend(away.clone());
            let ours = observed.is_ours();
            match publication {
                Some(PublicationStep { kind: Kind::Create, .. }) => findings.push(publication_missing(database)),
                Some(step) if step.is_allowed(consent, ours) && unaltered.is_none() && away.is_none() => {
                    let (before, publisher) = (&observed.unpublishable, looked.publisher(database)?);
                    let taken = apply_publication::publication(&step, before, ours, self, publisher);
                    // `Some` ends this, whatever came of it.
                    unaltered = Some(taken.await.err());
                    continue;
                }
                _ => {}
            }
            findings.extend(unaltered.flatten().map(|Diagnosis { trouble, .. }| unalterable(database, &trouble)));
            return Ok(findings);
        }
    }

    /// Tells all that stands in the way, where something else ended the round before it began. `known` says that the slot has
    /// been streamed before.
    ///
    /// # Errors
    /// The server refuses, or can't be reached.
    pub async fn tell_all(&self, known: bool) -> Result<(), Diagnosis> {
        let Looked { observed, .. } = self.look().await?;
        let plan = self.plan(&observed, known, Holes::Refuse);
        let Preflight { blocks, warns, .. } = self.preflight(&observed, &plan);
        let refused = plan.refusals.into_iter().map(Finding::from);
        self.reporter.findings(refused.chain(blocks).chain(plan.findings).chain(warns).collect());
        Ok(())
    }

    /// Whether the slot has to be streamed through its former publication for now, and what is to be said of that. Makes the
    /// declared one, as far as `consent` goes. `is_half` says that a transaction of the former one is half in a sink.
    ///
    /// # Errors
    /// The server refuses, or can't be reached.
    pub async fn needs_former(&self, consent: Consent, is_half: bool) -> Result<Option<Finding>, Diagnosis> {
        let Self { database, .. } = *self;
        let looked = self.look().await?;
        let observed = &looked.observed;
        let former = if is_half { observed.former.as_ref() } else { observed.needed_former() };
        let Some(former) = former else { return Ok(None) };
        let mut finding = through_former(database, former);
        let plan = self.plan(observed, true, Holes::Refuse);
        if let Some(step) = plan.publication.filter(|step| step.kind == Kind::Create) {
            let refusal = self.refuse_by_policy(Some(&step), &[], consent);
            let refusal = about_publication(plan.refusals).map(Refusal::Trouble).or(refusal);
            let made = match refusal {
                Some(refusal) => Err(Finding::from(refusal)),
                None => {
                    let (before, publisher) = (&observed.unpublishable, looked.publisher(database)?);
                    let made = apply_publication::publication(&step, before, false, self, publisher).await;
                    made.map_err(|refused| Finding::from(Refusal::Trouble(refused)))
                }
            };
            if let Err(Finding { sentence, hint, .. }) = made {
                finding.sentence = format!("{}; it is not made yet: {sentence}", finding.sentence);
                finding.hint = hint;
            }
        }
        Ok(Some(finding))
    }

    /// Makes or alters the publication, at the operator's word; `streams` says that a stream reads the slot meanwhile.
    /// Gives what was done, in a sentence.
    ///
    /// # Errors
    /// Why it may not be done, or could not.
    pub async fn apply_publication(&self, consent: Consent, streams: bool) -> Result<String, Diagnosis> {
        let Self { database, .. } = *self;
        let Database { name, publication, .. } = database;
        let looked = self.look().await?;
        let observed = &looked.observed;
        let plan = self.plan(observed, true, Holes::Refuse);
        let Some(step) = plan.publication else { return Ok(format!("the publication {publication} is as declared")) };
        let refuse = |sentence: String, hint: String| {
            Err(Diagnosis { class: Class::Operator, trouble: Trouble::new(Reason::Publication, sentence, hint) })
        };
        if step.kind == Kind::Create && observed.slot.is_some() && observed.former.is_none() && !streams {
            return refuse(
                format!("the slot {} exists and its publication {publication} does not", database.slot),
                format!(
                    "`slotd resume {name} --accept-gap` makes it, and advances the slot past what it can't be read for"
                ),
            );
        }
        if let Some(diagnosis) = about_publication(plan.refusals) {
            return Err(diagnosis);
        }
        if !step.is_allowed(consent, observed.is_ours()) {
            if let Some(blocked) = step.blocked {
                return Err(blocked);
            }
            let sentence = format!("the publication {publication} is not as declared: {}", step.differences);
            let hint = format!(
                "only `slotd apply {name} --recreate-publication --yes` drops it and makes it anew; see first what \
                 `slotd plan {name}` says is lost"
            );
            return refuse(sentence, hint);
        }
        let ours = observed.is_ours();
        apply_publication::publication(&step, &observed.unpublishable, ours, self, looked.publisher(database)?).await?;
        Ok(format!("{} the publication {publication}", step.kind.done()))
    }

    /// Drops the publication, if slotd made it and none of `readers` does.
    ///
    /// # Errors
    /// The server refuses, or can't be reached.
    pub async fn drop_publication(&self, readers: &Readers) -> Result<Dropped, Diagnosis> {
        let Self { database, reporter, made, .. } = *self;
        let looked = self.look().await?;
        let observed = &looked.observed;
        if observed.publication.is_none() {
            return Ok(Dropped::Gone);
        }
        let Some(ours) = observed.made.clone().filter(|made| made.ours) else { return Ok(Dropped::Anothers) };
        if let Some(slot) = self.reader(&looked.visit, readers).await? {
            return Ok(Dropped::Read(slot));
        }
        let statement = format!("DROP PUBLICATION {}", quote_ident(database.publication.as_str()));
        let Publisher { sql, to } = looked.publisher(database)?;
        let dropped = sql.statement("the publication", &statement).await;
        dropped.map_err(|error| trouble::of_sql(Step::CreatePublication, &error, to))?;
        reporter.info(None, &format!("dropped the publication: {statement};"));
        made.forget_publication(&ours).await.map_err(|error| unrecorded(&error))?;
        Ok(Dropped::Gone)
    }

    /// Any of `readers` that reads the publication.
    async fn reader(&self, sql: &SqlSession, readers: &Readers) -> Result<Option<SlotName>, Diagnosis> {
        let Readers { known, if_there } = readers;
        if known.is_some() || if_there.is_empty() {
            return Ok(known.clone());
        }
        let to = &self.database.connection;
        let slots = catalog::slots(sql, &if_there.iter().collect::<Vec<_>>()).await;
        let slots = slots.map_err(|error| trouble::of_sql(Step::Observe, &error, to))?;
        let here = slots.into_iter().find(|slot| slot.database.as_ref() == Some(&to.database));
        Ok(here.map(|slot| slot.slot_name))
    }

    async fn look(&self) -> Result<Looked, Diagnosis> {
        let Self { database, connector, made, system_identifier, .. } = *self;
        let to = &database.connection;
        let visit = connector.visit(to).await.map_err(|error| trouble::of_connect(&error, to))?;
        let primary = primary::of_standby(connector, database, &visit, system_identifier).await?;
        let made = made.publication(system_identifier, &to.database, &database.publication);
        let observed =
            observe(&visit, primary.as_ref().and_then(Primary::session), database, made, self.former.as_ref()).await;
        let observed = observed.map_err(|error| error.diagnosis(database))?;
        if let Some(made) = observed.made.as_ref().filter(|made| made.oid.is_none()) {
            // The agent ended between the statement and its note.
            let oid = observed.publication.as_ref().map(|found| found.oid);
            let noted = MadePublication { oid, ..made.clone() };
            self.made.note_publication(noted).await.map_err(|error| unrecorded(&error))?;
        }
        Ok(Looked { visit, primary, observed })
    }

    fn plan(&self, observed: &Observed, known: bool, holes: Holes) -> Plan {
        plan(self.database, observed, known, holes, self.connector.application_name())
    }

    fn preflight(&self, observed: &Observed, plan: &Plan) -> Preflight {
        let none = Allowed::default();
        match &observed.allowed {
            Some(allowed) => preflight(self.database, observed, plan, allowed),
            // Nothing is to be made: the limits don't count.
            None => Preflight { blocks: Vec::new(), ..preflight(self.database, observed, plan, &none) },
        }
    }

    /// What is missing, where the agent is to make nothing by itself.
    fn refuse_by_policy(
        &self,
        publication: Option<&PublicationStep>,
        slot: &[SlotStep],
        consent: Consent,
    ) -> Option<Refusal> {
        if consent.create {
            return None;
        }
        let Database { name, slot: slot_name, publication: publication_name, .. } = self.database;
        let publication = publication.filter(|step| step.kind == Kind::Create);
        let slot = slot.contains(&SlotStep::Create);
        let what = match (publication, slot) {
            (None, false) => return None,
            (Some(_), false) => format!("the publication {publication_name} does not"),
            (None, true) => format!("the slot {slot_name} does not"),
            (Some(_), true) => format!("the publication {publication_name} and the slot {slot_name} do not"),
        };
        let sql = publication.map(PublicationStep::sql).into_iter().chain(slot.then(|| create_slot_sql(self.database)));
        let trouble = Trouble::new(
            Reason::Unprovisioned,
            format!("{what} exist, and provision = \"report\" makes nothing"),
            format!("run slotd apply {name}, or: {}", sql.collect::<Vec<_>>().join(" ")),
        );
        Some(Refusal::Trouble(Diagnosis { class: Class::Operator, trouble }))
    }
}

/// What stands in the way of the publication.
fn about_publication(refusals: Vec<Refusal>) -> Option<Diagnosis> {
    refusals.into_iter().find_map(|refusal| match refusal {
        Refusal::Trouble(diagnosis) => {
            let reason = diagnosis.trouble.reason;
            matches!(reason, Reason::Server | Reason::Publication | Reason::NoReplicaIdentity).then_some(diagnosis)
        }
        Refusal::Lost { .. } => None,
    })
}

/// The SQL that makes the slot; publication first, in a transaction of its own.
#[must_use]
pub fn create_slot_sql(Database { slot, failover, .. }: &Database) -> String {
    let failover = if *failover { ", failover => true" } else { "" };
    format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput'{failover});")
}

fn unalterable(database: &Database, trouble: &Trouble) -> Finding {
    Finding {
        code: "publication_unalterable",
        sentence: format!("the publication {} can't be altered: {}", database.publication, trouble.sentence),
        hint: trouble.hint.clone(),
    }
}

fn raced(database: &Database) -> Diagnosis {
    Diagnosis {
        class: Class::Retry,
        trouble: Trouble::new(
            Reason::SlotHeld,
            format!("somebody changes the slot {} or its publication as fast as slotd makes them", database.slot),
            "let one agent look after a slot",
        ),
    }
}

/// How long the end of our walsender is waited for.
const GONE: Duration = Duration::from_secs(3);
/// Between two looks for that.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Lets the commits go that waited for our stream, which has ended. The server looks who waits when a standby answers,
/// and an idle one answers to new WAL or every `wal_receiver_status_interval`, 10 s: so there has to be new WAL once our
/// walsender is gone, and a transaction without content is the least of it.
///
/// Source: <https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION>.
///
/// # Errors
/// The server refuses, or can't be reached.
pub async fn release_commits(database: &Database, connector: &Connector) -> Result<(), SqlError> {
    let sql = connector.sql(&database.connection).await?;
    let deadline = Instant::now() + GONE;
    while catalog::slots(&sql, &[&database.slot]).await?.iter().any(|slot| slot.active_pid.is_some())
        && Instant::now() < deadline
    {
        sleep(LOOK_AGAIN).await;
    }
    // It must not wait as those do.
    sql.run("a transaction without content", "set synchronous_commit = off; select pg_current_xact_id()").await
}
