//! Events as programs see them: types of their own, apart from the journal's, with a version.
//!
//! `{"v":1,"type":"event","run":"frigate-1","seq":7,"at":"2026-11-23T16:31:02.000Z","event":"started",
//! "step":"stop-old","status":"running","direction":"forward","attempt":1}`. A field may be added; one that is
//! removed or means something else raises [`SHOWN_VERSION`]. A field without a value is left out. Pre-images
//! are never shown.

use serde::Serialize;
use serde_json::{Map, Value};

use super::human::exact;
use super::json::one_line;
use crate::plan::StepId;
use crate::plan::recorded::{Definition, Step};
use crate::saga::{
    Answer, CutCause, Direction, Event, Evidence, FailureClass, How, Sample, State, StepEvent, Taken, Trace,
    What,
};

/// The version of every JSON object that is shown.
pub const SHOWN_VERSION: u32 = 1;

/// An event as one JSON object; `state` is the one after it.
pub fn event_json(state: &State, event: &Event) -> Value {
    serde_json::to_value(shown(state, event)).unwrap_or_default()
}

/// The same as one line without its end: what every object begins with (`v`, `type`, `run`) comes first.
pub fn event_line(state: &State, event: &Event) -> String {
    // Plain fields under string keys: serde_json cannot refuse them.
    one_line(&serde_json::to_string(&shown(state, event)).unwrap_or_default())
}

fn shown<'a>(state: &'a State, event: &'a Event) -> Shown<'a> {
    let step = event.what.step();
    Shown {
        v: SHOWN_VERSION,
        r#type: "event",
        run: state.run.to_string(),
        seq: event.seq,
        at: exact(&event.at),
        event: name(&event.what),
        step: step.map(StepId::as_str),
        status: step.and_then(|id| state.step(id)).map(|(_, found)| found.status.word()),
        fields: fields(&event.what),
    }
}

/// What every event has.
#[derive(Serialize)]
struct Shown<'a> {
    v: u32,
    r#type: &'static str,
    run: String,
    seq: u64,
    at: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    /// The step's status after the event, in the manual's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(flatten)]
    fields: Fields<'a>,
}

/// What an event has beside that. Names are those of the manual; times are in milliseconds.
#[derive(Default, Serialize)]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Vec<ShownChange<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_step: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    again_in_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<ShownTrace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    question: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Vec<ShownEvidence<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<ShownAnswer<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_run: Option<&'a crate::plan::RunId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    good: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    good_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

#[derive(Serialize)]
struct Plan<'a> {
    name: &'a str,
    description: &'a str,
    path: &'a str,
    steps: Vec<PlanStep<'a>>,
}

#[derive(Serialize)]
struct PlanStep<'a> {
    id: &'a str,
    summary: &'a str,
    needs: Vec<&'a str>,
}

#[derive(Serialize)]
struct ShownChange<'a> {
    /// Absent: the plan around the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    diff: &'a str,
    voids_approvals: bool,
    taken: &'static str,
}

#[derive(Serialize)]
struct ShownAnswer<'a> {
    verdict: String,
    reason: &'a str,
    facts: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct ShownEvidence<'a> {
    check: &'a str,
    answer: ShownAnswer<'a>,
}

#[derive(Serialize)]
struct ShownTrace<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    tail: &'a str,
    /// Relative to the state folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a str>,
    bytes: u64,
    left_running: Vec<ShownProcess<'a>>,
}

#[derive(Serialize)]
struct ShownProcess<'a> {
    pid: u32,
    name: &'a str,
}

fn plan(definition: &Definition) -> Plan<'_> {
    let steps = definition.steps.iter().map(plan_step).collect();
    Plan {
        name: definition.name.as_str(),
        description: &definition.description,
        path: &definition.path,
        steps,
    }
}

fn plan_step(step: &Step) -> PlanStep<'_> {
    let needs = step.needs.iter().map(StepId::as_str).collect();
    PlanStep { id: step.id.as_str(), summary: &step.summary, needs }
}

fn answer(answer: &Answer) -> ShownAnswer<'_> {
    ShownAnswer { verdict: answer.verdict.to_string(), reason: &answer.reason, facts: &answer.facts }
}

fn answers(all: &[Answer]) -> Option<Vec<ShownAnswer<'_>>> {
    Some(all.iter().map(answer).collect())
}

fn evidence(all: &[Evidence]) -> Option<Vec<ShownEvidence<'_>>> {
    Some(all.iter().map(|each| ShownEvidence { check: &each.check, answer: answer(&each.answer) }).collect())
}

fn trace(trace: &Trace) -> Option<ShownTrace<'_>> {
    let processes = trace.left_running.iter();
    Some(ShownTrace {
        exit: trace.exit,
        signal: trace.signal,
        tail: &trace.tail,
        log: trace.log.as_deref(),
        bytes: trace.bytes,
        left_running: processes.map(|p| ShownProcess { pid: p.pid, name: &p.name }).collect(),
    })
}

fn direction(direction: Direction) -> Option<&'static str> {
    Some(match direction {
        Direction::Forward => "forward",
        Direction::Compensation => "compensation",
    })
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The event's name, as programs see it.
fn name(what: &What) -> &'static str {
    match what {
        What::RunOpened { .. } => "run_opened",
        What::RunResumed { .. } => "run_resumed",
        What::PlanAmended { .. } => "plan_amended",
        What::UntilSet { .. } => "until_set",
        What::Paused { .. } => "paused",
        What::Unpaused { .. } => "unpaused",
        What::CancelRequested { .. } => "cancel_requested",
        What::Cancelled => "cancelled",
        What::RollbackRequested { .. } => "rollback_requested",
        What::RolledBack => "rolled_back",
        What::Completed => "completed",
        What::Step { is, .. } => match is {
            StepEvent::Decided { .. } => "decided",
            StepEvent::Probed { .. } => "probed",
            StepEvent::Satisfied { .. } => "satisfied",
            StepEvent::ApprovalRequested { .. } => "approval_requested",
            StepEvent::Approved { .. } => "approved",
            StepEvent::GateOpened { .. } => "gate_opened",
            StepEvent::ApprovalVoided { .. } => "approval_voided",
            StepEvent::Rejected { .. } => "rejected",
            StepEvent::GoneLooked { .. } => "gone_looked",
            StepEvent::HeldElsewhere { .. } => "held_elsewhere",
            StepEvent::PreImageTaken { .. } => "pre_image_taken",
            StepEvent::Started { .. } => "started",
            StepEvent::Acted { .. } => "acted",
            StepEvent::AttemptFailed { .. } => "attempt_failed",
            StepEvent::Cut { .. } => "cut",
            StepEvent::ProvedOver { .. } => "proved_over",
            StepEvent::Settled { .. } => "settled",
            StepEvent::AttentionNeeded { .. } => "attention_needed",
            StepEvent::VerifyBegan => "verify_began",
            StepEvent::VerifyLooked { .. } => "verify_looked",
            StepEvent::Verified { .. } => "verified",
            StepEvent::Failed { .. } => "failed",
            StepEvent::Skipped { .. } => "skipped",
            StepEvent::Redone { .. } => "redone",
            StepEvent::SoakBegan => "soak_began",
            StepEvent::SoakSaved { .. } => "soak_saved",
            StepEvent::SoakSampled { .. } => "soak_sampled",
            StepEvent::ReadyLost { .. } => "ready_lost",
            StepEvent::ReadyRegained { .. } => "ready_regained",
            StepEvent::SoakPassed => "soak_passed",
            StepEvent::UndoneLooked { .. } => "undone_looked",
            StepEvent::Compensated { .. } => "compensated",
            StepEvent::CompensationFailed { .. } => "compensation_failed",
            StepEvent::Resolved { .. } => "resolved",
        },
    }
}

fn fields(what: &What) -> Fields<'_> {
    let none = Fields::default();
    match what {
        What::RunOpened { definition, by, run: _ } => {
            Fields { by: Some(by), plan: Some(plan(definition)), ..none }
        }
        What::RunResumed { token, by, terms } => {
            Fields { by: Some(by), token: Some(*token), forward: Some(terms.forward), ..none }
        }
        What::PlanAmended { changes, by, definition } => {
            let changes = changes.iter().map(|change| ShownChange {
                step: change.step.as_ref().map(StepId::as_str),
                diff: &change.diff,
                voids_approvals: change.matters,
                taken: match change.taken {
                    Taken::AsEdited => "as_edited",
                    Taken::Kept => "kept",
                    Taken::Redone => "redone",
                    Taken::Compensation => "compensation",
                },
            });
            Fields { by: Some(by), changes: Some(changes.collect()), plan: Some(plan(definition)), ..none }
        }
        What::UntilSet { step, by } => Fields { by: Some(by), until: Some(step.as_str()), ..none },
        What::Paused { by } | What::Unpaused { by } | What::CancelRequested { by } => {
            Fields { by: Some(by), ..none }
        }
        What::RollbackRequested { to, parallel, failed, by } => Fields {
            by: Some(by),
            to: to.as_ref().map(StepId::as_str),
            parallel: Some(*parallel),
            failed_step: failed.as_ref().map(StepId::as_str),
            ..none
        },
        What::Cancelled | What::RolledBack | What::Completed => none,
        What::Step { is, .. } => step_fields(is),
    }
}

fn step_fields(is: &StepEvent) -> Fields<'_> {
    let none = Fields::default();
    match is {
        StepEvent::Decided { when } => Fields { when: Some(*when), ..none },
        StepEvent::Probed { answer: seen } => Fields { answers: Some(vec![answer(seen)]), ..none },
        StepEvent::Satisfied { outputs } => Fields { outputs: Some(outputs), ..none },
        StepEvent::ApprovalRequested { question, evidence: seen } => {
            Fields { question: Some(question), evidence: evidence(seen), ..none }
        }
        StepEvent::Approved { request, by, note } | StepEvent::Rejected { request, by, note } => {
            Fields { request: Some(*request), by: Some(by), note: text(note), ..none }
        }
        StepEvent::GateOpened { request, evidence: seen } => {
            Fields { request: Some(*request), evidence: evidence(seen), ..none }
        }
        StepEvent::ApprovalVoided { request, why } => {
            Fields { request: Some(*request), reason: Some(why), ..none }
        }
        StepEvent::GoneLooked { resource, owner, answers: seen } => {
            Fields { resource: Some(resource), owner: Some(owner), answers: answers(seen), ..none }
        }
        StepEvent::HeldElsewhere { resource, by_run, owner } => {
            Fields { resource: Some(resource), by_run: Some(by_run), owner: Some(owner), ..none }
        }
        // What it holds may be secret, and is the step's own business.
        StepEvent::PreImageTaken { pre_image: _ } => none,
        StepEvent::Started { direction: way, attempt }
        | StepEvent::ProvedOver { direction: way, attempt } => {
            Fields { direction: direction(*way), attempt: Some(*attempt), ..none }
        }
        StepEvent::Acted { direction: way, attempt, outputs, trace: left } => Fields {
            direction: direction(*way),
            attempt: Some(*attempt),
            outputs: Some(outputs),
            trace: trace(left),
            ..none
        },
        StepEvent::AttemptFailed { direction: way, attempt, class, message, trace: left, again_in_ms } => {
            Fields {
                direction: direction(*way),
                attempt: Some(*attempt),
                class: Some(match class {
                    FailureClass::Transient => "transient",
                    FailureClass::Permanent => "permanent",
                }),
                message: Some(message),
                trace: trace(left),
                again_in_ms: *again_in_ms,
                ..none
            }
        }
        StepEvent::Cut { direction: way, attempt, cause, message, trace: left } => Fields {
            direction: direction(*way),
            attempt: Some(*attempt),
            cause: Some(match cause {
                CutCause::Crash => "crash",
                CutCause::Timeout => "timeout",
                CutCause::Connection => "connection",
                CutCause::Stopped => "stopped",
            }),
            message: Some(message),
            trace: trace(left),
            ..none
        },
        StepEvent::Settled { direction: way, attempt, done, how, outputs, again_in_ms } => Fields {
            direction: direction(*way),
            attempt: Some(*attempt),
            done: Some(*done),
            how: Some(match how {
                How::Recorded => "recorded",
                How::Probe(_) => "probe",
                How::Idempotent => "idempotent",
                How::Compensation => "compensation",
            }),
            answers: match how {
                How::Probe(seen) => Some(vec![answer(seen)]),
                How::Recorded | How::Idempotent | How::Compensation => None,
            },
            outputs: Some(outputs),
            again_in_ms: Some(*again_in_ms),
            ..none
        },
        StepEvent::AttentionNeeded { reason }
        | StepEvent::Failed { reason }
        | StepEvent::CompensationFailed { reason } => Fields { reason: Some(reason), ..none },
        StepEvent::VerifyBegan | StepEvent::SoakBegan | StepEvent::SoakPassed => none,
        StepEvent::VerifyLooked { answers: seen }
        | StepEvent::Verified { answers: seen }
        | StepEvent::ReadyLost { answers: seen }
        | StepEvent::UndoneLooked { answers: seen }
        | StepEvent::Compensated { answers: seen } => Fields { answers: answers(seen), ..none },
        StepEvent::Skipped { by, note } => Fields { by: by.as_deref(), note: text(note), ..none },
        StepEvent::SoakSaved { good, good_ms, last, .. } => {
            Fields { good: Some(*good), good_ms: Some(*good_ms), last: Some(exact(last)), ..none }
        }
        StepEvent::SoakSampled { answers: seen, .. } => Fields {
            sample: Some(match Sample::of(seen) {
                Sample::Good => "good",
                Sample::Bad => "bad",
                Sample::Inconclusive => "inconclusive",
            }),
            answers: answers(seen),
            ..none
        },
        StepEvent::Redone { by } => Fields { by: Some(by), ..none },
        StepEvent::ReadyRegained { by } => Fields { by: by.as_deref(), ..none },
        StepEvent::Resolved { done, outputs, by } => {
            Fields { done: Some(*done), outputs: Some(outputs), by: Some(by), ..none }
        }
    }
}
