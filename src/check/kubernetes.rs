//! `kubernetes`: how an object of a cluster is, and what belongs to it.
//!
//! What a look at every object answers: is it there, and is it ready, each kind in its own way ([`readiness`]). The other
//! fields ask for more. What the server does not let us see is `unknown`; what it says is not there is `absent`.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::answer::{answer_of, unknown};
use super::{Check, Look};
use crate::action::kubernetes::{
    Named, WORKLOADS, condition, is_going, is_true, left_behind, needs_of, of_named, pinned, pod_of, pods,
    reach, restarts, to_exec, unready, veiled, why_not,
};
use crate::action::{Expected, Fields, Need};
use crate::saga::{Answer, Verdict};
use crate::transport::{
    Capture, InPod, Kube, KubeError, Object, Resource, Right, Select, Transport, one_line,
};

/// How much of one value is kept as a fact, in bytes; of a larger one its size is.
const FACT_MAX: usize = 1024;

/// Services that name the same key here share an address on purpose.
const SHARED: &[&str] =
    &["metallb.io/allow-shared-ip", "metallb.universe.tf/allow-shared-ip", "lbipam.cilium.io/sharing-key"];

pub(super) struct Kubernetes;

/// What was seen that does not fit.
enum Wrong {
    /// It is not as it shall be.
    Absent(String),
    /// It is on the way there.
    Partial(String),
    /// It cannot be judged.
    Unknown(String),
}

impl From<KubeError> for Wrong {
    fn from(error: KubeError) -> Self {
        Self::Unknown(error.message)
    }
}

/// One look under way.
struct Seen<'a> {
    kube: &'a Kube,
    fields: Fields<'a>,
    object: Object,
    is: Value,
    facts: Map<String, Value>,
}

impl Check for Kubernetes {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let fields = Fields::new(&look.operation);
            let kube = match reach(&transport, fields, &look.places, &look.folder, look.timeout).await {
                Ok(kube) => kube,
                Err((_, message)) => return unknown(&message, &look.redactor),
            };
            if fields.get("exec").is_some() {
                return exec(&kube, fields, &look).await;
            }
            let named = match named(fields) {
                Ok(named) => named,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let mut facts = Map::new();
            let judged = judge(&kube, fields, &named, &mut facts).await;
            let (verdict, reason) = match judged {
                Ok(reason) => (Verdict::Holds, reason),
                Err(Wrong::Absent(reason)) => (Verdict::Absent, reason),
                Err(Wrong::Partial(reason)) => (Verdict::Partial, reason),
                Err(Wrong::Unknown(reason)) => (Verdict::Unknown, reason),
            };
            let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
            for (name, value) in facts {
                let value = look.redactor.json(value);
                let length = value.to_string().len();
                let kept = if length > FACT_MAX { Value::from(format!("{length} bytes")) } else { value };
                answer.facts.insert(name, kept);
            }
            answer
        })
    }

    fn needs(&self, transport: Transport, look: Look) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let (fields, asker) = (Fields::new(&look.operation), look.asker());
            if fields.get("exec").is_some() {
                return needs_of(asker, of_named(&transport, asker, named(fields), to_exec).await).await;
            }
            let found = of_named(&transport, asker, named(fields), |resource| {
                let mut wishes = vec![("get", resource.group.as_str(), resource.plural.clone())];
                if is_workload(resource) {
                    wishes.push(("list", "", "pods".to_owned()));
                }
                let service = resource.group.is_empty() && resource.kind == "Service";
                if service && (fields.get("endpoints").is_some() || !asks_otherwise(fields)) {
                    wishes.push(("list", "discovery.k8s.io", "endpointslices".to_owned()));
                }
                wishes
            });
            let mut found = found.await;
            if let (Ok((_, rights)), true) = (&mut found, fields.get("address").is_some()) {
                // Somebody else of the cluster may have it too.
                rights.insert(Right::of_all("list", "services"));
            }
            needs_of(asker, found).await
        })
    }
}

fn is_workload(resource: &Resource) -> bool {
    WORKLOADS.iter().any(|(_, kind)| *kind == resource.kind)
}

/// Whether something else is asked of an object than to be ready.
fn asks_otherwise(fields: Fields<'_>) -> bool {
    ["condition", "json", "endpoints", "address"].iter().any(|key| fields.get(key).is_some())
}

/// The object that the fields name.
fn named(fields: Fields<'_>) -> Result<Named, String> {
    let others = [("service", Some("Service")), ("pod", Some("Pod")), ("object", None)];
    let all = WORKLOADS.iter().map(|(key, kind)| (*key, Some(*kind))).chain(others);
    for (key, kind) in all {
        if let Some(named) = Named::read(fields, key, kind)? {
            return Ok(named);
        }
    }
    Err("`kubernetes` needs what it looks at, such as `deployment = \"frigate/frigate\"`".to_owned())
}

async fn judge(
    kube: &Kube,
    fields: Fields<'_>,
    named: &Named,
    facts: &mut Map<String, Value>,
) -> Result<String, Wrong> {
    let object = named.find(kube).await?;
    let is = kube.get(&object).await?;
    let shown = object.shown();
    let absent = fields.flag("absent").map_err(Wrong::Unknown)?;
    facts.insert("exists".to_owned(), is.is_some().into());
    let is = match (is, absent) {
        (None, true) => return Ok(format!("{shown} is not there")),
        (Some(is), true) if is_going(&is) => {
            return Err(Wrong::Partial(format!("{shown} is on its way out")));
        }
        (Some(_), true) => return Err(Wrong::Absent(format!("{shown} is there"))),
        (None, false) if is_workload(&object.resource) && fields.get("replicas") == Some(&0.into()) => {
            // Then it has no pods, once those are gone that it has left behind.
            return match left_behind(kube, &object).await?.len() {
                0 => Ok(format!("{shown} is not there, and none of its pods")),
                left => Err(Wrong::Partial(format!(
                    "{shown} is not there, and {left} of its pods are still there"
                ))),
            };
        }
        (None, false) => return Err(Wrong::Absent(format!("{shown} is not there"))),
        (Some(is), false) => is,
    };
    let mut seen = Seen { kube, fields, object, is, facts: std::mem::take(facts) };
    let judged = seen.all().await;
    *facts = seen.facts;
    judged.map(|()| format!("{shown} is as it shall be"))
}

impl Seen<'_> {
    fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Every rule, the facts of all of them first.
    async fn all(&mut self) -> Result<(), Wrong> {
        let workload = is_workload(&self.object.resource);
        self.fact("generation", self.is["metadata"]["generation"].clone());
        let pods = match self.object.resource.kind.as_str() {
            "Pod" => vec![self.is.clone()],
            _ if workload => pods(self.kube, &self.object, &self.is).await?,
            _ => Vec::new(),
        };
        if workload || self.object.resource.kind == "Pod" {
            self.fact("restarts", restarts(&pods));
        }
        if workload {
            let ready = pods.iter().filter(|pod| is_true(pod, "Ready") && !is_going(pod)).count();
            self.fact("replicas", self.is["spec"]["replicas"].clone());
            self.fact("pods", pods.len());
            self.fact("ready", ready);
        }
        let expected = Expected::read(self.fields).map_err(Wrong::Unknown)?;
        // Nobody may see the values of a Secret (P7).
        let compared = expected.compare_json(&self.is, &veiled(self.is.clone(), None), &mut self.facts);
        let judged_otherwise = asks_otherwise(self.fields);
        let shown = self.object.shown();
        if let Some(replicas) = self.fields.get("replicas").and_then(Value::as_i64) {
            self.replicas(replicas, &pods)?;
        } else if !judged_otherwise {
            self.ready(&pods)?;
        }
        if let Some(text) = self.fields.text("condition").map_err(Wrong::Unknown)? {
            self.condition(&text)?;
        }
        if let Err(message) = compared {
            return Err(Wrong::Absent(format!("{shown}: {message}")));
        }
        if self.object.resource.kind == "Service" {
            self.endpoints(judged_otherwise).await?;
            self.address().await?;
        }
        Ok(())
    }

    /// Exactly so many pods; those on their way out count, because they still run.
    fn replicas(&self, wanted: i64, pods: &[Value]) -> Result<(), Wrong> {
        let shown = self.object.shown();
        let has = self.is["spec"]["replicas"].as_i64().unwrap_or(1);
        if has != wanted {
            return Err(Wrong::Absent(format!("{shown} is to have {has} pods, not {wanted}")));
        }
        if let Some(why) = unready(&self.is) {
            return Err(Wrong::Partial(format!("{shown}: {why}")));
        }
        let there = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        if there == wanted {
            return Ok(());
        }
        Err(Wrong::Partial(format!("{shown}: {there} pods are there, not {wanted}")))
    }

    /// Ready, each kind in its own way.
    fn ready(&self, pods: &[Value]) -> Result<(), Wrong> {
        let Some(mut why) = readiness(&self.object.resource.kind, &self.object.resource.group, &self.is)
        else {
            return Ok(());
        };
        let told = pods.iter().find_map(|pod| Some((pod["metadata"]["name"].as_str()?, why_not(pod)?)));
        if let Some((name, reason)) = told {
            why.push_str(&format!("; pod {name}: {reason}"));
        }
        Err(Wrong::Absent(format!("{}: {why}", self.object.shown())))
    }

    /// `Ready`, or `Ready=False`.
    fn condition(&mut self, text: &str) -> Result<(), Wrong> {
        let (kind, wanted) = text.split_once('=').unwrap_or((text, "True"));
        let shown = self.object.shown();
        let Some(found) = condition(&self.is, kind).cloned() else {
            return Err(Wrong::Absent(format!("{shown} has no condition `{kind}`")));
        };
        let status = found["status"].as_str().unwrap_or_default();
        self.fact(kind, status);
        if status == wanted {
            return Ok(());
        }
        let why = found["message"]
            .as_str()
            .filter(|why| !why.is_empty())
            .or(found["reason"].as_str())
            .unwrap_or("no reason is given");
        Err(Wrong::Absent(format!("{shown}: `{kind}` is {status}, not {wanted}: {why}")))
    }

    /// Ready addresses behind a Service: without them an address answers nobody.
    async fn endpoints(&mut self, asked: bool) -> Result<(), Wrong> {
        let least = self.fields.get("endpoints").and_then(Value::as_i64);
        if least.is_none() && asked {
            return Ok(());
        }
        let resource = self.kube.resource("discovery.k8s.io/v1", "EndpointSlice").await?;
        let select = Select {
            namespace: self.object.namespace.clone(),
            labels: Some(format!("kubernetes.io/service-name={}", self.object.name)),
            fields: None,
        };
        let slices = self.kube.list(&resource, &select).await?;
        let ready: std::collections::BTreeSet<String> = slices
            .iter()
            .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
            // Absent counts as ready (discovery.k8s.io/v1).
            .filter(|one| one["conditions"]["ready"] != false)
            .flat_map(|one| one["addresses"].as_array().into_iter().flatten())
            .filter_map(|address| address.as_str().map(str::to_owned))
            .collect();
        self.fact("endpoints", ready.len());
        let least = usize::try_from(least.unwrap_or(1)).unwrap_or(usize::MAX);
        // One without a selector has its endpoints from somebody else.
        if ready.len() >= least
            || (self.is["spec"]["type"] == "ExternalName" && self.fields.get("endpoints").is_none())
        {
            return Ok(());
        }
        let shown = self.object.shown();
        Err(Wrong::Absent(format!(
            "{shown}: {} ready addresses are behind it, not {least}: nobody answers at its address yet",
            ready.len()
        )))
    }

    /// The address that a load balancer has given: there, as pinned, and nobody else's.
    async fn address(&mut self) -> Result<(), Wrong> {
        let wanted = self.fields.text("address").map_err(Wrong::Unknown)?;
        let shown = self.object.shown();
        let ingress = &self.is["status"]["loadBalancer"]["ingress"];
        let has: Vec<String> = ingress
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["ip"].as_str().or(one["hostname"].as_str()).map(str::to_owned))
            .collect();
        if let Some(first) = has.first() {
            self.fact("address", first.as_str());
        }
        let Some(wanted) = wanted else { return Ok(()) };
        let pinned = pinned(&self.is);
        let asks = match pinned.is_empty() {
            true => String::new(),
            false => format!(" (it asks for {})", pinned.join(", ")),
        };
        let expected: Vec<String> = match wanted.as_str() {
            "any" => Vec::new(),
            "pinned" if pinned.is_empty() => {
                return Err(Wrong::Absent(format!("{shown} pins no address")));
            }
            "pinned" => pinned,
            one => vec![one.to_owned()],
        };
        if has.is_empty() {
            return Err(Wrong::Absent(format!(
                "{shown} has no address yet{asks}: the pool is empty, or somebody else has it"
            )));
        }
        if let Some(missing) = expected.iter().find(|one| !has.contains(one)) {
            return Err(Wrong::Absent(format!("{shown} has the address {}, not {missing}", has.join(", "))));
        }
        self.alone(&has).await
    }

    /// No other Service of the cluster has one of these addresses.
    async fn alone(&self, has: &[String]) -> Result<(), Wrong> {
        let all = match self.kube.list(&self.object.resource, &Select::default()).await {
            Err(error) if error.is_forbidden() => {
                return Err(Wrong::Unknown(format!(
                    "whether the address is anybody else's cannot be seen: {}",
                    error.message
                )));
            }
            all => all?,
        };
        let sharing = |one: &Value| {
            let notes = &one["metadata"]["annotations"];
            SHARED.iter().find_map(|key| Some(notes.get(*key)?.as_str()?.to_owned()))
        };
        let mine = sharing(&self.is);
        for other in all {
            if other["metadata"]["uid"] == self.is["metadata"]["uid"]
                || (mine.is_some() && sharing(&other) == mine)
            {
                continue;
            }
            let theirs = other["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
            let mut theirs = theirs.filter_map(|one| one["ip"].as_str());
            if let Some(address) = theirs.find(|one| has.iter().any(|mine| mine == one)) {
                let meta = &other["metadata"];
                return Err(Wrong::Absent(format!(
                    "{}: its address {address} is also that of Service {}/{}",
                    self.object.shown(),
                    meta["namespace"].as_str().unwrap_or_default(),
                    meta["name"].as_str().unwrap_or_default()
                )));
            }
        }
        Ok(())
    }
}

/// Why an object is not ready; `None`: it is, or its kind has no such thing.
///
/// Flux says it by `Ready` and `observedGeneration` (fluxcd.io, "Ready condition", toolkit v1), Argo CD by health and sync
/// (argo-cd.readthedocs.io, Application `status.health`, `status.sync`); both are from their documentation.
fn readiness(kind: &str, group: &str, is: &Value) -> Option<String> {
    if is_going(is) {
        return Some("it is being deleted".to_owned());
    }
    let text = |pointer: &str| is.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    match (kind, group) {
        ("Deployment" | "StatefulSet" | "DaemonSet", "apps") => unready(is),
        ("PersistentVolumeClaim", "") => {
            (text("/status/phase") != "Bound").then(|| format!("it is {}", text("/status/phase")))
        }
        ("Namespace", "") => {
            (text("/status/phase") != "Active").then(|| format!("it is {}", text("/status/phase")))
        }
        ("Application", "argoproj.io") => {
            let (health, sync) = (text("/status/health/status"), text("/status/sync/status"));
            let well = health == "Healthy" && sync == "Synced";
            let why = [text("/status/health/message"), text("/status/operationState/message")];
            let why =
                why.iter().find(|why| !why.is_empty()).map_or_else(String::new, |why| format!(": {why}"));
            let said = |word: &str| if word.is_empty() { "not known".to_owned() } else { word.to_owned() };
            (!well).then(|| format!("health is {}, sync is {}{why}", said(health), said(sync)))
        }
        ("Job", "batch") => (!is_true(is, "Complete")).then(|| "it is not complete".to_owned()),
        _ => {
            let ready = condition(is, "Ready");
            if ready.is_none() && group.ends_with("fluxcd.io") {
                return Some("its controller has said nothing yet".to_owned());
            }
            let ready = ready?;
            let observed = is["status"]["observedGeneration"].as_i64();
            if observed.is_some_and(|observed| observed < is["metadata"]["generation"].as_i64().unwrap_or(0))
            {
                return Some("its controller has not seen the last change yet".to_owned());
            }
            if ready["status"] == "True" {
                return None;
            }
            let why = ready["message"].as_str().filter(|why| !why.is_empty()).or(ready["reason"].as_str());
            Some(format!("it is not ready: {}", why.unwrap_or("no reason is given")))
        }
    }
}

/// What a command in a pod says: exit status 0 holds, 1 is absent, 10 partial, as of `command`.
async fn exec(kube: &Kube, fields: Fields<'_>, look: &Look) -> Answer {
    let read = || {
        Ok::<_, String>((
            fields.words("exec")?.unwrap_or_default(),
            fields.text("container")?,
            fields.text("contains")?,
        ))
    };
    let (argv, container, contains) = match read() {
        Ok(read) => read,
        Err(message) => return unknown(&message, &look.redactor),
    };
    let pod = match pod_of(kube, fields).await {
        Ok(Ok((pod, _))) => pod,
        Ok(Err(message)) => return Answer::new(Verdict::Absent, one_line(&look.redactor.text(&message))),
        Err(error) => return unknown(&error.message, &look.redactor),
    };
    let command = InPod { pod: &pod, container: container.as_deref(), argv: &argv, stdin: None };
    let report = kube.exec(&command, Capture::new(&look.redactor, None), None).await;
    let stdout = report.seen.stdout.clone();
    let mut answer = answer_of(report, &look.operation, &look.redactor);
    if let (Verdict::Holds, Some(part)) = (answer.verdict, contains)
        && !String::from_utf8_lossy(&stdout).contains(&part)
    {
        answer.verdict = Verdict::Absent;
        answer.reason = one_line(&look.redactor.text(&format!("its output does not contain `{part}`")));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_is_ready_in_its_own_way() {
        let flux = |status: &str, observed: i64| {
            let conditions =
                json!([{ "type": "Ready", "status": status, "message": "install retries exhausted" }]);
            json!({ "metadata": { "generation": 3 }, "status": { "observedGeneration": observed, "conditions": conditions } })
        };
        let say = |kind: &str, group: &str, is: Value| readiness(kind, group, &is);
        let helm = "helm.toolkit.fluxcd.io";
        assert_eq!(say("HelmRelease", helm, flux("True", 3)), None);
        assert!(say("HelmRelease", helm, flux("True", 2)).unwrap().contains("has not seen the last change"));
        assert!(say("HelmRelease", helm, flux("False", 3)).unwrap().contains("retries exhausted"));
        assert!(
            say("Kustomization", "kustomize.toolkit.fluxcd.io", json!({})).unwrap().contains("said nothing")
        );
        let argo = |health: &str, sync: &str| json!({ "status": { "health": { "status": health }, "sync": { "status": sync } } });
        assert_eq!(say("Application", "argoproj.io", argo("Healthy", "Synced")), None);
        assert!(
            say("Application", "argoproj.io", argo("Degraded", "OutOfSync"))
                .unwrap()
                .contains("health is Degraded")
        );
        assert!(say("PersistentVolumeClaim", "", json!({ "status": { "phase": "Pending" } })).is_some());
        assert_eq!(say("ConfigMap", "", json!({})), None);
    }
}
