//! Goal: what no killed process can show. Every append ends in an fdatasync of sled's data file, on top of sled's own
//! write; the head file is written without a sync and synced by a settle; nothing else is synced. The events of an
//! append of one run cost one write together. Killed at any of these calls, all of them are there or none. Method:
//! strace writes down the calls of a child, which marks its phases by opening files that do not exist, or kills it.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::common;
use crate::skip;

use std::path::Path;
use std::process::{Command, Stdio};

use common::*;
use runner::journal::{Append, Journal};
use runner::plan::RunId;

const APPENDS: usize = 20;

fn mark(name: &str) {
    assert!(!Path::new(&format!("/mark/{name}")).exists());
}

#[test]
#[ignore = "the child of the other test"]
fn child() {
    let Some((_, folder)) = std::env::vars().find(|(key, _)| key == "RUNNER_CHILD_FOLDER") else { return };
    let mut journal = open(Path::new(&folder)).unwrap();
    let run = journal.new_run(&plan("a")).unwrap();
    mark("append");
    for seq in 1..=APPENDS as u64 {
        append(&mut journal, &run, seq).unwrap();
    }
    mark("together");
    for batch in 0..APPENDS as u64 {
        append_three(&mut journal, &run, APPENDS as u64 + 3 * batch + 1);
    }
    mark("settle");
    journal.settle_head().unwrap();
    journal.settle_head().unwrap();
    mark("body");
    journal.put_body(b"manifest").unwrap();
    mark("same");
    journal.put_body(b"manifest").unwrap();
    mark("close");
    drop(journal);
}

/// The other child: appends three at a time to one run, and says what is done.
#[test]
#[ignore = "the child of the other test"]
fn child_to_be_killed() {
    let Some((_, folder)) = std::env::vars().find(|(key, _)| key == "RUNNER_CHILD_FOLDER") else { return };
    let mut journal = open(Path::new(&folder)).unwrap();
    let head = journal.runs().unwrap()[0].clone();
    for batch in 0..6 {
        append_three(&mut journal, &head.run, head.last_seq + 3 * batch + 1);
        println!("\nkept {}", head.last_seq + 3 * (batch + 1));
    }
}

fn append_three(journal: &mut Journal, run: &RunId, from: u64) {
    let bodies: Vec<_> = (from..from + 3).map(|seq| body(run, seq)).collect();
    let batch: Vec<_> = (from..).zip(&bodies).map(|(seq, body)| Append { run, seq, body }).collect();
    journal.append(&batch).unwrap();
}

#[test]
fn a_kill_at_any_call_leaves_all_events_of_an_append_or_none() {
    if !strace_works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut journal = open(&state).unwrap();
    let run = journal.new_run(&plan("a")).unwrap();
    drop(journal);
    let mut killed = 0;
    // strace counts the calls of each thread by itself.
    for call in ["pwrite64", "sync_file_range", "fdatasync", "ftruncate", "rename"] {
        for when in 1..=12 {
            let done = Command::new("strace")
                .args(["-f", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={when}")])
                .arg(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "syscalls::child_to_be_killed",
                    "--ignored",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env("RUNNER_CHILD_FOLDER", &state)
                .output()
                .unwrap();
            killed += usize::from(!done.status.success());
            let said = String::from_utf8_lossy(&done.stdout);
            let kept = said.lines().filter_map(|line| line.strip_prefix("kept ")?.parse().ok()).next_back();
            let journal = open(&state).unwrap();
            let events = all(&journal, &run).unwrap();
            let there = events.len() as u64;
            assert!(there.is_multiple_of(3), "{call} {when}: a record came apart: {there} events");
            assert!(there >= kept.unwrap_or(0), "{call} {when}: {there} of {kept:?} are left");
            for (seq, event) in (1..).zip(&events) {
                assert_eq!(event.body, body(&run, seq));
            }
        }
    }
    println!("{killed} were killed");
    assert!(killed >= 10);
}

fn strace_works() -> bool {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if works.is_ok_and(|status| status.success()) {
        return true;
    }
    skip::skip("strace cannot be run here, so nobody looked whether appends reach the disk");
    false
}

/// The lines of a phase that contain all of these words.
fn count(phase: &str, words: &[&str]) -> usize {
    phase.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

#[test]
fn every_append_is_synced_and_nothing_else_is() {
    if !strace_works() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("calls");
    let done = Command::new("strace")
        .args(["-f", "-y", "-o"])
        .arg(&log)
        .args([
            "-e",
            "trace=fdatasync,fsync,sync_file_range,pwrite64,write,rename,renameat,renameat2,statx,stat",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "syscalls::child", "--ignored", "--test-threads=1"])
        .env("RUNNER_CHILD_FOLDER", folder.path().join("state"))
        .stdout(Stdio::null())
        .status();
    assert!(done.unwrap().success());
    let calls = std::fs::read_to_string(&log).unwrap();
    let phase = |from: &str, to: &str| -> String {
        let (_, rest) = calls.split_once(&format!("/mark/{from}\"")).unwrap();
        rest.split_once(&format!("/mark/{to}\"")).unwrap().0.to_owned()
    };
    let syncs = |phase: &str| count(phase, &["fdatasync("]) + count(phase, &["fsync("]);

    // One event, or three at once: it makes no difference.
    for appending in [phase("append", "together"), phase("together", "settle")] {
        assert_eq!(count(&appending, &["fdatasync(", "journal/sled/db>"]), APPENDS, "{appending}");
        assert_eq!(syncs(&appending), APPENDS, "{appending}");
        assert_eq!(count(&appending, &["pwrite64(", "journal/sled/db>"]), APPENDS, "{appending}");
        assert_eq!(count(&appending, &["pwrite64(", "journal/head>"]), APPENDS, "{appending}");
        // In order: sled's write, the sync of the data, the note in the head file.
        let order: Vec<&str> = appending
            .lines()
            .filter(|line| line.contains("pwrite64(") || line.contains("fdatasync("))
            .map(|line| match () {
                () if line.contains("head>") => "head",
                () if line.contains("fdatasync") => "sync",
                () => "write",
            })
            .collect();
        assert_eq!(order, ["write", "sync", "head"].repeat(APPENDS), "{appending}");
    }

    let settling = phase("settle", "body");
    assert_eq!((count(&settling, &["fdatasync(", "journal/head>"]), syncs(&settling)), (1, 1), "{settling}");

    // A body: the file before its name, the folder after it.
    let body = phase("body", "same");
    let at =
        |word: &str, path: &str| body.lines().position(|line| line.contains(word) && line.contains(path));
    let (file, name, names) = (at("fsync(", ".new-"), at("rename", ".new-"), at("fsync(", "bodies>"));
    assert!(file.is_some() && file < name && name < names.or(name.map(|at| at + 1)), "{body}");
    assert!(count(&body, &["fsync(", "bodies>"]) >= 1, "{body}");
    assert_eq!(count(&phase("same", "close"), &["fsync(", "bodies>"]), 1);

    // Creation: everything in the new folder and the folder itself before the rename, the state folder after it.
    let lines: Vec<&str> = calls.lines().collect();
    let renamed =
        lines.iter().position(|line| line.contains("rename") && line.contains("/state/journal\"")).unwrap();
    let (before, after) = lines.split_at(renamed);
    for part in ["/sled/db>", "/sled/conf>", "/sled>", "/sled/blobs>", "/head>", "/version>"] {
        let synced = before
            .iter()
            .any(|line| line.contains("fsync(") && line.contains("journal.new-") && line.contains(part));
        assert!(synced, "{part}");
    }
    let mut at_once = after.iter().take_while(|line| !line.contains("/mark/"));
    assert!(at_once.any(|line| line.contains("fsync(") && line.contains("/state>")));
}
