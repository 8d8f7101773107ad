//! Requests that delete: at once, when nothing holds it any more, or from the bottom up.

use serde_json::{Value, json};

use super::defaults::table;
use super::place::Place;
use super::refusal::{Refusal, named};
use super::state::{State, now_ms, now_text, text_of};

/// Deletes one object.
///
/// # Errors
/// 404 when it is not there, 409 when it is another one than `preconditions` says.
pub(super) fn delete(
    state: &mut State,
    place: &Place,
    options: &Value,
    dry_run: bool,
) -> Result<Value, Refusal> {
    let object = state.get(&place.key()).ok_or_else(|| Refusal::not_found(&place.kind, &place.name))?;
    for (what, name) in [("UID", "uid"), ("ResourceVersion", "resourceVersion")] {
        let wanted = &options["preconditions"][name];
        if wanted.is_string() && *wanted != object["metadata"][name] {
            let mut refusal = Refusal::stale(&place.kind, &place.name);
            let (wanted, there) =
                (wanted.as_str().unwrap_or_default(), object["metadata"][name].as_str().unwrap_or_default());
            refusal.message = format!(
                "Operation cannot be fulfilled on {} \"{}\": Precondition failed: {what} in precondition: {wanted}, {what} \
                 in object meta: {there}",
                place.kind.resource(),
                place.name
            );
            return Err(refusal);
        }
    }
    let gone = |object: &Value| {
        let mut details = named(&place.kind, &place.name, &place.kind.plural);
        details["uid"] = object["metadata"]["uid"].clone();
        json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
    };
    if dry_run {
        return Ok(gone(object));
    }
    let policy = options["propagationPolicy"].as_str().unwrap_or("Background");
    let body = gone(object);
    Ok(match remove(state, &place.key(), &place.kind.kind, policy, options["gracePeriodSeconds"].as_i64()) {
        Some(held) => held,
        None => body,
    })
}

/// Marks an object as going, or takes it away; gives what is left of it.
pub(super) fn remove(
    state: &mut State,
    key: &str,
    kind: &str,
    policy: &str,
    grace: Option<i64>,
) -> Option<Value> {
    let mut object = state.get(key)?.clone();
    let already = object["metadata"]["deletionTimestamp"].is_string();
    let before = object.clone();
    let meta = table(&mut object, &["metadata"]);
    let finalizer = match policy {
        "Foreground" => Some("foregroundDeletion"),
        "Orphan" => Some("orphan"),
        _ => None,
    };
    if let Some(finalizer) = finalizer.filter(|_| !already) {
        let all = meta.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            all.push(finalizer.into());
        }
    }
    let held = meta.get("finalizers").and_then(Value::as_array).is_some_and(|all| !all.is_empty());
    let stays = match kind {
        // The kubelet ends its containers first, unless no node has it.
        "Pod" => grace != Some(0) && object["spec"]["nodeName"].is_string() && !ended(&object),
        "Namespace" => true,
        _ => held,
    };
    if !stays && !held {
        state.remove(key);
        return None;
    }
    if !already {
        let seconds = if kind == "Pod" { grace.unwrap_or(30) } else { 0 };
        let meta = table(&mut object, &["metadata"]);
        let at = if kind == "Pod" { text_of(now_ms() + seconds * 1000) } else { now_text() };
        meta.insert("deletionTimestamp".to_owned(), at.into());
        meta.insert("deletionGracePeriodSeconds".to_owned(), seconds.into());
        if kind == "Namespace" {
            meta.remove("deletionGracePeriodSeconds");
            object["status"]["phase"] = "Terminating".into();
        }
    }
    if object == before {
        return Some(object);
    }
    Some(state.put(key, object))
}

fn ended(pod: &Value) -> bool {
    ["Succeeded", "Failed"].iter().any(|phase| pod["status"]["phase"] == *phase)
}
