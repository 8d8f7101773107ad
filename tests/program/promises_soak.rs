//! Goal: a soak can be trusted whoever drives it: a daemon that is killed, two that take turns, a timer. Method: the
//! real binary, a soak of seconds, and a check that writes down every look.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::worlds_support;

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;
use worlds_support::*;

/// So long nothing may hang.
const LIMIT: Duration = Duration::from_secs(120);

/// A soak whose check leaves a line for every look, and says how often it was looked.
fn soak(house: &House, terms: &str) {
    watched(house, terms, ", watch = { looks = \"rises\" }");
}

fn watched(house: &House, terms: &str, watch: &str) {
    house.plan(
        "s",
        &format!(
            "[[step]]\nid = \"soak\"\nsoak = {{ {terms} }}\n\
             verify = [{{ check = \"command\", script = 'echo >> looks; wc -l < looks', outputs = {{ looks = \"text\" }}{watch} }}]\n"
        ),
    );
}

fn looks(house: &House) -> usize {
    house.read("plans/looks").lines().count()
}

/// The events of the run, by kind.
fn events(house: &House) -> Vec<Value> {
    objects(&house.run(&["--json", "events"]).out)
        .into_iter()
        .filter(|line| line["type"] == "event")
        .collect()
}

fn kinds(events: &[Value], kind: &str) -> usize {
    events.iter().filter(|event| event["event"] == kind).count()
}

fn good(events: &[Value]) -> u64 {
    events.iter().filter_map(|event| event["good"].as_u64()).sum()
}

/// Kills it as nothing else does.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < LIMIT, "it hangs");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_timer_drives_a_soak_and_costs_few_events() {
    let house = House::new();
    // Every call finds a sample due, and no two are too far apart.
    soak(&house, "for = \"10d\", every = \"10ms\", max_gap = \"1h\"");
    let before = looks(&house);
    for call in 1..=200 {
        let said = house.run(&["apply", "plans/s.toml", "--no-wait"]);
        assert_eq!(said.code, 4, "call {call}: {said:?}");
    }
    assert!(looks(&house) - before >= 200, "every call has looked");
    let all = events(&house);
    println!("200 calls: {} events", all.len());
    // Opened, taken on, began, and the first look, which has nothing to compare with.
    assert_eq!(all.len(), 4, "{all:?}");
    // What the calls have counted is not lost: it is shown, and the next one goes on from there.
    let status = house.run(&["status"]);
    assert!(
        status.out.contains(&format!("samples: {} good, 1 inconclusive", looks(&house) - 1)),
        "{}",
        status.out
    );
}

#[test]
fn a_call_that_finds_nothing_due_changes_nothing_and_says_when_to_come_again() {
    let house = House::new();
    watched(&house, "for = \"10d\", every = \"1h\"", "");
    assert_eq!(house.run(&["apply", "plans/s.toml", "--no-wait"]).code, 4);
    let (all, kept, seen) = (events(&house), house.tree("state/tails"), looks(&house));
    let began = Instant::now();
    for _ in 0..10 {
        let said = house.run(&["apply", "plans/s.toml", "--no-wait"]);
        assert_eq!(said.code, 4);
        assert!(said.out.contains("There is something to do again in"), "{}", said.out);
    }
    println!("a call that finds nothing due: {} ms", began.elapsed().as_millis() / 10);
    let said = house.run(&["--json", "apply", "plans/s.toml", "--no-wait"]);
    let status = objects(&said.out).pop().unwrap();
    assert_eq!(status["type"], "status");
    let parse = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait = parse(&status["wake_at"]).as_second() - parse(&status["last"]).as_second();
    assert!((3_500..=3_600).contains(&wait), "{status}");
    assert_eq!((events(&house), house.tree("state/tails"), looks(&house)), (all, kept, seen));
    // A run that is over has no such moment.
    house.plan("done", &one("forward = { action = \"command\", argv = [\"true\"] }"));
    let said = house.run(&["--json", "apply", "plans/done.toml", "--no-wait"]);
    assert!(objects(&said.out).pop().unwrap().get("wake_at").is_none(), "{said:?}");
}

#[test]
fn killed_again_and_again_a_soak_passes_and_loses_no_sample() {
    let house = House::new();
    soak(&house, "for = \"4s\", every = \"100ms\", max_gap = \"30s\"");
    let mut killed = 0;
    loop {
        let before = looks(&house);
        let mut child = house.start(&["apply", "plans/s.toml"]);
        let over = std::cell::Cell::new(false);
        let seen = std::cell::RefCell::new(&mut child);
        until(|| {
            over.set(seen.borrow_mut().try_wait().unwrap().is_some());
            over.get() || looks(&house) >= before + 3
        });
        if over.get() {
            assert_eq!(child.wait().unwrap().code(), Some(0));
            break;
        }
        kill(child);
        killed += 1;
        assert!(killed < 100, "it never passes");
    }
    println!("killed {killed} times");
    assert!(killed >= 2, "{killed}");
    let all = events(&house);
    assert_eq!(kinds(&all, "soak_passed"), 1);
    assert_eq!(kinds(&all, "soak_began"), 1, "it never began anew");
    // Nothing was bad, and no look is counted twice; one may be under way at each kill.
    let bad = all.iter().filter(|event| event["sample"] == "bad").count();
    assert_eq!(bad, 0);
    let (good, seen) = (good(&all), looks(&house) as u64);
    assert!(good <= seen && seen <= good + 1 + 2 * killed, "{good} of {seen}");
}

#[test]
fn two_processes_take_turns() {
    let house = House::new();
    soak(&house, "for = \"5s\", every = \"200ms\", max_gap = \"30s\"");
    // One that stays and is killed, one that is called and ends, by turns.
    for turn in 0.. {
        assert!(turn < 200, "it never passes");
        let code = if turn % 2 == 0 {
            let before = looks(&house);
            let mut child = house.start(&["apply", "plans/s.toml"]);
            let mut code = None;
            let began = Instant::now();
            while code.is_none() && looks(&house) < before + 2 {
                code = child.try_wait().unwrap().map(|status| status.code().unwrap());
                assert!(began.elapsed() < LIMIT, "it hangs");
            }
            kill(child);
            code.unwrap_or(4)
        } else {
            house.run(&["apply", "plans/s.toml", "--no-wait"]).code
        };
        match code {
            0 => break,
            4 => {}
            other => panic!("exit {other}"),
        }
    }
    let all = events(&house);
    assert_eq!((kinds(&all, "soak_passed"), kinds(&all, "soak_began")), (1, 1));
    let good_ms: u64 = all.iter().filter_map(|event| event["good_ms"].as_u64()).sum();
    assert!(good_ms >= 5_000, "{good_ms}");
    assert!(good(&all) <= looks(&house) as u64);
}

#[test]
fn a_check_that_compares_is_looked_at_until_it_holds() {
    let house = House::new();
    // A step that acts: its `verify` holds when the last two looks held, with a number that rises.
    let check =
        "check = \"command\", script = 'echo >> looks; wc -l < looks', outputs = { looks = \"text\" }";
    house.plan(
        "v",
        &format!(
            "[[step]]\nid = \"it\"\nforward = {{ action = \"command\", argv = [\"true\"] }}\ncompensate = \"nothing\"\n\
             verify = [{{ {check}, watch = {{ looks = {{ is = \"rises\" }} }}, holds = \"1 of 2\" }}]\n"
        ),
    );
    let said = house.run(&["apply", "plans/v.toml"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(looks(&house), 2, "the first has nothing to compare with");
}

#[test]
fn a_tail_that_is_damaged_is_passed_over() {
    let house = House::new();
    soak(&house, "for = \"10d\", every = \"1ms\", max_gap = \"1h\"");
    for _ in 0..3 {
        assert_eq!(house.run(&["apply", "plans/s.toml", "--no-wait"]).code, 4);
    }
    let good = |house: &House| house.run(&["status"]).out.contains(" good, 1 inconclusive");
    assert!(good(&house));
    let path = house.path.join("state/tails/s-1");
    let bytes = std::fs::read(&path).unwrap();
    for place in [0, 20, 30, 50, 70, bytes.len() - 1] {
        let mut torn = bytes.clone();
        torn[place] ^= 1;
        std::fs::write(&path, torn).unwrap();
        assert!(!good(&house), "byte {place} was taken");
    }
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(house.run(&["apply", "plans/s.toml", "--no-wait"]).code, 4);
}
