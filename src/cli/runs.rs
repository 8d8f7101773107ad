//! `runner runs`: the runs of the journal.

use clap::{Args, Subcommand};

use super::access::Access;
use super::fail::Fail;
use super::session::Session;
use super::status::as_it_is;
use crate::driver::{Clock, SystemClock, history};
use crate::report::{self, RunRow, exit};

#[derive(Debug, Args)]
#[command(
    after_long_help = "Examples:\n  runner runs --state /var/lib/runner\n  runner runs verify\n  runner runs archive"
)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Read every run back, link by link, and say what is damaged
    ///
    /// Walks the hash chain of every run, folds its events, and reads every content that they name. Changes nothing.
    /// Exits 0 when all is whole and 1 when something is damaged.
    #[command(after_long_help = "Example:\n  runner runs verify --state /var/lib/runner")]
    Verify,
    /// Move runs that are over out of the database into plain files
    Archive(super::archive::ArchiveArgs),
    /// Delete archived runs for good
    Prune(super::archive::PruneArgs),
}

pub(super) async fn run(session: &Session, args: &RunsArgs) -> Result<u8, Fail> {
    match &args.what {
        Some(What::Verify) => return super::verify::run(session).await,
        Some(What::Archive(args)) => return super::archive::archive(session, args).await,
        Some(What::Prune(args)) => return super::archive::prune(session, args).await,
        None => {}
    }
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let rows = rows(&access).await;
    access.close().await;
    let rows = rows?;
    if session.json {
        session.say(&format!("{}\n", report::json_line(&report::runs_json(&rows))));
    } else {
        session.say(&report::runs_text(&rows, &session.look()));
    }
    Ok(exit::COMPLETE)
}

/// The newest first.
async fn rows(access: &Access) -> Result<Vec<RunRow>, Fail> {
    let mut rows = Vec::new();
    match access {
        // Whoever drives runs has their states at hand.
        Access::Remote { client, .. } => rows = client.rows(None).await?,
        Access::Held(held) => {
            let now = SystemClock::new().now();
            for head in held.handle.runs().await?.into_iter().filter(|head| head.last_seq > 0) {
                let state = history::state(&held.handle, &held.bodies, &head.run).await?;
                rows.push(RunRow::of(&as_it_is(state, now)));
            }
        }
    }
    rows.reverse();
    Ok(rows)
}
