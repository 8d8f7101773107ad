//! The kinds that this API knows: a named subset of Kubernetes 1.36, and whatever a CustomResourceDefinition adds.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::Value;

use super::state::State;

/// One kind in one version. There is one version of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kind {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub singular: Cow<'static, str>,
    pub namespaced: bool,
    /// It has `…/status`.
    pub status: bool,
    /// It has `…/scale`.
    pub scale: bool,
    /// The server counts the changes of its `spec`.
    pub generation: bool,
    /// Nothing is known of its fields.
    pub custom: bool,
    pub short: &'static [&'static str],
}

fn kind(group: &'static str, kind: &'static str, plural: &'static str, namespaced: bool) -> Kind {
    Kind {
        group: Cow::Borrowed(group),
        version: Cow::Borrowed("v1"),
        kind: Cow::Borrowed(kind),
        plural: Cow::Borrowed(plural),
        singular: Cow::Borrowed(""),
        namespaced,
        status: false,
        scale: false,
        generation: false,
        custom: false,
        short: &[],
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// The kinds that are always there.
static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    vec![
        Kind { short: &["cm"], ..kind("", "ConfigMap", "configmaps", true) },
        Kind { short: &["ev"], ..kind("", "Event", "events", true) },
        Kind { short: &["ns"], status: true, ..kind("", "Namespace", "namespaces", false) },
        Kind { short: &["no"], status: true, ..kind("", "Node", "nodes", false) },
        Kind {
            short: &["pvc"],
            status: true,
            ..kind("", "PersistentVolumeClaim", "persistentvolumeclaims", true)
        },
        Kind { short: &["pv"], status: true, ..kind("", "PersistentVolume", "persistentvolumes", false) },
        Kind { short: &["po"], status: true, generation: true, ..kind("", "Pod", "pods", true) },
        kind("", "Secret", "secrets", true),
        Kind { short: &["sa"], ..kind("", "ServiceAccount", "serviceaccounts", true) },
        Kind { short: &["svc"], status: true, ..kind("", "Service", "services", true) },
        Kind {
            short: &["deploy"],
            status: true,
            scale: true,
            generation: true,
            ..kind("apps", "Deployment", "deployments", true)
        },
        Kind {
            short: &["rs"],
            status: true,
            scale: true,
            generation: true,
            ..kind("apps", "ReplicaSet", "replicasets", true)
        },
        Kind {
            short: &["crd"],
            status: true,
            generation: true,
            ..kind("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false)
        },
        Kind { generation: true, ..kind("discovery.k8s.io", "EndpointSlice", "endpointslices", true) },
        Kind {
            short: &["ing"],
            status: true,
            generation: true,
            ..kind("networking.k8s.io", "Ingress", "ingresses", true)
        },
        Kind {
            short: &["netpol"],
            generation: true,
            ..kind("networking.k8s.io", "NetworkPolicy", "networkpolicies", true)
        },
        kind("node.k8s.io", "RuntimeClass", "runtimeclasses", false),
        kind(RBAC, "ClusterRole", "clusterroles", false),
        kind(RBAC, "ClusterRoleBinding", "clusterrolebindings", false),
        kind(RBAC, "Role", "roles", true),
        kind(RBAC, "RoleBinding", "rolebindings", true),
        Kind { short: &["sc"], ..kind("storage.k8s.io", "StorageClass", "storageclasses", false) },
    ]
});

/// What can only be asked, not kept: group, kind, plural.
pub(super) const REVIEWS: &[(&str, &str, &str)] = &[
    ("authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"),
    ("authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
];

impl Kind {
    /// `apps/v1`, `v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `deployments.apps`, `pods`: as messages name it.
    pub(super) fn resource(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// `Deployment.apps`, `Pod`.
    pub(super) fn qualified(&self) -> String {
        qualified(&self.kind, &self.group)
    }

    /// The beginning of the keys of its objects.
    pub(super) fn prefix(&self) -> String {
        prefix(&self.plural, &self.group)
    }

    /// The key of one object.
    pub(super) fn key(&self, namespace: &str, name: &str) -> String {
        format!("{}{namespace}/{name}", self.prefix())
    }

    pub(super) fn singular(&self) -> String {
        if self.singular.is_empty() { self.kind.to_lowercase() } else { self.singular.to_string() }
    }
}

/// The beginning of the keys of a kind's objects.
pub(super) fn prefix(plural: &str, group: &str) -> String {
    format!("{plural}.{group}/")
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// Every kind that there is now.
pub(super) fn all(state: &State) -> Vec<Kind> {
    let mut all = KINDS.clone();
    for (_, definition) in state.all("customresourcedefinitions", "apiextensions.k8s.io") {
        all.extend(defined(definition));
    }
    all
}

/// The kind whose objects are at this place.
pub(super) fn find(state: &State, group: &str, version: &str, plural: &str) -> Option<Kind> {
    let is = |kind: &Kind| kind.group == group && kind.version == version && kind.plural == plural;
    KINDS.iter().find(|kind| is(kind)).cloned().or_else(|| all(state).into_iter().find(is))
}

/// The one of these that holds a key.
pub(super) fn of_key(state: &State, key: &str) -> Option<Kind> {
    let (resource, _) = key.split_once('/')?;
    let (plural, group) = resource.split_once('.')?;
    let is = |kind: &Kind| kind.group == group && kind.plural == plural;
    KINDS.iter().find(|kind| is(kind)).cloned().or_else(|| all(state).into_iter().find(is))
}

fn defined(definition: &Value) -> Option<Kind> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().map(|text| Cow::Owned(text.to_owned()));
    let version = spec["versions"].as_array()?.iter().find(|version| version["storage"] == true)?;
    Some(Kind {
        group: text(&spec["group"])?,
        version: text(&version["name"])?,
        kind: text(&spec["names"]["kind"])?,
        plural: text(&spec["names"]["plural"])?,
        singular: text(&spec["names"]["singular"]).unwrap_or_default(),
        namespaced: spec["scope"] == "Namespaced",
        status: version.pointer("/subresources/status").is_some(),
        scale: false,
        generation: true,
        custom: true,
        short: &[],
    })
}
