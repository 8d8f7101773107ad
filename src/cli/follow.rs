//! Watching a run to its rest: the same lines, the same ending and the same exit code, whoever drives it.

use std::sync::{Arc, Mutex};

use indicatif::ProgressDrawTarget;
use jiff::tz::TimeZone;

use super::fail::Fail;
use super::session::Session;
use crate::driver::{Clock, Observer, Patience, Rest, SystemClock, decode};
use crate::journal::Bodies;
use crate::plan::RunId;
use crate::report::{self, Asked, Reporter, Traces, exit};
use crate::saga::{self, Event, Stamp, State};
use crate::serve::{Answer, Client, Request, RestLine};

/// Shows a run and remembers what its ending needs.
pub(super) struct Screen {
    reporter: Box<dyn Reporter + Send>,
    traces: Traces,
}

impl Screen {
    pub(super) fn new(session: &Session) -> Self {
        let look = session.look();
        let reporter: Box<dyn Reporter + Send> = if session.json {
            Box::new(report::json(Box::new(std::io::stdout())))
        } else if session.terminal {
            Box::new(report::terminal(ProgressDrawTarget::stderr(), look, TimeZone::system()))
        } else {
            Box::new(report::plain(Box::new(std::io::stdout()), look, TimeZone::UTC))
        };
        Self { reporter, traces: Traces::default() }
    }

    /// Learns from what happened before anybody looked.
    pub(super) fn past(&mut self, events: &[Event]) {
        events.iter().for_each(|event| self.traces.event(event));
    }
}

/// The screen, shared with the task that drives the run.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Screen>>);

impl Shared {
    pub(super) fn new(screen: Screen) -> Self {
        Self(Arc::new(Mutex::new(screen)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Screen) -> T) -> T {
        // A panic while drawing is no reason not to draw the ending.
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) fn finish(&self) {
        self.with(|screen| screen.reporter.finish());
    }

    pub(super) fn note(&self, text: &str) {
        self.with(|screen| screen.reporter.note(report::Level::Info, text));
    }
}

impl Observer for Shared {
    fn events(&mut self, state: &State, events: &[Event]) {
        self.with(|screen| {
            for event in events {
                screen.traces.event(event);
                screen.reporter.event(state, event);
            }
        });
    }

    fn tick(&mut self, state: &State, now: &Stamp) {
        self.with(|screen| screen.reporter.tick(state, now));
    }
}

/// How a run came to rest, as far as the command that watched it has to know.
pub(super) struct Rested {
    pub(super) state: Left,
    pub(super) wake_ms: Option<u64>,
    pub(super) stopped: bool,
}

/// The state that a run was left in. It is large, so that of a task in this process is not copied.
pub(super) enum Left {
    /// Folded here.
    Folded(Box<State>),
    /// A task's, shared with whoever else asks how it ended.
    Rest(Arc<Rest>),
}

impl From<State> for Left {
    fn from(state: State) -> Self {
        Left::Folded(Box::new(state))
    }
}

impl std::ops::Deref for Left {
    type Target = State;

    fn deref(&self) -> &State {
        match self {
            Left::Folded(state) => state,
            Left::Rest(rest) => &rest.state,
        }
    }
}

/// Says how it ended and gives the exit code.
pub(super) fn ending(
    session: &Session,
    screen: &Shared,
    rested: &Rested,
    asked: Asked,
    folder: &std::path::Path,
    plan: Option<&str>,
) -> u8 {
    screen.finish();
    let now = SystemClock::new().now();
    let options = session.options();
    let text = screen.with(|screen| {
        let context = report::Context {
            folder,
            traces: &screen.traces,
            plan,
            options: &options,
            now,
            wake_ms: rested.wake_ms,
        };
        report::ending(&rested.state, asked, &session.look(), &context)
    });
    session.tell(&text);
    if session.json {
        session.say(&format!("{}\n", report::json_line(&report::status_json(&rested.state, &now))));
    }
    exit::code(&saga::standing(&rested.state), asked)
}

/// Follows a run that another process drives.
pub(super) async fn remote(
    session: &Session,
    client: &Client,
    bodies: &Bodies,
    mut state: State,
    screen: &Shared,
) -> Result<(Rested, Option<RestLine>), Fail> {
    let run: RunId = state.run.clone();
    let mut observer = screen.clone();
    let broken = |error: crate::serve::ClientError| {
        Fail::unexpected(error.to_string())
            .help(format!("`runner status {run}` shows how far it came; the run is not hurt by it"))
    };
    let from = state.seq + 1;
    let mut answers = client.ask(Request::Follow { run: run.clone(), from }).await.map_err(broken)?;
    let mut tick = tokio::time::interval(std::time::Duration::from_secs(1));
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
    let clock = SystemClock::new();
    let mut stop = super::apply::Signals::new()?;
    loop {
        let answer = tokio::select! {
            answer = lines.recv() => answer.unwrap_or(Ok(None)),
            _ = tick.tick() => {
                observer.tick(&state, &clock.now());
                continue;
            }
            code = stop.next() => {
                screen.finish();
                session.note(&format!(
                    "No longer watching run `{run}`: process {} goes on with it. `runner cancel {run}` would close it.",
                    client.pid()
                ));
                return Err(Fail::report(code, String::new()));
            }
        };
        match answer.map_err(broken)? {
            Some(Answer::Event(seq, record)) => {
                let event = decode(record.get().as_bytes(), bodies)
                    .map_err(|error| Fail::unexpected(format!("event {seq} cannot be read: {error}")))?;
                saga::fold(&mut state, &event).map_err(|error| Fail::unexpected(error.to_string()))?;
                observer.events(&state, &[event]);
            }
            Some(Answer::Rest(rest)) => {
                let rested = Rested { state: state.into(), wake_ms: rest.wake_ms, stopped: rest.stopped };
                return Ok((rested, Some(rest)));
            }
            Some(Answer::Error { message }) => return Err(Fail::unexpected(message)),
            Some(other) => return Err(Fail::unexpected(format!("unexpected answer {other:?}"))),
            None => {
                return Err(Fail::unexpected(format!(
                    "process {}, which drove run `{run}`, ended",
                    client.pid()
                ))
                .help(format!("`runner status {run}` shows how far it came; `runner apply` goes on")));
            }
        }
    }
}

/// How patient a command is.
pub(super) fn patience(wait: bool, no_wait: bool) -> Patience {
    match (wait, no_wait) {
        (true, _) => Patience::Everything,
        (_, true) => Patience::Nothing,
        _ => Patience::Timers,
    }
}
