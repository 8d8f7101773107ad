//! The controllers, the scheduler and the kubelets: what a cluster does by itself.
//!
//! All of it is computed from the state and the time, so that a lab that was killed goes on where it was. Something that
//! takes time notes when it is due ([`State::wake_at`]). The words are those of Kubernetes 1.36 (facts/transcripts/
//! k8s-rollout.json), because programs match on them.

mod deployments;
mod garbage;
mod kubelet;
mod scheduler;
mod services;
mod volumes;

use serde_json::{Value, json};

use super::state::{State, now_ms};

pub(super) use volumes::PROVISIONER;

/// Rounds until everything rests; an answer to one change is another one, some ten deep.
const ROUNDS_MAX: usize = 50;

/// Lets everybody work until nothing changes any more.
pub(super) fn run(state: &mut State) {
    for _ in 0..ROUNDS_MAX {
        let before = state.revision;
        state.due_ms = None;
        let now = now_ms();
        garbage::run(state);
        deployments::run(state, now);
        volumes::run(state);
        scheduler::run(state);
        kubelet::run(state, now);
        services::run(state, now);
        if state.revision == before {
            return;
        }
    }
    // Whatever is not at rest yet goes on soon.
    state.wake_at(now_ms() + 50);
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

fn deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn owned_by(object: &Value, uid: &Value) -> bool {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == *uid)
}

fn owner(object: &Value) -> Value {
    json!([{
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
    }])
}

/// A condition of an object.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

/// Sets a condition, keeping the time at which it last changed.
fn set_condition(object: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    let old = condition(object, kind).filter(|old| old["status"] == status);
    let since = old.map_or_else(|| json!(now), |old| old["lastTransitionTime"].clone());
    let mut new = json!({ "type": kind, "status": status, "lastTransitionTime": since });
    if !reason.is_empty() {
        new["reason"] = reason.into();
    }
    if !message.is_empty() {
        new["message"] = message.into();
    }
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = json!([]);
    }
    let Some(all) = object["status"]["conditions"].as_array_mut() else { return };
    match all.iter_mut().find(|one| one["type"] == kind) {
        Some(old) => *old = new,
        None => all.push(new),
    }
}

fn drop_condition(object: &mut Value, kind: &str) {
    if let Some(all) = object["status"]["conditions"].as_array_mut() {
        all.retain(|one| one["type"] != kind);
    }
}
