//! `kubernetes.scale`: how many pods a workload has.
//!
//! Works on the subresource `scale`, so that nothing else of the object is touched. With 0 it has done its work when no
//! pod is left, also none on its way out: what two of them would corrupt is free only then.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::MANAGER;
use super::claims::{self, When};
use super::object::{Named, reach};
use super::settled::{acted, late, outcome_of, rolled_out, unreached, until};
use crate::action::outcome::{refused, shown};
use crate::action::{Action, Call, Fields, Inverse, Needs, PreImage, Probe};
use crate::saga::{Answer, Outcome, Verdict};
use crate::transport::{Kube, Object, Patch, Transport};

pub(in crate::action) struct Scale;

fn wanted(call: &Call) -> Result<(Named, i64), String> {
    let fields = Fields::new(&call.operation);
    let named = Named::workload(fields, "kubernetes.scale")?;
    let replicas =
        fields.get("replicas").and_then(Value::as_i64).filter(|replicas| (0..=10_000).contains(replicas));
    Ok((named, replicas.ok_or_else(|| fields.wrong("replicas", "a number from 0 on"))?))
}

async fn kube(transport: &Transport, call: &Call) -> Result<Kube, (bool, String)> {
    reach(transport, Fields::new(&call.operation), &call.places, &call.folder, call.timeout).await
}

/// What is lacking until a workload has exactly so many pods, and all of them ready.
fn lacks(replicas: i64, is: Option<&Value>, pods: &[Value]) -> Option<String> {
    let lacking = rolled_out(is, pods);
    if lacking.is_some() {
        return lacking;
    }
    let there = i64::try_from(pods.len()).unwrap_or(i64::MAX);
    (there > replicas).then(|| {
        let names: Vec<&str> = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
        format!("{there} pods are still there: {}", names.join(", "))
    })
}

async fn scale(kube: &Kube, object: &Object, replicas: i64, call: &Call) -> Outcome {
    let is = match kube.get(object).await {
        Ok(Some(is)) => is,
        Ok(None) => {
            return refused(
                &format!("cluster `{}`: {} is not there", kube.name(), object.shown()),
                &call.redactor,
            );
        }
        Err(error) => return outcome_of(&error, call),
    };
    let has = is["spec"]["replicas"].as_i64();
    if has.is_some_and(|has| replicas < has) && claims::go(&is, When::Scaled) {
        let message = format!(
            "{} deletes the claims of the pods that it no longer has (`whenScaled: Delete`), and with them what users have \
             stored: nothing was changed; let it say `Retain` first",
            object.shown()
        );
        return refused(&message, &call.redactor);
    }
    if has != Some(replicas) {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        if let Err(error) = kube.patch(object, Some("scale"), &patch, MANAGER).await {
            return outcome_of(&error, call);
        }
    }
    match until(kube, object, call, |is, pods| lacks(replicas, is, pods)).await {
        Ok(()) => acted(Map::new()),
        Err(why) => {
            late(&format!("{} was scaled to {replicas} and is not there yet", object.shown()), &why, call)
        }
    }
}

impl Action for Scale {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let (named, replicas) = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return refused(&message, &call.redactor),
            };
            let _working = transport.begin_inside(&call.key.to_string());
            let kube = match kube(&transport, &call).await {
                Ok(kube) => kube,
                Err(why) => return unreached(why, &call),
            };
            match named.find(&kube).await {
                Ok(object) => scale(&kube, &object, replicas, &call).await,
                Err(error) => outcome_of(&error, &call),
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

impl Probe for Scale {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let answer = |verdict, reason: &str| Answer::new(verdict, shown(reason, &call.redactor));
            let (named, replicas) = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return answer(Verdict::Unknown, &message),
            };
            let kube = match kube(&transport, &call).await {
                Ok(kube) => kube,
                Err((_, message)) => return answer(Verdict::Unknown, &message),
            };
            let looked = async {
                let object = named.find(&kube).await?;
                let is = kube.get(&object).await?;
                let pods = match &is {
                    Some(is) => super::object::pods(&kube, &object, is).await?,
                    None => Vec::new(),
                };
                Ok::<_, crate::transport::KubeError>((object, is, pods))
            };
            let (object, is, pods) = match looked.await {
                Ok(seen) => seen,
                Err(error) => return answer(Verdict::Unknown, &error.message),
            };
            let Some(is) = is else {
                return answer(Verdict::Absent, &format!("{} is not there", object.shown()));
            };
            let has = is["spec"]["replicas"].as_i64().unwrap_or(1);
            let mut seen = if has != replicas {
                answer(Verdict::Absent, &format!("{} is to have {has} pods, not {replicas}", object.shown()))
            } else if let Some(why) = lacks(replicas, Some(&is), &pods) {
                answer(Verdict::Partial, &format!("{} is to have {replicas} pods, but {why}", object.shown()))
            } else {
                answer(Verdict::Holds, &format!("{} has {replicas} pods", object.shown()))
            };
            seen.facts.insert("replicas".to_owned(), has.into());
            seen.facts.insert("pods".to_owned(), pods.len().into());
            seen
        })
    }
}

impl Inverse for Scale {
    fn target(&self, call: &Call) -> Result<String, String> {
        let (named, _) = wanted(call)?;
        let cluster = Fields::new(&call.operation).cluster(&call.places.clusters, &call.folder)?;
        Ok(format!("{} in cluster `{}`", named.shown(), cluster.name))
    }

    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        let target = self.target(&call);
        Box::pin(async move {
            let (named, _) = wanted(&call)?;
            let kube = kube(&transport, &call).await.map_err(|(_, message)| message)?;
            let object = named.find(&kube).await.map_err(|error| error.message)?;
            let is = kube.get(&object).await.map_err(|error| error.message)?;
            let is =
                is.ok_or_else(|| format!("cluster `{}`: {} is not there", kube.name(), object.shown()))?;
            Ok(PreImage {
                target: target?,
                value: json!({
                    "cluster": kube.name(), "kind": format!("{}.{}", object.resource.plural, object.resource.group),
                    "namespace": object.namespace, "name": object.name, "replicas": is["spec"]["replicas"].as_i64().unwrap_or(1),
                }),
                contents: std::collections::BTreeMap::new(),
                sensitive: false,
            })
        })
    }

    fn undo(&self, transport: Transport, mut call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let value = &pre_image.value;
            let text = |key: &str| value[key].as_str().map(str::to_owned);
            let read = (text("cluster"), text("kind"), text("name"), value["replicas"].as_i64());
            let (Some(cluster), Some(word), Some(name), Some(replicas)) = read else {
                return refused(
                    &format!("the pre-image of {} cannot be understood", pre_image.target),
                    &call.redactor,
                );
            };
            call.operation.fields.insert("cluster".to_owned(), cluster.into());
            let _working = transport.begin_inside(&call.key.to_string());
            let kube = match kube(&transport, &call).await {
                Ok(kube) => kube,
                Err(why) => return unreached(why, &call),
            };
            let word = word.trim_end_matches('.').to_owned();
            let object = match (Named { word, namespace: text("namespace"), name }).find(&kube).await {
                Ok(object) => object,
                Err(error) => return outcome_of(&error, &call),
            };
            match kube.get(&object).await {
                // Whoever deleted it has not left us anything to scale.
                Ok(None) => acted(Map::new()),
                Ok(Some(_)) => scale(&kube, &object, replicas, &call).await,
                Err(error) => outcome_of(&error, &call),
            }
        })
    }
}
