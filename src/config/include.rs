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
#[derive(Default)]
pub(super) struct Included {
    pub(super) files: Vec<(PathBuf, Zeroizing<String>)>,
    /// What is wrong with `include`, and with files that can't be read.
    pub(super) drafts: Vec<Draft>,
}

/// Reads the files that the file `path`, which is `main`, includes.
pub(super) fn included(source: &Source<'_>, main: &Document<'_>, env: Env<'_>, files: &dyn Files) -> Included {
    let reader = Reader::new(source, env, Vec::new(), false);
    let mut included = Vec::new();
    let mut known = BTreeSet::from([files.identity(reader.main())]);
    let top = Table::any(&reader, &main.root);
    for At { value: pattern, span } in top.each(KEY, pattern_in(reader.main())) {
        let mut each = |path: PathBuf| -> Result<(), Wrong> {
            let identity = files.identity(&path);
            if identity == files.identity(reader.main()) {
                let wrong = Wrong::new("the main file would include itself");
                return Err(wrong.hint("keep the others in a folder of their own, as in \"conf.d/*.toml\""));
            }
            if known.insert(identity) {
                let text = files.read(&path).map_err(|error| unreadable(&path, &error))?;
                included.push((path, text));
            }
            Ok(())
        };
        let found = if is_pattern(&pattern) { files.matching(&pattern) } else { Ok(vec![PathBuf::from(pattern)]) };
        let outcomes = found.map_or_else(|wrong| vec![Err(wrong)], |paths| paths.into_iter().map(&mut each).collect());
        for wrong in outcomes.into_iter().filter_map(Result::err) {
            reader.error(&span, for_key(KEY, wrong));
        }
    }
    Included { files: included, drafts: reader.into_drafts() }
}

/// Reads a pattern of the file `main`: a relative one starts at its folder, whose own name is no pattern.
fn pattern_in(main: &Path) -> impl Fn(&str) -> Result<String, Wrong> {
    let folder = main.parent().map_or_else(PathBuf::new, Path::to_owned);
    move |text| {
        let path = path_in(&folder, text)?;
        let utf8 = || Wrong::new("the folder of this file has a name that is not UTF-8").hint("rename the folder");
        if !is_pattern(text) || Path::new(text).is_absolute() {
            return path.into_os_string().into_string().map_err(|_| utf8());
        }
        let folder = folder.to_str().ok_or_else(utf8)?;
        Ok(Path::new(&Pattern::escape(folder)).join(text).to_string_lossy().into_owned())
    }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
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
