//! The plan's own keys, as data: one source for the loader, the JSON schema and the manual.
//!
//! The loader reads every table against its [`Group`]: what is not here is an unknown key, and a key's bounds, words
//! and default are those that stand here. Actions and checks have their keys in [`catalog`](super::catalog).

use super::catalog::Kind;
use super::duration;

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// A string.
    Text,
    /// A string that is not blank.
    Words,
    /// The name of a plan or the id of a step: `[a-z0-9][a-z0-9-]*`.
    Name,
    /// `true` or `false`.
    Flag,
    /// `true`, `false`, or a string that is one expression.
    Condition,
    /// An integer between two bounds, both included.
    Integer {
        /// The least.
        least: u32,
        /// The most.
        most: u32,
    },
    /// A port, 1 to 65535, or a string that is one expression.
    Port,
    /// A duration such as `"5m"`.
    Duration,
    /// A share such as `"1%"`.
    Percent,
    /// A time of day such as `"02:00"`.
    TimeOfDay,
    /// Days of the week: `"mon-thu"`, `"mon,wed"`, or an array of such.
    Days,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An array of strings that is not empty.
    Texts,
    /// An array of step ids.
    Ids,
    /// One action or check.
    Operation(Kind),
    /// An array of checks.
    Checks,
    /// An action, or the word `nothing`.
    Compensation,
    /// A table of strings: an owner by resource.
    Claims,
    /// A table of arrays of checks: by owner.
    ChecksByName,
    /// What facts must do from look to look: a word, or a table with these keys, by fact.
    Rules(&'static Group),
    /// Of so many looks at least so many: `"3 of 5"`.
    Looks,
    /// The table of variables.
    Variables,
    /// A table with these keys.
    Table(&'static Group),
    /// A table of such tables, by name.
    Named(&'static Group),
    /// An array of such tables, not empty.
    Tables(&'static Group),
}

/// One key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// It must be there.
    pub required: bool,
    /// What holds when it is absent, as TOML; absent: the sentence says it.
    pub default: Option<&'static str>,
    /// Values as they stand in a plan, in TOML; the first one is what a message suggests.
    pub examples: &'static [&'static str],
    /// One sentence or two for the manual.
    pub doc: &'static str,
}

/// The keys of one table.
#[derive(Debug)]
pub struct Group {
    /// A short name, unique among the groups.
    pub name: &'static str,
    /// One sentence for the manual.
    pub doc: &'static str,
    /// Its keys, in the order of the manual.
    pub keys: &'static [Key],
    /// Exactly one of these keys must be there; empty: no such rule.
    pub one_of: &'static [&'static str],
}

impl Group {
    /// The key with this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The default of a key that takes a duration, in milliseconds.
    pub(super) fn default_ms(&self, name: &str) -> Option<u64> {
        let text = self.key(name)?.default?;
        duration::parse(text.trim_matches('"')).ok()
    }
}

/// Days of the week, as a window names them.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const fn key(name: &'static str, takes: Takes, examples: &'static [&'static str], doc: &'static str) -> Key {
    Key { name, takes, required: false, default: None, examples, doc }
}

const fn required(key: Key) -> Key {
    Key { required: true, ..key }
}

const fn default(default: &'static str, key: Key) -> Key {
    Key { default: Some(default), ..key }
}

const ON_FAILURE: Takes = Takes::OneOf(&["halt", "rollback"]);

/// The file as a whole.
pub static PLAN: Group = Group {
    name: "plan",
    doc: "A plan: where it goes, step by step, and how every step is taken back.",
    one_of: &[],
    keys: &[
        required(key(
            "name",
            Takes::Name,
            &["\"my-plan\""],
            "The plan's name; its runs are called NAME-1, NAME-2 and so on.",
        )),
        key(
            "description",
            Takes::Text,
            &["\"Move the cameras to the new house\""],
            "What it is about, for people.",
        ),
        default(
            "\"halt\"",
            key(
                "on_failure",
                ON_FAILURE,
                &["\"rollback\""],
                "What happens when a step fails: `halt` stops and can be resumed, `rollback` undoes everything at once.",
            ),
        ),
        default(
            "4",
            key("parallelism", Takes::Integer { least: 1, most: 1_000 }, &["2"], "Steps in flight at once."),
        ),
        key(
            "vars",
            Takes::Variables,
            &["{ folder = \"/tmp/x\", site = { required = \"string\" } }"],
            "Variables with their defaults, which give them their type; `{ required = \"string\" }` must be given by \
             `--var` or a `--var-file`.",
        ),
        key(
            "secrets",
            Takes::Named(&SECRET),
            &["{ token = { env = \"TOKEN\" } }"],
            "Secrets by name; they are read when they are used, and only the reference is recorded.",
        ),
        key(
            "hosts",
            Takes::Named(&HOST),
            &["{ old = { address = \"root@old.example\" } }"],
            "Hosts by name, reached with the system's `ssh`.",
        ),
        key(
            "clusters",
            Takes::Named(&CLUSTER),
            &["{ home = { context = \"default\" } }"],
            "Kubernetes clusters by name.",
        ),
        key(
            "brokers",
            Takes::Named(&BROKER),
            &["{ home = { url = \"mqtt://machine.example:1883\" } }"],
            "MQTT brokers by name.",
        ),
        key(
            "resources",
            Takes::Named(&RESOURCE),
            &["{ \"mqtt-client:frigate\" = { owners = [\"old\", \"new\"] } }"],
            "Exclusive resources by name: what two live owners would corrupt.",
        ),
        required(key(
            "step",
            Takes::Tables(&STEP),
            &["[{ id = \"my-step\", verify = [{ check = \"command\", argv = [\"true\"] }] }]"],
            "The steps, each under `[[step]]`.",
        )),
    ],
};

/// A secret.
pub static SECRET: Group = Group {
    name: "secret",
    doc: "Where a secret comes from.",
    one_of: &["env", "file"],
    keys: &[
        key("env", Takes::Words, &["\"MQTT_PASSWORD\""], "The environment variable that holds it."),
        key(
            "file",
            Takes::Words,
            &["\"~/.config/runner/token\""],
            "The file that holds it; refused when others than its owner may read it.",
        ),
    ],
};

/// A host.
pub static HOST: Group = Group {
    name: "host",
    doc: "A host that is reached with the system's `ssh`: its configuration, agent and jump hosts apply.",
    one_of: &[],
    keys: &[
        required(key(
            "address",
            Takes::Words,
            &["\"root@machine.example\""],
            "The destination as for `ssh`: `user@host`, or an alias of its configuration.",
        )),
        key("port", Takes::Port, &["2222"], "The port; absent: what ssh's own configuration says."),
        key(
            "identity_file",
            Takes::Text,
            &["\"~/.ssh/id_ed25519\""],
            "The private key; absent: what ssh's own configuration says.",
        ),
        key(
            "known_hosts",
            Takes::Text,
            &["\"~/.ssh/known_hosts\""],
            "The file of known host keys; absent: what ssh's own configuration says.",
        ),
        key("jump", Takes::Text, &["\"me@gate.example\""], "The host to jump over, as for `ssh -J`."),
        default("false", key("sudo", Takes::Flag, &["true"], "Commands are run with `sudo -n` there.")),
    ],
};

/// A cluster.
pub static CLUSTER: Group = Group {
    name: "cluster",
    doc: "A Kubernetes cluster.",
    one_of: &[],
    keys: &[
        key(
            "context",
            Takes::Text,
            &["\"default\""],
            "The context of the kubeconfig; absent: its current one.",
        ),
        key(
            "kubeconfig",
            Takes::Text,
            &["\"~/.kube/config\""],
            "The kubeconfig; absent: the usual one, and inside of a cluster its account.",
        ),
    ],
};

/// A broker.
pub static BROKER: Group = Group {
    name: "broker",
    doc: "An MQTT broker.",
    one_of: &[],
    keys: &[
        required(key(
            "url",
            Takes::Words,
            &["\"mqtt://machine.example:1883\""],
            "`mqtt://host:port`, or `mqtts://host:port` for TLS.",
        )),
        key("username", Takes::Text, &["\"frigate\""], "The user."),
        key(
            "password",
            Takes::Text,
            &["\"{{ secrets.mqtt_password }}\""],
            "The password, as a reference to a secret.",
        ),
        key(
            "ca",
            Takes::Text,
            &["\"files/ca.pem\""],
            "Certificates (PEM) that are trusted with `mqtts://` instead of those of the system: a file relative to the \
             plan file; its content is recorded.",
        ),
    ],
};

/// An exclusive resource.
pub static RESOURCE: Group = Group {
    name: "resource",
    doc: "What two live owners would corrupt: at no time, forward or back, does it have two.",
    one_of: &[],
    keys: &[
        required(key("owners", Takes::Texts, &["[\"old\", \"new\"]"], "Everybody who can hold it.")),
        key("held_at_start", Takes::Text, &["\"old\""], "Who holds it before the first step."),
        key(
            "gone",
            Takes::ChecksByName,
            &["{ old = [{ check = \"command\", argv = [\"./is-down.sh\"] }] }"],
            "By owner: the checks that must hold before another one may take it.",
        ),
    ],
};

/// A step.
pub static STEP: Group = Group {
    name: "step",
    doc: "A step: it acts (`forward`), only looks (`verify` alone), or watches for a while (`soak`).",
    one_of: &[],
    keys: &[
        required(key("id", Takes::Name, &["\"my-step\""], "The step's id, unique in the plan.")),
        key("summary", Takes::Text, &["\"Stop the old service\""], "One line for people."),
        key(
            "needs",
            Takes::Ids,
            &["[\"other-step\"]", "[]"],
            "The steps that must have ended well before; absent: the step above, `[]`: none.",
        ),
        key(
            "when",
            Takes::Condition,
            &["\"{{ vars.stop_old }}\"", "false"],
            "Whether the step is wanted; evaluated once, when its needs are met. A step that is not wanted is skipped.",
        ),
        key(
            "approve",
            Takes::Words,
            &["\"Stop the old service?\""],
            "The question that a person answers before the step begins.",
        ),
        key(
            "approve_expires",
            Takes::Duration,
            &["\"12h\""],
            "How long an approval holds before the step begins; absent: until its evidence turns.",
        ),
        key(
            "evidence",
            Takes::Checks,
            &["[{ check = \"command\", argv = [\"./ready.sh\"] }]"],
            "What a person is shown and what must still hold when the answer counts; absent: the `verify` checks of \
             the steps in `needs`.",
        ),
        key(
            "window",
            Takes::Table(&WINDOW),
            &["{ days = \"mon-thu\", from = \"02:00\", to = \"05:00\", zone = \"Europe/Berlin\" }"],
            "When the step may begin.",
        ),
        default(
            "\"10m\"",
            key("timeout", Takes::Duration, &["\"5m\""], "How long one attempt of its action may take."),
        ),
        key(
            "retry",
            Takes::Table(&RETRY),
            &["{ attempts = 3, backoff = \"2s\", max_backoff = \"1m\" }"],
            "How often it is tried; absent: once.",
        ),
        key(
            "takes",
            Takes::Claims,
            &["{ \"mqtt-client:frigate\" = \"new\" }"],
            "Resources that it takes for an owner, once every other owner has let go.",
        ),
        key(
            "frees",
            Takes::Claims,
            &["{ \"mqtt-client:frigate\" = \"old\" }"],
            "Resources that an owner lets go by it.",
        ),
        key(
            "on_failure",
            ON_FAILURE,
            &["\"rollback\""],
            "What happens when it fails; absent: what the plan's `on_failure` says.",
        ),
        default(
            "false",
            key(
                "idempotent",
                Takes::Flag,
                &["true"],
                "Cut off in the middle, it may simply run again; else a step without a probe needs a person then.",
            ),
        ),
        key(
            "forward",
            Takes::Operation(Kind::Action),
            &["{ action = \"command\", argv = [\"./stop.sh\"] }"],
            "What it does.",
        ),
        key(
            "probe",
            Takes::Operation(Kind::Check),
            &["{ check = \"command\", argv = [\"./is-stopped.sh\"] }"],
            "Whether its goal already holds: then it does not act, and there is nothing to undo. It settles a cut-off \
             attempt, too.",
        ),
        key(
            "verify",
            Takes::Checks,
            &["[{ check = \"command\", argv = [\"./is-stopped.sh\"] }]"],
            "What must hold after it, looked at every 5 s; of a soak what is sampled.",
        ),
        default(
            "\"1m\"",
            key(
                "verify_within",
                Takes::Duration,
                &["\"2m\""],
                "How long `verify` is looked at until it must hold.",
            ),
        ),
        key(
            "undone",
            Takes::Checks,
            &["[{ check = \"command\", argv = [\"./is-up.sh\"] }]"],
            "What must hold after its compensation, before the next one starts.",
        ),
        default(
            "\"1m\"",
            key(
                "undone_within",
                Takes::Duration,
                &["\"10m\""],
                "How long `undone` is looked at until it must hold.",
            ),
        ),
        key(
            "compensate",
            Takes::Compensation,
            &["{ action = \"command\", argv = [\"./start.sh\"] }", "\"nothing\""],
            "How it is taken back: an action, or `\"nothing\"` when there is nothing to undo; absent: the action's own \
             inverse. Cut off, it runs again, and it follows a step that got only half way: it must end well where nothing is \
             left to undo (`rm -f`, not `rm`).",
        ),
        key(
            "irreversible",
            Takes::Words,
            &["\"the disk is wiped\""],
            "Why it cannot be taken back: no rollback crosses the step.",
        ),
        key(
            "soak",
            Takes::Table(&SOAK),
            &["{ for = \"3d\", every = \"5m\" }"],
            "Watches `verify` for so long before the steps that need it may begin.",
        ),
        key(
            "rollback_ready",
            Takes::Checks,
            &["[{ check = \"command\", argv = [\"./backup-is-there.sh\"] }]"],
            "That the way back still works, looked at while it soaks: once it does not, soak time stands still.",
        ),
    ],
};

/// A window.
pub static WINDOW: Group = Group {
    name: "window",
    doc: "When a step may begin.",
    one_of: &[],
    keys: &[
        required(key(
            "days",
            Takes::Days,
            &["\"mon-thu\"", "\"sat,sun\""],
            "The days on which it opens: single ones, ranges, several of them with commas.",
        )),
        required(key("from", Takes::TimeOfDay, &["\"02:00\""], "When it opens.")),
        required(key(
            "to",
            Takes::TimeOfDay,
            &["\"05:00\""],
            "When it closes; not later than `from`: on the next day.",
        )),
        required(key(
            "zone",
            Takes::Words,
            &["\"Europe/Berlin\"", "\"UTC\""],
            "The time zone, by its IANA name.",
        )),
    ],
};

/// A retry.
pub static RETRY: Group = Group {
    name: "retry",
    doc: "How often a step is tried: the pauses double and are drawn at random below their bound.",
    one_of: &[],
    keys: &[
        default(
            "1",
            key(
                "attempts",
                Takes::Integer { least: 1, most: 1_000 },
                &["3"],
                "Attempts in all, the first one included.",
            ),
        ),
        default("\"2s\"", key("backoff", Takes::Duration, &["\"5s\""], "The bound of the first pause.")),
        default("\"1m\"", key("max_backoff", Takes::Duration, &["\"5m\""], "The bound of every pause.")),
        key(
            "on",
            Takes::OneOf(&["verify"]),
            &["\"verify\""],
            "`verify`: the action is tried again when `verify` never held, too; absent: that fails the step.",
        ),
    ],
};

/// A soak.
pub static SOAK: Group = Group {
    name: "soak",
    doc: "Watches for a while: time between two good samples counts.",
    one_of: &[],
    keys: &[
        required(key("for", Takes::Duration, &["\"3d\""], "How much good time is needed.")),
        required(key("every", Takes::Duration, &["\"5m\""], "How often a sample is taken.")),
        key(
            "max_gap",
            Takes::Duration,
            &["\"15m\""],
            "How far apart two good samples may be for the time between them to count; absent: twice `every`.",
        ),
        default(
            "0",
            key(
                "max_consecutive_failures",
                Takes::Integer { least: 0, most: u32::MAX },
                &["2"],
                "Bad samples in a row that are borne; one more fails the soak.",
            ),
        ),
        key(
            "error_budget",
            Takes::Percent,
            &["\"1%\""],
            "The share of the planned samples that may be bad; absent: no such bound.",
        ),
        key(
            "coverage",
            Takes::Percent,
            &["\"90%\""],
            "The share of the planned samples that must be good to pass; absent: no such bound.",
        ),
        default(
            "\"extend\"",
            key(
                "on_gap",
                Takes::OneOf(&["extend", "count", "fail"]),
                &["\"count\""],
                "What time that nobody watched does: `extend` does not count it, `count` does, `fail` fails the soak.",
            ),
        ),
    ],
};

/// What every check in `verify` may have beside its own keys.
pub static LOOKS: Group = Group {
    name: "looks",
    doc: "How the looks of a check in `verify` are judged together.",
    one_of: &[],
    keys: &[
        key(
            "watch",
            Takes::Rules(&RULE),
            &["{ \"/uptime\" = \"rises\" }", "{ \"/restarts\" = { at_most_more = 2, within = \"1h\" } }"],
            "What its facts must do from look to look: `rises`, `falls`, `same`, `changes`, or a table.",
        ),
        key(
            "holds",
            Takes::Looks,
            &["\"3 of 5\""],
            "Of its last looks that could be taken, how many must hold.",
        ),
    ],
};

/// What a fact must do.
pub static RULE: Group = Group {
    name: "rule",
    doc: "What a fact must do, and what it is compared with.",
    one_of: &["is", "at_most_more", "at_least_more"],
    keys: &[
        key(
            "is",
            Takes::OneOf(&["rises", "falls", "same", "changes"]),
            &["\"rises\""],
            "What it does in one word.",
        ),
        key(
            "at_most_more",
            Takes::Integer { least: 0, most: u32::MAX },
            &["2"],
            "It is a counter and grows by no more than this.",
        ),
        key(
            "at_least_more",
            Takes::Integer { least: 1, most: u32::MAX },
            &["1"],
            "It is a counter and grows by this or more.",
        ),
        key(
            "against",
            Takes::OneOf(&["last", "first"]),
            &["\"first\""],
            "The look it is compared with; absent: the one before.",
        ),
        key(
            "within",
            Takes::Duration,
            &["\"1h\""],
            "The window of time that it is compared over, with `at_most_more` and `at_least_more`.",
        ),
    ],
};

/// Every group, in the order of the manual.
pub static GROUPS: [&Group; 12] =
    [&PLAN, &SECRET, &HOST, &CLUSTER, &BROKER, &RESOURCE, &STEP, &WINDOW, &RETRY, &SOAK, &LOOKS, &RULE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_says_what_it_is() {
        for group in GROUPS {
            assert!(group.doc.ends_with('.'), "{}", group.name);
            assert!(group.one_of.iter().all(|name| group.key(name).is_some()), "{}", group.name);
            for key in group.keys {
                assert!(key.doc.ends_with('.'), "{}.{}", group.name, key.name);
                assert!(!key.examples.is_empty(), "{}.{}", group.name, key.name);
            }
        }
    }
}
