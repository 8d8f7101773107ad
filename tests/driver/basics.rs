//! What a single process has to get right.

use std::time::Duration;

use runner::driver::{DriveError, Patience, WishError};
use runner::plan::recorded::{Gate, OnGap, Soak, Step};
use runner::saga::{Command, Direction, FailureClass, Refusal, Standing, Status, StepEvent, Verdict, What};
use tokio::time::sleep;

use crate::sim::*;

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn gated(name: &str, needs: &[&str]) -> Step {
    Step {
        gate: Some(Gate { question: "Go?".to_owned(), expires_ms: None, evidence: None }),
        ..step(name, needs)
    }
}

pub(crate) fn soak(name: &str, needs: &[&str], for_ms: u64, every_ms: u64) -> Step {
    Step {
        forward: None,
        soak: Some(Soak {
            for_ms,
            every_ms,
            max_gap_ms: every_ms * 2,
            max_consecutive_failures: 0,
            error_budget: None,
            coverage: None,
            on_gap: OnGap::Extend,
        }),
        verify: vec![look(name, "sample")],
        ..step(name, needs)
    }
}

fn failing(name: &'static str, takes_ms: u64) -> Script {
    Script {
        act: Box::new(move |key| {
            if key.step == id(name) && key.direction == Direction::Forward {
                Act::ends(takes_ms, End::Fails(FailureClass::Permanent))
            } else {
                Act::well(1_000)
            }
        }),
        ..Script::default()
    }
}

#[test]
fn a_chain_runs_and_goes_back() {
    let lab = Lab::new(
        definition(4, vec![step("a", &[]), probed("b", &["a"]), step("c", &["b"])]),
        Script::default(),
        1,
    );
    let rest = lab.run(Process::apply()).rest();
    assert_eq!(rest.standing, Standing::Complete);
    assert_eq!(lab.world.begun().len(), 3);
    let rest = lab.run(Process::rollback()).rest();
    assert_eq!(rest.standing, Standing::RolledBack { failed: None });
    assert!(lab.world.effects().values().all(|effect| !effect));
}

#[test]
fn steps_that_end_together_share_one_append() {
    let steps = (0..8).map(|i| step(&format!("s{i}"), &[])).collect();
    let lab = Lab::new(definition(8, steps), Script::default(), 1);
    assert_eq!(lab.run(Process::apply()).rest().standing, Standing::Complete);
    assert_eq!(lab.world.most_at_once(), 8);
    // Resumed with eight intents; eight ends, eight verified, and complete.
    assert_eq!(lab.log.batches(), [9, 17]);
}

#[test]
fn a_refused_wish_does_not_end_a_wait() {
    let mut flaky = step("a", &[]);
    flaky.retry.attempts = 3;
    flaky.retry.backoff_ms = 60_000;
    let script = Script {
        act: Box::new(|key| match key.attempt {
            1 => Act::ends(1_000, End::Fails(FailureClass::Transient)),
            _ => Act::well(1_000),
        }),
        ..Script::default()
    };
    let lab = Lab::new(definition(1, vec![flaky]), script, 3);
    let rest = lab.run_with(Process::apply(), |inside| async move {
        inside.until(|state| matches!(state.steps[0].status, Status::Retrying { .. })).await;
        let refused = inside.handle.wish(Command::Unpause, "me".to_owned()).await;
        assert!(matches!(refused, Err(WishError::Refused(Refusal::Nothing { .. }))));
    });
    assert_eq!(rest.rest().standing, Standing::Complete);
}

#[test]
fn no_wait_on_a_soak_says_when_the_next_sample_is_due() {
    let lab = Lab::new(definition(1, vec![soak("s", &[], 86_400_000, 300_000)]), Script::default(), 1);
    let rest = lab.run(Process::apply().with(Patience::Nothing)).rest();
    assert_eq!(rest.wake_ms, Some(300_000));
    assert!(!rest.stopped);
}

#[test]
fn a_halted_run_does_not_wait_for_a_sample_that_nobody_needs() {
    let steps = vec![soak("s", &[], 86_400_000, 3_600_000), step("a", &[])];
    let lab = Lab::new(definition(2, steps), failing("a", 10_000), 1);
    let process = Process { limit: secs(60), ..Process::apply() };
    let rest = lab.run(process).rest();
    assert_eq!(rest.standing, Standing::Halted { steps: vec![id("a")] });
}

#[test]
fn a_halted_run_does_not_wait_for_a_gate_that_leads_nowhere() {
    let steps = vec![gated("g", &[]), step("a", &[])];
    let lab = Lab::new(definition(2, steps), failing("a", 10_000), 1);
    let rest = lab.run(Process::apply().with(Patience::Everything)).rest();
    assert_eq!(rest.standing, Standing::Halted { steps: vec![id("a")] });
}

#[test]
fn what_is_not_on_disk_is_in_no_answer() {
    let lab = Lab::new(definition(1, vec![step("a", &[])]), Script::default(), 1);
    let ended = lab.run_with(Process::apply().fate(Fate::Fails(2)), |inside| async move {
        let wish = || inside.handle.wish(Command::Cancel, "me".to_owned());
        let (first, second) = futures_util::join!(wish(), wish());
        // The second would have said that the run is being cancelled already.
        assert!(matches!(first, Err(WishError::Gone)), "{first:?}");
        assert!(matches!(second, Err(WishError::Gone)), "{second:?}");
    });
    assert!(matches!(ended, Ended::Failed(DriveError::Journal(_))));
}

#[test]
fn a_panic_in_an_action_is_a_cut() {
    let script = Script {
        act: Box::new(|key| if key.attempt == 1 { Act::ends(1_000, End::Panics) } else { Act::well(1_000) }),
        ..Script::default()
    };
    let lab = Lab::new(definition(1, vec![probed("a", &[])]), script, 1);
    assert_eq!(lab.run(Process::apply()).rest().standing, Standing::Complete);
    assert!(
        lab.log
            .events()
            .iter()
            .any(|event| matches!(&event.what, What::Step { is: StepEvent::Cut { .. }, .. }))
    );
}

#[test]
fn a_failed_journal_leaves_nothing_to_come() {
    // `v` polls its verify every five seconds, and `s` samples every hour, when the journal fails.
    let verifying = Step { verify: vec![look("v", "never")], verify_within_ms: 600_000, ..step("v", &[]) };
    let steps = vec![verifying, soak("s", &[], 86_400_000, 3_600_000), step("a", &[])];
    let script = Script {
        act: Box::new(|key| Act::well(if key.step == id("a") { 12_000 } else { 1_000 })),
        look: Box::new(|seeing| {
            (10, if seeing.what == "never" { Verdict::Absent } else { seeing.plainly() })
        }),
        ..Script::default()
    };
    let lab = Lab::new(definition(3, steps), script, 1);
    let ended = lab.run_with(Process::apply(), |inside| async move {
        sleep(secs(11)).await;
        inside.log.fate(Fate::Fails(inside.log.appends() + 1));
    });
    assert!(matches!(ended, Ended::Failed(DriveError::Journal(_))));
}
