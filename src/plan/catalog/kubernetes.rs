//! Kubernetes: what is done to objects of a cluster.

use super::{Entry, Field, FieldType, Kind, ON_STOP_FINISH, PLAIN, field};

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "kubernetes.apply",
    kind: Kind::Action,
    doc: "Applies manifests with server-side apply as field manager `runner`, and waits for what they roll out. All of \
          it is tried as a dry run first, so that what the server refuses changes nothing. On the way back objects that \
          were there get the fields back that this changed, objects that it created are deleted, and data is kept.",
    fields: &[
        CLUSTER,
        MANIFESTS,
        NAMESPACE,
        SECRETS,
        FORCE_CONFLICTS,
        WAIT,
        GIVE_UP_AFTER,
        DELETE_CRDS,
        ON_STOP_FINISH,
    ],
    own_inverse: true,
    own_probe: true,
    outputs: &["address", "addresses", "node", "nodes", "images"],
    ..PLAIN
}];

const CLUSTER: Field =
    Field { required: true, ..field("cluster", FieldType::Cluster, "The cluster, of `[clusters]`.") };
const MANIFESTS: Field = Field {
    required: true,
    ..field(
        "manifests",
        FieldType::Manifests,
        "A file, or a folder with its `.yaml`, `.yml` and `.json` files; one with a kustomization is built with `kubectl \
         kustomize` when the plan is read. The objects are recorded.",
    )
};
const NAMESPACE: Field = field(
    "namespace",
    FieldType::Text,
    "Where objects go that name no namespace; absent: that of the kubeconfig's context.",
);
const SECRETS: Field = Field {
    secrets: true,
    ..field(
        "secrets",
        FieldType::Json,
        "Secrets to apply with the rest, by `namespace/name` or `name`: a table of their keys and values. They stand in \
         no file and not in the journal.",
    )
};
const FORCE_CONFLICTS: Field = Field {
    default: Some("false"),
    ..field(
        "force_conflicts",
        FieldType::Bool,
        "Take fields that belong to other field managers; else they are shown with their owners and nothing is applied.",
    )
};
const WAIT: Field = Field {
    default: Some("true"),
    ..field(
        "wait",
        FieldType::Bool,
        "Wait until workloads are rolled out and load balancers have their addresses, for as long as the step may take.",
    )
};
const GIVE_UP_AFTER: Field = Field {
    default: Some("\"1m\""),
    ..field(
        "give_up_after",
        FieldType::Duration,
        "How long a cause is borne that does not go away by itself: a pod that fits no node, an image that cannot be \
         pulled, a crash loop, an address that does not come.",
    )
};
const DELETE_CRDS: Field = Field {
    default: Some("false"),
    ..field(
        "delete_crds",
        FieldType::Bool,
        "On the way back delete the CustomResourceDefinitions that this created, and with them every object of their kinds.",
    )
};
