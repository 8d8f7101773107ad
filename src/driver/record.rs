//! Recording what a person said of a run that nobody drives: events are appended, and nothing starts.

use super::clock::{Clock, SystemClock};
use super::codec;
use super::history::HistoryError;
use super::log::Log;
use super::run::DriveError;
use crate::journal::{Bodies, Handle};
use crate::saga::{self, Session, State, What};

/// Why what a person said could not be recorded. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The journal did not take it.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// An event cannot be made or written.
    #[error(transparent)]
    Drive(#[from] DriveError),
}

/// Appends events to a run that is not being driven; on stable storage when it returns.
///
/// # Errors
/// [`RecordError`]; the state is not to be used then.
pub async fn record(
    log: &Handle,
    bodies: &Bodies,
    state: &mut State,
    events: Vec<What>,
) -> Result<(), RecordError> {
    let mut session = Session { stopping: true, ..Session::default() };
    let moment = SystemClock::new().moment();
    let all = saga::advance(state, &mut session, events, &moment).map_err(DriveError::Illegal)?;
    let first = all.append.first().map_or(state.seq, |event| event.seq);
    let bytes: Result<Vec<_>, _> = all.append.iter().map(|event| codec::encode(event, bodies)).collect();
    let bytes = bytes.map_err(DriveError::from)?;
    Log::append(log, state.run.clone(), first, bytes).await.map_err(HistoryError::Journal)?;
    Log::settle(log).await.map_err(HistoryError::Journal)?;
    Ok(())
}
