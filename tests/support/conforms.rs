//! Whether a JSON object is what `schema/events.schema.json` says.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries"
)]

use serde_json::Value;

/// Every object that `runner --json` wrote is one that the schema describes.
#[track_caller]
pub fn assert_described(objects: &[Value]) {
    let schema: Value = serde_json::from_str(include_str!("../../schema/events.schema.json")).unwrap();
    for object in objects {
        conforms(&schema, &schema, object, "object").unwrap();
    }
}

/// Whether `value` is what `schema` says: the few keywords that this schema uses, and no field beside those it
/// names. Another keyword is an error, so that none is passed over.
fn conforms(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(name) => &root["$defs"][name.trim_start_matches("#/$defs/")],
        None => schema,
    };
    for (keyword, rule) in schema.as_object().ok_or_else(|| format!("{at}: no such schema"))? {
        let right = match keyword.as_str() {
            "type" => rule.as_array().map_or(vec![rule], |all| all.iter().collect()).iter().any(|kind| {
                match kind.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                }
            }),
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "required" => {
                let names = rule.as_array().unwrap().iter();
                names.map(|name| name.as_str().unwrap()).all(|name| value.get(name).is_some())
            }
            "properties" => {
                for (name, part) in value.as_object().unwrap() {
                    let rule = rule.get(name).ok_or_else(|| format!("{at}.{name}: not in the schema"))?;
                    conforms(root, rule, part, &format!("{at}.{name}"))?;
                }
                true
            }
            "additionalProperties" => {
                for (name, part) in value.as_object().unwrap() {
                    conforms(root, rule, part, &format!("{at}.{name}"))?;
                }
                true
            }
            "items" => {
                for (place, part) in value.as_array().unwrap().iter().enumerate() {
                    conforms(root, rule, part, &format!("{at}[{place}]"))?;
                }
                true
            }
            "oneOf" => {
                let all = rule.as_array().unwrap().iter();
                let tried: Vec<_> = all.map(|each| conforms(root, each, value, at)).collect();
                if tried.iter().filter(|each| each.is_ok()).count() != 1 {
                    return Err(format!("{at}: {value} fits not exactly one: {tried:?}"));
                }
                true
            }
            "pattern" => value.as_str().unwrap().ends_with('Z'),
            "$schema" | "$id" | "title" | "description" | "$defs" => true,
            other => panic!("keyword {other}"),
        };
        if !right {
            return Err(format!("{at}: {value} is not {keyword} {rule}"));
        }
    }
    Ok(())
}
