//! `runner runs archive` and `runner runs prune`: what is over makes room.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::access::{Access, Held};
use super::fail::Fail;
use super::near;
use super::session::Session;
use crate::driver::{Clock, History, SystemClock, history};
use crate::plan::RunId;
use crate::report::{self, SHOWN_VERSION, exit};
use crate::saga::{State, standing};

/// How old a run has to be unless somebody says otherwise.
const OLDER_THAN: &str = "90d";

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner runs archive                      (what has been over for 90 days)\n  \
    runner runs archive --older-than 1w\n  \
    runner runs archive hello-1 hello-2\n\n\
    Moves runs that are over out of the database into `archive/` in the state folder: one file of JSON lines each, with \
    its hash chain. They stay listed by `runs` and can be read by `events`, `status` and `why`, and nothing can be \
    undone of them any more. An open run is never moved, nor the newest of a plan file, by which `apply` knows that it \
    was applied. Killed at any instant, a run is in the journal or in the archive.")]
pub(super) struct ArchiveArgs {
    /// The runs; default: all that may be and are old enough
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    runs: Vec<String>,
    /// How long ago the run's last event must be
    ///
    /// Example: runner runs archive --older-than 1w
    #[arg(long, value_name = "DURATION", value_hint = clap::ValueHint::Other, default_value = OLDER_THAN, value_parser = duration, conflicts_with = "runs")]
    older_than: u64,
}

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner runs prune                        (archived runs that have been over for 90 days)\n  \
    runner runs prune --older-than 1w -y\n  \
    runner runs prune hello-1\n\n\
    Deletes archived runs for good, and the contents that nothing else names. Their numbers are never given again. A \
    run that is in the journal is archived first: `runner runs archive`.")]
pub(super) struct PruneArgs {
    /// The archived runs; default: all that are old enough
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    runs: Vec<String>,
    /// How long ago the run's last event must be
    ///
    /// Example: runner runs prune --older-than 1w
    #[arg(long, value_name = "DURATION", value_hint = clap::ValueHint::Other, default_value = OLDER_THAN, value_parser = duration, conflicts_with = "runs")]
    older_than: u64,
    /// Keep so many of the newest archived runs of every plan, however old they are
    ///
    /// Example: runner runs prune --keep 3
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "runs")]
    keep: usize,
    /// Do not ask
    ///
    /// Example: runner runs prune -y
    #[arg(short = 'y', long = "yes")]
    yes: bool,
}

fn duration(text: &str) -> Result<u64, String> {
    crate::plan::parse_duration(text).map_err(|why| format!("{why}; write a duration such as 90d"))
}

/// A run with what decides whether it may go.
struct Found {
    run: RunId,
    state: State,
    archived: bool,
    newest: bool,
}

impl Found {
    fn is_older(&self, than_ms: u64, now_ms: i64) -> bool {
        let since = now_ms.saturating_sub(self.state.last.wall_ms);
        u64::try_from(since).is_ok_and(|since| since >= than_ms)
    }
}

pub(super) async fn archive(session: &Session, args: &ArchiveArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let held = hold(session, &folder).await?;
    let moved = move_out(&held, args).await;
    drop(held.handle.close().await);
    let moved = moved?;
    say(session, "archived", &moved, None);
    Ok(exit::COMPLETE)
}

async fn move_out(held: &Held, args: &ArchiveArgs) -> Result<Vec<RunId>, Fail> {
    let now_ms = SystemClock::new().now().wall_ms;
    let all = found(held).await?;
    let mut moved = Vec::new();
    for each in wanted(held, &all, &args.runs).await? {
        let named = !args.runs.is_empty();
        if each.archived || (!named && !each.is_older(args.older_than, now_ms)) {
            continue;
        }
        let why = if each.state.end.is_none() {
            let word = report::standing_word(&standing(&each.state));
            Some(format!("it is {word}, not over: `runner cancel {}` closes it", each.run))
        } else if each.newest {
            Some(
                "it is the newest of its plan file, by which `apply` knows that the plan was applied"
                    .to_owned(),
            )
        } else {
            None
        };
        match why {
            None => moved.push(each.run.clone()),
            Some(why) if named => {
                return Err(Fail::usage(format!("run `{}` cannot be archived: {why}", each.run))
                    .help("nothing was archived"));
            }
            Some(_) => {}
        }
    }
    for run in &moved {
        held.handle.archive(run.clone()).await?;
    }
    Ok(moved)
}

pub(super) async fn prune(session: &Session, args: &PruneArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let held = hold(session, &folder).await?;
    let done = delete(session, &held, args).await;
    drop(held.handle.close().await);
    let Some((gone, freed)) = done? else {
        session.tell("Nothing was deleted.\n");
        return Ok(exit::COMPLETE);
    };
    say(session, "pruned", &gone, Some(freed));
    Ok(exit::COMPLETE)
}

async fn delete(
    session: &Session,
    held: &Held,
    args: &PruneArgs,
) -> Result<Option<(Vec<RunId>, (usize, u64))>, Fail> {
    let now_ms = SystemClock::new().now().wall_ms;
    let all = found(held).await?;
    let mut gone = Vec::new();
    let mut kept: BTreeMap<String, usize> = BTreeMap::new();
    let mut wanted = wanted(held, &all, &args.runs).await?;
    // The newest first, so that it is they that are kept.
    wanted.reverse();
    for each in wanted {
        if !each.archived {
            if args.runs.is_empty() {
                continue;
            }
            return Err(Fail::usage(format!("run `{}` is not archived; nothing was deleted", each.run))
                .help(format!("`runner runs archive {}` archives it, when it is over", each.run)));
        }
        if args.runs.is_empty() {
            let of_plan = kept.entry(each.state.definition.path.clone()).or_default();
            *of_plan += 1;
            if *of_plan <= args.keep || !each.is_older(args.older_than, now_ms) {
                continue;
            }
        }
        gone.push(each.run.clone());
    }
    gone.reverse();
    if !gone.is_empty() && !args.yes && !confirmed(&gone)? {
        return Ok(None);
    }
    if session.json {
        tracing::debug!(runs = gone.len(), "deleting archived runs");
    }
    for run in &gone {
        held.handle.prune(run.clone()).await?;
    }
    let freed = held.handle.collect_bodies().await?;
    Ok(Some((gone, freed)))
}

/// Asks a person; without one it is refused.
fn confirmed(runs: &[RunId]) -> Result<bool, Fail> {
    let names: Vec<String> = runs.iter().map(ToString::to_string).collect();
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Fail::usage("deleting archived runs asks first, and there is no terminal to ask at")
            .help(format!("`-y` deletes {} without asking", names.join(", "))));
    }
    let mut err = std::io::stderr().lock();
    drop(write!(err, "Delete {} for good? [y/N] ", names.join(", ")));
    drop(err.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The journal, held by this process: what is moved or deleted must be nobody else's meanwhile.
async fn hold(session: &Session, folder: &Path) -> Result<Held, Fail> {
    match Access::open(session, folder, false).await? {
        Access::Held(held) => Ok(held),
        Access::Remote { client, .. } => Err(Fail::usage(format!(
            "process {} holds the journal and drives runs; nothing was changed",
            client.pid()
        ))
        .help("run it again when that process is done: `runner runs` shows what is under way")),
    }
}

/// Every run that is there, in order of creation.
async fn found(held: &Held) -> Result<Vec<Found>, Fail> {
    let mut all: Vec<Found> = Vec::new();
    for head in History::runs(&held.handle).await?.into_iter().filter(|head| head.last_seq > 0) {
        let state = history::state(&held.handle, &held.bodies, &head.run).await?;
        let archived = held.handle.is_archived(head.run.clone()).await?;
        for before in all.iter_mut().filter(|before| before.state.definition.path == state.definition.path) {
            before.newest = false;
        }
        all.push(Found { run: head.run, state, archived, newest: true });
    }
    Ok(all)
}

/// The runs that were named, or all.
async fn wanted<'a>(held: &Held, all: &'a [Found], names: &[String]) -> Result<Vec<&'a Found>, Fail> {
    if names.is_empty() {
        return Ok(all.iter().collect());
    }
    let mut wanted = Vec::new();
    for name in names {
        let run = near::find(&held.handle, Some(name)).await?;
        wanted.extend(all.iter().find(|found| found.run == run));
    }
    Ok(wanted)
}

fn say(session: &Session, what: &str, runs: &[RunId], freed: Option<(usize, u64)>) {
    if session.json {
        let object = json!({
            "v": SHOWN_VERSION, "type": what, "runs": runs,
            "bodies": freed.map(|(bodies, _)| bodies), "bytes": freed.map(|(_, bytes)| bytes),
        });
        session.say(&format!("{}\n", report::json_line(&object)));
        return;
    }
    for run in runs {
        session.say(&format!("{what}  {run}\n"));
    }
    if runs.is_empty() {
        session.say(&format!(
            "Nothing to be {what}: no run is over, old enough and not the newest of its plan.\n"
        ));
    }
    if let Some((bodies, bytes)) = freed.filter(|(bodies, _)| *bodies > 0) {
        session.say(&format!("{bodies} stored contents that nothing names any more: {bytes} bytes freed.\n"));
    }
}
