//! What an apply would change, as text: the object before and after as YAML, what is secret masked.

use serde_json::Value;
use similar::TextDiff;

use super::current::{Foreseen, plain};
use super::wanted::Wanted;
use crate::transport::MASK;

/// How much of all differences is shown, in bytes.
const SHOWN_MAX: usize = 256 << 10;

/// The differences of all objects that would change, and every refusal; empty: nothing would.
pub(super) fn of_all(wanted: &[Wanted], present: &[Option<Value>], foreseen: &[Foreseen]) -> String {
    let mut text = String::new();
    for ((wanted, present), foreseen) in wanted.iter().zip(present).zip(foreseen) {
        let name = wanted.object.shown();
        match foreseen {
            Foreseen::Same => {}
            Foreseen::Refused(error) => {
                text.push_str(&format!("! {name} would be refused: {}\n", error.message));
                for cause in error.conflicts() {
                    text.push_str(&format!("!   {}: {}\n", cause.field, cause.message));
                }
            }
            Foreseen::Created(None) => text.push_str(&format!("+ {name} would be created\n")),
            Foreseen::Created(Some(would)) => {
                text.push_str(&format!("+ {name} would be created\n"));
                text.push_str(&one("", &yaml(would, None)));
            }
            Foreseen::Changed(would) => {
                text.push_str(&format!("~ {name} would be changed\n"));
                let is = present.as_ref().map(|is| yaml(is, None)).unwrap_or_default();
                text.push_str(&one(&is, &yaml(would, present.as_ref())));
            }
        }
        if text.len() > SHOWN_MAX {
            let mut end = SHOWN_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str("\n… and more\n");
            break;
        }
    }
    text
}

fn one(is: &str, would: &str) -> String {
    let diff = TextDiff::from_lines(is, would);
    let text = diff.unified_diff().context_radius(2).to_string();
    text.lines().filter(|line| !line.starts_with("\\ ")).map(|line| format!("  {line}\n")).collect()
}

/// An object as YAML, what is secret masked.
fn yaml(object: &Value, before: Option<&Value>) -> String {
    let shown = veiled(plain(object), before);
    serde_saphyr::to_string(&shown).unwrap_or_else(|_| format!("{shown:#}\n"))
}

/// An object as it may be told of. Values of a Secret are masked; one that differs from what was there says so.
pub(crate) fn veiled(mut shown: Value, before: Option<&Value>) -> Value {
    if shown["kind"] == "Secret" {
        for part in ["data", "stringData"] {
            let Some(values) = shown.get_mut(part).and_then(Value::as_object_mut) else { continue };
            for (key, value) in values {
                let was = before.map(|before| &before[part][key.as_str()]);
                let changed = was.is_some_and(|was| was != value);
                *value = if changed { format!("{MASK} (another value)").into() } else { MASK.into() };
            }
        }
        // `kubectl apply` without server-side keeps the whole object, values included, in an annotation.
        if let Some(annotations) = shown["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_secrets_are_masked_and_changes_of_them_are_seen() {
        let is = json!({ "kind": "Secret", "metadata": { "name": "s" }, "data": { "a": "b2xk", "b": "c2FtZQ==" } });
        let would = json!({ "kind": "Secret", "metadata": { "name": "s" }, "data": { "a": "bmV3", "b": "c2FtZQ==" } });
        let text = one(&yaml(&is, None), &yaml(&would, Some(&is)));
        assert!(text.contains("another value"), "{text}");
        for secret in ["b2xk", "bmV3", "c2FtZQ"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
