//! Which files belong to which database.
//!
//! A database's name goes into the path of its files in place of `{database}`, escaped so that only `[A-Za-z0-9_-]`
//! is left and no two names meet: `.` becomes `_2E`, and `_` stays as it is unless `2E` or `5F` follows it, where it
//! becomes `_5F`. Read backwards, `_2E` and `_5F` are always escapes and every other `_` is itself. Common names
//! (`shop`, `shop_eu`, `app_2024`, `eu-west`) stay as they are. The dot has to go, because slotd numbers a finished file
//! as `shop.000001.jsonl`, and a database may be called `shop.000001`.

use std::path::{Component, Path, PathBuf};

use super::FileSinkConfig;
use super::wrong::Wrong;
use crate::ident::DatabaseName;

/// What stands in a path for the name of the database.
pub(super) const PLACEHOLDER: &str = "{database}";

/// The longest file name a path may give. File systems take 255 bytes; the rest is for the number of a finished file
/// and for what stands beside it.
const MAX_FILE_NAME_BYTES: usize = 200;

impl FileSinkConfig {
    /// The file that the changes of `database` are written to; absolute.
    #[must_use]
    pub fn path_for(&self, database: &DatabaseName) -> PathBuf {
        let name = escape(database);
        let fill = |part: Component<'_>| match part.as_os_str().to_str() {
            Some(text) => PathBuf::from(text.replace(PLACEHOLDER, &name)),
            None => PathBuf::from(part.as_os_str()),
        };
        self.path.components().map(fill).collect()
    }

    /// Whether each database has a path of its own.
    pub(super) fn is_per_database(&self) -> bool {
        self.path.components().any(|part| part.as_os_str().to_str().is_some_and(|text| text.contains(PLACEHOLDER)))
    }
}

fn escape(name: &DatabaseName) -> String {
    let mut rest = name.as_str();
    let mut escaped = String::with_capacity(rest.len());
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '.' => escaped.push_str("_2E"),
            '_' if rest.starts_with("2E") || rest.starts_with("5F") => escaped.push_str("_5F"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Checks what the file gives as `path`.
pub(super) fn check_template(text: &str) -> Result<(), Wrong> {
    let rest = text.replace(PLACEHOLDER, "");
    if rest.contains(['{', '}']) {
        return Err(Wrong::new("the one thing that is filled in here is `{database}`"));
    }
    let path = Path::new(text);
    let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| !text.ends_with('/')) else {
        return Err(Wrong::new("this is a folder, not a file").hint("write \"changes/{database}.jsonl\""));
    };
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if stem.rsplit_once('.').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(Wrong::new("files that end in a number are finished ones").hint("leave the number out"));
    }
    Ok(())
}

/// Checks the length of every part of a path that is filled in.
pub(super) fn check_length(path: &Path) -> Result<(), Wrong> {
    match path.components().map(|part| part.as_os_str().len()).max() {
        Some(longest) if longest > MAX_FILE_NAME_BYTES => {
            let rule = format!("a part of the path has {longest} bytes, and at most {MAX_FILE_NAME_BYTES} fit");
            Err(Wrong::new(rule).hint("give the sink a shorter `path`, or the database a shorter `name`"))
        }
        _ => Ok(()),
    }
}

/// `path` without `.` and `..`, so that two ways to write one path are equal. Symbolic links are not followed: the
/// lock on each series stands against those.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Keep, MinFree};

    fn escaped(name: &str) -> String {
        escape(&DatabaseName::new(name).unwrap())
    }

    /// What [`escape`] undoes: written from its rule, not from its code.
    fn unescaped(text: &str) -> String {
        text.replace("_2E", "\0").replace("_5F", "_").replace('\0', ".")
    }

    #[test]
    fn common_names_stay_as_they_are() {
        for name in ["shop", "Shop", "shop_eu", "app_2024", "eu-west-1", "a__b", "a_", "a_2e", "a_5"] {
            assert_eq!(escaped(name), name);
        }
        assert_eq!(escaped("shop.eu"), "shop_2Eeu");
        assert_eq!(escaped("shop_2Eeu"), "shop_5F2Eeu");
        assert_eq!(escaped("a_5F2E"), "a_5F5F2E");
    }

    #[test]
    fn the_name_is_put_into_every_part_of_the_path() {
        let path = PathBuf::from("/s/{database}/x-{database}.jsonl");
        let sink = FileSinkConfig { path, rotate_size: 1, keep: Keep::Forever, min_free: MinFree::Bytes(0) };
        assert_eq!(sink.path_for(&DatabaseName::new("a.b").unwrap()), Path::new("/s/a_2Eb/x-a_2Eb.jsonl"));
        assert!(sink.is_per_database());
    }

    #[test]
    fn a_template_names_a_file_that_no_finished_one_can_be() {
        for good in ["{database}.jsonl", "a/{database}/changes.jsonl", "/abs/x", "a.b/c", "x.1"] {
            assert_eq!(check_template(good), Ok(()), "{good}");
        }
        for bad in ["", "/", "a/", "..", "{table}.jsonl", "{database.jsonl", "x}", "{database}.000001.jsonl"] {
            assert!(check_template(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn two_ways_to_write_a_path_are_equal() {
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(normal(Path::new("/../a")), Path::new("/a"));
    }

    proptest! {
        #[test]
        fn no_two_names_meet(name in "[a-zA-Z0-9]([25EF_.]|[a-z0-9-]){0,20}") {
            let escaped = escaped(&name);
            prop_assert!(escaped.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')));
            prop_assert_eq!(unescaped(&escaped), name);
        }
    }
}
