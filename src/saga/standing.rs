//! How a run stands, as one value: what commands turn into an exit code and people into a next move.

use super::state::{Course, End, State, Status};
use crate::plan::StepId;

/// How a run stands when nothing of it is in flight. When several apply it is the first of: attention, rolled
/// back, halted or cancelled, waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
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
