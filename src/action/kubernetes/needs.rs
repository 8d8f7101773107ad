//! The rights that `kubernetes.apply` needs, its way back included, asked of the server before anything is done.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::apply::Apply;
use super::persist::together;
use super::{order, wanted};
use crate::action::outcome::shown;
use crate::action::{Call, Need, Needs};
use crate::transport::{Right, Transport};

impl Needs for Apply {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let place =
                call.operation.fields.get("cluster").and_then(serde_json::Value::as_str).unwrap_or_default();
            let what = format!("rights on cluster `{place}` for step `{}`", call.key.step);
            let met = match looked(&transport, &call).await {
                Ok(rights) => Ok(format!("all {rights} that are needed are there")),
                Err(missing) => Err(shown(&missing, &call.redactor)),
            };
            vec![Need { what, met }]
        })
    }
}

/// How many rights there are; or which are missing.
async fn looked(transport: &Transport, call: &Call) -> Result<usize, String> {
    let asked = wanted::read(call)?;
    let kube = transport.cluster(&asked.place, call.timeout).await.map_err(|error| error.message)?;
    let wanted = wanted::resolved(&kube, &asked).await.map_err(|error| error.message)?;
    let mut rights = BTreeSet::new();
    for wanted in &wanted {
        let (resource, namespace) = (&wanted.object.resource, &wanted.object.namespace);
        let mut verbs = vec!["get", "create", "patch"];
        let kept =
            order::holds_data(resource) || (order::is_definition(resource) && !call_deletes_crds(call));
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

fn call_deletes_crds(call: &Call) -> bool {
    call.operation.fields.get("delete_crds") == Some(&serde_json::Value::Bool(true))
}
