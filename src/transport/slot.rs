//! Slots: the proof that a local attempt is over (P3).
//!
//! An attempt holds one file of `slots/` in the state folder by an `flock`(2) on a descriptor that its process
//! inherits. The lock belongs to the open file, so it lives as long as any process that inherited it, whatever
//! becomes of `runner`. Inside stands whose slot it is: the attempt, the boot, and which process has its pid. A slot
//! whose lock is free is used again; a descendant that stays behind keeps only its own slot busy.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::process;

/// Length of a slot's record in the file, in bytes. Written by one `pwrite`(2), padded, so that a kill leaves
/// either the old record or the new one. The longest attempt name has about 200 bytes.
const RECORD_LEN: usize = 512;

/// What stands in a slot file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The attempt, as [`AttemptKey`](crate::saga::AttemptKey) shows itself.
    pub(crate) attempt: String,
    /// The boot in which it started.
    pub(crate) boot: String,
    /// Its own process, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Process>,
}

/// Names a process for as long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it started, in clock ticks after boot; 0 where its inode is known, which is quicker to be had.
    pub(crate) start: u64,
    /// Its inode in pidfs, which no other process has until the next boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inode: Option<u64>,
}

impl Process {
    /// The process with this pid, which is not reaped yet, and of which this is a handle if there is one.
    ///
    /// # Errors
    /// `/proc` cannot be read where it is needed: the pid alone may be another's one day.
    pub(crate) fn named(pid: u32, handle: Option<&OwnedFd>) -> io::Result<Self> {
        if let Some(inode) = handle.and_then(process::inode) {
            return Ok(Self { pid, start: 0, inode: Some(inode) });
        }
        let stat = process::stat(pid)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { pid, start: stat.start, inode: None })
    }
}

/// All slots of a state folder.
#[derive(Debug)]
pub(crate) struct Slots {
    folder: PathBuf,
    boot: String,
    used: Mutex<BTreeSet<u32>>,
}

/// One slot in use by this process. Given back when dropped; the lock may live on in the child.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    number: u32,
    path: PathBuf,
    record: Record,
    file: Option<File>,
}

impl Slots {
    pub(crate) fn new(folder: PathBuf, boot: String) -> Self {
        Self { folder, boot, used: Mutex::new(BTreeSet::new()) }
    }

    pub(crate) fn boot(&self) -> &str {
        &self.boot
    }

    /// Takes the first free slot, locks it and writes the attempt into it.
    pub(crate) fn take(self: &Arc<Self>, attempt: &str) -> io::Result<Slot> {
        let mut number = 0;
        loop {
            if !self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
                number += 1;
                continue;
            }
            let path = self.path(number);
            let mut slot = Slot {
                slots: Arc::clone(self),
                number,
                path,
                record: Record { attempt: attempt.to_owned(), boot: self.boot.clone(), process: None },
                file: None,
            };
            // Dropping the slot gives the number back.
            let file = open(&slot.path, true)?;
            if try_lock(&file)? {
                slot.file = Some(file);
                slot.write()?;
                return Ok(slot);
            }
            number += 1;
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{number:03}"))
    }

    /// The slot that names this attempt, if any.
    pub(crate) fn find(&self, attempt: &str) -> io::Result<Option<(PathBuf, Record)>> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if let Some(record) = read(&path)?
                && record.attempt == attempt
            {
                return Ok(Some((path, record)));
            }
        }
        Ok(None)
    }
}

/// Whether nobody holds the slot.
pub(crate) fn is_free(path: &Path) -> io::Result<bool> {
    let file = open(path, false)?;
    let free = try_lock(&file)?;
    if free {
        // Not by closing alone: a process that is being started has a copy for a moment.
        rustix::fs::flock(&file, FlockOperation::Unlock)?;
    }
    Ok(free)
}

/// A file without a readable record was never used: the record is written before the process starts.
fn read(path: &Path) -> io::Result<Option<Record>> {
    let bytes = fs::read(path)?;
    let mut records = serde_json::Deserializer::from_slice(&bytes).into_iter::<Record>();
    Ok(records.next().and_then(Result::ok))
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
}

fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Slot {
    /// The locked file, for the child to inherit; until [`started`](Self::started).
    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the process down and lets go of our own descriptor: from here on the lock is the child's alone. One that has no
    /// name is left out.
    pub(crate) fn started(&mut self, process: io::Result<Process>) -> io::Result<()> {
        let result = process.and_then(|process| {
            self.record.process = Some(process);
            self.write()
        });
        self.file = None;
        result
    }

    fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut bytes = serde_json::to_vec(&self.record)?;
        bytes.resize(RECORD_LEN.max(bytes.len()), b' ');
        file.write_all_at(&bytes, 0)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.used.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again_when_their_lock_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Arc::new(Slots::new(folder.path().to_owned(), "boot".to_owned()));
        let first = slots.take("r-1/a/forward/1").unwrap();
        let second = slots.take("r-1/b/forward/1").unwrap();
        assert_ne!(first.path(), second.path());
        assert!(!is_free(first.path()).unwrap());
        // A descriptor that lives on elsewhere keeps the slot busy, though it was given back.
        let kept = first.file().unwrap().try_clone().unwrap();
        let busy = first.path().to_owned();
        drop(first);
        assert_ne!(slots.take("r-1/d/forward/1").unwrap().path(), busy);
        // Not by closing alone: another test's process that is being started has a copy for a moment.
        rustix::fs::flock(&kept, FlockOperation::Unlock).unwrap();
        drop(kept);
        let third = slots.take("r-1/c/forward/1").unwrap();
        assert_eq!(third.path(), busy);
        assert!(slots.find("r-1/a/forward/1").unwrap().is_none());
        let (path, record) = slots.find("r-1/c/forward/1").unwrap().unwrap();
        assert_eq!((path, record.process), (busy, None));
    }

    #[test]
    fn a_shorter_record_leaves_nothing_of_the_longer() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Arc::new(Slots::new(folder.path().to_owned(), "boot".to_owned()));
        let long = format!("r-1/{}/forward/1", "x".repeat(64));
        let mut first = slots.take(&long).unwrap();
        // As above; it lets its descriptor go when it is told of a process.
        rustix::fs::flock(first.file().unwrap(), FlockOperation::Unlock).unwrap();
        first.started(Ok(Process { pid: 4_000_000, start: u64::MAX, inode: None })).unwrap();
        drop(first);
        drop(slots.take("r-1/b/forward/1").unwrap());
        let (_, record) = slots.find("r-1/b/forward/1").unwrap().unwrap();
        assert_eq!(record.process, None);
        assert!(slots.find(&long).unwrap().is_none());
    }
}
