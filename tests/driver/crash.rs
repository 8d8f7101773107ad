//! Cut at every append, stopped, failed: what is on disk is enough to go on from.

use std::collections::BTreeMap;

use runner::driver::{DriveError, Patience};
use runner::plan::StepId;
use runner::plan::recorded::{Definition, OnFailure, Step};
use runner::saga::{AttemptKey, Direction, FailureClass, Standing, Status};
use tokio::time::sleep;

use crate::basics::soak;
use crate::sim::*;

fn verified(name: &str, needs: &[&str]) -> Step {
    Step { verify: vec![look(name, "verify")], undone: vec![look(name, "undone")], ..probed(name, needs) }
}

type Plan = (&'static str, Definition, fn() -> Script);

fn plans() -> Vec<Plan> {
    let chain = vec![probed("a", &[]), verified("b", &["a"]), probed("c", &["b"]), verified("d", &["c"])];
    let diamond = vec![
        probed("a", &[]),
        verified("b", &["a"]),
        probed("c", &["a"]),
        verified("d", &["a"]),
        probed("e", &["b", "c", "d"]),
    ];
    let mut failing = vec![probed("a", &[]), verified("b", &["a"]), probed("c", &["b"])];
    failing[2].on_failure = OnFailure::Rollback;
    let watched = vec![probed("a", &[]), soak("s", &["a"], 600_000, 60_000), probed("z", &["s"])];
    fn well() -> Script {
        Script::default()
    }
    fn c_fails() -> Script {
        let act = |key: &AttemptKey| match (key.step.as_str(), key.direction) {
            ("c", Direction::Forward) => Act::ends(500, End::Fails(FailureClass::Permanent)),
            _ => Act::well(1_000),
        };
        Script { act: Box::new(act), ..Script::default() }
    }
    fn survivors() -> Script {
        Script { act: Box::new(|_| Act { survives: true, ..Act::well(5_000) }), ..Script::default() }
    }
    vec![
        ("a chain", definition(4, chain.clone()), well),
        ("a chain of survivors", definition(4, chain), survivors),
        ("a diamond", definition(3, diamond), well),
        ("a failure that rolls back", definition(4, failing), c_fails),
        ("a soak", definition(4, watched), well),
    ]
}

/// How often each step's action was done, and not only begun.
fn ends(lab: &Lab) -> BTreeMap<StepId, (&'static str, bool)> {
    let state = lab.log.state();
    let effects = lab.world.effects();
    let steps = state.definition.steps.iter().zip(&state.steps);
    steps
        .map(|(step, found)| {
            (step.id.clone(), (found.status.word(), effects.get(&step.id).copied().unwrap_or(false)))
        })
        .collect()
}

#[test]
fn cut_at_every_append_a_run_comes_to_the_same_end() {
    let mut cuts = 0;
    for (name, plan, script) in plans() {
        let undisturbed = Lab::new(plan.clone(), script(), 7);
        let standing = undisturbed.run(Process::apply()).rest().standing;
        let appends = undisturbed.log.appends();
        for number in 1..=appends {
            for fate in [Fate::DiesBefore(number), Fate::DiesAfter(number)] {
                for reboot in [false, true] {
                    let lab = Lab::new(plan.clone(), script(), 7);
                    assert!(
                        matches!(lab.run(Process::apply().fate(fate)), Ended::Crashed),
                        "{name} {fate:?}"
                    );
                    let finished: Vec<StepId> = done(&lab);
                    let before = lab.world.begun().len();
                    if reboot {
                        lab.clock.reboot(30_000);
                    }
                    let rest = lab.run(Process::apply()).rest();
                    assert_eq!(rest.standing, standing, "{name} {fate:?}");
                    assert_eq!(ends(&lab), ends(&undisturbed), "{name} {fate:?}");
                    let again = lab.world.begun();
                    let again = again[before..]
                        .iter()
                        .find(|(key, _)| key.direction == Direction::Forward && finished.contains(&key.step));
                    assert!(again.is_none(), "{name} {fate:?}: {again:?} is run again");
                    cuts += 1;
                }
            }
        }
    }
    println!("{cuts} cuts");
}

/// The steps that have ended well, on disk.
fn done(lab: &Lab) -> Vec<StepId> {
    let mut state = runner::saga::open(&lab.log.events()[0]).unwrap();
    for event in &lab.log.events()[1..] {
        runner::saga::fold(&mut state, event).unwrap();
    }
    let steps = state.definition.steps.iter().zip(&state.steps);
    steps.filter(|(_, found)| found.status.ended_well()).map(|(step, _)| step.id.clone()).collect()
}

#[test]
fn a_rollback_cut_at_every_append_comes_to_the_same_end() {
    for (name, plan, script) in plans() {
        if name.contains("failure") {
            continue;
        }
        let undisturbed = Lab::new(plan.clone(), script(), 7);
        undisturbed.run(Process::apply()).rest();
        undisturbed.run(Process::rollback()).rest();
        for number in 1..=undisturbed.log.appends() {
            for fate in [Fate::DiesBefore(number), Fate::DiesAfter(number)] {
                let lab = Lab::new(plan.clone(), script(), 7);
                lab.run(Process::apply()).rest();
                assert!(matches!(lab.run(Process::rollback().fate(fate)), Ended::Crashed));
                let rest = lab.run(Process::rollback()).rest();
                assert_eq!(rest.standing, Standing::RolledBack { failed: None }, "{name} {fate:?}");
                assert!(lab.world.effects().values().all(|effect| !effect));
            }
        }
    }
}

#[test]
fn after_a_failed_append_nothing_starts_and_the_run_can_go_on() {
    for (name, plan, script) in plans() {
        let undisturbed = Lab::new(plan.clone(), script(), 7);
        undisturbed.run(Process::apply()).rest();
        for number in 1..=undisturbed.log.appends() {
            let lab = Lab::new(plan.clone(), script(), 7);
            let ended = lab.run(Process::apply().fate(Fate::Fails(number)));
            assert!(matches!(ended, Ended::Failed(DriveError::Journal(_))), "{name} {number}: {ended:?}");
            lab.run(Process::apply()).rest();
            assert_eq!(ends(&lab), ends(&undisturbed), "{name} {number}");
        }
    }
}

#[test]
fn a_slow_journal_loses_and_reorders_nothing() {
    for (name, plan, script) in plans() {
        let undisturbed = Lab::new(plan.clone(), script(), 7);
        let standing = undisturbed.run(Process::apply()).rest().standing;
        for seed in 0..20 {
            let lab = Lab::new(plan.clone(), script(), seed);
            let slow = Process { delay_max_ms: 30_000, ..Process::apply() };
            assert_eq!(lab.run(slow).rest().standing, standing, "{name}");
            assert_eq!(ends(&lab), ends(&undisturbed), "{name}");
        }
    }
}

#[test]
fn a_stop_lets_finish_or_stops_as_declared_and_starts_nothing() {
    let steps = vec![probed("finish", &[]), probed("stop", &[]), probed("after", &["finish"])];
    let script = Script {
        act: Box::new(|key| Act { stoppable: key.step == id("stop"), ..Act::well(60_000) }),
        ..Script::default()
    };
    let lab = Lab::new(definition(3, steps), script, 1);
    let started = lab.clock_ms();
    let rest = lab
        .run_with(Process::apply(), |inside| async move {
            inside.until(|state| state.steps[0].status.word() == "running").await;
            sleep(std::time::Duration::from_secs(10)).await;
            inside.stop();
            inside.stop();
        })
        .rest();
    assert!(rest.stopped);
    assert_eq!(lab.words(), ["verifying", "interrupted", "pending"]);
    assert!((60_000..61_000).contains(&(lab.clock_ms() - started)), "it ends with the action");
    assert_eq!(lab.run(Process::apply()).rest().standing, Standing::Complete);
}

#[test]
fn stopped_before_it_begins_it_starts_nothing() {
    let lab = Lab::new(definition(1, vec![step("a", &[])]), Script::default(), 1);
    let process = Process { delay_max_ms: 5_000, ..Process::apply() };
    let rest = lab.run_with(process, |inside| {
        inside.stop();
        std::future::ready(())
    });
    let rest = rest.rest();
    assert!(rest.stopped);
    assert!(matches!(lab.status("a"), Status::Pending));
    assert!(lab.world.begun().is_empty());
}

#[test]
fn a_stop_saves_what_a_soak_has_seen() {
    let lab = Lab::new(definition(1, vec![soak("s", &[], 86_400_000, 60_000)]), Script::default(), 1);
    let stopped = lab.run_with(Process::apply(), |inside| async move {
        sleep(std::time::Duration::from_secs(5 * 60 + 30)).await;
        inside.stop();
    });
    assert!(stopped.rest().stopped);
    let Status::Soaking(soaking) = lab.status("s") else { panic!("{:?}", lab.status("s")) };
    assert_eq!((soaking.good, soaking.good_ms / 1_000), (6, 300));
    // Within the allowed gap nothing is lost.
    let nothing = lab.run(Process::apply().with(Patience::Nothing)).rest();
    assert!(nothing.wake_ms.is_some_and(|ms| ms <= 60_000), "{:?}", nothing.wake_ms);
}
