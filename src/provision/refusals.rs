//! Why nothing may be done: each that stands in the way, one function a subject.

use super::Observed;
use super::identities::{mend, refused};
use crate::config::{Database, GeneratedColumns};
use crate::postgres::catalog::SlotFacts;
use crate::postgres::identity::Unpublishable;
use crate::postgres::trouble::{Class, Diagnosis};
use crate::postgres::{slot_trouble, sync_standby};
use crate::status::{Finding, Reason, Trouble};
use crate::stream::Holes;

/// Why nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The slot leads on no more.
    Lost {
        reason: Reason,
        sentence: String,
    },
    Trouble(Diagnosis),
}

impl From<Refusal> for Finding {
    /// One that stands behind another.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Lost { reason, sentence } => Self { code: reason.as_str(), sentence, hint: String::new() },
            Refusal::Trouble(Diagnosis { trouble: Trouble { reason, sentence, hint, .. }, .. }) => {
                Self { code: reason.as_str(), sentence, hint }
            }
        }
    }
}

/// All that stand in the way, what counts first first. `known` says that the slot has been streamed before, `holes` what the
/// operator said of gaps, `own` how our own sessions call themselves.
pub(super) fn refusals(database: &Database, observed: &Observed, known: bool, holes: Holes, own: &str) -> Vec<Refusal> {
    let names = &observed.server.synchronous_standby_names;
    let slot = refuse_slot(database, observed, known, holes, own);
    // That a slot is lost is not hidden by what stands in the way of another one.
    let (lost, other) = match slot {
        Some(lost @ Refusal::Lost { .. }) => (Some(lost), None),
        other => (None, other),
    };
    let mut all = Vec::new();
    all.extend(refuse_server(database, observed).map(Refusal::Trouble));
    all.extend(lost);
    all.extend(refuse_wal_level(observed).map(Refusal::Trouble));
    // A standby waits for nobody, whatever its setting.
    if !observed.server.in_recovery {
        all.extend(sync_standby::refusal(database, names, own).map(Refusal::Trouble));
    }
    all.extend(refuse_publication(database, observed).map(Refusal::Trouble));
    all.extend(other);
    all
}

fn operator(reason: Reason, sentence: impl AsRef<str>, hint: impl AsRef<str>) -> Diagnosis {
    Diagnosis { class: Class::Operator, trouble: Trouble::new(reason, sentence, hint) }
}

fn refuse_server(database: &Database, observed: &Observed) -> Option<Diagnosis> {
    let server = &observed.server;
    if server.version < 150_000 {
        return Some(operator(
            Reason::Server,
            format!("the server is PostgreSQL {}, and slotd needs 15 or later", server.version / 10_000),
            "upgrade the server",
        ));
    }
    if database.failover && server.version < 170_000 {
        return Some(operator(
            Reason::Server,
            format!("`failover = true` needs PostgreSQL 17, and the server is {}", server.version / 10_000),
            "leave `failover` out, or upgrade the server",
        ));
    }
    if !server.in_recovery {
        return None;
    }
    let sender = observed.standby.as_ref().and_then(|standby| standby.sender.clone());
    let address = sender.as_deref().and_then(|sender| sender.rsplit_once(':'));
    let primary = match (&database.primary, address) {
        (Some(_), _) => String::new(),
        (None, Some((host, port))) => format!("primary = {{ hostname = \"{host}\", port = {port} }}"),
        // Only a superuser, or a member of pg_read_all_stats, is told.
        (None, None) => "primary = { hostname = \"…\" }, which SHOW primary_conninfo; tells to a superuser".to_owned(),
    };
    if server.version < 160_000 {
        let sentence = format!(
            "the server is a standby of PostgreSQL {}, which can't decode: that takes 16",
            server.version / 10_000
        );
        let beside = if primary.is_empty() { String::new() } else { format!(", beside {primary}") };
        return Some(operator(
            Reason::Server,
            sentence,
            format!("write slot_on = \"primary\"{beside}: the slot is made and read there"),
        ));
    }
    (!primary.is_empty()).then(|| {
        operator(
            Reason::Server,
            "the server is a standby, where no publication can be made",
            format!("write where its primary is: {primary}"),
        )
    })
}

fn refuse_wal_level(observed: &Observed) -> Option<Diagnosis> {
    if let Some(primary) = observed.primary.as_ref().filter(|primary| primary.wal_level != "logical") {
        return Some(operator(
            Reason::Server,
            format!(
                "wal_level of the primary is {}, and logical decoding on its standby needs logical",
                primary.wal_level
            ),
            "run on the primary: ALTER SYSTEM SET wal_level = 'logical'; and restart it",
        ));
    }
    let wal_level = &observed.server.wal_level;
    (wal_level != "logical" && observed.slot.is_none()).then(|| {
        operator(
            Reason::Server,
            format!("wal_level is {wal_level}, and logical decoding needs logical"),
            "run: ALTER SYSTEM SET wal_level = 'logical'; and restart the server",
        )
    })
}

fn refuse_publication(database: &Database, observed: &Observed) -> Option<Diagnosis> {
    let version = observed.server.version;
    if database.publish_generated_columns == Some(GeneratedColumns::Stored) && version < 180_000 {
        return Some(operator(
            Reason::Publication,
            format!("publish_generated_columns = stored needs PostgreSQL 18, and the server is {}", version / 10_000),
            "leave `publish_generated_columns` out, or list the columns of each table in `tables`",
        ));
    }
    if observed.publication.is_some() {
        return None;
    }
    if let Some(missing) = missing(database, observed) {
        return Some(missing);
    }
    let found = &observed.unpublishable;
    (!found.is_empty()).then(|| unpublishable(database, found))
}

/// Why a publication that exists may not be altered into what is declared.
pub(super) fn of_alteration(database: &Database, observed: &Observed) -> Option<Diagnosis> {
    let found = &observed.unpublishable_then;
    missing(database, observed).or_else(|| (!found.is_empty()).then(|| unpublishable(database, found)))
}

fn missing(database: &Database, observed: &Observed) -> Option<Diagnosis> {
    (!observed.missing.is_empty()).then(|| {
        operator(
            Reason::Publication,
            format!("the publication {} can't be as declared: {}", database.publication, observed.missing.join("; ")),
            "correct `tables` or `schemas`, or create what is missing",
        )
    })
}

/// Tables that must not be published as declared.
pub(super) fn unpublishable(database: &Database, found: &[Unpublishable]) -> Diagnosis {
    let sentence =
        format!("UPDATE and DELETE would fail in the application once these tables are published: {}", refused(found));
    operator(Reason::NoReplicaIdentity, sentence, mend(database, found))
}

fn refuse_slot(database: &Database, observed: &Observed, known: bool, holes: Holes, own: &str) -> Option<Refusal> {
    let name = &database.slot;
    let lost = |reason, sentence| (holes != Holes::Accept(reason)).then_some(Refusal::Lost { reason, sentence });
    let gone = || slot_trouble::lost(name, observed.slot.as_ref());
    let Some(slot) = &observed.slot else {
        return gone().filter(|_| known).and_then(|(reason, sentence)| lost(reason, sentence));
    };
    if let Some(diagnosis) = unusable(database, slot) {
        return Some(Refusal::Trouble(diagnosis));
    }
    if let Some((reason, sentence)) = gone() {
        return lost(reason, sentence);
    }
    if let Some(pid) = slot.active_pid {
        return Some(Refusal::Trouble(slot_trouble::held(slot, pid, own)));
    }
    if slot.confirmed_flush_lsn.is_none() {
        // The session that made it has just ended.
        let sentence = format!("the slot {name} is still being made by another session");
        let trouble = Trouble::new(Reason::SlotHeld, sentence, "wait for it");
        return Some(Refusal::Trouble(Diagnosis { class: Class::Retry, trouble }));
    }
    if observed.needed_former().is_some() {
        return None;
    }
    if observed.publication.is_none() {
        let publication = &database.publication;
        let sentence = format!("the slot {name} exists and its publication {publication} does not");
        return lost(Reason::PublicationGap, sentence);
    }
    if observed.younger {
        let (publication, confirmed) = (&database.publication, slot.confirmed_flush_lsn.unwrap_or_default());
        let sentence = format!(
            "the publication {publication} is younger than {confirmed}, where the slot {name} stands, and did not exist when the \
             next change was made"
        );
        return lost(Reason::PublicationGap, sentence);
    }
    None
}

/// Why the slot of this name is none that slotd may read, move or drop.
#[must_use]
pub fn unusable(database: &Database, slot: &SlotFacts) -> Option<Diagnosis> {
    let (name, why) = (&database.slot, why_unusable(database, slot)?);
    let hint = format!("give another `slot_name`, or drop the slot: SELECT pg_drop_replication_slot('{name}');");
    Some(operator(Reason::SlotUnusable, format!("the slot {name} {why}"), hint))
}

fn why_unusable(database: &Database, slot: &SlotFacts) -> Option<String> {
    if slot.slot_type != "logical" {
        return Some(format!("is a {} slot", slot.slot_type));
    }
    if slot.plugin.as_deref() != Some("pgoutput") {
        return Some(format!("uses the plugin {}, not pgoutput", slot.plugin.as_deref().unwrap_or("none")));
    }
    let its = slot.database.as_deref().unwrap_or_default();
    if its != database.connection.database {
        return Some(format!("belongs to the database {its}"));
    }
    if slot.temporary {
        return Some("is a temporary slot of another session".to_owned());
    }
    slot.two_phase.then(|| "has two_phase on, by which a crash can lose prepared transactions".to_owned())
}
