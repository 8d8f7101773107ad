//! Random plans up to 60 steps with random outcomes, crashes and inputs, each named by its seed.

use super::choose::Seeded;
use super::plans::random;
use super::sim::Sim;

/// Seeds that once failed: run first, for ever.
const FAILED_ONCE: &[(u64, usize)] = &[
    (1_000_009, 6),
    (1_000_011, 6),
    (1_000_062, 6),
    (1_001_930, 6),
    (1_011_891, 6),
    (2_000_003, 60),
    (2_000_005, 60),
    (2_000_122, 60),
    (2_000_170, 60),
];

fn one(seed: u64, most: usize) -> u64 {
    let mut dice = Seeded::new(seed);
    let case = random(&mut dice, most);
    let mut choose = Seeded::new(seed ^ 0xC0FFEE);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        Sim::new(&case, &mut choose, true, most <= 6).run().events
    }));
    result.unwrap_or_else(|panic| {
        eprintln!("seed {seed} with up to {most} steps failed");
        std::panic::resume_unwind(panic)
    })
}

#[test]
fn seeds_that_once_failed() {
    for &(seed, most) in FAILED_ONCE {
        one(seed, most);
    }
}

fn many(name: &str, from: u64, count: u64, most: usize) {
    let times = {
        #[expect(clippy::disallowed_methods, reason = "a switch of the test run")]
        std::env::var("RUNNER_FULL").map_or(1, |_| 50)
    };
    let mut events = 0;
    for seed in from..from + count * times {
        events += one(seed, most);
    }
    println!("{name}: {} runs, {events} events", count * times);
}

#[test]
fn random_small_plans() {
    many("random plans of up to 6 steps", 1_000_000, 600, 6);
}

#[test]
fn random_large_plans() {
    many("random plans of up to 60 steps", 2_000_000, 40, 60);
}
