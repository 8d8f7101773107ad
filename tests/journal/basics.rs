//! The journal's promises while nothing goes wrong, and its refusals.

use crate::common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::*;
use runner::journal::{Append, BODY_MAX, Bodies, FORMAT, Journal, JournalError, held_by};
use runner::plan::RunId;

#[test]
fn what_was_appended_comes_back_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path()).unwrap();
    let (a, b) = (journal.new_run(&plan("frigate")).unwrap(), journal.new_run(&plan("other")).unwrap());
    assert_eq!((a.to_string(), b.to_string()), ("frigate-1".to_owned(), "other-1".to_owned()));
    for seq in 1..=300 {
        append(&mut journal, &a, seq).unwrap();
        append(&mut journal, &b, seq).unwrap();
    }
    let (id, token) = (journal.id().to_owned(), journal.token());
    journal.settle_head().unwrap();
    drop(journal);

    let mut journal = open(folder.path()).unwrap();
    assert_eq!(journal.id(), id);
    assert!(journal.token() > token);
    let runs: Vec<_> = journal.runs().unwrap().into_iter().map(|head| (head.run, head.last_seq)).collect();
    assert_eq!(runs, [(a.clone(), 300), (b.clone(), 300)]);
    for run in [&a, &b] {
        let events = all(&journal, run).unwrap();
        assert_eq!(events.len(), 300);
        for (seq, event) in (1..).zip(&events) {
            assert_eq!((event.seq, &event.body), (seq, &body(run, seq)));
        }
        let tail: Vec<_> = journal.read(run, 250).map(Result::unwrap).collect();
        assert_eq!(tail[..], events[249..]);
        assert_eq!(journal.read(run, 301).count(), 0);
    }
    assert_eq!(journal.new_run(&plan("frigate")).unwrap().to_string(), "frigate-2");
}

#[test]
fn the_leases_have_growing_tokens_and_say_who() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=5_u64 {
        let journal = open(folder.path()).unwrap();
        let history = journal.lease_history().unwrap();
        assert_eq!(
            history.iter().map(|lease| lease.token).collect::<Vec<_>>(),
            (1..=round).collect::<Vec<_>>()
        );
        assert_eq!(history.last().unwrap().holder, options(true).holder);
        assert_eq!(journal.token(), round);
    }
}

#[test]
fn a_batch_is_checked_as_a_whole_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path()).unwrap();
    let run = journal.new_run(&plan("p")).unwrap();
    let event = |seq, body| Append { run: &run, seq, body };
    let huge = vec![0; BODY_MAX + 1];
    let stranger = RunId::try_from("q-1".to_owned()).unwrap();

    assert!(matches!(
        journal.append(&[event(1, b"a"), event(3, b"b")]),
        Err(JournalError::OutOfOrder { expected: 2, given: 3, .. })
    ));
    assert!(matches!(
        journal.append(&[event(1, b"a"), event(2, &huge)]),
        Err(JournalError::TooLarge { seq: 2, .. })
    ));
    assert!(matches!(
        journal.append(&[event(1, b"a"), Append { run: &stranger, seq: 1, body: b"b" }]),
        Err(JournalError::NoSuchRun { .. })
    ));
    assert!(matches!(journal.read(&stranger, 1).next(), Some(Err(JournalError::NoSuchRun { .. }))));
    assert_eq!(journal.read(&run, 1).count(), 0);
    journal.append(&[]).unwrap();
    journal.append(&[event(1, b"a"), event(2, b"")]).unwrap();
    assert_eq!(all(&journal, &run).unwrap().len(), 2);
}

/// sled puts what is over 128 KiB into files that it never syncs, and counts whole leaves.
#[test]
fn large_bodies_never_reach_the_blobs_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path()).unwrap();
    let run = journal.new_run(&plan("p")).unwrap();
    let mut rng = Rng::seeded();
    let mut expected = Vec::new();
    for seq in 1..=60 {
        let len = if seq % 10 == 0 { BODY_MAX as u64 } else { rng.below(40_000) };
        let body: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
        journal.append(&[Append { run: &run, seq, body: &body }]).unwrap();
        expected.push(body);
    }
    drop(journal);
    let journal = open(folder.path()).unwrap();
    let found: Vec<_> = all(&journal, &run).unwrap().into_iter().map(|event| event.body).collect();
    assert!(found == expected);
    let blobs = folder.path().join("journal/sled/blobs");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
}

#[test]
fn a_second_holder_is_refused_and_probing_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(held_by(folder.path()).unwrap(), None);
    let journal = open(folder.path()).unwrap();
    let pid = std::process::id();
    assert_eq!(held_by(folder.path()).unwrap().unwrap().pid, Some(pid));
    assert!(matches!(open(folder.path()), Err(JournalError::Held { pid: Some(found), .. }) if found == pid));
    drop(journal);
    assert_eq!(held_by(folder.path()).unwrap(), None);

    // Probes in a tight loop never make an opening fail.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                held_by(folder.path()).unwrap();
                // Not in the processor's way while it has the lock.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        for _ in 0..30 {
            drop(open(folder.path()).unwrap());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn nothing_is_made_where_nothing_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing")] {
        assert!(matches!(Journal::open(&path, &options(false)), Err(JournalError::NotFound { .. })));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(open(&file), Err(JournalError::NotAFolder { .. })));
    assert!(matches!(open(&file.join("below")), Err(JournalError::NotAFolder { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn folders_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a/state");
    let journal = open(&state).unwrap();
    journal.put_body(b"x").unwrap();
    for made in [folder.path().join("a"), state.clone(), state.join("journal"), state.join("bodies")] {
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o700, "{}", made.display());
    }
}

#[test]
fn a_newer_journal_is_refused_by_both_versions_and_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let newer = format!("runner journal, format {}\nand what it may add\n", FORMAT + 1);
    fs::write(folder.path().join("journal/version"), newer).unwrap();
    fs::create_dir(folder.path().join("journal.new-1234")).unwrap();
    let before = tree(folder.path());
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, JournalError::Newer { found, known: FORMAT, .. } if found == FORMAT + 1));
    let (found, known) = (format!("format {}", FORMAT + 1), format!("up to {FORMAT}"));
    assert!(error.to_string().contains(&found) && error.to_string().contains(&known), "{error}");
    assert_eq!(tree(folder.path()), before);
}

#[test]
fn a_checkpoint_is_used_only_where_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path()).unwrap();
    let run = journal.new_run(&plan("p")).unwrap();
    for seq in 1..=5 {
        append(&mut journal, &run, seq).unwrap();
    }
    assert_eq!(journal.latest_checkpoint(&run), None);
    assert!(journal.checkpoint(&run, 6, b"from the future").is_err());
    journal.checkpoint(&run, 2, b"two").unwrap();
    assert_eq!(journal.latest_checkpoint(&run), Some((2, b"two".to_vec())));
    journal.checkpoint(&run, 5, b"five").unwrap();
    drop(journal);
    let journal = open(folder.path()).unwrap();
    assert_eq!(journal.latest_checkpoint(&run), Some((5, b"five".to_vec())));

    // Every changed byte and every cut makes it vanish.
    let path = folder.path().join("checkpoints/p-1");
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(journal.latest_checkpoint(&run), None);
        fs::write(&path, &whole[..at]).unwrap();
        assert_eq!(journal.latest_checkpoint(&run), None);
    }
    drop(journal);

    // A checkpoint of another journal with a run of the same name.
    let other = tempfile::tempdir().unwrap();
    let mut journal = open(other.path()).unwrap();
    journal.new_run(&plan("p")).unwrap();
    for seq in 1..=5 {
        append(&mut journal, &run, seq).unwrap();
    }
    journal.checkpoint(&run, 5, b"other").unwrap();
    fs::write(other.path().join("checkpoints/p-1"), &whole).unwrap();
    assert_eq!(journal.latest_checkpoint(&run), None);
}

#[test]
fn bodies_can_be_had_without_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    let bodies = Bodies::at(folder.path());
    let found = bodies.put(b"manifest").unwrap();
    assert_eq!(journal.get_body(&found).unwrap(), b"manifest");
    assert_eq!(journal.put_body(b"manifest").unwrap(), found);
}
