//! The holder: the one process that has the journal, and every run it was given.
//!
//! Runs are submitted to it, from this process or through the control socket, and each is driven by a task of
//! its own; they share the journal's barriers. It stays until every run it was given rests.

mod serving;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, OnceCell, watch};

use super::clock::{Clock, SystemClock};
use super::history::{self, HistoryError};
use super::holdings::Holdings;
use super::record::{RecordError, record};
use super::run::{DriveError, Observer, Parts, Patience, Rest, RunHandle, RunTask, WishError};
use super::seal::Keys;
use super::secrets::Secrets;
use super::world::{House, World};
use super::{codec, log::Log};
use crate::journal::{Bodies, Handle};
use crate::plan::RunId;
use crate::plan::recorded::Definition;
use crate::saga::{self, Command, Event, Refusal, Stamp, State, Terms, What};
use crate::transport::{Stop, StopSender};

pub use serving::Unresumed;

/// A run handed to the holder. Holds the values of secrets, so it is never written anywhere.
#[derive(Clone, Serialize, Deserialize)]
pub struct Submission {
    /// Which run.
    pub target: Target,
    /// The terms it is taken on under.
    pub terms: Terms,
    /// Wishes it begins with, after it was taken on.
    pub wishes: Vec<Command>,
    /// The values of its secrets, resolved by who submits.
    pub secrets: BTreeMap<String, String>,
    /// How patiently it is driven.
    pub patience: Patience,
    /// Where local commands run instead of the recorded folder.
    pub cwd: Option<PathBuf>,
    /// Who submits.
    pub by: String,
    /// The state of an existing run, when whoever submits has just read it here; read again when it is not the
    /// newest.
    #[serde(skip)]
    pub known: Option<Box<State>>,
    /// What whoever begins a run knew of the plan's runs; nothing where it does not matter.
    #[serde(default)]
    pub looked: Option<Looked>,
}

/// What is known of the runs of a plan file by whoever begins one of it. Another one may have been begun since, and be over
/// already: then that is the run that is meant, and nothing runs twice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Looked {
    /// The newest one; none when there is none.
    pub newest: Option<RunId>,
}

/// Which run is submitted.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A new run of this definition.
    New(Arc<Definition>),
    /// A run that is in the journal.
    Existing(RunId),
}

/// What became of a submission.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The run.
    pub run: RunId,
    /// It was being driven already: nothing of the submission was used.
    pub attached: bool,
}

/// Why a submission was not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The run's state does not admit it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The run is being driven and the submission would change it.
    #[error("run `{run}` is running already, and this would change it: stop it first, then apply again")]
    Running {
        /// The run.
        run: RunId,
    },
    /// There is an open run of this plan file.
    #[error("run `{run}` of this plan file is still open")]
    Open {
        /// The run.
        run: RunId,
    },
    /// The process is being stopped.
    #[error("the process that holds the journal is stopping")]
    Stopping,
    /// Secrets that it needs are missing where they are looked up, in the process that holds the journal.
    #[error("{0}")]
    Secrets(String),
    /// It cannot be read back.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It cannot be driven.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

impl From<RecordError> for SubmitError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::History(error) => error.into(),
            RecordError::Drive(error) => error.into(),
        }
    }
}

/// How a run's task ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It rests.
    Rest(Arc<Rest>),
    /// Its first wishes were refused; nothing was changed.
    Refused(Refusal),
    /// It could not go on; what is on disk is right.
    Failed(DriveError),
}

/// Ended runs whose end is still told to those who ask late.
const ENDED_MAX: usize = 32;

struct Active {
    handle: RunHandle,
    definition: Arc<Definition>,
    ended: watch::Receiver<Option<Arc<Ended>>>,
}

impl Active {
    fn is_driven(&self) -> bool {
        self.ended.borrow().is_none()
    }

    /// It came to an end here, not only to a rest.
    fn is_over(&self) -> bool {
        matches!(self.ended.borrow().as_deref(), Some(Ended::Rest(rest)) if rest.state.end.is_some())
    }
}

/// Holds the journal and drives runs. Shared by the command line and the control socket.
pub struct Holder {
    log: Arc<Handle>,
    bodies: Bodies,
    keys: Keys,
    world: Arc<House>,
    clock: Arc<SystemClock>,
    token: u64,
    stop: Stop,
    stopper: StopSender,
    active: Mutex<BTreeMap<RunId, Active>>,
    stopping: std::sync::atomic::AtomicBool,
    /// The exit code that goes with what stopped the process; 0: nothing that it is known of.
    stopped_by: std::sync::atomic::AtomicU8,
    /// What its runs hold of exclusive resources; read from the journal before one that has some is driven.
    holdings: Arc<Holdings>,
    holdings_read: OnceCell<()>,
    /// Makes an observer for every run that is taken on; there is one when runs live here whoever waits for them.
    serving: Option<serving::Watchers>,
}

impl Holder {
    /// A holder of this journal, which seals with these keys.
    pub fn new(
        log: Handle,
        bodies: Bodies,
        keys: Keys,
        world: House,
        clock: SystemClock,
        token: u64,
    ) -> Self {
        let (stopper, stop) = Stop::channel();
        Self {
            log: Arc::new(log),
            bodies,
            keys,
            world: Arc::new(world),
            clock: Arc::new(clock),
            token,
            stop,
            stopper,
            active: Mutex::new(BTreeMap::new()),
            stopping: std::sync::atomic::AtomicBool::new(false),
            stopped_by: std::sync::atomic::AtomicU8::new(0),
            holdings: Arc::new(Holdings::default()),
            holdings_read: OnceCell::new(),
            serving: None,
        }
    }

    /// The journal.
    pub fn history(&self) -> &Handle {
        &self.log
    }

    /// Large contents beside the journal.
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// The present moment.
    pub fn now(&self) -> Stamp {
        self.clock.now()
    }

    /// Takes a run on, or attaches to it when it is being driven.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was changed then, but for a new run whose number may be used up.
    pub async fn submit(
        &self,
        mut submission: Submission,
        mut observers: Vec<Box<dyn Observer>>,
    ) -> Result<Submitted, SubmitError> {
        // Held to the end: of two submissions of one plan file the second sees the first one's run.
        let mut active = self.active.lock().await;
        if self.stopping.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(SubmitError::Stopping);
        }
        let mut driven = active.iter().filter(|(_, found)| found.is_driven());
        let running = match &submission.target {
            Target::Existing(run) => driven.find(|(driven, _)| *driven == run).map(|(run, _)| (run, true)),
            // Two that begin the same plan at once mean the same run.
            Target::New(new) => driven
                .find(|(_, found)| found.definition.path == new.path)
                .map(|(run, found)| (run, *found.definition == **new)),
        };
        if let Some((run, same)) = running {
            let run = run.clone();
            return if same && submission.wishes.is_empty() {
                Ok(Submitted { run, attached: true })
            } else {
                Err(SubmitError::Running { run })
            };
        }
        let state = match submission.target {
            Target::Existing(run) => match submission.known {
                Some(state) if state.run == run && self.is_newest(&state).await? => *state,
                _ => history::state(&*self.log, &self.bodies, &run).await?,
            },
            Target::New(definition) => {
                if let Some(looked) = submission.looked.filter(|_| submission.wishes.is_empty())
                    && let Some(run) = history::newest_of(&*self.log, &self.bodies, &definition.path).await?
                    && looked.newest.as_ref() != Some(&run)
                    && active
                        .get(&run)
                        .is_some_and(|found| *found.definition == *definition && found.is_over())
                {
                    return Ok(Submitted { run, attached: true });
                }
                self.settle_in(&definition, &mut submission.secrets, &submission.terms)?;
                self.open(definition, &submission.by).await?
            }
        };
        let amended = submission.wishes.iter().find_map(|wish| match wish {
            Command::Amend { definition, .. } => Some(&**definition),
            _ => None,
        });
        let definition = amended.unwrap_or(&state.definition);
        if !definition.resources.is_empty() {
            self.holdings_read.get_or_try_init(|| self.read_holdings()).await?;
        }
        if let Some(watchers) = &self.serving {
            self.settle_in(definition, &mut submission.secrets, &submission.terms)?;
            submission.patience = Patience::Everything;
            observers.push(watchers.watch());
        }
        let run = state.run.clone();
        let tails = history::tails(&*self.log, &state).await;
        let definition = Arc::clone(&state.definition);
        let parts = Parts {
            world: Arc::clone(&self.world),
            log: Arc::clone(&self.log),
            clock: Arc::clone(&self.clock),
            bodies: self.bodies.clone(),
            keys: self.keys.clone(),
            secrets: Secrets::new(submission.secrets),
            stop: self.stop.clone(),
            cwd: submission.cwd,
            patience: submission.patience,
            tails,
            holdings: Arc::clone(&self.holdings),
            observers,
        };
        let (task, handle) = RunTask::new(state, parts)?;
        let by = submission.by;
        let resume = Command::Resume { token: self.token, terms: submission.terms };
        let first = std::iter::once(resume).chain(submission.wishes).map(|wish| (wish, by.clone())).collect();
        let (sender, ended) = watch::channel(None);
        tokio::spawn(async move {
            let end = match AssertUnwindSafe(task.drive(first)).catch_unwind().await {
                Ok(Ok(Ok(rest))) => Ended::Rest(Arc::new(rest)),
                Ok(Ok(Err(refusal))) => Ended::Refused(refusal),
                Ok(Err(error)) => Ended::Failed(error),
                // Whoever waits for the run, and for all of them, must hear of it.
                Err(_) => Ended::Failed(DriveError::Panicked),
            };
            sender.send_replace(Some(Arc::new(end)));
        });
        if active.values().filter(|found| !found.is_driven()).count() > ENDED_MAX {
            active.retain(|_, found| found.is_driven());
        }
        active.insert(run.clone(), Active { handle, definition, ended });
        Ok(Submitted { run, attached: false })
    }

    /// Reads what the runs of the journal hold of exclusive resources. Before this no run that has some is driven here,
    /// so that each is as the journal has it.
    async fn read_holdings(&self) -> Result<(), HistoryError> {
        let heads = self.log.runs().await.map_err(HistoryError::Journal)?;
        for run in heads.into_iter().filter(|head| head.last_seq > 0).map(|head| head.run) {
            match history::state(&*self.log, &self.bodies, &run).await {
                Ok(state) => self.holdings.settle(&state),
                // Nobody can drive it, nor end it: others would wait for ever.
                Err(error) => tracing::warn!(%run, %error, "what this run holds is not known"),
            }
        }
        Ok(())
    }

    /// Whether nothing has happened since.
    async fn is_newest(&self, state: &State) -> Result<bool, HistoryError> {
        let heads = self.log.runs().await.map_err(HistoryError::Journal)?;
        Ok(heads.iter().any(|head| head.run == state.run && head.last_seq == state.seq))
    }

    /// Begins a new run; it is on stable storage when this returns.
    async fn open(&self, definition: Arc<Definition>, by: &str) -> Result<State, SubmitError> {
        if let Some(run) = history::newest_of(&*self.log, &self.bodies, &definition.path).await? {
            let last = history::state(&*self.log, &self.bodies, &run).await?;
            if last.end.is_none() {
                return Err(SubmitError::Open { run });
            }
        }
        // A run that could not be driven is not begun.
        for (path, body) in &definition.files {
            let missing = |error| DriveError::Files(format!("the recorded `{path}`: {error}"));
            self.bodies.get(body).map_err(missing)?;
        }
        let plan = definition.name.clone();
        let run = self.log.new_run(plan).await.map_err(HistoryError::Journal)?;
        let what = What::RunOpened { run: run.clone(), definition, by: by.to_owned() };
        let event = Event { seq: 1, at: self.clock.now(), what };
        let bytes = codec::encode(&event, &self.bodies).map_err(DriveError::from)?;
        Log::append(&*self.log, run.clone(), 1, vec![bytes]).await.map_err(HistoryError::Journal)?;
        saga::open(&event).map_err(|source| HistoryError::Illegal { run, source: Box::new(source) }.into())
    }

    /// The handle of a run that is being driven.
    pub async fn handle(&self, run: &RunId) -> Option<RunHandle> {
        let active = self.active.lock().await;
        active.get(run).filter(|run| run.is_driven()).map(|run| run.handle.clone())
    }

    /// What `look` makes of the present state of a run that is being driven; see [`RunHandle::peek`].
    pub async fn peek<T: Send + 'static>(
        &self,
        run: &RunId,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Option<T> {
        self.handle(run).await?.peek(look).await
    }

    /// Asks a run that is being driven for something.
    ///
    /// # Errors
    /// [`WishError::Gone`] when it is not being driven.
    pub async fn wish(&self, run: &RunId, command: Command, by: String) -> Result<(), WishError> {
        let handle = self.handle(run).await.ok_or(WishError::Gone)?;
        handle.wish(command, by).await
    }

    /// Says what became of a step of a run that is not being driven.
    ///
    /// # Errors
    /// [`SubmitError`] when it is refused or cannot be stored.
    pub async fn record(&self, run: &RunId, command: &Command, by: &str) -> Result<State, SubmitError> {
        let active = self.active.lock().await;
        if active.get(run).is_some_and(Active::is_driven) {
            return Err(SubmitError::Running { run: run.clone() });
        }
        let mut state = history::state(&*self.log, &self.bodies, run).await?;
        let events = saga::command(&state, command, by)?;
        record(&self.log, &self.bodies, &mut state, events).await?;
        self.holdings.settle(&state);
        drop(active);
        Ok(state)
    }

    /// How a run's task ended; waits for it. `None`: it was never given to this holder.
    pub async fn ended(&self, run: &RunId) -> Option<Arc<Ended>> {
        let mut ended = self.active.lock().await.get(run)?.ended.clone();
        let found = ended.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }

    /// The runs that are being driven.
    pub async fn running(&self) -> Vec<RunId> {
        let active = self.active.lock().await;
        active.iter().filter(|(_, run)| run.is_driven()).map(|(run, _)| run.clone()).collect()
    }

    /// Starts nothing new anywhere; actions in flight finish or are stopped as they declare.
    pub async fn stop(&self) {
        self.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
        self.stopper.fire();
        for run in self.active.lock().await.values() {
            run.handle.stop();
        }
    }

    /// The same, and remembers the exit code that goes with the signal, for those who follow a run from elsewhere.
    pub async fn stop_by(&self, code: u8) {
        self.stopped_by.store(code, std::sync::atomic::Ordering::SeqCst);
        self.stop().await;
    }

    /// The exit code that goes with what stopped the process, if a signal did.
    pub fn stopped_by(&self) -> Option<u8> {
        Some(self.stopped_by.load(std::sync::atomic::Ordering::SeqCst)).filter(|&code| code != 0)
    }

    /// Waits until every run that was given rests, then takes no more.
    pub async fn rest(&self) {
        loop {
            for run in self.running().await {
                self.ended(&run).await;
            }
            let active = self.active.lock().await;
            if !active.values().any(Active::is_driven) {
                // No submission can come between: it needs the same lock, and sees this.
                self.stopping.store(true, std::sync::atomic::Ordering::SeqCst);
                return;
            }
        }
    }

    /// Closes connections and the journal. Nothing may be driven any more.
    pub async fn close(&self) {
        self.world.close().await;
        drop(self.log.close().await);
    }
}
