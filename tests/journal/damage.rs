//! Goal: whatever happens to the files, the journal either says so or gives back every acknowledged event. It never
//! panics, never hangs, and never passes over a loss.
//!
//! Method: a settled journal is copied, bytes are flipped, zeroed or cut off at random places in a random file, and
//! the copy is opened and read by a child process, which a crash or a hang of sled cannot take the test with.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use runner::journal::JournalError;

const EVENTS: u64 = 150;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Two runs with large and small bodies, opened several times, settled and closed.
fn original(folder: &Path) {
    for round in 0..3 {
        let mut journal = open(folder).unwrap();
        let runs = match round {
            0 => [journal.new_run(&plan("a")).unwrap(), journal.new_run(&plan("b")).unwrap()],
            _ => [journal.runs().unwrap()[0].run.clone(), journal.runs().unwrap()[1].run.clone()],
        };
        for seq in round * EVENTS + 1..=(round + 1) * EVENTS {
            append(&mut journal, &runs[0], seq).unwrap();
            append(&mut journal, &runs[1], seq).unwrap();
        }
        journal.settle_head().unwrap();
    }
}

/// What the child does: open and read, and say how it went.
#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let Some((_, folder)) = std::env::vars().find(|(key, _)| key == "RUNNER_DAMAGED") else { return };
    // sled's panics are caught; their text is noise here.
    let panics = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = panics.clone();
    std::panic::set_hook(Box::new(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }));
    let outcome = match open(Path::new(&folder)) {
        Err(JournalError::Held { .. }) => "WRONG: held".to_owned(),
        Err(e) => format!("refused: {e}"),
        Ok(journal) => {
            let runs = journal.runs().unwrap();
            let mut text = String::from("intact");
            if runs.len() != 2 {
                text = format!("WRONG: {} runs", runs.len());
            }
            for head in &runs {
                match all(&journal, &head.run) {
                    Err(JournalError::Damaged { what, .. }) => text = format!("noticed when reading: {what}"),
                    Err(e) => text = format!("noticed when reading: {e}"),
                    Ok(events) if events.len() as u64 != 3 * EVENTS => {
                        text = format!("WRONG: {} events of {}", events.len(), head.run);
                        break;
                    }
                    Ok(events) => {
                        if (1..).zip(&events).any(|(seq, event)| event.body != body(&head.run, seq)) {
                            text = "WRONG: another content".to_owned();
                            break;
                        }
                    }
                }
            }
            text
        }
    };
    println!("OUTCOME {outcome} (panics caught: {})", panics.load(std::sync::atomic::Ordering::Relaxed));
}

/// Runs the child on a folder; its outcome, or what became of it.
fn look(folder: &Path) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "damage::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("RUNNER_DAMAGED", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return "WRONG: it hangs".to_owned();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.split_once("OUTCOME ") {
        Some((_, rest)) => rest.lines().next().unwrap_or_default().to_owned(),
        None => format!("WRONG: it died: {:?}", output.status),
    }
}

#[test]
fn damage_is_noticed_or_harmless() {
    let mut rng = Rng::seeded();
    let folder = tempfile::tempdir().unwrap();
    let sound = folder.path().join("sound");
    original(&sound);
    assert!(look(&sound).starts_with("intact"));
    let cases = if full() { 2_000 } else { 120 };
    let (mut refused, mut noticed, mut intact, mut wrong) = (0, 0, 0, Vec::new());
    for case in 0..cases {
        let state = folder.path().join(format!("case-{case}"));
        // `original` was opened once more by `look`; every case starts from the same bytes.
        copy(&sound, &state);
        let files = files(&state.join("journal"));
        // The data file and the log before it half of the time.
        let path = match rng.below(4) {
            0 => state.join("journal/sled/db"),
            1 => state.join("journal/wal"),
            _ => files[rng.below(files.len() as u64) as usize].clone(),
        };
        let mut bytes = fs::read(&path).unwrap();
        // What is written: the zeros behind it are room for what comes.
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1) as u64;
        let at = rng.below(written) as usize;
        let what = match rng.below(5) {
            0 => {
                bytes.truncate(at);
                format!("cut at {at}")
            }
            1 => {
                let to = (at + 512).min(bytes.len());
                bytes[at..to].fill(0);
                format!("zeroed {at}..{to}")
            }
            2 if bytes.len() > 4096 => {
                // The end of what is written in the segment in use.
                let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                let at = end.saturating_sub(rng.below(3_000) as usize);
                bytes[at] ^= 1 << rng.below(8);
                format!("flipped a bit near the end, at {at}")
            }
            _ => {
                let count = 1 + rng.below(4);
                for _ in 0..count {
                    let at = rng.below(written) as usize;
                    bytes[at] ^= 1 << rng.below(8);
                }
                format!("flipped {count} bits")
            }
        };
        fs::write(&path, bytes).unwrap();
        let contents = || files.iter().map(|file| fs::read(file).ok()).collect::<Vec<_>>();
        let before = contents();
        let outcome = look(&state);
        if outcome.starts_with("refused") && contents() != before {
            wrong.push(format!("{case}: {} {what}: it was changed", path.display()));
        }
        let line = format!("{case}: {} {what}: {outcome}", path.strip_prefix(&state).unwrap().display());
        match () {
            () if outcome.starts_with("intact") => intact += 1,
            () if outcome.starts_with("refused") => refused += 1,
            () if outcome.starts_with("noticed") => noticed += 1,
            () => wrong.push(line.clone()),
        }
        println!("{line}");
        fs::remove_dir_all(&state).unwrap();
    }
    println!("{refused} refused, {noticed} noticed when reading, {intact} harmless, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(refused > 0 && intact > 0);
}

/// A part that is gone is not made anew.
#[test]
fn a_missing_part_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    original(folder.path());
    for part in ["version", "head", "sled", "wal"] {
        let (path, kept) = (folder.path().join("journal").join(part), folder.path().join("kept"));
        fs::rename(&path, &kept).unwrap();
        let outcome = look(folder.path());
        assert!(outcome.starts_with("refused") && outcome.contains("is missing"), "{part}: {outcome}");
        assert!(!path.exists(), "{part}: nothing is put in its place");
        fs::rename(&kept, &path).unwrap();
        assert!(look(folder.path()).starts_with("intact"));
    }
}

/// sled drops a torn tail without a word. Here the whole database falls back to what it was some events ago, which
/// no hash chain can see: only the head file knows better.
#[test]
fn a_journal_behind_its_head_is_damage_and_one_ahead_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (state, earlier) = (folder.path().join("state"), folder.path().join("earlier"));
    let mut journal = open(&state).unwrap();
    let runs = [journal.new_run(&plan("a")).unwrap(), journal.new_run(&plan("b")).unwrap()];
    for seq in 1..=10 {
        append(&mut journal, &runs[0], seq).unwrap();
        append(&mut journal, &runs[1], seq).unwrap();
    }
    journal.settle_head().unwrap();
    drop(journal);
    copy(&state, &earlier);

    // One more event than the copy has; the lease before it is the second loss.
    let mut journal = open(&state).unwrap();
    append(&mut journal, &runs[0], 11).unwrap();
    drop(journal);
    let later_head = fs::read(state.join("journal/head")).unwrap();

    // The older head with the newer journal is a power loss before the head was synced: nothing is missing.
    let ahead = folder.path().join("ahead");
    copy(&state, &ahead);
    fs::copy(earlier.join("journal/head"), ahead.join("journal/head")).unwrap();
    let journal = open(&ahead).unwrap();
    assert_eq!(all(&journal, &runs[0]).unwrap().len(), 11);
    // The token grows even so.
    assert_eq!(journal.token(), 3);

    // The newer head with the older journal.
    let behind = folder.path().join("behind");
    copy(&earlier, &behind);
    fs::write(behind.join("journal/head"), &later_head).unwrap();
    let error = open(&behind).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("it lacks 2 of 25 acknowledged records"), "{error}");

    // As many records as the head has seen, but others: another history was put in place.
    let other = folder.path().join("other");
    copy(&earlier, &other);
    let mut journal = open(&other).unwrap();
    journal.append(&[runner::journal::Append { run: &runs[0], seq: 11, body: b"another" }]).unwrap();
    drop(journal);
    fs::write(other.join("journal/head"), &later_head).unwrap();
    let error = open(&other).unwrap_err();
    assert!(error.to_string().contains("the last acknowledged record is not in it"), "{error}");
}

/// A write that stopped at any byte: the record is as good as never written, and its events go together. With the head
/// of the finished append, the loss is noticed.
#[test]
fn a_torn_record_loses_all_of_its_events_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let (state, before, case) =
        (folder.path().join("state"), folder.path().join("before"), folder.path().join("case"));
    let mut journal = open(&state).unwrap();
    let run = journal.new_run(&plan("a")).unwrap();
    let append = |journal: &mut runner::journal::Journal, from: u64| {
        let bodies: Vec<_> = (from..from + 3).map(|seq| body(&run, seq)).collect();
        let batch: Vec<_> = (from..)
            .zip(&bodies)
            .map(|(seq, body)| runner::journal::Append { run: &run, seq, body })
            .collect();
        journal.append(&batch).unwrap();
    };
    (0..5).for_each(|batch| append(&mut journal, 3 * batch + 1));
    journal.settle_head().unwrap();
    copy(&state, &before);
    append(&mut journal, 16);
    journal.settle_head().unwrap();
    let old = fs::read(before.join("journal/wal")).unwrap();
    let mut new = fs::read(state.join("journal/wal")).unwrap();
    let head = fs::read(state.join("journal/head")).unwrap();
    new.resize(old.len().max(new.len()), 0);
    let differs = |at: &usize| old.get(*at).copied().unwrap_or(0) != new[*at];
    let (first, last) = ((0..new.len()).find(differs).unwrap(), (0..new.len()).rev().find(differs).unwrap());
    println!("bytes {first} to {last}");
    let (mut none, mut noticed, mut whole) = (0, 0, 0);
    // Not every byte: sled keeps 4 MB for each opening as long as the process lives, and 11,000 of them were 24 GB.
    for cut in (first..=last + 1).step_by(if full() { 11 } else { 37 }).chain([last + 1]) {
        for with_head in [false, true] {
            drop(fs::remove_dir_all(&case));
            copy(&before, &case);
            let mut bytes = new[..cut].to_vec();
            bytes.extend(old.iter().skip(cut));
            fs::write(case.join("journal/wal"), bytes).unwrap();
            if with_head {
                fs::write(case.join("journal/head"), &head).unwrap();
            }
            match open(&case) {
                Ok(journal) => match all(&journal, &run).unwrap().len() {
                    15 if !with_head => none += 1,
                    18 => whole += 1,
                    other => panic!("{other} events after a cut at {cut}"),
                },
                Err(error) => {
                    assert!(with_head, "cut at {cut}: {error}");
                    assert!(error.to_string().contains("it lacks 3 of"), "cut at {cut}: {error}");
                    noticed += 1;
                }
            }
        }
    }
    println!("{none} without it, {noticed} noticed, {whole} whole");
    assert!(none > 20 && noticed > 20 && whole > 0);
}
