//! What the tests of this room share.

use std::path::Path;

use crate::config::{self, Database};

/// The database `shop` with further keys.
pub(super) fn database(keys: &str) -> Database {
    let text =
        format!("[[postgres_databases]]\nname = \"shop\"\nurl = \"postgresql://slotd:x@127.0.0.1/shop\"\n{keys}\n");
    let config = config::parse(Path::new("slotd.toml"), &text, &|_| None)
        .map_err(|mistakes| mistakes.render(config::Style::Plain));
    (*config.unwrap().databases[0]).clone()
}
