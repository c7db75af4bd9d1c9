//! docs/bench/README.md says of each figure that is not reached why it is not, and of no other.

use std::fs;
use std::path::Path;

use crate::proof::rows;

/// The figures of the table with the columns `columns`, of those whose last cell `fits`; none if there is no such table.
fn named(rows: &[Vec<String>], columns: &[&str], fits: impl Fn(&str) -> bool) -> Vec<String> {
    let Some(head) = rows.iter().position(|row| row == columns) else { return Vec::new() };
    let table = rows[head + 2..].iter().take_while(|row| row.len() == columns.len());
    let fitting = table.filter(|row| row.last().is_some_and(|cell| fits(cell)));
    fitting.map(|row| row[0].clone()).collect()
}

#[test]
fn each_figure_that_is_not_reached_has_its_cause_on_the_page_and_no_other_has() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bench/README.md")).unwrap();
    let rows = rows(&page);
    let mut missed = named(&rows, &["figure", "bound", "measured", "reached"], |reached| reached != "yes");
    let mut explained = named(&rows, &["figure", "why"], |why| !why.is_empty());
    missed.sort();
    explained.sort();
    assert_eq!(
        explained, missed,
        "\"What misses, and why\" in docs/bench/README.md, beside its table \"Figures to reach\""
    );
}
