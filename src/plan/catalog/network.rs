//! `tcp` and `dns`: whether something listens, and what a name resolves to.

use super::{Entry, Field, FieldType, Kind, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "tcp",
        kind: Kind::Check,
        doc: "Connects from this machine: `holds` when somebody listens, `absent` when the connection is refused, \
              `unknown` when there is no answer.",
        fields: &[ADDRESS, TIMEOUT],
        ..PLAIN
    },
    Entry {
        name: "dns",
        kind: Kind::Check,
        doc: "Asks a name server: `holds` when the name has such records, and those that are asked for; `absent` when it \
              has not; `unknown` when the server does not say. `/etc/hosts` and search domains play no part.",
        fields: &[NAME, TYPE, ALL, ANY, ABSENT, SERVER, TIMEOUT],
        at_most_one: &[&["all", "any", "absent"]],
        ..PLAIN
    },
];

const ADDRESS: Field =
    Field { required: true, ..field("address", FieldType::Address, "Where to: `host:port`, `[::1]:port`.") };
const NAME: Field = Field {
    required: true,
    ..field("name", FieldType::Text, "The whole name, for example `nas.home.arpa`.")
};
const TYPE: Field = Field {
    default: Some("\"A\""),
    ..field("type", FieldType::OneOf(&["A", "AAAA", "CNAME", "TXT"]), "Which records.")
};
const ALL: Field = field("all", FieldType::TextArray, "Every one of these is among the records.");
const ANY: Field = field("any", FieldType::TextArray, "At least one of these is among the records.");
const ABSENT: Field = field("absent", FieldType::Bool, "`true`: it holds when the name has no such record.");
const SERVER: Field = Field {
    default: Some("those of `/etc/resolv.conf`"),
    ..field(
        "server",
        FieldType::Server,
        "The name server that is asked: an IP address, with or without `:port`.",
    )
};
