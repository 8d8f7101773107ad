//! `runner why`: why a step is in the state it is in.

use clap::Args;

use super::access::Access;
use super::drift::state;
use super::fail::Fail;
use super::near::step;
use super::session::Session;
use crate::driver::{Clock, SystemClock, history};
use crate::plan::StepId;
use crate::report::{self, Traces, exit};

#[derive(Debug, Args)]
#[command(
    allow_missing_positional = true,
    after_long_help = "Examples:\n  runner why greet\n  runner why hello-2 greet\n  runner --json why hello greet\n\n\
    Read from the journal alone: what it waits for, what decided it, and the commands for each way on."
)]
pub(super) struct WhyArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
    /// The step
    #[arg(value_name = "STEP", value_hint = clap::ValueHint::Other, value_parser = step, required = true)]
    step: Option<StepId>,
}

pub(super) async fn run(session: &Session, args: &WhyArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let found = show(session, args, &access, &folder).await;
    access.close().await;
    found
}

async fn show(
    session: &Session,
    args: &WhyArgs,
    access: &Access,
    folder: &std::path::Path,
) -> Result<u8, Fail> {
    let Some(step) = &args.step else { return Err(Fail::usage("the step is missing")) };
    let state = state(access, args.run.as_deref()).await?;
    if state.place(step).is_none() {
        return Err(super::near::no_such_step(&state.run, &state.definition, step));
    }
    let events = history::events(access.history(), access.bodies(), &state.run, 1, u64::MAX).await?;
    let now = SystemClock::new().now();
    if session.json {
        let object = report::why_json(&state, step, &events, &now);
        session.say(&format!("{}\n", report::json_line(&object)));
        return Ok(exit::COMPLETE);
    }
    let mut traces = Traces::default();
    events.iter().for_each(|event| traces.event(event));
    let options = session.options(folder);
    let context = report::Context {
        folder,
        traces: &traces,
        plan: None,
        options: &options,
        now,
        wake_ms: None,
        systems: &[],
    };
    session.say(&report::why_text(&state, step, &events, &session.look(), &context));
    Ok(exit::COMPLETE)
}
