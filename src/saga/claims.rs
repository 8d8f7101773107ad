//! Exclusive resources seen from outside a run: what it holds, what a step that is to come would wait for, and whose
//! result a later step has undone on purpose. Pure, and decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::outcome::Direction;
use super::state::{Elsewhere, State, Status, StepState};
use crate::plan::graph::Graph;
use crate::plan::{RunId, StepId};

/// An exclusive resource that a step would take, and what it would wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The resource.
    pub resource: String,
    /// Who would own it.
    pub owner: String,
    /// The other owners that have to be gone first.
    pub others: Vec<Other>,
    /// The other run that has to let go first.
    pub elsewhere: Option<Elsewhere>,
}

/// Another owner of a resource that a step would take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Who.
    pub owner: String,
    /// The step before, or at the same time, that makes it let go; absent: it has let go, or nothing makes it.
    pub freed_by: Option<StepId>,
    /// It holds the resource when the step's turn comes, as far as the order of the plan says.
    pub holds: bool,
    /// Checks see whether it is gone.
    pub checked: bool,
}

/// What the steps that are to come (`comes`, by their place) would take, walked through in the plan's order, while other
/// runs hold what they hold now.
pub(super) fn claims(state: &State, graph: &Graph, comes: &[bool], elsewhere: &Holders) -> Vec<Vec<Claim>> {
    let steps = &state.definition.steps;
    let mut holders = state.holders.clone();
    let mut freed: BTreeMap<(String, String), StepId> = BTreeMap::new();
    let mut found = vec![Vec::new(); steps.len()];
    for &place in graph.order().iter().filter(|&&place| comes[place]) {
        let step = &steps[place];
        for (resource, owner) in &step.takes {
            let gone = state.definition.resources.get(resource).map(|resource| &resource.gone);
            let checked =
                |other: &String| gone.and_then(|gone| gone.get(other)).is_some_and(|c| !c.is_empty());
            let held = holders.entry(resource.clone()).or_default();
            let named = gone.into_iter().flat_map(BTreeMap::keys);
            let all: BTreeSet<&String> = held.iter().chain(named).filter(|other| *other != owner).collect();
            let others = all.into_iter().map(|other| {
                let to_come = || {
                    let all = steps.iter().zip(comes).filter(|(_, comes)| **comes);
                    let mut frees = all.filter(|(step, _)| step.frees.get(resource) == Some(other));
                    frees.next().map(|(step, _)| step.id.clone())
                };
                // One that stands beside it in the graph may come later in the order.
                let freed_by = freed.get(&(resource.clone(), other.clone())).cloned().or_else(to_come);
                let holds = held.contains(other);
                Other { owner: other.clone(), freed_by, holds, checked: checked(other) }
            });
            let others: Vec<Other> =
                others.filter(|o| o.holds || o.checked || o.freed_by.is_some()).collect();
            held.insert(owner.clone());
            // Whoever is past its door waits for nobody any more.
            let waits = matches!(
                state.steps[place].status,
                Status::Pending | Status::AwaitingApproval | Status::Failed { .. } | Status::Compensated
            );
            let other_run = elsewhere.get(resource).and_then(BTreeMap::first_key_value).filter(|_| waits);
            let elsewhere =
                other_run.map(|(run, owner)| Elsewhere { run: run.clone(), owner: owner.clone() });
            let (resource, owner) = (resource.clone(), owner.clone());
            found[place].push(Claim { resource, owner, others, elsewhere });
        }
        for (resource, owner) in &step.frees {
            holders.entry(resource.clone()).or_default().remove(owner);
            freed.insert((resource.clone(), owner.clone()), step.id.clone());
        }
    }
    found
}

/// By resource the runs that hold it, each with the owner that it holds it for.
pub type Holders = BTreeMap<String, BTreeMap<RunId, String>>;

/// What a run holds against every other one, with the owner that it holds it for: what a step has taken, or a
/// compensation taken back, from the intent on, until it has let go or the run is over. What the plan says of the
/// start (`held_at_start`) is what it expects to find; that binds nobody else.
pub fn held(state: &State) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    if state.end.is_some() {
        return held;
    }
    for &place in &state.index.claimants {
        let (step, found) = (&state.definition.steps[place], &state.steps[place]);
        let taken = step.takes.iter().filter(|_| has_taken(found));
        let taken_back = step.frees.iter().filter(|_| takes_back(found));
        for (resource, owner) in taken.chain(taken_back) {
            if state.holders.get(resource).is_some_and(|holders| holders.contains(owner)) {
                held.insert(resource.clone(), owner.clone());
            }
        }
    }
    held
}

fn has_taken(found: &StepState) -> bool {
    found.owned || !matches!(found.status, Status::Pending | Status::AwaitingApproval | Status::Skipped)
}

/// Whether its compensation has begun, and nothing came after.
fn takes_back(found: &StepState) -> bool {
    match &found.status {
        Status::Compensating { .. }
        | Status::CompensationRetrying { .. }
        | Status::UndoingCheck { .. }
        | Status::Compensated
        | Status::CompensationFailed { .. } => true,
        Status::Interrupted(cut) => cut.direction == Direction::Compensation,
        Status::Pending
        | Status::AwaitingApproval
        | Status::Running { .. }
        | Status::Retrying { .. }
        | Status::Verifying(_)
        | Status::Soaking(_)
        | Status::Done
        | Status::Satisfied
        | Status::Skipped
        | Status::Failed { .. } => false,
    }
}

/// The finished steps whose result a later finished step of the run has undone on purpose, with that step, as far as
/// the run can know: the later one depends on the earlier and freed the resource for the owner that the earlier one
/// took it for, or its action changes the same target. `targets` are the targets of actions that name one.
pub fn undone_on_purpose(state: &State, targets: &BTreeMap<StepId, String>) -> BTreeMap<StepId, StepId> {
    let graph = Graph::of(&state.definition);
    let steps = &state.definition.steps;
    // What held before is no doing of the run.
    let acted = |place: &usize| matches!(state.steps[*place].status, Status::Done);
    let mut found = BTreeMap::new();
    for (place, step) in steps.iter().enumerate() {
        let target = targets.get(&step.id);
        let leaves = !step.takes.is_empty() || target.is_some();
        if !leaves || !matches!(state.steps[place].status, Status::Done | Status::Satisfied) {
            continue;
        }
        let mut after = vec![false; steps.len()];
        graph.descendants(place).into_iter().for_each(|later| after[later] = true);
        let mut later = graph.order().iter().copied().filter(|later| after[*later]).filter(acted);
        let undoes = |later: &usize| {
            let later = &steps[*later];
            let frees = step.takes.iter().any(|(resource, owner)| later.frees.get(resource) == Some(owner));
            frees || (target.is_some() && target == targets.get(&later.id))
        };
        if let Some(last) = later.rfind(undoes) {
            found.insert(step.id.clone(), steps[last].id.clone());
        }
    }
    found
}
