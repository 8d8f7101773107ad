//! The tests of this package by name, as tables name them.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "each test binary takes it in where it needs it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Whether `FILE::FUNCTION` is a test: `tests/FILE`, or `src/…` with that. In a table for both kinds of clusters it is one
/// for each.
pub fn is_a_test(name: &str) -> bool {
    let Some((file, function)) = name.rsplit_once("::") else { return false };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = if file.starts_with("src/") { root.join(file) } else { root.join("tests").join(file) };
    let Ok(text) = fs::read_to_string(path) else { return false };
    functions(&text).contains_key(function)
}

/// The tests of a source: functions below `#[test]`, `#[tokio::test…]`, or in the macro `both!`.
fn functions(text: &str) -> BTreeMap<String, usize> {
    let (mut found, mut marked, mut both) = (BTreeMap::new(), false, false);
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        both |= line.starts_with("both! {");
        both &= line != "}";
        if trimmed.starts_with("#[test]") || trimmed.starts_with("#[tokio::test") {
            marked = true;
        }
        let Some((head, rest)) = trimmed.split_once("fn ") else { continue };
        if !matches!(head, "" | "async ") {
            continue;
        }
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // In the macro a test stands one step further in, and its helpers stand outside of it.
        if marked || both && line.starts_with("    async fn ") {
            found.insert(name, number);
        }
        marked = false;
    }
    found
}
