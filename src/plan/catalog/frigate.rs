//! `frigate` and `frigate.config`: whether a Frigate does its work, and whether a configuration would let it.

use super::{Entry, Field, FieldType, Kind, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[Entry {
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
}];

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
    field("known_bad", FieldType::TextArray, "Cameras that may send nothing: they are known to be down.");
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
