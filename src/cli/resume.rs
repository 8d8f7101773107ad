//! `runner resume`: takes a pause back.

use clap::Args;

use super::fail::Fail;
use super::session::Session;
use super::wish::{self, Wish};
use crate::saga::Command;

#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  runner resume hello-1\n\nIt starts nothing by itself: a run that nobody drives goes on with `runner apply`."
)]
pub(super) struct ResumeArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
}

pub(super) async fn run(session: &Session, args: &ResumeArgs) -> Result<u8, Fail> {
    let command = Command::Unpause;
    let wish = Wish { word: "resume", run: args.run.as_deref(), step: None, command, note: "" };
    wish::say(session, wish, |recorded| {
        let wish::Recorded { run, by, apply, .. } = recorded;
        format!(
            "Run `{run}` is no longer paused, by {by}; where nobody drives the run, `{apply}` goes on with it."
        )
    })
    .await
}
