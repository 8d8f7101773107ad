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

/// A journal that an older binary left.
struct Old {
    format: u32,
    snapshot: &'static str,
    /// The length of the data file before its last zeros were left out.
    data_len: u64,
    events: u64,
    leases: u64,
}

const OLD: [Old; 2] = [
    Old { format: 1, snapshot: "sled/snap.0000000000017509", data_len: 524_287, events: 23, leases: 6 },
    Old { format: 2, snapshot: "sled/snap.0000000000014365", data_len: 524_288, events: 23, leases: 4 },
];

impl Old {
    /// Puts the journal into a state folder.
    fn put(&self, state: &Path) {
        let kept = format!("tests/data/journal-format-{}", self.format);
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(kept);
        fs::create_dir_all(state.join("journal/sled/blobs")).unwrap();
        for file in ["version", "head", "sled/conf", "sled/db", self.snapshot] {
            fs::copy(kept.join(file), state.join("journal").join(file)).unwrap();
        }
        let data = OpenOptions::new().write(true).open(state.join("journal/sled/db")).unwrap();
        data.set_len(self.data_len).unwrap();
        assert_eq!(version(state), format!("runner journal, format {}\n", self.format));
    }
}

fn version(state: &Path) -> String {
    fs::read_to_string(state.join("journal/version")).unwrap()
}

#[test]
fn an_older_format_is_read_and_goes_on_in_the_newest() {
    OLD.iter().for_each(goes_on);
}

fn goes_on(from: &Old) {
    let folder = tempfile::tempdir().unwrap();
    from.put(folder.path());
    // What a process left that was killed while it raised the format.
    fs::write(folder.path().join("journal/version.new"), "runner").unwrap();
    fs::write(folder.path().join("journal/wal"), "rnrwal").unwrap();

    let last = from.events;
    let mut journal = open(folder.path()).unwrap();
    assert_eq!(version(folder.path()), format!("runner journal, format {FORMAT}\n"));
    assert!(!folder.path().join("journal/version.new").exists());
    let heads = journal.runs().unwrap();
    let run = heads[0].run.clone();
    assert_eq!((heads.len(), run.to_string(), heads[0].last_seq), (1, "old-1".to_owned(), last));
    let old = all(&journal, &run).unwrap();
    assert_eq!(old.len() as u64, last);
    assert!(old.iter().any(|event| event.body.len() > 20_000), "one of them has several chunks");
    for from in 1..=last {
        let some: Vec<_> = journal.read(&run, from).map(Result::unwrap).collect();
        assert_eq!(some[..], old[usize::try_from(from - 1).unwrap()..]);
    }
    let leases = journal.lease_history().unwrap();
    assert_eq!(
        leases.iter().map(|lease| lease.token).collect::<Vec<_>>(),
        (1..=from.leases + 1).collect::<Vec<_>>()
    );
    assert_eq!(leases[0].holder.host, "example");

    // Both layouts in one chain.
    let long = vec![b'y'; 10_000];
    let bodies: Vec<&[u8]> = vec![b"a", b"b", &long, b"c"];
    let batch: Vec<_> =
        (last + 1..).zip(&bodies).map(|(seq, body)| Append { run: &run, seq, body }).collect();
    journal.append(&batch).unwrap();
    journal.settle_head().unwrap();
    drop(journal);
    let journal = open(folder.path()).unwrap();
    let now = all(&journal, &run).unwrap();
    let (before, since) = now.split_at(old.len());
    assert_eq!(before, old);
    assert_eq!(since.iter().map(|event| event.body.as_slice()).collect::<Vec<_>>(), bodies);
    for from in last - 3..=last + 4 {
        let some: Vec<_> = journal.read(&run, from).map(Result::unwrap).collect();
        assert_eq!(some[..], now[usize::try_from(from - 1).unwrap()..]);
    }
}

/// P4 for whoever updated in between: the journal is all that a rollback needs.
#[test]
fn a_run_of_an_older_format_is_shown_and_rolled_back() {
    OLD.iter().for_each(rolls_back);
}

fn rolls_back(from: &Old) {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    from.put(&state);
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
