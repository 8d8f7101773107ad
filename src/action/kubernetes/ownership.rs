//! Whose fields are whose: what `metadata.managedFields` says, and how fields go back to what they were.
//!
//! Pure. A field is named by its path in `fieldsV1` (structured-merge-diff v6): `f:NAME` a field, `k:{…}` the item of a
//! list with these keys, `v:VALUE` an item that is the value itself, `i:N` the Nth item, `.` the thing itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// A path in an object.
pub(super) type Path = Vec<String>;

/// Fields of an object.
pub(super) type Fields = BTreeSet<Path>;

/// A field that was not given back, because it is somebody else's now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    /// As people read it.
    pub(super) field: String,
    /// Who has it.
    pub(super) owner: String,
}

/// The members of a `fieldsV1`.
pub(super) fn fields(fields_v1: &Value) -> Fields {
    fn walk(value: &Value, path: &mut Path, all: &mut Fields) {
        let Some(table) = value.as_object() else { return };
        if table.is_empty() && !path.is_empty() {
            all.insert(path.clone());
        }
        for (key, inner) in table {
            if key == "." {
                all.insert(path.clone());
                continue;
            }
            path.push(key.clone());
            walk(inner, path, all);
            path.pop();
        }
    }
    let mut all = Fields::new();
    walk(fields_v1, &mut Path::new(), &mut all);
    all.remove(&Path::new());
    all
}

/// The `fieldsV1` with these members.
pub(super) fn fields_v1(members: &Fields) -> Value {
    let mut root = json!({});
    for path in members {
        let mut at = &mut root;
        for part in path {
            at = &mut at[part.as_str()];
            if !at.is_object() {
                *at = json!({});
            }
        }
    }
    for path in members {
        let longer = members.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path));
        if longer {
            let mut at = &mut root;
            for part in path {
                at = &mut at[part.as_str()];
            }
            at["."] = json!({});
        }
    }
    root
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten()
}

fn is_of(entry: &Value, manager: &str) -> bool {
    entry["manager"] == manager && entry["subresource"].as_str().unwrap_or_default().is_empty()
}

/// Everything that a manager owns of an object, however it came to it; of its subresources nothing.
pub(super) fn owned(object: &Value, manager: &str) -> Fields {
    entries(object)
        .filter(|entry| is_of(entry, manager))
        .flat_map(|entry| fields(&entry["fieldsV1"]))
        .collect()
}

/// What is at a path; `None`: nothing.
pub(super) fn at<'v>(object: &'v Value, path: &[String]) -> Option<&'v Value> {
    let mut value = object;
    for part in path {
        value = match value.as_array() {
            Some(items) => &items[index(items, part)?],
            None => value.get(part.strip_prefix("f:")?)?,
        };
    }
    Some(value)
}

/// The item of a list that a part of a path names.
fn index(items: &[Value], part: &str) -> Option<usize> {
    let (kind, text) = part.split_once(':')?;
    match kind {
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(text).ok()?;
            // A key that is a default may be left out by who wrote it, never by the server.
            items.iter().position(|item| keys.iter().all(|(key, value)| item.get(key) == Some(value)))
        }
        "v" => {
            let wanted: Value = serde_json::from_str(text).ok()?;
            items.iter().position(|item| *item == wanted)
        }
        "i" => text.parse().ok().filter(|&at| at < items.len()),
        _ => None,
    }
}

fn parent<'v>(object: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    let mut value = object;
    for part in path {
        value = match value {
            Value::Array(items) => {
                let at = index(items, part)?;
                &mut items[at]
            }
            other => other.get_mut(part.strip_prefix("f:")?)?,
        };
    }
    Some(value)
}

fn remove(object: &mut Value, path: &[String]) {
    let Some((last, above)) = path.split_last() else { return };
    match parent(object, above) {
        Some(Value::Array(items)) => {
            if let Some(at) = index(items, last) {
                items.remove(at);
            }
        }
        Some(Value::Object(fields)) => {
            if let Some(name) = last.strip_prefix("f:") {
                fields.remove(name);
            }
        }
        _ => {}
    }
}

fn put(object: &mut Value, path: &[String], value: Value) {
    let Some((last, above)) = path.split_last() else { return };
    match parent(object, above) {
        Some(Value::Array(items)) => match index(items, last) {
            Some(at) => items[at] = value,
            None => items.push(value),
        },
        Some(Value::Object(fields)) => {
            if let Some(name) = last.strip_prefix("f:") {
                fields.insert(name.to_owned(), value);
            }
        }
        _ => {}
    }
}

/// A path as people read it: `.spec.containers[name=frigate].image`.
pub(super) fn shown(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        match part.split_once(':') {
            Some(("f", name)) => text.push_str(&format!(".{name}")),
            Some(("k", keys)) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(key, value)| {
                        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        format!("{key}={value}")
                    })
                    .collect();
                text.push_str(&format!("[{}]", keys.join(",")));
            }
            Some((_, value)) => text.push_str(&format!("[{value}]")),
            None => text.push_str(part),
        }
    }
    text
}

/// The object as it is, with the fields of `manager` as they were before: those that were there have their values
/// again, those that were not are gone. Fields that others have taken since stay, and are named.
pub(super) fn restored(is: &Value, before: &Value, manager: &str, touched: &Fields) -> (Value, Vec<Left>) {
    let ours = owned(is, manager);
    let others: Vec<(String, Fields)> = entries(is)
        .filter(|entry| !is_of(entry, manager))
        .map(|entry| (entry["manager"].as_str().unwrap_or_default().to_owned(), fields(&entry["fieldsV1"])))
        .collect();
    let owner_within = |path: &[String]| {
        let within = |fields: &Fields| {
            fields.range(path.to_vec()..).next().is_some_and(|first| first.starts_with(path))
        };
        others.iter().find(|(_, fields)| within(fields)).map(|(owner, _)| owner.clone())
    };
    let mut object = is.clone();
    let mut left = Vec::new();
    for path in &ours {
        let missing = (1..=path.len()).map(|end| &path[..end]).find(|part| at(before, part).is_none());
        if let Some(missing) = missing {
            // The highest thing that was not there and in which nobody else has anything.
            let free = (missing.len()..=path.len())
                .map(|end| &path[..end])
                .find(|part| owner_within(part).is_none());
            match free {
                Some(free) => remove(&mut object, free),
                None => {
                    let owner = owner_within(path).unwrap_or_default();
                    left.push(Left { field: shown(path), owner });
                }
            }
            continue;
        }
        let whole = !ours.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path));
        let was = at(before, path).cloned();
        if !whole || at(is, path) == was.as_ref() {
            continue;
        }
        match (owner_within(path), was) {
            (Some(owner), _) => left.push(Left { field: shown(path), owner }),
            (None, Some(was)) => put(&mut object, path, was),
            (None, None) => {}
        }
    }
    // What was ours before and went away when this was applied.
    for path in owned(before, manager).difference(&ours) {
        if at(&object, path).is_some() {
            continue;
        }
        let missing = (1..=path.len()).map(|end| &path[..end]).find(|part| at(&object, part).is_none());
        if let Some((missing, was)) = missing.and_then(|part| Some((part, at(before, part)?.clone()))) {
            put(&mut object, missing, was);
        }
    }
    // What we changed and is somebody else's now.
    for path in touched.difference(&ours) {
        let (now, was) = (at(is, path), at(before, path));
        if now.is_some_and(|now| !now.is_object() && !now.is_array())
            && now != was
            && let Some(owner) = owner_within(path)
        {
            left.push(Left { field: shown(path), owner });
        }
    }
    for path in &ours {
        for (end, part) in path.iter().enumerate() {
            match part.split_once(':') {
                Some(("k", keys)) => ordered(&mut object, before, &path[..end], keys),
                Some(("v", _)) => ordered(&mut object, before, &path[..end], "{}"),
                _ => {}
            }
        }
    }
    left.sort_by(|one, other| one.field.cmp(&other.field));
    left.dedup();
    (object, left)
}

/// Puts the items of a list into the order that they had; those that are new stay behind. An item goes by its keys, one
/// without by itself.
fn ordered(object: &mut Value, before: &Value, path: &[String], keys: &str) {
    let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
    let Some(was) = at(before, path).and_then(Value::as_array) else { return };
    let Some(Value::Array(items)) = parent(object, path) else { return };
    let same = |one: &Value, other: &Value| match keys.is_empty() {
        true => one == other,
        false => keys.keys().all(|key| one.get(key) == other.get(key)),
    };
    items.sort_by_key(|item| was.iter().position(|old| same(old, item)).unwrap_or(usize::MAX));
}

/// The `managedFields` of an object that was given back: `manager` owns what it owned before and no more, and who lost a
/// field to it has that again, where it has the value of then.
pub(super) fn handed_back(is: &Value, lost: &Fields, before: &Value, manager: &str) -> Value {
    let mut all: Vec<Value> = entries(is).filter(|entry| !is_of(entry, manager)).cloned().collect();
    for was in entries(before) {
        let ours = is_of(was, manager);
        if !ours && !was["subresource"].as_str().unwrap_or_default().is_empty() {
            continue;
        }
        let had = fields(&was["fieldsV1"]);
        let holds_others =
            |path: &Path| had.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path));
        // A thing that holds others is theirs again with any of them; a value only when it is the one of then.
        let again = |path: &&Path| {
            let now = at(is, path);
            (ours || lost.contains(*path)) && now.is_some() && (holds_others(path) || now == at(before, path))
        };
        let mut has: Fields = had.iter().filter(again).cloned().collect();
        if has.is_empty() {
            continue;
        }
        let same = |entry: &&mut Value| {
            ["manager", "operation", "apiVersion", "subresource"]
                .iter()
                .all(|key| entry.get(key) == was.get(key))
        };
        match all.iter_mut().find(same) {
            Some(entry) => {
                has.extend(fields(&entry["fieldsV1"]));
                entry["fieldsV1"] = fields_v1(&has);
            }
            None => {
                let mut entry = was.clone();
                entry["fieldsV1"] = fields_v1(&has);
                all.push(entry);
            }
        }
    }
    // The server takes an empty list for *keep them*; one empty entry says that there are none.
    if all.is_empty() { json!([{}]) } else { Value::Array(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(spec: Value, managed: Value) -> Value {
        json!({ "metadata": { "managedFields": managed }, "spec": spec })
    }

    fn entry(manager: &str, fields: Value) -> Value {
        json!({ "manager": manager, "operation": "Apply", "apiVersion": "v1", "fieldsV1": fields })
    }

    #[test]
    fn fields_there_and_back() {
        let v1 = json!({ "f:spec": { "f:a": {}, "f:list": { ".": {}, "k:{\"name\":\"x\"}": { ".": {}, "f:b": {} } } } });
        let members = fields(&v1);
        assert_eq!(members.len(), 4, "{members:?}");
        assert_eq!(fields_v1(&members), v1);
    }

    #[test]
    fn values_come_back_and_what_was_not_there_goes() {
        let before = object(json!({ "n": 1, "list": [{ "name": "x", "v": 1 }] }), json!([]));
        let ours = json!({ "f:spec": { "f:n": {}, "f:new": { "f:deep": {} }, "f:list": {
            "k:{\"name\":\"x\"}": { "f:v": {} }, "k:{\"name\":\"y\"}": { ".": {}, "f:name": {} } } } });
        let is = object(
            json!({ "n": 2, "new": { "deep": 1, "defaulted": 9 }, "list": [{ "name": "y", "defaulted": 1 }, { "name": "x", "v": 2 }] }),
            json!([entry("runner", ours)]),
        );
        let (back, left) = restored(&is, &before, "runner", &Fields::new());
        assert_eq!(back["spec"], before["spec"]);
        assert!(left.is_empty());
    }

    #[test]
    fn what_others_took_since_stays_and_is_named() {
        let before = object(json!({ "n": 1, "m": 1 }), json!([]));
        let managed = json!([
            entry("runner", json!({ "f:spec": { "f:m": {} } })),
            entry("somebody", json!({ "f:spec": { "f:n": {} } })),
        ]);
        let is = object(json!({ "n": 3, "m": 2 }), managed);
        let touched = fields(&json!({ "f:spec": { "f:n": {}, "f:m": {} } }));
        let (back, left) = restored(&is, &before, "runner", &touched);
        assert_eq!(back["spec"], json!({ "n": 3, "m": 1 }));
        assert_eq!(left, [Left { field: ".spec.n".to_owned(), owner: "somebody".to_owned() }]);
    }

    #[test]
    fn who_lost_a_field_has_it_again() {
        let theirs = json!({ "f:spec": { "f:n": {}, "f:m": {} } });
        let before = object(json!({ "n": 1, "m": 1 }), json!([entry("kubectl", theirs.clone())]));
        let managed = json!([
            entry("runner", json!({ "f:spec": { "f:n": {} } })),
            entry("kubectl", json!({ "f:spec": { "f:m": {} } })),
        ]);
        let is = object(json!({ "n": 1, "m": 1 }), managed);
        let back = handed_back(&is, &owned(&is, "runner"), &before, "runner");
        assert_eq!(back, json!([entry("kubectl", theirs)]));
        let alone = object(json!({ "n": 2 }), json!([entry("runner", json!({ "f:spec": { "f:n": {} } }))]));
        assert_eq!(
            handed_back(&alone, &owned(&alone, "runner"), &object(json!({}), json!([])), "runner"),
            json!([{}])
        );
    }
}
