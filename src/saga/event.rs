//! Events: facts in the past tense, the only truth about a run.
//!
//! A stored format, written as JSON. Readers tolerate unknown fields; a field may be added with a default; a
//! new kind of event raises [`EVENT_VERSION`], so that an older binary refuses by name instead of guessing.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::memory::Memory;
use super::outcome::{Answer, CutCause, Direction, FailureClass, Trace};
use super::time::Stamp;
use crate::plan::recorded::Definition;
use crate::plan::{RunId, StepId};

/// The version of events that this binary writes. It reads this one and every older one.
pub const EVENT_VERSION: u32 = 3;

/// One fact about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the run, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded. Never earlier, by the wall clock, than the event before.
    pub at: Stamp,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The run began with this definition.
    RunOpened {
        /// The run.
        run: RunId,
        /// The plan as it was.
        definition: Arc<Definition>,
        /// Who asked for it.
        by: String,
    },
    /// A process took the run on. Every attempt without an end is cut off from here.
    RunResumed {
        /// The holder's fencing token.
        token: u64,
        /// Who asked for it.
        by: String,
        /// Under which terms.
        terms: Terms,
    },
    /// The plan file had changed; the run goes on with this definition.
    PlanAmended {
        /// The whole definition from here on, finished steps that are gone from the file included.
        definition: Arc<Definition>,
        /// What changed, step by step.
        changes: Vec<Change>,
        /// Who asked for it.
        by: String,
    },
    /// Until the run is taken on again it goes forward to this step and what that needs, and no further
    /// (`--until`). Since version 2.
    UntilSet {
        /// The step.
        step: StepId,
        /// Who asked for it.
        by: String,
    },
    /// Nothing new starts until the run is unpaused.
    Paused {
        /// Who asked for it.
        by: String,
    },
    /// The pause is over.
    Unpaused {
        /// Who asked for it.
        by: String,
    },
    /// Nothing new starts; what is in flight settles; then the run is closed.
    CancelRequested {
        /// Who asked for it.
        by: String,
    },
    /// The run is closed and nothing was undone.
    Cancelled,
    /// From here on the run only goes back.
    RollbackRequested {
        /// Undo what came after this step and leave the run open; absent: undo everything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<StepId>,
        /// Compensations in flight at once.
        parallel: u32,
        /// The failed step that led to it; absent: a person asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<StepId>,
        /// Who asked for it.
        by: String,
    },
    /// Everything that was to be undone is undone.
    RolledBack,
    /// Every step has ended well.
    Completed,
    /// Something about one step.
    Step {
        /// The step.
        step: StepId,
        /// What happened to it.
        is: StepEvent,
    },
}

/// By whom a gate was opened that `-y` opened.
pub(super) const ASSUMED: &str = "-y";

/// Under which terms a process works on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Go forward. False: only settle and go back.
    pub forward: bool,
    /// Failed steps are tried again with a new budget of attempts.
    pub fresh_budget: bool,
    /// Gates whose evidence all holds open by themselves (`-y`).
    #[serde(default)]
    pub assume_yes: bool,
}

/// What changed in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The step; absent: the plan around the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepId>,
    /// A unified diff, free of secrets.
    pub diff: String,
    /// Whether approvals that rest on this step are void.
    #[serde(default)]
    pub matters: bool,
    /// How a change of a finished step was taken.
    #[serde(default, skip_serializing_if = "Taken::is_as_edited")]
    pub taken: Taken,
}

/// How an edit of a step is taken into its run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// As it stands in the file: the step is not finished, or the edit does not touch what its result rests on.
    #[default]
    AsEdited,
    /// The finished step keeps its result (`--keep`).
    Kept,
    /// The finished step runs again (`--redo`).
    Redone,
    /// The finished step has another compensation from here on: who amended the plan has read this diff and approved
    /// it (`--amend`).
    Compensation,
}

impl Taken {
    fn is_as_edited(&self) -> bool {
        *self == Taken::AsEdited
    }
}

/// What happened to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEvent {
    /// `when` was evaluated, once.
    Decided {
        /// Its value; false: the step is skipped.
        when: bool,
    },
    /// The probe was looked at, at the door.
    Probed {
        /// What it said.
        answer: Answer,
    },
    /// The goal held before this run touched it.
    Satisfied {
        /// What later steps may use.
        outputs: Map<String, Value>,
    },
    /// A person is asked.
    ApprovalRequested {
        /// The question, rendered.
        question: String,
        /// What was seen when the gate opened, frozen.
        evidence: Vec<Evidence>,
    },
    /// A person said yes; the evidence is looked at once more.
    Approved {
        /// The request that is answered: its event's sequence number.
        request: u64,
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// The evidence still held: the gate is open.
    GateOpened {
        /// The request.
        request: u64,
        /// What was seen.
        evidence: Vec<Evidence>,
    },
    /// The request no longer stands; a new one follows.
    ApprovalVoided {
        /// The request.
        request: u64,
        /// Why.
        why: String,
    },
    /// A person said no: the step fails.
    Rejected {
        /// The request.
        request: u64,
        /// Who.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// Looked whether another owner has let go of a resource, and saw something new.
    GoneLooked {
        /// The resource.
        resource: String,
        /// The other owner.
        owner: String,
        /// What was seen.
        answers: Vec<Answer>,
    },
    /// The step waits for a resource that another run holds.
    HeldElsewhere {
        /// The resource.
        resource: String,
        /// The other run.
        by_run: RunId,
        /// The owner that it holds it for.
        owner: String,
    },
    /// What was there before the first attempt.
    PreImageTaken {
        /// As the action needs it to go back; sealed where it holds secrets.
        pre_image: Value,
    },
    /// Intent: the attempt is about to run.
    Started {
        /// Action or compensation.
        direction: Direction,
        /// Counted from 1 in each direction, never reused.
        attempt: u32,
    },
    /// The action ended well.
    Acted {
        /// Action or compensation.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
        /// What later steps may use.
        outputs: Map<String, Value>,
        /// What it left to read.
        trace: Trace,
    },
    /// The action ended, and not well.
    AttemptFailed {
        /// Action or compensation.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
        /// Whether trying again may help.
        class: FailureClass,
        /// What happened.
        message: String,
        /// What it left to read.
        trace: Trace,
        /// The pause before the next attempt; absent: there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        again_in_ms: Option<u64>,
    },
    /// Nobody knows how the attempt ended.
    Cut {
        /// Action or compensation.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
        /// What cut it off.
        cause: CutCause,
        /// What happened.
        message: String,
        /// What it left to read.
        trace: Trace,
    },
    /// The cut-off attempt is proved over.
    ProvedOver {
        /// Action or compensation.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
    },
    /// What became of the cut-off attempt is known.
    Settled {
        /// Action or compensation.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
        /// The goal was reached: on to `verifying`. Else the next attempt follows.
        done: bool,
        /// How it is known.
        how: How,
        /// Outputs, when it is done.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        outputs: Map<String, Value>,
        /// The pause before the next attempt, when it is not done.
        #[serde(default)]
        again_in_ms: u64,
    },
    /// Only a person can say how it goes on.
    AttentionNeeded {
        /// Why.
        reason: String,
    },
    /// A verify-only step began to look.
    VerifyBegan,
    /// `verify` did not hold, and differently from the last time.
    VerifyLooked {
        /// What was seen, check by check.
        answers: Vec<Answer>,
    },
    /// `verify` holds: the step is done, or satisfied.
    Verified {
        /// What was seen, check by check.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        answers: Vec<Answer>,
    },
    /// The step failed for good in this budget.
    Failed {
        /// Why.
        reason: String,
    },
    /// The step was left out.
    Skipped {
        /// Who decided it; absent: `when`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// Why.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        note: String,
    },
    /// A finished step runs again, without a look at its probe first (`--redo`). It keeps its pre-image; approvals
    /// that rest on it are void, and a soak that depends on it begins anew. Since version 2.
    Redone {
        /// Who asked for it.
        by: String,
    },
    /// The soak began.
    SoakBegan,
    /// Good samples were saved.
    SoakSaved {
        /// How many since the last save.
        good: u64,
        /// Good time they add, in milliseconds.
        good_ms: u64,
        /// When the last of them was taken.
        last: Stamp,
        /// What the samples remember for those that follow; absent: as before.
        #[serde(default, skip_serializing_if = "Memory::is_empty")]
        memory: Memory,
    },
    /// A sample was bad or inconclusive; or it was good, and ended a gap that `on_gap = "fail"` does not bear.
    SoakSampled {
        /// `absent` and `partial` are bad, `unknown` is inconclusive.
        answers: Vec<Answer>,
        /// What the samples remember for those that follow; absent: as before.
        #[serde(default, skip_serializing_if = "Memory::is_empty")]
        memory: Memory,
    },
    /// The way back no longer works: soak time stands still.
    ReadyLost {
        /// What was seen.
        answers: Vec<Answer>,
    },
    /// The way back works again, or a person goes on without it.
    ReadyRegained {
        /// The person who goes on without it; absent: it works again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// The soak passed.
    SoakPassed,
    /// `undone` did not hold, and differently from the last time.
    UndoneLooked {
        /// What was seen, check by check.
        answers: Vec<Answer>,
    },
    /// The step is taken back.
    Compensated {
        /// What `undone` saw, check by check.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        answers: Vec<Answer>,
    },
    /// The step could not be taken back.
    CompensationFailed {
        /// Why.
        reason: String,
    },
    /// A person said what became of an attempt that nobody else could settle.
    Resolved {
        /// It was done; else it was not.
        done: bool,
        /// Outputs, when it was done.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        outputs: Map<String, Value>,
        /// Who.
        by: String,
    },
}

/// How the fate of a cut-off attempt is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its end was recorded where it ran; the event that follows says how.
    Recorded,
    /// The probe looked.
    Probe(Answer),
    /// The step is declared idempotent: it is run again.
    Idempotent,
    /// It is a compensation: run again, always.
    Compensation,
}

/// A check that was looked at for an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The check in the plan's words, secrets masked.
    pub check: String,
    /// What it said.
    pub answer: Answer,
}

impl What {
    /// The step that this is about.
    pub fn step(&self) -> Option<&StepId> {
        match self {
            What::Step { step, .. } => Some(step),
            What::RunOpened { .. }
            | What::RunResumed { .. }
            | What::PlanAmended { .. }
            | What::UntilSet { .. }
            | What::Paused { .. }
            | What::Unpaused { .. }
            | What::CancelRequested { .. }
            | What::Cancelled
            | What::RollbackRequested { .. }
            | What::RolledBack
            | What::Completed => None,
        }
    }
}

/// Outputs of steps, by step.
pub type Outputs = BTreeMap<StepId, Map<String, Value>>;
