//! The model world: what the steps' actions really did, whoever knows of it.

use std::collections::{BTreeMap, BTreeSet};

use runner::plan::StepId;
use runner::plan::recorded::{Compensate, Definition, Step};
use runner::saga::{Direction, Outcome};

/// How much of a step's effect is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    Half,
    Full,
}

/// An attempt that was started and whose end nobody has reported.
#[derive(Debug, Clone)]
pub(crate) enum Fate {
    /// It ended; nobody wrote down how.
    Dead,
    /// It ended, and its end was recorded where it ran.
    Recorded(Outcome),
    /// It runs on and takes effect after so many looks.
    Alive(u32),
    /// It is over or not: nobody can tell.
    Unprovable,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) level: BTreeMap<StepId, Level>,
    /// As it was before the run.
    pub(crate) start: BTreeMap<StepId, Level>,
    /// Who is alive on each exclusive resource.
    pub(crate) owners: BTreeMap<String, BTreeSet<String>>,
    /// Attempts without a reported end, by step.
    pub(crate) loose: BTreeMap<StepId, (Direction, u32, Fate)>,
    /// Steps whose `verify` does not hold until somebody repairs the world.
    pub(crate) unwell: BTreeSet<StepId>,
    /// Steps whose `undone` does not.
    pub(crate) not_undone: BTreeSet<StepId>,
}

impl World {
    pub(crate) fn new(plan: &Definition, satisfied: &BTreeSet<StepId>) -> Self {
        let mut world = Self::default();
        for (name, resource) in &plan.resources {
            world.owners.insert(name.clone(), resource.held_at_start.iter().cloned().collect());
        }
        for step in &plan.steps {
            let level = if satisfied.contains(&step.id) { Level::Full } else { Level::None };
            world.level.insert(step.id.clone(), level);
            if level == Level::Full {
                world.own(&step.takes, &step.frees);
            }
        }
        world.start = world.level.clone();
        world
    }

    fn own(&mut self, arrive: &BTreeMap<String, String>, leave: &BTreeMap<String, String>) {
        for (resource, owner) in leave {
            self.owners.entry(resource.clone()).or_default().remove(owner);
        }
        for (resource, owner) in arrive {
            self.owners.entry(resource.clone()).or_default().insert(owner.clone());
        }
    }

    /// An attempt does what it does: all of it, or half.
    pub(crate) fn effect(&mut self, step: &Step, direction: Direction, all: bool) {
        let nothing = BTreeMap::new();
        let level = self.level.get_mut(&step.id).expect("every step has a level");
        match (direction, all) {
            (Direction::Forward, true) => {
                *level = Level::Full;
                self.own(&step.takes, &step.frees);
            }
            (Direction::Forward, false) => {
                *level = (*level).max(Level::Half);
                self.own(&step.takes, &nothing);
            }
            (Direction::Compensation, true) => {
                *level = self.start[&step.id];
                self.own(&step.frees, &step.takes);
            }
            (Direction::Compensation, false) => {
                *level = (*level).min(Level::Half);
                self.own(&step.frees, &nothing);
            }
        }
        for (resource, owners) in &self.owners {
            assert!(owners.len() <= 1, "exclusive_one_owner: `{resource}` is alive as {owners:?}");
        }
    }

    /// Somebody puts right what was wrong for ever, and sees to it that loose attempts are over.
    pub(crate) fn repair(&mut self) {
        self.unwell.clear();
        self.not_undone.clear();
        for (_, _, fate) in self.loose.values_mut() {
            if matches!(fate, Fate::Unprovable) {
                *fate = Fate::Dead;
            }
        }
    }

    /// What differs from the start and should not after a rollback of everything.
    pub(crate) fn left_over(&self, plan: &Definition) -> Vec<StepId> {
        let undone = |step: &&Step| match step.compensate {
            Compensate::Nothing | Compensate::Irreversible(_) => true,
            Compensate::Inverse | Compensate::Action(_) => self.level[&step.id] == self.start[&step.id],
        };
        plan.steps.iter().filter(|step| !undone(step)).map(|step| step.id.clone()).collect()
    }
}
