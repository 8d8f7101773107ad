//! The rights that an action needs, its way back included, or a check, asked of the server before anything is done.
//!
//! What is done without when it may not be, such as reading events, is not asked for.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::apply::Apply;
use super::claims::{self, When};
use super::delete::Delete;
use super::exec::Exec;
use super::object::{Named, reach};
use super::persist::together;
use super::restart::Restart;
use super::scale::Scale;
use super::{order, wanted};
use crate::action::baseline::Baseline;
use crate::action::outcome::shown;
use crate::action::{Call, Fields, Need, Needs};
use crate::plan::recorded::{Operation, Places};
use crate::saga::Direction;
use crate::transport::{Kube, Redactor, Resource, Right, Transport};

/// A verb with the group and the kind, or a subresource of it, that it is for.
pub(crate) type Wish<'w> = (&'static str, &'w str, String);

/// Rights, and the cluster to be asked for them.
pub(crate) type Found = Result<(Kube, BTreeSet<Right>), String>;

/// Whose rights are asked for: those of an action or of a check.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) places: &'a Places,
    pub(crate) folder: &'a Path,
    pub(crate) timeout: Duration,
    pub(crate) redactor: &'a Redactor,
}

impl<'a> From<&'a Call> for Asker<'a> {
    fn from(call: &'a Call) -> Self {
        let Call { operation, places, folder, timeout, redactor, .. } = call;
        Self { operation, places, folder, timeout: *timeout, redactor }
    }
}

impl Needs for Apply {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let found = of_apply(&transport, &call).await;
            answered(&call, found).await
        })
    }
}

impl Needs for Scale {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let found = of_workload(&transport, &call, |resource| {
                vec![
                    ("get", resource.group.as_str(), resource.plural.clone()),
                    ("patch", resource.group.as_str(), format!("{}/scale", resource.plural)),
                    ("list", "", "pods".to_owned()),
                ]
            });
            answered(&call, found.await).await
        })
    }
}

impl Needs for Restart {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let found = of_workload(&transport, &call, |resource| {
                vec![
                    ("get", resource.group.as_str(), resource.plural.clone()),
                    ("patch", resource.group.as_str(), resource.plural.clone()),
                    ("list", "", "pods".to_owned()),
                ]
            });
            answered(&call, found.await).await
        })
    }
}

impl Needs for Delete {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let named = Named::read(Fields::new(&call.operation), "object", None)
                .and_then(|named| named.ok_or_else(|| "`kubernetes.delete` needs an `object`".to_owned()));
            // The way back makes it again, and gives its fields back to whom they belonged.
            let found = of_named(&transport, Asker::from(&call), named, |resource| {
                let of_it = ["get", "delete", "create", "patch"].into_iter();
                of_it.map(|verb| (verb, resource.group.as_str(), resource.plural.clone())).collect()
            });
            answered(&call, found.await).await
        })
    }
}

impl Needs for Exec {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let named = Named::of_pod(Fields::new(&call.operation));
            let found = of_named(&transport, Asker::from(&call), named, to_exec);
            answered(&call, found.await).await
        })
    }
}

impl Needs for Baseline {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            if call.operation.fields.get("cluster").is_none() {
                return Vec::new();
            }
            let fields = Fields::new(&call.operation);
            let kube = reach(&transport, fields, &call.places, &call.folder, call.timeout).await;
            // The addresses of the whole cluster.
            let found = kube.map(|kube| (kube, BTreeSet::from([Right::of_all("list", "services")])));
            answered(&call, found.map_err(|(_, message)| message)).await
        })
    }
}

/// What a command in a pod needs, of the pod or of the workload that it belongs to.
pub(crate) fn to_exec(resource: &Resource) -> Vec<Wish<'_>> {
    // A websocket begins as a GET; since Kubernetes 1.35 the server wants to see `create` as well.
    let mut wishes = vec![
        ("get", resource.group.as_str(), resource.plural.clone()),
        ("get", "", "pods/exec".to_owned()),
        ("create", "", "pods/exec".to_owned()),
    ];
    if resource.kind != "Pod" {
        wishes.push(("list", "", "pods".to_owned()));
    }
    wishes
}

/// What a workload's action needs.
async fn of_workload(
    transport: &Transport,
    call: &Call,
    wishes: impl FnOnce(&Resource) -> Vec<Wish<'_>>,
) -> Found {
    let named = Named::workload(Fields::new(&call.operation), &call.operation.name);
    of_named(transport, Asker::from(call), named, wishes).await
}

/// What is needed of one object, all of it where the object is.
pub(crate) async fn of_named(
    transport: &Transport,
    asker: Asker<'_>,
    named: Result<Named, String>,
    wishes: impl FnOnce(&Resource) -> Vec<Wish<'_>>,
) -> Found {
    let named = named?;
    let fields = Fields::new(asker.operation);
    let kube = reach(transport, fields, asker.places, asker.folder, asker.timeout).await;
    let kube = kube.map_err(|(_, message)| message)?;
    let object = named.find(&kube).await.map_err(|error| error.message)?;
    let rights = wishes(&object.resource).into_iter().map(|(verb, group, resource)| Right {
        verb,
        group: group.to_owned(),
        resource,
        namespace: object.namespace.clone(),
    });
    let rights = rights.collect();
    Ok((kube, rights))
}

async fn of_apply(transport: &Transport, call: &Call) -> Found {
    let asked = wanted::read(call)?;
    let kube = transport.cluster(&asked.place, call.timeout).await.map_err(|error| error.message)?;
    let wanted = wanted::resolved(&kube, &asked).await.map_err(|error| error.message)?;
    let deletes_crds = call.operation.fields.get("delete_crds") == Some(&Value::Bool(true));
    let mut rights = BTreeSet::new();
    for wanted in &wanted {
        let (resource, namespace) = (&wanted.object.resource, &wanted.object.namespace);
        let mut verbs = vec!["get", "create", "patch"];
        let kept = order::holds_data(resource) || (order::is_definition(resource) && !deletes_crds);
        if !kept {
            verbs.push("delete");
        }
        let right = |verb| Right {
            verb,
            group: resource.group.clone(),
            resource: resource.plural.clone(),
            namespace: namespace.clone(),
        };
        rights.extend(verbs.into_iter().map(right));
        if asked.wait && order::rolls_out(resource) {
            let of_pods = [("list", "", "pods"), ("get", "", "pods/log"), ("list", "apps", "replicasets")];
            rights.extend(of_pods.into_iter().map(|(verb, group, resource)| Right {
                verb,
                group: group.to_owned(),
                resource: resource.to_owned(),
                namespace: namespace.clone(),
            }));
        }
        // Its claims are named on the way back, and parted from it before it is deleted.
        if !wanted.value["spec"]["volumeClaimTemplates"].is_null() {
            let verbs = if claims::go(&wanted.value, When::Deleted) {
                ["list", "patch"].as_slice()
            } else {
                &["list"]
            };
            rights.extend(verbs.iter().map(|verb| Right {
                verb,
                group: String::new(),
                resource: "persistentvolumeclaims".to_owned(),
                namespace: namespace.clone(),
            }));
        }
    }
    Ok((kube, rights))
}

/// Asks for the rights of an action, and says how many there are; or which are missing, and what would grant them.
async fn answered(call: &Call, found: Found) -> Vec<Need> {
    let way = match call.key.direction {
        Direction::Forward => "",
        Direction::Compensation => "the way back of ",
    };
    let Need { what, met } = need(Asker::from(call), found).await;
    vec![Need { what: format!("{what} for {way}step `{}`", call.key.step), met }]
}

/// Asks for the rights of a check, where what it looks at is known already: a step may still have to make its kind.
pub(crate) async fn needs_of(asker: Asker<'_>, found: Found) -> Vec<Need> {
    match found {
        Ok(found) => vec![need(asker, Ok(found)).await],
        Err(_) => Vec::new(),
    }
}

async fn need(asker: Asker<'_>, found: Found) -> Need {
    let place = asker.operation.fields.get("cluster").and_then(Value::as_str).unwrap_or_default();
    let met = match asked(found).await {
        Ok(rights) => Ok(format!("all {rights} that are needed are there")),
        Err(missing) => Err(shown(&missing, asker.redactor)),
    };
    Need { what: format!("rights on cluster `{place}`"), met }
}

async fn asked(found: Found) -> Result<usize, String> {
    let (kube, rights) = found?;
    let work = rights.iter().map(|right| kube.has(right).boxed()).collect();
    let mut missing = Vec::new();
    for (right, has) in rights.iter().zip(together(work).await) {
        if !has.map_err(|error| error.message)? {
            missing.push(format!(
                "may not `{}` `{}`: {} would grant it",
                right.verb,
                right.resource,
                right.rule()
            ));
        }
    }
    if missing.is_empty() { Ok(rights.len()) } else { Err(missing.join("; ")) }
}
