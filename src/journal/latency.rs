//! How long appends take, counted where they are made: a histogram in a few atomic numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets in microseconds: from a write into a fast disk's cache to a disk that hangs.
const BOUNDS_US: [u64; 8] = [250, 1_000, 4_000, 16_000, 64_000, 250_000, 1_000_000, 4_000_000];

/// Counts durations.
#[derive(Debug, Default)]
pub(super) struct Latency {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// Durations that were counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Upper bound in seconds and how many took at most so long and longer than the bound before; the last one has
    /// no bound.
    pub buckets: Vec<(f64, u64)>,
    /// All of them together, in seconds.
    pub sum_s: f64,
}

impl Latency {
    pub(super) fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(super) fn measured(&self) -> Measured {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        Measured {
            buckets: bounds.zip(counts).collect(),
            sum_s: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_one_bucket() {
        let latency = Latency::default();
        for us in [0, 250, 251, 5_000_000] {
            latency.took(Duration::from_micros(us));
        }
        let found = latency.measured();
        let counts: Vec<u64> = found.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert!((found.sum_s - 5.000_501).abs() < 1e-9, "{}", found.sum_s);
    }
}
