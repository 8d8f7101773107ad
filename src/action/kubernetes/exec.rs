//! `kubernetes.exec`: a command in a container that is there already.
//!
//! What was cut off (its time was over, the connection was lost) may still run in its container, and no API tells whether
//! it does: the step's probe says what became of it, or it is marked `idempotent`.

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::object::{Named, is_going, pods, reach, ready_pod, why_not};
use super::settled::{outcome_of as kube_outcome, unreached};
use crate::action::fields::OnStop;
use crate::action::outcome::{outcome_of, refused, shown};
use crate::action::{Action, Call, Fields, Needs};
use crate::saga::{FailureClass, Outcome, Trace};
use crate::transport::{Capture, InPod, Kube, KubeError, Object, Transport};

pub(in crate::action) struct Exec;

/// The pod in which an operation runs something: the one it names, or a ready one of its workload.
///
/// # Errors
/// In words, a field that cannot be read; that no pod is ready; or as of a request.
pub(crate) async fn pod_of(
    kube: &Kube,
    fields: Fields<'_>,
) -> Result<Result<(Object, Value), String>, KubeError> {
    let named = match Named::of_pod(fields) {
        Ok(named) => named,
        Err(message) => return Ok(Err(message)),
    };
    let object = named.find(kube).await?;
    let gone = format!("cluster `{}`: {} is not there", kube.name(), object.shown());
    let Some(is) = kube.get(&object).await? else { return Ok(Err(gone)) };
    if object.resource.kind == "Pod" {
        return Ok(Ok((object, is)));
    }
    let all = pods(kube, &object, &is).await?;
    let Some(pod) = ready_pod(&all) else {
        let why = all.iter().filter(|pod| !is_going(pod)).find_map(why_not);
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        return Ok(Err(format!("cluster `{}`: no pod of {} is ready{why}", kube.name(), object.shown())));
    };
    let resource = kube.resource("v1", "Pod").await?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(Ok((Object { resource, namespace: object.namespace.clone(), name }, pod.clone())))
}

impl Action for Exec {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let fields = Fields::new(&call.operation);
            let read = || {
                let argv = fields.words("argv")?.ok_or("`kubernetes.exec` needs `argv`")?;
                let stdin = fields.text("stdin")?.map(String::into_bytes);
                Ok::<_, String>((
                    argv,
                    stdin,
                    fields.text("container")?,
                    fields.outputs()?,
                    fields.on_stop(OnStop::Stop)?,
                ))
            };
            let (argv, stdin, container, outputs, on_stop) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let _working = transport.begin_inside(&call.key.to_string());
            let kube = match reach(&transport, fields, &call.places, &call.folder, call.timeout).await {
                Ok(kube) => kube,
                Err(why) => return unreached(why, &call),
            };
            let (pod, _) = match pod_of(&kube, fields).await {
                Ok(Ok(pod)) => pod,
                Ok(Err(message)) => {
                    let message = shown(&message, &call.redactor);
                    return Outcome::Failed {
                        class: FailureClass::Transient,
                        message,
                        trace: Trace::default(),
                    };
                }
                Err(error) => return kube_outcome(&error, &call),
            };
            let capture = Capture::new(&call.redactor, Some(transport.log(call.log())));
            let stop = (on_stop == OnStop::Stop).then_some(&call.stop);
            let command =
                InPod { pod: &pod, container: container.as_deref(), argv: &argv, stdin: stdin.as_deref() };
            let report = kube.exec(&command, capture, stop).await;
            outcome_of(report, &outputs, &call.redactor, true)
        })
    }

    fn needs(&self) -> Option<&dyn Needs> {
        Some(self)
    }
}
