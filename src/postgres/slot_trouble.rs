//! What is said of a slot that is gone, invalidated or held, wherever that is found out.

use super::catalog::{self, SlotFacts};
use super::trouble::{Class, Diagnosis};
use super::{Connector, SqlSession};
use crate::ident::SlotName;
use crate::status::{Holder, Reason, Trouble};

/// That the slot is gone, or invalidated, where it was streamed before; `slot` is what there is of it.
#[must_use]
pub fn lost(name: &SlotName, slot: Option<&SlotFacts>) -> Option<(Reason, String)> {
    let Some(slot) = slot else { return Some((Reason::SlotMissing, format!("the slot {name} is gone"))) };
    let why = slot.invalidation()?;
    let cause = match why {
        "rows_removed" => {
            ", a conflict with recovery: the primary removed rows that the slot needed, while hot_standby_feedback was off or the \
             standby away"
        }
        "wal_level_insufficient" => ", a conflict with recovery: wal_level of the primary was lowered",
        "a conflict with recovery" => {
            ": the primary removed rows that the slot needed, while hot_standby_feedback was off or the standby away, or its \
             wal_level was lowered"
        }
        _ => "",
    };
    Some((Reason::SlotInvalidated, format!("the server has invalidated the slot {name}: {why}{cause}")))
}

/// That session `pid` holds the slot; `own` is how our own sessions call themselves.
#[must_use]
pub fn held(slot: &SlotFacts, pid: i32, own: &str) -> Diagnosis {
    let known = slot.holder.as_ref();
    let application_name = known.and_then(|holder| holder.application_name.clone()).unwrap_or_default();
    let client_addr = known.and_then(|holder| holder.client_addr.clone());
    let who = if application_name.is_empty() { "no name" } else { &application_name };
    let from = client_addr.as_deref().unwrap_or("a socket, or an address that may not be seen");
    let ours = application_name == own;
    let being_made = slot.confirmed_flush_lsn.is_none();
    let does = if being_made { "still being made" } else { "held" };
    let trouble = Trouble::new(
        Reason::SlotHeld,
        format!("the slot {} is {does} by pid {pid} ({who}) from {from}", slot.slot_name),
        if ours {
            "nothing to do: it is a session that slotd left behind, and the server ends it within `wal_sender_timeout`; if \
             it stays, another slotd runs on a copy of this state directory: end that one"
                .to_owned()
        } else if being_made {
            format!(
                "end the transactions that have been open since before: making a slot waits for all of them; or end \
                 that session: SELECT pg_terminate_backend({pid});"
            )
        } else {
            format!("end that session, or wait for it: SELECT pg_terminate_backend({pid});")
        },
    );
    let holder = Holder { pid, application_name, client_addr, ours };
    Diagnosis { class: Class::Held, trouble: trouble.held_by(holder) }
}

/// The same refusal with the one who holds the slot, if it is about that: the catalog knows more of them than the server's
/// message tells. They may be gone again, and the catalog closed to us.
pub async fn with_holder(refused: Diagnosis, slot: &SlotName, sql: &SqlSession, connector: &Connector) -> Diagnosis {
    if refused.class != Class::Held {
        return refused;
    }
    let slots = catalog::slots(sql, &[slot]).await.unwrap_or_default();
    let held_now = slots.first().and_then(|slot| Some((slot, slot.active_pid?)));
    held_now.map_or(refused, |(slot, pid)| held(slot, pid, connector.application_name()))
}
