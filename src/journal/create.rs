//! Making a journal, so that a process killed at any instant leaves either none or a whole one.
//!
//! sled cannot open a database again whose creation was cut off (9 of 3,333 kills). So everything is made in a
//! sibling folder, synced, and renamed into place; what a dead process left there is removed at the next opening.
//! The caller holds the lock, so no living process is at work in such a folder.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::JournalError;
use super::head::{Head, Place};
use super::record::{self, META};
use super::store::Store;
use super::wal::Wal;
use super::{FORMAT, files};

/// The journal's folder below the state folder, and its parts.
const JOURNAL: &str = "journal";
const VERSION: &str = "version";
const HEAD: &str = "head";
const WAL: &str = "wal";
const SLED: &str = "sled";

/// The version file of a newer format, before it has its name.
const VERSION_NEXT: &str = "version.new";

/// Prefix of a journal being made.
const UNFINISHED: &str = "journal.new-";

/// First line of the version file; its one number follows.
const VERSION_TEXT: &str = "runner journal, format ";

/// What is true of the whole journal, stored inside it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    /// [`FORMAT`] when it was made.
    pub(super) format: u32,
    /// 16 random bytes in lower-case hex.
    pub(super) id: String,
}

impl Meta {
    /// The id as bytes.
    pub(super) fn id_bytes(&self) -> Option<[u8; 16]> {
        let digit = |i: usize| u8::from_str_radix(self.id.get(i..i + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).step_by(2).map(digit).collect();
        (self.id.len() == 32).then_some(bytes?.try_into().ok()?)
    }
}

/// Where the parts of a journal stand.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) journal: PathBuf,
}

impl Layout {
    pub(super) fn of(folder: &Path) -> Self {
        Self { journal: folder.join(JOURNAL) }
    }

    pub(super) fn head(&self) -> PathBuf {
        self.journal.join(HEAD)
    }

    pub(super) fn wal(&self) -> PathBuf {
        self.journal.join(WAL)
    }

    pub(super) fn sled(&self) -> PathBuf {
        self.journal.join(SLED)
    }

    /// Whether there is a journal.
    pub(super) fn exists(&self) -> Result<bool, JournalError> {
        match fs::metadata(&self.journal) {
            Ok(found) if found.is_dir() => Ok(true),
            Ok(_) => Err(JournalError::NotAFolder { path: self.journal.clone() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(JournalError::io("look at", &self.journal, e)),
        }
    }

    /// Refuses a journal whose database is gone: sled would make a new one in its place.
    pub(super) fn check_parts(&self) -> Result<(), JournalError> {
        let data = self.sled().join("db");
        match fs::metadata(&data) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(JournalError::damaged(&data, "the database is missing"))
            }
            Err(e) => Err(JournalError::io("look at", &data, e)),
        }
    }

    /// The journal's format; refuses a newer one. Only reads, so that nothing is written into what we do not understand:
    /// sled writes as soon as it is opened.
    pub(super) fn check_version(&self, folder: &Path) -> Result<u32, JournalError> {
        let path = self.journal.join(VERSION);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(JournalError::damaged(&path, "the version file is missing"));
            }
            Err(e) => return Err(JournalError::io("read", &path, e)),
        };
        let found = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.lines().next()?.strip_prefix(VERSION_TEXT)?.trim().parse().ok())
            .ok_or_else(|| JournalError::damaged(&path, "the version file does not name a format"))?;
        check_format(folder, found)?;
        Ok(found)
    }

    /// Gives a journal of an older format what [`FORMAT`] has more, and says that it has it from now on; on stable storage
    /// when it returns. After a crash before, it has the older one, and what may lie beside it is made anew by the next one
    /// who comes.
    pub(super) fn raise_version(&self, journal: [u8; 16]) -> Result<(), JournalError> {
        let (path, next) = (self.journal.join(VERSION), self.journal.join(VERSION_NEXT));
        for left in [&self.wal(), &next] {
            match fs::remove_file(left) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(JournalError::io("remove", left, e));
                }
                _ => {}
            }
        }
        Wal::create(&self.wal(), journal)?;
        files::sync_folder(&self.journal)?;
        files::write_private(&next, version_text().as_bytes())?;
        fs::rename(&next, &path).map_err(|e| JournalError::io("write", &path, e))?;
        files::sync_folder(&self.journal)
    }
}

/// What the version file says.
fn version_text() -> String {
    format!("{VERSION_TEXT}{FORMAT}\n")
}

/// Refuses a newer format, naming both.
pub(super) fn check_format(folder: &Path, found: u32) -> Result<(), JournalError> {
    if found > FORMAT {
        return Err(JournalError::Newer { folder: folder.to_owned(), found, known: FORMAT });
    }
    Ok(())
}

/// Removes what a process that was killed during creation left behind.
pub(super) fn clear_leftovers(folder: &Path) -> Result<(), JournalError> {
    for entry in fs::read_dir(folder).map_err(|e| JournalError::io("list", folder, e))? {
        let entry = entry.map_err(|e| JournalError::io("list", folder, e))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(entry.path()).map_err(|e| JournalError::io("remove", &entry.path(), e))?;
        }
    }
    Ok(())
}

/// Makes an empty journal. After a crash before the rename there is none, after it there is this one.
pub(super) fn create(folder: &Path) -> Result<(), JournalError> {
    let id = files::random_hex(16)?;
    let unfinished = folder.join(format!("{UNFINISHED}{}", &id[..8]));
    DirBuilder::new()
        .mode(0o700)
        .create(&unfinished)
        .map_err(|e| JournalError::io("create folder", &unfinished, e))?;
    let parts = Layout { journal: unfinished.clone() };
    files::write_private(&unfinished.join(VERSION), version_text().as_bytes())?;
    let meta = Meta { format: FORMAT, id };
    let bytes = meta.id_bytes().expect("16 bytes in hex");
    let start = Place { records: 0, token: 0, slot: 0, seq: 0, hash: record::genesis(&meta.id, None) };
    Head::create(&parts.head(), bytes, &start)?;
    Wal::create(&parts.wal(), bytes)?;
    DirBuilder::new()
        .mode(0o700)
        .create(parts.sled())
        .map_err(|e| JournalError::io("create folder", &unfinished, e))?;
    let mut store = Store::open(&parts.sled())?;
    store.commit(vec![(META.to_vec(), serde_json::to_vec(&meta).expect("two plain fields"))])?;
    drop(store);
    files::sync_tree(&unfinished)?;
    let place = Layout::of(folder).journal;
    fs::rename(&unfinished, &place).map_err(|e| JournalError::io("rename into place", &place, e))?;
    files::sync_folder(folder)
}
