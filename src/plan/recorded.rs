//! The recorded form of a plan: what a run keeps for ever, apart from the TOML schema.
//!
//! A [`Definition`] is complete: with it, the run's outputs and the recorded files, every action, compensation
//! and check can be rendered again long after the plan file is gone (P4). Strings may still hold templates
//! (`{{ … }}`); they are rendered when used, because outputs and secrets are known only then. Secrets are
//! present as references alone (P7).
//!
//! This is a stored format: a field may be added with a default, never removed or given another meaning, and
//! a change that an older binary would misread raises [`DEFINITION_VERSION`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::id::{PlanName, StepId};

/// The version of this form that this binary writes. It reads this one and every older one.
pub const DEFINITION_VERSION: u32 = 1;

/// A whole plan as it was when it was taken into a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The version of this form, see [`DEFINITION_VERSION`].
    pub version: u32,
    /// The plan's name.
    pub name: PlanName,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The absolute path of the plan file: what makes two plans of one name different plans.
    pub path: String,
    /// The folder of the plan file, absolute: where local commands run unless they name a `cwd`.
    pub folder: String,
    /// What a failed step leads to unless it says otherwise.
    pub on_failure: OnFailure,
    /// Steps in flight at once, at least 1.
    pub parallelism: u32,
    /// The variables with their final values.
    #[serde(default)]
    pub vars: BTreeMap<String, Value>,
    /// Those of them that were given when the run was applied, so that a resumed run has them again.
    #[serde(default)]
    pub given: BTreeMap<String, Value>,
    /// Where each secret comes from; never its value.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretRef>,
    /// Machines reached over ssh.
    #[serde(default)]
    pub hosts: BTreeMap<String, Host>,
    /// Kubernetes clusters.
    #[serde(default)]
    pub clusters: BTreeMap<String, Cluster>,
    /// MQTT brokers.
    #[serde(default)]
    pub brokers: BTreeMap<String, Broker>,
    /// What two live owners would corrupt.
    #[serde(default)]
    pub resources: BTreeMap<String, Resource>,
    /// The steps in the order of the file, with every `needs` resolved.
    pub steps: Vec<Step>,
    /// The contents of every file that a path-typed field names, by the absolute path as it stands in the field.
    #[serde(default)]
    pub files: BTreeMap<String, FileRef>,
}

impl Definition {
    /// The step with this id.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.steps.iter().find(|step| &step.id == id)
    }
}

/// Names a body kept beside the journal by its content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileRef {
    /// SHA-256 of the content, lower-case hex.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// What a failed step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Stop and leave everything as it is, resumable.
    Halt,
    /// Compensate at once.
    Rollback,
}

/// Where a secret comes from. Resolved when used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// An environment variable of the process that resolves it.
    Env(String),
    /// A file, `~` for the home folder; refused when its group or the world may read it.
    File(String),
}

/// A machine reached with the system's ssh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// `[user@]host`, as ssh takes it; a template.
    pub address: String,
    /// TCP port; absent: what ssh's configuration says.
    #[serde(default)]
    pub port: Option<Value>,
    /// Path of a private key.
    #[serde(default)]
    pub identity_file: Option<String>,
    /// Path of a known-hosts file that is used instead of the user's.
    #[serde(default)]
    pub known_hosts: Option<String>,
    /// A jump host, as `ssh -J` takes it.
    #[serde(default)]
    pub jump: Option<String>,
    /// Run everything through `sudo -n`.
    #[serde(default)]
    pub sudo: bool,
}

/// A Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// The kubeconfig's context.
    #[serde(default)]
    pub context: Option<String>,
    /// Path of a kubeconfig.
    #[serde(default)]
    pub kubeconfig: Option<String>,
}

/// An MQTT broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Broker {
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub url: String,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// Password, a template over `secrets`.
    #[serde(default)]
    pub password: Option<String>,
    /// Absolute path of the certificates (PEM) that are trusted instead of the system's; the content is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// The plan's places with every template rendered: what the fields `host`, `cluster` and `broker` name. A broker's
/// password is in clear here, so this is never stored or shown.
#[derive(Clone, Default, PartialEq)]
pub struct Places {
    /// Machines reached over ssh, by name.
    pub hosts: BTreeMap<String, Host>,
    /// Kubernetes clusters, by name.
    pub clusters: BTreeMap<String, Cluster>,
    /// MQTT brokers, by name.
    pub brokers: BTreeMap<String, Broker>,
}

impl fmt::Debug for Places {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let brokers: Vec<&String> = self.brokers.keys().collect();
        formatter
            .debug_struct("Places")
            .field("hosts", &self.hosts)
            .field("clusters", &self.clusters)
            .field("brokers", &brokers)
            .finish()
    }
}

/// Something that only one owner may have at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Everybody who can hold it.
    pub owners: Vec<String>,
    /// Who holds it when the run begins.
    #[serde(default)]
    pub held_at_start: Option<String>,
    /// By owner: the checks that prove that it has let go.
    #[serde(default)]
    pub gone: BTreeMap<String, Vec<Operation>>,
}

/// One call of an action or a check: its name and its fields, templates included.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// The name of the action or check, for example `ssh`.
    pub name: String,
    /// The other keys of the table, as they stand in the plan; path-typed ones absolute.
    #[serde(default)]
    pub fields: serde_json::Map<String, Value>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique within the plan.
    pub id: StepId,
    /// One line for people; a template.
    #[serde(default)]
    pub summary: String,
    /// The steps that must have ended well before this one starts.
    pub needs: Vec<StepId>,
    /// A boolean or a template of one; evaluated once, when the needs are met.
    #[serde(default)]
    pub when: Option<Value>,
    /// A gate that a person opens.
    #[serde(default)]
    pub gate: Option<Gate>,
    /// When the step may start.
    #[serde(default)]
    pub window: Option<Window>,
    /// How long one attempt of the action may take, in milliseconds.
    pub timeout_ms: u64,
    /// How often it is tried.
    pub retry: Retry,
    /// Resources this step's new owner takes, by resource name.
    #[serde(default)]
    pub takes: BTreeMap<String, String>,
    /// Resources an owner lets go of through this step, by resource name.
    #[serde(default)]
    pub frees: BTreeMap<String, String>,
    /// What a failure of this step leads to (the plan's, unless the step has its own).
    pub on_failure: OnFailure,
    /// The action may be run again after a cut without looking.
    #[serde(default)]
    pub idempotent: bool,
    /// The action; absent on a step that only verifies or soaks.
    #[serde(default)]
    pub forward: Option<Operation>,
    /// The check that says whether the goal already holds; absent: the action's own, if it has one.
    #[serde(default)]
    pub probe: Option<Operation>,
    /// The checks that must hold after the action.
    #[serde(default)]
    pub verify: Vec<Operation>,
    /// How long `verify` is polled, in milliseconds.
    pub verify_within_ms: u64,
    /// The checks that must hold after the compensation.
    #[serde(default)]
    pub undone: Vec<Operation>,
    /// How long `undone` is polled, in milliseconds.
    pub undone_within_ms: u64,
    /// How the step is taken back.
    pub compensate: Compensate,
    /// The step watches for a while instead of acting.
    #[serde(default)]
    pub soak: Option<Soak>,
    /// While soaking: the checks that say that the way back still works.
    #[serde(default)]
    pub rollback_ready: Vec<Operation>,
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compensate {
    /// The action's own inverse, from the pre-image.
    Inverse,
    /// There is nothing to undo.
    Nothing,
    /// This action.
    Action(Operation),
    /// It cannot be undone, for this reason; rollback refuses to cross it.
    Irreversible(String),
}

/// A gate that a person opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The question; a template.
    pub question: String,
    /// How long an approval stands, in milliseconds.
    #[serde(default)]
    pub expires_ms: Option<u64>,
    /// What is looked at before asking; absent: see [`Step::verify`] of the steps in `needs`.
    #[serde(default)]
    pub evidence: Option<Vec<Operation>>,
}

/// A weekly window of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Days on which it opens: 0 is Monday, 6 is Sunday; sorted, not empty.
    pub days: Vec<u8>,
    /// Minutes after midnight when it opens.
    pub from_minute: u16,
    /// Minutes after midnight when it closes; at or before `from_minute`: on the next day.
    pub to_minute: u16,
    /// An IANA time zone name.
    pub zone: String,
}

/// How often an action is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in total, at least 1.
    pub attempts: u32,
    /// The first pause, in milliseconds; doubled each time, with full jitter.
    pub backoff_ms: u64,
    /// The longest pause, in milliseconds.
    pub max_backoff_ms: u64,
    /// A `verify` that never holds runs the action again (`on = "verify"`).
    #[serde(default)]
    pub on_verify: bool,
}

/// A soak: a watch over days.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    /// How much good time is needed, in milliseconds.
    pub for_ms: u64,
    /// The time between samples, in milliseconds.
    pub every_ms: u64,
    /// Two good samples at most this far apart have good time between them, in milliseconds.
    pub max_gap_ms: u64,
    /// Bad samples in a row that are still borne.
    #[serde(default)]
    pub max_consecutive_failures: u32,
    /// The share of the planned samples that may be bad, 0 to 1.
    #[serde(default)]
    pub error_budget: Option<f64>,
    /// The share of the planned samples that must be good, 0 to 1.
    #[serde(default)]
    pub coverage: Option<f64>,
    /// What unwatched time means.
    pub on_gap: OnGap,
}

/// What unwatched time means for a soak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// It does not count: the soak takes longer.
    Extend,
    /// It counts as if it had been watched.
    Count,
    /// It fails the soak.
    Fail,
}
