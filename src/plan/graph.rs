//! Who waits for whom.

use std::collections::HashMap;

use super::recorded::Definition;

/// The edges of a definition, by the places of its steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    needs: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
    order: Vec<usize>,
}

impl Graph {
    /// Reads the edges off a definition. A `needs` that names no step is left out.
    pub fn of(definition: &Definition) -> Self {
        let places: HashMap<_, _> = definition.steps.iter().enumerate().map(|(i, s)| (&s.id, i)).collect();
        let mut needs = vec![Vec::new(); definition.steps.len()];
        let mut dependents = vec![Vec::new(); definition.steps.len()];
        for (place, step) in definition.steps.iter().enumerate() {
            for need in step.needs.iter().filter_map(|id| places.get(id).copied()) {
                needs[place].push(need);
                dependents[need].push(place);
            }
        }
        let mut unmet: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut order: Vec<usize> = (0..needs.len()).filter(|&i| unmet[i] == 0).collect();
        let mut next = 0;
        while let Some(&place) = order.get(next) {
            next += 1;
            for &dependent in &dependents[place] {
                unmet[dependent] -= 1;
                if unmet[dependent] == 0 {
                    order.push(dependent);
                }
            }
        }
        Self { needs, dependents, order }
    }

    /// The steps that step `place` waits for.
    pub fn needs(&self, place: usize) -> &[usize] {
        &self.needs[place]
    }

    /// The steps that wait for step `place`.
    pub fn dependents(&self, place: usize) -> &[usize] {
        &self.dependents[place]
    }

    /// All steps, each after everything it needs. Steps on a cycle are missing.
    pub fn order(&self) -> &[usize] {
        &self.order
    }
}
