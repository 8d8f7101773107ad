//! What a recorded pre-image may show: of what it is, how much there is of it, and no content (P7).

use serde_json::{Map, Value, json};

use super::guard;
use super::story::value_shown;

/// Names of fields whose values are masked, whatever they hold.
const MASKED: [&str; 6] = ["secret", "password", "token", "key", "credential", "auth"];

/// A pre-image for people: `target`, `kept` in words, and what it holds, piece by piece. Contents are named by length
/// and hash alone; values of fields that sound like secrets are masked.
pub fn pre_image_shown(kept: &Value) -> Value {
    let target = kept.get("target").and_then(Value::as_str).unwrap_or("what the action changes");
    let sealed = kept.get("sealed").is_some_and(Value::is_object);
    let words = match sealed {
        true => "sealed, because it may hold a secret",
        false => "kept in clear",
    };
    let mut pieces = Vec::new();
    let mut piece =
        |name: &str, text: String| pieces.push(json!({ "name": guard::line(name), "text": text }));
    if let Some(body) = kept.pointer("/sealed/body") {
        piece("sealed content", content(body));
    }
    if let Some(Value::Object(fields)) = kept.pointer("/clear/value") {
        shown_fields(fields, &mut piece);
    } else if let Some(value) = kept.pointer("/clear/value").filter(|value| !value.is_null()) {
        piece("value", value_shown(value));
    }
    if let Some(Value::Object(contents)) = kept.pointer("/clear/contents") {
        contents.iter().for_each(|(name, body)| piece(name, content(body)));
    }
    json!({ "target": guard::line(target), "sealed": sealed, "kept": words, "pieces": pieces })
}

fn shown_fields(fields: &Map<String, Value>, piece: &mut dyn FnMut(&str, String)) {
    for (name, value) in fields {
        let lower = name.to_lowercase();
        match value {
            Value::Null => {}
            _ if MASKED.iter().any(|word| lower.contains(word)) => piece(name, "masked".to_owned()),
            // What has parts may have such names further in; how much there is has to do.
            Value::Object(parts) => piece(name, super::human::count(parts.len(), "field")),
            Value::Array(parts) => piece(name, super::human::count(parts.len(), "item")),
            value => piece(name, value_shown(value)),
        }
    }
}

fn content(body: &Value) -> String {
    let bytes = body.get("bytes").and_then(Value::as_u64).unwrap_or(0);
    let hash = body.get("sha256").and_then(Value::as_str).unwrap_or("");
    format!("{bytes} bytes, sha256 {}", guard::cut(&guard::line(hash), 13))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_content_and_nothing_that_sounds_secret() {
        let kept = json!({
            "v": 1, "target": "`/etc/motd`",
            "clear": {
                "value": { "mode": "0644", "api_token": "abc", "data": { "password": "abc" } },
                "contents": { "content": { "sha256": "00112233445566778899", "bytes": 7 } },
            },
        });
        let shown = pre_image_shown(&kept);
        assert!(!shown.to_string().contains("abc"), "{shown}");
        assert_eq!(shown["target"], "`/etc/motd`");
        assert!(shown.to_string().contains("7 bytes"), "{shown}");
        let sealed = json!({ "v": 1, "target": "x", "sealed": { "key": "k", "body": { "sha256": "ab", "bytes": 9 } } });
        assert_eq!(pre_image_shown(&sealed)["sealed"], true);
    }
}
