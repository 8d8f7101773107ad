//! What a step wants: its objects out of the recorded manifests and its `secrets`, each with its kind as the cluster
//! serves it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use serde_json::{Map, Value, json};

use crate::action::Call;
use crate::action::fields::{Fields, OnStop};
use crate::plan::manifests::{self, Manifest};
use crate::transport::{ClusterPlace, Kube, KubeError, Object, Resource, Why};

/// What the fields of a step say.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) place: ClusterPlace,
    pub(super) manifests: Vec<Manifest>,
    /// For objects that name none.
    pub(super) namespace: Option<String>,
    pub(super) force: bool,
    pub(super) wait: bool,
    pub(super) give_up_after: Duration,
    pub(super) on_stop: OnStop,
}

/// One object that shall be.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) object: Object,
    /// As it is applied, without our annotations.
    pub(super) value: Value,
    /// For messages.
    pub(super) source: String,
}

/// Reads the fields. No I/O.
pub(super) fn read(call: &Call) -> Result<Asked, String> {
    let fields = Fields::new(&call.operation);
    let text = fields.recorded("manifests", &call.bodies)?.ok_or("`kubernetes.apply` needs `manifests`")?;
    let mut all = manifests::read(&text).map_err(|wrong| wrong.join("; "))?;
    for secret in secrets(fields)? {
        let default = fields.text("namespace")?;
        let same = |other: &&mut Manifest| {
            let namespace = |one: &Manifest| one.namespace.clone().or_else(|| default.clone());
            other.kind == "Secret" && other.name == secret.name && namespace(other) == namespace(&secret)
        };
        match all.iter_mut().find(same) {
            None => all.push(secret),
            Some(twice) if twice.has_values_in_clear() => {
                return Err(format!(
                    "{} stands in `{}` and in `secrets`: keep one",
                    twice.shown(),
                    twice.source
                ));
            }
            // The manifest says its type and labels, the step its values.
            Some(there) => {
                if let Some(fields) = there.value.as_object_mut() {
                    fields.remove("stringData");
                    fields.insert("data".to_owned(), secret.value["data"].clone());
                }
            }
        }
    }
    let give_up_after = match fields.text("give_up_after")? {
        None => Duration::from_secs(60),
        Some(text) => crate::plan::parse_duration(&text)
            .map(Duration::from_millis)
            .map_err(|_| fields.wrong("give_up_after", "a duration such as `1m`"))?,
    };
    let wait = fields.get("wait").is_none() || fields.flag("wait")?;
    Ok(Asked {
        place: fields.cluster(&call.places.clusters, &call.folder)?,
        manifests: all,
        namespace: fields.text("namespace")?,
        force: fields.flag("force_conflicts")?,
        wait,
        give_up_after,
        on_stop: fields.on_stop(OnStop::Finish)?,
    })
}

/// The Secrets that stand in the step itself.
fn secrets(fields: Fields<'_>) -> Result<Vec<Manifest>, String> {
    let wrong =
        || fields.wrong("secrets", "a table of tables of texts: `{ \"namespace/name\" = { KEY = \"…\" } }`");
    let Some(table) = fields.get("secrets") else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (place, values) in table.as_object().ok_or_else(wrong)? {
        let (namespace, name) = match place.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, place.as_str()),
        };
        if name.is_empty() || name.contains('/') || namespace.as_deref() == Some("") {
            return Err(wrong());
        }
        let mut data = Map::new();
        for (key, value) in values.as_object().ok_or_else(wrong)? {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => return Err(wrong()),
            };
            data.insert(key.clone(), base64::engine::general_purpose::STANDARD.encode(text).into());
        }
        let mut metadata = json!({ "name": name });
        if let Some(namespace) = &namespace {
            metadata["namespace"] = json!(namespace);
        }
        all.push(Manifest {
            api_version: "v1".to_owned(),
            kind: "Secret".to_owned(),
            namespace,
            name: name.to_owned(),
            value: json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }),
            source: "secrets".to_owned(),
        });
    }
    Ok(all)
}

/// What the step changes, in words that are equal for equal targets. No I/O.
pub(super) fn target(asked: &Asked) -> String {
    /// Objects that are named; the others are told by their digest.
    const NAMED_MAX: usize = 3;
    let mut names: Vec<String> = asked
        .manifests
        .iter()
        .map(|manifest| {
            let namespace = manifest.namespace.as_ref().or(asked.namespace.as_ref());
            let group = manifest.group();
            format!("{} {}/{}/{}", manifest.kind, group, namespace.map_or("", String::as_str), manifest.name)
        })
        .collect();
    names.sort();
    let digest = crate::action::sha256(names.join("\n").as_bytes());
    let shown: Vec<String> =
        asked.manifests.iter().take(NAMED_MAX).map(|manifest| format!("`{}`", manifest.shown())).collect();
    let more = match asked.manifests.len() {
        all if all > NAMED_MAX => format!(" and {} more", all - NAMED_MAX),
        _ => String::new(),
    };
    format!("{}{more} ({}) on cluster `{}`", shown.join(", "), &digest[..8], asked.place.name)
}

/// Finds every kind, and the namespace of every object.
///
/// # Errors
/// Of the cluster; or in words, as [`KubeError`] of no way to ask, a kind that is not served, and an object that is there
/// twice.
pub(super) async fn resolved(kube: &Kube, asked: &Asked) -> Result<Vec<Wanted>, KubeError> {
    let new_kinds: Vec<Resource> = asked.manifests.iter().flat_map(defined).collect();
    let mut found: BTreeMap<(&str, &str), Resource> = BTreeMap::new();
    let mut seen: BTreeMap<(&str, String), &str> = BTreeMap::new();
    let mut all = Vec::with_capacity(asked.manifests.len());
    for manifest in &asked.manifests {
        let key = (manifest.api_version.as_str(), manifest.kind.as_str());
        let resource = match found.get(&key) {
            Some(resource) => resource.clone(),
            None => {
                let ours = new_kinds.iter().find(|resource| {
                    resource.kind == manifest.kind && resource.api_version() == manifest.api_version
                });
                let resource = match ours {
                    Some(resource) => resource.clone(),
                    None => kube.resource(key.0, key.1).await.map_err(|error| KubeError {
                        message: format!(
                            "{} (`{}` has {})",
                            error.message,
                            manifest.source,
                            manifest.shown()
                        ),
                        ..error
                    })?,
                };
                found.insert(key, resource.clone());
                resource
            }
        };
        let mut value = manifest.value.clone();
        let namespace = resource.namespaced.then(|| {
            let default = asked.namespace.as_deref().unwrap_or_else(|| kube.namespace());
            manifest.namespace.as_deref().unwrap_or(default).to_owned()
        });
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            match &namespace {
                Some(namespace) => metadata.insert("namespace".to_owned(), namespace.clone().into()),
                None => metadata.remove("namespace"),
            };
        }
        let object = Object { resource, namespace, name: manifest.name.clone() };
        // In the text one may name the namespace that the other is given.
        if let Some(first) = seen.insert((manifest.group(), object.shown()), &manifest.source) {
            let (shown, second) = (object.shown(), &manifest.source);
            let message = format!("{shown} is wanted twice, in `{first}` and in `{second}`: keep one");
            return Err(KubeError { why: Why::Access, message });
        }
        all.push(Wanted { object, value, source: manifest.source.clone() });
    }
    Ok(all)
}

/// The kinds that a CustomResourceDefinition will serve.
fn defined(manifest: &Manifest) -> Vec<Resource> {
    if manifest.kind != "CustomResourceDefinition" {
        return Vec::new();
    }
    let spec = &manifest.value["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let versions = spec["versions"].as_array().into_iter().flatten();
    let kind = |version: &Value| Resource {
        group: text(&spec["group"]),
        version: text(&version["name"]),
        kind: text(&spec["names"]["kind"]),
        plural: text(&spec["names"]["plural"]),
        words: Vec::new(),
        namespaced: spec["scope"] == "Namespaced",
        verbs: Vec::new(),
    };
    versions.map(kind).collect()
}

/// The object with the annotations that say who changed it last.
pub(super) fn signed(value: &Value, call: &Call) -> Value {
    let mut value = value.clone();
    let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) else { return value };
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    if annotations.is_null() {
        *annotations = json!({});
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(super::RUN.to_owned(), call.key.run.to_string().into());
        annotations.insert(super::STEP.to_owned(), call.key.step.to_string().into());
    }
    value
}
