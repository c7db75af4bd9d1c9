//! The file: no text makes its reading panic, and every mistake can be shown.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use slotd::config::{self, Style};

fuzz_target!(|text: &str| {
    if let Err(mistakes) = config::parse(Path::new("slotd.toml"), text, &|_| None) {
        assert!(!mistakes.render(Style::Plain).is_empty());
    }
});
