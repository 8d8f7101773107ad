//! The only way a state changes, live and on replay.
//!
//! Every event names the statuses it is legal in; everything else is an error that carries both. A new kind of
//! event fails to compile here until somebody has thought of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::{ASSUMED, Change, Event, StepEvent, Taken, Terms, What};
use super::index::Index;
use super::memory::Memory;
use super::outcome::{CutCause, Direction, Verdict};
use super::settle::{SETTLE_MS, by_the_world};
use super::soak::Soaking;
use super::state::{
    Back, Course, Door, Elsewhere, End, GateState, Interrupted, Request, Said, Seen, State, Status,
    StepState, Verifying,
};
use super::time::{Stamp, Wait};
use crate::plan::StepId;
use crate::plan::recorded::{Compensate, Definition, OnFailure};

/// An event that cannot follow on a state. From a journal it means damage or a bug, and nothing is guessed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Illegal {
    /// The first event of a run must open it.
    #[error("the run does not begin with `run_opened` but with {event}")]
    NotOpened {
        /// The event.
        event: String,
    },
    /// A gap or a repetition.
    #[error("event {found} follows event {last}")]
    OutOfOrder {
        /// The last one's sequence number.
        last: u64,
        /// The next one's.
        found: u64,
    },
    /// The event names a step that the run does not have.
    #[error("event {seq} is about step `{step}`, which the run does not have")]
    NoSuchStep {
        /// Its sequence number.
        seq: u64,
        /// The step.
        step: StepId,
    },
    /// The state does not admit it.
    #[error("event {seq} ({event}) cannot happen {state}")]
    NotNow {
        /// Its sequence number.
        seq: u64,
        /// The event.
        event: String,
        /// In which state.
        state: String,
    },
}

/// Begins a state with the first event of a run.
///
/// # Errors
/// [`Illegal::NotOpened`] unless it is a `run_opened` with sequence number 1.
pub fn open(event: &Event) -> Result<State, Illegal> {
    let &Event { seq, at, ref what } = event;
    let What::RunOpened { run, definition, by } = what else {
        return Err(Illegal::NotOpened { event: name(what) });
    };
    if seq != 1 {
        return Err(Illegal::OutOfOrder { last: 0, found: seq });
    }
    let held = definition.resources.iter();
    let state = State {
        run: run.clone(),
        by: by.clone(),
        opened: at,
        seq: 1,
        last: at,
        course: Course::Forward,
        end: None,
        until: None,
        resumed: 0,
        paused: false,
        cancelling: false,
        terms: Terms { forward: true, fresh_budget: true, assume_yes: false },
        token: 0,
        steps: definition.steps.iter().map(|_| StepState::fresh()).collect(),
        holders: held
            .map(|(name, resource)| (name.clone(), resource.held_at_start.iter().cloned().collect()))
            .collect(),
        index: Index::default(),
        definition: Arc::clone(definition),
    };
    Ok(state.reindexed())
}

/// Applies one event. On an error the state is as it was.
///
/// # Errors
/// [`Illegal`] when the event cannot follow on this state.
pub fn fold(state: &mut State, event: &Event) -> Result<(), Illegal> {
    if event.seq != state.seq + 1 {
        return Err(Illegal::OutOfOrder { last: state.seq, found: event.seq });
    }
    let legal = match &event.what {
        What::Step { step, is } => {
            let place = state
                .place(step)
                .ok_or_else(|| Illegal::NoSuchStep { seq: event.seq, step: step.clone() })?;
            let before = state.steps[place].status.clone();
            let legal = run_admits(state, place, is) && step_event(state, place, is, event);
            if legal && matches!(is, StepEvent::Redone { .. }) {
                state.index = std::mem::take(&mut state.index).again(state);
            } else if legal {
                let mut index = std::mem::take(&mut state.index);
                index.changed(state, place, &before);
                state.index = index;
            }
            legal
        }
        What::RunOpened { .. }
        | What::RunResumed { .. }
        | What::PlanAmended { .. }
        | What::UntilSet { .. }
        | What::Paused { .. }
        | What::Unpaused { .. }
        | What::CancelRequested { .. }
        | What::Cancelled
        | What::RollbackRequested { .. }
        | What::RolledBack
        | What::Completed => run_event(state, event),
    };
    if !legal {
        let at = match event.what.step().and_then(|id| state.step(id)) {
            Some((step, found)) => format!("while step `{}` is {}", step.id, found.status.word()),
            None => format!(
                "while the run is {:?}",
                state.end.as_ref().map_or(&state.course as &dyn std::fmt::Debug, |e| e)
            ),
        };
        return Err(Illegal::NotNow { seq: event.seq, event: name(&event.what), state: at });
    }
    state.seq = event.seq;
    state.last = event.at;
    Ok(())
}

fn run_event(state: &mut State, event: &Event) -> bool {
    match &event.what {
        What::RunOpened { .. } => return false,
        What::RunResumed { token, terms, .. } => {
            if *token < state.token {
                return false;
            }
            let taken_over = *token > state.token;
            state.token = *token;
            (state.until, state.resumed) = (None, event.seq);
            state.steps.iter_mut().for_each(|step| step.door.wavered = false);
            resume(state, terms, event.at, taken_over);
        }
        What::PlanAmended { definition, changes, .. } => {
            if !may_amend(state, definition) || !changes.iter().all(|change| may_take(state, change)) {
                return false;
            }
            let matters: BTreeSet<_> =
                changes.iter().filter(|c| c.matters).filter_map(|c| c.step.as_ref()).collect();
            amend(state, definition, &matters);
        }
        What::UntilSet { step, .. } if may_go_until(state) && state.place(step).is_some() => {
            state.until = Some(step.clone());
        }
        What::Paused { .. } if state.end.is_none() && !state.paused => state.paused = true,
        What::Unpaused { .. } if state.paused => state.paused = false,
        What::CancelRequested { .. } if state.end.is_none() && !state.cancelling => state.cancelling = true,
        What::Cancelled if state.cancelling => {
            state.cancelling = false;
            state.end = Some(End::Cancelled);
        }
        What::RollbackRequested { to, parallel, failed, .. } => {
            if matches!(state.end, Some(End::RolledBack { .. })) || !widens(state, to.as_ref()) {
                return false;
            }
            if state.end.take().is_some() {
                // While it was closed nobody took its waits over.
                state.steps.iter_mut().for_each(|step| anchor(&mut step.status, event.at));
            }
            state.cancelling = false;
            state.paused = false;
            state.steps.iter_mut().for_each(|step| step.door.elsewhere.clear());
            state.course = Course::Back(Back {
                to: to.clone(),
                parallel: (*parallel).max(1),
                failed: failed.clone(),
                then_forward: false,
            });
        }
        What::RolledBack => {
            let Course::Back(back) = &state.course else { return false };
            if state.end.is_some() || !state.index.nothing_to_undo() {
                return false;
            }
            let back = back.clone();
            if back.to.is_some() {
                let scope = state.index.after(back.to.as_ref());
                for (place, step) in state.steps.iter_mut().enumerate() {
                    if scope.contains(place) {
                        let (attempts, compensations) = (step.attempts, step.compensations);
                        *step = StepState { attempts, compensations, ..StepState::fresh() };
                    } else if let Status::Verifying(verifying) = &mut step.status {
                        // Nobody looked in the meantime.
                        verifying.within = Wait::new(event.at, verifying.within.length_ms);
                    }
                }
                state.course = if back.then_forward { Course::Forward } else { Course::Resting };
            } else {
                state.end = Some(End::RolledBack { failed: back.failed });
            }
        }
        What::Completed if state.end.is_none() && state.index.all_ended_well() => {
            state.end = Some(End::Complete);
        }
        What::UntilSet { .. }
        | What::Paused { .. }
        | What::Unpaused { .. }
        | What::CancelRequested { .. }
        | What::Cancelled
        | What::Completed
        | What::Step { .. } => return false,
    }
    state.index = std::mem::take(&mut state.index).again(state);
    true
}

/// A process takes the run on: every attempt without an end is cut off, waits go on by its own clock.
///
/// With the token that it had before, it is the same process: what it runs is not cut off. In a run that has
/// ended nothing changes; one that failed with `on_failure = "rollback"` is rolled back and not tried again.
fn resume(state: &mut State, terms: &Terms, at: Stamp, taken_over: bool) {
    state.terms = terms.clone();
    if state.end.is_some() {
        return;
    }
    let goes_back = state.irreversible(None).is_empty();
    let only_back = matches!(&state.course, Course::Back(back) if back.to.is_none());
    if terms.forward {
        match &mut state.course {
            Course::Resting => state.course = Course::Forward,
            Course::Back(back) if back.to.is_some() => back.then_forward = true,
            Course::Back(_) | Course::Forward => {}
        }
    }
    for (step, definition) in state.steps.iter_mut().zip(&state.definition.steps) {
        if terms.fresh_budget {
            (step.spent, step.cuts) = (0, 0);
        }
        let cut = |direction, attempt| {
            let within = Wait::new(at, SETTLE_MS.max(definition.timeout_ms.saturating_mul(2)));
            let cause = CutCause::Crash;
            Status::Interrupted(Interrupted {
                direction,
                attempt,
                cause,
                within,
                over: false,
                attention: None,
            })
        };
        step.status = match std::mem::replace(&mut step.status, Status::Pending) {
            Status::Running { attempt } if taken_over => cut(Direction::Forward, attempt),
            Status::Compensating { attempt } if taken_over => cut(Direction::Compensation, attempt),
            Status::Interrupted(mut cut) => {
                cut.attention = None;
                cut.within = Wait::new(at, cut.within.length_ms);
                Status::Interrupted(cut)
            }
            Status::Failed { .. }
                if terms.fresh_budget
                    && terms.forward
                    && !only_back
                    && !(goes_back && definition.on_failure == OnFailure::Rollback) =>
            {
                Status::Pending
            }
            Status::CompensationFailed { .. } if terms.fresh_budget => {
                Status::CompensationRetrying { pause: Wait::new(at, 0) }
            }
            Status::Retrying { pause } => Status::Retrying { pause: pause.anchored(at) },
            Status::CompensationRetrying { pause } => {
                Status::CompensationRetrying { pause: pause.anchored(at) }
            }
            Status::Verifying(verifying) => Status::Verifying(Verifying {
                within: Wait::new(at, verifying.within.length_ms),
                ..verifying
            }),
            Status::UndoingCheck { within, last } => {
                Status::UndoingCheck { within: Wait::new(at, within.length_ms), last }
            }
            rest @ (Status::Pending
            | Status::AwaitingApproval
            | Status::Running { .. }
            | Status::Soaking(_)
            | Status::Done
            | Status::Satisfied
            | Status::Skipped
            | Status::Failed { .. }
            | Status::Compensating { .. }
            | Status::CompensationFailed { .. }
            | Status::Compensated) => rest,
        };
        // What was seen at the door by another process is looked at again.
        if matches!(step.status, Status::Pending) {
            step.door.probe = None;
            step.door.gone.clear();
        }
        step.door.elsewhere.clear();
    }
}

/// The waits of a run that is opened again go on by the clock of who opens it.
fn anchor(status: &mut Status, at: Stamp) {
    match status {
        Status::Retrying { pause } | Status::CompensationRetrying { pause } => *pause = pause.anchored(at),
        Status::Verifying(Verifying { within, .. })
        | Status::UndoingCheck { within, .. }
        | Status::Interrupted(Interrupted { within, .. }) => *within = Wait::new(at, within.length_ms),
        Status::Pending
        | Status::AwaitingApproval
        | Status::Running { .. }
        | Status::Soaking(_)
        | Status::Done
        | Status::Satisfied
        | Status::Skipped
        | Status::Failed { .. }
        | Status::Compensating { .. }
        | Status::Compensated
        | Status::CompensationFailed { .. } => {}
    }
}

/// A run that was closed or rolled back stays as it is, and what the run has touched stays in it.
pub(super) fn may_amend(state: &State, definition: &Definition) -> bool {
    let stays: BTreeSet<&StepId> = definition.steps.iter().map(|step| &step.id).collect();
    let touched = |found: &StepState| found.owned || !matches!(found.status, Status::Pending);
    let mut steps = state.definition.steps.iter().zip(&state.steps);
    matches!(state.end, None | Some(End::Complete))
        && steps.all(|(step, found)| stays.contains(&step.id) || !touched(found))
}

/// Whether a change may be taken as it says: only a finished step keeps its result, runs again or has its
/// compensation replaced, and the last only when there is something of ours to undo.
fn may_take(state: &State, change: &Change) -> bool {
    let found = change.step.as_ref().and_then(|step| state.step(step)).map(|(_, found)| found);
    match change.taken {
        Taken::AsEdited => true,
        Taken::Kept | Taken::Redone => found.is_some_and(|found| found.status.is_finished()),
        Taken::Compensation => found.is_some_and(|found| found.status.is_finished() && found.owned),
    }
}

/// Whether a process may be told how far to go: the run is not over for good.
pub(super) fn may_go_until(state: &State) -> bool {
    matches!(state.end, None | Some(End::Complete))
}

/// Whether a finished step may run again: forward, and not in a run that is closed, being closed or going back.
pub(super) fn may_redo(state: &State) -> bool {
    may_go_until(state) && !state.cancelling && !matches!(state.course, Course::Back(_))
}

/// A finished step is to be begun again, and what rests on it is not as it was.
fn redo(state: &mut State, place: usize) {
    let step = &mut state.steps[place];
    (step.status, step.redo, step.door, step.trouble) = (Status::Pending, true, Door::default(), None);
    (step.spent, step.cuts, step.ended_at) = (0, 0, None);
    let after = state.index.after(Some(&state.definition.steps[place].id));
    for p in (0..state.steps.len()).filter(|&p| after.contains(p)) {
        let step = &mut state.steps[p];
        // A soak would have watched what is there no more.
        if matches!(step.status, Status::AwaitingApproval | Status::Soaking(_)) {
            step.status = Status::Pending;
        }
        if matches!(step.status, Status::Pending) {
            step.door = Door::default();
        }
    }
    state.end = None;
}

/// Whether a rollback may be asked for: an unfinished one may undo more than was asked for first, not less.
pub(super) fn widens(state: &State, to: Option<&StepId>) -> bool {
    let Course::Back(back) = &state.course else { return true };
    state.index.after(to).covers(&state.index.after(back.to.as_ref()))
}

/// Whether the run as a whole admits an event about this step.
fn run_admits(state: &State, place: usize, is: &StepEvent) -> bool {
    if matches!(is, StepEvent::Redone { .. }) {
        return may_redo(state);
    }
    if state.end.is_some() {
        return matches!(is, StepEvent::Resolved { .. });
    }
    let held = state.paused || state.cancelling;
    let back = matches!(state.course, Course::Back(_));
    let begins = matches!(
        is,
        StepEvent::Started { direction: Direction::Forward, .. }
            | StepEvent::VerifyBegan
            | StepEvent::SoakBegan
            | StepEvent::Satisfied { .. }
    );
    let begins_back = matches!(is, StepEvent::Started { direction: Direction::Compensation, .. });
    let goes_back = begins_back || matches!(is, StepEvent::Compensated { .. });
    let forward = state.course == Course::Forward && state.terms.forward;
    let wanted = state.index.wanted(place) && state.index.needs_met(place);
    let admitted = forward && !held && state.index.failed.is_empty() && wanted;
    (!begins || admitted)
        && (!begins_back || !held)
        && (!goes_back || back && state.index.undoable.contains(&place))
}

fn amend(state: &mut State, definition: &Arc<Definition>, matters: &BTreeSet<&StepId>) {
    for (step, found) in state.definition.steps.iter().zip(&mut state.steps) {
        // What is remembered of other checks says nothing about these.
        if let Status::Soaking(soak) = &mut found.status
            && definition.step(&step.id).is_none_or(|new| new.verify != step.verify)
        {
            soak.memory = Memory::default();
        }
    }
    let mut old: BTreeMap<StepId, StepState> = state
        .definition
        .steps
        .iter()
        .zip(std::mem::take(&mut state.steps))
        .map(|(step, found)| (step.id.clone(), found))
        .collect();
    state.definition = Arc::clone(definition);
    state.steps =
        definition.steps.iter().map(|s| old.remove(&s.id).unwrap_or_else(StepState::fresh)).collect();
    state.index = Index::of(state);
    // An approval is void when its step, or one that it depends on, has changed.
    for id in matters {
        let Some(place) = state.place(id) else { continue };
        let after = state.index.after(Some(id));
        for p in (0..state.steps.len()).filter(|&p| p == place || after.contains(p)) {
            let step = &mut state.steps[p];
            if matches!(step.status, Status::AwaitingApproval) {
                step.status = Status::Pending;
            }
            if matches!(step.status, Status::Pending) {
                step.door = Door::default();
            }
        }
        if matches!(state.steps[place].status, Status::Pending) {
            state.steps[place].when = None;
        }
    }
    if state.end == Some(End::Complete) && state.steps.iter().any(|s| !s.status.ended_well()) {
        state.end = None;
    }
    for (name, resource) in &definition.resources {
        let start = || resource.held_at_start.iter().cloned().collect();
        state.holders.entry(name.clone()).or_insert_with(start);
    }
}

/// Applies an event about one step; false: it is not legal here, and nothing was changed.
fn step_event(state: &mut State, place: usize, is: &StepEvent, event: &Event) -> bool {
    let at = event.at;
    let definition = Arc::clone(&state.definition);
    let plan = &definition.steps[place];
    let step = &mut state.steps[place];
    let verifying = |satisfied| {
        let within = Wait::new(at, plan.verify_within_ms);
        Status::Verifying(Verifying { satisfied, within, last: None })
    };
    match (is, &mut step.status) {
        (StepEvent::Decided { when }, Status::Pending) if step.when.is_none() => step.when = Some(*when),
        (StepEvent::Probed { answer }, Status::Pending) => {
            let since = step.door.probe.as_ref().and_then(|seen| seen.unknown_since);
            let unknown_since = (answer.verdict == Verdict::Unknown).then(|| since.unwrap_or(at));
            step.door.probe = Some(Seen { answer: answer.clone(), at, unknown_since });
            step.door.elsewhere.clear();
        }
        (StepEvent::Satisfied { outputs }, Status::Pending) => {
            step.outputs = Some(outputs.clone());
            step.status = verifying(!step.owned);
            step.started = event.seq;
            let takes = plan.takes.clone();
            hold(state, &takes);
        }
        (StepEvent::ApprovalRequested { question, evidence }, Status::Pending) => {
            let (question, evidence) = (question.clone(), evidence.clone());
            step.door.gate = GateState::Asked(Request { seq: event.seq, at, question, evidence, said: None });
            step.status = Status::AwaitingApproval;
        }
        (StepEvent::Approved { request, by, note }, Status::AwaitingApproval) => match &step.door.gate {
            GateState::Asked(asked) if asked.seq == *request => {
                let said = Some(Said { by: by.clone(), at, note: note.clone() });
                step.door.gate = GateState::Answered(Request { said, ..asked.clone() });
            }
            GateState::Asked(_) | GateState::Answered(_) | GateState::Open { .. } | GateState::Shut => {
                return false;
            }
        },
        (StepEvent::GateOpened { request, .. }, Status::AwaitingApproval) => match &step.door.gate {
            GateState::Answered(asked) if asked.seq == *request => {
                step.door.gate = GateState::Open { request: asked.clone(), at };
                step.status = Status::Pending;
            }
            GateState::Asked(_) | GateState::Answered(_) | GateState::Open { .. } | GateState::Shut => {
                return false;
            }
        },
        (StepEvent::ApprovalVoided { request, .. }, Status::AwaitingApproval | Status::Pending) => {
            match &step.door.gate {
                GateState::Answered(asked) if asked.seq == *request => {
                    step.door.wavered |= asked.said.as_ref().is_some_and(|said| said.by == ASSUMED);
                }
                GateState::Asked(asked) | GateState::Open { request: asked, .. } if asked.seq == *request => {
                }
                GateState::Asked(_) | GateState::Answered(_) | GateState::Open { .. } | GateState::Shut => {
                    return false;
                }
            }
            step.door.gate = GateState::Shut;
            step.status = Status::Pending;
        }
        (StepEvent::Rejected { request, by, note }, Status::AwaitingApproval) => {
            match &step.door.gate {
                GateState::Asked(asked) | GateState::Answered(asked) if asked.seq == *request => {}
                GateState::Asked(_) | GateState::Answered(_) | GateState::Open { .. } | GateState::Shut => {
                    return false;
                }
            }
            step.door.gate = GateState::Shut;
            let why = if note.is_empty() { String::new() } else { format!(": {note}") };
            step.trouble = Some(format!("rejected by {by}{why}"));
        }
        (StepEvent::GoneLooked { resource, owner, answers }, _) => {
            let worst = super::worst(answers);
            let gone = worst.verdict == Verdict::Holds;
            let seen = Seen { answer: worst, at, unknown_since: None };
            step.door.elsewhere.remove(resource);
            step.door.gone.entry(resource.clone()).or_default().insert(owner.clone(), seen);
            if gone {
                // Its step was left out because somebody else had ended it.
                let_go(state, &BTreeMap::from([(resource.clone(), owner.clone())]));
            }
        }
        (StepEvent::HeldElsewhere { resource, by_run, owner }, _) => {
            let held = Elsewhere { run: by_run.clone(), owner: owner.clone() };
            step.door.elsewhere.insert(resource.clone(), held);
        }
        (StepEvent::PreImageTaken { pre_image }, Status::Pending) if step.pre_image.is_none() => {
            step.pre_image = Some(pre_image.clone());
        }
        (
            StepEvent::Started { direction: Direction::Forward, attempt },
            Status::Pending | Status::Retrying { .. },
        ) if *attempt == step.attempts + 1 => {
            step.door.elsewhere.clear();
            step.attempts = *attempt;
            step.owned = true;
            step.started = event.seq;
            step.started_at = Some(at);
            step.ended_at = None;
            step.status = Status::Running { attempt: *attempt };
            let takes = plan.takes.clone();
            hold(state, &takes);
        }
        (StepEvent::Started { direction: Direction::Compensation, attempt }, status)
            if *attempt == step.compensations + 1 && may_compensate(status) =>
        {
            if !matches!(status, Status::CompensationRetrying { .. }) {
                // Going back has a budget of its own.
                (step.spent, step.cuts) = (0, 0);
            }
            step.door.elsewhere.clear();
            step.compensations = *attempt;
            step.started_at = Some(at);
            step.ended_at = None;
            step.status = Status::Compensating { attempt: *attempt };
            let frees = plan.frees.clone();
            hold(state, &frees);
        }
        (StepEvent::Acted { direction: Direction::Forward, attempt, outputs, .. }, status)
            if in_attempt(status, Direction::Forward, *attempt) =>
        {
            step.outputs = Some(outputs.clone());
            step.trouble = None;
            step.status = verifying(false);
        }
        (StepEvent::Acted { direction: Direction::Compensation, attempt, .. }, status)
            if in_attempt(status, Direction::Compensation, *attempt) =>
        {
            step.status = Status::UndoingCheck { within: Wait::new(at, plan.undone_within_ms), last: None };
        }
        (StepEvent::AttemptFailed { direction, attempt, message, again_in_ms, .. }, status)
            if in_attempt(status, *direction, *attempt) || verify_gave_up(status, *direction) =>
        {
            step.spent += 1;
            step.cuts = 0;
            step.trouble = Some(message.clone());
            // Without another attempt a `failed` or `compensation_failed` follows at once.
            let pause = Wait::new(at, again_in_ms.unwrap_or(0));
            step.status = match direction {
                Direction::Forward => Status::Retrying { pause },
                Direction::Compensation => Status::CompensationRetrying { pause },
            };
        }
        (StepEvent::Cut { direction, attempt, cause, message, .. }, status)
            if in_attempt(status, *direction, *attempt) =>
        {
            step.trouble = Some(message.clone());
            step.cuts += u32::from(by_the_world(*cause));
            let within = Wait::new(at, SETTLE_MS.max(plan.timeout_ms.saturating_mul(2)));
            step.status = Status::Interrupted(Interrupted {
                direction: *direction,
                attempt: *attempt,
                cause: *cause,
                within,
                over: false,
                attention: None,
            });
        }
        (StepEvent::ProvedOver { direction, attempt }, Status::Interrupted(cut))
            if cut.direction == *direction && cut.attempt == *attempt && !cut.over =>
        {
            cut.over = true;
            cut.within = Wait::new(at, SETTLE_MS);
        }
        (
            StepEvent::Settled { direction, attempt, done, outputs, how, again_in_ms },
            Status::Interrupted(cut),
        ) if cut.direction == *direction
            && cut.attempt == *attempt
            && (cut.over || matches!(how, super::event::How::Recorded)) =>
        {
            // A recorded end is followed by the event that says how it ended; until then the attempt counts
            // as running again.
            let recorded = matches!(how, super::event::How::Recorded);
            step.status = match (direction, recorded, done) {
                (Direction::Forward, true, _) => Status::Running { attempt: *attempt },
                (Direction::Compensation, true, _) => Status::Compensating { attempt: *attempt },
                (Direction::Forward, false, true) => {
                    step.outputs = Some(outputs.clone());
                    verifying(false)
                }
                (Direction::Forward, false, false) => Status::Retrying { pause: Wait::new(at, *again_in_ms) },
                (Direction::Compensation, false, _) => {
                    Status::CompensationRetrying { pause: Wait::new(at, *again_in_ms) }
                }
            };
        }
        (StepEvent::AttentionNeeded { reason }, Status::Interrupted(cut)) if cut.attention.is_none() => {
            cut.attention = Some(reason.clone());
        }
        (StepEvent::VerifyBegan, Status::Pending) => {
            step.started_at = Some(at);
            step.status = verifying(false);
        }
        (StepEvent::VerifyLooked { answers }, Status::Verifying(found)) => found.last = Some(answers.clone()),
        (StepEvent::Verified { .. }, Status::Verifying(found)) => {
            step.status = if found.satisfied { Status::Satisfied } else { Status::Done };
            step.ended_at = Some(at);
            (step.trouble, step.redo) = (None, false);
            (step.spent, step.cuts) = (0, 0);
            let frees = plan.frees.clone();
            let_go(state, &frees);
        }
        (
            StepEvent::Failed { reason },
            Status::Pending
            | Status::AwaitingApproval
            | Status::Retrying { .. }
            | Status::Verifying(_)
            | Status::Soaking(_),
        ) => {
            step.status = Status::Failed { reason: reason.clone() };
            step.trouble = Some(reason.clone());
            step.ended_at = Some(at);
        }
        (
            StepEvent::Skipped { note, .. },
            Status::Pending | Status::AwaitingApproval | Status::Retrying { .. } | Status::Failed { .. },
        ) => {
            (step.status, step.redo) = (Status::Skipped, false);
            step.trouble = (!note.is_empty()).then(|| note.clone());
            step.ended_at = Some(at);
        }
        (StepEvent::Redone { .. }, status) if status.is_finished() => redo(state, place),
        (StepEvent::SoakBegan, Status::Pending) => {
            step.started_at = Some(at);
            step.status = Status::Soaking(Box::new(Soaking::began(at)));
        }
        (StepEvent::SoakSaved { good, good_ms, last, memory }, Status::Soaking(soak)) => {
            soak.saved(*good, *good_ms, *last, memory);
        }
        (StepEvent::SoakSampled { answers, memory }, Status::Soaking(soak)) => {
            soak.sampled(plan.soak.as_ref(), answers, at, memory);
        }
        (StepEvent::ReadyLost { answers }, Status::Soaking(soak)) if soak.ready_lost.is_none() => {
            soak.lost(answers, at);
        }
        (StepEvent::ReadyRegained { by }, Status::Soaking(soak)) if soak.ready_lost.is_some() => {
            soak.ready_lost = None;
            soak.ready_waived = by.is_some();
        }
        (StepEvent::SoakPassed, Status::Soaking(_)) => {
            (step.status, step.redo) = (Status::Done, false);
            step.ended_at = Some(at);
        }
        (StepEvent::UndoneLooked { answers }, Status::UndoingCheck { last, .. }) => {
            *last = Some(answers.clone());
        }
        (StepEvent::Compensated { .. }, status)
            if matches!(status, Status::UndoingCheck { .. })
                || may_compensate(status) && plan.compensate == Compensate::Nothing =>
        {
            // Where nothing was done, nobody has let go.
            let undone = matches!(status, Status::UndoingCheck { .. });
            step.status = Status::Compensated;
            step.ended_at = Some(at);
            if undone {
                let takes = plan.takes.clone();
                let_go(state, &takes);
            }
        }
        (StepEvent::CompensationFailed { reason }, status)
            if matches!(status, Status::UndoingCheck { .. }) || may_compensate(status) =>
        {
            step.status = Status::CompensationFailed { reason: reason.clone() };
            step.trouble = Some(reason.clone());
            step.ended_at = Some(at);
        }
        (StepEvent::Resolved { done, outputs, .. }, Status::Interrupted(cut)) if cut.attention.is_some() => {
            // Who says that it was not done wants it done.
            (step.spent, step.cuts) = (0, 0);
            step.status = match (cut.direction, done) {
                (Direction::Forward, true) => {
                    step.outputs = Some(outputs.clone());
                    verifying(false)
                }
                (Direction::Forward, false) => Status::Retrying { pause: Wait::new(at, 0) },
                (Direction::Compensation, true) => {
                    Status::UndoingCheck { within: Wait::new(at, plan.undone_within_ms), last: None }
                }
                (Direction::Compensation, false) => Status::CompensationRetrying { pause: Wait::new(at, 0) },
            };
        }
        (StepEvent::Resolved { done, .. }, Status::CompensationFailed { .. }) => {
            (step.spent, step.cuts) = (0, 0);
            step.status = if *done {
                Status::UndoingCheck { within: Wait::new(at, plan.undone_within_ms), last: None }
            } else {
                Status::CompensationRetrying { pause: Wait::new(at, 0) }
            };
        }
        // No wildcard over the events: a new one has to say above where it is legal.
        (
            StepEvent::Decided { .. }
            | StepEvent::Probed { .. }
            | StepEvent::Satisfied { .. }
            | StepEvent::ApprovalRequested { .. }
            | StepEvent::Approved { .. }
            | StepEvent::GateOpened { .. }
            | StepEvent::ApprovalVoided { .. }
            | StepEvent::Rejected { .. }
            | StepEvent::PreImageTaken { .. }
            | StepEvent::Started { .. }
            | StepEvent::Acted { .. }
            | StepEvent::AttemptFailed { .. }
            | StepEvent::Cut { .. }
            | StepEvent::ProvedOver { .. }
            | StepEvent::Settled { .. }
            | StepEvent::AttentionNeeded { .. }
            | StepEvent::VerifyBegan
            | StepEvent::VerifyLooked { .. }
            | StepEvent::Verified { .. }
            | StepEvent::Failed { .. }
            | StepEvent::Skipped { .. }
            | StepEvent::Redone { .. }
            | StepEvent::SoakBegan
            | StepEvent::SoakSaved { .. }
            | StepEvent::SoakSampled { .. }
            | StepEvent::ReadyLost { .. }
            | StepEvent::ReadyRegained { .. }
            | StepEvent::SoakPassed
            | StepEvent::UndoneLooked { .. }
            | StepEvent::Compensated { .. }
            | StepEvent::CompensationFailed { .. }
            | StepEvent::Resolved { .. },
            _,
        ) => return false,
    }
    true
}

/// Whether a compensation may start, or be passed over, from here.
fn may_compensate(status: &Status) -> bool {
    match status {
        Status::Done
        | Status::Failed { .. }
        | Status::Skipped
        | Status::Pending
        | Status::AwaitingApproval
        | Status::Retrying { .. }
        | Status::Verifying(_)
        | Status::CompensationRetrying { .. } => true,
        Status::Interrupted(cut) => cut.over && cut.direction == Direction::Forward,
        Status::Running { .. }
        | Status::Soaking(_)
        | Status::Satisfied
        | Status::Compensating { .. }
        | Status::UndoingCheck { .. }
        | Status::Compensated
        | Status::CompensationFailed { .. } => false,
    }
}

fn in_attempt(status: &Status, direction: Direction, number: u32) -> bool {
    match (status, direction) {
        (Status::Running { attempt }, Direction::Forward)
        | (Status::Compensating { attempt }, Direction::Compensation) => *attempt == number,
        (
            Status::Pending
            | Status::AwaitingApproval
            | Status::Running { .. }
            | Status::Retrying { .. }
            | Status::Verifying(_)
            | Status::Soaking(_)
            | Status::Done
            | Status::Satisfied
            | Status::Skipped
            | Status::Failed { .. }
            | Status::Interrupted(_)
            | Status::Compensating { .. }
            | Status::CompensationRetrying { .. }
            | Status::UndoingCheck { .. }
            | Status::Compensated
            | Status::CompensationFailed { .. },
            Direction::Forward | Direction::Compensation,
        ) => false,
    }
}

/// `retry.on = "verify"`: the attempt counts as failed because its goal never held.
fn verify_gave_up(status: &Status, direction: Direction) -> bool {
    direction == Direction::Forward && matches!(status, Status::Verifying(found) if !found.satisfied)
}

fn hold(state: &mut State, owners: &BTreeMap<String, String>) {
    for (resource, owner) in owners {
        state.holders.entry(resource.clone()).or_default().insert(owner.clone());
    }
}

fn let_go(state: &mut State, owners: &BTreeMap<String, String>) {
    for (resource, owner) in owners {
        if let Some(holders) = state.holders.get_mut(resource) {
            holders.remove(owner);
        }
    }
}

/// The event's name as it stands in the journal.
fn name(what: &What) -> String {
    let first = |value: serde_json::Value| match value {
        serde_json::Value::Object(map) => map.keys().next().cloned(),
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_) => None,
    };
    let name = match what {
        What::Step { is, .. } => serde_json::to_value(is).ok().and_then(first),
        other => serde_json::to_value(other).ok().and_then(first),
    };
    format!("`{}`", name.unwrap_or_else(|| "?".to_owned()))
}

#[cfg(test)]
mod tests;
