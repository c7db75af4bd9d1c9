//! Questions on a terminal, each with a default that Enter takes.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::cli::out;

/// Whoever answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// The defaults.
    Defaults,
    /// Somebody at a terminal.
    Terminal,
}

impl Answers {
    /// The defaults if `yes`, or if there is no terminal.
    pub(super) fn new(yes: bool) -> Self {
        if yes || !io::stdin().is_terminal() { Self::Defaults } else { Self::Terminal }
    }

    /// The answer to `question`; `default` for an empty one.
    pub(super) fn ask(self, question: &str, default: &str) -> io::Result<String> {
        if self == Self::Defaults {
            return Ok(default.to_owned());
        }
        prompt(&format!("{question} [{default}]: "))?;
        let answer = line()?;
        Ok(if answer.is_empty() { default.to_owned() } else { answer })
    }

    /// A password that is typed unseen; `None` where nobody can be asked, or for an empty one.
    pub(super) fn password(self, question: &str) -> io::Result<Option<String>> {
        if self == Self::Defaults {
            return Ok(None);
        }
        prompt(&format!("{question}: "))?;
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &unseen)?;
        let answer = line();
        tcsetattr(&stdin, OptionalActions::Flush, &before)?;
        // The line break was typed unseen too.
        out::say("");
        Ok(Some(answer?).filter(|password| !password.is_empty()))
    }
}

fn prompt(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{text}")?;
    stdout.flush()
}

fn line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).trim().to_owned())
}
