//! What the journal's tests share.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of tests, outside of any test function"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use runner::journal::{Append, Holder, Journal, JournalError, Options, Stored};
use runner::plan::{PlanName, RunId};

pub(crate) fn options(create: bool) -> Options {
    let holder = Holder {
        pid: std::process::id(),
        host: "lab".to_owned(),
        boot_id: "boot".to_owned(),
        wall_ms: 1_000,
    };
    Options { create, holder }
}

pub(crate) fn open(folder: &Path) -> Result<Journal, JournalError> {
    Journal::open(folder, &options(true))
}

pub(crate) fn plan(name: &str) -> PlanName {
    PlanName::new(name).unwrap()
}

/// A body of some 250 bytes that says where it belongs.
pub(crate) fn body(run: &RunId, seq: u64) -> Vec<u8> {
    format!(r#"{{"run":"{run}","seq":{seq},"text":"{}"}}"#, "x".repeat(210)).into_bytes()
}

pub(crate) fn append(journal: &mut Journal, run: &RunId, seq: u64) -> Result<(), JournalError> {
    let body = body(run, seq);
    journal.append(&[Append { run, seq, body: &body }])
}

pub(crate) fn all(journal: &Journal, run: &RunId) -> Result<Vec<Stored>, JournalError> {
    journal.read(run, 1).collect()
}

/// Copies a folder with all that is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Small numbers that look random and can be had again.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// From `RUNNER_SEED`, or new; printed either way.
    pub(crate) fn seeded() -> Self {
        let given = std::env::vars().find(|(key, _)| key == "RUNNER_SEED").map(|(_, value)| value);
        let seed = given.map_or_else(
            || {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).unwrap();
                u64::from_ne_bytes(bytes)
            },
            |text| text.parse().unwrap(),
        );
        println!("seed: RUNNER_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Whether the long form of a test was asked for with `RUNNER_FULL=1`.
pub(crate) fn full() -> bool {
    std::env::vars().any(|(key, value)| key == "RUNNER_FULL" && value == "1")
}

/// Every file below a folder with its content and the time it was last written.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        if path.is_dir() {
            found.extend(tree(&path));
            found.insert(path.display().to_string(), (modified, Vec::new()));
        } else {
            found.insert(path.display().to_string(), (modified, fs::read(&path).unwrap()));
        }
    }
    found
}
