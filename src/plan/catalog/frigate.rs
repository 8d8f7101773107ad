//! `frigate` and `frigate.config`: whether a Frigate does its work, and whether a configuration would let it.

use super::{Field, FieldType, field};

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
