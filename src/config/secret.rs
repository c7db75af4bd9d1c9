//! Passwords: where they come from; in memory wrapped and wiped.

use std::path::PathBuf;
use std::{fs, io};

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

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
        match (self, other) {
            (Self::File(ours), Self::File(theirs)) => ours == theirs,
            (Self::None, Self::None) => true,
            (Self::Value(ours), Self::Value(theirs)) => same(ours.expose_secret(), theirs.expose_secret()),
            _ => false,
        }
    }
}

/// Looks at every byte, so that the time it takes says nothing about where two passwords part.
fn same(ours: &str, theirs: &str) -> bool {
    ours.len() == theirs.len() && ours.bytes().zip(theirs.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

/// A password file can't be read.
#[derive(Debug, thiserror::Error)]
#[error("password_file {path} can't be read: {source}")]
pub struct PasswordError {
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl Password {
    /// The password as it stands now; `None` where there is none.
    ///
    /// # Errors
    /// The file can't be read, is empty, or is not text.
    pub fn reveal(&self) -> Result<Option<SecretString>, PasswordError> {
        let path = match self {
            Self::None => return Ok(None),
            Self::Value(value) => return Ok(Some(value.clone())),
            Self::File(path) => path,
        };
        let fail = |source| PasswordError { path: path.clone(), source };
        let text = Zeroizing::new(fs::read_to_string(path).map_err(fail)?);
        let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if line.is_empty() || line.contains('\0') {
            let what = if line.is_empty() { "the file is empty" } else { "the file has a NUL in it" };
            return Err(fail(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        Ok(Some(SecretString::from(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Password {
        Password::Value(SecretString::from(text))
    }

    #[test]
    fn debug_never_shows_the_password() {
        let shown = format!("{:?}", value("hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn equal_passwords_are_equal() {
        assert_eq!(value("a"), value("a"));
        assert_ne!(value("a"), value("b"));
        assert_ne!(value("a"), value("aa"));
        assert_ne!(value("a"), Password::None);
        assert_eq!(Password::File("/a".into()), Password::File("/a".into()));
        assert_ne!(Password::File("/a".into()), Password::File("/b".into()));
    }

    #[test]
    fn a_file_is_read_each_time_and_loses_one_line_break() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let password = Password::File(path.clone());
        assert!(password.reveal().unwrap_err().to_string().contains("password_file"));
        for (content, expected) in
            [("a", "a"), ("a\n", "a"), ("b\r\n", "b"), ("c\n\n", "c\n"), (" d ", " d "), ("e\r", "e\r")]
        {
            fs::write(&path, content).unwrap();
            assert_eq!(password.reveal().unwrap().unwrap().expose_secret(), expected, "{content:?}");
        }
        for bad in [&b""[..], b"\n", b"a\0b", b"\xff"] {
            fs::write(&path, bad).unwrap();
            assert!(password.reveal().is_err(), "{bad:?}");
        }
    }
}
