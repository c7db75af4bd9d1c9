//! What the files of one series are called.

use std::path::{Path, PathBuf};

/// The names of a series, all in one folder.
#[derive(Debug)]
pub(super) struct Names {
    current: PathBuf,
}

impl Names {
    pub(super) const fn new(current: PathBuf) -> Self {
        Self { current }
    }

    /// `shop.jsonl`: the file that is written.
    pub(super) fn current(&self) -> &Path {
        &self.current
    }

    /// The folder of all of them.
    pub(super) fn dir(&self) -> &Path {
        self.current.parent().unwrap_or_else(|| Path::new("/"))
    }

    /// `shop.jsonl.cursor`.
    pub(super) fn sidecar(&self) -> PathBuf {
        self.with_suffix(".cursor")
    }

    /// `shop.jsonl.lock`.
    pub(super) fn lock(&self) -> PathBuf {
        self.with_suffix(".lock")
    }

    /// `shop.000001.jsonl`: the finished file of a number.
    pub(super) fn finished(&self, number: u64) -> PathBuf {
        let (stem, extension) = self.parts();
        self.current.with_file_name(format!("{stem}.{number:06}{extension}"))
    }

    /// The number of the finished file called `name`; `None` for every other file.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let (stem, extension) = self.parts();
        let digits = name.strip_prefix(&stem)?.strip_prefix('.')?.strip_suffix(&extension)?;
        let number = digits.parse().ok()?;
        (format!("{number:06}") == digits).then_some(number)
    }

    fn parts(&self) -> (String, String) {
        let stem = self.current.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let extension = self.current.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
        (stem, extension.unwrap_or_default())
    }

    fn with_suffix(&self, suffix: &str) -> PathBuf {
        let mut name = self.current.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.current.with_file_name(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_files_are_named_after_the_current_one_and_told_apart_from_others() {
        let names = Names::new(PathBuf::from("/c/shop.jsonl"));
        assert_eq!(names.finished(1), Path::new("/c/shop.000001.jsonl"));
        assert_eq!(names.finished(12_345_678), Path::new("/c/shop.12345678.jsonl"));
        assert_eq!(names.sidecar(), Path::new("/c/shop.jsonl.cursor"));
        assert_eq!(names.dir(), Path::new("/c"));
        assert_eq!(names.number("shop.000001.jsonl"), Some(1));
        assert_eq!(names.number("shop.12345678.jsonl"), Some(12_345_678));
        for other in [
            "shop.jsonl",
            "shop.1.jsonl",
            "shop.0000001.jsonl",
            "shop.+00001.jsonl",
            "shop2.000001.jsonl",
            "shop.000001.jsonl.gz",
            "shop.jsonl.cursor",
            "shop.000001.json",
        ] {
            assert_eq!(names.number(other), None, "{other}");
        }
        let bare = Names::new(PathBuf::from("/c/shop"));
        assert_eq!(bare.finished(7), Path::new("/c/shop.000007"));
        assert_eq!(bare.number("shop.000007"), Some(7));
    }
}
