//! The command line: one file per command; turns arguments into calls and results into exit codes.

mod access;
mod apply;
mod approve;
mod archive;
mod ask;
mod cancel;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod doctor;
mod drift;
mod drive;
mod edits;
mod events;
mod eyes;
mod fail;
mod follow;
mod graph;
mod lint;
mod man;
mod manifests;
mod near;
mod pause;
mod plan;
mod reject;
mod report;
mod resolve;
mod resume;
mod rollback;
mod runs;
mod saved;
mod schema;
#[cfg(feature = "serve")]
mod serve;
mod session;
mod skip;
mod source;
mod status;
mod validate;
mod verify;
mod watch;
mod why;
mod wish;
mod wrong;

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
    /// Default: `state/` beside the nearest `plans/` above the plan file; for commands without a plan, and for plans
    /// that are in no `plans/`, `state/` in the current folder.
    ///
    /// Example: runner status --state /var/lib/runner
    #[arg(long, global = true, value_name = "DIR", env = "RUNNER_STATE", help_heading = "Global options")]
    state: Option<PathBuf>,
    /// Write versioned JSON objects to standard output, one per line
    ///
    /// What is for people goes to standard error then.
    ///
    /// Every failure is an object too. `schema/events.schema.json` describes them all.
    ///
    /// Example: runner --json status hello | jq .standing
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Show only failures, warnings and the ending
    ///
    /// Example: runner -q apply plans/hello.toml
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    quiet: bool,
    /// Show more; may be repeated
    ///
    /// Once: what a step goes through. Twice: everything that is recorded.
    ///
    /// Example: runner -vv apply plans/hello.toml
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// When to use colours
    ///
    /// `auto` uses them on a terminal, unless NO_COLOR is set and not empty, or TERM is `dumb`.
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
    /// Show what apply would do now, and change nothing
    Plan(plan::PlanArgs),
    /// Look whether everything that a plan needs is in reach, and change nothing
    Doctor(doctor::DoctorArgs),
    /// Look whether what finished steps left is still so
    Drift(drift::DriftArgs),
    /// Say why a step is in the state it is in
    Why(why::WhyArgs),
    /// Write the graph of a plan for Mermaid or Graphviz
    Graph(graph::GraphArgs),
    /// Undo what a run did, the last step first
    Rollback(rollback::RollbackArgs),
    /// Show how a run stands
    Status(status::StatusArgs),
    /// List the runs of the journal, verify, archive or prune them
    Runs(runs::RunsArgs),
    /// Show what happened in a run, event by event
    Events(events::EventsArgs),
    /// Say yes to what a step waits for
    Approve(approve::ApproveArgs),
    /// Say no to what a step waits for: it fails
    Reject(reject::RejectArgs),
    /// Leave a step out
    Skip(skip::SkipArgs),
    /// Start nothing new in a run until it is resumed
    Pause(pause::PauseArgs),
    /// Take a pause back
    Resume(resume::ResumeArgs),
    /// Say what became of a step that nobody else can settle
    Resolve(resolve::ResolveArgs),
    /// Settle what is in flight, close a run and undo nothing
    Cancel(cancel::CancelArgs),
    /// Write one file that says everything about a run
    Report(report::ReportArgs),
    /// Hold the journal for days, drive every run, and answer over HTTP
    #[cfg(feature = "serve")]
    Serve(serve::ServeArgs),
    /// Move Frigate in a simulated house, from the first look to the last deletion
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Judge Frigate configurations, or Kubernetes manifests that hold some
    Lint(lint::LintArgs),
    /// Print the JSON Schema of a plan file, for editors and other programs
    Schema(schema::SchemaArgs),
    /// Print a script that completes commands and options in a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man(man::ManArgs),
}

/// How it is used, at the end of the long help.
const FIRST_STEPS: &str = "Examples:
  runner validate plans/hello.toml    check a plan, touching nothing
  runner apply plans/hello.toml       go to its goal; killed or failed, the same command goes on
  runner status                       how the newest run stands, and every way forward
  runner rollback                     undo what it did, the last step first
";

/// Every command and option, as data: what help, completions and the manual page are made from.
pub fn command() -> clap::Command {
    Cli::command().after_long_help(format!("{FIRST_STEPS}\nExit codes:\n{}", exit::text()))
}

/// Runs the command that the process was started with.
///
/// `let_go` is called when something is over of which little is needed again, such as reading the command line of a process
/// that may run for days: it may give back the memory of code that was used for it.
///
/// Never panics on arguments or on closed streams. The exit code is one of [`exit::TABLE`].
pub fn main(arguments: impl IntoIterator<Item = OsString>, let_go: fn()) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // The stand-ins of the lab's tools call this binary: no command of the command line.
    #[cfg(feature = "demo")]
    if arguments.get(1).is_some_and(|word| word == "lab-tool") {
        return crate::lab::proxmox::tool(&arguments[2..]).into();
    }
    let matches = command().try_get_matches_from(&arguments);
    let cli = match matches.and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches)) {
        Ok(cli) => cli,
        Err(mut error) => {
            wrong::meant(&mut error);
            return usage(&error, &arguments);
        }
    };
    let session = Session::new(&cli.global, let_go);
    let runtime = runtime(&cli.command);
    let answer = match cli.command {
        Command::Validate(_)
        | Command::Status(_)
        | Command::Runs(_)
        | Command::Events(_)
        | Command::Plan(_)
        | Command::Doctor(_)
        | Command::Drift(_)
        | Command::Why(_)
        | Command::Graph(_)
        | Command::Report(_)
        | Command::Lint(_)
        | Command::Schema(_)
        | Command::Completions(_)
        | Command::Man(_) => true,
        Command::Apply(_)
        | Command::Rollback(_)
        | Command::Approve(_)
        | Command::Reject(_)
        | Command::Skip(_)
        | Command::Pause(_)
        | Command::Resume(_)
        | Command::Resolve(_)
        | Command::Cancel(_) => false,
        #[cfg(feature = "serve")]
        Command::Serve(_) => false,
        #[cfg(feature = "demo")]
        Command::Demo(_) => false,
    };
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(persist(&session, &cli.command));
            // What is left are looks and connections; nothing with a side effect is waited for by dropping it.
            runtime.shutdown_background();
            code
        }
        Err(error) => Err(Fail::unexpected(format!("cannot start: {error}"))),
    };
    match code.and_then(|code| session.said(code, answer)) {
        Ok(code) => code.into(),
        Err(fail) => {
            session.fail(&fail);
            fail.code.into()
        }
    }
}

/// One thread is enough for one run. Who serves answers others as well, whom no run may wait for.
fn runtime(command: &Command) -> std::io::Result<tokio::runtime::Runtime> {
    match command {
        #[cfg(feature = "demo")]
        Command::Demo(_) => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
        }
        #[cfg(feature = "serve")]
        Command::Serve(_) => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
        }
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    }
}

/// What was wrong with the arguments, or the help that they asked for.
fn usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if !error.use_stderr() {
        // A closed pipe is a quiet end.
        drop(error.print());
        return exit::COMPLETE.into();
    }
    let acts = |c: char| c.is_control() && c != '\n';
    if arguments.iter().any(|argument| argument.to_string_lossy().contains(acts)) {
        // What was given is repeated in the message, and may act on a terminal: without colours, and harmless.
        let text = fail::lines(&error.render().to_string());
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    } else {
        drop(error.print());
    }
    let options = arguments.iter().skip(1).take_while(|argument| *argument != "--");
    if options.into_iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let message = first.strip_prefix("error: ").unwrap_or(first);
        let fail = Fail::usage(message).help("`runner --help` and `runner COMMAND --help` say what there is");
        drop(std::io::stdout().lock().write_all(fail.json().as_bytes()));
    }
    exit::USAGE.into()
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
        Command::Plan(args) => plan::run(session, args).await,
        Command::Doctor(args) => doctor::run(session, args).await,
        Command::Drift(args) => drift::run(session, args).await,
        Command::Why(args) => why::run(session, args).await,
        Command::Graph(args) => graph::run(session, args),
        Command::Rollback(args) => rollback::run(session, args).await,
        Command::Status(args) => status::run(session, args).await,
        Command::Runs(args) => runs::run(session, args).await,
        Command::Events(args) => events::run(session, args).await,
        Command::Approve(args) => approve::run(session, args).await,
        Command::Reject(args) => reject::run(session, args).await,
        Command::Report(args) => report::run(session, args).await,
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(session, args).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => Box::pin(demo::run(session, args)).await,
        Command::Skip(args) => skip::run(session, args).await,
        Command::Pause(args) => pause::run(session, args).await,
        Command::Resume(args) => resume::run(session, args).await,
        Command::Resolve(args) => resolve::run(session, args).await,
        Command::Cancel(args) => cancel::run(session, args).await,
        Command::Schema(args) => Ok(schema::run(session, args)),
        Command::Completions(args) => Ok(completions::run(session, args)),
        Command::Man(args) => Ok(man::run(session, args)),
        Command::Lint(args) => {
            let show =
                lint::Show { json: session.json, verbose: session.look().verbose > 0, color: session.color };
            let (mut stdin, mut out, mut err) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
            Ok(lint::run(args, show, &mut stdin, &mut out, &mut err))
        }
    }
}
