//! All small plans, all outcomes, all cut points, all inputs, with a bounded number of things going wrong.
//!
//! A schedule is a list of choices; the first choice everywhere is the one where all is well. A depth-first
//! walk visits every schedule in which at most `most` choices are other ones. `RUNNER_FULL=1` raises the bounds.

use super::choose::Dfs;
use super::plans::{Case, KINDS, Kind, case, handover, step};
use super::sim::Sim;

fn full() -> bool {
    #[expect(clippy::disallowed_methods, reason = "a switch of the test run")]
    std::env::var("RUNNER_FULL").is_ok_and(|v| v == "1")
}

/// Walks all schedules of a plan; how many, and with how many events.
fn walk(case: &Case, most: usize, what: &str) -> (u64, u64) {
    let mut dfs = Dfs::new(most);
    let (mut schedules, mut events) = (0, 0);
    loop {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Sim::new(case, &mut dfs, true, false).run().events
        }));
        match result {
            Ok(more) => events += more,
            Err(panic) => {
                eprintln!("in {what}");
                std::panic::resume_unwind(panic);
            }
        }
        schedules += 1;
        if schedules % 100_000 == 0 {
            println!("{what}: {schedules} schedules so far");
        }
        if !dfs.advance() {
            return (schedules, events);
        }
    }
}

fn report(name: &str, plans: u64, total: (u64, u64), most: usize) {
    println!("{name}: {plans} plans, {} schedules, {} events, up to {most} bad choices", total.0, total.1);
}

fn add(total: &mut (u64, u64), more: (u64, u64)) {
    total.0 += more.0;
    total.1 += more.1;
}

#[test]
fn every_schedule_of_one_step() {
    let most = if full() { 3 } else { 2 };
    let mut total = (0, 0);
    for kind in KINDS {
        let mut case = case(vec![step(0, &[])], 2);
        case.make(0, kind);
        add(&mut total, walk(&case, most, &format!("{kind:?}")));
    }
    report("one step", KINDS.len() as u64, total, most);
}

#[test]
fn every_schedule_of_two_steps() {
    let most = if full() { 2 } else { 1 };
    let (mut total, mut plans) = ((0, 0), 0);
    for first in KINDS {
        for second in KINDS {
            for needs in [&[][..], &[0]] {
                let mut case = case(vec![step(0, &[]), step(1, needs)], 2);
                case.make(0, first);
                case.make(1, second);
                add(&mut total, walk(&case, most, &format!("{first:?} {second:?} {needs:?}")));
                plans += 1;
            }
        }
    }
    report("two steps", plans, total, most);
}

#[test]
fn every_schedule_of_a_handover() {
    let most = if full() { 2 } else { 1 };
    let mut total = (0, 0);
    for gone in [false, true] {
        add(&mut total, walk(&handover(gone), most, &format!("handover {gone}")));
    }
    report("handover", 2, total, most);
}

#[test]
fn every_schedule_of_three_steps() {
    const SHAPES: [(&[usize], &[usize]); 8] = [
        (&[], &[]),
        (&[0], &[]),
        (&[], &[0]),
        (&[], &[1]),
        (&[], &[0, 1]),
        (&[0], &[0]),
        (&[0], &[1]),
        (&[0], &[0, 1]),
    ];
    let kinds: &[Kind] = if full() {
        &KINDS
    } else {
        &[Kind::Probed, Kind::Idempotent, Kind::Nothing, Kind::Satisfied, Kind::Rollback]
    };
    let (mut total, mut plans) = ((0, 0), 0u64);
    let mut turn = 0;
    for (second, third) in SHAPES {
        for &a in kinds {
            for &b in kinds {
                for &c in kinds {
                    turn += 1;
                    // The small set takes every seventeenth plan of these: all shapes, all pairs of neighbours.
                    if !full() && turn % 17 != 0 {
                        continue;
                    }
                    let mut case = case(vec![step(0, &[]), step(1, second), step(2, third)], 2);
                    for (place, kind) in [a, b, c].into_iter().enumerate() {
                        case.make(place, kind);
                    }
                    add(&mut total, walk(&case, 1, &format!("{a:?} {b:?} {c:?} {second:?} {third:?}")));
                    plans += 1;
                }
            }
        }
    }
    report("three steps", plans, total, 1);
}
