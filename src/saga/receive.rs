//! What the world answers, turned into events. An answer that nobody waits for any more gives none.

use super::decide::{Ask, Session};
use super::event::{Evidence, How, StepEvent, What};
use super::outcome::{Answer, Direction, FailureClass, Outcome, Settlement, Verdict};
use super::settle::{CUTS_MAX, pause_ms, too_often};
use super::soak::{Sample, Soaking};
use super::state::{Course, GateState, Interrupted, State, Status, StepState};
use super::time::{Moment, backoff_ms};
use super::{watch, worst};
use crate::plan::recorded::Step;

/// What the driver brings back for an [`Ask`].
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// The value of `when`, or why it has none.
    When(Result<bool, String>),
    /// The answers of the checks that were looked at, in their order.
    Looked(Vec<Answer>),
    /// The checks that were looked at for an approval, and the question, rendered.
    Evidence {
        /// The question.
        question: String,
        /// What was seen.
        evidence: Vec<Evidence>,
    },
    /// The pre-image, or why it could not be taken.
    PreImage(Result<serde_json::Value, String>),
    /// How an attempt ended.
    Ended(Outcome),
    /// What could be learned of a cut-off attempt.
    Settled(Settlement),
}

/// Turns the reply to an ask into events; takes the ask out of flight and keeps good samples in the tail.
pub fn receive(state: &State, session: &mut Session, ask: &Ask, reply: Reply, now: &Moment) -> Vec<What> {
    session.in_flight.remove(ask);
    if session.outdated.remove(ask) || state.end.is_some() {
        return Vec::new();
    }
    *session.tries.entry(ask.clone()).or_insert(0) += 1;
    let Some((step, found)) = state.step(ask.step()) else { return Vec::new() };
    let events = match (ask, reply) {
        (Ask::Act { direction, attempt, .. }, Reply::Ended(outcome)) => {
            let running = match (&found.status, direction) {
                (Status::Running { attempt: now }, Direction::Forward)
                | (Status::Compensating { attempt: now }, Direction::Compensation) => now == attempt,
                _ => false,
            };
            if running { ended(step, found, *direction, *attempt, outcome, now) } else { Vec::new() }
        }
        (Ask::Settle { direction, attempt, .. }, Reply::Settled(settlement)) => match &found.status {
            Status::Interrupted(cut)
                if cut.direction == *direction && cut.attempt == *attempt && !cut.over =>
            {
                settled(step, found, cut, settlement, now)
            }
            _ => Vec::new(),
        },
        (Ask::SettleProbe(_), Reply::Looked(answers)) => match &found.status {
            Status::Interrupted(cut) if cut.over && cut.direction == Direction::Forward => {
                probed_after_cut(step, found, cut, worst(&answers), now)
            }
            _ => Vec::new(),
        },
        (Ask::When(_), Reply::When(value)) if matches!(found.status, Status::Pending) => match value {
            Ok(when) => vec![StepEvent::Decided { when }],
            Err(message) => vec![StepEvent::Failed { reason: format!("`when`: {message}") }],
        },
        (Ask::Probe(_), Reply::Looked(answers)) if matches!(found.status, Status::Pending) => {
            let answer = worst(&answers);
            // Looked again at a door where it could not be looked before, and still cannot: nothing new.
            let before = found.door.probe.as_ref().map(|seen| seen.answer.verdict);
            let still = answer.verdict == Verdict::Unknown && before == Some(Verdict::Unknown);
            let since = found.door.probe.as_ref().and_then(|seen| seen.unknown_since);
            if still && since.is_some_and(|since| now.at.since_ms(&since) < super::settle::SETTLE_MS) {
                Vec::new()
            } else {
                vec![StepEvent::Probed { answer }]
            }
        }
        (Ask::Evidence(_), Reply::Evidence { question, evidence }) => evidenced(found, question, evidence),
        (Ask::Gone { resource, owner, .. }, Reply::Looked(answers)) => {
            let seen = found.door.gone.get(resource).and_then(|by_owner| by_owner.get(owner));
            let worst = worst(&answers);
            let news = seen.is_none_or(|seen| seen.answer.verdict != worst.verdict);
            if news || worst.verdict == Verdict::Holds {
                let (resource, owner) = (resource.clone(), owner.clone());
                vec![StepEvent::GoneLooked { resource, owner, answers }]
            } else {
                Vec::new()
            }
        }
        (Ask::PreImage(_), Reply::PreImage(taken)) if matches!(found.status, Status::Pending) => {
            match taken {
                Ok(pre_image) => vec![StepEvent::PreImageTaken { pre_image }],
                Err(message) => {
                    vec![StepEvent::Failed { reason: format!("the pre-image could not be taken: {message}") }]
                }
            }
        }
        (Ask::Verify(_), Reply::Looked(mut answers)) => match &found.status {
            Status::Verifying(verifying) => {
                let mut memory = session.memories.remove(&step.id).unwrap_or_default();
                memory.judge(&step.verify, &mut answers, &now.at);
                session.memories.insert(step.id.clone(), memory);
                let over = verifying.within.left_ms(&now.at) == 0;
                verified(state, step, found, answers, verifying.last.as_deref(), over, now)
            }
            _ => Vec::new(),
        },
        (Ask::Undone(_), Reply::Looked(answers)) => match &found.status {
            Status::UndoingCheck { within, last } => {
                undone(answers, last.as_deref(), within.left_ms(&now.at) == 0)
            }
            _ => Vec::new(),
        },
        (Ask::Sample(_), Reply::Looked(answers)) => match &found.status {
            Status::Soaking(soaking) if soaking.ready_lost.is_none() => {
                sampled(session, step, soaking, answers, now)
            }
            _ => Vec::new(),
        },
        (Ask::Ready(_), Reply::Looked(answers)) => match &found.status {
            Status::Soaking(soaking)
                if soaking.ready_lost.is_some() && Sample::of(&answers) == Sample::Good =>
            {
                vec![StepEvent::ReadyRegained { by: None }]
            }
            _ => Vec::new(),
        },
        // A reply that is not the ask's kind is a bug of the driver, and changes nothing.
        (_, _) => Vec::new(),
    };
    events.into_iter().map(|is| What::Step { step: step.id.clone(), is }).collect()
}

fn ended(
    step: &Step,
    found: &StepState,
    direction: Direction,
    attempt: u32,
    outcome: Outcome,
    now: &Moment,
) -> Vec<StepEvent> {
    match outcome {
        Outcome::Acted { outputs, trace } => vec![StepEvent::Acted { direction, attempt, outputs, trace }],
        Outcome::Cut { cause, message, trace } => {
            vec![StepEvent::Cut { direction, attempt, cause, message, trace }]
        }
        Outcome::Failed { class, message, trace } => {
            let failed = found.spent + 1;
            let again = class == FailureClass::Transient && failed < step.retry.attempts;
            let again_in_ms = again
                .then(|| backoff_ms(step.retry.backoff_ms, step.retry.max_backoff_ms, failed, now.entropy));
            let reason = message.clone();
            let mut events =
                vec![StepEvent::AttemptFailed { direction, attempt, class, message, trace, again_in_ms }];
            if !again {
                events.push(gave_up(direction, reason));
            }
            events
        }
    }
}

fn gave_up(direction: Direction, reason: String) -> StepEvent {
    match direction {
        Direction::Forward => StepEvent::Failed { reason },
        Direction::Compensation => StepEvent::CompensationFailed { reason },
    }
}

fn settled(
    step: &Step,
    found: &StepState,
    cut: &Interrupted,
    settlement: Settlement,
    now: &Moment,
) -> Vec<StepEvent> {
    let (direction, attempt) = (cut.direction, cut.attempt);
    match settlement {
        Settlement::Over | Settlement::Ended(Outcome::Cut { .. }) => {
            vec![StepEvent::ProvedOver { direction, attempt }]
        }
        Settlement::Ended(outcome) => {
            let done = matches!(outcome, Outcome::Acted { .. });
            let outputs = serde_json::Map::new();
            let mut events = vec![StepEvent::Settled {
                direction,
                attempt,
                done,
                how: How::Recorded,
                outputs,
                again_in_ms: 0,
            }];
            events.extend(ended(step, found, direction, attempt, outcome, now));
            events
        }
        Settlement::Unproved { reason } => {
            if cut.within.left_ms(&now.at) == 0 {
                vec![StepEvent::AttentionNeeded { reason }]
            } else {
                Vec::new()
            }
        }
    }
}

fn probed_after_cut(
    step: &Step,
    found: &StepState,
    cut: &Interrupted,
    answer: Answer,
    now: &Moment,
) -> Vec<StepEvent> {
    let (direction, attempt) = (cut.direction, cut.attempt);
    match answer.verdict {
        // It held before this attempt already.
        Verdict::Holds if found.redo => {
            let reason = format!(
                "attempt {attempt} was to do the step again and was cut off; its goal holds, but did so before as well"
            );
            vec![StepEvent::AttentionNeeded { reason }]
        }
        Verdict::Holds => {
            let outputs = answer.outputs.clone();
            let how = How::Probe(answer);
            vec![StepEvent::Settled { direction, attempt, done: true, how, outputs, again_in_ms: 0 }]
        }
        Verdict::Absent | Verdict::Partial => {
            let again_in_ms = pause_ms(step, found, cut, now);
            let outputs = serde_json::Map::new();
            let reason = too_often(found, cut);
            let how = How::Probe(answer);
            let mut events =
                vec![StepEvent::Settled { direction, attempt, done: false, how, outputs, again_in_ms }];
            if found.cuts >= CUTS_MAX {
                events.push(StepEvent::Failed { reason });
            }
            events
        }
        Verdict::Unknown => {
            if cut.within.left_ms(&now.at) == 0 {
                let reason = format!(
                    "attempt {attempt} was cut off and is over; whether it took effect could not be seen: {}",
                    answer.reason
                );
                vec![StepEvent::AttentionNeeded { reason }]
            } else {
                Vec::new()
            }
        }
    }
}

fn evidenced(found: &StepState, question: String, evidence: Vec<Evidence>) -> Vec<StepEvent> {
    match (&found.status, &found.door.gate) {
        (Status::Pending, GateState::Shut) => vec![StepEvent::ApprovalRequested { question, evidence }],
        (Status::AwaitingApproval, GateState::Answered(request)) => {
            // The approval was given for what was seen then: whatever held must hold still.
            let turned = request.evidence.iter().zip(&evidence).find(|(then, now)| {
                then.answer.verdict == Verdict::Holds && now.answer.verdict != Verdict::Holds
            });
            let request_seq = request.seq;
            if request.evidence.len() != evidence.len() {
                let why = "the evidence it was given for has changed".to_owned();
                return vec![StepEvent::ApprovalVoided { request: request_seq, why }];
            }
            match turned {
                Some((_, seen)) => {
                    let Evidence { check, answer } = seen;
                    let why = format!("{check} held when it was asked for and is now {}", answer.verdict);
                    vec![StepEvent::ApprovalVoided { request: request_seq, why }]
                }
                None => vec![StepEvent::GateOpened { request: request_seq, evidence }],
            }
        }
        // Another process asked, and things may have changed since.
        (Status::AwaitingApproval, GateState::Asked(request)) => {
            let alike = request.evidence.len() == evidence.len()
                && request
                    .evidence
                    .iter()
                    .zip(&evidence)
                    .all(|(then, now)| then.answer.verdict == now.answer.verdict);
            if alike {
                return Vec::new();
            }
            let why = "the evidence is another than when it was asked for".to_owned();
            let void = StepEvent::ApprovalVoided { request: request.seq, why };
            vec![void, StepEvent::ApprovalRequested { question, evidence }]
        }
        _ => Vec::new(),
    }
}

/// What matters when two looks are compared: the verdicts, not the wording.
fn same(before: Option<&[Answer]>, answers: &[Answer]) -> bool {
    before.is_some_and(|before| {
        before.len() == answers.len() && before.iter().zip(answers).all(|(a, b)| a.verdict == b.verdict)
    })
}

fn not_holding(answers: &[Answer]) -> String {
    let bad: Vec<String> = answers
        .iter()
        .filter(|answer| answer.verdict != Verdict::Holds)
        .map(|answer| match answer.reason.as_str() {
            "" => answer.verdict.to_string(),
            reason => format!("{} ({reason})", answer.verdict),
        })
        .collect();
    bad.join(", ")
}

fn verified(
    state: &State,
    step: &Step,
    found: &StepState,
    answers: Vec<Answer>,
    last: Option<&[Answer]>,
    over: bool,
    now: &Moment,
) -> Vec<StepEvent> {
    if Sample::of(&answers) == Sample::Good {
        return vec![StepEvent::Verified { answers }];
    }
    let mut events = Vec::new();
    let reason = not_holding(&answers);
    if !same(last, &answers) {
        events.push(StepEvent::VerifyLooked { answers });
    }
    if over {
        let within = step.verify_within_ms / 1_000;
        let reason = format!("`verify` did not hold within {within} s: {reason}");
        let failed = found.spent + 1;
        if step.retry.on_verify
            && found.owned
            && failed < step.retry.attempts
            && state.course == Course::Forward
        {
            let pause = backoff_ms(step.retry.backoff_ms, step.retry.max_backoff_ms, failed, now.entropy);
            events.push(StepEvent::AttemptFailed {
                direction: Direction::Forward,
                attempt: found.attempts,
                class: FailureClass::Transient,
                message: reason,
                trace: super::outcome::Trace::default(),
                again_in_ms: Some(pause),
            });
        } else {
            events.push(StepEvent::Failed { reason });
        }
    }
    events
}

fn undone(answers: Vec<Answer>, last: Option<&[Answer]>, over: bool) -> Vec<StepEvent> {
    if Sample::of(&answers) == Sample::Good {
        return vec![StepEvent::Compensated { answers }];
    }
    let mut events = Vec::new();
    let reason = not_holding(&answers);
    if !same(last, &answers) {
        events.push(StepEvent::UndoneLooked { answers });
    }
    if over {
        events.push(StepEvent::CompensationFailed {
            reason: format!("`undone` did not hold in time: {reason}"),
        });
    }
    events
}

fn sampled(
    session: &mut Session,
    step: &Step,
    soaking: &Soaking,
    mut answers: Vec<Answer>,
    now: &Moment,
) -> Vec<StepEvent> {
    let Some(terms) = &step.soak else { return Vec::new() };
    let mut ready = answers.split_off(step.verify.len().min(answers.len()));
    if soaking.ready_waived {
        ready.clear();
    }
    let tail = session.tails.entry(step.id.clone()).or_default();
    let before = if tail.memory.is_empty() { &soaking.memory } else { &tail.memory };
    let mut memory = before.clone();
    memory.judge(&step.verify, &mut answers, &now.at);
    let (sample, way_back) = (Sample::of(&answers), Sample::of(&ready));
    if (sample, way_back) == (Sample::Good, Sample::Good) {
        let adds = soaking.adds(terms, tail, &now.at);
        if !adds.fails {
            tail.good += 1;
            tail.good_ms += adds.good_ms;
            tail.last = Some(now.at);
            tail.memory = memory;
            let saves = soaking.worth_saving(terms, tail);
            return saves.then(|| watch::saved(&std::mem::take(tail))).flatten().into_iter().collect();
        }
    }
    let mut events: Vec<StepEvent> = watch::saved(&std::mem::take(tail)).into_iter().collect();
    match (sample, way_back) {
        // Nobody knows since when the way back is lost, so this sample is not good.
        (Sample::Good, Sample::Bad) => {}
        (Sample::Good, Sample::Inconclusive) => {
            answers.extend(ready.iter().cloned());
            events.push(StepEvent::SoakSampled { answers, memory });
        }
        (Sample::Good, Sample::Good) | (Sample::Bad | Sample::Inconclusive, _) => {
            events.push(StepEvent::SoakSampled { answers, memory });
        }
    }
    if way_back == Sample::Bad {
        events.push(StepEvent::ReadyLost { answers: ready });
    }
    events
}

/// The steps' tails that are not saved yet, as events: before a process ends in good order.
pub fn unsaved(state: &State, session: &mut Session) -> Vec<What> {
    let tails = std::mem::take(&mut session.tails);
    if state.end.is_some() {
        return Vec::new();
    }
    tails
        .into_iter()
        .filter(|(id, _)| state.step(id).is_some_and(|(_, s)| matches!(s.status, Status::Soaking(_))))
        .filter_map(|(step, tail)| watch::saved(&tail).map(|is| What::Step { step, is }))
        .collect()
}
