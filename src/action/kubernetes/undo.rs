//! The way back of `kubernetes.apply`: what was there has its fields again, what we created goes, and data stays (P6).
//!
//! Only what carries this step's annotations was created by it (P5). Fields are given back in two patches: the first
//! brings the values, the second the owners; cut off between them, the next attempt finds the values in place and goes
//! on. Afterwards the manager `runner` owns what it owned before this step, which is nothing for an object of somebody
//! else's, so that its owner's next apply meets no conflict.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::apply::{Halt, Log};
use super::object::is_going;
use super::ownership::{self, Fields as Owned};
use super::persist::{persist, together};
use super::wanted::{self, Asked, Wanted};
use super::{MANAGER, RUN, STEP, claims, current, order};
use crate::action::fields::{Fields, OnStop};
use crate::action::{Call, PreImage};
use crate::plan::recorded::Operation;
use crate::saga::FailureClass;
use crate::transport::{
    ClusterPlace, Kube, KubeError, Object, Patch, Propagation, Resource, Select, Transport,
};

/// How the objects are called in a pre-image.
const OBJECTS: &str = "objects";

/// Attempts at an object that somebody else changes all the time.
pub(super) const STALE_MAX: usize = 20;

/// One object as it was before. A stored form: fields may be added with a default, never removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Was {
    group: String,
    version: String,
    kind: String,
    plural: String,
    namespaced: bool,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
    /// Absent: it was not there.
    #[serde(default)]
    before: Option<Value>,
}

/// What a pre-image says, and what the step says of the way back.
pub(super) struct Back {
    place: ClusterPlace,
    objects: Vec<Was>,
    delete_crds: bool,
    pub(super) on_stop: OnStop,
    /// What the step applied, as far as that can be said: only to name fields that others have taken since.
    applied: BTreeMap<(String, Option<String>, String), Value>,
}

impl Back {
    /// What the step applied of an object.
    fn applied(&self, object: &Object) -> Option<&Value> {
        let key = |namespace| (object.resource.kind.clone(), namespace, object.name.clone());
        self.applied.get(&key(object.namespace.clone())).or_else(|| self.applied.get(&key(None)))
    }
}

impl Was {
    fn object(&self) -> Object {
        let resource = Resource {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
            words: Vec::new(),
            namespaced: self.namespaced,
            verbs: Vec::new(),
        };
        Object { resource, namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

pub(super) fn pre_image(
    target: String,
    asked: &Asked,
    wanted: &[Wanted],
    present: Vec<Option<Value>>,
) -> PreImage {
    let objects: Vec<Was> = wanted
        .iter()
        .zip(present)
        .map(|(wanted, before)| {
            let Object { resource, namespace, name } = wanted.object.clone();
            let Resource { group, version, kind, plural, namespaced, .. } = resource;
            Was { group, version, kind, plural, namespaced, namespace, name, before }
        })
        .collect();
    // Nobody knows which values in somebody's Secret are secrets.
    let sensitive = objects.iter().any(|was| was.kind == "Secret" && was.before.is_some());
    let there = objects.iter().filter(|was| was.before.is_some()).count();
    let value = json!({ "cluster": asked.place.name, "objects": objects.len(), "there": there });
    let content = serde_json::to_vec(&objects).expect("texts and JSON can always be written");
    PreImage { target, value, contents: BTreeMap::from([(OBJECTS.to_owned(), content)]), sensitive }
}

pub(super) fn read(call: &Call, pre_image: &PreImage) -> Result<Back, String> {
    let strange = || format!("the pre-image of {} cannot be understood", pre_image.target);
    let cluster = pre_image.value.get("cluster").cloned().ok_or_else(strange)?;
    let named = Operation {
        name: call.operation.name.clone(),
        fields: Map::from_iter([("cluster".to_owned(), cluster)]),
    };
    let place = Fields::new(&named).cluster(&call.places.clusters, &call.folder)?;
    let content = pre_image.contents.get(OBJECTS).ok_or_else(strange)?;
    let objects = serde_json::from_slice(content).map_err(|_| strange())?;
    let fields = Fields::new(&call.operation);
    let asked = wanted::read(call).ok();
    let namespace = asked.as_ref().and_then(|asked| asked.namespace.clone());
    let applied = asked.into_iter().flat_map(|asked| asked.manifests).map(|manifest| {
        let namespace = manifest.namespace.clone().or_else(|| namespace.clone());
        ((manifest.kind.clone(), namespace, manifest.name.clone()), manifest.value)
    });
    Ok(Back {
        place,
        objects,
        delete_crds: fields.flag("delete_crds")?,
        on_stop: fields.on_stop(OnStop::Finish)?,
        applied: applied.collect(),
    })
}

/// What became of one object.
enum Became {
    /// Nothing had to be done.
    Untouched,
    /// It is as it was.
    Restored,
    /// It is gone.
    Deleted,
    /// It stays, for a reason.
    Kept(String),
    /// It is as it was but for fields that others have taken.
    Left(Vec<ownership::Left>),
}

/// Takes the step back. May be cut off anywhere and done again.
pub(super) async fn taken_back(
    transport: Transport,
    call: Call,
    back: Back,
    log: Log,
) -> Result<Map<String, Value>, Halt> {
    let halted = |error: KubeError| Halt::of(&error, true);
    let kube = transport.cluster(&back.place, call.timeout).await.map_err(halted)?;
    let (mut kept, mut left) = (Vec::new(), Vec::new());
    for phase in (0..order::PHASES).rev() {
        let of_phase: Vec<(&Was, Object)> = back
            .objects
            .iter()
            .map(|was| (was, was.object()))
            .filter(|(_, object)| order::phase(&object.resource) == phase)
            .collect();
        let objects: Vec<&Object> = of_phase.iter().map(|(_, object)| object).collect();
        let present = current::present(&kube, &objects).await.map_err(halted)?;
        let work = of_phase.iter().zip(present);
        let work = work.map(|((was, object), is)| one(&kube, &call, &back, was, object, is).boxed());
        let mut failed = None;
        for ((_, object), became) in of_phase.iter().zip(together(work.collect()).await) {
            let name = object.shown();
            match became {
                Ok(Became::Untouched) => {}
                Ok(Became::Restored) => log.say(&format!("{name} is as it was")),
                Ok(Became::Deleted) => log.say(&format!("{name} is deleted")),
                Ok(Became::Kept(why)) => {
                    log.say(&format!("{name} is kept: {why}"));
                    kept.push(name);
                }
                Ok(Became::Left(fields)) => {
                    for field in fields {
                        let line = format!(
                            "{name}: `{}` is left as it is: `{}` has it now",
                            field.field, field.owner
                        );
                        log.say(&line);
                        left.push(line);
                    }
                }
                Err(halt) => {
                    failed.get_or_insert(halt);
                }
            }
        }
        if let Some(halt) = failed {
            return Err(halt);
        }
    }
    kept.extend(claims_left(&kube, &back, &kept, &log).await.map_err(halted)?);
    kept.sort();
    kept.dedup();
    left.sort();
    let mut outputs = Map::new();
    outputs.insert("kept".to_owned(), json!(kept));
    outputs.insert("left".to_owned(), json!(left));
    Ok(outputs)
}

/// The claims that StatefulSets of ours have left behind.
async fn claims_left(kube: &Kube, back: &Back, kept: &[String], log: &Log) -> Result<Vec<String>, KubeError> {
    let mut names = Vec::new();
    for was in back.objects.iter().filter(|was| was.kind == "StatefulSet" && was.before.is_none()) {
        let object = was.object();
        let Some(applied) = back.applied(&object).filter(|_| !kept.contains(&object.shown())) else {
            continue;
        };
        let all = match claims::of(kube, &object, applied).await {
            Err(error) if error.is_forbidden() => continue,
            all => all?,
        };
        for claim in all {
            let namespace = object.namespace.as_deref().unwrap_or_default();
            let name = claim["metadata"]["name"].as_str().unwrap_or_default();
            let name = format!("PersistentVolumeClaim {namespace}/{name}");
            log.say(&format!("{name} is kept: it holds data"));
            names.push(name);
        }
    }
    Ok(names)
}

async fn one(
    kube: &Kube,
    call: &Call,
    back: &Back,
    was: &Was,
    object: &Object,
    is: Option<Value>,
) -> Result<Became, Halt> {
    match (&was.before, is) {
        (None, None) => Ok(Became::Untouched),
        (None, Some(is)) => created(kube, call, back, object, &is).await,
        (Some(_), None) => {
            Ok(Became::Kept("it was there before, and somebody has deleted it since".to_owned()))
        }
        (Some(before), Some(is)) => given_back(kube, back, object, before, is).await,
    }
}

/// Whether this step of this run changed the object last.
fn is_ours(is: &Value, call: &Call) -> bool {
    let annotations = &is["metadata"]["annotations"];
    annotations[RUN] == call.key.run.to_string().as_str() && annotations[STEP] == call.key.step.as_str()
}

/// Deletes what this step created, if nothing forbids it.
async fn created(kube: &Kube, call: &Call, back: &Back, object: &Object, is: &Value) -> Result<Became, Halt> {
    if !is_ours(is, call) {
        return Ok(Became::Kept(
            "this step did not create it, or somebody else has changed its annotations".to_owned(),
        ));
    }
    if order::holds_data(&object.resource) {
        return Ok(Became::Kept("it holds data".to_owned()));
    }
    if order::is_definition(&object.resource) && !back.delete_crds {
        return Ok(Became::Kept(
            "every object of its kind would go with it; `delete_crds = true` deletes it".to_owned(),
        ));
    }
    let namespace = object.resource.group.is_empty() && object.resource.kind == "Namespace";
    if namespace && let Some(held) = held(kube, &object.name).await.map_err(|error| Halt::of(&error, true))? {
        return Ok(Became::Kept(format!("it holds {held}")));
    }
    if object.resource.group == "apps" && object.resource.kind == "StatefulSet" {
        claims::part(kube, object, is, call).await?;
    }
    let uid = is["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    persist(kube, || kube.delete(object, Some(&uid), Propagation::Foreground))
        .await
        .map_err(|error| Halt::of(&error, true))?;
    gone(kube, object, &uid, call).await?;
    Ok(Became::Deleted)
}

/// Waits until an object is gone.
async fn gone(kube: &Kube, object: &Object, uid: &str, call: &Call) -> Result<(), Halt> {
    awaited(kube, object, call, |is| {
        let is = is.filter(|is| is["metadata"]["uid"] == uid)?;
        let held = is["metadata"]["finalizers"].as_array().into_iter().flatten();
        let held: Vec<&str> = held.filter_map(Value::as_str).collect();
        Some(match held.is_empty() {
            true => "is still being deleted".to_owned(),
            false => format!("is still being deleted; it waits for {}", held.join(", ")),
        })
    })
    .await
}

/// Waits until an object, which may be gone, lacks nothing.
pub(super) async fn awaited(
    kube: &Kube,
    object: &Object,
    call: &Call,
    lacks: impl Fn(Option<&Value>) -> Option<String>,
) -> Result<(), Halt> {
    let mut pause = Duration::from_millis(50);
    loop {
        let is = persist(kube, || kube.get(object)).await.map_err(|error| Halt::of(&error, true))?;
        let Some(why) = lacks(is.as_ref()) else { return Ok(()) };
        let message = format!("{} {why}", object.shown());
        if kube.left() <= pause + Duration::from_millis(500) {
            return Err(Halt::Failed(FailureClass::Transient, message));
        }
        call.tell.waits(&message, &call.redactor);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

/// What is in a namespace that must not go with it: data, and what others have put there, of whatever kind.
async fn held(kube: &Kube, namespace: &str) -> Result<Option<String>, KubeError> {
    let mut kinds = kube.in_namespaces().await?;
    kinds.retain(|kind| !is_bookkeeping(kind));
    // Of several reasons the weightiest is told.
    kinds.sort_by_key(|kind| !order::holds_data(kind));
    let select = Select { namespace: Some(namespace.to_owned()), ..Select::default() };
    let lists = kinds.iter().map(|kind| persist(kube, || kube.list(kind, &select)).boxed()).collect();
    for (kind, all) in kinds.iter().zip(together(lists).await) {
        let all = match all {
            // What cannot be seen is not deleted.
            Err(error) if error.is_forbidden() => {
                return Ok(Some(format!("what this account may not see: {}", kind.kind)));
            }
            // Its definition has gone meanwhile.
            Err(error) if error.is_not_found() => continue,
            other => other?,
        };
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        // What the cluster itself puts into every namespace, and what is on its way out.
        let theirs = |object: &&Value| {
            let everywhere = match (kind.group.as_str(), kind.kind.as_str()) {
                ("", "ConfigMap") => name(object) == "kube-root-ca.crt",
                ("", "ServiceAccount") => name(object) == "default",
                ("", "Secret") => object["type"] == "kubernetes.io/service-account-token",
                _ => false,
            };
            !everywhere && !is_going(object)
        };
        if let Some(found) = all.iter().find(theirs) {
            return Ok(Some(format!("{} {}", kind.kind, name(found))));
        }
    }
    Ok(None)
}

/// What controllers write for themselves, and go on writing for a moment when all else is gone.
fn is_bookkeeping(kind: &Resource) -> bool {
    matches!(
        (kind.group.as_str(), kind.kind.as_str()),
        ("" | "events.k8s.io", "Event")
            | ("", "Endpoints")
            | ("discovery.k8s.io", "EndpointSlice")
            | ("coordination.k8s.io", "Lease")
    )
}

/// Gives fields and their owners back.
async fn given_back(
    kube: &Kube,
    back: &Back,
    object: &Object,
    before: &Value,
    is: Value,
) -> Result<Became, Halt> {
    let lost = ownership::owned(&is, MANAGER);
    let touched = back.applied(object).map(|applied| touched(&is, applied)).unwrap_or_default();
    let (mut is, mut changed) = (is, false);
    for _ in 0..STALE_MAX {
        let (wanted, left) = ownership::restored(&is, before, MANAGER, &touched);
        let values = patch(&is, &wanted);
        if !values.is_empty() {
            let values = Patch::Json(values);
            match persist(kube, || kube.patch(object, None, &values, MANAGER)).await {
                Ok(now) => {
                    is = now;
                    changed = true;
                }
                Err(error) if error.is_stale() => {
                    let Some(now) = again(kube, object).await? else { return Ok(Became::Untouched) };
                    is = now;
                    continue;
                }
                Err(error) => return Err(named(object, &error)),
            }
        }
        let owners = ownership::handed_back(&is, &lost, before, MANAGER);
        let ours = ownership::owned(&is, MANAGER);
        if ours.is_empty() || ours == ownership::owned(before, MANAGER) && !changed {
            return Ok(became(changed, left));
        }
        let version = is["metadata"]["resourceVersion"].clone();
        let owners = Patch::Json(vec![
            json!({ "op": "replace", "path": "/metadata/managedFields", "value": owners }),
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version }),
        ]);
        match persist(kube, || kube.patch(object, None, &owners, MANAGER)).await {
            Ok(_) => return Ok(became(true, left)),
            Err(error) if error.is_stale() => {
                let Some(now) = again(kube, object).await? else { return Ok(Became::Untouched) };
                is = now;
            }
            Err(error) => return Err(named(object, &error)),
        }
    }
    let message = format!("{} is changed by others all the time: try again", object.shown());
    Err(Halt::Failed(FailureClass::Transient, message))
}

async fn again(kube: &Kube, object: &Object) -> Result<Option<Value>, Halt> {
    persist(kube, || kube.get(object)).await.map_err(|error| Halt::of(&error, true))
}

pub(super) fn named(object: &Object, error: &KubeError) -> Halt {
    match Halt::of(error, true) {
        Halt::Failed(class, message) => Halt::Failed(class, format!("{}: {message}", object.shown())),
        cut @ Halt::Cut(..) => cut,
    }
}

fn became(changed: bool, left: Vec<ownership::Left>) -> Became {
    match (changed, left.is_empty()) {
        (_, false) => Became::Left(left),
        (true, true) => Became::Restored,
        (false, true) => Became::Untouched,
    }
}

/// The fields of an object that the applied manifest names and that belong to others now.
fn touched(is: &Value, applied: &Value) -> Owned {
    let entries = is["metadata"]["managedFields"].as_array().into_iter().flatten();
    let theirs = entries
        .filter(|entry| entry["manager"] != MANAGER)
        .flat_map(|entry| ownership::fields(&entry["fieldsV1"]));
    theirs.filter(|path| ownership::at(applied, path).is_some()).collect()
}

/// The patch from one object to the other, refused when somebody has changed it meanwhile; empty: they are the same.
fn patch(is: &Value, wanted: &Value) -> Vec<Value> {
    let mut operations = Vec::new();
    let mut compare = |prefix: &str, is: &Value, wanted: &Value, skip: &dyn Fn(&str) -> bool| {
        let empty = Map::new();
        let (is, wanted) = (is.as_object().unwrap_or(&empty), wanted.as_object().unwrap_or(&empty));
        for (key, value) in wanted.iter().filter(|(key, _)| !skip(key)) {
            if is.get(key) != Some(value) {
                operations
                    .push(json!({ "op": "add", "path": format!("{prefix}/{}", token(key)), "value": value }));
            }
        }
        for key in is.keys().filter(|key| !skip(key) && !wanted.contains_key(*key)) {
            operations.push(json!({ "op": "remove", "path": format!("{prefix}/{}", token(key)) }));
        }
    };
    compare("", is, wanted, &|key| matches!(key, "metadata" | "status" | "apiVersion" | "kind"));
    let ours = |key: &str| !matches!(key, "labels" | "annotations" | "finalizers" | "ownerReferences");
    compare("/metadata", &is["metadata"], &wanted["metadata"], &ours);
    if !operations.is_empty() {
        let version = is["metadata"]["resourceVersion"].clone();
        operations.push(json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": version }));
    }
    operations
}

/// A key as a part of a JSON pointer (RFC 6901).
fn token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
