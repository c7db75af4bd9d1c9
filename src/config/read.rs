//! Gathers what is wrong with the files, so that all of their mistakes come out at once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::expand::{Env, expand};
use super::source::{Draft, Source};
use super::wrong::Wrong;
use super::{Mistake, Severity};

/// Gathers mistakes.
pub(super) struct Reader<'a> {
    source: &'a Source<'a>,
    env: Env<'a>,
    drafts: RefCell<Vec<Draft>>,
    /// Whether a file could not be read: what seems absent may be in it.
    unsure: bool,
    /// Whether what is absent is told.
    silent: Cell<bool>,
    /// What stands in `[defaults]`, in order.
    shared: RefCell<Vec<Range<usize>>>,
    /// The database that is being read.
    subject: RefCell<Option<Range<usize>>>,
    /// Where in `drafts` the mistakes are that stand in `[defaults]`.
    told: RefCell<HashMap<(usize, String), usize>>,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'a> Reader<'a> {
    /// Goes on behind `drafts`; `unsure` if a file could not be read.
    pub(super) fn new(source: &'a Source<'a>, env: Env<'a>, drafts: Vec<Draft>, unsure: bool) -> Self {
        Self {
            source,
            env,
            drafts: RefCell::new(drafts),
            unsure,
            silent: Cell::new(false),
            shared: RefCell::default(),
            subject: RefCell::default(),
            told: RefCell::default(),
        }
    }

    pub(super) const fn env(&self) -> Env<'a> {
        self.env
    }

    /// Where relative paths start that stand at `offset`.
    pub(super) fn folder(&self, offset: usize) -> &'a Path {
        self.source.folder(offset)
    }

    /// The file that includes the others.
    pub(super) fn main(&self) -> &'a Path {
        self.source.main()
    }

    /// Takes `table` as `[defaults]`. A mistake in it is told once, however many databases have it.
    pub(super) fn share(&self, table: &DeTable<'_>, span: Range<usize>) {
        let mut spans = vec![span];
        find_spans(table, &mut spans);
        spans.sort_unstable_by_key(|span| (span.start, span.end));
        *self.shared.borrow_mut() = spans;
    }

    /// What `read` makes of the database at `subject`.
    pub(super) fn about<T>(&self, subject: &Range<usize>, read: impl FnOnce() -> T) -> T {
        *self.subject.borrow_mut() = Some(subject.clone());
        let read = read();
        *self.subject.borrow_mut() = None;
        read
    }

    /// What `read` makes of a table in which nothing has to stand.
    pub(super) fn complete<T>(&self, read: impl FnOnce() -> T) -> T {
        self.silent.set(true);
        let read = read();
        self.silent.set(false);
        read
    }

    /// Records a mistake that stands at `span`.
    pub(super) fn error(&self, span: &Range<usize>, wrong: Wrong) {
        self.record(Severity::Error, Some(span.clone()), wrong, None);
    }

    /// Records a mistake that another place has a part in, which `label` names.
    pub(super) fn error_with(&self, span: &Range<usize>, wrong: Wrong, also: &Range<usize>, label: &str) {
        self.record(Severity::Error, Some(span.clone()), wrong, Some((also.clone(), label.to_owned())));
    }

    /// Records that something is absent from the table at `span`; silent where it may merely be unreadable.
    pub(super) fn absent(&self, span: &Range<usize>, wrong: Wrong) {
        if !self.silent.get() && !self.source.is_partial(span.start) {
            self.error(span, wrong);
        }
    }

    /// Whether a file could not be read: what is named and not there may be in it.
    pub(super) const fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Records a mistake that no line is to blame for.
    pub(super) fn error_anywhere(&self, wrong: Wrong) {
        self.record(Severity::Error, None, wrong, None);
    }

    pub(super) fn warn(&self, span: &Range<usize>, wrong: Wrong) {
        self.record(Severity::Warning, Some(span.clone()), wrong, None);
    }

    fn record(
        &self,
        severity: Severity,
        span: Option<Range<usize>>,
        wrong: Wrong,
        also: Option<(Range<usize>, String)>,
    ) {
        // What was made of a line that is not TOML is a guess; one mistake for it is enough.
        if span.as_ref().is_some_and(|span| self.source.is_broken(span.start)) {
            return;
        }
        let Wrong { sentence, hint } = wrong;
        let mut draft = Draft { severity, span, sentence, hint, also, further: 0 };
        let mut drafts = self.drafts.borrow_mut();
        if let Some(start) = draft.span.as_ref().map(|span| span.start).filter(|start| self.is_shared(*start)) {
            let subject = self.subject.borrow();
            match self.told.borrow_mut().entry((start, draft.sentence.clone())) {
                std::collections::hash_map::Entry::Vacant(first) => first.insert(drafts.len()),
                std::collections::hash_map::Entry::Occupied(before) => {
                    // One that stands in `[defaults]` by itself has nothing to do with this database.
                    if let Some(told) = drafts.get_mut(*before.get()).filter(|told| told.also.is_some()) {
                        told.further += 1;
                    }
                    return;
                }
            };
            if let (Some(subject), None) = (subject.as_ref(), &draft.also) {
                draft.also = Some((subject.clone(), "in this database".to_owned()));
            }
        }
        drafts.push(draft);
    }

    fn is_shared(&self, offset: usize) -> bool {
        let shared = self.shared.borrow();
        let after = shared.partition_point(|span| span.start <= offset);
        after.checked_sub(1).and_then(|last| shared.get(last)).is_some_and(|span| span.contains(&offset))
    }

    /// What was recorded, to go on with.
    pub(super) fn into_drafts(self) -> Vec<Draft> {
        self.drafts.into_inner()
    }

    /// Errors and warnings, in the order of the files.
    pub(super) fn finish(self, syntax: Vec<Draft>) -> (Vec<Mistake>, Vec<Mistake>) {
        let mut drafts = self.drafts.into_inner();
        drafts.extend(syntax);
        drafts.sort_by_key(|draft| draft.span.as_ref().map(|span| span.start));
        drafts
            .into_iter()
            .map(|draft| self.source.mistake(draft))
            .partition(|mistake| mistake.severity == Severity::Error)
    }

    /// `raw` with its variables in place.
    pub(super) fn expand(&self, key: &str, raw: &str, span: &Range<usize>) -> Option<String> {
        match expand(raw, self.env) {
            Ok(text) if text.contains('\0') => {
                self.error(span, Wrong::new(format!("`{key}`: a NUL can't be part of a value")));
                None
            }
            Ok(text) => Some(text),
            Err((part, wrong)) => {
                // The part is found in the file unless TOML's own escapes stand before it.
                let inside = span.start + 1..span.end.saturating_sub(1);
                let exact =
                    (self.source.get(&inside) == Some(raw)).then(|| inside.start + part.start..inside.start + part.end);
                self.error(&exact.unwrap_or_else(|| span.clone()), for_key(key, wrong));
                None
            }
        }
    }
}

/// Adds where the keys of `table` and their values stand.
fn find_spans(table: &DeTable<'_>, spans: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        spans.push(key.span());
        match value.get_ref() {
            DeValue::Table(inner) => find_spans(inner, spans),
            _ => spans.push(value.span()),
        }
    }
}

/// What is wrong with the value of `key`.
pub(super) fn for_key(key: &str, wrong: Wrong) -> Wrong {
    Wrong { sentence: format!("`{key}`: {}", wrong.sentence), ..wrong }
}
