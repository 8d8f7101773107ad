//! `command` and `ssh`: programs and scripts, here and on hosts.

use super::{Entry, Field, FieldType, Kind, OnStop, PLAIN, TIMEOUT, field};

pub(super) const ENTRIES: &[Entry] = &[
    Entry {
        name: "command",
        kind: Kind::Action,
        doc: "Runs a program or a script on this machine; exit status 0 is success.",
        fields: &[ARGV, SCRIPT, SCRIPT_FILE, ENV, LOCAL_CWD, STDIN, OUTPUTS, ON_STOP],
        one_of: WHAT_RUNS,
        outputs_from_probe: true,
        on_stop: OnStop::Stop,
        ..PLAIN
    },
    Entry {
        name: "ssh",
        kind: Kind::Action,
        doc: "Runs a program or a script on a host; exit status 0 is success.",
        fields: &[HOST, ARGV, SCRIPT, SCRIPT_FILE, ENV, REMOTE_CWD, STDIN, OUTPUTS, ON_STOP],
        one_of: WHAT_RUNS,
        outputs_from_probe: true,
        on_stop: OnStop::Stop,
        ..PLAIN
    },
    Entry {
        name: "command",
        kind: Kind::Check,
        doc: "Runs a program or a script on this machine: exit status 0 is `holds`, 1 `absent`, 10 `partial`, \
              anything else `unknown`.",
        fields: &[ARGV, SCRIPT, SCRIPT_FILE, ENV, LOCAL_CWD, STDIN, OUTPUTS, ABSENT_ON, TIMEOUT],
        one_of: WHAT_RUNS,
        ..PLAIN
    },
    Entry {
        name: "ssh",
        kind: Kind::Check,
        doc: "Runs a program or a script on a host: exit status 0 is `holds`, 1 `absent`, 10 `partial`, anything \
              else `unknown`.",
        fields: &[HOST, ARGV, SCRIPT, SCRIPT_FILE, ENV, REMOTE_CWD, STDIN, OUTPUTS, ABSENT_ON, TIMEOUT],
        one_of: WHAT_RUNS,
        ..PLAIN
    },
];

const WHAT_RUNS: &[&str] = &["argv", "script", "script_file"];

const ARGV: Field = field(
    "argv",
    FieldType::TextArray,
    "The program and its arguments, word by word; no shell reads them and they are never rewritten.",
);
const SCRIPT: Field = Field {
    shell: true,
    ..field("script", FieldType::Text, "A script for `sh`; it takes its values through `env`.")
};
const SCRIPT_FILE: Field =
    field("script_file", FieldType::File, "A file with a script for `sh`; its content is recorded.");
const ENV: Field = Field {
    secrets: true,
    ..field("env", FieldType::Environment, "Environment variables in addition to the inherited ones.")
};
const LOCAL_CWD: Field =
    field("cwd", FieldType::Folder, "The working folder; absent: the folder of the plan file.");
const REMOTE_CWD: Field =
    field("cwd", FieldType::Text, "The working folder on the host; absent: the home folder of its user.");
const STDIN: Field = Field {
    secrets: true,
    ..field("stdin", FieldType::Text, "What the program reads on its standard input.")
};
const OUTPUTS: Field = field(
    "outputs",
    FieldType::Outputs,
    "What later steps may use: `\"text\"` is the standard output without its last line break, `\"/a/b\"` a JSON \
     pointer into it.",
);
const ON_STOP: Field = Field {
    default: Some("\"stop\""),
    ..field(
        "on_stop",
        FieldType::OneOf(&["finish", "stop"]),
        "What a request to stop does to it in flight: wait until it is finished, or stop it and settle it later.",
    )
};
const HOST: Field = Field { required: true, ..field("host", FieldType::Host, "The host it runs on.") };
const ABSENT_ON: Field = Field {
    default: Some("[]"),
    ..field("absent_on", FieldType::IntegerArray, "Further exit statuses that mean `absent`, 2 to 255.")
};
