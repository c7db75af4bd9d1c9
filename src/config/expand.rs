//! `${VAR}`, `${VAR:-default}` and `$$` in a value.
//!
//! A text is cut into [`Piece`]s first. Whoever splits a text further (a URL) does so between the literal pieces alone,
//! so that what stands in a variable, or in its default, is never taken for syntax. What a variable holds is not
//! expanded again.

use std::ops::Range;

use super::wrong::Wrong;

/// Looks a variable up.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    /// `$$`.
    Dollar,
    Variable {
        name: &'a str,
        default: Option<&'a str>,
    },
}

/// The pieces of `text` in order, each with where it stands.
pub(super) fn pieces(text: &str) -> Result<Vec<(Range<usize>, Piece<'_>)>, (Range<usize>, Wrong)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (length, piece) = next(rest).map_err(|(length, wrong)| (at..at + length, wrong))?;
        pieces.push((at..at + length, piece));
        at += length;
    }
    Ok(pieces)
}

fn next(rest: &str) -> Result<(usize, Piece<'_>), (usize, Wrong)> {
    let Some(after) = rest.strip_prefix('$') else {
        let length = rest.find('$').unwrap_or(rest.len());
        return Ok((length, Piece::Literal(rest.get(..length).unwrap_or(rest))));
    };
    if after.starts_with('$') {
        return Ok((2, Piece::Dollar));
    }
    let Some(body) = after.strip_prefix('{') else {
        let wrong = Wrong::new("a lone `$` means nothing").hint("write `$$` for a dollar, `${NAME}` for a variable");
        return Err((1, wrong));
    };
    let Some(end) = body.find('}') else {
        return Err((2, Wrong::new("a `${` is not closed").hint("write `${NAME}`, or `$${` for the characters")));
    };
    let (length, body) = (end + 3, body.get(..end).unwrap_or_default());
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let wrong = Wrong::new("a variable's name is made of letters, digits and `_`");
        return Err((length, wrong.hint("write `${NAME}` or `${NAME:-default}`")));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err((length, Wrong::new("a default can't hold another variable")));
    }
    Ok((length, Piece::Variable { name, default }))
}

impl Piece<'_> {
    /// What the piece stands for. As in a shell, a default is taken where the variable is unset or empty.
    pub(super) fn value(self, env: Env<'_>) -> Result<String, Wrong> {
        match self {
            Self::Literal(text) => Ok(text.to_owned()),
            Self::Dollar => Ok("$".to_owned()),
            Self::Variable { name, default: Some(default) } => {
                Ok(env(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.replace("$$", "$")))
            }
            Self::Variable { name, default: None } => env(name).ok_or_else(|| {
                let wrong = Wrong::new(format!("the environment variable {name} is not set"));
                wrong.hint(format!("set it, or give a default: `${{{name}:-…}}`"))
            }),
        }
    }
}

/// `text` with its variables in place. The error says which part of `text` is wrong.
pub(super) fn expand(text: &str, env: Env<'_>) -> Result<String, (Range<usize>, Wrong)> {
    let mut whole = String::with_capacity(text.len());
    for (span, piece) in pieces(text)? {
        whole.push_str(&piece.value(env).map_err(|wrong| (span, wrong))?);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "A" => Some("1".to_owned()),
            "EMPTY" => Some(String::new()),
            "TRICKY" => Some("${A}$$".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_stand_for_their_values() {
        for (text, whole) in [
            ("", ""),
            ("plain", "plain"),
            ("x${A}y", "x1y"),
            ("${A}${A}", "11"),
            ("${NO:-d}", "d"),
            ("${NO:-}", ""),
            ("${A:-d}", "1"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${NO:-a:-b}", "a:-b"),
            ("${NO:-$$}", "$"),
            ("$$", "$"),
            ("$${A}", "${A}"),
            ("$$${A}", "$1"),
            ("é${A}é", "é1é"),
            ("${TRICKY}", "${A}$$"),
        ] {
            assert_eq!(expand(text, &env).as_deref(), Ok(whole), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (text, part) in [
            ("é ${NO} b", "${NO}"),
            ("a $HOME", "$"),
            ("cash$", "$"),
            ("a ${A", "${"),
            ("${}", "${}"),
            ("${1A}", "${1A}"),
            ("${A-b}", "${A-b}"),
            ("${A:-${B}}", "${A:-${B}"),
        ] {
            let (span, _) = expand(text, &env).unwrap_err();
            assert_eq!(&text[span], part, "{text}");
        }
        assert!(expand("${NO}", &env).unwrap_err().1.sentence.contains("NO"));
    }

    proptest! {
        #[test]
        fn a_text_with_its_dollars_doubled_stands_for_itself(text in ".*") {
            prop_assert_eq!(expand(&text.replace('$', "$$"), &|_| None), Ok(text));
        }

        #[test]
        fn a_value_is_never_read_again(before in "[^$]*", value in ".*", after in "[^$]*") {
            let text = format!("{before}${{V}}{after}");
            let whole = expand(&text, &|name| (name == "V").then(|| value.clone()));
            prop_assert_eq!(whole, Ok(format!("{before}{value}{after}")));
        }

        #[test]
        fn pieces_cover_the_text_and_nothing_panics(text in "[${}:a-]{0,20}|.*") {
            if let Ok(pieces) = pieces(&text) {
                let ends: Vec<_> = pieces.iter().map(|(span, _)| span.end).collect();
                let starts: Vec<_> = pieces.iter().map(|(span, _)| span.start).skip(1).collect();
                prop_assert_eq!(&ends[..ends.len().saturating_sub(1)], &starts[..]);
                prop_assert_eq!(ends.last().copied().unwrap_or(0), text.len());
            }
        }
    }
}
