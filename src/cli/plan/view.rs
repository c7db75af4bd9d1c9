//! What `slotd plan` says of a database: made of the plan by a pure function, shown as text, JSON or SQL.

use serde::Serialize;

use crate::config::{Database, Status};
use crate::ident::{DatabaseName, SlotName};
use crate::lsn::Lsn;
use crate::postgres::trouble;
use crate::provision::difference::Difference;
use crate::provision::{Consent, Kind, Observed, Plan, Preflight, PublicationStep, Refusal, SlotStep, create_slot_sql};
use crate::status::{Finding, Reason, Trouble, size};

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::cli) struct Planned {
    pub(in crate::cli) name: DatabaseName,
    /// `db.example.com:5432`.
    pub(in crate::cli) server: String,
    pub(in crate::cli) database: String,
    /// In the order in which they are taken.
    pub(in crate::cli) steps: Vec<Step>,
    /// What is as declared, or not to be touched.
    pub(in crate::cli) kept: Vec<Kept>,
    /// Why nothing can be done before something else is mended.
    pub(in crate::cli) obstacles: Vec<Obstacle>,
    /// What else is to be mended.
    pub(in crate::cli) findings: Vec<Finding>,
    /// The cluster and its slot, once they are known.
    #[serde(skip)]
    pub(in crate::cli) slot_of: Option<(u64, SlotName)>,
    /// The server bounds no slot's WAL.
    #[serde(skip)]
    pub(in crate::cli) unbounded: bool,
    /// What would be lost with the slot.
    #[serde(skip)]
    pub(in crate::cli) undelivered: Option<String>,
}

/// What would be done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::cli) struct Step {
    pub(in crate::cli) action: Action,
    /// `publication slotd_shop`.
    pub(in crate::cli) object: String,
    pub(in crate::cli) why: String,
    pub(in crate::cli) differences: Vec<Difference>,
    /// Where its SQL runs, if that is not the server that has the slot: on its primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) server: Option<String>,
    /// Whole statements.
    pub(in crate::cli) sql: Vec<String>,
    /// Who takes it.
    pub(in crate::cli) by: By,
    /// What will be lost by it.
    pub(in crate::cli) loses: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum Action {
    Create,
    Alter,
    Recreate,
}

/// The least that takes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cli) enum By {
    /// The running agent, by itself.
    Agent,
    /// `slotd apply`.
    Apply,
    /// `slotd apply --recreate-publication --yes`.
    RecreatePublication,
    /// `slotd apply --recreate-slot --yes`.
    RecreateSlot,
}

/// What stays as it is, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::cli) struct Kept {
    pub(in crate::cli) object: String,
    pub(in crate::cli) why: String,
}

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::cli) struct Obstacle {
    /// A reason, or the code of a finding.
    pub(in crate::cli) reason: &'static str,
    pub(in crate::cli) sentence: String,
    pub(in crate::cli) hint: String,
}

impl By {
    /// The flag that allows it.
    pub(in crate::cli) const fn flag(self) -> Option<&'static str> {
        match self {
            Self::Agent | Self::Apply => None,
            Self::RecreatePublication => Some("--recreate-publication"),
            Self::RecreateSlot => Some("--recreate-slot"),
        }
    }
}

impl Planned {
    /// Of a database that could not be looked at.
    pub(in crate::cli) fn unseen(database: &Database, trouble: &Trouble) -> Self {
        Self { obstacles: vec![obstacle(trouble)], ..Self::new(database) }
    }

    /// What `slotd drop` costs, in words.
    pub(in crate::cli) fn price_of_drop(&self, database: &Database) -> String {
        let Database { slot, publication, .. } = database;
        let mut text = format!("{} (the database {} at {})\n", self.name, self.database, self.server);
        if let Some(obstacle) = self.obstacles.first() {
            text.push_str(&format!("  ! {}\n      hint: {}\n", obstacle.sentence, obstacle.hint));
        }
        text.push_str(&format!(
            "  - slot {slot}\n      loses: {}\n  - publication {publication}, if slotd made it\nWhat was delivered stays in the \
             sinks, and a gap record behind it. The database is disabled, whatever\nthe file says, until its entry changes or \
             slotd enable {} makes the slot anew.\n",
            self.undelivered.as_deref().unwrap_or("every change that is not delivered"),
            self.name
        ));
        text
    }

    fn new(database: &Database) -> Self {
        let to = &database.connection;
        Self {
            name: database.name.clone(),
            server: trouble::address(to),
            database: to.database.clone(),
            steps: Vec::new(),
            kept: Vec::new(),
            obstacles: Vec::new(),
            findings: Vec::new(),
            slot_of: None,
            unbounded: false,
            undelivered: None,
        }
    }

    /// The same with what the preflight found.
    pub(in crate::cli) fn with(mut self, Preflight { blocks, warns, .. }: Preflight) -> Self {
        let obstacle = |Finding { code, sentence, hint }: Finding| Obstacle { reason: code, sentence, hint };
        self.obstacles.extend(blocks.into_iter().map(obstacle));
        self.findings.extend(warns);
        self
    }

    /// What stands in the way before all else.
    pub(in crate::cli) fn obstruct_first(&mut self, trouble: &Trouble) {
        self.obstacles.insert(0, obstacle(trouble));
    }

    /// One more thing that stands in the way.
    pub(in crate::cli) fn obstruct(&mut self, trouble: &Trouble) {
        self.obstacles.push(obstacle(trouble));
    }

    /// Of `plan`. `delivered` is how far the slot's changes are known to be delivered.
    pub(in crate::cli) fn of(database: &Database, observed: &Observed, plan: Plan, delivered: Option<Lsn>) -> Self {
        let end = observed.server.wal_end;
        let undelivered = delivered.filter(|from| *from <= end).map(|from| {
            format!("every change after {from} that is not delivered, in {} of WAL up to now", size(end.since(from)))
        });
        let mut all = Self { undelivered, ..Self::new(database) };
        let Plan { publication, slot, refusals, findings } = plan;
        let lost = refusals.iter().find_map(|refusal| match refusal {
            Refusal::Lost { reason, sentence } => Some((*reason, sentence.clone())),
            Refusal::Trouble(_) => None,
        });
        match publication {
            Some(step) => all.steps.push(publication_step(database, observed, step)),
            None => all.kept.push(Kept {
                object: format!("publication {}", database.publication),
                why: if database.scope.is_some() || database.publish.is_some() {
                    "as declared".to_owned()
                } else {
                    "used as it is: the file does not say what it publishes".to_owned()
                },
            }),
        }
        all.slot(database, observed, &slot, lost, delivered);
        for refusal in refusals {
            match refusal {
                Refusal::Lost { .. } => {}
                // Whoever streams it is in good hands.
                Refusal::Trouble(diagnosis) if diagnosis.trouble.reason == Reason::SlotHeld => {}
                Refusal::Trouble(diagnosis) => all.obstacles.push(obstacle(&diagnosis.trouble)),
            }
        }
        // Drift is the step itself.
        let is_step = |finding: &Finding| matches!(finding.code, "publication_drift" | "slot_drift");
        all.findings = findings.into_iter().filter(|finding| !is_step(finding)).collect();
        all
    }

    fn slot(
        &mut self,
        database: &Database,
        observed: &Observed,
        steps: &[SlotStep],
        lost: Option<(Reason, String)>,
        delivered: Option<Lsn>,
    ) {
        let Database { slot, status, .. } = database;
        let object = format!("slot {slot}");
        if let Some((reason, sentence)) = lost {
            self.steps.push(Step {
                action: Action::Recreate,
                object,
                why: format!("lost, {}: {sentence}", reason.as_str()),
                differences: Vec::new(),
                server: None,
                sql: Vec::new(),
                by: By::RecreateSlot,
                loses: Some(price(observed, delivered)),
            });
            return;
        }
        if steps.contains(&SlotStep::Create) {
            if *status == Status::Disabled {
                self.kept
                    .push(Kept { object, why: "not there, and not made while the database is disabled".to_owned() });
                return;
            }
            self.steps.push(Step {
                action: Action::Create,
                object,
                why: "it does not exist".to_owned(),
                differences: Vec::new(),
                server: None,
                sql: vec![create_slot_sql(database)],
                by: if Consent::from(database.provision).create { By::Agent } else { By::Apply },
                loses: None,
            });
            return;
        }
        if steps.contains(&SlotStep::LetFailOver) {
            let command = format!("ALTER_REPLICATION_SLOT {slot} (FAILOVER);");
            self.steps.push(Step {
                action: Action::Alter,
                object,
                why: "`failover` is declared and not set".to_owned(),
                differences: Vec::new(),
                server: None,
                sql: vec![format!(
                    "-- in a replication session (psql 'replication=database …'), while nobody reads it: {command}"
                )],
                by: if Consent::from(database.provision).create { By::Agent } else { By::Apply },
                loses: None,
            });
            return;
        }
        let held = observed.slot.as_ref().and_then(|slot| slot.active_pid);
        let why = held.map_or_else(|| "as declared".to_owned(), |pid| format!("as declared, in use by pid {pid}"));
        self.kept.push(Kept { object, why });
    }
}

fn publication_step(database: &Database, observed: &Observed, step: PublicationStep) -> Step {
    let (consent, is_active) = (Consent::from(database.provision), database.status == Status::Active);
    let by = match step.kind {
        Kind::Recreate => By::RecreatePublication,
        // An agent that does not read a database makes nothing of it.
        Kind::Create if consent.create && is_active => By::Agent,
        Kind::Alter if consent.alter_ours && observed.is_ours() && is_active => By::Agent,
        Kind::Create | Kind::Alter => By::Apply,
    };
    let (action, why) = match step.kind {
        Kind::Create => (Action::Create, "it does not exist"),
        Kind::Alter => (Action::Alter, "it is not as declared"),
        Kind::Recreate => (Action::Recreate, "it is not as declared, and can't be altered into that"),
    };
    let why = match &step.blocked {
        Some(blocked) => format!("{why}, and can't be: {} ({})", blocked.trouble.sentence, blocked.trouble.hint),
        None => why.to_owned(),
    };
    let loses = (step.kind == Kind::Recreate).then(|| {
        "changes of tables that it publishes now and not then, from its making on; whoever else reads a slot through it \
         is met by the same. No other change is lost: both statements are one transaction"
            .to_owned()
    });
    let sql = match step.kind {
        Kind::Create => vec![step.sql()],
        Kind::Alter | Kind::Recreate => {
            let each = step.statements.iter().map(|statement| format!("{statement};"));
            std::iter::once("BEGIN;".to_owned()).chain(each).chain(["COMMIT;".to_owned()]).collect()
        }
    };
    let object = format!("publication {}", database.publication);
    let of_standby = observed.primary.is_some();
    let server = of_standby.then(|| trouble::address(database.publisher(of_standby)));
    Step { action, object, why, differences: step.differences.points, server, sql, by, loses }
}

/// What is lost with a slot.
fn price(observed: &Observed, delivered: Option<Lsn>) -> String {
    let end = observed.server.wal_end;
    match delivered {
        Some(from) if from <= end => format!(
            "every change after {from} that was committed before the new slot; the server's WAL ends at {end} now, {} further on",
            size(end.since(from))
        ),
        _ => "every change since the last one delivered that was committed before the new slot".to_owned(),
    }
}

fn obstacle(trouble: &Trouble) -> Obstacle {
    Obstacle { reason: trouble.reason.as_str(), sentence: trouble.sentence.clone(), hint: trouble.hint.clone() }
}
