//! `kubernetes.delete`: one object, with all that it owns, and waited for until it is gone.
//!
//! The way back makes the object again as it was, and gives its fields back to whom they belonged: an object whose owners
//! are forgotten would conflict with each of them (`before-first-apply`, Kubernetes 1.36). What it held is another thing:
//! a claim comes back without what was stored, a namespace without what was in it. So such kinds are deleted only when
//! the step says so (`delete_data`), and the plan's loader then asks for an approval (P6).

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::MANAGER;
use super::claims::{self, When};
use super::object::{Named, is_going, reach};
use super::settled::{Late, acted, late, outcome_of, unreached, until};
use crate::action::outcome::{refused, shown};
use crate::action::{Action, Call, Fields, Inverse, Needs, PreImage, Probe};
use crate::saga::{Answer, Outcome, Verdict};
use crate::transport::{Kube, KubeError, Object, Patch, Propagation, Transport};

/// How the object is called in a pre-image.
const OBJECT: &str = "object";

/// Kinds whose objects hold what users have stored, of the core group.
const DATA: &[&str] = &["PersistentVolumeClaim", "PersistentVolume", "Namespace"];

pub(in crate::action) struct Delete;

fn named(call: &Call) -> Result<Named, String> {
    let named = Named::read(Fields::new(&call.operation), "object", None)?;
    named.ok_or_else(|| {
        "`kubernetes.delete` needs an `object`, such as `\"Deployment frigate/frigate\"`".to_owned()
    })
}

async fn kube(transport: &Transport, call: &Call) -> Result<Kube, (bool, String)> {
    reach(transport, Fields::new(&call.operation), &call.places, &call.folder, call.timeout).await
}

fn holds_data(object: &Object) -> bool {
    let kind = object.resource.kind.as_str();
    // A definition takes every object of its kind with it.
    (object.resource.group.is_empty() && DATA.contains(&kind)) || kind == "CustomResourceDefinition"
}

async fn gone(kube: &Kube, object: &Object, call: &Call) -> Result<(), Late> {
    until(kube, object, call, |is, _| {
        let is = is?;
        let held: Vec<&str> =
            is["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Some(match held.is_empty() {
            true => "it is still on its way out".to_owned(),
            false => format!("it is held by its finalizers: {}", held.join(", ")),
        })
    })
    .await
}

impl Action for Delete {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let read = || Ok::<_, String>((named(&call)?, Fields::new(&call.operation).flag("delete_data")?));
            let (named, allowed) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let _working = transport.begin_inside(&call.key.to_string());
            let kube = match kube(&transport, &call).await {
                Ok(kube) => kube,
                Err(why) => return unreached(why, &call),
            };
            let object = match named.find(&kube).await {
                Ok(object) => object,
                Err(error) => return outcome_of(&error, &call),
            };
            let takes_claims = match kube.get(&object).await {
                Ok(is) => is.is_some_and(|is| claims::go(&is, When::Deleted)),
                Err(error) => return outcome_of(&error, &call),
            };
            if !allowed && (takes_claims || holds_data(&object)) {
                let how =
                    if takes_claims { " (in claims that go with it: `whenDeleted: Delete`)" } else { "" };
                let message = format!(
                    "{} holds what users have stored: nothing was deleted{how}; write `delete_data = true` and an `approve` \
                     if that is meant",
                    object.shown()
                );
                return refused(&message, &call.redactor);
            }
            if let Err(error) = kube.delete(&object, None, Propagation::Foreground).await {
                return outcome_of(&error, &call);
            }
            match gone(&kube, &object, &call).await {
                Ok(()) => acted(Map::new()),
                Err(why) => late(&format!("{} was deleted and is not gone yet", object.shown()), &why, &call),
            }
        })
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }

    fn inverse(&self) -> Option<&dyn Inverse> {
        Some(self)
    }

    fn needs(&self) -> Option<&dyn Needs> {
        Some(self)
    }
}

impl Probe for Delete {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let answer = |verdict, reason: &str| Answer::new(verdict, shown(reason, &call.redactor));
            let looked = async {
                let named = named(&call)?;
                let kube = kube(&transport, &call).await.map_err(|(_, message)| message)?;
                let object = named.find(&kube).await.map_err(|error| error.message)?;
                let is = kube.get(&object).await.map_err(|error| error.message)?;
                Ok::<_, String>((object, is))
            };
            match looked.await {
                Err(message) => answer(Verdict::Unknown, &message),
                Ok((object, None)) => answer(Verdict::Holds, &format!("{} is not there", object.shown())),
                Ok((object, Some(is))) if is_going(&is) => {
                    answer(Verdict::Partial, &format!("{} is on its way out", object.shown()))
                }
                Ok((object, Some(_))) => answer(Verdict::Absent, &format!("{} is there", object.shown())),
            }
        })
    }
}

impl Inverse for Delete {
    fn target(&self, call: &Call) -> Result<String, String> {
        let cluster = Fields::new(&call.operation).cluster(&call.places.clusters, &call.folder)?;
        Ok(format!("{} in cluster `{}`", named(call)?.shown(), cluster.name))
    }

    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        let target = self.target(&call);
        Box::pin(async move {
            let named = named(&call)?;
            let kube = kube(&transport, &call).await.map_err(|(_, message)| message)?;
            let object = named.find(&kube).await.map_err(|error| error.message)?;
            let is = kube.get(&object).await.map_err(|error| error.message)?;
            let resource = &object.resource;
            let mut contents = BTreeMap::new();
            // One that somebody else has deleted already does not come back.
            if let Some(is) = is.as_ref().filter(|is| !is_going(is)) {
                contents.insert(OBJECT.to_owned(), is.to_string().into_bytes());
            }
            Ok(PreImage {
                target: target?,
                value: json!({
                    "cluster": kube.name(), "api_version": resource.api_version(), "kind": resource.kind,
                    "namespace": object.namespace, "name": object.name,
                }),
                contents,
                sensitive: resource.kind == "Secret",
            })
        })
    }

    fn undo(&self, transport: Transport, mut call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let strange = || format!("the pre-image of {} cannot be understood", pre_image.target);
            let text = |key: &str| pre_image.value[key].as_str().map(str::to_owned);
            let read = (text("cluster"), text("api_version"), text("kind"), text("name"));
            let (Some(cluster), Some(version), Some(kind), Some(name)) = read else {
                return refused(&strange(), &call.redactor);
            };
            let Some(content) = pre_image.contents.get(OBJECT) else { return acted(Map::new()) };
            let Ok(was) = serde_json::from_slice::<Value>(content) else {
                return refused(&strange(), &call.redactor);
            };
            call.operation.fields.insert("cluster".to_owned(), cluster.into());
            let _working = transport.begin_inside(&call.key.to_string());
            let kube = match kube(&transport, &call).await {
                Ok(kube) => kube,
                Err(why) => return unreached(why, &call),
            };
            let resource = match kube.resource(&version, &kind).await {
                Ok(resource) => resource,
                Err(error) => return outcome_of(&error, &call),
            };
            let object = Object { resource, namespace: text("namespace"), name };
            match again(&kube, &object, &was, &call).await {
                Ok(Made::There) => acted(Map::new()),
                Ok(Made::Late(why)) => late(
                    &format!("{} is still on its way out and cannot be made again", object.shown()),
                    &why,
                    &call,
                ),
                Err(error) => outcome_of(&error, &call),
            }
        })
    }
}

enum Made {
    There,
    Late(Late),
}

/// Makes an object again, unless it is there: then nothing was deleted, or somebody else has made it anew.
async fn again(kube: &Kube, object: &Object, was: &Value, call: &Call) -> Result<Made, KubeError> {
    match kube.get(object).await? {
        Some(is) if !is_going(&is) => {
            // Made by an earlier attempt that was cut off before it gave the fields back.
            let fields = is["metadata"]["managedFields"].as_array().into_iter().flatten();
            let ours =
                fields.filter(|entry| entry["manager"] == MANAGER && entry["operation"] == "Update").count();
            if ours == 1 && plain(&is) == plain(was) {
                give_back(kube, object, was).await?;
            }
            return Ok(Made::There);
        }
        Some(_) => {
            if let Err(why) = gone(kube, object, call).await {
                return Ok(Made::Late(why));
            }
        }
        None => {}
    }
    let namespace = object.namespace.as_deref();
    let fresh = plain(was);
    match kube.create(&object.resource, namespace, &fresh, MANAGER).await {
        Ok(_) => {}
        Err(error) if error.is_already_there() => return Ok(Made::There),
        // Its address inside the cluster was given to another one meanwhile.
        Err(error)
            if object.resource.kind == "Service"
                && error.refusal().is_some_and(|refusal| refusal.code == 422) =>
        {
            let mut fresh = fresh;
            if let Some(spec) = fresh["spec"].as_object_mut() {
                spec.remove("clusterIP");
                spec.remove("clusterIPs");
            }
            kube.create(&object.resource, namespace, &fresh, MANAGER).await?;
        }
        Err(error) => return Err(error),
    }
    give_back(kube, object, was).await?;
    Ok(Made::There)
}

/// Gives the fields of an object that was made again back to whom they belonged.
async fn give_back(kube: &Kube, object: &Object, was: &Value) -> Result<(), KubeError> {
    let entries: Vec<Value> = was["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["subresource"] != "status")
        .cloned()
        .collect();
    if entries.is_empty() {
        return Ok(());
    }
    let patch =
        Patch::Json(vec![json!({ "op": "replace", "path": "/metadata/managedFields", "value": entries })]);
    kube.patch(object, None, &patch, MANAGER).await.map(drop)
}

/// An object as it can be made again: without what the server or a controller wrote into it.
fn plain(is: &Value) -> Value {
    let mut fresh = is.clone();
    if let Some(fields) = fresh.as_object_mut() {
        fields.remove("status");
    }
    let kind = is["kind"].as_str().unwrap_or_default();
    if let Some(meta) = fresh["metadata"].as_object_mut() {
        for key in [
            "managedFields",
            "resourceVersion",
            "generation",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
        ] {
            meta.remove(key);
        }
        if let Some(notes) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            notes.remove("deployment.kubernetes.io/revision");
            if kind == "PersistentVolumeClaim" {
                // The binding is of the volume that has gone with it.
                notes.retain(|key, _| {
                    !key.contains("kubernetes.io/bind-completed")
                        && !key.contains("bound-by-controller")
                        && !key.contains("selected-node")
                });
            }
            if notes.is_empty() {
                meta.remove("annotations");
            }
        }
        if let Some(held) = meta.get_mut("finalizers").and_then(Value::as_array_mut) {
            held.retain(|one| !["foregroundDeletion", "orphan"].iter().any(|policy| one == policy));
            if held.is_empty() {
                meta.remove("finalizers");
            }
        }
    }
    match kind {
        "PersistentVolumeClaim" => {
            if let Some(spec) = fresh["spec"].as_object_mut() {
                spec.remove("volumeName");
            }
        }
        "PersistentVolume" => {
            if let Some(claim) = fresh["spec"]["claimRef"].as_object_mut() {
                claim.remove("uid");
                claim.remove("resourceVersion");
            }
        }
        _ => {}
    }
    fresh
}
