//! How a run stands, as one value: what commands turn into an exit code and people into a next move.

use serde::{Deserialize, Serialize};

use super::state::{Course, End, GateState, Request, State, Status};
use crate::plan::StepId;

/// How a run stands when nothing of it is in flight. When several apply it is the first of: attention, rolled
/// back, halted or cancelled, waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Every step ended well.
    Complete,
    /// A person has to say how it goes on: a compensation failed, or a cut-off step cannot be settled.
    NeedsAttention {
        /// The steps.
        steps: Vec<StepId>,
    },
    /// Everything was undone.
    RolledBack {
        /// The failed step that led to it; absent: a person asked.
        failed: Option<StepId>,
    },
    /// Steps failed; the run can be resumed.
    Halted {
        /// The steps.
        steps: Vec<StepId>,
    },
    /// Closed by a person; nothing was undone.
    Cancelled,
    /// A rollback to a step has ended; `apply` goes forward again.
    Resting,
    /// Steps are to come, or are on their way.
    Open,
}

/// How a run stands.
pub fn standing(state: &State) -> Standing {
    let ids = |which: &dyn Fn(&super::state::StepState) -> bool| -> Vec<StepId> {
        let steps = state.definition.steps.iter().zip(&state.steps);
        steps.filter(|(_, found)| which(found)).map(|(step, _)| step.id.clone()).collect()
    };
    if !matches!(state.end, Some(End::Complete | End::RolledBack { .. })) {
        let steps = ids(&|found| found.needs_attention().is_some());
        if !steps.is_empty() {
            return Standing::NeedsAttention { steps };
        }
    }
    match &state.end {
        Some(End::Complete) => return Standing::Complete,
        Some(End::RolledBack { failed }) => return Standing::RolledBack { failed: failed.clone() },
        Some(End::Cancelled) => return Standing::Cancelled,
        None => {}
    }
    if matches!(state.course, Course::Forward) {
        let steps = ids(&|found| matches!(found.status, Status::Failed { .. }));
        if !steps.is_empty() {
            return Standing::Halted { steps };
        }
    }
    if matches!(state.course, Course::Resting) { Standing::Resting } else { Standing::Open }
}

/// Something that only a person can say, and that brings the run on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question<'a> {
    /// The step.
    pub step: &'a StepId,
    /// The request that is to be answered; absent: the way back of a soak no longer works, and the question is
    /// whether to go on without it.
    pub request: Option<&'a Request>,
}

/// What people are asked now, in the order of the plan: gates, and soaks that stand still because the way back no
/// longer works. Nothing in a run that is over, goes back, has failed, or is being cancelled.
pub fn questions(state: &State) -> Vec<Question<'_>> {
    let forward = state.course == Course::Forward && state.index.failed.is_empty();
    if state.end.is_some() || state.cancelling || !forward {
        return Vec::new();
    }
    let steps = state.definition.steps.iter().zip(&state.steps).enumerate();
    let wanted = steps.filter(|(place, _)| state.index.wanted(*place));
    wanted
        .filter_map(|(_, (step, found))| match (&found.status, &found.door.gate) {
            (Status::AwaitingApproval, GateState::Asked(request)) => {
                Some(Question { step: &step.id, request: Some(request) })
            }
            (Status::Soaking(soaking), _) if soaking.ready_lost.is_some() => {
                Some(Question { step: &step.id, request: None })
            }
            _ => None,
        })
        .collect()
}

/// The step that the process was to go as far as, once that and everything it needs has ended well.
pub fn reached(state: &State) -> Option<&StepId> {
    let until = state.until.as_ref().filter(|_| state.end.is_none() && state.course == Course::Forward)?;
    let mut steps = (0..state.steps.len()).filter(|&place| state.index.wanted(place));
    (state.place(until).is_some() && steps.all(|place| state.steps[place].status.ended_well()))
        .then_some(until)
}
