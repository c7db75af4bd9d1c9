//! The order of the rooms of `src/`: a room imports only from floors below its own.
//!
//! The order is data, below, each floor with the reason for its place. What a file imports is read from its text: every
//! `crate::…` and `slotd::…` path, and every `super::` chain that leaves the room; comments and strings do not count.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up: the rooms of one floor, of which none imports another, and why they are there.
const FLOORS: &[(&[&str], &str)] = &[
    (&["faults"], "crash points stand everywhere, so that nothing of ours can be below them"),
    (&["lsn", "ident", "retry", "storage", "child", "task"], "newtypes and small mechanisms"),
    (&["wire", "pgoutput"], "bytes to frames to messages, without I/O and without a clock, so that both can be fuzzed"),
    (&["config"], "what is wished"),
    (&["status"], "what is; it names what was wished, and is read by all that answer"),
    (&["change"], "what flows"),
    (&["encode", "net"], "rows to bytes, and addresses to streams: neither knows of the other"),
    (&["sink", "postgres"], "both ends of a stream: neither knows of the other"),
    (&["stream"], "one slot's pipeline, between its two ends"),
    (&["provision", "guard"], "the control plane, which decides when a stream runs"),
    (&["supervisor"], "one task tree for each database"),
    (&["http", "systemd", "control"], "who asks and who commands"),
    (&["daemon", "logging"], "the process as a whole, and where its log goes"),
    (&["cli"], "the commands, of which the daemon is one"),
    (&["main"], "the binary"),
];

/// Rooms that see less than their floor would let them see.
const ONLY: &[(&str, &[&str], &str)] = {
    const ASKED: &[&str] = &["lsn", "ident", "retry", "config", "status", "supervisor"];
    const WHY: &str = "a request does no work against Postgres: it reads what is recorded, or sends a command";
    &[("http", ASKED, WHY), ("systemd", ASKED, WHY), ("control", ASKED, WHY)]
};

/// The mistakes of a source tree, one sentence each.
fn mistakes(src: &Path) -> Vec<String> {
    let mut files = Vec::new();
    collect(src, &mut files);
    files.sort();
    let mut mistakes = Vec::new();
    for path in files {
        let inside = path.strip_prefix(src).unwrap();
        let shown = Path::new("src").join(inside);
        let room = room_of(inside);
        // The crate's root lists the rooms and imports none.
        if room == "lib" {
            continue;
        }
        let Some(floor) = floor_of(&room) else {
            mistakes.push(format!(
                "{}: the room `{room}` has no floor: give it one in tests/it/layers.rs",
                shown.display()
            ));
            continue;
        };
        for (line, import) in imports(&fs::read_to_string(&path).unwrap(), inside.components().count()) {
            if import == room {
                continue;
            }
            if let Some(why) = refusal(&room, floor, &import) {
                mistakes.push(format!("{}:{line}: `{room}` imports `{import}`: {why}", shown.display()));
            }
        }
    }
    mistakes
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// `stream/reader.rs` and `stream.rs` are the room `stream`.
fn room_of(inside: &Path) -> String {
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|(rooms, _)| rooms.contains(&room))
}

/// Why `room` must not import `import`, if it must not.
fn refusal(room: &str, floor: usize, import: &str) -> Option<String> {
    let below = floor_of(import)?;
    if below >= floor {
        let place = if below == floor { "its own floor" } else { "a floor above" };
        return Some(format!("that is {place} ({})", FLOORS[below].1));
    }
    let (_, seen, why) = ONLY.iter().find(|(only, ..)| *only == room)?;
    (import != "faults" && !seen.contains(&import)).then(|| format!("it sees only {} ({why})", seen.join(", ")))
}

/// The rooms that a file names, each with its line; `depth` is how far the file is from the crate's root.
fn imports(text: &str, depth: usize) -> BTreeSet<(usize, String)> {
    let code = code_of(text);
    let mut found = BTreeSet::new();
    let starts =
        code.match_indices("crate::").chain(code.match_indices("slotd::")).map(|(at, word)| (at, at + word.len()));
    // `super::` as often as the file is deep leads to the root.
    let chain = "super::".repeat(depth);
    let chains = code.match_indices(&chain).map(|(at, word)| (at, at + word.len()));
    for (at, path) in starts.chain(chains.collect::<Vec<_>>()) {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':') {
            continue;
        }
        for (offset, name) in heads(&code[path..]) {
            let line = code[..path + offset].matches('\n').count() + 1;
            found.insert((line, name));
        }
    }
    found
}

/// The first names of a path or of a group of paths: `a::b` gives a; `{a::{x, y}, b as c}` gives a and b.
fn heads(path: &str) -> Vec<(usize, String)> {
    let name = |at: usize| {
        let end = path[at..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(path.len(), |end| at + end);
        path[at..end].to_owned()
    };
    if !path.starts_with('{') {
        return vec![(0, name(0))];
    }
    let (mut depth, mut expected, mut heads) = (0, false, Vec::new());
    for (at, c) in path.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' => expected = depth == 1,
            c if c.is_whitespace() => {}
            _ if expected => {
                heads.push((at, name(at)));
                expected = false;
            }
            _ => {}
        }
        if at == 0 {
            expected = true;
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// The text with comments and strings blanked, line breaks kept.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if c == '"' {
            string(rest)
        } else if let Some(hashes) = raw_string(rest) {
            let open = hashes + 2;
            rest[open..].find(&format!("\"{}", "#".repeat(hashes))).map_or(rest.len(), |end| open + end + 1 + hashes)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with(r#"'\"'"#) {
            4
        } else {
            0
        };
        let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().map(blank));
            rest = &rest[skipped..];
        }
    }
    code
}

/// How many `#` open the raw string that `rest` begins with.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

#[test]
fn rooms_import_only_from_floors_below() {
    let mistakes = mistakes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn a_tree_with_upward_imports_is_refused_line_by_line() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/layers/src");
    let why = "a request does no work against Postgres: it reads what is recorded, or sends a command";
    let ends = "both ends of a stream: neither knows of the other";
    let sees = "lsn, ident, retry, config, status, supervisor";
    assert_eq!(
        mistakes(&fixture),
        [
            "src/attic.rs: the room `attic` has no floor: give it one in tests/it/layers.rs".to_owned(),
            "src/encode/json.rs:5: `encode` imports `stream`: that is a floor above (one slot's pipeline, between its two ends)"
                .to_owned(),
            format!("src/http.rs:6: `http` imports `postgres`: it sees only {sees} ({why})"),
            format!("src/sink.rs:6: `sink` imports `postgres`: that is its own floor ({ends})"),
            "src/status/model.rs:2: `status` imports `change`: that is a floor above (what flows)".to_owned(),
        ]
    );
}

#[test]
fn paths_are_found_in_groups_and_not_in_prose() {
    let names =
        |text: &str, depth| imports(text, depth).into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    let found: Vec<String> =
        names("use crate::{\n    lsn::{Lsn, EndLsn},\n    config as wish,\n};\nfn f(_: crate::sink::Sink) {}", 1);
    assert_eq!(found, ["2 lsn", "3 config", "5 sink"]);
    let found: Vec<String> = names(
        "// crate::a\n/* crate::b /* crate::c */ crate::d */ \"\\\"crate::e\" r#\"\"crate::f\"# '\"' crate::g",
        1,
    );
    assert_eq!(found, ["2 g"]);
    let found: Vec<String> = names("use super::super::sink::Sink;\nuse super::batch;\nuse mycrate::net;", 2);
    assert_eq!(found, ["1 sink"]);
}
