//! Waiting: soaks of weeks, back-offs, windows, gates; clocks that are set, machines that sleep and are booted.

use std::time::Duration;

use runner::driver::{Patience, WishError};
use runner::plan::recorded::{Gate, Step, Window};
use runner::saga::{Command, Direction, FailureClass, Standing, Status, StepEvent, Terms, What};
use tokio::time::sleep;

use crate::basics::soak;
use crate::sim::*;

const DAY: u64 = 86_400_000;

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

fn flaky(name: &str, backoff_ms: u64) -> Step {
    let mut made = probed(name, &[]);
    made.retry.attempts = 3;
    (made.retry.backoff_ms, made.retry.max_backoff_ms) = (backoff_ms, backoff_ms * 4);
    made
}

/// The first two attempts fail.
fn third_time_lucky() -> Script {
    Script {
        act: Box::new(|key| match key.attempt {
            1 | 2 if key.step == id("a") => Act::ends(1_000, End::Fails(FailureClass::Transient)),
            _ => Act::well(1_000),
        }),
        ..Script::default()
    }
}

/// The pauses that the journal says, in milliseconds.
fn pauses(lab: &Lab) -> Vec<u64> {
    let events = lab.log.events().into_iter();
    events
        .filter_map(|event| match event.what {
            What::Step { is: StepEvent::AttemptFailed { again_in_ms, .. }, .. } => again_in_ms,
            _ => None,
        })
        .collect()
}

#[test]
fn thirty_days_of_soak_cost_few_events() {
    let lab = Lab::new(definition(1, vec![soak("s", &[], 30 * DAY, 300_000)]), Script::default(), 1);
    let began = lab.clock_ms();
    let process = Process { limit: hours(24 * 60), watched: false, ..Process::apply() };
    assert_eq!(lab.run(process).rest().standing, Standing::Complete);
    let took = lab.clock_ms() - began;
    assert!((30 * DAY..30 * DAY + 3_600_000).contains(&took), "{took}");
    let events = lab.log.events().len();
    println!("30 days undisturbed: {events} events");
    assert!(events <= 400, "{events}");
}

#[test]
fn thirty_days_of_soak_with_a_crash_a_day_cost_few_events() {
    let lab = Lab::new(definition(1, vec![soak("s", &[], 30 * DAY, 300_000)]), Script::default(), 1);
    for day in 0_u64..80 {
        let process = Process { limit: hours(24 * 60), watched: false, ..Process::apply() };
        let log = std::sync::Arc::clone(&lab.log);
        let ended = lab.run_with(process, |inside| async move {
            sleep(hours(23) + Duration::from_secs(day * 37)).await;
            if day % 2 == 0 {
                inside.stop();
            } else {
                log.crash_now();
            }
        });
        match ended {
            Ended::Crashed => {}
            Ended::Rest(rest) if rest.stopped => {}
            Ended::Rest(rest) => {
                assert_eq!(rest.standing, Standing::Complete);
                let events = lab.log.events().len();
                println!("30 days with an end a day: {events} events, {day} days");
                assert!(events <= 400, "{events}");
                assert!(day <= 36, "crashes cost too much: {day} days");
                return;
            }
            other => panic!("{other:?}"),
        }
        match day % 3 {
            0 => lab.clock.reboot(60_000),
            1 => lab.clock.step_wall(-7_200_000),
            _ => {}
        }
    }
    panic!("it never passes");
}

#[test]
fn a_backoff_is_as_long_as_the_journal_says() {
    for seed in 0..50 {
        let lab = Lab::new(definition(1, vec![flaky("a", 60_000)]), third_time_lucky(), seed);
        assert_eq!(lab.run(Process::apply()).rest().standing, Standing::Complete);
        let begun: Vec<u64> = lab.world.begun().iter().map(|(_, at)| at.up_ms).collect();
        let pauses = pauses(&lab);
        for (place, pause) in pauses.iter().enumerate() {
            let real = begun[place + 1] - begun[place] - 1_000;
            assert!((*pause..pause + 100).contains(&real), "{real} instead of {pause}");
        }
    }
}

#[test]
fn a_slow_journal_does_not_prolong_a_backoff() {
    let lab = Lab::new(definition(1, vec![flaky("a", 3_600_000)]), third_time_lucky(), 5);
    let slow = Process { delay_max_ms: 20_000, ..Process::apply() };
    assert_eq!(lab.run(slow).rest().standing, Standing::Complete);
    let begun: Vec<u64> = lab.world.begun().iter().map(|(_, at)| at.up_ms).collect();
    for (place, pause) in pauses(&lab).iter().enumerate() {
        let real = begun[place + 1] - begun[place] - 1_000;
        // Its own append and that of the next intent.
        assert!((*pause..=pause + 20_100).contains(&real) || *pause < 20_000, "{real} instead of {pause}");
    }
}

#[test]
fn a_stepped_wall_clock_a_sleep_and_a_boot_neither_end_nor_prolong_a_backoff() {
    for seed in 0..20 {
        for what in ["step on", "step back", "sleep", "crash", "boot"] {
            let lab = Lab::new(definition(1, vec![flaky("a", 7_200_000)]), third_time_lucky(), seed);
            let clock = std::sync::Arc::clone(&lab.clock);
            let log = std::sync::Arc::clone(&lab.log);
            let ended = lab.run_with(Process::apply(), |inside| async move {
                inside.until(|state| matches!(state.steps[0].status, Status::Retrying { .. })).await;
                sleep(Duration::from_secs(1)).await;
                match what {
                    "step on" => clock.step_wall(10 * DAY.cast_signed()),
                    "step back" => clock.step_wall(-10 * DAY.cast_signed()),
                    "sleep" => clock.suspend(1_000_000),
                    _ => log.crash_now(),
                }
            });
            if matches!(ended, Ended::Crashed) {
                if what == "boot" {
                    lab.clock.reboot(1_000_000);
                }
                assert_eq!(lab.run(Process::apply()).rest().standing, Standing::Complete);
            }
            let begun: Vec<_> = lab.world.begun().into_iter().map(|(_, at)| at).collect();
            let pause = pauses(&lab)[0];
            let real = begun[1].since_ms(&begun[0]) - 1_000;
            // The machine may have slept beyond the end of the pause; and it looks every thirty seconds.
            let least = pause;
            let most = pause.max(1_002_000) + 30_100;
            let most = if matches!(what, "sleep" | "boot") { most } else { pause + 30_100 };
            assert!((least..=most).contains(&real), "{what}: {real} instead of {pause}");
        }
    }
}

#[test]
fn no_wait_takes_what_is_due_and_says_when_it_goes_on() {
    let lab = Lab::new(definition(2, vec![flaky("a", 3_600_000), step("b", &[])]), third_time_lucky(), 9);
    let rest = lab.run(Process::apply().with(Patience::Nothing)).rest();
    let Status::Retrying { pause } = lab.status("a") else { panic!("{:?}", lab.status("a")) };
    assert_eq!(rest.wake_ms, Some(pause.left_ms(&lab.ended_at())));
}

#[test]
fn no_wait_says_when_a_window_opens() {
    // It is Monday noon; the window opens at 20:00.
    let window = Window { days: vec![0], from_minute: 20 * 60, to_minute: 22 * 60, zone: "UTC".to_owned() };
    let windowed = Step { window: Some(window), ..step("a", &[]) };
    let lab = Lab::new(definition(1, vec![windowed]), Script::default(), 1);
    let rest = lab.run(Process::apply().with(Patience::Nothing)).rest();
    assert_eq!(rest.wake_ms, Some(8 * 3_600_000));
    let began = lab.clock_ms();
    assert_eq!(lab.run(Process::apply()).rest().standing, Standing::Complete);
    assert!(lab.clock_ms() - began >= 8 * 3_600_000);
}

#[test]
fn a_window_opens_by_the_wall_clock_as_it_is_set_now() {
    let window = Window { days: vec![0], from_minute: 20 * 60, to_minute: 22 * 60, zone: "UTC".to_owned() };
    let windowed = Step { window: Some(window), ..step("a", &[]) };
    let lab = Lab::new(definition(1, vec![windowed]), Script::default(), 1);
    let clock = std::sync::Arc::clone(&lab.clock);
    let process = Process { limit: Duration::from_secs(3_700), ..Process::apply() };
    let rest = lab.run_with(process, |_| async move {
        sleep(hours(1)).await;
        clock.step_wall(8 * 3_600_000);
    });
    assert_eq!(rest.rest().standing, Standing::Complete);
}

#[test]
fn a_gate_ends_an_apply_and_not_one_that_waits() {
    let gate = Gate { question: "Go?".to_owned(), expires_ms: None, evidence: None };
    let gated = Step { gate: Some(gate), ..step("g", &[]) };
    let lab = Lab::new(definition(2, vec![gated, soak("s", &[], 3_600_000, 60_000)]), Script::default(), 1);
    let rest = lab.run(Process::apply()).rest();
    // The soak went on beside it.
    assert_eq!(lab.words(), ["awaiting_approval", "done"]);
    assert_eq!((rest.standing, rest.wake_ms), (Standing::Open, None));
    let rest = lab.run_with(Process::apply().with(Patience::Everything), |inside| async move {
        sleep(hours(5)).await;
        let approve = Command::Approve { step: id("g"), note: String::new() };
        inside.handle.wish(approve, "me".to_owned()).await.unwrap();
    });
    assert_eq!(rest.rest().standing, Standing::Complete);
}

#[test]
fn a_request_that_ran_out_while_the_machine_slept_cannot_be_approved() {
    let gate = Gate { question: "Go?".to_owned(), expires_ms: Some(12 * 3_600_000), evidence: None };
    let lab =
        Lab::new(definition(1, vec![Step { gate: Some(gate), ..step("g", &[]) }]), Script::default(), 1);
    let clock = std::sync::Arc::clone(&lab.clock);
    let rest = lab.run_with(Process::apply().with(Patience::Everything), |inside| async move {
        let approve =
            || inside.handle.wish(Command::Approve { step: id("g"), note: String::new() }, "me".to_owned());
        sleep(hours(1)).await;
        clock.suspend(12 * 3_600_000);
        // No timer has gone off since: the machine was asleep.
        let late = approve().await;
        assert!(matches!(late, Err(WishError::Refused(_))), "{late:?}");
        // It is asked again, and that one can be answered.
        sleep(hours(1)).await;
        approve().await.unwrap();
    });
    assert_eq!(rest.rest().standing, Standing::Complete);
}

#[test]
fn a_pause_ends_an_apply_and_holds_one_that_waits() {
    let steps = vec![step("a", &[]), soak("s", &[], 3_600_000, 600_000), step("b", &["a"])];
    for patience in [Patience::Timers, Patience::Everything] {
        let lab = Lab::new(definition(2, steps.clone()), Script::default(), 1);
        let began = lab.clock_ms();
        let rest = lab.run_with(Process::apply().with(patience), |inside| async move {
            sleep(Duration::from_millis(500)).await;
            inside.handle.wish(Command::Pause, "me".to_owned()).await.unwrap();
            sleep(hours(2)).await;
            let unpaused = inside.handle.wish(Command::Unpause, "me".to_owned()).await;
            assert_eq!(unpaused.is_ok(), inside.log.state().end.is_none() && !inside.log.state().paused);
        });
        let rest = rest.rest();
        let took = lab.clock_ms() - began;
        if patience == Patience::Timers {
            assert!(rest.state.paused);
            assert_eq!(lab.words(), ["done", "soaking", "pending"]);
            assert!(took < 2_000, "{took}");
        } else {
            assert_eq!(rest.standing, Standing::Complete);
        }
    }
}

#[test]
fn fifty_wishes_at_once_are_one_append() {
    let steps = (0..50).map(|i| step(&format!("s{i}"), if i == 0 { &[] } else { &["s0"] })).collect();
    let script = Script { act: Box::new(|_| Act::well(60_000)), ..Script::default() };
    let lab = Lab::new(definition(4, steps), script, 1);
    let rest = lab.run_with(Process::apply(), |inside| async move {
        sleep(Duration::from_secs(1)).await;
        let before = inside.log.appends();
        let wishes = (1..50).map(|i| {
            let skip = Command::Skip { step: id(&format!("s{i}")), note: "no need".to_owned() };
            inside.handle.wish(skip, format!("p{i}"))
        });
        let answers = futures_util::future::join_all(wishes).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(inside.log.appends(), before + 1);
        // The last of them again, by everybody: each is told no, and nothing is stored.
        let again = (1..50).map(|i| {
            let skip = Command::Skip { step: id(&format!("s{i}")), note: String::new() };
            inside.handle.wish(skip, format!("q{i}"))
        });
        let answers = futures_util::future::join_all(again).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(WishError::Refused(_)))));
        assert_eq!(inside.log.appends(), before + 1);
    });
    assert_eq!(rest.rest().standing, Standing::Complete);
    assert_eq!(lab.world.begun().len(), 1);
}

#[test]
fn wishes_while_something_acts_wait_for_it() {
    for wish in ["cancel", "rollback", "pause"] {
        let script = Script { act: Box::new(|_| Act::well(60_000)), ..Script::default() };
        let lab = Lab::new(definition(2, vec![step("a", &[]), step("b", &[]), step("c", &["a"])]), script, 1);
        let rest = lab.run_with(Process::apply(), |inside| async move {
            sleep(Duration::from_secs(10)).await;
            let command = match wish {
                "cancel" => Command::Cancel,
                "rollback" => Command::Rollback { to: None, parallel: 2 },
                _ => Command::Pause,
            };
            inside.handle.wish(command, "me".to_owned()).await.unwrap();
        });
        let rest = rest.rest();
        match wish {
            "cancel" => {
                assert_eq!(rest.standing, Standing::Cancelled);
                assert_eq!(lab.words(), ["done", "done", "pending"]);
            }
            "rollback" => {
                assert_eq!(rest.standing, Standing::RolledBack { failed: None });
                let back: Vec<_> = lab
                    .world
                    .begun()
                    .into_iter()
                    .filter(|(k, _)| k.direction == Direction::Compensation)
                    .collect();
                assert_eq!(back.len(), 2);
            }
            _ => assert_eq!((rest.state.paused, lab.words()), (true, vec!["done", "done", "pending"])),
        }
    }
}

#[test]
fn a_wish_to_a_run_that_rests_finds_nobody() {
    let lab = Lab::new(definition(1, vec![step("a", &[])]), Script::default(), 1);
    let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
    let keep = std::sync::Arc::clone(&kept);
    lab.run_with(Process::apply(), |inside| {
        *lock(&keep) = Some(inside.handle);
        std::future::ready(())
    })
    .rest();
    let handle = lock(&kept).take().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answer = runtime.block_on(handle.wish(Command::Cancel, "me".to_owned()));
    assert!(matches!(answer, Err(WishError::Gone)));
    handle.stop();
    runtime.block_on(async {
        let mut seq = handle.follow();
        // What came last is still told, and then that there is no more.
        while seq.changed().await.is_ok() {}
        assert_eq!(*seq.borrow(), lab.log.acknowledged());
    });
}

#[test]
fn thirty_days_of_soak_by_a_timer_cost_few_events() {
    let step = Step { rollback_ready: vec![look("s", "ready")], ..soak("s", &[], 30 * DAY, 300_000) };
    let lab = Lab::new(definition(1, vec![step]), Script::default(), 1);
    let terms = Terms { forward: true, fresh_budget: false, assume_yes: false };
    let process = Process { terms, watched: false, ..Process::apply().with(Patience::Nothing) };
    let mut calls = 0;
    let mut boots = 0;
    loop {
        calls += 1;
        let rest = lab.run(process.clone()).rest();
        if rest.standing == Standing::Complete {
            break;
        }
        assert_eq!(rest.standing, Standing::Open);
        // The next one is due so long after this one was begun, less what looks and processes take.
        let near = |wake_ms: Option<u64>, due_ms: u64| {
            wake_ms.is_some_and(|ms| due_ms - 20_000 <= ms && ms <= due_ms)
        };
        assert!(near(rest.wake_ms, 300_000), "call {calls}: {:?}", rest.wake_ms);
        // Between two that are due, one that finds nothing to do.
        if calls % 100 == 0 {
            let (before, keeps) = (lab.log.events().len(), lab.log.keeps());
            lab.clock.suspend(60_000);
            assert!(near(lab.run(process.clone()).rest().wake_ms, 240_000));
            assert_eq!((lab.log.events().len(), lab.log.keeps()), (before, keeps), "it changes nothing");
            lab.clock.suspend(240_000);
        } else if calls % 1_000 == 7 {
            boots += 1;
            lab.clock.reboot(300_000);
        } else {
            lab.clock.suspend(300_000);
        }
        assert!(calls < 9_000, "it does not pass");
    }
    let events = lab.log.events().len();
    println!("30 days by a timer: {calls} calls, {boots} boots, {events} events");
    // A sample at the beginning and at the end; the machine's clock also counts what this test itself takes.
    assert!((8_500..=8_641).contains(&calls), "{calls}");
    assert!(events <= 400, "{events}");
}
