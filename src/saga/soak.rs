//! The arithmetic of a soak: which time counts, when it passes and when it fails.
//!
//! Good samples are many and alike, so they are counted in memory (a [`Tail`]) and saved now and then; a tail
//! that was not saved is lost with its process and is nothing but a gap in the watch.

use serde::{Deserialize, Serialize};

use super::memory::Memory;
use super::outcome::{Answer, Verdict};
use super::time::Stamp;
use crate::plan::recorded::{OnGap, Soak};

/// A soak is saved as events at least this often in its course, so that 30 days cost some hundred events. What
/// comes between is kept beside the journal (see `saga::Kept`).
const SAVES: u64 = 120;

/// Samples are never taken to the millisecond: by this share of `every` one may come early, and the way to it be
/// longer than `max_gap`.
const SLACK: u64 = 10;

/// A share of whole numbers is not exact in binary: 29% of 100 are 28.999….
const ROUNDING: f64 = 1e-9;

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
    /// Bad samples in a row; inconclusive ones neither end nor prolong it.
    pub consecutive: u32,
    /// Inconclusive samples.
    pub inconclusive: u64,
    /// The last good sample, if nothing bad was seen since: good time goes on from there.
    pub last_good: Option<Stamp>,
    /// The last sample that was not inconclusive: from there on nobody knows how it was.
    #[serde(default)]
    pub last_watched: Option<Stamp>,
    /// The first good sample since which nothing bad was seen and the way back was not lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_since: Option<Stamp>,
    /// The last sample of any kind.
    pub last_sample: Option<Stamp>,
    /// Time that nobody watched and that must not be: `on_gap = "fail"`.
    pub gap_ms: Option<u64>,
    /// The way back no longer works: what was seen.
    pub ready_lost: Option<Vec<Answer>>,
    /// A person goes on without the way back: it is not looked at any more.
    pub ready_waived: bool,
    /// The last answers that were not all good.
    pub last_trouble: Option<Vec<Answer>>,
    /// What the samples remember for those that follow.
    #[serde(default)]
    pub memory: Memory,
}

/// Good samples that are not saved as events yet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// How many.
    pub good: u64,
    /// Good time they add, in milliseconds.
    pub good_ms: u64,
    /// When the last one was taken.
    pub last: Option<Stamp>,
    /// What they remember; empty: what is recorded holds.
    #[serde(default, skip_serializing_if = "Memory::is_empty")]
    pub memory: Memory,
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

/// What a good sample adds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Adds {
    /// Good time, in milliseconds.
    pub(super) good_ms: u64,
    /// It ends a gap that `on_gap = "fail"` does not bear.
    pub(super) fails: bool,
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
            last_watched: None,
            healthy_since: None,
            last_sample: None,
            gap_ms: None,
            ready_lost: None,
            ready_waived: false,
            last_trouble: None,
            memory: Memory::default(),
        }
    }

    /// Good time in milliseconds, with what is not saved yet.
    pub fn healthy_ms(&self, tail: &Tail) -> u64 {
        self.good_ms.saturating_add(tail.good_ms)
    }

    /// Since when nothing bad was seen, with what is not saved yet; a gap before the first save after a bad sample makes
    /// it later, never earlier.
    pub fn healthy_since(&self, tail: &Tail) -> Option<Stamp> {
        self.healthy_since.or_else(|| tail.last.map(|last| last.before_ms(tail.good_ms)))
    }

    /// Good time that is still needed, in milliseconds. 0 does not mean that it passes: see [`Soaking::stand`].
    pub fn remaining_ms(&self, soak: &Soak, tail: &Tail) -> u64 {
        soak.for_ms.saturating_sub(self.healthy_ms(tail))
    }

    /// How many samples are planned: as many times as `every` goes into `for`, at least one.
    pub fn planned(soak: &Soak) -> u64 {
        (soak.for_ms / soak.every_ms.max(1)).max(1)
    }

    /// How many bad samples in all are borne; `None`: there is no `error_budget`.
    pub fn budget(soak: &Soak) -> Option<u64> {
        let share = soak.error_budget?;
        Some((share * Self::planned(soak) as f64 + ROUNDING) as u64)
    }

    /// How many more bad samples are borne; `None`: there is no `error_budget`, and only rows of them count.
    pub fn budget_left(&self, soak: &Soak) -> Option<u64> {
        Self::budget(soak).map(|budget| budget.saturating_sub(self.bad))
    }

    /// How many good samples it takes to pass: `coverage` of the planned ones.
    pub fn needed(soak: &Soak) -> u64 {
        soak.coverage.map_or(0, |share| (share * Self::planned(soak) as f64 - ROUNDING).ceil() as u64)
    }

    /// What a good sample at `at` adds.
    ///
    /// Time counts between two good samples with nothing bad between them that are at most `max_gap` apart. A
    /// longer one is a gap, and with `on_gap = "count"` counts as well; across a boot only the wall clock knows how
    /// long it was, and its word is taken for `max_gap` at most.
    pub(super) fn adds(&self, soak: &Soak, tail: &Tail, at: &Stamp) -> Adds {
        let fails = soak.on_gap == OnGap::Fail && is_gap(soak, self.gap_ms(tail, at));
        let Some(last) = tail.last.or(self.last_good) else { return Adds { good_ms: 0, fails } };
        let between = at.since_ms(&last);
        let good_ms = match soak.on_gap {
            _ if !is_gap(soak, between) => between,
            OnGap::Count if at.boot == last.boot => between,
            OnGap::Count => soak.max_gap_ms,
            OnGap::Extend | OnGap::Fail => 0,
        };
        Adds { good_ms, fails }
    }

    /// How long nobody has seen how it is, in milliseconds.
    fn gap_ms(&self, tail: &Tail, at: &Stamp) -> u64 {
        tail.last.or(self.last_watched).map_or(0, |last| at.since_ms(&last))
    }

    /// Whether the tail is to be saved as an event: it is long enough, or it ends a row of bad samples.
    pub(super) fn worth_saving(&self, soak: &Soak, tail: &Tail) -> bool {
        let enough = tail.good_ms >= (soak.for_ms / SAVES).max(soak.every_ms);
        tail.good > 0 && (enough || self.consecutive > 0)
    }

    /// Good samples are recorded.
    pub(super) fn saved(&mut self, good: u64, good_ms: u64, last: Stamp, memory: &Memory) {
        self.good += good;
        self.good_ms += good_ms;
        self.consecutive = 0;
        self.healthy_since = self.healthy_since.or_else(|| Some(last.before_ms(good_ms)));
        self.last_good = Some(last);
        self.last_watched = Some(last);
        self.last_sample = Some(last);
        self.learned(memory);
    }

    /// A sample is recorded that is not among the many good ones.
    pub(super) fn sampled(&mut self, soak: Option<&Soak>, answers: &[Answer], at: Stamp, memory: &Memory) {
        let gap = self.gap_ms(&Tail::default(), &at);
        if soak.is_some_and(|soak| soak.on_gap == OnGap::Fail && is_gap(soak, gap)) {
            self.gap_ms = Some(gap);
        }
        self.last_sample = Some(at);
        self.last_trouble = Some(answers.to_vec());
        self.learned(memory);
        match Sample::of(answers) {
            Sample::Bad => {
                self.bad += 1;
                self.consecutive = self.consecutive.saturating_add(1);
                self.healthy_since = None;
                self.last_good = None;
                self.last_watched = Some(at);
            }
            Sample::Inconclusive => self.inconclusive += 1,
            Sample::Good => {
                self.good += 1;
                self.consecutive = 0;
                self.healthy_since = self.healthy_since.or(Some(at));
                self.last_good = Some(at);
                self.last_watched = Some(at);
            }
        }
    }

    /// The way back no longer works: time stands still, and is no gap.
    pub(super) fn lost(&mut self, answers: &[Answer], at: Stamp) {
        self.ready_lost = Some(answers.to_vec());
        self.healthy_since = None;
        self.last_good = None;
        self.last_watched = None;
        self.last_sample = Some(at);
    }

    fn learned(&mut self, memory: &Memory) {
        if !memory.is_empty() {
            self.memory = memory.clone();
        }
    }

    /// How it stands, with what is not saved yet.
    ///
    /// It can always still pass: what is missing of time or coverage is made up by going on. Only bad samples, and
    /// gaps where they must not be, fail it.
    pub fn stand(&self, soak: &Soak, tail: &Tail) -> Stand {
        if self.consecutive > soak.max_consecutive_failures && tail.good == 0 {
            let (rows, most) = (self.consecutive, soak.max_consecutive_failures);
            let last = self.last_words();
            return Stand::Failed(format!("{rows} bad samples in a row, at most {most} are borne{last}"));
        }
        if let (Some(share), Some(budget)) = (soak.error_budget, Self::budget(soak))
            && self.bad > budget
        {
            let (bad, planned) = (self.bad, Self::planned(soak));
            // The product is not exact either: 0.07 are 7.000000000000001%.
            let percent = (share * 1e8).round() / 1e6;
            let last = self.last_words();
            return Stand::Failed(format!(
                "{bad} bad samples of {planned} planned ones, the error budget is {percent}%{last}"
            ));
        }
        if let Some(gap) = self.gap_ms {
            return Stand::Failed(format!("nobody watched for {} s and `on_gap` is `fail`", gap / 1_000));
        }
        let covered = self.good + tail.good >= Self::needed(soak);
        if self.healthy_ms(tail) >= soak.for_ms && covered { Stand::Passed } else { Stand::On }
    }

    /// What was wrong with the last sample that was not good, for the end of a sentence.
    fn last_words(&self) -> String {
        let of = |verdicts: &[Verdict]| {
            self.last_trouble.iter().flatten().find(|answer| verdicts.contains(&answer.verdict))
        };
        let trouble = of(&[Verdict::Absent, Verdict::Partial]).or_else(|| of(&[Verdict::Unknown]));
        trouble.map_or_else(String::new, |answer| format!("; the last: {}", answer.reason))
    }

    /// When the next sample is due, in milliseconds from `now`: `every` after the last one of any kind, and at once
    /// after a boot, across which nobody knows how long it was.
    ///
    /// Whoever comes by a tenth of `every` early takes it all the same: a timer that fires every `every` is never
    /// exact, and would else find every second sample not yet due.
    pub fn due_ms(&self, soak: &Soak, tail: &Tail, now: &Stamp) -> u64 {
        let last = match (tail.last, self.last_sample) {
            (Some(tail), Some(saved)) if now.since_ms(&tail) > now.since_ms(&saved) => Some(saved),
            (Some(tail), _) => Some(tail),
            (None, saved) => saved,
        };
        let same_boot = |last: &Stamp| last.boot == now.boot && last.up_ms <= now.up_ms;
        let left = |last: Stamp| soak.every_ms.saturating_sub(now.since_ms(&last));
        let due_ms = last.filter(same_boot).map_or(0, left);
        if due_ms <= soak.every_ms / SLACK { 0 } else { due_ms }
    }
}

/// Whether nobody watched for longer than is borne.
fn is_gap(soak: &Soak, between_ms: u64) -> bool {
    between_ms > soak.max_gap_ms.saturating_add(soak.every_ms / SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn at(minute: u64) -> Stamp {
        let up_ms = minute * MINUTE;
        Stamp { wall_ms: up_ms.cast_signed(), boot: 1, up_ms }
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
        Tail { good, good_ms, last: Some(at(last)), memory: Memory::default() }
    }

    #[test]
    fn healthy_since_is_the_first_good_sample_after_the_last_bad_one() {
        let answer = |verdict| Answer::new(verdict, "");
        let (none, memory) = (Tail::default(), Memory::default());
        let mut soak = Soaking::began(at(0));
        assert_eq!(soak.healthy_since(&none), None);
        assert_eq!(soak.healthy_since(&tail(3, 10 * MINUTE, 12)), Some(at(2)), "before anything is saved");
        soak.saved(3, 10 * MINUTE, at(12), &memory);
        soak.saved(2, 10 * MINUTE, at(22), &memory);
        assert_eq!(soak.healthy_since(&tail(1, 5 * MINUTE, 27)), Some(at(2)));
        soak.sampled(None, &[answer(Verdict::Unknown)], at(27), &memory);
        assert_eq!(soak.healthy_since(&none), Some(at(2)), "nobody knows that it was ill");
        soak.sampled(None, &[answer(Verdict::Absent)], at(32), &memory);
        assert_eq!(soak.healthy_since(&none), None);
        soak.sampled(None, &[answer(Verdict::Holds)], at(37), &memory);
        soak.saved(1, 5 * MINUTE, at(42), &memory);
        assert_eq!(soak.healthy_since(&none), Some(at(37)));
        soak.lost(&[], at(47));
        assert_eq!(soak.healthy_since(&none), None);
    }

    #[test]
    fn time_counts_between_good_samples_that_are_near_enough() {
        let mut terms = terms();
        let watched = |last| Soaking {
            last_good: Some(at(last)),
            last_watched: Some(at(last)),
            ..Soaking::began(at(0))
        };
        let (soak, none) = (watched(5), Tail::default());
        let adds = |minutes, fails| Adds { good_ms: minutes * MINUTE, fails };
        assert_eq!(
            Soaking::began(at(0)).adds(&terms, &none, &at(50)),
            adds(0, false),
            "the first adds nothing"
        );
        assert_eq!(soak.adds(&terms, &none, &at(15)), adds(10, false));
        assert_eq!(soak.adds(&terms, &none, &at(16)), adds(0, false), "unwatched time does not count");
        assert_eq!(soak.adds(&terms, &tail(1, 0, 14), &at(16)), adds(2, false), "the unsaved one is nearer");
        terms.on_gap = OnGap::Fail;
        assert_eq!(soak.adds(&terms, &none, &at(15)), adds(10, false));
        assert_eq!(soak.adds(&terms, &none, &at(16)), adds(0, true));
        terms.on_gap = OnGap::Count;
        assert_eq!(soak.adds(&terms, &none, &at(60)), adds(55, false));
        let boot = Stamp { wall_ms: 365 * 24 * 60 * MINUTE.cast_signed(), boot: 2, up_ms: 0 };
        assert_eq!(soak.adds(&terms, &none, &boot), adds(10, false), "the wall clock may have been set");
    }

    #[test]
    fn shares_of_whole_numbers_are_whole() {
        let soak = |planned: u64, share| Soak {
            for_ms: planned * 5 * MINUTE,
            error_budget: Some(share),
            coverage: Some(share),
            ..terms()
        };
        for (planned, share, budget, needed) in [
            (100, 0.29, 29, 29),
            (100, 0.07, 7, 7),
            (864, 0.01, 8, 9),
            (20, 0.0, 0, 0),
            (20, 1.0, 20, 20),
            (8_640, 0.9, 7_776, 7_776),
        ] {
            let soak = soak(planned, share);
            assert_eq!(
                (Soaking::budget(&soak), Soaking::needed(&soak)),
                (Some(budget), needed),
                "{share} of {planned}"
            );
        }
        let bad = Soaking { bad: 30, ..Soaking::began(at(0)) };
        assert_eq!(bad.budget_left(&soak(100, 0.29)), Some(0));
        assert_eq!(bad.budget_left(&soak(100, 0.35)), Some(5));
        assert_eq!(bad.budget_left(&terms()), None);
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
        // Another boot, whatever the wall clock says; and one that has no name of its own.
        assert_eq!(soak.due_ms(&terms, &Tail::default(), &Stamp { wall_ms: -5, boot: 2, up_ms: 0 }), 0);
        assert_eq!(soak.due_ms(&terms, &Tail::default(), &at(1)), 0);
    }

    #[test]
    fn thirty_days_cost_a_few_hundred_saves() {
        let day = 24 * 60 * MINUTE;
        let terms = Soak { for_ms: 30 * day, ..terms() };
        let soak = Soaking::began(at(0));
        let saved_after = (1..).find(|&n| soak.worth_saving(&terms, &tail(n, n * terms.every_ms, 0)));
        let saves = terms.for_ms / terms.every_ms / saved_after.unwrap();
        assert!((100..=150).contains(&saves), "{saves}");
    }
}
