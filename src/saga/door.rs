//! At the door of a step, in this order: needs → `when` → probe → approval → window → exclusive resources →
//! probe again if more than a minute has passed → pre-image → intent.

use std::collections::BTreeMap;

use super::decide::{Ask, Decision, POLL_MS, Session, unknown_pause};
use super::event::StepEvent;
use super::outcome::{Direction, Verdict};
use super::settle::SETTLE_MS;
use super::state::{GateState, Seen, State, Status, StepState};
use super::time::Moment;
use super::{has_probe, takes_pre_image};
use crate::plan::WindowState;
use crate::plan::recorded::Step;

/// How long what was seen at the door may be relied on, in milliseconds.
pub(super) const FRESH_MS: u64 = 60_000;

/// Brings a pending step, whose needs are met, one move closer to its intent.
pub(super) fn door(
    state: &State,
    session: &Session,
    now: &Moment,
    place: usize,
    slots: &mut usize,
    decision: &mut Decision,
) {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    // A look at the door takes a place in flight; one that is under way has it already.
    let mut look = |ask: Ask, decision: &mut Decision| {
        if !session.in_flight.contains(&ask) && *slots > 0 {
            *slots -= 1;
            decision.look(session, ask, unknown_pause);
        }
    };
    if step.when.is_some() {
        match found.when {
            None => return look(Ask::When(step.id.clone()), decision),
            Some(false) => {
                return decision.append(step, StepEvent::Skipped { by: None, note: String::new() });
            }
            Some(true) => {}
        }
    }
    let probing = has_probe(step) && !found.redo;
    if probing {
        match &found.door.probe {
            None => return look(Ask::Probe(step.id.clone()), decision),
            Some(seen) => match seen.answer.verdict {
                Verdict::Holds => {
                    let outputs = seen.answer.outputs.clone();
                    return decision.append(step, StepEvent::Satisfied { outputs });
                }
                Verdict::Unknown => {
                    let since = seen.unknown_since.unwrap_or(seen.at);
                    if now.at.since_ms(&since) >= SETTLE_MS {
                        let reason = format!("the probe could not look: {}", seen.answer.reason);
                        return decision.append(step, StepEvent::Failed { reason });
                    }
                    return look(Ask::Probe(step.id.clone()), decision);
                }
                Verdict::Absent | Verdict::Partial => {}
            },
        }
    }
    if let Some(gate) = &step.gate {
        match &found.door.gate {
            GateState::Shut => return decision.look(session, Ask::Evidence(step.id.clone()), unknown_pause),
            // Legal only while awaiting approval; a pending step never has them.
            GateState::Asked(_) | GateState::Answered(_) => return,
            GateState::Open { request, at } => {
                if let Some(expires) = gate.expires_ms
                    && now.at.since_ms(at) >= expires
                {
                    let why = "it expired before the step could start".to_owned();
                    return decision.append(step, StepEvent::ApprovalVoided { request: request.seq, why });
                }
            }
        }
    }
    if let Some(window) = &step.window
        && let WindowState::Closed { opens_ms } = window.at(now.at.wall_ms)
    {
        let wait = u64::try_from(opens_ms.saturating_sub(now.at.wall_ms)).unwrap_or(0);
        // The wall clock may be set meanwhile: drivers decide again well before a long wait is over.
        return decision.wake(wait.max(1));
    }
    if !resources_free(state, session, now, step, found, &step.takes, decision) {
        return;
    }
    if probing && found.door.probe.as_ref().is_some_and(|seen| now.at.since_ms(&seen.at) > FRESH_MS) {
        return look(Ask::Probe(step.id.clone()), decision);
    }
    let Some(forward) = &step.forward else {
        let begin = if step.soak.is_some() { StepEvent::SoakBegan } else { StepEvent::VerifyBegan };
        return decision.append(step, begin);
    };
    if found.pre_image.is_none() && !found.owned && takes_pre_image(&forward.name) {
        return look(Ask::PreImage(step.id.clone()), decision);
    }
    if *slots > 0 {
        *slots -= 1;
        decision.act(step, Direction::Forward, found.attempts + 1);
    }
}

/// Whether every other owner of these resources has let go and is seen to be gone; looks at what is not known.
pub(super) fn resources_free(
    state: &State,
    session: &Session,
    now: &Moment,
    step: &Step,
    found: &StepState,
    wanted: &BTreeMap<String, String>,
    decision: &mut Decision,
) -> bool {
    let mut free = true;
    for (name, owner) in wanted {
        let holders = state.holders.get(name);
        if holders.is_some_and(|holders| holders.iter().any(|holder| holder != owner)) {
            free = false;
            continue;
        }
        let Some(resource) = state.definition.resources.get(name) else { continue };
        for (other, checks) in resource.gone.iter().filter(|(other, _)| *other != owner) {
            let seen = found.door.gone.get(name).and_then(|by_owner| by_owner.get(other));
            let gone =
                |seen: &Seen| seen.answer.verdict == Verdict::Holds && now.at.since_ms(&seen.at) <= FRESH_MS;
            if !checks.is_empty() && !seen.is_some_and(gone) {
                free = false;
                let (resource, owner) = (name.clone(), other.clone());
                let ask = Ask::Gone { step: step.id.clone(), resource, owner };
                decision.look(session, ask, |_| POLL_MS);
            }
        }
    }
    free
}

/// A step at its gate.
pub(super) fn gate(
    state: &State,
    session: &Session,
    step: &Step,
    found: &StepState,
    decision: &mut Decision,
) {
    match &found.door.gate {
        GateState::Asked(request) => {
            let all_hold = request.evidence.iter().all(|e| e.answer.verdict == Verdict::Holds);
            if state.terms.assume_yes && all_hold && !state.paused && state.index.failed.is_empty() {
                let (by, note) = ("-y".to_owned(), String::new());
                decision.append(step, StepEvent::Approved { request: request.seq, by, note });
            }
        }
        GateState::Answered(_) => decision.look(session, Ask::Evidence(step.id.clone()), unknown_pause),
        GateState::Shut | GateState::Open { .. } => {}
    }
    debug_assert!(matches!(found.status, Status::AwaitingApproval));
}
