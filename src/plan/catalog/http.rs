//! `http`: a request and what is expected of its answer.

use super::{Entry, Field, FieldType, Kind, ON_STOP_FINISH, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "http",
        kind: Kind::Action,
        doc: "Sends a request and reads the answer. A connection that is refused, 408, 425, 429 and 5xx may be tried \
              again, any other answer that is not expected fails for good, and a request without an answer is cut off. \
              No proxy is used.",
        fields: &[
            URL,
            METHOD,
            HEADERS,
            BODY,
            BODY_JSON,
            STATUS,
            JSON,
            CONTAINS,
            OUTPUTS,
            REDIRECTS,
            CA_FILE,
            ON_STOP_FINISH,
        ],
        at_most_one: &[&["body", "body_json"]],
        outputs_from_probe: true,
        ..PLAIN
    },
    Entry {
        name: "http",
        kind: Kind::Check,
        doc: "Sends a GET or HEAD and compares the answer: `holds` when it is as expected, `absent` when it is another \
              or the connection is refused, `unknown` when there is none (no such name, no way there, no trust, too \
              late). No proxy is used.",
        fields: &[URL, METHOD_LOOK, HEADERS, STATUS, JSON, CONTAINS, OUTPUTS, REDIRECTS, CA_FILE, TIMEOUT],
        ..PLAIN
    },
];

const URL: Field = Field {
    required: true,
    ..field(
        "url",
        FieldType::Url,
        "Where to: `http://…` or `https://…`. It may hold no secret; a header may.",
    )
};
const METHOD: Field = Field {
    default: Some("\"POST\" with a body, else \"GET\""),
    ..field(
        "method",
        FieldType::OneOf(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
        "The method.",
    )
};
const METHOD_LOOK: Field =
    Field { default: Some("\"GET\""), ..field("method", FieldType::OneOf(&["GET", "HEAD"]), "The method.") };
const HEADERS: Field = Field {
    secrets: true,
    ..field("headers", FieldType::Headers, "Header fields in addition to those that every request has.")
};
const BODY: Field = Field { secrets: true, ..field("body", FieldType::Text, "What is sent, as it stands.") };
const BODY_JSON: Field = Field {
    secrets: true,
    ..field("body_json", FieldType::Json, "What is sent, as JSON, with `content-type: application/json`.")
};
const STATUS: Field = Field {
    default: Some("any of 200 to 299"),
    ..field("status", FieldType::Statuses, "The status that is expected, or several of them.")
};
const JSON: Field = field(
    "json",
    FieldType::Expectations,
    "What is expected in the JSON of the answer, by JSON pointer: a value, or a table of `equals`, `not`, `at_least`, \
     `at_most`, `one_of`, `contains`, `matches` and `exists`, which must all hold.",
);
const CONTAINS: Field =
    field("contains", FieldType::Text, "A text that is expected somewhere in the answer.");
const OUTPUTS: Field = field(
    "outputs",
    FieldType::AnswerOutputs,
    "What later steps may use: `\"text\"` is the answer's body without its last line break, `\"/a/b\"` a JSON pointer \
     into it, `\"header:NAME\"` a header field.",
);
const REDIRECTS: Field = Field {
    default: Some("0"),
    ..field(
        "redirects",
        FieldType::UpTo(10),
        "How many redirects of a GET or HEAD are followed. Another server does not get `headers`, and https does not \
         become http.",
    )
};
const CA_FILE: Field = field(
    "ca_file",
    FieldType::File,
    "Certificates (PEM) that are trusted instead of those of the system; the content is recorded.",
);
