//! `slotd status`.

use std::io;
use std::path::Path;

use axum::http::{Method, StatusCode};
use jiff::Timestamp;

use super::client;
use super::failure::{Exit, Failure};
use super::out;
use super::seen::{All, Seen, read};
use super::table;
use crate::ident::DatabaseName;
use crate::logging::has_colour;
use crate::status::Verdict;

pub(super) async fn show(socket: &Path, name: Option<&DatabaseName>, json: bool) -> Result<Exit, Failure> {
    let path = name.map_or_else(|| "/health".to_owned(), |name| format!("/health/{name}"));
    let answer = client::ask(socket, Method::GET, &path, "").await?;
    if let (StatusCode::NOT_FOUND, Some(name)) = (answer.code, name) {
        return Err(Failure::new(Exit::Failed, format!("the agent has no database called {name}"))
            .hint("slotd status lists them; slotd reload applies a changed file"));
    }
    let all = match name {
        None => read::<All>(&answer.body)?,
        Some(_) => All::from(read::<Seen>(&answer.body)?),
    };
    if json {
        out::say(&String::from_utf8_lossy(&answer.body));
    } else {
        out::say(&table::render(&all, Timestamp::now(), has_colour(&io::stdout())));
    }
    Ok(match all.verdict() {
        Verdict::Pass => Exit::Done,
        Verdict::Warn => Exit::Warn,
        Verdict::Fail => Exit::Fail,
    })
}
