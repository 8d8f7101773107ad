//! Goal: P1 to the system call. The intent of a step is on stable storage before the first program of its action is
//! started, whether it was written alone, together with the outcome of the step before, or with those of steps
//! beside it. Method: strace writes down what is written to the journal's data file, every sync of it and every
//! program that is started.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::process::{Command, Stdio};

use support::lab::Lab;

/// A finished system call, in the order of the ends; `began` is the line where it began.
struct Call {
    began: usize,
    ended: usize,
    text: String,
}

/// Puts the two halves of interrupted calls together.
fn calls(log: &str) -> Vec<Call> {
    let mut open: Vec<(String, usize, String)> = Vec::new();
    let mut all = Vec::new();
    for (line, text) in log.lines().enumerate() {
        let (pid, text) = text.split_once(' ').unwrap_or((text, ""));
        let text = text.trim_start();
        if let Some(first) = text.strip_suffix("<unfinished ...>") {
            open.push((pid.to_owned(), line, first.to_owned()));
        } else if text.starts_with("<... ") {
            let Some(at) = open.iter().position(|(of, ..)| of == pid) else { continue };
            let (_, began, first) = open.remove(at);
            let rest = text.split_once("resumed>").map_or("", |(_, rest)| rest);
            all.push(Call { began, ended: line, text: format!("{first}{rest}") });
        } else {
            all.push(Call { began: line, ended: line, text: text.to_owned() });
        }
    }
    // A call that started a program and never came back, because its process was killed, began nonetheless.
    all.extend(open.into_iter().map(|(_, began, text)| Call { began, ended: usize::MAX, text }));
    all
}

/// Whether the intent of this step stands in these written bytes.
fn holds_intent(text: &str, step: &str, direction: &str) -> bool {
    let place = format!(
        "\\\"step\\\":\\\"{step}\\\",\\\"is\\\":{{\\\"started\\\":{{\\\"direction\\\":\\\"{direction}\\\""
    );
    text.contains(&place)
}

fn traced(lab: &Lab, words: &str) -> String {
    let log = lab.path("calls");
    let runner = lab.command(words);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "1000000", "-e", "trace=execve,fdatasync,pwrite64,pwritev,write", "-o"]);
    strace.arg(&log).arg(runner.get_program()).args(runner.get_args()).current_dir(lab.path("."));
    for (name, value) in runner.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    lab.begin(strace).end().expect(0);
    std::fs::read_to_string(&log).unwrap()
}

fn check(log: &str, steps: &[String], word: &str, direction: &str) {
    let all = calls(log);
    let data = |call: &Call| call.text.contains("/journal/wal>");
    for step in steps {
        let marker = format!("\"{word}-{step}\"");
        let first = all.iter().filter(|call| call.text.starts_with("execve(") && call.text.contains(&marker));
        let first = first.map(|call| call.began).min().unwrap_or_else(|| panic!("{step} never ran"));
        let intent = all
            .iter()
            .filter(|call| call.text.starts_with("pwrite") && data(call))
            .filter(|call| holds_intent(&call.text, step, direction))
            .map(|call| call.ended)
            .min()
            .unwrap_or_else(|| panic!("no intent of {step} was ever written"));
        let synced = all.iter().any(|call| {
            let sync = call.text.starts_with("fdatasync(") && data(call);
            sync && call.text.trim_end().ends_with("= 0") && call.began > intent && call.ended < first
        });
        assert!(synced, "{step}: intent written at line {intent}, action started at line {first}, no sync");
    }
}

#[test]
fn every_intent_is_on_the_disk_before_its_action_starts() {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        support::skip::skip(
            "strace cannot be run here, so nobody looked whether intents reach the disk in time",
        );
        return;
    }
    let lab = Lab::new();
    let mut text = "name = \"p\"\nparallelism = 4\n".to_owned();
    let mut steps = Vec::new();
    let mut step = |id: String, rest: &str| {
        let act = |word: &str| format!("{{ action = \"command\", argv = [\"true\", \"{word}-{id}\"] }}");
        text.push_str(&format!("[[step]]\nid = \"{id}\"\n{rest}\nforward = {}\n", act("do")));
        text.push_str(&format!("compensate = {}\n", act("undo")));
        steps.push(id);
    };
    // One after the other with nothing to look at in between: outcome and intent are one batch.
    for number in 0..6 {
        step(format!("chain-{number}"), "idempotent = true");
    }
    // Something is looked at in between.
    for number in 0..3 {
        let probe = "probe = { check = \"command\", argv = [\"false\"] }\nverify = [{ check = \"command\", argv = [\"true\"] }]";
        step(format!("probed-{number}"), probe);
    }
    // Beside each other, and one that needs them all.
    for number in 0..4 {
        step(format!("beside-{number}"), "needs = [\"probed-2\"]\nidempotent = true");
    }
    let last = "needs = [\"beside-0\", \"beside-1\", \"beside-2\", \"beside-3\"]\nwhen = true";
    step("last".to_owned(), last);
    lab.plan("p", &text);

    let log = traced(&lab, "apply p/p.toml");
    check(&log, &steps, "do", "forward");
    // The batch is one: an outcome and the next intent went down in one write.
    let both = |line: &str| {
        holds_intent(line, "chain-3", "forward")
            && line.contains("\\\"step\\\":\\\"chain-2\\\",\\\"is\\\":{\\\"acted\\\"")
    };
    assert!(log.lines().any(both), "outcome and next intent were not one batch");
    let log = traced(&lab, "rollback p");
    check(&log, &steps, "undo", "compensation");
}
