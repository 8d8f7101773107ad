//! Goal: a service gets over what happens to its machine: a disk that fills up in the middle of a soak, a clock that is set
//! back, a night asleep, days that pass. Method: the real binary on a small file system, and with clocks that the test
//! bends (`RUNNER_TEST_CLOCK`, which a release does not know).

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::serve_support;
use crate::worlds_support;

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serve_support::{Serve, until};
use worlds_support::House;

const YEAR_MS: i64 = 365 * 24 * 3_600_000;
const NIGHT_MS: i64 = 8 * 3_600_000;

fn soaking(more: &str, script: &str) -> String {
    format!(
        "[[step]]\nid = \"soak\"\nsoak = {{ {more} }}\nverify = [{{ check = \"command\", script = '{script}' }}]\n"
    )
}

/// A service whose clocks are those of the machine, and so much ahead as `clock` says.
fn serve(house: &House, clock: &str) -> Serve {
    bend(house, clock);
    let mut command = house.runner(&["serve", "--plans", "plans"]);
    command.env("RUNNER_TEST_CLOCK", house.path.join("clock"));
    Serve::start(command).ready()
}

fn bend(house: &House, clock: &str) {
    house.write("clock.new", clock);
    std::fs::rename(house.path.join("clock.new"), house.path.join("clock")).unwrap();
}

fn begin(serve: &Serve, plan: &str) {
    assert_eq!(serve.post("/api/v1/runs", &json!({ "plan": plan, "by": "ann" })).status, 201);
}

fn events(serve: &Serve, run: &str) -> Vec<Value> {
    serve.get(&format!("/api/v1/runs/{run}/events")).json()["events"].as_array().unwrap().clone()
}

fn good(events: &[Value]) -> (u64, u64) {
    let sum = |key: &str| events.iter().filter_map(|event| event[key].as_u64()).sum();
    (sum("good"), sum("good_ms"))
}

fn samples(serve: &Serve) -> f64 {
    serve.metric("runner_soak_samples_total{result=\"good\"}")
}

#[test]
fn a_clock_that_is_set_back_a_year_neither_ends_nor_prolongs_a_soak() {
    let house = House::new();
    house.plan("s", &soaking("for = \"2s\", every = \"50ms\", max_gap = \"30s\"", "true"));
    let serve = serve(&house, "0 0");
    begin(&serve, "s");
    until("it samples", || samples(&serve) >= 5.0);
    let began = Instant::now();
    bend(&house, &format!("{} 0", -YEAR_MS));
    until("it has passed", || serve.standing("s-1") == "complete");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let events = events(&serve, "s-1");
    let (_, good_ms) = good(&events);
    assert!((2_000..60_000).contains(&good_ms), "{good_ms} ms of good time");
    let times: Vec<&str> = events.iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(serve.get("/runs/s-1").status, 200);
}

#[test]
fn a_night_asleep_counts_for_nothing() {
    let house = House::new();
    house.plan("s", &soaking("for = \"2s\", every = \"50ms\", max_gap = \"30s\"", "true"));
    let serve = serve(&house, "0 0");
    begin(&serve, "s");
    until("it samples", || samples(&serve) >= 5.0);
    bend(&house, &format!("{NIGHT_MS} {NIGHT_MS}"));
    until("it has passed", || serve.standing("s-1") == "complete");
    let (_, good_ms) = good(&events(&serve, "s-1"));
    assert!((2_000..60_000).contains(&good_ms), "{good_ms} ms of good time");
}

#[test]
fn three_days_of_soaking_are_a_chart() {
    let house = House::new();
    house.plan(
        "s",
        &soaking("for = \"3d\", every = \"2h\", max_consecutive_failures = 1", "test ! -e ../bad"),
    );
    let serve = serve(&house, "0 0 leaps");
    let began = Instant::now();
    begin(&serve, "s");
    until("it has passed", || serve.standing("s-1") == "complete");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let (good, good_ms) = good(&events(&serve, "s-1"));
    assert!(good >= 36 && good_ms >= 3 * 24 * 3_600_000, "{good} samples, {good_ms} ms");
    let page = serve.get("/runs/s-1").body;
    assert!(page.contains("class=\"chart\"") && page.contains("3 d of 3 d healthy"), "{page}");
    let list = serve.get("/api/v1/runs").json();
    assert_eq!(list["runs"][0]["standing"], "complete");
}

/// A small file system in memory, unmounted when dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(at: &'a Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        worlds_support::skipped("no file system can be mounted here (needs root): no disk fills up");
        None
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(self.0).status());
    }
}

#[test]
fn a_disk_that_fills_up_in_a_soak_ends_the_service_and_loses_nothing() {
    let house = House::new();
    let small = house.path.join("small");
    let Some(_mount) = Mount::new(&small, "6m") else { return };
    // Every sample is an event of some size, because it is bad.
    let script = "echo >> ../looks; head -c 3000 /dev/zero | tr \"\\0\" x; test -e ../well";
    let terms = "for = \"1s\", every = \"20ms\", max_gap = \"1m\", max_consecutive_failures = 1000000";
    house.plan("s", &soaking(terms, script));
    let words = ["serve", "--plans", "plans", "--state", "small/state"];
    let serve = Serve::start(house.runner(&words)).ready();
    begin(&serve, "s");
    until("it samples", || serve.metric("runner_soak_samples_total{result=\"bad\"}") >= 5.0);
    house.shell("head -c 20000000 /dev/zero > small/fill");
    let (code, error) = serve.ended();
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("no space left") && error.contains("start `runner serve` again"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    // With room it goes on where it was.
    std::fs::remove_file(small.join("fill")).unwrap();
    house.write("well", "");
    let serve = Serve::start(house.runner(&words)).ready();
    until("it has passed", || serve.standing("s-1") == "complete");
    let events = events_of_all(&serve);
    let bad =
        events.iter().filter(|event| event["event"] == "soak_sampled" && event["sample"] != "good").count();
    let looks = house.read("looks").lines().count();
    let (good, good_ms) = good(&events);
    assert!(bad as u64 + good <= looks as u64, "{bad} bad and {good} good samples of {looks} looks");
    assert!((1_000..60_000).contains(&good_ms), "{good_ms} ms of good time");
    assert_eq!(serve.terminate().0, Some(0));
    let verified = house.run(&["runs", "verify", "--state", "small/state"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// All events of `s-1`, a thousand at a time.
fn events_of_all(serve: &Serve) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let from = all.len() + 1;
        let some = serve.get(&format!("/api/v1/runs/s-1/events?from={from}")).json();
        let some = some["events"].as_array().unwrap().clone();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}
