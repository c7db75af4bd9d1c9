//! `[sinks]`: where changes go.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::file::path_in;
use super::origins::Origins;
use super::table::Table;
use super::units::{in_units, percent, size, time};
use super::wrong::Wrong;
use super::{FileSinkConfig, Keep, MinFree, SinkConfig, keys};
use super::{read::At, series};
use crate::ident::SinkName;

/// The sink that exists unwritten, for databases that name none.
pub(super) const DEFAULT_SINK: &str = "changes";

const DEFAULT_ROTATE_SIZE: u64 = 256 << 20;
const DEFAULT_MIN_FREE: MinFree = MinFree::Percent(5.0);
/// Below it a file would be finished at almost every batch.
const LEAST_ROTATE_SIZE: u64 = 64 << 10;

/// A sink, and where the file speaks of it.
#[derive(Debug)]
pub(super) struct SinkEntry {
    pub(super) config: Arc<SinkConfig>,
    /// Its `path`, or its header; `None` if it is not written.
    pub(super) span: Option<Range<usize>>,
    pub(super) origins: Origins,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    File,
    Stdout,
}

/// The sinks of all files by name; `changes` is always among them.
pub(super) fn sinks(tops: &[&Table<'_>], state_dir: &Path) -> BTreeMap<SinkName, SinkEntry> {
    let mut sinks = BTreeMap::new();
    let mut named: BTreeMap<SinkName, Range<usize>> = BTreeMap::new();
    for (name, table) in tops.iter().flat_map(|top| top.named_tables("sinks", &[keys::SINK])) {
        let valid = match SinkName::new(name.value) {
            Ok(valid) => valid,
            Err(error) => {
                table.reader().error(&name.span, error.into());
                continue;
            }
        };
        let entry = sink(&name, &table, state_dir);
        // In one file TOML itself refuses it.
        if let Some(first) = named.get(&valid) {
            let wrong = Wrong::new(format!("a sink named `{valid}` stands in another file, too"));
            table.reader().error_with(&name.span, wrong.hint("give each a name of its own"), first, "first here");
            continue;
        }
        named.insert(valid.clone(), name.span);
        sinks.insert(valid, entry);
    }
    if let Ok(name) = SinkName::new(DEFAULT_SINK) {
        let config = FileSinkConfig {
            path: state_dir.join(default_path(DEFAULT_SINK)),
            rotate_size: DEFAULT_ROTATE_SIZE,
            keep: Keep::Forever,
            min_free: DEFAULT_MIN_FREE,
        };
        let unwritten =
            || SinkEntry { config: Arc::new(SinkConfig::File(config)), span: None, origins: Origins::default() };
        sinks.entry(name).or_insert_with(unwritten);
    }
    sinks
}

fn default_path(name: &str) -> String {
    format!("{name}/{}.jsonl", series::PLACEHOLDER)
}

fn sink(name: &At<&str>, table: &Table<'_>, state_dir: &Path) -> SinkEntry {
    let kind = match table.choice("type", &[("file", Kind::File), ("stdout", Kind::Stdout)]) {
        Some(at) => at.value,
        None => {
            if table.key("type").is_none() && name.value != DEFAULT_SINK {
                let wrong = Wrong::new(format!("the sink `{}` has no `type`", name.value));
                table.reader().absent(table.span(), wrong.hint("write `type = \"file\"` or `type = \"stdout\"`"));
            }
            Kind::File
        }
    };
    table.choice("format", &[("sequin", ())]);
    let file = file_sink(name.value, table, state_dir);
    let span = table.key("path").unwrap_or_else(|| table.span().clone());
    let config = match kind {
        Kind::File => SinkConfig::File(file),
        Kind::Stdout => {
            for key in ["path", "rotate_size", "keep", "min_free"] {
                if let Some(span) = table.key(key) {
                    let wrong = Wrong::new(format!("`{key}` is a key of files, and this sink is standard output"));
                    table.reader().error(&span, wrong.hint("leave it out, or write `type = \"file\"`"));
                }
            }
            SinkConfig::Stdout
        }
    };
    SinkEntry { config: Arc::new(config), span: Some(span), origins: Origins::of(table, &[keys::SINK]) }
}

fn file_sink(name: &str, table: &Table<'_>, state_dir: &Path) -> FileSinkConfig {
    let path = table.parsed("path", |text| {
        let path = path_in(state_dir, text)?;
        series::check_template(text)?;
        Ok(path)
    });
    let rotate_size = table.quantity("rotate_size", "256MB", |text| match size(text)? {
        small if small < LEAST_ROTATE_SIZE => {
            Err(Wrong::new("a file this small would hold hardly a batch").hint("write at least \"64kB\""))
        }
        size => Ok(size),
    });
    let keep = table.quantity("keep", "7d", |text| match text {
        "forever" => Ok(Keep::Forever),
        text => size(text).map(Keep::Bytes).or_else(|_| time(text).map(Keep::For)).map_err(|_| {
            Wrong::new("this is neither \"forever\" nor a time nor a size").hint("write \"7d\" or \"20GB\"")
        }),
    });
    if let Some(At { value: Keep::Bytes(most), span }) = &keep {
        let least = rotate_size.as_ref().map(|at| (at.value, Some(&at.span)));
        // Where it is there and wrong, nobody knows what it will be.
        let least = least.or_else(|| table.key("rotate_size").is_none().then_some((DEFAULT_ROTATE_SIZE, None)));
        if let Some((least, written)) = least.filter(|(least, _)| most < least) {
            let wrong = Wrong::new("`keep` is less than one finished file, which has `rotate_size`")
                .hint(format!("write at least \"{}\", or a smaller `rotate_size`", in_units(least)));
            match written {
                Some(also) => table.reader().error_with(span, wrong, also, "a file is finished at this size"),
                None => table.reader().error(span, wrong),
            }
        }
    }
    let min_free = table.quantity("min_free", "5%", |text| {
        if text.trim_end().ends_with('%') {
            return percent(text).map(MinFree::Percent);
        }
        size(text).map(MinFree::Bytes).map_err(|wrong| Wrong {
            hint: wrong.hint.or_else(|| Some("write a share of the disk, \"5%\", or a size, \"2GB\"".to_owned())),
            ..wrong
        })
    });
    FileSinkConfig {
        path: path.map_or_else(|| state_dir.join(default_path(name)), |at| at.value),
        rotate_size: rotate_size.map_or(DEFAULT_ROTATE_SIZE, |at| at.value),
        keep: keep.map_or(Keep::Forever, |at| at.value),
        min_free: min_free.map_or(DEFAULT_MIN_FREE, |at| at.value),
    }
}
