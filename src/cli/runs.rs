//! `runner runs`: the runs of the journal.

use clap::Args;

use super::access::Access;
use super::fail::Fail;
use super::session::Session;
use super::status::as_it_is;
use crate::driver::{Clock, SystemClock, history};
use crate::report::{self, RunRow, exit};

#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  runner runs --state /var/lib/runner")]
pub(super) struct RunsArgs {}

pub(super) async fn run(session: &Session, _args: &RunsArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let rows = rows(&access).await;
    let remote = access.is_remote();
    access.close().await;
    let now = SystemClock::new().now();
    let rows: Vec<RunRow> = rows?
        .into_iter()
        .map(|state| RunRow::of(&if remote { state } else { as_it_is(state, now) }))
        .collect();
    if session.json {
        session.say(&format!("{}\n", report::json_line(&report::runs_json(&rows))));
    } else {
        session.say(&report::runs_text(&rows, &session.look()));
    }
    Ok(exit::COMPLETE)
}

async fn rows(access: &Access) -> Result<Vec<crate::saga::State>, Fail> {
    let mut states = Vec::new();
    for head in access.history().runs().await?.into_iter().rev().filter(|head| head.last_seq > 0) {
        states.push(history::state(access.history(), access.bodies(), &head.run).await?);
    }
    Ok(states)
}
