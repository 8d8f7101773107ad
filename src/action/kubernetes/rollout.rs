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
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::cause::{self, Cause};
use super::object::{condition, selector, short_of, unseen};
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

/// From how many workloads of a namespace on what belongs to them is listed once for all of them.
const LISTED_MIN: usize = 4;

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
    let around = Around::new(kube, &watched);
    let work =
        watched.iter().zip(&present).map(|(object, present)| one(&around, object, present.as_ref()).boxed());
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

/// What belongs to the objects that are looked at. Where there are many of them it is listed whole, and once; else what
/// is asked for is asked of the server.
struct Around<'k> {
    kube: &'k Kube,
    crowded: BTreeMap<String, Crowd>,
}

/// What there is in a namespace of many workloads, as far as somebody has asked for it.
#[derive(Default)]
struct Crowd {
    sets: OnceCell<Vec<Value>>,
    pods: OnceCell<Vec<Value>>,
    warnings: OnceCell<Vec<Value>>,
}

impl<'k> Around<'k> {
    fn new(kube: &'k Kube, watched: &[&Object]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for namespace in watched.iter().filter_map(|object| object.namespace.as_deref()) {
            *counts.entry(namespace).or_default() += 1;
        }
        let crowded = counts.into_iter().filter(|(_, count)| *count >= LISTED_MIN);
        Self { kube, crowded: crowded.map(|(name, _)| (name.to_owned(), Crowd::default())).collect() }
    }

    fn crowd(&self, object: &Object) -> Option<&Crowd> {
        self.crowded.get(object.namespace.as_deref()?)
    }

    /// Those objects of a kind, in the namespace of `object`, that its selector names and that `owner` has made.
    async fn owned(
        &self,
        object: &Object,
        (api_version, kind): (&str, &str),
        labels: String,
        owner: &str,
    ) -> Result<Vec<Value>, KubeError> {
        let resource = self.kube.resource(api_version, kind).await?;
        let mut select = Select { namespace: object.namespace.clone(), labels: Some(labels), fields: None };
        let of_it = |one: &&Value| owned_by(one, owner);
        let Some(crowd) = self.crowd(object) else {
            let all = persist(self.kube, || self.kube.list(&resource, &select)).await?;
            return Ok(all.iter().filter(of_it).cloned().collect());
        };
        select.labels = None;
        let cell = if kind == "Pod" { &crowd.pods } else { &crowd.sets };
        let all = cell.get_or_try_init(|| persist(self.kube, || self.kube.list(&resource, &select))).await?;
        Ok(all.iter().filter(of_it).cloned().collect())
    }

    /// What is told of an object. An account that may not read events does without.
    async fn events(&self, object: &Object) -> Result<Vec<Value>, KubeError> {
        let resource = self.kube.resource("v1", "Event").await?;
        let (name, kind) = (&object.name, &object.resource.kind);
        let list = |fields: String| {
            let select = Select { namespace: object.namespace.clone(), labels: None, fields: Some(fields) };
            let resource = &resource;
            async move {
                match persist(self.kube, || self.kube.list(resource, &select)).await {
                    Err(error) if error.is_forbidden() => Ok(Vec::new()),
                    other => other,
                }
            }
        };
        let Some(crowd) = self.crowd(object) else {
            return list(format!("involvedObject.name={name},involvedObject.kind={kind}")).await;
        };
        // Only warnings are read.
        let all = crowd.warnings.get_or_try_init(|| list("type=Warning".to_owned())).await?;
        let about = |event: &&Value| {
            let of = &event["involvedObject"];
            of["name"] == name.as_str() && of["kind"] == kind.as_str()
        };
        Ok(all.iter().filter(about).cloned().collect())
    }
}

async fn one(around: &Around<'_>, object: &Object, present: Option<&Value>) -> Result<Seen, KubeError> {
    let kube = around.kube;
    let seen = |progress| Seen { progress, pods: Vec::new(), causes: Vec::new() };
    let Some(is) = present else {
        return Ok(seen(Progress::Failed("it is not there: somebody has deleted it".to_owned())));
    };
    if object.resource.kind == "Service" {
        if cause::of_service(is, &[]).is_none() {
            return Ok(seen(Progress::Done));
        }
        let Some(cause) = cause::of_service(is, &around.events(object).await?) else {
            return Ok(seen(Progress::Done));
        };
        let progress = Progress::Waiting(cause.text.clone());
        return Ok(Seen { causes: vec![(None, cause)], ..seen(progress) });
    }
    let progress = progress(is);
    let pods = pods(around, object, is).await?;
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
            causes.extend(
                claims(around, object, is).await?.into_iter().map(|cause| (Some(pod.clone()), cause)),
            );
        }
        if !cause.stuck && is["metadata"]["deletionTimestamp"].is_null() {
            // A sandbox or a volume that cannot be made is told by nothing else; a probe that fails may still succeed.
            if let Some(why) = cause::warning(&around.events(&pod).await?) {
                let last = ["FailedCreatePodSandBox", "FailedMount", "FailedAttachVolume"];
                cause.stuck = last.iter().any(|reason| why.ends_with(&format!("({reason})")));
                cause.text.push_str(&format!(": {why}"));
            }
        }
        causes.push((Some(pod), cause));
    }
    Ok(Seen { progress, pods, causes })
}

/// What the claims of a pod wait for. An account that may not read claims does without.
async fn claims(around: &Around<'_>, object: &Object, pod: &Value) -> Result<Vec<Cause>, KubeError> {
    let kube = around.kube;
    let names = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let names: Vec<String> = names
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
        .map(str::to_owned)
        .collect();
    let mut causes = Vec::new();
    for name in names {
        let resource = kube.resource("v1", "PersistentVolumeClaim").await?;
        let claim = Object { resource, namespace: object.namespace.clone(), name };
        let is = match persist(kube, || kube.get(&claim)).await {
            Err(error) if error.is_forbidden() => continue,
            other => other?,
        };
        match is {
            Some(is) if is["status"]["phase"] != "Bound" => {
                causes.extend(cause::of_claim(&is, &around.events(&claim).await?));
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

/// The pods that an object stands for now; of a Deployment those of its newest ReplicaSet.
async fn pods(around: &Around<'_>, object: &Object, is: &Value) -> Result<Vec<Value>, KubeError> {
    if object.resource.kind == "Pod" {
        return Ok(vec![is.clone()]);
    }
    let Some(labels) = selector(is) else { return Ok(Vec::new()) };
    let mut owner = is["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    if object.resource.kind == "Deployment" {
        let sets = around.owned(object, ("apps/v1", "ReplicaSet"), labels.clone(), &owner).await?;
        let revision = |set: &Value| {
            set["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
                .as_str()
                .and_then(|revision| revision.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let newest = sets.iter().max_by_key(|set| revision(set));
        let Some(newest) = newest else { return Ok(Vec::new()) };
        owner = newest["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    }
    around.owned(object, ("v1", "Pod"), labels, &owner).await
}

fn owned_by(object: &Value, uid: &str) -> bool {
    object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == uid)
}

/// How a workload stands.
fn progress(is: &Value) -> Progress {
    match is["kind"].as_str() {
        Some("Pod") => match cause::of_pod(is) {
            None => Progress::Done,
            Some(_) => Progress::Waiting("not ready".to_owned()),
        },
        Some("Job") => of_job(is),
        _ => {
            if let Some(why) = unseen(is) {
                return Progress::Waiting(why);
            }
            let progressing = condition(is, "Progressing");
            if progressing.is_some_and(|one| one["reason"] == "ProgressDeadlineExceeded") {
                let available = is["status"]["availableReplicas"].as_i64().unwrap_or(0);
                let wanted = is["spec"]["replicas"].as_i64().unwrap_or(1);
                let why = format!("{available}/{wanted} pods ready within its progressDeadlineSeconds");
                return Progress::Failed(why);
            }
            short_of(is).map_or(Progress::Done, Progress::Waiting)
        }
    }
}

fn of_job(is: &Value) -> Progress {
    if cause::says(is, "Complete", "True").is_some() || is["spec"]["suspend"] == true {
        return Progress::Done;
    }
    if let Some(why) = cause::says(is, "Failed", "True") {
        return Progress::Failed(why);
    }
    let wanted = is["spec"]["completions"].as_i64().unwrap_or(1);
    let ended = is["status"]["succeeded"].as_i64().unwrap_or(0);
    Progress::Waiting(format!("{ended}/{wanted} pods have ended"))
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

    /// The counts of a StatefulSet and a DaemonSet are judged in `object`.
    #[test]
    fn what_else_is_waited_for_is_judged_in_its_own_way() {
        let waiting = |why: &str| Progress::Waiting(why.to_owned());
        let of = |kind: &str, spec: Value, status: Value| {
            progress(
                &json!({ "kind": kind, "metadata": { "generation": 1 }, "spec": spec, "status": status }),
            )
        };
        let says = |kind: &str| json!({ "conditions": [{ "type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "it failed" }] });
        for (kind, spec, status, wanted) in [
            ("Job", json!({ "completions": 3 }), json!({ "succeeded": 2 }), waiting("2/3 pods have ended")),
            ("Job", json!({}), json!({}), waiting("0/1 pods have ended")),
            ("Job", json!({}), says("Complete"), Progress::Done),
            ("Job", json!({ "suspend": true }), json!({}), Progress::Done),
            (
                "Job",
                json!({}),
                says("Failed"),
                Progress::Failed("it failed (BackoffLimitExceeded)".to_owned()),
            ),
            ("Pod", json!({}), json!({ "phase": "Running" }), waiting("not ready")),
            ("Pod", json!({}), says("Ready"), Progress::Done),
            ("Pod", json!({}), json!({ "phase": "Succeeded" }), Progress::Done),
            ("StatefulSet", json!({}), json!({}), waiting("its controller has not seen the last change yet")),
            (
                "StatefulSet",
                json!({}),
                json!({ "observedGeneration": 1, "updatedReplicas": 1 }),
                waiting("0/1 pods ready"),
            ),
            (
                "DaemonSet",
                json!({}),
                json!({ "observedGeneration": 1, "desiredNumberScheduled": 0 }),
                Progress::Done,
            ),
        ] {
            assert_eq!(of(kind, spec, status.clone()), wanted, "{kind} {status}");
        }
    }
}
