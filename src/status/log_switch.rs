//! The level of the log, which can be changed while slotd runs.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use crate::config::LogLevel;

/// Lines of this process's log that were lost, since nobody read it.
pub static LOST_LINES: AtomicU64 = AtomicU64::new(0);

/// Knows the level of the log and changes it.
pub struct LogSwitch {
    level: Mutex<LogLevel>,
    apply: Box<dyn Fn(LogLevel) + Send + Sync>,
}

impl LogSwitch {
    /// The log is at `level`, and `apply` changes that.
    pub fn new(level: LogLevel, apply: impl Fn(LogLevel) + Send + Sync + 'static) -> Self {
        Self { level: Mutex::new(level), apply: Box::new(apply) }
    }

    /// Changes the level to `new`, logs that at whichever of both levels shows it, and says it in a sentence. `until` is
    /// how long it lasts.
    pub fn set(&self, new: LogLevel, until: &str) -> String {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *level, new);
        if new == old {
            return format!("the log level is {new} already");
        }
        let said = format!("the log level is {new} now and was {old}; {until}");
        (self.apply)(new.max(old));
        tracing::info!("{said}");
        (self.apply)(new);
        said
    }
}

impl fmt::Debug for LogSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSwitch").field("level", &self.level).finish_non_exhaustive()
    }
}
