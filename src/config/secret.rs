//! Passwords: where they come from; in memory wrapped and wiped.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
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

/// A password file that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("password_file {} {fault}", path.display())]
pub struct PasswordError {
    pub path: PathBuf,
    fault: Fault,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("may not be read by the user that slotd runs as")]
    Closed,
    #[error("is empty")]
    Empty,
    #[error("does not exist")]
    Missing,
    #[error("is a folder")]
    Folder,
    #[error("is no file")]
    NoFile,
    #[error("has a byte 0 in it, which no password can have")]
    Nul,
    #[error("is not text in UTF-8")]
    NotText,
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
}

impl PasswordError {
    /// What ends it.
    #[must_use]
    pub fn hint(&self) -> String {
        let path = self.path.display();
        match &self.fault {
            Fault::Closed => format!(
                "let the user that slotd runs as read it, and nobody else: chown USER {path}; or have systemd hand it over \
                 with LoadCredential"
            ),
            Fault::Empty => format!("write the password into {path}, as its only line; slotd reads it again by itself"),
            Fault::Missing => {
                format!("make {path} with the password as its only line and mode 0600, or correct `password_file`")
            }
            Fault::Folder => "name the file in it: correct `password_file`".to_owned(),
            Fault::NoFile => "name a regular file: correct `password_file`".to_owned(),
            Fault::Nul | Fault::NotText => format!(
                "write the password into {path} as text in UTF-8, as its only line; what an editor on Windows calls Unicode \
                 is UTF-16"
            ),
            Fault::Unreadable(_) => "see what is wrong with its disk, or correct `password_file`".to_owned(),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Closed,
            _ => Self::Unreadable(error),
        }
    }
}

/// A password file that everyone on this host can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("password_file {} can be read by everyone on this host: its mode is {mode:04o}", path.display())]
pub struct OpenToAll {
    pub path: PathBuf,
    mode: u32,
}

impl OpenToAll {
    /// What ends it.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("run: chmod o-rwx {}", self.path.display())
    }
}

impl Password {
    /// The password as it stands now; `None` where there is none.
    ///
    /// # Errors
    /// The file can't be read, is empty, or is not text.
    pub fn reveal(&self) -> Result<Option<SecretString>, PasswordError> {
        match self {
            Self::None => Ok(None),
            Self::Value(value) => Ok(Some(value.clone())),
            Self::File(path) => read(path).map(Some).map_err(|fault| PasswordError { path: path.clone(), fault }),
        }
    }

    /// Whether it stands in a file that everyone on this host can read.
    #[must_use]
    pub fn open_to_all(&self) -> Option<OpenToAll> {
        let Self::File(path) = self else { return None };
        let mode = fs::metadata(path).ok()?.mode() & 0o7777;
        (mode & 0o004 != 0).then(|| OpenToAll { path: path.clone(), mode })
    }
}

/// The file's text without its last line break.
fn read(path: &Path) -> Result<SecretString, Fault> {
    let metadata = fs::metadata(path)?;
    match metadata.is_file() {
        true => {}
        false if metadata.is_dir() => return Err(Fault::Folder),
        false => return Err(Fault::NoFile),
    }
    let bytes = Zeroizing::new(fs::read(path)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| Fault::NotText)?;
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    match line {
        "" => Err(Fault::Empty),
        line if line.contains('\0') => Err(Fault::Nul),
        line => Ok(SecretString::from(line)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
    }

    #[test]
    fn a_file_that_can_not_be_used_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let password = Password::File(path.clone());
        let said = || password.reveal().unwrap_err();
        assert!(said().to_string().ends_with("/password does not exist"), "{}", said());
        for (content, what) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"\r\n", "is empty"),
            (b"a\0b", "has a byte 0 in it, which no password can have"),
            (b"\xff\xfep\0w\0", "is not text in UTF-8"),
        ] {
            fs::write(&path, content).unwrap();
            assert!(said().to_string().ends_with(&format!("/password {what}")), "{}", said());
            assert!(said().hint().contains("as its only line"), "{}", said().hint());
        }
        let error = Password::File(dir.path().to_owned()).reveal().unwrap_err();
        assert!(error.to_string().ends_with(" is a folder"), "{error}");
        let error = Password::File("/dev/null".into()).reveal().unwrap_err();
        assert!(error.to_string().ends_with(" is no file"), "{error}");
    }

    #[test]
    fn a_file_that_everyone_can_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "x").unwrap();
        let password = Password::File(path.clone());
        for (mode, told) in [(0o600, false), (0o640, false), (0o604, true), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let open = password.open_to_all();
            assert_eq!(open.is_some(), told, "{mode:o}");
            let words = format!("can be read by everyone on this host: its mode is {mode:04o}");
            assert!(open.is_none_or(|open| open.to_string().ends_with(&words)));
        }
    }
}
