//! What no database can know of itself: that another has its name, its slot or its files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::database::Entry;
use super::read::Reader;
use super::sinks::SinkEntry;
use super::wrong::Wrong;
use super::{SinkConfig, series};
use crate::ident::SinkName;

/// Records every two databases that get in each other's way.
pub(super) fn check(reader: &Reader<'_>, sinks: &BTreeMap<SinkName, SinkEntry>, entries: &[Entry]) {
    for (index, entry) in entries.iter().enumerate() {
        let before = entries.get(..index).unwrap_or_default();
        names(reader, before, entry);
        slots(reader, before, entry);
    }
    shared_paths(reader, sinks, entries);
    series_of_each(reader, sinks, entries);
}

fn names(reader: &Reader<'_>, before: &[Entry], entry: &Entry) {
    if let Some(first) = before.iter().find(|first| first.name.value == entry.name.value) {
        let wrong = Wrong::new(format!("a database named `{}` stands above", entry.name.value));
        let wrong = wrong.hint("give each a `name` of its own");
        reader.error_with(&entry.name.span, wrong, &first.name.span, "first here");
    }
}

/// Slots are the whole server's, not one database's: two entries for two databases of one server can't share one.
///
/// Two default names that meet are refused even on two servers. Whoever moves one of the databases to the other's
/// server would otherwise find that they share a slot.
fn slots(reader: &Reader<'_>, before: &[Entry], entry: &Entry) {
    let Some(slot) = &entry.slot else { return };
    let ours = &entry.name.value;
    let one_server = |other: &Entry| entry.servers.iter().any(|server| other.servers.contains(server));
    let both_default = |other: &Entry| entry.slot_span.is_none() && other.slot_span.is_none();
    let same = |other: &&Entry| other.slot.as_ref() == Some(slot) && other.name.value != *ours;
    let Some(first) = before.iter().filter(same).find(|other| one_server(other) || both_default(other)) else { return };
    let theirs = &first.name.value;
    let wrong = if one_server(first) {
        Wrong::new(format!("`{theirs}` and `{ours}` name one slot of one server, `{slot}`"))
    } else {
        Wrong::new(format!("the default slot names of `{theirs}` and `{ours}` are the same, `{slot}`"))
    };
    let at = |entry: &Entry| entry.slot_span.clone().unwrap_or_else(|| entry.name.span.clone());
    reader.error_with(&at(entry), wrong.hint("give one of them another `slot_name`"), &at(first), "the same slot");
}

/// One mistake for a sink whose path has no place for the database, however many databases use it.
fn shared_paths(reader: &Reader<'_>, sinks: &BTreeMap<SinkName, SinkEntry>, entries: &[Entry]) {
    for (name, sink) in sinks {
        let (SinkConfig::File(file), Some(span)) = (sink.config.as_ref(), &sink.span) else { continue };
        let users: Vec<_> = entries.iter().filter(|entry| entry.sinks.contains(name)).collect();
        if let [_, second, ..] = users.as_slice()
            && !file.is_per_database()
        {
            let count = users.len();
            let wrong =
                Wrong::new(format!("{count} databases go to the sink `{name}`, and its `path` is the same for all"));
            let hint = format!("put `{}` into the `path`", series::PLACEHOLDER);
            reader.error_with(span, wrong.hint(hint), &second.name.span, "the second of them");
        }
    }
}

fn series_of_each(reader: &Reader<'_>, sinks: &BTreeMap<SinkName, SinkEntry>, entries: &[Entry]) {
    let mut series: BTreeMap<PathBuf, (&Entry, &SinkName)> = BTreeMap::new();
    for entry in entries {
        for name in &entry.sinks {
            let Some(SinkConfig::File(file)) = sinks.get(name).map(|sink| sink.config.as_ref()) else { continue };
            let path = series::normal(&file.path_for(&entry.name.value));
            if let Err(wrong) = series::check_length(&path) {
                reader.error(&entry.name.span, wrong);
            }
            let Some((first, sink)) = series.get(&path) else {
                series.insert(path, (entry, name));
                continue;
            };
            // Through one sink two databases meet only if they have one name, or the path has no place for it: said.
            if *sink != name {
                let ours = format!("`{}` through the sink `{name}`", entry.name.value);
                let theirs = format!("`{}` through the sink `{sink}`", first.name.value);
                let wrong = Wrong::new(format!("{ours} and {theirs} would write the same file"));
                let wrong = wrong.hint("give one of the sinks another `path`");
                if first.name == entry.name {
                    reader.error(&entry.name.span, wrong);
                } else {
                    reader.error_with(&entry.name.span, wrong, &first.name.span, "the other");
                }
            }
        }
    }
}
