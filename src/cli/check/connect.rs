//! `slotd check --connect`: all that will fail on the servers, before it does.

use super::cluster::crowded;
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
    let (planned, shares): (Vec<_>, Vec<_>) = looked.into_iter().map(|looked| (looked.planned, looked.share)).unzip();
    let mut all: Vec<Planned> = planned.into_iter().map(checked).collect();
    for (at, Finding { code, sentence, hint }) in crowded(&shares) {
        if let Some(planned) = all.get_mut(at) {
            planned.obstacles.push(Obstacle { reason: code, sentence, hint });
        }
    }
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

/// How wide the text is.
const WIDTH: usize = 80;

fn render(all: &[Planned]) -> String {
    let mut text = String::new();
    for Planned { name, server, database, obstacles, findings, .. } in all {
        text.push_str(&format!("{name} (the database {database} at {server})\n"));
        for obstacle in obstacles {
            tell(&mut text, '!', &obstacle.sentence, &obstacle.hint);
        }
        for finding in findings {
            tell(&mut text, '?', &finding.sentence, &finding.hint);
        }
        if obstacles.is_empty() {
            text.push_str("  = nothing stands in the way\n");
        }
    }
    text
}

fn tell(text: &mut String, mark: char, sentence: &str, hint: &str) {
    fold(text, &format!("  {mark} "), "    ", sentence);
    fold(text, "      hint: ", "      ", hint);
}

/// Writes `words` in lines of the width, broken at spaces; SQL stays what it is when it goes on in the next line. A word that is
/// longer than a line stays whole, to be copied.
fn fold(text: &mut String, first: &str, next: &str, words: &str) {
    let mut line = first.to_owned();
    let mut width = line.chars().count();
    let mut begun = false;
    for word in words.split(' ') {
        let length = word.chars().count();
        if begun && width + 1 + length > WIDTH {
            text.push_str(&line);
            text.push('\n');
            next.clone_into(&mut line);
            (width, begun) = (next.chars().count(), false);
        }
        if begun {
            line.push(' ');
            width += 1;
        }
        line.push_str(word);
        width += length;
        begun = true;
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_hint_is_folded_at_spaces_and_stays_whole() {
        let long = "x".repeat(90);
        let words =
            format!("run: ALTER SYSTEM SET synchronous_standby_names = 'standby1, standby2'; SELECT {long} 'a  b';");
        let mut text = String::new();
        tell(&mut text, '!', "short", &words);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "  ! short");
        assert_eq!(lines[1], "      hint: run: ALTER SYSTEM SET synchronous_standby_names = 'standby1,");
        assert!(lines.iter().all(|line| line.chars().count() <= 80 || line.trim() == long), "{text}");
        let told: Vec<_> = lines[1..].iter().map(|line| line.strip_prefix("      ").unwrap()).collect();
        assert_eq!(told.join(" "), format!("hint: {words}"));
    }
}
