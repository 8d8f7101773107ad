//! What the server fills in: the part of its defaults that people see in a diff, and what it allots.

use k8s_openapi::ByteString;
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::state::State;

/// Fills in what a new or changed object of this kind does not say.
pub(super) fn fill(state: &mut State, kind: &Kind, object: &mut Value) {
    quantities(object);
    match kind.kind.as_ref() {
        "Namespace" => {
            let name = object["metadata"]["name"].clone();
            set(table(object, &["metadata", "labels"]), "kubernetes.io/metadata.name", name);
            set(table(object, &["spec"]), "finalizers", json!(["kubernetes"]));
            set(table(object, &["status"]), "phase", json!("Active"));
        }
        "Pod" => {
            pod(table(object, &["spec"]));
            set(table(object, &["status"]), "phase", json!("Pending"));
            set(table(object, &["status"]), "qosClass", json!("BestEffort"));
        }
        "Deployment" => {
            let spec = table(object, &["spec"]);
            set(spec, "replicas", json!(1));
            set(spec, "revisionHistoryLimit", json!(10));
            set(spec, "progressDeadlineSeconds", json!(600));
            let strategy = child(spec, "strategy");
            set(strategy, "type", json!("RollingUpdate"));
            if strategy.get("type") == Some(&json!("RollingUpdate")) {
                let rolling = child(strategy, "rollingUpdate");
                set(rolling, "maxSurge", json!("25%"));
                set(rolling, "maxUnavailable", json!("25%"));
            }
            pod(child(child(spec, "template"), "spec"));
            table(object, &["status"]);
        }
        "ReplicaSet" => {
            let spec = table(object, &["spec"]);
            set(spec, "replicas", json!(1));
            set(table(object, &["status"]), "replicas", json!(0));
        }
        "Service" => service(state, object),
        "PersistentVolumeClaim" => {
            let class = state
                .all("storageclasses", "storage.k8s.io")
                .find(|(_, class)| {
                    super::state::annotation(class, "storageclass.kubernetes.io/is-default-class")
                        == Some("true")
                })
                .map(|(_, class)| class["metadata"]["name"].clone());
            let spec = table(object, &["spec"]);
            set(spec, "volumeMode", json!("Filesystem"));
            if let Some(class) = class {
                set(spec, "storageClassName", class);
            }
            set(table(object, &["status"]), "phase", json!("Pending"));
            set(table(object, &["metadata"]), "finalizers", json!(["kubernetes.io/pvc-protection"]));
        }
        "PersistentVolume" => {
            let spec = table(object, &["spec"]);
            set(spec, "volumeMode", json!("Filesystem"));
            set(spec, "persistentVolumeReclaimPolicy", json!("Retain"));
            set(table(object, &["status"]), "phase", json!("Pending"));
            set(table(object, &["metadata"]), "finalizers", json!(["kubernetes.io/pv-protection"]));
        }
        "Secret" => {
            let given: Option<Map<String, Value>> = object["stringData"].as_object().cloned();
            if let Some(given) = given {
                let data = table(object, &["data"]);
                for (key, value) in given {
                    let bytes = ByteString(value.as_str().unwrap_or_default().as_bytes().to_vec());
                    data.insert(key, serde_json::to_value(bytes).unwrap_or_default());
                }
                if let Some(object) = object.as_object_mut() {
                    object.remove("stringData");
                }
            }
            set(table(object, &[]), "type", json!("Opaque"));
        }
        "StorageClass" => {
            let class = table(object, &[]);
            set(class, "reclaimPolicy", json!("Delete"));
            set(class, "volumeBindingMode", json!("Immediate"));
        }
        "CustomResourceDefinition" => {
            let names = object["spec"]["names"].clone();
            let status = table(object, &["status"]);
            set(status, "acceptedNames", names);
            set(status, "storedVersions", json!([]));
            let now = super::state::now_text();
            let condition = |kind: &str, reason: &str| json!({ "type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": now });
            set(
                status,
                "conditions",
                json!([
                    condition("NamesAccepted", "NoConflicts"),
                    condition("Established", "InitialNamesAccepted")
                ]),
            );
        }
        _ => {}
    }
}

fn service(state: &mut State, object: &mut Value) {
    let number = state.next_number();
    let spec = table(object, &["spec"]);
    set(spec, "type", json!("ClusterIP"));
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "internalTrafficPolicy", json!("Cluster"));
    if spec.get("type") != Some(&json!("ExternalName")) {
        let ip = format!("10.96.{}.{}", 1 + number / 250 % 250, 1 + number % 250);
        set(spec, "clusterIP", json!(ip));
        let ip = spec["clusterIP"].clone();
        set(spec, "clusterIPs", json!([ip]));
        set(spec, "ipFamilies", json!(["IPv4"]));
        set(spec, "ipFamilyPolicy", json!("SingleStack"));
    }
    let outside = spec["type"] == "LoadBalancer" || spec["type"] == "NodePort";
    if outside {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if spec["type"] == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    let mut next = 30000 + number * 7 % 2700;
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        set(port, "protocol", json!("TCP"));
        let number = port.get("port").cloned().unwrap_or_default();
        set(port, "targetPort", number);
        if outside {
            set(port, "nodePort", json!(next));
            next += 1;
        }
    }
    let status = table(object, &["status"]);
    child(status, "loadBalancer");
}

fn pod(spec: &mut Map<String, Value>) {
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            set(container, "terminationMessagePath", json!("/dev/termination-log"));
            set(container, "terminationMessagePolicy", json!("File"));
            let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
            let tag = image.rsplit('/').next().unwrap_or_default();
            let latest = !tag.contains('@') && (!tag.contains(':') || tag.ends_with(":latest"));
            let policy = if latest { "Always" } else { "IfNotPresent" };
            set(container, "imagePullPolicy", json!(policy));
            child(container, "resources");
            for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(port) = port.as_object_mut() {
                    set(port, "protocol", json!("TCP"));
                }
            }
            for name in ["readinessProbe", "livenessProbe", "startupProbe"] {
                let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) else { continue };
                set(probe, "timeoutSeconds", json!(1));
                set(probe, "periodSeconds", json!(10));
                set(probe, "successThreshold", json!(1));
                set(probe, "failureThreshold", json!(3));
                if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
                    set(get, "scheme", json!("HTTP"));
                    set(get, "path", json!("/"));
                }
            }
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        for (name, key, value) in [
            ("configMap", "defaultMode", json!(420)),
            ("secret", "defaultMode", json!(420)),
            ("hostPath", "type", json!("")),
        ] {
            if let Some(source) = volume.get_mut(name).and_then(Value::as_object_mut) {
                set(source, key, value);
            }
        }
    }
}

/// Quantities that came as numbers become texts, as the server keeps them.
pub(super) fn quantities(value: &mut Value) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let held = ["limits", "requests", "capacity", "allocatable", "hard"].contains(&key.as_str());
                match value {
                    Value::Object(inner) if held => {
                        for quantity in inner.values_mut() {
                            if let Value::Number(number) = quantity {
                                *quantity = Value::String(number.to_string());
                            }
                        }
                    }
                    other => quantities(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(quantities),
        _ => {}
    }
}

fn set(table: &mut Map<String, Value>, key: &str, value: Value) {
    if table.get(key).is_none_or(Value::is_null) {
        table.insert(key.to_owned(), value);
    }
}

fn child<'a>(table: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = table.entry(key.to_owned()).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made a table just now")
}

/// The table at a path, made where there is none.
pub(super) fn table<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let mut table = object.as_object_mut().expect("it was made a table just now");
    for key in path {
        table = child(table, key);
    }
    table
}
