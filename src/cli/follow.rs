//! Watching a run to its rest: the same lines, the same ending and the same exit code, whoever drives it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;

use tokio::sync::watch;

use super::access::Access;
use super::ask::{self, Asking, Heard, Open};
use super::fail::Fail;
use super::session::Session;
use crate::driver::{Clock, Observer, Rest, SystemClock, decode, history};
use crate::journal::Bodies;
use crate::plan::{RunId, StepId};
use crate::report::{self, Asked, Reporter, Traces, exit};
use crate::saga::{self, Event, Stamp, Standing, State, Tail, What};
use crate::serve::{Answer, Client, ClientError, Request, RestLine};

/// Shows a run and remembers what its ending needs.
pub(super) struct Screen {
    reporter: Box<dyn Reporter + Send>,
    traces: Traces,
    /// Whether whoever sees it is asked what only a person can say.
    pub(super) asks: bool,
    open: watch::Sender<Vec<Open>>,
    /// The question that stands on the terminal's last line.
    prompt: Option<String>,
    /// The state after the last event that was shown: events come in batches, and each is shown with the state
    /// that it led to.
    shown: Option<Box<State>>,
    /// Programs are told how a run was opened, too; people see it by what follows.
    tells_opening: bool,
    /// What each system looks like now, when somebody looked.
    pub(super) systems: Vec<saga::Finding>,
}

impl Screen {
    pub(super) fn new(session: &Session) -> Self {
        let look = session.look();
        let reporter: Box<dyn Reporter + Send> = if session.json {
            Box::new(report::json(Box::new(session.out())))
        } else if session.terminal {
            let (out, size) = (Box::new(std::io::stderr()), Box::new(super::session::terminal_size));
            let terminal = report::terminal(out, size, look, TimeZone::system());
            super::session::log_above(Some(Box::new(terminal.lines())));
            Box::new(terminal)
        } else {
            Box::new(report::plain(Box::new(session.out()), look, TimeZone::UTC))
        };
        let (open, _) = watch::channel(Vec::new());
        Self {
            reporter,
            traces: Traces::default(),
            asks: false,
            open,
            prompt: None,
            shown: None,
            tells_opening: session.json,
            systems: Vec::new(),
        }
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

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Screen) -> T) -> T {
        // A panic while drawing is no reason not to draw the ending.
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(super) fn finish(&self) {
        self.with(|screen| screen.reporter.finish());
        super::session::log_above(None);
    }

    /// What people are to be asked, as it changes; nothing where nobody is.
    pub(super) fn questions(&self) -> Option<watch::Receiver<Vec<Open>>> {
        self.with(|screen| screen.asks.then(|| screen.open.subscribe()))
    }

    /// Puts a question on the terminal's last line, unless it stands there. Bars would fight with what is typed.
    pub(super) fn prompt(&self, text: &str) {
        self.with(|screen| {
            if screen.prompt.as_deref() != Some(text) {
                screen.reporter.finish();
                ask::write(text);
                screen.prompt = Some(text.to_owned());
            }
        });
    }

    /// Something was typed behind the question, with its line end.
    pub(super) fn answered(&self) {
        self.with(|screen| screen.prompt = None);
    }

    pub(super) fn note(&self, text: &str) {
        self.with(|screen| screen.reporter.note(report::Level::Info, text));
    }
}

/// The event that opened a run which nothing has happened to since.
fn opening(state: &State) -> Event {
    let definition = Arc::clone(&state.definition);
    let what = What::RunOpened { run: state.run.clone(), definition, by: state.by.clone() };
    Event { seq: state.seq, at: state.opened, what }
}

impl Observer for Shared {
    fn begin(&mut self, state: &State) {
        self.with(|screen| {
            if screen.tells_opening && state.seq == 1 {
                screen.reporter.event(state, &opening(state));
            }
            screen.shown = Some(Box::new(state.clone()));
            screen.open.send_replace(ask::open(state));
        });
    }

    fn events(&mut self, state: &State, events: &[Event]) {
        self.with(|screen| {
            if screen.prompt.take().is_some() {
                ask::write("\n");
            }
            let Screen { reporter, traces, shown, .. } = screen;
            for event in events {
                traces.event(event);
                if let Some(shown) = shown
                    && saga::fold(shown, event).is_ok()
                {
                    reporter.event(shown, event);
                } else {
                    reporter.event(state, event);
                }
            }
            if screen.asks {
                screen.open.send_replace(ask::open(state));
            }
        });
    }

    fn tails(&mut self, tails: &BTreeMap<StepId, Tail>) {
        self.with(|screen| screen.reporter.tails(tails));
    }

    fn waits(&mut self, state: &State, now: &Stamp, step: &StepId, reason: &str) {
        self.with(|screen| screen.reporter.waits(state, now, step, reason));
    }

    fn tick(&mut self, state: &State, now: &Stamp) {
        self.with(|screen| {
            if screen.prompt.is_none() {
                screen.reporter.tick(state, now);
            }
        });
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
    folder: &Path,
    plan: Option<&str>,
) -> u8 {
    screen.finish();
    let now = SystemClock::new().now();
    let options = session.options(folder);
    // With the samples that are kept and no events yet.
    let with_tails = match &rested.state {
        Left::Rest(rest) if !rest.tails.is_empty() => Some(saga::with_tails(&rest.state, &rest.tails)),
        Left::Rest(_) | Left::Folded(_) => None,
    };
    let state: &State = with_tails.as_ref().unwrap_or(&rested.state);
    let text = screen.with(|screen| {
        let context = report::Context {
            folder,
            traces: &screen.traces,
            plan,
            options: &options,
            now,
            wake_ms: rested.wake_ms,
            systems: &screen.systems,
        };
        report::ending(state, asked, &session.look(), &context)
    });
    session.tell(&text);
    if session.json {
        let systems = screen.with(|screen| report::systems_json(&rested.state.run, &screen.systems));
        systems.iter().for_each(|line| session.say(&format!("{}\n", report::json_line(line))));
        let mut status = report::status_json(state, &now);
        let open = saga::standing(state) == Standing::Open;
        if let (Some(wake_ms), true) = (rested.wake_ms, open) {
            status["wake_at"] = report::in_ms(&now, wake_ms).into();
        }
        session.say(&format!("{}\n", report::json_line(&status)));
    }
    if asked == Asked::Apply && saga::reached(&rested.state).is_some() {
        // It has come as far as it was to.
        return exit::COMPLETE;
    }
    exit::code(&saga::standing(&rested.state), asked)
}

/// Follows a run that another process drives.
pub(super) async fn remote(
    session: &Session,
    client: &Client,
    bodies: &Bodies,
    folder: &Path,
    state: State,
    screen: &Shared,
) -> Result<(Rested, Option<RestLine>), Fail> {
    let mut observer = screen.clone();
    observer.begin(&state);
    let pid = client.pid();
    let mut followed = connected(session, client, bodies, state, screen).await?;
    loop {
        match followed {
            Followed::Rests(rested, rest) => return Ok((rested, Some(rest))),
            Followed::Gone(state) => followed = again(session, pid, folder, *state, screen).await?,
            Followed::Alone(rested) => return Ok((rested, None)),
        }
    }
}

/// How following a run over one connection ended.
enum Followed {
    /// The run rests.
    Rests(Rested, RestLine),
    /// The connection is gone, and this was seen.
    Gone(Box<State>),
    /// The run rests as its journal says; nobody drives it.
    Alone(Rested),
}

/// Follows a run over one connection.
async fn connected(
    session: &Session,
    client: &Client,
    bodies: &Bodies,
    mut state: State,
    screen: &Shared,
) -> Result<Followed, Fail> {
    let run: RunId = state.run.clone();
    let mut observer = screen.clone();
    let broken = |error: crate::serve::ClientError| {
        Fail::unexpected(error.to_string())
            .help(format!("`runner status {run}` shows how far it came; the run is not hurt by it"))
    };
    let from = state.seq + 1;
    let mut answers = match client.ask(Request::Follow { run: run.clone(), from }).await {
        Ok(answers) => answers,
        Err(ClientError::NotThere | ClientError::Gone { .. }) => {
            return Ok(Followed::Gone(Box::new(state)));
        }
        Err(error) => return Err(error.into()),
    };
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
    let mut asking = Asking::new(screen);
    loop {
        let answer = tokio::select! {
            answer = lines.recv() => answer.unwrap_or(Ok(None)),
            _ = tick.tick() => {
                observer.tick(&state, &clock.now());
                continue;
            }
            heard = asking.next(screen) => {
                let Heard::Answer(command) = heard else {
                    screen.finish();
                    session.note(&format!("No longer watching run `{run}`: its gate stays open."));
                    return Err(Fail::silent(exit::WAITING));
                };
                let by = super::session::asker();
                match client.ask_once(Request::Wish { run: run.clone(), command, by }).await {
                    Ok(Answer::Refused(refusal)) => screen.note(&refusal.to_string()),
                    Ok(_) => {}
                    Err(error) => screen.note(&error.to_string()),
                }
                continue;
            }
            code = stop.next() => {
                screen.finish();
                session.note(&format!(
                    "No longer watching run `{run}`: process {} goes on with it. `runner cancel {run}` would close it.",
                    client.pid()
                ));
                return Err(Fail::silent(code));
            }
        };
        let answer = match answer {
            Err(ClientError::Gone { .. }) => None,
            answer => answer.map_err(broken)?,
        };
        match answer {
            Some(Answer::Event(seq, record)) => {
                let event = decode(record.get().as_bytes(), bodies)
                    .map_err(|error| Fail::unexpected(format!("event {seq} cannot be read: {error}")))?;
                saga::fold(&mut state, &event).map_err(|error| Fail::unexpected(error.to_string()))?;
                observer.events(&state, &[event]);
            }
            Some(Answer::Rest(rest)) => {
                let rested = Rested { state: state.into(), wake_ms: rest.wake_ms, stopped: rest.stopped };
                return Ok(Followed::Rests(rested, rest));
            }
            Some(Answer::Error { message }) => return Err(Fail::unexpected(message)),
            Some(other) => return Err(Fail::unexpected(format!("unexpected answer {other:?}"))),
            None => return Ok(Followed::Gone(Box::new(state))),
        }
    }
}

/// Reads in the journal how a run went on whose driver is gone; follows it again where somebody has the journal, who
/// may be the same process: it lets go who does not read for a minute, as a stopped terminal.
async fn again(
    session: &Session,
    pid: u32,
    folder: &Path,
    mut state: State,
    screen: &Shared,
) -> Result<Followed, Fail> {
    let access = Access::open(session, folder, false).await?;
    if let Access::Remote { client, bodies } = &access {
        return connected(session, client, bodies, state, screen).await;
    }
    let events =
        history::events(access.history(), access.bodies(), &state.run, state.seq + 1, u64::MAX).await;
    access.close().await;
    let mut observer = screen.clone();
    for event in events? {
        saga::fold(&mut state, &event).map_err(|error| Fail::unexpected(error.to_string()))?;
        observer.events(&state, &[event]);
    }
    let run = &state.run;
    if saga::standing(&state) == Standing::Open {
        return Err(Fail::unexpected(format!("process {pid}, which drove run `{run}`, ended"))
            .help(format!("`runner status {run}` shows how far it came; `runner apply` goes on")));
    }
    Ok(Followed::Alone(Rested { state: state.into(), wake_ms: None, stopped: false }))
}
