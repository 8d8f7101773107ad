//! What `apply` would do now: the state it would start from, and a look at what its probes say.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::secrets::SecretError;
use super::survey::Survey;
use super::world::World;
use crate::plan::recorded::{Definition, Step};
use crate::plan::{RunId, StepId, graph::Graph, template};
use crate::saga::{
    self, Ahead, Answer, Event, Finding, Glance, Holders, Illegal, Purpose, Shown, Stamp, State, Verdict,
    What,
};

/// What lies ahead, and what was seen to say so.
#[derive(Debug, Clone, PartialEq)]
pub struct Glimpse {
    /// What lies ahead.
    pub ahead: Ahead,
    /// What the probes said, and the looks of steps that come before all that act.
    pub findings: Vec<Finding>,
    /// The secrets that cannot be had: without them nothing would be started.
    pub missing: Vec<SecretError>,
}

/// The state that a new run of this definition would begin in. Nothing is stored.
///
/// # Errors
/// [`Illegal`] when the definition cannot begin a run.
pub fn unopened(run: RunId, definition: Arc<Definition>, now: Stamp) -> Result<State, Illegal> {
    let what = What::RunOpened { run, definition, by: String::new() };
    saga::open(&Event { seq: 1, at: now, what })
}

/// Looks at the probes of every step that is to come, and at what the steps look at that act on nothing and come first, and
/// says what lies ahead. Nothing is changed.
///
/// The outputs of a probe that holds are those that later steps would have; what depends on the outputs of a step that
/// has still to run is not known yet. `elsewhere` is what other runs hold ([`held_elsewhere`](super::held_elsewhere)).
pub async fn preview<W: World>(
    survey: &Survey<W>,
    state: &State,
    elsewhere: &Holders,
    now: &Stamp,
) -> Glimpse {
    let definition = &state.definition;
    // A scratch copy, never recorded or driven: it carries the outputs that are known so far.
    let mut scratch = state.clone();
    let graph = Graph::of(definition);
    let (mut seen, mut when) = (BTreeMap::<StepId, Answer>::new(), BTreeMap::new());
    let mut findings = Vec::new();
    let mut open: Vec<usize> =
        graph.order().iter().copied().filter(|&place| !state.steps[place].status.ended_well()).collect();
    while !open.is_empty() {
        // All that can be looked at with what is known; looks wait for those alone whose outputs they need.
        let (now_due, later): (Vec<usize>, Vec<usize>) = open.iter().partition(|&&place| {
            let step = &definition.steps[place];
            used(step).all(|id| !open.iter().any(|&other| definition.steps[other].id == id))
        });
        // A plan has no cycles, so that something is always due; the rest is never waited for in vain.
        let due = if now_due.is_empty() { open.clone() } else { now_due };
        open = if due.len() == open.len() { Vec::new() } else { later };
        let mut questions = Vec::new();
        for &place in &due {
            let step = &definition.steps[place];
            let decided = match state.steps[place].when {
                Some(known) => Ok(known),
                None => survey.when(&scratch, step).map_err(|why| later_known(&scratch, step, &why)),
            };
            let skipped = decided == Ok(false);
            when.insert(step.id.clone(), decided);
            questions.extend(Glance::probe(step).filter(|_| !skipped));
        }
        for mut finding in survey.look(&scratch, questions).await {
            let Some(place) = state.place(&finding.step) else { continue };
            let step = &definition.steps[place];
            match finding.answer.verdict {
                Verdict::Holds => scratch.steps[place].outputs = Some(finding.answer.outputs.clone()),
                Verdict::Unknown => {
                    finding.answer.reason = later_known(&scratch, step, &finding.answer.reason);
                }
                Verdict::Absent | Verdict::Partial => {}
            }
            seen.insert(finding.step.clone(), finding.answer.clone());
            findings.push(finding);
        }
    }
    findings.extend(survey.look(&scratch, first_looks(state, &graph, &when)).await);
    let text = |text: &str| Shown::of(&scratch).text(text);
    let ahead = saga::ahead(state, &seen, &when, &text, elsewhere, now);
    Glimpse { ahead, findings, missing: survey.missing().to_vec() }
}

/// What steps that only look would see now: those that no step comes before which has still to act.
fn first_looks(state: &State, graph: &Graph, when: &BTreeMap<StepId, Result<bool, String>>) -> Vec<Glance> {
    let definition = &state.definition;
    let comes = |place: usize| !state.steps[place].status.ended_well();
    let acts = |place: usize| definition.steps[place].forward.is_some() && comes(place);
    let looks = |place: usize, step: &Step| {
        comes(place)
            && step.forward.is_none()
            && step.soak.is_none()
            && when.get(&step.id) == Some(&Ok(true))
            && !graph.ancestors(place).iter().any(|&before| acts(before))
    };
    let steps = definition.steps.iter().enumerate().filter(|(place, step)| looks(*place, step));
    steps
        .flat_map(|(_, step)| Glance::goals(step))
        .filter(|glance| glance.purpose == Purpose::Verify)
        .collect()
}

/// The steps whose outputs a step's probe and `when` refer to. An action's own probe uses what the action does.
fn used(step: &Step) -> impl Iterator<Item = StepId> {
    let own = step.forward.as_ref().filter(|_| step.probe.is_none() && saga::has_probe(step));
    let used = step.probe.iter().chain(own).flat_map(template::steps_of_operation);
    used.chain(step.when.iter().flat_map(template::steps_in))
}

/// Why something cannot be said yet: because of a step that has to run first, or as it was said.
fn later_known(state: &State, step: &Step, why: &str) -> String {
    let missing = used(step).find(|id| state.step(id).is_some_and(|(_, found)| found.outputs.is_none()));
    match missing {
        Some(id) => format!("it depends on what step `{id}` puts out, which has not run"),
        None => why.to_owned(),
    }
}
