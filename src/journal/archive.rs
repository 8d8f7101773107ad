//! Runs that are over, moved out of the database into plain files: so that opening stays fast for years.
//!
//! An archived run is one file of JSON lines, `archive/<run>`, with the hash chain that the events had in the journal;
//! what they name stays in `bodies/`. In the database a mark takes the place of the events: it says how many there
//! were and how the chain ended, so that nothing can be taken out of an archive unnoticed, and no number is given again.
//!
//! The file is on stable storage before the events leave the database, and both the mark and their removal are one batch:
//! killed at any instant, a run is in the journal, or in the archive, or in both; never in neither.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::create::Layout;
use super::error::JournalError;
use super::files;
use super::log::{Journal, LEASES, Tail};
use super::read::Stored;
use super::record::{self, Hash};
use crate::plan::RunId;

/// The folder of archived runs below the state folder.
const FOLDER: &str = "archive";

/// The version of an archive's lines that this binary writes and reads.
const VERSION: u32 = 1;

/// The first line of an archive.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    runner_archive: u32,
    journal: String,
    run: RunId,
    events: u64,
}

/// A line for each event.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    seq: u64,
    hash: String,
    body: String,
}

/// What takes the place of a run's events in the database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mark {
    /// How many there were.
    pub(super) events: u64,
    /// The hash after the last one, in lower-case hex.
    pub(super) hash: String,
    /// The archive was deleted, too: nothing is left of the run but its number.
    #[serde(default)]
    pub(super) pruned: bool,
}

impl Mark {
    /// The end of the chain, as the journal knows it.
    pub(super) fn tail(&self, slot: u32) -> Option<Tail> {
        let mut hash = [0; 32];
        if self.hash.len() != 64 || !self.hash.is_ascii() {
            return None;
        }
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&self.hash[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Tail { slot, last_seq: self.events, hash: Hash(hash) })
    }
}

fn place(folder: &Path, run: &RunId) -> PathBuf {
    folder.join(FOLDER).join(run.to_string())
}

impl Journal {
    /// Whether a run was moved into the archive: it can be read and nothing else.
    pub fn is_archived(&self, run: &RunId) -> bool {
        self.archived.contains_key(run)
    }

    /// Moves a run out of the database into a file of its own. Done already is fine.
    ///
    /// Nobody may be writing the run. A crash leaves it in the journal, in the archive, or in both.
    ///
    /// # Errors
    /// [`NoSuchRun`](JournalError::NoSuchRun); [`Damaged`](JournalError::Damaged) when the run cannot be read back: it
    /// stays where it is; [`Io`](JournalError::Io), [`DiskFull`](JournalError::DiskFull), which poison when they meet
    /// the database.
    pub fn archive(&mut self, run: &RunId) -> Result<(), JournalError> {
        self.check_poison()?;
        if self.archived.contains_key(run) {
            return Ok(());
        }
        let tail = self.runs.get(run).cloned().ok_or_else(|| JournalError::NoSuchRun { run: run.clone() })?;
        self.write_archive(run, tail.last_seq)?;
        // Read back before anything is removed: what was written is what was there.
        let read = self.read_archive(run, 1, tail.last_seq)?;
        if read.last().map(|last| last.hash) != Some(tail.hash) {
            return Err(JournalError::damaged(&place(&self.folder, run), "it is not what was written"));
        }
        let mark = Mark { events: tail.last_seq, hash: tail.hash.to_string(), pruned: false };
        let keys = self.store.keys(&record::events_prefix(tail.slot))?;
        self.replace(keys, tail.slot, &mark)?;
        self.archived.insert(run.clone(), mark);
        // What was kept for speed has no meaning any more.
        for beside in ["checkpoints", "tails"] {
            drop(fs::remove_file(self.folder.join(beside).join(run.to_string())));
        }
        Ok(())
    }

    /// Deletes an archived run for good. Only its number stays taken.
    ///
    /// # Errors
    /// [`NoSuchRun`](JournalError::NoSuchRun) when it is not archived, and as [`archive`](Self::archive).
    pub fn prune(&mut self, run: &RunId) -> Result<(), JournalError> {
        self.check_poison()?;
        let missing = || JournalError::NoSuchRun { run: run.clone() };
        let mark = Mark { pruned: true, ..self.archived.get(run).cloned().ok_or_else(missing)? };
        let slot = self.runs.get(run).ok_or_else(missing)?.slot;
        self.replace(Vec::new(), slot, &mark)?;
        self.archived.insert(run.clone(), mark);
        let path = place(&self.folder, run);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(JournalError::io("remove", &path, e)),
            _ => files::sync_folder(&self.folder.join(FOLDER)),
        }
    }

    /// Deletes every body that no event in the journal or in an archive names, and says how many and how large.
    ///
    /// A name is taken for one wherever it stands, in events and in the bodies that they name. Nobody may be putting
    /// bodies meanwhile: only the holder of the journal may call it, while it drives nothing and serves nobody.
    ///
    /// # Errors
    /// What the disk says, or the first event that cannot be read: nothing is deleted then.
    pub fn collect_bodies(&self) -> Result<(usize, u64), JournalError> {
        let there = self.bodies.names()?;
        let mut named = std::collections::BTreeSet::new();
        let mut open: Vec<String> = Vec::new();
        let mut note = |bytes: &[u8], open: &mut Vec<String>| {
            for name in names_in(bytes) {
                if there.contains_key(name) && named.insert(name.to_owned()) {
                    open.push(name.to_owned());
                }
            }
        };
        for run in &self.order {
            let last = self.runs.get(run).map_or(0, |tail| tail.last_seq);
            match self.archived.get(run) {
                Some(mark) if mark.pruned => {}
                Some(_) => self.read_archive(run, 1, last)?.iter().for_each(|e| note(&e.body, &mut open)),
                None => {
                    for stored in self.read(run, 1) {
                        note(&stored?.body, &mut open);
                    }
                }
            }
        }
        while let Some(name) = open.pop() {
            note(&self.bodies.read(&name)?, &mut open);
        }
        let (mut many, mut bytes) = (0, 0);
        for (name, length) in there.iter().filter(|(name, _)| !named.contains(*name)) {
            self.bodies.remove(name)?;
            many += 1;
            bytes += length;
        }
        Ok((many, bytes))
    }

    /// Replaces keys of the database by the mark of an archived run, as one.
    fn replace(&mut self, keys: Vec<Vec<u8>>, slot: u32, mark: &Mark) -> Result<(), JournalError> {
        // The head file must not name an event that goes away, after a power loss neither: it stands at the leases from here on.
        let (seq, hash) = (self.leases.last_seq, self.leases.hash);
        self.commit(Vec::new(), 0, LEASES, seq, hash)?;
        self.settle_head()?;
        let value = serde_json::to_vec(mark).expect("plain fields");
        let done = self.store.write(keys, vec![(record::mark_key(slot).to_vec(), value)]);
        self.poisoning(done)
    }

    fn write_archive(&self, run: &RunId, last: u64) -> Result<(), JournalError> {
        let path = place(&self.folder, run);
        let folder = self.folder.join(FOLDER);
        files::create_folders(&folder)?;
        let fresh = folder.join(format!(".new-{run}"));
        drop(fs::remove_file(&fresh));
        let fail = |e| JournalError::io("write", &fresh, e);
        let mut out = std::io::BufWriter::new(files::create_private(&fresh)?);
        let mut line = |value: &dyn erased::Json| -> Result<(), JournalError> {
            out.write_all(value.json().as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(fail)
        };
        let head = Head { runner_archive: VERSION, journal: self.id.clone(), run: run.clone(), events: last };
        line(&head)?;
        for stored in self.read(run, 1) {
            let stored = stored?;
            let body = String::from_utf8(stored.body).map_err(|_| JournalError::Damaged {
                path: Layout::of(&self.folder).sled(),
                run: Some(run.clone()),
                seq: Some(stored.seq),
                what: "it is not text".to_owned(),
            })?;
            line(&Line { seq: stored.seq, hash: stored.hash.to_string(), body })?;
        }
        let file = out.into_inner().map_err(|e| fail(e.into_error()))?;
        file.sync_all().map_err(fail)?;
        fs::rename(&fresh, &path).map_err(fail)?;
        files::sync_folder(&folder)
    }

    /// The events of an archived run from `from` on, at most `limit`, each checked against the one before and the whole
    /// against what the journal knows of it.
    ///
    /// # Errors
    /// [`Damaged`](JournalError::Damaged), and [`Io`](JournalError::Io), which do not poison.
    pub(super) fn read_archive(
        &self,
        run: &RunId,
        from: u64,
        limit: u64,
    ) -> Result<Vec<Stored>, JournalError> {
        let path = place(&self.folder, run);
        let damaged = |seq: Option<u64>, what: &str| JournalError::Damaged {
            path: path.clone(),
            run: Some(run.clone()),
            seq,
            what: what.to_owned(),
        };
        let file = match fs::File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged(None, "the file is gone"));
            }
            file => file.map_err(|e| JournalError::io("open", &path, e))?,
        };
        let mut lines = BufReader::new(file).lines();
        let mut next = || lines.next().transpose().map_err(|e| JournalError::io("read", &path, e));
        let head = next()?.ok_or_else(|| damaged(None, "it is empty"))?;
        let head: Head =
            serde_json::from_str(&head).map_err(|_| damaged(None, "its first line makes no sense"))?;
        if head.runner_archive > VERSION {
            let (folder, found) = (self.folder.clone(), head.runner_archive);
            return Err(JournalError::Newer { folder, found, known: VERSION });
        }
        if head.run != *run || head.journal != self.id {
            return Err(damaged(None, "it is of another run or journal"));
        }
        let mut link = record::genesis(&self.id, Some(run));
        let mut events = Vec::new();
        for seq in 1..=head.events {
            let line = next()?.ok_or_else(|| damaged(Some(seq), "it is missing"))?;
            let line: Line =
                serde_json::from_str(&line).map_err(|_| damaged(Some(seq), "it makes no sense"))?;
            link = record::chain(&link, seq, line.body.as_bytes());
            if line.seq != seq || line.hash != link.to_string() {
                return Err(damaged(Some(seq), "its content does not match its hash"));
            }
            if seq >= from && (events.len() as u64) < limit {
                events.push(Stored { seq, body: line.body.into_bytes(), hash: link });
            }
        }
        if self.runs.get(run).is_some_and(|tail| tail.last_seq != head.events || tail.hash != link) {
            return Err(damaged(None, "it does not end as the journal says"));
        }
        Ok(events)
    }
}

/// A line that can be written, whatever it is.
mod erased {
    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("plain fields")
        }
    }
}

/// Everything in a text that looks like the name of a body: 64 hexadecimal digits in a row.
fn names_in(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let rows = bytes.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    rows.filter(|row| row.len() == 64).filter_map(|row| std::str::from_utf8(row).ok())
}
