//! `/metrics`: what the registry knows, as Prometheus reads it.
//!
//! In the text format 0.0.4, or in OpenMetrics for those who accept it. Labels are names of the file and codes of a fixed
//! set, so that the number of series has a bound; what is not known is left out and never a made-up zero.
//! docs/METRICS.md has the table, which a test holds against [`FAMILIES`].
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>.

mod families;

use std::fmt;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;

use super::answer::{NO_SNIFF, NO_STORE, summary};
use crate::status::{AgentStatus, Counts, DatabaseHealth, Health, LOST_LINES, Registry, WalUse};
pub(super) use families::FAMILIES;

const OPEN_METRICS: &str = "application/openmetrics-text";

pub(super) async fn metrics(State(registry): State<Registry>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let open = accept.contains(OPEN_METRICS);
    let mut metrics = prometheus_client::registry::Registry::default();
    metrics.register_collector(Box::new(Seen::new(&registry)));
    let mut body = String::new();
    let written = if open { text::encode(&mut body, &metrics) } else { prometheus_text::encode(&mut body, &metrics) };
    if written.is_err() {
        return summary(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written");
    }
    let kind = if open {
        format!("{OPEN_METRICS}; version=1.0.0; charset=utf-8")
    } else {
        prometheus_text::CONTENT_TYPE.to_owned()
    };
    ([NO_STORE, NO_SNIFF], [(header::CONTENT_TYPE, kind)], body).into_response()
}

/// All that is known at one moment.
#[derive(Debug)]
struct Seen {
    agent: AgentStatus,
    health: Health,
    /// Of each database, in the order of `health`.
    counts: Vec<Counts>,
    lost_log_lines: u64,
}

impl Seen {
    fn new(registry: &Registry) -> Self {
        let health = registry.health(Timestamp::now());
        let counts = health.databases.iter().map(|database| registry.counts(&database.name)).collect();
        Self { agent: registry.agent(), health, counts, lost_log_lines: LOST_LINES.load(Ordering::Relaxed) }
    }
}

/// One metric.
pub(super) struct Family {
    /// As it is asked for: with the unit, and a counter with `_total`.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    read: Read,
}

/// Where a metric comes from, and whether it is a counter.
enum Read {
    Agent(fn(&Seen, &mut Samples)),
    AgentCounter(fn(&Seen, &mut Samples)),
    Counter(fn(&Counts, &mut Samples)),
    Database(fn(&DatabaseHealth, &mut Samples)),
    /// Of a slot that was seen; with the label `slot`.
    Slot(fn(&WalUse, &mut Samples)),
}

/// The samples of one metric.
#[derive(Debug, Default)]
struct Samples {
    /// What all that follow have.
    common: Vec<(&'static str, String)>,
    all: Vec<(Vec<(&'static str, String)>, Value)>,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    Counter(u64),
    Gauge(f64),
}

impl Samples {
    /// A value that is known.
    fn gauge(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.push(labels, Value::Gauge(value));
    }

    /// A value, if it is known.
    fn known(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.gauge(&[], value);
        }
    }

    /// 1 for the one of `all` that holds, 0 for the others.
    fn one_hot(&mut self, label: &'static str, all: &[&str], holds: &str) {
        for each in all {
            self.gauge(&[(label, each)], f64::from(u8::from(*each == holds)));
        }
    }

    fn counter(&mut self, labels: &[(&'static str, &str)], value: u64) {
        self.push(labels, Value::Counter(value));
    }

    fn push(&mut self, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned()));
        self.all.push((self.common.iter().cloned().chain(labels).collect(), value));
    }
}

impl Collector for Seen {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in FAMILIES {
            let mut samples = Samples::default();
            if let Read::Agent(read) | Read::AgentCounter(read) = family.read {
                read(self, &mut samples);
            }
            for (database, counts) in self.health.databases.iter().zip(&self.counts) {
                samples.common = vec![("database", database.name.to_string())];
                match family.read {
                    Read::Agent(_) | Read::AgentCounter(_) => {}
                    Read::Counter(read) => read(counts, &mut samples),
                    Read::Database(read) => read(database, &mut samples),
                    Read::Slot(read) => {
                        samples.common.push(("slot", database.slot.to_string()));
                        if let Some(wal) = &database.wal {
                            read(wal, &mut samples);
                        }
                    }
                }
            }
            let (kind, name) = match family.read {
                Read::AgentCounter(_) | Read::Counter(_) => {
                    (MetricType::Counter, family.name.trim_end_matches("_total"))
                }
                Read::Agent(_) | Read::Database(_) | Read::Slot(_) => (MetricType::Gauge, family.name),
            };
            let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (labels, value) in &samples.all {
                let mut sample = metric.encode_family(labels)?;
                match value {
                    Value::Counter(value) => sample.encode_counter::<NoLabelSet, u64, f64>(value, None)?,
                    Value::Gauge(value) => sample.encode_gauge(value)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
