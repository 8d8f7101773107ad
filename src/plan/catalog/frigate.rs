//! `frigate` and `frigate.config`: whether a Frigate does its work, and whether a configuration would let it.

use super::{Entry, Field, FieldType, Kind, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "baseline",
        kind: Kind::Action,
        doc: "Captures what there is before the first change, for later checks to compare with: of a Frigate (`url`) its \
              version, cameras and how each of them does, of a container (`host`, `vmid`) its configuration with \
              the digest, of Home Assistant its Frigate entry with the address and how many entities it has, and its \
              storage file (`ha_host`, `ha_vmid`), of a broker the availability, of a cluster the addresses of its load balancers. \
              The outputs are `frigate`, `container`, `homeassistant`, `mqtt` and `services`; of what was not named they \
              are null. It changes nothing, and fails when something that is named cannot be read.",
        fields: &[
            OLD_URL,
            USER,
            PASSWORD,
            TLS,
            CA_FILE,
            HOST,
            VMID,
            HOMEASSISTANT,
            TOKEN,
            HA_HOST,
            HA_VMID,
            HA_PATH,
            BROKER,
            PREFIX,
            CLUSTER,
        ],
        nothing_to_undo: true,
        outputs: &["frigate", "container", "homeassistant", "mqtt", "services"],
        ..PLAIN
    },
    FRIGATE,
    Entry {
        name: "frigate.config",
        kind: Kind::Check,
        doc: "Judges a Frigate configuration as `runner lint` does: it holds without errors. Image, mounts and memory are \
              read from the manifests beside it, the old instance's names from the baseline.",
        fields: &[
            FILE,
            MANIFESTS,
            CONFIGMAP,
            CLUSTER,
            TARGET,
            CONFIG_BASELINE,
            PHASE,
            GPU,
            ARCH,
            IMAGE,
            ALLOW,
            STRICT,
            TIMEOUT,
        ],
        one_of: &["file", "manifests", "configmap"],
        ..PLAIN
    },
];

const OLD_URL: Field = Field { required: false, ..URL };
const HOST: Field = field("host", FieldType::Host, "The Proxmox node that the container is on.");
const VMID: Field = field("vmid", FieldType::Text, "The container's number there.");
const HOMEASSISTANT: Field = field("homeassistant", FieldType::Url, "Home Assistant: `http://host:8123`.");
const TOKEN: Field = Field {
    secrets: true,
    ..field("token", FieldType::Text, "A long-lived access token of Home Assistant.")
};
const HA_HOST: Field = field(
    "ha_host",
    FieldType::Host,
    "The Proxmox node of Home Assistant's virtual machine, for its storage file.",
);
const HA_VMID: Field = field("ha_vmid", FieldType::Integer, "The virtual machine's number there.");
const HA_PATH: Field = Field {
    default: Some("where Home Assistant OS has it"),
    ..field("ha_path", FieldType::Text, "The storage file in that virtual machine.")
};
const BROKER: Field = field("broker", FieldType::Broker, "The broker, one of `[brokers]`.");
const PREFIX: Field = Field {
    default: Some("\"frigate\""),
    ..field("prefix", FieldType::Text, "Frigate's `mqtt.topic_prefix`.")
};
const CLUSTER: Field = field("cluster", FieldType::Cluster, "The cluster, one of `[clusters]`.");
const FILE: Field = field("file", FieldType::File, "A configuration; its content is recorded.");
const MANIFESTS: Field = field(
    "manifests",
    FieldType::Manifests,
    "Kubernetes manifests with a ConfigMap that holds it: a file, a folder or a kustomization; recorded.",
);
const CONFIGMAP: Field = field(
    "configmap",
    FieldType::Text,
    "`NAMESPACE/NAME` of a ConfigMap in `cluster`; the Deployments beside it are read as well.",
);
const TARGET: Field = Field {
    default: Some("that of the image, else \"0.16\""),
    ..field("version", FieldType::Text, "The version it is meant for, such as `0.16`.")
};
const CONFIG_BASELINE: Field = field(
    "baseline",
    FieldType::Json,
    "The output `frigate` of a step with the action `baseline`: the client id and the topic prefix that are taken.",
);
const PHASE: Field = Field {
    default: Some("\"parallel\" with a baseline"),
    ..field(
        "phase",
        FieldType::OneOf(&["alone", "parallel", "cutover"]),
        "`parallel`: the old instance still runs, so its names are taken; `cutover`: it is gone, and its names are to be \
         kept; `alone`: there is none.",
    )
};
const GPU: Field = field(
    "gpu",
    FieldType::OneOf(&["nvidia", "intel", "amd", "none"]),
    "The GPU of the node that it will run on.",
);
const ARCH: Field = field("arch", FieldType::OneOf(&["amd64", "arm64"]), "The processor of that node.");
const IMAGE: Field =
    field("image", FieldType::Text, "The container image with its tag, where no manifest says it.");
const ALLOW: Field = field("allow", FieldType::TextSet, "Codes of findings that do not count, such as `L9`.");
const STRICT: Field =
    Field { default: Some("false"), ..field("strict", FieldType::Bool, "Warnings count as well.") };

const FRIGATE: Entry = Entry {
    name: "frigate",
    kind: Kind::Check,
    doc: "Looks at a Frigate that runs: its version, whether its statistics are fresh, whether it has the cameras that it \
          shall have, and whether each of them is really looked at: frames are processed and not skipped, detection is on. \
          It is `unknown` while it starts (`grace`), and when it cannot be asked. In `verify` its facts may be watched: \
          `watch = { uptime = \"rises\" }`.",
    fields: &[
        URL,
        USER,
        PASSWORD,
        TLS,
        CA_FILE,
        VERSION,
        CAMERAS,
        BASELINE,
        KNOWN_BAD,
        BESIDE,
        DETECTION,
        MIN_PROCESS_FPS,
        MAX_SKIPPED,
        DETECTOR_MAX_MS,
        FACE_RECOGNITION,
        RECORDINGS_WITHIN,
        MIN_FREE,
        GPU_DECODE,
        MIN_UPTIME,
        GRACE,
        FRESH_WITHIN,
        APART,
        TIMEOUT,
    ],
    at_most_one: &[&["cameras", "baseline"]],
    ..PLAIN
};

pub(super) const URL: Field = Field {
    required: true,
    ..field(
        "url",
        FieldType::Url,
        "Frigate: `http://host:5000` without a login, `https://host:8971` with one.",
    )
};
const VERSION: Field = field(
    "version",
    FieldType::Text,
    "The version it must have, up to the first `-`: `0.16.2`, or `0.16` for any patch level of it.",
);
const CAMERAS: Field = field("cameras", FieldType::TextArray, "Exactly these cameras it must have.");
const BASELINE: Field = field(
    "baseline",
    FieldType::Json,
    "The output `frigate` of a step with the action `baseline`: it must have the same cameras, and one that sent nothing \
     then is not held against it now.",
);
const KNOWN_BAD: Field =
    field("known_bad", FieldType::TextSet, "Cameras that may send nothing: they are known to be down.");
const BESIDE: Field = field(
    "beside",
    FieldType::Url,
    "The old Frigate, where it still runs (without a login): a camera that sends nothing to either is not held against \
     the new one.",
);
const DETECTION: Field = Field {
    default: Some("true"),
    ..field("detection", FieldType::Bool, "Every enabled camera must have detection on.")
};
const MIN_PROCESS_FPS: Field = Field {
    default: Some("more than 0.2"),
    ..field(
        "min_process_fps",
        FieldType::Integer,
        "Frames a second that must be processed of each enabled camera.",
    )
};
const MAX_SKIPPED: Field = Field {
    default: Some("\"50%\""),
    ..field("max_skipped", FieldType::Text, "The share of a camera's frames that may be skipped.")
};
const DETECTOR_MAX_MS: Field = field(
    "detector_max_ms",
    FieldType::Integer,
    "How many milliseconds an inference may take. Exactly 10.0 is what Frigate says before the first one: no data.",
);
const FACE_RECOGNITION: Field =
    field("face_recognition", FieldType::Bool, "`true`: face recognition must really be on.");
const RECORDINGS_WITHIN: Field = field(
    "recordings_within",
    FieldType::Duration,
    "Each camera that records must have a recording that is no older.",
);
const MIN_FREE: Field = field(
    "min_free",
    FieldType::Text,
    "The share of the recordings' volume that must be free, such as \"5%\".",
);
const GPU_DECODE: Field = field("gpu_decode", FieldType::Bool, "`true`: a GPU must be decoding.");
const MIN_UPTIME: Field = field("min_uptime", FieldType::Duration, "How long it must have been up.");
const GRACE: Field = Field {
    default: Some("\"10m\""),
    ..field(
        "grace",
        FieldType::Duration,
        "How long after its start what has still to come up is `unknown` instead of bad: Frigate takes three to ten minutes \
         to see all its cameras.",
    )
};
const FRESH_WITHIN: Field = Field {
    default: Some("\"60s\""),
    ..field(
        "fresh_within",
        FieldType::Duration,
        "How old its statistics may be by its own clock; it takes them every 15 seconds.",
    )
};
const APART: Field = field(
    "apart",
    FieldType::Duration,
    "Looks twice, so far apart (at least 20 seconds make sense; `timeout` must be longer): the uptime and the statistics \
     must have gone on.",
);

pub(super) const USER: Field = field(
    "user",
    FieldType::Text,
    "The user for the port with a login (8971); absent: the one without (5000).",
);
pub(super) const PASSWORD: Field =
    Field { secrets: true, ..field("password", FieldType::Text, "The password of that user.") };
pub(super) const TLS: Field = field(
    "tls",
    FieldType::OneOf(&["insecure"]),
    "`insecure`: whoever answers is trusted, because Frigate makes its own certificate; absent: as with `http`.",
);
pub(super) const CA_FILE: Field = field(
    "ca_file",
    FieldType::File,
    "Certificates (PEM) that are trusted instead of those of the system; the content is recorded.",
);
