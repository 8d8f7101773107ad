//! Goal: nothing passes a gate that nobody opened, from whichever terminal it is answered; what a person says of a run
//! is recorded once, with the same words whether anybody drives the run or not.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use rustix::process::Signal;
use serde_json::Value;
use support::lab::{Lab, json_lines};
use support::pty::AtTerminal;
use support::sshd::until;

fn writes(id: &str) -> String {
    format!(
        "[[step]]\nid = \"{id}\"\n\
         forward = {{ action = \"command\", script = 'echo {id} >> @W@/log' }}\n\
         compensate = {{ action = \"command\", script = 'echo undo {id} >> @W@/log' }}\n"
    )
}

/// A step behind a gate whose evidence is the file `ready`.
fn gated(id: &str, more: &str) -> String {
    writes(id).replace(
        "forward =",
        &format!(
            "approve = \"Really do {id}?\"\n{more}\
             evidence = [{{ check = \"command\", argv = [\"test\", \"-e\", \"@W@/ready\"] }}]\nforward ="
        ),
    )
}

/// A soak that always passes, whose way back works while there is the file `ready`.
const SOAK: &str = "[[step]]\nid = \"soak\"\nneeds = []\nsoak = { for = \"40ms\", every = \"20ms\" }\n\
    verify = [{ check = \"command\", argv = [\"true\"] }]\n\
    rollback_ready = [{ check = \"command\", argv = [\"test\", \"-e\", \"@W@/ready\"] }]\n";

fn plan(steps: &[String]) -> String {
    format!("name = \"p\"\n{}", steps.concat())
}

fn lab(ready: bool) -> Lab {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a"), gated("b", ""), writes("c")]));
    if ready {
        lab.write("w/ready", "");
    }
    lab
}

fn of(events: &[Value], name: &str) -> Vec<Value> {
    events.iter().filter(|event| event["event"] == name).cloned().collect()
}

/// Waits until a step of the run is so.
fn is(lab: &Lab, step: &str, status: &str) {
    until(&format!("`{step}` is {status}"), || lab.has_run("p") && lab.steps("p")[step] == status);
}

#[test]
fn a_gate_without_a_terminal_exits_4_with_the_commands_and_is_answered_without_a_holder() {
    let lab = lab(true);
    lab.expect(4, "apply p/p.toml")
        .says("Really do b?")
        .says("runner approve p-1 b")
        .says("runner reject p-1 b");
    assert_eq!(lab.seen("log"), "a\n");
    let said = lab.expect(0, "approve b --note well");
    assert!(said.text().contains("Step `b` of run `p-1` is approved by tester@"), "{}", said.text());
    assert_eq!(lab.seen("log"), "a\n");
    // Once more says by whom, and records nothing.
    let before = lab.events("p").len();
    lab.expect(0, "approve p b").says("was approved already by tester@");
    assert_eq!(lab.events("p").len(), before);
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\nb\nc\n");
    let approved = of(&lab.events("p"), "approved");
    assert_eq!((approved.len(), approved[0]["note"].as_str()), (1, Some("well")));
    lab.expect(0, "approve b").says("approved already");
    lab.expect(2, "reject b").says("approved already");
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("log"), "a\nb\nc\nundo c\nundo b\nundo a\n");
}

#[test]
fn the_same_words_with_a_holder_and_without_one() {
    for json in ["", "--json "] {
        let mut said = Vec::new();
        for held in [false, true] {
            let lab = lab(true);
            let going = held.then(|| lab.start("apply p/p.toml --wait"));
            if held {
                is(&lab, "b", "awaiting_approval");
            } else {
                lab.expect(4, "apply p/p.toml");
            }
            let mut words = Vec::new();
            for command in [
                "pause",
                "pause p",
                "resume p-1",
                "resume",
                "approve p c",
                "approve nothing",
                "approve p-2 b",
                "approve p-1",
                "skip a --note no",
                "skip c --note dull",
                "approve b",
            ] {
                let ran = lab.run(&format!("{json}{command}"));
                words.push((
                    command,
                    ran.code,
                    ran.text().replace(&lab.at("."), "").replace(&lab.at(""), ""),
                ));
            }
            said.push(words);
            match going {
                Some(going) => going.end().expect(0),
                None => lab.expect(0, "apply p/p.toml"),
            };
            assert_eq!(lab.seen("log"), "a\nb\n");
        }
        let codes: Vec<i32> = said[0].iter().map(|(_, code, _)| *code).collect();
        assert_eq!(codes, [0, 0, 0, 0, 2, 2, 2, 2, 2, 0, 0], "{said:#?}");
        let folders = |words: &(&str, i32, String)| {
            let text = words.2.split("/p/p.toml").map(|part| part.rsplit(' ').next().map_or(part, |_| part));
            text.map(|part| part.rfind("/l").map_or(part.to_owned(), |at| part[..at].to_owned()))
                .collect::<String>()
        };
        for (without, with) in said[0].iter().zip(&said[1]) {
            assert_eq!(folders(without), folders(with));
        }
    }
}

#[test]
fn two_people_at_once_give_one_approval() {
    let lab = lab(true);
    let going = lab.start("apply p/p.toml --wait");
    is(&lab, "b", "awaiting_approval");
    let all: Vec<_> = (0..6).map(|n| lab.start(&format!("approve b --note n{n}"))).collect();
    let said: Vec<String> = all.into_iter().map(|each| each.end().expect(0).text()).collect();
    going.end().expect(0);
    let first = said.iter().filter(|text| text.contains("is approved by")).count();
    let late = said.iter().filter(|text| text.contains("was approved already by tester@")).count();
    assert_eq!((first, late), (1, 5), "{said:#?}");
    assert_eq!(of(&lab.events("p"), "approved").len(), 1);
}

#[test]
fn a_rejected_step_fails_and_its_on_failure_decides() {
    let lab = lab(true);
    lab.expect(4, "apply p/p.toml");
    lab.expect(0, "reject b --note no").says("is rejected by");
    lab.expect(2, "approve b").says("rejected by tester@");
    lab.expect(3, "apply p/p.toml --no-wait").says("rejected by tester@");
    // Whoever applies again is asked again.
    lab.expect(4, "apply p/p.toml");
    let lab = Lab::new();
    lab.write("w/ready", "");
    lab.plan(
        "p",
        &format!("{}on_failure = \"rollback\"\n{}{}", "name = \"p\"\n", writes("a"), gated("b", "")),
    );
    let going = lab.start("apply p/p.toml --wait");
    is(&lab, "b", "awaiting_approval");
    lab.expect(0, "reject b");
    going.end().expect(5);
    assert_eq!(lab.seen("log"), "a\nundo a\n");
}

#[test]
fn yes_opens_only_gates_whose_evidence_all_holds() {
    let lab = lab(false);
    lab.expect(4, "apply p/p.toml -y").says("`-y` does not approve it, because of: command: test -e");
    assert_eq!(lab.seen("log"), "a\n");
    lab.expect(4, "apply p/p.toml -y");
    assert!(of(&lab.events("p"), "approved").is_empty());
    // What it sees now counts, and not what somebody saw before.
    lab.write("w/ready", "");
    lab.expect(0, "apply p/p.toml -y");
    assert_eq!(lab.seen("log"), "a\nb\nc\n");
    let events = lab.events("p");
    assert_eq!(of(&events, "approval_voided").len(), 1);
    assert_eq!(of(&events, "approved")[0]["by"], "-y");
}

#[test]
fn yes_passes_no_gate_whose_evidence_flaps() {
    // It holds at every other look: what `-y` approves is void before the gate opens. It does not ask itself for ever.
    let lab = Lab::new();
    let script = "echo look >> @W@/looks; test $(($(wc -l < @W@/looks) % 2)) = 1";
    let steady = gated("b", "");
    let flapping =
        steady.replace("\"test\", \"-e\", \"@W@/ready\"", &format!("\"sh\", \"-c\", \"{script}\""));
    lab.plan("p", &plan(&[writes("a"), flapping]));
    lab.expect(4, "apply p/p.toml -y")
        .says("`-y` does not approve it again: its approval became void before the gate opened");
    let events = lab.events("p");
    assert_eq!(of(&events, "approved").len(), 1);
    assert_eq!(of(&events, "approval_voided").len(), 1);
    for _ in 0..4 {
        let before = of(&lab.events("p"), "approved").len();
        lab.expect(4, "apply p/p.toml -y").says("`-y` does not approve it");
        assert!(of(&lab.events("p"), "approved").len() <= before + 1);
    }
    assert_eq!(lab.seen("log"), "a\n");
}

#[test]
fn a_gate_behind_a_soak_shows_its_result_and_whether_the_way_back_works() {
    let lab = Lab::new();
    lab.write("w/ready", "");
    // No `evidence` of its own: the steps it needs speak for it.
    let behind = writes("b").replace("forward =", "needs = [\"soak\"]\napprove = \"Delete it?\"\nforward =");
    lab.plan("p", &plan(&[SOAK.to_owned(), behind]));
    lab.expect(4, "apply p/p.toml")
        .says("evidence: soak: step `soak`: holds (it passed)")
        .says("/w/ready: holds (exit status 0)");
    let request = of(&lab.events("p"), "approval_requested").remove(0);
    assert_eq!(request["evidence"].as_array().unwrap().len(), 2, "{request}");
    // The way back is lost meanwhile: `-y` does not go over it, and the request is void.
    std::fs::remove_file(lab.path("w/ready")).unwrap();
    lab.expect(4, "apply p/p.toml -y").says("`-y` does not approve it");
    assert_eq!(lab.seen("log"), "");
    lab.write("w/ready", "");
    lab.expect(0, "apply p/p.toml -y");
    assert_eq!(lab.seen("log"), "b\n");
}

#[test]
fn evidence_that_turns_after_the_answer_voids_it() {
    for held in [false, true] {
        let lab = lab(true);
        let going = held.then(|| lab.start("apply p/p.toml --wait"));
        if held {
            is(&lab, "b", "awaiting_approval");
        } else {
            lab.expect(4, "apply p/p.toml");
        }
        std::fs::remove_file(lab.path("w/ready")).unwrap();
        lab.expect(0, "approve b");
        if !held {
            lab.expect(4, "apply p/p.toml").says("Really do b?");
        }
        until("it is asked again", || of(&lab.events("p"), "approval_requested").len() == 2);
        let voided = of(&lab.events("p"), "approval_voided");
        assert!(voided[0]["reason"].as_str().unwrap().contains("held when it was asked for"), "{voided:?}");
        assert_eq!(lab.seen("log"), "a\n");
        // A person may go on over it all the same.
        lab.expect(0, "approve b");
        match going {
            Some(going) => going.end().expect(0),
            None => lab.expect(0, "apply p/p.toml"),
        };
        assert_eq!(lab.seen("log"), "a\nb\nc\n");
    }
}

#[test]
fn a_request_that_expires_is_asked_again() {
    let lab = Lab::new();
    lab.write("w/ready", "");
    lab.plan("p", &plan(&[gated("b", "approve_expires = \"300ms\"\n")]));
    let going = lab.start("apply p/p.toml --wait");
    until("it is asked again", || lab.has_run("p") && of(&lab.events("p"), "approval_requested").len() >= 3);
    let events = lab.events("p");
    assert!(of(&events, "approval_voided")[0]["reason"].as_str().unwrap().contains("expired"), "{events:?}");
    lab.plan("q", "name = \"q\"\n[[step]]\nid = \"x\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n");
    going.signal(Signal::TERM);
    going.end().expect(143);
    assert_eq!(lab.seen("log"), "");
}

#[test]
fn an_edit_of_the_step_or_of_one_it_depends_on_voids_its_approval() {
    for edit in ["Really do", "echo b"] {
        let lab = lab(true);
        lab.expect(4, "apply p/p.toml");
        lab.expect(0, "approve b");
        let text = plan(&[writes("a"), gated("b", ""), writes("c")]);
        lab.plan("p", &text.replace(edit, &format!("{edit} x")));
        lab.expect(4, "apply p/p.toml");
        assert_eq!((of(&lab.events("p"), "approval_requested").len(), lab.seen("log").as_str()), (2, "a\n"));
    }
    // What has nothing to do with it does not.
    let lab = lab(true);
    lab.expect(4, "apply p/p.toml");
    lab.expect(0, "approve b");
    lab.plan("p", &plan(&[writes("a"), gated("b", ""), writes("c").replace("echo c", "echo d")]));
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\nb\nd\n");
}

#[test]
fn a_pause_lets_what_runs_end_and_starts_nothing() {
    let lab = Lab::new();
    let slow = writes("a").replace(
        "echo a",
        "touch @W@/began; until [ -e @W@/go ] || [ ! -d @W@ ]; do sleep 0.01; done; echo a",
    );
    lab.plan("p", &plan(&[slow, writes("b")]));
    let going = lab.start("apply p/p.toml");
    lab.wait_for("began");
    lab.expect(0, "pause").says("is paused by tester@");
    lab.write("w/go", "");
    going.end().expect(4).says("runner resume p-1");
    assert_eq!(lab.seen("log"), "a\n");
    lab.expect(4, "apply p/p.toml").says("is paused");
    let waiting = lab.start("apply p/p.toml --wait");
    until("somebody drives it", || lab.state().join("holder.json").exists());
    lab.expect(0, "resume p");
    waiting.end().expect(0);
    assert_eq!(lab.seen("log"), "a\nb\n");
}

#[test]
fn a_step_whose_outputs_are_needed_is_not_skipped() {
    let lab = Lab::new();
    let gives = "[[step]]\nid = \"a\"\nforward = { action = \"command\", script = 'test -e @W@/go && echo hi', outputs = { word = \"text\" } }\ncompensate = \"nothing\"\n";
    let takes = "[[step]]\nid = \"b\"\nforward = { action = \"command\", argv = [\"echo\", \"{{ steps.a.outputs.word }}\"] }\ncompensate = \"nothing\"\n";
    lab.plan("p", &plan(&[gives.to_owned(), takes.to_owned(), writes("c")]));
    lab.expect(3, "apply p/p.toml");
    lab.expect(2, "skip a --note no").says("step `b`").says("uses an output of it");
    lab.expect(0, "skip b --note no");
    lab.expect(0, "skip p a --note no");
    lab.expect(2, "skip c");
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "c\n");
    assert_eq!(lab.steps("p")["a"], "skipped");
}

#[test]
fn names_that_are_nearly_right_are_answered_with_the_right_ones() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("warm-cache"), gated("delete-old", "")]).replace("\"p\"", "\"frigate\""));
    lab.expect(4, "apply p/p.toml");
    lab.expect(2, "approve delete-odl").says("did you mean `delete-old`?");
    lab.expect(2, "approve frigat delete-old").says("did you mean `frigate-1`?");
    lab.expect(2, "approve frigate-1").says("is a run: name its step too");
    lab.expect(2, "resolve frigate warm-cahce --as done").says("did you mean `warm-cache`?");
    lab.expect(2, "apply p/p.toml --redo warm-cach").says("did you mean `warm-cache`?");
    lab.expect(2, "pause frigate-9").says("did you mean");
    assert_eq!(json_lines(&lab.expect(2, "--json approve x").out)[0]["code"], 2);
    let quiet = lab.expect(0, "-q approve delete-old");
    assert_eq!(quiet.text(), "");
}

#[test]
fn at_a_terminal_a_gate_is_asked_about() {
    let lab = lab(true);
    let mut terminal = AtTerminal::start(&lab, "apply p/p.toml");
    terminal.shows("Step `b`: Really do b? [y/n/q]", 1);
    terminal.types("maybe");
    terminal.shows("`y` approves", 1);
    terminal.shows("Step `b`: Really do b? [y/n/q]", 2);
    terminal.types("y looks good");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert_eq!(lab.seen("log"), "a\nb\nc\n");
    let approved = of(&lab.events("p"), "approved");
    assert_eq!(approved[0]["note"], "looks good");
    assert!(approved[0]["by"].as_str().unwrap().starts_with("tester@"));
    assert!(seen.contains("evidence: command: test -e"), "{seen}");
}

#[test]
fn at_a_terminal_no_fails_the_step_and_leaving_leaves_the_gate_open() {
    let lab = lab(true);
    let mut terminal = AtTerminal::start(&lab, "apply p/p.toml");
    terminal.shows("[y/n/q]", 1);
    terminal.types("q");
    let (code, seen) = terminal.end();
    assert_eq!(code, 4, "{seen}");
    assert_eq!(lab.steps("p")["b"], "awaiting_approval");
    let mut terminal = AtTerminal::start(&lab, "apply p/p.toml");
    terminal.shows("[y/n/q]", 1);
    terminal.types("n not yet");
    let (code, seen) = terminal.end();
    assert_eq!(code, 3, "{seen}");
    assert!(seen.contains("not yet"), "{seen}");
    assert_eq!(lab.seen("log"), "a\n");
}

#[test]
fn another_terminal_may_answer_what_is_asked_here() {
    let lab = lab(true);
    let terminal = AtTerminal::start(&lab, "apply p/p.toml");
    terminal.shows("[y/n/q]", 1);
    lab.expect(0, "approve b --note elsewhere");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("elsewhere"), "{seen}");
    assert_eq!(of(&lab.events("p"), "approved").len(), 1);
}

#[test]
fn what_ends_the_holder_is_the_exit_code_of_those_who_follow() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let lab = lab(true);
        let going = lab.start("apply p/p.toml --wait");
        is(&lab, "b", "awaiting_approval");
        let follower = lab.start("apply p/p.toml --wait");
        until("it is about to follow", || follower.err().contains("is driven already"));
        // Who asks to follow while the holder closes asks too late: what happens now it can only have heard.
        lab.expect(0, "pause");
        until("it follows", || follower.out().contains("paused"));
        going.signal(signal);
        going.end().expect(code);
        follower.end().expect(code);
    }
}

#[test]
fn a_way_back_that_is_lost_is_a_gate() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[SOAK.to_owned(), writes("a")]));
    lab.expect(4, "apply p/p.toml").says("the way back no longer works").says("runner approve p-1 soak");
    lab.expect(4, "apply p/p.toml");
    lab.expect(0, "approve soak --note gone");
    lab.expect(0, "apply p/p.toml");
    assert_eq!(of(&lab.events("p"), "ready_regained").len(), 1);
    // It holds again by itself as well.
    let lab = Lab::new();
    lab.plan("p", &plan(&[SOAK.to_owned()]));
    lab.expect(4, "apply p/p.toml");
    lab.write("w/ready", "");
    lab.expect(0, "apply p/p.toml");
}

#[test]
fn a_probe_that_cannot_look_does_not_keep_no_wait() {
    let lab = Lab::new();
    lab.plan(
        "p",
        &plan(&[writes("a")
            .replace("compensate", "probe = { check = \"command\", argv = [\"@W@/no-such\"] }\ncompensate")]),
    );
    lab.expect(4, "apply p/p.toml --no-wait").says("There is something to do again in");
    lab.expect(4, "apply p/p.toml --no-wait");
    assert_eq!(lab.seen("log"), "");
}
