//! What lies ahead of a run: per step what `apply` would do now, what it would wait for, and how it is taken back.
//!
//! Pure: the state, what was seen, and the time are handed in. It decides nothing; it says what [`super::decide()`] is
//! going to come to as far as that can be known.

use std::collections::BTreeMap;

use serde::Serialize;

use super::claims::{Claim, Holders, claims};
use super::outcome::{Answer, Verdict};
use super::state::{Course, End, GateState, State, Status};
use super::survey::{described, inverse_described};
use super::time::Stamp;
use crate::plan::graph::Graph;
use crate::plan::recorded::{Compensate, Step};
use crate::plan::{StepId, WindowState};

/// What lies ahead.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ahead {
    /// The steps, in the order of the plan.
    pub steps: Vec<StepAhead>,
    /// The first step from which on there is no way back past it.
    pub point_of_no_return: Option<StepId>,
    /// Something would be changed, watched or decided.
    pub changes: bool,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepAhead {
    /// The step.
    pub step: StepId,
    /// What it is about, rendered.
    pub summary: String,
    /// What `apply` would do.
    pub does: Does,
    /// Why.
    pub why: String,
    /// The question that a person has to answer first.
    pub approval: Option<String>,
    /// When the window opens, in milliseconds since 1970 (UTC); absent: it is open, or there is none.
    pub window_opens_ms: Option<i64>,
    /// The exclusive resources it takes, and what it waits for to have them.
    pub takes: Vec<Claim>,
    /// For how long it soaks, in milliseconds.
    pub soak_ms: Option<u64>,
    /// How it is taken back.
    pub ledger: Ledger,
}

/// What `apply` would do with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// It has ended well already.
    Done,
    /// Its goal holds: nothing is done, and nothing would be undone.
    Satisfied,
    /// It is left out.
    Skip,
    /// Its action runs.
    Run,
    /// It only looks.
    Verify,
    /// It watches.
    Soak,
    /// It is taken back.
    Undo,
    /// That is known only later.
    Unknown,
    /// Nothing, because the run is over or goes elsewhere.
    Nothing,
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ledger {
    /// By what.
    pub undo: Undo,
    /// By what, in a few words; of an irreversible step what is lost.
    pub by: String,
    /// It can be undone until this step starts.
    pub until: Option<StepId>,
    /// It could be undone until this step started.
    pub crossed: Option<StepId>,
}

/// By what a step is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The action's own inverse.
    Inverse,
    /// The plan's compensation.
    Action,
    /// There is nothing to undo.
    Nothing,
    /// What this run did not do stays.
    NotOurs,
    /// It cannot be undone.
    Irreversible,
}

/// What lies ahead of `state`, when the probes answer `seen`, `when` is as given (an error: why it is not known), and other
/// runs hold what they hold now.
pub fn ahead(
    state: &State,
    seen: &BTreeMap<StepId, Answer>,
    when: &BTreeMap<StepId, Result<bool, String>>,
    text: &dyn Fn(&str) -> String,
    elsewhere: &Holders,
    now: &Stamp,
) -> Ahead {
    let graph = Graph::of(&state.definition);
    let to_undo = match &state.course {
        Course::Back(back) if state.end.is_none() => state.to_undo(back.to.as_ref()),
        Course::Back(_) | Course::Forward | Course::Resting => Vec::new(),
    };
    let mut steps = Vec::new();
    for (place, step) in state.definition.steps.iter().enumerate() {
        let (does, why) = does(state, place, seen.get(&step.id), when.get(&step.id), &to_undo);
        let comes = matches!(does, Does::Run | Does::Verify | Does::Soak | Does::Unknown);
        steps.push(StepAhead {
            step: step.id.clone(),
            summary: text(&step.summary),
            does,
            why,
            approval: gate(state, place).filter(|_| comes).map(text),
            window_opens_ms: step.window.as_ref().filter(|_| comes).and_then(|window| {
                match window.at(now.wall_ms) {
                    WindowState::Open { .. } => None,
                    WindowState::Closed { opens_ms } => Some(opens_ms),
                }
            }),
            takes: Vec::new(),
            soak_ms: step.soak.as_ref().filter(|_| comes).map(|soak| soak.for_ms),
            ledger: Ledger { undo: Undo::Nothing, by: String::new(), until: None, crossed: None },
        });
    }
    let all: Vec<Does> = steps.iter().map(|step| step.does).collect();
    let comes: Vec<bool> = all
        .iter()
        .map(|does| matches!(does, Does::Run | Does::Verify | Does::Soak | Does::Unknown))
        .collect();
    for (ahead, claims) in steps.iter_mut().zip(claims(state, &graph, &comes, elsewhere)) {
        ahead.takes = claims;
    }
    for (place, ahead) in steps.iter_mut().enumerate() {
        ahead.ledger = ledger(state, &graph, &all, place, text);
    }
    let irreversible = |place: usize| is_irreversible(state, &all, place);
    let point_of_no_return = graph.order().iter().copied().find(|&place| irreversible(place));
    Ahead {
        changes: all.iter().any(|does| matches!(does, Does::Run | Does::Soak | Does::Undo | Does::Unknown)),
        point_of_no_return: point_of_no_return.map(|place| state.definition.steps[place].id.clone()),
        steps,
    }
}

/// The question of a gate that is still to be opened.
fn gate(state: &State, place: usize) -> Option<&str> {
    let gate = state.definition.steps[place].gate.as_ref()?;
    let open = matches!(&state.steps[place].door.gate, GateState::Open { .. } | GateState::Answered(_));
    (!open).then_some(gate.question.as_str())
}

fn does(
    state: &State,
    place: usize,
    seen: Option<&Answer>,
    when: Option<&Result<bool, String>>,
    to_undo: &[StepId],
) -> (Does, String) {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    let of = |does, why: &str| (does, why.to_owned());
    if to_undo.contains(&step.id) {
        return of(Does::Undo, "the run goes back");
    }
    match &found.status {
        Status::Done => return of(Does::Done, "this run did it"),
        Status::Satisfied => return of(Does::Done, "its goal held before this run touched it"),
        Status::Skipped => return of(Does::Skip, "it was left out"),
        _ if matches!(&state.course, Course::Back(back) if back.to.is_none()) || ended(state) => {
            return of(Does::Nothing, "the run does not go forward any more");
        }
        Status::Compensating { .. } | Status::CompensationRetrying { .. } | Status::UndoingCheck { .. } => {
            return of(Does::Undo, "the run goes back");
        }
        Status::CompensationFailed { reason } => return of(Does::Unknown, reason),
        Status::Interrupted(cut) => {
            let why = cut.attention.clone();
            return (Does::Unknown, why.unwrap_or_else(|| "it was cut off, and is settled first".to_owned()));
        }
        Status::Running { .. } => return of(Does::Run, "it is under way"),
        Status::Verifying(_) => return of(Does::Verify, "its action has ended; what it left is looked at"),
        Status::Soaking(_) => return of(Does::Soak, "it has begun"),
        Status::Pending
        | Status::AwaitingApproval
        | Status::Retrying { .. }
        | Status::Failed { .. }
        | Status::Compensated => {}
    }
    match found.when.map(Ok).as_ref().or(when) {
        Some(Ok(false)) => return of(Does::Skip, "`when` is false"),
        Some(Err(why)) => return (Does::Unknown, format!("`when` is not known yet: {why}")),
        Some(Ok(true)) | None => {}
    }
    comes(step, found.redo, seen)
}

/// What a step that is to come does, by what its probe says.
fn comes(step: &Step, redo: bool, seen: Option<&Answer>) -> (Does, String) {
    let reason = |answer: &Answer| match answer.reason.as_str() {
        "" => answer.verdict.to_string(),
        reason => format!("{} ({reason})", answer.verdict),
    };
    let does = match (&step.forward, &step.soak) {
        (Some(_), _) => Does::Run,
        (None, Some(_)) => Does::Soak,
        (None, None) => Does::Verify,
    };
    match seen.filter(|_| !redo) {
        None => {
            let why = if redo { "it is to run again" } else { "nothing says whether its goal holds already" };
            (does, if does == Does::Run { why.to_owned() } else { String::new() })
        }
        Some(answer) => match answer.verdict {
            Verdict::Holds => (Does::Satisfied, format!("probe: {}", reason(answer))),
            Verdict::Absent | Verdict::Partial => (does, format!("probe: {}", reason(answer))),
            Verdict::Unknown => (Does::Unknown, format!("probe: {}", reason(answer))),
        },
    }
}

fn ended(state: &State) -> bool {
    matches!(state.end, Some(End::Cancelled | End::RolledBack { .. }))
}

/// Whether a step cannot be undone, and has acted or is going to.
fn is_irreversible(state: &State, all: &[Does], place: usize) -> bool {
    matches!(state.definition.steps[place].compensate, Compensate::Irreversible(_))
        && (state.steps[place].is_ours() || matches!(all[place], Does::Run | Does::Unknown))
}

fn ledger(state: &State, graph: &Graph, all: &[Does], place: usize, text: &dyn Fn(&str) -> String) -> Ledger {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    let none = |undo, by: String| Ledger { undo, by, until: None, crossed: None };
    let acts = found.is_ours() || matches!(all[place], Does::Run | Does::Unknown);
    if !acts || step.forward.is_none() {
        return match all[place] {
            Does::Satisfied | Does::Done => none(Undo::NotOurs, "what this run did not do stays".to_owned()),
            _ => none(Undo::Nothing, String::new()),
        };
    }
    let (undo, by) = match &step.compensate {
        Compensate::Irreversible(why) => return none(Undo::Irreversible, why.clone()),
        Compensate::Nothing => return none(Undo::Nothing, String::new()),
        Compensate::Inverse => (Undo::Inverse, inverse_described(step)),
        Compensate::Action(operation) => (Undo::Action, text(&described(operation))),
    };
    // A rollback refuses to cross an irreversible step. What another road back, `--to` a step before this one, still
    // reaches without it can be undone all the same.
    let ends = |&last: &usize| {
        last != place
            && is_irreversible(state, all, last)
            && !graph.ancestors(place).iter().any(|&to| !graph.descendants(to).contains(&last))
    };
    let (mut until, mut crossed) = (None, None);
    for last in graph.order().iter().copied().filter(ends) {
        let id = Some(state.definition.steps[last].id.clone());
        if state.steps[last].is_ours() {
            crossed = crossed.or(id);
        } else {
            until = until.or(id);
        }
    }
    Ledger { undo, by, until, crossed }
}
