//! Questions on a terminal, each with a default that Enter takes.

use std::io::{self, BufRead, IsTerminal as _, Write as _};

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
        let answer = line(io::stdin().lock())?;
        let answer = answer.trim();
        Ok(if answer.is_empty() { default } else { answer }.to_owned())
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
        let answer = line(stdin.lock());
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

/// What was typed, without the line break alone: a password may begin or end with a blank.
fn line(mut input: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_with_its_blanks() {
        assert_eq!(line(&b" secret \r\nmore"[..]).unwrap(), " secret ");
        assert_eq!(line(&b"secret"[..]).unwrap(), "secret");
        assert_eq!(line(&b""[..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
