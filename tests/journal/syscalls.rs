//! Goal: what no killed process can show. Every append is one write into the write-ahead log and its fdatasync, however many
//! events it has; when the log is full, sled's own write is followed by an fdatasync of its data file before the log is written
//! over; the head file is written and synced by a settle; nothing else is synced. Killed at any of these calls,
//! all events of an append are there or none. Method: strace writes down the calls of a child, which marks its phases by opening
//! files that do not exist, or kills it.

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
    mark("full");
    let mut next = 4 * APPENDS as u64 + 1;
    for _ in 0..4 {
        // More than a quarter of the log each, so that it is full before the third, with what was there.
        let body = vec![b'x'; 36 * 1024];
        journal.append(&[Append { run: &run, seq: next, body: &body }]).unwrap();
        next += 1;
    }
    mark("long");
    let long = vec![b'x'; 200 * 1024];
    journal.append(&[Append { run: &run, seq: next, body: &long }]).unwrap();
    append(&mut journal, &run, next + 1).unwrap();
    mark("body");
    journal.put_body(b"manifest").unwrap();
    mark("same");
    journal.put_body(b"manifest").unwrap();
    mark("close");
    drop(journal);
}

/// The other child: appends three at a time to one run, and says what is done. They fill the write-ahead log more than once.
#[test]
#[ignore = "the child of the other test"]
fn child_to_be_killed() {
    let Some((_, folder)) = std::env::vars().find(|(key, _)| key == "RUNNER_CHILD_FOLDER") else { return };
    let mut journal = open(Path::new(&folder)).unwrap();
    let head = journal.runs().unwrap()[0].clone();
    for batch in 0..6 {
        append_long(&mut journal, &head.run, head.last_seq + 3 * batch + 1);
        println!("\nkept {}", head.last_seq + 3 * (batch + 1));
    }
}

fn append_three(journal: &mut Journal, run: &RunId, from: u64) {
    let bodies: Vec<_> = (from..from + 3).map(|seq| body(run, seq)).collect();
    let batch: Vec<_> = (from..).zip(&bodies).map(|(seq, body)| Append { run, seq, body }).collect();
    journal.append(&batch).unwrap();
}

/// 28 KiB each time.
fn append_long(journal: &mut Journal, run: &RunId, from: u64) {
    let bodies: Vec<_> = (from..from + 3).map(|seq| long_body(run, seq)).collect();
    let batch: Vec<_> = (from..).zip(&bodies).map(|(seq, body)| Append { run, seq, body }).collect();
    journal.append(&batch).unwrap();
}

fn long_body(run: &RunId, seq: u64) -> Vec<u8> {
    [body(run, seq), vec![b'y'; 9 * 1024]].concat()
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
                assert_eq!(event.body, long_body(&run, seq));
            }
        }
    }
    println!("{killed} were killed");
    assert!(killed >= 20);
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

    // In order: what is done to which file.
    let order = |phase: &str| -> Vec<&str> {
        let of = |line: &str| match line {
            _ if line.contains("journal/wal>") => Some("wal"),
            _ if line.contains("journal/sled/db>") => Some("db"),
            _ if line.contains("journal/head>") => Some("head"),
            _ => None,
        };
        let call = |line: &str| match of(line)? {
            "wal" if line.contains("pwrite64(") => Some("wal"),
            "wal" if line.contains("fdatasync(") => Some("wal synced"),
            "db" if line.contains("pwrite64(") => Some("db"),
            "db" if line.contains("fdatasync(") => Some("db synced"),
            "head" if line.contains("pwrite64(") => Some("head"),
            "head" if line.contains("fdatasync(") => Some("head synced"),
            _ => None,
        };
        phase.lines().filter_map(call).collect()
    };
    // One event, or three at once.
    for appending in [phase("append", "together"), phase("together", "settle")] {
        assert_eq!(order(&appending), ["wal", "wal synced"].repeat(APPENDS), "{appending}");
        assert_eq!(syncs(&appending), APPENDS, "{appending}");
    }

    let settling = phase("settle", "full");
    assert_eq!(order(&settling), ["head", "head synced"], "{settling}");
    assert_eq!(syncs(&settling), 1, "{settling}");

    // A full log: the database has all of it on stable storage before it is written over.
    let full = phase("full", "long");
    let appended = ["wal", "wal synced"].repeat(2);
    let rolled: Vec<&str> = order(&full).into_iter().filter(|call| *call != "db").collect();
    assert_eq!(rolled, [&appended[..], &["db synced"], &appended].concat(), "{full}");
    let first = order(&full).iter().position(|call| *call == "db").unwrap();
    assert!(order(&full)[..first].iter().all(|call| *call != "db synced"), "{full}");
    // What is longer than the log goes into the database at once, and what comes next into the log.
    let long: Vec<&str> = order(&phase("long", "body")).into_iter().filter(|call| *call != "db").collect();
    assert_eq!(long, ["db synced", "wal", "wal synced"]);

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
    for part in ["/sled/db>", "/sled/conf>", "/sled>", "/sled/blobs>", "/head>", "/wal>", "/version>"] {
        let synced = before
            .iter()
            .any(|line| line.contains("fsync(") && line.contains("journal.new-") && line.contains(part));
        assert!(synced, "{part}");
    }
    let mut at_once = after.iter().take_while(|line| !line.contains("/mark/"));
    assert!(at_once.any(|line| line.contains("fsync(") && line.contains("/state>")));
}
