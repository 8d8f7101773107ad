//! Ids and `needs`: duplicates, unknown names and cycles; the result is the graph of the plan.

use std::collections::HashMap;

use super::Loader;
use super::table::Text;
use crate::plan::diagnostic::help_for;
use crate::plan::graph::Graph;
use crate::plan::id::StepId;

/// Steps of a cycle that a message names.
const CYCLE_SHOWN_MAX: usize = 8;

impl Loader<'_, '_> {
    /// Resolves every `needs`. Without a graph there is a cycle, and it was reported.
    pub(super) fn resolve_needs(&mut self) -> Option<Graph> {
        let mut index: HashMap<String, usize> = HashMap::new();
        for (at, draft) in self.steps.iter().enumerate() {
            let Some(id) = &draft.id else { continue };
            if let Some(first) = index.get(id.as_str()) {
                let line = self.problems.source.line(self.steps[*first].at.start);
                let message = format!("there is a step `{id}` already, in line {line}");
                self.problems.add_help(&draft.at, "duplicate-id", message, "give one of them another id");
            } else {
                index.insert(id.to_string(), at);
            }
        }
        self.index = index;
        let all_needs: Vec<Vec<usize>> = (0..self.steps.len()).map(|at| self.resolve(at)).collect();
        for (at, needs) in all_needs.iter().enumerate() {
            let ids = needs.iter().filter_map(|need| self.steps[*need].id.clone()).collect();
            if let Some(step) = &mut self.steps[at].step {
                step.needs = ids;
            }
        }
        let graph = Graph::from_needs(all_needs);
        let unordered = graph.unordered();
        if unordered.is_empty() {
            return Some(graph);
        }
        self.report_cycles(&graph, &unordered);
        None
    }

    /// The needs of one step, in the order of the file.
    fn resolve(&mut self, at: usize) -> Vec<usize> {
        let Some(needs) = self.steps[at].needs.clone() else {
            return at.checked_sub(1).into_iter().collect();
        };
        let mut resolved: Vec<usize> = Vec::new();
        for Text { text, span } in &needs {
            match self.index.get(text.as_str()).copied() {
                // A step whose id stands twice may be meant by neither.
                Some(need) if need == at || self.steps[at].name() == text => {
                    let message = format!("step `{text}` needs itself");
                    self.problems.add_help(span, "self-need", message, "remove it");
                }
                Some(need) if resolved.contains(&need) => {
                    self.problems.add_help(
                        span,
                        "duplicate-need",
                        format!("`{text}` is needed twice"),
                        "remove one of them",
                    );
                }
                Some(need) => resolved.push(need),
                None if self.problems.is_full() => {}
                None => {
                    let ids = self.steps.iter().enumerate().filter(|(other, _)| *other != at);
                    let ids = ids.filter_map(|(_, draft)| draft.id.as_ref()).map(StepId::as_str);
                    let help = help_for("other steps", text, ids);
                    self.problems.add_help(span, "unknown-step", format!("there is no step `{text}`"), help);
                }
            }
        }
        resolved
    }

    fn report_cycles(&mut self, graph: &Graph, unordered: &[usize]) {
        let mut open = vec![false; self.steps.len()];
        unordered.iter().for_each(|step| open[*step] = true);
        // A walk along needs that are on no order must come round; one that meets an older walk found its cycle.
        let mut walk_of = vec![0_usize; self.steps.len()];
        for (walk, start) in unordered.iter().enumerate().map(|(walk, start)| (walk + 1, *start)) {
            let mut path = Vec::new();
            let mut step = start;
            while walk_of[step] == 0 {
                walk_of[step] = walk;
                path.push(step);
                let Some(next) = graph.needs(step).iter().copied().find(|need| open[*need]) else { break };
                step = next;
            }
            if walk_of[step] == walk
                && let Some(first) = path.iter().position(|other| *other == step)
            {
                self.report_cycle(&path[first..]);
            }
        }
    }

    fn report_cycle(&mut self, cycle: &[usize]) {
        let entries = cycle.iter().zip(cycle.iter().cycle().skip(1)).filter_map(|(step, need)| {
            let entries = self.steps[*step].needs.as_ref()?;
            let entry = entries.iter().find(|entry| entry.text == self.steps[*need].name())?;
            Some((need > step, *step, entry.span.clone()))
        });
        // The entry that points down the file is the one that closes the circle; there always is one, because a
        // need that is not written points up.
        let Some((_, from, span)) = entries.max_by_key(|(down, step, _)| (*down, std::cmp::Reverse(*step)))
        else {
            return;
        };
        let turn = cycle.iter().position(|step| *step == from).unwrap_or(0);
        let mut names: Vec<String> = cycle[turn..]
            .iter()
            .chain(&cycle[..turn])
            .chain(std::iter::once(&from))
            .map(|step| format!("`{}`", self.steps[*step].name()))
            .collect();
        if names.len() > CYCLE_SHOWN_MAX {
            let tail = names.split_off(names.len() - 2);
            names.truncate(CYCLE_SHOWN_MAX - 3);
            names.push("…".to_owned());
            names.extend(tail);
        }
        let message = format!("steps need each other in a circle: {}", names.join(" needs "));
        let help = "remove one of these needs; a step without `needs` needs the step above it";
        self.problems.add_help(&span, "cycle", message, help);
    }
}
