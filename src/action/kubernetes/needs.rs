//! The rights that an action needs, its way back included, asked of the server before anything is done.
//!
//! What an action does without when it may not, such as reading events, is not asked for.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::apply::Apply;
use super::delete::Delete;
use super::exec::Exec;
use super::object::{Named, reach};
use super::persist::together;
use super::restart::Restart;
use super::scale::Scale;
use super::{order, wanted};
use crate::action::outcome::shown;
use crate::action::{Call, Fields, Need, Needs};
use crate::saga::Direction;
use crate::transport::{Kube, Resource, Right, Transport};

/// A verb with the group and the kind, or a subresource of it, that it is for.
type Wish<'w> = (&'static str, &'w str, String);

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
            let found = of_named(&transport, &call, named, |resource| {
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
            let fields = Fields::new(&call.operation);
            let named = match Named::read(fields, "pod", Some("Pod")) {
                Ok(Some(pod)) => Ok(pod),
                Ok(None) => Named::workload(fields, "kubernetes.exec"),
                Err(message) => Err(message),
            };
            // A websocket begins as a GET; since Kubernetes 1.35 the server wants to see `create` as well.
            let found = of_named(&transport, &call, named, |resource| {
                let mut wishes = vec![
                    ("get", resource.group.as_str(), resource.plural.clone()),
                    ("get", "", "pods/exec".to_owned()),
                    ("create", "", "pods/exec".to_owned()),
                ];
                if resource.kind != "Pod" {
                    wishes.push(("list", "", "pods".to_owned()));
                }
                wishes
            });
            answered(&call, found.await).await
        })
    }
}

/// Rights, and the cluster to be asked for them.
type Found = Result<(Kube, BTreeSet<Right>), String>;

/// What a workload's action needs.
async fn of_workload(
    transport: &Transport,
    call: &Call,
    wishes: impl FnOnce(&Resource) -> Vec<Wish<'_>>,
) -> Found {
    let named = Named::workload(Fields::new(&call.operation), &call.operation.name);
    of_named(transport, call, named, wishes).await
}

/// What an action on one object needs, all of it where the object is.
async fn of_named(
    transport: &Transport,
    call: &Call,
    named: Result<Named, String>,
    wishes: impl FnOnce(&Resource) -> Vec<Wish<'_>>,
) -> Found {
    let named = named?;
    let fields = Fields::new(&call.operation);
    let kube = reach(transport, fields, &call.places, &call.folder, call.timeout).await;
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
    }
    Ok((kube, rights))
}

/// Asks for the rights, and says how many there are; or which are missing, and what would grant them.
async fn answered(call: &Call, found: Found) -> Vec<Need> {
    let place = call.operation.fields.get("cluster").and_then(Value::as_str).unwrap_or_default();
    let way = match call.key.direction {
        Direction::Forward => "",
        Direction::Compensation => "the way back of ",
    };
    let what = format!("rights on cluster `{place}` for {way}step `{}`", call.key.step);
    let met = match asked(found).await {
        Ok(rights) => Ok(format!("all {rights} that are needed are there")),
        Err(missing) => Err(shown(&missing, &call.redactor)),
    };
    vec![Need { what, met }]
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
