//! Requests that change an object: create, apply, replace, patch, scale.
//!
//! The order in which things are refused is that of the real server (facts/transcripts/k8s-apply.json): the schema of what
//! is applied, then conflicts with other managers, then versions, admission and validation.

use serde_json::{Map, Value, json};

use super::fields::{Fields, Shape};
use super::kinds;
use super::managers::Managers;
use super::place::{Place, Query};
use super::refusal::{Refusal, Wrong};
use super::state::{State, label, now_text, suffix, uid};
use super::{defaults, faults, merge, typed};

/// A changed object: the status of the answer, its body, and warnings.
#[derive(Debug)]
pub(super) struct Written {
    pub status: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

/// Who changes, and how.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    /// `fieldManager`, else the beginning of the user agent, else `unknown`.
    pub manager: String,
    pub dry_run: bool,
    pub query: Query,
}

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patch {
    Apply,
    Merge,
    Strategic,
    Json,
}

/// Creates an object.
pub(super) fn create(
    state: &mut State,
    place: &Place,
    writer: &Writer,
    mut object: Value,
) -> Result<Written, Refusal> {
    expect(place, &object)?;
    let meta = defaults::table(&mut object, &["metadata"]);
    let generated = meta.get("generateName").and_then(Value::as_str).unwrap_or_default().to_owned();
    if meta.get("name").is_none_or(Value::is_null) && !generated.is_empty() {
        meta.insert("name".to_owned(), format!("{generated}{}", suffix(5)).into());
    }
    let name = meta.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut place = place.clone();
    place.name.clone_from(&name);
    let warnings = known_fields(&place, writer, &mut object)?;
    if name.is_empty() {
        let message = "Required value: name or generateName is required".to_owned();
        let wrong = Wrong { reason: "FieldValueRequired", field: "metadata.name".to_owned(), message };
        return Err(Refusal::invalid(&place.kind, "", &[wrong]));
    }
    if state.get(&place.key()).is_some() {
        return Err(Refusal::exists(&place.kind, &name));
    }
    let managers = Managers::read(&Value::Null);
    let mut written = finish(state, &place, writer, None, object, |new| {
        let mut managers = managers;
        managers.update(&writer.manager, "", &place.kind, None, new);
        managers
    })?;
    written.warnings = warnings;
    Ok(written)
}

/// Replaces an object, or its status.
pub(super) fn replace(
    state: &mut State,
    place: &Place,
    writer: &Writer,
    mut object: Value,
) -> Result<Written, Refusal> {
    expect(place, &object)?;
    expect_name(place, &object)?;
    let warnings = known_fields(place, writer, &mut object)?;
    let old = state.get(&place.key()).ok_or_else(|| Refusal::not_found(&place.kind, &place.name))?.clone();
    let mut written = update(state, place, writer, &old, object)?;
    written.warnings = warnings;
    Ok(written)
}

/// Patches an object, its status or its scale.
pub(super) fn patch(
    state: &mut State,
    place: &Place,
    writer: &Writer,
    how: Patch,
    change: Value,
) -> Result<Written, Refusal> {
    if how == Patch::Apply {
        return apply(state, place, writer, change);
    }
    let old = state.get(&place.key()).ok_or_else(|| Refusal::not_found(&place.kind, &place.name))?.clone();
    if place.subresource == "scale" {
        let mut scale = scale_of(&old);
        merge::patch(&mut scale, &change);
        return set_scale(state, place, writer, &scale);
    }
    let mut new = old.clone();
    let shape = Shape::of(place.kind.custom);
    match how {
        Patch::Strategic if !place.kind.custom => merge::strategic(&mut new, &change, shape),
        Patch::Strategic => return Err(unsupported()),
        Patch::Json => merge::json_patch(&mut new, &change).map_err(|message| {
            let mut refusal = Refusal::new(
                422,
                "Invalid",
                format!("the server rejected our request due to an error in our request: {message}"),
            );
            refusal.details = Some(json!({}));
            refusal
        })?,
        Patch::Merge | Patch::Apply => merge::patch(&mut new, &change),
    }
    expect_name(place, &new)?;
    let warnings = known_fields(place, writer, &mut new)?;
    let mut written = update(state, place, writer, &old, new)?;
    written.warnings = warnings;
    Ok(written)
}

/// 415: another content type.
pub(super) fn unsupported() -> Refusal {
    let mut refusal = Refusal::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
    refusal.details = Some(json!({}));
    refusal
}

/// The `Scale` of an object.
pub(super) fn scale_of(object: &Value) -> Value {
    let meta = &object["metadata"];
    let mut spec = Map::new();
    if let Some(replicas) = object["spec"]["replicas"].as_i64().filter(|replicas| *replicas != 0) {
        spec.insert("replicas".to_owned(), replicas.into());
    }
    let labels = object["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
    let selector: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"],
        },
        "spec": spec,
        "status": { "replicas": object["status"]["replicas"].as_i64().unwrap_or(0), "selector": selector.join(",") },
    })
}

/// Takes the replicas of a `Scale`.
pub(super) fn set_scale(
    state: &mut State,
    place: &Place,
    writer: &Writer,
    scale: &Value,
) -> Result<Written, Refusal> {
    let old = state.get(&place.key()).ok_or_else(|| Refusal::not_found(&place.kind, &place.name))?.clone();
    let mut new = old.clone();
    new["spec"]["replicas"] = scale["spec"]["replicas"].as_i64().unwrap_or(0).into();
    if let Some(version) = scale["metadata"]["resourceVersion"].as_str() {
        new["metadata"]["resourceVersion"] = version.into();
    }
    let written = update(state, place, writer, &old, new)?;
    Ok(Written { body: scale_of(&written.body), ..written })
}

fn update(
    state: &mut State,
    place: &Place,
    writer: &Writer,
    old: &Value,
    mut new: Value,
) -> Result<Written, Refusal> {
    let version = &new["metadata"]["resourceVersion"];
    if version.as_str().is_some_and(|version| !version.is_empty())
        && *version != old["metadata"]["resourceVersion"]
    {
        return Err(Refusal::stale(&place.kind, &place.name));
    }
    let given = new["metadata"]["managedFields"].clone();
    keep(place, old, &mut new);
    finish(state, place, writer, Some(old), new, |new| {
        let live = &old["metadata"]["managedFields"];
        let mut managers = Managers::read(if Managers::sets(&given, live) { &given } else { live });
        managers.update(&writer.manager, &place.subresource, &place.kind, Some(old), new);
        managers
    })
}

fn apply(state: &mut State, place: &Place, writer: &Writer, mut config: Value) -> Result<Written, Refusal> {
    if writer.query.get("fieldManager").is_none() {
        let message = "fieldManager: Required value: is required for apply patch";
        let mut refusal =
            Refusal::new(422, "Invalid", format!("PatchOptions.meta.k8s.io \"\" is invalid: {message}"));
        refusal.details = Some(json!({
            "group": "meta.k8s.io", "kind": "PatchOptions",
            "causes": [{ "reason": "FieldValueRequired", "message": "Required value: is required for apply patch", "field": "fieldManager" }],
        }));
        return Err(refusal);
    }
    expect(place, &config)?;
    expect_name(place, &config)?;
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Refusal::bad("metadata.managedFields must be nil"));
    }
    let unknown = typed::unknown(&place.kind, &config).and_then(|unknown| match unknown.into_iter().next() {
        Some(field) => Err((field, "field not declared in schema".to_owned())),
        None => Ok(()),
    });
    if let Err((field, what)) = unknown {
        return Err(Refusal::untyped(&place.kind, &place.namespace, &place.name, &field, &what));
    }
    let applied = Fields::applied(&config, place.kind.custom);
    let shape = Shape::of(place.kind.custom);
    let version = config["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    for name in ["managedFields", "uid", "resourceVersion", "generation", "creationTimestamp"] {
        defaults::table(&mut config, &["metadata"]).remove(name);
    }
    let Some(old) = state.get(&place.key()).cloned() else {
        if version.is_some() {
            return Err(Refusal::stale(&place.kind, &place.name));
        }
        let mut managers = Managers::read(&Value::Null);
        managers.apply(&writer.manager, &place.kind, applied);
        return finish(state, place, writer, None, config, |_| managers);
    };
    if let Some(object) = config.as_object_mut() {
        object.remove("status");
    }
    let mut managers = Managers::read(&old["metadata"]["managedFields"]);
    if managers.is_empty() {
        // Of an object whose owners are forgotten everything belongs to this one.
        managers.update("before-first-apply", "", &place.kind, None, &old);
    }
    let mut new = merge::merge(&old, &config, shape);
    let others = managers.others(&writer.manager);
    let gone = managers.applied(&writer.manager).without(&applied);
    let mut kept = applied.clone();
    kept.add(&others);
    merge::prune(&mut new, &gone, &kept, shape);
    let changed = Fields::changed(Some(&old), Some(&new), shape).both(&applied);
    let conflicts = managers.conflicts(&writer.manager, &changed);
    if !conflicts.is_empty() {
        if !writer.query.flag("force") {
            return Err(Refusal::owned(&conflicts));
        }
        managers.take(&writer.manager, &changed);
    }
    if version.is_some_and(|version| old["metadata"]["resourceVersion"] != version.as_str()) {
        return Err(Refusal::stale(&place.kind, &place.name));
    }
    managers.apply(&writer.manager, &place.kind, applied);
    keep(place, &old, &mut new);
    finish(state, place, writer, Some(&old), new, |_| managers)
}

/// What a request cannot change stays as it was.
fn keep(place: &Place, old: &Value, new: &mut Value) {
    let meta = defaults::table(new, &["metadata"]);
    for name in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "name",
        "namespace",
        "generateName",
    ] {
        match old["metadata"].get(name) {
            Some(value) => meta.insert(name.to_owned(), value.clone()),
            None => meta.remove(name),
        };
    }
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    if place.subresource == "status" {
        let status = new.get("status").cloned();
        let mut whole = old.clone();
        whole.insert("status".to_owned(), status.unwrap_or_else(|| json!({})));
        *new = whole;
    } else if place.kind.status {
        match old.get("status") {
            Some(status) => new.insert("status".to_owned(), status.clone()),
            None => new.remove("status"),
        };
    }
}

/// Admits, validates and stores what a request makes of an object.
fn finish(
    state: &mut State,
    place: &Place,
    writer: &Writer,
    old: Option<&Value>,
    mut new: Value,
    managers: impl FnOnce(&Value) -> Managers,
) -> Result<Written, Refusal> {
    let Place { kind, namespace, name, .. } = place;
    if kind.namespaced {
        let home = kinds::find(state, "", "v1", "namespaces").map(|kind| (kind.key("", namespace), kind));
        if let Some((key, namespaces)) = home {
            match state.get(&key) {
                None => return Err(Refusal::not_found(&namespaces, namespace)),
                Some(home) if old.is_none() && home["metadata"]["deletionTimestamp"].is_string() => {
                    return Err(Refusal::terminating(kind, namespace, name));
                }
                Some(home) => {
                    let refused =
                        label(home, faults::REFUSE).is_some() || label(&new, faults::REFUSE).is_some();
                    if refused && kind.kind != "Event" {
                        return Err(refused_by_rules(place, label(&new, faults::REFUSE).is_some()));
                    }
                }
            }
        }
    }
    new["apiVersion"] = kind.api_version().into();
    new["kind"] = kind.kind.as_ref().into();
    let meta = defaults::table(&mut new, &["metadata"]);
    if kind.namespaced {
        meta.insert("namespace".to_owned(), namespace.as_str().into());
    }
    if old.is_none() {
        meta.insert("uid".to_owned(), uid().into());
        meta.insert("creationTimestamp".to_owned(), now_text().into());
        for name in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            meta.remove(name);
        }
        if kind.generation {
            meta.insert("generation".to_owned(), 1.into());
        }
        if kind.status
            && let Some(new) = new.as_object_mut()
        {
            new.remove("status");
        }
    }
    // Before the defaults: nobody has asked for those.
    let managed = managers(&new);
    defaults::fill(state, kind, &mut new);
    let wrong = typed::invalid(kind, old, &new);
    if !wrong.is_empty() {
        return Err(Refusal::invalid(kind, name, &wrong));
    }
    let status = if old.is_some() { 200 } else { 201 };
    let done = |body: Value| Written { status, body, warnings: Vec::new() };
    if let Some(old) = old {
        let part = |object: &Value| {
            let mut object = object.clone();
            for name in ["metadata", "status"] {
                if let Some(object) = object.as_object_mut() {
                    object.remove(name);
                }
            }
            object
        };
        if kind.generation && place.subresource != "status" && part(old) != part(&new) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = generation.into();
        }
        let fields = managed.json(&old["metadata"]["managedFields"]);
        new["metadata"]["managedFields"] = fields;
        if *old == new {
            return Ok(done(new));
        }
    } else {
        new["metadata"]["managedFields"] = managed.json(&Value::Null);
    }
    if writer.dry_run {
        return Ok(done(new));
    }
    let mut stored = state.put(&place.key(), new);
    // The last finalizer of what is being deleted was taken away.
    let going = stored["metadata"]["deletionTimestamp"].is_string();
    if going
        && stored["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)
        && kind.kind != "Pod"
        && kind.kind != "Namespace"
    {
        state.remove(&place.key());
    }
    state.writes += 1;
    if stored["metadata"]["managedFields"] == json!([])
        && let Some(meta) = stored["metadata"].as_object_mut()
    {
        meta.remove("managedFields");
    }
    Ok(done(stored))
}

fn refused_by_rules(place: &Place, object: bool) -> Refusal {
    let hook = if object { "object" } else { "namespace" };
    Refusal::new(
        403,
        "Forbidden",
        format!(
            "admission webhook \"{hook}.refuse.testbed.runner\" denied the request: the house rules refuse {} {}",
            place.kind.kind, place.name
        ),
    )
}

/// The body is of the kind that the path says.
fn expect(place: &Place, object: &Value) -> Result<(), Refusal> {
    if !object.is_object() {
        return Err(Refusal::bad("the body of the request is no object"));
    }
    let (version, kind) = (object["apiVersion"].as_str(), object["kind"].as_str());
    let wanted = place.kind.api_version();
    if place.subresource == "scale" {
        return Ok(());
    }
    if version.is_some_and(|version| version != wanted) {
        return Err(Refusal::bad(format!(
            "the API version in the data ({}) does not match the expected API version ({wanted})",
            version.unwrap_or_default()
        )));
    }
    if kind.is_some_and(|kind| kind != place.kind.kind) {
        return Err(Refusal::bad(format!(
            "{} in version \"{}\" cannot be handled as a {}: no kind \"{}\" is registered for it",
            kind.unwrap_or_default(),
            place.kind.version,
            place.kind.kind,
            kind.unwrap_or_default()
        )));
    }
    let namespace = object["metadata"]["namespace"].as_str();
    if place.kind.namespaced && namespace.is_some_and(|namespace| namespace != place.namespace) {
        return Err(Refusal::bad(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

fn expect_name(place: &Place, object: &Value) -> Result<(), Refusal> {
    match object["metadata"]["name"].as_str() {
        Some(name) if name != place.name => Err(Refusal::bad(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            place.name
        ))),
        _ => Ok(()),
    }
}

/// Fields that the kind does not have: refused, warned of, or dropped, as `fieldValidation` says.
fn known_fields(place: &Place, writer: &Writer, object: &mut Value) -> Result<Vec<String>, Refusal> {
    let Place { kind, .. } = place;
    let said = |what: &str| {
        Refusal::bad(format!(
            "{} in version \"{}\" cannot be handled as a {}: {what}",
            kind.kind, kind.version, kind.kind
        ))
    };
    let unknown = typed::unknown(kind, object).map_err(|(field, what)| {
        said(&format!("json: cannot unmarshal: {}: {what}", field.trim_start_matches('.')))
    })?;
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let words: Vec<String> =
        unknown.iter().map(|field| format!("unknown field \"{}\"", field.trim_start_matches('.'))).collect();
    match writer.query.get("fieldValidation") {
        Some("Strict") => Err(said(&format!("strict decoding error: {}", words.join(", ")))),
        how => {
            typed::drop_unknown(kind, object);
            Ok(if how == Some("Ignore") { Vec::new() } else { words })
        }
    }
}
