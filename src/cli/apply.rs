//! `runner apply`: bring a plan to its goal, or go on where it stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::sync::oneshot;

use super::access::Access;
use super::ask;
use super::drift;
use super::edits::{self, Edits};
use super::fail::{self, Fail};
use super::follow::{self, Rested, Screen, Shared};
use super::near::step;
use super::saved::Saved;
use super::session::Session;
use super::source::{self, Ahead, PlanFile};
use crate::driver::{self, Looked, Patience, Secrets, Target, history};
use crate::journal::Bodies;
use crate::plan::recorded::Definition;
use crate::plan::{Loaded, Required, RunId, StepId};
use crate::report::{Asked, exit};
use crate::saga::{self, Command, Course, End, State, Terms};

pub(super) use super::drive::{Next, Signals, hand, submit};

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
    #[arg(long, value_name = "NAME=VALUE", value_hint = clap::ValueHint::Other, value_parser = source::variable)]
    var: Vec<(String, String)>,
    /// Read variables from a TOML file; may be repeated
    ///
    /// Example: runner apply plans/remote.toml --var-file hosts.toml
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
    /// Go as far as this step and what it needs, then stop
    ///
    /// The exit code is 0 then, and the run stays open: `apply` without it goes on.
    ///
    /// Example: runner apply plans/hello.toml --until greet
    #[arg(long, value_name = "STEP", value_hint = clap::ValueHint::Other, value_parser = step)]
    until: Option<StepId>,
    /// Run a finished step again, edited or not; may be repeated
    ///
    /// Its probe is not looked at first. It keeps its pre-image, and what depends on it keeps its result.
    ///
    /// Example: runner apply plans/hello.toml --redo greet
    #[arg(long, value_name = "STEP", value_hint = clap::ValueHint::Other, value_parser = step)]
    redo: Vec<StepId>,
    /// Keep the result of a finished step that was edited; may be repeated
    ///
    /// The edited definition is recorded, and the step does not run.
    ///
    /// Example: runner apply plans/hello.toml --keep greet
    #[arg(long, value_name = "STEP", value_hint = clap::ValueHint::Other, value_parser = step)]
    keep: Vec<StepId>,
    /// Replace the compensation of a finished step, by approval; may be repeated
    ///
    /// At a terminal the difference is shown and asked about. Elsewhere it is shown with the word that approves exactly
    /// it, and the command exits with 4; `-y` does not approve it.
    ///
    /// Example: runner apply plans/hello.toml --amend greet
    #[arg(long, value_name = "STEP[@DIFF]", value_hint = clap::ValueHint::Other, value_parser = edits::amend)]
    amend: Vec<edits::Amend>,
    /// Go on with the newest run of this name, though its plan file lies elsewhere
    ///
    /// The plan counts as moved: what is still to come, and the way back, run from its new folder.
    ///
    /// Example: runner apply copy/hello.toml --same-run
    #[arg(long, conflicts_with = "new_run")]
    same_run: bool,
    /// Start afresh when the plan's last run is over
    ///
    /// Without it, a run that is complete, cancelled or rolled back stays what it is.
    ///
    /// Example: runner apply plans/hello.toml --new-run
    #[arg(long)]
    new_run: bool,
    /// Wait even for what only a person can end: gates and pauses
    ///
    /// Default: wait through soaks, windows and pauses between attempts; at a terminal, ask at a gate; elsewhere exit 4
    /// there. A run that is paused exits 4.
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
    /// A gate with evidence that does not hold stays shut: nobody is asked, and the command exits with 4.
    ///
    /// Example: runner apply plans/hello.toml -y
    #[arg(short = 'y', long = "yes")]
    yes: bool,
}

impl ApplyArgs {
    fn edits(&self) -> Edits<'_> {
        Edits { redo: &self.redo, keep: &self.keep, amend: &self.amend, until: self.until.as_ref() }
    }

    /// Whether gates are asked about here.
    fn asks(&self, session: &Session) -> bool {
        !self.yes && !self.no_wait && !session.json && ask::somebody_is_here()
    }

    fn patience(&self, session: &Session) -> Patience {
        match (self.wait, self.no_wait) {
            (true, _) => Patience::Everything,
            (_, true) => Patience::Nothing,
            _ if self.asks(session) => Patience::Gates,
            _ => Patience::Timers,
        }
    }

    /// Where the run is shown, and asked about.
    fn screen(&self, session: &Session) -> Screen {
        let mut screen = Screen::new(session);
        screen.asks = self.asks(session);
        screen
    }
}

pub(super) async fn run(session: &Session, args: &ApplyArgs) -> Result<u8, Fail> {
    // The command line is read, which takes more code than anything that follows.
    (session.let_go)();
    let saved = Saved::read(&args.plan)?;
    let file = match &saved {
        Some(saved) => saved.file(!args.var.is_empty() || !args.var_file.is_empty())?,
        None => PlanFile::read(&args.plan, &args.var, &args.var_file)?,
    };
    if args.new_run && saved.as_ref().is_some_and(|saved| !saved.new_run) {
        return Err(Fail::usage(
            "this saved plan was made for the run that there was: it does not start afresh",
        )
        .help("save it anew with `runner plan PLAN --new-run --out FILE`"));
    }
    edits::agree(&args.edits())?;
    let folder = session.state_folder(Some(&file.path));
    let file = Arc::new(file);
    let (mut loaded, mut ahead) = (None, None);
    if !folder.join("journal").exists() && !folder.join("version").exists() {
        // Nothing is made for a plan that is not one.
        loaded = Some(load(session, &file)?);
    } else {
        // While the journal is opened and the run read back, which takes longer.
        ahead = Some(file.load_ahead());
    }
    let access = Access::open(session, &folder, true).await?;
    let name = saved.as_ref().map_or(&args.plan, |saved| &saved.plan).display().to_string();
    let fits = match &saved {
        Some(saved) => saved.check(session, &file, &access, &folder).await,
        None => Ok(()),
    };
    let result = match fits {
        Ok(()) => {
            let afresh = saved.as_ref().is_some_and(|saved| saved.new_run);
            let plan = Plan { file: &file, fresh: loaded, ahead };
            apply(session, args, plan, &access, &folder, (&name, afresh)).await
        }
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

/// The plan of an `apply`, and how far it is loaded already.
struct Plan<'a> {
    file: &'a PlanFile,
    fresh: Option<Loaded>,
    ahead: Option<Ahead>,
}

async fn apply(
    session: &Session,
    args: &ApplyArgs,
    plan: Plan<'_>,
    access: &Access,
    folder: &Path,
    (name, afresh): (&str, bool),
) -> Result<Next, Fail> {
    let Plan { file, fresh, mut ahead } = plan;
    let (history, bodies) = (access.history(), access.bodies());
    let mut newest = history::newest_of(history, bodies, file.path()).await?;
    let edits = args.edits();
    let looked = Looked { newest: newest.clone() };
    let mut moved = false;
    if args.same_run && newest.is_none() {
        let loaded = load(session, file)?;
        newest = Some(edits::same_run(history, &loaded.definition).await?);
        moved = true;
    }
    let found = match newest {
        Some(run) => {
            let known = ahead.as_mut().and_then(|ahead| ahead.known.take());
            Some(past_knowing(history, bodies, &run, known).await?)
        }
        None => None,
    };
    let new_run = args.new_run || afresh;
    let mut terms = Terms { forward: true, fresh_budget: !args.no_wait, assume_yes: args.yes };
    let patience = args.patience(session);
    let Some((state, mut screen)) = found.map(|(state, events)| {
        let mut screen = args.screen(session);
        screen.past(&events);
        (state, screen)
    }) else {
        // What was just loaded for an empty state folder is what is begun: nobody gave it anything before.
        let loaded = match fresh {
            Some(loaded) => loaded,
            None => file.load_from(session, &BTreeMap::new(), ahead).await?,
        };
        return begin(session, loaded, looked, access, &edits, terms, patience, args.screen(session));
    };
    let over = state.end.is_some();
    if over && new_run {
        screen = args.screen(session);
        return begin(
            session,
            file.load_from(session, &BTreeMap::new(), ahead).await?,
            looked,
            access,
            &edits,
            terms,
            patience,
            screen,
        );
    }
    if new_run {
        return Err(still_open(&state.run, name));
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
        let secrets = rollback_secrets(&state.definition, access)?;
        let target = Target::Existing(state.run.clone());
        return Ok(hand(target, terms, Vec::new(), secrets, patience, None, screen));
    }
    let loaded = file.load_from(session, &state.definition.given, ahead).await?;
    edits::fit(session, &state, &loaded.definition, &edits)?;
    let ids = edits.amend_ids();
    let takes = driver::Takes { redo: edits.redo, keep: edits.keep, amend: &ids };
    let mut amendment = driver::amendment_with(&state, &loaded.definition, takes)
        .map_err(|refused| refuse(&state, &refused))?;
    if moved {
        edits::move_to(&state, &loaded.definition, &mut amendment);
    }
    if state.end == Some(End::Complete) && amendment.is_none() && edits.redo.is_empty() {
        return Ok(repeat(state, screen));
    }
    if let Some(amendment) = &amendment
        && let Some(code) = edits::approved(session, &state, amendment, &edits, name, folder)?
    {
        return Ok(Next::Over(code));
    }
    notes(session, &loaded);
    // Those of finished steps that are gone from the file as well: they may have to be undone.
    let secrets =
        secrets(amendment.as_ref().map_or(&*state.definition, |amendment| &amendment.definition), access)?;
    store(bodies, &loaded)?;
    let target = Target::Existing(state.run.clone());
    let mut wishes = Vec::new();
    if let Some(amendment) = amendment {
        let definition = Arc::new(amendment.definition);
        wishes.push(Command::Amend { definition, changes: amendment.changes });
    }
    wishes.extend(edits.wishes());
    let mut next = hand(target, terms, wishes, secrets, patience, None, screen);
    if let Next::Submit(submission, _) = &mut next {
        submission.known = Some(Box::new(state));
    }
    Ok(next)
}

/// Why no new run is begun.
pub(super) fn still_open(run: &RunId, plan: &str) -> Fail {
    Fail::usage(format!("run `{run}` of this plan is still open")).help(format!(
        "`runner apply {plan}` goes on with it; `runner cancel {run}` closes it, then `--new-run` starts afresh"
    ))
}

/// The plan as a new run takes it.
fn load(session: &Session, file: &PlanFile) -> Result<Loaded, Fail> {
    file.load(session, &BTreeMap::new(), Required::MustBeGiven)
}

#[expect(clippy::too_many_arguments, reason = "one call, all of it told")]
fn begin(
    session: &Session,
    loaded: Loaded,
    looked: Looked,
    access: &Access,
    edits: &Edits<'_>,
    terms: Terms,
    patience: Patience,
    screen: Screen,
) -> Result<Next, Fail> {
    edits::begins(&loaded.definition, edits)?;
    notes(session, &loaded);
    let secrets = secrets(&loaded.definition, access)?;
    store(access.bodies(), &loaded)?;
    let target = Target::New(loaded.definition);
    let mut next = hand(target, terms, edits.wishes(), secrets, patience, None, screen);
    if let Next::Submit(submission, _) = &mut next {
        submission.looked = Some(looked);
    }
    Ok(next)
}

/// A run's state and everything that happened in it.
pub(super) async fn past(
    history: &dyn driver::History,
    bodies: &Bodies,
    run: &RunId,
) -> Result<(State, Vec<saga::Event>), Fail> {
    past_knowing(history, bodies, run, None).await
}

async fn past_knowing(
    history: &dyn driver::History,
    bodies: &Bodies,
    run: &RunId,
    known: Option<oneshot::Receiver<driver::Known>>,
) -> Result<(State, Vec<saga::Event>), Fail> {
    // The newest events say why it stands as it does; older ones are folded into the checkpoint.
    const LOOK_BACK: u64 = 2_000;
    let state = history::state_knowing(history, bodies, run, known).await?;
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

fn secrets(definition: &Definition, access: &Access) -> Result<Secrets, Fail> {
    if access.resolves_secrets() {
        return Ok(Secrets::new(BTreeMap::new()));
    }
    Secrets::resolve(definition, None).map_err(|errors| missing(&errors))
}

/// The secrets that going back needs: all of them before the first act.
pub(super) fn rollback_secrets(definition: &Definition, access: &Access) -> Result<Secrets, Fail> {
    if access.resolves_secrets() {
        return Ok(Secrets::new(BTreeMap::new()));
    }
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
