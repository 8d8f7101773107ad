//! Small things done to files and folders, each with the sync that makes it last.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::JournalError;

/// Makes the names in a folder last: created, renamed and removed entries.
///
/// A file's own sync does not do that (fsync(2): "does not necessarily ensure that the entry in the directory
/// containing the file has also reached disk").
pub(super) fn sync_folder(path: &Path) -> Result<(), JournalError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| JournalError::io("sync folder", path, e))
}

/// Syncs everything below a folder, then the folder itself.
pub(super) fn sync_tree(path: &Path) -> Result<(), JournalError> {
    for entry in fs::read_dir(path).map_err(|e| JournalError::io("list", path, e))? {
        let entry = entry.map_err(|e| JournalError::io("list", path, e))?;
        let kind = entry.file_type().map_err(|e| JournalError::io("look at", &entry.path(), e))?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())
                .and_then(|file| file.sync_all())
                .map_err(|e| JournalError::io("sync", &entry.path(), e))?;
        }
    }
    sync_folder(path)
}

/// Makes a folder with mode 0700 and every missing one above it, and makes their names last. What exists is left
/// as it is: a folder named with `--state` may be anything, and changing its mode is not ours to do.
pub(super) fn create_folders(path: &Path) -> Result<(), JournalError> {
    let mut missing: Vec<&Path> = Vec::new();
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        match fs::metadata(part) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => return Err(JournalError::NotAFolder { path: part.to_owned() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(part),
            Err(e) => return Err(JournalError::io("look at", part, e)),
        }
    }
    for part in missing.into_iter().rev() {
        match DirBuilder::new().mode(0o700).create(part) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(JournalError::io("create folder", part, e));
            }
            _ => sync_folder(&parent(part))?,
        }
    }
    Ok(())
}

/// Opens a new file with mode 0600 for writing; it must not exist.
pub(super) fn create_private(path: &Path) -> Result<File, JournalError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| JournalError::io("create", path, e))
}

/// Writes a new file with mode 0600 and syncs it; its name is the caller's to sync.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    let mut file = create_private(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|e| JournalError::io("write", path, e))
}

/// The folder a path's name stands in.
fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// `bytes` random bytes as lower-case hex.
pub(super) fn random_hex(bytes: usize) -> Result<String, JournalError> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(|e| {
        JournalError::io(
            "read random bytes for",
            Path::new("the journal's id"),
            io::Error::other(e.to_string()),
        )
    })?;
    Ok(hex(&buffer))
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
