//! What is there of the wanted objects, and what an apply would make of them, by the server's own dry run.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use serde_json::Value;

use super::persist::{persist, together};
use super::wanted::Wanted;
use super::{MANAGER, RUN, STEP};
use crate::transport::{Applied, Kube, KubeError, Object, Select};

/// From how many objects of a kind and namespace on all of them are listed.
const LISTED_MIN: usize = 8;

/// What the dry run says of one object.
#[derive(Debug)]
pub(super) enum Foreseen {
    /// It is as it shall be.
    Same,
    /// It would be created; the object as it would be, unless its namespace or kind is still to come.
    Created(Option<Value>),
    /// It would be changed into this.
    Changed(Value),
    /// The server would refuse it.
    Refused(KubeError),
}

/// The objects as they are, in the order of the wanted ones; `None`: not there.
///
/// # Errors
/// As of a request, when it does not heal in time.
pub(super) async fn present(kube: &Kube, objects: &[&Object]) -> Result<Vec<Option<Value>>, KubeError> {
    let mut groups: BTreeMap<(String, String, Option<&str>), Vec<usize>> = BTreeMap::new();
    for (number, object) in objects.iter().enumerate() {
        let resource = &object.resource;
        let key = (resource.api_version(), resource.plural.clone(), object.namespace.as_deref());
        groups.entry(key).or_default().push(number);
    }
    let mut found: Vec<Option<Value>> = vec![None; objects.len()];
    let mut single: Vec<usize> = Vec::new();
    for numbers in groups.into_values() {
        let first = objects[numbers[0]];
        if numbers.len() < LISTED_MIN {
            single.extend(numbers);
            continue;
        }
        let select = Select { namespace: first.namespace.clone(), ..Select::default() };
        match persist(kube, || kube.list(&first.resource, &select)).await {
            Ok(all) => {
                let mut by_name: BTreeMap<String, Value> = all
                    .into_iter()
                    .filter_map(|one| Some((one["metadata"]["name"].as_str()?.to_owned(), one)))
                    .collect();
                for number in numbers {
                    found[number] = by_name.remove(&objects[number].name);
                }
            }
            // Not every account that may read an object may list all of them; and a kind may be still to come.
            Err(error) if error.is_forbidden() || error.is_not_found() => single.extend(numbers),
            Err(error) => return Err(error),
        }
    }
    let work =
        single.iter().map(|&number| persist(kube, move || kube.get(objects[number])).boxed()).collect();
    for (number, object) in single.iter().zip(together(work).await) {
        found[*number] = object?;
    }
    Ok(found)
}

/// What an apply would do, object by object. Changes nothing.
///
/// # Errors
/// Only when the server could not be asked; what it refuses is [`Foreseen::Refused`].
pub(super) async fn foreseen(
    kube: &Kube,
    wanted: &[Wanted],
    present: &[Option<Value>],
    force: bool,
) -> Result<Vec<Foreseen>, KubeError> {
    let work = wanted
        .iter()
        .zip(present)
        .map(|(wanted, present)| one(kube, wanted, present.as_ref(), force).boxed());
    let mut all = Vec::with_capacity(wanted.len());
    for foreseen in together(work.collect()).await {
        all.push(foreseen?);
    }
    // What will be there by then is no reason to refuse.
    for number in 0..all.len() {
        let Foreseen::Refused(error) = &all[number] else { continue };
        if present[number].is_none() && error.is_not_found() && prepared(&wanted[number], wanted) {
            all[number] = Foreseen::Created(None);
        }
    }
    Ok(all)
}

async fn one(
    kube: &Kube,
    wanted: &Wanted,
    present: Option<&Value>,
    force: bool,
) -> Result<Foreseen, KubeError> {
    let how = Applied { manager: MANAGER, force, dry_run: true };
    match (persist(kube, || kube.apply(&wanted.object, &wanted.value, how)).await, present) {
        (Ok(would), Some(is)) if same(is, &would) => Ok(Foreseen::Same),
        (Ok(would), Some(_)) => Ok(Foreseen::Changed(would)),
        (Ok(would), None) => Ok(Foreseen::Created(Some(would))),
        (Err(error), _) if error.refusal().is_none() || error.may_heal() || error.is_unauthorized() => {
            Err(error)
        }
        (Err(error), _) => Ok(Foreseen::Refused(error)),
    }
}

/// Whether the namespace or the kind of an object is among the wanted ones itself.
fn prepared(one: &Wanted, all: &[Wanted]) -> bool {
    all.iter().any(|other| {
        let (object, resource) = (&other.object, &other.object.resource);
        let namespace = resource.group.is_empty() && resource.kind == "Namespace";
        let of_it = namespace && one.object.namespace.as_deref() == Some(object.name.as_str());
        let kind = super::order::is_definition(resource)
            && other.value["spec"]["names"]["plural"] == one.object.resource.plural.as_str()
            && other.value["spec"]["group"] == one.object.resource.group.as_str();
        of_it || kind
    })
}

/// Whether two objects differ in nothing but the server's bookkeeping and our annotations.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    plain(one) == plain(other)
}

/// An object without the server's bookkeeping, without its status, and without our annotations.
pub(super) fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return object };
    for key in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"] {
        metadata.remove(key);
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(RUN);
        annotations.remove(STEP);
        // Written by a controller, not by anybody who wants something.
        annotations.remove("deployment.kubernetes.io/revision");
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bookkeeping_and_our_annotations_are_no_difference() {
        let is = json!({ "metadata": { "name": "a", "resourceVersion": "1", "annotations": { RUN: "r-1", STEP: "s" } },
            "data": { "k": "v" }, "status": { "x": 1 } });
        let would = json!({ "metadata": { "name": "a", "uid": "u", "generation": 2 }, "data": { "k": "v" } });
        assert!(same(&is, &would));
        let other =
            json!({ "metadata": { "name": "a", "annotations": { "mine": "x" } }, "data": { "k": "v" } });
        assert!(!same(&is, &other));
    }
}
