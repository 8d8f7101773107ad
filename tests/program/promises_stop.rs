//! Goal: every way to stop leaves a run that can go on, and says so by its exit code: signals, timeouts, cut-off steps
//! that nobody can settle, failures with and without a rollback, waits that are not waited for.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::lab::Lab;
use support::sshd::until;

fn step(id: &str, rest: &str) -> String {
    format!("[[step]]\nid = \"{id}\"\n{rest}\n")
}

fn script(text: &str) -> String {
    format!("{{ action = \"command\", script = '{text}' }}")
}

/// A step that writes a file and takes it away again.
fn writes(id: &str) -> String {
    let (make, undo) = (
        format!("echo {id} >> @W@/log; touch @W@/{id}"),
        format!("echo undo {id} >> @W@/log; rm -f @W@/{id}"),
    );
    step(
        id,
        &format!(
            "forward = {}\nprobe = {{ check = \"command\", argv = [\"test\", \"-e\", \"@W@/{id}\"] }}\ncompensate = {}",
            script(&make),
            script(&undo)
        ),
    )
}

fn plan(steps: &[String]) -> String {
    format!("name = \"p\"\n{}", steps.concat())
}

/// A step that says that it began, waits for the file `go`, and says that it ended.
fn waits(id: &str, on_stop: &str, rest: &str) -> String {
    let text = format!(
        "echo start {id} >> @W@/log; touch @W@/began-{id}; until [ -e @W@/go ] || [ ! -d @W@ ]; do sleep 0.01; done; touch @W@/{id}; echo end {id} >> @W@/log"
    );
    let forward = script(&text).replace(" }", &format!(", on_stop = \"{on_stop}\" }}"));
    let compensate = script(&format!("rm -f @W@/{id}"));
    step(id, &format!("forward = {forward}\ncompensate = {compensate}\n{rest}"))
}

const PROBE: &str = "probe = { check = \"command\", argv = [\"test\", \"-e\", \"@W@/slow\"] }";

#[test]
fn the_first_signal_stops_what_may_be_stopped_and_the_run_resumes() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let lab = Lab::new();
        lab.plan("p", &plan(&[writes("a"), waits("slow", "stop", PROBE), writes("z")]));
        let going = lab.start("apply p/p.toml");
        lab.wait_for("began-slow");
        going.signal(signal);
        going.end().expect(code).says("runner apply p/p.toml");
        assert_eq!(lab.steps("p")["slow"], "interrupted");
        // It was really stopped.
        lab.write("w/go", "");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(lab.seen("log"), "a\nstart slow\n");
        lab.expect(0, "apply p/p.toml");
        assert_eq!(lab.seen("log"), "a\nstart slow\nstart slow\nend slow\nz\n");
    }
}

#[test]
fn the_first_signal_waits_for_what_finishes_and_starts_nothing_new() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[waits("slow", "finish", PROBE), writes("z")]));
    let mut going = lab.start("apply p/p.toml");
    lab.wait_for("began-slow");
    going.signal(Signal::INT);
    assert!(!going.ends_within(Duration::from_millis(300)), "it did not wait");
    lab.write("w/go", "");
    going.end().expect(130);
    assert_eq!(lab.seen("log"), "start slow\nend slow\n");
    assert!(lab.events("p").iter().any(|event| event["event"] == "acted"));
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "start slow\nend slow\nz\n");
}

/// What was cut off is looked into for minutes. Whoever watches hears why nothing goes on; and it goes on by itself.
#[test]
fn a_cut_off_step_that_cannot_be_settled_yet_says_why() {
    let lab = Lab::new();
    let probe = "probe = { check = \"command\", script = '[ ! -e @W@/fog ] || { echo fog >&2; exit 3; }; test -e @W@/slow' }";
    lab.plan("p", &plan(&[waits("slow", "finish", probe)]));
    let going = lab.start("apply p/p.toml");
    lab.wait_for("began-slow");
    going.kill();
    lab.write("w/go", "");
    lab.write("w/fog", "");
    // What cannot be read might be the slot of the attempt.
    let (slot, kept) = (lab.state().join("slots/000"), lab.path("kept"));
    std::fs::rename(&slot, &kept).unwrap();
    std::fs::create_dir(&slot).unwrap();
    let going = lab.start("apply p/p.toml");
    let says = |words: &str| until(words, || going.out().contains(words));
    says("proof that attempt 1 is over: cannot tell whether it is over: Is a directory");
    std::fs::remove_dir(&slot).unwrap();
    std::fs::rename(&kept, &slot).unwrap();
    says("a look at what attempt 1 did: exit status 3: fog");
    std::fs::remove_file(lab.path("w/fog")).unwrap();
    going.end().expect(0);
    assert_eq!(lab.seen("log"), "start slow\nend slow\n");
}

#[test]
fn the_second_signal_ends_at_once_and_what_was_in_flight_is_settled() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let lab = Lab::new();
        lab.plan("p", &plan(&[waits("slow", "finish", PROBE), writes("z")]));
        let mut going = lab.start("apply p/p.toml");
        lab.wait_for("began-slow");
        going.signal(signal);
        until("the first signal was taken", || {
            going.err().contains("Stopping") || going.out().contains("Stopping")
        });
        assert!(!going.ended());
        going.signal(signal);
        assert!(going.ends_within(Duration::from_secs(5)), "it did not end at once");
        going.end().expect(code);
        // The step goes on by itself; the next one waits for it and does not run it again.
        let next = lab.start("apply p/p.toml");
        until("the run was taken on again", || next.out().contains("resumed"));
        lab.write("w/go", "");
        next.end().expect(0);
        assert_eq!(lab.seen("log"), "start slow\nend slow\nz\n");
    }
}

#[test]
fn a_timeout_interrupts_and_the_probe_settles_it() {
    let lab = Lab::new();
    // Had its effect before it hung: it counts as done.
    let hangs = "forward = { action = \"command\", script = 'echo run >> @W@/log; touch @W@/slow; sleep 600' }\ntimeout = \"3s\"\ncompensate = \"nothing\"\n";
    lab.plan("p", &plan(&[step("slow", &format!("{hangs}{PROBE}")), writes("z")]));
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "run\nz\n");
    let events = lab.events("p");
    assert!(events.iter().any(|event| event["event"] == "cut" && event["cause"] == "timeout"));
    // Hung before its effect: it runs again. Interrupted attempts do not count.
    let lab = Lab::new();
    let hangs = hangs.replace(
        "touch @W@/slow; sleep 600",
        "[ -e @W@/again ] || { touch @W@/again; sleep 600; }; touch @W@/slow",
    );
    lab.plan("p", &plan(&[step("slow", &format!("{hangs}{PROBE}"))]));
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "run\nrun\n");
}

#[test]
fn what_nobody_can_settle_needs_a_person() {
    for (word, log) in [("done", "run\nz\n"), ("undone", "run\nrun\nz\n")] {
        let lab = Lab::new();
        let hangs = "forward = { action = \"command\", script = 'echo run >> @W@/log; [ -e @W@/again ] || { touch @W@/again; sleep 600; }; echo hi', outputs = { x = \"text\" } }\ntimeout = \"3s\"\ncompensate = \"nothing\"\n";
        let uses = "forward = { action = \"command\", script = 'echo z >> @W@/log; echo $X > @W@/x', env = { X = \"{{ steps.slow.outputs.x }}\" } }\ncompensate = \"nothing\"\n";
        lab.plan("p", &plan(&[step("slow", hangs), step("z", uses)]));
        lab.expect(6, "apply p/p.toml").says("runner resolve p-1 slow --as done").says("--as undone");
        // Again without an answer: the same, and nothing runs.
        lab.expect(6, "apply p/p.toml");
        assert_eq!(lab.seen("log"), "run\n");
        lab.expect(2, &format!("resolve p z --as {word}")).says("z");
        lab.expect(2, &format!("resolve p nowhere --as {word}")).says("nowhere");
        let output = if word == "done" { "--output x=hi" } else { "" };
        lab.expect(0, &format!("resolve p slow --as {word} {output}"));
        lab.expect(0, "apply p/p.toml");
        assert_eq!((lab.seen("log").as_str(), lab.seen("x").as_str()), (log, "hi\n"));
    }
}

#[test]
fn a_cut_off_step_without_a_probe_needs_a_person_and_rollback_undoes_it() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a"), waits("slow", "stop", "")]));
    let going = lab.start("apply p/p.toml");
    lab.wait_for("began-slow");
    going.kill();
    lab.write("w/go", "");
    lab.expect(6, "apply p/p.toml");
    assert!(lab.has("slow"));
    // On the way back it is enough that it is over: it may have had half an effect, so it is undone.
    lab.expect(0, "rollback p");
    assert!(!lab.has("slow") && !lab.has("a"));
}

#[test]
fn a_failure_with_rollback_undoes_everything_and_stays_so() {
    let lab = Lab::new();
    let fails = step(
        "b",
        "forward = { action = \"command\", script = 'touch @W@/half; exit 7' }\ncompensate = { action = \"command\", script = 'echo undo b >> @W@/log; rm -f @W@/half' }\non_failure = \"rollback\"",
    );
    lab.plan("p", &plan(&[writes("a"), fails]));
    lab.expect(5, "apply p/p.toml").says("`b`").says("exit status 7");
    assert_eq!((lab.seen("log").as_str(), lab.has("half")), ("a\nundo b\nundo a\n", false));
    lab.expect(5, "apply p/p.toml");
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("log"), "a\nundo b\nundo a\n");
}

#[test]
fn a_failure_with_halt_is_tried_again_with_a_new_budget() {
    let lab = Lab::new();
    let fails = step(
        "b",
        "forward = { action = \"command\", script = 'echo try >> @W@/log; test -e @W@/mended' }\ncompensate = \"nothing\"\nretry = { attempts = 2, backoff = \"1ms\" }",
    );
    lab.plan("p", &plan(&[writes("a"), fails, writes("z")]));
    lab.expect(3, "apply p/p.toml").says("runner apply p/p.toml").says("runner rollback p-1");
    lab.expect(3, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\ntry\ntry\ntry\ntry\n");
    lab.write("w/mended", "");
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\ntry\ntry\ntry\ntry\ntry\nz\n");
}

#[test]
fn what_is_not_waited_for_exits_with_the_wake_time() {
    let lab = Lab::new();
    let again = step(
        "b",
        "forward = { action = \"command\", script = 'echo try >> @W@/log; test -e @W@/mended' }\ncompensate = \"nothing\"\nretry = { attempts = 3, backoff = \"1h\", max_backoff = \"1h\" }",
    );
    lab.plan("p", &plan(&[writes("a"), again]));
    lab.expect(4, "apply p/p.toml --no-wait").says("There is something to do again in ");
    lab.expect(4, "apply p/p.toml --no-wait");
    assert_eq!(lab.seen("log"), "a\ntry\n");
    let soak = "name = \"q\"\n[[step]]\nid = \"soak\"\nsoak = { for = \"1s\", every = \"300ms\" }\nverify = [{ check = \"command\", script = 'echo >> @W@/sampled' }]\n";
    lab.plan("q", soak);
    lab.expect(4, "apply p/q.toml --no-wait").says("There is something to do again in ");
    let began = Instant::now();
    lab.expect(0, "apply p/q.toml");
    assert!(began.elapsed() > Duration::from_millis(500) && lab.seen("sampled").len() >= 4);
}

#[test]
fn back_to_a_step_and_forward_again() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a"), writes("b"), writes("c")]));
    lab.expect(0, "apply p/p.toml");
    lab.expect(0, "rollback p --to a").says("runner apply");
    assert_eq!(lab.seen("log"), "a\nb\nc\nundo c\nundo b\n");
    // Ownership is fresh: what is there now was not made by this run.
    lab.write("w/b", "by hand");
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\nb\nc\nundo c\nundo b\nc\n");
    assert_eq!(lab.steps("p")["b"], "satisfied");
    lab.expect(2, "rollback p --to nowhere").says("nowhere");
    lab.expect(0, "rollback p");
    assert_eq!((lab.seen("b").as_str(), lab.has("a"), lab.has("c")), ("by hand", false, false));
}

#[test]
fn a_cut_off_way_back_to_a_step_is_finished_before_it_goes_forward() {
    let lab = Lab::new();
    let slow = step(
        "c",
        "forward = { action = \"command\", script = 'echo c >> @W@/log' }\nprobe = { check = \"command\", argv = [\"false\"] }\ncompensate = { action = \"command\", script = 'touch @W@/began; until [ -e @W@/go ] || [ ! -d @W@ ]; do sleep 0.01; done; echo undo c >> @W@/log' }",
    );
    lab.plan("p", &plan(&[writes("a"), writes("b"), slow]));
    lab.expect(0, "apply p/p.toml");
    let going = lab.start("rollback p --to a");
    lab.wait_for("began");
    going.kill();
    lab.write("w/go", "");
    lab.expect(0, "apply p/p.toml");
    let log = lab.seen("log").replace("undo c\nundo c\n", "undo c\n");
    assert_eq!(log, "a\nb\nc\nundo c\nundo b\nb\nc\n");
}

#[test]
fn an_irreversible_step_is_refused_before_anything_is_undone() {
    let lab = Lab::new();
    let crossed = step(
        "b",
        "forward = { action = \"command\", script = 'echo b >> @W@/log' }\nirreversible = \"the old disk is wiped\"",
    );
    lab.plan("p", &plan(&[writes("a"), crossed, writes("c")]));
    lab.expect(0, "apply p/p.toml");
    let before = lab.events("p");
    lab.expect(2, "rollback p").says("the old disk is wiped").says("--to b");
    lab.expect(2, "rollback p --to a").says("the old disk is wiped");
    assert_eq!((lab.events("p"), lab.seen("log").as_str()), (before, "a\nb\nc\n"));
    lab.expect(0, "rollback p --to b");
    assert_eq!(lab.seen("log"), "a\nb\nc\nundo c\n");
}

#[test]
fn a_compensation_that_fails_needs_a_person_and_is_tried_again() {
    let lab = Lab::new();
    let bad = step(
        "b",
        "needs = [\"a\"]\nforward = { action = \"command\", script = 'touch @W@/b' }\ncompensate = { action = \"command\", script = 'echo undo b >> @W@/log; test -e @W@/mended && rm @W@/b' }",
    );
    let beside = writes("c").replace("id = \"c\"", "id = \"c\"\nneeds = []");
    lab.plan("p", &plan(&[writes("a"), bad, beside]));
    lab.expect(0, "apply p/p.toml");
    let ran = lab.expect(6, "rollback p").says("`b`").says("runner rollback p-1");
    assert!(ran.text().contains("runner resolve p-1 b --as"), "{}", ran.text());
    // Beside it is undone; before it is not.
    assert!(!lab.has("c") && lab.has("a"));
    lab.expect(6, "rollback p");
    lab.expect(6, "apply p/p.toml");
    assert!(lab.has("a"));
    lab.write("w/mended", "");
    lab.expect(0, "rollback p");
    assert!(!lab.has("a") && !lab.has("b"));
    lab.expect(5, "apply p/p.toml");
}
