//! Objects as steps name them, and what belongs to them: shared by the actions and by the checks.

use std::path::Path;

use serde_json::Value;

use crate::action::Fields;
use crate::plan::recorded::Places;
use crate::transport::{Kube, KubeError, Object, Select, Transport};

/// The fields that name a workload, with its kind.
pub(crate) const WORKLOADS: &[(&str, &str)] =
    &[("deployment", "Deployment"), ("statefulset", "StatefulSet"), ("daemonset", "DaemonSet")];

/// An object of a cluster as a step names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its kind, or another word for it.
    pub(crate) word: String,
    /// Absent: that of the kubeconfig's context.
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

impl Named {
    /// What a field holds, as `NAMESPACE/NAME` or `NAME`; with no kind given, `KIND NAMESPACE/NAME`.
    ///
    /// # Errors
    /// In words, a text that is neither.
    pub(crate) fn read(
        fields: Fields<'_>,
        key: &'static str,
        kind: Option<&str>,
    ) -> Result<Option<Self>, String> {
        let Some(text) = fields.text(key)? else { return Ok(None) };
        let wrong = || match kind {
            Some(_) => fields.wrong(key, "a name such as `frigate/frigate`, namespace and name"),
            None => fields.wrong(key, "kind and name such as `Deployment frigate/frigate`"),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (word, name) = match (kind, words.as_slice()) {
            (Some(kind), [name]) => (kind, *name),
            (None, [word, name]) => (*word, *name),
            _ => return Err(wrong()),
        };
        let (namespace, name) = match name.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, name),
        };
        // A name begins with a letter or digit, so that it is never a step up in a path.
        let plain = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_alphanumeric())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
        };
        if !plain(name) || !namespace.is_none_or(plain) {
            return Err(wrong());
        }
        Ok(Some(Self {
            word: word.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }))
    }

    /// The workload that an operation names by one of its fields.
    ///
    /// # Errors
    /// As [`read`](Self::read), and that there is none.
    pub(crate) fn workload(fields: Fields<'_>, action: &str) -> Result<Self, String> {
        for (key, kind) in WORKLOADS {
            if let Some(named) = Self::read(fields, key, Some(kind))? {
                return Ok(named);
            }
        }
        Err(format!(
            "`{action}` needs the workload that it is about, such as `deployment = \"frigate/frigate\"`"
        ))
    }

    /// The pod that an operation names, or the workload that it belongs to.
    ///
    /// # Errors
    /// As [`workload`](Self::workload).
    pub(crate) fn of_pod(fields: Fields<'_>) -> Result<Self, String> {
        match Self::read(fields, "pod", Some("Pod"))? {
            Some(pod) => Ok(pod),
            None => Self::workload(fields, &fields.name()),
        }
    }

    /// Equal for equal objects, without asking the cluster.
    pub(crate) fn shown(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.word, self.name),
            None => format!("{} {}", self.word, self.name),
        }
    }

    /// The object, with its kind as the server calls it.
    ///
    /// # Errors
    /// As of a request; that there is no such kind.
    pub(crate) async fn find(&self, kube: &Kube) -> Result<Object, KubeError> {
        let resource = kube.resource_of(&self.word).await?;
        let namespace = resource
            .namespaced
            .then(|| self.namespace.clone().unwrap_or_else(|| kube.namespace().to_owned()));
        Ok(Object { resource, namespace, name: self.name.clone() })
    }
}

/// The way to the cluster that an operation names.
///
/// # Errors
/// In words; `true`: it will not heal.
pub(crate) async fn reach(
    transport: &Transport,
    fields: Fields<'_>,
    places: &Places,
    folder: &Path,
    timeout: std::time::Duration,
) -> Result<Kube, (bool, String)> {
    let place = fields.cluster(&places.clusters, folder).map_err(|message| (true, message))?;
    transport.cluster(&place, timeout).await.map_err(|error| (!error.may_heal(), error.to_string()))
}

/// The selector of a workload, as a query has it; `None`: it selects nothing.
pub(crate) fn selector(is: &Value) -> Option<String> {
    let selector = &is["spec"]["selector"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    for one in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(&one["key"]);
        let values: Vec<String> = one["values"].as_array().into_iter().flatten().map(text).collect();
        let values = values.join(",");
        all.push(match one["operator"].as_str()? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key,
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!all.is_empty()).then(|| all.join(","))
}

/// The pods of a workload, by its selector: all of them, also those that are on their way out.
///
/// # Errors
/// As of a request.
pub(crate) async fn pods(kube: &Kube, object: &Object, is: &Value) -> Result<Vec<Value>, KubeError> {
    let Some(labels) = selector(is) else { return Ok(Vec::new()) };
    let select = Select { namespace: object.namespace.clone(), labels: Some(labels), fields: None };
    kube.list(&kube.resource("v1", "Pod").await?, &select).await
}

/// The pods of a workload that is not there any more, as long as they are: they still name what made them.
///
/// # Errors
/// As of a request.
pub(crate) async fn left_behind(kube: &Kube, object: &Object) -> Result<Vec<Value>, KubeError> {
    let select = Select { namespace: object.namespace.clone(), ..Select::default() };
    let mut all = kube.list(&kube.resource("v1", "Pod").await?, &select).await?;
    all.retain(|pod| {
        let kind = object.resource.kind.as_str();
        let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str().unwrap_or_default();
        // A Deployment makes its pods by ReplicaSets, each called after it and the hash of a template.
        let (kind, name) = match kind {
            "Deployment" => ("ReplicaSet", format!("{}-{hash}", object.name)),
            kind => (kind, object.name.clone()),
        };
        let mut owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.any(|owner| owner["kind"] == kind && owner["name"] == name.as_str())
    });
    Ok(all)
}

/// A condition's status, if the object has it.
pub(crate) fn condition<'a>(is: &'a Value, kind: &str) -> Option<&'a Value> {
    is["status"]["conditions"].as_array()?.iter().find(|one| one["type"] == kind)
}

/// Whether a condition is `True`.
pub(crate) fn is_true(is: &Value, kind: &str) -> bool {
    condition(is, kind).is_some_and(|one| one["status"] == "True")
}

/// Whether somebody has deleted it and it is only on its way out.
pub(crate) fn is_going(is: &Value) -> bool {
    is["metadata"]["deletionTimestamp"].is_string()
}

/// What a workload still lacks until it is rolled out, with what its controller says of it; `None`: nothing.
pub(crate) fn unready(is: &Value) -> Option<String> {
    if is_going(is) {
        return Some("it is being deleted".to_owned());
    }
    let says = || {
        [("ReplicaFailure", "True"), ("Progressing", "False")].into_iter().find_map(|(kind, status)| {
            let one = condition(is, kind).filter(|one| one["status"] == status)?;
            Some(one["message"].as_str().unwrap_or(kind).to_owned())
        })
    };
    unseen(is).or_else(says).or_else(|| short_of(is))
}

/// Whether the last change is still to be seen by the object's controller. To be asked before any count or condition is
/// read: a patch is answered with those of what was before (facts/components.md 1).
pub(super) fn unseen(is: &Value) -> Option<String> {
    let generation = is["metadata"]["generation"].as_i64().unwrap_or(0);
    let seen = is["status"]["observedGeneration"].as_i64().unwrap_or(0);
    (seen < generation).then(|| "its controller has not seen the last change yet".to_owned())
}

/// Which pods a workload still lacks. Source of the rules: `kubectl rollout status` 1.36,
/// `polymorphichelpers/rollout_status.go`.
pub(super) fn short_of(is: &Value) -> Option<String> {
    let (spec, status) = (&is["spec"], &is["status"]);
    let count = |name: &str| status[name].as_i64().unwrap_or(0);
    let replicas = spec["replicas"].as_i64().unwrap_or(1);
    let strategy = &spec["updateStrategy"];
    let (wanted, mut newest, updated, ready, all) = match is["kind"].as_str() {
        Some("DaemonSet") => {
            let wanted = count("desiredNumberScheduled");
            (wanted, wanted, count("updatedNumberScheduled"), count("numberAvailable"), wanted)
        }
        Some("StatefulSet") => {
            // Below the partition pods keep the template that they have.
            let newest = replicas - strategy["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
            (replicas, newest, count("updatedReplicas"), count("readyReplicas"), count("replicas"))
        }
        _ => (replicas, replicas, count("updatedReplicas"), count("availableReplicas"), count("replicas")),
    };
    if strategy["type"] == "OnDelete" {
        // Somebody replaces them by hand, or nobody does.
        newest = 0;
    }
    if updated < newest {
        return Some(format!("{updated}/{newest} pods are of the newest template"));
    }
    if all > wanted {
        return Some(format!("{} old pods are still there", all - wanted));
    }
    (ready < wanted).then(|| format!("{ready}/{wanted} pods ready"))
}

/// Why a pod does not run, in the words that people look up.
pub(crate) fn why_not(pod: &Value) -> Option<String> {
    if let Some(one) = condition(pod, "PodScheduled").filter(|one| one["status"] == "False") {
        return one["message"].as_str().map(str::to_owned);
    }
    let statuses = ["initContainerStatuses", "containerStatuses"].into_iter();
    let mut all = statuses.flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    all.find_map(|one| {
        let waiting = &one["state"]["waiting"];
        let reason = waiting["reason"].as_str()?;
        Some(
            waiting["message"]
                .as_str()
                .map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")),
        )
    })
}

/// How often the containers of these pods were started again.
pub(crate) fn restarts(pods: &[Value]) -> u64 {
    let all = pods.iter().flat_map(|pod| pod["status"]["containerStatuses"].as_array().into_iter().flatten());
    all.filter_map(|one| one["restartCount"].as_u64()).sum()
}

/// A pod that is ready, of these; the youngest.
pub(crate) fn ready_pod(pods: &[Value]) -> Option<&Value> {
    let ready = pods.iter().filter(|pod| is_true(pod, "Ready") && !is_going(pod));
    ready.max_by_key(|pod| pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn named(key: &'static str, kind: Option<&str>, text: &str) -> Result<Option<Named>, String> {
        let fields = Map::from_iter([(key.to_owned(), json!(text))]);
        let operation = crate::plan::recorded::Operation { name: "kubernetes".to_owned(), fields };
        Named::read(Fields::new(&operation), key, kind)
    }

    #[test]
    fn objects_are_named_as_people_do() {
        let whole = named("object", None, "HelmRelease flux-system/frigate").unwrap().unwrap();
        assert_eq!(whole.shown(), "HelmRelease flux-system/frigate");
        assert_eq!(named("object", None, "Node gpu-1").unwrap().unwrap().namespace, None);
        assert_eq!(
            named("deployment", Some("Deployment"), "a/b").unwrap().unwrap().shown(),
            "Deployment a/b"
        );
        for wrong in ["", "frigate", "a b c", "Deployment a/b/c", "Deployment a/", "Pod ../x"] {
            assert!(named("object", None, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn selectors_are_written_as_queries() {
        let of = |wanted: Value| selector(&json!({ "spec": { "selector": wanted } }));
        assert_eq!(of(json!({ "matchLabels": { "app": "a", "b": "c" } })).unwrap(), "app=a,b=c");
        let all = json!([
            { "key": "a", "operator": "In", "values": ["x", "y"] }, { "key": "b", "operator": "NotIn", "values": ["z"] },
            { "key": "c", "operator": "Exists" }, { "key": "d", "operator": "DoesNotExist" },
        ]);
        assert_eq!(of(json!({ "matchExpressions": all })).unwrap(), "a in (x,y),b notin (z),c,!d");
        assert_eq!(of(json!({})), None);
    }

    #[test]
    fn what_a_rollout_lacks() {
        let object = |status: Value| json!({ "kind": "Deployment", "metadata": { "generation": 2 }, "spec": { "replicas": 2 }, "status": status });
        let done =
            json!({ "observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 });
        assert_eq!(unready(&object(done.clone())), None);
        for (key, value, words) in [
            ("observedGeneration", 1, "has not seen"),
            ("updatedReplicas", 1, "1/2 pods are of the newest"),
            ("replicas", 3, "1 old pods are still there"),
            ("availableReplicas", 0, "0/2 pods ready"),
        ] {
            let mut status = done.clone();
            status[key] = json!(value);
            let said = unready(&object(status)).unwrap();
            assert!(said.contains(words), "{said}");
        }
        let mut status = done;
        status["conditions"] = json!([{ "type": "ReplicaFailure", "status": "True", "message": "RuntimeClass \"nvidia\" not found" }]);
        assert_eq!(unready(&object(status)).unwrap(), "RuntimeClass \"nvidia\" not found");
    }

    /// Statuses as the controllers of Kubernetes 1.36 write them.
    #[test]
    fn what_a_rollout_of_each_other_kind_lacks() {
        let of = |kind: &str, spec: &Value, status: &Value| {
            let mut status = status.clone();
            status["observedGeneration"] = json!(2);
            unready(&json!({ "kind": kind, "metadata": { "generation": 2 }, "spec": spec, "status": status }))
        };
        let set = json!({ "replicas": 2, "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } } });
        let parted = json!({ "replicas": 2, "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } } });
        let by_hand = json!({ "replicas": 2, "updateStrategy": { "type": "OnDelete" } });
        let daemon = json!({ "updateStrategy": { "type": "RollingUpdate" } });
        let pods = |all: i64, current: i64, updated: i64, ready: i64| json!({ "replicas": all, "currentReplicas": current, "updatedReplicas": updated, "readyReplicas": ready });
        let daemons = |updated: i64, available: i64| json!({ "desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available });
        for (kind, spec, status, words) in [
            ("StatefulSet", &set, pods(2, 2, 2, 2), None),
            // It has seen a new template, and all pods are still ready of the old one.
            ("StatefulSet", &set, pods(2, 2, 0, 2), Some("0/2 pods are of the newest template")),
            ("StatefulSet", &set, pods(2, 1, 1, 2), Some("1/2 pods are of the newest template")),
            ("StatefulSet", &set, pods(2, 2, 2, 1), Some("1/2 pods ready")),
            ("StatefulSet", &set, pods(3, 3, 3, 3), Some("1 old pods are still there")),
            ("StatefulSet", &parted, pods(2, 1, 1, 2), None),
            ("StatefulSet", &parted, pods(2, 2, 0, 2), Some("0/1 pods are of the newest template")),
            ("StatefulSet", &by_hand, pods(2, 2, 0, 2), None),
            ("StatefulSet", &by_hand, pods(2, 2, 0, 1), Some("1/2 pods ready")),
            ("DaemonSet", &daemon, daemons(2, 2), None),
            ("DaemonSet", &daemon, daemons(1, 2), Some("1/2 pods are of the newest template")),
            ("DaemonSet", &daemon, daemons(2, 1), Some("1/2 pods ready")),
            ("DaemonSet", &by_hand, daemons(0, 2), None),
        ] {
            assert_eq!(of(kind, spec, &status).as_deref(), words, "{kind} {status}");
        }
    }
}
