//! Goal: whatever moment the power goes out at, the log and the database together have every acknowledged event, each in its
//! place and none twice. Method: after every append, what is on the disk is copied while the journal is open, as it stands
//! and with the log as it was before; every copy is opened and read.

use crate::common;

use std::fs;

use common::*;
use runner::journal::Append;

/// Lengths of bodies: what an append has usually, several chunks, a third of the log, and more than the log.
const LENGTHS: [usize; 9] = [200, 300, 9_000, 45_000, 250, 150_000, 50_000, 45_000, 40_000];

#[test]
fn what_was_acknowledged_survives_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let (state, copied) = (folder.path().join("state"), folder.path().join("copy"));
    let mut journal = open(&state).unwrap();
    let over = journal.new_run(&plan("over")).unwrap();
    for seq in 1..=5 {
        append(&mut journal, &over, seq).unwrap();
    }
    let run = journal.new_run(&plan("a")).unwrap();
    let wal = state.join("journal/wal");
    let length = fs::metadata(&wal).unwrap().len();
    let body = |seq: u64| vec![seq as u8; LENGTHS[seq as usize % LENGTHS.len()]];
    let (mut archived, mut turned) = (false, 0);
    for seq in 1..=2 * LENGTHS.len() as u64 {
        let (log, data) = (fs::read(&wal).unwrap(), fs::read(state.join("journal/sled/db")).unwrap());
        if seq == 12 {
            // What leaves the database does not come back out of the log.
            journal.archive(&over).unwrap();
            archived = true;
        } else if seq == 14 {
            assert_eq!(journal.new_run(&plan("a")).unwrap().to_string(), "a-2");
        }
        journal.append(&[Append { run: &run, seq, body: &body(seq) }]).unwrap();
        turned += u64::from(fs::read(state.join("journal/sled/db")).unwrap() != data);
        assert_eq!(fs::metadata(&wal).unwrap().len(), length);
        for older in [false, true] {
            drop(fs::remove_dir_all(&copied));
            copy(&state, &copied);
            if older {
                // The log's last write did not come to the disk: nobody was told of it.
                fs::write(copied.join("journal/wal"), &log).unwrap();
            }
            let mut journal = open(&copied).unwrap();
            let events = all(&journal, &run).unwrap();
            let last = events.len() as u64;
            assert!(last == seq || older && last == seq - 1, "{last} of {seq}, older: {older}");
            assert!((1..).zip(&events).all(|(seq, event)| event.body == body(seq)), "{seq}");
            assert_eq!(journal.is_archived(&over), archived, "{seq}");
            assert_eq!(journal.read_some(&over, 1, 9).unwrap().len(), 5);
            // And it goes on from there.
            let next = journal.new_run(&plan("a")).unwrap().to_string();
            let given = if seq < 14 || older && seq == 14 { ["a-2", "a-3"] } else { ["a-3", "a-3"] };
            assert!(given.contains(&next.as_str()), "{next} at {seq}");
            journal.append(&[Append { run: &run, seq: last + 1, body: &body(last + 1) }]).unwrap();
            drop(journal);
            assert_eq!(all(&open(&copied).unwrap(), &run).unwrap().len() as u64, last + 1);
        }
    }
    assert!(turned >= 4, "the log was full {turned} times");
}

/// What the log has and the database, too, is not written anew by every process that only looks.
#[test]
fn opening_and_closing_writes_little() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path()).unwrap();
    let run = journal.new_run(&plan("a")).unwrap();
    for seq in 1..=10 {
        journal.append(&[Append { run: &run, seq, body: &[b'x'; 10_000] }]).unwrap();
    }
    drop(journal);
    let written = || {
        let bytes = fs::read(folder.path().join("journal/sled/db")).unwrap();
        bytes.iter().filter(|byte| **byte == b'x').count()
    };
    drop(open(folder.path()).unwrap());
    let before = written();
    assert!(before >= 100_000, "{before}");
    for number in 2..7 {
        // Each time a key gets another value; the log has all of them.
        let mut journal = open(folder.path()).unwrap();
        assert_eq!(journal.new_run(&plan("a")).unwrap().to_string(), format!("a-{number}"));
    }
    // A leaf is written anew now and then, but not all of them each time.
    let after = written();
    assert!(after < before + 200_000, "{before} became {after}");
}

/// A database that has lost its last writes is not made good by a log that comes after them.
#[test]
fn a_log_that_follows_on_nothing_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (state, early) = (folder.path().join("state"), folder.path().join("early"));
    let mut journal = open(&state).unwrap();
    let run = journal.new_run(&plan("a")).unwrap();
    append(&mut journal, &run, 1).unwrap();
    copy(&state, &early);
    let long = vec![b'x'; 100_000];
    for seq in 2..=4 {
        journal.append(&[Append { run: &run, seq, body: &long }]).unwrap();
    }
    drop(journal);
    fs::copy(state.join("journal/wal"), early.join("journal/wal")).unwrap();
    let error = open(&early).unwrap_err().to_string();
    assert!(error.contains("the database beside it lacks what was written before"), "{error}");
}
