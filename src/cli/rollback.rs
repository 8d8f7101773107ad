//! `runner rollback`: undo what a run did, from the journal alone.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use super::access::{Access, keys};
use super::apply::{Next, hand, past, rollback_secrets, submit};
use super::edits;
use super::fail::Fail;
use super::follow::{self, Rested, Screen, Shared};
use super::near::{self, step};
use super::session::Session;
use super::wish::{self, Driven};
use crate::driver::{self, Patience, Target};
use crate::plan::StepId;
use crate::report::{self, Asked, exit};
use crate::saga::{self, Command, Refusal, State, Terms};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner rollback                        (all of the newest run)\n  \
    runner rollback hello --to greet       (undo what came after step `greet`)\n\n\
    Needs nothing but the journal: the plan file may have been edited or lost. What this run did not do, because \
    it was there before, stays. Stopped or cut off, the same command goes on.")]
pub(super) struct RollbackArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
    /// Undo only what came after this step, and leave the run open
    ///
    /// `runner apply` goes forward again from there.
    ///
    /// Example: runner rollback hello --to greet
    #[arg(long, value_name = "STEP", value_hint = clap::ValueHint::Other, value_parser = step)]
    to: Option<StepId>,
    /// Undo this many steps at once where the order allows it
    ///
    /// Example: runner rollback parallel --parallel 3
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    parallel: u32,
    /// Run local commands here instead of in the plan's recorded folder
    ///
    /// Needed only when that folder is gone.
    ///
    /// Example: runner rollback hello --cwd /srv/plans
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Show what would be undone, in which order, and undo nothing
    ///
    /// Exits 2 when a rollback would be refused.
    ///
    /// Example: runner rollback hello --dry-run
    #[arg(long)]
    dry_run: bool,
    /// Do not ask; without a terminal nobody is asked anyway
    ///
    /// Example: runner rollback hello -y
    #[arg(short = 'y', long = "yes")]
    yes: bool,
}

pub(super) async fn run(session: &Session, args: &RollbackArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    if args.dry_run {
        let shown = dry_run(session, args, &access, &folder).await;
        access.close().await;
        return shown;
    }
    match prepare(session, args, &access, &folder).await {
        Ok(Next::Over(code)) => {
            access.close().await;
            Ok(code)
        }
        Ok(Next::Submit(submission, screen)) => {
            submit(session, access, *submission, screen, Asked::Rollback, &folder, None).await
        }
        Err(fail) => {
            access.close().await;
            Err(fail)
        }
    }
}

async fn prepare(
    session: &Session,
    args: &RollbackArgs,
    access: &Access,
    folder: &std::path::Path,
) -> Result<Next, Fail> {
    let (history, bodies) = (access.history(), access.bodies());
    let run = near::find(history, args.run.as_deref()).await?;
    let (state, events) = past(history, bodies, &run).await?;
    let mut screen = Screen::new(session);
    screen.past(&events);
    let wish = Command::Rollback { to: args.to.clone(), parallel: args.parallel };
    match saga::command(&state, &wish, "") {
        Ok(_) => {}
        Err(Refusal::Nothing { .. }) => {
            let rested = Rested { state: state.into(), wake_ms: None, stopped: false };
            let shared = Shared::new(screen);
            return Ok(Next::Over(follow::ending(session, &shared, &rested, Asked::Rollback, folder, None)));
        }
        Err(refusal) => return Err(refusal.into()),
    }
    let secrets = rollback_secrets(&state.definition, access)?;
    let cwd = match &args.cwd {
        Some(cwd) => {
            Some(std::fs::canonicalize(cwd).map_err(|error| super::fail::file("folder", cwd, &error))?)
        }
        None => None,
    };
    if cwd.is_none() {
        folders_are_there(&state, args)?;
    }
    pre_images_are_there(&state, args, access, folder)?;
    if !args.yes && !confirmed(session, &state, args)? {
        session.tell("Nothing was undone.\n");
        return Ok(Next::Over(crate::report::exit::COMPLETE));
    }
    // A run that is being driven takes the wish where it is; what drives it has the secrets.
    let asked = wish::driven(session, access, folder, (state, screen), wish.clone(), Asked::Rollback);
    let screen = match asked.await? {
        Driven::Over(code) => return Ok(Next::Over(code)),
        Driven::Nobody(_, screen) => screen,
    };
    let terms = Terms { forward: false, fresh_budget: true, assume_yes: false };
    Ok(hand(Target::Existing(run), terms, vec![wish], secrets, Patience::Timers, cwd, screen))
}

/// Shows what a rollback would do, and what would make it refuse. Changes nothing.
async fn dry_run(
    session: &Session,
    args: &RollbackArgs,
    access: &Access,
    folder: &std::path::Path,
) -> Result<u8, Fail> {
    let state = super::drift::state(access, args.run.as_deref()).await?;
    // Of an unknown step nothing more can be said.
    let wish = Command::Rollback { to: args.to.clone(), parallel: args.parallel };
    if let Err(refusal @ Refusal::NoSuchStep { .. }) = saga::command(&state, &wish, "") {
        return Err(refusal.into());
    }
    let (to, cwd) = (args.to.as_ref(), args.cwd.as_deref());
    let refused = driver::refusals_of_rollback(&state, to, cwd, access.bodies(), &keys(folder));
    let way = report::WayBack { state: &state, to: args.to.as_ref(), refused: &refused };
    if session.json {
        session.say(&format!("{}\n", report::json_line(&report::way_back_json(&way))));
    } else {
        session.say(&report::way_back_text(&way));
    }
    Ok(if refused.is_empty() { exit::COMPLETE } else { exit::USAGE })
}

/// The folders that local compensations run in and that are gone.
fn gone(state: &State, args: &RollbackArgs) -> impl Iterator<Item = (StepId, String)> {
    let folders = driver::rollback_folders(state, args.to.as_ref()).into_iter();
    folders.filter(|(_, folder)| !folder.is_dir()).map(|(step, folder)| (step, folder.display().to_string()))
}

/// Refuses before the first act when a folder that a local compensation runs in is gone.
fn folders_are_there(state: &State, args: &RollbackArgs) -> Result<(), Fail> {
    match gone(state, args).next() {
        Some((step, shown)) => Err(Fail::usage(format!(
            "the folder `{shown}`, where step `{step}` is to be undone, is gone; nothing was undone"
        ))
        .help(format!("bring it back, or name another with `runner rollback {} --cwd DIR`", state.run))),
        None => Ok(()),
    }
}

/// Refuses before the first act when what was there before a step cannot be read, for want of its key.
fn pre_images_are_there(
    state: &State,
    args: &RollbackArgs,
    access: &Access,
    folder: &std::path::Path,
) -> Result<(), Fail> {
    let steps = state.to_undo(args.to.as_ref());
    driver::pre_images_readable(state, &steps, access.bodies(), &keys(folder)).map_err(|(step, error)| {
        Fail::usage(format!("what was there before step `{step}` cannot be brought back: {error}"))
            .help("nothing was undone")
    })
}

/// Asks a person, where there is one.
fn confirmed(session: &Session, state: &State, args: &RollbackArgs) -> Result<bool, Fail> {
    let undo = state.to_undo(args.to.as_ref());
    if session.json || undo.is_empty() || !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal())
    {
        return Ok(true);
    }
    let names: Vec<String> = undo.iter().map(|step| format!("`{step}`")).collect();
    edits::yes(&format!("Undo of {}, in this order: {}. Go on? [y/N] ", state.run, names.join(", ")))
}
