//! What to do next: from a state and the time to one value that holds the events to append and what may start
//! once they are on disk.
//!
//! Keeps P1 by its shape: an attempt is started only by the decision that appends its intent.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Holders;
use super::event::{StepEvent, What};
use super::memory::Memory;
use super::outcome::Direction;
use super::soak::Tail;
use super::state::{Course, State, Status};
use super::time::{Moment, Stamp};
use super::{back, door, settle, watch};
use crate::plan::StepId;
use crate::plan::recorded::{OnFailure, Step};

/// Something to find out or to do in the world. All but `Act` only look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// Evaluate the step's `when`.
    When(StepId),
    /// Look at the step's probe, at the door.
    Probe(StepId),
    /// Look at the evidence for the step's approval.
    Evidence(StepId),
    /// Look whether another owner has let go of a resource.
    Gone {
        /// The step that waits for it.
        step: StepId,
        /// The resource.
        resource: String,
        /// The other owner.
        owner: String,
    },
    /// Take the step's pre-image.
    PreImage(StepId),
    /// Run an attempt. Its intent is on disk.
    Act {
        /// The step.
        step: StepId,
        /// Its action or its compensation.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
    },
    /// Prove that a cut-off attempt is over, or find its recorded end.
    Settle {
        /// The step.
        step: StepId,
        /// Its action or its compensation.
        direction: Direction,
        /// Which attempt.
        attempt: u32,
    },
    /// Look at the step's probe after a cut.
    SettleProbe(StepId),
    /// Look at the step's `verify`.
    Verify(StepId),
    /// Look at the step's `undone`.
    Undone(StepId),
    /// Take a sample of a soak: its `verify`, then its `rollback_ready`.
    Sample(StepId),
    /// Look whether a lost `rollback_ready` holds again.
    Ready(StepId),
}

impl Ask {
    /// The step it is for.
    pub fn step(&self) -> &StepId {
        match self {
            Ask::When(step)
            | Ask::Probe(step)
            | Ask::Evidence(step)
            | Ask::PreImage(step)
            | Ask::SettleProbe(step)
            | Ask::Verify(step)
            | Ask::Undone(step)
            | Ask::Sample(step)
            | Ask::Ready(step)
            | Ask::Gone { step, .. }
            | Ask::Act { step, .. }
            | Ask::Settle { step, .. } => step,
        }
    }

    /// Whether it looks on behalf of a step that has not begun.
    pub(super) fn is_at_the_door(&self) -> bool {
        match self {
            Ask::When(_) | Ask::Probe(_) | Ask::PreImage(_) => true,
            Ask::Evidence(_)
            | Ask::Gone { .. }
            | Ask::Act { .. }
            | Ask::Settle { .. }
            | Ask::SettleProbe(_)
            | Ask::Verify(_)
            | Ask::Undone(_)
            | Ask::Sample(_)
            | Ask::Ready(_) => false,
        }
    }

    /// Whether waiting for it is waiting for the world and not for us: `--no-wait` does not. A probe that could not
    /// look is looked at again by whoever comes next.
    pub fn is_long(&self) -> bool {
        match self {
            Ask::Sample(_) | Ask::Ready(_) | Ask::Gone { .. } | Ask::Probe(_) => true,
            Ask::When(_)
            | Ask::Evidence(_)
            | Ask::PreImage(_)
            | Ask::Act { .. }
            | Ask::Settle { .. }
            | Ask::SettleProbe(_)
            | Ask::Verify(_)
            | Ask::Undone(_) => false,
        }
    }
}

/// What a process knows beyond the journal: gone with it, and nothing is lost by that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Session {
    /// What was started and has not answered.
    pub in_flight: BTreeSet<Ask>,
    /// How often each look was already taken in the step's present status.
    pub tries: BTreeMap<Ask, u32>,
    /// Good samples that are not saved yet.
    pub tails: BTreeMap<StepId, Tail>,
    /// When the last sample of each soak was begun, by this process.
    pub sampled: BTreeMap<StepId, Stamp>,
    /// What the looks at a step's `verify` remember of the ones before.
    pub memories: BTreeMap<StepId, Memory>,
    /// Looks in flight that were started before the world or the plan changed under them: their answers are
    /// dropped, and it is looked again.
    pub outdated: BTreeSet<Ask>,
    /// What other runs of the journal hold of exclusive resources: told anew before each decision.
    pub elsewhere: Holders,
    /// A person stops the process: nothing new starts.
    pub stopping: bool,
}

/// Something that may start once the decision's events are on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// What.
    pub ask: Ask,
    /// After how many milliseconds, measured inside the process.
    pub after_ms: u64,
}

/// What the core tells the driver to do.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use]
pub struct Decision {
    /// To be on stable storage first.
    pub append: Vec<What>,
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

impl Decision {
    pub(super) fn append(&mut self, step: &Step, is: StepEvent) {
        self.append.push(What::Step { step: step.id.clone(), is });
    }

    pub(super) fn wake(&mut self, in_ms: u64) {
        self.wake_ms = Some(self.wake_ms.map_or(in_ms, |before| before.min(in_ms)));
    }

    pub(super) fn lapse(&mut self, in_ms: u64) {
        self.lapse_ms = Some(self.lapse_ms.map_or(in_ms, |before| before.min(in_ms)));
    }

    /// Starts a look unless it is in flight already; the first at once, later ones after `pause(tries)`.
    pub(super) fn look(&mut self, session: &Session, ask: Ask, pause: impl Fn(u32) -> u64) {
        if session.in_flight.contains(&ask) {
            return;
        }
        let tries = session.tries.get(&ask).copied().unwrap_or(0);
        let after_ms = if tries == 0 { 0 } else { pause(tries) };
        self.start.push(Start { ask, after_ms });
    }

    /// Whether this pass starts an attempt already.
    pub(super) fn acts(&self) -> bool {
        self.start.iter().any(|start| matches!(start.ask, Ask::Act { .. }))
    }

    /// Starts an attempt together with its intent.
    pub(super) fn act(&mut self, step: &Step, direction: Direction, attempt: u32) {
        self.append(step, StepEvent::Started { direction, attempt });
        let ask = Ask::Act { step: step.id.clone(), direction, attempt };
        self.start.push(Start { ask, after_ms: 0 });
    }
}

/// Polls of what should come soon, in milliseconds (DESIGN section 3: verify is polled every 5 s).
pub(super) const POLL_MS: u64 = 5_000;

/// The pause before looking again at what could not be looked at: 1 s, 2 s, … 30 s.
pub(super) fn unknown_pause(tries: u32) -> u64 {
    (1_000u64 << tries.saturating_sub(1).min(10)).min(30_000)
}

/// One pass over what is in motion. Equal arguments give equal decisions, in a stable order.
///
/// A pass does not see the consequences of its own events: fold them and decide again until a decision appends
/// nothing ([`advance`](super::advance) does).
pub fn decide(state: &State, session: &Session, now: &Moment) -> Decision {
    let mut decision = Decision::default();
    if state.end.is_some() || session.stopping {
        return decision;
    }
    match &state.course {
        Course::Forward => forward(state, session, now, &mut decision),
        Course::Back(course) => back::back(state, session, now, course, &mut decision),
        Course::Resting => {
            if state.cancelling {
                decision.append.push(What::Cancelled);
            }
        }
    }
    decision
}

fn forward(state: &State, session: &Session, now: &Moment, decision: &mut Decision) {
    let halted = !state.index.failed.is_empty();
    // A process that only settles and goes back starts nothing forward.
    let holding = halted || state.paused || state.cancelling || !state.terms.forward;
    let mut slots = free_slots(state, session);
    let mut unsettled = false;
    for &place in &state.index.moving {
        let (step, found) = (&state.definition.steps[place], &state.steps[place]);
        match &found.status {
            Status::Running { .. } | Status::Compensating { .. } => unsettled = true,
            // The failure that belongs to its last attempt was lost with the process that wrote that down.
            Status::Retrying { .. } if found.spent >= step.retry.attempts => {
                let reason = found.trouble.clone().unwrap_or_default();
                decision.append(step, StepEvent::Failed { reason });
            }
            Status::Retrying { pause } => {
                let left = pause.left_ms(&now.at);
                if holding || !state.index.needs_met(place) || !state.index.wanted(place) {
                    // A new attempt would be a new start; an amendment may have given it a new need.
                } else if left > 0 {
                    decision.wake(left);
                } else if slots > 0 {
                    slots -= 1;
                    decision.act(step, Direction::Forward, found.attempts + 1);
                }
            }
            Status::Verifying(verifying) => {
                unsettled = true;
                watch::verify(session, now, step, verifying, decision);
            }
            Status::Interrupted(cut) => {
                unsettled = true;
                settle::settle(session, now, (step, found), cut, true, decision);
            }
            Status::AwaitingApproval => {
                if !state.cancelling && state.index.wanted(place) {
                    door::gate(state, session, now, (step, found), holding, decision);
                }
            }
            Status::Soaking(soaking) => {
                if !holding && state.index.wanted(place) {
                    watch::soak(session, now, step, soaking, decision);
                }
            }
            // A run does not go forward before its rollback to a step has ended.
            Status::CompensationRetrying { .. } | Status::UndoingCheck { .. } => {}
            Status::Pending
            | Status::Done
            | Status::Satisfied
            | Status::Skipped
            | Status::Failed { .. }
            | Status::Compensated
            | Status::CompensationFailed { .. } => {}
        }
    }
    if state.cancelling {
        // What needs attention stays as it is: the run is closed over it and says so.
        let settling = |&p: &usize| match &state.steps[p].status {
            Status::Interrupted(cut) => cut.attention.is_none(),
            Status::Running { .. } | Status::Verifying(_) | Status::Compensating { .. } => true,
            Status::Pending
            | Status::AwaitingApproval
            | Status::Retrying { .. }
            | Status::Soaking(_)
            | Status::Done
            | Status::Satisfied
            | Status::Skipped
            | Status::Failed { .. }
            | Status::CompensationRetrying { .. }
            | Status::UndoingCheck { .. }
            | Status::Compensated
            | Status::CompensationFailed { .. } => false,
        };
        if decision.append.is_empty() && !state.index.moving.iter().any(settling) {
            decision.append.push(What::Cancelled);
        }
        return;
    }
    if halted {
        let failed = state.index.failed.iter().map(|&p| &state.definition.steps[p]);
        let mut back = failed.filter(|step| step.on_failure == OnFailure::Rollback);
        if let Some(step) = back.next()
            && !unsettled
            && !state.paused
            && decision.append.is_empty()
            && state.irreversible(None).is_empty()
        {
            decision.append.push(What::RollbackRequested {
                to: None,
                parallel: 1,
                failed: Some(step.id.clone()),
                by: "on_failure".to_owned(),
            });
        }
        return;
    }
    if !holding {
        for &place in &state.index.ready {
            door::door(state, session, now, place, &mut slots, decision);
        }
    }
    if state.index.all_ended_well() && state.terms.forward {
        decision.append.push(What::Completed);
    }
    // What fails in this pass stops what would start in it: the next pass sees the failure.
    if decision.append.iter().any(fails) {
        decision.append.retain(|what| !starts(what));
        decision.start.clear();
    }
}

fn fails(what: &What) -> bool {
    matches!(what, What::Step { is: StepEvent::Failed { .. }, .. })
}

/// Whether an event begins something that a failure elsewhere would have stopped.
fn starts(what: &What) -> bool {
    let What::Step { is, .. } = what else { return false };
    matches!(
        is,
        StepEvent::Started { .. }
            | StepEvent::VerifyBegan
            | StepEvent::SoakBegan
            | StepEvent::Satisfied { .. }
            | StepEvent::Skipped { .. }
    )
}

/// How many more steps may be in flight.
fn free_slots(state: &State, session: &Session) -> usize {
    let moving = state.index.moving.iter().filter(|&&place| match &state.steps[place].status {
        Status::Running { .. } | Status::Verifying(_) | Status::Compensating { .. } => true,
        Status::Interrupted(cut) => cut.attention.is_none(),
        Status::Pending
        | Status::AwaitingApproval
        | Status::Retrying { .. }
        | Status::Soaking(_)
        | Status::Done
        | Status::Satisfied
        | Status::Skipped
        | Status::Failed { .. }
        | Status::CompensationRetrying { .. }
        | Status::UndoingCheck { .. }
        | Status::Compensated
        | Status::CompensationFailed { .. } => false,
    });
    let at_the_door = session.in_flight.iter().filter(|ask| ask.is_at_the_door());
    let most = usize::try_from(state.definition.parallelism).unwrap_or(usize::MAX);
    most.saturating_sub(moving.count() + at_the_door.count())
}
