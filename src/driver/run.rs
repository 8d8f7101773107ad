//! One run's driver: the single owner of its state. Messages in, decisions out.
//!
//! Keeps P1 and P2: whatever the core decides is appended, and only when that is on stable storage are things
//! started, people answered and observers told. A future that owns a side effect is spawned and reports back;
//! it is never dropped in the middle. After a failed append nothing more starts and the task ends with the error.

mod asks;
mod rests;
mod tails;
mod waits;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::clock::Clock;
use super::codec::{self, CodecError};
use super::holdings::Holdings;
use super::log::Log;
use super::render::Renderer;
use super::seal::Keys;
use super::secrets::Secrets;
use super::world::World;
use crate::journal::{Bodies, JournalError};
use crate::saga::{
    self, Ask, Command, Event, Illegal, Kept, Refusal, Reply, Session, Stamp, Standing, Start, State, What,
};
use crate::transport::Stop;
use asks::lost;
pub use tails::Tails;

/// Messages that are taken into one append at most.
const BATCH_MAX: usize = 256;

/// A folded state is kept beside the journal every so many events, so that opening a long run does not replay it.
const CHECKPOINT_EVERY: u64 = 4_096;

/// Timers stand still while the machine sleeps, and the wall clock of a window may be set: no wait is slept through
/// for longer than this without a look at the clocks.
const SLEEP_MAX_MS: u64 = 30_000;

/// How patiently a task waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Patience {
    /// Through soaks, windows and back-offs; a gate that nobody here can answer ends it.
    Timers,
    /// Through gates as well, because somebody is there to answer; a pause ends it.
    Gates,
    /// Through gates and pauses.
    Everything,
    /// Takes what is due and ends.
    Nothing,
}

/// What everybody who watches a run is told.
pub trait Observer: Send {
    /// The run is taken on in this state; everything that follows is told event by event.
    fn begin(&mut self, state: &State) {
        let _ = state;
    }
    /// These events are on stable storage; `state` is the state after them.
    fn events(&mut self, state: &State, events: &[Event]);
    /// The good samples of each soak that are not recorded yet, before every other word of this moment.
    fn tails(&mut self, tails: &BTreeMap<crate::plan::StepId, saga::Tail>) {
        let _ = tails;
    }
    /// A second has passed or so.
    fn tick(&mut self, state: &State, now: &saga::Stamp);
    /// The attempt of a step that is in flight, or that was cut off, waits for this: one line, free of secrets, recorded nowhere.
    fn waits(&mut self, state: &State, now: &saga::Stamp, step: &crate::plan::StepId, reason: &str) {
        let _ = (state, now, step, reason);
    }
    /// Whether it is told of seconds: a thousand runs that nobody looks at need not wake a thousand times.
    fn counts_seconds(&self) -> bool {
        true
    }
}

/// How a task ended.
#[derive(Debug, Clone)]
pub struct Rest {
    /// The state it left.
    pub state: State,
    /// How the run stands.
    pub standing: Standing,
    /// When there is something to do again, in milliseconds from then.
    pub wake_ms: Option<u64>,
    /// A person stopped the process.
    pub stopped: bool,
    /// Good samples that are no events yet and are kept beside the journal: see [`saga::with_tails`].
    pub tails: Tails,
}

/// Why a task ended without coming to rest. What is on disk is right; the run can be resumed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DriveError {
    /// The journal did not take an event. Nothing was started since.
    #[error("the journal did not take an event, so nothing more was started")]
    Journal(#[source] JournalError),
    /// An event could not be written.
    #[error("an event could not be written: {0}")]
    Codec(String),
    /// A bug: the core made an event that its own state does not admit.
    #[error("the state machine contradicts itself; please report it")]
    Illegal(#[source] Illegal),
    /// A file that the run recorded cannot be read.
    #[error("{0}")]
    Files(String),
    /// A bug: the driver panicked.
    #[error("the driver of the run panicked; please report it")]
    Panicked,
}

impl From<CodecError> for DriveError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Body(error) => DriveError::Journal(error),
            other => DriveError::Codec(other.to_string()),
        }
    }
}

/// Why a wish could not be granted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WishError {
    /// The run's state does not admit it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The task has ended, or ended before it could answer.
    #[error("the run came to rest before it could answer")]
    Gone,
}

/// Answers to wishes; sent when everything that they say is on stable storage, refusals included.
type Answers = Vec<(oneshot::Sender<Result<(), WishError>>, Result<(), WishError>)>;

/// Looks in flight. They may be dropped, and are with the task; actions are never here.
#[derive(Default)]
struct Looks(BTreeMap<Ask, JoinHandle<()>>);

impl Drop for Looks {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

/// A look at the state of a task.
type Peek = Box<dyn FnOnce(&State) + Send>;

enum Message {
    Reply { ask: Ask, reply: Reply },
    Wish { command: Command, by: String, answer: oneshot::Sender<Result<(), WishError>> },
    Peek(Peek),
    Waits { step: crate::plan::StepId, reason: String },
    NobodyAnswers,
    Stop,
}

/// Talks to a task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RunHandle {
    inbox: mpsc::UnboundedSender<Message>,
    /// The last event on stable storage.
    seq: watch::Receiver<u64>,
}

impl RunHandle {
    /// Asks for something; answered when the events it led to are on stable storage.
    ///
    /// # Errors
    /// [`WishError`] when it is refused or the task has ended.
    pub async fn wish(&self, command: Command, by: String) -> Result<(), WishError> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Wish { command, by, answer };
        self.inbox.send(message).map_err(|_| WishError::Gone)?;
        answered.await.map_err(|_| WishError::Gone)?
    }

    /// What `look` makes of the run's state, which is on stable storage event by event; nothing when the task has
    /// ended. The run waits meanwhile, so a long look copies what it needs and goes on elsewhere.
    pub async fn peek<T: Send + 'static>(
        &self,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let peek: Peek = Box::new(|state| drop(answer.send(look(state))));
        self.inbox.send(Message::Peek(peek)).ok()?;
        answered.await.ok()
    }

    /// Who was there to answer gates is so no more: a gate ends the task now, unless it waits for everything.
    pub fn nobody_answers(&self) {
        drop(self.inbox.send(Message::NobodyAnswers));
    }

    /// Starts nothing new; ends when every action in flight has ended or was stopped as it declares.
    pub fn stop(&self) {
        drop(self.inbox.send(Message::Stop));
    }

    /// Follows the last sequence number that is on stable storage; its sender is gone when the task has ended.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.seq.clone()
    }
}

/// What a task is made of.
pub struct Parts<W, L, C> {
    /// Who acts and looks.
    pub world: Arc<W>,
    /// Where events go.
    pub log: Arc<L>,
    /// What time it is.
    pub clock: Arc<C>,
    /// Large contents beside the journal.
    pub bodies: Bodies,
    /// What pre-images are sealed with.
    pub keys: Keys,
    /// The run's secrets.
    pub secrets: Secrets,
    /// Fires when a person stops the process.
    pub stop: Stop,
    /// Where local commands run, when the recorded folder is gone.
    pub cwd: Option<PathBuf>,
    /// How patiently it waits.
    pub patience: Patience,
    /// Good samples of soaks that a process before has kept beside the journal.
    pub tails: Tails,
    /// What the runs of the journal hold of exclusive resources.
    pub holdings: Arc<Holdings>,
    /// Who is told of events.
    pub observers: Vec<Box<dyn Observer>>,
}

/// The driver of one run.
pub struct RunTask<W, L, C> {
    state: State,
    session: Session,
    parts: Parts<W, L, C>,
    renderer: Renderer,
    sender: mpsc::UnboundedSender<Message>,
    inbox: mpsc::UnboundedReceiver<Message>,
    seq: watch::Sender<u64>,
    looks: Looks,
    /// When the last decision was made: waits count from there, however slow the journal is.
    decided: Instant,
    /// When to decide again.
    wake: Option<Instant>,
    /// When something lapses that waits for a person: nobody stays for that.
    lapse: Option<Instant>,
    /// Tells that another run has let go of something, which matters as long as this one waits for that.
    freed: watch::Receiver<()>,
    waits_for_run: bool,
    checkpointed: u64,
    /// The run was taken on, and nothing was started that would need that on record.
    unrecorded: Option<What>,
    /// What is kept beside the journal, and when it was written.
    kept: Kept,
    kept_at: Option<Stamp>,
    /// Good samples that are no events and that observers were told of.
    told: u64,
    definition_seq: Arc<crate::plan::recorded::Definition>,
}

impl<W: World, L: Log, C: Clock> RunTask<W, L, C> {
    /// A task for a run that is in this state on disk.
    ///
    /// # Errors
    /// [`DriveError::Files`] when a recorded file cannot be read.
    pub fn new(state: State, parts: Parts<W, L, C>) -> Result<(Self, RunHandle), DriveError> {
        let (sender, inbox) = mpsc::unbounded_channel();
        let (seq, follow) = watch::channel(state.seq);
        let mut renderer =
            Renderer::new(parts.secrets.clone(), parts.cwd.clone(), parts.stop.clone(), parts.bodies.clone());
        renderer.load_files(&state.definition).map_err(DriveError::Files)?;
        let mut parts = parts;
        for observer in &mut parts.observers {
            observer.begin(&state);
        }
        let handle = RunHandle { inbox: sender.clone(), seq: follow };
        let tails = std::mem::take(&mut parts.tails);
        let freed = parts.holdings.freed();
        let task = Self {
            checkpointed: state.seq,
            unrecorded: None,
            kept_at: None,
            told: 0,
            definition_seq: Arc::clone(&state.definition),
            kept: Kept::of(&state, &tails),
            state,
            session: Session { tails, ..Session::default() },
            parts,
            renderer,
            sender,
            inbox,
            seq,
            looks: Looks::default(),
            decided: Instant::now(),
            wake: None,
            lapse: None,
            freed,
            waits_for_run: false,
        };
        Ok((task, handle))
    }

    /// Drives the run until it rests. `first` are the wishes it begins with, in order.
    ///
    /// Not cancel-safe: drop it only with the process.
    ///
    /// # Errors
    /// [`DriveError`]; a refused first wish is `Ok(Err(refusal))` and has changed nothing.
    pub async fn drive(mut self, first: Vec<(Command, String)>) -> Result<Result<Rest, Refusal>, DriveError> {
        let mut received = Vec::new();
        let quiet = self.resumes_quietly(&first);
        for (command, by) in first {
            // Each sees what the one before led to; nothing is on disk yet, so a refusal changes nothing.
            let asked = if received.is_empty() {
                saga::command(&self.state, &command, &by)
            } else {
                let mut trial = self.state.clone();
                let mut session = Session { stopping: true, ..Session::default() };
                let before: Vec<What> = received.clone();
                drop(
                    saga::advance(&mut trial, &mut session, before, &self.parts.clock.moment())
                        .map_err(DriveError::Illegal)?,
                );
                saga::command(&trial, &command, &by)
            };
            match asked {
                Ok(events) => received.extend(events),
                Err(Refusal::Nothing { .. }) if !received.is_empty() => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        if quiet {
            self.unrecorded = received.pop();
        }
        self.step(vec![received], Vec::new()).await?;
        let seconds = self.parts.observers.iter().any(|observer| observer.counts_seconds());
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            if let Some((stopped, wake_ms)) = self.rest().await? {
                let standing = saga::standing(&self.state);
                let tails = self.kept.tails(&self.state);
                return Ok(Ok(Rest { state: self.state, standing, wake_ms, stopped, tails }));
            }
            let wake = [self.wake, self.lapse].into_iter().flatten().min();
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                message = self.inbox.recv() => {
                    // The task holds a sender itself, so there is always one.
                    let Some(message) = message else { continue };
                    self.take(message).await?;
                }
                () = sleep => self.step(Vec::new(), Vec::new()).await?,
                _ = self.freed.changed(), if self.waits_for_run => self.step(Vec::new(), Vec::new()).await?,
                _ = tick.tick(), if seconds => {
                    self.tick();
                }
            }
        }
    }

    /// Takes a message and everything queued behind it into one append: parallel steps share barriers.
    async fn take(&mut self, message: Message) -> Result<(), DriveError> {
        let mut messages = vec![message];
        while messages.len() < BATCH_MAX {
            match self.inbox.try_recv() {
                Ok(message) => messages.push(message),
                Err(_) => break,
            }
        }
        let mut answers = Answers::new();
        let mut peeks = Vec::new();
        let mut waits = BTreeMap::new();
        // Words alone lead to no decision.
        let decides = !messages.iter().all(|message| matches!(message, Message::Waits { .. }));
        let mut all = saga::Advance::default();
        for message in messages {
            let now = self.parts.clock.moment();
            let received = match message {
                Message::Reply { ask, reply } => {
                    self.looks.0.remove(&ask);
                    if matches!(ask, Ask::Act { .. }) {
                        waits.remove(ask.step());
                    }
                    let unsettled = self.unsettled(&ask, &reply);
                    let received = saga::receive(&self.state, &mut self.session, &ask, reply, &now);
                    // What comes of it is not news by itself.
                    if let (Some(reason), true) = (unsettled, received.is_empty()) {
                        waits.insert(ask.step().clone(), reason);
                    }
                    received
                }
                Message::Peek(peek) => {
                    peeks.push(peek);
                    Vec::new()
                }
                Message::Waits { step, reason } => {
                    waits.insert(step, reason);
                    continue;
                }
                Message::NobodyAnswers => {
                    if self.parts.patience == Patience::Gates {
                        self.parts.patience = Patience::Timers;
                    }
                    Vec::new()
                }
                Message::Stop => {
                    self.session.stopping = true;
                    saga::unsaved(&self.state, &mut self.session)
                }
                Message::Wish { command, by, answer } => {
                    if matches!(command, saga::Command::Approve { .. }) {
                        // A request that ran out while the machine slept is over, though no timer has said so yet.
                        self.advance(Vec::new(), &now, &mut all)?;
                    }
                    match saga::command(&self.state, &command, &by) {
                        Ok(events) => {
                            answers.push((answer, Ok(())));
                            events
                        }
                        Err(refusal) => {
                            answers.push((answer, Err(refusal.into())));
                            Vec::new()
                        }
                    }
                }
            };
            self.advance(received, &now, &mut all)?;
        }
        if decides {
            self.commit(all, answers).await?;
        }
        self.tell_waits(&waits);
        peeks.into_iter().for_each(|peek| peek(&self.state));
        Ok(())
    }

    async fn step(&mut self, received: Vec<Vec<What>>, answers: Answers) -> Result<(), DriveError> {
        let mut all = saga::Advance::default();
        let now = self.parts.clock.moment();
        for received in received {
            self.advance(received, &now, &mut all)?;
        }
        self.advance(Vec::new(), &now, &mut all)?;
        self.commit(all, answers).await
    }

    fn advance(
        &mut self,
        received: Vec<What>,
        now: &saga::Moment,
        all: &mut saga::Advance,
    ) -> Result<(), DriveError> {
        let holdings = Arc::clone(&self.parts.holdings);
        let deciding = holdings.deciding();
        self.freed.mark_unchanged();
        self.session.elsewhere = deciding.elsewhere(&self.state.run);
        self.decide(received, now, all)?;
        deciding.decided(&self.state);
        Ok(())
    }

    fn decide(
        &mut self,
        received: Vec<What>,
        now: &saga::Moment,
        all: &mut saga::Advance,
    ) -> Result<(), DriveError> {
        // Nothing new starts from the moment on in which a person stops the process.
        self.session.stopping |= self.parts.stop.is_fired();
        self.decided = Instant::now();
        let mut received = received;
        if self.unrecorded.is_some() {
            let (mut state, mut session) = (self.state.clone(), self.session.clone());
            let more = saga::advance(&mut state, &mut session, received.clone(), now)
                .map_err(DriveError::Illegal)?;
            if more.only_watches() {
                (self.state, self.session) = (state, session);
                all.append.extend(more.append);
                all.start.extend(more.start);
                (all.wake_ms, all.waits_for_run) = (more.wake_ms, more.waits_for_run);
                return Ok(());
            }
            // Something begins: from here on it is on record who does it.
            received.splice(0..0, self.unrecorded.take());
        }
        let more =
            saga::advance(&mut self.state, &mut self.session, received, now).map_err(DriveError::Illegal)?;
        all.append.extend(more.append);
        all.start.extend(more.start);
        (all.wake_ms, all.lapse_ms) = (more.wake_ms, more.lapse_ms);
        all.waits_for_run = more.waits_for_run;
        Ok(())
    }

    /// The barrier: events first, everything else after.
    async fn commit(&mut self, all: saga::Advance, answers: Answers) -> Result<(), DriveError> {
        let saga::Advance { append, start, wake_ms, lapse_ms, waits_for_run } = all;
        self.waits_for_run = waits_for_run;
        if let Some(first) = append.first() {
            let mut bodies = Vec::with_capacity(append.len());
            for event in &append {
                bodies.push(codec::encode(event, &self.parts.bodies)?);
            }
            let run = self.state.run.clone();
            // What is about to start is in flight already for the core.
            let alone = self.session.in_flight.len() <= start.len();
            let log = &self.parts.log;
            let appended = match alone {
                true => log.append_alone(run, first.seq, bodies),
                false => log.append(run, first.seq, bodies),
            };
            appended.await.map_err(DriveError::Journal)?;
            self.parts.holdings.settle(&self.state);
            if !Arc::ptr_eq(&self.definition_seq, &self.state.definition) {
                self.definition_seq = Arc::clone(&self.state.definition);
                self.renderer.load_files(&self.state.definition).map_err(DriveError::Files)?;
            }
            if self.state.seq - self.checkpointed >= CHECKPOINT_EVERY {
                self.checkpoint().await?;
            }
        }
        self.keep(false).await?;
        if !answers.is_empty() {
            self.parts.log.settle().await.map_err(DriveError::Journal)?;
        }
        for (to, answer) in answers {
            drop(to.send(answer));
        }
        let in_ms = |ms: u64| self.decided + Duration::from_millis(ms.min(SLEEP_MAX_MS));
        (self.wake, self.lapse) = (wake_ms.map(in_ms), lapse_ms.map(in_ms));
        let idle = start.is_empty() && self.session.in_flight.is_empty();
        if let Some(ms) = wake_ms.filter(|_| idle)
            && self.parts.clock.leap(ms)
        {
            self.wake = Some(self.decided);
        }
        let starts = !start.is_empty();
        for start in start {
            self.start(start);
        }
        if append.is_empty() {
            self.tell_tails();
            return Ok(());
        }
        if starts {
            // What was started gets going first, and people are told while it runs.
            tokio::task::yield_now().await;
        }
        self.told = tails::count(&self.session.tails);
        for observer in &mut self.parts.observers {
            observer.tails(&self.session.tails);
            observer.events(&self.state, &append);
        }
        self.seq.send_replace(self.state.seq);
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<(), DriveError> {
        let body = serde_json::to_vec(&self.state).map_err(|error| DriveError::Codec(error.to_string()))?;
        self.checkpointed = self.state.seq;
        let (run, seq) = (self.state.run.clone(), self.state.seq);
        // Too large a state is no error: a checkpoint is for speed and never the truth.
        match self.parts.log.checkpoint(run, seq, body).await {
            Ok(()) | Err(JournalError::TooLarge { .. }) => Ok(()),
            Err(error) => Err(DriveError::Journal(error)),
        }
    }

    fn start(&mut self, start: Start) {
        let Start { ask, after_ms } = start;
        if self.parts.patience == Patience::Nothing && after_ms > 0 && ask.is_long() {
            // Not waited for: it is due later, and whoever comes then asks again.
            self.session.in_flight.remove(&ask);
            return;
        }
        let work = self.work(&ask);
        let (sender, clock) = (self.sender.clone(), Arc::clone(&self.parts.clock));
        let task = {
            let ask = ask.clone();
            async move {
                if after_ms > 0 {
                    pause(&*clock, after_ms).await;
                }
                let reply = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| lost(&ask));
                drop(sender.send(Message::Reply { ask, reply }));
            }
        };
        let handle = tokio::spawn(task);
        if !matches!(ask, Ask::Act { .. }) {
            self.looks.0.insert(ask, handle);
        }
    }
}

/// How long a wait really takes that a simulated clock leaps over.
const LEPT: Duration = Duration::from_millis(50);

/// Waits by the clock that goes on while the machine sleeps.
async fn pause<C: Clock>(clock: &C, for_ms: u64) {
    let from = clock.now();
    if clock.leap(for_ms) {
        // What a simulated house does by itself takes real time.
        tokio::time::sleep(LEPT).await;
        return;
    }
    loop {
        let left = for_ms.saturating_sub(clock.now().since_ms(&from));
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left.min(SLEEP_MAX_MS))).await;
    }
}
