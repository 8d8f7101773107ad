//! The one place that reads the time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::saga::{Moment, Stamp};

/// Reads the time for the core.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Stamp;

    /// Random bits for jitter.
    fn entropy(&self) -> u64;

    /// Both, as the core wants them.
    fn moment(&self) -> Moment {
        Moment { at: self.now(), entropy: self.entropy() }
    }
}

/// The machine's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    boot: u64,
    boot_id: String,
}

impl SystemClock {
    /// Reads which boot this is, once.
    pub fn new() -> Self {
        // Source: random(4); absent in some containers, where one name for all boots has to do.
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = boot_id.trim().to_owned();
        Self { boot: short_hash(boot_id.as_bytes()), boot_id }
    }

    /// The kernel's name for this boot.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Stamp {
        let wall = clock_gettime(ClockId::Realtime);
        let up = clock_gettime(ClockId::Boottime);
        let up = Duration::new(u64::try_from(up.tv_sec).unwrap_or(0), u32::try_from(up.tv_nsec).unwrap_or(0));
        Stamp {
            wall_ms: wall.tv_sec * 1_000 + wall.tv_nsec / 1_000_000,
            boot: self.boot,
            up_ms: u64::try_from(up.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn entropy(&self) -> u64 {
        getrandom::u64().unwrap_or(0)
    }
}

/// The first 53 bits of a SHA-256: enough to tell names apart, and exact in every JSON reader.
pub fn short_hash(bytes: &[u8]) -> u64 {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    let first = digest[..8].try_into().expect("a SHA-256 has 32 bytes");
    u64::from_be_bytes(first) >> 11
}
