//! `runner resolve`: a person says what became of a step that nobody else can settle.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::access::Access;
use super::drive::Signals;
use super::eyes;
use super::fail::Fail;
use super::near::{self, step};
use super::session::Session;
use super::wish::{self, Said};
use crate::driver::history;
use crate::plan::StepId;
use crate::report::{self, Asked, exit};
use crate::saga::{Command, State};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner resolve hello-1 greet --as done\n  \
    runner resolve hello-1 greet --as done --output text=hello\n\n\
    It records what you saw and starts nothing: `runner apply` goes on with the run, or `runner rollback`.")]
pub(super) struct ResolveArgs {
    /// The run, or a plan's name for its newest
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: String,
    /// The step
    #[arg(value_name = "STEP", value_hint = clap::ValueHint::Other, value_parser = step)]
    step: StepId,
    /// What became of it
    ///
    /// Example: runner resolve hello-1 greet --as undone
    #[arg(long = "as", value_name = "WHAT")]
    what: What,
    /// An output that the step would have given; may be repeated
    ///
    /// The value is JSON, or else text.
    ///
    /// Example: runner resolve hello-1 greet --as done --output text=hello
    #[arg(long, value_name = "NAME=VALUE", value_hint = clap::ValueHint::Other, value_parser = super::source::variable)]
    output: Vec<(String, String)>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// It took effect: its `verify` is looked at next
    Done,
    /// It did not: the next attempt follows
    Undone,
}

pub(super) async fn run(session: &Session, args: &ResolveArgs) -> Result<u8, Fail> {
    if args.what == What::Undone && !args.output.is_empty() {
        return Err(Fail::usage("`--output` goes with `--as done`: what was not done has no outputs"));
    }
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let result = record(session, args, &access).await;
    let bodies = access.bodies().clone();
    access.close().await;
    let state = result?;
    let findings = eyes::at_rest(&state, bodies, Asked::Resolve, &mut Signals::new()?).await;
    if session.json {
        if let Some(systems) = report::systems_json(&state.run, &findings) {
            session.say(&format!("{}\n", report::json_line(&systems)));
        }
    } else {
        session.tell(&report::systems_text(&findings));
    }
    Ok(exit::COMPLETE)
}

/// Records it, says so, and gives the state that the run is in then.
async fn record(session: &Session, args: &ResolveArgs, access: &Access) -> Result<State, Fail> {
    let run = near::find(access.history(), Some(&args.run)).await?;
    let text = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
    let outputs: Map<String, Value> =
        args.output.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let done = args.what == What::Done;
    let command = Command::Resolve { step: args.step.clone(), done, outputs };
    let state = history::state(access.history(), access.bodies(), &run).await?;
    if state.place(&args.step).is_none() {
        return Err(near::no_such_step(&run, &state.definition, &args.step));
    }
    match wish::send(access, &run, state, &command).await {
        Ok(()) => {}
        Err(Said::Refused(refusal)) => return Err(refusal.into()),
        Err(Said::Failed(fail)) => return Err(fail),
    }
    let word = if done { "done" } else { "undone" };
    let state = history::state(access.history(), access.bodies(), &run).await?;
    if session.json {
        wish::told(session, "resolve", &run, Some(&args.step), "", None);
    }
    session.tell(&format!(
        "Step `{}` of run `{run}` counts as {word}. `runner apply {}` goes on with the run, `runner rollback {run}` \
         undoes it.\n",
        args.step,
        report::shell_word(&report::text_line(&state.definition.path)),
    ));
    Ok(state)
}
