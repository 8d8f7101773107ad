//! Merging: what an apply makes of an object, and the other patches.
//!
//! Source: structured-merge-diff v6 for apply; RFC 7386 for merge patches, RFC 6902 for JSON patches; of strategic merge
//! patches the lists with keys, `null` and `$patch: delete`.

use serde_json::{Map, Value};

use super::fields::{Fields, Shape};

/// A value with everything in it that `config` says.
pub(super) fn merge(live: &Value, config: &Value, shape: Shape<'_>) -> Value {
    let (Some(old), Some(parts)) = (shape.parts(live), shape.parts(config)) else { return config.clone() };
    match live {
        Value::Object(table) => {
            let mut merged = table.clone();
            for (name, below, value) in parts {
                let key = name.strip_prefix("f:").unwrap_or(&name);
                let new = match table.get(key) {
                    Some(old) if !old.is_null() => merge(old, value, below),
                    _ => value.clone(),
                };
                merged.insert(key.to_owned(), new);
            }
            Value::Object(merged)
        }
        _ => Value::Array(merge_items(&old, &parts, shape)),
    }
}

/// The items of a list: those that are there keep their places, new ones come before the one that they are applied before.
fn merge_items(
    old: &[(String, Shape<'_>, &Value)],
    new: &[(String, Shape<'_>, &Value)],
    shape: Shape<'_>,
) -> Vec<Value> {
    let (mut all, mut next) = (Vec::new(), 0);
    let find = |name: &String| old.iter().find(|(known, _, _)| known == name).map(|(_, _, item)| *item);
    let item = |(name, _, value): &(String, Shape<'_>, &Value)| match find(name) {
        Some(there) => merge_item(there, value, shape),
        None => (*value).clone(),
    };
    for (name, _, value) in old {
        match new.iter().position(|(applied, _, _)| applied == name) {
            None => all.push((*value).clone()),
            Some(at) if at >= next => {
                all.extend(new[next..=at].iter().map(item));
                next = at + 1;
            }
            // It came with one before.
            Some(_) => {}
        }
    }
    all.extend(new[next..].iter().map(item));
    all
}

/// An item of a list with keys; one of a set is what it is.
fn merge_item(live: &Value, config: &Value, shape: Shape<'_>) -> Value {
    let (Value::Object(old), Value::Object(new)) = (live, config) else { return config.clone() };
    let mut merged = old.clone();
    for (key, value) in new.iter().filter(|(_, value)| !value.is_null()) {
        let value = match old.get(key) {
            Some(old) if !old.is_null() => merge(old, value, shape.below(key)),
            _ => value.clone(),
        };
        merged.insert(key.clone(), value);
    }
    Value::Object(merged)
}

/// Takes out what its manager no longer applies, unless somebody keeps it.
pub(super) fn prune(value: &mut Value, gone: &Fields, kept: &Fields, shape: Shape<'_>) {
    let nothing = Fields::default();
    for (name, part) in &gone.below {
        let keeps = kept.below.get(name).unwrap_or(&nothing);
        let whole = part.here && keeps.is_empty();
        match value {
            Value::Object(table) => {
                let key = name.strip_prefix("f:").unwrap_or(name);
                if whole {
                    table.remove(key);
                } else if let Some(inner) = table.get_mut(key) {
                    prune(inner, part, keeps, shape.below(key));
                    let empty = inner.as_object().is_some_and(Map::is_empty)
                        || inner.as_array().is_some_and(Vec::is_empty);
                    if empty && !keeps.here {
                        table.remove(key);
                    }
                }
            }
            Value::Array(items) => {
                let Some(at) = items.iter().position(|item| shape.item(item).as_ref() == Some(name)) else {
                    continue;
                };
                if whole {
                    items.remove(at);
                } else {
                    prune(&mut items[at], part, keeps, shape);
                }
            }
            _ => {}
        }
    }
}

/// A merge patch.
pub(super) fn patch(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(table) = value else { return };
    for (key, change) in changes {
        if change.is_null() {
            table.remove(key);
        } else {
            self::patch(table.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// A strategic merge patch.
pub(super) fn strategic(value: &mut Value, change: &Value, shape: Shape<'_>) {
    match (value, change) {
        (Value::Object(table), Value::Object(changes)) => {
            for (key, change) in changes.iter().filter(|(key, _)| !key.starts_with('$')) {
                if change.is_null() {
                    table.remove(key);
                } else if let Some(inner) = table.get_mut(key).filter(|inner| !inner.is_null()) {
                    strategic(inner, change, shape.below(key));
                } else {
                    table.insert(key.clone(), change.clone());
                }
            }
        }
        (Value::Array(items), Value::Array(changes))
            if changes.iter().all(|one| shape.item(one).is_some()) =>
        {
            for change in changes {
                let at = items.iter().position(|item| shape.item(item) == shape.item(change));
                match (at, change["$patch"] == "delete") {
                    (Some(at), true) => {
                        items.remove(at);
                    }
                    (None, true) => {}
                    (Some(at), false) => strategic(&mut items[at], change, shape),
                    (None, false) => items.push(change.clone()),
                }
            }
        }
        (value, change) => *value = change.clone(),
    }
}

/// A JSON patch: `add`, `replace`, `remove` and `test`.
///
/// # Errors
/// In the words of the real server, where something cannot be done.
pub(super) fn json_patch(value: &mut Value, patch: &Value) -> Result<(), String> {
    let Some(steps) = patch.as_array() else { return Err("a JSON patch is a list".to_owned()) };
    for step in steps {
        let path = step["path"].as_str().unwrap_or_default();
        let missing =
            || format!("jsonpatch {} operation does not apply: doc is missing path: {path}", step["op"]);
        let (parent, key) = path.rsplit_once('/').ok_or_else(missing)?;
        let key = key.replace("~1", "/").replace("~0", "~");
        let there = value.pointer(path).cloned();
        match step["op"].as_str() {
            Some("test") if there.as_ref() == step.get("value") => continue,
            Some("test") => return Err(format!("testing value {path} failed: test failed")),
            Some("replace" | "remove") if there.is_none() => return Err(missing()),
            Some("add" | "replace" | "remove") => {}
            _ => return Err(format!("Unexpected kind: {}", step["op"])),
        }
        let removes = step["op"] == "remove";
        match value.pointer_mut(parent).ok_or_else(missing)? {
            Value::Object(table) if removes => {
                table.remove(&key);
            }
            Value::Object(table) => {
                table.insert(key, step["value"].clone());
            }
            Value::Array(items) => {
                let at = if key == "-" { items.len() } else { key.parse().map_err(|_| missing())? };
                if removes {
                    items.remove(at);
                } else if step["op"] == "replace" {
                    items[at] = step["value"].clone();
                } else if at <= items.len() {
                    items.insert(at, step["value"].clone());
                } else {
                    return Err(missing());
                }
            }
            _ => return Err(missing()),
        }
    }
    Ok(())
}
