//! The folded state of a run. Only [`fold`](super::fold()) changes it, live and on replay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::{Evidence, Outputs, Terms};
use super::index::Index;
use super::outcome::{Answer, CutCause, Direction};
use super::soak::Soaking;
use super::time::{Stamp, Wait};
use crate::plan::recorded::{Compensate, Definition, Step};
use crate::plan::{RunId, StepId};

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its id.
    pub run: RunId,
    /// The plan as it is recorded now.
    pub definition: Arc<Definition>,
    /// Who opened it.
    pub by: String,
    /// When it was opened.
    pub opened: Stamp,
    /// The last event's sequence number.
    pub seq: u64,
    /// The last event's time.
    pub last: Stamp,
    /// Which way it goes.
    pub course: Course,
    /// How it ended, if it did.
    pub end: Option<End>,
    /// The present process goes as far as this step and what that needs, and no further.
    #[serde(default)]
    pub until: Option<StepId>,
    /// The sequence number of the event with which the present process took it on.
    #[serde(default)]
    pub resumed: u64,
    /// A person paused it.
    pub paused: bool,
    /// A person cancelled it, and something in flight still settles.
    pub cancelling: bool,
    /// Under which terms the present process works on it.
    pub terms: Terms,
    /// The fencing token of the process that took it on last.
    pub token: u64,
    /// The steps, in the order of the definition.
    pub steps: Vec<StepState>,
    /// Who holds each exclusive resource.
    pub holders: BTreeMap<String, BTreeSet<String>>,
    /// What is derived from the rest.
    #[serde(skip)]
    pub(super) index: Index,
}

/// Which way a run goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Towards the goal.
    Forward,
    /// Undoing.
    Back(Back),
    /// A rollback to a step has ended; `apply` goes forward again.
    Resting,
}

/// A rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// Undo what came after this step; absent: everything.
    pub to: Option<StepId>,
    /// Compensations in flight at once.
    pub parallel: u32,
    /// The failed step that led to it.
    pub failed: Option<StepId>,
    /// Go forward when it is over (an unfinished rollback to a step that `apply` finishes).
    pub then_forward: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Every step ended well.
    Complete,
    /// Closed by a person; nothing was undone.
    Cancelled,
    /// Everything was undone.
    RolledBack {
        /// The failed step that led to it; absent: a person asked.
        failed: Option<StepId>,
    },
}

/// Most steps of a long run have most of it still before them, or behind them: what is empty is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepState {
    /// Where it is.
    pub status: Status,
    /// `when`, once it was evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<bool>,
    /// An attempt of this step started in this run: what it did is ours to undo.
    #[serde(default, skip_serializing_if = "is_default")]
    pub owned: bool,
    /// Attempts of the action that ever started; numbers are never reused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub attempts: u32,
    /// Attempts of the compensation that ever started.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compensations: u32,
    /// Failed attempts in the present budget.
    #[serde(default, skip_serializing_if = "is_default")]
    pub spent: u32,
    /// Attempts in a row that were cut off under the present budget.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cuts: u32,
    /// Run it again without looking first (`--redo`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub redo: bool,
    /// What was there before the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_image: Option<Value>,
    /// What later steps may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Map<String, Value>>,
    /// The sequence number of the latest start, for the order of undoing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub started: u64,
    /// When the present attempt or the last one started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Stamp>,
    /// When the step came to rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Stamp>,
    /// What was seen at the door.
    #[serde(default, skip_serializing_if = "is_default")]
    pub door: Door,
    /// The last thing that went wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What was seen at the door.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Door {
    /// The probe's last answer.
    pub probe: Option<Seen>,
    /// The gate.
    pub gate: GateState,
    /// By resource and owner: whether the owner was seen to have let go.
    pub gone: BTreeMap<String, BTreeMap<String, Seen>>,
    /// By resource: the other run that it waits for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub elsewhere: BTreeMap<String, Elsewhere>,
    /// What `-y` approved became void before the gate opened, since the run was taken on: from then on only a person opens it,
    /// or the same question would be asked and answered for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wavered: bool,
}

/// Another run that holds a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The run.
    pub run: RunId,
    /// The owner that it holds it for.
    pub owner: String,
}

/// An answer and when it was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The answer; of several checks the worst one.
    pub answer: Answer,
    /// When it was last looked at.
    pub at: Stamp,
    /// Since when it could not be looked at, if so.
    pub unknown_since: Option<Stamp>,
}

/// A gate at the door.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateState {
    /// Nobody was asked yet.
    #[default]
    Shut,
    /// A person is asked.
    Asked(Request),
    /// A person said yes; the evidence is to be looked at once more.
    Answered(Request),
    /// Open since then.
    Open {
        /// The request that was answered.
        request: Request,
        /// When it was approved.
        at: Stamp,
    },
}

/// A request for approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The sequence number of its event.
    pub seq: u64,
    /// When it was made.
    pub at: Stamp,
    /// The question.
    pub question: String,
    /// What was seen then.
    pub evidence: Vec<Evidence>,
    /// The yes that it was answered with.
    #[serde(default)]
    pub said: Option<Said>,
}

/// A person's yes to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Who.
    pub by: String,
    /// When: an approval that expires does so from here on.
    pub at: Stamp,
    /// Why.
    #[serde(default)]
    pub note: String,
}

/// Where a step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not begun, or to be begun again.
    Pending,
    /// A person is asked.
    AwaitingApproval,
    /// An attempt runs.
    Running {
        /// Which one.
        attempt: u32,
    },
    /// The next attempt follows after a pause.
    Retrying {
        /// The pause.
        pause: Wait,
    },
    /// `verify` is looked at until it holds.
    Verifying(Verifying),
    /// It watches.
    Soaking(Box<Soaking>),
    /// It ended well and is ours.
    Done,
    /// Its goal held before this run touched it.
    Satisfied,
    /// It was left out.
    Skipped,
    /// It failed for good in this budget.
    Failed {
        /// Why.
        reason: String,
    },
    /// An attempt was cut off.
    Interrupted(Interrupted),
    /// A compensation runs.
    Compensating {
        /// Which attempt.
        attempt: u32,
    },
    /// The next attempt of the compensation follows after a pause.
    CompensationRetrying {
        /// The pause.
        pause: Wait,
    },
    /// `undone` is looked at until it holds.
    UndoingCheck {
        /// How long it is looked at.
        within: Wait,
        /// What was seen last.
        last: Option<Vec<Answer>>,
    },
    /// Taken back.
    Compensated,
    /// It could not be taken back.
    CompensationFailed {
        /// Why.
        reason: String,
    },
}

/// A step whose `verify` is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verifying {
    /// The goal held before: it becomes `satisfied`, else `done`.
    pub satisfied: bool,
    /// How long it is looked at.
    pub within: Wait,
    /// What was seen last.
    pub last: Option<Vec<Answer>>,
}

/// A step with a cut-off attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interrupted {
    /// Action or compensation.
    pub direction: Direction,
    /// Which attempt.
    pub attempt: u32,
    /// What cut it off.
    pub cause: CutCause,
    /// How long is tried to settle it.
    pub within: Wait,
    /// It is proved over.
    pub over: bool,
    /// Only a person can say how it goes on, for this reason.
    pub attention: Option<String>,
}

impl StepState {
    /// A step that nothing has happened to.
    pub(super) fn fresh() -> Self {
        Self {
            status: Status::Pending,
            when: None,
            owned: false,
            attempts: 0,
            compensations: 0,
            spent: 0,
            cuts: 0,
            redo: false,
            pre_image: None,
            outputs: None,
            started: 0,
            started_at: None,
            ended_at: None,
            door: Door::default(),
            trouble: None,
        }
    }

    /// Whether a person has to say how it goes on.
    pub fn needs_attention(&self) -> Option<&str> {
        match &self.status {
            Status::Interrupted(cut) => cut.attention.as_deref(),
            Status::CompensationFailed { reason } => Some(reason),
            Status::Pending
            | Status::AwaitingApproval
            | Status::Running { .. }
            | Status::Retrying { .. }
            | Status::Verifying(_)
            | Status::Soaking(_)
            | Status::Done
            | Status::Satisfied
            | Status::Skipped
            | Status::Failed { .. }
            | Status::Compensating { .. }
            | Status::CompensationRetrying { .. }
            | Status::UndoingCheck { .. }
            | Status::Compensated => None,
        }
    }

    /// Whether a rollback has something to do here: an effect of ours that is not taken back.
    pub fn is_ours(&self) -> bool {
        self.owned && !matches!(self.status, Status::Compensated)
    }
}

impl Status {
    /// Whether something is done in the step now, or waited for.
    pub fn is_moving(&self) -> bool {
        match self {
            Status::AwaitingApproval
            | Status::Running { .. }
            | Status::Retrying { .. }
            | Status::Verifying(_)
            | Status::Soaking(_)
            | Status::Interrupted(_)
            | Status::Compensating { .. }
            | Status::CompensationRetrying { .. }
            | Status::UndoingCheck { .. } => true,
            Status::Pending
            | Status::Done
            | Status::Satisfied
            | Status::Skipped
            | Status::Failed { .. }
            | Status::Compensated
            | Status::CompensationFailed { .. } => false,
        }
    }

    /// The word the manual uses.
    pub fn word(&self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::AwaitingApproval => "awaiting_approval",
            Status::Running { .. } | Status::Retrying { .. } => "running",
            Status::Verifying(_) => "verifying",
            Status::Soaking(_) => "soaking",
            Status::Done => "done",
            Status::Satisfied => "satisfied",
            Status::Skipped => "skipped",
            Status::Failed { .. } => "failed",
            Status::Interrupted(_) => "interrupted",
            Status::Compensating { .. } | Status::CompensationRetrying { .. } => "compensating",
            Status::UndoingCheck { .. } => "undoing_check",
            Status::Compensated => "compensated",
            Status::CompensationFailed { .. } => "compensation_failed",
        }
    }

    /// Whether the step has a result that stands: it does not run again by itself.
    pub fn is_finished(&self) -> bool {
        matches!(self, Status::Done | Status::Satisfied)
    }

    /// Whether steps that need this one may start.
    pub fn ended_well(&self) -> bool {
        matches!(self, Status::Done | Status::Satisfied | Status::Skipped)
    }
}

impl State {
    /// The place of a step in [`State::steps`] and in the definition.
    pub fn place(&self, id: &StepId) -> Option<usize> {
        self.index.place(id)
    }

    /// A step's definition and state.
    pub fn step(&self, id: &StepId) -> Option<(&Step, &StepState)> {
        let place = self.place(id)?;
        Some((&self.definition.steps[place], &self.steps[place]))
    }

    /// The outputs of every step that has some.
    pub fn outputs(&self) -> Outputs {
        let with = self.definition.steps.iter().zip(&self.steps);
        with.filter_map(|(step, state)| Some((step.id.clone(), state.outputs.clone()?))).collect()
    }

    /// The steps that a rollback would have to cross and cannot, with their reasons.
    ///
    /// An irreversible step counts as crossed from its first intent on.
    pub fn irreversible(&self, to: Option<&StepId>) -> Vec<(StepId, String)> {
        let after = self.index.after(to);
        let steps = self.definition.steps.iter().zip(&self.steps).enumerate();
        steps
            .filter(|(place, (_, state))| after.contains(*place) && state.is_ours())
            .filter_map(|(_, (step, _))| match &step.compensate {
                Compensate::Irreversible(why) => Some((step.id.clone(), why.clone())),
                Compensate::Inverse | Compensate::Nothing | Compensate::Action(_) => None,
            })
            .collect()
    }

    /// The steps that a rollback would undo, the first to be undone first.
    pub fn to_undo(&self, to: Option<&StepId>) -> Vec<StepId> {
        let after = self.index.after(to);
        let mut blockers = self.index.blockers(self, &after);
        let mut ready: Vec<usize> = (0..self.steps.len()).filter(|&p| blockers[p] == Some(0)).collect();
        let mut order = Vec::new();
        while let Some(best) = (0..ready.len()).max_by_key(|&i| (self.steps[ready[i]].started, ready[i])) {
            let place = ready.swap_remove(best);
            order.push(self.definition.steps[place].id.clone());
            self.index.clear(self, &after, &mut blockers, place, &mut ready);
        }
        order
    }

    /// Reads what is derived anew: after the state was read back from a checkpoint.
    pub fn reindexed(mut self) -> Self {
        self.index = Index::of(&self);
        self
    }
}
