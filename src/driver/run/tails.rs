//! Good samples of soaks that are no events yet: shown, and kept beside the journal for whoever comes next.

use std::collections::BTreeMap;

use super::{DriveError, Patience, RunTask};
use crate::driver::clock::Clock;
use crate::driver::log::Log;
use crate::driver::world::World;
use crate::plan::StepId;
use crate::saga::{self, Command, Kept, Tail};

/// What is kept beside the journal is written at most so often while a process lives; and always before it ends.
const KEEP_EVERY_MS: u64 = 60_000;

/// Good samples that are not events yet, by step.
pub type Tails = BTreeMap<StepId, Tail>;

/// How many there are.
pub(super) fn count(tails: &Tails) -> u64 {
    tails.values().map(|tail| tail.good).sum()
}

impl<W: World, L: Log, C: Clock> RunTask<W, L, C> {
    /// Whether a process that takes what is due and ends need not record that it took the run on: when it only watches
    /// a soak, as it does every few minutes for weeks, there is nothing in flight that a fencing token would have to
    /// tell apart.
    pub(super) fn resumes_quietly(&self, first: &[(Command, String)]) -> bool {
        match first {
            [(Command::Resume { terms, .. }, _)] if self.parts.patience == Patience::Nothing => {
                saga::resumes_quietly(&self.state, terms, self.parts.clock.now())
            }
            _ => false,
        }
    }

    /// A second has passed: everybody who watches is told, and what soaks have in memory first.
    pub(super) fn tick(&mut self) {
        let now = self.parts.clock.now();
        let mut tails = self.kept.clone().tails(&self.state);
        tails.extend(self.session.tails.iter().map(|(step, tail)| (step.clone(), tail.clone())));
        for observer in &mut self.parts.observers {
            observer.tails(&tails);
            observer.tick(&self.state, &now);
        }
    }

    /// Tells whoever watches of good samples that came without an event.
    pub(super) fn tell_tails(&mut self) {
        let now = count(&self.session.tails);
        if now == self.told {
            return;
        }
        self.told = now;
        for observer in &mut self.parts.observers {
            observer.tails(&self.session.tails);
        }
    }

    /// Keeps the samples that are no events beside the journal, so that however this process ends none is lost.
    /// `ends`: it is about to end; else only now and then.
    pub(super) async fn keep(&mut self, ends: bool) -> Result<(), DriveError> {
        if self.session.tails.is_empty() {
            return Ok(());
        }
        let kept = Kept::of(&self.state, &self.session.tails);
        if kept.is_empty() || kept == self.kept {
            return Ok(());
        }
        let now = self.parts.clock.now();
        if !ends && self.kept_at.is_some_and(|at| now.since_ms(&at) < KEEP_EVERY_MS && at.boot == now.boot) {
            return Ok(());
        }
        let body = serde_json::to_vec(&kept).map_err(|error| DriveError::Codec(error.to_string()))?;
        self.parts.log.keep(self.state.run.clone(), body).await.map_err(DriveError::Journal)?;
        (self.kept, self.kept_at) = (kept, Some(now));
        Ok(())
    }
}
