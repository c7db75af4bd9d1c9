//! `slotd check --connect`: all that will fail on the servers, before it does.

use std::fmt::Write as _;

use crate::cli::failure::{Exit, Failure};
use crate::cli::out;
use crate::cli::plan::{By, Obstacle, Planned, chosen, look};
use crate::config::Config;
use crate::ident::DatabaseName;
use crate::status::Finding;

/// Connects as the agent would, and says of each database what stands in the way and what is to be mended.
pub(in crate::cli) async fn connect(config: &Config, names: &[DatabaseName], json: bool) -> Result<Exit, Failure> {
    let looked = look(config, &chosen(config, names)?).await?;
    let reached = looked.iter().all(|looked| looked.reached);
    let all: Vec<Planned> = looked.into_iter().map(|looked| checked(looked.planned)).collect();
    let blocked = all.iter().any(|planned| !planned.obstacles.is_empty());
    out::say(&if json {
        serde_json::to_string_pretty(&all).map_err(|error| Failure::because(Exit::Failed, &error))?
    } else {
        render(&all)
    });
    Ok(match (reached, blocked) {
        (false, _) => Exit::NotReached,
        (true, true) => Exit::Failed,
        (true, false) => Exit::Done,
    })
}

/// What a plan would do is no matter here, but that a slot is lost.
fn checked(mut planned: Planned) -> Planned {
    let name = planned.name.clone();
    for step in std::mem::take(&mut planned.steps) {
        if step.by == By::RecreateSlot {
            let hint = format!("slotd resume {name} --accept-gap says what that costs, and goes on");
            planned.obstacles.push(Obstacle {
                reason: "lost",
                sentence: format!("{} is {}", step.object, step.why),
                hint,
            });
        }
    }
    planned.kept.clear();
    if planned.unbounded {
        planned.findings.push(Finding {
            code: "unbounded_wal",
            sentence: "nothing on the server bounds what a slot retains (max_slot_wal_keep_size is -1): while slotd is down its \
                       slots fill the disk"
                .to_owned(),
            hint: "run: ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); with what the disk can spare"
                .to_owned(),
        });
    }
    planned
}

// Writing into a String can't fail.
fn render(all: &[Planned]) -> String {
    let mut text = String::new();
    for Planned { name, server, database, obstacles, findings, .. } in all {
        let _ = writeln!(text, "{name} (the database {database} at {server})");
        for obstacle in obstacles {
            let _ = writeln!(text, "  ! {}\n      hint: {}", obstacle.sentence, obstacle.hint);
        }
        for finding in findings {
            let _ = writeln!(text, "  ? {}\n      hint: {}", finding.sentence, finding.hint);
        }
        if obstacles.is_empty() {
            let _ = writeln!(text, "  = nothing stands in the way");
        }
    }
    text
}
