//! Which sessions a COMMIT waits for.
//!
//! A walsender counts as a synchronous standby by its `application_name` alone, a logical one too. Before its stream has
//! begun the server does not say whether it will, so its rule stands here once more.
//!
//! Source: <https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES>.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::trouble::{Class, Diagnosis};
use super::{Connector, SqlError, SqlSession, catalog};
use crate::config::{Connection, Database, Server};
use crate::status::{Reason, Trouble};

/// Why a slot may not be streamed, if every COMMIT of the application would wait for its sink. `own` is how our sessions
/// call themselves.
#[must_use]
pub fn refusal(database: &Database, synchronous_standby_names: &str, own: &str) -> Option<Diagnosis> {
    let counts = !database.allow_sync_standby && lists(synchronous_standby_names, own);
    counts.then(|| Diagnosis {
        class: Class::Operator,
        trouble: Trouble::new(
            Reason::SyncStandby,
            format!(
                "synchronous_standby_names is {synchronous_standby_names}, which counts slotd as a synchronous standby: \
                 every COMMIT would wait for its sink"
            ),
            "name the standbys one by one: ALTER SYSTEM SET synchronous_standby_names = 'standby1, standby2'; SELECT \
             pg_reload_conf(); or set `allow_sync_standby = true`",
        ),
    })
}

/// What each server answered last; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks {
    servers: Arc<Mutex<HashMap<Vec<Server>, Last>>>,
}

/// The last look at one server; whoever looks anew holds it.
type Last = Arc<tokio::sync::Mutex<Option<Look>>>;

#[derive(Debug)]
struct Look {
    begun: Instant,
    names: String,
    /// The session that it was made in, for [`KEPT`]: a transaction that takes hours is looked after four times a second.
    sql: Option<SqlSession>,
}

/// How long a session is kept for the next look.
const KEPT: Duration = Duration::from_secs(1);

impl Connector {
    /// The server's `synchronous_standby_names` as it was at most `age` ago. However many ask, and however often, one
    /// session is open for it, and closed soon after the last look. It takes no turn: whoever asks may be what a COMMIT
    /// waits for.
    ///
    /// # Errors
    /// The server refuses, or can't be reached.
    pub async fn synchronous_standby_names(&self, to: &Connection, age: Duration) -> Result<String, SqlError> {
        let asked = Instant::now();
        let last = {
            let mut servers = self.looks.servers.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(servers.entry(to.servers()).or_default())
        };
        let mut look = Arc::clone(&last).lock_owned().await;
        if let Some(look) = &*look
            && look.begun + age >= asked
        {
            return Ok(look.names.clone());
        }
        let begun = Instant::now();
        let kept = match look.as_mut().and_then(|look| look.sql.take()) {
            // It may have ended since.
            Some(sql) => catalog::synchronous_standby_names(&sql).await.ok().map(|names| (sql, names)),
            None => None,
        };
        let (sql, names) = match kept {
            Some(kept) => kept,
            None => {
                let sql = self.sql(to).await?;
                let names = catalog::synchronous_standby_names(&sql).await?;
                (sql, names)
            }
        };
        *look = Some(Look { begun, names: names.clone(), sql: Some(sql) });
        tokio::spawn(close(last, begun));
        Ok(names)
    }
}

/// Closes the session of the look that was begun at `begun`, unless another one has been made in it by then.
async fn close(last: Last, begun: Instant) {
    sleep(KEPT).await;
    if let Some(look) = last.lock().await.as_mut().filter(|look| look.begun == begun) {
        look.sql = None;
    }
}

/// Whether the setting `synchronous_standby_names` holds for sessions that call themselves `application_name`: it lists
/// that name, in letters of either case, or `*`.
///
/// `application_name` has a character that none has outside of quotes, as ours do: `slotd/…`.
#[must_use]
pub fn lists(synchronous_standby_names: &str, application_name: &str) -> bool {
    // Every other part is quoted. A name with a quote in it falls into parts, and may count where it should not: safe.
    synchronous_standby_names.split('"').enumerate().any(|(at, part)| match at % 2 {
        0 => part.contains('*'),
        _ => part == "*" || part.eq_ignore_ascii_case(application_name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_name_counts_in_any_form_of_the_list() {
        for (names, listed) in [
            ("", false),
            ("*", true),
            ("FIRST 1 (*)", true),
            ("s1, *", true),
            ("ANY 2 (s1, \"*\")", true),
            ("\"slotd/0a\"", true),
            ("2 (\"s1\",\"SLOTD/0A\")", true),
            ("s1, s2", false),
            ("\"slotd/0\", \"slotd/0a \", slotd", false),
            ("\"a*b\"", false),
        ] {
            assert_eq!(lists(names, "slotd/0a"), listed, "{names}");
        }
    }
}
