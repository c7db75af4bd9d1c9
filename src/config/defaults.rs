//! `[defaults]`: what databases take where they are silent.
//!
//! A database's own key counts before one of `[defaults]`, and makes void what would contradict it there
//! ([`keys::INSTEAD`]): its `password` the `password_file`, its `url` the `hostname`. In some values `{name}` stands for
//! the database's name ([`keys::FILLED`]); it is put in place before variables are, so `${DIR}/{name}` is a path.

use std::borrow::Cow;

use super::keys;
use super::table::Table;
use super::wrong::Wrong;

/// What stands behind the `{` of `{name}`.
const PLACEHOLDER_REST: &str = "name}";

/// The name of no database, with which `[defaults]` is tried.
pub(super) const SAMPLE: &str = "x";

/// The table `[defaults]`; without keys if it is absent. What no database could take from it is recorded.
pub(super) fn defaults<'a>(top: &Table<'a>) -> Table<'a> {
    let table = top.table("defaults", &[keys::DATABASE, keys::CONNECTION, keys::SLOT, keys::NESTED]);
    for (key, hint) in keys::OWN {
        if let Some(span) = table.key(key) {
            let wrong = Wrong::new(format!("`{key}` is each database's own and can't stand in [defaults]"));
            table.reader().error(&span, wrong.hint(*hint));
        }
    }
    table.into_defaults(keys::OWN)
}

/// What a database takes from `[defaults]`.
pub(super) fn shared() -> Vec<&'static str> {
    let all = [keys::DATABASE, keys::CONNECTION, keys::SLOT].concat();
    all.into_iter().filter(|key| !keys::OWN.iter().any(|(own, _)| own == key)).collect()
}

/// The value `text` of `key` with `name` in place of `{name}`, as the file has it otherwise; owned if it was there. What
/// stands in `${…}` is a variable's.
pub(super) fn fill<'t>(key: &str, text: &'t str, name: &str) -> Result<Cow<'t, str>, Wrong> {
    let Some((_, fit)) = keys::FILLED.iter().find(|(filled, _)| *filled == key) else { return Ok(Cow::Borrowed(text)) };
    let name = if *fit { made_fit(name) } else { name.to_owned() };
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let dollars = before.bytes().rev().take_while(|byte| *byte == b'$').count();
        if dollars % 2 == 1 {
            let variable = after.find('}').map_or(after, |end| after.get(..=end).unwrap_or(after));
            filled.push('{');
            filled.push_str(variable);
            rest = after.get(variable.len()..).unwrap_or_default();
        } else {
            filled.push_str(&name);
            rest = after
                .strip_prefix(PLACEHOLDER_REST)
                .ok_or_else(|| Wrong::new("the one thing that is filled in here is `{name}`, the database's name"))?;
        }
    }
    filled.push_str(rest);
    Ok(if filled == text { Cow::Borrowed(text) } else { Cow::Owned(filled) })
}

/// Whether the value `text` of `slot_name` has the database's name in it.
pub(super) fn is_template(text: &str) -> bool {
    matches!(fill("slot_name", text, SAMPLE), Ok(Cow::Owned(_)))
}

/// The name of a database as it can stand in that of a slot.
pub(super) fn made_fit(name: &str) -> String {
    name.to_ascii_lowercase().replace(['.', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_put_in_place_where_it_makes_sense() {
        for (key, text, filled) in [
            ("slot_name", "{name}_slot", "shop_eu_1_slot"),
            ("publication_name", "p_{name}", "p_shop_eu_1"),
            ("database", "{name}", "Shop.eu-1"),
            ("password_file", "${DIR}/{name}/{name}", "${DIR}/Shop.eu-1/Shop.eu-1"),
            ("password_file", "/run/all", "/run/all"),
            ("where", "{name}", "{name}"),
            ("password_file", "${name}/$${name}/${X:-{a}", "${name}/$$Shop.eu-1/${X:-{a}"),
        ] {
            assert_eq!(fill(key, text, "Shop.eu-1").as_deref(), Ok(filled), "{text}");
        }
        for (text, is) in [("s_{name}", true), ("s", false), ("${name}", false), ("{x}", false)] {
            assert_eq!(is_template(text), is, "{text}");
        }
        for text in ["{nam}", "{}", "{name", "{{name}}", "{database}", "$${x}"] {
            assert!(fill("slot_name", text, "a").is_err(), "{text}");
        }
    }
}
