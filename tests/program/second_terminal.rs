//! Goal: a second terminal is answered with the same words whether a process holds the journal or not, and who watches
//! badly holds up nobody. Method: the binary from outside; limits are against hanging only.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::lab::{Going, Lab};
use support::sshd::until;

/// Against hanging; what is promised is a tenth of it, and `benches/second.rs` measures that.
const HANGS: Duration = Duration::from_secs(60);

/// Waits in its only step for the file `go`.
const HOLDS: &str = "name = \"holds\"\n\
     [[step]]\nid = \"wait\"\nforward = { action = \"command\", on_stop = \"finish\", script = 'touch @W@/began; until [ -e @W@/go ] || [ ! -d @W@ ]; do sleep 0.01; done' }\n\
     compensate = \"nothing\"\n";

/// A run that rests at two gates and has done something.
const GATED: &str = "name = \"q\"\n\
     [[step]]\nid = \"first\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = { action = \"command\", argv = [\"true\"] }\n\
     [[step]]\nid = \"a\"\napprove = \"Go on?\"\nneeds = [\"first\"]\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n\
     [[step]]\nid = \"b\"\napprove = \"And on?\"\nneeds = [\"first\"]\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n";

fn holding(lab: &Lab) -> Going {
    lab.plan("holds", HOLDS);
    let going = lab.start("apply p/holds.toml");
    lab.wait_for("began");
    going
}

fn release(lab: &Lab, going: Going) {
    lab.write("w/go", "");
    going.end().expect(0);
}

/// Without what a clock says.
fn timeless(text: &str) -> String {
    let times = r"\d{4}-\d\d-\d\dT[0-9:.]+Z|\d\d:\d\d:\d\d(\.\d+)?Z?|\b\d+(\.\d+)? s\b";
    regex::Regex::new(times).unwrap().replace_all(text, "[time]").into_owned()
}

/// How long ago something was: all that differs between two looks at a run that nothing happens to.
fn ageless(text: &str) -> String {
    regex::Regex::new(r"\d[\d. a-z]* ago").unwrap().replace_all(text, "[ago]").into_owned()
}

/// What a command said, without times and the folder, which differ from lab to lab.
fn said(lab: &Lab, code: i32, words: &str) -> (String, String) {
    let began = Instant::now();
    let ran = lab.expect(code, words);
    assert!(began.elapsed() < HANGS, "{words} hangs");
    let clean = |text: &str| timeless(&text.replace(&lab.at(""), "[lab]/"));
    (clean(&ran.out), clean(&ran.err))
}

/// What is asked of the resting run, in this order, and the exit code.
const ASKED: &[(i32, &str)] = &[
    (0, "status q"),
    (0, "events q"),
    (0, "--json events q"),
    (0, "why q a"),
    (0, "pause q"),
    (0, "pause q"),
    (0, "resume q"),
    (0, "approve q a"),
    (0, "approve q a"),
    (0, "--json skip q b --note unused"),
    (2, "reject q b"),
    (2, "approve q nothing"),
    (2, "status nobody-7"),
    (2, "resolve q first --as done"),
    (0, "rollback q --dry-run"),
    (0, "drift q"),
    (0, "status q"),
    (0, "events q"),
];

#[test]
fn the_words_are_the_same_with_and_without_a_holder() {
    let (alone, held) = (Lab::new(), Lab::new());
    for lab in [&alone, &held] {
        lab.plan("q", GATED);
        lab.expect(4, "apply p/q.toml");
    }
    let going = holding(&held);
    for (code, words) in ASKED {
        assert_eq!(said(&alone, *code, words), said(&held, *code, words), "{words}");
    }
    // These drive the run, so that a holder is followed and says so; what came of it is the same.
    for (code, words) in [(0, "cancel q"), (0, "rollback q")] {
        let out = |lab: &Lab| said(lab, code, words).0;
        let outs: Vec<Vec<String>> = [&alone, &held]
            .map(|lab| out(lab).lines().filter(|line| !line.contains("resumed")).map(str::to_owned).collect())
            .to_vec();
        assert_eq!(outs[0], outs[1], "{words}");
    }
    assert_eq!(said(&alone, 0, "status q"), said(&held, 0, "status q"));
    release(&held, going);
    // A run that nothing happens to any more is the same before, while and after the journal is held, byte for byte.
    let lab = Lab::new();
    lab.plan("q", GATED);
    lab.expect(4, "apply p/q.toml");
    lab.expect(0, "cancel q");
    let all = ["status q", "--json status q", "events q", "--json events q", "why q first", "--json why q b"];
    let ask = || all.map(|words| ageless(&lab.expect(0, words).out));
    let before = ask();
    let going = holding(&lab);
    assert_eq!(ask(), before);
    release(&lab, going);
    assert_eq!(ask(), before);
}

#[test]
fn fifty_at_once_are_all_answered_right() {
    let lab = Lab::new();
    lab.plan("q", GATED);
    lab.expect(4, "apply p/q.toml");
    let going = holding(&lab);
    let words = ["status q", "--json events q", "why q a", "pause q", "--json status holds"];
    let answers = words.map(|words| ageless(&lab.expect(0, words).out));
    let again = words.map(|words| ageless(&lab.expect(0, words).out));
    let began = Instant::now();
    let all: Vec<Going> = (0..50).map(|at| lab.start(words[at % words.len()])).collect();
    for (at, one) in all.into_iter().enumerate() {
        let ran = one.end().expect(0);
        // The first `pause` did something, every later one finds it done.
        let out = ageless(&ran.out);
        let right = [&answers, &again].iter().any(|answers| answers[at % words.len()] == out);
        let status = words[at % words.len()].contains("status");
        assert!(right || status && ran.out.contains("paused"), "{}: {}", words[at % words.len()], ran.out);
    }
    assert!(began.elapsed() < HANGS);
    release(&lab, going);
}

#[test]
fn a_watcher_that_is_stopped_holds_up_nobody_and_goes_on_where_it_was() {
    let lab = Lab::new();
    // Its events do not fit into the buffers of a socket.
    let mut long = "name = \"long\"\n".to_owned();
    long += &HOLDS.replace("name = \"holds\"\n", "");
    for at in 0..60 {
        long += &format!(
            "[[step]]\nid = \"s{at}\"\nforward = {{ action = \"command\", script = 'head -c 20000 /dev/zero | tr \"\\0\" x', outputs = {{ x = \"text\" }} }}\ncompensate = \"nothing\"\n"
        );
    }
    lab.plan("long", &long);
    let going = lab.start("-q apply p/long.toml");
    lab.wait_for("began");
    let watcher = lab.start("--json events long --follow");
    until("it follows", || watcher.out().contains("started"));
    watcher.signal(Signal::STOP);
    lab.write("w/go", "");
    // The run and every other terminal go on while the watcher takes nothing.
    let began = Instant::now();
    while !lab.expect(0, "status long").out.contains("s40  done") {
        assert!(began.elapsed() < HANGS, "the run is held up: {}", lab.expect(0, "status long").out);
        if lab.expect(0, "status long").out.contains("long-1  complete") {
            break;
        }
    }
    going.end().expect(0);
    assert!(began.elapsed() < HANGS);
    watcher.signal(Signal::CONT);
    let watched = watcher.end().expect(0).out;
    assert_eq!(watched, lab.expect(0, "--json events long").out);
}

#[test]
fn a_status_is_watched_until_the_run_rests() {
    let lab = Lab::new();
    let going = holding(&lab);
    let (text, json) = (lab.start("status holds --watch"), lab.start("--json status --watch"));
    until("both watch", || text.out().contains("wait  running") && json.out().contains("running"));
    release(&lab, going);
    let text = text.end().expect(0).out;
    assert!(text.contains("finished") || text.contains("done"), "{text}");
    let (text, last) = (ageless(&text), ageless(&lab.expect(0, "status holds").out));
    assert!(text.ends_with(&last), "{text}\n---\n{last}");
    let lines: Vec<Value> =
        json.end().expect(0).out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["type"], &lines[0]["standing"]), (&"status".into(), &"open".into()));
    let last = &lines[lines.len() - 1];
    assert_eq!((&last["type"], &last["standing"]), (&"status".into(), &"complete".into()));
    assert!(lines.iter().any(|line| line["event"] == "completed"));
    // Nobody drives it: it rests.
    let again = ["status --watch", "status"].map(|words| ageless(&lab.expect(0, words).out));
    assert_eq!(again[0], again[1]);
    lab.expect(2, "status nobody --watch");
}

#[test]
fn a_watched_status_ends_with_the_process_that_drove_the_run() {
    let lab = Lab::new();
    let going = holding(&lab);
    let watch = lab.start("status holds --watch");
    until("it watches", || watch.out().contains("wait  running"));
    going.kill();
    assert!(watch.end().expect(0).out.contains("interrupted"));
    lab.write("w/go", "");
}
