//! The order of steps: what each one needs, what waits for it, and one order that respects both.

use std::collections::HashMap;

use super::id::StepId;
use super::recorded::Definition;

/// The graph of a plan's steps, by their index in [`Definition::steps`].
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    needs: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
    order: Vec<usize>,
}

impl Graph {
    /// The graph of a definition. Needs that name no step are left out; a loaded plan has none.
    pub fn of(definition: &Definition) -> Self {
        let index: HashMap<&StepId, usize> =
            definition.steps.iter().enumerate().map(|(at, step)| (&step.id, at)).collect();
        let needs = definition.steps.iter().map(|step| {
            let mut needs: Vec<usize> = step.needs.iter().filter_map(|id| index.get(id).copied()).collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        });
        Self::from_needs(needs.collect())
    }

    /// The graph in which step `i` needs the steps `needs[i]`; all of them must be below `needs.len()`.
    pub(super) fn from_needs(needs: Vec<Vec<usize>>) -> Self {
        let mut dependents = vec![Vec::new(); needs.len()];
        for (step, needed) in needs.iter().enumerate() {
            for need in needed {
                dependents[*need].push(step);
            }
        }
        let order = order(&needs, &dependents);
        Self { needs, dependents, order }
    }

    /// What step `i` needs directly, ascending.
    pub fn needs(&self, i: usize) -> &[usize] {
        &self.needs[i]
    }

    /// Which steps need step `i` directly, ascending.
    pub fn dependents(&self, i: usize) -> &[usize] {
        &self.dependents[i]
    }

    /// All steps, each after everything it needs; among the free ones the order of the file. Steps on a cycle,
    /// and what needs them, are missing.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// Everything step `i` needs, directly or through others, ascending; without `i` unless it is on a cycle.
    pub fn ancestors(&self, i: usize) -> Vec<usize> {
        reach(&self.needs, i)
    }

    /// Everything that needs step `i`, directly or through others, ascending; without `i` unless it is on a cycle.
    pub fn descendants(&self, i: usize) -> Vec<usize> {
        reach(&self.dependents, i)
    }

    /// The steps that are on no order: those on a cycle and those behind one.
    pub(super) fn unordered(&self) -> Vec<usize> {
        let mut placed = vec![false; self.needs.len()];
        for step in &self.order {
            placed[*step] = true;
        }
        (0..self.needs.len()).filter(|step| !placed[*step]).collect()
    }
}

/// Kahn's algorithm with the least index first, so that the order is the file's wherever it can be.
fn order(needs: &[Vec<usize>], dependents: &[Vec<usize>]) -> Vec<usize> {
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut free: std::collections::BTreeSet<usize> =
        (0..needs.len()).filter(|step| open[*step] == 0).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(step) = free.pop_first() {
        order.push(step);
        for dependent in &dependents[step] {
            open[*dependent] -= 1;
            if open[*dependent] == 0 {
                free.insert(*dependent);
            }
        }
    }
    order
}

fn reach(edges: &[Vec<usize>], from: usize) -> Vec<usize> {
    let mut seen = vec![false; edges.len()];
    let mut todo: Vec<usize> = edges[from].clone();
    while let Some(step) = todo.pop() {
        if !std::mem::replace(&mut seen[step], true) {
            todo.extend(edges[step].iter().copied().filter(|next| !seen[*next]));
        }
    }
    (0..edges.len()).filter(|step| seen[*step]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diamond_has_the_order_of_the_file() {
        let graph = Graph::from_needs(vec![vec![], vec![0], vec![0], vec![1, 2]]);
        assert_eq!(graph.order(), [0, 1, 2, 3]);
        assert_eq!(graph.dependents(0), [1, 2]);
        assert_eq!(graph.ancestors(3), [0, 1, 2]);
        assert_eq!(graph.descendants(1), [3]);
        assert!(graph.unordered().is_empty());
    }

    #[test]
    fn a_cycle_is_on_no_order() {
        let graph = Graph::from_needs(vec![vec![1], vec![0], vec![1], vec![]]);
        assert_eq!(graph.order(), [3]);
        assert_eq!(graph.unordered(), [0, 1, 2]);
        assert_eq!(graph.ancestors(0), [0, 1]);
    }

    #[test]
    fn ten_thousand_steps_in_a_row() {
        let graph =
            Graph::from_needs((0..10_000_usize).map(|i| i.checked_sub(1).into_iter().collect()).collect());
        assert_eq!(graph.order().len(), 10_000);
        assert_eq!(graph.ancestors(9_999).len(), 9_999);
    }
}
