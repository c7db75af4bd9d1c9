//! The text of a file, and which parts of it may be shown.
//!
//! Only the values of keys that are known and hold no secret are ever shown: not those of `password` and `url`, not
//! those of an unknown key (which may be a misspelled `password`), not a text that looks like a URL with a user in it,
//! and no comment. In a line that is not TOML nothing is certain, and what stands behind its first `=` is shown only
//! if a key of the first kind stands before it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Excerpt, Mistake, Severity};
use super::keys;

/// What stands for a secret.
const MASK: &str = "********";

/// A file's text.
#[derive(Debug)]
pub(super) struct Source<'a> {
    path: PathBuf,
    text: &'a str,
    /// Ranges that are never shown, in order.
    secret: Vec<Range<usize>>,
    /// Ranges that are keys and values: a `#` in them begins no comment.
    solid: Vec<Range<usize>>,
    /// Lines, by where they start, that are not TOML.
    broken: Vec<usize>,
}

/// A mistake before the lines it shows are cut out.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) severity: Severity,
    pub(super) span: Option<Range<usize>>,
    pub(super) sentence: String,
    pub(super) hint: Option<String>,
    pub(super) also: Option<(Range<usize>, String)>,
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &Path, text: &'a str, table: &DeTable<'_>, broken: &[Range<usize>]) -> Self {
        let mut source =
            Self { path: path.to_owned(), text, secret: Vec::new(), solid: Vec::new(), broken: Vec::new() };
        source.broken = broken.iter().map(|span| source.line_of(span.start).start).collect();
        source.find_secrets(table);
        source.secret.sort_by_key(|span| (span.start, span.end));
        source
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

    /// Whether the line at `offset` is not TOML.
    pub(super) fn is_broken(&self, offset: usize) -> bool {
        self.broken.contains(&self.line_of(offset).start)
    }

    /// What stands at `span` in the file.
    pub(super) fn get(&self, span: &Range<usize>) -> Option<&'a str> {
        self.text.get(span.clone())
    }

    /// The line that holds `offset`, without its break.
    pub(super) fn line_of(&self, offset: usize) -> Range<usize> {
        let bytes = self.text.as_bytes();
        let offset = offset.min(bytes.len());
        let start = bytes.iter().take(offset).rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let end = bytes.iter().skip(offset).position(|b| *b == b'\n').map_or(bytes.len(), |at| offset + at);
        start..end
    }

    pub(super) fn mistake(&self, draft: Draft) -> Mistake {
        Mistake {
            severity: draft.severity,
            path: self.path.clone(),
            sentence: draft.sentence,
            hint: draft.hint,
            at: draft.span.map(|span| self.excerpt(&span)),
            also: draft.also.map(|(span, label)| (self.excerpt(&span), label)),
        }
    }

    /// The line of `span`, fit to be shown. What spans several lines is marked in the first.
    fn excerpt(&self, span: &Range<usize>) -> Excerpt {
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
            line: 1 + self.text.bytes().take(line.start).filter(|b| *b == b'\n').count(),
            column: 1 + shown.text.get(..from).map_or(0, |before| before.chars().count()),
            marked: from..shown.end.unwrap_or(kept).clamp(from, kept),
            text: shown.text,
        }
    }

    /// Where the comment of `line` begins; its end if it has none, or if it is not TOML and nobody can say.
    fn comment(&self, line: &Range<usize>) -> usize {
        if self.broken.contains(&line.start) {
            return line.end;
        }
        let text = self.text.get(line.clone()).unwrap_or_default();
        let within = |at: usize| self.solid.iter().any(|span| span.contains(&at));
        let comment = text.match_indices('#').map(|(at, _)| line.start + at).find(|at| !within(*at));
        comment.unwrap_or(line.end)
    }

    /// The parts of `line` that are not shown, in order and apart.
    fn hidden(&self, line: Range<usize>) -> Vec<Range<usize>> {
        let mut spans: Vec<_> = self
            .secret
            .iter()
            .filter(|secret| secret.start < line.end && secret.end > line.start)
            .map(|secret| secret.start.max(line.start)..secret.end.min(line.end))
            .collect();
        if self.broken.contains(&line.start) {
            spans.push(self.sure_until(&line)..line.end);
            spans.sort_by_key(|span| (span.start, span.end));
        }
        let mut hidden: Vec<Range<usize>> = Vec::new();
        for span in spans.into_iter().filter(|span| !span.is_empty()) {
            match hidden.last_mut() {
                Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
                _ => hidden.push(span),
            }
        }
        hidden
    }

    /// Up to where `line`, which is not TOML, surely holds no secret.
    fn sure_until(&self, line: &Range<usize>) -> usize {
        let before = self.text.get(..line.start).unwrap_or_default();
        if ["\"\"\"", "'''"].iter().any(|quotes| before.contains(quotes)) {
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
