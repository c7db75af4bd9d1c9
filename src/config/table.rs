//! Reads typed values out of TOML tables.
//!
//! A getter answers `None` both where the key is absent and where its value is wrong; the mistake is then recorded.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::expand::expand;
use super::read::{At, Reader, for_key};
use super::wrong::{Wrong, nearest};
use super::{keys, units};

/// A table of the file; one that is absent has no keys.
pub(super) struct Table<'a> {
    reader: &'a Reader<'a>,
    /// Its header, or nothing for the whole file.
    title: String,
    table: Option<&'a DeTable<'a>>,
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
        let opened = Self { reader, title, table: Some(table), span };
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

    /// Where the table begins.
    pub(super) const fn span(&self) -> &Range<usize> {
        &self.span
    }

    /// Where `key` stands.
    pub(super) fn key(&self, key: &str) -> Option<Range<usize>> {
        self.table?.get_key_value(key).map(|(key, _)| key.span())
    }

    /// The first of `keys` that is there, and where.
    pub(super) fn first_of<'k>(&self, keys: &[&'k str]) -> Option<(&'k str, Range<usize>)> {
        keys.iter().find_map(|key| self.key(key).map(|span| (*key, span)))
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    /// The table `key`; without keys if it is absent.
    pub(super) fn table(&self, key: &str, known: &[&[&str]]) -> Self {
        let title = format!("[{key}]");
        match self.get(key).map(|value| (value.get_ref(), value.span())) {
            Some((DeValue::Table(table), span)) => Self::open(self.reader, title, table, span, known),
            other => {
                if let Some((_, span)) = other {
                    let wrong =
                        Wrong::new(format!("`{key}` is a table")).hint(format!("write {title} on a line of its own"));
                    self.reader.error(&span, wrong);
                }
                Self { reader: self.reader, title, table: None, span: self.span.clone() }
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

    /// A text as it stands in the file, nothing in it expanded, with where its key stands: for what must not be shown.
    pub(super) fn raw(&self, key: &str) -> Option<At<&'a str>> {
        let value = self.get(key)?;
        let span = self.key(key).unwrap_or_else(|| value.span());
        match value.get_ref().as_str() {
            Some(text) => Some(At { value: text, span }),
            None => {
                self.reader.error(&span, Wrong::new(format!("`{key}` is a text in quotes")));
                None
            }
        }
    }

    /// A secret: mistakes are shown at its key.
    pub(super) fn secret(&self, key: &str) -> Option<At<String>> {
        let At { value, span } = self.raw(key)?;
        let value = match expand(value, self.reader.env()) {
            Ok(text) if !text.contains('\0') => text,
            Ok(_) => {
                self.reader.error(&span, Wrong::new(format!("`{key}`: a NUL can't be part of a value")));
                return None;
            }
            Err((_, wrong)) => {
                self.reader.error(&span, for_key(key, wrong));
                return None;
            }
        };
        Some(At { value, span })
    }

    /// A text that `parse` makes something of.
    pub(super) fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<At<T>> {
        let value = self.get(key)?;
        self.item(key, value, &parse, || Wrong::new(format!("`{key}` is a text in quotes")))
    }

    fn item<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: &impl Fn(&str) -> Result<T, Wrong>,
        no_text: impl Fn() -> Wrong,
    ) -> Option<At<T>> {
        let span = value.span();
        let Some(raw) = value.get_ref().as_str() else {
            self.reader.error(&span, no_text());
            return None;
        };
        let text = self.reader.expand(key, raw, &span)?;
        match parse(&text) {
            Ok(value) => Some(At { value, span }),
            Err(wrong) => {
                self.reader.error(&span, for_key(key, wrong));
                None
            }
        }
    }

    /// A size or a time; `example` is shown where the unit is missing.
    pub(super) fn quantity<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        let value = self.get(key)?;
        self.item(key, value, &parse, || {
            let number = matches!(value.get_ref(), DeValue::Integer(_) | DeValue::Float(_));
            let what =
                if number { "a bare number has no unit" } else { "this is neither a number with a unit nor a word" };
            Wrong::new(format!("`{key}`: {what}")).hint(format!("write it in quotes, as \"{example}\""))
        })
    }

    /// A time from `least` on.
    pub(super) fn time(&self, key: &str, least: Duration, default: Duration) -> Duration {
        let parse = |text: &str| {
            let time = units::time(text)?;
            if time < least { Err(Wrong::new(format!("the least is {} ms", least.as_millis()))) } else { Ok(time) }
        };
        self.quantity(key, &format!("{}s", default.as_secs()), parse).map_or(default, |at| at.value)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<At<T>> {
        self.parsed(key, |text| {
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let all = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
                let wrong = Wrong::new(if words.len() == 1 {
                    format!("the one value is {all}")
                } else {
                    format!("the values are {all}")
                });
                match nearest(text, words.iter().map(|(word, _)| *word)) {
                    Some(near) => wrong.hint(format!("did you mean \"{near}\"?")),
                    None => wrong,
                }
            })
        })
    }

    /// `true` or `false`, or a text with a variable that holds one of them.
    pub(super) fn flag(&self, key: &str) -> Option<At<bool>> {
        let value = self.get(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(At { value: *flag, span: value.span() });
        }
        let plain = || Wrong::new(format!("`{key}` is true or false, without quotes"));
        self.variable(key, value, plain, |text| text.parse().map_err(|_| Wrong::new("this is neither true nor false")))
    }

    /// A whole number, or a text with a variable that holds one.
    pub(super) fn number<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<At<T>> {
        let value = self.get(key)?;
        let span = value.span();
        if let DeValue::Integer(number) = value.get_ref() {
            return match parse(if number.radix() == 10 { number.as_str() } else { "" }) {
                Ok(value) => Some(At { value, span }),
                Err(wrong) => {
                    self.reader.error(&span, for_key(key, wrong));
                    None
                }
            };
        }
        self.variable(key, value, || Wrong::new(format!("`{key}` is a number without quotes")), parse)
    }

    fn variable<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        plain: impl Fn() -> Wrong,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        if value.get_ref().as_str().is_some_and(|text| !text.contains("${")) {
            self.reader.error(&value.span(), plain());
            return None;
        }
        self.item(key, value, &parse, plain)
    }

    /// A list of texts, each as `parse` reads it; with `or_one` also a single text. Nothing stands in it twice.
    pub(super) fn list<T: PartialEq>(
        &self,
        key: &str,
        or_one: bool,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.get(key)?;
        let span = value.span();
        let no_list = || Wrong::new(format!("`{key}` is a list of texts")).hint("write [\"one\", \"two\"]");
        let items = match value.get_ref() {
            DeValue::Array(items) => items.as_ref(),
            DeValue::String(_) if or_one => std::slice::from_ref(value),
            _ => {
                self.reader.error(&span, no_list());
                return None;
            }
        };
        let mut list: Vec<At<T>> = Vec::new();
        let mut whole = true;
        for item in items {
            let Some(at) = self.item(key, item, &parse, no_list) else {
                whole = false;
                continue;
            };
            match list.iter().find(|before| before.value == at.value) {
                Some(before) => {
                    let wrong =
                        Wrong::new(format!("`{key}`: this stands in the list twice")).hint("leave one of them out");
                    self.reader.error_with(&at.span, wrong, &before.span, "first here");
                }
                None => list.push(at),
            }
        }
        whole.then_some(At { value: list, span })
    }
}
