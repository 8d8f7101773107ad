//! What goes when something else goes: dependents, and everything in a namespace.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::delete::remove;
use super::super::state::State;
use super::{deleting, owned_by, text};

pub(super) fn run(state: &mut State) {
    namespaces(state);
    orphans(state);
    foreground(state);
}

fn namespaces(state: &mut State) {
    for key in state.keys("namespaces", "") {
        let Some(namespace) = state.get(&key).filter(|namespace| deleting(namespace)) else { continue };
        let name = text(namespace, "/metadata/name").to_owned();
        let inside: Vec<(String, String)> = state
            .objects
            .iter()
            .filter(|(_, object)| text(object, "/metadata/namespace") == name)
            .map(|(key, object)| (key.clone(), text(object, "/kind").to_owned()))
            .collect();
        if inside.is_empty() {
            state.remove(&key);
        }
        for (key, kind) in inside {
            if state.get(&key).is_some_and(|object| !deleting(object)) {
                remove(state, &key, &kind, "Background", None);
            }
        }
    }
}

fn orphans(state: &mut State) {
    let there: BTreeSet<String> =
        state.objects.values().map(|object| text(object, "/metadata/uid").to_owned()).collect();
    let alone: Vec<(String, String)> = state
        .objects
        .iter()
        .filter(|(_, object)| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| {
                !owners.is_empty() && !owners.iter().any(|owner| there.contains(text(owner, "/uid")))
            }) && !deleting(object)
        })
        .map(|(key, object)| (key.clone(), text(object, "/kind").to_owned()))
        .collect();
    for (key, kind) in alone {
        remove(state, &key, &kind, "Background", None);
    }
}

/// Owners that wait for what they own.
fn foreground(state: &mut State) {
    let waiting: Vec<(String, Value)> = state
        .objects
        .iter()
        .filter(|(_, object)| {
            deleting(object) && finalizers(object).any(|one| one == "foregroundDeletion" || one == "orphan")
        })
        .map(|(key, object)| (key.clone(), object.clone()))
        .collect();
    for (key, object) in waiting {
        let orphan = finalizers(&object).any(|one| one == "orphan");
        let uid = &object["metadata"]["uid"];
        let below: Vec<(String, String)> = state
            .objects
            .iter()
            .filter(|(_, object)| owned_by(object, uid))
            .map(|(key, object)| (key.clone(), text(object, "/kind").to_owned()))
            .collect();
        for (key, kind) in &below {
            if orphan {
                state.edit(key, "garbage-collector", |object| {
                    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
                        owners.retain(|owner| owner["uid"] != *uid);
                    }
                });
            } else if state.get(key).is_some_and(|object| !deleting(object)) {
                remove(state, key, kind, "Foreground", None);
            }
        }
        if below.is_empty() || orphan {
            release(state, &key, &["foregroundDeletion", "orphan"]);
        }
    }
}

fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Takes finalizers away, and with the last of them the object.
pub(super) fn release(state: &mut State, key: &str, names: &[&str]) {
    state.edit(key, "garbage-collector", |object| {
        if let Some(all) = object["metadata"]["finalizers"].as_array_mut() {
            all.retain(|one| !names.iter().any(|name| one == name));
        }
    });
    let pod = key.starts_with("pods.");
    if state.get(key).is_some_and(|object| deleting(object) && finalizers(object).next().is_none() && !pod) {
        state.remove(key);
    }
}
