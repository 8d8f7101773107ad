//! `mqtt.publish`, `mqtt.heal` and `mqtt`: what a broker is told, and what it hands on.

use super::frigate::{CA_FILE, PASSWORD, TLS, USER};
use super::{Entry, Field, FieldType, Kind, ON_STOP_FINISH, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "mqtt.publish",
        kind: Kind::Action,
        doc: "Publishes a message and reads it back, because a broker acknowledges what its access list forbids. With \
              `retain = true` it can undo itself: what was retained before is put back, or what is there is cleared. One \
              that is not retained leaves nothing to look at: cut off, it is sent again.",
        fields: &[BROKER, TOPIC, PAYLOAD, QOS, RETAIN, ON_STOP_FINISH],
        own_inverse: true,
        way_back: "the message that was retained before",
        own_probe: true,
        inverse_if: "retain",
        ..PLAIN
    },
    Entry {
        name: "mqtt.heal",
        kind: Kind::Action,
        doc: "Publishes `online` as the retained availability of a Frigate again, after a last will has said `offline`, \
              and only while that Frigate itself answers at `url`.",
        fields: &[BROKER, PREFIX, SERVICE, USER, PASSWORD, TLS, CA_FILE, ON_STOP_FINISH],
        own_probe: true,
        nothing_to_undo: true,
        ..PLAIN
    },
    Entry {
        name: "mqtt",
        kind: Kind::Check,
        doc: "Looks at a broker. With `topic` it holds when a message comes that is as expected. With `available` it holds \
              when `PREFIX/available` is retained as `online` and stays so: `offline` while the service at `url` answers is \
              the work of a last will, and coming and going is two clients that fight over one client id. It is `unknown` \
              when the broker cannot be asked.",
        fields: &[
            BROKER,
            FILTER,
            WANTED,
            CONTAINS,
            JSON,
            RETAINED,
            ABSENT,
            WITHIN,
            AVAILABLE,
            STEADY_FOR,
            CLIENT_ID,
            SERVICE_LOOK,
            USER,
            PASSWORD,
            TLS,
            CA_FILE,
            TIMEOUT,
        ],
        one_of: &["topic", "available"],
        at_most_one: &[&["payload", "contains", "absent"], &["json", "absent"]],
        ..PLAIN
    },
];

pub(super) const BROKER: Field =
    Field { required: true, ..field("broker", FieldType::Broker, "The broker, one of `[brokers]`.") };
const TOPIC: Field =
    Field { required: true, ..field("topic", FieldType::Text, "Where it is published, without wildcards.") };
const PAYLOAD: Field = Field {
    required: true,
    secrets: true,
    ..field(
        "payload",
        FieldType::Text,
        "What is published; an empty one with `retain = true` clears what is retained.",
    )
};
const QOS: Field = Field {
    default: Some("1"),
    ..field("qos", FieldType::UpTo(2), "The quality of service. Whatever it is, the message is read back.")
};
const RETAIN: Field = Field {
    default: Some("false"),
    ..field("retain", FieldType::Bool, "The broker keeps it for whoever subscribes later.")
};
const PREFIX: Field = Field {
    default: Some("\"frigate\""),
    ..field("prefix", FieldType::Text, "Frigate's `mqtt.topic_prefix`.")
};
const SERVICE: Field = Field {
    required: true,
    ..field("url", FieldType::Url, "The service that must answer before anything is said in its name.")
};
const SERVICE_LOOK: Field = field(
    "url",
    FieldType::Url,
    "With `available`: the service itself, which tells a last will that fired from a service that is gone.",
);
const FILTER: Field =
    field("topic", FieldType::Text, "Where a message is waited for; `+` and `#` are wildcards.");
const WANTED: Field =
    Field { secrets: true, ..field("payload", FieldType::Text, "The message is exactly this.") };
const CONTAINS: Field = field("contains", FieldType::Text, "This stands somewhere in the message.");
const JSON: Field = field(
    "json",
    FieldType::Expectations,
    "What is expected in the JSON of the message, by JSON pointer, as in `http`.",
);
const RETAINED: Field = field(
    "retained",
    FieldType::Bool,
    "`true`: only the retained message counts; `false`: only one that comes while it looks; absent: either.",
);
const ABSENT: Field =
    field("absent", FieldType::Bool, "`true`: it holds when nothing is retained at `topic`.");
const WITHIN: Field = Field {
    default: Some("\"10s\""),
    ..field("within", FieldType::Duration, "How long it waits for a message; `timeout` must be longer.")
};
const AVAILABLE: Field =
    field("available", FieldType::Text, "The topic prefix of a Frigate: its availability is watched.");
const STEADY_FOR: Field = Field {
    default: Some("\"10s\""),
    ..field(
        "steady_for",
        FieldType::Duration,
        "How long the availability is watched; `timeout` must be longer.",
    )
};
const CLIENT_ID: Field = field(
    "client_id",
    FieldType::Text,
    "The client id that the service uses, for the message when two clients fight over it.",
);
