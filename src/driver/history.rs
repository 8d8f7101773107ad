//! Reading runs back: from the journal in this process, or from the process that holds it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::codec::{self, CodecError, Known};
use crate::journal::{Bodies, Handle, JournalError, RunHead};
use crate::plan::{RunId, StepId};
use crate::saga::{self, Event, Illegal, Kept, State, Status, Tail, What};

/// Why a run cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The journal said so.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The process that holds the journal did not answer as it should.
    #[error("{0}")]
    Holder(String),
    /// The process that holds the journal does not answer.
    #[error("process {pid}, which holds the journal, does not answer")]
    HolderSilent {
        /// Its process id.
        pid: u32,
    },
    /// The process that held the journal went away.
    #[error("the process that held the journal ended before it answered")]
    HolderGone,
    /// An event cannot be read.
    #[error("event {seq} of run `{run}` cannot be read")]
    Event {
        /// The run.
        run: RunId,
        /// Its place.
        seq: u64,
        /// Why.
        #[source]
        source: Box<CodecError>,
    },
    /// The events contradict each other.
    #[error(
        "the events of run `{run}` contradict each other: the journal is damaged, or another version wrote it"
    )]
    Illegal {
        /// The run.
        run: RunId,
        /// How.
        #[source]
        source: Box<Illegal>,
    },
    /// There is no such run.
    #[error("there is no run `{run}`")]
    NoSuchRun {
        /// What was asked for.
        run: String,
        /// What may have been meant.
        near: Option<String>,
    },
}

/// How long a definition is waited for that may spare reading the recorded one, which takes 5 ms for a thousand steps.
const KNOWN_WITHIN: Duration = Duration::from_millis(20);

/// Stored events: sequence numbers and records.
pub type StoredEvents = Vec<(u64, Vec<u8>)>;

/// Where events can be read.
pub trait History: Send + Sync {
    /// All runs in the order of their creation, those without events included.
    fn runs(&self) -> BoxFuture<'_, Result<Vec<RunHead>, HistoryError>>;
    /// A run's stored events from `from` on, at most `limit`.
    fn stored(&self, run: RunId, from: u64, limit: u64) -> BoxFuture<'_, Result<StoredEvents, HistoryError>>;
    /// The newest folded state that fits, and its place.
    fn checkpoint(&self, run: RunId) -> BoxFuture<'_, Option<(u64, Vec<u8>)>>;
    /// What was kept of a run beside its events, if it can be had here.
    fn kept(&self, _run: RunId) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(std::future::ready(None))
    }
    /// The hash of the run up to and with this event, in hex, if it can be had here.
    fn hash(&self, _run: RunId, _seq: u64) -> BoxFuture<'_, Option<String>> {
        Box::pin(std::future::ready(None))
    }
}

impl History for Handle {
    fn runs(&self) -> BoxFuture<'_, Result<Vec<RunHead>, HistoryError>> {
        Box::pin(async { Ok(Handle::runs(self).await?) })
    }

    fn stored(&self, run: RunId, from: u64, limit: u64) -> BoxFuture<'_, Result<StoredEvents, HistoryError>> {
        Box::pin(async move {
            let stored = self.read_some(run, from, limit).await?;
            Ok(stored.into_iter().map(|stored| (stored.seq, stored.body)).collect())
        })
    }

    fn checkpoint(&self, run: RunId) -> BoxFuture<'_, Option<(u64, Vec<u8>)>> {
        Box::pin(async { self.latest_checkpoint(run).await.ok().flatten() })
    }

    fn kept(&self, run: RunId) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async { Handle::kept(self, run).await.ok().flatten() })
    }

    fn hash(&self, run: RunId, seq: u64) -> BoxFuture<'_, Option<String>> {
        Box::pin(async move { Some(self.read_some(run, seq, 1).await.ok()?.first()?.hash.to_string()) })
    }
}

/// A run's events from `from` on, at most `limit`.
///
/// # Errors
/// [`HistoryError`] when one cannot be read.
pub async fn events(
    history: &dyn History,
    bodies: &Bodies,
    run: &RunId,
    from: u64,
    limit: u64,
) -> Result<Vec<Event>, HistoryError> {
    events_knowing(history, bodies, run, (from, limit), None).await
}

async fn events_knowing(
    history: &dyn History,
    bodies: &Bodies,
    run: &RunId,
    (from, limit): (u64, u64),
    known: Option<oneshot::Receiver<Known>>,
) -> Result<Vec<Event>, HistoryError> {
    let stored = history.stored(run.clone(), from, limit).await?;
    let alone = |(seq, record): (u64, Vec<u8>)| codec::decode_alone(&record).ok_or((seq, record));
    let read: Vec<Result<Event, _>> = stored.into_iter().map(alone).collect();
    let known = match known {
        Some(known) if read.iter().any(Result::is_err) => {
            tokio::time::timeout(KNOWN_WITHIN, known).await.ok().and_then(Result::ok)
        }
        _ => None,
    };
    let decode = |(seq, record): (u64, Vec<u8>)| {
        codec::decode_knowing(&record, bodies, known.as_ref()).map_err(|source| HistoryError::Event {
            run: run.clone(),
            seq,
            source: Box::new(source),
        })
    };
    read.into_iter().map(|read| read.or_else(decode)).collect()
}

/// A run's state, folded from its events, or from its checkpoint and the events since.
///
/// # Errors
/// [`HistoryError`]; a checkpoint that does not fit is no error, only slower.
pub async fn state(history: &dyn History, bodies: &Bodies, run: &RunId) -> Result<State, HistoryError> {
    state_knowing(history, bodies, run, None).await
}

/// The same with a definition that may well be the run's, as that of its plan file is. It is waited for when everything else
/// is read, and not for long: a plan names files, and they may be where nobody answers.
///
/// # Errors
/// As [`state`].
pub async fn state_knowing(
    history: &dyn History,
    bodies: &Bodies,
    run: &RunId,
    known: Option<oneshot::Receiver<Known>>,
) -> Result<State, HistoryError> {
    let illegal = |source| HistoryError::Illegal { run: run.clone(), source: Box::new(source) };
    let checkpoint = history.checkpoint(run.clone()).await;
    let checkpoint = checkpoint.and_then(|(seq, body)| {
        let state: State = serde_json::from_slice(&body).ok()?;
        (state.seq == seq).then(|| state.reindexed())
    });
    let (mut state, rest) = match checkpoint {
        Some(state) => {
            let from = state.seq + 1;
            (state, events_knowing(history, bodies, run, (from, u64::MAX), known).await?)
        }
        None => {
            let all = events_knowing(history, bodies, run, (1, u64::MAX), known).await?;
            return folded(run, &all);
        }
    };
    for event in &rest {
        saga::fold(&mut state, event).map_err(illegal)?;
    }
    Ok(state)
}

/// A run's state, folded from all its events.
///
/// # Errors
/// [`HistoryError::NoSuchRun`] when there is none, [`HistoryError::Illegal`].
pub fn folded(run: &RunId, events: &[Event]) -> Result<State, HistoryError> {
    let illegal = |source| HistoryError::Illegal { run: run.clone(), source: Box::new(source) };
    let (first, rest) =
        events.split_first().ok_or_else(|| HistoryError::NoSuchRun { run: run.to_string(), near: None })?;
    let mut state = saga::open(first).map_err(illegal)?;
    for event in rest {
        saga::fold(&mut state, event).map_err(illegal)?;
    }
    Ok(state)
}

/// Good samples of soaks that processes before counted and that are not events yet, as far as they go on from where
/// `state` is.
pub async fn tails(history: &dyn History, state: &State) -> BTreeMap<StepId, Tail> {
    let soaks = state.steps.iter().any(|step| matches!(step.status, Status::Soaking(_)));
    let kept = if soaks { history.kept(state.run.clone()).await } else { None };
    let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
    kept.map(|kept| kept.tails(state)).unwrap_or_default()
}

/// The newest run of the plan file at this absolute path.
///
/// # Errors
/// [`HistoryError`] when a run cannot be read.
pub async fn newest_of(
    history: &dyn History,
    bodies: &Bodies,
    path: &str,
) -> Result<Option<RunId>, HistoryError> {
    for head in history.runs().await?.into_iter().rev().filter(|head| head.last_seq > 0) {
        let stored = history.stored(head.run.clone(), 1, 1).await?;
        let Some((_, bytes)) = stored.first() else { continue };
        let found = codec::plan_path(bytes, bodies).and_then(|found| {
            if found != path {
                // Nobody reads the rest of a run that is passed over, and it may be another one's path by damage alone.
                codec::check_body(bytes, bodies)?;
            }
            Ok(found)
        });
        let found = match found {
            Ok(found) => found,
            // Read as a whole, it says what is wrong with it.
            Err(_) => match events(history, bodies, &head.run, 1, 1).await?.pop() {
                Some(Event { what: What::RunOpened { definition, .. }, .. }) => definition.path.clone(),
                Some(_) | None => continue,
            },
        };
        if found == path {
            return Ok(Some(head.run));
        }
    }
    Ok(None)
}

/// The run that a person names: nothing for the newest, a plan's name for its newest, or a run's id.
///
/// # Errors
/// [`HistoryError::NoSuchRun`], or when the runs cannot be read.
pub async fn find(history: &dyn History, name: Option<&str>) -> Result<RunId, HistoryError> {
    let heads = history.runs().await?;
    let mut runs = heads.into_iter().rev().filter(|head| head.last_seq > 0).map(|head| head.run);
    let Some(name) = name else {
        return runs.next().ok_or(HistoryError::NoSuchRun { run: String::new(), near: None });
    };
    let runs: Vec<RunId> = runs.collect();
    let exact = runs.iter().find(|run| run.to_string() == name);
    let found = exact.or_else(|| runs.iter().find(|run| run.plan().as_str() == name));
    found.cloned().ok_or_else(|| HistoryError::NoSuchRun { run: name.to_owned(), near: nearest(&runs, name) })
}

/// What may have been meant by a name that no run has: of `hello-7` the newest run of `hello`, else the nearest name.
fn nearest(runs: &[RunId], name: &str) -> Option<String> {
    let numbered =
        name.rsplit_once('-').filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let plan = numbered.map_or(name, |(plan, _)| plan);
    if let Some(run) = runs.iter().find(|run| run.plan().as_str() == plan) {
        return Some(run.to_string());
    }
    let plans: std::collections::BTreeSet<&str> = runs.iter().map(|run| run.plan().as_str()).collect();
    let near = crate::plan::did_you_mean(plan, plans)?;
    runs.iter().find(|run| run.plan().as_str() == near).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::recorded::Definition;
    use crate::saga::Stamp;

    /// One run, of which there is no checkpoint.
    struct Recorded(Vec<u8>);

    impl History for Recorded {
        fn runs(&self) -> BoxFuture<'_, Result<Vec<RunHead>, HistoryError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn stored(
            &self,
            _run: RunId,
            _from: u64,
            _limit: u64,
        ) -> BoxFuture<'_, Result<StoredEvents, HistoryError>> {
            Box::pin(async { Ok(vec![(1, self.0.clone())]) })
        }

        fn checkpoint(&self, _run: RunId) -> BoxFuture<'_, Option<(u64, Vec<u8>)>> {
            Box::pin(async { None })
        }
    }

    /// The plan file may name a file on a mount that hangs: the run is read all the same.
    #[tokio::test(start_paused = true)]
    async fn a_definition_that_never_comes_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Bodies::at(folder.path());
        let any = r#"{"version":1,"name":"p","path":"/p","folder":"/","on_failure":"halt","parallelism":1,"steps":[]}"#;
        // Long enough for a body.
        let description = "x".repeat(64 * 1024);
        let definition = Arc::new(Definition { description, ..serde_json::from_str(any).unwrap() });
        let run = RunId::try_from("p-1".to_owned()).unwrap();
        let at = Stamp { wall_ms: 1, boot: 2, up_ms: 3 };
        let what =
            What::RunOpened { run: run.clone(), definition: Arc::clone(&definition), by: String::new() };
        let history = Recorded(codec::encode(&Event { seq: 1, at, what }, &bodies).unwrap());
        let (sender, known) = oneshot::channel();
        let state = state_knowing(&history, &bodies, &run, Some(known)).await.unwrap();
        assert_eq!(state.definition, definition);
        // Nobody waits for it any more; one that comes in time is taken.
        assert!(sender.send(Known::new(Arc::clone(&definition))).is_err());
        let (sender, known) = oneshot::channel();
        sender.send(Known::new(Arc::clone(&definition))).unwrap();
        let state = state_knowing(&history, &bodies, &run, Some(known)).await.unwrap();
        assert!(Arc::ptr_eq(&state.definition, &definition));
    }
}
