//! The line of `systemctl status`.

use std::sync::Arc;

use crate::status::{AgentStatus, DatabaseStatus, State};

/// What is told first.
const ORDER: [State; 8] = [
    State::Streaming,
    State::Lost,
    State::Failed,
    State::Retrying,
    State::Waiting,
    State::Provisioning,
    State::Pending,
    State::Disabled,
];
/// How many databases of one state are named.
const NAMED: usize = 3;
/// How long a line may be: a message of more than 4096 bytes is not taken.
const LONGEST: usize = 500;

/// How many databases are in which state, and those by name that need somebody.
pub(super) fn summary(agent: &AgentStatus, databases: &[Arc<DatabaseStatus>]) -> String {
    let mut parts = Vec::new();
    for state in ORDER {
        let names: Vec<_> = databases
            .iter()
            .filter(|status| status.condition.state() == state)
            .map(|status| status.name.as_str())
            .collect();
        match names.len() {
            0 => {}
            count if is_calm(state) => parts.push(format!("{count} {}", state.as_str())),
            count => {
                let more = if count > NAMED { ", …" } else { "" };
                let named = names[..count.min(NAMED)].join(", ");
                parts.push(format!("{count} {} ({named}{more})", state.as_str()));
            }
        }
    }
    let mut line = if parts.is_empty() { "no database".to_owned() } else { parts.join(", ") };
    if let Some(why) = &agent.config_rejected {
        line.push_str("; the changed file was rejected: ");
        line.push_str(why);
    }
    shortened(&line)
}

/// Whether a database in this state needs nobody.
const fn is_calm(state: State) -> bool {
    match state {
        State::Streaming | State::Disabled | State::Pending | State::Provisioning => true,
        State::Lost | State::Failed | State::Retrying | State::Waiting => false,
    }
}

/// `line` on one line, cut if it is too long.
fn shortened(line: &str) -> String {
    let line = crate::status::one_line(line);
    if line.len() <= LONGEST {
        return line;
    }
    format!("{}…", &line[..line.floor_char_boundary(LONGEST)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::{at, database, trouble};
    use crate::status::{Bounds, Condition, Reason, Registry};

    fn line(databases: &[(&str, State)], rejected: Option<&str>) -> String {
        let bounds = Bounds { grace: std::time::Duration::ZERO, silence: std::time::Duration::ZERO };
        let registry = Registry::new("slotd.toml", bounds);
        registry.config_rejected(rejected.map(str::to_owned));
        let known: Vec<_> = databases
            .iter()
            .map(|(name, state)| {
                let mut status = database(name, at(0));
                status.condition = match state {
                    State::Streaming => Condition::Streaming,
                    other => trouble(*other, Reason::Starting),
                };
                Arc::new(status)
            })
            .collect();
        summary(&registry.agent(), &known)
    }

    #[test]
    fn states_are_counted_and_who_needs_somebody_is_named() {
        assert_eq!(line(&[], None), "no database");
        let some = [
            ("shop", State::Streaming),
            ("old", State::Disabled),
            ("stock", State::Retrying),
            ("blog", State::Streaming),
            ("bills", State::Lost),
        ];
        assert_eq!(line(&some, None), "2 streaming, 1 lost (bills), 1 retrying (stock), 1 disabled");
        let many: Vec<_> = ["a", "b", "c", "d"].into_iter().map(|name| (name, State::Failed)).collect();
        assert_eq!(line(&many, None), "4 failed (a, b, c, …)");
        let rejected = "slotd.toml:3:1: unknown key `grcae` in [agent]";
        assert_eq!(line(&some[..1], Some(rejected)), format!("1 streaming; the changed file was rejected: {rejected}"));
    }

    #[test]
    fn it_is_one_line_of_a_bounded_length() {
        let long = format!("two\nlines, {}", "ü".repeat(3000));
        let line = line(&[], Some(&long));
        assert!(line.len() <= LONGEST + "…".len() && line.ends_with("ü…") && !line.contains('\n'), "{line}");
    }
}
