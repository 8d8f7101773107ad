//! A cut-off attempt: first it is proved over, then the world says what became of it.

use super::decide::{Ask, Decision, Session, unknown_pause};
use super::event::{How, StepEvent};
use super::has_probe;
use super::outcome::Direction;
use super::state::Interrupted;
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
    step: &Step,
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
        again_in_ms: 0,
    };
    match direction {
        Direction::Compensation => decision.append(step, again(How::Compensation)),
        Direction::Forward if !forward => {}
        Direction::Forward if has_probe(step) => {
            decision.look(session, Ask::SettleProbe(step.id.clone()), unknown_pause);
        }
        Direction::Forward if step.idempotent => decision.append(step, again(How::Idempotent)),
        Direction::Forward => {
            let reason = format!(
                "attempt {attempt} was cut off and is over, but the step has no probe that could say whether \
                 it took effect, and is not `idempotent`"
            );
            decision.append(step, StepEvent::AttentionNeeded { reason });
        }
    }
}
