//! The files that the keys of a database name: roots, lists of what was revoked, our own certificate and its key.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use secrecy::zeroize::{Zeroize as _, Zeroizing};

use crate::config::ClientCert;

/// A file of certificates or of a key can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{key} {path} {fault}")]
pub struct FileError {
    /// The key of the database that names it.
    pub key: &'static str,
    pub path: PathBuf,
    pub(super) fault: FileFault,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileFault {
    #[error("can't be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("is not a file")]
    NoFile,
    #[error("holds no {0}")]
    Lacks(&'static str),
    #[error("is not PEM: {0}")]
    Pem(#[source] pem::Error),
    #[error("holds what can't be used: {0}")]
    Unusable(String),
    /// As libpq has it: others may know the key by now.
    #[error("can be read by others: its mode is {0:04o}")]
    Open(u32),
    #[error("is encrypted with a passphrase, and nobody is there to type it")]
    Encrypted,
    #[error("is not the key of the certificate in ssl_cert {0}")]
    OtherKey(PathBuf),
}

impl FileError {
    /// What ends it.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { key, path, fault } = self;
        match fault {
            FileFault::Unreadable(_) | FileFault::NoFile => {
                format!("make `{key}` a file that the user of slotd can read")
            }
            FileFault::Lacks(_) | FileFault::Pem(_) | FileFault::Unusable(_) => {
                let content = match *key {
                    "ssl_root_cert" => "the authority's certificate",
                    "ssl_crl" => "the authority's certificate revocation list",
                    "ssl_cert" => "the client certificate",
                    _ => "the client certificate's private key (PKCS#8, PKCS#1 or SEC1)",
                };
                format!("make `{key}` a file with {content} in PEM")
            }
            FileFault::Open(_) => format!("run: chmod 0600 {} (0640 is enough if root owns it)", path.display()),
            FileFault::Encrypted => {
                format!("run: openssl pkey -in {} -out KEY; and name KEY, with mode 0600, in `ssl_key`", path.display())
            }
            FileFault::OtherKey(_) => "name a certificate and its own key in `ssl_cert` and `ssl_key`".to_owned(),
        }
    }
}

/// The authorities in `path`, at least one.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let fail = |fault| FileError { key: "ssl_root_cert", path: path.to_owned(), fault };
    let mut store = RootCertStore::empty();
    for root in items::<CertificateDer<'_>>(&read(path).map_err(fail)?, "certificate").map_err(fail)? {
        store.add(root).map_err(|error| fail(FileFault::Unusable(error.to_string())))?;
    }
    Ok(store)
}

/// The lists of revoked certificates in `path`, at least one.
pub(super) fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    let fail = |fault| FileError { key: "ssl_crl", path: path.to_owned(), fault };
    items(&read(path).map_err(fail)?, "certificate revocation list").map_err(fail)
}

/// Our own certificate with its chain, and the key that belongs to it.
pub(super) fn client_cert(files: &ClientCert, provider: &CryptoProvider) -> Result<CertifiedKey, FileError> {
    let of_cert = |fault| FileError { key: "ssl_cert", path: files.cert.clone(), fault };
    let of_key = |fault| FileError { key: "ssl_key", path: files.key.clone(), fault };
    let chain = items(&read(&files.cert).map_err(of_cert)?, "certificate").map_err(of_cert)?;
    let mut key = private_key(&files.key).map_err(of_key)?;
    let signing = provider.key_provider.load_private_key(key.clone_key());
    key.zeroize();
    let signing = signing.map_err(|error| of_key(FileFault::Unusable(error.to_string())))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(of_key(FileFault::OtherKey(files.cert.clone()))),
        Err(error) => Err(of_cert(FileFault::Unusable(error.to_string()))),
    }
}

/// The key in `path`, if nobody else may read it.
///
/// Source: <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-CLIENTCERT>.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileFault> {
    if !fs::metadata(path).map_err(FileFault::Unreadable)?.is_file() {
        return Err(FileFault::NoFile);
    }
    let mut file = File::open(path).map_err(FileFault::Unreadable)?;
    let metadata = file.metadata().map_err(FileFault::Unreadable)?;
    let (mode, others) = (metadata.mode() & 0o7777, if metadata.uid() == 0 { 0o037 } else { 0o077 });
    if mode & others != 0 {
        return Err(FileFault::Open(mode));
    }
    // Room for all of it at once: what grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + 1));
    file.read_to_end(&mut text).map_err(FileFault::Unreadable)?;
    let holds = |words: &[u8]| text.windows(words.len()).any(|window| window == words);
    if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(FileFault::Encrypted);
    }
    match PrivateKeyDer::from_pem_slice(&text) {
        Err(pem::Error::NoItemsFound) => Err(FileFault::Lacks("private key")),
        read => read.map_err(FileFault::Pem),
    }
}

/// What stands in `path`, which has to be a file: a pipe would be waited for.
fn read(path: &Path) -> Result<Vec<u8>, FileFault> {
    if !fs::metadata(path).map_err(FileFault::Unreadable)?.is_file() {
        return Err(FileFault::NoFile);
    }
    fs::read(path).map_err(FileFault::Unreadable)
}

/// The items of one kind, called `what`; at least one.
fn items<T: PemObject>(text: &[u8], what: &'static str) -> Result<Vec<T>, FileFault> {
    let items: Vec<T> = T::pem_slice_iter(text).collect::<Result<_, _>>().map_err(FileFault::Pem)?;
    if items.is_empty() { Err(FileFault::Lacks(what)) } else { Ok(items) }
}
