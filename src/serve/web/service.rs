//! What every answer over HTTP is made from: the holder, the board, and the limits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use super::board::{Board, Entry};
use super::guard::Guard;
use super::metrics::{self, Measures};
use super::pages::Templates;
use crate::driver::history::{self, History};
use crate::driver::{HistoryError, Holder, Patience, Submission, SubmitError, Tails, Target, Unresumed};
use crate::journal::JournalError;
use crate::plan::recorded::Definition;
use crate::plan::{RunId, StepId};
use crate::report::{self, Story, WayBack};
use crate::saga::{Command, Refusal, State, Terms};

/// Connections that may follow at once; one more is told so.
pub(super) const FOLLOWERS_MAX: usize = 256;

/// Requests that are answered at once; more wait their turn, and not for long.
pub(super) const REQUESTS_MAX: usize = 32;

/// Sign-ins that are judged at once; they have no other place.
const LOGINS_MAX: usize = 4;

/// How long the journal may take to say that it is there.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A plan file that a run can be started from.
#[derive(Debug, Clone)]
pub struct PlanFile {
    /// Its name in the folder of plans, without `.toml`.
    pub file: String,
    /// Its absolute path, links resolved.
    pub path: String,
    /// What it is about.
    pub description: String,
}

/// The folder of plans.
pub trait Plans: Send + Sync {
    /// The plan files that there are.
    fn list(&self) -> Vec<PlanFile>;

    /// The plan of this name with these variables, and the contents of the files that it names.
    ///
    /// # Errors
    /// All that is wrong with it, in words.
    fn load(&self, file: &str, vars: &[(String, String)]) -> Result<(Arc<Definition>, Vec<Vec<u8>>), String>;
}

/// Everything that is known.
pub(super) struct Service {
    pub(super) holder: Arc<Holder>,
    pub(super) board: Arc<Board>,
    pub(super) guard: Guard,
    pub(super) templates: Templates,
    pub(super) followers: Arc<Semaphore>,
    pub(super) requests: Arc<Semaphore>,
    pub(super) logins: Arc<Semaphore>,
    plans: Option<Box<dyn Plans>>,
    folder: PathBuf,
    ready: AtomicBool,
    unresumed: Mutex<BTreeMap<RunId, String>>,
    closing: watch::Sender<bool>,
}

/// Why something was not done, for whoever asked.
#[derive(Debug)]
pub(super) enum Problem {
    /// There is no such thing.
    NotFound(String),
    /// What was asked makes no sense.
    Wrong(String),
    /// The run's state does not admit it; nothing was changed.
    Refused(String),
    /// It cannot be done now.
    Busy(String),
    /// It went wrong.
    Failed(String),
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        match &error {
            HistoryError::NoSuchRun { near: Some(near), .. } => {
                Problem::NotFound(format!("{error}; did you mean `{near}`?"))
            }
            HistoryError::NoSuchRun { .. } => Problem::NotFound(error.to_string()),
            _ => Problem::Failed(chain(&error)),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refusal @ Refusal::NoSuchStep { .. }) => {
                Problem::NotFound(refusal.to_string())
            }
            SubmitError::Refused(refusal) => Problem::Refused(refusal.to_string()),
            SubmitError::Secrets(_) | SubmitError::Open { .. } | SubmitError::Running { .. } => {
                Problem::Refused(error.to_string())
            }
            SubmitError::Stopping => Problem::Busy(error.to_string()),
            SubmitError::History(error) => error.into(),
            SubmitError::Drive(_) => Problem::Failed(chain(&error)),
        }
    }
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    report::text_line(&text)
}

impl Service {
    /// A service over this holder, which writes on this board.
    pub(super) fn new(
        holder: Arc<Holder>,
        board: Arc<Board>,
        guard: Guard,
        plans: Option<Box<dyn Plans>>,
        folder: PathBuf,
    ) -> Self {
        Self {
            holder,
            board,
            guard,
            templates: Templates::new(),
            followers: Arc::new(Semaphore::new(FOLLOWERS_MAX)),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            logins: Arc::new(Semaphore::new(LOGINS_MAX)),
            plans,
            folder,
            ready: AtomicBool::new(false),
            unresumed: Mutex::default(),
            closing: watch::channel(false).0,
        }
    }

    /// Every open run was taken on, but for these.
    pub(super) fn resumed(&self, left: &[Unresumed]) {
        let mut unresumed = self.unresumed.lock().unwrap_or_else(PoisonError::into_inner);
        *unresumed = left.iter().map(|each| (each.run.clone(), chain(&each.error))).collect();
        self.ready.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// Why an open run was not taken on at the start.
    pub(super) fn unresumed(&self, run: &RunId) -> Option<String> {
        self.unresumed.lock().unwrap_or_else(PoisonError::into_inner).get(run).cloned()
    }

    /// Whether the journal answers.
    pub(super) async fn is_alive(&self) -> bool {
        matches!(self.settled().await, Some(Ok(())))
    }

    /// What the journal says of itself; nothing when it says nothing in time.
    pub(super) async fn settled(&self) -> Option<Result<(), JournalError>> {
        tokio::time::timeout(ALIVE_TIMEOUT, self.holder.history().settle()).await.ok()
    }

    /// Lets those who follow go.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Becomes true when the process ends.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// The plan files that a run can be started from.
    pub(super) fn plans(&self) -> Vec<PlanFile> {
        self.plans.as_ref().map_or_else(Vec::new, |plans| plans.list())
    }

    /// All runs, the newest first.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>, Problem> {
        let heads = History::runs(self.holder.history()).await?;
        let there: BTreeSet<RunId> = heads.iter().map(|head| head.run.clone()).collect();
        self.board.keep(&there);
        let driven: BTreeSet<RunId> = self.holder.running().await.into_iter().collect();
        let mut entries = Vec::with_capacity(heads.len());
        for head in heads.into_iter().rev().filter(|head| head.last_seq > 0) {
            // Who drives a run writes on the board after each append.
            let least = if driven.contains(&head.run) { 0 } else { head.last_seq };
            let entry = match self.board.entry(&head.run, least) {
                Some(entry) => entry,
                None => {
                    let state =
                        history::state(self.holder.history(), self.holder.bodies(), &head.run).await?;
                    let entry = Entry::of(&state, None);
                    self.board.put(&head.run, entry.clone());
                    entry
                }
            };
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The run that is named: an id, or a plan's name for its newest.
    pub(super) async fn find(&self, name: &str) -> Result<RunId, Problem> {
        Ok(history::find(self.holder.history(), Some(name)).await?)
    }

    /// A run's state, and the good samples that are no events yet.
    pub(super) async fn state(&self, run: &RunId) -> Result<(State, Tails), Problem> {
        let state = history::state(self.holder.history(), self.holder.bodies(), run).await?;
        let tails = match self.board.tails(run) {
            Some(tails) => tails,
            None => history::tails(self.holder.history(), &state).await,
        };
        Ok((state, tails))
    }

    /// Everything that happened in a run, and the good samples that are no events yet.
    pub(super) async fn story(&self, run: &RunId) -> Result<(Story, Tails), Problem> {
        let events = history::events(self.holder.history(), self.holder.bodies(), run, 1, u64::MAX).await?;
        let story = Story::of(&events).map_err(|error| Problem::Failed(error.to_string()))?;
        let story = story.ok_or_else(|| Problem::NotFound(format!("there is no run `{run}`")))?;
        let tails = match self.board.tails(run) {
            Some(tails) => tails,
            None => history::tails(self.holder.history(), &story.state).await,
        };
        Ok((story, tails))
    }

    /// What a rollback of a run would do now, and why it would be refused: secrets, keys and pre-images are looked at.
    pub(super) fn way_back(&self, state: &State, to: Option<&StepId>) -> Value {
        let refused = self.holder.refusals_of_rollback(state, to);
        self.way_back_unless(state, to, &refused)
    }

    /// The same, with these reasons against it.
    pub(super) fn way_back_unless(&self, state: &State, to: Option<&StepId>, refused: &[String]) -> Value {
        report::way_back_json(&WayBack { state, to, refused })
    }

    /// Has a run do what a person asks; `Some(why)`: there was nothing to do.
    pub(super) async fn say(
        &self,
        run: &RunId,
        command: Command,
        by: String,
    ) -> Result<Option<String>, Problem> {
        if let Command::Rollback { to, .. } = &command {
            let (state, _) = self.state(run).await?;
            let refused = self.holder.refusals_of_rollback(&state, to.as_ref());
            if !refused.is_empty() {
                return Err(Problem::Refused(format!("nothing was undone: {}", refused.join("; "))));
            }
        }
        let said = self.holder.say(run, command, by).await;
        self.board.touch(run);
        match said {
            Ok(()) => Ok(None),
            Err(SubmitError::Refused(Refusal::Nothing { why })) => Ok(Some(why)),
            Err(error) => Err(error.into()),
        }
    }

    /// Goes on with a run that halted or rests.
    pub(super) async fn go_on(&self, run: &RunId, by: &str) -> Result<(), Problem> {
        let gone_on = self.holder.go_on(run, by).await;
        self.board.touch(run);
        if gone_on.is_ok() {
            self.unresumed.lock().unwrap_or_else(PoisonError::into_inner).remove(run);
        }
        Ok(gone_on?)
    }

    /// Begins a run of a plan in the folder of plans.
    pub(super) async fn start(
        &self,
        file: &str,
        vars: &[(String, String)],
        by: String,
    ) -> Result<RunId, Problem> {
        let plans = self.plans.as_ref();
        let plans = plans.ok_or_else(|| Problem::NotFound("there is no folder of plans here".to_owned()))?;
        let (definition, contents) = plans.load(file, vars).map_err(Problem::Wrong)?;
        for content in contents {
            self.holder.bodies().put(&content).map_err(|error| Problem::Failed(chain(&error)))?;
        }
        let submission = Submission {
            target: Target::New(definition),
            terms: Terms { forward: true, fresh_budget: true, assume_yes: false },
            wishes: Vec::new(),
            secrets: BTreeMap::new(),
            patience: Patience::Everything,
            cwd: None,
            by,
            known: None,
            looked: None,
        };
        let submitted = self.holder.submit(submission, Vec::new()).await?;
        if submitted.attached {
            return Err(SubmitError::Open { run: submitted.run }.into());
        }
        Ok(submitted.run)
    }

    /// The log of an attempt, the end of it when it is long: only what an event of the run names is read.
    pub(super) fn log(&self, story: &Story, step: &StepId, place: usize) -> Result<Vec<u8>, Problem> {
        use std::io::{Read, Seek, SeekFrom};
        const LOG_MAX: u64 = 1024 * 1024;
        let attempt = story.attempts.get(step).and_then(|attempts| attempts.get(place));
        let log = attempt.and_then(|attempt| attempt.trace.log.as_deref());
        let log = log.ok_or_else(|| Problem::NotFound("this attempt left no log".to_owned()))?;
        let gone = |error: std::io::Error| Problem::NotFound(format!("the log cannot be read: {error}"));
        let mut file = std::fs::File::open(self.folder.join(log)).map_err(gone)?;
        let long = file.metadata().map_err(gone)?.len();
        file.seek(SeekFrom::Start(long.saturating_sub(LOG_MAX))).map_err(gone)?;
        let mut bytes = Vec::new();
        file.take(LOG_MAX).read_to_end(&mut bytes).map_err(gone)?;
        Ok(bytes)
    }

    /// The metrics.
    pub(super) async fn metrics(&self) -> Result<String, Problem> {
        let entries = self.entries().await?;
        Ok(metrics::text(&Measures {
            entries: &entries,
            counts: &self.board.counts(),
            append: &self.holder.history().latency(),
            driven: self.holder.running().await.len(),
            followers: FOLLOWERS_MAX - self.followers.available_permits(),
            unresumed: self.unresumed.lock().unwrap_or_else(PoisonError::into_inner).len(),
            ready: self.is_ready(),
        }))
    }
}
