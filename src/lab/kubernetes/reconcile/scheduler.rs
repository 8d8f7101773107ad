//! The scheduler: which node a pod gets, or why none.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::containers::granted;
use super::super::kinds::prefix;
use super::super::state::{State, annotation, now_text};
use super::{condition, deleting, set_condition, text};

/// The annotation by which a claim that waits for its first pod is told the node.
pub(super) const SELECTED: &str = "volume.kubernetes.io/selected-node";

pub(super) fn run(state: &mut State) {
    for key in state.keys("pods", "") {
        let Some(pod) = state.get(&key) else { continue };
        if deleting(pod) || pod["spec"]["nodeName"].is_string() {
            continue;
        }
        let pod = pod.clone();
        match choose(state, &pod) {
            Choice::Node(node) => {
                let name = text(&pod, "/metadata/name");
                let place = format!("{}/{name}", text(&pod, "/metadata/namespace"));
                state.edit(&key, "kube-scheduler", |pod| {
                    pod["spec"]["nodeName"] = node.as_str().into();
                    set_condition(pod, "PodScheduled", "True", "", "", &now_text());
                });
                let message = format!("Successfully assigned {place} to {node}");
                state.event(&key, "default-scheduler", "Normal", "Scheduled", &message);
            }
            Choice::WaitForVolume => {}
            Choice::Nowhere(message) => {
                state.edit(&key, "kube-scheduler", |pod| {
                    set_condition(pod, "PodScheduled", "False", "Unschedulable", &message, &now_text());
                });
                state.event(&key, "default-scheduler", "Warning", "FailedScheduling", &message);
            }
        }
    }
}

enum Choice {
    Node(String),
    WaitForVolume,
    Nowhere(String),
}

fn choose(state: &mut State, pod: &Value) -> Choice {
    let nodes: Vec<Value> = state.all("nodes", "").map(|(_, node)| node.clone()).collect();
    let all = nodes.len();
    let nowhere = |reasons: &BTreeMap<String, usize>| {
        let each: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        Choice::Nowhere(format!(
            "0/{all} nodes are available: {}. no new claims to deallocate, preemption: 0/{all} nodes are available: {all} \
             Preemption is not helpful for scheduling.",
            each.join(", ")
        ))
    };
    if state.failure("Pod", pod) == "unschedulable" {
        return nowhere(&BTreeMap::from([("Insufficient nvidia.com/gpu".to_owned(), all)]));
    }
    let claims = match claims(state, pod) {
        Ok(claims) => claims,
        Err(why) => return Choice::Nowhere(format!("0/{all} nodes are available: {why}. not found")),
    };
    let mut reasons = BTreeMap::new();
    for node in &nodes {
        match fits(state, pod, node, &claims) {
            Ok(()) => {
                let name = text(node, "/metadata/name").to_owned();
                let mut waits = false;
                for key in &claims {
                    if state.get(key).is_none_or(|claim| text(claim, "/status/phase") == "Bound") {
                        continue;
                    }
                    waits = true;
                    if state.get(key).is_some_and(|claim| annotation(claim, SELECTED).is_none()) {
                        state.edit(key, "kube-scheduler", |claim| {
                            super::super::defaults::table(claim, &["metadata", "annotations"])
                                .insert(SELECTED.to_owned(), json!(name));
                        });
                    }
                }
                return if waits { Choice::WaitForVolume } else { Choice::Node(name) };
            }
            Err(reason) => *reasons.entry(reason).or_insert(0) += 1,
        }
    }
    nowhere(&reasons)
}

/// The keys of the claims that a pod mounts.
fn claims(state: &State, pod: &Value) -> Result<Vec<String>, String> {
    let namespace = text(pod, "/metadata/namespace");
    let mut keys = Vec::new();
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let name = text(volume, "/persistentVolumeClaim/claimName");
        if name.is_empty() {
            continue;
        }
        let key = format!("{}{namespace}/{name}", prefix("persistentvolumeclaims", ""));
        let Some(claim) = state.get(&key) else {
            return Err(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        if text(claim, "/status/phase") != "Bound" && !waits_for_pod(state, claim) {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Whether a claim's volume is made only when a pod wants it.
pub(super) fn waits_for_pod(state: &State, claim: &Value) -> bool {
    let class = text(claim, "/spec/storageClassName");
    let class = state.get(&format!("{}/{class}", prefix("storageclasses", "storage.k8s.io")));
    class.is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer")
}

fn fits(state: &State, pod: &Value, node: &Value, claims: &[String]) -> Result<(), String> {
    let name = text(node, "/metadata/name");
    let labels = &node["metadata"]["labels"];
    let ready = condition(node, "Ready").is_some_and(|one| one["status"] == "True");
    if node["spec"]["unschedulable"] == true {
        return Err("node(s) were unschedulable".to_owned());
    }
    if !ready {
        return Err("node(s) had untolerated taint(s)".to_owned());
    }
    for taint in node["spec"]["taints"].as_array().into_iter().flatten() {
        let tolerated = pod["spec"]["tolerations"].as_array().into_iter().flatten().any(|one| {
            (one["key"] == taint["key"] || one["key"].is_null())
                && (one["operator"] == "Exists" || one["value"] == taint["value"])
        });
        if !tolerated && taint["effect"] != "PreferNoSchedule" {
            return Err("node(s) had untolerated taint(s)".to_owned());
        }
    }
    let selected = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    let mut matches = selected.into_iter().all(|(key, value)| labels.get(key) == Some(value));
    let wanted = pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution");
    matches &= wanted.is_none_or(|wanted| terms(wanted, labels));
    if !matches {
        return Err("node(s) didn't match Pod's node affinity/selector".to_owned());
    }
    for key in claims {
        let volume = state.get(key).map(|claim| text(claim, "/spec/volumeName")).unwrap_or_default();
        let volume = state.get(&format!("{}/{volume}", prefix("persistentvolumes", "")));
        let wanted = volume.and_then(|volume| volume.pointer("/spec/nodeAffinity/required"));
        if wanted.is_some_and(|wanted| !terms(wanted, labels)) {
            return Err("node(s) didn't match PersistentVolume's node affinity".to_owned());
        }
    }
    let wanted = granted(pod);
    let there: u64 = text(node, "/status/allocatable/nvidia.com~1gpu").parse().unwrap_or(0);
    let ended = |pod: &Value| ["Failed", "Succeeded"].contains(&text(pod, "/status/phase"));
    let used: u64 = state
        .all("pods", "")
        .filter(|(_, other)| text(other, "/spec/nodeName") == name && !ended(other))
        .map(|(_, other)| granted(other))
        .sum();
    if wanted > 0 && used + wanted > there {
        return Err("Insufficient nvidia.com/gpu".to_owned());
    }
    Ok(())
}

/// One of the terms holds for these labels.
fn terms(selector: &Value, labels: &Value) -> bool {
    selector["nodeSelectorTerms"].as_array().into_iter().flatten().any(|term| {
        term["matchExpressions"].as_array().into_iter().flatten().all(|one| {
            let value = one["key"].as_str().and_then(|key| labels.get(key));
            let listed =
                || one["values"].as_array().into_iter().flatten().any(|wanted| Some(wanted) == value);
            match one["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                _ => false,
            }
        })
    })
}
