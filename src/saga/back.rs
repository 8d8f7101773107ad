//! Going back: compensations in the reverse order of the recorded graph, ties by latest start.

use super::decide::{Decision, Session};
use super::door::{Free, resources_free};
use super::event::{StepEvent, What};
use super::outcome::{Direction, Trace};
use super::settle;
use super::state::{Back, State, Status};
use super::time::Moment;
use super::watch;
use crate::plan::recorded::Compensate;

/// One pass of a rollback.
pub(super) fn back(state: &State, session: &Session, now: &Moment, course: &Back, decision: &mut Decision) {
    let holding = state.paused || state.cancelling;
    let mut busy = 0;
    let mut unsettled = false;
    let mut retries = Vec::new();
    for &place in &state.index.moving {
        let (step, found) = (&state.definition.steps[place], &state.steps[place]);
        match &found.status {
            Status::Running { .. } => unsettled = true,
            Status::Compensating { .. } => busy += 1,
            Status::CompensationRetrying { .. } if found.spent >= step.retry.attempts => {
                let reason = found.trouble.clone().unwrap_or_default();
                decision.append(step, StepEvent::CompensationFailed { reason });
            }
            Status::CompensationRetrying { pause } => match pause.left_ms(&now.at) {
                0 => retries.push(place),
                left if !holding => {
                    busy += 1;
                    decision.wake(left);
                }
                _ => {}
            },
            Status::UndoingCheck { within, .. } => {
                busy += 1;
                watch::undone(session, now, step, within, decision);
            }
            Status::Interrupted(cut) => {
                settle::settle(session, now, (step, found), cut, false, decision);
                match cut.direction {
                    Direction::Forward => unsettled |= !cut.over && cut.attention.is_none(),
                    // One that needs a person does not hold up independent branches.
                    Direction::Compensation => busy += usize::from(cut.attention.is_none()),
                }
            }
            // Nothing of theirs runs: they are undone from where they are.
            Status::AwaitingApproval
            | Status::Retrying { .. }
            | Status::Verifying(_)
            | Status::Soaking(_)
            | Status::Pending
            | Status::Done
            | Status::Satisfied
            | Status::Skipped
            | Status::Failed { .. }
            | Status::Compensated
            | Status::CompensationFailed { .. } => {}
        }
    }
    if state.cancelling {
        let running = state.index.moving.iter().any(|&p| match &state.steps[p].status {
            Status::Running { .. } | Status::Compensating { .. } => true,
            Status::Interrupted(cut) => cut.attention.is_none() && !cut.over,
            Status::Pending
            | Status::AwaitingApproval
            | Status::Retrying { .. }
            | Status::Verifying(_)
            | Status::Soaking(_)
            | Status::Done
            | Status::Satisfied
            | Status::Skipped
            | Status::Failed { .. }
            | Status::CompensationRetrying { .. }
            | Status::UndoingCheck { .. }
            | Status::Compensated
            | Status::CompensationFailed { .. } => false,
        });
        if !running && decision.append.is_empty() {
            decision.append.push(What::Cancelled);
        }
        return;
    }
    // What is in flight settles before the first compensation.
    if holding || unsettled {
        return;
    }
    if state.index.nothing_to_undo() {
        if decision.append.is_empty() {
            decision.append.push(What::RolledBack);
        }
        return;
    }
    let mut ready: Vec<usize> =
        state.index.undoable.iter().copied().filter(|&p| may_begin(state, p)).collect();
    ready.extend(retries);
    ready.sort_by_key(|&place| std::cmp::Reverse((state.steps[place].started, place)));
    let most = usize::try_from(course.parallel).unwrap_or(usize::MAX);
    for place in ready {
        if busy >= most {
            break;
        }
        busy += 1;
        begin(state, session, now, place, decision);
    }
}

/// Whether the compensation of a step, which nothing stands before, has not begun yet and can.
fn may_begin(state: &State, place: usize) -> bool {
    match &state.steps[place].status {
        Status::Pending
        | Status::AwaitingApproval
        | Status::Retrying { .. }
        | Status::Verifying(_)
        | Status::Done
        | Status::Skipped
        | Status::Failed { .. } => true,
        Status::Interrupted(cut) => cut.direction == Direction::Forward && cut.over,
        Status::Running { .. }
        | Status::Soaking(_)
        | Status::Satisfied
        | Status::Compensating { .. }
        | Status::CompensationRetrying { .. }
        | Status::UndoingCheck { .. }
        | Status::Compensated
        | Status::CompensationFailed { .. } => false,
    }
}

fn begin(state: &State, session: &Session, now: &Moment, place: usize, decision: &mut Decision) {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    // It first takes back what was freed.
    match resources_free(state, session, now, (step, found), Direction::Compensation, decision) {
        Free::Yes => {}
        Free::NotYet => return,
        Free::Never(reason) => return decision.append(step, StepEvent::CompensationFailed { reason }),
    }
    let (direction, attempt) = (Direction::Compensation, found.compensations + 1);
    match &step.compensate {
        Compensate::Nothing if step.undone.is_empty() => {
            decision.append(step, StepEvent::Compensated { answers: Vec::new() });
        }
        Compensate::Nothing => {
            decision.append(step, StepEvent::Started { direction, attempt });
            let (outputs, trace) = (serde_json::Map::new(), Trace::default());
            decision.append(step, StepEvent::Acted { direction, attempt, outputs, trace });
        }
        Compensate::Inverse | Compensate::Action(_) => decision.act(step, direction, attempt),
        // A rollback that would cross it is refused before it begins.
        Compensate::Irreversible(_) => {}
    }
}
