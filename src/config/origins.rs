//! Where the value of each key stands.

use std::collections::BTreeMap;

use super::connection::IN_URL;
use super::table::Table;

/// The keys of a table that stand in a file, be it in `[defaults]`, each with the offset of its key there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origins(BTreeMap<&'static str, usize>);

impl Origins {
    /// Those of `keys` in `table`.
    pub(super) fn of(table: &Table<'_>, keys: &[&[&'static str]]) -> Self {
        let keys = keys.iter().flat_map(|keys| keys.iter().copied());
        Self(keys.filter_map(|key| Some((key, table.key(key)?.start))).collect())
    }

    /// What a `url` says stands there.
    pub(super) fn with_url(mut self) -> Self {
        if let Some(url) = self.get("url") {
            for key in IN_URL {
                self.0.entry(key).or_insert(url);
            }
        }
        self
    }

    /// What is silent here stands `above`.
    pub(super) fn below(mut self, above: &Self) -> Self {
        for (key, at) in &above.0 {
            self.0.entry(key).or_insert(*at);
        }
        self
    }

    /// Where `key` stands.
    pub(super) fn get(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }
}
