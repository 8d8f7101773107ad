//! `runner drift`: whether what finished steps left is still so.

use std::path::Path;

use clap::Args;

use super::access::Access;
use super::eyes::{self, Looked};
use super::fail::Fail;
use super::session::Session;
use super::status::as_it_is;
use crate::driver::{Clock, SystemClock, history};
use crate::report::{self, Seen, exit};
use crate::saga::{self, End, State};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  runner drift\n  runner --json drift hello | jq .steps\n\n\
    Looks at the `probe` and `verify` of every step that ended well, at most 5 s each, and changes nothing. What cannot \
    be reached is `not_looked`, never `drifted`. What a later step of the run changed on purpose is `replaced`, where \
    that can be known: it frees a resource that the step took, or its action changes the same target. Exits 0 when it could answer, whatever the answer is.")]
pub(super) struct DriftArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
}

pub(super) async fn run(session: &Session, args: &DriftArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let found = state(&access, args.run.as_deref()).await;
    let bodies = access.bodies().clone();
    // Nobody has to wait for the journal while we look.
    access.close().await;
    let state = found?;
    let looked = eyes::look_at(&state, bodies, false, std::future::pending()).await?;
    let seen = seen(&state, &looked);
    if session.json {
        session.say(&format!("{}\n", report::json_line(&report::drift_json(&seen))));
    } else {
        session.say(&report::drift_text(&seen, &session.look()));
    }
    Ok(exit::COMPLETE)
}

fn seen<'a>(state: &'a State, looked: &'a Looked) -> Seen<'a> {
    Seen { state, findings: &looked.findings, replaced: saga::undone_on_purpose(state, &looked.targets) }
}

/// A run as it is, nobody driving it.
pub(super) async fn state(access: &Access, name: Option<&str>) -> Result<State, Fail> {
    let run = history::find(access.history(), name).await?;
    let state = history::state(access.history(), access.bodies(), &run).await?;
    Ok(if access.is_remote() { state } else { as_it_is(state, SystemClock::new().now()) })
}

/// What `apply` of a finished, unchanged plan says after its ending. What cannot be looked at is no failure of it.
pub(super) async fn after_apply(session: &Session, folder: &Path, plan: &str) -> Result<(), Fail> {
    let access = Access::open(session, folder, false).await?;
    let found = match history::newest_of(access.history(), access.bodies(), plan).await {
        Ok(Some(run)) => Some(history::state(access.history(), access.bodies(), &run).await),
        Ok(None) => None,
        Err(error) => Some(Err(error)),
    };
    let bodies = access.bodies().clone();
    access.close().await;
    let Some(state) = found.transpose()?.filter(|state| state.end == Some(End::Complete)) else {
        return Ok(());
    };
    let looked = eyes::look_at(&state, bodies, false, std::future::pending()).await?;
    let seen = seen(&state, &looked);
    if session.json {
        session.say(&format!("{}\n", report::json_line(&report::drift_json(&seen))));
    } else if !looked.findings.is_empty() {
        session.say(&format!("\nDrift of {}", report::drift_text(&seen, &session.look())));
    }
    Ok(())
}
