//! docs/PROOF.md is what the tests are: it names every crash point and every break, and no test that is not there.

use std::fs;
use std::path::Path;

use slotd::faults::{Break, Point};

/// All files below `folder` that end in `.rs`, one after the other.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(&path).unwrap();
        }
    }
    text
}

/// The cells of the rows of all tables, without their quotes.
pub(crate) fn rows(page: &str) -> Vec<Vec<String>> {
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
    page.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')).map(cells).collect()
}

#[test]
fn the_page_names_every_point_and_break_in_order_and_only_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = rows(&fs::read_to_string(root.join("docs/PROOF.md")).unwrap());
    let code = sources(&root.join("src")) + &sources(&root.join("tests/it"));
    let table = |head: &str| {
        let from = rows.iter().position(|row| row[0] == head).unwrap();
        let named: Vec<_> = rows[from + 2..].iter().take_while(|row| row.len() == rows[from].len()).collect();
        for row in &named {
            for test in row.last().unwrap().split(", ") {
                let path = test.rsplit("::").next().unwrap();
                let there = code.contains(&format!("fn {path}(")) || code.contains(&format!("    {path}: "));
                assert!(there, "docs/PROOF.md names the test {test}, which does not exist");
            }
        }
        named.iter().map(|row| row[0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(table("Point"), Point::ALL.map(|point| format!("{point:?}")));
    assert_eq!(table("Break"), Break::ALL.map(|rule| format!("{rule:?}")));
}
