//! Which sessions a COMMIT waits for.
//!
//! A walsender counts as a synchronous standby by its `application_name` alone, a logical one too. Before its stream has
//! begun the server does not say whether it will, so its rule stands here once more.
//!
//! Source: <https://www.postgresql.org/docs/current/runtime-config-replication.html#GUC-SYNCHRONOUS-STANDBY-NAMES>.

/// Whether the setting `synchronous_standby_names` holds for sessions that call themselves `application_name`: it lists
/// that name, in letters of either case, or `*`.
///
/// `application_name` has a character that none has outside of quotes, as ours do: `slotd/…`.
#[must_use]
pub fn lists(synchronous_standby_names: &str, application_name: &str) -> bool {
    // Every other part is quoted. A name with a quote in it falls into parts, and may count where it should not: safe.
    synchronous_standby_names.split('"').enumerate().any(|(at, part)| match at % 2 {
        0 => part.contains('*'),
        _ => part == "*" || part.eq_ignore_ascii_case(application_name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_name_counts_in_any_form_of_the_list() {
        for (names, listed) in [
            ("", false),
            ("*", true),
            ("FIRST 1 (*)", true),
            ("s1, *", true),
            ("ANY 2 (s1, \"*\")", true),
            ("\"slotd/0a\"", true),
            ("2 (\"s1\",\"SLOTD/0A\")", true),
            ("s1, s2", false),
            ("\"slotd/0\", \"slotd/0a \", slotd", false),
            ("\"a*b\"", false),
        ] {
            assert_eq!(lists(names, "slotd/0a"), listed, "{names}");
        }
    }
}
