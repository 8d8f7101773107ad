//! Kubernetes: what is done to objects of a cluster, and how they are looked at.

use super::{Entry, Field, FieldType, Kind, ON_STOP_FINISH, OnStop, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[APPLY, DELETE, EXEC, RESTART, SCALE, CHECK, GPU];

const APPLY: Entry = Entry {
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
    way_back: "what it made is deleted and what it changed is as it was; claims and volumes stay, with their namespace",
    own_probe: true,
    outputs: &["address", "addresses", "node", "nodes", "images"],
    ..PLAIN
};

const DELETE: Entry = Entry {
    name: "kubernetes.delete",
    kind: Kind::Action,
    doc: "Deletes an object with all that it owns, and waits until it is gone. On the way back it is made again as it was, \
          owners of its fields included; not what was stored in it.",
    fields: &[CLUSTER, OBJECT, DELETE_DATA, ON_STOP_FINISH],
    own_inverse: true,
    way_back: "made again as it was",
    own_probe: true,
    data_field: Some("delete_data"),
    ..PLAIN
};

const EXEC: Entry = Entry {
    name: "kubernetes.exec",
    kind: Kind::Action,
    doc: "Runs a command in a container that is there already; exit status 0 is success. One that was cut off may still run in \
          its container: a `probe` says what became of it, or the step is `idempotent`.",
    fields: &[CLUSTER, DEPLOYMENT, STATEFULSET, DAEMONSET, POD, CONTAINER, ARGV, STDIN, OUTPUTS, ON_STOP],
    one_of: &["deployment", "statefulset", "daemonset", "pod"],
    outputs_from_probe: true,
    on_stop: OnStop::Stop,
    ..PLAIN
};

const RESTART: Entry = Entry {
    name: "kubernetes.restart",
    kind: Kind::Action,
    doc: "Replaces the pods of a workload by new ones of the same template, as `kubectl rollout restart`, and waits for them. \
          There is nothing to undo: `compensate = \"nothing\"`.",
    fields: &[CLUSTER, DEPLOYMENT, STATEFULSET, DAEMONSET, ON_STOP_FINISH],
    one_of: &["deployment", "statefulset", "daemonset"],
    ..PLAIN
};

const SCALE: Entry = Entry {
    name: "kubernetes.scale",
    kind: Kind::Action,
    doc: "Gives a workload so many pods, and waits until they are ready; with 0 until none is left. On the way back it gets as \
          many as it had.",
    fields: &[CLUSTER, DEPLOYMENT, STATEFULSET, REPLICAS, ON_STOP_FINISH],
    one_of: &["deployment", "statefulset"],
    own_inverse: true,
    way_back: "as many pods as before",
    own_probe: true,
    ..PLAIN
};

const CHECK: Entry = Entry {
    name: "kubernetes",
    kind: Kind::Check,
    doc: "Looks at an object of a cluster: `holds` when it is there and as the fields say; without any of them when it is ready: a \
          workload rolled out, a Service with addresses behind it, a claim bound, a Flux or Argo object reconciled. `absent` when \
          it is not, `partial` while pods come or go, `unknown` when the cluster does not say.",
    fields: &[
        CLUSTER,
        DEPLOYMENT,
        STATEFULSET,
        DAEMONSET,
        SERVICE,
        POD,
        ANY_OBJECT,
        REPLICAS_LOOK,
        CONDITION,
        JSON,
        ENDPOINTS,
        ADDRESS,
        ABSENT,
        RUNS,
        CONTAINER,
        CONTAINS,
        TIMEOUT,
    ],
    one_of: &["deployment", "statefulset", "daemonset", "service", "pod", "object"],
    at_most_one: &[
        &["replicas", "absent", "exec"],
        &["condition", "absent", "exec"],
        &["json", "absent", "exec"],
        &["endpoints", "absent", "exec"],
        &["address", "absent", "exec"],
    ],
    ..PLAIN
};

const GPU: Entry = Entry {
    name: "gpu",
    kind: Kind::Check,
    doc: "Looks for NVIDIA GPUs: of a `node` those that it offers; of a workload or pod those that it was granted and that \
          `nvidia-smi` in it sees. The load of the encoder is a fact and no demand: recordings are not encoded anew.",
    fields: &[
        CLUSTER,
        NODE,
        DEPLOYMENT,
        STATEFULSET,
        DAEMONSET,
        POD,
        CONTAINER,
        GPUS,
        NAME,
        DECODER,
        MEMORY_FREE,
        TIMEOUT,
    ],
    one_of: &["node", "deployment", "statefulset", "daemonset", "pod"],
    at_most_one: &[
        &["node", "container"],
        &["node", "name"],
        &["node", "decoder"],
        &["node", "memory_free_mib"],
    ],
    ..PLAIN
};

const CLUSTER: Field =
    Field { required: true, ..field("cluster", FieldType::Cluster, "The cluster, of `[clusters]`.") };
const MANIFESTS: Field = Field {
    required: true,
    ..field(
        "manifests",
        FieldType::Manifests,
        "A file, or a folder with its `.yaml`, `.yml` and `.json` files; one with a kustomization is built with `kubectl \
         kustomize` when the plan is read. The objects are recorded, so a Secret with values in it is refused: `secrets` \
         fills them in.",
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
         no file and not in the journal. One that `manifests` has without values keeps its type and labels.",
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
const DEPLOYMENT: Field = field(
    "deployment",
    FieldType::Text,
    "A Deployment, as `namespace/name`; a name alone is of the context's namespace.",
);
const STATEFULSET: Field = field("statefulset", FieldType::Text, "A StatefulSet, named like a Deployment.");
const DAEMONSET: Field = field("daemonset", FieldType::Text, "A DaemonSet, named like a Deployment.");
const SERVICE: Field = field("service", FieldType::Text, "A Service, named like a Deployment.");
const POD: Field = field("pod", FieldType::Text, "A pod, named like a Deployment.");
const OBJECT: Field = Field {
    required: true,
    ..field(
        "object",
        FieldType::Text,
        "Its kind, then its name with its namespace: `\"Deployment frigate/frigate\"`, `\"Node gpu-1\"`; a kind in any of the \
         words that `kubectl` takes, with its group where that is needed (`helmreleases.helm.toolkit.fluxcd.io`).",
    )
};
const ANY_OBJECT: Field = Field { required: false, ..OBJECT };
const DELETE_DATA: Field = Field {
    default: Some("false"),
    ..field(
        "delete_data",
        FieldType::Bool,
        "The object may be one that holds what users have stored: a PersistentVolumeClaim, PersistentVolume, Namespace or \
         CustomResourceDefinition, or a StatefulSet that takes its claims along (`whenDeleted: Delete`). What was stored does \
         not come back.",
    )
};
const REPLICAS: Field =
    Field { required: true, ..field("replicas", FieldType::UpTo(10_000), "How many pods it shall have.") };
const REPLICAS_LOOK: Field = field(
    "replicas",
    FieldType::UpTo(10_000),
    "It has exactly so many pods, all of them ready; pods on their way out count, because they still run. With 0 it need not \
     be there itself.",
);
const CONTAINER: Field = field(
    "container",
    FieldType::Text,
    "The container; absent: the only one, of `gpu` the one that has the GPU.",
);
const ARGV: Field = Field {
    required: true,
    ..field("argv", FieldType::TextArray, "The program and its arguments, word by word; no shell reads them.")
};
const RUNS: Field = field(
    "exec",
    FieldType::TextArray,
    "A command that changes nothing, run in the pod or in a ready one of the workload: exit status 0 is `holds`, 1 `absent`, \
     10 `partial`, anything else `unknown`.",
);
const STDIN: Field = Field {
    secrets: true,
    ..field("stdin", FieldType::Text, "What the program reads on its standard input.")
};
const OUTPUTS: Field = field(
    "outputs",
    FieldType::Outputs,
    "What later steps may use: `\"text\"` is the standard output without its last line break, `\"/a/b\"` a JSON pointer \
     into it.",
);
const ON_STOP: Field = Field {
    default: Some("\"stop\""),
    ..field(
        "on_stop",
        FieldType::OneOf(&["finish", "stop"]),
        "What a request to stop does to it in flight: wait until it is finished, or let it go and settle it later.",
    )
};
const CONDITION: Field = field(
    "condition",
    FieldType::Text,
    "A condition that is `True`, such as `\"Ready\"`; or another status of it, such as `\"Ready=False\"`.",
);
const JSON: Field = field(
    "json",
    FieldType::Expectations,
    "What is expected in the object, by JSON pointer (`\"/spec/replicas\"`): a value, or a table of `equals`, `not`, `at_least`, \
     `at_most`, `one_of`, `contains`, `matches` and `exists`, which must all hold.",
);
const ENDPOINTS: Field = field(
    "endpoints",
    FieldType::UpTo(10_000),
    "Of a Service: at least so many ready addresses are behind it; absent, and nothing else is asked: 1.",
);
const ADDRESS: Field = field(
    "address",
    FieldType::Text,
    "Of a Service: its load balancer has given it this address, `\"any\"` address, or the one that its annotations ask for \
     (`\"pinned\"`), and no other Service of the cluster has it too.",
);
const ABSENT: Field = field("absent", FieldType::Bool, "`true`: it holds when the object is not there.");
const CONTAINS: Field =
    field("contains", FieldType::Text, "A text that is expected in the output of `exec`.");
const NODE: Field = field("node", FieldType::Text, "A node, which offers the GPUs.");
const GPUS: Field = Field {
    default: Some("1"),
    ..field("gpus", FieldType::UpTo(64), "At least so many; slices (MIG) count too.")
};
const NAME: Field =
    field("name", FieldType::Text, "A part of the name of each of them, such as `\"RTX 3070\"`.");
const DECODER: Field = field(
    "decoder",
    FieldType::Bool,
    "`true`: a decoder is at work in one of up to five looks, a second apart. A device that does not say is `unknown`.",
);
const MEMORY_FREE: Field = field(
    "memory_free_mib",
    FieldType::UpTo(1_000_000),
    "At least so many MiB of their memory are free, together.",
);
