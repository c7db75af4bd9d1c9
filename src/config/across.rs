//! What no database can know of itself: that another has its name, its slot or its files.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::database::{Entry, SlotNamed};
use super::read::Reader;
use super::sinks::SinkEntry;
use super::wrong::Wrong;
use super::{Server, SinkConfig, series};
use crate::ident::{DatabaseName, SinkName, SlotName};

/// Records every two databases that get in each other's way.
pub(super) fn check(reader: &Reader<'_>, sinks: &BTreeMap<SinkName, SinkEntry>, entries: &[Entry]) {
    names(reader, entries);
    slots(reader, entries);
    shared_paths(reader, sinks, entries);
    series_of_each(reader, sinks, entries);
}

fn names(reader: &Reader<'_>, entries: &[Entry]) {
    let mut known: BTreeMap<&DatabaseName, &Entry> = BTreeMap::new();
    for entry in entries {
        let Some(first) = known.get(&entry.name.value) else {
            known.insert(&entry.name.value, entry);
            continue;
        };
        let wrong = Wrong::new(format!("a database named `{}` stands above", entry.name.value));
        let wrong = wrong.hint("give each a `name` of its own");
        reader.error_with(&entry.name.span, wrong, &first.name.span, "first here");
    }
}

/// Slots are the whole server's, not one database's: two entries for two databases of one server can't share one.
///
/// Two names that are made of the databases' and meet are refused even on two servers. Whoever moves one of the
/// databases to the other's server would otherwise find that they share a slot.
fn slots(reader: &Reader<'_>, entries: &[Entry]) {
    let mut on_server: HashMap<(&SlotName, &Server), &Entry> = HashMap::new();
    let mut by_database: HashMap<&SlotName, &Entry> = HashMap::new();
    let mut told_of_all = false;
    for entry in entries {
        let Some(slot) = &entry.slot else { continue };
        let firsts: Vec<_> =
            entry.servers.iter().map(|server| *on_server.entry((slot, server)).or_insert(entry)).collect();
        let same_making =
            (entry.slot_named == SlotNamed::ByDatabase).then(|| *by_database.entry(slot).or_insert(entry));
        let ours = &entry.name.value;
        let other = |first: &&Entry| first.name.value != *ours;
        if let Some(first) = firsts.into_iter().find(other) {
            let theirs = &first.name.value;
            if let (SlotNamed::ForAll(span), SlotNamed::ForAll(_)) = (&entry.slot_named, &first.slot_named) {
                if !told_of_all {
                    told_of_all = true;
                    let wrong =
                        Wrong::new(format!("`{theirs}` and `{ours}` of one server would both have the slot `{slot}`"));
                    let wrong = wrong.hint("put `{name}` into this `slot_name`, which stands for the database's name");
                    reader.error_with(span, wrong, &entry.name.span, "the second of them");
                }
                continue;
            }
            same_slot(reader, first, entry, &format!("`{theirs}` and `{ours}` name one slot of one server, `{slot}`"));
        } else if let Some(first) = same_making.filter(other) {
            let theirs = &first.name.value;
            let sentence = format!("the default slot names of `{theirs}` and `{ours}` are the same, `{slot}`");
            same_slot(reader, first, entry, &sentence);
        }
    }
}

fn same_slot(reader: &Reader<'_>, first: &Entry, second: &Entry, sentence: &str) {
    let at = |entry: &Entry| match &entry.slot_named {
        SlotNamed::Here(span) => span.clone(),
        SlotNamed::ForAll(_) | SlotNamed::ByDatabase => entry.name.span.clone(),
    };
    let wrong = Wrong::new(sentence).hint("give one of them another `slot_name`");
    reader.error_with(&at(second), wrong, &at(first), "the same slot");
}

/// One mistake for a sink whose path has no place for the database, however many databases use it.
fn shared_paths(reader: &Reader<'_>, sinks: &BTreeMap<SinkName, SinkEntry>, entries: &[Entry]) {
    let mut users: BTreeMap<&SinkName, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        for name in &entry.sinks {
            users.entry(name).or_default().push(entry);
        }
    }
    for (name, users) in users {
        let Some(SinkEntry { config, span: Some(span), .. }) = sinks.get(name) else { continue };
        let SinkConfig::File(file) = config.as_ref() else { continue };
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
