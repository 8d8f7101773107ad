//! What is derived from a state, so that deciding costs what is in motion and not what the plan is long.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::state::{Course, State, Status};
use crate::plan::StepId;
use crate::plan::graph::Graph;

/// A set of steps by place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Places(Vec<bool>);

impl Places {
    pub(super) fn contains(&self, place: usize) -> bool {
        self.0.get(place).copied().unwrap_or(false)
    }

    /// Whether everything in `other` is in here.
    pub(super) fn covers(&self, other: &Places) -> bool {
        other.0.iter().enumerate().all(|(place, &there)| !there || self.contains(place))
    }
}

/// Derived from the definition and the steps' statuses; never stored, always the same for equal states.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Index {
    places: Arc<HashMap<StepId, usize>>,
    pub(super) graph: Arc<Graph>,
    /// How many needs of a step have not ended well.
    unmet: Vec<usize>,
    /// How many steps have not ended well.
    unfinished: usize,
    /// With `--until`: that step and everything it needs, however far.
    until: Option<Places>,
    /// Pending steps whose needs are met and that the present process goes as far as.
    pub(super) ready: BTreeSet<usize>,
    /// Steps that are neither pending nor at rest: something is to be decided about them.
    pub(super) moving: BTreeSet<usize>,
    /// Steps that failed for good in this budget.
    pub(super) failed: BTreeSet<usize>,
    /// Steps that take or free a resource.
    pub(super) claimants: Vec<usize>,
    /// Going back: what is to be undone, and how many steps that depend on each still are.
    scope: Option<Places>,
    blockers: Vec<Option<usize>>,
    /// Going back: how many steps are to be undone.
    to_undo: usize,
    /// Going back: steps to be undone that nothing stands before.
    pub(super) undoable: BTreeSet<usize>,
}

impl Index {
    pub(super) fn of(state: &State) -> Self {
        let ids = state.definition.steps.iter().enumerate();
        let places = Arc::new(ids.map(|(place, step)| (step.id.clone(), place)).collect());
        Self { places, graph: Arc::new(Graph::of(&state.definition)), ..Self::default() }.again(state)
    }

    /// The same when the definition is still the one that this is derived from.
    pub(super) fn again(self, state: &State) -> Self {
        let Self { places, graph, .. } = self;
        let mut index = Self {
            places,
            unmet: (0..state.steps.len())
                .map(|p| graph.needs(p).iter().filter(|&&n| !state.steps[n].status.ended_well()).count())
                .collect(),
            unfinished: state.steps.iter().filter(|s| !s.status.ended_well()).count(),
            claimants: (0..state.steps.len())
                .filter(|&place| {
                    let step = &state.definition.steps[place];
                    !step.takes.is_empty() || !step.frees.is_empty()
                })
                .collect(),
            graph,
            ..Self::default()
        };
        index.until = state.until.as_ref().map(|until| index.up_to(until));
        for place in 0..state.steps.len() {
            index.sort(state, place);
        }
        if let Course::Back(back) = &state.course {
            let scope = index.after(back.to.as_ref());
            index.blockers = index.blockers(state, &scope);
            index.to_undo = index.blockers.iter().flatten().count();
            index.undoable = (0..state.steps.len()).filter(|&p| index.blockers[p] == Some(0)).collect();
            index.scope = Some(scope);
        }
        index
    }

    pub(super) fn place(&self, id: &StepId) -> Option<usize> {
        self.places.get(id).copied()
    }

    pub(super) fn all_ended_well(&self) -> bool {
        self.unfinished == 0
    }

    fn sort(&mut self, state: &State, place: usize) {
        let status = &state.steps[place].status;
        let ready = matches!(status, Status::Pending) && self.unmet[place] == 0 && self.wanted(place);
        let put = |set: &mut BTreeSet<usize>, belongs: bool| {
            if belongs {
                set.insert(place)
            } else {
                set.remove(&place)
            };
        };
        put(&mut self.ready, ready);
        put(&mut self.moving, status.is_moving());
        put(&mut self.failed, matches!(status, Status::Failed { .. }));
    }

    /// Takes note that one step's status has changed from `before`.
    pub(super) fn changed(&mut self, state: &State, place: usize, before: &Status) {
        let after = &state.steps[place].status;
        match (before.ended_well(), after.ended_well()) {
            (false, true) => {
                self.unfinished -= 1;
                for i in 0..self.graph.dependents(place).len() {
                    let dependent = self.graph.dependents(place)[i];
                    self.unmet[dependent] -= 1;
                    self.sort(state, dependent);
                }
            }
            (true, false) => {
                self.unfinished += 1;
                for i in 0..self.graph.dependents(place).len() {
                    let dependent = self.graph.dependents(place)[i];
                    self.unmet[dependent] += 1;
                    self.sort(state, dependent);
                }
            }
            (true, true) | (false, false) => {}
        }
        self.sort(state, place);
        if matches!(after, Status::Compensated) && !matches!(before, Status::Compensated) {
            let Some(scope) = self.scope.take() else { return };
            if self.undoable.remove(&place) {
                self.to_undo -= 1;
                let mut blockers = std::mem::take(&mut self.blockers);
                let mut ready = Vec::new();
                self.clear(state, &scope, &mut blockers, place, &mut ready);
                self.undoable.extend(ready);
                self.blockers = blockers;
            }
            self.scope = Some(scope);
        }
    }

    /// Whether nothing is left to undo.
    pub(super) fn nothing_to_undo(&self) -> bool {
        self.to_undo == 0
    }

    /// Whether a step is to be undone and is not yet.
    pub(super) fn is_to_undo(&self, place: usize) -> bool {
        self.blockers.get(place).is_some_and(Option::is_some)
    }

    /// Whether everything that a step needs has ended well.
    pub(super) fn needs_met(&self, place: usize) -> bool {
        self.unmet[place] == 0
    }

    /// Whether the present process goes as far as this step.
    pub(super) fn wanted(&self, place: usize) -> bool {
        self.until.as_ref().is_none_or(|until| until.contains(place))
    }

    /// A step and everything that it needs, however far; nothing when there is no such step.
    fn up_to(&self, until: &StepId) -> Places {
        let mut wanted = vec![false; self.unmet.len()];
        let mut open: Vec<usize> = self.place(until).into_iter().collect();
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut wanted[place], true) {
                open.extend(self.graph.needs(place));
            }
        }
        Places(wanted)
    }

    /// What came after a step: everything that depends on it, however far. Without a step: everything.
    pub(super) fn after(&self, to: Option<&StepId>) -> Places {
        let all = self.unmet.len();
        let Some(place) = to.and_then(|id| self.place(id)) else { return Places(vec![true; all]) };
        let mut after = vec![false; all];
        let mut open = vec![place];
        while let Some(place) = open.pop() {
            for &dependent in self.graph.dependents(place) {
                if !std::mem::replace(&mut after[dependent], true) {
                    open.push(dependent);
                }
            }
        }
        Places(after)
    }

    /// For each step that is to be undone: how many others stand before it, counted through steps that are
    /// not ours, so that an untouched step in the middle of a chain keeps the chain's order. `None`: nothing
    /// to undo there.
    pub(super) fn blockers(&self, state: &State, scope: &Places) -> Vec<Option<usize>> {
        let ours = |p: usize| scope.contains(p) && state.steps[p].is_ours();
        let mut blockers: Vec<Option<usize>> = vec![None; state.steps.len()];
        for place in (0..state.steps.len()).filter(|&p| ours(p)) {
            blockers[place] = Some(0);
        }
        for place in (0..state.steps.len()).filter(|&p| ours(p)) {
            for before in self.nearest_ours(state, scope, place) {
                if let Some(count) = &mut blockers[before] {
                    *count += 1;
                }
            }
        }
        blockers
    }

    /// The nearest steps of ours, against the edges, that `place` stands before.
    fn nearest_ours(&self, state: &State, scope: &Places, place: usize) -> Vec<usize> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        let mut open: Vec<usize> = self.graph.needs(place).to_vec();
        while let Some(need) = open.pop() {
            if !seen.insert(need) {
                continue;
            }
            // A step that was ours and is compensated is passed through: what stood behind it still counts.
            if scope.contains(need) && state.steps[need].is_ours() {
                found.push(need);
            } else {
                open.extend(self.graph.needs(need));
            }
        }
        found
    }

    /// Takes `place` out of the way of those it stood before; those with nothing before them go to `ready`.
    pub(super) fn clear(
        &self,
        state: &State,
        scope: &Places,
        blockers: &mut [Option<usize>],
        place: usize,
        ready: &mut Vec<usize>,
    ) {
        blockers[place] = None;
        for before in self.nearest_ours(state, scope, place) {
            if let Some(count) = &mut blockers[before] {
                *count -= 1;
                if *count == 0 {
                    ready.push(before);
                }
            }
        }
    }
}
