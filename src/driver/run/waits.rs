//! What attempts wait for, for whoever watches; recorded nowhere.

use std::collections::BTreeMap;

use super::RunTask;
use crate::driver::clock::Clock;
use crate::driver::log::Log;
use crate::driver::world::World;
use crate::plan::StepId;
use crate::saga::{Ask, Interrupted, Reply, Settlement, Status, Verdict};

impl<W: World, L: Log, C: Clock> RunTask<W, L, C> {
    /// What a step that was cut off waits for, when this does not settle it.
    pub(super) fn unsettled(&self, ask: &Ask, reply: &Reply) -> Option<String> {
        let Status::Interrupted(Interrupted { attempt, .. }) = &self.state.step(ask.step())?.1.status else {
            return None;
        };
        match (ask, reply) {
            (Ask::Settle { .. }, Reply::Settled(Settlement::Unproved { reason })) => {
                Some(format!("proof that attempt {attempt} is over: {reason}"))
            }
            (Ask::SettleProbe(_), Reply::Looked(answers)) => {
                let unknown = answers.iter().find(|answer| answer.verdict == Verdict::Unknown)?;
                Some(format!("a look at what attempt {attempt} did: {}", unknown.reason))
            }
            _ => None,
        }
    }

    /// Tells whoever watches what attempts wait for.
    pub(super) fn tell_waits(&mut self, waits: &BTreeMap<StepId, String>) {
        if waits.is_empty() {
            return;
        }
        let now = self.parts.clock.now();
        for observer in &mut self.parts.observers {
            waits.iter().for_each(|(step, reason)| observer.waits(&self.state, &now, step, reason));
        }
    }
}
