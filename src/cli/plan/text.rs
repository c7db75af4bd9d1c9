//! A plan as text, in the manner of a diff, and as SQL.

use std::fmt::Write as _;

use super::view::{Action, By, Planned, Step};

/// The whole text.
pub(in crate::cli) fn render(all: &[Planned]) -> String {
    let mut text = String::new();
    for planned in all {
        one(&mut text, planned);
    }
    text.push_str(&summary(all));
    text
}

// Writing into a String can't fail.
fn one(text: &mut String, planned: &Planned) {
    let Planned { name, server, database, steps, kept, obstacles, findings, .. } = planned;
    let _ = writeln!(text, "{name} (the database {database} at {server})");
    for step in steps {
        self::step(text, name.as_str(), step);
    }
    for kept in kept {
        let _ = writeln!(text, "  = {}: {}", kept.object, kept.why);
    }
    for obstacle in obstacles {
        let _ = writeln!(text, "  ! {}\n      hint: {}", obstacle.sentence, obstacle.hint);
    }
    for finding in findings {
        let _ = writeln!(text, "  ? {}\n      hint: {}", finding.sentence, finding.hint);
    }
    text.push('\n');
}

fn step(text: &mut String, name: &str, step: &Step) {
    let mark = match step.action {
        Action::Create => "+",
        Action::Alter => "~",
        Action::Recreate => "-/+",
    };
    let _ = writeln!(text, "{mark:>3} {}: {}", step.object, step.why);
    for difference in &step.differences {
        for (sign, side) in [("-", &difference.found), ("+", &difference.declared)] {
            if let Some(side) = side {
                let _ = writeln!(text, "      {sign} {side}");
            }
        }
    }
    if let Some(server) = &step.server {
        let _ = writeln!(text, "      on the primary, {server}:");
    }
    for line in &step.sql {
        let _ = writeln!(text, "      {line}");
    }
    if let Some(loses) = &step.loses {
        let _ = writeln!(text, "      loses: {loses}");
    }
    match step.by {
        By::Agent => {}
        By::Apply => {
            let _ = writeln!(text, "      by: slotd apply {name}");
        }
        By::RecreatePublication | By::RecreateSlot => {
            let _ = writeln!(text, "      by: slotd apply {name} {} --yes", step.by.flag().unwrap_or_default());
        }
    }
}

fn summary(all: &[Planned]) -> String {
    let steps = || all.iter().flat_map(|planned| &planned.steps);
    let count = |action: Action| steps().filter(|step| step.action == action).count();
    let [create, alter, recreate] = [Action::Create, Action::Alter, Action::Recreate].map(count);
    let obstacles: usize = all.iter().map(|planned| planned.obstacles.len()).sum();
    let mut text = if steps().next().is_none() {
        "nothing to do".to_owned()
    } else {
        let parts = [(create, "to create"), (alter, "to alter"), (recreate, "to make anew")];
        let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        parts.collect::<Vec<_>>().join(", ")
    };
    if obstacles > 0 {
        let _ =
            write!(text, "; {obstacles} {} in the way", if obstacles == 1 { "thing stands" } else { "things stand" });
    }
    text.push('\n');
    text
}

/// The statements, for one who runs them by hand; what destroys is in comments.
pub(in crate::cli) fn sql(all: &[Planned]) -> String {
    let mut text = String::new();
    for planned in all {
        let Planned { name, server, database, steps, obstacles, .. } = planned;
        if steps.is_empty() && obstacles.is_empty() {
            continue;
        }
        let _ = writeln!(text, "-- {name}: in the database {database} at {server}");
        for obstacle in obstacles {
            let _ = writeln!(text, "-- in the way: {}\n--   {}", obstacle.sentence, obstacle.hint);
        }
        for step in steps {
            let _ = writeln!(text, "-- {}: {}", step.object, step.why);
            if let Some(server) = &step.server {
                let _ = writeln!(text, "-- on the primary, {server}:");
            }
            if let Some(loses) = &step.loses {
                let _ = writeln!(text, "-- this loses: {loses}");
            }
            if step.sql.is_empty() {
                let _ = writeln!(
                    text,
                    "-- not by SQL, since a gap record comes first: slotd apply {name} --recreate-slot --yes"
                );
            }
            let comment = if step.by.flag().is_some() { "-- " } else { "" };
            for line in &step.sql {
                let _ = writeln!(text, "{comment}{line}");
            }
        }
        text.push('\n');
    }
    if text.is_empty() { "-- nothing to do\n".to_owned() } else { text }
}
