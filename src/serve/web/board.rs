//! What is known of every run without asking the journal: how it stands, what it asks, how its soaks go.
//!
//! Each run that is driven here writes on the board after every append, so that a list of a thousand runs, the
//! metrics, and whoever follows cost the runs nothing. It is no truth: runs that nobody drives are read from the
//! journal and put on it when somebody looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use crate::driver::{Observer, Tails};
use crate::plan::{RunId, StepId};
use crate::report::{self, RunRow};
use crate::saga::{
    self, Command, Event, Memory, Refusal, Sample, Soaking, Stamp, State, Status, StepEvent, Tail, What,
};

/// Changes that a reader may be behind: one who is further behind looks at everything anew.
const CHANGES_MAX: usize = 1_024;

/// Upper bounds of the buckets for how long steps take, in seconds.
pub(super) const STEP_BOUNDS_S: [f64; 7] = [0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0];

/// One run on the board.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The last event that this rests on.
    pub(super) seq: u64,
    pub(super) row: RunRow,
    pub(super) headline: String,
    /// Steps that wait for a person.
    pub(super) asks: Vec<StepId>,
    /// Those of them that soak, and whose way back no longer works.
    pub(super) lost: Vec<StepId>,
    /// Steps that are under way, the asking ones included.
    pub(super) moving: Vec<StepId>,
    /// The soaks that go on.
    pub(super) soaks: Vec<SoakEntry>,
    /// Whether a rollback would be taken on; nothing when there is nothing to undo.
    pub(super) way_back: Option<bool>,
    pub(super) paused: bool,
}

/// A soak that goes on.
#[derive(Debug, Clone)]
pub(super) struct SoakEntry {
    step: StepId,
    for_ms: u64,
    soaking: Box<Soaking>,
    tail: Tail,
}

impl Entry {
    pub(super) fn of(state: &State, tails: Option<&Tails>) -> Self {
        let steps = || state.definition.steps.iter().zip(&state.steps);
        let soaks = steps().filter_map(|(step, found)| {
            let (Some(terms), Status::Soaking(soak)) = (&step.soak, &found.status) else { return None };
            // Only its figures are needed, and not what the checks saw.
            let soaking = Soaking { last_trouble: None, memory: Memory::default(), ..(**soak).clone() };
            let tail = tails.and_then(|tails| tails.get(&step.id)).cloned().unwrap_or_default();
            let step = step.id.clone();
            Some(SoakEntry { step, for_ms: terms.for_ms, soaking: Box::new(soaking), tail })
        });
        let moving = steps().filter(|(_, found)| found.status.is_moving());
        let questions = saga::questions(state);
        let lost = questions.iter().filter(|question| question.request.is_none());
        let back = Command::Rollback { to: None, parallel: 1 };
        let way_back = match saga::command(state, &back, "") {
            Ok(_) => (!state.to_undo(None).is_empty()).then_some(true),
            Err(Refusal::Nothing { .. }) => None,
            Err(_) => Some(false),
        };
        Self {
            seq: state.seq,
            row: RunRow::of(state),
            headline: report::headline(state),
            lost: lost.map(|question| question.step.clone()).collect(),
            asks: questions.iter().map(|question| question.step.clone()).collect(),
            moving: moving.map(|(step, _)| step.id.clone()).collect(),
            soaks: soaks.collect(),
            way_back,
            paused: state.paused && state.end.is_none(),
        }
    }

    /// The share of healthy time of the soak that has the most to go, in percent.
    pub(super) fn soak(&self) -> Option<u64> {
        let share = |soak: &SoakEntry| {
            100 * soak.soaking.healthy_ms(&soak.tail).min(soak.for_ms) / soak.for_ms.max(1)
        };
        self.soaks.iter().map(share).min()
    }

    /// Since when every soak that goes on has seen nothing bad.
    pub(super) fn healthy_since(&self) -> Option<Stamp> {
        let each: Option<Vec<Stamp>> =
            self.soaks.iter().map(|soak| soak.soaking.healthy_since(&soak.tail)).collect();
        each?.into_iter().max_by_key(|since| since.wall_ms)
    }

    /// Whether the way back works, as far as that is watched; nothing when there is nothing to undo.
    pub(super) fn is_rollback_ready(&self) -> Option<bool> {
        self.way_back.map(|taken| taken && self.lost.is_empty())
    }

    /// Good samples that are no events yet.
    fn watched(&mut self, tails: &Tails) {
        for soak in &mut self.soaks {
            soak.tail = tails.get(&soak.step).cloned().unwrap_or_default();
        }
    }
}

/// Durations of steps that came to one kind of end.
#[derive(Debug, Clone, Default)]
pub(super) struct Durations {
    pub(super) counts: [u64; STEP_BOUNDS_S.len() + 1],
    pub(super) sum_s: f64,
}

impl Durations {
    fn took(&mut self, ms: u64) {
        let s = ms as f64 / 1_000.0;
        let bucket = STEP_BOUNDS_S.iter().position(|bound| s <= *bound).unwrap_or(STEP_BOUNDS_S.len());
        self.counts[bucket] += 1;
        self.sum_s += s;
    }
}

/// What was counted since the process began.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) events: u64,
    /// Good, bad, inconclusive.
    pub(super) samples: [u64; 3],
    /// Done, failed, compensated.
    pub(super) steps: [Durations; 3],
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<RunId, Entry>,
    tails: BTreeMap<RunId, Tails>,
    /// Good samples of a soak that were counted and are no events yet; absent: a process before counted them.
    counted: BTreeMap<(RunId, StepId), u64>,
    counts: Counts,
}

/// The board. Cheap to share.
#[derive(Debug)]
pub struct Board {
    inner: Mutex<Inner>,
    changed: broadcast::Sender<RunId>,
}

impl Default for Board {
    fn default() -> Self {
        Self { inner: Mutex::default(), changed: broadcast::channel(CHANGES_MAX).0 }
    }
}

impl Board {
    /// An observer that writes on it.
    pub fn watcher(self: &Arc<Self>) -> Box<dyn Observer> {
        Box::new(Watcher { board: Arc::clone(self), run: None })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names runs that have changed, as they do.
    pub(super) fn changes(&self) -> broadcast::Receiver<RunId> {
        self.changed.subscribe()
    }

    /// The entry of a run, if it rests on that event or a later one.
    pub(super) fn entry(&self, run: &RunId, seq: u64) -> Option<Entry> {
        self.lock().entries.get(run).filter(|entry| entry.seq >= seq).cloned()
    }

    /// The runs on the board.
    pub(super) fn runs(&self) -> Vec<RunId> {
        self.lock().entries.keys().cloned().collect()
    }

    /// Puts a run on the board that was read from the journal.
    pub(super) fn put(&self, run: &RunId, entry: Entry) {
        let mut inner = self.lock();
        match inner.entries.get(run) {
            Some(newer) if newer.seq > entry.seq => {}
            _ => drop(inner.entries.insert(run.clone(), entry)),
        }
    }

    /// Takes runs off that are gone from the journal.
    pub(super) fn keep(&self, there: &BTreeSet<RunId>) {
        self.lock().entries.retain(|run, _| there.contains(run));
    }

    /// Something of a run has changed that is no event.
    pub(super) fn touch(&self, run: &RunId) {
        drop(self.changed.send(run.clone()));
    }

    /// The good samples of a run's soaks that are no events yet.
    pub(super) fn tails(&self, run: &RunId) -> Option<Tails> {
        self.lock().tails.get(run).cloned()
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }
}

/// Writes one run on the board.
struct Watcher {
    board: Arc<Board>,
    run: Option<RunId>,
}

impl Observer for Watcher {
    fn begin(&mut self, state: &State) {
        self.run = Some(state.run.clone());
        let mut inner = self.board.lock();
        inner.counted.retain(|(run, _), _| *run != state.run);
        inner.entries.insert(state.run.clone(), Entry::of(state, None));
    }

    fn tails(&mut self, tails: &Tails) {
        let Some(run) = &self.run else { return };
        let mut inner = self.board.lock();
        let mut grown = false;
        for (step, tail) in tails {
            match inner.counted.insert((run.clone(), step.clone()), tail.good) {
                Some(before) if tail.good > before => {
                    inner.counts.samples[0] += tail.good - before;
                    grown = true;
                }
                Some(_) => {}
                None => grown = true,
            }
        }
        // What is saved as an event is counted from nothing again.
        for ((of, step), good) in &mut inner.counted {
            if of == run && !tails.contains_key(step) {
                *good = 0;
            }
        }
        if let Some(entry) = inner.entries.get_mut(run) {
            entry.watched(tails);
        }
        if tails.is_empty() {
            inner.tails.remove(run);
        } else {
            inner.tails.insert(run.clone(), tails.clone());
        }
        drop(inner);
        if grown {
            self.board.touch(run);
        }
    }

    fn events(&mut self, state: &State, events: &[Event]) {
        let mut inner = self.board.lock();
        inner.counts.events += events.len() as u64;
        for event in events {
            let What::Step { step, is } = &event.what else { continue };
            let key = (state.run.clone(), step.clone());
            let kind = match is {
                StepEvent::SoakBegan => {
                    inner.counted.insert(key, 0);
                    continue;
                }
                StepEvent::SoakSaved { good, .. } => {
                    let counted = inner.counted.insert(key, 0).unwrap_or(*good);
                    inner.counts.samples[0] += good.saturating_sub(counted);
                    continue;
                }
                StepEvent::SoakSampled { answers, .. } => {
                    let place = match Sample::of(answers) {
                        Sample::Good => 0,
                        Sample::Bad => 1,
                        Sample::Inconclusive => 2,
                    };
                    inner.counts.samples[place] += 1;
                    continue;
                }
                StepEvent::Verified { .. } | StepEvent::SoakPassed => 0,
                StepEvent::Failed { .. } => 1,
                StepEvent::Compensated { .. } => 2,
                _ => continue,
            };
            let started = state.step(step).and_then(|(_, found)| found.started_at);
            if let Some(started) = started {
                inner.counts.steps[kind].took(event.at.since_ms(&started));
            }
        }
        let tails = inner.tails.get(&state.run).cloned();
        inner.entries.insert(state.run.clone(), Entry::of(state, tails.as_ref()));
        drop(inner);
        self.board.touch(&state.run);
    }

    fn tick(&mut self, _: &State, _: &Stamp) {}

    fn counts_seconds(&self) -> bool {
        false
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // The run rests: who follows it hears so.
        if let Some(run) = &self.run {
            self.board.touch(run);
        }
    }
}
