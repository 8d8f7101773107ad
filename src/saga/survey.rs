//! What can be looked at outside a run, and what was seen there: plain data between the driver, which looks, and whoever
//! shows it. Nothing of it is recorded.

use serde::Serialize;

use super::has_probe;
use super::outcome::Answer;
use crate::plan::recorded::{Operation, Step};
use crate::plan::{StepId, catalog};

/// What a check is looked at for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Whether the step's goal holds.
    Probe,
    /// Whether it still is what the step's action left.
    Verify,
    /// Whether what the step did is gone.
    Undone,
    /// Whether the way back works.
    #[serde(rename = "rollback_ready")]
    Ready,
}

impl Purpose {
    /// The key of the plan file that names such checks.
    pub fn word(self) -> &'static str {
        match self {
            Purpose::Probe => "probe",
            Purpose::Verify => "verify",
            Purpose::Undone => "undone",
            Purpose::Ready => "rollback_ready",
        }
    }
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Glance {
    /// The step.
    pub step: StepId,
    /// What for.
    pub purpose: Purpose,
    /// The check; absent: the action's own probe.
    pub check: Option<Operation>,
}

impl Glance {
    /// What says whether a step's goal holds, if anything does.
    pub fn probe(step: &Step) -> Option<Self> {
        has_probe(step).then(|| Self {
            step: step.id.clone(),
            purpose: Purpose::Probe,
            check: step.probe.clone(),
        })
    }

    /// Everything that says whether a finished step still is what it was. What a soak sampled is not among it: it
    /// watched others, and left nothing.
    pub fn goals(step: &Step) -> Vec<Self> {
        let verify: &[Operation] = if step.soak.is_some() { &[] } else { &step.verify };
        Self::probe(step).into_iter().chain(Self::each(step, Purpose::Verify, verify)).collect()
    }

    /// What says whether a compensated step is taken back.
    pub fn undone(step: &Step) -> Vec<Self> {
        Self::each(step, Purpose::Undone, &step.undone).collect()
    }

    /// What says whether the way back works.
    pub fn ready(step: &Step) -> Vec<Self> {
        Self::each(step, Purpose::Ready, &step.rollback_ready).collect()
    }

    fn each(step: &Step, purpose: Purpose, checks: &[Operation]) -> impl Iterator<Item = Self> {
        let step = step.id.clone();
        checks.iter().map(move |check| Self { step: step.clone(), purpose, check: Some(check.clone()) })
    }
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The step.
    pub step: StepId,
    /// What it was looked at for.
    pub purpose: Purpose,
    /// The check in a few words; secrets are never among them.
    pub check: String,
    /// Where: the name of a host of the plan, or `this machine`.
    pub place: String,
    /// What it said; `unknown`: not looked, with the reason.
    pub answer: Answer,
    /// What the step's action would change, as lines of text, where it can say that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub diff: String,
}

/// What stands for the machine that `runner` runs on.
const HERE: &str = "this machine";

/// Where an operation looks or acts: the name of a host, cluster or broker of the plan, or this machine.
pub fn place(operation: &Operation) -> String {
    let named = ["host", "cluster", "broker"].iter().find_map(|key| operation.fields.get(*key));
    named.and_then(serde_json::Value::as_str).unwrap_or(HERE).to_owned()
}

/// What the own inverse of a step's action does, in a few words.
pub fn inverse_described(step: &Step) -> String {
    let name = step.forward.as_ref().map_or("", |forward| forward.name.as_str());
    let words = catalog::action(name).map_or("its own inverse", |entry| entry.way_back);
    format!("{name}: {words}")
}

/// An operation in a few words: its name and its first telling field, templates as they stand, secrets never resolved.
pub fn described(operation: &Operation) -> String {
    let text = |key: &str| {
        operation.fields.get(key).map(|value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        })
    };
    // A system of many parts is told by the part.
    let part = match operation.name.split('.').next() {
        Some("mqtt") => ["topic", "available", "prefix"].iter().find_map(|key| text(key)),
        Some("lxc" | "vm") => text("vmid").zip(text("host")).map(|(vmid, host)| format!("{vmid} on {host}")),
        Some("kubernetes" | "gpu") => {
            ["deployment", "statefulset", "daemonset", "service", "pod", "object", "node"]
                .iter()
                .find_map(|key| text(key))
        }
        _ => None,
    };
    if let Some(part) = part {
        return format!("{}: {part}", operation.name);
    }
    let telling = ["argv", "script", "script_file", "path", "url", "address", "name", "host"];
    let field = telling.iter().find_map(|name| operation.fields.get(*name));
    match field {
        Some(serde_json::Value::Array(words)) => {
            let words: Vec<&str> = words.iter().filter_map(serde_json::Value::as_str).collect();
            format!("{}: {}", operation.name, words.join(" "))
        }
        Some(serde_json::Value::String(text)) => format!("{}: {text}", operation.name),
        _ => operation.name.clone(),
    }
}
