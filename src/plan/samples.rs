//! How the facts of a check must behave from look to look: `watch` and `holds` of a check in `verify`.
//!
//! A stored form: it stands among the recorded fields of its check, under the keys of the plan file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::recorded::Operation;

/// The key of a check that says how its facts must behave.
pub const WATCH: &str = "watch";

/// The key of a check that says how many of its last looks must hold.
pub const HOLDS: &str = "holds";

/// Looks that `holds` may span at most: what is remembered of a check stays small.
pub const LOOKS_MAX: u32 = 100;

/// What a fact must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Must {
    /// Be a greater number: the uptime of something that was not restarted.
    Rises,
    /// Be a smaller number.
    Falls,
    /// Be the same value.
    Same,
    /// Be another value.
    Changes,
    /// As a counter: have grown by at most so much. One that was reset has begun again at 0.
    AtMostMore(u32),
    /// As a counter: have grown by at least so much.
    AtLeastMore(u32),
}

/// What a fact is compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The look before.
    #[default]
    Last,
    /// The first look of the step.
    First,
    /// What was seen in the last so many milliseconds.
    Within(u64),
}

/// A rule for one fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What it must do.
    pub must: Must,
    /// Compared with what.
    #[serde(default)]
    pub against: Against,
}

/// `"3 of 5"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// So many must hold, at least 1.
    pub of_them: u32,
    /// Of the last so many looks that could be taken.
    pub looks: u32,
}

/// Everything that a check says of its looks together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    /// By fact.
    pub facts: BTreeMap<String, Rule>,
    /// Of how many looks.
    pub holds: Option<Holds>,
}

impl Samples {
    /// What a recorded check says; nothing for one that judges every look by itself.
    pub fn of(check: &Operation) -> Self {
        let read = |key: &str| check.fields.get(key).cloned();
        Self {
            facts: read(WATCH).and_then(|rules| serde_json::from_value(rules).ok()).unwrap_or_default(),
            holds: read(HOLDS).and_then(|holds| serde_json::from_value(holds).ok()),
        }
    }

    /// Whether every look stands for itself.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.holds.is_none()
    }
}

/// The facts that a check of this name is known to answer with, besides its declared outputs; `None`: not known.
pub fn facts_of(check: &str) -> Option<&'static [&'static str]> {
    match check {
        "command" | "ssh" => Some(&["exit", "stdout"]),
        "frigate" => Some(FRIGATE),
        _ => None,
    }
}

/// The facts of `frigate`, as `check/frigate/judge.rs` gives them.
const FRIGATE: &[&str] = &[
    "version",
    "uptime",
    "last_updated",
    "age",
    "cameras",
    "cameras_bad",
    "cameras_bad_before",
    "process_fps",
    "skipped_ratio",
    "detection_fps",
    "inference_ms",
    "newest_recording",
    "recordings_used_mb",
    "free_percent",
    "decode_percent",
    "face_recognition",
    "faces",
];

/// A value as it is recorded.
pub(super) fn recorded(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
