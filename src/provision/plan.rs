//! What to do about the difference: a pure function.

use super::difference::{self, Differences};
use super::identities::{mend, refused};
use super::refusals::{self, Refusal, refusals};
use super::{Consent, Observed};
use crate::config::Database;
use crate::ident::PublicationName;
use crate::postgres::publication::PublicationFacts;
use crate::postgres::trouble::Diagnosis;
use crate::status::Finding;
use crate::stream::Holes;

/// What is done to the publication, in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationStep {
    pub kind: Kind,
    /// One by one, without semicolons.
    pub statements: Vec<String>,
    /// What they end; none where there is no publication yet.
    pub differences: Differences,
    /// Why they would fail now, or harm the application.
    pub blocked: Option<Diagnosis>,
}

/// What a step does to a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Create,
    Alter,
    /// Dropped and made anew: a publication for all tables can't be altered into another, nor the other way round.
    Recreate,
}

impl Kind {
    /// What was done, in a word or two.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::Create => "made",
            Self::Alter => "altered",
            Self::Recreate => "dropped and made anew",
        }
    }
}

/// What is done to the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotStep {
    /// Past what the publication can't be read for.
    Advance,
    /// By the walsender's command.
    Create,
    /// Standbys may keep a copy of it from then on.
    LetFailOver,
    /// It is invalidated, and the operator has accepted the gap.
    Drop,
}

/// What follows from what is wished and what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// It comes first.
    pub publication: Option<PublicationStep>,
    /// In this order.
    pub slot: Vec<SlotStep>,
    /// Why nothing may be done at all; the first counts.
    pub refusals: Vec<Refusal>,
    /// What is to be mended besides.
    pub findings: Vec<Finding>,
}

/// Compares. `known` says that the slot has been streamed before, `holes` what the operator said of gaps, `own` how our
/// own sessions call themselves.
#[must_use]
pub fn plan(database: &Database, observed: &Observed, known: bool, holes: Holes, own: &str) -> Plan {
    let mut plan = Plan {
        publication: publication_step(database, observed),
        slot: Vec::new(),
        refusals: refusals(database, observed, known, holes, own),
        findings: findings(database, observed),
    };
    let invalidated = observed.slot.as_ref().is_some_and(|slot| slot.invalidation().is_some());
    if invalidated {
        plan.slot.push(SlotStep::Drop);
    }
    if invalidated || observed.slot.is_none() {
        plan.slot.push(SlotStep::Create);
    } else if observed.needed_former().is_none() && (observed.publication.is_none() || observed.younger) {
        plan.slot.push(SlotStep::Advance);
    }
    if database.failover && !invalidated && observed.slot.as_ref().is_some_and(|slot| !slot.failover) {
        plan.slot.push(SlotStep::LetFailOver);
        plan.findings.push(Finding {
            code: "slot_drift",
            sentence: format!("the slot {} is not as declared: `failover` is false there", database.slot),
            hint: "set provision = \"create\" and reload: it is set while nobody reads the slot".to_owned(),
        });
    }
    plan
}

fn publication_step(database: &Database, observed: &Observed) -> Option<PublicationStep> {
    let Some(found) = &observed.publication else {
        let statements = vec![difference::create(database, &difference::declared(database, None))];
        let differences = Differences::default();
        return Some(PublicationStep { kind: Kind::Create, statements, differences, blocked: None });
    };
    let differences = Differences::new(database, found, observed.made.as_ref());
    if differences.is_empty() {
        return None;
    }
    let kind = if differences.anew { Kind::Recreate } else { Kind::Alter };
    let statements = differences.statements(database, found);
    Some(PublicationStep { kind, statements, differences, blocked: refusals::of_alteration(database, observed) })
}

impl PublicationStep {
    /// Whether it may be taken; `ours` says that slotd made the publication.
    #[must_use]
    pub fn is_allowed(&self, consent: Consent, ours: bool) -> bool {
        if self.blocked.is_some() {
            return false;
        }
        match self.kind {
            Kind::Create => consent.create,
            Kind::Alter => consent.alter_any || consent.alter_ours && ours,
            Kind::Recreate => consent.recreate_publication,
        }
    }

    /// Its statements, as they are typed.
    #[must_use]
    pub fn sql(&self) -> String {
        match &self.statements[..] {
            [one] => format!("{one};"),
            // One transaction, so that no moment of the WAL lacks the publication.
            several => format!("BEGIN; {}; COMMIT;", several.join("; ")),
        }
    }
}

fn findings(database: &Database, observed: &Observed) -> Vec<Finding> {
    let mut findings: Vec<_> =
        observed.needed_former().map(|former| through_former(database, former)).into_iter().collect();
    let Some(publication) = &observed.publication else { return findings };
    if let Some(step) = publication_step(database, observed) {
        findings.push(drift(database, &step));
    }
    findings.extend(overruled(database, publication));
    let found = &observed.unpublishable;
    if !found.is_empty() {
        findings.push(Finding {
            code: "no_replica_identity",
            sentence: format!(
                "UPDATE and DELETE fail in the application on these published tables: {}",
                refused(found)
            ),
            hint: mend(database, found),
        });
    }
    findings
}

/// Another publication is declared than the one through which the slot is read.
pub(super) fn through_former(Database { slot, publication, .. }: &Database, former: &PublicationName) -> Finding {
    Finding {
        code: "former_publication",
        sentence: format!(
            "changes flow through the former publication {former} until the slot {slot} is past the making of {publication}, \
             since what was changed before can't be read through it"
        ),
        hint: format!(
            "keep {former} until this is gone; it takes the server's next checkpoint, and the end of the transactions that \
             are older than {publication}"
        ),
    }
}

fn drift(database: &Database, step: &PublicationStep) -> Finding {
    let (name, publication) = (&database.name, &database.publication);
    let apply = match step.kind {
        Kind::Recreate => format!("slotd apply {name} --recreate-publication --yes"),
        Kind::Create | Kind::Alter => format!("slotd apply {name}"),
    };
    let as_it_is = if database.scope.is_some() && step.differences.points.iter().any(is_filter) {
        ", or write each `where` as the server has it"
    } else {
        ""
    };
    let hint = match &step.blocked {
        Some(Diagnosis { trouble, .. }) => {
            format!("{apply} would fail: {}: {}", trouble.sentence, trouble.hint)
        }
        None => format!("run {apply}, which does: {} (or correct the file{as_it_is})", step.sql()),
    };
    let sentence = format!("the publication {publication} is not as declared: {}", step.differences);
    Finding { code: "publication_drift", sentence, hint }
}

/// Whether both sides have a filter: the same one may be written otherwise.
fn is_filter(point: &difference::Difference) -> bool {
    let filters = |side: &Option<String>| side.as_ref().is_some_and(|side| side.contains(" WHERE ("));
    filters(&point.found) && filters(&point.declared)
}

/// Filters and lists that the server takes and does not heed.
fn overruled(database: &Database, found: &PublicationFacts) -> Option<Finding> {
    let tables: Vec<_> =
        found.tables.iter().filter(|table| table.overruled).map(|table| table.table.name.to_string()).collect();
    (!tables.is_empty()).then(|| Finding {
        code: "filter_without_effect",
        sentence: format!(
            "the publication {} publishes all of {}: its row filter or column list has no effect, since the publication \
             names the table's schema or a partitioned table above it too",
            database.publication,
            tables.join(", ")
        ),
        hint: "take the schema or the table above out of the publication, or the filter: ALTER PUBLICATION … DROP TABLES IN \
               SCHEMA …"
            .to_owned(),
    })
}

/// Of a slot that is being streamed.
pub(super) fn publication_missing(database: &Database) -> Finding {
    Finding {
        code: "publication_missing",
        sentence: format!(
            "the publication {} is gone: the first change that is committed without it ends the stream as `lost`",
            database.publication
        ),
        hint: format!("run at once: {};", difference::create(database, &difference::declared(database, None))),
    }
}

#[cfg(test)]
mod tests;
