use std::fmt::Write as _;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;
use crate::lsn::Lsn;
use crate::status::tests::{at, database, shop, trouble};
use crate::status::{Condition, Finding, Reason, State, Trouble, WalUse};

/// Events as `LEVEL message field=value …`.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<String>>>);

impl Captured {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0.insert_str(0, &format!("{value:?}"));
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }
}

impl<S: tracing::Subscriber> Layer<S> for Captured {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(format!("{} {}", event.metadata().level(), line.0));
    }
}

fn registry() -> Registry {
    Registry::new("/etc/slotd/slotd.toml", Bounds { grace: Duration::from_secs(60), silence: Duration::from_secs(30) })
}

fn names(registry: &Registry) -> Vec<String> {
    registry.snapshot().iter().map(|status| status.name.to_string()).collect()
}

#[test]
fn each_change_of_state_or_reason_is_logged_once() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::registry().with(captured.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let registry = registry();
    let reporter = registry.add(shop(at(0)));

    for _ in 0..3 {
        reporter.failed(State::Retrying, Trouble::new(Reason::Connection, "what happened", "what ends it"));
    }
    reporter.positions(|positions| positions.durable = Some(Lsn(0x16_0000_0010)));
    reporter.condition(Condition::Streaming);
    reporter.condition(Condition::Streaming);
    reporter.condition(trouble(State::Lost, Reason::SlotMissing));
    reporter.condition(trouble(State::Disabled, Reason::DisabledByFile));

    assert_eq!(
        captured.take(),
        [
            "WARN shop: retrying, connection: what happened (what ends it) database=shop slot=slotd_shop state=retrying reason=connection hint=what ends it",
            "INFO shop: streaming from 16/10 after 3 failures, 0 s database=shop slot=slotd_shop state=streaming lsn=16/10 failures=3",
            "ERROR shop: lost, slot_missing: what happened (what ends it) database=shop slot=slotd_shop state=lost reason=slot_missing lsn=16/10 hint=what ends it",
            "INFO shop: disabled, disabled_by_file: what happened (what ends it) database=shop slot=slotd_shop state=disabled reason=disabled_by_file lsn=16/10 hint=what ends it",
        ]
    );
}

#[test]
fn findings_and_wal_are_logged_when_they_come_and_when_they_go() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::registry().with(captured.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let registry = registry();
    let reporter = registry.add(shop(at(0)));

    let finding = |code| Finding { code, sentence: format!("{code} is off"), hint: "mend it".to_owned() };
    reporter.findings(vec![finding("publication_drift")]);
    reporter.findings(vec![finding("publication_drift"), finding("no_replica_identity")]);
    reporter.findings(vec![finding("no_replica_identity")]);
    for percent in [10, 60, 61, 85, 10] {
        reporter.wal(Some(WalUse {
            retained_bytes: percent << 20,
            ours_bytes: 0,
            budget_bytes: 100 << 20,
            wal_status: None,
            safe_wal_size: None,
            ..WalUse::default()
        }));
    }
    registry.config_rejected(Some("2 mistakes".to_owned()));
    registry.config_rejected(Some("2 mistakes".to_owned()));
    registry.config_rejected(None);

    assert_eq!(
        captured.take(),
        [
            "WARN shop: publication_drift is off (mend it) database=shop slot=slotd_shop finding=publication_drift hint=mend it",
            "WARN shop: no_replica_identity is off (mend it) database=shop slot=slotd_shop finding=no_replica_identity hint=mend it",
            "INFO shop: no longer: publication_drift is off database=shop slot=slotd_shop finding=publication_drift",
            "WARN shop: slot slotd_shop retains 60 MB of WAL, 60 % of its budget of 100 MB (end what keeps the slot back, or raise max_retained_wal) database=shop slot=slotd_shop hint=end what keeps the slot back, or raise max_retained_wal",
            "ERROR shop: slot slotd_shop retains 85 MB of WAL, 85 % of its budget of 100 MB (end what keeps the slot back, or raise max_retained_wal) database=shop slot=slotd_shop hint=end what keeps the slot back, or raise max_retained_wal",
            "INFO shop: slot slotd_shop retains 10 MB of WAL, 10 % of its budget of 100 MB database=shop slot=slotd_shop",
            "WARN the changed file was rejected and the old one is in force: 2 mistakes (run slotd check, mend the file, run slotd reload) hint=run slotd check, mend the file, run slotd reload",
            "INFO the file that was rejected is mended",
        ]
    );
}

#[test]
fn databases_stand_in_the_order_of_the_file_and_leave_with_their_reporter() {
    let registry = registry();
    let reporters: Vec<_> = ["c", "a", "b"].map(|name| registry.add(database(name, at(0)))).into();
    assert_eq!(names(&registry), ["c", "a", "b"]);
    registry.declare(["a", "b", "c"].map(|name| DatabaseName::new(name).unwrap()));
    assert_eq!(names(&registry), ["a", "b", "c"]);

    let clone = reporters[0].clone();
    drop(reporters);
    assert_eq!(names(&registry), ["c"]);
    drop(clone);
    assert!(names(&registry).is_empty());
}

#[test]
fn a_replaced_database_is_not_removed_by_its_predecessor() {
    let registry = registry();
    let old = registry.add(shop(at(0)));
    let new = registry.add(shop(at(5)));
    drop(old);
    assert_eq!(registry.get("shop").unwrap().since, at(5));
    drop(new);
    assert_eq!(registry.get("shop"), None);
}

#[test]
fn ready_is_after_the_first_round_of_each_declared_database() {
    let registry = registry();
    assert_eq!(registry.starting().len(), 1, "an empty registry is not ready before the supervisor has spoken");
    let reporter = registry.add(shop(at(0)));
    registry.declare([DatabaseName::new("shop").unwrap(), DatabaseName::new("crm").unwrap()]);
    assert_eq!(registry.starting().len(), 2);
    reporter.round_done();
    assert_eq!(registry.starting(), ["crm: the first round has not ended yet"]);
    registry.declare([]);
    assert!(registry.starting().is_empty());
}

#[test]
fn acknowledging_moves_its_time_and_other_positions_do_not() {
    let registry = registry();
    let reporter = registry.add(shop(at(0)));
    reporter.positions(|positions| positions.wal_end = Some(Lsn(10)));
    assert_eq!(reporter.status().last_acknowledged, None);
    reporter.positions(|positions| positions.acknowledged = Some(Lsn(10)));
    assert!(reporter.status().last_acknowledged.is_some());
}

#[tokio::test]
async fn a_state_can_be_awaited_before_its_database_is_there() {
    let registry = registry();
    let mut changes = registry.changes();
    let waiting = registry.wait_for("shop", |status| status.condition.state() == State::Streaming);
    let reporting = async {
        let first = registry.add(shop(at(0)));
        tokio::task::yield_now().await;
        drop(first);
        tokio::task::yield_now().await;
        let second = registry.add(shop(at(1)));
        tokio::task::yield_now().await;
        second.condition(Condition::Streaming);
        second
    };
    let (status, _reporter) = tokio::join!(waiting, reporting);
    assert_eq!(status.condition, Condition::Streaming);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
}
