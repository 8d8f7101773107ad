//! At the door of a step, in this order: needs → `when` → probe → approval → window → exclusive resources →
//! probe again if more than a minute has passed → pre-image → intent.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Ask, Decision, POLL_MS, Session, unknown_pause};
use super::event::{ASSUMED, StepEvent};
use super::outcome::{Direction, Verdict};
use super::settle::SETTLE_MS;
use super::state::{Elsewhere, GateState, Request, Seen, State, Status, StepState};
use super::time::{Moment, Stamp};
use super::{has_probe, takes_pre_image};
use crate::plan::WindowState;
use crate::plan::recorded::{Compensate, Step};

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
    let mut look_after = |ask: Ask, decision: &mut Decision, pause: fn(u32) -> u64| {
        if !session.in_flight.contains(&ask) && *slots > 0 {
            *slots -= 1;
            decision.look(session, ask, pause);
        }
    };
    let mut look = |ask: Ask, decision: &mut Decision| look_after(ask, decision, unknown_pause);
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
                    // It is in flight while it is verified.
                    if *slots > 0 {
                        *slots -= 1;
                        let outputs = seen.answer.outputs.clone();
                        decision.append(step, StepEvent::Satisfied { outputs });
                    }
                    return;
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
                let since = request.said.as_ref().map_or(at, |said| &said.at);
                if let Some(expires) = gate.expires_ms
                    && now.at.since_ms(since) >= expires
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
    match resources_free(state, session, now, (step, found), Direction::Forward, decision) {
        Free::Yes => {}
        Free::NotYet => return,
        Free::Never(reason) => return decision.append(step, StepEvent::Failed { reason }),
    }
    if probing && found.door.probe.as_ref().is_some_and(|seen| now.at.since_ms(&seen.at) > FRESH_MS) {
        return look_after(Ask::Probe(step.id.clone()), decision, |_| 0);
    }
    let Some(forward) = &step.forward else {
        if step.soak.is_some() {
            return decision.append(step, StepEvent::SoakBegan);
        }
        if *slots > 0 {
            *slots -= 1;
            decision.append(step, StepEvent::VerifyBegan);
        }
        return;
    };
    // What is irreversible is never brought back, and may be so because nothing could be kept of it.
    let comes_back = !matches!(step.compensate, Compensate::Irreversible(_));
    if found.pre_image.is_none() && !found.owned && comes_back && takes_pre_image(&forward.name) {
        return look(Ask::PreImage(step.id.clone()), decision);
    }
    if *slots > 0 {
        *slots -= 1;
        decision.act(step, Direction::Forward, found.attempts + 1);
    }
}

/// Whether a step may have the resources it needs.
pub(super) enum Free {
    /// Every other owner has let go and is seen to be gone.
    Yes,
    /// Not now.
    NotYet,
    /// Another owner holds one, nothing in the run is left that would make it let go, and no check can see
    /// whether it has.
    Never(String),
}

/// Whether no other run holds what this direction needs, and every other owner of it has let go and is seen to be
/// gone; looks at what is not known.
pub(super) fn resources_free(
    state: &State,
    session: &Session,
    now: &Moment,
    (step, found): (&Step, &StepState),
    direction: Direction,
    decision: &mut Decision,
) -> Free {
    let wanted = match direction {
        Direction::Forward => &step.takes,
        Direction::Compensation => &step.frees,
    };
    // Two that start in one pass would not see each other: the next pass does.
    if !wanted.is_empty() && decision.acts() {
        return Free::NotYet;
    }
    let mut free = Free::Yes;
    for (name, owner) in wanted {
        if let Some((run, by)) = session.elsewhere.get(name).and_then(BTreeMap::first_key_value) {
            // Nothing of this run can make it let go. Said once, and again when yet another one has it.
            decision.waits_for_run = true;
            free = Free::NotYet;
            let held = Elsewhere { run: run.clone(), owner: by.clone() };
            if found.door.elsewhere.get(name) != Some(&held) {
                let (resource, Elsewhere { run: by_run, owner }) = (name.clone(), held);
                decision.append(step, StepEvent::HeldElsewhere { resource, by_run, owner });
            }
            continue;
        }
        let nobody = BTreeSet::new();
        let holders = state.holders.get(name).unwrap_or(&nobody);
        let none = BTreeMap::new();
        let gone = state.definition.resources.get(name).map_or(&none, |resource| &resource.gone);
        let others: BTreeSet<&String> = holders.iter().chain(gone.keys()).filter(|o| *o != owner).collect();
        for other in others {
            let holds = holders.contains(other);
            if holds && will_let_go(state, direction, name, other) {
                free = Free::NotYet;
                continue;
            }
            let seen = found.door.gone.get(name).and_then(|by_owner| by_owner.get(other));
            let fresh = |seen: &&Seen| now.at.since_ms(&seen.at) <= FRESH_MS;
            let fresh = seen.filter(fresh).map(|seen| seen.answer.verdict);
            if gone.get(other).is_none_or(Vec::is_empty) {
                if holds {
                    return Free::Never(held(name, other));
                }
            } else if fresh != Some(Verdict::Holds) {
                // Going forward a person may still end it; a rollback does not wait for what nobody will do.
                if holds && direction == Direction::Compensation && fresh == Some(Verdict::Absent) {
                    return Free::Never(held(name, other));
                }
                free = Free::NotYet;
                let (resource, owner) = (name.clone(), other.clone());
                let ask = Ask::Gone { step: step.id.clone(), resource, owner };
                decision.look(session, ask, |_| POLL_MS);
            }
        }
    }
    free
}

fn held(resource: &str, owner: &str) -> String {
    format!("`{resource}` is held by `{owner}`, and no step is left that makes it let go")
}

/// Whether a step is still to come that makes this owner let go.
fn will_let_go(state: &State, direction: Direction, resource: &str, owner: &str) -> bool {
    let mut steps = state.definition.steps.iter().zip(&state.steps).enumerate();
    steps.any(|(place, (step, found))| match direction {
        Direction::Forward => {
            step.frees.get(resource).is_some_and(|o| o == owner) && !found.status.ended_well()
        }
        Direction::Compensation => {
            step.takes.get(resource).is_some_and(|o| o == owner) && state.index.is_to_undo(place)
        }
    })
}

/// A step at its gate.
pub(super) fn gate(
    state: &State,
    session: &Session,
    now: &Moment,
    (step, found): (&Step, &StepState),
    holding: bool,
    decision: &mut Decision,
) {
    let void = |request: &Request, why: &str| StepEvent::ApprovalVoided {
        request: request.seq,
        why: why.to_owned(),
    };
    let expires = step.gate.as_ref().and_then(|gate| gate.expires_ms);
    let left_ms = |since: &Stamp| expires.map(|expires| expires.saturating_sub(now.at.since_ms(since)));
    match &found.door.gate {
        GateState::Asked(request) => {
            match left_ms(&request.at) {
                Some(0) => return decision.append(step, void(request, "nobody answered before it expired")),
                Some(left) => decision.lapse(left),
                None => {}
            }
            if holding {
                return;
            }
            let all_hold = request.evidence.iter().all(|e| e.answer.verdict == Verdict::Holds);
            let evidence = Ask::Evidence(step.id.clone());
            if state.terms.assume_yes && all_hold && !found.door.wavered {
                let (by, note) = (ASSUMED.to_owned(), String::new());
                decision.append(step, StepEvent::Approved { request: request.seq, by, note });
            } else if request.seq < state.resumed && !session.tries.contains_key(&evidence) {
                // Asked by a process that is gone: what it saw may be so no more.
                decision.look(session, evidence, unknown_pause);
            }
        }
        GateState::Answered(request) => {
            let since = request.said.as_ref().map_or(&request.at, |said| &said.at);
            if left_ms(since) == Some(0) {
                return decision.append(step, void(request, "it expired before the step could start"));
            }
            decision.look(session, Ask::Evidence(step.id.clone()), unknown_pause);
        }
        // A rejection whose second half was lost with the process that wrote it.
        GateState::Shut => {
            let reason = found.trouble.clone().unwrap_or_else(|| "rejected".to_owned());
            decision.append(step, StepEvent::Failed { reason });
        }
        GateState::Open { .. } => {}
    }
    debug_assert!(matches!(found.status, Status::AwaitingApproval));
}
