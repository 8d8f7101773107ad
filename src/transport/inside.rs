//! Attempts that work inside this process: who is still at it.
//!
//! What works inside a process is over when that process is gone, and the lease proves that. What is left to know is
//! whether an attempt of *this* process still runs: blocking work that nobody can end (a write to a file system that
//! hangs), or a request that outlives its caller.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::settle::Proof;

/// The attempts under way.
#[derive(Debug)]
pub(super) struct Inside(watch::Sender<BTreeSet<String>>);

/// One of them. It is over when this is dropped: move it into whatever does the work.
#[derive(Debug)]
pub(crate) struct Working {
    inside: Arc<Inside>,
    attempt: String,
}

impl Inside {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }

    /// An attempt begins.
    pub(super) fn begin(self: &Arc<Self>, attempt: &str) -> Working {
        self.0.send_modify(|working| {
            working.insert(attempt.to_owned());
        });
        Working { inside: Arc::clone(self), attempt: attempt.to_owned() }
    }

    /// Waits until the attempt is over, for so long at most. Cancel-safe.
    pub(super) async fn settle(&self, attempt: &str, timeout: Duration) -> Proof {
        let mut working = self.0.subscribe();
        let over = working.wait_for(|working| !working.contains(attempt));
        match tokio::time::timeout(timeout, over).await {
            Ok(_) => Proof::Over,
            Err(_) => Proof::Unproved(format!(
                "it still runs inside this process after {timeout:?} and cannot be ended: end `runner`, then go on"
            )),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.inside.0.send_modify(|working| {
            working.remove(&self.attempt);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_over_when_who_works_has_let_go() {
        let inside = Arc::new(Inside::new());
        assert!(matches!(inside.settle("r/a/forward/1", Duration::ZERO).await, Proof::Over));
        let working = inside.begin("r/a/forward/1");
        assert!(matches!(inside.settle("r/a/forward/1", Duration::ZERO).await, Proof::Unproved(_)));
        assert!(matches!(inside.settle("r/a/forward/2", Duration::ZERO).await, Proof::Over));
        let waiting = inside.settle("r/a/forward/1", Duration::from_secs(60));
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(working);
        assert!(matches!(waiting.await, Proof::Over));
    }
}
