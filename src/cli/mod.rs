//! The command line: one file per command; turns arguments into calls and results into exit codes.

mod access;
mod apply;
mod cancel;
mod events;
mod fail;
mod follow;
mod resolve;
mod rollback;
mod runs;
mod session;
mod source;
mod status;
mod validate;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use self::fail::Fail;
use self::session::Session;
use crate::report::exit;

/// Moves a live service to its new home, step by step, and can always bring it back.
#[derive(Debug, Parser)]
#[command(
    name = "runner",
    version,
    propagate_version = true,
    max_term_width = 100,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes, before or after its name.
#[derive(Debug, Args)]
struct Global {
    /// Folder of the journal
    ///
    /// Without it: `state/` beside the nearest `plans/` above the plan file, else in the current folder.
    ///
    /// Example: runner status --state /var/lib/runner
    #[arg(long, global = true, value_name = "DIR", env = "RUNNER_STATE", help_heading = "Global options")]
    state: Option<PathBuf>,
    /// Write versioned JSON objects to standard output, one per line
    ///
    /// What is for people goes to standard error then.
    ///
    /// Example: runner --json status frigate | jq .standing
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Show only failures, warnings and the ending
    ///
    /// Example: runner -q apply plans/frigate.toml
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    quiet: bool,
    /// Show more; may be repeated
    ///
    /// Once: what a step goes through. Twice: everything that is recorded.
    ///
    /// Example: runner -vv apply plans/frigate.toml
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// When to use colours
    ///
    /// `auto` uses them on a terminal, unless NO_COLOR is set and not empty.
    ///
    /// Example: runner --color always status | less -R
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Global options")]
    color: Color,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring a plan to its goal, or go on where it stopped
    Apply(apply::ApplyArgs),
    /// Check plans without touching any system
    Validate(validate::ValidateArgs),
    /// Undo what a run did, the last step first
    Rollback(rollback::RollbackArgs),
    /// Show how a run stands
    Status(status::StatusArgs),
    /// List the runs of the journal
    Runs(runs::RunsArgs),
    /// Show what happened in a run, event by event
    Events(events::EventsArgs),
    /// Say what became of a step that nobody else can settle
    Resolve(resolve::ResolveArgs),
    /// Settle what is in flight, close a run and undo nothing
    Cancel(cancel::CancelArgs),
}

/// Runs the command that the process was started with.
///
/// Never panics on arguments or on closed streams. The exit code is one of [`exit::TABLE`].
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let table = format!("Exit codes:\n{}", exit::text());
    let matches = Cli::command().after_long_help(table).try_get_matches_from(arguments);
    let cli = match matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is a quiet end.
            drop(error.print());
            return if error.use_stderr() { exit::USAGE.into() } else { exit::COMPLETE.into() };
        }
    };
    let session = Session::new(&cli.global);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(persist(&session, &cli.command));
            // What is left are looks and connections; nothing with a side effect is waited for by dropping it.
            runtime.shutdown_background();
            code
        }
        Err(error) => Err(Fail::unexpected(format!("cannot start: {error}"))),
    };
    match code {
        Ok(code) => code.into(),
        Err(fail) => {
            let text = fail.text(&session);
            drop(std::io::stderr().lock().write_all(text.as_bytes()));
            fail.code.into()
        }
    }
}

/// Runs a command, and again when who held the journal went away before it answered.
async fn persist(session: &Session, command: &Command) -> Result<u8, Fail> {
    let mut tries = 0;
    loop {
        match run(session, command).await {
            Err(fail) if tries < fail.again => tries += 1,
            result => return result,
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn run(session: &Session, command: &Command) -> Result<u8, Fail> {
    match command {
        Command::Apply(args) => apply::run(session, args).await,
        Command::Validate(args) => validate::run(session, args),
        Command::Rollback(args) => rollback::run(session, args).await,
        Command::Status(args) => status::run(session, args).await,
        Command::Runs(args) => runs::run(session, args).await,
        Command::Events(args) => events::run(session, args).await,
        Command::Resolve(args) => resolve::run(session, args).await,
        Command::Cancel(args) => cancel::run(session, args).await,
    }
}
