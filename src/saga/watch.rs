//! Steps that look and wait: `verify` after an action, `undone` after a compensation, a soak for days.

use super::decide::{Ask, Decision, POLL_MS, Session, Start};
use super::event::StepEvent;
use super::soak::{Soaking, Stand, Tail};
use super::state::Verifying;
use super::time::{Moment, Wait};
use crate::plan::recorded::Step;

/// The pause before the next poll: the usual one, but the last look is at the end of the time.
fn poll(within: &Wait, now: &Moment) -> u64 {
    POLL_MS.min(within.left_ms(&now.at))
}

/// Looks at `verify` until it holds. That it did not in time is said when the last look answers.
pub(super) fn verify(
    session: &Session,
    now: &Moment,
    step: &Step,
    verifying: &Verifying,
    decision: &mut Decision,
) {
    if step.verify.is_empty() {
        return decision.append(step, StepEvent::Verified { answers: Vec::new() });
    }
    decision.look(session, Ask::Verify(step.id.clone()), |_| poll(&verifying.within, now));
}

/// Looks at `undone` until it holds.
pub(super) fn undone(session: &Session, now: &Moment, step: &Step, within: &Wait, decision: &mut Decision) {
    if step.undone.is_empty() {
        return decision.append(step, StepEvent::Compensated { answers: Vec::new() });
    }
    decision.look(session, Ask::Undone(step.id.clone()), |_| poll(within, now));
}

/// The saving of a tail, if there is something to save.
pub(super) fn saved(tail: &Tail) -> Option<StepEvent> {
    let last = tail.last?;
    (tail.good > 0).then_some(StepEvent::SoakSaved { good: tail.good, good_ms: tail.good_ms, last })
}

/// Takes the next sample when it is due; ends the soak when it has passed or failed.
pub(super) fn soak(session: &Session, now: &Moment, step: &Step, soaking: &Soaking, decision: &mut Decision) {
    let Some(terms) = &step.soak else { return };
    let nothing = Tail::default();
    let tail = session.tails.get(&step.id).unwrap_or(&nothing);
    match soaking.stand(terms, tail) {
        Stand::Passed => {
            if let Some(save) = saved(tail) {
                decision.append(step, save);
            }
            return decision.append(step, StepEvent::SoakPassed);
        }
        Stand::Failed(reason) => {
            if let Some(save) = saved(tail) {
                decision.append(step, save);
            }
            return decision.append(step, StepEvent::Failed { reason });
        }
        Stand::On => {}
    }
    let lost = soaking.ready_lost.is_some();
    let ask = if lost { Ask::Ready(step.id.clone()) } else { Ask::Sample(step.id.clone()) };
    if session.in_flight.contains(&ask) {
        return;
    }
    let after_ms = if lost {
        let tries = session.tries.get(&ask).copied().unwrap_or(0);
        if tries == 0 { 0 } else { terms.every_ms.min(60_000) }
    } else {
        soaking.due_ms(terms, tail, &now.at)
    };
    decision.start.push(Start { ask, after_ms });
}
