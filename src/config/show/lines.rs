//! Lines with a value, and behind it where it stands.

use std::path::Path;

use super::{Keys, Origins, Source};

/// Where the origins stand, if the values leave room.
const COLUMN: usize = 48;
/// What a line is to keep to.
const WIDTH: usize = 80;

/// What is in force for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// In TOML.
    Value(String),
    /// A list, its items in TOML.
    List(Vec<String>),
    /// In words, since no value of the key says it.
    Words(&'static str),
    /// Nothing, whatever the key says: why, in words.
    Void(&'static str),
}

impl Line {
    pub(super) const fn value(toml: String) -> Self {
        Self::Value(toml)
    }

    pub(super) const fn words(words: &'static str) -> Self {
        Self::Words(words)
    }

    pub(super) const fn void(words: &'static str) -> Self {
        Self::Void(words)
    }
}

/// The lines so far.
pub(super) struct Lines<'a> {
    source: &'a Source<'a>,
    text: String,
}

impl<'a> Lines<'a> {
    pub(super) const fn new(source: &'a Source<'a>) -> Self {
        Self { source, text: String::new() }
    }

    pub(super) fn comment(&mut self, comment: &str) {
        self.push(&format!("# {comment}"));
    }

    /// A table under its header.
    pub(super) fn table(&mut self, header: &str, keys: Keys, origins: &Origins) {
        self.push("");
        self.push(header);
        self.more(keys, origins);
    }

    /// More keys of the same table.
    pub(super) fn more(&mut self, keys: Keys, origins: &Origins) {
        for (key, line) in keys {
            let origin = self.origin(key, origins);
            match line {
                Line::Value(toml) => self.told(&format!("{key} = {toml}"), &origin),
                Line::Words(words) => self.told(&format!("# {key}: {words}"), &origin),
                Line::Void(words) if origins.get(key).is_some() => {
                    self.told(&format!("# {key}: {words}"), &format!("not from {origin}"));
                }
                Line::Void(words) => self.told(&format!("# {key}: {words}"), &origin),
                Line::List(items) => {
                    let whole = format!("{key} = [{}]", items.join(", "));
                    if width(&whole) + 4 + width(&origin) <= WIDTH {
                        self.told(&whole, &origin);
                        continue;
                    }
                    self.told(&format!("{key} = ["), &origin);
                    items.iter().for_each(|item| self.push(&format!("    {item},")));
                    self.push("]");
                }
            }
        }
    }

    fn told(&mut self, line: &str, origin: &str) {
        // As far to the left as a long origin needs to keep the line's width, but behind the value.
        let column = COLUMN.min(WIDTH.saturating_sub(2 + width(origin))).max(width(line) + 2);
        let space = " ".repeat(column - width(line));
        self.push(&format!("{line}{space}# {origin}"));
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// `conf.d/shop.toml:3`, or `default`.
    fn origin(&self, key: &str, origins: &Origins) -> String {
        let place = origins.get(key).and_then(|offset| self.source.place(offset));
        place.map_or_else(|| "default".to_owned(), |place| format!("{}:{}", self.name(&place.path), place.line))
    }

    /// The file `path` as it is seen from the folder of the main file.
    pub(super) fn name(&self, path: &Path) -> String {
        let folder = self.source.main().parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).display().to_string()
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}
