//! What stands in the state directory, held by one process at a time.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use crate::ident::MAX_NAME_BYTES;
use crate::provision::made::Made;
use crate::status::Holder;
use crate::storage::{self, Disk, SharedStorage, Storage};
use crate::stream::positions::Positions;
use crate::supervisor::overrides::Overrides;

const AGENT_ID: &str = "agent-id";

/// The state directory, held for this process alone until it is dropped.
#[derive(Debug)]
pub(super) struct StateDir {
    pub(super) storage: SharedStorage,
    /// What this state directory's agent calls itself, the same at every start.
    pub(super) agent: String,
    pub(super) positions: Positions,
    pub(super) made: Made,
    pub(super) overrides: Overrides,
    pub(super) _lock: storage::Lock,
}

impl StateDir {
    /// Takes it, and makes it if it is not there. Blocks; call it inside a runtime.
    pub(super) fn take(dir: &Path) -> Result<Self, StartError> {
        let storage: SharedStorage = Arc::new(Disk);
        let unusable = |source| StartError::State { path: dir.to_owned(), source };
        storage.create_dir_all(dir).map_err(unusable)?;
        let lock = lock(&storage, dir)?;
        let agent = application_name(&agent_id(&storage, dir).map_err(unusable)?);
        let positions = Positions::open(Arc::clone(&storage), dir)?;
        let made = Made::open(Arc::clone(&storage), dir)?;
        let overrides = Overrides::open(Arc::clone(&storage), dir)?;
        Ok(Self { storage, agent, positions, made, overrides, _lock: lock })
    }
}

/// How the sessions of the agent `id` call themselves.
fn application_name(id: &str) -> String {
    format!("slotd/{id}")
}

/// Holds the state directory for this process alone.
fn lock(storage: &SharedStorage, dir: &Path) -> Result<storage::Lock, StartError> {
    let path = dir.join("lock");
    let lock = storage.lock(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => {
            StartError::Locked { path: dir.to_owned(), by: holder(&**storage, dir, &path) }
        }
        _ => StartError::State { path: path.clone(), source },
    })?;
    sign(&**storage, &path).map_err(|source| StartError::State { path, source })?;
    Ok(lock)
}

/// Says in the lock's file who holds it: the lock itself is told to nobody.
fn sign(storage: &dyn Storage, path: &Path) -> std::io::Result<()> {
    let pid = format!("{}\n", std::process::id());
    let mut file = storage.open(path, true)?;
    file.write_all_at(pid.as_bytes(), 0)?;
    file.set_len(pid.len() as u64)
}

/// Who has signed. It may have been another one, if the lock changes hands at this moment.
fn holder(storage: &dyn Storage, dir: &Path, path: &Path) -> Option<Holder> {
    let signed = storage::read(storage, path).ok()?;
    let pid = String::from_utf8_lossy(&signed).trim().parse().ok()?;
    let application_name = known_agent(dir).ok()??;
    Some(Holder { pid, application_name, client_addr: None, ours: false })
}

fn agent_id(storage: &SharedStorage, dir: &Path) -> std::io::Result<String> {
    let path = dir.join(AGENT_ID);
    match known_agent_id(&**storage, &path)? {
        Some(id) => Ok(id),
        None => {
            let id = format!("{:016x}", fastrand::u64(..));
            storage::replace(&**storage, &path, format!("{id}\n").as_bytes())?;
            Ok(id)
        }
    }
}

fn known_agent_id(storage: &dyn Storage, path: &Path) -> std::io::Result<Option<String>> {
    match storage::read(storage, path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            let fits =
                !text.is_empty() && text.len() < MAX_NAME_BYTES / 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
            fits.then_some(Some(text)).ok_or_else(|| {
                std::io::Error::other(format!("{} holds no agent id; remove the file to get a new one", path.display()))
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How the agent of the state directory `dir` calls itself, if there has been one. Changes nothing.
///
/// # Errors
/// It can't be read.
pub fn known_agent(dir: &Path) -> std::io::Result<Option<String>> {
    Ok(known_agent_id(&Disk, &dir.join(AGENT_ID))?.as_deref().map(application_name))
}
