//! Where the value of each key stands.

use std::collections::BTreeMap;

use super::connection::IN_URL;
use super::table::Table;
use super::url::url;

/// The keys of a table that stand in a file, be it in `[defaults]`, each with the offset of its key there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Origins(BTreeMap<&'static str, usize>);

impl Origins {
    /// Those of `keys` in `table`.
    pub(super) fn of(table: &Table<'_>, keys: &[&[&'static str]]) -> Self {
        let keys = keys.iter().flat_map(|keys| keys.iter().copied());
        Self(keys.filter_map(|key| Some((key, table.key(key)?.start))).collect())
    }

    /// What the `url` of `table` says stands there.
    pub(super) fn with_url(mut self, table: &Table<'_>) -> Self {
        let Some(given) = table.raw("url") else { return self };
        let at = given.span.start;
        let has_password = url(given.value, table.reader().env()).is_ok_and(|url| url.password.is_some());
        // It names one host.
        let says = |key: &&&str| **key != "hosts" && (has_password || **key != "password");
        for key in IN_URL.iter().filter(says) {
            self.0.insert(key, at);
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
