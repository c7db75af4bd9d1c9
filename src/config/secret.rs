//! Passwords: where they come from; in memory wrapped and wiped.

use std::path::PathBuf;

use secrecy::SecretString;

/// Where a password comes from.
#[derive(Debug, Clone)]
pub enum Password {
    /// Read again after the server refused it; loses its last line break.
    File(PathBuf),
    /// None is sent; the server may not ask.
    None,
    Value(SecretString),
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        let _ = other;
        todo!()
    }
}

/// A password file can't be read.
#[derive(Debug, thiserror::Error)]
#[error("password_file {path} can't be read")]
pub struct PasswordError {
    pub path: PathBuf,
    #[source]
    pub source: std::io::Error,
}

impl Password {
    /// The password as it stands now; `None` where there is none.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn reveal(&self) -> Result<Option<SecretString>, PasswordError> {
        todo!()
    }
}
