//! A cut-off attempt: first it is proved over, then the world says what became of it.

use super::decide::{Ask, Decision, Session, unknown_pause};
use super::event::{How, StepEvent};
use super::has_probe;
use super::outcome::{CutCause, Direction};
use super::state::{Interrupted, StepState};
use super::time::{Moment, backoff_ms};
use crate::plan::recorded::Step;

/// How long is tried to look at what could not be looked at, in milliseconds (DESIGN section 3).
pub(super) const SETTLE_MS: u64 = 300_000;

/// Cut-off attempts in a row after which a step fails instead of being tried again: they do not count as
/// attempts, but what is cut off every time would otherwise be tried for ever.
pub(super) const CUTS_MAX: u32 = 5;

/// Settles a cut-off attempt. `forward`: the run goes forward, so what became of the action matters; going back,
/// it is enough that it is over.
pub(super) fn settle(
    session: &Session,
    now: &Moment,
    (step, found): (&Step, &StepState),
    cut: &Interrupted,
    forward: bool,
    decision: &mut Decision,
) {
    if cut.attention.is_some() {
        return;
    }
    let (direction, attempt) = (cut.direction, cut.attempt);
    if !cut.over {
        let ask = Ask::Settle { step: step.id.clone(), direction, attempt };
        return decision.look(session, ask, unknown_pause);
    }
    let again = |how| StepEvent::Settled {
        direction,
        attempt,
        done: false,
        how,
        outputs: serde_json::Map::new(),
        again_in_ms: pause_ms(step, found, cut, now),
    };
    match direction {
        Direction::Compensation => {
            decision.append(step, again(How::Compensation));
            if found.cuts >= CUTS_MAX {
                decision.append(step, StepEvent::CompensationFailed { reason: too_often(found, cut) });
            }
        }
        Direction::Forward if !forward => {}
        // What is done again may hold from before: a probe says nothing then that running it again would not.
        Direction::Forward if has_probe(step) && !(found.redo && step.idempotent) => {
            decision.look(session, Ask::SettleProbe(step.id.clone()), unknown_pause);
        }
        Direction::Forward if step.idempotent => {
            decision.append(step, again(How::Idempotent));
            if found.cuts >= CUTS_MAX {
                decision.append(step, StepEvent::Failed { reason: too_often(found, cut) });
            }
        }
        Direction::Forward => {
            let reason = format!(
                "attempt {attempt} was cut off and is over, but the step has no probe that could say whether \
                 it took effect, and is not `idempotent`"
            );
            decision.append(step, StepEvent::AttentionNeeded { reason });
        }
    }
}

/// Whether the world cut the attempt off, and not a crash of ours or a person.
pub(super) fn by_the_world(cause: CutCause) -> bool {
    match cause {
        CutCause::Timeout | CutCause::Connection => true,
        CutCause::Crash | CutCause::Stopped => false,
    }
}

/// What the crash of a process or a person cut off goes on at once; what the world cuts off waits in between.
pub(super) fn pause_ms(step: &Step, found: &StepState, cut: &Interrupted, now: &Moment) -> u64 {
    if by_the_world(cut.cause) {
        backoff_ms(step.retry.backoff_ms, step.retry.max_backoff_ms, found.cuts, now.entropy)
    } else {
        0
    }
}

/// Why an attempt that is cut off every time is not tried for ever.
pub(super) fn too_often(found: &StepState, cut: &Interrupted) -> String {
    let cause = match cut.cause {
        CutCause::Crash => "the process that ran it ended",
        CutCause::Timeout => "it took longer than its `timeout`",
        CutCause::Connection => "the connection was lost",
        CutCause::Stopped => "it was stopped",
    };
    format!("cut off {} times in a row, last because: {cause}", found.cuts)
}
