//! Goal: every exit code of the table is reached by the binary as the table says, and the table is the same wherever
//! it stands.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use support::lab::Lab;

fn plan(step: &str) -> String {
    format!("name = \"p\"\n[[step]]\nid = \"a\"\n{step}\n")
}

const TRUE: &str = "forward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"";
const FALSE: &str = "forward = { action = \"command\", argv = [\"false\"] }\ncompensate = \"nothing\"";
const SLOW: &str =
    "forward = { action = \"command\", script = 'touch @W@/began; sleep 30' }\ncompensate = \"nothing\"";

#[test]
fn code_0_complete_and_nothing_to_do() {
    let lab = Lab::new();
    lab.plan("p", &plan(TRUE));
    for words in [
        "validate p/p.toml",
        "apply p/p.toml",
        "apply p/p.toml",
        "status",
        "runs",
        "events",
        "rollback",
        "rollback",
        "cancel",
    ] {
        let code = lab.run(words).code;
        // A run that is rolled back cannot be cancelled any more.
        assert_eq!(code, if words == "cancel" { 2 } else { 0 }, "{words}");
    }
    lab.expect(0, "--help");
    lab.expect(0, "--version");
}

#[test]
fn code_1_an_unexpected_error() {
    let lab = Lab::new();
    lab.plan("p", &plan(TRUE));
    lab.expect(0, "apply p/p.toml");
    // The journal is damaged.
    let data = lab.path("state/journal/sled/db");
    let mut bytes = fs::read(&data).unwrap();
    let middle = bytes.len() / 2;
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    bytes.truncate(middle);
    fs::write(&data, bytes).unwrap();
    lab.expect(1, "apply p/p.toml").says("error:");
    lab.expect(1, "status").says("error:");
}

#[test]
fn code_2_refused_and_nothing_touched() {
    let lab = Lab::new();
    lab.plan("p", &plan("nonsense = 1"));
    for words in [
        "",
        "fly",
        "apply",
        "apply p/none.toml",
        "apply p/p.toml",
        "apply p",
        "validate p/p.toml",
        "status",
        "rollback",
        "apply p/p.toml --wait --no-wait",
    ] {
        lab.expect(2, words);
    }
    assert!(!lab.state().exists());
    lab.plan("p", &plan(TRUE));
    lab.expect(0, "apply p/p.toml");
    for words in [
        "status q",
        "rollback p-9",
        "rollback p --to b",
        "resolve p a --as done",
        "resolve p b --as done",
        "resolve p a --as maybe",
        "events q",
        "cancel q",
    ] {
        lab.expect(2, words);
    }
    assert_eq!(lab.steps("p")["a"], "done");
}

#[test]
fn code_3_halted_or_cancelled() {
    let lab = Lab::new();
    lab.plan("p", &plan(FALSE));
    lab.expect(3, "apply p/p.toml");
    lab.expect(0, "cancel");
    lab.expect(3, "apply p/p.toml");
}

#[test]
fn code_4_waiting() {
    let lab = Lab::new();
    lab.plan("p", &plan(&format!("approve = \"Go on?\"\n{TRUE}")));
    lab.expect(4, "apply p/p.toml").says("Go on?");
    lab.expect(4, "apply p/p.toml --no-wait");
    lab.expect(0, "apply p/p.toml -y");
    let lab = Lab::new();
    let window = "window = { days = \"mon-sun\", from = \"00:00\", to = \"00:01\", zone = \"UTC\" }";
    lab.plan("p", &plan(&format!("{window}\n{TRUE}")));
    let code = lab.run("apply p/p.toml --no-wait").code;
    assert!(code == 4 || code == 0, "{code}");
}

#[test]
fn code_5_failed_and_rolled_back() {
    let lab = Lab::new();
    lab.plan("p", &plan(&format!("{FALSE}\non_failure = \"rollback\"")));
    lab.expect(5, "apply p/p.toml");
    lab.expect(5, "apply p/p.toml");
    lab.expect(0, "rollback");
}

#[test]
fn code_6_needs_attention() {
    let lab = Lab::new();
    lab.plan("p", &plan(&format!("{SLOW}\ntimeout = \"100ms\"")));
    lab.expect(6, "apply p/p.toml");
    lab.expect(0, "status").says("needs attention");
    let lab = Lab::new();
    lab.plan("p", &plan(&TRUE.replace("\"nothing\"", "{ action = \"command\", argv = [\"false\"] }")));
    lab.expect(0, "apply p/p.toml");
    lab.expect(6, "rollback");
}

#[test]
fn code_7_held_by_a_process_that_does_not_answer() {
    let lab = Lab::new();
    lab.plan("p", &plan(SLOW));
    let going = lab.start("apply p/p.toml");
    lab.wait_for("began");
    going.signal(Signal::STOP);
    lab.expect(7, "status").says(&format!("process {}", going.pid()));
    // It is gone: nothing is in the way, though its pid stands in the lock file and its socket is there.
    going.kill();
    lab.expect(0, "status");
}

#[test]
fn codes_130_and_143_stopped() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let lab = Lab::new();
        lab.plan("p", &plan(SLOW));
        let mut going = lab.start("apply p/p.toml");
        lab.wait_for("began");
        going.signal(signal);
        assert!(going.ends_within(Duration::from_secs(20)));
        going.end().expect(code);
    }
}

#[test]
fn the_table_is_the_same_in_the_help_and_the_documents() {
    let help = Lab::new().expect(0, "--help").out;
    let said = help.split_once("Exit codes:\n").unwrap().1.split_whitespace().collect::<Vec<_>>().join(" ");
    for path in ["docs/design.md", "README.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = fs::read_to_string(&path).unwrap();
        let table = text.split_once("| exit | meaning |\n|---|---|\n").unwrap().1;
        let rows: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 9, "{}", path.display());
        let plain: Vec<String> = rows
            .iter()
            .map(|row| row.trim_matches(['|', ' ']).replace(" | ", " ").replace('`', ""))
            .collect();
        assert_eq!(plain.join(" "), said, "{}", path.display());
    }
    // Nobody reads: a quiet end.
    let lab = Lab::new();
    let mut command = lab.command("--help");
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
