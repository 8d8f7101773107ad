//! Waits until what was applied is rolled out, with the reason why it is not yet; and, when it cannot come, says what a
//! person would look up.
//!
//! The server is asked again and again rather than watched: a restart of it, a lost connection or an object that somebody
//! deletes meanwhile then need no care of their own. `observedGeneration` is compared before any condition is read,
//! because a patch is answered with the conditions of what was before (facts/components.md 1).

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::cause::{self, Cause};
use super::persist::{persist, together};
use super::wanted::Wanted;
use super::{current, order};
use crate::transport::{Kube, KubeError, Object, Select};

const FIRST_PAUSE: Duration = Duration::from_millis(150);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How much before the end of its time a wait gives up, so that there is time to say why.
const SPARE: Duration = Duration::from_millis(500);

/// How long what has crashed before must be ready without crashing again.
const CALM: Duration = Duration::from_secs(10);

/// Lines of a crashed container that are shown.
const LOG_LINES: u32 = 10;

/// How the rollout ended.
pub(super) enum Rolled {
    /// It is there, with the outputs.
    Out(Map<String, Value>),
    /// It cannot come, for this reason.
    Never(String),
    /// Its time is over; what it waited for.
    Late(String),
}

/// How things stand with everything that is waited for.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// What is not yet as it shall be, one reason each; empty: all is.
    pub(super) waiting: Vec<String>,
    /// Reasons that do not go away by themselves, by the object that waits.
    stuck: BTreeMap<String, Stuck>,
    /// How often containers have failed and begun again.
    restarts: u64,
    /// A controller has given up.
    failed: Option<String>,
    pub(super) outputs: Map<String, Value>,
}

/// A reason that does not go away by itself.
#[derive(Debug)]
struct Stuck {
    why: String,
    /// The container whose last lines would say more.
    crashed: Option<(Object, String)>,
}

impl Standing {
    pub(super) fn reason(&self) -> String {
        self.waiting.join("; ")
    }
}

/// How one object stands.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Done,
    Waiting(String),
    Failed(String),
}

/// Waits. `say` is given each new reason.
///
/// # Errors
/// When the server can no longer be asked.
pub(super) async fn wait(
    kube: &Kube,
    wanted: &[Wanted],
    give_up_after: Duration,
    mut say: impl FnMut(&str),
) -> Result<Rolled, KubeError> {
    let mut since: BTreeMap<String, Instant> = BTreeMap::new();
    let mut calm: Option<(u64, Instant)> = None;
    let mut said = String::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let mut standing = look(kube, wanted).await?;
        let now = Instant::now();
        if standing.waiting.is_empty() {
            // What crashes and begins again is ready now and then.
            let (restarts, first) = match calm {
                Some((restarts, first)) if restarts == standing.restarts => (restarts, first),
                _ => (standing.restarts, now),
            };
            if restarts == 0 || now.duration_since(first) >= CALM {
                return Ok(Rolled::Out(standing.outputs));
            }
            calm = Some((restarts, first));
            let secs = CALM.as_secs();
            standing.waiting.push(format!("all is ready, after {restarts} restarts: watched for {secs} s"));
        }
        let reason = standing.reason();
        if reason != said {
            say(&reason);
            said.clone_from(&reason);
        }
        if let Some(failed) = standing.failed {
            return Ok(Rolled::Never(failed));
        }
        since.retain(|about, _| standing.stuck.contains_key(about));
        for (about, stuck) in &standing.stuck {
            let first = since.entry(about.clone()).or_insert(now);
            if now.duration_since(*first) >= give_up_after {
                let more = match &stuck.crashed {
                    Some((pod, container)) => last_lines(kube, pod, container).await,
                    None => String::new(),
                };
                return Ok(Rolled::Never(format!("{}{more}", stuck.why)));
            }
        }
        if kube.left() <= pause + SPARE {
            return Ok(Rolled::Late(reason));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// The last lines of a crashed container: of its instance before, or of this one.
async fn last_lines(kube: &Kube, pod: &Object, container: &str) -> String {
    for previous in [true, false] {
        if let Ok(text) = kube.logs(pod, Some(container), LOG_LINES, previous).await
            && !text.trim().is_empty()
        {
            let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
            return format!("; its last lines: {}", lines.join(" / "));
        }
    }
    String::new()
}

/// Looks once at everything that rolls out, binds or gets an address.
///
/// # Errors
/// As of a request.
pub(super) async fn look(kube: &Kube, wanted: &[Wanted]) -> Result<Standing, KubeError> {
    let watched: Vec<&Object> =
        wanted.iter().map(|wanted| &wanted.object).filter(|object| is_watched(object)).collect();
    let present = current::present(kube, &watched).await?;
    let mut standing = Standing::default();
    let mut outputs = Outputs::default();
    let work =
        watched.iter().zip(&present).map(|(object, present)| one(kube, object, present.as_ref()).boxed());
    let seen = together(work.collect()).await;
    for ((object, present), seen) in watched.iter().zip(&present).zip(seen) {
        let Seen { progress, pods, causes } = seen?;
        outputs.take(object, present.as_ref(), &pods);
        standing.restarts += pods.iter().map(restarts).sum::<u64>();
        let name = object.shown();
        let (why, failed) = match progress {
            Progress::Done => continue,
            Progress::Waiting(why) => (why, false),
            Progress::Failed(why) => (why, true),
        };
        let mut reason = format!("{name}: {why}");
        for (about, cause) in &causes {
            let text = match about {
                Some(pod) => format!("pod {}: {}", pod.name, cause.text),
                None => cause.text.clone(),
            };
            if !reason.contains(&text) {
                reason.push_str(&format!("; {text}"));
            }
            if cause.stuck && !standing.stuck.contains_key(&name) {
                let crashed = about.clone().zip(cause.crashed.clone());
                standing.stuck.insert(name.clone(), Stuck { why: format!("{name}: {text}"), crashed });
            }
        }
        if failed {
            standing.failed.get_or_insert_with(|| reason.clone());
        }
        standing.waiting.push(reason);
    }
    standing.outputs = outputs.into_map();
    Ok(standing)
}

/// How often the containers of a pod have failed and begun again.
fn restarts(pod: &Value) -> u64 {
    let all = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let failed = all.filter(|container| {
        container["lastState"]["terminated"]["exitCode"].as_i64().is_some_and(|code| code != 0)
    });
    failed.filter_map(|container| container["restartCount"].as_u64()).sum()
}

fn is_watched(object: &Object) -> bool {
    let resource = &object.resource;
    order::rolls_out(resource) || (resource.group.is_empty() && resource.kind == "Service")
}

/// What was seen of one object.
struct Seen {
    progress: Progress,
    pods: Vec<Value>,
    /// With the pod that each is about; without one it is the object itself.
    causes: Vec<(Option<Object>, Cause)>,
}

async fn one(kube: &Kube, object: &Object, present: Option<&Value>) -> Result<Seen, KubeError> {
    let seen = |progress| Seen { progress, pods: Vec::new(), causes: Vec::new() };
    let Some(is) = present else {
        return Ok(seen(Progress::Failed("it is not there: somebody has deleted it".to_owned())));
    };
    if object.resource.kind == "Service" {
        if cause::of_service(is, &[]).is_none() {
            return Ok(seen(Progress::Done));
        }
        let Some(cause) = cause::of_service(is, &events(kube, object).await?) else {
            return Ok(seen(Progress::Done));
        };
        let progress = Progress::Waiting(cause.text.clone());
        return Ok(Seen { causes: vec![(None, cause)], ..seen(progress) });
    }
    let progress = progress(is);
    let pods = pods(kube, object, is).await?;
    let mut causes = Vec::new();
    if progress == Progress::Done {
        return Ok(Seen { progress, pods, causes });
    }
    if let Some(text) = cause::says(is, "ReplicaFailure", "True") {
        causes.push((None, Cause { text, stuck: true, crashed: None }));
    }
    for is in &pods {
        let Some(mut cause) = cause::of_pod(is) else { continue };
        let name = is["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let resource = kube.resource("v1", "Pod").await?;
        let pod = Object { resource, namespace: object.namespace.clone(), name };
        if is["spec"]["nodeName"].is_null() {
            causes
                .extend(claims(kube, object, is).await?.into_iter().map(|cause| (Some(pod.clone()), cause)));
        }
        if !cause.stuck && is["metadata"]["deletionTimestamp"].is_null() {
            // A sandbox or a volume that cannot be made is told by nothing else; a probe that fails may still succeed.
            if let Some(why) = cause::warning(&events(kube, &pod).await?) {
                let last = ["FailedCreatePodSandBox", "FailedMount", "FailedAttachVolume"];
                cause.stuck = last.iter().any(|reason| why.ends_with(&format!("({reason})")));
                cause.text.push_str(&format!(": {why}"));
            }
        }
        causes.push((Some(pod), cause));
    }
    Ok(Seen { progress, pods, causes })
}

/// What the claims of a pod wait for.
async fn claims(kube: &Kube, object: &Object, pod: &Value) -> Result<Vec<Cause>, KubeError> {
    let names = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let names: Vec<String> = names
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
        .map(str::to_owned)
        .collect();
    let mut causes = Vec::new();
    for name in names {
        let resource = kube.resource("v1", "PersistentVolumeClaim").await?;
        let claim = Object { resource, namespace: object.namespace.clone(), name };
        match persist(kube, || kube.get(&claim)).await? {
            Some(is) if is["status"]["phase"] != "Bound" => {
                causes.extend(cause::of_claim(&is, &events(kube, &claim).await?));
            }
            Some(_) => {}
            None => causes.push(Cause {
                text: format!("claim `{}` is not there", claim.name),
                stuck: true,
                crashed: None,
            }),
        }
    }
    Ok(causes)
}

/// What is told of an object. An account that may not read events does without.
async fn events(kube: &Kube, object: &Object) -> Result<Vec<Value>, KubeError> {
    let resource = kube.resource("v1", "Event").await?;
    let fields = format!("involvedObject.name={},involvedObject.kind={}", object.name, object.resource.kind);
    let select = Select { namespace: object.namespace.clone(), labels: None, fields: Some(fields) };
    match persist(kube, || kube.list(&resource, &select)).await {
        Err(error) if error.is_forbidden() => Ok(Vec::new()),
        other => other,
    }
}

/// The pods that an object stands for now; of a Deployment those of its newest ReplicaSet.
async fn pods(kube: &Kube, object: &Object, is: &Value) -> Result<Vec<Value>, KubeError> {
    if object.resource.kind == "Pod" {
        return Ok(vec![is.clone()]);
    }
    let Some(labels) = is["spec"]["selector"]["matchLabels"].as_object() else { return Ok(Vec::new()) };
    let labels: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    let select = Select { namespace: object.namespace.clone(), labels: Some(labels.join(",")), fields: None };
    let mut owner = is["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    if object.resource.kind == "Deployment" {
        let resource = kube.resource("apps/v1", "ReplicaSet").await?;
        let sets = persist(kube, || kube.list(&resource, &select)).await?;
        let revision = |set: &Value| {
            set["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
                .as_str()
                .and_then(|revision| revision.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let newest = sets.iter().filter(|set| owned_by(set, &owner)).max_by_key(|set| revision(set));
        let Some(newest) = newest else { return Ok(Vec::new()) };
        owner = newest["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    }
    let resource = kube.resource("v1", "Pod").await?;
    let all = persist(kube, || kube.list(&resource, &select)).await?;
    Ok(all.into_iter().filter(|pod| owned_by(pod, &owner)).collect())
}

fn owned_by(object: &Value, uid: &str) -> bool {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == uid)
}

/// How a workload stands, as `kubectl rollout status` tells it (kubectl 1.36, `polymorphichelpers/rollout_status.go`).
fn progress(is: &Value) -> Progress {
    let (spec, status) = (&is["spec"], &is["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let generation = number(&is["metadata"]["generation"]);
    let kind = is["kind"].as_str().unwrap_or_default();
    if kind == "Pod" {
        return match cause::of_pod(is) {
            None => Progress::Done,
            Some(_) => Progress::Waiting("not ready".to_owned()),
        };
    }
    if kind == "Job" {
        if cause::says(is, "Complete", "True").is_some() || spec["suspend"] == true {
            return Progress::Done;
        }
        if let Some(why) = cause::says(is, "Failed", "True") {
            return Progress::Failed(why);
        }
        let wanted = spec["completions"].as_i64().unwrap_or(1);
        return Progress::Waiting(format!("{}/{wanted} pods have ended", number(&status["succeeded"])));
    }
    if number(&status["observedGeneration"]) < generation {
        return Progress::Waiting("not looked at yet by its controller".to_owned());
    }
    if kind == "DaemonSet" {
        let wanted = number(&status["desiredNumberScheduled"]);
        let ready = number(&status["numberAvailable"]);
        let done = number(&status["updatedNumberScheduled"]) >= wanted && ready >= wanted;
        return if done { Progress::Done } else { Progress::Waiting(format!("{ready}/{wanted} pods ready")) };
    }
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let updated = number(&status["updatedReplicas"]);
    if kind == "StatefulSet" {
        let ready = number(&status["readyReplicas"]);
        let by_hand = spec["updateStrategy"]["type"] == "OnDelete";
        let done = ready >= wanted
            && (by_hand || updated >= wanted || status["currentRevision"] == status["updateRevision"]);
        return if done { Progress::Done } else { Progress::Waiting(format!("{ready}/{wanted} pods ready")) };
    }
    let available = number(&status["availableReplicas"]);
    let reason = |kind: &str| {
        let all = status["conditions"].as_array()?;
        all.iter().find(|condition| condition["type"] == kind)?["reason"].as_str()
    };
    if reason("Progressing") == Some("ProgressDeadlineExceeded") {
        return Progress::Failed(format!(
            "{available}/{wanted} pods ready within its progressDeadlineSeconds"
        ));
    }
    if updated < wanted || available < updated {
        return Progress::Waiting(format!("{available}/{wanted} pods ready"));
    }
    if number(&status["replicas"]) > updated {
        return Progress::Waiting(format!(
            "{} old pods are still there",
            number(&status["replicas"]) - updated
        ));
    }
    Progress::Done
}

/// What later steps may use.
#[derive(Debug, Default)]
struct Outputs {
    addresses: Map<String, Value>,
    nodes: Vec<String>,
    images: Map<String, Value>,
}

impl Outputs {
    fn take(&mut self, object: &Object, is: Option<&Value>, pods: &[Value]) {
        let place = match &object.namespace {
            Some(namespace) => format!("{namespace}/{}", object.name),
            None => object.name.clone(),
        };
        if let Some(address) = is.and_then(|is| cause::addresses(is).into_iter().next()) {
            self.addresses.insert(place.clone(), address.into());
        }
        for pod in pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()) {
            if let Some(node) = pod["spec"]["nodeName"].as_str()
                && !self.nodes.iter().any(|known| known == node)
            {
                self.nodes.push(node.to_owned());
            }
            for container in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
                let (name, image) = (container["name"].as_str(), container["imageID"].as_str());
                if let (Some(name), Some(image)) = (name, image.filter(|image| !image.is_empty())) {
                    self.images.insert(format!("{place}/{name}"), image.into());
                }
            }
        }
    }

    fn into_map(self) -> Map<String, Value> {
        let first = |value: Option<&Value>| value.cloned().unwrap_or_else(|| json!(""));
        let mut all = Map::new();
        all.insert("address".to_owned(), first(self.addresses.values().next()));
        all.insert("addresses".to_owned(), Value::Object(self.addresses));
        all.insert("node".to_owned(), self.nodes.first().cloned().unwrap_or_default().into());
        all.insert("nodes".to_owned(), json!(self.nodes));
        all.insert("images".to_owned(), Value::Object(self.images));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(generation: i64, observed: i64, status: Value) -> Value {
        let mut status = status;
        status["observedGeneration"] = json!(observed);
        json!({ "kind": "Deployment", "metadata": { "generation": generation }, "spec": { "replicas": 1 }, "status": status })
    }

    /// Statuses as a Deployment had them, facts/transcripts/k8s-rollout.json.
    #[test]
    fn a_deployment_is_judged_by_what_its_controller_has_seen() {
        let complete =
            json!({ "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1 });
        assert_eq!(progress(&deployment(5, 5, complete.clone())), Progress::Done);
        assert!(matches!(progress(&deployment(6, 5, complete)), Progress::Waiting(_)));
        let waiting = json!({ "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1 });
        assert_eq!(
            progress(&deployment(5, 5, waiting.clone())),
            Progress::Waiting("0/1 pods ready".to_owned())
        );
        let mut late = waiting;
        late["conditions"] =
            json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
        assert!(matches!(progress(&deployment(5, 5, late)), Progress::Failed(_)));
        let mut zero = deployment(7, 7, json!({ "conditions": [{ "type": "Available", "status": "True" }] }));
        zero["spec"]["replicas"] = json!(0);
        assert_eq!(progress(&zero), Progress::Done);
    }
}
