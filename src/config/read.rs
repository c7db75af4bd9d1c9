//! Gathers what is wrong with a file, so that all of its mistakes come out at once.

use std::cell::RefCell;
use std::ops::Range;

use super::expand::{Env, expand};
use super::source::{Draft, Source};
use super::wrong::Wrong;
use super::{Mistake, Severity};

/// Gathers mistakes.
pub(super) struct Reader<'a> {
    source: &'a Source<'a>,
    env: Env<'a>,
    drafts: RefCell<Vec<Draft>>,
    /// Whether parts of the file could not be read: what seems absent may be there.
    partial: bool,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(source: &'a Source<'a>, env: Env<'a>, partial: bool) -> Self {
        Self { source, env, drafts: RefCell::new(Vec::new()), partial }
    }

    pub(super) const fn env(&self) -> Env<'a> {
        self.env
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
        if !self.partial {
            self.error(span, wrong);
        }
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
        self.drafts.borrow_mut().push(Draft { severity, span, sentence, hint, also });
    }

    /// Errors and warnings, in the order of the file.
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

/// What is wrong with the value of `key`.
pub(super) fn for_key(key: &str, wrong: Wrong) -> Wrong {
    Wrong { sentence: format!("`{key}`: {}", wrong.sentence), ..wrong }
}
