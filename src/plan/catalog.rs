//! The shape of every action and check, as data: one source for validation, the JSON schema and the manual.

/// What a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// A string.
    Text,
    /// A boolean, or a template of one.
    Bool,
    /// An integer, or a template of one.
    Integer,
    /// A duration such as `"5m"`.
    Duration,
    /// An array of strings, not empty.
    TextArray,
    /// An array of integers.
    IntegerArray,
    /// A table of strings whose keys are names of environment variables.
    Environment,
    /// A table of outputs: `"text"`, or a JSON pointer such as `"/url"`, by name.
    Outputs,
    /// A file, relative to the plan file; recorded absolute, with its content.
    File,
    /// A folder of this machine, relative to the plan file; recorded absolute, without its content.
    Folder,
    /// The name of a host of the plan.
    Host,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl FieldType {
    /// The type as a reader would say it, without an article.
    pub fn name(self) -> &'static str {
        match self {
            FieldType::Text | FieldType::File | FieldType::Folder | FieldType::Host | FieldType::OneOf(_) => {
                "string"
            }
            FieldType::Bool => "boolean",
            FieldType::Integer => "integer",
            FieldType::Duration => "duration",
            FieldType::TextArray => "array of strings",
            FieldType::IntegerArray => "array of integers",
            FieldType::Environment => "table of strings",
            FieldType::Outputs => "table of outputs",
        }
    }
}

/// One field of an action or check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The key.
    pub name: &'static str,
    /// What it takes.
    pub kind: FieldType,
    /// It must be there.
    pub required: bool,
    /// What holds when it is absent, as TOML.
    pub default: Option<&'static str>,
    /// It may hold `{{ secrets.… }}`.
    pub secrets: bool,
    /// A shell reads it: a value may enter only through `shell_quote`.
    pub shell: bool,
    /// One sentence for the manual.
    pub doc: &'static str,
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It changes something.
    Action,
    /// It only looks.
    Check,
}

impl Kind {
    /// The word of the plan file: `action` or `check`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Action => "action",
            Kind::Check => "check",
        }
    }
}

/// What happens to an action in flight when the process is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// It is waited for.
    Finish,
    /// It is stopped and settled later.
    Stop,
}

/// One action or check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The name in the plan file.
    pub name: &'static str,
    /// Action or check.
    pub kind: Kind,
    /// One sentence for the manual.
    pub doc: &'static str,
    /// Its fields, in the order of the manual.
    pub fields: &'static [Field],
    /// Exactly one of these fields must be there; empty: no such rule.
    pub one_of: &'static [&'static str],
    /// It can undo itself from its pre-image.
    pub own_inverse: bool,
    /// It can say whether its goal already holds.
    pub own_probe: bool,
    /// It deletes user data, so its step needs `approve`.
    pub deletes_data: bool,
    /// When a step was satisfied, its outputs come from the probe alone.
    pub outputs_from_probe: bool,
    /// What a stop does unless the plan says otherwise; of no meaning for a check.
    pub on_stop: OnStop,
}

impl Entry {
    /// The field with this key.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// The action with this name.
pub fn action(name: &str) -> Option<&'static Entry> {
    find(Kind::Action, name)
}

/// The check with this name.
pub fn check(name: &str) -> Option<&'static Entry> {
    find(Kind::Check, name)
}

/// The action or check with this name.
pub fn find(kind: Kind, name: &str) -> Option<&'static Entry> {
    entries(kind).find(|entry| entry.name == name)
}

/// All actions, or all checks, in the order of the manual.
pub fn entries(kind: Kind) -> impl Iterator<Item = &'static Entry> {
    ENTRIES.iter().filter(move |entry| entry.kind == kind)
}

/// Every action and check of this build.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "command",
        kind: Kind::Action,
        doc: "Runs a program or a script on this machine; exit status 0 is success.",
        fields: &[ARGV, SCRIPT, SCRIPT_FILE, ENV, LOCAL_CWD, STDIN, OUTPUTS, ON_STOP],
        one_of: WHAT_RUNS,
        own_inverse: false,
        own_probe: false,
        deletes_data: false,
        outputs_from_probe: true,
        on_stop: OnStop::Stop,
    },
    Entry {
        name: "ssh",
        kind: Kind::Action,
        doc: "Runs a program or a script on a host; exit status 0 is success.",
        fields: &[HOST, ARGV, SCRIPT, SCRIPT_FILE, ENV, REMOTE_CWD, STDIN, OUTPUTS, ON_STOP],
        one_of: WHAT_RUNS,
        own_inverse: false,
        own_probe: false,
        deletes_data: false,
        outputs_from_probe: true,
        on_stop: OnStop::Stop,
    },
    Entry {
        name: "command",
        kind: Kind::Check,
        doc: "Runs a program or a script on this machine: exit status 0 is `holds`, 1 `absent`, 10 `partial`, \
              anything else `unknown`.",
        fields: &[ARGV, SCRIPT, SCRIPT_FILE, ENV, LOCAL_CWD, STDIN, OUTPUTS, ABSENT_ON, TIMEOUT],
        one_of: WHAT_RUNS,
        own_inverse: false,
        own_probe: false,
        deletes_data: false,
        outputs_from_probe: false,
        on_stop: OnStop::Stop,
    },
    Entry {
        name: "ssh",
        kind: Kind::Check,
        doc: "Runs a program or a script on a host: exit status 0 is `holds`, 1 `absent`, 10 `partial`, anything \
              else `unknown`.",
        fields: &[HOST, ARGV, SCRIPT, SCRIPT_FILE, ENV, REMOTE_CWD, STDIN, OUTPUTS, ABSENT_ON, TIMEOUT],
        one_of: WHAT_RUNS,
        own_inverse: false,
        own_probe: false,
        deletes_data: false,
        outputs_from_probe: false,
        on_stop: OnStop::Stop,
    },
];

const WHAT_RUNS: &[&str] = &["argv", "script", "script_file"];

const fn field(name: &'static str, kind: FieldType, doc: &'static str) -> Field {
    Field { name, kind, required: false, default: None, secrets: false, shell: false, doc }
}

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
const TIMEOUT: Field = Field {
    default: Some("\"30s\""),
    ..field("timeout", FieldType::Duration, "How long it may take before the answer is `unknown`.")
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_names_a_field_that_is_there() {
        for entry in ENTRIES {
            assert!(entry.one_of.iter().all(|name| entry.field(name).is_some()), "{}", entry.name);
            assert!(entry.doc.ends_with('.') && entry.fields.iter().all(|field| field.doc.ends_with('.')));
            let mut names: Vec<_> = entry.fields.iter().map(|field| field.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), entry.fields.len(), "{} names a field twice", entry.name);
        }
    }
}
