//! The text of one file, and which parts of it may be shown. Offsets here are those of this text.
//!
//! Only the values of keys that are known and hold no secret are ever shown: not those of `password` and `url`, not
//! those of an unknown key (which may be a misspelled `password`), not a text that looks like a URL with a user in it,
//! and no comment. Where a line is not TOML nothing is certain, there or further on; in such a file what stands behind
//! the first `=` of a line is shown only if a key of the first kind stands before it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Excerpt;
use super::keys;

/// What stands for a secret.
pub(super) const MASK: &str = "********";

/// A file's text.
#[derive(Debug)]
pub(super) struct Text<'a> {
    path: PathBuf,
    text: &'a str,
    /// Where each line starts.
    lines: Vec<usize>,
    /// Ranges that are never shown, in order and apart.
    secret: Vec<Range<usize>>,
    /// Ranges that are keys and values, in order and apart: a `#` in them begins no comment.
    solid: Vec<Range<usize>>,
    /// Lines, by where they start and in order, that are not TOML.
    broken: Vec<usize>,
    /// Where the first text of several lines begins, if one does.
    long: Option<usize>,
}

impl<'a> Text<'a> {
    /// `table` is what `text` was parsed to; what stands at `broken` is not TOML.
    pub(super) fn new(path: &Path, text: &'a str, table: &DeTable<'_>, broken: &[Range<usize>]) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let mut new = Self {
            path: path.to_owned(),
            text,
            lines: std::iter::once(0).chain(breaks).collect(),
            secret: Vec::new(),
            solid: Vec::new(),
            broken: Vec::new(),
            long: ["\"\"\"", "'''"].iter().filter_map(|quotes| text.find(quotes)).min(),
        };
        new.broken = broken.iter().map(|span| new.line_of(span.start).start).collect();
        new.broken.sort_unstable();
        new.find_secrets(table);
        new.secret = joined(new.secret);
        new.solid = joined(new.solid);
        new
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn len(&self) -> usize {
        self.text.len()
    }

    fn find_secrets(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            self.solid.push(key.span());
            self.find_secret(key.get_ref(), value);
        }
    }

    fn find_secret(&mut self, key: &str, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::Table(table) => self.find_secrets(table),
            DeValue::Array(items) => items.iter().for_each(|item| self.find_secret(key, item)),
            scalar => {
                self.solid.push(value.span());
                let url = scalar.as_str().is_some_and(|text| text.contains('@') && text.contains("//"));
                if url || !keys::is_open(key) {
                    self.secret.push(value.span());
                }
            }
        }
    }

    /// Whether a line of it is not TOML.
    pub(super) const fn is_partial(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Whether the line at `offset` is not TOML.
    pub(super) fn is_broken(&self, offset: usize) -> bool {
        self.broken.binary_search(&self.line_of(offset).start).is_ok()
    }

    /// What stands at `span`.
    pub(super) fn get(&self, span: Range<usize>) -> Option<&'a str> {
        self.text.get(span)
    }

    /// The number of the line that holds `offset`, from 1.
    pub(super) fn line_number(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    /// The line that holds `offset`, without its break.
    pub(super) fn line_of(&self, offset: usize) -> Range<usize> {
        let after = self.line_number(offset.min(self.text.len()));
        let start = self.lines.get(after - 1).copied().unwrap_or_default();
        let end = self.lines.get(after).map_or(self.text.len(), |next| next - 1);
        start..end
    }

    /// The line of `span`, fit to be shown. What spans several lines is marked in the first.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        let line = self.line_of(span.start);
        let start = span.start.min(line.end);
        let marked = start..span.end.clamp(start, line.end);
        let mut shown = Shown { text: String::new(), start: None, end: None };
        let end = self.comment(&line);
        let mut at = line.start;
        for hide in self.hidden(line.start..end) {
            shown.push(self.text, at..hide.start, &marked);
            shown.mask(self.text, &hide, &marked);
            at = hide.end;
        }
        shown.push(self.text, at..end, &marked);
        let kept = shown.text.trim_end().len();
        shown.text.truncate(kept);
        let from = shown.start.unwrap_or(kept).min(kept);
        Excerpt {
            path: self.path.clone(),
            line: self.line_number(line.start),
            column: 1 + shown.text.get(..from).map_or(0, |before| before.chars().count()),
            marked: from..shown.end.unwrap_or(kept).clamp(from, kept),
            text: shown.text,
        }
    }

    /// Where the comment of `line` begins; its end if it has none, or if nobody can say since the file is not TOML.
    fn comment(&self, line: &Range<usize>) -> usize {
        if self.is_partial() {
            return line.end;
        }
        let text = self.text.get(line.clone()).unwrap_or_default();
        let within = |at: usize| {
            let first = self.solid.partition_point(|span| span.end <= at);
            self.solid.get(first).is_some_and(|span| span.contains(&at))
        };
        let comment = text.match_indices('#').map(|(at, _)| line.start + at).find(|at| !within(*at));
        comment.unwrap_or(line.end)
    }

    /// The parts of `line` that are not shown, in order and apart.
    fn hidden(&self, line: Range<usize>) -> Vec<Range<usize>> {
        let first = self.secret.partition_point(|secret| secret.end <= line.start);
        let secrets = self.secret.get(first..).unwrap_or_default().iter();
        let mut spans: Vec<_> = secrets
            .take_while(|secret| secret.start < line.end)
            .map(|secret| secret.start.max(line.start)..secret.end.min(line.end))
            .collect();
        if self.is_partial() {
            spans.push(self.sure_until(&line)..line.end);
        }
        joined(spans)
    }

    /// Up to where `line`, in a file that is not TOML, surely holds no secret.
    fn sure_until(&self, line: &Range<usize>) -> usize {
        if self.long.is_some_and(|long| long + 3 <= line.start) {
            return line.start;
        }
        let text = self.text.get(line.clone()).unwrap_or_default();
        if text.trim_start().starts_with('[') {
            return text.find(['#', '=']).map_or(line.end, |at| line.start + at);
        }
        let Some((key, value)) = text.split_once('=') else {
            return if keys::is_open(text.trim()) { line.end } else { line.start };
        };
        let open = keys::is_open(key.trim().trim_matches(['"', '\'']));
        if open && !value.contains(['=', '@', '#', '{']) { line.end } else { line.start + key.len() + 1 }
    }
}

/// `spans` in order and apart.
fn joined(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans.into_iter().filter(|span| !span.is_empty()) {
        match joined.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

/// A line as it is put together.
struct Shown {
    text: String,
    /// Where the marked part starts and ends in `text`.
    start: Option<usize>,
    end: Option<usize>,
}

impl Shown {
    fn push(&mut self, source: &str, part: Range<usize>, marked: &Range<usize>) {
        if part.start <= marked.start && marked.start <= part.end {
            self.start.get_or_insert(self.text.len() + marked.start - part.start);
        }
        if part.start <= marked.end && marked.end <= part.end {
            self.end = Some(self.text.len() + marked.end - part.start);
        }
        self.text.push_str(source.get(part).unwrap_or_default());
    }

    /// The mask has a length of its own, so that it does not tell the secret's; what points into or right behind the
    /// secret points at all of it. Only where something further on is marked the mask is as wide as what it hides, so
    /// that the columns are those of the file.
    fn mask(&mut self, source: &str, hide: &Range<usize>, marked: &Range<usize>) {
        let start = self.text.len();
        if marked.start > hide.end {
            let width = source.get(hide.clone()).map_or(0, |secret| secret.chars().count());
            self.text.extend(std::iter::repeat_n('*', width));
        } else {
            self.text.push_str(MASK);
        }
        if (hide.start..=hide.end).contains(&marked.start) {
            self.start = Some(start);
            self.end = Some(self.text.len());
        } else if (hide.start + 1..=hide.end).contains(&marked.end) {
            self.end = Some(self.text.len());
        }
    }
}
