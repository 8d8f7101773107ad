//! The one place that reads the time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::saga::{Moment, Stamp};

/// Reads the time for the core.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Stamp;

    /// Random bits for jitter.
    fn entropy(&self) -> u64;

    /// Lets a wait of so many milliseconds pass at once, and says whether it did. Only a simulated clock does.
    fn leap(&self, _for_ms: u64) -> bool {
        false
    }

    /// Both, as the core wants them.
    fn moment(&self) -> Moment {
        Moment { at: self.now(), entropy: self.entropy() }
    }
}

/// The machine's clocks; or, in a simulated house, those of a place where long waits pass at once.
#[derive(Debug, Clone)]
pub struct SystemClock {
    boot: u64,
    boot_id: String,
    leaps: Option<Leaps>,
    #[cfg(debug_assertions)]
    bent: Option<Arc<Bent>>,
}

/// What a test does to the clocks of a whole process. Not in a release.
///
/// Its file has two numbers, how many milliseconds the wall clock and the time since the boot are ahead, of which the
/// first may be negative; and the word `leaps` when long waits pass at once, which move both on.
#[cfg(debug_assertions)]
#[derive(Debug)]
struct Bent {
    file: std::path::PathBuf,
    /// Waits that pass at the same time move it on one after the other.
    writing: std::sync::Mutex<()>,
}

#[cfg(debug_assertions)]
impl Bent {
    fn read(&self) -> (i64, u64, bool) {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let mut words = text.split_whitespace();
        let wall_ms = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        let up_ms = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        (wall_ms, up_ms, words.next() == Some("leaps"))
    }

    fn leap(&self, for_ms: u64) -> bool {
        let _alone = self.writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (wall_ms, up_ms, leaps) = self.read();
        if !leaps {
            return false;
        }
        let text =
            format!("{} {} leaps", wall_ms.saturating_add_unsigned(for_ms), up_ms.saturating_add(for_ms));
        // Whoever reads it meanwhile sees the one or the other.
        let next = self.file.with_extension("next");
        std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, &self.file)).is_ok()
    }
}

/// The time of a simulated house: the machine's, ahead by all the waits that were leapt over.
#[derive(Clone)]
pub struct Leaps {
    /// How far ahead it is now, in milliseconds.
    pub ahead_ms: Arc<AtomicU64>,
    /// Moves it on. What it sets must outlive the process: time never goes back within a run.
    pub leap: Arc<dyn Fn(u64) + Send + Sync>,
}

impl fmt::Debug for Leaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaps").field("ahead_ms", &self.ahead_ms).finish_non_exhaustive()
    }
}

/// Shorter waits are waited for in a simulated house too.
const LEAP_MIN_MS: u64 = 4_000;

impl SystemClock {
    /// Reads which boot this is, once.
    pub fn new() -> Self {
        // Source: random(4); absent in some containers, where one name for all boots has to do.
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = boot_id.trim().to_owned();
        Self {
            boot: short_hash(boot_id.as_bytes()),
            boot_id,
            leaps: None,
            #[cfg(debug_assertions)]
            bent: None,
        }
    }

    /// The same clocks in a simulated house.
    #[must_use]
    pub fn leaping(self, leaps: Leaps) -> Self {
        Self { leaps: Some(leaps), ..self }
    }

    /// The same clocks as a test wants them: see `Bent`.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn bent(self, file: std::path::PathBuf) -> Self {
        Self { bent: Some(Arc::new(Bent { file, writing: std::sync::Mutex::default() })), ..self }
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
        let ahead = self.leaps.as_ref().map_or(0, |leaps| leaps.ahead_ms.load(Ordering::SeqCst));
        let now = Stamp {
            wall_ms: wall.tv_sec * 1_000 + wall.tv_nsec / 1_000_000 + i64::try_from(ahead).unwrap_or(0),
            boot: self.boot,
            up_ms: u64::try_from(up.as_millis()).unwrap_or(u64::MAX).saturating_add(ahead),
        };
        #[cfg(debug_assertions)]
        if let Some((wall_ms, up_ms, _)) = self.bent.as_ref().map(|bent| bent.read()) {
            return Stamp {
                wall_ms: now.wall_ms.saturating_add(wall_ms),
                up_ms: now.up_ms.saturating_add(up_ms),
                ..now
            };
        }
        now
    }

    fn entropy(&self) -> u64 {
        getrandom::u64().unwrap_or(0)
    }

    fn leap(&self, for_ms: u64) -> bool {
        #[cfg(debug_assertions)]
        if let Some(bent) = &self.bent {
            return for_ms >= LEAP_MIN_MS && bent.leap(for_ms);
        }
        let leaps = self.leaps.as_ref().filter(|_| for_ms >= LEAP_MIN_MS);
        if let Some(leaps) = leaps {
            (leaps.leap)(for_ms);
        }
        leaps.is_some()
    }
}

/// The first 53 bits of a SHA-256: enough to tell names apart, and exact in every JSON reader.
pub fn short_hash(bytes: &[u8]) -> u64 {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(bytes);
    let first = digest[..8].try_into().expect("a SHA-256 has 32 bytes");
    u64::from_be_bytes(first) >> 11
}
