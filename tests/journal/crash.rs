//! Goal: a process killed at any instant loses nothing it was told is kept, and never leaves a journal that cannot be
//! opened. Method: this binary starts itself as a child, kills it with SIGKILL after a random time, and looks.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use runner::journal::{Append, JournalError, held_by};

fn given(name: &str) -> Option<String> {
    std::env::vars().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn start(role: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("RUNNER_CHILD", role)
        .env("RUNNER_CHILD_FOLDER", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The child: says `ready`, does its part, and says what is done as soon as it is.
#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let Some(role) = given("RUNNER_CHILD") else { return };
    let folder = PathBuf::from(given("RUNNER_CHILD_FOLDER").unwrap());
    let mut out = std::io::stdout();
    writeln!(out, "\nready").unwrap();
    out.flush().unwrap();
    let mut journal = open(&folder).unwrap();
    match role.as_str() {
        "create" => {
            writeln!(out, "done").unwrap();
            out.flush().unwrap();
        }
        "append" => {
            // Batches of three over two runs: all of one or none.
            let runs = match journal.runs().unwrap() {
                runs if runs.len() == 2 => [runs[0].run.clone(), runs[1].run.clone()],
                runs if runs.len() == 1 => [runs[0].run.clone(), journal.new_run(&plan("b")).unwrap()],
                _ => [journal.new_run(&plan("a")).unwrap(), journal.new_run(&plan("b")).unwrap()],
            };
            let mut seq = journal.runs().unwrap()[0].last_seq / 2;
            loop {
                let (first, second, third) =
                    (body(&runs[0], 2 * seq + 1), body(&runs[0], 2 * seq + 2), body(&runs[1], seq + 1));
                let batch = [
                    Append { run: &runs[0], seq: 2 * seq + 1, body: &first },
                    Append { run: &runs[1], seq: seq + 1, body: &third },
                    Append { run: &runs[0], seq: 2 * seq + 2, body: &second },
                ];
                journal.append(&batch).unwrap();
                seq += 1;
                writeln!(out, "kept {seq}").unwrap();
                out.flush().unwrap();
                if seq.is_multiple_of(7) {
                    journal.settle_head().unwrap();
                }
            }
        }
        "steps" => {
            // As a run of steps appends: a few events of one run at a time, now and then a long one among them.
            let run = match journal.runs().unwrap().first() {
                Some(head) => head.run.clone(),
                None => journal.new_run(&plan("a")).unwrap(),
            };
            let mut batch = batches(journal.runs().unwrap()[0].last_seq);
            loop {
                let bodies = step_bodies(batch);
                let seqs = end_of(batch) + 1..;
                let events: Vec<_> =
                    seqs.zip(&bodies).map(|(seq, body)| Append { run: &run, seq, body }).collect();
                journal.append(&events).unwrap();
                batch += 1;
                writeln!(out, "kept {batch}").unwrap();
                out.flush().unwrap();
            }
        }
        "hold" => {
            writeln!(out, "held").unwrap();
            out.flush().unwrap();
            std::thread::sleep(Duration::from_secs(60));
        }
        other => panic!("no such role: {other}"),
    }
}

/// The events of a batch of the role `steps`: one to four, which share a record, but for one in five that is long.
fn step_bodies(batch: u64) -> Vec<Vec<u8>> {
    let long = if batch.is_multiple_of(5) { 6_000 } else { 0 };
    (0..=batch % 4).map(|event| [format!("{batch}.{event}").as_bytes(), &vec![b'x'; long]].concat()).collect()
}

/// The last sequence number before a batch.
fn end_of(batch: u64) -> u64 {
    batch / 4 * 10 + (0..batch % 4).map(|before| before + 1).sum::<u64>()
}

/// How many batches end at a sequence number; they end nowhere else.
#[track_caller]
fn batches(last_seq: u64) -> u64 {
    let batch = (0..).find(|batch| end_of(*batch) >= last_seq).unwrap();
    assert_eq!(end_of(batch), last_seq, "a batch came apart");
    batch
}

/// How long a child takes from `ready` to the line that starts with `word`, in microseconds: kills aim at that.
fn time_to(word: &str, role: &str, folder: &Path) -> u64 {
    let mut child = start(role, folder);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line == "ready"));
    let start = Instant::now();
    assert!(lines.by_ref().any(|line| line.starts_with(word)));
    let taken = start.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    u64::try_from(taken.as_micros()).unwrap()
}

fn kill_after(child: &mut Child, micros: u64) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line == "ready"));
    std::thread::sleep(Duration::from_micros(micros));
    child.kill().unwrap();
    child.wait().unwrap();
    lines.filter_map(|line| line.strip_prefix("kept ")?.parse().ok()).last().unwrap_or(0)
}

#[test]
fn a_kill_during_creation_leaves_nothing_or_a_whole_journal() {
    let mut rng = Rng::seeded();
    let (mut none, mut whole) = (0, 0);
    let times = (0..5).map(|_| time_to("done", "create", &tempfile::tempdir().unwrap().path().join("state")));
    let most = times.max().unwrap() * 5 / 4;
    println!("kills come in the first {most} us");
    for _ in 0..if full() { 4_000 } else { 200 } {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut child = start("create", &state);
        kill_after(&mut child, rng.below(most));
        if state.join("journal").exists() {
            whole += 1;
        } else {
            none += 1;
        }
        let mut journal = open(&state).unwrap();
        let run = journal.new_run(&plan("a")).unwrap();
        append(&mut journal, &run, 1).unwrap();
        drop(journal);
        assert_eq!(all(&open(&state).unwrap(), &run).unwrap().len(), 1);
        let names: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("new-")), "{names:?}");
    }
    println!("{none} killed before there was a journal, {whole} after");
    assert!(none > 0, "the kills came too late to show anything");
}

/// So many kills, and up to ten times as many while what they show is not enough: on a machine that has become slow since
/// opening was timed, most of them fall into that.
fn goes_on(kills: &mut u32, planned: u32, enough: bool) -> bool {
    *kills += 1;
    *kills <= planned || !enough && *kills <= 10 * planned
}

#[test]
fn a_kill_while_opening_or_appending_loses_nothing_acknowledged() {
    let mut rng = Rng::seeded();
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let opening = (0..3).map(|_| time_to("kept", "append", folder.path())).max().unwrap();
    println!("opening takes {opening} us");
    let mut acknowledged = 0;
    let mut kills = 0;
    while goes_on(&mut kills, if full() { 1_500 } else { 60 }, acknowledged > 100) {
        // Half of the kills fall into opening, where sled writes its snapshot.
        let most = if rng.below(2) == 0 { opening } else { opening + 50_000 };
        let mut child = start("append", folder.path());
        acknowledged = kill_after(&mut child, rng.below(most)).max(acknowledged);
        let journal = open(folder.path()).unwrap();
        let runs = journal.runs().unwrap();
        if runs.len() < 2 {
            assert_eq!(acknowledged, 0);
            continue;
        }
        let (a, b) = (all(&journal, &runs[0].run).unwrap(), all(&journal, &runs[1].run).unwrap());
        assert!(b.len() as u64 >= acknowledged, "{} of {acknowledged} are left", b.len());
        assert_eq!(a.len(), 2 * b.len(), "a batch came apart");
        for (run, events) in [(&runs[0].run, &a), (&runs[1].run, &b)] {
            for (seq, event) in (1..).zip(events) {
                assert_eq!(event.body, body(run, seq));
            }
        }
        acknowledged = b.len() as u64;
    }
    println!("{acknowledged} batches");
    assert!(acknowledged > 100);
}

#[test]
fn events_of_one_record_are_all_there_or_none() {
    let mut rng = Rng::seeded();
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let opening = (0..3).map(|_| time_to("kept", "steps", folder.path())).max().unwrap();
    let mut acknowledged = 0;
    let mut kills = 0;
    while goes_on(&mut kills, if full() { 1_500 } else { 40 }, acknowledged > 40) {
        let mut child = start("steps", folder.path());
        acknowledged = kill_after(&mut child, rng.below(opening + 30_000)).max(acknowledged);
        let journal = open(folder.path()).unwrap();
        let head = &journal.runs().unwrap()[0];
        let kept = batches(head.last_seq);
        assert!(kept >= acknowledged, "{kept} of {acknowledged} are left");
        let events: Vec<_> = all(&journal, &head.run).unwrap().into_iter().map(|event| event.body).collect();
        let expected: Vec<_> = (0..kept).flat_map(step_bodies).collect();
        assert!(events == expected);
        acknowledged = kept;
    }
    println!("{acknowledged} batches");
    assert!(acknowledged > 40);
}

#[test]
fn the_lock_dies_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = start("hold", folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "held"));
    assert_eq!(held_by(folder.path()).unwrap().unwrap().pid, Some(child.id()));
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(refused, JournalError::Held { pid: Some(pid), .. } if pid == child.id()), "{refused}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(held_by(folder.path()).unwrap(), None);
    drop(open(folder.path()).unwrap());
}
