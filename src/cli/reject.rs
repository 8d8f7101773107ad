//! `runner reject`: a person says no to what a step waits for.

use clap::Args;

use super::fail::Fail;
use super::session::Session;
use super::wish::{self, RunStep, Wish};
use crate::saga::Command;

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    after_long_help = "Examples:\n  \
    runner reject delete-old                           (of the newest run)\n  \
    runner reject frigate delete-old --note \"two cameras are missing\"\n\n\
    The step fails: with `on_failure = \"rollback\"` everything that the run did is undone."
)]
pub(super) struct RejectArgs {
    #[command(flatten)]
    which: RunStep,
    /// Why; recorded with the answer
    ///
    /// Example: runner reject delete-old --note "two cameras are missing"
    #[arg(long, value_name = "TEXT", value_hint = clap::ValueHint::Other)]
    note: Option<String>,
}

pub(super) async fn run(session: &Session, args: &RejectArgs) -> Result<u8, Fail> {
    let (step, note) = (args.which.step(), args.note.as_deref().unwrap_or_default());
    let command = Command::Reject { step: step.clone(), note: note.to_owned() };
    let wish = Wish { word: "reject", run: args.which.run(), step: Some(step.clone()), command, note };
    wish::say(session, wish, |recorded| {
        let wish::Recorded { run, by, apply, options: _ } = recorded;
        format!(
            "Step `{step}` of run `{run}` is rejected by {by}: it counts as failed, and its `on_failure` decides what \
             follows where the run is driven; `{apply}` asks again."
        )
    })
    .await
}
