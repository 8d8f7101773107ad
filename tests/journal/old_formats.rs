//! Goal: a journal of every format that was ever released opens for ever, and goes on in the newest. Method: folders
//! that older binaries wrote (`tests/data/journal-format-*`) are copied, opened, read, appended to, and rolled back by
//! the binary.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::common;

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};

use common::*;
use runner::journal::{Append, FORMAT};

/// The length of the data file before its last zeros were left out.
const DATA_LEN: u64 = 524_287;

/// Puts the journal of format 1 into a state folder.
fn format_1(state: &Path) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/journal-format-1");
    fs::create_dir_all(state.join("journal/sled/blobs")).unwrap();
    for file in ["version", "head", "sled/conf", "sled/db", "sled/snap.0000000000017509"] {
        fs::copy(kept.join(file), state.join("journal").join(file)).unwrap();
    }
    let data = OpenOptions::new().write(true).open(state.join("journal/sled/db")).unwrap();
    data.set_len(DATA_LEN).unwrap();
}

fn version(state: &Path) -> String {
    fs::read_to_string(state.join("journal/version")).unwrap()
}

#[test]
fn format_1_is_read_and_goes_on_in_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    format_1(folder.path());
    assert_eq!(version(folder.path()), "runner journal, format 1\n");
    // What a process left that was killed while it raised the format.
    fs::write(folder.path().join("journal/version.new"), "runner").unwrap();

    let mut journal = open(folder.path()).unwrap();
    assert_eq!(version(folder.path()), format!("runner journal, format {FORMAT}\n"));
    assert!(!folder.path().join("journal/version.new").exists());
    let heads = journal.runs().unwrap();
    let run = heads[0].run.clone();
    assert_eq!((heads.len(), run.to_string(), heads[0].last_seq), (1, "old-1".to_owned(), 23));
    let old = all(&journal, &run).unwrap();
    assert_eq!(old.len(), 23);
    assert!(old.iter().any(|event| event.body.len() > 20_000), "one of them has several chunks");
    for from in 1..=23 {
        let some: Vec<_> = journal.read(&run, from).map(Result::unwrap).collect();
        assert_eq!(some[..], old[usize::try_from(from - 1).unwrap()..]);
    }
    let leases = journal.lease_history().unwrap();
    assert_eq!(leases.iter().map(|lease| lease.token).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    assert_eq!(leases[0].holder.host, "example");

    // Both layouts in one chain.
    let long = vec![b'y'; 10_000];
    let bodies: Vec<&[u8]> = vec![b"a", b"b", &long, b"c"];
    let batch: Vec<_> = (24..).zip(&bodies).map(|(seq, body)| Append { run: &run, seq, body }).collect();
    journal.append(&batch).unwrap();
    journal.settle_head().unwrap();
    drop(journal);
    let journal = open(folder.path()).unwrap();
    let now = all(&journal, &run).unwrap();
    assert_eq!(now[..23], old);
    assert_eq!(now[23..].iter().map(|event| event.body.as_slice()).collect::<Vec<_>>(), bodies);
    for from in 20..=27 {
        let some: Vec<_> = journal.read(&run, from).map(Result::unwrap).collect();
        assert_eq!(some[..], now[usize::try_from(from - 1).unwrap()..]);
    }
}

/// P4 for whoever updated in between: the journal is all that a rollback needs.
#[test]
fn a_run_of_format_1_is_shown_and_rolled_back() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    format_1(&state);
    let runner = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(words).arg("--state").arg(&state).env_remove("RUNNER_STATE");
        command.env("XDG_RUNTIME_DIR", folder.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {said}{err}");
        said
    };
    assert!(runner(&["status", "old-1"]).contains("old-1 has halted"));
    let cwd = folder.path().to_str().unwrap();
    let said = runner(&["rollback", "old-1", "--cwd", cwd]);
    assert!(said.contains("old-1 is rolled back"), "{said}");
    let said = runner(&["status", "old-1"]);
    assert!(said.contains("long   compensated") && said.contains("short  compensated"), "{said}");
}
