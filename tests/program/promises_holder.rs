//! Goal: one process holds the journal, and every other terminal gets the same answers from it, quickly, whoever else
//! asks and however badly they behave. A holder that is gone leaves nothing in the way; one that is stuck is named.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::lab::{Going, Lab};
use support::sshd::until;

/// Against hanging; what is promised is far less, and `benches/second.rs` measures that.
const HANGS: Duration = Duration::from_secs(60);

/// A plan that waits in its second step for the file `go-NAME`.
fn plan(name: &str) -> String {
    format!(
        "name = \"{name}\"\n\
         [[step]]\nid = \"first\"\nforward = {{ action = \"command\", script = 'echo first-{name} >> @W@/log' }}\n\
         compensate = {{ action = \"command\", script = 'echo undo-{name} >> @W@/log' }}\n\
         [[step]]\nid = \"slow\"\nforward = {{ action = \"command\", on_stop = \"finish\", script = 'touch @W@/began-{name}; until [ -e @W@/go-{name} ] || [ ! -d @W@ ]; do sleep 0.01; done; echo slow-{name} >> @W@/log' }}\n\
         compensate = {{ action = \"command\", script = 'echo undo-slow-{name} >> @W@/log' }}\n"
    )
}

fn running(lab: &Lab, name: &str) -> Going {
    lab.plan(name, &plan(name));
    let going = lab.start(&format!("apply p/{name}.toml"));
    lab.wait_for(&format!("began-{name}"));
    going
}

fn go(lab: &Lab, name: &str) {
    lab.write(&format!("w/go-{name}"), "");
}

/// Runs a command that has to answer in time.
#[track_caller]
fn quick(lab: &Lab, code: i32, words: &str) -> String {
    let began = Instant::now();
    let ran = lab.expect(code, words);
    assert!(began.elapsed() < HANGS, "{words} took {:?}", began.elapsed());
    ran.text()
}

fn socket(lab: &Lab) -> String {
    let pointer = std::fs::read_to_string(lab.state().join("holder.json")).unwrap();
    let pointer: Value = serde_json::from_str(&pointer).unwrap();
    pointer["socket"].as_str().unwrap().to_owned()
}

#[test]
fn a_second_terminal_reads_the_same() {
    let lab = Lab::new();
    let going = running(&lab, "p");
    assert!(quick(&lab, 0, "status").contains("slow   running"));
    assert!(quick(&lab, 0, "status p-1").contains("p-1"));
    quick(&lab, 0, "runs");
    let held = (quick(&lab, 0, "--json events"), quick(&lab, 0, "events p"));
    quick(&lab, 2, "events nobody");
    quick(&lab, 2, "status nobody-7");
    let follower = lab.start("--json events --follow");
    go(&lab, "p");
    going.end().expect(0);
    let followed = follower.end().expect(0).out;
    let (all, text) = (lab.expect(0, "--json events").out, lab.expect(0, "events p").out);
    assert_eq!(followed, all);
    assert!(all.starts_with(&held.0) && text.starts_with(&held.1));
    assert!(!lab.state().join("holder.json").exists());
}

/// One answer over the socket.
fn asked(lab: &Lab, request: &str) -> Value {
    let mut stream = UnixStream::connect(socket(lab)).unwrap();
    writeln!(stream, "{{\"v\":1,\"request\":{request}}}").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// What a run's state is does not have to be folded from all its events, nor has the list of runs.
#[test]
fn whoever_drives_a_run_has_its_state_at_hand() {
    let lab = Lab::new();
    lab.plan("rests", "name = \"rests\"\n[[step]]\nid = \"a\"\napprove = \"Go?\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n");
    lab.expect(4, "apply p/rests.toml");
    let going = running(&lab, "p");
    let events = lab.expect(0, "--json events p").out.lines().count();
    let state =
        |run: &str| asked(&lab, &format!("{{\"checkpoint\":{{\"run\":\"{run}\"}}}}"))["checkpoint"].clone();
    let driven = state("p-1");
    assert_eq!((&driven[0], &driven[1]["seq"]), (&json!(events), &json!(events)));
    assert_eq!(driven[1]["steps"][1]["status"], json!({ "running": { "attempt": 1 } }));
    assert_eq!(state("rests-1"), Value::Null, "nothing is kept of it, and nobody drives it");
    let rows = |run: &str| asked(&lab, &format!("{{\"rows\":{{\"run\":{run}}}}}"))["rows"].clone();
    let all = rows("null");
    let runs: Vec<&str> = all.as_array().unwrap().iter().map(|row| row["run"].as_str().unwrap()).collect();
    assert_eq!(runs, ["rests-1", "p-1"]);
    assert_eq!(rows("\"p-1\""), json!([all[1]]));
    // What was asked before is not told again once something has happened.
    lab.expect(0, "cancel rests");
    assert_eq!(rows("\"rests-1\"")[0]["standing"], "cancelled");
    go(&lab, "p");
    going.end().expect(0);
}

/// A plan as above, whose second step holds `door`.
fn at_the_door(lab: &Lab, name: &str) {
    let door = format!(
        "[resources.door]\nowners = [\"{name}\"]\n\
                        gone.{name} = [{{ check = \"command\", argv = [\"true\"] }}]\n[[step]]"
    );
    let takes = format!("id = \"slow\"\ntakes = {{ door = \"{name}\" }}");
    lab.plan(name, &plan(name).replacen("[[step]]", &door, 1).replace("id = \"slow\"", &takes));
}

/// What `plan` says of it before it comes to that.
const FORESEEN: &str =
    "takes `door` as `q`; waits until run `p-1`, which holds it for `p`, has let go or is over";

#[test]
fn what_another_run_holds_is_waited_for() {
    let lab = Lab::new();
    for name in ["p", "q"] {
        at_the_door(&lab, name);
    }
    let first = lab.start("apply p/p.toml");
    lab.wait_for("began-p");
    lab.expect(0, "plan p/q.toml").says(FORESEEN);
    let second = lab.start("apply p/q.toml");
    let waits = "waits for `door`, which run `p-1` holds";
    until("the second waits", || lab.run("status q").out.contains(waits));
    go(&lab, "q");
    assert_eq!(lab.seen("log"), "first-p\nfirst-q\n");
    go(&lab, "p");
    first.end().expect(0);
    second.end().expect(0).says(waits);
    assert_eq!(lab.seen("log"), "first-p\nfirst-q\nslow-p\nslow-q\n");
}

#[test]
fn what_a_run_holds_that_nobody_drives_is_known_from_the_journal() {
    let lab = Lab::new();
    let leaves = "[[step]]\nid = \"leave\"\napprove = \"Leave?\"\nfrees = { door = \"p\" }\ncompensate = \"nothing\"\n\
                  forward = { action = \"command\", argv = [\"true\"] }\n";
    ["p", "q"].iter().for_each(|name| at_the_door(&lab, name));
    ["p", "q"].iter().for_each(|name| go(&lab, name));
    lab.plan("p", &format!("{}{leaves}", std::fs::read_to_string(lab.path("p/p.toml")).unwrap()));
    lab.expect(4, "apply p/p.toml");
    lab.expect(0, "plan p/q.toml").says(FORESEEN);
    lab.expect(0, "--json plan p/q.toml").says(r#""elsewhere":{"owner":"p","run":"p-1"}"#);
    let waits = "waits for `door`, which run `p-1` holds";
    // Who waits for nothing says why it ends, and so does who looks afterwards.
    lab.expect(4, "apply p/q.toml --no-wait").says(waits);
    lab.expect(0, "status q").says(waits);
    let second = lab.start("apply p/q.toml");
    until("it waits", || second.err().contains(waits) || second.out().contains(waits));
    assert_eq!(lab.seen("log"), "first-p\nslow-p\nfirst-q\n");
    // A person ends the first one, which nobody drives.
    lab.expect(0, "cancel p");
    second.end().expect(0);
    assert_eq!(lab.seen("log"), "first-p\nslow-p\nfirst-q\nslow-q\n");
}

#[test]
fn a_second_terminal_cancels_and_the_first_one_ends() {
    let lab = Lab::new();
    let going = running(&lab, "p");
    let cancel = lab.start("cancel p");
    until("it is being cancelled", || lab.expect(0, "events p").out.contains("cancel"));
    go(&lab, "p");
    cancel.end().expect(0);
    going.end().expect(3);
    assert_eq!(lab.seen("log"), "first-p\nslow-p\n");
    lab.expect(3, "apply p/p.toml");
}

#[test]
fn a_second_terminal_rolls_back_what_runs() {
    let lab = Lab::new();
    let going = running(&lab, "p");
    let rollback = lab.start("rollback p");
    until("it is going back", || lab.expect(0, "--json events p").out.contains("rollback_requested"));
    go(&lab, "p");
    rollback.end().expect(0);
    going.end().expect(5);
    assert_eq!(lab.seen("log"), "first-p\nslow-p\nundo-slow-p\nundo-p\n");
}

#[test]
fn a_second_terminal_resolves_while_others_run() {
    let lab = Lab::new();
    lab.plan(
        "q",
        &plan("q")
            .replace("script = 'touch", "cwd = \"@W@\", script = 'touch")
            .replace("id = \"slow\"", "id = \"slow\"\ntimeout = \"100ms\""),
    );
    lab.expect(6, "apply p/q.toml");
    let going = running(&lab, "p");
    quick(&lab, 2, "resolve p slow --as done");
    quick(&lab, 0, "resolve q slow --as done");
    lab.expect(0, "apply p/q.toml").says("was submitted to");
    go(&lab, "p");
    going.end().expect(0);
}

#[test]
fn the_same_plan_again_attaches_and_ends_with_the_same_code() {
    for (end, code) in [("", 0), ("exit 9", 3)] {
        let lab = Lab::new();
        lab.plan(
            "p",
            &plan("p").replace("echo slow-p >> @W@/log", &format!("echo slow-p >> @W@/log; {end}")),
        );
        let first = lab.start("apply p/p.toml");
        lab.wait_for("began-p");
        let others: Vec<Going> = (0..3).map(|_| lab.start("apply p/p.toml")).collect();
        until("all are attached", || others.iter().all(|other| other.err().contains("is driven already")));
        go(&lab, "p");
        first.end().expect(code);
        for other in others {
            other.end().expect(code).says("slow");
        }
        assert_eq!(lab.seen("log"), "first-p\nslow-p\n");
    }
}

#[test]
fn an_edited_plan_is_not_slipped_under_a_running_one() {
    let lab = Lab::new();
    let going = running(&lab, "p");
    let before = lab.events("p");
    let added = format!(
        "{}[[step]]\nid = \"z\"\nforward = {{ action = \"command\", argv = [\"true\"] }}\ncompensate = \"nothing\"\n",
        plan("p")
    );
    lab.plan("p", &added);
    lab.expect(2, "apply p/p.toml").says("p-1");
    lab.expect(2, "apply p/p.toml --new-run");
    assert_eq!(lab.events("p"), before);
    go(&lab, "p");
    going.end().expect(0);
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.steps("p")["z"], "done");
}

#[test]
fn another_plan_is_submitted_and_the_holder_stays_for_it() {
    let lab = Lab::new();
    let mut first = running(&lab, "p");
    lab.plan("q", &plan("q"));
    let second = lab.start("apply p/q.toml");
    lab.wait_for("began-q");
    go(&lab, "p");
    until("the first run is over", || lab.expect(0, "status p").out.contains("complete"));
    assert!(!first.ends_within(Duration::from_millis(200)), "the holder left");
    quick(&lab, 0, "status q");
    go(&lab, "q");
    second.end().expect(0);
    first.end().expect(0);
    assert_eq!(lab.runs().len(), 2);
}

#[test]
fn the_first_of_two_that_begin_at_once_takes_both() {
    for _ in 0..5 {
        let lab = Lab::new();
        for name in ["p", "q", "r"] {
            lab.plan(name, &plan(name));
            go(&lab, name);
        }
        let all: Vec<Going> =
            ["p", "p", "q", "r", "q"].iter().map(|name| lab.start(&format!("apply p/{name}.toml"))).collect();
        for one in all {
            one.end().expect(0);
        }
        let mut log: Vec<String> = lab.seen("log").lines().map(str::to_owned).collect();
        log.sort();
        assert_eq!(log, ["first-p", "first-q", "first-r", "slow-p", "slow-q", "slow-r"]);
    }
}

#[test]
fn fifty_at_once_are_answered() {
    let lab = Lab::new();
    let going = running(&lab, "p");
    let all: Vec<Going> = (0..50).map(|at| lab.start(["status", "--json events", "runs"][at % 3])).collect();
    for one in all {
        one.end().expect(0);
    }
    quick(&lab, 0, "status");
    go(&lab, "p");
    going.end().expect(0);
}

#[test]
fn fifty_at_once_take_turns_when_nobody_drives() {
    let lab = Lab::new();
    lab.plan("p", &plan("p"));
    go(&lab, "p");
    lab.expect(0, "apply p/p.toml");
    let all: Vec<Going> = (0..50).map(|at| lab.start(["status", "--json events", "runs"][at % 3])).collect();
    for one in all {
        one.end().expect(0);
    }
}

#[test]
fn who_says_nothing_or_nonsense_or_stops_reading_disturbs_nobody() {
    let lab = Lab::new();
    // A long run, so that what is sent does not fit into a socket's buffer.
    let mut long = "name = \"long\"\n".to_owned();
    for at in 0..60 {
        long += &format!(
            "[[step]]\nid = \"s{at}\"\nforward = {{ action = \"command\", script = 'head -c 20000 /dev/zero | tr \"\\0\" x', outputs = {{ x = \"text\" }} }}\ncompensate = \"nothing\"\n"
        );
    }
    lab.plan("long", &long);
    lab.expect(0, "-q apply p/long.toml");
    let going = running(&lab, "p");
    let connect = || UnixStream::connect(socket(&lab)).unwrap();
    let mut silent: Vec<UnixStream> = (0..20).map(|_| connect()).collect();
    let mut deaf = connect();
    deaf.write_all(b"{\"v\":1,\"request\":{\"read\":{\"run\":\"long-1\",\"from\":1,\"limit\":100000}}}\n")
        .unwrap();
    let mut followed = connect();
    followed.write_all(b"{\"v\":1,\"request\":{\"follow\":{\"run\":\"long-1\",\"from\":1}}}\n").unwrap();
    for nonsense in [
        &b"\n"[..],
        b"hello\n",
        b"{\"v\":1,\"request\":\"fly\"}\n",
        b"\xff\xfe\n",
        b"{\"v\":99,\"request\":\"land\"}\n",
        b"{\"v\":99,\"request\":\"hello\"}\n",
        b"{\"v\":0,\"request\":\"runs\"}\n",
        b"{\"request\":\"runs\"}\n",
    ] {
        let mut stream = connect();
        stream.write_all(nonsense).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("error"), "{answer}");
    }
    silent[0].write_all(b"{\"v\":1,").unwrap();
    for _ in 0..5 {
        quick(&lab, 0, "status p");
        quick(&lab, 0, "--json events p");
    }
    go(&lab, "p");
    let began = Instant::now();
    going.end().expect(0);
    assert!(began.elapsed() < Duration::from_secs(30), "it waited for who does not read");
}

#[test]
fn a_killed_holder_leaves_nothing_in_the_way() {
    let lab = Lab::new();
    let going = running(&lab, "p");
    let follower = lab.start("events --follow");
    let attached = lab.start("apply p/p.toml");
    until("it is attached", || attached.out().contains("started"));
    let path = socket(&lab);
    going.kill();
    // Who watched is told, and the run is not hurt.
    attached.end().expect(1).says("ended").says("runner apply");
    follower.end();
    assert!(std::path::Path::new(&path).exists() && lab.state().join("holder.json").exists());
    quick(&lab, 0, "status p");
    quick(&lab, 0, "events p");
    go(&lab, "p");
    lab.expect(6, "apply p/p.toml");
    assert!(!std::path::Path::new(&path).exists() && !lab.state().join("holder.json").exists());
}

#[test]
fn a_holder_that_hangs_is_named_in_time() {
    let lab = Lab::new();
    let going = running(&lab, "p");
    let attached = lab.start("apply p/p.toml");
    until("it is attached", || attached.out().contains("started"));
    going.signal(Signal::STOP);
    let words =
        ["status", "events", "runs", "apply p/p.toml", "cancel p", "rollback p", "resolve p slow --as done"];
    let began = Instant::now();
    let all: Vec<Going> = words.iter().map(|words| lab.start(words)).collect();
    for (one, words) in all.into_iter().zip(words) {
        let ran = one.end();
        println!("{words}: {}", ran.err);
        let ran = ran.expect(7).says(&going.pid().to_string());
        assert!(ran.err.contains("ps -fp") && ran.err.contains("kill"), "{words}: {}", ran.err);
    }
    assert!(began.elapsed() < HANGS, "{:?}", began.elapsed());
    going.signal(Signal::CONT);
    go(&lab, "p");
    going.end().expect(0);
    attached.end().expect(0);
}

#[test]
fn a_stopped_holder_tells_those_who_are_attached() {
    let lab = Lab::new();
    let going = running(&lab, "p");
    let attached = lab.start("apply p/p.toml");
    until("it is attached", || attached.out().contains("started"));
    going.signal(Signal::TERM);
    until("it is stopping", || going.err().contains("Stopping") || going.out().contains("Stopping"));
    go(&lab, "p");
    going.end().expect(143);
    let code = attached.end().code;
    assert!(code == 130 || code == 143, "{code}");
    // Who watches may leave, and the run goes on.
    let lab = Lab::new();
    let going = running(&lab, "p");
    let attached = lab.start("apply p/p.toml");
    until("it is attached", || attached.out().contains("started"));
    attached.signal(Signal::INT);
    attached.end().expect(130).says("goes on");
    go(&lab, "p");
    going.end().expect(0);
}
