//! `runner cancel`: settle what is in flight, close the run, undo nothing.

use clap::Args;

use super::access::Access;
use super::apply::{Next, hand, past, submit};
use super::fail::Fail;
use super::follow::Screen;
use super::near;
use super::session::Session;
use super::wish::{self, Driven};
use crate::driver::{Patience, Secrets, Target};
use crate::plan::RunId;
use crate::report::{Asked, exit};
use crate::saga::{self, Command, Refusal, Terms};

#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  runner cancel hello-1\n\n\
    A cancelled run can still be rolled back.")]
pub(super) struct CancelArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
}

pub(super) async fn run(session: &Session, args: &CancelArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let mut run = None;
    let code = match prepare(session, args, &access, &folder, &mut run).await {
        Ok(Next::Over(code)) => {
            access.close().await;
            code
        }
        Ok(Next::Submit(submission, screen)) => {
            submit(session, access, *submission, screen, Asked::Cancel, &folder, None).await?
        }
        Err(fail) => {
            access.close().await;
            return Err(fail);
        }
    };
    // The run ended with 3; the command did what was asked.
    let code = if code == exit::HALTED { exit::COMPLETE } else { code };
    if let (exit::COMPLETE, true, Some((run, nothing))) = (code, session.json, run) {
        wish::told(session, "cancel", &run, None, "", nothing.as_deref());
    }
    Ok(code)
}

async fn prepare(
    session: &Session,
    args: &CancelArgs,
    access: &Access,
    folder: &std::path::Path,
    said: &mut Option<(RunId, Option<String>)>,
) -> Result<Next, Fail> {
    let (history, bodies) = (access.history(), access.bodies());
    let run = near::find(history, args.run.as_deref()).await?;
    let (state, events) = past(history, bodies, &run).await?;
    let mut screen = Screen::new(session);
    screen.past(&events);
    match saga::command(&state, &Command::Cancel, "") {
        Ok(_) => *said = Some((run.clone(), None)),
        Err(Refusal::Nothing { why }) => {
            session.tell(&format!("Nothing to do: {why}.\n"));
            *said = Some((run, Some(why)));
            return Ok(Next::Over(exit::COMPLETE));
        }
        Err(refusal) => return Err(Fail::from(refusal).after("there is nothing to cancel")),
    }
    let asked = wish::driven(session, access, folder, (state, screen), Command::Cancel, Asked::Cancel);
    let (state, screen) = match asked.await? {
        Driven::Over(code) => return Ok(Next::Over(code)),
        Driven::Nobody(state, screen) => (state, screen),
    };
    // Only looks are still needed, to settle what was cut off; without its secrets such a look says `unknown`.
    let secrets =
        Secrets::resolve(&state.definition, None).unwrap_or_else(|_| Secrets::new(Default::default()));
    let terms = Terms { forward: false, fresh_budget: false, assume_yes: false };
    Ok(hand(Target::Existing(run), terms, vec![Command::Cancel], secrets, Patience::Timers, None, screen))
}
