//! docs/BAD_DAY.md, held to what slotd really says.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Fails unless the page shows what `health` tells; `names` are those of this test and those of the page.
pub(crate) fn stands_in_the_page(health: &Value, names: &[(&str, &str)]) {
    let [state, reason, sentence, hint] =
        ["state", "reason", "sentence", "hint"].map(|key| health[key].as_str().unwrap_or_default());
    let block = format!("{state}, {reason}\n{sentence}\nhint: {hint}\n");
    let block = names.iter().fold(block, |block, (ours, its)| block.replace(ours, its));
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/BAD_DAY.md")).unwrap();
    assert!(page.contains(&format!("```text\n{block}```\n")), "docs/BAD_DAY.md does not show\n{block}");
}
