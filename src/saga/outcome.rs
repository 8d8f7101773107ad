//! What the world answers: verdicts of checks, outcomes of actions, and how a cut-off attempt was settled.
//!
//! Plain data between whoever touches the world and the core, which decides on it without reading any text.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::plan::{RunId, StepId};

/// Which way an attempt works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The step's action.
    Forward,
    /// The step's compensation.
    Compensation,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Direction::Forward => "forward",
            Direction::Compensation => "compensation",
        })
    }
}

/// Names one attempt in the whole journal: what a slot file and a remote wrapper remember.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
    /// Its action or its compensation.
    pub direction: Direction,
    /// Counted from 1 in each direction, never reused.
    pub attempt: u32,
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.run, self.step, self.direction, self.attempt)
    }
}

/// What a check answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is so.
    Holds,
    /// It is not so.
    Absent,
    /// It is half so.
    Partial,
    /// Could not look. Never leads to acting, never counts as success.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Holds => "holds",
            Verdict::Absent => "absent",
            Verdict::Partial => "partial",
            Verdict::Unknown => "unknown",
        })
    }
}

/// A verdict with what was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen, in one line for people: free of secrets and of terminal escapes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What was seen, for programs.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
    /// Outputs that the check declares: what a step that was `satisfied` offers to later ones.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
}

impl Answer {
    /// An answer with nothing but a verdict and a reason.
    pub fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into(), facts: Map::new(), outputs: Map::new() }
    }
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// It may: a refused connection before anything was sent, a busy lock, an exit status of a command.
    Transient,
    /// It will not: a program that does not exist, a host key that changed.
    Permanent,
}

/// What an attempt left to read. Free of secrets and of terminal escapes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Exit status of the action's own process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last lines of what it wrote, both streams.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tail: String,
    /// The attempt's log file, relative to the state folder; absent when it wrote nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// How many bytes it wrote in all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
    /// Descendants that were still running when the action's own process had ended; they were left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_running: Vec<LeftRunning>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A process that outlived the action that started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRunning {
    /// Process id on the machine where the action ran.
    pub pid: u32,
    /// Its short name.
    pub name: String,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did what it says.
    Acted {
        /// What later steps may use.
        outputs: Map<String, Value>,
        /// What it left to read.
        trace: Trace,
    },
    /// It ended, and not well.
    Failed {
        /// Whether trying again may help.
        class: FailureClass,
        /// What happened, in one line for people.
        message: String,
        /// What it left to read.
        trace: Trace,
    },
    /// Nobody knows: it timed out, was stopped, or the connection was lost.
    Cut {
        /// What cut it off.
        cause: CutCause,
        /// What happened, in one line for people.
        message: String,
        /// What it left to read.
        trace: Trace,
    },
}

/// What cut an attempt off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutCause {
    /// The process that ran it ended without a word.
    Crash,
    /// It took longer than the step's `timeout`.
    Timeout,
    /// The connection to where it ran was lost.
    Connection,
    /// A person stopped `runner`.
    Stopped,
}

/// What could be learned of a cut-off attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settlement {
    /// It is proved over; how it ended is not known. The probe says the rest.
    Over,
    /// It is over, and its end was recorded where it ran.
    Ended(Outcome),
    /// It cannot be proved over.
    Unproved {
        /// Why not, and where to look, in one line for people.
        reason: String,
    },
}
