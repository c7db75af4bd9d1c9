//! What a failover would cost, said before it happens.
//!
//! A slot outlives a failover as the copy that the standby keeps of it. Without `synchronized_standby_slots` the primary sends
//! slotd what the standby may not have yet, and what the standby writes in its place after its promotion has the same LSNs.

use futures_util::future::join_all;

use crate::config::{Database, Server};
use crate::ident::{quote_ident, quote_literal};
use crate::postgres::catalog::ServerFacts;
use crate::postgres::failover::{self, StandbyCopy};
use crate::postgres::trouble::{self, Step};
use crate::postgres::{Connector, SqlError};
use crate::status::Finding;

/// What is known of a standby.
#[derive(Debug)]
pub struct Asked {
    server: Server,
    /// Or why it can't be asked, in a sentence.
    copy: Result<StandbyCopy, String>,
}

/// Asks every standby of `database`, whose primary was found, for its copy of the slot; none if it is not to fail over.
pub async fn ask(connector: &Connector, database: &Database) -> Vec<Asked> {
    let standbys = database.connection.standbys.iter().filter(|_| database.failover);
    join_all(standbys.map(async |server| {
        let to = database.connection.to(server);
        let asked = async { failover::copy(&connector.sql_at(&to).await?, &database.slot).await };
        let copy = asked.await.map_err(|error: SqlError| trouble::of_sql(Step::Observe, &error, &to).trouble.sentence);
        Asked { server: server.clone(), copy }
    }))
    .await
}

/// What `server`, which is the primary, and the standbys that were `asked` lack.
#[must_use]
pub fn findings(database: &Database, server: &ServerFacts, asked: &[Asked]) -> Vec<Finding> {
    if !database.failover {
        return Vec::new();
    }
    let Some(waited_for) = &server.synchronized_standby_slots else { return Vec::new() };
    let mut found = Vec::new();
    if waited_for.is_empty() {
        found.push(Finding {
            code: "failover_loses",
            sentence: "synchronized_standby_slots is empty: a failover may lose changes, and what was delivered may never have \
                       happened on the new primary"
                .to_owned(),
            hint: format!(
                "name the standby's physical slot (its primary_slot_name): ALTER SYSTEM SET synchronized_standby_slots = {}; \
                 SELECT pg_reload_conf();",
                asked.iter().find_map(physical_slot).map_or_else(|| "'…'".to_owned(), quote_literal)
            ),
        });
    }
    found.extend(asked.iter().filter_map(|asked| not_ready(database, waited_for, asked)));
    found
}

fn physical_slot(asked: &Asked) -> Option<&str> {
    asked.copy.as_ref().ok()?.physical_slot.as_deref()
}

/// Why a failover to the standby would lose the slot, or changes.
fn not_ready(database: &Database, waited_for: &str, Asked { server, copy }: &Asked) -> Option<Finding> {
    let slot = &database.slot;
    let finding = |why: String, hint: String| {
        Some(Finding { code: "failover_not_ready", sentence: format!("a failover to {server} would lose {why}"), hint })
    };
    let the_slot = |why: &str, hint: String| finding(format!("the slot {slot}: {why}"), hint);
    let set = |setting: &str, value: &str| {
        format!("run on it: ALTER SYSTEM SET {setting} = {value}; SELECT pg_reload_conf();")
    };
    let copy = match copy {
        Ok(copy) => copy,
        Err(why) => {
            return the_slot(
                &format!("it can't be asked for its copy: {why}"),
                "see whether it is up, or take it out of `hosts`".to_owned(),
            );
        }
    };
    if !copy.in_recovery {
        return Some(Finding {
            code: "second_primary",
            sentence: format!("{server} is a primary too: an application that writes there writes past this stream"),
            hint: "stop the one that was left behind, or make it a standby (pg_rewind); or take it out of `hosts`"
                .to_owned(),
        });
    }
    if let Some(own) = copy.slot.as_ref().filter(|own| !own.synced) {
        return the_slot(
            "it has one of this name that is its own, which keeps it from copying any slot",
            format!("run on it: SELECT pg_drop_replication_slot({});", quote_literal(own.slot_name.as_str())),
        );
    }
    if !copy.syncs {
        return the_slot("sync_replication_slots is off there", set("sync_replication_slots", "on"));
    }
    if !copy.feedback {
        return the_slot("hot_standby_feedback is off there", set("hot_standby_feedback", "on"));
    }
    let Some(physical_slot) = &copy.physical_slot else {
        return the_slot(
            "it has no physical slot on its primary",
            format!(
                "run on the primary: SELECT pg_create_physical_replication_slot('standby'); and {}",
                set("primary_slot_name", "'standby'")
            ),
        );
    };
    if copy.lacks_dbname {
        return the_slot(
            "its primary_conninfo has no dbname, which copying slots takes",
            "add dbname=postgres to primary_conninfo there, and reload it".to_owned(),
        );
    }
    let Some(copied) = copy.slot.as_ref().filter(|copied| !copied.temporary) else {
        return the_slot(
            "it has no copy of it yet",
            "wait: it is made once the standby has what the slot needs; its log names what its slot sync worker waits for"
                .to_owned(),
        );
    };
    if let Some(why) = copied.invalidation() {
        return the_slot(
            &format!("its copy is invalidated ({why})"),
            "nothing to do if it is copied anew soon; else see the standby's log".to_owned(),
        );
    }
    let is_waited_for = waited_for.split(',').any(|name| name.trim().trim_matches('"') == physical_slot);
    if !waited_for.is_empty() && !is_waited_for {
        let all = format!("{waited_for}, {}", quote_ident(physical_slot));
        return finding(
            format!("changes: its physical slot {physical_slot} is not among synchronized_standby_slots"),
            format!(
                "run on the primary: ALTER SYSTEM SET synchronized_standby_slots = {}; SELECT pg_reload_conf();",
                quote_literal(&all)
            ),
        );
    }
    None
}

#[cfg(test)]
mod tests;
