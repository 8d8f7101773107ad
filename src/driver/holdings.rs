//! What the runs of a journal hold of exclusive resources, so that one run waits for what another one has.
//!
//! Nothing of it is stored: it is what [`saga::held`] makes of each run's state, read from the journal before the first
//! run that has resources is driven, and told to the core before each decision. A run claims in the moment it decides,
//! before its intent is on disk; it lets go when the event that says so is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::history::{self, History, HistoryError};
use crate::journal::Bodies;
use crate::plan::RunId;
use crate::saga::{self, Holders, State};

/// What the runs hold. Shared by everybody who drives one.
#[derive(Debug)]
pub struct Holdings {
    held: Mutex<Holders>,
    freed: watch::Sender<()>,
}

impl Default for Holdings {
    fn default() -> Self {
        Self { held: Mutex::default(), freed: watch::channel(()).0 }
    }
}

impl Holdings {
    /// Is told whenever a run has let go of something.
    pub(super) fn freed(&self) -> watch::Receiver<()> {
        self.freed.subscribe()
    }

    /// Nobody claims anything as long as this is held: whoever sees that something is free takes it, or does not.
    pub(super) fn deciding(&self) -> Deciding<'_> {
        Deciding(self.held())
    }

    /// The run holds what this state of it says, which is on stable storage, and nothing else any more.
    pub(super) fn settle(&self, state: &State) {
        let now = saga::held(state);
        let mut held = self.held();
        let mut freed = false;
        held.retain(|resource, runs| {
            freed |= !now.contains_key(resource) && runs.remove(&state.run).is_some();
            !runs.is_empty()
        });
        claim(&mut held, &state.run, now);
        if freed {
            self.freed.send_replace(());
        }
    }

    fn held(&self) -> MutexGuard<'_, Holders> {
        // What was put in before a panic is a claim too much at most.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run decides.
pub(super) struct Deciding<'a>(MutexGuard<'a, Holders>);

impl Deciding<'_> {
    /// What the others hold.
    pub(super) fn elsewhere(&self, run: &RunId) -> Holders {
        let mut elsewhere = self.0.clone();
        elsewhere.retain(|_, runs| {
            runs.remove(run);
            !runs.is_empty()
        });
        elsewhere
    }

    /// What the run holds from now on, beside what it has: its state after the decision says so, on disk or not.
    pub(super) fn decided(mut self, state: &State) {
        claim(&mut self.0, &state.run, saga::held(state));
    }
}

/// What the runs of a journal hold now, but for one of them, read by somebody who drives none.
///
/// # Errors
/// [`HistoryError`] when the runs cannot be listed, or who holds the journal goes away. A run that cannot be read holds
/// nothing: nobody can drive it, nor end it.
pub async fn held_elsewhere(
    history: &dyn History,
    bodies: &Bodies,
    but: Option<&RunId>,
) -> Result<Holders, HistoryError> {
    let mut held = Holders::new();
    for head in history.runs().await?.into_iter().filter(|head| head.last_seq > 0 && Some(&head.run) != but) {
        match history::state(history, bodies, &head.run).await {
            Ok(state) => claim(&mut held, &head.run, saga::held(&state)),
            Err(
                error @ (HistoryError::Holder(_)
                | HistoryError::HolderSilent { .. }
                | HistoryError::HolderGone),
            ) => return Err(error),
            Err(error) => tracing::warn!(run = %head.run, %error, "what this run holds is not known"),
        }
    }
    Ok(held)
}

fn claim(held: &mut Holders, run: &RunId, claims: BTreeMap<String, String>) {
    for (resource, owner) in claims {
        held.entry(resource).or_default().insert(run.clone(), owner);
    }
}
