//! `runner apply`: bring a plan to its goal, or go on where it stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::access::{Access, Holding};
use super::fail::{self, Fail};
use super::follow::{self, Rested, Screen, Shared};
use super::saved::Saved;
use super::session::{Session, asker};
use super::source::{self, PlanFile};
use super::{drift, eyes};
use crate::driver::{self, Ended, Patience, Secrets, Submission, Target, history};
use crate::journal::Bodies;
use crate::plan::recorded::Definition;
use crate::plan::{Loaded, Required, RunId};
use crate::report::{Asked, exit};
use crate::saga::{self, Command, Course, End, Refusal, Standing, State, Terms};
use crate::serve::{Answer, Client, Request};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner apply plans/hello.toml\n  \
    runner apply plans/remote.toml --var from=me@old.example --var to=me@new.example\n  \
    runner apply plans/hello.toml --no-wait    (from cron: take what is due and exit)\n\n\
    The first Ctrl-C lets what is in flight finish, or stops it as its step declares; the second ends at once. \
    Either way, and after any crash, the same command goes on where it stopped. A step that is done never runs \
    again.")]
pub(super) struct ApplyArgs {
    /// The plan file, in TOML; `plans/hello.toml` is the smallest that shows everything
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Set a variable; may be repeated
    ///
    /// The value is read by the variable's type; lists and tables as TOML. It is recorded and used again when the
    /// run is resumed.
    ///
    /// Example: runner apply plans/hello.toml --var folder=/tmp/elsewhere
    #[arg(long, value_name = "NAME=VALUE", value_parser = source::variable)]
    var: Vec<(String, String)>,
    /// Read variables from a TOML file; may be repeated
    ///
    /// Example: runner apply plans/remote.toml --var-file hosts.toml
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
    /// Start afresh when the plan's last run is over
    ///
    /// Without it, a run that is complete, cancelled or rolled back stays what it is.
    ///
    /// Example: runner apply plans/hello.toml --new-run
    #[arg(long)]
    new_run: bool,
    /// Wait even for what only a person can end: gates and pauses
    ///
    /// Default: wait through soaks, windows and pauses between attempts, and exit 4 at a gate that nobody can answer.
    ///
    /// Example: runner apply plans/hello.toml --wait
    #[arg(long, conflicts_with = "no_wait")]
    wait: bool,
    /// Take what is due and exit; 4 and the wake time when something is due later
    ///
    /// Failed steps are not tried again.
    ///
    /// Example: runner apply plans/hello.toml --no-wait
    #[arg(long)]
    no_wait: bool,
    /// Open gates whose evidence all holds
    ///
    /// A gate with evidence that does not hold stays shut.
    ///
    /// Example: runner apply plans/hello.toml -y
    #[arg(short = 'y', long = "yes")]
    yes: bool,
}

/// What a person does to end a process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Fail> {
        let listen = |kind| {
            signal(kind).map_err(|error| Fail::unexpected(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The exit code for the next one.
    pub(super) async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => exit::INTERRUPTED,
            _ = self.terminate.recv() => exit::TERMINATED,
            // The terminal is gone: as good as asked to end.
            _ = self.hangup.recv() => exit::TERMINATED,
        }
    }
}

pub(super) async fn run(session: &Session, args: &ApplyArgs) -> Result<u8, Fail> {
    let saved = Saved::read(&args.plan)?;
    let file = match &saved {
        Some(saved) => saved.file(!args.var.is_empty() || !args.var_file.is_empty())?,
        None => PlanFile::read(&args.plan, &args.var, &args.var_file)?,
    };
    let folder = session.state_folder(Some(&file.path));
    let mut loaded = None;
    if !folder.join("journal").exists() && !folder.join("version").exists() {
        // Nothing is made for a plan that is not one.
        loaded = Some(load(session, &file)?);
    }
    let access = Access::open(session, &folder, true).await?;
    let name = saved.as_ref().map_or(&args.plan, |saved| &saved.plan).display().to_string();
    let fits = match &saved {
        Some(saved) => saved.check(session, &file, &access, &folder).await,
        None => Ok(()),
    };
    let result = match fits {
        Ok(()) => apply(session, args, &file, loaded, &access, &folder, &name).await,
        Err(fail) => Err(fail),
    };
    let path = file.path().to_owned();
    // A long run does without the text.
    drop(file);
    match result {
        Ok(Next::Over(code)) => {
            access.close().await;
            if drift::after_apply(session, &folder, &path).await.is_err() {
                session.warn("whether anything has drifted could not be looked at; `runner drift` says why");
            }
            Ok(code)
        }
        Ok(Next::Submit(submission, screen)) => {
            let shown = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
            session.note(&format!("State folder: {}", shown.display()));
            submit(session, access, *submission, screen, Asked::Apply, &folder, Some(&name)).await
        }
        Err(error) => {
            access.close().await;
            Err(error)
        }
    }
}

/// What a command does next.
pub(super) enum Next {
    /// It is over, with this exit code.
    Over(u8),
    /// The run is handed to whoever holds the journal.
    Submit(Box<Submission>, Screen),
}

async fn apply(
    session: &Session,
    args: &ApplyArgs,
    file: &PlanFile,
    fresh: Option<Loaded>,
    access: &Access,
    folder: &std::path::Path,
    name: &str,
) -> Result<Next, Fail> {
    let (history, bodies) = (access.history(), access.bodies());
    let found = match history::newest_of(history, bodies, file.path()).await? {
        Some(run) => Some(past(history, bodies, &run).await?),
        None => None,
    };
    let mut terms = Terms { forward: true, fresh_budget: !args.no_wait, assume_yes: args.yes };
    let patience = follow::patience(args.wait, args.no_wait);
    let Some((state, mut screen)) = found.map(|(state, events)| {
        let mut screen = Screen::new(session);
        screen.past(&events);
        (state, screen)
    }) else {
        // What was just loaded for an empty state folder is what is begun: nobody gave it anything before.
        let loaded = fresh.map_or_else(|| load(session, file), Ok)?;
        return begin(session, loaded, bodies, terms, patience, Screen::new(session));
    };
    let over = state.end.is_some();
    if over && args.new_run {
        screen = Screen::new(session);
        return begin(session, load(session, file)?, bodies, terms, patience, screen);
    }
    if args.new_run {
        return Err(Fail::usage(format!("run `{}` of this plan is still open", state.run)).help(format!(
            "`runner apply {name}` goes on with it; `runner cancel {}` closes it, then `--new-run` starts afresh",
            state.run
        )));
    }
    let repeat = |state: State, screen: Screen| {
        let shared = Shared::new(screen);
        let rested = Rested { state: state.into(), wake_ms: None, stopped: false };
        Next::Over(follow::ending(session, &shared, &rested, Asked::Apply, folder, Some(name)))
    };
    if matches!(state.end, Some(End::RolledBack { .. } | End::Cancelled)) {
        return Ok(repeat(state, screen));
    }
    if matches!(&state.course, Course::Back(back) if back.to.is_none()) {
        // From here on the run only goes back, and needs nothing of the file for it.
        terms.forward = false;
        let secrets = rollback_secrets(&state.definition)?;
        let target = Target::Existing(state.run.clone());
        return Ok(hand(target, terms, Vec::new(), secrets, patience, None, screen));
    }
    let loaded = file.load(session, &state.definition.given, Required::MustBeGiven)?;
    let amendment =
        driver::amendment(&state, &loaded.definition).map_err(|refused| refuse(&state, &refused))?;
    if state.end == Some(End::Complete) && amendment.is_none() {
        return Ok(repeat(state, screen));
    }
    notes(session, &loaded);
    // Those of finished steps that are gone from the file as well: they may have to be undone.
    let secrets = secrets(amendment.as_ref().map_or(&*state.definition, |amendment| &amendment.definition))?;
    store(bodies, &loaded)?;
    let target = Target::Existing(state.run.clone());
    let mut wishes = Vec::new();
    if let Some(amendment) = amendment {
        let definition = Box::new(amendment.definition);
        wishes.push(Command::Amend { definition, changes: amendment.changes });
    }
    let mut next = hand(target, terms, wishes, secrets, patience, None, screen);
    if let Next::Submit(submission, _) = &mut next {
        submission.known = Some(Box::new(state));
    }
    Ok(next)
}

/// The plan as a new run takes it.
fn load(session: &Session, file: &PlanFile) -> Result<Loaded, Fail> {
    file.load(session, &BTreeMap::new(), Required::MustBeGiven)
}

fn begin(
    session: &Session,
    loaded: Loaded,
    bodies: &Bodies,
    terms: Terms,
    patience: Patience,
    screen: Screen,
) -> Result<Next, Fail> {
    notes(session, &loaded);
    let secrets = secrets(&loaded.definition)?;
    store(bodies, &loaded)?;
    let target = Target::New(Box::new(loaded.definition));
    Ok(hand(target, terms, Vec::new(), secrets, patience, None, screen))
}

pub(super) fn hand(
    target: Target,
    terms: Terms,
    wishes: Vec<Command>,
    secrets: Secrets,
    patience: Patience,
    cwd: Option<PathBuf>,
    screen: Screen,
) -> Next {
    let secrets = secrets.values().clone();
    let by = asker();
    Next::Submit(
        Box::new(Submission { target, terms, wishes, secrets, patience, cwd, by, known: None }),
        screen,
    )
}

/// A run's state and everything that happened in it.
pub(super) async fn past(
    history: &dyn driver::History,
    bodies: &Bodies,
    run: &RunId,
) -> Result<(State, Vec<saga::Event>), Fail> {
    // The newest events say why it stands as it does; older ones are folded into the checkpoint.
    const LOOK_BACK: u64 = 2_000;
    let state = history::state(history, bodies, run).await?;
    let from = state.seq.saturating_sub(LOOK_BACK).max(1);
    // Only a run that has trouble needs its last words read back.
    let trouble = state.steps.iter().any(|step| step.trouble.is_some());
    let events =
        if trouble { history::events(history, bodies, run, from, u64::MAX).await? } else { Vec::new() };
    Ok((state, events))
}

fn notes(session: &Session, loaded: &Loaded) {
    for note in &loaded.notes {
        session.note(note.render(session.color_err, session.look().width).trim_end());
    }
}

fn store(bodies: &Bodies, loaded: &Loaded) -> Result<(), Fail> {
    for content in loaded.files.values() {
        bodies.put(content)?;
    }
    Ok(())
}

fn secrets(definition: &Definition) -> Result<Secrets, Fail> {
    Secrets::resolve(definition, None).map_err(|errors| missing(&errors))
}

/// The secrets that going back needs: all of them before the first act.
pub(super) fn rollback_secrets(definition: &Definition) -> Result<Secrets, Fail> {
    let names = driver::secrets_of_rollback(definition);
    Secrets::resolve(definition, Some(&names)).map_err(|errors| missing(&errors))
}

fn missing(errors: &[driver::SecretError]) -> Fail {
    let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Fail::usage(each.join("\n       ")).help("nothing was started")
}

pub(super) fn refuse(state: &State, refused: &driver::Refused) -> Fail {
    let message = format!("the edited plan does not fit run `{}`; nothing was changed", state.run);
    let mut text = format!("error: {message}\n");
    for step in &refused.steps {
        text.push_str(&format!("\nstep `{}`: {}\n", step.step, step.why));
        text.push_str(&step.diff);
        if !step.diff.ends_with('\n') {
            text.push('\n');
        }
    }
    Fail::report(exit::USAGE, message, fail::lines(&text))
}

/// Hands a run to whoever holds the journal, watches it to its rest and says how it ended.
pub(super) async fn submit(
    session: &Session,
    access: Access,
    submission: Submission,
    screen: Screen,
    asked: Asked,
    folder: &std::path::Path,
    plan: Option<&str>,
) -> Result<u8, Fail> {
    let shared = Shared::new(screen);
    match access {
        Access::Held(held) => {
            let bodies = held.bodies.clone();
            let mut holding = held.hold()?;
            let mut signals = Signals::new()?;
            let result = drive(session, &mut holding, submission, &shared, &mut signals).await;
            shared.finish();
            let code = match result {
                Ok((rested, signal)) => {
                    systems(&rested, &shared, bodies).await;
                    let code = follow::ending(session, &shared, &rested, asked, folder, plan);
                    Ok(if rested.stopped { signal.unwrap_or(code) } else { code })
                }
                Err(fail) => Err(fail),
            };
            stay(session, holding, &mut signals).await;
            code
        }
        Access::Remote { client, bodies } => {
            remote(session, &client, &bodies, submission, &shared, asked, folder, plan).await
        }
    }
}

/// Looks what each system looks like now, when a run did not end well; not when a person wants to leave.
async fn systems(rested: &Rested, shared: &Shared, bodies: Bodies) {
    let ill = matches!(
        saga::standing(&rested.state),
        Standing::Halted { .. } | Standing::RolledBack { failed: Some(_) } | Standing::NeedsAttention { .. }
    );
    if !ill || rested.stopped {
        return;
    }
    match eyes::look_at(&rested.state, bodies, true).await {
        Ok(findings) => shared.with(|screen| screen.systems = findings),
        // How the run ended is said all the same.
        Err(_) => tracing::warn!("could not look what each system looks like now"),
    }
}

/// Drives a run in this process until it rests. The first signal lets what is in flight finish or stops it as it
/// declares; the second ends the process at once.
async fn drive(
    session: &Session,
    holding: &mut Holding,
    submission: Submission,
    shared: &Shared,
    signals: &mut Signals,
) -> Result<(Rested, Option<u8>), Fail> {
    let observers: Vec<Box<dyn driver::Observer>> = vec![Box::new(shared.clone())];
    let submitted = holding.holder.submit(submission, observers).await?;
    holding.offer(session);
    let mut stopped = None;
    let ended = holding.holder.ended(&submitted.run);
    tokio::pin!(ended);
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break ended,
            code = signals.next() => {
                if let Some(first) = stopped {
                    leave(session, shared, first);
                }
                stopped = Some(code);
                shared.note(
                    "Stopping: nothing new starts; what is in flight finishes or is stopped as it declares. \
                     Once more ends at once, and nothing that was recorded is lost.",
                );
                holding.holder.stop().await;
            }
        }
    };
    match ended.as_deref() {
        Some(Ended::Rest(rest)) => {
            let state = follow::Left::Rest(Arc::clone(rest));
            let rested = Rested { state, wake_ms: rest.wake_ms, stopped: rest.stopped };
            Ok((rested, stopped))
        }
        Some(Ended::Refused(refusal)) => Err(refusal.clone().into()),
        Some(Ended::Failed(driver::DriveError::Journal(error))) => {
            let fail = Fail::from(error.clone());
            Err(fail.after("the journal did not take an event, so nothing more was started"))
        }
        Some(Ended::Failed(error)) => Err(Fail::unexpected(fail::chain(error))),
        None => Err(Fail::unexpected(format!("run `{}` ended without a word", submitted.run))),
    }
}

/// Ends the process at once; P1 to P3 hold, because they hold for a kill.
fn leave(session: &Session, shared: &Shared, code: u8) -> ! {
    shared.finish();
    session.note("Ended at once. What was in flight is settled when the run is resumed.");
    #[expect(clippy::disallowed_methods, reason = "a second signal asks for an end at once")]
    std::process::exit(i32::from(code))
}

/// Stays for the runs that other commands have handed over.
async fn stay(session: &Session, holding: Holding, signals: &mut Signals) {
    let others = holding.holder.running().await;
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|run| format!("`{run}`")).collect();
        session.note(&format!("Staying for what other terminals have submitted: {}.", names.join(", ")));
    }
    let holder = std::sync::Arc::clone(&holding.holder);
    let close = holding.close();
    tokio::pin!(close);
    let mut stopped = false;
    loop {
        tokio::select! {
            () = &mut close => return,
            code = signals.next() => {
                if stopped {
                    #[expect(clippy::disallowed_methods, reason = "a second signal asks for an end at once")]
                    std::process::exit(i32::from(code));
                }
                stopped = true;
                holder.stop().await;
            }
        }
    }
}

/// Submits to the process that holds the journal and follows the run there.
#[expect(clippy::too_many_arguments, reason = "one call, all of it told")]
async fn remote(
    session: &Session,
    client: &Client,
    bodies: &Bodies,
    submission: Submission,
    shared: &Shared,
    asked: Asked,
    folder: &std::path::Path,
    plan: Option<&str>,
) -> Result<u8, Fail> {
    let answer = client.ask_once(Request::Submit(Box::new(submission))).await?;
    let run = match answer {
        Answer::Submitted { run, attached } => {
            let verb = if attached { "is driven already by" } else { "was submitted to" };
            session.note(&format!(
                "Run `{run}` {verb} process {}, which holds the journal; following it.",
                client.pid()
            ));
            run
        }
        Answer::Refused(refusal) => return Err(refusal.into()),
        Answer::Running { run } => return Err(driver::SubmitError::Running { run }.into()),
        Answer::Gone => return Err(driver::SubmitError::Stopping.into()),
        Answer::Error { message } => return Err(Fail::unexpected(message)),
        other => return Err(Fail::unexpected(format!("unexpected answer {other:?}"))),
    };
    // The run's first event makes the state that the others are folded into.
    let first = history::events(client, bodies, &run, 1, 1).await?;
    let first = first.first().ok_or_else(|| Fail::unexpected(format!("run `{run}` has no events")))?;
    let state = saga::open(first).map_err(|error| Fail::unexpected(error.to_string()))?;
    let (rested, rest) = follow::remote(session, client, bodies, folder, state, shared).await?;
    if let Some(rest) = rest {
        if let Some(refusal) = rest.refused {
            return Err(Refusal::into(refusal));
        }
        if let Some(error) = rest.error {
            return Err(Fail::unexpected(error).help("mend that, then run the same command again"));
        }
    }
    systems(&rested, shared, bodies.clone()).await;
    let code = follow::ending(session, shared, &rested, asked, folder, plan);
    Ok(if rested.stopped && saga::standing(&rested.state) == Standing::Open {
        exit::INTERRUPTED
    } else {
        code
    })
}
