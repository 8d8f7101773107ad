//! What a person asks of a run, and when it is refused.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::{Change, StepEvent, Terms, What};
use super::state::{Course, End, GateState, Said, State, Status};
use crate::plan::StepId;
use crate::plan::recorded::Definition;
use crate::plan::template::uses_outputs;

/// A person's wish. Refused ones change nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Take the run on.
    Resume {
        /// The holder's fencing token.
        token: u64,
        /// Under which terms.
        terms: Terms,
    },
    /// Go on with a changed definition.
    Amend {
        /// The whole new definition.
        definition: Arc<Definition>,
        /// What changed.
        changes: Vec<Change>,
    },
    /// Go as far as this step and what it needs, until the run is taken on again.
    Until {
        /// The step.
        step: StepId,
    },
    /// Run a finished step again.
    Redo {
        /// The step.
        step: StepId,
    },
    /// Start nothing new.
    Pause,
    /// Take a pause back.
    Unpause,
    /// Settle what is in flight, close the run, undo nothing.
    Cancel,
    /// Undo.
    Rollback {
        /// What came after this step; absent: everything.
        to: Option<StepId>,
        /// Compensations in flight at once.
        parallel: u32,
    },
    /// Answer a gate with yes.
    Approve {
        /// The step.
        step: StepId,
        /// Why.
        note: String,
    },
    /// Answer a gate with no.
    Reject {
        /// The step.
        step: StepId,
        /// Why.
        note: String,
    },
    /// Leave a step out.
    Skip {
        /// The step.
        step: StepId,
        /// Why.
        note: String,
    },
    /// Say what became of an attempt that nobody else can settle.
    Resolve {
        /// The step.
        step: StepId,
        /// It was done; else it was not.
        done: bool,
        /// Outputs, when it was done.
        outputs: Map<String, Value>,
    },
}

/// Why a wish was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The run has no such step.
    #[error("run `{run}` has no step `{step}`")]
    NoSuchStep {
        /// The run.
        run: String,
        /// The step.
        step: StepId,
        /// The step that may have been meant.
        #[serde(default)]
        near: Option<StepId>,
    },
    /// The step is not where the wish applies.
    #[error("step `{step}` is {word}: {why}")]
    StepIs {
        /// The step.
        step: StepId,
        /// Its status.
        word: String,
        /// What would be needed.
        why: String,
    },
    /// The run is not where the wish applies.
    #[error("run `{run}` {why}")]
    RunIs {
        /// The run.
        run: String,
        /// What it is.
        why: String,
    },
    /// The rollback would have to cross steps that cannot be undone.
    #[error("run `{run}` cannot be rolled back: {}", list(.steps))]
    Irreversible {
        /// The run.
        run: String,
        /// The steps and why each cannot be undone.
        steps: Vec<(StepId, String)>,
    },
    /// There is nothing to do; not an error for who asked.
    #[error("nothing to do: {why}")]
    Nothing {
        /// Why.
        why: String,
    },
}

fn list(steps: &[(StepId, String)]) -> String {
    let each: Vec<String> =
        steps.iter().map(|(step, why)| format!("step `{step}` is irreversible ({why})")).collect();
    each.join(", ")
}

/// Turns a wish into events, or says why not.
///
/// # Errors
/// A [`Refusal`] when the wish does not apply to this state.
pub fn command(state: &State, wish: &Command, by: &str) -> Result<Vec<What>, Refusal> {
    let by = by.to_owned();
    let run = || state.run.to_string();
    match wish {
        Command::Resume { token, terms } => {
            if *token < state.token {
                let why = format!("is held by a newer process (fencing token {}, ours {token})", state.token);
                return Err(Refusal::RunIs { run: run(), why });
            }
            Ok(vec![What::RunResumed { token: *token, by, terms: terms.clone() }])
        }
        Command::Amend { definition, changes } => {
            if !super::fold::may_amend(state, definition) {
                return Err(match &state.end {
                    Some(End::Cancelled | End::RolledBack { .. }) => ended(state),
                    Some(End::Complete) | None => {
                        let why = "has touched a step that is gone from the plan".to_owned();
                        Refusal::RunIs { run: run(), why }
                    }
                });
            }
            Ok(vec![What::PlanAmended { definition: definition.clone(), changes: changes.clone(), by }])
        }
        Command::Until { step } => {
            find(state, step)?;
            if !super::fold::may_go_until(state) {
                return Err(ended(state));
            }
            Ok(vec![What::UntilSet { step: step.clone(), by }])
        }
        Command::Redo { step } => {
            let (_, found) = find(state, step)?;
            if !super::fold::may_redo(state) {
                return Err(not_forward(state));
            }
            if found.status.is_finished() {
                Ok(vec![of(step, StepEvent::Redone { by })])
            } else {
                let why = match found.status {
                    Status::Skipped => "it was left out, and has no result to do again",
                    _ => "only a finished step can be done again; this one is still to come to its end",
                };
                Err(step_is(step, &found.status, why))
            }
        }
        Command::Pause => match (&state.end, state.paused) {
            (Some(_), _) => Err(ended(state)),
            (None, true) => Err(Refusal::Nothing { why: format!("run `{}` is paused already", state.run) }),
            (None, false) => Ok(vec![What::Paused { by }]),
        },
        Command::Unpause => {
            if state.paused {
                Ok(vec![What::Unpaused { by }])
            } else {
                Err(Refusal::Nothing { why: format!("run `{}` is not paused", state.run) })
            }
        }
        Command::Cancel => match &state.end {
            Some(End::Cancelled) => {
                Err(Refusal::Nothing { why: format!("run `{}` is cancelled already", state.run) })
            }
            Some(_) => Err(ended(state)),
            None if state.cancelling => {
                Err(Refusal::Nothing { why: format!("run `{}` is being cancelled already", state.run) })
            }
            None => Ok(vec![What::CancelRequested { by }]),
        },
        Command::Rollback { to, parallel } => {
            if matches!(state.end, Some(End::RolledBack { .. })) {
                return Err(Refusal::Nothing { why: format!("run `{}` is rolled back already", state.run) });
            }
            if let Some(step) = to
                && state.place(step).is_none()
            {
                return Err(no_such_step(state, step));
            }
            if let (Course::Back(back), Some(_)) = (&state.course, to)
                && back.to.is_none()
            {
                let why = "is being rolled back as a whole: it only goes back".to_owned();
                return Err(Refusal::RunIs { run: run(), why });
            }
            if !super::fold::widens(state, to.as_ref()) {
                let why = "is being rolled back further than that: let it end first".to_owned();
                return Err(Refusal::RunIs { run: run(), why });
            }
            let steps = state.irreversible(to.as_ref());
            if !steps.is_empty() {
                return Err(Refusal::Irreversible { run: run(), steps });
            }
            let failed = match &state.course {
                Course::Back(back) => back.failed.clone(),
                Course::Forward | Course::Resting => None,
            };
            Ok(vec![What::RollbackRequested { to: to.clone(), parallel: (*parallel).max(1), failed, by }])
        }
        Command::Approve { step, note } if lost(state, step)? => {
            let by = if note.is_empty() { by } else { format!("{by} ({note})") };
            Ok(vec![of(step, StepEvent::ReadyRegained { by: Some(by) })])
        }
        Command::Approve { step, note } => {
            if let Some(said) = approved(state, step)? {
                let why = format!("step `{step}` was approved already by {}", said.by);
                return Err(Refusal::Nothing { why });
            }
            let (request, note) = (asked(state, step)?, note.clone());
            Ok(vec![of(step, StepEvent::Approved { request, by, note })])
        }
        Command::Reject { step, note } if lost(state, step)? => {
            let why = if note.is_empty() { String::new() } else { format!(": {note}") };
            let reason = format!("the way back no longer works, and {by} does not go on without it{why}");
            Ok(vec![of(step, StepEvent::Failed { reason })])
        }
        Command::Reject { step, note } => {
            let request = asked(state, step)?;
            let why = if note.is_empty() { String::new() } else { format!(": {note}") };
            let reason = format!("rejected by {by}{why}");
            let rejected = StepEvent::Rejected { request, by, note: note.clone() };
            Ok(vec![of(step, rejected), of(step, StepEvent::Failed { reason })])
        }
        Command::Skip { step, note } => skip(state, step, note, by),
        Command::Resolve { step, done, outputs } => {
            let (_, found) = find(state, step)?;
            if found.needs_attention().is_none() {
                return Err(Refusal::StepIs {
                    step: step.clone(),
                    word: found.status.word().to_owned(),
                    why: "only a step that needs attention can be resolved".to_owned(),
                });
            }
            Ok(vec![of(step, StepEvent::Resolved { done: *done, outputs: outputs.clone(), by })])
        }
    }
}

fn of(step: &StepId, is: StepEvent) -> What {
    What::Step { step: step.clone(), is }
}

fn find<'a>(
    state: &'a State,
    step: &StepId,
) -> Result<(&'a crate::plan::recorded::Step, &'a super::state::StepState), Refusal> {
    state.step(step).ok_or_else(|| no_such_step(state, step))
}

/// The run has no such step; the nearest of those that it has goes with it.
fn no_such_step(state: &State, step: &StepId) -> Refusal {
    let known = state.definition.steps.iter().map(|known| known.id.as_str());
    let near = crate::plan::did_you_mean(step.as_str(), known).and_then(|near| StepId::new(near).ok());
    Refusal::NoSuchStep { run: state.run.to_string(), step: step.clone(), near }
}

/// Whether a soak stands still because the way back no longer works: a gate like the others.
fn lost(state: &State, step: &StepId) -> Result<bool, Refusal> {
    let (_, found) = find(state, step)?;
    let lost = matches!(&found.status, Status::Soaking(soaking) if soaking.ready_lost.is_some());
    Ok(lost && state.end.is_none() && state.course == Course::Forward)
}

/// The yes that a step's present request was answered with.
fn approved<'a>(state: &'a State, step: &StepId) -> Result<Option<&'a Said>, Refusal> {
    let (_, found) = find(state, step)?;
    Ok(match &found.door.gate {
        GateState::Answered(request) | GateState::Open { request, .. } => request.said.as_ref(),
        GateState::Shut | GateState::Asked(_) => None,
    })
}

/// The request that a step waits for an answer to.
fn asked(state: &State, step: &StepId) -> Result<u64, Refusal> {
    let (_, found) = find(state, step)?;
    let over = state.end.is_some() || matches!(state.course, Course::Back(_));
    if over && approved(state, step)?.is_none() {
        return Err(not_forward(state));
    }
    let why = match (&found.status, &found.door.gate) {
        (Status::AwaitingApproval, GateState::Asked(request)) if !over => return Ok(request.seq),
        (_, GateState::Answered(request) | GateState::Open { request, .. }) => match &request.said {
            Some(said) => format!("it was approved already by {}", said.by),
            None => "it was approved already".to_owned(),
        },
        (Status::Failed { reason }, GateState::Shut | GateState::Asked(_)) => reason.clone(),
        (_, GateState::Shut | GateState::Asked(_)) => "nobody is asked for approval there".to_owned(),
    };
    Err(step_is(step, &found.status, &why))
}

/// Leaves a step out, unless a step that is still to come uses what only this one would put out.
fn skip(state: &State, step: &StepId, note: &str, by: String) -> Result<Vec<What>, Refusal> {
    let (_, found) = find(state, step)?;
    if state.end.is_some() || matches!(state.course, Course::Back(_)) {
        return Err(not_forward(state));
    }
    match &found.status {
        Status::Pending | Status::AwaitingApproval | Status::Retrying { .. } | Status::Failed { .. } => {}
        status => {
            return Err(step_is(step, status, "only a step that has not begun or has failed can be skipped"));
        }
    }
    let steps = state.definition.steps.iter().zip(&state.steps);
    let mut to_come = steps.filter(|(_, other)| !other.status.ended_well() && other.when != Some(false));
    if found.outputs.is_none()
        && let Some((user, _)) = to_come.find(|(other, _)| other.id != *step && uses_outputs(other, step))
    {
        let why =
            format!("step `{}`, which is still to come, uses an output of it: skip that one first", user.id);
        return Err(step_is(step, &found.status, &why));
    }
    Ok(vec![of(step, StepEvent::Skipped { by: Some(by), note: note.to_owned() })])
}

fn step_is(step: &StepId, status: &Status, why: &str) -> Refusal {
    Refusal::StepIs { step: step.clone(), word: status.word().to_owned(), why: why.to_owned() }
}

/// Why nothing goes forward in this run.
fn not_forward(state: &State) -> Refusal {
    if state.end.is_some() && state.end != Some(End::Complete)
        || !matches!(state.course, Course::Back(_)) && !state.cancelling
    {
        return ended(state);
    }
    let why = if state.cancelling { "is being cancelled" } else { "is being rolled back" };
    Refusal::RunIs { run: state.run.to_string(), why: why.to_owned() }
}

fn ended(state: &State) -> Refusal {
    let why = match &state.end {
        Some(End::Complete) => "is complete",
        Some(End::Cancelled) => "is cancelled",
        Some(End::RolledBack { .. }) => "is rolled back",
        None => "is open",
    };
    Refusal::RunIs { run: state.run.to_string(), why: why.to_owned() }
}
