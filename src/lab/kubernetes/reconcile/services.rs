//! Services: the addresses that a load balancer gives, and the endpoints behind them.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::super::kinds::{self, prefix};
use super::super::state::{Life, State, annotation, has_labels, suffix, text_of};
use super::{condition, deleting, owned_by, owner, text};

/// The annotations by which load balancers are asked for an address; `spec.loadBalancerIP` is as good.
const PINNED: &[&str] = &[
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
    "kube-vip.io/loadbalancerIPs",
    "lbipam.cilium.io/ips",
];

/// Services that name the same key here may share an address.
const SHARED: &[&str] =
    &["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip", "lbipam.cilium.io/sharing-key"];

/// The first address that a Service gets which asks for none: TEST-NET-2 of RFC 5737.
const POOL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

pub(super) fn run(state: &mut State, now: i64) {
    for key in state.keys("services", "") {
        let Some(service) = state.get(&key).cloned() else { continue };
        if !deleting(&service) {
            address(state, &key, &service, now);
            endpoints(state, &key, &service, now);
        }
    }
}

fn first<'a>(service: &'a Value, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| annotation(service, key)).filter(|text| !text.is_empty())
}

fn held(service: &Value) -> &str {
    text(service, "/status/loadBalancer/ingress/0/ip")
}

fn address(state: &mut State, key: &str, service: &Value, now: i64) {
    let mut wanted = String::new();
    if service["spec"]["type"] == "LoadBalancer" {
        let uid = text(service, "/metadata/uid").to_owned();
        let seen = state.lives.entry(uid).or_insert_with(|| Life { seen_ms: now, ..Life::default() }).seen_ms;
        let due = seen + i64::try_from(state.delay_ms).unwrap_or(0);
        if now < due {
            state.wake_at(due);
        } else {
            wanted = choose(state, key, service);
        }
    }
    if wanted == held(service) {
        return;
    }
    let ingress =
        if wanted.is_empty() { json!({}) } else { json!({ "ingress": [{ "ip": wanted, "ipMode": "VIP" }] }) };
    state.edit(key, "load-balancer", |service| service["status"]["loadBalancer"] = ingress);
    if !wanted.is_empty() {
        state.event(key, "load-balancer", "Normal", "IPAllocated", &format!("Assigned IP [\"{wanted}\"]"));
    }
}

/// The address that a Service should have now; none when it has to wait.
fn choose(state: &mut State, key: &str, service: &Value) -> String {
    let how = state.failure("Service", service);
    if let Some(other) = how.strip_prefix("address=") {
        return other.to_owned();
    }
    if how == "pending" {
        return String::new();
    }
    let shares = first(service, SHARED);
    let taken = |state: &State, address: &str| {
        state.all("services", "").any(|(other, there)| {
            other != key && held(there) == address && (shares.is_none() || first(there, SHARED) != shares)
        })
    };
    let pinned = first(service, PINNED).or_else(|| service["spec"]["loadBalancerIP"].as_str());
    if let Some(pinned) =
        pinned.and_then(|all| all.split(',').next()).map(str::trim).filter(|one| !one.is_empty())
    {
        if taken(state, pinned) {
            let name =
                format!("{}/{}", text(service, "/metadata/namespace"), text(service, "/metadata/name"));
            let message = format!(
                "Failed to allocate IP for \"{name}\": can't change sharing key for \"{name}\", address also in use by \
                 another service"
            );
            state.event(key, "load-balancer", "Warning", "AllocationFailed", &message);
            return String::new();
        }
        return pinned.to_owned();
    }
    let mine = held(service);
    if !mine.is_empty() && !taken(state, mine) {
        return mine.to_owned();
    }
    let mut address = POOL;
    while taken(state, &address.to_string()) {
        address = Ipv4Addr::from(u32::from(address) + 1);
    }
    address.to_string()
}

fn endpoints(state: &mut State, key: &str, service: &Value, now: i64) {
    let selector = service["spec"]["selector"].as_object().cloned().unwrap_or_default();
    if selector.is_empty() {
        return;
    }
    let (namespace, name) = (text(service, "/metadata/namespace"), text(service, "/metadata/name"));
    let (mut all, mut ports) = (Vec::new(), Vec::new());
    for (_, pod) in state.all("pods", "").filter(|(_, pod)| {
        text(pod, "/metadata/namespace") == namespace
            && has_labels(pod, &selector)
            && pod["status"]["podIP"].is_string()
    }) {
        let ready = condition(pod, "Ready").is_some_and(|one| one["status"] == "True");
        let (going, phase) = (deleting(pod), text(pod, "/status/phase"));
        if phase != "Running" {
            continue;
        }
        all.push(json!({
            "addresses": [pod["status"]["podIP"]],
            "conditions": { "ready": ready && !going, "serving": ready, "terminating": going },
            "targetRef": {
                "kind": "Pod", "namespace": namespace, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"],
            },
            "nodeName": pod["spec"]["nodeName"],
        }));
        if ports.is_empty() {
            ports = ports_of(service, pod);
        }
    }
    if ports.is_empty() {
        ports = ports_of(service, &Value::Null);
    }
    let uid = &service["metadata"]["uid"];
    let slice = state.all("endpointslices", "discovery.k8s.io").find(|(_, slice)| owned_by(slice, uid));
    match slice.map(|(key, _)| key.clone()) {
        Some(slice) => {
            state.edit(&slice, "endpointslice-controller", |slice| {
                if slice["endpoints"] != Value::Array(all.clone())
                    || slice["ports"] != Value::Array(ports.clone())
                {
                    slice["endpoints"] = Value::Array(all);
                    slice["ports"] = Value::Array(ports);
                    let generation = slice["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
                    slice["metadata"]["generation"] = generation.into();
                    slice["metadata"]["annotations"]["endpoints.kubernetes.io/last-change-trigger-time"] =
                        text_of(now).into();
                }
            });
        }
        None => {
            let mut labels = Map::new();
            labels.insert("kubernetes.io/service-name".to_owned(), name.into());
            labels.insert(
                "endpointslice.kubernetes.io/managed-by".to_owned(),
                "endpointslice-controller.k8s.io".into(),
            );
            let slice = json!({
                "metadata": {
                    "name": format!("{name}-{}", suffix(5)), "generateName": format!("{name}-"), "namespace": namespace,
                    "labels": labels, "ownerReferences": owner(service),
                },
                "addressType": "IPv4", "endpoints": all, "ports": ports,
            });
            if let Some(kind) = kinds::find(state, "discovery.k8s.io", "v1", "endpointslices") {
                state.make(&kind, slice);
            }
        }
    }
    debug_assert!(key.starts_with(&prefix("services", "")), "endpoints are those of a Service");
}

fn ports_of(service: &Value, pod: &Value) -> Vec<Value> {
    let mut ports = Vec::new();
    for port in service["spec"]["ports"].as_array().into_iter().flatten() {
        let number = match &port["targetPort"] {
            Value::String(name) => {
                let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
                let mut all = containers.flat_map(|one| one["ports"].as_array().into_iter().flatten());
                match all.find(|one| one["name"] == name.as_str()) {
                    Some(found) => found["containerPort"].clone(),
                    None => continue,
                }
            }
            number => number.clone(),
        };
        let mut one = json!({ "protocol": port["protocol"], "port": number });
        one["name"] = port["name"].as_str().unwrap_or_default().into();
        ports.push(one);
    }
    ports
}
