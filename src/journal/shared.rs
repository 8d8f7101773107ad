//! The journal's own thread, and the handle through which async code appends to it.
//!
//! Everything queued when the thread is free goes down as one group: parallel steps and parallel runs share one
//! write and one sync. Each caller is answered after that sync, never before.
//!
//! The two ways through the thread cost as much as half a sync (some 100 us: two sleeping threads are woken), so
//! a caller that finds the journal idle may append where it stands: on a runtime of many threads in tokio's
//! `block_in_place`, on one of a single thread only when the caller says that it has nothing else in flight
//! ([`Handle::append_alone`]). A sequential run never pays for the hand-over, and as soon as two want to append at
//! once they queue and share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, RuntimeFlavor};
use tokio::sync::oneshot;

use super::error::JournalError;
use super::latency::{Latency, Measured};
use super::log::{Group, Journal, RunHead};
use super::read::Stored;
use crate::plan::{PlanName, RunId};

/// The longest time the head file stays unsynced while nobody asks for it.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// Events in one group at most: bounds the memory and the length of one frame of the log.
const GROUP_MAX: usize = 1024;

type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

enum Call {
    Append {
        run: RunId,
        first_seq: u64,
        bodies: Vec<Vec<u8>>,
        answer: Answer<()>,
    },
    Settle {
        answer: Answer<()>,
    },
    Read {
        run: RunId,
        from: u64,
        limit: u64,
        answer: Answer<Vec<Stored>>,
    },
    Runs {
        answer: Answer<Vec<RunHead>>,
    },
    NewRun {
        plan: PlanName,
        answer: Answer<RunId>,
    },
    Checkpoint {
        run: RunId,
        seq: u64,
        body: Vec<u8>,
        answer: Answer<()>,
    },
    LatestCheckpoint {
        run: RunId,
        answer: Answer<Option<(u64, Vec<u8>)>>,
    },
    Keep {
        run: RunId,
        body: Vec<u8>,
        answer: Answer<()>,
    },
    Kept {
        run: RunId,
        answer: Answer<Option<Vec<u8>>>,
    },
    Archive {
        run: RunId,
        answer: Answer<()>,
    },
    IsArchived {
        run: RunId,
        answer: Answer<bool>,
    },
    Prune {
        run: RunId,
        answer: Answer<()>,
    },
    CollectBodies {
        answer: Answer<(usize, u64)>,
    },
    /// Something was appended without the thread: its second begins.
    Unsettled,
    Close {
        answer: Answer<()>,
    },
}

/// What handles and thread share.
#[derive(Debug)]
struct Shared {
    /// None once it is closed.
    journal: Mutex<Option<Journal>>,
    /// The thread knows that there is something to settle.
    told: AtomicBool,
    /// How long appends took.
    latency: Latency,
}

impl Shared {
    /// The journal, whatever became of the thread that had it before: it poisons itself where it must.
    fn lock(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends to and reads from a journal that lives on its own thread. Cheap to clone.
///
/// Every call waits for its answer. Dropping a call's future does not take the call back: what was sent is done.
#[derive(Debug, Clone)]
pub struct Handle {
    calls: Sender<Call>,
    shared: Arc<Shared>,
}

impl Handle {
    /// Starts the thread that owns `journal`. It ends with [`close`](Self::close), or when all handles are gone.
    ///
    /// # Errors
    /// [`JournalError::Io`] when no thread can be started.
    pub fn start(journal: Journal) -> Result<(Self, JoinHandle<()>), JournalError> {
        let (calls, queue) = channel();
        let folder = journal.folder().to_owned();
        let shared = Arc::new(Shared {
            journal: Mutex::new(Some(journal)),
            told: AtomicBool::new(false),
            latency: Latency::default(),
        });
        let owned = shared.clone();
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || serve(&owned, &queue))
            .map_err(|e| JournalError::io("start the journal's thread for", &folder, e))?;
        Ok((Self { calls, shared }, thread))
    }

    async fn call<T>(&self, make: impl FnOnce(Answer<T>) -> Call) -> Result<T, JournalError> {
        let (answer, answered) = oneshot::channel();
        self.calls.send(make(answer)).map_err(|_| JournalError::Closed)?;
        answered.await.map_err(|_| JournalError::Closed)?
    }

    /// Appends events to a run, the first as `first_seq`; on stable storage when it returns.
    ///
    /// Calls that are queued at the same time share one sync; each stands or falls for itself as far as its own
    /// form goes (order, size, run), and all of a group fail together when the disk does.
    ///
    /// # Errors
    /// As [`Journal::append`], and [`JournalError::Closed`].
    pub async fn append(&self, run: RunId, first_seq: u64, bodies: Vec<Vec<u8>>) -> Result<(), JournalError> {
        let began = Instant::now();
        let appended = self.append_shared(run, first_seq, bodies).await;
        self.shared.latency.took(began.elapsed());
        appended
    }

    async fn append_shared(
        &self,
        run: RunId,
        first_seq: u64,
        bodies: Vec<Vec<u8>>,
    ) -> Result<(), JournalError> {
        if runtime::Handle::try_current().is_ok_and(|now| now.runtime_flavor() == RuntimeFlavor::MultiThread)
            && let Some(done) = self.append_here(&run, first_seq, &bodies)
        {
            return done;
        }
        self.call(|answer| Call::Append { run, first_seq, bodies, answer }).await
    }

    /// The same for a caller that has nothing else in flight and would only wait: it appends where it stands when
    /// the journal is idle, whatever the runtime, and blocks its thread for the length of one sync.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub async fn append_alone(
        &self,
        run: RunId,
        first_seq: u64,
        bodies: Vec<Vec<u8>>,
    ) -> Result<(), JournalError> {
        let began = Instant::now();
        let appended = match self.append_here(&run, first_seq, &bodies) {
            Some(done) => done,
            None => self.call(|answer| Call::Append { run, first_seq, bodies, answer }).await,
        };
        self.shared.latency.took(began.elapsed());
        appended
    }

    /// How long appends took since the journal was opened, waiting for others included.
    pub fn latency(&self) -> Measured {
        self.shared.latency.measured()
    }

    /// Appends on this thread if the journal is idle.
    fn append_here(
        &self,
        run: &RunId,
        first_seq: u64,
        bodies: &[Vec<u8>],
    ) -> Option<Result<(), JournalError>> {
        let mut journal = match self.shared.journal.try_lock() {
            Ok(journal) => journal,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let Some(open) = journal.as_mut() else { return Some(Err(JournalError::Closed)) };
        let mut append = || {
            let mut group = Group::default();
            open.stage(&mut group, run, first_seq, bodies.iter().map(Vec::as_slice))?;
            open.commit_group(group)
        };
        // A runtime of one thread has nobody to hand its other work to.
        let many = runtime::Handle::try_current()
            .is_ok_and(|now| now.runtime_flavor() == RuntimeFlavor::MultiThread);
        let done = if many { tokio::task::block_in_place(append) } else { append() };
        drop(journal);
        if done.is_ok() && !self.shared.told.swap(true, Ordering::AcqRel) {
            // The thread is only gone after a close, which settles.
            drop(self.calls.send(Call::Unsettled));
        }
        Some(done)
    }

    /// Syncs the head file, see [`Journal::settle_head`].
    ///
    /// # Errors
    /// As [`Journal::settle_head`], and [`JournalError::Closed`].
    pub async fn settle(&self) -> Result<(), JournalError> {
        self.call(|answer| Call::Settle { answer }).await
    }

    /// A run's events from `from` on, at most `limit`, checked.
    ///
    /// # Errors
    /// As the items of [`Journal::read`], and [`JournalError::Closed`].
    pub async fn read_some(&self, run: RunId, from: u64, limit: u64) -> Result<Vec<Stored>, JournalError> {
        self.call(|answer| Call::Read { run, from, limit, answer }).await
    }

    /// All of a run's events from `from` on, checked.
    ///
    /// # Errors
    /// As [`read_some`](Self::read_some).
    pub async fn read_all(&self, run: RunId, from: u64) -> Result<Vec<Stored>, JournalError> {
        self.read_some(run, from, u64::MAX).await
    }

    /// All runs, see [`Journal::runs`].
    ///
    /// # Errors
    /// As [`Journal::runs`], and [`JournalError::Closed`].
    pub async fn runs(&self) -> Result<Vec<RunHead>, JournalError> {
        // They are known by heart: nobody is woken for them.
        if let Ok(journal) = self.shared.journal.try_lock() {
            return journal.as_ref().ok_or(JournalError::Closed)?.runs();
        }
        self.call(|answer| Call::Runs { answer }).await
    }

    /// Begins a run, see [`Journal::new_run`].
    ///
    /// # Errors
    /// As [`Journal::new_run`], and [`JournalError::Closed`].
    pub async fn new_run(&self, plan: PlanName) -> Result<RunId, JournalError> {
        self.call(|answer| Call::NewRun { plan, answer }).await
    }

    /// Keeps a checkpoint, see [`Journal::checkpoint`].
    ///
    /// # Errors
    /// As [`Journal::checkpoint`], and [`JournalError::Closed`].
    pub async fn checkpoint(&self, run: RunId, seq: u64, body: Vec<u8>) -> Result<(), JournalError> {
        self.call(|answer| Call::Checkpoint { run, seq, body, answer }).await
    }

    /// The newest checkpoint that fits, see [`Journal::latest_checkpoint`].
    ///
    /// # Errors
    /// [`JournalError::Closed`].
    pub async fn latest_checkpoint(&self, run: RunId) -> Result<Option<(u64, Vec<u8>)>, JournalError> {
        self.call(|answer| Call::LatestCheckpoint { run, answer }).await
    }

    /// Keeps the tail of a run, see [`Journal::keep`].
    ///
    /// # Errors
    /// As [`Journal::keep`], and [`JournalError::Closed`].
    pub async fn keep(&self, run: RunId, body: Vec<u8>) -> Result<(), JournalError> {
        self.call(|answer| Call::Keep { run, body, answer }).await
    }

    /// The tail that was kept of a run last, see [`Journal::kept`].
    ///
    /// # Errors
    /// [`JournalError::Closed`].
    pub async fn kept(&self, run: RunId) -> Result<Option<Vec<u8>>, JournalError> {
        self.call(|answer| Call::Kept { run, answer }).await
    }

    /// Moves a run into the archive, see [`Journal::archive`].
    ///
    /// # Errors
    /// As [`Journal::archive`], and [`JournalError::Closed`].
    pub async fn archive(&self, run: RunId) -> Result<(), JournalError> {
        self.call(|answer| Call::Archive { run, answer }).await
    }

    /// Whether a run is in the archive.
    ///
    /// # Errors
    /// [`JournalError::Closed`].
    pub async fn is_archived(&self, run: RunId) -> Result<bool, JournalError> {
        self.call(|answer| Call::IsArchived { run, answer }).await
    }

    /// Deletes an archived run, see [`Journal::prune`].
    ///
    /// # Errors
    /// As [`Journal::prune`], and [`JournalError::Closed`].
    pub async fn prune(&self, run: RunId) -> Result<(), JournalError> {
        self.call(|answer| Call::Prune { run, answer }).await
    }

    /// Deletes bodies that nothing names, see [`Journal::collect_bodies`].
    ///
    /// # Errors
    /// As [`Journal::collect_bodies`], and [`JournalError::Closed`].
    pub async fn collect_bodies(&self) -> Result<(usize, u64), JournalError> {
        self.call(|answer| Call::CollectBodies { answer }).await
    }

    /// Does all that was queued before, syncs the head file and closes the journal; its lock is free when this
    /// returns. Later calls on any handle get [`JournalError::Closed`].
    ///
    /// # Errors
    /// As [`settle`](Self::settle); the journal is closed all the same.
    pub async fn close(&self) -> Result<(), JournalError> {
        self.call(|answer| Call::Close { answer }).await
    }
}

/// Sends an answer. Nobody waiting for it any more is fine.
fn answer<T>(to: Answer<T>, result: Result<T, JournalError>) {
    drop(to.send(result));
}

/// Syncs the head file on the thread's own account. A failure poisons, so the next append says it.
fn settle_unasked(journal: &mut Journal) {
    drop(journal.settle_head());
}

/// One caller's part of a group.
struct Waiting {
    run: RunId,
    first_seq: u64,
    bodies: Vec<Vec<u8>>,
    answer: Answer<()>,
}

/// The thread: takes calls until there are no handles left or one says to close.
fn serve(shared: &Shared, queue: &Receiver<Call>) {
    // When the head file is synced without being asked; none while nothing is new.
    let mut due: Option<Instant> = None;
    let mut next: Option<Call> = None;
    loop {
        if due.is_some_and(|due| due <= Instant::now()) {
            let mut guard = shared.lock();
            if let Some(journal) = guard.as_mut() {
                settle_unasked(journal);
            }
            // Under the lock: whoever appends after it has to tell again.
            shared.told.store(false, Ordering::Release);
            due = None;
        }
        let call = match (next.take(), due) {
            (Some(call), _) => call,
            (None, None) => match queue.recv() {
                Ok(call) => call,
                Err(_) => break,
            },
            (None, Some(due)) => match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(call) => call,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            },
        };
        let mut guard = shared.lock();
        let Some(journal) = guard.as_mut() else { return };
        match call {
            Call::Append { run, first_seq, bodies, answer } => {
                let mut group = vec![Waiting { run, first_seq, bodies, answer }];
                next = gather(queue, &mut group);
                commit(journal, group);
            }
            Call::Settle { answer: to } => answer(to, journal.settle_head()),
            Call::Read { run, from, limit, answer: to } => {
                answer(to, journal.read_some(&run, from, limit));
            }
            Call::Runs { answer: to } => answer(to, journal.runs()),
            Call::NewRun { plan, answer: to } => answer(to, journal.new_run(&plan)),
            Call::Checkpoint { run, seq, body, answer: to } => {
                answer(to, journal.checkpoint(&run, seq, &body));
            }
            Call::LatestCheckpoint { run, answer: to } => answer(to, Ok(journal.latest_checkpoint(&run))),
            Call::Keep { run, body, answer: to } => answer(to, journal.keep(&run, &body)),
            Call::Kept { run, answer: to } => answer(to, Ok(journal.kept(&run))),
            Call::Archive { run, answer: to } => answer(to, journal.archive(&run)),
            Call::IsArchived { run, answer: to } => answer(to, Ok(journal.is_archived(&run))),
            Call::Prune { run, answer: to } => answer(to, journal.prune(&run)),
            Call::CollectBodies { answer: to } => answer(to, journal.collect_bodies()),
            Call::Unsettled => {}
            Call::Close { answer: to } => {
                let settled = journal.settle_head();
                *guard = None;
                answer(to, settled);
                return;
            }
        }
        if due.is_none() {
            let unsettled = journal.is_unsettled();
            shared.told.store(unsettled, Ordering::Release);
            due = unsettled.then(|| Instant::now() + SETTLE_EVERY);
        }
    }
    let mut guard = shared.lock();
    if let Some(journal) = guard.as_mut() {
        settle_unasked(journal);
    }
    *guard = None;
}

/// Takes all appends that are queued, up to the first other call, which is handed back.
fn gather(queue: &Receiver<Call>, group: &mut Vec<Waiting>) -> Option<Call> {
    let mut events: usize = group.iter().map(|waiting| waiting.bodies.len()).sum();
    while events < GROUP_MAX {
        match queue.try_recv() {
            Ok(Call::Append { run, first_seq, bodies, answer }) => {
                events += bodies.len();
                group.push(Waiting { run, first_seq, bodies, answer });
            }
            Ok(other) => return Some(other),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    None
}

/// Commits a group as one; a caller whose own events do not fit is answered alone and left out.
fn commit(journal: &mut Journal, waiting: Vec<Waiting>) {
    let mut group = Group::default();
    let mut staged = Vec::with_capacity(waiting.len());
    for Waiting { run, first_seq, bodies, answer: to } in waiting {
        match journal.stage(&mut group, &run, first_seq, bodies.iter().map(Vec::as_slice)) {
            Ok(()) => staged.push(to),
            Err(e) => answer(to, Err(e)),
        }
    }
    let result = journal.commit_group(group);
    for to in staged {
        answer(to, result.clone());
    }
}
