//! `runner status`: how a run stands.

use clap::Args;

use super::access::Access;
use super::apply::past;
use super::fail::Fail;
use super::session::Session;
use crate::driver::{Clock, SystemClock, history};
use crate::report::{self, Asked, Traces, exit};
use crate::saga::{Event, State, What, fold};

#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  runner status\n  runner --json status hello-2\n  runner status --watch"
)]
pub(super) struct StatusArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
    /// Show it until it rests
    ///
    /// Drawn anew once a second on a terminal; else a line for each event. A run that nobody drives rests, and is
    /// shown once.
    ///
    /// Example: runner status hello-2 --watch
    #[arg(long)]
    watch: bool,
}

pub(super) async fn run(session: &Session, args: &StatusArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    if args.watch {
        return super::watch::run(session, args.run.as_deref(), &folder).await;
    }
    let access = Access::open(session, &folder, false).await?;
    let found = show(session, args.run.as_deref(), &access, &folder).await;
    access.close().await;
    found
}

/// Shows how a run stands, with the commands for each way on.
pub(super) async fn show(
    session: &Session,
    name: Option<&str>,
    access: &Access,
    folder: &std::path::Path,
) -> Result<u8, Fail> {
    let run = history::find(access.history(), name).await?;
    let (state, events) = past(access.history(), access.bodies(), &run).await?;
    let now = SystemClock::new().now();
    let tails = history::tails(access.history(), &state).await;
    let state = if tails.is_empty() { state } else { crate::saga::with_tails(&state, &tails) };
    let state = if access.is_remote() { state } else { as_it_is(state, now) };
    if session.json {
        session.say(&format!("{}\n", report::json_line(&report::status_json(&state, &now))));
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
    session.say(&report::status_text(&state, &now, &session.look()));
    let ending = report::ending(&state, Asked::Status, &session.look(), &context);
    session.say(&format!("\n{ending}"));
    Ok(exit::COMPLETE)
}

/// The state with nobody driving the run: what was in flight is cut off. Shown, not recorded.
pub(super) fn as_it_is(mut state: State, now: crate::saga::Stamp) -> State {
    if state.end.is_none() {
        let terms = crate::saga::Terms { fresh_budget: false, ..state.terms.clone() };
        let running = state.steps.iter().any(|step| {
            matches!(
                step.status,
                crate::saga::Status::Running { .. } | crate::saga::Status::Compensating { .. }
            )
        });
        let what = What::RunResumed { token: state.token + 1, by: String::new(), terms };
        let event = Event { seq: state.seq + 1, at: now, what };
        let (last, seq) = (state.last, state.seq);
        if running && fold(&mut state, &event).is_err() {
            tracing::debug!("the state cannot be shown as cut off");
        }
        // Nothing was recorded by it.
        (state.last, state.seq) = (last, seq);
    }
    state
}
