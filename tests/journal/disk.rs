//! Disks that are full, cannot be written, or forget: what the journal says, and what is still there afterwards.
//!
//! Needs to mount small file systems, so root; else it says loudly that it was skipped.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::common;
use crate::skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use runner::journal::{Append, BODY_MAX, JournalError, Warning};

/// A small file system in memory, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={size}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        skip::skip("no file system can be mounted here (needs root)");
        None
    }

    fn remount(&self, option: &str) {
        let done = Command::new("mount").args(["-o"]).arg(format!("remount,{option}")).arg(&self.0).status();
        assert!(done.unwrap().success(), "{option}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a poisoned journal keeps its file open until this process ends.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_poisons_and_takes_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(&folder.path().join("small"), "6m") else { return };
    let state = mount.0.join("state");
    let mut journal = open(&state).unwrap();
    assert!(matches!(journal.warnings(), [Warning::Volatile { name: "tmpfs", .. }]));
    let run = journal.new_run(&plan("a")).unwrap();
    let large = vec![7; 60_000];
    let mut kept = 0;
    let error = loop {
        match journal.append(&[Append { run: &run, seq: kept + 1, body: &large }]) {
            Ok(()) => kept += 1,
            Err(e) => break e,
        }
        assert!(kept < 1_000, "the disk never filled up");
    };
    assert!(kept > 10);
    assert!(matches!(error, JournalError::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().contains("no space left"), "{error}");
    // Nothing more is written by this process, even when there is room again.
    mount.remount("size=40m");
    let before = tree(&state);
    for _ in 0..2 {
        let again = append(&mut journal, &run, kept + 1).unwrap_err();
        assert!(matches!(again, JournalError::Poisoned { .. }), "{again:?}");
        assert!(matches!(journal.settle_head(), Err(JournalError::Poisoned { .. })));
        assert!(matches!(journal.new_run(&plan("b")), Err(JournalError::Poisoned { .. })));
    }
    drop(journal);
    assert!(tree(&state) == before, "closing a poisoned journal wrote something");
    // And it keeps others out, until this process ends; a copy of the bytes is what the next one finds.
    assert!(matches!(open(&state), Err(JournalError::Held { .. })));
    let next = folder.path().join("next");
    assert!(Command::new("cp").arg("-r").arg(&state).arg(&next).status().unwrap().success());
    let mut journal = open(&next).unwrap();
    let events = all(&journal, &run).unwrap();
    assert_eq!(events.len() as u64, kept);
    assert!(events.iter().all(|event| event.body == large));
    append(&mut journal, &run, kept + 1).unwrap();
}

#[test]
fn a_body_that_does_not_fit_is_refused_and_the_journal_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(&folder.path().join("small"), "6m") else { return };
    let mut journal = open(&mount.0.join("state")).unwrap();
    let run = journal.new_run(&plan("a")).unwrap();
    assert!(matches!(journal.put_body(&vec![1; 20 * BODY_MAX]), Err(JournalError::DiskFull { .. })));
    let left: Vec<_> = fs::read_dir(mount.0.join("state/bodies")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    append(&mut journal, &run, 1).unwrap();
}

#[test]
fn creation_on_a_full_disk_says_so_and_works_later() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(&folder.path().join("small"), "64k") else { return };
    let state = mount.0.join("state");
    let error = open(&state).unwrap_err();
    assert!(matches!(error, JournalError::DiskFull { .. }), "{error:?}");
    mount.remount("size=20m");
    drop(open(&state).unwrap());
}

#[test]
fn a_read_only_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(&folder.path().join("small"), "20m") else { return };
    let state = mount.0.join("state");
    let mut journal = open(&state).unwrap();
    let run = journal.new_run(&plan("a")).unwrap();
    append(&mut journal, &run, 1).unwrap();
    drop(journal);
    mount.remount("ro");
    for path in [state.clone(), mount.0.join("new")] {
        let error = open(&path).unwrap_err();
        assert!(matches!(error, JournalError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(mount.0.to_str().unwrap()), "{error}");
    }
    mount.remount("rw");
    assert_eq!(all(&open(&state).unwrap(), &run).unwrap().len(), 1);
}
