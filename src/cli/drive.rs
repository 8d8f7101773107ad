//! Driving a run to its rest: in this process, or in the one that holds the journal. What every command that sets a
//! run in motion shares.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::access::{Access, Holding};
use super::ask::{Asking, Heard};
use super::eyes;
use super::fail::{self, Fail};
use super::follow::{self, Rested, Screen, Shared};
use super::session::{Session, Teller, asker};
use crate::driver::{self, Ended, Patience, Secrets, Submission, Target, WishError, history};
use crate::journal::Bodies;
use crate::report::{Asked, exit};
use crate::saga::{self, Command, Event, Refusal, Standing, State, StepEvent, Terms, What};
use crate::serve::{Answer, Client, Request};

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

/// What a command does next.
pub(super) enum Next {
    /// It is over, with this exit code.
    Over(u8),
    /// The run is handed to whoever holds the journal.
    Submit(Box<Submission>, Screen),
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
        Box::new(Submission { target, terms, wishes, secrets, patience, cwd, by, known: None, looked: None }),
        screen,
    )
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
    // From here on it may take days.
    (session.let_go)();
    match access {
        Access::Held(held) => {
            let bodies = held.bodies.clone();
            let mut holding = held.hold()?;
            let mut signals = Signals::new()?;
            let result = drive(session, &mut holding, submission, &shared, &mut signals).await;
            shared.finish();
            let code = match result {
                Ok((rested, signal)) => {
                    eyes::systems(&rested, &shared, bodies, asked, &mut signals).await;
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

/// Says a word when a step begins.
struct Telling {
    teller: Teller,
    shared: Shared,
}

impl driver::Observer for Telling {
    fn events(&mut self, _state: &State, events: &[Event]) {
        for event in events {
            if let What::Step {
                step,
                is: StepEvent::Started { .. } | StepEvent::VerifyBegan | StepEvent::SoakBegan,
            } = &event.what
                && let Some(words) = (self.teller.0)(step.as_str())
            {
                self.shared.note(&words);
            }
        }
    }

    fn tick(&mut self, _state: &State, _now: &saga::Stamp) {}
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
    let mut observers: Vec<Box<dyn driver::Observer>> = Vec::new();
    if let Some(teller) = session.teller.clone() {
        observers.push(Box::new(Telling { teller, shared: shared.clone() }));
    }
    observers.push(Box::new(shared.clone()));
    let submitted = holding.holder.submit(submission, observers).await?;
    holding.offer(session);
    let mut stopped = None;
    let mut asking = Asking::new(shared);
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
                holding.holder.stop_by(code).await;
            }
            heard = asking.next(shared) => match heard {
                Heard::Answer(command) => {
                    let answered = holding.holder.wish(&submitted.run, command, asker()).await;
                    if let Err(WishError::Refused(refusal)) = answered {
                        shared.note(&refusal.to_string());
                    }
                }
                Heard::Leaves => {
                    if let Some(handle) = holding.holder.handle(&submitted.run).await {
                        handle.nobody_answers();
                    }
                }
            },
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
                holder.stop_by(code).await;
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
    let assume_yes = submission.terms.assume_yes;
    let stays = !(client.serves() && submission.patience == Patience::Nothing);
    // What happened before is not told again, as it would not be without a holder.
    let known = match &submission.target {
        Target::Existing(run) => Some(history::state(client, bodies, run).await?),
        Target::New(_) => None,
    };
    let answer = client.ask_once(Request::Submit(Box::new(submission))).await?;
    let (run, known) = match answer {
        Answer::Submitted { run, attached } => {
            let verb = if attached { "is driven already by" } else { "was submitted to" };
            session.note(&format!(
                "Run `{run}` {verb} process {}, which holds the journal; following it.",
                client.pid()
            ));
            if attached && assume_yes {
                session.warn(&format!(
                    "`-y` answers nothing in a run that is driven elsewhere; `runner approve {run} STEP` does"
                ));
            }
            (run, known.filter(|_| !attached))
        }
        Answer::Refused(refusal) => return Err(refusal.into()),
        Answer::Running { run } => return Err(driver::SubmitError::Running { run }.into()),
        Answer::Gone => return Err(driver::SubmitError::Stopping.into()),
        Answer::SecretsMissing { message } => return Err(driver::SubmitError::Secrets(message).into()),
        Answer::Error { message } => return Err(Fail::unexpected(message)),
        other => return Err(Fail::unexpected(format!("unexpected answer {other:?}"))),
    };
    if !stays {
        // It goes on there, whoever waits.
        let state = history::state(client, bodies, &run).await?;
        let rested = Rested { state: state.into(), wake_ms: None, stopped: false };
        return Ok(follow::ending(session, shared, &rested, asked, folder, plan));
    }
    let state = match known {
        Some(state) => state,
        // The run's first event makes the state that the others are folded into.
        None => {
            let first = history::events(client, bodies, &run, 1, 1).await?;
            let first =
                first.first().ok_or_else(|| Fail::unexpected(format!("run `{run}` has no events")))?;
            saga::open(first).map_err(|error| Fail::unexpected(error.to_string()))?
        }
    };
    let (rested, rest) = follow::remote(session, client, bodies, folder, state, shared).await?;
    if let Some(rest) = &rest {
        if let Some(refusal) = &rest.refused {
            return Err(Refusal::into(refusal.clone()));
        }
        if let Some(error) = &rest.error {
            return Err(Fail::unexpected(error).help("mend that, then run the same command again"));
        }
    }
    eyes::systems(&rested, shared, bodies.clone(), asked, &mut Signals::new()?).await;
    let code = follow::ending(session, shared, &rested, asked, folder, plan);
    // What ended the process that drove the run ended this command's wait as well.
    let ended_by = rest.and_then(|rest| rest.signal).unwrap_or(exit::INTERRUPTED);
    Ok(if rested.stopped && saga::standing(&rested.state) == Standing::Open { ended_by } else { code })
}
