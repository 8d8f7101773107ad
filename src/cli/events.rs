//! `runner events`: what happened in a run, event by event.

use std::path::Path;

use clap::Args;

use super::access::Access;
use super::apply::Signals;
use super::fail::Fail;
use super::session::Session;
use crate::driver::{HistoryError, decode, history};
use crate::journal::Bodies;
use crate::plan::RunId;
use crate::report::{self, exit};
use crate::saga::{self, Event, Standing, State};
use crate::serve::{Answer, Client, ClientError, Request};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  runner events hello\n  runner --json events --follow | jq .")]
pub(super) struct EventsArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN", value_hint = clap::ValueHint::Other)]
    run: Option<String>,
    /// Go on until the run rests
    ///
    /// Example: runner events --follow
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn run(session: &Session, args: &EventsArgs) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let result = show(session, args, &access, &folder).await;
    access.close().await;
    result
}

async fn show(session: &Session, args: &EventsArgs, access: &Access, folder: &Path) -> Result<u8, Fail> {
    let run = history::find(access.history(), args.run.as_deref()).await?;
    let mut state: Option<State> = None;
    let events = history::events(access.history(), access.bodies(), &run, 1, u64::MAX).await?;
    for event in events {
        line(session, &mut state, &event)?;
    }
    let (Access::Remote { client, bodies }, true, Some(_)) = (access, args.follow, &state) else {
        return Ok(exit::COMPLETE);
    };
    let pid = client.pid();
    if let Some(code) = follow(session, client, bodies, &run, &mut state).await? {
        return Ok(code);
    }
    // It is gone, or has let us go because we did not read. Whoever drives the run now tells the rest.
    loop {
        let access = Access::open(session, folder, false).await?;
        let from = state.as_ref().map_or(1, |state| state.seq + 1);
        let events = history::events(access.history(), access.bodies(), &run, from, u64::MAX).await;
        let over = match (events, &access) {
            (Ok(events), access) => {
                for event in events {
                    line(session, &mut state, &event)?;
                }
                match access {
                    Access::Remote { client, bodies } => {
                        follow(session, client, bodies, &run, &mut state).await
                    }
                    Access::Held(_) => rest(&run, state.as_ref(), pid).map(Some),
                }
            }
            // It went away while it was asked: the next one is.
            (Err(HistoryError::HolderGone), Access::Remote { .. }) => Ok(None),
            (Err(error), _) => Err(error.into()),
        };
        access.close().await;
        if let Some(code) = over? {
            return Ok(code);
        }
    }
}

/// Follows the run until it rests (the exit code), or until the connection is gone (nothing).
async fn follow(
    session: &Session,
    client: &Client,
    bodies: &Bodies,
    run: &RunId,
    state: &mut Option<State>,
) -> Result<Option<u8>, Fail> {
    let from = state.as_ref().map_or(1, |state| state.seq + 1);
    let mut answers = match client.ask(Request::Follow { run: run.clone(), from }).await {
        Ok(answers) => answers,
        Err(ClientError::NotThere | ClientError::Gone { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut signals = Signals::new()?;
    loop {
        // Only one of the two is ever waited for to its end: the signal ends the command.
        let answer = tokio::select! {
            answer = answers.next() => answer,
            code = signals.next() => return Ok(Some(code)),
        };
        match answer {
            Ok(Some(Answer::Event(seq, record))) => {
                let event = decode(record.get().as_bytes(), bodies)
                    .map_err(|error| Fail::unexpected(format!("event {seq} cannot be read: {error}")))?;
                line(session, state, &event)?;
            }
            Ok(Some(Answer::Error { message })) => return Err(Fail::unexpected(message)),
            Ok(Some(_)) => return Ok(Some(exit::COMPLETE)),
            Ok(None) | Err(ClientError::Gone { .. }) => return Ok(None),
            Err(error) => return Err(Fail::unexpected(error.to_string())),
        }
    }
}

/// What a driver that is gone has left is all there is.
fn rest(run: &RunId, state: Option<&State>, pid: u32) -> Result<u8, Fail> {
    if state.is_some_and(|state| saga::standing(state) == Standing::Open) {
        return Err(Fail::unexpected(format!("process {pid}, which drove run `{run}`, ended"))
            .help(format!("`runner status {run}` shows how far it came")));
    }
    Ok(exit::COMPLETE)
}

fn line(session: &Session, state: &mut Option<State>, event: &Event) -> Result<(), Fail> {
    let folded = match state.take() {
        None => saga::open(event),
        Some(mut state) => saga::fold(&mut state, event).map(|()| state),
    };
    let folded = folded.map_err(|error| Fail::unexpected(error.to_string()))?;
    if session.json {
        session.say(&format!("{}\n", report::event_line(&folded, event)));
    } else {
        // Whoever asks for events wants all of them.
        let look = report::Look { verbose: 2, quiet: false, ..session.look() };
        session.say(&report::event_text(&folded, event, &look));
    }
    *state = Some(folded);
    Ok(())
}
