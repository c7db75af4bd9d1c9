//! Whole files: what they become, and how their mistakes are shown.

mod good;
mod mistakes;
mod secrets;

use std::path::Path;

use super::file::parse_in;
use super::{Config, Mistakes, Style, Surroundings};

/// Reads `text` as `/etc/slotd/slotd.toml` of root, with a few variables set.
fn read(text: &str) -> Result<Config, Mistakes> {
    parse_in(Path::new("/etc/slotd/slotd.toml"), text, Surroundings::of(&env, true))
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
    match read(text) {
        Ok(config) => panic!("no mistake in {text}: {config:?}"),
        Err(mistakes) => mistakes.render(Style::Plain),
    }
}

/// `keys` in an entry that is complete without them.
fn shop(keys: &str) -> String {
    format!("[[postgres_databases]]\nname = \"shop\"\nurl = \"postgresql://slotd@db/shop\"\n{keys}\n")
}
