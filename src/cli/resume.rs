//! `slotd resume`: says what it costs before it does anything.

use std::path::Path;

use axum::http::{Method, StatusCode};

use super::client;
use super::failure::{Exit, Failure};
use super::out;
use super::seen::{Seen, read};
use crate::ident::DatabaseName;
use crate::status::{Reason, size};

pub(super) async fn resume(socket: &Path, name: &DatabaseName, yes: bool) -> Result<Exit, Failure> {
    let answer = client::ask(socket, Method::GET, &format!("/health/{name}"), "").await?;
    if answer.code == StatusCode::NOT_FOUND {
        return Err(Failure::new(Exit::Failed, format!("the agent has no database called {name}"))
            .hint("slotd status lists them"));
    }
    let seen: Seen = read(&answer.body)?;
    // One that was made anew too often is `failed` and no less lost.
    let lost = seen.state == "lost" || seen.state == "failed" && seen.reason.as_deref().is_some_and(is_lost);
    if !lost {
        out::say(&format!("{name} is {}, not lost: there is nothing to resume", seen.state));
        return Ok(Exit::Done);
    }
    if !yes {
        out::say(&price(&seen));
        return Err(Failure::new(Exit::Usage, "nothing was done: what is lost stays lost, so this takes --yes")
            .hint(format!("slotd resume {name} --accept-gap --yes")));
    }
    let path = format!("/control/databases/{name}/resume");
    let answer = client::ask(socket, Method::POST, &path, r#"{"accept_gap": true}"#).await?;
    out::say(&answer.done()?);
    Ok(Exit::Done)
}

fn is_lost(reason: &str) -> bool {
    Reason::LOST.iter().any(|known| known.as_str() == reason)
}

fn price(seen: &Seen) -> String {
    let from = seen.positions.durable.as_ref().or(seen.positions.acknowledged.as_ref());
    let more = seen.lag.bytes.filter(|bytes| *bytes > 0);
    let more = more.map_or_else(String::new, |bytes| format!(" ({} of WAL up to now)", size(bytes)));
    let from = from.map_or_else(|| "the last position in the sink".to_owned(), Clone::clone);
    format!(
        "{} is lost, {}: {}\n\
         To resume is to go on with the slot as the server has it then, or with a new one.\n\
         Changes after {from} and before the slot's new start{more} are never delivered;\n\
         a gap record in the sink names the hole before any later change.\n",
        seen.name,
        seen.reason.as_deref().unwrap_or("for a reason this version does not know"),
        seen.sentence.as_deref().unwrap_or("see slotd status"),
    )
}
