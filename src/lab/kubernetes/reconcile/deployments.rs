//! Deployments and their ReplicaSets.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::delete::remove;
use super::super::faults::REFUSE;
use super::super::kinds;
use super::super::state::{State, label, suffix, text_of};
use super::{condition, deleting, drop_condition, number, owned_by, owner, set_condition, text};

const CONTROLLER: &str = "kube-controller-manager";
const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

pub(super) fn run(state: &mut State, now: i64) {
    for key in state.keys("deployments", "apps") {
        if state.get(&key).is_some_and(|object| !deleting(object)) {
            deployment(state, &key, now);
        }
    }
    for key in state.keys("replicasets", "apps") {
        if state.get(&key).is_some_and(|object| !deleting(object)) {
            replica_set(state, &key, now);
        }
    }
}

fn deployment(state: &mut State, key: &str, now: i64) {
    let Some(object) = state.get(key).cloned() else { return };
    let (namespace, name) = (text(&object, "/metadata/namespace"), text(&object, "/metadata/name"));
    let uid = &object["metadata"]["uid"];
    let template = &object["spec"]["template"];
    let digest = Sha256::digest(template.to_string());
    let hash: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let new_name = format!("{name}-{hash}");
    let wanted = number(&object, "/spec/replicas");
    let sets: Vec<(String, Value)> = state
        .all("replicasets", "apps")
        .filter(|(_, set)| owned_by(set, uid))
        .map(|(key, set)| (key.clone(), set.clone()))
        .collect();
    let revision = |set: &Value| {
        set["metadata"]["annotations"][REVISION]
            .as_str()
            .and_then(|text| text.parse::<i64>().ok())
            .unwrap_or(0)
    };
    let newest = sets.iter().map(|(_, set)| revision(set)).max().unwrap_or(0);
    let current = sets.iter().find(|(_, set)| text(set, "/metadata/name") == new_name);
    let old_pods = |state: &State| {
        let others: Vec<Value> = sets
            .iter()
            .filter(|(_, set)| text(set, "/metadata/name") != new_name)
            .map(|(_, set)| set["metadata"]["uid"].clone())
            .collect();
        state.all("pods", "").filter(|(_, pod)| others.iter().any(|uid| owned_by(pod, uid))).count()
    };
    let recreate = object["spec"]["strategy"]["type"] == "Recreate";
    let mut scale = wanted;
    if recreate && old_pods(state) > 0 {
        scale = 0;
    }
    match current {
        None => {
            let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            labels.insert(HASH.to_owned(), hash.as_str().into());
            let mut selector = object["spec"]["selector"].clone();
            selector["matchLabels"][HASH] = hash.as_str().into();
            let mut pod = template.clone();
            pod["metadata"]["labels"] = Value::Object(labels.clone());
            let set = json!({
                "metadata": {
                    "name": new_name, "namespace": namespace, "labels": labels, "ownerReferences": owner(&object),
                    "annotations": { REVISION: (newest + 1).to_string() },
                },
                "spec": { "replicas": scale, "selector": selector, "template": pod },
            });
            if let Some(kind) = kinds::find(state, "apps", "v1", "replicasets") {
                state.make(&kind, set);
            }
            let message = format!("Scaled up replica set {new_name} from 0 to {scale}");
            state.event(key, "deployment-controller", "Normal", "ScalingReplicaSet", &message);
        }
        Some((set_key, set)) => {
            let latest = revision(set) == newest;
            state.edit(set_key, CONTROLLER, |set| {
                // One that was there before (a rollback of the template) is the newest again.
                if !latest {
                    set["metadata"]["annotations"][REVISION] = (newest + 1).to_string().into();
                }
                set["spec"]["replicas"] = scale.into();
            });
        }
    }
    let ready = state
        .all("replicasets", "apps")
        .find(|(_, set)| owned_by(set, uid) && text(set, "/metadata/name") == new_name)
        .map_or(0, |(_, set)| number(set, "/status/readyReplicas"));
    for (set_key, set) in sets.iter().filter(|(_, set)| text(set, "/metadata/name") != new_name) {
        if number(set, "/spec/replicas") > 0 && (recreate || ready >= wanted) {
            state.edit(set_key, CONTROLLER, |set| set["spec"]["replicas"] = 0.into());
        }
    }
    status(state, key, &new_name, wanted, now);
}

fn status(state: &mut State, key: &str, new_name: &str, wanted: i64, now: i64) {
    let Some(object) = state.get(key).cloned() else { return };
    let uid = &object["metadata"]["uid"];
    let (mut replicas, mut ready, mut updated, mut terminating, mut failure, mut revision) =
        (0, 0, 0, 0, None, None);
    for (_, set) in state.all("replicasets", "apps").filter(|(_, set)| owned_by(set, uid)) {
        replicas += number(set, "/status/replicas");
        ready += number(set, "/status/readyReplicas");
        terminating += number(set, "/status/terminatingReplicas");
        if text(set, "/metadata/name") == new_name {
            updated = number(set, "/status/replicas");
            failure = condition(set, "ReplicaFailure").cloned();
            revision = set["metadata"]["annotations"].get(REVISION).cloned();
        }
    }
    let time = text_of(now);
    let old = object["status"].clone();
    let mut new = json!({ "observedGeneration": object["metadata"]["generation"] });
    let unavailable = (wanted - ready).max(0);
    let counts = [
        ("replicas", replicas),
        ("updatedReplicas", updated),
        ("readyReplicas", ready),
        ("availableReplicas", ready),
        ("unavailableReplicas", unavailable),
    ];
    for (name, count) in counts.iter().filter(|(_, count)| *count != 0) {
        new[*name] = (*count).into();
    }
    new["terminatingReplicas"] = terminating.into();
    new["conditions"] =
        old["conditions"].as_array().map_or_else(|| json!([]), |all| Value::Array(all.clone()));
    let mut changed = object.clone();
    changed["status"] = new;
    if ready >= wanted {
        let message = "Deployment has minimum availability.";
        set_condition(&mut changed, "Available", "True", "MinimumReplicasAvailable", message, &time);
    } else {
        let message = "Deployment does not have minimum availability.";
        set_condition(&mut changed, "Available", "False", "MinimumReplicasUnavailable", message, &time);
    }
    match failure {
        Some(failure) => {
            let (reason, message) = (text(&failure, "/reason"), text(&failure, "/message"));
            set_condition(&mut changed, "ReplicaFailure", "True", reason, message, &time);
        }
        None => drop_condition(&mut changed, "ReplicaFailure"),
    }
    let complete = updated == wanted && ready >= wanted && replicas == wanted;
    let fresh = old["observedGeneration"] != object["metadata"]["generation"];
    let progress = ["updatedReplicas", "readyReplicas", "replicas"]
        .iter()
        .any(|name| old[*name].as_i64().unwrap_or(0) != changed["status"][*name].as_i64().unwrap_or(0));
    let before = condition(&object, "Progressing").cloned();
    let last = before.as_ref().and_then(|one| one["lastUpdateTime"].as_str()).unwrap_or_default().to_owned();
    let last_ms = last.parse::<jiff::Timestamp>().map_or(now, jiff::Timestamp::as_millisecond);
    let deadline = last_ms + number(&object, "/spec/progressDeadlineSeconds") * 1000;
    let was = before.as_ref().map(|one| text(one, "/reason").to_owned()).unwrap_or_default();
    let (held, reason, message) = if complete {
        ("True", "NewReplicaSetAvailable", format!("ReplicaSet \"{new_name}\" has successfully progressed."))
    } else if fresh || progress || before.is_none() || was == "NewReplicaSetAvailable" {
        ("True", "ReplicaSetUpdated", format!("ReplicaSet \"{new_name}\" is progressing."))
    } else if was == "ProgressDeadlineExceeded" || now >= deadline {
        ("False", "ProgressDeadlineExceeded", format!("ReplicaSet \"{new_name}\" has timed out progressing."))
    } else {
        state.wake_at(deadline);
        ("True", "ReplicaSetUpdated", format!("ReplicaSet \"{new_name}\" is progressing."))
    };
    set_condition(&mut changed, "Progressing", held, reason, &message, &time);
    let moved = fresh || progress || was != reason;
    if let Some(all) = changed["status"]["conditions"].as_array_mut() {
        for one in all {
            let kept = if one["type"] == "Progressing" && !moved && !last.is_empty() {
                json!(last)
            } else if one["type"] == "Progressing" {
                json!(time)
            } else {
                one["lastTransitionTime"].clone()
            };
            one["lastUpdateTime"] = kept;
        }
    }
    if !complete && held == "True" {
        state.wake_at(if moved {
            now + number(&object, "/spec/progressDeadlineSeconds") * 1000
        } else {
            deadline
        });
    }
    state.edit(key, CONTROLLER, |object| {
        object["status"] = changed["status"].clone();
        if let Some(revision) = revision {
            super::super::defaults::table(object, &["metadata", "annotations"])
                .insert(REVISION.to_owned(), revision);
        }
    });
}

fn replica_set(state: &mut State, key: &str, now: i64) {
    let Some(set) = state.get(key).cloned() else { return };
    let (namespace, name) = (text(&set, "/metadata/namespace"), text(&set, "/metadata/name"));
    let uid = &set["metadata"]["uid"];
    let wanted = number(&set, "/spec/replicas");
    let ended = |pod: &Value| ["Failed", "Succeeded"].contains(&text(pod, "/status/phase"));
    let pods: Vec<String> = state
        .all("pods", "")
        .filter(|(_, pod)| owned_by(pod, uid) && !deleting(pod) && !ended(pod))
        .map(|(key, _)| key.clone())
        .collect();
    let there = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    let mut failure = None;
    if there < wanted {
        failure = refusal(state, &set, namespace, name);
        if failure.is_none() {
            for _ in there..wanted {
                let pod_name = format!("{name}-{}", suffix(5));
                let mut meta = set["spec"]["template"]["metadata"].as_object().cloned().unwrap_or_default();
                meta.insert("name".to_owned(), pod_name.as_str().into());
                meta.insert("generateName".to_owned(), format!("{name}-").into());
                meta.insert("namespace".to_owned(), namespace.into());
                meta.insert("ownerReferences".to_owned(), owner(&set));
                let mut pod = json!({ "metadata": meta, "spec": set["spec"]["template"]["spec"] });
                requests(&mut pod);
                if let Some(kind) = kinds::find(state, "", "v1", "pods") {
                    state.make(&kind, pod);
                }
                let message = format!("Created pod: {pod_name}");
                state.event(key, "replicaset-controller", "Normal", "SuccessfulCreate", &message);
            }
        }
    }
    for pod in pods.iter().rev().take(usize::try_from(there - wanted).unwrap_or(0)) {
        remove(state, pod, "Pod", "Background", None);
    }
    if let Some(message) = &failure {
        let said = format!("Error creating: {message}");
        state.event(key, "replicaset-controller", "Warning", "FailedCreate", &said);
    }
    let mine: Vec<&Value> = state
        .all("pods", "")
        .filter(|(_, pod)| owned_by(pod, uid) && !ended(pod))
        .map(|(_, pod)| pod)
        .collect();
    let count =
        |of: &dyn Fn(&Value) -> bool| i64::try_from(mine.iter().filter(|pod| of(pod)).count()).unwrap_or(0);
    let replicas = count(&|pod| !deleting(pod));
    let ready =
        count(&|pod| !deleting(pod) && condition(pod, "Ready").is_some_and(|one| one["status"] == "True"));
    let terminating = count(&deleting);
    let time = text_of(now);
    state.edit(key, CONTROLLER, |set| {
        let conditions = set["status"]["conditions"].clone();
        let mut status = Map::new();
        status.insert("replicas".to_owned(), replicas.into());
        for (name, count) in
            [("fullyLabeledReplicas", replicas), ("readyReplicas", ready), ("availableReplicas", ready)]
        {
            if count > 0 {
                status.insert(name.to_owned(), count.into());
            }
        }
        status.insert("terminatingReplicas".to_owned(), terminating.into());
        status.insert("observedGeneration".to_owned(), set["metadata"]["generation"].clone());
        set["status"] = Value::Object(status);
        match &failure {
            Some(message) => {
                set["status"]["conditions"] = if conditions.is_array() { conditions } else { json!([]) };
                set_condition(set, "ReplicaFailure", "True", "FailedCreate", message, &time);
            }
            None => drop_condition(set, "ReplicaFailure"),
        }
    });
}

/// Why admission refuses the pods of a set.
fn refusal(state: &State, set: &Value, namespace: &str, name: &str) -> Option<String> {
    let class = text(set, "/spec/template/spec/runtimeClassName");
    if !class.is_empty()
        && state.get(&format!("{}/{class}", kinds::prefix("runtimeclasses", "node.k8s.io"))).is_none()
    {
        return Some(format!(
            "pods \"{name}-\" is forbidden: pod rejected: RuntimeClass \"{class}\" not found"
        ));
    }
    let home = state.get(&format!("{}/{namespace}", kinds::prefix("namespaces", "")));
    let labelled = home.is_some_and(|home| label(home, REFUSE).is_some());
    labelled.then(|| {
        "admission webhook \"namespace.refuse.testbed.runner\" denied the request: the house rules refuse Pod ".to_owned()
    })
}

/// What is limited and not requested is requested, as the server defaults it.
fn requests(pod: &mut Value) {
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        let Some(limits) = container["resources"]["limits"].as_object().cloned() else { continue };
        let requests = super::super::defaults::table(container, &["resources", "requests"]);
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
}
