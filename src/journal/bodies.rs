//! Large contents (manifests, captured output, files): one file each, named by what is in it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::JournalError;
use super::files;
use crate::plan::recorded::FileRef;

/// The folder of body files below the state folder.
const BODIES: &str = "bodies";

/// How files that are being written are called. They hold a lock until they have their name.
const UNFINISHED: &str = ".new-";

/// The body files of a state folder. Needs no journal and no lock: any process may read and add.
#[derive(Debug, Clone)]
pub struct Bodies {
    folder: PathBuf,
}

impl Bodies {
    /// The body files of the state folder at `folder`. Touches nothing yet.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.join(BODIES) }
    }

    /// Stores `bytes` and names them. Storing the same again changes nothing.
    ///
    /// When it returns, content and name are on stable storage, so an event that names them may be appended. A
    /// crash before leaves an unfinished file that [`Journal::open`](super::Journal::open) removes.
    ///
    /// # Errors
    /// [`JournalError::Io`] and [`JournalError::DiskFull`]; the journal itself is not affected by them.
    pub fn put(&self, bytes: &[u8]) -> Result<FileRef, JournalError> {
        let found = FileRef { sha256: sha256(bytes), bytes: bytes.len() as u64 };
        let path = self.folder.join(&found.sha256);
        if !self.folder.is_dir() {
            files::create_folders(&self.folder)?;
        }
        // A file that is there got its name after its sync; only the name may not have reached the disk yet.
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            files::sync_folder(&self.folder)?;
            return Ok(found);
        }
        // A holder that opens right now may clear the new file before we have locked it; once is all it can.
        match self.write(bytes, &path) {
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.write(bytes, &path)?;
            }
            other => other?,
        }
        files::sync_folder(&self.folder)?;
        Ok(found)
    }

    /// Writes and syncs a file under a passing name, and then gives it its own.
    fn write(&self, bytes: &[u8], path: &Path) -> Result<(), JournalError> {
        let unfinished = self.folder.join(format!("{UNFINISHED}{}", files::random_hex(8)?));
        let mut file = files::create_private(&unfinished)?;
        let written = file
            .lock()
            .and_then(|()| file.write_all(bytes))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&unfinished, path))
            .map_err(|e| JournalError::io("write", &unfinished, e));
        if written.is_err() {
            drop(fs::remove_file(&unfinished));
        }
        written
    }

    /// Reads what [`put`](Self::put) stored and checks it against its name.
    ///
    /// # Errors
    /// [`JournalError::NoSuchBody`] when it is not there, [`JournalError::Damaged`] when it is something else.
    pub fn get(&self, r: &FileRef) -> Result<Vec<u8>, JournalError> {
        let (path, file) = self.open(r)?;
        let bytes = read_up_to(&path, file, r.bytes.saturating_add(1), r.bytes)?;
        if bytes.len() as u64 != r.bytes || sha256(&bytes) != r.sha256 {
            return Err(JournalError::damaged(&path, "the stored content does not match its name"));
        }
        Ok(bytes)
    }

    /// Reads the first `most` bytes of what [`put`](Self::put) stored. That they are what was stored is not checked.
    ///
    /// # Errors
    /// [`JournalError::NoSuchBody`] when it is not there.
    pub fn beginning(&self, r: &FileRef, most: usize) -> Result<Vec<u8>, JournalError> {
        let (path, file) = self.open(r)?;
        read_up_to(&path, file, most as u64, r.bytes)
    }

    fn open(&self, r: &FileRef) -> Result<(PathBuf, File), JournalError> {
        let missing = |path: PathBuf| JournalError::NoSuchBody { sha256: r.sha256.clone(), path };
        // The name comes from a record; it must not lead out of the folder.
        if r.sha256.len() != 64 || !r.sha256.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
        {
            return Err(missing(self.folder.clone()));
        }
        let path = self.folder.join(&r.sha256);
        match File::open(&path) {
            Ok(file) => Ok((path, file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(missing(path)),
            Err(e) => Err(JournalError::io("read", &path, e)),
        }
    }

    /// The names of all bodies, with their lengths in bytes.
    pub(super) fn names(&self) -> Result<std::collections::BTreeMap<String, u64>, JournalError> {
        let list = |e| JournalError::io("list", &self.folder, e);
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(std::collections::BTreeMap::new()),
            Err(e) => return Err(list(e)),
        };
        let mut names = std::collections::BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(list)?;
            let length = entry.metadata().map_err(list)?.len();
            if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with(UNFINISHED)) {
                names.insert(name.to_owned(), length);
            }
        }
        Ok(names)
    }

    /// Reads a body by its name, unchecked.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, JournalError> {
        let path = self.folder.join(name);
        fs::read(&path).map_err(|e| JournalError::io("read", &path, e))
    }

    /// Deletes a body.
    pub(super) fn remove(&self, name: &str) -> Result<(), JournalError> {
        let path = self.folder.join(name);
        fs::remove_file(&path).map_err(|e| JournalError::io("remove", &path, e))
    }

    /// Removes what processes that are gone left half-written. A file still locked is being written right now.
    pub(super) fn clear_unfinished(&self) -> Result<(), JournalError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(JournalError::io("list", &self.folder, e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| JournalError::io("list", &self.folder, e))?;
            if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                continue;
            }
            let abandoned = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            if abandoned {
                fs::remove_file(entry.path()).map_err(|e| JournalError::io("remove", &entry.path(), e))?;
            }
        }
        Ok(())
    }
}

fn sha256(bytes: &[u8]) -> String {
    files::hex(&Sha256::digest(bytes))
}

/// Reads a file, or the first `most` bytes of it, where `length` are expected.
fn read_up_to(path: &Path, file: File, most: u64, length: u64) -> Result<Vec<u8>, JournalError> {
    // A record that is damaged may expect anything.
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(most).min(EXPECTED_MAX)).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes).map_err(|e| JournalError::io("read", path, e))?;
    Ok(bytes)
}

/// How much memory is taken at once for what a record says is there, in bytes.
const EXPECTED_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_back_and_is_stored_once() {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Bodies::at(folder.path());
        for bytes in [&b""[..], b"x", &vec![3; 3_000_000]] {
            let found = bodies.put(bytes).unwrap();
            assert_eq!(bodies.put(bytes).unwrap(), found);
            assert_eq!(bodies.get(&found).unwrap(), bytes);
        }
        assert_eq!(fs::read_dir(folder.path().join(BODIES)).unwrap().count(), 3);
    }

    #[test]
    fn a_changed_body_is_damage_and_putting_it_again_heals_it() {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Bodies::at(folder.path());
        let found = bodies.put(b"content").unwrap();
        fs::write(folder.path().join(BODIES).join(&found.sha256), b"c0ntent").unwrap();
        assert!(matches!(bodies.get(&found), Err(JournalError::Damaged { .. })));
        bodies.put(b"content").unwrap();
        assert_eq!(bodies.get(&found).unwrap(), b"content");
    }

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key"), b"secret").unwrap();
        for sha256 in ["../key".to_owned(), "/etc/passwd".to_owned(), "é".repeat(32), "A".repeat(64)] {
            let asked = FileRef { sha256, bytes: 6 };
            assert!(matches!(Bodies::at(folder.path()).get(&asked), Err(JournalError::NoSuchBody { .. })));
        }
    }

    #[test]
    fn only_abandoned_leftovers_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Bodies::at(folder.path());
        let found = bodies.put(b"content").unwrap();
        let (dead, alive) = (bodies.folder.join(".new-dead"), bodies.folder.join(".new-alive"));
        fs::write(&dead, b"x").unwrap();
        let writer = File::create(&alive).unwrap();
        writer.try_lock().unwrap();
        bodies.clear_unfinished().unwrap();
        assert!(!dead.exists() && alive.exists());
        assert_eq!(bodies.get(&found).unwrap(), b"content");
    }
}
