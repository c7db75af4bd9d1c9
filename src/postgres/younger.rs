//! Whether a publication is younger than what a slot has to send next.
//!
//! A slot decodes with the catalog as it was at each position, and a change that was made before the publication can't be
//! decoded with it: the stream ends there, for ever. A publication whose row is older than the slot's `catalog_xmin` was there at
//! every position. About another one, which may only have been altered since, the server is asked to decode the slot's first
//! change without moving the slot. An answer that takes long is not waited for: the stream learns the same.
//!
//! Source: <https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-REPLICATION>.

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::types::Type;

use super::catalog::SlotFacts;
use super::publication::PublicationFacts;
use super::sql::answer;
use super::{SqlError, SqlSession};
use crate::ident::PublicationName;
use crate::wire::ServerError;

/// How long the server may take over the first change.
const PATIENCE: &str = "set statement_timeout = '1s'";

/// With version 1 each transaction comes once it is committed, as in the stream.
const PEEK: &str = "\
    select count(*) from pg_logical_slot_peek_binary_changes(
        $1, null, 1, 'proto_version', '1', 'publication_names', $2, 'messages', 'true')";

/// Whether the slot may still send what was changed before the `publication` was made.
#[must_use]
pub fn may_be_younger(slot: &SlotFacts, publication: &PublicationFacts) -> bool {
    !slot.catalog_xmin.is_some_and(|oldest| precedes(publication.xmin, oldest))
}

/// Whether `slot`, which nobody reads, stands before a change that the `publication` called `name` is too young for.
///
/// # Errors
/// The session breaks off.
pub async fn is_younger(
    sql: &SqlSession,
    slot: &SlotFacts,
    publication: &PublicationFacts,
    name: &PublicationName,
) -> Result<bool, SqlError> {
    if !may_be_younger(slot, publication) {
        return Ok(false);
    }
    sql.run("statement_timeout", PATIENCE).await?;
    drop(sql.take_warning());
    let (slot, names) = (slot.slot_name.as_str(), escape_identifier(name.as_str()));
    let peeked =
        answer("the slot's first change", sql.query_typed_one(PEEK, &[(&slot, Type::NAME), (&names, Type::TEXT)]))
            .await;
    // 18 only warns, and passes the change by.
    let is_younger = match peeked {
        Err(SqlError::Server(error)) if is_missing(&error) => true,
        Ok(_) | Err(SqlError::Server(_)) => sql.take_warning().is_some_and(|warning| warning.skips_publication()),
        Err(error) => return Err(error),
    };
    sql.run("statement_timeout", "reset statement_timeout").await?;
    Ok(is_younger)
}

fn is_missing(error: &ServerError) -> bool {
    error.sqlstate == "42704" && error.routine.as_deref() == Some("get_publication_oid")
}

/// Whether the transaction `xid` came before `other`. Those below 3 came before all.
///
/// Source: <https://www.postgresql.org/docs/current/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND>.
const fn precedes(xid: u32, other: u32) -> bool {
    xid < 3 || xid.wrapping_sub(other).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_compared_around_the_circle() {
        for (xid, other, is_before) in [
            (700, 701, true),
            (701, 701, false),
            (702, 701, false),
            (u32::MAX, 5, true),
            (5, u32::MAX, false),
            (2, u32::MAX, true),
        ] {
            assert_eq!(precedes(xid, other), is_before, "{xid} before {other}");
        }
    }
}
