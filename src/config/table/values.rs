//! The values of a table's keys.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{Found, Table};
use crate::config::defaults;
use crate::config::expand::expand;
use crate::config::file::path_in;
use crate::config::read::{At, for_key};
use crate::config::units;
use crate::config::wrong::{Wrong, nearest};

/// Postgres counts milliseconds in an `int`; in whole days.
const MOST_TIME: Duration = Duration::from_hours(24 * 24);

impl<'a> Table<'a> {
    /// A text as it stands in the file, nothing in it expanded, with where its key stands: for what must not be shown.
    pub(in crate::config) fn raw(&self, key: &str) -> Option<At<&'a str>> {
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
    pub(in crate::config) fn secret(&self, key: &str) -> Option<At<String>> {
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
    pub(in crate::config) fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<At<T>> {
        let found = self.find(key)?;
        self.item(key, found.value, found.name, &parse, || Wrong::new(format!("`{key}` is a text in quotes")))
    }

    /// A path; a relative one starts at the folder of the file that it stands in.
    pub(in crate::config) fn path(&self, key: &str) -> Option<At<PathBuf>> {
        let folder = self.reader.folder(self.get(key)?.span().start);
        self.parsed(key, |text| path_in(folder, text))
    }

    fn item<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        name: Option<&str>,
        parse: &impl Fn(&str) -> Result<T, Wrong>,
        no_text: impl Fn() -> Wrong,
    ) -> Option<At<T>> {
        let span = value.span();
        let Some(raw) = value.get_ref().as_str() else {
            self.reader.error(&span, no_text());
            return None;
        };
        let raw = match name.map_or(Ok(Cow::Borrowed(raw)), |name| defaults::fill(key, raw, name)) {
            Ok(raw) => raw,
            Err(wrong) => {
                self.reader.error(&span, for_key(key, wrong));
                return None;
            }
        };
        let text = self.reader.expand(key, &raw, &span)?;
        match parse(&text) {
            Ok(value) => Some(At { value, span }),
            Err(wrong) => {
                self.reader.error(&span, for_key(key, wrong));
                None
            }
        }
    }

    /// A size or a time; `example` is shown where the unit is missing.
    pub(in crate::config) fn quantity<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        let Found { value, name, .. } = self.find(key)?;
        self.item(key, value, name, &parse, || {
            let number = matches!(value.get_ref(), DeValue::Integer(_) | DeValue::Float(_));
            let what =
                if number { "a bare number has no unit" } else { "this is neither a number with a unit nor a word" };
            Wrong::new(format!("`{key}`: {what}")).hint(format!("write it in quotes, as \"{example}\""))
        })
    }

    /// A time from `least`, which is in whole seconds, to what Postgres takes.
    pub(in crate::config) fn time(&self, key: &str, least: Duration, default: Duration) -> Duration {
        let parse = |text: &str| match units::time(text)? {
            time if time < least => {
                Err(Wrong::new("this is less than can work").hint(format!("write at least \"{}s\"", least.as_secs())))
            }
            time if time > MOST_TIME => {
                let days = MOST_TIME.as_secs() / 86_400;
                Err(Wrong::new("this is more than Postgres takes").hint(format!("write at most \"{days}d\"")))
            }
            time => Ok(time),
        };
        self.quantity(key, &format!("{}s", default.as_secs()), parse).map_or(default, |at| at.value)
    }

    /// One of a few words.
    pub(in crate::config) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<At<T>> {
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
    pub(in crate::config) fn flag(&self, key: &str) -> Option<At<bool>> {
        let Found { value, name, .. } = self.find(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(At { value: *flag, span: value.span() });
        }
        let plain = || Wrong::new(format!("`{key}` is true or false, without quotes"));
        self.variable(key, value, name, plain, |text| {
            text.parse().map_err(|_| Wrong::new("this is neither true nor false"))
        })
    }

    /// A whole number, or a text with a variable that holds one.
    pub(in crate::config) fn number<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<At<T>> {
        let Found { value, name, .. } = self.find(key)?;
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
        self.variable(key, value, name, || Wrong::new(format!("`{key}` is a number without quotes")), parse)
    }

    fn variable<T>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        name: Option<&str>,
        plain: impl Fn() -> Wrong,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        if value.get_ref().as_str().is_some_and(|text| !text.contains("${")) {
            self.reader.error(&value.span(), plain());
            return None;
        }
        self.item(key, value, name, &parse, plain)
    }

    /// A list of texts, each as `parse` reads it; with `or_one` also a single text. Nothing stands in it twice.
    pub(in crate::config) fn list<T: PartialEq>(
        &self,
        key: &str,
        or_one: bool,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<At<Vec<At<T>>>> {
        let no_list = || Wrong::new(format!("`{key}` is a list of texts")).hint("write [\"one\", \"two\"]");
        self.entries(key, or_one, no_list, |value, name| self.item(key, value, name, &parse, no_list), T::eq)
    }

    /// A list of texts and of tables, which `text` and `table` read. No two are the `same`.
    pub(in crate::config) fn texts_or_tables<T>(
        &self,
        key: &str,
        known: &[&[&str]],
        text: impl Fn(&str) -> Result<T, Wrong>,
        table: impl Fn(&Self) -> Option<T>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<At<Vec<At<T>>>> {
        let no_list = || {
            Wrong::new(format!("`{key}` is a list of texts and of tables"))
                .hint("write [\"one\", { name = \"two\", … }]")
        };
        let read = |value: &'a Spanned<DeValue<'a>>, name: Option<&str>| match value.get_ref() {
            DeValue::Table(inner) => {
                let opened = Self::open(self.reader, format!("an entry of `{key}`"), inner, value.span(), known);
                Some(At { value: table(&opened)?, span: value.span() })
            }
            _ => self.item(key, value, name, &text, no_list),
        };
        self.entries(key, false, no_list, read, same)
    }

    /// Those of a list of texts that are right, each as `parse` reads it.
    pub(in crate::config) fn each<T: PartialEq>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<At<T>> {
        let no_list = || Wrong::new(format!("`{key}` is a list of texts")).hint("write [\"one\", \"two\"]");
        let read = |value: &Spanned<DeValue<'_>>, name: Option<&str>| self.item(key, value, name, &parse, no_list);
        self.right_entries(key, false, no_list, read, T::eq).map_or_else(Vec::new, |(at, _)| at.value)
    }

    fn entries<T>(
        &self,
        key: &str,
        or_one: bool,
        no_list: impl Fn() -> Wrong,
        read: impl Fn(&'a Spanned<DeValue<'a>>, Option<&str>) -> Option<At<T>>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<At<Vec<At<T>>>> {
        self.right_entries(key, or_one, no_list, read, same).and_then(|(at, whole)| whole.then_some(at))
    }

    /// The entries that are right, and whether all are.
    fn right_entries<T>(
        &self,
        key: &str,
        or_one: bool,
        no_list: impl Fn() -> Wrong,
        read: impl Fn(&'a Spanned<DeValue<'a>>, Option<&str>) -> Option<At<T>>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Option<(At<Vec<At<T>>>, bool)> {
        let Found { value, name, .. } = self.find(key)?;
        let span = value.span();
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
            let Some(at) = read(item, name) else {
                whole = false;
                continue;
            };
            match list.iter().find(|before| same(&before.value, &at.value)) {
                Some(before) => {
                    let wrong =
                        Wrong::new(format!("`{key}`: this stands in the list twice")).hint("leave one of them out");
                    self.reader.error_with(&at.span, wrong, &before.span, "first here");
                }
                None => list.push(at),
            }
        }
        Some((At { value: list, span }, whole))
    }
}
