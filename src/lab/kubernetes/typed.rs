//! What the schema says of an object: fields that it does not know, values of another type, values that cannot be.
//!
//! The types are those of `k8s-openapi` 0.29 for Kubernetes 1.36; what comes back of an object that was read as its type
//! has lost the fields that the type does not have.

use k8s_openapi::api::{apps::v1 as apps, core::v1 as core, discovery::v1 as discovery};
use k8s_openapi::api::{
    networking::v1 as networking, node::v1 as node, rbac::v1 as rbac, storage::v1 as storage,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use super::defaults::quantities;
use super::fields::Shape;
use super::kinds::Kind;
use super::refusal::Wrong;

/// The largest sum of what stands in a ConfigMap or Secret, in bytes (validation of core/v1).
const DATA_MAX: usize = 1 << 20;

/// A field and what is wrong with it.
pub(super) type Mistyped = (String, String);

/// The fields that the kind does not have, as paths.
///
/// # Errors
/// The first value that is of another type.
pub(super) fn unknown(kind: &Kind, object: &Value) -> Result<Vec<String>, Mistyped> {
    let mut object = object.clone();
    quantities(&mut object);
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    let Some(read) = read(kind, &object)? else { return Ok(Vec::new()) };
    let mut lost = Vec::new();
    compare(&object, &read, Shape::of(false), String::new(), &mut lost);
    Ok(lost)
}

/// Takes the fields out that the kind does not have.
pub(super) fn drop_unknown(kind: &Kind, object: &mut Value) {
    fn keep(value: &mut Value, read: &Value) {
        match (value, read) {
            (Value::Object(table), Value::Object(there)) => {
                table.retain(|key, value| {
                    value.is_null() || there.contains_key(key) || key == "managedFields"
                });
                for (key, value) in table {
                    keep(value, &there[key.as_str()]);
                }
            }
            (Value::Array(items), Value::Array(there)) => {
                for (item, there) in items.iter_mut().zip(there) {
                    keep(item, there);
                }
            }
            _ => {}
        }
    }
    let mut shown = object.clone();
    quantities(&mut shown);
    if let Ok(Some(read)) = read(kind, &shown) {
        keep(object, &read);
    }
}

fn compare(value: &Value, read: &Value, shape: Shape<'_>, path: String, lost: &mut Vec<String>) {
    match (value, read) {
        (Value::Object(table), Value::Object(there)) => {
            for (key, value) in table.iter().filter(|(_, value)| !value.is_null()) {
                let path = format!("{path}.{key}");
                match there.get(key) {
                    None => lost.push(path),
                    Some(there) => compare(value, there, shape.below(key), path, lost),
                }
            }
        }
        (Value::Array(items), Value::Array(there)) => {
            for (at, (item, there)) in items.iter().zip(there).enumerate() {
                let path = format!("{path}{}", index(shape, item, at));
                compare(item, there, shape, path, lost);
            }
        }
        _ => {}
    }
}

/// `[name="web"]`, or `[0]` in a list without keys.
fn index(shape: Shape<'_>, item: &Value, at: usize) -> String {
    let key = shape.item(item).and_then(|name| {
        let key: serde_json::Map<String, Value> = serde_json::from_str(name.strip_prefix("k:")?).ok()?;
        Some(key.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(","))
    });
    key.map_or_else(|| format!("[{at}]"), |key| format!("[{key}]"))
}

fn read(kind: &Kind, object: &Value) -> Result<Option<Value>, Mistyped> {
    let read = match (kind.group.as_ref(), kind.kind.as_ref()) {
        ("", "ConfigMap") => through::<core::ConfigMap>(object),
        ("", "Namespace") => through::<core::Namespace>(object),
        ("", "Node") => through::<core::Node>(object),
        ("", "PersistentVolume") => through::<core::PersistentVolume>(object),
        ("", "PersistentVolumeClaim") => through::<core::PersistentVolumeClaim>(object),
        ("", "Pod") => through::<core::Pod>(object),
        ("", "Secret") => through::<core::Secret>(object),
        ("", "Service") => through::<core::Service>(object),
        ("", "ServiceAccount") => through::<core::ServiceAccount>(object),
        ("apps", "Deployment") => through::<apps::Deployment>(object),
        ("apps", "ReplicaSet") => through::<apps::ReplicaSet>(object),
        ("discovery.k8s.io", "EndpointSlice") => through::<discovery::EndpointSlice>(object),
        ("networking.k8s.io", "Ingress") => through::<networking::Ingress>(object),
        ("networking.k8s.io", "NetworkPolicy") => through::<networking::NetworkPolicy>(object),
        ("node.k8s.io", "RuntimeClass") => through::<node::RuntimeClass>(object),
        (_, "ClusterRole") => through::<rbac::ClusterRole>(object),
        (_, "ClusterRoleBinding") => through::<rbac::ClusterRoleBinding>(object),
        (_, "Role") => through::<rbac::Role>(object),
        (_, "RoleBinding") => through::<rbac::RoleBinding>(object),
        ("storage.k8s.io", "StorageClass") => through::<storage::StorageClass>(object),
        _ => return Ok(None),
    };
    read.map(Some)
}

fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, Mistyped> {
    let read: T = serde_path_to_error::deserialize(object).map_err(|error| {
        (path_of(error.path(), object), expected(&error.inner().to_string(), error.path(), object))
    })?;
    serde_json::to_value(read).map_err(|error| (String::new(), error.to_string()))
}

fn path_of(path: &Path, object: &Value) -> String {
    let (mut text, mut at, mut shape) = (String::new(), object, Shape::of(false));
    for segment in path {
        match segment {
            Segment::Map { key } => {
                text.push_str(&format!(".{key}"));
                at = &at[key.as_str()];
                shape = shape.below(key);
            }
            Segment::Seq { index: number } => {
                at = &at[*number];
                text.push_str(&index(shape, at, *number));
            }
            _ => {}
        }
    }
    text
}

/// The words of structured-merge-diff for a value of another type.
fn expected(message: &str, path: &Path, object: &Value) -> String {
    let mut at = object;
    for segment in path {
        at = match segment {
            Segment::Map { key } => &at[key.as_str()],
            Segment::Seq { index } => &at[*index],
            _ => at,
        };
    }
    let got = match at {
        Value::String(_) => "string".to_owned(),
        Value::Object(_) => "map".to_owned(),
        Value::Array(_) => "list".to_owned(),
        other => format!("&value.valueUnstructured{{Value:{other}}}"),
    };
    let wanted = message.split("expected ").nth(1).unwrap_or(message);
    let wanted = match wanted {
        "i32" | "i64" | "f64" => "numeric (int or float)",
        "a string" => "string",
        "a boolean" => "boolean",
        text if text.starts_with("a map") || text.starts_with("struct") => "map",
        text if text.starts_with("a sequence") => "list",
        text => text,
    };
    format!("expected {wanted}, got {got}")
}

/// What cannot be, though it has the right type: a part of the real server's validation.
pub(super) fn invalid(kind: &Kind, old: Option<&Value>, new: &Value) -> Vec<Wrong> {
    let mut all = Vec::new();
    let mut wrong = |reason, field: &str, message: String| {
        all.push(Wrong { reason, field: field.to_owned(), message });
    };
    let name = new["metadata"]["name"].as_str().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let free = ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"].contains(&kind.kind.as_ref());
    if old.is_none()
        && !free
        && (name.len() > 253 || !name.bytes().all(plain) || name.starts_with(['-', '.']))
    {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                    start and end with an alphanumeric character";
        wrong("FieldValueInvalid", "metadata.name", format!("Invalid value: \"{name}\": {rule}"));
    }
    match kind.kind.as_ref() {
        "ConfigMap" | "Secret" => {
            let sizes = ["data", "binaryData"].into_iter().flat_map(|part| new[part].as_object());
            let size: usize =
                sizes.flat_map(|part| part.values()).filter_map(Value::as_str).map(str::len).sum();
            if size > DATA_MAX {
                wrong("FieldValueTooLong", "[]", format!("Too long: may not be more than {DATA_MAX} bytes"));
            }
        }
        "Service" => {
            for (at, port) in new["spec"]["ports"].as_array().into_iter().flatten().enumerate() {
                let number = port["port"].as_i64().unwrap_or(0);
                if !(1..=65535).contains(&number) {
                    let field = format!("spec.ports[{at}].port");
                    let message = format!("Invalid value: {number}: must be between 1 and 65535, inclusive");
                    wrong("FieldValueInvalid", &field, message);
                }
            }
        }
        "Deployment" => {
            if let Some(replicas) = new["spec"]["replicas"].as_i64().filter(|replicas| *replicas < 0) {
                let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
                wrong("FieldValueInvalid", "spec.replicas", message);
            }
            let (selector, labels) =
                (&new["spec"]["selector"], &new["spec"]["template"]["metadata"]["labels"]);
            let wanted = selector["matchLabels"].as_object();
            if wanted.is_none_or(serde_json::Map::is_empty) && selector["matchExpressions"].is_null() {
                wrong("FieldValueRequired", "spec.selector", "Required value".to_owned());
            } else if wanted
                .is_some_and(|wanted| wanted.iter().any(|(key, value)| labels.get(key) != Some(value)))
            {
                let message = format!("Invalid value: {labels}: `selector` does not match template `labels`");
                wrong("FieldValueInvalid", "spec.template.metadata.labels", message);
            }
            if old.is_some_and(|old| old["spec"]["selector"] != *selector) {
                let message = format!("Invalid value: {selector}: field is immutable");
                wrong("FieldValueInvalid", "spec.selector", message);
            }
            let containers = new.pointer("/spec/template/spec/containers").and_then(Value::as_array);
            match containers {
                None => {
                    wrong("FieldValueRequired", "spec.template.spec.containers", "Required value".to_owned());
                }
                Some(containers) => {
                    for (at, container) in containers.iter().enumerate() {
                        if container["image"].as_str().unwrap_or_default().is_empty() {
                            let field = format!("spec.template.spec.containers[{at}].image");
                            wrong("FieldValueRequired", &field, "Required value".to_owned());
                        }
                    }
                }
            }
        }
        "PersistentVolumeClaim" => {
            if let Some(old) = old {
                let fixed = |object: &Value| {
                    let mut spec = object["spec"].clone();
                    if let Some(spec) = spec.as_object_mut() {
                        spec.remove("resources");
                        spec.remove("volumeName");
                        spec.remove("volumeAttributesClassName");
                    }
                    spec
                };
                if fixed(old) != fixed(new) {
                    let message = "Forbidden: spec is immutable after creation except resources.requests and \
                                   volumeAttributesClassName for bound claims";
                    wrong("FieldValueForbidden", "spec", message.to_owned());
                }
            }
        }
        _ => {}
    }
    all
}
