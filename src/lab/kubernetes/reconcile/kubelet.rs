//! Kubelets and nodes: what becomes of a pod on its node.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::super::faults::{DELAY, EXIT_CODE};
use super::super::kinds::prefix;
use super::super::state::{Life, State, annotation, text_of};
use super::{deleting, set_condition, text};

/// How long a container that crashes runs, and waits, in milliseconds; like the control plane of the tests.
const CRASH_AFTER: i64 = 400;
/// See [`CRASH_AFTER`].
const CRASH_BACKOFF: i64 = 600;
/// A kubelet looks again at what it misses, and waits before it pulls again, so long, in milliseconds.
const AGAIN: i64 = 200;

pub(super) fn run(state: &mut State, now: i64) {
    nodes(state, now);
    for key in state.keys("pods", "") {
        let Some(pod) = state.get(&key).cloned() else { continue };
        let node = text(&pod, "/spec/nodeName").to_owned();
        if node.is_empty() {
            if deleting(&pod) && no_finalizers(&pod) {
                state.remove(&key);
            }
            continue;
        }
        if state.gone.contains(&node) {
            state.edit(&key, "kube-controller-manager", |pod| {
                set_condition(pod, "Ready", "False", "", "", &text_of(now));
            });
            continue;
        }
        one(state, &key, &pod, now);
    }
}

fn no_finalizers(pod: &Value) -> bool {
    pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
}

fn nodes(state: &mut State, now: i64) {
    for key in state.keys("nodes", "") {
        let gone = state.get(&key).is_some_and(|node| state.gone.contains(text(node, "/metadata/name")));
        state.edit(&key, "kubelet", |node| {
            let time = text_of(now);
            if gone {
                let message = "Kubelet stopped posting node status.";
                set_condition(node, "Ready", "Unknown", "NodeStatusUnknown", message, &time);
            } else {
                set_condition(
                    node,
                    "Ready",
                    "True",
                    "KubeletReady",
                    "kubelet is posting ready status",
                    &time,
                );
            }
        });
    }
}

fn one(state: &mut State, key: &str, pod: &Value, now: i64) {
    let uid = text(pod, "/metadata/uid").to_owned();
    let how = state.failure("Pod", pod);
    let mut life = state.lives.get(&uid).cloned().unwrap_or_else(|| Life { seen_ms: now, ..Life::default() });
    if life.ip.is_empty() {
        let number = state.next_number();
        life.ip = format!("10.42.{}.{}", number / 250 % 250, 2 + number % 250);
    }
    if deleting(pod) {
        let since = *life.next_ms.filter(|_| life.ended_ms == Some(-1)).get_or_insert(now);
        life.ended_ms = Some(-1);
        life.next_ms = Some(since);
        let due = since + pace(state, pod);
        state.lives.insert(uid, life);
        if how == "stuck" || !no_finalizers(pod) {
            return;
        }
        if now >= due {
            state.remove(key);
        } else {
            state.wake_at(due);
        }
        return;
    }
    if ["Succeeded", "Failed"].contains(&text(pod, "/status/phase")) {
        return;
    }
    let (status, due) = desired(state, key, pod, &mut life, &how, now);
    state.lives.insert(uid, life);
    if let Some(due) = due {
        state.wake_at(due);
    }
    state.edit(key, "kubelet", |pod| {
        let scheduled = super::condition(pod, "PodScheduled").cloned();
        let conditions = pod["status"]["conditions"].clone();
        pod["status"] = status.body;
        pod["status"]["conditions"] = conditions;
        if scheduled.is_none() {
            set_condition(pod, "PodScheduled", "True", "", "", &text_of(now));
        }
        let truth = |holds: bool| if holds { "True" } else { "False" };
        let (reason, message) = match status.ready {
            true => ("", String::new()),
            false => {
                ("ContainersNotReady", format!("containers with unready status: [{}]", names(pod).join(" ")))
            }
        };
        let time = text_of(now);
        set_condition(pod, "PodReadyToStartContainers", truth(status.started), "", "", &time);
        set_condition(pod, "Initialized", "True", "", "", &time);
        set_condition(pod, "ContainersReady", truth(status.ready), reason, &message, &time);
        set_condition(pod, "Ready", truth(status.ready), reason, &message, &time);
    });
}

/// How long the steps of this pod take, in milliseconds.
fn pace(state: &State, pod: &Value) -> i64 {
    let own = annotation(pod, DELAY).and_then(|text| {
        let seconds: f64 = match text.strip_suffix("ms") {
            Some(ms) => ms.parse::<f64>().ok()? / 1000.0,
            None => text.trim_end_matches('s').parse().ok()?,
        };
        std::time::Duration::try_from_secs_f64(seconds).ok()
    });
    let own = own.map(|own| i64::try_from(own.as_millis()).unwrap_or(i64::MAX / 4));
    own.unwrap_or_else(|| i64::try_from(state.delay_ms).unwrap_or(i64::MAX / 4))
}

struct Status {
    body: Value,
    started: bool,
    ready: bool,
}

fn desired(
    state: &mut State,
    key: &str,
    pod: &Value,
    life: &mut Life,
    how: &str,
    now: i64,
) -> (Status, Option<i64>) {
    let first = names(pod).into_iter().next().unwrap_or_default();
    let new = life.started_ms.is_none();
    if let Some((reason, message)) = missing(state, pod).filter(|_| new) {
        if reason == "FailedMount" {
            state.event(key, "kubelet", "Warning", reason, &message);
            return (waiting(pod, life, "ContainerCreating", ""), None);
        }
        state.event(key, "kubelet", "Warning", "Failed", &format!("Error: {message}"));
        return (waiting(pod, life, reason, &message), None);
    }
    let up = life.seen_ms + pace(state, pod);
    if new && now < up {
        return (waiting(pod, life, "ContainerCreating", ""), Some(up));
    }
    match how {
        "creating" if new => return (waiting(pod, life, "ContainerCreating", ""), None),
        "image-pull" if new => {
            let image = text(pod, "/spec/containers/0/image");
            let cause = format!(
                "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found"
            );
            let next = *life.next_ms.get_or_insert(now + AGAIN);
            if now < next {
                let message = format!("Failed to pull image \"{image}\": {cause}");
                state.event(key, "kubelet", "Warning", "Failed", &message);
                return (waiting(pod, life, "ErrImagePull", &cause), Some(next));
            }
            let back = format!("Back-off pulling image \"{image}\"");
            state.event(key, "kubelet", "Normal", "BackOff", &back);
            let message = format!("{back}: ErrImagePull: {cause}");
            return (waiting(pod, life, "ImagePullBackOff", &message), None);
        }
        "crash-loop" => return crashing(state, key, pod, life, &first, now),
        _ => {}
    }
    if new {
        life.started_ms = Some(now);
        state.event(key, "kubelet", "Normal", "Started", &format!("Started container {first}"));
    }
    if life.down {
        (life.down, life.started_ms) = (false, Some(now));
    }
    if text(pod, "/spec/restartPolicy") != "Always" && how.is_empty() {
        let end = life.started_ms.unwrap_or(now) + pace(state, pod).max(50);
        if now >= end {
            life.ended_ms = Some(now);
            return (ended(pod, life, 0), None);
        }
        return (running(pod, life, true), Some(end));
    }
    if how == "never-ready" {
        let message = "Readiness probe failed: HTTP probe failed with statuscode: 503";
        state.event(key, "kubelet", "Warning", "Unhealthy", message);
    }
    (running(pod, life, how != "never-ready"), None)
}

fn crashing(
    state: &mut State,
    key: &str,
    pod: &Value,
    life: &mut Life,
    first: &str,
    now: i64,
) -> (Status, Option<i64>) {
    let probe = |name: &str| pod["spec"]["containers"][0][name].is_object();
    let probed = probe("readinessProbe") || probe("startupProbe");
    life.started_ms.get_or_insert(now);
    let next = *life.next_ms.get_or_insert(now + CRASH_AFTER);
    if now < next {
        let status = if life.down { backing_off(pod, life) } else { running(pod, life, !probed) };
        return (status, Some(next));
    }
    if text(pod, "/spec/restartPolicy") == "Never" {
        life.ended_ms = Some(now);
        return (ended(pod, life, exit_code(pod)), None);
    }
    life.down = !life.down;
    if life.down {
        (life.ended_ms, life.next_ms) = (Some(now), Some(now + CRASH_BACKOFF));
        let (name, namespace) = (text(pod, "/metadata/name"), text(pod, "/metadata/namespace"));
        let message = format!(
            "Back-off restarting failed container {first} in pod {name}_{namespace}({})",
            text(pod, "/metadata/uid")
        );
        state.event(key, "kubelet", "Warning", "BackOff", &message);
        return (backing_off(pod, life), life.next_ms);
    }
    life.restarts += 1;
    (life.started_ms, life.next_ms) = (Some(now), Some(now + CRASH_AFTER));
    (running(pod, life, !probed), life.next_ms)
}

fn exit_code(pod: &Value) -> i64 {
    annotation(pod, EXIT_CODE).and_then(|code| code.parse().ok()).unwrap_or(1)
}

fn names(pod: &Value) -> Vec<String> {
    let all = pod["spec"]["containers"].as_array().into_iter().flatten();
    all.map(|one| text(one, "/name").to_owned()).collect()
}

fn waiting(pod: &Value, life: &Life, reason: &str, message: &str) -> Status {
    let mut state = json!({ "waiting": { "reason": reason } });
    if !message.is_empty() {
        state["waiting"]["message"] = message.into();
    }
    let body = base(pod, life, "Pending", &|_| state.clone(), false, false);
    Status { body, started: false, ready: false }
}

fn running(pod: &Value, life: &Life, ready: bool) -> Status {
    let state = json!({ "running": { "startedAt": text_of(life.started_ms.unwrap_or_default()) } });
    let mut body = base(pod, life, "Running", &|_| state.clone(), true, ready);
    if life.restarts > 0 {
        body["containerStatuses"][0]["lastState"] = terminated(pod, life, exit_code(pod));
    }
    Status { body, started: true, ready }
}

fn backing_off(pod: &Value, life: &Life) -> Status {
    let mut status = running(pod, life, true);
    let (name, namespace, uid) =
        (text(pod, "/metadata/name"), text(pod, "/metadata/namespace"), text(pod, "/metadata/uid"));
    let first = &mut status.body["containerStatuses"][0];
    let container = text(first, "/name").to_owned();
    first["ready"] = false.into();
    first["started"] = false.into();
    first["state"] = json!({ "waiting": {
        "reason": "CrashLoopBackOff",
        "message": format!("back-off 10s restarting failed container={container} pod={name}_{namespace}({uid})"),
    }});
    first["lastState"] = terminated(pod, life, exit_code(pod));
    Status { ready: false, ..status }
}

fn ended(pod: &Value, life: &Life, code: i64) -> Status {
    let state = terminated(pod, life, code);
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    Status { body: base(pod, life, phase, &|_| state.clone(), true, false), started: true, ready: false }
}

fn terminated(pod: &Value, life: &Life, code: i64) -> Value {
    let reason = match code {
        0 => "Completed",
        137 => "OOMKilled",
        _ => "Error",
    };
    json!({ "terminated": {
        "exitCode": code, "reason": reason, "startedAt": text_of(life.started_ms.unwrap_or_default()),
        "finishedAt": text_of(life.ended_ms.unwrap_or_default()), "containerID": container_id(pod, 0, life.restarts),
    }})
}

fn base(
    pod: &Value,
    life: &Life,
    phase: &str,
    state: &dyn Fn(usize) -> Value,
    created: bool,
    ready: bool,
) -> Value {
    let mut all = Vec::new();
    for (at, container) in pod["spec"]["containers"].as_array().into_iter().flatten().enumerate() {
        let image = text(container, "/image");
        let restarts = if at == 0 { life.restarts } else { 0 };
        let mut one = json!({
            "name": container["name"], "image": image, "imageID": "", "state": state(at), "lastState": {}, "ready": ready,
            "started": created, "restartCount": restarts,
        });
        if created {
            let (name, id) = image_id(image);
            one["image"] = name.into();
            one["imageID"] = id.into();
            one["containerID"] = container_id(pod, at, restarts).into();
        }
        all.push(one);
    }
    let mut body = json!({
        "phase": phase, "hostIP": "127.0.0.1", "hostIPs": [{ "ip": "127.0.0.1" }], "startTime": text_of(life.seen_ms),
        "containerStatuses": all, "qosClass": pod["status"]["qosClass"],
    });
    if phase != "Pending" {
        body["podIP"] = life.ip.as_str().into();
        body["podIPs"] = json!([{ "ip": life.ip }]);
    }
    let before = pod["spec"]["initContainers"].as_array().filter(|_| created);
    if let Some(before) = before {
        let at = text_of(life.started_ms.unwrap_or_default());
        let statuses = before.iter().map(|one| {
            let (image, id) = image_id(text(one, "/image"));
            json!({
                "name": one["name"], "image": image, "imageID": id, "ready": true, "restartCount": 0, "started": false,
                "lastState": {}, "state": { "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": at, "finishedAt": at } },
            })
        });
        body["initContainerStatuses"] = statuses.collect();
    }
    body
}

fn container_id(pod: &Value, at: usize, restarts: u32) -> String {
    format!("containerd://{}", digest(&format!("{}/{at}/{restarts}", text(pod, "/metadata/uid"))))
}

/// An image's full name and its digest, which is the same wherever the name is.
fn image_id(image: &str) -> (String, String) {
    let (name, pinned) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let mut name = match name.split_once('/') {
        None => format!("docker.io/library/{name}"),
        Some((first, _)) if !first.contains(['.', ':']) && first != "localhost" => {
            format!("docker.io/{name}")
        }
        Some(_) => name.to_owned(),
    };
    let tagged = name.rfind(':').is_some_and(|colon| name.rfind('/').is_none_or(|slash| colon > slash));
    if !tagged {
        name.push_str(":latest");
    }
    let bare = name.rsplit_once(':').map_or(name.as_str(), |(bare, _)| bare).to_owned();
    let pinned = pinned.map_or_else(|| format!("sha256:{}", digest(&name)), str::to_owned);
    (name, format!("{bare}@{pinned}"))
}

fn digest(of: &str) -> String {
    Sha256::digest(of).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first thing that a pod refers to and nobody has.
fn missing(state: &State, pod: &Value) -> Option<(&'static str, String)> {
    let namespace = text(pod, "/metadata/namespace");
    let find = |plural: &str, name: &str| state.get(&format!("{}{namespace}/{name}", prefix(plural, "")));
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        for (field, key, plural, word) in
            [("configMap", "name", "configmaps", "configmap"), ("secret", "secretName", "secrets", "secret")]
        {
            let name = volume[field][key].as_str().filter(|_| volume[field]["optional"] != true);
            if let Some(name) = name.filter(|name| find(plural, name).is_none()) {
                let volume = text(volume, "/name");
                return Some((
                    "FailedMount",
                    format!("MountVolume.SetUp failed for volume \"{volume}\" : {word} \"{name}\" not found"),
                ));
            }
        }
    }
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        let from = container["envFrom"].as_array().into_iter().flatten();
        let from = from.flat_map(|one| [("configmap", &one["configMapRef"]), ("secret", &one["secretRef"])]);
        let single = container["env"].as_array().into_iter().flatten();
        let single = single.flat_map(|one| {
            let from = &one["valueFrom"];
            [("configmap", &from["configMapKeyRef"]), ("secret", &from["secretKeyRef"])]
        });
        for (word, reference) in
            from.chain(single).filter(|(_, one)| one.is_object() && one["optional"] != true)
        {
            let (name, key) = (text(reference, "/name"), text(reference, "/key"));
            let message = match find(&format!("{word}s"), name) {
                None => format!("{word} \"{name}\" not found"),
                Some(found)
                    if !key.is_empty()
                        && found["data"].get(key).is_none()
                        && found["binaryData"].get(key).is_none() =>
                {
                    let title = if word == "secret" { "Secret" } else { "ConfigMap" };
                    format!("couldn't find key {key} in {title} {namespace}/{name}")
                }
                Some(_) => continue,
            };
            return Some(("CreateContainerConfigError", message));
        }
    }
    None
}
