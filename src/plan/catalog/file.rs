//! `file`: one file, here or on a host.

use super::{Entry, Field, FieldType, Kind, ON_STOP_FINISH, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "file",
        kind: Kind::Action,
        doc: "Writes a file here or on a host, whole or not at all; or, with `absent = true`, removes it. The owner of a \
              file that is replaced is kept. What was there before comes back on the way back.",
        fields: &[HOST, PATH, CONTENT, SOURCE, ABSENT, MODE, PARENTS, SENSITIVE, ON_STOP_FINISH],
        one_of: &["content", "source", "absent"],
        at_most_one: &[&["mode", "absent"], &["parents", "absent"]],
        own_inverse: true,
        way_back: "as it was before, deleted where it was not there",
        own_probe: true,
        ..PLAIN
    },
    Entry {
        name: "file",
        kind: Kind::Check,
        doc: "Looks at a file here or on a host: `holds` when it is there and is as the fields say, `partial` when only \
              its mode is another, `absent` when it is not.",
        fields: &[HOST, PATH, CONTENT, SOURCE, CONTAINS, SHA256, MODE, ABSENT_LOOK, TIMEOUT],
        at_most_one: &[&["content", "source", "contains", "sha256", "absent"], &["mode", "absent"]],
        ..PLAIN
    },
];

const HOST: Field = field("host", FieldType::Host, "The host it is on; absent: this machine.");
const PATH: Field = Field {
    required: true,
    ..field(
        "path",
        FieldType::Path,
        "The file: on a host absolute, here relative to the plan file. Links on the way are followed, a link at its end \
         is refused.",
    )
};
const CONTENT: Field = Field {
    secrets: true,
    ..field("content", FieldType::Text, "What stands in it, to the last line break.")
};
const SOURCE: Field =
    field("source", FieldType::File, "A file beside the plan with its content, which is recorded.");
const ABSENT: Field = field("absent", FieldType::Bool, "`true`: the file shall not be there.");
const ABSENT_LOOK: Field = field("absent", FieldType::Bool, "`true`: it holds when the file is not there.");
const MODE: Field = field(
    "mode",
    FieldType::Mode,
    "Its mode as octal text; absent: the one it has, of a new file `0644`, and `0600` when a field refers to a secret.",
);
const PARENTS: Field = Field {
    default: Some("false"),
    ..field(
        "parents",
        FieldType::Bool,
        "Make the folders above it that are missing, with mode 0755; on the way back those are removed when empty.",
    )
};
const SENSITIVE: Field = Field {
    default: Some("false"),
    ..field(
        "sensitive",
        FieldType::Bool,
        "Keep what was there before sealed. That is done anyway when a field refers to a secret, when the value of a \
         secret stands in it, and when only its owner could read it.",
    )
};
const CONTAINS: Field =
    Field { secrets: true, ..field("contains", FieldType::Text, "A text that stands somewhere in it.") };
const SHA256: Field = field("sha256", FieldType::Sha256, "The SHA-256 of its content.");
