//! `include`: which further files hold databases and sinks.
//!
//! ```toml
//! include = ["conf.d/*.toml", "/srv/slotd/shop.toml"]
//! ```
//!
//! A pattern starts at the folder of the main file. It may match nothing; a name without `*`, `?` and `[` has to be
//! there. A file is read once, where it is reached first.

use std::collections::BTreeSet;
use std::path::{self, Path, PathBuf};
use std::{fs, io};

use glob::{MatchOptions, Pattern};
use secrecy::zeroize::Zeroizing;

use super::expand::Env;
use super::file::path_in;
use super::read::{At, Reader, for_key};
use super::source::{Document, Draft, Source};
use super::table::Table;
use super::wrong::Wrong;

const KEY: &str = "include";

/// What is asked of the disk.
pub(super) trait Files {
    /// The files that `pattern` matches, in the order of their names, without hidden ones and what editors leave.
    ///
    /// # Errors
    /// It is no pattern, or a folder can't be looked into.
    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, Wrong>;

    /// The text of the file `path`.
    ///
    /// # Errors
    /// It can't be read, or is not UTF-8 text.
    fn read(&self, path: &Path) -> io::Result<Zeroizing<String>>;

    /// The one path of a file that has several.
    fn identity(&self, path: &Path) -> PathBuf;
}

/// The files of this machine.
pub(super) struct Disk;

/// None.
pub(super) struct NoFiles;

/// The files that a main file includes, in order.
pub(super) struct Included {
    pub(super) files: Vec<(PathBuf, Zeroizing<String>)>,
    /// What is wrong with `include`, and with files that can't be read.
    pub(super) drafts: Vec<Draft>,
}

/// An entry of `include`.
#[derive(PartialEq)]
enum Named {
    File(PathBuf),
    /// In the form that [`Files::matching`] takes.
    Pattern(String),
}

/// Reads the files that `main` includes, the first file of `source`.
pub(super) fn included(source: &Source<'_>, main: &Document<'_>, env: Env<'_>, files: &dyn Files) -> Included {
    let reader = Reader::new(source, env, Vec::new(), false);
    let mut reached = Reached { files, main: files.identity(source.main()), known: BTreeSet::new(), texts: Vec::new() };
    for At { value, span } in Table::any(&reader, &main.root).each(KEY, |text| named(source.main(), text)) {
        let found = match value {
            Named::File(path) => Ok(vec![path]),
            Named::Pattern(pattern) => files.matching(&pattern),
        };
        let wrong: Vec<_> = match found {
            Ok(paths) => paths.into_iter().filter_map(|path| reached.reach(path).err()).collect(),
            Err(wrong) => vec![wrong],
        };
        wrong.into_iter().for_each(|wrong| reader.error(&span, for_key(KEY, wrong)));
    }
    Included { files: reached.texts, drafts: reader.into_drafts() }
}

/// Reads an entry in the file `main`: a relative one starts at its folder.
fn named(main: &Path, text: &str) -> Result<Named, Wrong> {
    let folder = main.parent().unwrap_or(Path::new(""));
    let path = path_in(folder, text)?;
    if !text.contains(['*', '?', '[']) {
        return Ok(Named::File(path));
    }
    if Path::new(text).is_absolute() {
        return Ok(Named::Pattern(text.to_owned()));
    }
    let folder = folder.to_str().ok_or_else(|| Wrong::new("the folder of this file has a name that is not UTF-8"))?;
    // The folder's own name is no pattern, whatever is in it.
    let pattern = Path::new(&Pattern::escape(folder)).join(text);
    Ok(Named::Pattern(pattern.to_string_lossy().into_owned()))
}

/// What was reached so far.
struct Reached<'a> {
    files: &'a dyn Files,
    /// The main file's identity, and those of the others.
    main: PathBuf,
    known: BTreeSet<PathBuf>,
    texts: Vec<(PathBuf, Zeroizing<String>)>,
}

impl Reached<'_> {
    /// Reads the file `path`, unless it was read already.
    fn reach(&mut self, path: PathBuf) -> Result<(), Wrong> {
        let identity = self.files.identity(&path);
        if identity == self.main {
            let wrong = Wrong::new("the main file would include itself");
            return Err(wrong.hint("keep the others in a folder of their own, as in \"conf.d/*.toml\""));
        }
        if self.known.insert(identity) {
            let text = self.files.read(&path).map_err(|error| unreadable(&path, &error))?;
            self.texts.push((path, text));
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Wrong {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Wrong::new(format!("{path} does not exist")).hint("correct the name, or write a pattern: \"conf.d/*.toml\"")
        }
        io::ErrorKind::InvalidData => Wrong::new(format!("{path} is not UTF-8 text")),
        io::ErrorKind::PermissionDenied => Wrong::new(format!("{path} can't be read: {error}"))
            .hint("let the user that slotd runs as read it, as the main file"),
        _ => Wrong::new(format!("{path} can't be read: {error}")),
    }
}

impl Files for Disk {
    fn matching(&self, pattern: &str) -> Result<Vec<PathBuf>, Wrong> {
        let options =
            MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
        let wrong = |error: glob::PatternError| Wrong::new(format!("this is not a pattern: {}", error.msg));
        let mut found = Vec::new();
        for path in glob::glob_with(pattern, options).map_err(wrong)? {
            let path = path.map_err(|error| {
                Wrong::new(format!("{} can't be looked into: {}", error.path().display(), error.error()))
            })?;
            // What is not there, behind a link, is told when it is read.
            if is_meant(&path) && fs::metadata(&path).map_or(true, |metadata| metadata.is_file()) {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }

    fn read(&self, path: &Path) -> io::Result<Zeroizing<String>> {
        fs::read_to_string(path).map(Zeroizing::new)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        fs::canonicalize(path).or_else(|_| path::absolute(path)).unwrap_or_else(|_| path.to_owned())
    }
}

/// Whether a pattern means the file: neither a hidden one nor one that an editor left.
fn is_meant(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with(['.', '#']) && !name.ends_with('~')
}

impl Files for NoFiles {
    fn matching(&self, _: &str) -> Result<Vec<PathBuf>, Wrong> {
        Err(Wrong::new("no other file is read here"))
    }

    fn read(&self, _: &Path) -> io::Result<Zeroizing<String>> {
        Err(io::Error::other("no other file is read here"))
    }

    fn identity(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}
