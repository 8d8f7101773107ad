//! An edited plan meets its run: what the new definition is, or why the edit is refused.

use std::collections::BTreeMap;

use crate::plan::recorded::{Compensate, Definition, Step};
use crate::plan::{self, ChangeKind, StepChange, StepId};
use crate::saga::{Change, State, Taken};

/// A changed definition, ready to be taken into the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Amendment {
    /// The whole new definition, finished steps that are gone from the file included.
    pub definition: Definition,
    /// What changed.
    pub changes: Vec<Change>,
}

impl Amendment {
    /// The changes that stand only when a person has read and approved them: compensations of finished steps.
    pub fn to_approve(&self) -> impl Iterator<Item = (&StepId, &str)> {
        let changes = self.changes.iter().filter(|change| change.taken == Taken::Compensation);
        changes.filter_map(|change| Some((change.step.as_ref()?, change.diff.as_str())))
    }
}

/// What is to become of edited steps that are finished.
#[derive(Debug, Clone, Copy, Default)]
pub struct Takes<'a> {
    /// They run again.
    pub redo: &'a [StepId],
    /// They keep their result.
    pub keep: &'a [StepId],
    /// They get another compensation.
    pub amend: &'a [StepId],
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
    amendment_with(state, new, Takes::default())
}

/// The same, with what is to become of finished steps that the edit would change.
///
/// # Errors
/// As [`amendment`].
pub fn amendment_with(
    state: &State,
    new: &Definition,
    takes: Takes<'_>,
) -> Result<Option<Amendment>, Refused> {
    if std::ptr::eq(&*state.definition, new) {
        return Ok(None);
    }
    let comparison = plan::compare(&state.definition, new, &state.outputs(), &state.run.to_string());
    if comparison.is_empty() {
        return Ok(None);
    }
    let mut refused = Vec::new();
    let mut changes = Vec::new();
    let mut kept: Vec<Step> = Vec::new();
    for change in comparison.steps {
        let found = state.step(&change.id);
        let finished = found.is_some_and(|(_, step)| step.status.is_finished());
        let ours = found.is_some_and(|(_, step)| step.is_ours());
        let mut taken = Taken::AsEdited;
        let refuse = |why: String| RefusedStep { step: change.id.clone(), why, diff: change.diff.clone() };
        match change.kind {
            ChangeKind::Added => {}
            ChangeKind::Changed => {
                if let Some((step, _)) = found
                    && finished
                    && change.result_changed
                {
                    match take(step, &change, ours, takes) {
                        Ok(how) => taken = how,
                        Err(why) => {
                            refused.push(refuse(why));
                            continue;
                        }
                    }
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
                        "it was attempted and may have had an effect, and is gone from the file: put it back"
                            .to_owned(),
                    ));
                    continue;
                }
                Some(_) | None => {}
            },
        }
        let matters = change.result_changed || change.gate_changed;
        changes.push(Change { step: Some(change.id), diff: change.diff, matters, taken });
    }
    if !refused.is_empty() {
        return Err(Refused { steps: refused });
    }
    if !comparison.other.is_empty() {
        let (diff, taken) = (comparison.other_diff, Taken::AsEdited);
        changes.push(Change { step: None, diff, matters: false, taken });
    }
    if changes.is_empty() {
        return Ok(None);
    }
    Ok(Some(Amendment { definition: merged(state, new, kept), changes }))
}

/// How the change of a finished step is taken, or why it is not.
fn take(step: &Step, change: &StepChange, ours: bool, takes: Takes<'_>) -> Result<Taken, String> {
    let id = &change.id;
    let (keep, amend) = (takes.keep.contains(id), takes.amend.contains(id));
    if takes.redo.contains(id) {
        return Ok(Taken::Redone);
    }
    if !keep && !amend {
        let rest = if change.compensation_changed && ours {
            format!(", `--amend {id}` takes its new compensation alone")
        } else {
            String::new()
        };
        return Err(format!(
            "it is finished, and the edit changes what it does: take the edit back, or say what is to become of it: \
             `--redo {id}` runs it again, `--keep {id}` keeps its result{rest}"
        ));
    }
    if ours && step.compensate == Compensate::Inverse && change.action_changed {
        return Err(format!(
            "it is undone by the inverse of the action that ran, which the edited one is not: take the edit back, or \
             `--redo {id}` to run it again"
        ));
    }
    if !ours {
        // Nothing of it is ever undone.
        return match keep {
            true => Ok(Taken::Kept),
            false => Err(format!(
                "it held before this run touched it, so it has nothing to undo: `--keep {id}` takes the edit"
            )),
        };
    }
    match (keep, amend, change.compensation_changed) {
        (true, _, false) => Ok(Taken::Kept),
        (true, false, true) => Err(format!(
            "its compensation is edited too, which `--keep` does not take: add `--amend {id}`, and approve it"
        )),
        (true, true, true) => Ok(Taken::Compensation),
        (false, _, _) if !change.only_compensation() => Err(format!(
            "more than its compensation is edited: add `--keep {id}` to keep its result beside that"
        )),
        (false, _, _) => Ok(Taken::Compensation),
    }
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
