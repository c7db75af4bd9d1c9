//! `slotd orphans`: slots on the declared servers that nothing declares.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;

use super::failure::{Exit, Failure};
use super::{context, out};
use crate::config::{Config, Database, Server};
use crate::daemon;
use crate::ident::{SlotName, quote_literal};
use crate::postgres::catalog::in_recovery;
use crate::postgres::orphans::{Orphan, slots as of_server};
use crate::postgres::preflight::system_identifier;
use crate::postgres::trouble::{self, Step};
use crate::postgres::{Connector, SqlError};
use crate::provision::made::Made;
use crate::status::{Trouble, age, size};
use crate::storage::Disk;

/// How many servers are asked at once.
const AT_ONCE: usize = 8;
/// Begins the name of a slot that slotd named.
const OURS: &str = "slotd_";

/// One server.
#[derive(Debug, Serialize)]
struct Found {
    server: String,
    orphans: Vec<Shown>,
    /// Why it could not be asked.
    trouble: Option<String>,
    hint: Option<String>,
    /// Which cluster it is of, and whether as a standby, if that is known.
    #[serde(skip)]
    is: Option<(u64, bool)>,
}

/// One slot, in words for people and figures for programs.
#[derive(Debug, Serialize)]
struct Shown {
    slot: SlotName,
    slot_type: String,
    plugin: Option<String>,
    database: Option<String>,
    retained_bytes: Option<u64>,
    catalog_xmin_age: Option<u64>,
    xmin_age: Option<u64>,
    wal_status: Option<String>,
    inactive_since: Option<Timestamp>,
    active_pid: Option<i32>,
    application_name: Option<String>,
    client_addr: Option<String>,
    /// It has the name that slotd gives.
    named_like_ours: bool,
    /// The state directory says that slotd made one of this name.
    made_by_slotd: bool,
    sql: String,
}

pub(super) async fn orphans(given: Option<PathBuf>, json: bool, all: bool) -> Result<Exit, Failure> {
    let path = context::file(given.as_deref())?;
    let Some(config) = context::load(&path) else { return Ok(Exit::WrongFile) };
    let connector = daemon::connector(&config, "slotd/orphans".to_owned());
    let servers = servers(&config);
    let asked = servers.iter().map(|doors| ask(&connector, doors, all));
    let mut found: Vec<Found> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let is: Vec<_> = found.iter().map(|found| found.is).collect();
    for found in &mut found {
        // What is declared under another address counts, if both may be one server.
        let may_be_one = |other: &Option<(u64, bool)>| other.is_none() || found.is.is_none() || *other == found.is;
        let same = servers.iter().zip(&is).filter(|(_, is)| may_be_one(is)).flat_map(|(doors, _)| doors);
        let declared: HashSet<_> = same.map(|door| &door.slot).collect();
        found.orphans.retain(|orphan| !declared.contains(&orphan.slot));
    }
    // Who may not read the state directory is told without it.
    if let Ok(made) = Made::open(Arc::new(Disk), &config.agent.state_dir) {
        for orphan in found.iter_mut().flat_map(|found| &mut found.orphans) {
            orphan.made_by_slotd = made.has_slot(&orphan.slot);
        }
    }
    out::say(&if json {
        serde_json::to_string_pretty(&found).map_err(|error| Failure::because(Exit::Failed, &error))?
    } else {
        render(&found, Timestamp::now())
    });
    Ok(if found.iter().any(|found| found.trouble.is_some()) {
        Exit::NotReached
    } else if found.iter().any(|found| !found.orphans.is_empty()) {
        Exit::Warn
    } else {
        Exit::Done
    })
}

/// The databases of each server, in the order of the file.
fn servers(config: &Config) -> Vec<Vec<Arc<Database>>> {
    let mut at: HashMap<Vec<Server>, usize> = HashMap::new();
    let mut servers: Vec<Vec<Arc<Database>>> = Vec::new();
    for database in &config.databases {
        let next = servers.len();
        let index = *at.entry(database.connection.servers()).or_insert(next);
        match servers.get_mut(index) {
            Some(doors) => doors.push(Arc::clone(database)),
            None => servers.push(vec![Arc::clone(database)]),
        }
    }
    servers
}

/// Any of the server's databases leads to it.
async fn ask(connector: &Connector, doors: &[Arc<Database>], all: bool) -> Found {
    let mut found = Found { server: String::new(), orphans: Vec::new(), trouble: None, hint: None, is: None };
    for door in doors {
        found.server = trouble::address(&door.connection);
        match through(connector, door).await {
            Ok((is, orphans)) => {
                found.is = is;
                // A standby that is connected is nobody's orphan.
                let shown = orphans
                    .into_iter()
                    .filter(|orphan| all || orphan.slot_type == "logical" || orphan.active_pid.is_none());
                found.orphans = shown.map(Shown::from).collect();
                (found.trouble, found.hint) = (None, None);
                break;
            }
            Err(error) => {
                let Trouble { sentence, hint, .. } = trouble::of_sql(Step::Observe, &error, &door.connection).trouble;
                (found.trouble, found.hint) = (Some(sentence), Some(hint));
            }
        }
    }
    found
}

/// Which server it is, unless the role may not know, and its slots.
async fn through(connector: &Connector, door: &Database) -> Result<(Option<(u64, bool)>, Vec<Orphan>), SqlError> {
    let sql = connector.sql(&door.connection).await?;
    let is = system_identifier(&sql).await.ok().zip(in_recovery(&sql).await.ok());
    Ok((is, of_server(&sql).await?))
}

impl From<Orphan> for Shown {
    fn from(orphan: Orphan) -> Self {
        let named_like_ours = orphan.slot_name.as_str().starts_with(OURS);
        let sql = format!("SELECT pg_drop_replication_slot({});", quote_literal(orphan.slot_name.as_str()));
        let Orphan { slot_name, slot_type, plugin, database, retained_bytes, catalog_xmin_age, xmin_age, .. } = orphan;
        Self {
            slot: slot_name,
            slot_type,
            plugin,
            database,
            retained_bytes,
            catalog_xmin_age,
            xmin_age,
            wal_status: orphan.wal_status,
            inactive_since: orphan.inactive_since,
            active_pid: orphan.active_pid,
            application_name: orphan.application_name,
            client_addr: orphan.client_addr,
            named_like_ours,
            made_by_slotd: false,
            sql,
        }
    }
}

// Writing into a String can't fail.
fn render(found: &[Found], now: Timestamp) -> String {
    let mut text = String::new();
    for Found { server, orphans, trouble, hint, .. } in found {
        let _ = writeln!(text, "{server}");
        if let (Some(trouble), Some(hint)) = (trouble, hint) {
            let _ = writeln!(text, "  ! {trouble}\n      hint: {hint}");
        } else if orphans.is_empty() {
            let _ = writeln!(text, "  = every slot is declared");
        }
        for orphan in orphans {
            one(&mut text, orphan, now);
        }
    }
    text
}

fn one(text: &mut String, orphan: &Shown, now: Timestamp) {
    let of = match (&orphan.database, &orphan.plugin) {
        (Some(database), Some(plugin)) => format!("logical, of the database {database}, by {plugin}"),
        _ => orphan.slot_type.clone(),
    };
    let _ = writeln!(text, "  ? {} ({of})", orphan.slot);
    let mut pins = match orphan.retained_bytes {
        Some(bytes) => format!("{} of WAL", size(bytes)),
        None => "no WAL".to_owned(),
    };
    if let Some(status) = orphan.wal_status.as_ref().filter(|status| *status != "reserved") {
        let _ = write!(pins, " ({status})");
    }
    for (rows, age) in [("the catalog's dead rows", orphan.catalog_xmin_age), ("all dead rows", orphan.xmin_age)] {
        if let Some(age) = age {
            let _ = write!(pins, ", {rows} of the last {age} transactions");
        }
    }
    let _ = writeln!(text, "      pins: {pins}");
    let client = match (orphan.active_pid, orphan.inactive_since) {
        (Some(pid), _) => {
            let name = orphan.application_name.as_deref().unwrap_or("no name");
            let from = orphan.client_addr.as_deref().unwrap_or("a socket, or an address that may not be seen");
            format!("read by pid {pid} ({name}) from {from}")
        }
        (None, Some(since)) => {
            let idle = std::time::Duration::try_from(now.duration_since(since)).unwrap_or_default();
            format!("nobody has read it for {} (since {since:.0}); by whom it was, the server does not keep", age(idle))
        }
        (None, None) => "nobody reads it; since when and by whom it was, servers before 17 do not keep".to_owned(),
    };
    let _ = writeln!(text, "      client: {client}");
    if orphan.made_by_slotd {
        let _ = writeln!(text, "      slotd made it: its entry was taken out of the file");
    } else if orphan.named_like_ours {
        let _ =
            writeln!(text, "      it is named as slotd names slots: most likely its entry was taken out of the file");
    }
    let _ = writeln!(text, "      to drop it: {}", orphan.sql);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphan(name: &str) -> Shown {
        let orphan: Orphan = serde_json::from_value(serde_json::json!({
            "slot_name": name, "slot_type": "logical", "plugin": "pgoutput", "database": "shop",
            "retained_bytes": 5_368_709_120_u64, "catalog_xmin_age": 120, "xmin_age": null, "wal_status": "extended",
            "inactive_since": "2026-01-01T00:00:00Z", "active_pid": null, "application_name": null,
            "client_addr": null, "a_column_of_a_later_version": 1,
        }))
        .unwrap();
        Shown::from(orphan)
    }

    #[test]
    fn an_orphan_is_told_with_what_it_pins_since_when_and_what_drops_it() {
        let read = Shown {
            active_pid: Some(42),
            application_name: Some("debezium".to_owned()),
            client_addr: Some("10.0.0.7".to_owned()),
            wal_status: Some("reserved".to_owned()),
            ..orphan("theirs")
        };
        let physical = Shown {
            database: None,
            plugin: None,
            slot_type: "physical".to_owned(),
            retained_bytes: None,
            catalog_xmin_age: None,
            xmin_age: Some(7),
            inactive_since: None,
            wal_status: None,
            ..orphan("standby")
        };
        let found = |server: &str, orphans, trouble: Option<&str>| Found {
            server: server.to_owned(),
            orphans,
            trouble: trouble.map(str::to_owned),
            hint: trouble.map(|_| "start the server".to_owned()),
            is: None,
        };
        let all = [
            found("db:5432", vec![orphan("slotd_old"), read, physical], None),
            found("fine:5432", Vec::new(), None),
            found("away:5432", Vec::new(), Some("away:5432: connection refused")),
        ];
        assert_eq!(
            render(&all, "2026-01-03T00:00:00Z".parse().unwrap()),
            "\
db:5432
  ? slotd_old (logical, of the database shop, by pgoutput)
      pins: 5 GB of WAL (extended), the catalog's dead rows of the last 120 transactions
      client: nobody has read it for 2 d (since 2026-01-01T00:00:00Z); by whom it was, the server does not keep
      it is named as slotd names slots: most likely its entry was taken out of the file
      to drop it: SELECT pg_drop_replication_slot('slotd_old');
  ? theirs (logical, of the database shop, by pgoutput)
      pins: 5 GB of WAL, the catalog's dead rows of the last 120 transactions
      client: read by pid 42 (debezium) from 10.0.0.7
      to drop it: SELECT pg_drop_replication_slot('theirs');
  ? standby (physical)
      pins: no WAL, all dead rows of the last 7 transactions
      client: nobody reads it; since when and by whom it was, servers before 17 do not keep
      to drop it: SELECT pg_drop_replication_slot('standby');
fine:5432
  = every slot is declared
away:5432
  ! away:5432: connection refused
      hint: start the server
"
        );
    }
}
