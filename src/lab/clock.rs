//! The lab's time: the machine's, ahead by the waits that were leapt over, so that days of watching pass in seconds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::store::{Store, StoreError};

/// One clock for the whole house. Clones share it; a later process goes on with it.
#[derive(Debug, Clone)]
pub struct Clock {
    ahead_ms: Arc<AtomicU64>,
    kept: Store<u64>,
}

impl Clock {
    /// The clock of the lab in this folder.
    ///
    /// # Errors
    /// [`StoreError`] when its file cannot be used.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let kept = Store::open(folder.join("clock.json"), || 0)?;
        let ahead_ms = Arc::new(AtomicU64::new(kept.look(|ahead| *ahead)));
        Ok(Self { ahead_ms, kept })
    }

    /// The time since 1970.
    pub fn now(&self) -> Duration {
        let now = clock_gettime(ClockId::Realtime);
        let real =
            Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        real + Duration::from_millis(self.ahead_ms.load(Ordering::SeqCst))
    }

    /// Moves it on. On file before anybody sees it.
    ///
    /// # Errors
    /// [`StoreError`]; the time is as it was then.
    pub fn leap(&self, for_ms: u64) -> Result<(), StoreError> {
        let ahead = self.kept.change(|ahead| {
            *ahead = ahead.saturating_add(for_ms);
            *ahead
        })?;
        self.ahead_ms.fetch_max(ahead, Ordering::SeqCst);
        Ok(())
    }

    /// How far ahead of the machine's clock it is, in milliseconds; follows every leap.
    pub fn ahead_ms(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.ahead_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_process_goes_on_with_the_time_there_was() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::open(folder.path()).unwrap();
        let before = clock.now();
        clock.leap(3_600_000).unwrap();
        let after = Clock::open(folder.path()).unwrap().now();
        assert!(after - before >= Duration::from_secs(3_600), "{before:?} {after:?}");
        assert!(after - before < Duration::from_secs(3_700), "{before:?} {after:?}");
    }
}
