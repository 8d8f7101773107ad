//! The claims of a StatefulSet, which are data and outlive it (P6).
//!
//! Kubernetes makes them by templates, and deletes them with it, or with those of its pods that it no longer has, where
//! its `persistentVolumeClaimRetentionPolicy` says so (kubernetes.io, "StatefulSets", since 1.32 for all): its controller
//! then makes it an owner of them.

use serde_json::{Value, json};

use super::MANAGER;
use super::apply::Halt;
use super::object::unseen;
use super::persist::persist;
use super::undo::{STALE_MAX, awaited, named};
use crate::action::Call;
use crate::saga::FailureClass;
use crate::transport::{Kube, KubeError, Object, Patch, Select};

/// When claims go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The StatefulSet is deleted.
    Deleted,
    /// It is to have fewer pods.
    Scaled,
}

/// Whether an object is a StatefulSet whose claims go then.
pub(super) fn go(is: &Value, when: When) -> bool {
    let key = match when {
        When::Deleted => "whenDeleted",
        When::Scaled => "whenScaled",
    };
    is["kind"] == "StatefulSet" && is["spec"]["persistentVolumeClaimRetentionPolicy"][key] == "Delete"
}

/// The claims that there are by the templates of a StatefulSet, which may be gone itself.
pub(super) async fn of(kube: &Kube, set: &Object, is: &Value) -> Result<Vec<Value>, KubeError> {
    let templates = is["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten();
    let names = templates.filter_map(|template| template["metadata"]["name"].as_str());
    let begins: Vec<String> = names.map(|name| format!("{name}-{}-", set.name)).collect();
    if begins.is_empty() {
        return Ok(Vec::new());
    }
    let resource = kube.resource("v1", "PersistentVolumeClaim").await?;
    let select = Select { namespace: set.namespace.clone(), ..Select::default() };
    let mut all = persist(kube, || kube.list(&resource, &select)).await?;
    all.retain(|claim| {
        let name = claim["metadata"]["name"].as_str().unwrap_or_default();
        let number = begins.iter().find_map(|begin| name.strip_prefix(begin.as_str()));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    });
    Ok(all)
}

/// Parts a StatefulSet from its claims, so that they stay when it goes. May be cut off anywhere and done again.
pub(super) async fn part(kube: &Kube, set: &Object, is: &Value, call: &Call) -> Result<(), Halt> {
    let told = go(is, When::Deleted);
    let uid = &is["metadata"]["uid"];
    let owns = |claim: &Value| {
        let mut owners = claim["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.any(|owner| owner["uid"] == *uid)
    };
    match of(kube, set, is).await {
        // It was not told to take them along, so that nothing has to be seen of them.
        Err(error) if error.is_forbidden() && !told => return Ok(()),
        Err(error) => return Err(named(set, &error)),
        Ok(all) if !told && !all.iter().any(owns) => return Ok(()),
        Ok(_) => {}
    }
    if told {
        let stay = json!({ "spec": { "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Retain" } } });
        let stay = Patch::Merge(stay);
        persist(kube, || kube.patch(set, None, &stay, MANAGER)).await.map_err(|error| named(set, &error))?;
    }
    // Until then its controller would make it their owner again.
    let unseen =
        |is: Option<&Value>| is.and_then(unseen).map(|why| format!("still takes its claims along: {why}"));
    awaited(kube, set, call, unseen).await?;
    for _ in 0..STALE_MAX {
        let claims = of(kube, set, is).await.map_err(|error| named(set, &error))?;
        let Some(claim) = claims.iter().find(|claim| owns(claim)) else { return Ok(()) };
        let meta = &claim["metadata"];
        let owners = meta["ownerReferences"].as_array().into_iter().flatten();
        let others: Vec<&Value> = owners.filter(|owner| owner["uid"] != *uid).collect();
        let others =
            json!({ "metadata": { "resourceVersion": meta["resourceVersion"], "ownerReferences": others } });
        let (resource, namespace) =
            (kube.resource("v1", "PersistentVolumeClaim").await, set.namespace.clone());
        let resource = resource.map_err(|error| named(set, &error))?;
        let name = meta["name"].as_str().unwrap_or_default().to_owned();
        let claim = Object { resource, namespace, name };
        let others = Patch::Merge(others);
        match persist(kube, || kube.patch(&claim, None, &others, MANAGER)).await {
            Err(error) if !error.is_stale() && !error.is_not_found() => return Err(named(&claim, &error)),
            _ => {}
        }
    }
    let message = format!("the claims of {} are changed by others all the time: try again", set.shown());
    Err(Halt::Failed(FailureClass::Transient, message))
}
