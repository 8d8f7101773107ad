//! When a run's task has come to rest: nothing acts, and what is still to come is not waited for here.
//!
//! How patiently a task waits is its [`Patience`]; nothing is decided here that the core has not decided.

use tokio::time::Instant;

use super::{Answers, DriveError, Patience, RunTask};
use crate::driver::clock::Clock;
use crate::driver::log::Log;
use crate::driver::world::World;
use crate::saga::{self, Ask, Decision, Moment, Start};

impl<W: World, L: Log, C: Clock> RunTask<W, L, C> {
    /// Whether the task has come to rest, and if so, whether a person stopped it and when something is due again.
    pub(super) async fn rest(&mut self) -> Result<Option<(bool, Option<u64>)>, DriveError> {
        let acting = self.session.in_flight.iter().any(|ask| matches!(ask, Ask::Act { .. }));
        // Whoever has asked already is answered first.
        if acting || !self.inbox.is_empty() {
            return Ok(None);
        }
        let stopped = self.session.stopping;
        let over = stopped || self.state.end.is_some() || matches!(self.state.course, saga::Course::Resting);
        let mut wake_ms = None;
        if !over {
            let needed = self.needed();
            if self.awaits(&needed) {
                return Ok(None);
            }
            let starts = needed.start.iter().map(|start| start.after_ms);
            wake_ms = starts.chain(needed.wake_ms).min();
        }
        if self.parts.patience == Patience::Nothing && !over {
            // Whoever comes next goes on counting; an event for every sample would be thousands.
            self.keep(true).await?;
            self.parts.log.settle().await.map_err(DriveError::Journal)?;
            return Ok(Some((stopped, wake_ms)));
        }
        let tails = saga::unsaved(&self.state, &mut self.session);
        if !tails.is_empty() {
            self.session.stopping |= over;
            self.step(vec![tails], Answers::new()).await?;
            if !over {
                // Something may have become due while that was stored.
                self.wake = Some(Instant::now());
                return Ok(None);
            }
        }
        self.parts.log.settle().await.map_err(DriveError::Journal)?;
        Ok(Some((stopped, wake_ms)))
    }

    /// What would be started now, were no look in flight: answers that the run has turned away from are not in it.
    fn needed(&mut self) -> Decision {
        let in_flight = std::mem::take(&mut self.session.in_flight);
        let now = Moment { at: self.parts.clock.now(), entropy: 0 };
        let needed = saga::decide(&self.state, &self.session, &now);
        self.session.in_flight = in_flight;
        needed
    }

    /// Whether this task waits for something that is still to come.
    fn awaits(&mut self, needed: &Decision) -> bool {
        let in_flight = &self.session.in_flight;
        let hurried = self.parts.patience == Patience::Nothing;
        let alone = matches!(self.parts.patience, Patience::Nothing | Patience::Timers);
        let later = |start: &Start| match &start.ask {
            // A way back that is lost is a gate: it is looked at as long as there is something else to wait for.
            Ask::Ready(_) if alone => start.after_ms > 0,
            ask => hurried && start.after_ms > 0 && ask.is_long() && !in_flight.contains(ask),
        };
        if !needed.append.is_empty() || !needed.start.iter().all(later) {
            if in_flight.is_empty() {
                // It became due while the journal was slow.
                self.wake = Some(Instant::now());
            }
            return true;
        }
        // Another run lets go sooner or later, driven here or by what a person says of it.
        let comes = self.wake.is_some() || needed.waits_for_run;
        match self.parts.patience {
            Patience::Nothing => false,
            Patience::Timers => comes,
            Patience::Gates => comes || !self.state.paused && self.is_asked(),
            Patience::Everything => comes || self.state.paused || self.is_asked(),
        }
    }

    /// Whether a person can say something that brings the run on.
    fn is_asked(&self) -> bool {
        !saga::questions(&self.state).is_empty()
    }
}
