//! From a file to a [`Config`].

use std::path::Path;

use super::{Config, Mistakes};

/// Reads the file `path`.
///
/// # Errors
/// All of its mistakes.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    let _ = path;
    todo!()
}

/// Reads `text`, which stands in the file `path`; `env` looks a variable up.
///
/// # Errors
/// All of its mistakes.
pub fn parse(path: &Path, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    let _ = (path, text, env);
    todo!()
}
