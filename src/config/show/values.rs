//! Values as the file takes them.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::Line;
use crate::config::{DeclaredTable, units};
use crate::ident::quote_ident;

/// A text in quotes, its dollars doubled so that it is taken as it stands.
pub(super) fn quoted(text: &str) -> String {
    let mut toml = String::with_capacity(text.len() + 2);
    toml.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => toml.extend(['\\', c]),
            '$' => toml.push_str("$$"),
            '\n' => toml.push_str("\\n"),
            '\t' => toml.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(toml, "\\u{:04X}", u32::from(c));
            }
            c => toml.push(c),
        }
    }
    toml.push('"');
    toml
}

pub(super) fn text(text: &str) -> Line {
    Line::Value(quoted(text))
}

pub(super) fn path(path: &Path) -> Line {
    text(&path.to_string_lossy())
}

pub(super) fn flag(flag: bool) -> Line {
    Line::Value(flag.to_string())
}

pub(super) fn size(bytes: u64) -> Line {
    text(&units::in_units(bytes))
}

pub(super) fn time(time: Duration) -> Line {
    text(&units::time_in_units(time))
}

/// The one of `words` that stands for `value`.
pub(super) fn word<T: PartialEq>(words: &[(&str, T)], value: T) -> Line {
    text(words.iter().find(|(_, other)| *other == value).map_or("", |(word, _)| word))
}

pub(super) fn list(items: impl Iterator<Item = String>) -> Line {
    Line::List(items.collect())
}

/// An entry of `tables`.
pub(super) fn table(table: &DeclaredTable) -> String {
    let name = quoted(&table.name.to_string());
    let columns = table.columns.as_ref().map(|columns| {
        let columns: Vec<_> = columns.iter().map(|column| quoted(&quote_ident(column))).collect();
        format!(", columns = [{}]", columns.join(", "))
    });
    let filter = table.row_filter.as_ref().map(|filter| format!(", where = {}", quoted(filter)));
    if columns.is_none() && filter.is_none() {
        return name;
    }
    format!("{{ name = {name}{}{} }}", columns.unwrap_or_default(), filter.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_is_read_back_as_it_was(value in "\\PC*|[\"\\\\$\u{0}-\u{1f}\u{7f}\u{85}a]{0,8}") {
            let toml: toml::Table = format!("a = {}", quoted(&value)).parse().unwrap();
            let undoubled = toml["a"].as_str().unwrap().replace("$$", "$");
            prop_assert_eq!(undoubled, value);
        }
    }
}
