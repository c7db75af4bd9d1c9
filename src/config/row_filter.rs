//! A row filter as the file has it: a condition in SQL, as it stands behind WHERE.
//!
//! The server parses it. Here it is only seen to be one expression that can stand between parentheses, so that what goes
//! into the statement can't end it.

use super::wrong::Wrong;

/// A condition without the space around it.
pub(super) fn read(text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Wrong::new("a row filter is a condition in SQL").hint("write it as where = \"qty > 0\""));
    }
    let mut open = 0_u32;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            // A doubled quote ends one text and begins the next.
            '\'' | '"' => chars
                .any(|(_, other)| other == c)
                .then_some(())
                .ok_or_else(|| Wrong::new(format!("a quote ({c}) is not closed")))?,
            '(' => open += 1,
            ')' if open == 0 => return Err(Wrong::new("a parenthesis is closed that was not opened")),
            ')' => open -= 1,
            ';' => return Err(Wrong::new("a row filter is one condition, without a semicolon")),
            '-' | '/' if starts_comment(text, at) => {
                return Err(
                    Wrong::new("a row filter has no comment in it").hint("write the comment behind # in the file")
                );
            }
            _ => {}
        }
    }
    if open > 0 {
        return Err(Wrong::new("a parenthesis is not closed"));
    }
    Ok(text.to_owned())
}

fn starts_comment(text: &str, at: usize) -> bool {
    text.get(at..).is_some_and(|rest| rest.starts_with("--") || rest.starts_with("/*"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_condition_is_taken_as_it_stands() {
        for good in
            ["qty > 0", " (a or b) and c ", "note = ')' or \"odd -- name\" is null", "a = 'it''s'", "a - b / c > 1"]
        {
            assert_eq!(read(good).as_deref(), Ok(good.trim()));
        }
    }

    #[test]
    fn what_would_leave_its_parentheses_is_refused() {
        for bad in [
            "",
            " ",
            "true) WITH (publish = ''",
            "(a",
            "a)",
            "true; drop table t",
            "true -- ",
            "true /* ",
            "a = 'b",
            "\"a",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_closed_and_has_one_statement(text in "[a'\"();/*-]{0,12}") {
            if let Ok(filter) = read(&text) {
                let bare: String = filter.split('\'').step_by(2).flat_map(|part| part.split('"').step_by(2)).collect();
                // Quotes of one kind inside those of the other part the text elsewhere.
                if !(filter.contains('\'') && filter.contains('"')) {
                    let depth = bare.chars().fold(0_i32, |depth, c| depth + i32::from(c == '(') - i32::from(c == ')'));
                    prop_assert_eq!(depth, 0);
                    prop_assert!(!bare.contains(';'));
                }
            }
        }
    }
}
