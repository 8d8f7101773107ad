//! `runner skip`: a person leaves a step out.

use clap::Args;

use super::fail::Fail;
use super::session::Session;
use super::wish::{self, RunStep, Wish};
use crate::saga::Command;

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    after_long_help = "Examples:\n  \
    runner skip warm-cache --note \"warm already\"        (of the newest run)\n  \
    runner skip frigate warm-cache --note \"warm already\"\n\n\
    Only a step that has not begun or has failed can be skipped, and none whose outputs a step that is still to come \
    uses. What a failed step may have done is undone by a rollback all the same."
)]
pub(super) struct SkipArgs {
    #[command(flatten)]
    which: RunStep,
    /// Why; recorded, because whoever comes later will ask
    ///
    /// Example: runner skip warm-cache --note "warm already"
    #[arg(long, value_name = "TEXT", value_hint = clap::ValueHint::Other)]
    note: String,
}

pub(super) async fn run(session: &Session, args: &SkipArgs) -> Result<u8, Fail> {
    let (step, note) = (args.which.step(), args.note.as_str());
    let command = Command::Skip { step: step.clone(), note: note.to_owned() };
    let wish = Wish { word: "skip", run: args.which.run(), step: Some(step.clone()), command, note };
    wish::say(session, wish, |recorded| {
        let wish::Recorded { run, by, apply, options: _ } = recorded;
        format!(
            "Step `{step}` of run `{run}` is skipped by {by}: it counts as ended well for the steps that need it; \
             where nobody drives the run, `{apply}` goes on with it."
        )
    })
    .await
}
