//! What the account may do, by the server's own word (`SelfSubjectAccessReview`), before anything is done.

use hyper::Method;
use serde_json::json;

use super::Kube;
use super::error::{Asked, KubeError};
use super::request::Ask;

/// A right that is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    /// For example `patch`.
    pub(crate) verb: &'static str,
    /// Empty for the core group.
    pub(crate) group: String,
    /// For example `deployments`, `pods/log`.
    pub(crate) resource: String,
    /// Absent: in the whole cluster.
    pub(crate) namespace: Option<String>,
}

impl Right {
    /// One of the core group in the whole cluster.
    pub(crate) fn of_all(verb: &'static str, resource: &str) -> Self {
        Self { verb, group: String::new(), resource: resource.to_owned(), namespace: None }
    }

    /// A rule that grants it.
    pub(crate) fn rule(&self) -> String {
        let Self { verb, group, resource, namespace } = self;
        let kind = match namespace {
            Some(namespace) => format!("a Role in namespace `{namespace}`"),
            None => "a ClusterRole".to_owned(),
        };
        format!(
            "{kind} with `{{apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [\"{verb}\"]}}`"
        )
    }
}

impl Kube {
    /// Whether the account has a right. Changes nothing.
    ///
    /// # Errors
    /// As of any request.
    pub(crate) async fn has(&self, right: &Right) -> Result<bool, KubeError> {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let attributes = json!({
            "verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource,
            "namespace": right.namespace.clone().unwrap_or_default(),
        });
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": attributes },
        });
        let asked = Asked {
            verb: "create",
            group: "authorization.k8s.io".to_owned(),
            resource: "selfsubjectaccessreviews".to_owned(),
            ..Asked::default()
        };
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned();
        let body = Some(("application/json", review.to_string().into_bytes()));
        let answer = self.json(&Ask { method: Method::POST, body, ..Ask::get(path, asked) }).await?;
        Ok(answer["status"]["allowed"] == true)
    }
}
