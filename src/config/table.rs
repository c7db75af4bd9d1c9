//! Reads typed values out of TOML tables.
//!
//! A getter answers `None` both where the key is absent and where its value is wrong; the mistake is then recorded.

mod values;

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use super::read::{At, Reader};
use super::wrong::{Wrong, nearest};

/// A table of the file; one that is absent has no keys.
pub(super) struct Table<'a> {
    reader: &'a Reader<'a>,
    /// Its header, or nothing for the whole file.
    title: String,
    table: Option<&'a DeTable<'a>>,
    /// Which keys are taken from another table where this one is silent.
    inherited: Option<(&'a DeTable<'a>, &'static [&'static str])>,
    span: Range<usize>,
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

    fn open(
        reader: &'a Reader<'a>,
        title: String,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        known: &[&[&str]],
    ) -> Self {
        let opened = Self { reader, title, table: Some(table), inherited: None, span };
        for (key, _) in table {
            if !known.iter().any(|known| known.contains(&key.get_ref().as_ref())) {
                opened.unknown(key.get_ref(), &key.span(), known);
            }
        }
        opened
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
        self.table_of(key)?.get_key_value(key).map(|(key, _)| key.span())
    }

    /// The table that has a say in `key`.
    fn table_of(&self, key: &str) -> Option<&'a DeTable<'a>> {
        let own = self.table?;
        match self.inherited {
            Some((above, keys)) if keys.contains(&key) && !own.contains_key(key) => Some(above),
            _ => Some(own),
        }
    }

    /// The first of `keys` that stands in this very table, and where.
    pub(super) fn first_of<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, Range<usize>)> {
        let own = self.table?;
        keys.iter().find_map(|key| own.get_key_value(*key).map(|(at, _)| (*key, at.span())))
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table_of(key)?.get(key)
    }

    /// The table `key` inside this one, which takes `inherited` from this one where it is silent.
    pub(super) fn inside(&self, key: &str, known: &[&[&str]], inherited: &'static [&'static str]) -> Option<Self> {
        let path = self.title.trim_matches(['[', ']']);
        let inside = self.open_table(key, format!("[{path}.{key}]"), known);
        inside.table.map(|_| Self { inherited: self.table.map(|above| (above, inherited)), ..inside })
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
                Self { reader: self.reader, title, table: None, inherited: None, span: self.span.clone() }
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
