//! Runs and steps as people name them, and what they probably meant when there is none of that name.

use super::fail::Fail;
use crate::driver::{History, history};
use crate::plan::recorded::Definition;
use crate::plan::{RunId, StepId, did_you_mean};

/// Reads the name of a step.
pub(super) fn step(text: &str) -> Result<StepId, String> {
    StepId::new(text).map_err(|error| error.rule.to_owned())
}

/// The run that a person names: nothing for the newest, a plan's name for its newest, or a run's id.
pub(super) async fn find(history: &dyn History, name: Option<&str>) -> Result<RunId, Fail> {
    Ok(history::find(history, name).await?)
}

/// A step that the run does not have.
pub(super) fn no_such_step(run: &RunId, definition: &Definition, step: &StepId) -> Fail {
    let fail = Fail::usage(format!("run `{run}` has no step `{step}`"));
    let known = definition.steps.iter().map(|step| step.id.as_str());
    let lists = format!("`runner status {run}` lists its steps");
    fail.help(match did_you_mean(step.as_str(), known) {
        Some(meant) => format!("did you mean `{meant}`? {lists}"),
        None => lists,
    })
}
