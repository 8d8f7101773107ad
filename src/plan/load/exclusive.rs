//! Exclusive resources: whether any order that the graph allows could give one two owners, forward or back.
//!
//! An owner holds a resource from the start, or from the beginning of the step that takes it, until the end of the
//! step that frees it. Rolling back is the mirror image: the compensation of a step that frees takes back at its
//! beginning, and that of a step that takes frees at its end. Two owners never overlap exactly when every pair of
//! them is kept apart by the graph, so that pairs are all this looks at.

use std::collections::BTreeMap;

use super::table::Text;
use super::{AddedNeed, Loader};
use crate::plan::diagnostic::{Diagnostic, help_for};
use crate::plan::graph::Graph;
use crate::plan::recorded::{Compensate, Resource};

/// Steps that may take or free one resource. Looking at pairs is quadratic.
const CLAIMS_MAX: usize = 500;

/// A step that takes or frees.
#[derive(Debug, Clone)]
struct Point {
    step: usize,
    owner: Text,
}

/// Who can reach whom among the steps that touch one resource.
struct Reach {
    place: BTreeMap<usize, usize>,
    words: usize,
    ancestors: Vec<u64>,
}

impl Reach {
    fn new(graph: &Graph, steps: impl Iterator<Item = usize>) -> Self {
        let mut place = BTreeMap::new();
        for step in steps {
            let next = place.len();
            place.entry(step).or_insert(next);
        }
        let words = place.len().div_ceil(64);
        let mut ancestors = vec![0_u64; words * (graph.order().len())];
        for step in graph.order() {
            for need in graph.needs(*step) {
                for word in 0..words {
                    ancestors[step * words + word] |= ancestors[need * words + word];
                }
                if let Some(bit) = place.get(need) {
                    ancestors[step * words + bit / 64] |= 1 << (bit % 64);
                }
            }
        }
        Self { place, words, ancestors }
    }

    /// Whether `first` has ended before `then` starts, in every order.
    fn before(&self, first: usize, then: usize) -> bool {
        self.place
            .get(&first)
            .is_some_and(|bit| self.ancestors[then * self.words + bit / 64] & (1 << (bit % 64)) != 0)
    }

    fn before_or_same(&self, first: usize, then: usize) -> bool {
        first == then || self.before(first, then)
    }
}

/// Why a resource could have two owners.
enum Conflict {
    /// This edge, from a step that frees to one that takes, would keep them apart.
    Edge { frees: Point, takes: Point },
    /// Nothing frees it for the step that takes it.
    Forward { takes: Point, holder: String },
    /// Rolling back would give it back too early.
    Backward { frees: Point, takes: Point },
    /// It is freed by an owner that does not hold it.
    NotHeld { frees: Point },
}

impl Loader<'_, '_> {
    /// Checks every resource; the result is the graph with the edges that were added. Without a graph only names
    /// are checked.
    pub(super) fn check_resources(
        &mut self,
        resources: &BTreeMap<String, Resource>,
        graph: Option<Graph>,
    ) -> Option<Graph> {
        let before = self.problems.len();
        self.check_claims(resources);
        if self.problems.len() > before {
            return graph;
        }
        let mut touched: BTreeMap<String, (Vec<Point>, Vec<Point>)> = BTreeMap::new();
        for (step, draft) in self.steps.iter().enumerate() {
            for claim in &draft.takes {
                let point = Point { step, owner: claim.owner.clone() };
                touched.entry(claim.resource.text.clone()).or_default().0.push(point);
            }
            for claim in &draft.frees {
                let point = Point { step, owner: claim.owner.clone() };
                touched.entry(claim.resource.text.clone()).or_default().1.push(point);
            }
        }
        let mut graph = graph?;
        for (name, (takes, frees)) in &touched {
            let Some(resource) = resources.get(name) else { continue };
            if let Some(point) = takes.iter().chain(frees).nth(CLAIMS_MAX) {
                let message = format!("more than {CLAIMS_MAX} steps take or free `{name}`");
                self.problems.add_help(&point.owner.span, "too-many-claims", message, "split the plan");
                continue;
            }
            // Every edge that is added keeps one more pair apart, so that this ends.
            while let Some(conflict) = conflict(&graph, resource.held_at_start.as_deref(), takes, frees) {
                match conflict {
                    Conflict::Edge { frees, takes } => graph = self.add_edge(&graph, name, &frees, &takes),
                    other => {
                        self.report_conflict(name, &other);
                        break;
                    }
                }
            }
        }
        Some(graph)
    }

    fn check_claims(&mut self, resources: &BTreeMap<String, Resource>) {
        let drafts = std::mem::take(&mut self.steps);
        for draft in &drafts {
            let back = draft
                .step
                .as_ref()
                .is_some_and(|step| !matches!(step.compensate, Compensate::Irreversible(_)));
            for (claim, is_freed) in draft
                .takes
                .iter()
                .map(|claim| (claim, back))
                .chain(draft.frees.iter().map(|claim| (claim, true)))
            {
                let Text { text: name, span } = &claim.resource;
                let Some(resource) = resources.get(name) else {
                    let help = help_for("resources", name, resources.keys().map(String::as_str));
                    self.problems.add_help(
                        span,
                        "unknown-resource",
                        format!("there is no resource `{name}`"),
                        help,
                    );
                    continue;
                };
                let owner = &claim.owner;
                self.check_owner(name, &owner.text, &owner.span, &resource.owners);
                let known = resource.owners.contains(&owner.text);
                if known && is_freed && resource.gone.get(&owner.text).is_none_or(Vec::is_empty) {
                    let message =
                        format!("nothing says how to see that `{}` has let go of `{name}`", owner.text);
                    let help = format!(
                        "add `gone.{} = [{{ check = … }}]` to the resource; rolling back looks there too",
                        owner.text
                    );
                    self.problems.add_help(&owner.span, "no-gone-check", message, help);
                }
            }
        }
        self.steps = drafts;
    }

    fn add_edge(&mut self, graph: &Graph, name: &str, frees: &Point, takes: &Point) -> Graph {
        let mut needs: Vec<Vec<usize>> =
            (0..self.steps.len()).map(|step| graph.needs(step).to_vec()).collect();
        needs[takes.step].push(frees.step);
        let freeing = self.steps[frees.step].name().to_owned();
        let taking = self.steps[takes.step].name().to_owned();
        let message = format!("step `{taking}` also needs `{freeing}`, which frees `{name}`");
        let help = format!("write it into `needs` of `{taking}` to make it visible");
        let span = takes.owner.span.clone();
        let note = Diagnostic::new(&self.problems.source, span, "edge-added", message, Some(help));
        self.notes.push(note.into_note());
        if let (Some(id), Some(step)) = (self.steps[frees.step].id.clone(), &mut self.steps[takes.step].step)
        {
            self.added.push(AddedNeed {
                step: step.id.clone(),
                needs: id.clone(),
                resource: name.to_owned(),
            });
            step.needs.push(id);
        }
        Graph::from_needs(needs)
    }

    fn report_conflict(&mut self, name: &str, conflict: &Conflict) {
        match conflict {
            Conflict::Edge { .. } => {}
            Conflict::Forward { takes, holder } => {
                let message = format!(
                    "step `{}` would take `{name}` for `{}` while `{holder}` can still hold it",
                    self.steps[takes.step].name(),
                    takes.owner.text,
                );
                let help = format!("let a step before it say `frees = {{ \"{name}\" = \"{holder}\" }}`");
                self.problems.add_help(&takes.owner.span, "two-owners", message, help);
            }
            Conflict::Backward { frees, takes } => {
                let (freeing, taking) = (self.steps[frees.step].name(), self.steps[takes.step].name());
                let message = format!(
                    "rolling back `{freeing}` would give `{name}` back to `{}` while `{}` still holds it through `{taking}`",
                    frees.owner.text, takes.owner.text,
                );
                let help = format!("let `{freeing}` come before `{taking}`");
                self.problems.add_help(&frees.owner.span, "two-owners", message, help);
            }
            Conflict::NotHeld { frees } => {
                let owner = &frees.owner.text;
                let message = format!(
                    "step `{}` frees `{name}` for `{owner}`, which does not hold it then",
                    self.steps[frees.step].name(),
                );
                let help = format!("say `held_at_start = \"{owner}\"`, or let a step before it take it");
                self.problems.add_help(&frees.owner.span, "not-held", message, help);
            }
        }
    }
}

/// The first pair that the graph does not keep apart.
fn conflict(graph: &Graph, held: Option<&str>, takes: &[Point], frees: &[Point]) -> Option<Conflict> {
    let reach = Reach::new(graph, takes.iter().chain(frees).map(|point| point.step));
    let taken_before = |free: &Point| {
        takes
            .iter()
            .any(|take| take.owner.text == free.owner.text && reach.before_or_same(take.step, free.step))
    };
    // Whoever frees without having taken held it at the start.
    let mut first = held.map(str::to_owned);
    for free in frees.iter().filter(|free| !taken_before(free)) {
        match &first {
            Some(holder) if holder != &free.owner.text => {
                return Some(Conflict::NotHeld { frees: free.clone() });
            }
            Some(_) => {}
            None => first = Some(free.owner.text.clone()),
        }
    }
    let start = first.iter().map(|owner| (owner.as_str(), None));
    let acquisitions: Vec<(&str, Option<usize>)> =
        start.chain(takes.iter().map(|take| (take.owner.text.as_str(), Some(take.step)))).collect();
    for take in takes {
        for (owner, from) in acquisitions.iter().filter(|(owner, _)| *owner != take.owner.text) {
            let released: Vec<&Point> = frees
                .iter()
                .filter(|free| {
                    free.owner.text == *owner && from.is_none_or(|from| reach.before_or_same(from, free.step))
                })
                .collect();
            let apart = released.iter().any(|free| reach.before(free.step, take.step));
            let earlier = from.is_some_and(|from| {
                let gives_up = |free: &&Point| {
                    free.owner.text == take.owner.text && reach.before_or_same(take.step, free.step)
                };
                frees.iter().filter(gives_up).any(|free| reach.before(free.step, from))
                    // The same pair is looked at from the other side, where the edge can be added.
                    || reach.before(take.step, from)
                    || (!reach.before(from, take.step) && take.step < from)
            });
            if apart || earlier {
                continue;
            }
            let possible = released
                .iter()
                .filter(|free| free.step != take.step && !reach.before(take.step, free.step))
                .max_by_key(|free| (free.step < take.step, std::cmp::Reverse(free.step.abs_diff(take.step))));
            return Some(match possible {
                Some(free) => Conflict::Edge { frees: (*free).clone(), takes: take.clone() },
                None => Conflict::Forward { takes: take.clone(), holder: (*owner).to_owned() },
            });
        }
    }
    for free in frees {
        for take in takes.iter().filter(|take| take.owner.text != free.owner.text) {
            let given_up = |other: &&Point| {
                other.owner.text == take.owner.text
                    && reach.before_or_same(take.step, other.step)
                    && reach.before(other.step, free.step)
            };
            if reach.before(free.step, take.step) || frees.iter().any(|other| given_up(&other)) {
                continue;
            }
            return Some(match free.step != take.step && !reach.before(take.step, free.step) {
                true => Conflict::Edge { frees: free.clone(), takes: take.clone() },
                false => Conflict::Backward { frees: free.clone(), takes: take.clone() },
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    //! Goal: what is accepted never has two owners. Method: all graphs of three steps with all claims on one resource,
    //! all orders in which they can start and end, all points at which a rollback can begin, all its orders.

    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    enum Claim {
        None,
        Takes(&'static str),
        Frees(&'static str),
    }

    const CLAIMS: [Claim; 5] =
        [Claim::None, Claim::Takes("a"), Claim::Takes("b"), Claim::Frees("a"), Claim::Frees("b")];

    fn points(claims: &[Claim; 3], pick: impl Fn(Claim) -> Option<&'static str>) -> Vec<Point> {
        let owned = |(step, claim): (usize, &Claim)| {
            pick(*claim).map(|owner| Point { step, owner: Text { text: owner.to_owned(), span: 0..0 } })
        };
        claims.iter().enumerate().filter_map(owned).collect()
    }

    /// The graph with the edges that were added, or nothing when it is refused.
    fn accepted(mut graph: Graph, held: Option<&str>, claims: &[Claim; 3]) -> Option<Graph> {
        let takes = points(claims, |claim| if let Claim::Takes(owner) = claim { Some(owner) } else { None });
        let frees = points(claims, |claim| if let Claim::Frees(owner) = claim { Some(owner) } else { None });
        loop {
            match conflict(&graph, held, &takes, &frees) {
                None => return Some(graph),
                Some(Conflict::Edge { frees, takes }) => {
                    let mut needs: Vec<Vec<usize>> = (0..3).map(|step| graph.needs(step).to_vec()).collect();
                    needs[takes.step].push(frees.step);
                    graph = Graph::from_needs(needs);
                    assert_eq!(graph.order().len(), 3, "the added edge closed a circle");
                }
                Some(_) => return None,
            }
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum State {
        Before,
        During,
        After,
    }

    fn add(owners: &mut Vec<&'static str>, owner: &'static str) -> bool {
        if !owners.contains(&owner) {
            owners.push(owner);
        }
        owners.len() == 1
    }

    /// Whether no order of starts and ends, forward or backward, gives the resource two owners.
    fn safe(
        graph: &Graph,
        claims: &[Claim; 3],
        states: [State; 3],
        owners: &[&'static str],
        back: bool,
    ) -> bool {
        // A rollback can begin whenever nothing is in flight.
        if !back && !states.contains(&State::During) && states.contains(&State::After) {
            let undo = states.map(|state| if state == State::After { State::Before } else { State::After });
            if !safe(graph, claims, undo, owners, true) {
                return false;
            }
        }
        (0..3).all(|step| {
            let first = if back { graph.dependents(step) } else { graph.needs(step) };
            let mut owners = owners.to_vec();
            let mut next = states;
            match states[step] {
                State::Before if first.iter().all(|other| states[*other] == State::After) => {
                    next[step] = State::During;
                    let good = match (claims[step], back) {
                        (Claim::Takes(owner), false) | (Claim::Frees(owner), true) => add(&mut owners, owner),
                        _ => true,
                    };
                    good && safe(graph, claims, next, &owners, back)
                }
                State::During => {
                    next[step] = State::After;
                    if let (Claim::Frees(owner), false) | (Claim::Takes(owner), true) = (claims[step], back) {
                        owners.retain(|other| *other != owner);
                    }
                    safe(graph, claims, next, &owners, back)
                }
                State::Before | State::After => true,
            }
        })
    }

    #[test]
    fn what_is_accepted_never_has_two_owners() {
        let (mut taken, mut refused) = (0, 0);
        for held in [None, Some("a")] {
            for edges in 0..8_usize {
                for code in 0..125_usize {
                    let claims = [CLAIMS[code % 5], CLAIMS[code / 5 % 5], CLAIMS[code / 25]];
                    let has = |bit: usize, need: usize| (edges >> bit & 1 == 1).then_some(need);
                    let needs = vec![
                        vec![],
                        has(0, 0).into_iter().collect(),
                        has(1, 0).into_iter().chain(has(2, 1)).collect(),
                    ];
                    let Some(graph) = accepted(Graph::from_needs(needs), held, &claims) else {
                        refused += 1;
                        continue;
                    };
                    taken += 1;
                    let start: Vec<&'static str> = held.map(|_| "a").into_iter().collect();
                    let shown: Vec<String> = claims
                        .iter()
                        .map(|claim| match claim {
                            Claim::None => "-".to_owned(),
                            Claim::Takes(owner) => format!("takes {owner}"),
                            Claim::Frees(owner) => format!("frees {owner}"),
                        })
                        .collect();
                    assert!(
                        safe(&graph, &claims, [State::Before; 3], &start, false),
                        "held {held:?}, {shown:?}, {graph:?}"
                    );
                }
            }
        }
        assert!(taken > 200 && refused > 200, "{taken} taken, {refused} refused");
    }
}
