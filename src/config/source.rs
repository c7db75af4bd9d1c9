//! All files that are read together.
//!
//! They share one space of offsets: each begins where the one before it has ended, so that a span alone says in which
//! file it lies. The tables of a [`Document`] have such spans; nothing behind it knows that there is more than one file.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{self, Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::diagnostics::{Excerpt, Mistake, Severity};
use super::text::Text;

/// The files, the main one first; there is at least one.
#[derive(Debug)]
pub(super) struct Source<'a> {
    files: Vec<File<'a>>,
}

#[derive(Debug)]
struct File<'a> {
    /// The offset of its first byte.
    base: usize,
    text: Text<'a>,
    /// Where its relative paths start.
    folder: PathBuf,
}

/// One file as TOML.
#[derive(Debug)]
pub(super) struct Document<'a> {
    pub(super) root: Spanned<DeTable<'a>>,
    /// What in it is not TOML.
    pub(super) syntax: Vec<Draft>,
}

/// A mistake before the lines it shows are cut out.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) severity: Severity,
    pub(super) span: Option<Range<usize>>,
    pub(super) sentence: String,
    pub(super) hint: Option<String>,
    pub(super) also: Option<(Range<usize>, String)>,
    /// How many more databases have it, if it stands in what they share.
    pub(super) further: usize,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// From 1.
    pub(super) line: usize,
}

impl<'a> Source<'a> {
    pub(super) const fn new() -> Self {
        Self { files: Vec::new() }
    }

    /// Reads `text`, which stands in the file `path`, behind the files that were read before.
    pub(super) fn read(&mut self, path: &Path, text: &'a str) -> Document<'a> {
        // One more than its length, so that the end of a file is in that file.
        let base = self.files.last().map_or(0, |last| last.base + last.text.len() + 1);
        let (root, errors) = DeTable::parse_recoverable(text);
        let broken: Vec<_> = errors.iter().map(|error| error.span().unwrap_or_default()).collect();
        let text = Text::new(path, text, root.get_ref(), &broken);
        let syntax = syntax(&text, base, errors);
        self.files.push(File { base, text, folder: folder_of(path) });
        Document { root: moved(root, base, moved_table), syntax }
    }

    fn file_at(&self, offset: usize) -> Option<&File<'a>> {
        let after = self.files.partition_point(|file| file.base <= offset);
        self.files.get(after.checked_sub(1)?)
    }

    /// Whether the line at `offset` is not TOML.
    pub(super) fn is_broken(&self, offset: usize) -> bool {
        self.file_at(offset).is_some_and(|file| file.text.is_broken(offset - file.base))
    }

    /// Whether parts of the file at `offset`, or of the main file, could not be read.
    pub(super) fn is_partial(&self, offset: usize) -> bool {
        [self.files.first(), self.file_at(offset)].into_iter().flatten().any(|file| file.text.is_partial())
    }

    /// Whether parts of any file could not be read.
    pub(super) fn any_is_partial(&self) -> bool {
        self.files.iter().any(|file| file.text.is_partial())
    }

    /// What stands at `span`.
    pub(super) fn get(&self, span: &Range<usize>) -> Option<&'a str> {
        let file = self.file_at(span.start)?;
        file.text.get(file.local(span))
    }

    /// Where relative paths start that stand at `offset`; absolute.
    pub(super) fn folder(&self, offset: usize) -> &Path {
        self.file_at(offset).map_or(Path::new("."), |file| &file.folder)
    }

    /// The line at `offset`.
    pub(super) fn place(&self, offset: usize) -> Option<Place> {
        let file = self.file_at(offset)?;
        Some(Place { path: file.text.path().to_owned(), line: file.text.line_number(offset - file.base) })
    }

    /// The file that includes the others.
    pub(super) fn main(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| file.text.path())
    }

    /// The files that it includes, in order.
    pub(super) fn included(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().skip(1).map(|file| file.text.path())
    }

    pub(super) fn mistake(&self, draft: Draft) -> Mistake {
        let at = draft.span.and_then(|span| self.excerpt(&span));
        Mistake {
            severity: draft.severity,
            path: at.as_ref().map_or_else(|| self.main().to_owned(), |at| at.path.clone()),
            sentence: draft.sentence,
            hint: draft.hint,
            at,
            also: draft.also.and_then(|(span, label)| {
                let label = if draft.further > 0 { format!("{label}, and {} more", draft.further) } else { label };
                Some((self.excerpt(&span)?, label))
            }),
        }
    }

    fn excerpt(&self, span: &Range<usize>) -> Option<Excerpt> {
        let file = self.file_at(span.start)?;
        Some(file.text.excerpt(&file.local(span)))
    }
}

impl File<'_> {
    const fn local(&self, span: &Range<usize>) -> Range<usize> {
        span.start.saturating_sub(self.base)..span.end.saturating_sub(self.base)
    }
}

/// The folder of the file `path`.
fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// What is not TOML, once for each line: what follows in the same line mostly follows from it.
fn syntax(text: &Text<'_>, base: usize, errors: Vec<Error>) -> Vec<Draft> {
    let mut lines = BTreeSet::new();
    let mut drafts = Vec::new();
    for error in errors {
        let span = error.span();
        if !lines.insert(span.as_ref().map(|span| text.line_of(span.start).start)) {
            continue;
        }
        let (sentence, hint) = match error.message() {
            "duplicate key" => ("this key stands here a second time".to_owned(), None),
            message if message.starts_with("string values must be quoted") => {
                let hint = "put double quotes around it".to_owned();
                ("this is not TOML: a text without its quotes".to_owned(), Some(hint))
            }
            message => (format!("this is not TOML: {message}"), None),
        };
        let span = span.map(|span| base + span.start..base + span.end);
        drafts.push(Draft { severity: Severity::Error, span, sentence, hint, also: None, further: 0 });
    }
    drafts
}

/// `spanned` and all in it, `base` further on.
fn moved<T>(spanned: Spanned<T>, base: usize, inner: impl Fn(T, usize) -> T) -> Spanned<T> {
    let span = spanned.span();
    Spanned::new(base + span.start..base + span.end, inner(spanned.into_inner(), base))
}

fn moved_table(table: DeTable<'_>, base: usize) -> DeTable<'_> {
    table.into_iter().map(|(key, value)| (moved(key, base, |key, _| key), moved(value, base, moved_value))).collect()
}

fn moved_value(value: DeValue<'_>, base: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => DeValue::Table(moved_table(table, base)),
        DeValue::Array(items) => DeValue::Array(items.into_iter().map(|item| moved(item, base, moved_value)).collect()),
        scalar => scalar,
    }
}
