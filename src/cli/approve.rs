//! `runner approve`: a person says yes to what a step waits for.

use clap::Args;

use super::fail::Fail;
use super::session::Session;
use super::wish::{self, RunStep, Wish};
use crate::saga::Command;

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    after_long_help = "Examples:\n  \
    runner approve delete-old                          (of the newest run)\n  \
    runner approve frigate delete-old --note \"a week without a fault\"\n\n\
    The evidence was looked at when the gate opened and is looked at again now: an approval is void when something \
    in it holds no more. A soak that stands still because the way back no longer works goes on without it."
)]
pub(super) struct ApproveArgs {
    #[command(flatten)]
    which: RunStep,
    /// Why; recorded with the approval
    ///
    /// Example: runner approve delete-old --note "a week without a fault"
    #[arg(long, value_name = "TEXT", value_hint = clap::ValueHint::Other)]
    note: Option<String>,
}

pub(super) async fn run(session: &Session, args: &ApproveArgs) -> Result<u8, Fail> {
    let (step, note) = (args.which.step(), args.note.as_deref().unwrap_or_default());
    let command = Command::Approve { step: step.clone(), note: note.to_owned() };
    let wish = Wish { word: "approve", run: args.which.run(), step: Some(step.clone()), command, note };
    wish::say(session, wish, |recorded| {
        let wish::Recorded { run, by, apply, options: _ } = recorded;
        format!(
            "Step `{step}` of run `{run}` is approved by {by}. Its evidence is looked at once more before it starts; \
             where nobody drives the run, `{apply}` goes on with it."
        )
    })
    .await
}
