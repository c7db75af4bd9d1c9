//! What was read, before it is known whether all of it is right.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::database::Entry;
use super::origins::Origins;
use super::sinks::SinkEntry;
use super::{Agent, Config, Http, Mistake};
use crate::ident::SinkName;

/// The parts of a [`Config`], with where each stands.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) agent: Agent,
    pub(super) agent_origins: Origins,
    pub(super) http: Http,
    pub(super) http_origins: Origins,
    pub(super) sinks: BTreeMap<SinkName, SinkEntry>,
    pub(super) entries: Vec<Entry>,
}

impl Parts {
    /// The whole, of which nothing is wrong.
    pub(super) fn into_config(self, warnings: Vec<Mistake>) -> Config {
        Config {
            agent: self.agent,
            http: self.http,
            sinks: self.sinks.into_iter().map(|(name, sink)| (name, sink.config)).collect(),
            databases: self.entries.into_iter().filter_map(|entry| entry.database).map(Arc::new).collect(),
            warnings,
        }
    }
}
