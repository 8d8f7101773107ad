//! One holder per state folder, by a lock that ends with its process.
//!
//! The lock is `flock(2)` on `state/lock`, a file of its own that is never removed: it exists before the journal
//! does, so it also covers creation, and it can be probed without touching sled. The kernel lets go of it when the
//! holder dies, however it dies; nothing can be left stale. sled locks its own data file as well.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::JournalError;

/// The lock file's name in the state folder.
pub(super) const LOCK: &str = "lock";

/// How often a taker tries again when only probes ([`held_by`]) stand in its way. They last microseconds.
const TRIES: u32 = 100;

/// Holds the lock until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a state folder and notes this process's id in it.
    ///
    /// # Errors
    /// [`JournalError::Held`] when somebody has it.
    pub(super) fn take(folder: &Path) -> Result<Self, JournalError> {
        let path = folder.join(LOCK);
        let io = |what| move |e| JournalError::io(what, &folder.join(LOCK), e);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("open"))?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => {
                    // Only for the words of `Held`; a full disk must not keep anybody from opening.
                    drop(note_pid(&mut file));
                    return Ok(Self { file });
                }
                Err(TryLockError::Error(e)) => return Err(io("lock")(e)),
                Err(TryLockError::WouldBlock) => {}
            }
            // A holder has it exclusively; a probe shares it for an instant and must not make us give up.
            match file.try_lock_shared() {
                Ok(()) => file.unlock().map_err(io("unlock"))?,
                Err(TryLockError::Error(e)) => return Err(io("lock")(e)),
                Err(TryLockError::WouldBlock) => break,
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(JournalError::Held { folder: folder.to_owned(), pid: noted_pid(&mut file) })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it held for as long as a child of this process is between fork and exec with a
        // copy of the descriptor; unlocking works for all copies.
        drop(self.file.unlock());
    }
}

fn note_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn noted_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Who holds a state folder's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBy {
    /// The process id it noted, if it could be read.
    pub pid: Option<u32>,
}

/// Tells whether somebody holds the journal of a state folder, without opening it and without writing.
///
/// True at the instant of asking only. A folder without a journal is held by nobody.
///
/// # Errors
/// [`JournalError::Io`] when the lock file exists and cannot be opened.
pub fn held_by(folder: &Path) -> Result<Option<HeldBy>, JournalError> {
    let path = folder.join(LOCK);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(JournalError::io("open", &path, e)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(HeldBy { pid: noted_pid(&mut file) })),
        Err(TryLockError::Error(e)) => Err(JournalError::io("lock", &path, e)),
    }
}
