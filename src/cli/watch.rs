//! `runner status --watch`: how a run stands, until it rests.

use std::path::Path;
use std::time::Duration;

use super::access::Access;
use super::drive::Signals;
use super::fail::Fail;
use super::session::{Session, terminal_size};
use super::status;
use crate::driver::{Clock, SystemClock, decode, history};
use crate::journal::Bodies;
use crate::plan::RunId;
use crate::report;
use crate::saga::{self, State};
use crate::serve::{Answer, Client, ClientError, Request};

/// How often it is drawn.
const EVERY: Duration = Duration::from_secs(1);

/// How a run stopped being followed.
enum Over {
    /// It rests.
    Rests,
    /// Who drove it is gone; somebody else may drive it by now.
    Gone,
    /// A signal ended the command, with this exit code.
    Signal(u8),
}

/// Shows how a run stands: on a terminal drawn in place once a second, else once and then a line per event; at the end
/// once more, with the commands for each way on. Where nobody drives the run it rests, and is shown once.
pub(super) async fn run(session: &Session, name: Option<&str>, folder: &Path) -> Result<u8, Fail> {
    let mut run: Option<RunId> = None;
    let mut state: Option<State> = None;
    loop {
        let access = Access::open(session, folder, false).await?;
        let over = match &access {
            Access::Remote { client, bodies } => {
                let found = match &run {
                    Some(run) => run.clone(),
                    None => history::find(client, name).await?,
                };
                let run = run.insert(found).clone();
                follow(session, client, bodies, &run, &mut state).await?
            }
            Access::Held(_) => Over::Rests,
        };
        match over {
            Over::Signal(code) => return Ok(code),
            // Whoever has the journal now says how it stands.
            Over::Gone => access.close().await,
            Over::Rests => {
                let named = run.as_ref().map(RunId::to_string);
                let shown = status::show(session, named.as_deref().or(name), &access, folder).await;
                return match (shown, access) {
                    // It went as soon as the run rested: the journal is free, or somebody else has it.
                    (Err(_), access @ Access::Remote { .. }) => {
                        access.close().await;
                        let access = Access::open(session, folder, false).await?;
                        let shown = status::show(session, named.as_deref().or(name), &access, folder).await;
                        access.close().await;
                        shown
                    }
                    (shown, access) => {
                        access.close().await;
                        shown
                    }
                };
            }
        }
    }
}

/// Follows a run that somebody else may drive; `state` is what was seen of it so far.
async fn follow(
    session: &Session,
    client: &Client,
    bodies: &Bodies,
    run: &RunId,
    seen: &mut Option<State>,
) -> Result<Over, Fail> {
    let first = seen.is_none();
    let mut state = match seen.take() {
        Some(state) => state,
        None => history::state(client, bodies, run).await?,
    };
    let (clock, drawn) = (SystemClock::new(), session.terminal && !session.json);
    let screen = report::watch(Box::new(session.out()), Box::new(terminal_size), session.look());
    if first && !drawn {
        let state = with_kept(client, &state).await;
        if session.json {
            session.say(&format!("{}\n", report::json_line(&report::status_json(&state, &clock.now()))));
        } else {
            session.say(&format!("{}\n", report::status_text(&state, &clock.now(), &session.look())));
        }
    }
    let mut answers = match client.ask(Request::Follow { run: run.clone(), from: state.seq + 1 }).await {
        Ok(answers) => answers,
        Err(ClientError::NotThere | ClientError::Gone { .. }) => {
            *seen = Some(state);
            return Ok(Over::Gone);
        }
        Err(error) => return Err(error.into()),
    };
    let (sender, mut lines) = tokio::sync::mpsc::channel(64);
    // Reading a line must not be cut short by a tick, so it has a task of its own.
    tokio::spawn(async move {
        loop {
            let answer = answers.next().await;
            let last = !matches!(answer, Ok(Some(_)));
            if sender.send(answer).await.is_err() || last {
                return;
            }
        }
    });
    let mut signals = Signals::new()?;
    let mut tick = tokio::time::interval(EVERY);
    let over = loop {
        let answer = tokio::select! {
            answer = lines.recv() => answer.unwrap_or(Ok(None)),
            _ = tick.tick() => {
                if drawn {
                    screen.draw(&with_kept(client, &state).await, &clock.now());
                }
                continue;
            }
            code = signals.next() => break Over::Signal(code),
        };
        match answer {
            Ok(Some(Answer::Event(seq, record))) => {
                let event = decode(record.get().as_bytes(), bodies)
                    .map_err(|error| Fail::unexpected(format!("event {seq} cannot be read: {error}")))?;
                saga::fold(&mut state, &event).map_err(|error| Fail::unexpected(error.to_string()))?;
                if session.json {
                    session.say(&format!("{}\n", report::event_line(&state, &event)));
                } else if !drawn {
                    session.say(&report::event_text(&state, &event, &session.look()));
                }
            }
            Ok(Some(Answer::Rest(_))) => break Over::Rests,
            Ok(Some(Answer::Error { message })) => return Err(Fail::unexpected(message)),
            Ok(Some(other)) => return Err(Fail::unexpected(format!("unexpected answer {other:?}"))),
            Ok(None) | Err(ClientError::Gone { .. }) => break Over::Gone,
            Err(error) => return Err(error.into()),
        }
    };
    if drawn {
        match over {
            // What was seen last stays on the screen.
            Over::Signal(_) => {}
            Over::Rests | Over::Gone => screen.clear(),
        }
    } else if matches!(over, Over::Rests) && !session.json {
        session.say("\n");
    }
    *seen = Some(state);
    Ok(over)
}

/// The state with the samples of a soak that are kept and no events yet.
async fn with_kept(client: &Client, state: &State) -> State {
    let tails = history::tails(client, state).await;
    if tails.is_empty() { state.clone() } else { saga::with_tails(state, &tails) }
}
