//! What kinds a cluster serves, and how they are called in paths: asked once, and again when a kind is missing.
//!
//! One request for each root where the server has aggregated discovery (since 1.27); else one per group and version.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::Kube;
use super::error::{Asked, KubeError, Why};
use super::request::Ask;

/// Both forms: the newer one whole, or the list of groups.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// A kind that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Empty for the core group.
    pub(crate) group: String,
    /// For example `v1`.
    pub(crate) version: String,
    /// For example `Deployment`.
    pub(crate) kind: String,
    /// As in a path: `deployments`.
    pub(crate) plural: String,
    /// Other words for it: `deployment`, `deploy`.
    pub(crate) words: Vec<String>,
    /// Its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// What can be done with it: `get`, `patch`.
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    /// `v1`, `apps/v1`.
    pub(crate) fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

impl Kube {
    /// The kind with this `apiVersion` and `kind`. Asks again when it is not known, because a step may just have made it.
    ///
    /// # Errors
    /// As of a request; [`Why::Access`] when no such kind is served, with what is near it.
    pub(crate) async fn resource(&self, api_version: &str, kind: &str) -> Result<Resource, KubeError> {
        let fits = |resource: &&Resource| resource.kind == kind && resource.api_version() == api_version;
        if let Some(found) = self.kinds(false).await?.iter().find(fits) {
            return Ok(found.clone());
        }
        let all = self.kinds(true).await?;
        all.iter().find(fits).cloned().ok_or_else(|| self.no_kind(api_version, kind, &all))
    }

    /// The kind by one of its words, as `kubectl` takes them: `deployment`, `deploy`, `deployments.apps`, `Deployment`.
    ///
    /// # Errors
    /// As [`resource`](Self::resource).
    pub(crate) async fn resource_of(&self, word: &str) -> Result<Resource, KubeError> {
        let lower = word.to_lowercase();
        let (name, group) = match lower.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (lower.as_str(), None),
        };
        let fits = |resource: &&Resource| {
            let named = resource.plural == name
                || resource.kind.to_lowercase() == name
                || resource.words.iter().any(|word| word == name);
            named && group.is_none_or(|group| resource.group == group)
        };
        if let Some(found) = self.kinds(false).await?.iter().find(fits) {
            return Ok(found.clone());
        }
        let all = self.kinds(true).await?;
        let message = format!("cluster `{}` serves no kind `{word}`", self.name());
        all.iter().find(fits).cloned().ok_or(KubeError { why: Why::Access, message })
    }

    /// Every kind whose objects live in namespaces and can be listed and deleted, each in one version. Asks anew, because a
    /// step may just have made one.
    ///
    /// # Errors
    /// As of a request.
    pub(crate) async fn in_namespaces(&self) -> Result<Vec<Resource>, KubeError> {
        let mut known = BTreeSet::new();
        let can = |resource: &Resource, verb: &str| resource.verbs.iter().any(|one| one == verb);
        let mut all = self.kinds(true).await?.to_vec();
        all.retain(|one| one.namespaced && can(one, "list") && can(one, "delete"));
        all.retain(|one| known.insert((one.group.clone(), one.plural.clone())));
        Ok(all)
    }

    fn no_kind(&self, api_version: &str, kind: &str, all: &[Resource]) -> KubeError {
        let same: Vec<String> = all
            .iter()
            .filter(|resource| resource.kind == kind)
            .map(|resource| format!("`{}`", resource.api_version()))
            .collect();
        let near = all
            .iter()
            .map(|resource| resource.kind.as_str())
            .find(|known| known.eq_ignore_ascii_case(kind) || strsim::osa_distance(known, kind) <= 2);
        let help = match (same.as_slice(), near) {
            ([], Some(near)) => format!("; there is `{near}`"),
            ([], None) => "; a kind of one's own needs its CustomResourceDefinition first".to_owned(),
            (same, _) => format!("; it has `{kind}` in {}", same.join(", ")),
        };
        KubeError::access(self.name(), &format!("it serves no `{kind}` of `{api_version}`{help}"))
    }

    async fn kinds(&self, again: bool) -> Result<Arc<Vec<Resource>>, KubeError> {
        let mut kinds = self.open.kinds.lock().await;
        if let (Some(kinds), false) = (&*kinds, again) {
            return Ok(Arc::clone(kinds));
        }
        let mut all = Vec::new();
        for root in ["/api", "/apis"] {
            let ask = Ask {
                accept: AGGREGATED,
                ..Ask::get(root.to_owned(), Asked { verb: "get", ..Asked::default() })
            };
            let answer = self.json(&ask).await?;
            if answer["kind"] == "APIGroupDiscoveryList" {
                aggregated(&answer, &mut all);
                continue;
            }
            for (group, version) in versions(&answer) {
                let path = match group.as_str() {
                    "" => format!("/api/{version}"),
                    group => format!("/apis/{group}/{version}"),
                };
                match self.json(&Ask::get(path, Asked { verb: "get", ..Asked::default() })).await {
                    Ok(answer) => listed(&group, &version, &answer, &mut all),
                    // A server behind the server that is down takes only its own kinds with it.
                    Err(error) if matches!(error.why, Why::Refused(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let all = Arc::new(all);
        *kinds = Some(Arc::clone(&all));
        Ok(all)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// `apidiscovery.k8s.io/v2`: versions stand in the order of preference.
fn aggregated(answer: &Value, all: &mut Vec<Resource>) {
    for group in answer["items"].as_array().into_iter().flatten() {
        for version in group["versions"].as_array().into_iter().flatten() {
            for resource in version["resources"].as_array().into_iter().flatten() {
                let mut words = texts(&resource["shortNames"]);
                words.push(text(&resource["singularResource"]));
                all.push(Resource {
                    group: text(&group["metadata"]["name"]),
                    version: text(&version["version"]),
                    kind: text(&resource["responseKind"]["kind"]),
                    plural: text(&resource["resource"]),
                    words,
                    namespaced: resource["scope"] == "Namespaced",
                    verbs: texts(&resource["verbs"]),
                });
            }
        }
    }
}

/// Groups and versions of an `APIVersions` or `APIGroupList`.
fn versions(answer: &Value) -> Vec<(String, String)> {
    let core = texts(&answer["versions"]).into_iter().map(|version| (String::new(), version));
    let groups = answer["groups"].as_array().into_iter().flatten().flat_map(|group| {
        let name = text(&group["name"]);
        let preferred = text(&group["preferredVersion"]["version"]);
        let mut versions: Vec<String> = group["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|version| text(&version["version"]))
            .collect();
        versions.sort_by_key(|version| *version != preferred);
        versions.into_iter().map(move |version| (name.clone(), version))
    });
    core.chain(groups).collect()
}

/// An `APIResourceList`.
fn listed(group: &str, version: &str, answer: &Value, all: &mut Vec<Resource>) {
    for resource in answer["resources"].as_array().into_iter().flatten() {
        let plural = text(&resource["name"]);
        // A subresource.
        if plural.contains('/') {
            continue;
        }
        let mut words = texts(&resource["shortNames"]);
        words.push(text(&resource["singularName"]));
        all.push(Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: text(&resource["kind"]),
            plural,
            words,
            namespaced: resource["namespaced"] == true,
            verbs: texts(&resource["verbs"]),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_say_the_same() {
        let verbs = json!(["get", "patch"]);
        let mut newer = Vec::new();
        let resource = json!({
            "resource": "deployments", "responseKind": { "kind": "Deployment" }, "scope": "Namespaced",
            "singularResource": "deployment", "shortNames": ["deploy"], "verbs": verbs
        });
        let versions_of = json!([{ "version": "v1", "resources": [resource] }]);
        aggregated(
            &json!({ "items": [{ "metadata": { "name": "apps" }, "versions": versions_of }] }),
            &mut newer,
        );
        let mut older = Vec::new();
        let resource = json!({
            "name": "deployments", "kind": "Deployment", "namespaced": true, "singularName": "deployment",
            "shortNames": ["deploy"], "verbs": verbs
        });
        let status = json!({ "name": "deployments/status", "kind": "Deployment", "namespaced": true });
        listed("apps", "v1", &json!({ "resources": [resource, status] }), &mut older);
        assert_eq!(newer, older);
        let groups = json!({ "groups": [{
            "name": "x", "preferredVersion": { "version": "v2" }, "versions": [{ "version": "v1" }, { "version": "v2" }]
        }] });
        assert_eq!(versions(&groups)[0], ("x".to_owned(), "v2".to_owned()));
    }
}
