//! Reads typed values out of TOML tables.
//!
//! A getter answers `None` both where the key is absent and where its value is wrong; the mistake is then recorded.

mod values;

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::read::{At, Reader};
use super::wrong::{Wrong, nearest};
use super::{defaults, keys};

/// A table of the file; one that is absent has no keys.
pub(super) struct Table<'a> {
    reader: &'a Reader<'a>,
    /// Its header, or nothing for the whole file.
    title: String,
    table: Option<&'a DeTable<'a>>,
    /// What stands for `{name}` in it.
    name: Option<String>,
    /// Keys that are not read, though they stand in it.
    refused: &'static [(&'static str, &'static str)],
    /// The tables that are asked where this one is silent, the nearest first.
    above: Vec<Above<'a>>,
    span: Range<usize>,
}

/// A table that another one inherits from.
#[derive(Clone)]
struct Above<'a> {
    table: &'a DeTable<'a>,
    /// What is taken from it.
    keys: Vec<&'static str>,
    /// What stands for `{name}` in it.
    name: Option<String>,
}

/// A key of a table, or of one that it inherits from, and its value.
struct Found<'a, 't> {
    key: &'a Spanned<DeString<'a>>,
    value: &'a Spanned<DeValue<'a>>,
    /// What stands for `{name}` in the value.
    name: Option<&'t str>,
}

impl<'a> Table<'a> {
    /// Takes `table` and records the keys that are not among `known`.
    pub(super) fn new(
        reader: &'a Reader<'a>,
        title: impl Into<String>,
        table: &'a Spanned<DeTable<'a>>,
        known: &[&[&str]],
    ) -> Self {
        Self::open(reader, title.into(), table.get_ref(), table.span(), known)
    }

    /// Takes the whole of a file, whatever its keys.
    pub(super) fn any(reader: &'a Reader<'a>, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self::bare(reader, String::new(), Some(table.get_ref()), 0..0)
    }

    fn bare(reader: &'a Reader<'a>, title: String, table: Option<&'a DeTable<'a>>, span: Range<usize>) -> Self {
        Self { reader, title, table, name: None, refused: &[], above: Vec::new(), span }
    }

    fn open(
        reader: &'a Reader<'a>,
        title: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        known: &[&[&str]],
    ) -> Self {
        let opened = Self::bare(reader, title, Some(table), span);
        for (key, _) in table {
            if !known.iter().any(|known| known.contains(&key.get_ref().as_ref())) {
                opened.unknown(key.get_ref(), &key.span(), known);
            }
        }
        opened
    }

    /// As `[defaults]`, of which the databases take what they are silent about, and never what is `refused`.
    pub(super) fn into_defaults(self, refused: &'static [(&'static str, &'static str)]) -> Self {
        if let Some(table) = self.table {
            self.reader.share(table, self.span.clone());
        }
        Self { name: Some(defaults::SAMPLE.to_owned()), refused, ..self }
    }

    /// Takes `keys` from `defaults` where it is silent and says nothing else instead, with `name` in place of `{name}`.
    pub(super) fn with_defaults(mut self, defaults: &Self, keys: &[&'static str], name: &str) -> Self {
        if let (Some(own), Some(table)) = (self.table, defaults.table) {
            let said = |instead: &[&str]| instead.iter().any(|key| own.contains_key(*key));
            let void = |key: &str| keys::INSTEAD.iter().any(|(instead, void)| void.contains(&key) && said(instead));
            let keys = keys.iter().copied().filter(|key| !void(key)).collect();
            self.above.push(Above { table, keys, name: Some(name.to_owned()) });
        }
        self
    }

    fn unknown(&self, key: &str, span: &Range<usize>, known: &[&[&str]]) {
        let place =
            if self.title.is_empty() { "at the top of the file".to_owned() } else { format!("in {}", self.title) };
        let wrong = Wrong::new(format!("unknown key `{key}` {place}"));
        let all = || known.iter().flat_map(|known| known.iter().copied());
        let list = || all().collect::<Vec<_>>().join(", ");
        let alias = keys::ALIASES.iter().find(|(alias, ours)| *alias == key && all().any(|known| known == *ours));
        let elsewhere = keys::TABLES.iter().find(|(_, keys)| keys.iter().any(|keys| keys.contains(&key)));
        let hint = if let Some((_, ours)) = alias {
            format!("`{key}` is libpq's spelling; write `{ours}`")
        } else if let Some((table, _)) = elsewhere {
            match all().count() {
                few @ ..=8 if few > 0 => format!("`{key}` belongs in {table}; known here: {}", list()),
                _ => format!("`{key}` belongs in {table}"),
            }
        } else if let Some(near) = nearest(key, all()) {
            format!("did you mean `{near}`?")
        } else {
            format!("known here: {}", list())
        };
        self.reader.error(span, wrong.hint(hint));
    }

    pub(super) const fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    /// Its header.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// Where the table begins.
    pub(super) const fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Where `key` stands.
    pub(super) fn key(&self, key: &str) -> Option<Range<usize>> {
        self.find(key).map(|found| found.key.span())
    }

    /// Whether `key` stands in this very table.
    pub(super) fn has(&self, key: &str) -> bool {
        self.own(key).is_some()
    }

    fn own(&self, key: &str) -> Option<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        let is_refused = self.refused.iter().any(|(refused, _)| *refused == key);
        self.table.filter(|_| !is_refused)?.get_key_value(key)
    }

    /// Whether the value of `key` has the database's name in it.
    pub(super) fn is_template(&self, key: &str) -> bool {
        self.get(key).and_then(|value| value.get_ref().as_str()).is_some_and(defaults::is_template)
    }

    /// The first of `keys` that stands in this very table, and where.
    pub(super) fn first_of<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, Range<usize>)> {
        keys.iter().find_map(|key| self.own(key).map(|(at, _)| (*key, at.span())))
    }

    fn find(&self, key: &str) -> Option<Found<'a, '_>> {
        if let Some((key, value)) = self.own(key) {
            return Some(Found { key, value, name: self.name.as_deref() });
        }
        self.above.iter().filter(|above| above.keys.contains(&key)).find_map(|above| {
            let (key, value) = above.table.get_key_value(key)?;
            Some(Found { key, value, name: above.name.as_deref() })
        })
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.find(key).map(|found| found.value)
    }

    /// The table `key` inside this one, which takes `inherited` from this one where it is silent.
    pub(super) fn inside(&self, key: &str, known: &[&[&str]], inherited: &[&'static str]) -> Option<Self> {
        let path = if self.has(key) { self.title.trim_matches(['[', ']']) } else { "defaults" };
        let found = self.find(key)?;
        let inside = self.open_table(key, format!("[{path}.{key}]"), known);
        let this = Above { table: self.table?, keys: inherited.to_vec(), name: self.name.clone() };
        let further = self.above.iter().map(|above| {
            let keys = above.keys.iter().copied().filter(|key| inherited.contains(key)).collect();
            Above { keys, ..above.clone() }
        });
        let above = std::iter::once(this).chain(further).collect();
        inside.table.is_some().then(|| Self { name: found.name.map(str::to_owned), above, ..inside })
    }

    /// The table `key`; without keys if it is absent.
    pub(super) fn table(&self, key: &str, known: &[&[&str]]) -> Self {
        self.open_table(key, format!("[{key}]"), known)
    }

    fn open_table(&self, key: &str, title: String, known: &[&[&str]]) -> Self {
        match self.get(key).map(|value| (value.get_ref(), value.span())) {
            Some((DeValue::Table(table), span)) => Self::open(self.reader, title, table, span, known),
            other => {
                if let Some((_, span)) = other {
                    let wrong =
                        Wrong::new(format!("`{key}` is a table")).hint(format!("write {title} on a line of its own"));
                    self.reader.error(&span, wrong);
                }
                Self::bare(self.reader, title, None, self.span.clone())
            }
        }
    }

    /// The tables in the table `key`, each with its name and where the name stands.
    pub(super) fn named_tables(&self, key: &str, known: &[&[&str]]) -> Vec<(At<&'a str>, Self)> {
        let mut found = Vec::new();
        let Some(value) = self.get(key) else { return found };
        let DeValue::Table(tables) = value.get_ref() else {
            let wrong = Wrong::new(format!("`{key}` is made of tables")).hint(format!("write [{key}.NAME]"));
            self.reader.error(&value.span(), wrong);
            return found;
        };
        for (name, table) in tables {
            let title = format!("[{key}.{}]", name.get_ref());
            let at = At { value: name.get_ref().as_ref(), span: name.span() };
            match table.get_ref() {
                DeValue::Table(inner) => {
                    found.push((at, Self::open(self.reader, title, inner, table.span(), known)));
                }
                _ => self.reader.error(
                    &name.span(),
                    Wrong::new(format!("`{key}.{}` is a table", at.value)).hint(format!("write {title}")),
                ),
            }
        }
        found
    }

    /// The tables of the array `key`, in order.
    pub(super) fn tables(&self, key: &str, path: &str, known: &[&[&str]]) -> Option<Vec<Self>> {
        let value = self.get(key)?;
        let title = format!("[[{path}]]");
        let several =
            || Wrong::new(format!("`{key}` is a list of tables")).hint(format!("write {title}, in double brackets"));
        let DeValue::Array(items) = value.get_ref() else {
            self.reader.error(&value.span(), several());
            return None;
        };
        let mut found = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => found.push(Self::open(self.reader, title.clone(), table, item.span(), known)),
                _ => self.reader.error(&item.span(), several()),
            }
        }
        Some(found)
    }
}
