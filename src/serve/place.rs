//! Where sockets live: their paths must be short, so they are not in the state folder; it holds a pointer.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::driver::short_hash;

/// The pointer's name in the state folder.
const POINTER: &str = "holder.json";

/// Where the holder of a state folder is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The socket.
    pub socket: PathBuf,
    /// The holder's process id.
    pub pid: u32,
    /// Its fencing token.
    pub token: u64,
    /// It serves: runs live there whoever waits for them, and it resolves their secrets itself.
    #[serde(default)]
    pub serves: bool,
}

impl Pointer {
    /// Leaves the pointer in the state folder, whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn leave(&self, state: &Path) -> io::Result<()> {
        let place = state.join(POINTER);
        let fresh = state.join(format!("{POINTER}.{}", self.pid));
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        io::Write::write_all(&mut file, &serde_json::to_vec(self)?)?;
        std::fs::rename(&fresh, &place)
    }

    /// The pointer in a state folder; a dead holder may have left it.
    pub fn read(state: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(state.join(POINTER)).ok()?).ok()
    }

    /// Takes the pointer away, if it is still ours.
    pub fn remove(&self, state: &Path) {
        if Self::read(state).as_ref() == Some(self) {
            drop(std::fs::remove_file(state.join(POINTER)));
        }
    }
}

/// The folder for sockets and ssh masters of a state folder, made with mode 0700: below `xdg`
/// (`$XDG_RUNTIME_DIR`) when it is given and is a folder of ours, else below `/tmp/runner-<uid>`.
///
/// # Errors
/// It cannot be made, or belongs to somebody else.
pub fn runtime_folder(state: &Path, xdg: Option<&Path>) -> io::Result<PathBuf> {
    let whole = std::fs::canonicalize(state)?;
    let name = format!("{:014x}", short_hash(whole.as_os_str().as_encoded_bytes()));
    let uid = rustix::process::getuid().as_raw();
    let base = match xdg.filter(|path| path.is_absolute() && path.is_dir() && path.as_os_str().len() < 40) {
        Some(path) => path.join("runner"),
        None => PathBuf::from(format!("/tmp/runner-{uid}")),
    };
    for folder in [&base, &base.join(&name)] {
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let found = std::fs::symlink_metadata(folder)?;
        if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
            let text = format!("`{}` is not a folder that only you can use: remove it", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
    }
    Ok(base.join(name))
}
