//! What is kept of soaks beside the journal: good samples that are not events yet, so that a process that ends,
//! however it ends, loses none of them.
//!
//! It is no truth of its own: it names the recorded figures that it goes on from, and where those have moved on (the
//! samples were saved as events, the soak was undone and began anew) it says nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decide::{Ask, Session};
use super::event::{Event, StepEvent, Terms, What};
use super::soak::{Soaking, Tail};
use super::state::{State, Status};
use super::time::Stamp;
use super::{Advance, fold::fold};
use crate::plan::StepId;

/// The version of this form that this binary writes. It passes over a newer one.
const KEPT_VERSION: u32 = 1;

/// The unsaved samples of a run, as they are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    v: u32,
    steps: BTreeMap<StepId, KeptTail>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct KeptTail {
    began: Stamp,
    /// Samples that were recorded before.
    after: u64,
    tail: Tail,
}

fn soaking<'a>(state: &'a State, step: &StepId) -> Option<&'a Soaking> {
    match &state.step(step)?.1.status {
        Status::Soaking(soaking) if state.end.is_none() => Some(soaking),
        _ => None,
    }
}

fn samples(soaking: &Soaking) -> u64 {
    soaking.good + soaking.bad + soaking.inconclusive
}

impl Kept {
    /// What is to be kept of these tails.
    pub fn of(state: &State, tails: &BTreeMap<StepId, Tail>) -> Self {
        let unsaved = tails.iter().filter(|(_, tail)| tail.good > 0);
        let steps = unsaved.filter_map(|(step, tail)| {
            let soaking = soaking(state, step)?;
            let kept = KeptTail { began: soaking.began, after: samples(soaking), tail: tail.clone() };
            Some((step.clone(), kept))
        });
        Self { v: KEPT_VERSION, steps: steps.collect() }
    }

    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The tails that go on from where this state is.
    pub fn tails(self, state: &State) -> BTreeMap<StepId, Tail> {
        if self.v > KEPT_VERSION {
            return BTreeMap::new();
        }
        let steps = self.steps.into_iter().filter(|(step, kept)| {
            soaking(state, step)
                .is_some_and(|found| found.began == kept.began && samples(found) == kept.after)
        });
        steps.map(|(step, kept)| (step, kept.tail)).collect()
    }
}

/// The state as it would be with these tails saved: to show it, and for nothing else.
pub fn with_tails(state: &State, tails: &BTreeMap<StepId, Tail>) -> State {
    let mut shown = state.clone();
    let mut session = Session { tails: tails.clone(), ..Session::default() };
    for what in super::unsaved(state, &mut session) {
        let event = Event { seq: shown.seq + 1, at: shown.last, what };
        // One that does not fit is not shown.
        drop(fold(&mut shown, &event));
    }
    shown.seq = state.seq;
    shown
}

/// Whether taking the run on under these terms would change nothing that is decided: no attempt is cut off, no wait
/// begins anew, and the terms are the ones it has. Then the fact that it was taken on need not be recorded before
/// something is to start.
pub fn resumes_quietly(state: &State, terms: &Terms, now: Stamp) -> bool {
    let what = What::RunResumed { token: state.token + 1, by: String::new(), terms: terms.clone() };
    let mut resumed = state.clone();
    if fold(&mut resumed, &Event { seq: state.seq + 1, at: now, what }).is_err() {
        return false;
    }
    let same_terms = Terms { fresh_budget: state.terms.fresh_budget, ..terms.clone() } == state.terms;
    same_terms && resumed.course == state.course && resumed.steps == state.steps
}

impl Advance {
    /// Whether all of it is the watch of a soak: looks, and events that say what they saw.
    pub fn only_watches(&self) -> bool {
        let watches = |what: &What| match what {
            What::Step { is, .. } => matches!(
                is,
                StepEvent::SoakSaved { .. }
                    | StepEvent::SoakSampled { .. }
                    | StepEvent::ReadyLost { .. }
                    | StepEvent::ReadyRegained { .. }
            ),
            _ => false,
        };
        self.append.iter().all(|event| watches(&event.what))
            && self.start.iter().all(|start| matches!(start.ask, Ask::Sample(_) | Ask::Ready(_)))
    }
}
