//! In which order objects are applied; the way back goes through it in reverse.
//!
//! What others need comes first: a namespace before what is in it, a definition before objects of its kind, accounts,
//! rights and configuration before pods. What watches or refuses others comes last, so that it does not refuse ours.

use crate::transport::Resource;

/// How many phases there are.
pub(super) const PHASES: usize = 6;

/// The phase of a kind, from 0 on.
pub(super) fn phase(resource: &Resource) -> usize {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") => 0,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => 1,
        (
            "",
            "ServiceAccount"
            | "ConfigMap"
            | "Secret"
            | "PersistentVolume"
            | "PersistentVolumeClaim"
            | "Service"
            | "ResourceQuota"
            | "LimitRange",
        )
        | (
            "rbac.authorization.k8s.io"
            | "storage.k8s.io"
            | "scheduling.k8s.io"
            | "node.k8s.io"
            | "networking.k8s.io",
            _,
        ) => 2,
        ("apps" | "batch", _) | ("", "Pod" | "ReplicationController") => 4,
        ("autoscaling" | "policy", _) => 5,
        ("admissionregistration.k8s.io" | "apiregistration.k8s.io", _) => 5,
        // What an operator reads.
        _ => 3,
    }
}

/// A definition of a kind.
pub(super) fn is_definition(resource: &Resource) -> bool {
    phase(resource) == 1
}

/// What has pods that are waited for.
pub(super) fn rolls_out(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.kind.as_str()),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet") | ("batch", "Job") | ("", "Pod")
    )
}

/// What holds user data, which no compensation deletes (P6).
pub(super) fn holds_data(resource: &Resource) -> bool {
    resource.group.is_empty()
        && matches!(resource.kind.as_str(), "PersistentVolumeClaim" | "PersistentVolume")
}
