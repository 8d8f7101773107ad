//! Time as the core sees it: handed in, recorded, and never trusted further than it deserves.
//!
//! A wall clock can be stepped; the time since boot cannot, but it starts anew at every boot. So every moment
//! carries both, and a stored [`Wait`] is measured by the boot clock as long as the machine has not been
//! rebooted, and by the wall clock, held within its own length, when it has.

use serde::{Deserialize, Serialize};

/// One moment on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Milliseconds since 1970 by the wall clock.
    #[serde(rename = "wall")]
    pub wall_ms: i64,
    /// Which boot of which machine: equal only within one.
    pub boot: u64,
    /// Milliseconds since that boot, time asleep included (`CLOCK_BOOTTIME`).
    #[serde(rename = "up")]
    pub up_ms: u64,
}

impl Stamp {
    /// Milliseconds from `earlier` to this moment; never negative, and not moved by a stepped wall clock
    /// unless there was a reboot in between.
    pub fn since_ms(&self, earlier: &Stamp) -> u64 {
        if self.boot == earlier.boot {
            self.up_ms.saturating_sub(earlier.up_ms)
        } else {
            u64::try_from(self.wall_ms.saturating_sub(earlier.wall_ms)).unwrap_or(0)
        }
    }

    /// The moment so many milliseconds from this one, if nothing is done to the clocks.
    pub(super) fn after_ms(&self, ms: u64) -> Stamp {
        let (wall_ms, up_ms) = (self.wall_ms.saturating_add_unsigned(ms), self.up_ms.saturating_add(ms));
        Stamp { wall_ms, up_ms, ..*self }
    }

    /// The moment so many milliseconds before this one, if nothing was done to the clocks.
    pub(super) fn before_ms(&self, ms: u64) -> Stamp {
        let (wall_ms, up_ms) = (self.wall_ms.saturating_sub_unsigned(ms), self.up_ms.saturating_sub(ms));
        Stamp { wall_ms, up_ms, ..*self }
    }
}

/// A stretch of time that was asked for at some moment. It never takes longer than its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// When it began.
    pub from: Stamp,
    /// How long it lasts, in milliseconds.
    pub length_ms: u64,
}

impl Wait {
    /// A wait that begins now.
    pub fn new(from: Stamp, length_ms: u64) -> Self {
        Self { from, length_ms }
    }

    /// What is left of it, in milliseconds; 0 when it is over.
    pub fn left_ms(&self, now: &Stamp) -> u64 {
        self.length_ms.saturating_sub(now.since_ms(&self.from))
    }

    /// Starts what is left of it anew from `now`, so that a wall clock that was set back while the machine
    /// was down cannot prolong it beyond its length.
    pub fn anchored(&self, now: Stamp) -> Self {
        if now.boot == self.from.boot { *self } else { Self { from: now, length_ms: self.left_ms(&now) } }
    }
}

/// What the core is told of the present.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The time.
    pub at: Stamp,
    /// Random bits for jitter, from outside, so that equal arguments give equal answers.
    pub entropy: u64,
}

/// The pause before attempt `failed + 1`: exponential with full jitter, in milliseconds.
///
/// `failed` attempts have failed so far, at least 1. Source of the shape: AWS Architecture Blog,
/// "Exponential Backoff And Jitter" (full jitter).
pub fn backoff_ms(backoff_ms: u64, max_backoff_ms: u64, failed: u32, entropy: u64) -> u64 {
    let ceiling = backoff_ms.saturating_mul(1u64 << failed.saturating_sub(1).min(40)).min(max_backoff_ms);
    // Spreads the seed, so that neighbouring seeds do not give neighbouring pauses (SplitMix64's finalizer).
    let mut bits = entropy.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^= bits >> 31;
    bits % (ceiling + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(wall_ms: i64, boot: u64, up_ms: u64) -> Stamp {
        Stamp { wall_ms, boot, up_ms }
    }

    #[test]
    fn a_stepped_wall_clock_neither_ends_nor_prolongs_a_wait() {
        let wait = Wait::new(stamp(1_000_000, 1, 500), 10_000);
        assert_eq!(wait.left_ms(&stamp(-5, 1, 1_500)), 9_000);
        assert_eq!(wait.left_ms(&stamp(i64::MAX, 1, 1_500)), 9_000);
        assert_eq!(wait.left_ms(&stamp(0, 1, 10_500)), 0);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_decides_within_the_length() {
        let wait = Wait::new(stamp(1_000_000, 1, 500), 10_000);
        assert_eq!(wait.left_ms(&stamp(1_004_000, 2, 3)), 6_000);
        // Set back by a year while the machine was down: the whole length again, and not a moment more.
        let back = wait.anchored(stamp(-9_000_000, 2, 3));
        assert_eq!(back.left_ms(&stamp(-9_000_000, 2, 3)), 10_000);
        assert_eq!(back.left_ms(&stamp(-9_000_000, 2, 10_003)), 0);
    }

    #[test]
    fn backoff_is_bounded_and_grows() {
        for seed in 0..1_000 {
            assert!(backoff_ms(2_000, 60_000, 1, seed) <= 2_000);
            assert!(backoff_ms(2_000, 60_000, 60, seed) <= 60_000);
        }
        let mean =
            |failed| (0..1_000).map(|seed| backoff_ms(2_000, 60_000, failed, seed)).sum::<u64>() / 1_000;
        assert!(mean(3) > mean(1) * 3, "{} {}", mean(3), mean(1));
    }
}
