//! What is asked for: variables of the environment, as `make bench NAME=value` sets them.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use crate::server::Failure;

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// `SCALE`: the part of each backlog that is written, from 0 to 1.
    pub(crate) scale: f64,
    /// `ROUNDS`: how often each contender drains each backlog.
    pub(crate) rounds: u32,
    /// `ONLY`: names of parts; empty: all.
    only: Vec<String>,
    /// `CONTENDERS`: names; empty: all that can be had.
    contenders: Vec<String>,
    /// `BASELINE`: another binary of slotd, a contender beside this one.
    pub(crate) baseline: Option<PathBuf>,
}

/// What makes a figure count, besides a quiet machine.
const FULL: (f64, u32) = (1.0, 5);

impl Options {
    pub(crate) fn from_env() -> Result<Self, Failure> {
        let scale = number("SCALE", FULL.0)?;
        let rounds = number("ROUNDS", FULL.1)?;
        if !(scale > 0.0 && scale <= 1.0 && rounds > 0) {
            return Err("SCALE is above 0 and at most 1, ROUNDS at least 1".into());
        }
        let baseline = value("BASELINE").map(PathBuf::from);
        Ok(Self { scale, rounds, only: list("ONLY"), contenders: list("CONTENDERS"), baseline })
    }

    /// Whether the part `name` is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// The parts asked for that are none of `known`.
    pub(crate) fn unknown(&self, known: &[&str]) -> Vec<&str> {
        self.only.iter().map(String::as_str).filter(|name| !known.contains(name)).collect()
    }

    /// Whether the contender `name` is wanted.
    pub(crate) fn compares(&self, name: &str) -> bool {
        self.contenders.is_empty() || self.contenders.iter().any(|contender| contender == name)
    }

    /// Whether the figures are those of the documents: whole backlogs, all rounds, all contenders, this binary.
    pub(crate) fn is_full(&self) -> bool {
        self.scale >= FULL.0 && self.rounds >= FULL.1 && self.contenders.is_empty() && self.baseline.is_none()
    }
}

fn value(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn number<T: FromStr>(name: &str, default: T) -> Result<T, Failure> {
    let wrong = |text: String| format!("{name} is a number, and not {text}").into();
    value(name).map_or(Ok(default), |text| text.parse().map_err(|_| wrong(text)))
}

fn list(name: &str) -> Vec<String> {
    let text = value(name).unwrap_or_default();
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}
