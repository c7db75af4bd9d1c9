//! Whether what must run in time is let run: a task under a [`Clock`] says so as often as it is scheduled.
//!
//! A task that waits, for a server that is silent for instance, is scheduled in time. One whose thread is held up is not.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::age;
use crate::ident::DatabaseName;

/// How often a task under a clock is woken, if nothing else wakes it.
pub const BEAT: Duration = Duration::from_secs(1);

/// All clocks that run.
#[derive(Debug)]
pub(super) struct Clocks {
    born: Instant,
    running: Mutex<Vec<Weak<Beats>>>,
}

#[derive(Debug)]
struct Beats {
    /// Whose feedback it is; `None` for the runtime.
    database: Option<DatabaseName>,
    born: Instant,
    last_millis: AtomicU64,
}

/// The clock of one database's feedback, or of the runtime; it is not looked at any more once this is dropped.
#[derive(Debug)]
pub struct Clock {
    beats: Arc<Beats>,
}

/// A clock that was not scheduled in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Whose feedback it is; `None` for the runtime, with which everything is stuck.
    pub database: Option<DatabaseName>,
    /// How long ago it last was.
    pub silence: Duration,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let silence = age(self.silence);
        match &self.database {
            Some(database) => write!(f, "the feedback of {database} was not scheduled for {silence}"),
            None => write!(f, "no task was scheduled for {silence}"),
        }
    }
}

impl Default for Clocks {
    fn default() -> Self {
        Self { born: Instant::now(), running: Mutex::default() }
    }
}

impl Clocks {
    pub(super) fn start(&self, database: Option<DatabaseName>) -> Clock {
        let beats = Arc::new(Beats { database, born: self.born, last_millis: AtomicU64::new(0) });
        beats.beat();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|clock| clock.strong_count() > 0);
        running.push(Arc::downgrade(&beats));
        Clock { beats }
    }

    /// A clock that has been silent for longer than `patience`: that of the runtime, or the one that was silent longest.
    pub(super) fn stuck(&self, patience: Duration) -> Option<Stuck> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let stuck = running.iter().filter_map(Weak::upgrade).map(|beats| (beats.silence(), beats.database.clone()));
        let stuck = stuck.filter(|(silence, _)| *silence > patience);
        let (silence, database) = stuck.max_by_key(|(silence, database)| (database.is_none(), *silence))?;
        Some(Stuck { database, silence })
    }
}

impl Beats {
    fn beat(&self) {
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_millis.store(millis, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.last_millis.load(Ordering::Relaxed)))
    }
}

impl Clock {
    /// Runs `task` to its end, and notes in between that it is scheduled.
    pub async fn during<T>(self, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                outcome = &mut task => return outcome,
                _ = beat.tick() => self.beats.beat(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{advance, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn shop() -> Option<DatabaseName> {
        DatabaseName::new("shop").ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_waits_is_in_time() {
        let clocks = Clocks::default();
        let task = tokio::spawn(clocks.start(shop()).during(pending::<()>()));
        sleep(PATIENCE * 10).await;
        assert_eq!(clocks.stuck(PATIENCE), None);
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_not_scheduled_is_stuck_until_it_is() {
        let clocks = Clocks::default();
        let task = tokio::spawn(clocks.start(shop()).during(pending::<()>()));
        sleep(BEAT).await;
        // The only thread does not come back to it.
        advance(PATIENCE * 2).await;
        let clock = clocks.start(DatabaseName::new("stock").ok());
        let mut held_up = pin!(clock.during(pending::<()>()));
        assert_eq!(futures_util::poll!(&mut held_up), std::task::Poll::Pending);
        sleep(PATIENCE * 2).await;
        let stuck = clocks.stuck(PATIENCE).unwrap();
        assert_eq!(stuck.to_string(), "the feedback of stock was not scheduled for 10 s");
        assert_eq!(futures_util::poll!(&mut held_up), std::task::Poll::Pending);
        assert_eq!(clocks.stuck(PATIENCE), None);
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_stands_still_is_told_before_all_that_stands_with_it() {
        let clocks = Clocks::default();
        let _shop = clocks.start(shop());
        advance(BEAT).await;
        let _runtime = clocks.start(None);
        advance(PATIENCE * 2).await;
        assert_eq!(clocks.stuck(PATIENCE).unwrap().to_string(), "no task was scheduled for 10 s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_has_ended_is_not_looked_at() {
        let clocks = Clocks::default();
        assert_eq!(clocks.start(shop()).during(async { 7 }).await, 7);
        let clock = clocks.start(shop());
        advance(PATIENCE * 2).await;
        assert!(clocks.stuck(PATIENCE).is_some());
        drop(clock);
        assert_eq!(clocks.stuck(PATIENCE), None);
        drop(clocks.start(shop()));
        assert_eq!(clocks.running.lock().unwrap().len(), 1);
    }
}
