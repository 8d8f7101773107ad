//! Comparisons of a value with what is expected of it: `json = { "/uptime" = { at_least = 60 } }`.
//!
//! One place for both sides: the loader reads comparisons to report what is wrong with them, and checks and actions
//! read them, rendered, to compare.

use regex_lite::Regex;
use serde_json::{Map, Value};

/// The words that a table of comparisons may have.
pub const WORDS: &[&str] =
    &["equals", "not", "at_least", "at_most", "one_of", "contains", "matches", "exists"];

/// One thing that is expected of a value.
#[derive(Debug, Clone)]
pub enum Comparison {
    /// It is this: numbers by their worth, so that `1` is `1.0`; everything else to the letter.
    Equals(Value),
    /// It is there and is not this.
    Not(Value),
    /// It is a number and not smaller.
    AtLeast(f64),
    /// It is a number and not larger.
    AtMost(f64),
    /// It is one of these.
    OneOf(Vec<Value>),
    /// A text that this stands in, or an array that has this item.
    Contains(Value),
    /// A text in which this regular expression is found somewhere; `^` and `$` bind it.
    Matches(Regex),
    /// It is there, or, when false, it is not.
    Exists(bool),
}

/// Why a comparison cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The word it stands at; absent: the value as a whole.
    pub word: Option<String>,
    /// What is wrong.
    pub message: String,
    /// It is a word that does not exist.
    pub unknown_word: bool,
}

/// Reads what is expected of one value: a table of [`WORDS`], or a value that it equals.
///
/// # Errors
/// Every part that cannot be read.
pub fn parse(value: &Value) -> Result<Vec<Comparison>, Vec<Unreadable>> {
    let Value::Object(table) = value else { return Ok(vec![Comparison::Equals(value.clone())]) };
    let mut read = Vec::new();
    let mut wrong = Vec::new();
    if table.is_empty() {
        let message = "an empty table expects nothing".to_owned();
        wrong.push(Unreadable { word: None, message, unknown_word: false });
    }
    for (word, value) in table {
        match comparison(word, value) {
            Ok(comparison) => read.push(comparison),
            Err(message) => {
                let unknown_word = !WORDS.contains(&word.as_str());
                wrong.push(Unreadable { word: Some(word.clone()), message, unknown_word });
            }
        }
    }
    if wrong.is_empty() { Ok(read) } else { Err(wrong) }
}

fn comparison(word: &str, value: &Value) -> Result<Comparison, String> {
    let number = || value.as_f64().ok_or_else(|| format!("`{word}` takes a number"));
    Ok(match word {
        "equals" => Comparison::Equals(value.clone()),
        "not" => Comparison::Not(value.clone()),
        "at_least" => Comparison::AtLeast(number()?),
        "at_most" => Comparison::AtMost(number()?),
        "one_of" => match value {
            Value::Array(items) if !items.is_empty() => Comparison::OneOf(items.clone()),
            _ => return Err("`one_of` takes an array that is not empty".to_owned()),
        },
        "contains" => Comparison::Contains(value.clone()),
        "matches" => {
            let text = value.as_str().ok_or("`matches` takes a regular expression as a string")?;
            let regex = Regex::new(text);
            Comparison::Matches(regex.map_err(|error| format!("`matches` cannot be read: {error}"))?)
        }
        "exists" => Comparison::Exists(value.as_bool().ok_or("`exists` takes `true` or `false`")?),
        _ => return Err(format!("there is no comparison `{word}`")),
    })
}

impl Comparison {
    /// Whether it holds of what was found; `None`: nothing was.
    pub fn holds(&self, found: Option<&Value>) -> bool {
        let number = || found.and_then(Value::as_f64);
        match self {
            Comparison::Equals(wanted) => found.is_some_and(|found| equal(found, wanted)),
            Comparison::Not(unwanted) => found.is_some_and(|found| !equal(found, unwanted)),
            Comparison::AtLeast(least) => number().is_some_and(|found| found >= *least),
            Comparison::AtMost(most) => number().is_some_and(|found| found <= *most),
            Comparison::OneOf(all) => found.is_some_and(|found| all.iter().any(|one| equal(found, one))),
            Comparison::Contains(part) => match (found, part) {
                (Some(Value::String(text)), Value::String(part)) => text.contains(part.as_str()),
                (Some(Value::Array(items)), part) => items.iter().any(|item| equal(item, part)),
                _ => false,
            },
            Comparison::Matches(regex) => {
                found.and_then(Value::as_str).is_some_and(|text| regex.is_match(text))
            }
            Comparison::Exists(there) => found.is_some() == *there,
        }
    }

    /// What is expected, in a few words.
    pub fn wanted(&self) -> String {
        match self {
            Comparison::Equals(value) => format!("`{value}`"),
            Comparison::Not(value) => format!("anything but `{value}`"),
            Comparison::AtLeast(least) => format!("at least {least}"),
            Comparison::AtMost(most) => format!("at most {most}"),
            Comparison::OneOf(all) => format!("one of {}", Value::Array(all.clone())),
            Comparison::Contains(part) => format!("something with `{part}` in it"),
            Comparison::Matches(regex) => format!("a match of `{regex}`"),
            Comparison::Exists(true) => "a value".to_owned(),
            Comparison::Exists(false) => "nothing".to_owned(),
        }
    }
}

/// Equality with numbers by their worth, at any depth.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => equal_tables(a, b),
        _ => a == b,
    }
}

fn equal_tables(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_comparison() {
        let found = json!({ "v": "0.16.1", "n": 60, "list": ["a", 1], "none": null });
        for (pointer, expected, holds) in [
            ("/v", json!("0.16.1"), true),
            ("/v", json!("0.16"), false),
            ("/n", json!(60.0), true),
            ("/n", json!("60"), false),
            ("/none", json!(null), true),
            ("/gone", json!(null), false),
            ("", json!({ "exists": true }), true),
            ("/list", json!({ "equals": ["a", 1.0] }), true),
            ("/list", json!({ "contains": 1.0 }), true),
            ("/list", json!({ "contains": "b" }), false),
            ("/v", json!({ "contains": "16" }), true),
            ("/v", json!({ "matches": r"^0\.16\.\d+$" }), true),
            ("/n", json!({ "matches": "60" }), false),
            ("/n", json!({ "at_least": 60, "at_most": 60 }), true),
            ("/n", json!({ "at_least": 60, "at_most": 59 }), false),
            ("/v", json!({ "at_least": 0 }), false),
            ("/v", json!({ "one_of": ["x", "0.16.1"] }), true),
            ("/v", json!({ "not": "x" }), true),
            ("/gone", json!({ "not": "x" }), false),
            ("/gone", json!({ "exists": false }), true),
            ("/none", json!({ "exists": false }), false),
        ] {
            let comparisons = parse(&expected).unwrap();
            let all = comparisons.iter().all(|comparison| comparison.holds(found.pointer(pointer)));
            assert_eq!(all, holds, "{pointer} {expected}");
        }
    }

    #[test]
    fn each_mistake_has_its_words() {
        for (expected, words) in [
            (json!({}), "expects nothing"),
            (json!({ "at_least": "x" }), "takes a number"),
            (json!({ "one_of": [] }), "not empty"),
            (json!({ "matches": "(" }), "cannot be read"),
            (json!({ "exists": 1 }), "`true` or `false`"),
            (json!({ "atleast": 1 }), "no comparison `atleast`"),
        ] {
            let wrong = parse(&expected).unwrap_err();
            assert!(wrong[0].message.contains(words), "{wrong:?}");
        }
    }
}
