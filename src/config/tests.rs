//! Whole files: what they become, and how their mistakes are shown.

mod defaults;
mod good;
mod included;
mod mistakes;
mod secrets;
mod show;

use std::io;
use std::path::{Path, PathBuf};

use secrecy::zeroize::Zeroizing;

use super::file::parse_in;
use super::include::{Files, NoFiles};
use super::wrong::Wrong;
use super::{Config, Mistakes, Style, Surroundings};

/// Reads `text` as `/etc/slotd/slotd.toml` of root, with a few variables set.
fn read(text: &str) -> Result<Config, Mistakes> {
    parse_in(Path::new("/etc/slotd/slotd.toml"), text, Surroundings::of(&env, true), &NoFiles)
}

fn env(name: &str) -> Option<String> {
    let value = match name {
        "HOST" => "db.example.com",
        "PASSWORD" => "p@ss/w%rd",
        "PORT" => "6000",
        "ON" => "true",
        "WORD" => "seven",
        _ => return None,
    };
    Some(value.to_owned())
}

/// The mistakes of `text`, as they are shown.
fn shown(text: &str) -> String {
    shown_of(text, read(text))
}

fn shown_of(text: &str, outcome: Result<Config, Mistakes>) -> String {
    match outcome {
        Ok(config) => panic!("no mistake in {text}: {config:?}"),
        Err(mistakes) => mistakes.render(Style::Plain),
    }
}

/// Files below /etc/slotd, by their names there.
struct Beside<'a>(&'a [(&'a str, &'a str)]);

impl Files for Beside<'_> {
    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, Wrong> {
        let pattern = glob::Pattern::new(pattern).unwrap();
        let paths = self.0.iter().map(|(name, _)| Path::new("/etc/slotd").join(name));
        Ok(paths.filter(|path| pattern.matches_path(path)).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<String>> {
        let found = self.0.iter().find(|(name, _)| Path::new("/etc/slotd").join(name) == path);
        found.map(|(_, text)| Zeroizing::new((*text).to_owned())).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// Reads `text` as [`read`] does, with `files` beside it.
fn read_with(text: &str, files: &[(&str, &str)]) -> Result<Config, Mistakes> {
    parse_in(Path::new("/etc/slotd/slotd.toml"), text, Surroundings::of(&env, true), &Beside(files))
}

fn good_with(text: &str, files: &[(&str, &str)]) -> Config {
    read_with(text, files).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(Style::Plain)))
}

/// `keys` in an entry that is complete without them.
fn shop(keys: &str) -> String {
    format!("[[postgres_databases]]\nname = \"shop\"\nurl = \"postgresql://slotd@db/shop\"\n{keys}\n")
}
