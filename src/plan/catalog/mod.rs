//! The shape of every action and check, as data: one source for validation, the JSON schema and the manual. Types and
//! look-ups are here; the entries are in a file per family, named like the files in `action/` and `check/`.

mod command;
mod file;
mod frigate;
mod homeassistant;
mod http;
mod kubernetes;
mod mqtt;
mod network;
mod proxmox;

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
    /// An array of strings, which may be empty: then it asks for nothing.
    TextSet,
    /// An array of integers.
    IntegerArray,
    /// A table of strings whose keys are names of environment variables.
    Environment,
    /// A table of outputs: `"text"`, or a JSON pointer such as `"/url"`, by name.
    Outputs,
    /// A file, relative to the plan file; recorded absolute, with its content.
    File,
    /// Kubernetes manifests: a file or a folder, relative to the plan file; recorded absolute, with the objects in it.
    Manifests,
    /// A folder of this machine, relative to the plan file; recorded absolute, without its content.
    Folder,
    /// The name of a host of the plan.
    Host,
    /// The name of a cluster of the plan.
    Cluster,
    /// The name of a broker of the plan.
    Broker,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A path: on a step with `host` absolute there; else relative to the plan file and recorded absolute. Nothing is
    /// recorded but the path.
    Path,
    /// A file mode as octal text such as `"0644"`.
    Mode,
    /// A SHA-256 as 64 hexadecimal digits.
    Sha256,
    /// An `http://` or `https://` address, without user and password.
    Url,
    /// A table of strings whose keys are names of HTTP header fields.
    Headers,
    /// Any value, sent as JSON.
    Json,
    /// An HTTP status or an array of them.
    Statuses,
    /// A table of comparisons by JSON pointer, see [`Comparison`](crate::plan::expect::Comparison).
    Expectations,
    /// A table of outputs out of an HTTP answer: `"text"`, a JSON pointer, or `"header:NAME"`, by name.
    AnswerOutputs,
    /// `host:port`.
    Address,
    /// The IP address of a name server, with or without `:port`.
    Server,
    /// An integer of `0` to this, or a template of one.
    UpTo(u32),
}

impl FieldType {
    /// The type as a reader would say it, without an article.
    pub fn name(self) -> &'static str {
        match self {
            FieldType::Text
            | FieldType::File
            | FieldType::Folder
            | FieldType::Manifests
            | FieldType::Host
            | FieldType::Cluster
            | FieldType::Broker
            | FieldType::OneOf(_)
            | FieldType::Path
            | FieldType::Mode
            | FieldType::Sha256
            | FieldType::Url
            | FieldType::Address
            | FieldType::Server => "string",
            FieldType::Bool => "boolean",
            FieldType::Integer | FieldType::UpTo(_) => "integer",
            FieldType::Duration => "duration",
            FieldType::TextArray | FieldType::TextSet => "array of strings",
            FieldType::IntegerArray => "array of integers",
            FieldType::Environment | FieldType::Headers => "table of strings",
            FieldType::Outputs | FieldType::AnswerOutputs => "table of outputs",
            FieldType::Json => "value",
            FieldType::Statuses => "integer or array of integers",
            FieldType::Expectations => "table of comparisons",
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
    /// A look ahead can do without it while its value is not known yet: what an earlier step will put out.
    pub comes_later: bool,
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
    /// Of each of these lists at most one field may be there.
    pub at_most_one: &'static [&'static [&'static str]],
    /// It can undo itself from its pre-image.
    pub own_inverse: bool,
    /// What its own inverse does, in a few words; empty where there is none.
    pub way_back: &'static str,
    /// It leaves nothing to undo: a step need not say how it is taken back.
    pub nothing_to_undo: bool,
    /// Its own inverse is there only where this field is `true`; empty: always.
    pub inverse_if: &'static str,
    /// Outputs that it always has, beside those that a plan declares.
    pub outputs: &'static [&'static str],
    /// It can say whether its goal already holds.
    pub own_probe: bool,
    /// It deletes user data, so its step needs `approve`.
    pub deletes_data: bool,
    /// The field by which a step says that user data may be deleted; with it the step needs `approve`.
    pub data_field: Option<&'static str>,
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
    ENTRIES.iter().copied().flatten().filter(move |entry| entry.kind == kind)
}

/// Every action and check of this build, family by family.
pub const ENTRIES: &[&[Entry]] = &[
    command::ENTRIES,
    file::ENTRIES,
    frigate::ENTRIES,
    homeassistant::ENTRIES,
    http::ENTRIES,
    kubernetes::ENTRIES,
    mqtt::ENTRIES,
    network::ENTRIES,
    proxmox::ENTRIES,
];

/// What an entry is unless it says otherwise.
const PLAIN: Entry = Entry {
    name: "",
    kind: Kind::Check,
    doc: "",
    fields: &[],
    one_of: &[],
    at_most_one: &[],
    own_inverse: false,
    way_back: "",
    nothing_to_undo: false,
    inverse_if: "",
    outputs: &[],
    own_probe: false,
    deletes_data: false,
    data_field: None,
    outputs_from_probe: false,
    on_stop: OnStop::Finish,
};

const fn field(name: &'static str, kind: FieldType, doc: &'static str) -> Field {
    Field {
        name,
        kind,
        required: false,
        default: None,
        secrets: false,
        shell: false,
        comes_later: false,
        doc,
    }
}

/// How long a look may take.
const TIMEOUT: Field = Field {
    default: Some("\"30s\""),
    ..field("timeout", FieldType::Duration, "How long it may take before the answer is `unknown`.")
};
/// What a stop does to an action that waits for its own end.
const ON_STOP_FINISH: Field = Field {
    default: Some("\"finish\""),
    ..field(
        "on_stop",
        FieldType::OneOf(&["finish", "stop"]),
        "What a request to stop does to it in flight: wait until it is finished, or stop it and settle it later.",
    )
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_names_a_field_that_is_there() {
        for entry in ENTRIES.iter().copied().flatten() {
            let named = entry.at_most_one.iter().copied().flatten();
            assert!(named.into_iter().all(|name| entry.field(name).is_some()), "{}", entry.name);
            assert!(entry.one_of.iter().all(|name| entry.field(name).is_some()), "{}", entry.name);
            assert!(entry.inverse_if.is_empty() || entry.field(entry.inverse_if).is_some(), "{}", entry.name);
            assert_eq!(entry.own_inverse, !entry.way_back.is_empty(), "{}", entry.name);
            assert!(entry.doc.ends_with('.') && entry.fields.iter().all(|field| field.doc.ends_with('.')));
            let mut names: Vec<_> = entry.fields.iter().map(|field| field.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), entry.fields.len(), "{} names a field twice", entry.name);
        }
    }
}
