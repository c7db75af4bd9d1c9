//! How a command fails: a sentence, a hint, an exit status.

use std::error::Error;
use std::process::ExitCode;

/// Exit statuses; those from 64 on are those of sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, or nothing to do; `status`: pass.
    Done = 0,
    Failed = 1,
    /// `status`: warn; `plan`: something to do.
    Warn = 3,
    /// `status`: fail.
    Fail = 4,
    Usage = 64,
    NotReached = 69,
    WrongFile = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What is said on standard error when a command ends without having done what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    /// Lower case, no full stop.
    pub(super) sentence: String,
    pub(super) hint: Option<String>,
}

impl Failure {
    pub(super) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// `error` and its causes, each said once.
    pub(super) fn because(exit: Exit, error: &dyn Error) -> Self {
        let mut sentence = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            let text = next.to_string();
            if !sentence.contains(&text) {
                sentence = format!("{sentence}: {text}");
            }
            cause = next.source();
        }
        Self::new(exit, sentence)
    }
}
