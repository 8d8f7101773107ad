//! What a person says of a run from any terminal: through the process that drives it, or recorded directly when
//! nobody does. Answered after the append, with the same words either way.

use std::path::Path;

use super::access::Access;
use super::drive::Signals;
use super::eyes;
use super::fail::Fail;
use super::follow::{self, Rested, Screen, Shared};
use super::near;
use super::session::{Session, asker};
use crate::driver::{history, record};
use crate::plan::{RunId, StepId};
use crate::report::{self, Asked, exit};
use crate::saga::{self, Command, Refusal, State};
use crate::serve::{Answer, Request};

/// What is said, and of what.
pub(super) struct Wish<'a> {
    /// The command's name.
    pub(super) word: &'static str,
    /// The run, as it was named; absent: the newest.
    pub(super) run: Option<&'a str>,
    /// The step, when it is about one.
    pub(super) step: Option<StepId>,
    /// What is asked of the core.
    pub(super) command: Command,
    /// Why, in the words of who says it.
    pub(super) note: &'a str,
}

/// What became of it, for the words that follow.
pub(super) struct Recorded {
    pub(super) run: RunId,
    pub(super) by: String,
    /// The command that goes on with the run.
    pub(super) apply: String,
    /// Global options for commands to paste, with a space before them.
    pub(super) options: String,
}

/// The arguments `[RUN] STEP`: one is the step of the newest run. The command allows the first to be missing.
#[derive(Debug, clap::Args)]
pub(super) struct RunStep {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
    /// The step
    #[arg(value_name = "STEP", value_hint = clap::ValueHint::Other, required = true, value_parser = near::step)]
    step: StepId,
}

impl RunStep {
    pub(super) fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    pub(super) fn step(&self) -> &StepId {
        &self.step
    }
}

/// Records what is said, and says so in `words`.
pub(super) async fn say(
    session: &Session,
    wish: Wish<'_>,
    words: impl FnOnce(&Recorded) -> String,
) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let result = one(session, &wish, &access, &folder).await;
    access.close().await;
    let (recorded, nothing) = result?;
    if session.json {
        told(session, wish.word, &recorded.run, wish.step.as_ref(), wish.note, nothing.as_deref());
        return Ok(exit::COMPLETE);
    }
    let text = match nothing {
        Some(why) => format!("Nothing to do: {why}."),
        None => words(&recorded),
    };
    session.answer(&format!("{}\n", report::text_line(&text)));
    Ok(exit::COMPLETE)
}

/// Tells a program what was recorded, or why nothing had to be.
pub(super) fn told(
    session: &Session,
    word: &str,
    run: &RunId,
    step: Option<&StepId>,
    note: &str,
    nothing: Option<&str>,
) {
    let object = serde_json::json!({
        "v": report::SHOWN_VERSION, "type": "recorded", "command": word, "run": run.to_string(),
        "step": step.map(StepId::as_str), "by": asker(), "note": note,
        "changed": nothing.is_none(), "why": nothing,
    });
    session.say(&format!("{}\n", report::json_line(&object)));
}

async fn one(
    session: &Session,
    wish: &Wish<'_>,
    access: &Access,
    folder: &Path,
) -> Result<(Recorded, Option<String>), Fail> {
    let run = near::find(access.history(), wish.run).await?;
    let state = history::state(access.history(), access.bodies(), &run).await?;
    if let Some(step) = wish.step.as_ref().filter(|step| state.place(step).is_none()) {
        let fail = near::no_such_step(&run, &state.definition, step);
        let a_run = near::find(access.history(), Some(step.as_str())).await.is_ok();
        return Err(match wish.run {
            None if a_run => fail.help(format!("`{step}` is a run: name its step too")),
            _ => fail,
        });
    }
    let path = report::shell_word(&report::text_line(&state.definition.path));
    let options = match session.options(folder) {
        none if none.is_empty() => none,
        some => format!(" {some}"),
    };
    let apply = format!("runner apply {path}{options}");
    let recorded = Recorded { run: run.clone(), by: asker(), apply, options };
    match send(access, &run, state, &wish.command).await {
        Ok(()) => Ok((recorded, None)),
        Err(Said::Refused(Refusal::Nothing { why })) => Ok((recorded, Some(why))),
        Err(Said::Refused(refusal)) => Err(refusal.into()),
        Err(Said::Failed(fail)) => Err(fail),
    }
}

/// Why a wish was not recorded.
pub(super) enum Said {
    /// The run's state does not admit it.
    Refused(Refusal),
    /// It could not be asked.
    Failed(Fail),
}

impl<E: Into<Fail>> From<E> for Said {
    fn from(error: E) -> Self {
        Said::Failed(error.into())
    }
}

/// Has a wish recorded, by whoever has the journal; `state` is the run's newest where that is this process.
pub(super) async fn send(
    access: &Access,
    run: &RunId,
    mut state: State,
    command: &Command,
) -> Result<(), Said> {
    match access {
        Access::Held(held) => {
            let events = saga::command(&state, command, &asker()).map_err(Said::Refused)?;
            record(&held.handle, &held.bodies, &mut state, events).await?;
            Ok(())
        }
        Access::Remote { client, .. } => {
            let (command, by) = (command.clone(), asker());
            let wish = Request::Wish { run: run.clone(), command: command.clone(), by: by.clone() };
            let answer = match client.ask_once(wish).await? {
                Answer::Gone => client.ask_once(Request::Record { run: run.clone(), command, by }).await?,
                other => other,
            };
            match answer {
                Answer::Done => Ok(()),
                Answer::Refused(refusal) => Err(Said::Refused(refusal)),
                // Taken on between the two questions: who asks again finds it so.
                Answer::Running { run } => Err(crate::driver::SubmitError::Running { run }.into()),
                Answer::Gone => Err(crate::driver::SubmitError::Stopping.into()),
                Answer::Error { message } => Err(Fail::unexpected(message).into()),
                other => Err(Fail::unexpected(format!("unexpected answer {other:?}")).into()),
            }
        }
    }
}

/// What came of a wish to a run that may be driven elsewhere.
pub(super) enum Driven {
    /// It was taken, and the run was followed to its rest: the exit code.
    Over(u8),
    /// Nobody drives the run.
    Nobody(Box<State>, Screen),
}

/// Asks the process that drives a run, if there is one, and follows the run to its rest.
pub(super) async fn driven(
    session: &Session,
    access: &Access,
    folder: &Path,
    (state, screen): (State, Screen),
    command: Command,
    asked: Asked,
) -> Result<Driven, Fail> {
    let Access::Remote { client, bodies } = access else {
        return Ok(Driven::Nobody(Box::new(state), screen));
    };
    let request = Request::Wish { run: state.run.clone(), command, by: asker() };
    match client.ask_once(request).await? {
        Answer::Done => {
            let shared = Shared::new(screen);
            let (rested, _) = follow::remote(session, client, bodies, folder, state, &shared).await?;
            let rested = if asked == Asked::Cancel { Rested { wake_ms: None, ..rested } } else { rested };
            eyes::systems(&rested, &shared, bodies.clone(), asked, &mut Signals::new()?).await;
            Ok(Driven::Over(follow::ending(session, &shared, &rested, asked, folder, None)))
        }
        Answer::Gone => Ok(Driven::Nobody(Box::new(state), screen)),
        Answer::Refused(refusal) => Err(refusal.into()),
        Answer::Error { message } => Err(Fail::unexpected(message)),
        other => Err(Fail::unexpected(format!("unexpected answer {other:?}"))),
    }
}
