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
    let (last, memory) = (tail.last?, tail.memory.clone());
    (tail.good > 0).then_some(StepEvent::SoakSaved { good: tail.good, good_ms: tail.good_ms, last, memory })
}

/// How often it is looked whether the way back works again, in milliseconds, unless samples are taken more often.
const READY_MS: u64 = 60_000;

/// Takes the next sample when it is due; ends the soak when it has passed or failed. While the way back is lost it
/// stands still: nothing is sampled, and it is looked whether it works again.
pub(super) fn soak(session: &Session, now: &Moment, step: &Step, soaking: &Soaking, decision: &mut Decision) {
    let Some(terms) = &step.soak else { return };
    let nothing = Tail::default();
    let tail = session.tails.get(&step.id).unwrap_or(&nothing);
    let lost = soaking.ready_lost.is_some();
    let ended = match soaking.stand(terms, tail) {
        Stand::Passed if !lost => Some(StepEvent::SoakPassed),
        Stand::Failed(reason) => Some(StepEvent::Failed { reason }),
        Stand::Passed | Stand::On => None,
    };
    if let Some(ended) = ended {
        if let Some(save) = saved(tail) {
            decision.append(step, save);
        }
        return decision.append(step, ended);
    }
    if lost {
        let pause = terms.every_ms.min(READY_MS);
        return decision.look(session, Ask::Ready(step.id.clone()), |_| pause);
    }
    let ask = Ask::Sample(step.id.clone());
    if !session.in_flight.contains(&ask) {
        // Samples are begun `every` apart, however long each takes, as long as it takes less than that.
        let begun = session.sampled.get(&step.id).filter(|begun| begun.boot == now.at.boot);
        let from_begin = begun.map(|begun| terms.every_ms.saturating_sub(now.at.since_ms(begun)));
        let due_ms = soaking.due_ms(terms, tail, &now.at);
        let after_ms = from_begin.filter(|left| *left > 0).map_or(due_ms, |left| left.min(due_ms));
        decision.start.push(Start { ask, after_ms });
    }
}
