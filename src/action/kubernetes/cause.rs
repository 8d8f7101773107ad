//! Why something does not come, in the words that a person would look up: read off pods, claims, Services and events.
//!
//! Pure. A cause that does not go away by itself is `stuck`; what only takes its time is not.

use serde_json::Value;

/// A cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) text: String,
    /// Nothing but a change will mend it.
    pub(super) stuck: bool,
    /// The container whose last lines would say more.
    pub(super) crashed: Option<String>,
}

impl Cause {
    fn stuck(text: String) -> Self {
        Self { text, stuck: true, crashed: None }
    }

    fn passing(text: String) -> Self {
        Self { text, stuck: false, crashed: None }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// A condition that says so, in its words.
pub(super) fn says(object: &Value, kind: &str, status: &str) -> Option<String> {
    condition(object, kind)
        .filter(|condition| condition["status"] == status)
        .map(|condition| format!("{} ({})", text(&condition["message"]).trim(), text(&condition["reason"])))
}

/// What keeps a pod from being ready; `None`: it is ready, or has ended well.
pub(super) fn of_pod(pod: &Value) -> Option<Cause> {
    let status = &pod["status"];
    if status["phase"] == "Succeeded"
        || condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
    {
        return None;
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return Some(Cause::passing("is being deleted".to_owned()));
    }
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|scheduled| scheduled["status"] == "False")
    {
        let why = text(&scheduled["message"]).trim();
        // Somebody else was faster with the pod's claim; it is tried again.
        if scheduled["reason"] == "SchedulerError" {
            return Some(Cause::passing(format!("is not scheduled yet: {why}")));
        }
        return Some(Cause::stuck(format!("fits no node: {why}")));
    }
    let statuses = ["initContainerStatuses", "containerStatuses"]
        .into_iter()
        .flat_map(|key| status[key].as_array().into_iter().flatten());
    for container in statuses {
        if let Some(cause) = of_container(container) {
            return Some(cause);
        }
    }
    if status["phase"] == "Failed" {
        let why = [text(&status["reason"]), text(&status["message"])].join(" ");
        return Some(Cause::stuck(format!("has failed: {}", why.trim())));
    }
    if status["phase"] == "Running" {
        return Some(Cause::passing("runs and is not ready yet".to_owned()));
    }
    Some(Cause::passing("is being started".to_owned()))
}

fn of_container(container: &Value) -> Option<Cause> {
    let name = text(&container["name"]);
    let (waiting, ended) = (&container["state"]["waiting"], &container["lastState"]["terminated"]);
    let now_ended = &container["state"]["terminated"];
    let reason = text(&waiting["reason"]);
    let exit = |ended: &Value| {
        let why = match text(&ended["reason"]) {
            "" | "Error" | "Completed" => String::new(),
            reason => format!(", {reason}"),
        };
        format!("exit status {}{why}", ended["exitCode"])
    };
    match reason {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull"
        | "ImageInspectError" => {
            let image = text(&container["image"]);
            let why = text(&waiting["message"]).trim();
            return Some(Cause::stuck(format!(
                "container `{name}`: {reason}, the image `{image}` cannot be had: {why}"
            )));
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            let why = text(&waiting["message"]).trim();
            return Some(Cause::stuck(format!("container `{name}`: {reason}: {why}")));
        }
        "CrashLoopBackOff" => {
            let restarts = &container["restartCount"];
            let text =
                format!("container `{name}`: CrashLoopBackOff, {} (restarted {restarts} times)", exit(ended));
            return Some(Cause { text, stuck: true, crashed: Some(name.to_owned()) });
        }
        _ => {}
    }
    let restarts = container["restartCount"].as_u64().unwrap_or(0);
    let failed = |ended: &Value| ended["exitCode"].as_i64().is_some_and(|code| code != 0);
    if failed(now_ended) || (restarts > 0 && failed(ended) && container["ready"] != true) {
        let last = if failed(now_ended) { now_ended } else { ended };
        let text = format!("container `{name}` ends with {} (restarted {restarts} times)", exit(last));
        return Some(Cause { text, stuck: true, crashed: Some(name.to_owned()) });
    }
    None
}

/// What a claim that is not bound waits for, with what its events say.
pub(super) fn of_claim(claim: &Value, events: &[Value]) -> Option<Cause> {
    if claim["status"]["phase"] == "Bound" {
        return None;
    }
    let name = text(&claim["metadata"]["name"]);
    let failing = warning(events).map(|why| format!(": {why}")).unwrap_or_default();
    let lost = claim["status"]["phase"] == "Lost";
    let word = if lost { "has lost its volume" } else { "is not bound" };
    let stuck = lost || !failing.is_empty();
    Some(Cause { text: format!("claim `{name}` {word}{failing}"), stuck, crashed: None })
}

/// The addresses that a Service asks for.
pub(crate) fn pinned(service: &Value) -> Vec<String> {
    /// MetalLB (older and newer), kube-vip, Cilium; facts/migration.md 7.
    const ANNOTATIONS: &[&str] = &[
        "metallb.universe.tf/loadBalancerIPs",
        "metallb.io/loadBalancerIPs",
        "kube-vip.io/loadbalancerIPs",
        "lbipam.cilium.io/ips",
        "io.cilium/lb-ipam-ips",
    ];
    let annotations = &service["metadata"]["annotations"];
    let asked = ANNOTATIONS.iter().find_map(|name| annotations[*name].as_str());
    let asked = asked.or_else(|| service["spec"]["loadBalancerIP"].as_str()).unwrap_or_default();
    asked.split(',').map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect()
}

/// The addresses that a Service has.
pub(super) fn addresses(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    ingress
        .filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str()))
        .map(str::to_owned)
        .collect()
}

/// What keeps a Service from the address that it shall have.
pub(super) fn of_service(service: &Value, events: &[Value]) -> Option<Cause> {
    if service["spec"]["type"] != "LoadBalancer" {
        return None;
    }
    let (wanted, has) = (pinned(service), addresses(service));
    if has.is_empty() {
        let why = warning(events).map(|why| format!(": {why}")).unwrap_or_default();
        let which = match wanted.as_slice() {
            [] => String::new(),
            some => format!(" (`{}` is pinned)", some.join(", ")),
        };
        return Some(Cause::stuck(format!("its load balancer address is pending{which}{why}")));
    }
    let missing: Vec<&String> = wanted.iter().filter(|address| !has.contains(address)).collect();
    if missing.is_empty() {
        return None;
    }
    Some(Cause::stuck(format!(
        "it has the address `{}`, and `{}` is pinned: another Service may have that one",
        has.join(", "),
        wanted.join(", ")
    )))
}

/// The newest warning among events.
pub(super) fn warning(events: &[Value]) -> Option<String> {
    let warnings = events.iter().filter(|event| event["type"] == "Warning");
    let when = |event: &&Value| {
        ["lastTimestamp", "eventTime"]
            .iter()
            .find_map(|key| event[*key].as_str())
            .or_else(|| event["metadata"]["creationTimestamp"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let newest = warnings.max_by_key(when)?;
    Some(format!("{} ({})", text(&newest["message"]).trim(), text(&newest["reason"])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: Value) -> Value {
        json!({ "metadata": { "name": "p" }, "status": status })
    }

    #[test]
    fn a_pod_says_what_it_waits_for() {
        let waiting = |reason: &str| {
            json!({ "phase": "Pending", "containerStatuses": [{ "name": "c", "image": "i:1", "restartCount": 4,
                "state": { "waiting": { "reason": reason, "message": "why" } },
                "lastState": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } } }] })
        };
        let unscheduled = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu." }] });
        let late = json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False",
            "reason": "SchedulerError", "message": "Operation cannot be fulfilled on persistentvolumeclaims" }] });
        for (status, words, stuck) in [
            (late, "not scheduled yet: Operation cannot be fulfilled", false),
            (unscheduled, "Insufficient nvidia.com/gpu", true),
            (waiting("ImagePullBackOff"), "the image `i:1` cannot be had: why", true),
            (waiting("CrashLoopBackOff"), "exit status 137, OOMKilled (restarted 4 times)", true),
            (waiting("CreateContainerConfigError"), "CreateContainerConfigError: why", true),
            (waiting("ContainerCreating"), "ends with exit status 137", true),
            (json!({ "phase": "Running" }), "not ready yet", false),
            (json!({ "phase": "Pending" }), "being started", false),
            (json!({ "phase": "Failed", "reason": "Evicted", "message": "disk" }), "Evicted disk", true),
        ] {
            let cause = of_pod(&pod(status)).unwrap();
            assert!(cause.text.contains(words) && cause.stuck == stuck, "{cause:?}");
        }
        let ready = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
        assert_eq!(of_pod(&pod(ready)), None);
        assert_eq!(of_pod(&pod(json!({ "phase": "Succeeded" }))), None);
    }

    #[test]
    fn an_address_is_the_pinned_one_or_a_cause() {
        let service = |ip: Option<&str>| {
            let ingress = ip.map(|ip| json!([{ "ip": ip }])).unwrap_or_default();
            json!({ "metadata": { "annotations": { "metallb.io/loadBalancerIPs": "10.0.0.5" } },
                "spec": { "type": "LoadBalancer" }, "status": { "loadBalancer": { "ingress": ingress } } })
        };
        assert_eq!(of_service(&service(Some("10.0.0.5")), &[]), None);
        assert!(of_service(&service(Some("10.0.0.6")), &[]).unwrap().text.contains("`10.0.0.5` is pinned"));
        let event = json!({ "type": "Warning", "reason": "AllocationFailed", "message": "in use" });
        let pending = of_service(&service(None), &[event]).unwrap().text;
        assert!(pending.contains("pending") && pending.contains("in use (AllocationFailed)"), "{pending}");
    }
}
