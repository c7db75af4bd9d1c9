use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use axum::http::HeaderValue;
use http_body_util::BodyExt as _;

use super::*;
use crate::lsn::Lsn;
use crate::status::tests::{database, trouble};
use crate::status::{Bounds, Condition, Finding, Reason, Reporter, State as Observed, WalUse};

fn registry() -> Registry {
    Registry::new("slotd.toml", Bounds { grace: Duration::from_secs(60), silence: Duration::from_secs(30) })
}

/// A database of which everything is known.
fn full(registry: &Registry, name: &str) -> Reporter {
    let reporter = registry.add(database(name, Timestamp::now()));
    reporter.failed(Observed::Retrying, crate::status::Trouble::new(Reason::Server, "x", "y").with_sqlstate("53300"));
    reporter.positions(|positions| {
        positions.wal_end = Some(Lsn(300));
        positions.acknowledged = Some(Lsn(200));
    });
    reporter.last_message();
    reporter.observed();
    reporter.findings(vec![Finding { code: "publication_drift", sentence: "x".to_owned(), hint: "y".to_owned() }]);
    reporter.wal(Some(WalUse {
        retained_bytes: 60,
        ours_bytes: 10,
        held_bytes: 50,
        budget_bytes: 100,
        wal_status: Some("extended".to_owned()),
        safe_wal_size: Some(1000),
        inactive_since: Some(Timestamp::now()),
        inactive_seconds: Some(10.0),
        idle_timeout_seconds: Some(60.0),
        ..WalUse::default()
    }));
    let sink = crate::ident::SinkName::new("changes").unwrap();
    reporter.delivered(&sink, 3, 2, 700);
    reporter.sink_failed(&sink);
    reporter
}

async fn ask(registry: &Registry, accept: &str) -> (String, String) {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
    let answer = metrics(State(registry.clone()), headers).await;
    let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (kind, String::from_utf8(body.to_vec()).unwrap())
}

fn page(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Everything in `text` that looks like the name of a metric.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("slotd_")).collect()
}

#[tokio::test]
async fn each_metric_has_its_help_its_type_and_samples() {
    let registry = registry();
    let _shop = full(&registry, "shop");
    let (kind, text) = ask(&registry, "text/plain").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    for Family { name, help, .. } in FAMILIES {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        assert!(text.contains(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")), "{name}");
        // The time is not known of two looks in the same moment.
        let sample =
            text.lines().any(|line| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} ")));
        assert_eq!(sample, !name.starts_with("slotd_slot_time_to_"), "{name}:\n{text}");
    }
    for sample in [
        r#"slotd_state{database="shop",state="retrying"} 1.0"#,
        r#"slotd_state{database="shop",state="streaming"} 0.0"#,
        r#"slotd_reason{database="shop",reason="server"} 1.0"#,
        r#"slotd_slot_wal_budget_ratio{database="shop",slot="slotd_shop"} 0.6"#,
        r#"slotd_slot_wal_status{database="shop",slot="slotd_shop",status="extended"} 1.0"#,
        r#"slotd_slot_invalidated{database="shop",slot="slotd_shop",reason="wal_removed"} 0.0"#,
        r#"slotd_reconnects_total{database="shop",reason="server",sqlstate="53300"} 1"#,
        r#"slotd_delivered_changes_total{database="shop",sink="changes"} 3"#,
        r#"slotd_findings{database="shop",code="publication_drift"} 1.0"#,
        r#"slotd_lag_bytes{database="shop"} 100.0"#,
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}\n{text}");
    }
    let (kind, text) = ask(&registry, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE slotd_reconnects counter\n"), "{text}");
}

#[tokio::test]
async fn what_is_not_known_has_no_sample() {
    let registry = registry();
    let _shop = registry.add(database("shop", Timestamp::now()));
    let (_, text) = ask(&registry, "").await;
    for part in ["slotd_slot_", "slotd_lag_", "slotd_last_", "slotd_delivered_", "slotd_reconnects_"] {
        assert!(!text.lines().any(|line| line.starts_with(part)), "{part}\n{text}");
    }
}

#[test]
fn counters_outlive_the_entry_that_a_reload_replaces_and_leave_with_the_file() {
    let registry = registry();
    let shop = full(&registry, "shop");
    let name = shop.status().name.clone();
    let before = registry.counts(&name);
    assert_ne!(before, Counts::default());
    drop(shop);
    let again = registry.add(database("shop", Timestamp::now()));
    assert_eq!(registry.counts(&name), before);
    again.condition(Condition::Streaming);
    again.condition(trouble(Observed::Retrying, Reason::Sink));
    assert_eq!(registry.counts(&name), before, "what is merely seen is not counted");
    registry.declare([]);
    assert_eq!(registry.counts(&name), Counts::default());
}

/// Rules of <https://prometheus.io/docs/practices/naming/>: base units, `_total` for counters alone, a sentence as help.
#[test]
fn names_keep_the_conventions() {
    for Family { name, help, read } in FAMILIES {
        assert_eq!(name.ends_with("_total"), matches!(read, Read::AgentCounter(_) | Read::Counter(_)), "{name}");
        assert!(name.starts_with("slotd_") && help.ends_with('.') && help.len() > 20, "{name}: {help}");
        for unit in ["bytes", "seconds", "ratio"] {
            let inside = name.trim_end_matches("_total").contains(unit);
            assert!(!inside || name.trim_end_matches("_total").ends_with(unit), "{name}");
        }
        assert!(!["_ms", "_millis", "_percent", "_mb", "_kb"].iter().any(|unit| name.contains(unit)), "{name}");
    }
    let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len());
}

#[test]
fn the_page_has_every_metric_with_its_help_and_no_other() {
    let page = page("docs/METRICS.md");
    for Family { name, help, .. } in FAMILIES {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        assert!(row.is_some_and(|row| row.contains(help)), "docs/METRICS.md: {name}: {help}");
    }
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `slotd_")).collect();
    assert_eq!(rows.len(), FAMILIES.len());
}

#[test]
fn the_alert_rules_name_only_metrics_that_there_are() {
    let rules = page("config/prometheus-alerts.yml");
    let there: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    let asked = named(&rules);
    let unknown: Vec<_> = asked.difference(&there).collect();
    assert!(unknown.is_empty() && asked.len() > 6, "{unknown:?} of {asked:?}");
    let states: Vec<_> = rules.split("state=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(states.iter().all(|state| Observed::ALL.iter().any(|known| known.as_str() == *state)), "{states:?}");
}
