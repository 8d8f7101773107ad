//! What a rollback needs before its first act, found without touching anything.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::plan::StepId;
use crate::plan::recorded::{Compensate, Definition, Operation};
use crate::plan::template;
use crate::saga::State;

/// The secrets that compensations, `undone` checks and resources of a definition refer to.
pub fn secrets_of_rollback(definition: &Definition) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |operation: &Operation| names.extend(template::secrets_of_operation(operation));
    for step in &definition.steps {
        match &step.compensate {
            Compensate::Action(operation) => add(operation),
            // Its own inverse uses what the action used.
            Compensate::Inverse => step.forward.iter().for_each(&mut add),
            Compensate::Nothing | Compensate::Irreversible(_) => {}
        }
        step.undone.iter().for_each(&mut add);
    }
    definition.resources.values().flat_map(|resource| resource.gone.values()).flatten().for_each(&mut add);
    for broker in definition.brokers.values() {
        let texts = [broker.password.as_ref(), broker.username.as_ref()];
        for text in texts.into_iter().flatten() {
            names.extend(template::secrets_in(&Value::String(text.clone())));
        }
    }
    names
}

/// For each step that a rollback would undo with a command on this machine: the folder it runs in.
pub fn rollback_folders(state: &State, to: Option<&StepId>) -> Vec<(StepId, PathBuf)> {
    let mut folders = Vec::new();
    for id in state.to_undo(to) {
        let Some((step, _)) = state.step(&id) else { continue };
        let Compensate::Action(operation) = &step.compensate else { continue };
        if operation.name == "command" {
            let cwd = operation.fields.get("cwd").and_then(Value::as_str);
            let folder = cwd.unwrap_or(&state.definition.folder);
            folders.push((id, PathBuf::from(folder)));
        }
    }
    folders
}
