//! `homeassistant.…`: where Home Assistant finds Frigate, its restart, and how it stands.

use super::{Entry, Field, FieldType, Kind, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "homeassistant.repoint",
        kind: Kind::Action,
        doc: "Points the Frigate integration of Home Assistant at another server and waits until it works there: its \
              entry is loaded and the cameras that the server sees are available. Where the entry can be reconfigured \
              (Frigate integration 5.7 and later) Home Assistant does it itself, without a restart, after it has reached \
              the server. Else, with `host` and `vmid`, it is stopped, exactly this entry is edited in place in its \
              storage file, and it is started again. The entry keeps its id, so entities and their history stay.",
        fields: &[
            URL,
            TOKEN,
            CA_FILE,
            ENTRY_ID,
            TITLE,
            CURRENT_URL,
            FRIGATE_URL,
            VALIDATE_SSL,
            USERNAME,
            PASSWORD,
            SAME_CAMERAS,
            ENTITIES,
            WITHIN,
            HOST,
            VMID,
            PATH,
        ],
        at_most_one: &[&["entry_id", "title", "current_url"]],
        own_inverse: true,
        way_back: "the address that it had, by the same way",
        own_probe: true,
        outputs: &["entry_id", "title", "url"],
        ..PLAIN
    },
    Entry {
        name: "homeassistant.restart",
        kind: Kind::Action,
        doc: "Restarts Home Assistant and waits: it must be seen to go, to come back as RUNNING, and to have all its \
              config entries. There is nothing to undo.",
        fields: &[URL, TOKEN, CA_FILE, WITHIN],
        nothing_to_undo: true,
        outputs: &["version"],
        ..PLAIN
    },
    Entry {
        name: "homeassistant",
        kind: Kind::Check,
        doc: "Looks at Home Assistant: `holds` when it is RUNNING and everything that is named is as the fields say, \
              `partial` when the entry is and entities are not, `absent` when not or the connection is refused, `unknown` \
              when it cannot be seen (no way there, a refused token).",
        fields: &[
            URL,
            TOKEN,
            CA_FILE,
            ENTRY,
            DOMAIN,
            ENTRY_STATE,
            COUNT,
            ENTITY,
            STATE,
            AVAILABLE,
            CAMERAS,
            CLIENT_ID,
            TIMEOUT,
        ],
        ..PLAIN
    },
];

const URL: Field = Field {
    required: true,
    ..field("url", FieldType::Url, "Home Assistant, such as `http://homeassistant.maas:8123`.")
};
const TOKEN: Field = Field {
    required: true,
    secrets: true,
    ..field("token", FieldType::Text, "A long-lived access token of an administrator, out of a secret.")
};
const CA_FILE: Field = field(
    "ca_file",
    FieldType::File,
    "Certificates (PEM) that are trusted instead of those of the system; the content is recorded.",
);
const ENTRY_ID: Field = field(
    "entry_id",
    FieldType::Text,
    "The entry, by its id. Without `entry_id`, `title` and `current_url` there must be exactly one Frigate entry.",
);
const TITLE: Field =
    field("title", FieldType::Text, "The entry, by the title it has now, such as `frigate-sf.maas:5000`.");
const CURRENT_URL: Field = field("current_url", FieldType::Url, "The entry, by the address it has now.");
const FRIGATE_URL: Field = Field {
    required: true,
    ..field(
        "frigate_url",
        FieldType::Url,
        "The Frigate server it shall use, as Home Assistant reaches it, such as `http://192.168.4.83:5000`.",
    )
};
const VALIDATE_SSL: Field = Field {
    default: Some("as it is"),
    ..field("validate_ssl", FieldType::Bool, "Whether Home Assistant checks the server's certificate.")
};
const USERNAME: Field = Field {
    secrets: true,
    default: Some("as it is"),
    ..field("username", FieldType::Text, "Frigate's user, where it asks for one (port 8971).")
};
const PASSWORD: Field = Field {
    secrets: true,
    default: Some("as it is"),
    ..field("password", FieldType::Text, "The password of `username`, out of a secret.")
};
const SAME_CAMERAS: Field = Field {
    default: Some("true"),
    ..field(
        "same_cameras",
        FieldType::Bool,
        "Refuse unless the server lists every camera that the one before lists: of a missing one Home Assistant deletes \
         the device and its entities. Both are asked from here. `false`: neither is.",
    )
};
const ENTITIES: Field = field(
    "entities",
    FieldType::TextSet,
    "Entities that must be available afterwards, in addition to the cameras that the server sees.",
);
const WITHIN: Field = Field {
    default: Some("\"3m\""),
    ..field(
        "within",
        FieldType::Duration,
        "How long Home Assistant may take until everything is as it shall be; the step's `timeout` is never exceeded.",
    )
};
const HOST: Field = field(
    "host",
    FieldType::Host,
    "The Proxmox host of Home Assistant's virtual machine, for an entry that cannot be reconfigured. The guest agent must \
     run in it.",
);
const VMID: Field =
    field("vmid", FieldType::Integer, "The number of Home Assistant's virtual machine on `host`.");
const PATH: Field = Field {
    default: Some("where Home Assistant OS has it"),
    ..field("path", FieldType::Text, "Its storage file `core.config_entries` in that machine.")
};
const ENTRY: Field = field("entry", FieldType::Text, "A config entry, by title or id.");
const DOMAIN: Field = Field {
    default: Some("\"frigate\""),
    ..field("domain", FieldType::Text, "The integration that `entry` and `count` are about.")
};
const ENTRY_STATE: Field = Field {
    default: Some("\"loaded\" with `entry`"),
    ..field(
        "entry_state",
        FieldType::OneOf(&["loaded", "not_loaded", "setup_error", "setup_retry"]),
        "The state of `entry`, or of every entry of `domain`.",
    )
};
const COUNT: Field =
    field("count", FieldType::Integer, "How many entries of `domain` there are, no more and no less.");
const ENTITY: Field = field(
    "entity",
    FieldType::Text,
    "An entity, such as `camera.front`. Without `state` it must be available.",
);
const STATE: Field = field("state", FieldType::Text, "The state of `entity`.");
const AVAILABLE: Field =
    field("available", FieldType::TextSet, "Entities that must be there and not `unavailable`.");
const CAMERAS: Field = field(
    "cameras",
    FieldType::TextSet,
    "Frigate's cameras, by their names there: each must have an available camera entity, whatever that is called.",
);
const CLIENT_ID: Field = field(
    "client_id",
    FieldType::Text,
    "The `mqtt.client_id` of the Frigate server that the camera entities must come from.",
);
