//! The saga core: a pure state machine that knows nothing of tokio, sled, clocks or sockets.
//!
//! [`fold()`] is the only way a [`State`] changes; [`decide()`] says, for a state and a moment, which events to
//! append and what may start once they are on disk; [`receive()`] turns what the world answers into events, and
//! [`command()`] what people ask. [`advance`] puts them together, and is all that a driver needs. It keeps P1
//! (a start and its intent are one value), P3 (resume is the same fold), P5 (`satisfied` is never ours).

mod back;
mod claims;
mod command;
mod decide;
mod door;
mod event;
mod fold;
mod index;
mod kept;
mod memory;
mod outcome;
mod preview;
mod receive;
mod settle;
mod shown;
mod soak;
mod standing;
mod state;
mod survey;
mod time;
mod watch;

pub use claims::{Claim, Holders, Other, held, undone_on_purpose};
pub use command::{Command, Refusal, command};
pub use decide::{Ask, Decision, Session, Start, decide};
pub use event::{Change, EVENT_VERSION, Event, Evidence, How, Outputs, StepEvent, Taken, Terms, What};
pub use fold::{Illegal, fold, open};
pub use kept::{Kept, resumes_quietly, with_tails};
pub use memory::Memory;
pub use outcome::{
    Answer, AttemptKey, CutCause, Direction, FailureClass, LeftRunning, Outcome, Settlement, Trace, Verdict,
};
pub use preview::{Ahead, Does, Ledger, StepAhead, Undo, ahead};
pub use receive::{Reply, receive, unsaved};
pub use shown::Shown;
pub use soak::{Sample, Soaking, Stand, Tail};
pub use standing::{Question, Standing, questions, reached, standing};
pub use state::{
    Back, Course, Door, Elsewhere, End, GateState, Interrupted, Request, Said, Seen, State, Status,
    StepState, Verifying,
};
pub use survey::{Finding, Glance, Purpose, described, inverse_described, place};
pub use time::{Moment, Stamp, Wait, backoff_ms};

use crate::plan::catalog;
use crate::plan::recorded::Step;

/// Whether something can say if the step's goal already holds.
pub fn has_probe(step: &Step) -> bool {
    let own = |name: &str| catalog::action(name).is_some_and(|action| action.own_probe);
    step.probe.is_some() || step.forward.as_ref().is_some_and(|forward| own(&forward.name))
}

/// Whether the action goes back from a pre-image.
pub fn takes_pre_image(action: &str) -> bool {
    catalog::action(action).is_some_and(|action| action.own_inverse)
}

/// Of several answers the one that decides: `unknown` before `absent` before `partial` before `holds`.
///
/// Acting needs certainty, so one look that could not be taken spoils the others. Outputs of all are put
/// together. No answers at all hold.
pub fn worst(answers: &[Answer]) -> Answer {
    let rank = |verdict| match verdict {
        Verdict::Unknown => 3,
        Verdict::Absent => 2,
        Verdict::Partial => 1,
        Verdict::Holds => 0,
    };
    let worst = answers.iter().max_by_key(|answer| rank(answer.verdict));
    let mut answer = worst.cloned().unwrap_or_else(|| Answer::new(Verdict::Holds, ""));
    for other in answers {
        for (key, value) in &other.outputs {
            answer.outputs.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    answer
}

/// What [`advance`] gives the driver.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "what may start is lost, and events that are folded already would never be stored"]
pub struct Advance {
    /// Folded already; to be on stable storage before anything else happens.
    pub append: Vec<Event>,
    /// May start after that, and not before.
    pub start: Vec<Start>,
    /// Decide again after this many milliseconds, if nothing happens before.
    pub wake_ms: Option<u64>,
    /// Decide again after this many milliseconds as well, if somebody is still there: what waits for a person lapses
    /// then. Nobody waits for it.
    pub lapse_ms: Option<u64>,
    /// Something waits for what another run holds: decide again when one has let go.
    pub waits_for_run: bool,
}

/// Folds what was received, then decides until there is nothing more to append.
///
/// The state is then ahead of the disk by `append`: nothing of it may be shown, and nothing in `start` may
/// start, before that is stored. If storing fails, state and session are to be thrown away.
///
/// # Errors
/// [`Illegal`] when an event cannot follow on the state: a bug, since they were made for it.
pub fn advance(
    state: &mut State,
    session: &mut Session,
    received: Vec<What>,
    now: &Moment,
) -> Result<Advance, Illegal> {
    let mut all = Advance::default();
    record(state, session, received, now, &mut all.append)?;
    loop {
        let Decision { append, start, wake_ms, lapse_ms, waits_for_run } = decide(state, session, now);
        for start in &start {
            session.in_flight.insert(start.ask.clone());
            if let Ask::Sample(step) = &start.ask {
                session.sampled.insert(step.clone(), now.at.after_ms(start.after_ms));
            }
        }
        all.start.extend(start);
        (all.wake_ms, all.lapse_ms, all.waits_for_run) = (wake_ms, lapse_ms, waits_for_run);
        if append.is_empty() {
            if !state.index.failed.is_empty() || !matches!(state.course, Course::Forward) {
                // A failure in a later pass stops the looks at doors of the passes before it.
                let stays = |start: &Start| !start.ask.is_at_the_door();
                for start in all.start.iter().filter(|start| !stays(start)) {
                    session.in_flight.remove(&start.ask);
                }
                all.start.retain(stays);
            }
            return Ok(all);
        }
        record(state, session, append, now, &mut all.append)?;
    }
}

fn record(
    state: &mut State,
    session: &mut Session,
    what: Vec<What>,
    now: &Moment,
    events: &mut Vec<Event>,
) -> Result<(), Illegal> {
    for what in what {
        // Event times never go back within a run, whatever the wall clock does.
        let at = Stamp { wall_ms: now.at.wall_ms.max(state.last.wall_ms), ..now.at };
        let event = Event { seq: state.seq + 1, at, what };
        fold(state, &event)?;
        forget(session, &event.what);
        events.push(event);
    }
    Ok(())
}

/// A step that has moved on is looked at afresh; a saved tail is no tail any more.
fn forget(session: &mut Session, what: &What) {
    let What::Step { step, is } = what else {
        session.tries.clear();
        if matches!(what, What::PlanAmended { .. }) {
            // The checks may be others now.
            session.memories.clear();
            session.tails.values_mut().for_each(|tail| tail.memory = Memory::default());
        }
        if matches!(what, What::RolledBack | What::PlanAmended { .. }) {
            outdate(session);
        }
        return;
    };
    match is {
        StepEvent::Redone { .. } => {
            session.tries.clear();
            outdate(session);
        }
        StepEvent::Approved { .. } => {
            // The evidence is looked at again from here on, and not as it was seen before the answer.
            let evidence = Ask::Evidence(step.clone());
            if session.in_flight.contains(&evidence) {
                session.outdated.insert(evidence);
            }
            session.tries.retain(|ask, _| ask.step() != step);
        }
        StepEvent::SoakSaved { .. } | StepEvent::SoakBegan => {
            session.tails.remove(step);
            session.tries.retain(|ask, _| ask.step() != step);
        }
        StepEvent::VerifyLooked { .. }
        | StepEvent::UndoneLooked { .. }
        | StepEvent::GoneLooked { .. }
        | StepEvent::HeldElsewhere { .. }
        | StepEvent::Probed { .. }
        | StepEvent::SoakSampled { .. } => {}
        _ => {
            session.memories.remove(step);
            session.tries.retain(|ask, _| ask.step() != step);
        }
    }
}

/// What was looked at before says nothing about what was undone or changed since.
fn outdate(session: &mut Session) {
    let looks = |ask: &&Ask| !matches!(ask, Ask::Act { .. } | Ask::Settle { .. });
    session.outdated = session.in_flight.iter().filter(looks).cloned().collect();
}
