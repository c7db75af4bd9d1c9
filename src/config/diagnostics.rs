//! Mistakes of a file, shown where they stand.
//!
//! A mistake carries all that is needed to show it, with secrets already taken out of the lines it shows: it can be
//! logged, kept and sent without another thought.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

/// One mistake, or one warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub(super) severity: Severity,
    /// The file that has to be mended.
    pub(super) path: PathBuf,
    /// What is wrong: lower case, no full stop, no secret in it.
    pub(super) sentence: String,
    /// What to do about it.
    pub(super) hint: Option<String>,
    /// `None` where no line of the file is to blame.
    pub(super) at: Option<Excerpt>,
    /// Another line that the mistake is about, of the same file or another, and what stands there.
    pub(super) also: Option<(Excerpt, String)>,
}

/// Whether a file can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file can't be used.
    Error,
    /// It can, and this should be known.
    Warning,
}

/// A line of the file, without its secrets and comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// The file.
    pub(super) path: PathBuf,
    /// From 1.
    pub(super) line: usize,
    /// From 1, in characters.
    pub(super) column: usize,
    pub(super) text: String,
    /// What is marked in `text`, in bytes.
    pub(super) marked: Range<usize>,
}

/// With or without colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Colour,
}

impl Mistake {
    /// What is wrong.
    #[must_use]
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The mistake as it is shown to a person, in several lines, without a line break at the end.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let path = self.path.to_string_lossy();
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.sentence.as_str());
        let mut group = match &self.at {
            Some(at) => {
                let mark = AnnotationKind::Primary.span(at.marked.clone());
                let snippet = Snippet::source(at.text.as_str()).line_start(at.line).path(path.as_ref());
                title.element(snippet.annotation(mark))
            }
            None => title.element(Origin::path(path.as_ref())),
        };
        if let Some((also, label)) = &self.also {
            let mark = AnnotationKind::Context.span(also.marked.clone()).label(label.as_str());
            let path = also.path.to_string_lossy();
            let snippet = Snippet::source(also.text.as_str()).line_start(also.line).path(path);
            group = group.element(snippet.annotation(mark));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Colour => Renderer::styled(),
        };
        renderer.render(&[group])
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

/// All mistakes of a file and of those that it includes, in their order and that of their lines; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    list: Vec<Mistake>,
}

impl Mistakes {
    /// `None` if there are none.
    pub(super) fn new(list: Vec<Mistake>) -> Option<Self> {
        (!list.is_empty()).then_some(Self { list })
    }

    pub(super) fn one(mistake: Mistake) -> Self {
        Self { list: vec![mistake] }
    }

    /// All of them.
    #[must_use]
    pub fn as_slice(&self) -> &[Mistake] {
        &self.list
    }

    /// All of them as they are shown to a person, an empty line between any two, a line break at the end.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        render_all(&self.list, style)
    }
}

/// `list` as it is shown to a person, an empty line between any two, a line break at the end.
#[must_use]
pub fn render_all(list: &[Mistake], style: Style) -> String {
    let mut shown = list.iter().map(|mistake| mistake.render(style)).collect::<Vec<_>>().join("\n\n");
    if !shown.is_empty() {
        shown.push('\n');
    }
    shown
}

/// One line for log and health: the first, and how many more.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.list.first() else { return Ok(()) };
        write!(f, "{}", first.path.display())?;
        if let Some(Excerpt { line, column, .. }) = &first.at {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", first.sentence)?;
        match self.list.len() {
            0 | 1 => Ok(()),
            2 => f.write_str(", and one more mistake"),
            n => write!(f, ", and {} more mistakes", n - 1),
        }
    }
}

impl std::error::Error for Mistakes {}
