//! An edited plan meets its run: what the new definition is, or why the edit is refused.

use std::collections::BTreeMap;

use crate::plan::recorded::{Definition, Step};
use crate::plan::{self, ChangeKind, StepId};
use crate::saga::{Change, State, Status};

/// A changed definition, ready to be taken into the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Amendment {
    /// The whole new definition, finished steps that are gone from the file included.
    pub definition: Definition,
    /// What changed.
    pub changes: Vec<Change>,
}

/// Why an edit cannot be taken into the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The steps and why each stands in the way, with the difference.
    pub steps: Vec<RefusedStep>,
}

/// A step that stands in the way of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedStep {
    /// The step.
    pub step: StepId,
    /// Why, and what to do.
    pub why: String,
    /// A unified diff.
    pub diff: String,
}

/// Compares the run's definition with the file's. `None`: they mean the same.
///
/// Every step that is not finished takes the new definition. A finished step keeps its result, so a change of what
/// decides it is refused; a finished step that is gone from the file stays in the run.
///
/// # Errors
/// [`Refused`] with every step that stands in the way.
pub fn amendment(state: &State, new: &Definition) -> Result<Option<Amendment>, Refused> {
    let comparison = plan::compare(&state.definition, new, &state.outputs(), &state.run.to_string());
    if comparison.is_empty() {
        return Ok(None);
    }
    let mut refused = Vec::new();
    let mut changes = Vec::new();
    let mut kept: Vec<Step> = Vec::new();
    for change in comparison.steps {
        let found = state.step(&change.id);
        let finished = found.is_some_and(|(_, step)| matches!(step.status, Status::Done | Status::Satisfied));
        let ours = found.is_some_and(|(_, step)| step.is_ours());
        let refuse = |why: &str| RefusedStep {
            step: change.id.clone(),
            why: why.to_owned(),
            diff: change.diff.clone(),
        };
        match change.kind {
            ChangeKind::Added => {}
            ChangeKind::Changed => {
                if finished && change.result_changed {
                    refused.push(refuse(
                        "it is finished, and the edit changes what it does: take the edit back, or roll back and \
                         apply the changed plan as a new run",
                    ));
                    continue;
                }
            }
            ChangeKind::Removed => match found {
                Some((step, _)) if finished => {
                    // It stays in the run, and is no news each time.
                    kept.push(step.clone());
                    continue;
                }
                Some(_) if ours => {
                    refused.push(refuse(
                        "it was attempted and may have had an effect, and is gone from the file: put it back",
                    ));
                    continue;
                }
                Some(_) | None => {}
            },
        }
        let matters = change.result_changed;
        changes.push(Change { step: Some(change.id), diff: change.diff, matters });
    }
    if !refused.is_empty() {
        return Err(Refused { steps: refused });
    }
    if !comparison.other.is_empty() {
        changes.push(Change { step: None, diff: comparison.other_diff, matters: false });
    }
    if changes.is_empty() {
        return Ok(None);
    }
    Ok(Some(Amendment { definition: merged(state, new, kept), changes }))
}

/// The new definition with the finished steps that are gone from the file, where they were.
fn merged(state: &State, new: &Definition, kept: Vec<Step>) -> Definition {
    let mut definition = new.clone();
    let mut steps: Vec<Step> = kept;
    // Files and hosts that only the kept steps name are still needed to undo them.
    for (path, file) in &state.definition.files {
        definition.files.entry(path.clone()).or_insert_with(|| file.clone());
    }
    if !steps.is_empty() {
        keep(&state.definition.hosts, &mut definition.hosts);
        keep(&state.definition.clusters, &mut definition.clusters);
        keep(&state.definition.brokers, &mut definition.brokers);
        keep(&state.definition.secrets, &mut definition.secrets);
        keep(&state.definition.vars, &mut definition.vars);
        keep(&state.definition.resources, &mut definition.resources);
    }
    let gone: Vec<StepId> = definition.steps.iter().map(|step| step.id.clone()).collect();
    for step in &mut steps {
        step.needs.retain(|need| gone.contains(need) || state.place(need).is_some());
    }
    steps.append(&mut definition.steps);
    definition.steps = steps;
    let ids: Vec<StepId> = definition.steps.iter().map(|step| step.id.clone()).collect();
    for step in &mut definition.steps {
        step.needs.retain(|need| ids.contains(need));
    }
    definition
}

fn keep<T: Clone>(old: &BTreeMap<String, T>, new: &mut BTreeMap<String, T>) {
    for (name, value) in old {
        new.entry(name.clone()).or_insert_with(|| value.clone());
    }
}
