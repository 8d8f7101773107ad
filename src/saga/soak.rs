//! The arithmetic of a soak: which time counts, when it passes and when it fails.
//!
//! Good samples are many and alike, so they are counted in memory (a [`Tail`]) and saved now and then; a tail
//! that was not saved is lost with its process and is nothing but a gap in the watch.

use serde::{Deserialize, Serialize};

use super::outcome::{Answer, Verdict};
use super::time::Stamp;
use crate::plan::recorded::{OnGap, Soak};

/// A soak is saved at least this often in its course, so that 30 days cost a few hundred events and a crash
/// costs at most this share of its length.
const SAVES: u64 = 200;

/// What is recorded of a soak.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Soaking {
    /// When it began.
    pub began: Stamp,
    /// Good samples.
    pub good: u64,
    /// Good time, in milliseconds.
    pub good_ms: u64,
    /// Bad samples.
    pub bad: u64,
    /// Bad samples in a row.
    pub consecutive: u32,
    /// Inconclusive samples.
    pub inconclusive: u64,
    /// The last good sample from which time still counts.
    pub last_good: Option<Stamp>,
    /// The last sample of any kind.
    pub last_sample: Option<Stamp>,
    /// Time that nobody watched and that must not be: `on_gap = "fail"`.
    pub gap_ms: Option<u64>,
    /// The way back no longer works: what was seen.
    pub ready_lost: Option<Vec<Answer>>,
    /// A person goes on without the way back.
    pub ready_waived: bool,
    /// The last answers that were not all good.
    pub last_trouble: Option<Vec<Answer>>,
}

/// Good samples that are not saved yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// How many.
    pub good: u64,
    /// Good time they add, in milliseconds.
    pub good_ms: u64,
    /// When the last one was taken.
    pub last: Option<Stamp>,
}

/// What a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// Every check holds.
    Good,
    /// A check says `absent` or `partial`.
    Bad,
    /// None says so, but one could not look.
    Inconclusive,
}

impl Sample {
    /// Judges the answers of one sample.
    pub fn of(answers: &[Answer]) -> Self {
        let any = |verdict| answers.iter().any(|answer| answer.verdict == verdict);
        if any(Verdict::Absent) || any(Verdict::Partial) {
            Sample::Bad
        } else if any(Verdict::Unknown) {
            Sample::Inconclusive
        } else {
            Sample::Good
        }
    }
}

/// How a soak stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// More time is needed.
    On,
    /// Enough good time, and enough of it watched.
    Passed,
    /// It failed, for this reason.
    Failed(String),
}

impl Soaking {
    pub(super) fn began(at: Stamp) -> Self {
        Self {
            began: at,
            good: 0,
            good_ms: 0,
            bad: 0,
            consecutive: 0,
            inconclusive: 0,
            last_good: None,
            last_sample: None,
            gap_ms: None,
            ready_lost: None,
            ready_waived: false,
            last_trouble: None,
        }
    }

    /// The time that a good sample at `at` adds, and the gap before it if it was too long.
    pub(super) fn adds(&self, soak: &Soak, tail: &Tail, at: &Stamp) -> (u64, Option<u64>) {
        let Some(last) = tail.last.or(self.last_good) else { return (0, None) };
        let between = at.since_ms(&last);
        if between <= soak.max_gap_ms || soak.on_gap == OnGap::Count {
            (between, None)
        } else {
            (0, Some(between))
        }
    }

    /// Whether the tail is long enough to be saved.
    pub(super) fn worth_saving(soak: &Soak, tail: &Tail) -> bool {
        tail.good > 0 && tail.good_ms >= (soak.for_ms / SAVES).max(soak.every_ms)
    }

    /// How it stands, with what is not saved yet.
    pub fn stand(&self, soak: &Soak, tail: &Tail) -> Stand {
        let planned = (soak.for_ms / soak.every_ms).max(1);
        if self.consecutive > soak.max_consecutive_failures && tail.good == 0 {
            let (rows, most) = (self.consecutive, soak.max_consecutive_failures);
            return Stand::Failed(format!("{rows} bad samples in a row, at most {most} are borne"));
        }
        if let Some(share) = soak.error_budget
            && self.bad as f64 > share * planned as f64
        {
            let bad = self.bad;
            return Stand::Failed(format!(
                "{bad} bad samples of {planned} planned ones, the error budget is {}%",
                share * 100.0
            ));
        }
        if let Some(gap) = self.gap_ms {
            return Stand::Failed(format!("nobody watched for {} s and `on_gap` is `fail`", gap / 1_000));
        }
        let (good, good_ms) = (self.good + tail.good, self.good_ms + tail.good_ms);
        let covered = soak.coverage.is_none_or(|share| good as f64 >= share * planned as f64);
        if good_ms >= soak.for_ms && covered { Stand::Passed } else { Stand::On }
    }

    /// Good time with what is not saved yet, in milliseconds.
    pub fn healthy_ms(&self, tail: &Tail) -> u64 {
        self.good_ms.saturating_add(tail.good_ms)
    }

    /// How many more bad samples the error budget bears; absent: it has none.
    pub fn budget_left(&self, soak: &Soak) -> Option<u64> {
        let planned = (soak.for_ms / soak.every_ms).max(1);
        // Whole samples: the fraction of one bears none.
        soak.error_budget.map(|share| ((share * planned as f64) as u64).saturating_sub(self.bad))
    }

    /// When the next sample is due, in milliseconds from now.
    pub fn due_ms(&self, soak: &Soak, tail: &Tail, now: &Stamp) -> u64 {
        let last = match (tail.last, self.last_sample) {
            (Some(tail), Some(saved)) if now.since_ms(&tail) > now.since_ms(&saved) => Some(saved),
            (Some(tail), _) => Some(tail),
            (None, saved) => saved,
        };
        last.map_or(0, |last| soak.every_ms.saturating_sub(now.since_ms(&last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn at(minute: u64) -> Stamp {
        Stamp { wall_ms: 0, boot: 1, up_ms: minute * MINUTE }
    }

    fn terms() -> Soak {
        Soak {
            for_ms: 100 * MINUTE,
            every_ms: 5 * MINUTE,
            max_gap_ms: 10 * MINUTE,
            max_consecutive_failures: 1,
            error_budget: None,
            coverage: None,
            on_gap: OnGap::Extend,
        }
    }

    fn tail(good: u64, good_ms: u64, last: u64) -> Tail {
        Tail { good, good_ms, last: Some(at(last)) }
    }

    #[test]
    fn time_counts_between_good_samples_that_are_near_enough() {
        let (mut terms, soak) = (terms(), Soaking { last_good: Some(at(5)), ..Soaking::began(at(0)) });
        let none = Tail::default();
        assert_eq!(Soaking::began(at(0)).adds(&terms, &none, &at(50)), (0, None), "the first adds nothing");
        assert_eq!(soak.adds(&terms, &none, &at(15)), (10 * MINUTE, None));
        assert_eq!(
            soak.adds(&terms, &none, &at(16)),
            (0, Some(11 * MINUTE)),
            "unwatched time does not count"
        );
        assert_eq!(
            soak.adds(&terms, &tail(1, 0, 14), &at(16)),
            (2 * MINUTE, None),
            "the unsaved one is nearer"
        );
        terms.on_gap = OnGap::Count;
        assert_eq!(soak.adds(&terms, &none, &at(60)), (55 * MINUTE, None));
    }

    #[test]
    fn a_soak_passes_with_enough_good_time_and_enough_of_it_watched() {
        let mut terms = terms();
        let soak = Soaking { good: 10, good_ms: 90 * MINUTE, ..Soaking::began(at(0)) };
        assert_eq!(soak.stand(&terms, &tail(2, 9 * MINUTE, 99)), Stand::On);
        assert_eq!(soak.stand(&terms, &tail(2, 10 * MINUTE, 100)), Stand::Passed);
        // 20 samples are planned: 12 of them are 60%.
        terms.coverage = Some(0.65);
        assert_eq!(soak.stand(&terms, &tail(2, 10 * MINUTE, 100)), Stand::On);
        terms.coverage = Some(0.6);
        assert_eq!(soak.stand(&terms, &tail(2, 10 * MINUTE, 100)), Stand::Passed);
    }

    #[test]
    fn a_soak_fails_when_bad_samples_exceed_what_is_borne() {
        let mut terms = terms();
        let soak = |bad, consecutive| Soaking { bad, consecutive, ..Soaking::began(at(0)) };
        let none = Tail::default();
        assert_eq!(soak(1, 1).stand(&terms, &none), Stand::On);
        assert!(matches!(soak(2, 2).stand(&terms, &none), Stand::Failed(_)));
        assert_eq!(soak(2, 2).stand(&terms, &tail(1, 0, 9)), Stand::On, "a good one ends the row");
        terms.max_consecutive_failures = 9;
        terms.error_budget = Some(0.1);
        assert_eq!(soak(2, 0).stand(&terms, &none), Stand::On);
        assert!(matches!(soak(3, 0).stand(&terms, &none), Stand::Failed(_)));
        let gap = Soaking { gap_ms: Some(11 * MINUTE), ..Soaking::began(at(0)) };
        assert!(matches!(gap.stand(&terms, &none), Stand::Failed(_)));
    }

    #[test]
    fn a_sample_is_due_after_the_last_one_of_any_kind() {
        let terms = terms();
        let soak = Soaking { last_sample: Some(at(10)), ..Soaking::began(at(0)) };
        assert_eq!(Soaking::began(at(0)).due_ms(&terms, &Tail::default(), &at(3)), 0);
        assert_eq!(soak.due_ms(&terms, &Tail::default(), &at(12)), 3 * MINUTE);
        assert_eq!(soak.due_ms(&terms, &tail(1, 0, 11), &at(12)), 4 * MINUTE);
        assert_eq!(soak.due_ms(&terms, &tail(1, 0, 8), &at(12)), 3 * MINUTE, "a bad one came after the tail");
        assert_eq!(soak.due_ms(&terms, &Tail::default(), &at(99)), 0);
    }

    #[test]
    fn thirty_days_cost_a_few_hundred_saves() {
        let day = 24 * 60 * MINUTE;
        let terms = Soak { for_ms: 30 * day, ..terms() };
        let saved_after = (1..).find(|&n| Soaking::worth_saving(&terms, &tail(n, n * terms.every_ms, 0)));
        let saves = terms.for_ms / terms.every_ms / saved_after.unwrap();
        assert!((100..=400).contains(&saves), "{saves}");
    }
}
