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

/// What a workload still lacks until it is rolled out; `None`: nothing.
///
/// The generation is compared before any count is read: a patch is answered with the counts of what was before
/// (facts/components.md 1). Source of the rules: `kubectl rollout status` 1.36.
pub(crate) fn unready(is: &Value) -> Option<String> {
    let count = |name: &str| is["status"][name].as_i64().unwrap_or(0);
    let generation = is["metadata"]["generation"].as_i64().unwrap_or(0);
    if is_going(is) {
        return Some("it is being deleted".to_owned());
    }
    if is["status"]["observedGeneration"].as_i64().unwrap_or(0) < generation {
        return Some("its controller has not seen the last change yet".to_owned());
    }
    for (kind, status) in [("ReplicaFailure", "True"), ("Progressing", "False")] {
        if let Some(one) = condition(is, kind).filter(|one| one["status"] == status) {
            return Some(one["message"].as_str().unwrap_or(kind).to_owned());
        }
    }
    let (wanted, updated, ready, all) = if is["kind"] == "DaemonSet" {
        let wanted = count("desiredNumberScheduled");
        (wanted, count("updatedNumberScheduled"), count("numberAvailable"), wanted)
    } else {
        let wanted = is["spec"]["replicas"].as_i64().unwrap_or(1);
        let ready =
            if is["kind"] == "StatefulSet" { count("readyReplicas") } else { count("availableReplicas") };
        (wanted, count("updatedReplicas"), ready, count("replicas"))
    };
    if updated < wanted && (is["kind"] != "StatefulSet" || count("currentReplicas") < wanted) {
        return Some(format!("{updated}/{wanted} pods are of the newest template"));
    }
    if all > wanted {
        return Some(format!("{} pods of an older template are still there", all - wanted));
    }
    if ready < wanted {
        return Some(format!("{ready}/{wanted} pods ready"));
    }
    None
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
            ("replicas", 3, "1 pods of an older"),
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
}
