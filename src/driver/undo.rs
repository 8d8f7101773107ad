//! What a rollback needs before its first act, found without touching anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::pre_image::readable;
use super::seal::Keys;
use super::secrets::Secrets;
use crate::journal::Bodies;
use crate::plan::StepId;
use crate::plan::recorded::{Compensate, Definition, Operation};
use crate::plan::template;
use crate::saga::{self, Command, Refusal, State};

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

/// Why a rollback would be refused before its first act, each with what to do; nothing when it would not be.
///
/// Looks at secrets, at the key and the bodies of pre-images, and at folders; `cwd` is where local commands would run
/// instead of the recorded folder. Blocks.
pub fn refusals_of_rollback(
    state: &State,
    to: Option<&StepId>,
    cwd: Option<&Path>,
    bodies: &Bodies,
    keys: &Keys,
) -> Vec<String> {
    let mut refused = Vec::new();
    let wish = Command::Rollback { to: to.cloned(), parallel: 1 };
    match saga::command(state, &wish, "") {
        Ok(_) | Err(Refusal::Nothing { .. }) => {}
        Err(refusal) => refused.push(refusal.to_string()),
    }
    let undo = state.to_undo(to);
    if undo.is_empty() {
        return refused;
    }
    let names = secrets_of_rollback(&state.definition);
    if let Err(errors) = Secrets::resolve(&state.definition, Some(&names)) {
        refused.extend(errors.iter().map(ToString::to_string));
    }
    if let Err((step, error)) = readable(state, &undo, bodies, keys) {
        refused.push(format!("what was there before step `{step}` cannot be brought back: {error}"));
    }
    match cwd {
        Some(cwd) if !cwd.is_dir() => refused.push(format!("there is no folder `{}`", cwd.display())),
        Some(_) => {}
        None => {
            let folders = rollback_folders(state, to).into_iter().filter(|(_, folder)| !folder.is_dir());
            refused.extend(folders.map(|(step, folder)| {
                let folder = folder.display();
                format!(
                    "the folder `{folder}`, where step `{step}` is to be undone, is gone: give `--cwd DIR`"
                )
            }));
        }
    }
    refused
}
