//! `runner pause`: nothing new starts until the run is resumed.

use clap::Args;

use super::fail::Fail;
use super::session::Session;
use super::wish::{self, Wish};
use crate::saga::Command;

#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  runner pause hello-1\n\nWhat is in flight comes to its end; `apply` then exits 4, unless it was started with `--wait`."
)]
pub(super) struct PauseArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
}

pub(super) async fn run(session: &Session, args: &PauseArgs) -> Result<u8, Fail> {
    let command = Command::Pause;
    let wish = Wish { word: "pause", run: args.run.as_deref(), step: None, command, note: "" };
    wish::say(session, wish, |recorded| {
        let wish::Recorded { run, by, options, .. } = recorded;
        format!(
            "Run `{run}` is paused by {by}: nothing new starts, and what is in flight comes to its end. \
             `runner resume {run}{options}` takes it back."
        )
    })
    .await
}
