//! Seals what may hold secrets and has to be kept: pre-images (P7).
//!
//! XChaCha20-Poly1305 with a random nonce for each, under a key in a file of its own: `state/key`, or the file that
//! `RUNNER_KEY` names, so that a copy of the state folder alone says nothing. The key is made at the first sealing.
//! Whoever loses it loses what was sealed, and nothing else.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What the file begins with; the key follows as 64 hexadecimal digits.
const HEAD: &str = "runner-key-1 ";

/// The length of a nonce, in bytes (draft-irtf-cfrg-xchacha-03).
const NONCE_LEN: usize = 24;

/// Where the key is. Cheap to clone; touches nothing until it seals or opens.
#[derive(Debug, Clone)]
pub struct Keys {
    path: PathBuf,
}

/// Names a key without giving it away: the beginning of a digest of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyId(String);

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// There is no key.
    #[error(
        "the key `{path}` is gone, and without it what was sealed cannot be read: bring it back from a backup, or name \
         where it is now with RUNNER_KEY"
    )]
    Gone {
        /// Where it should be.
        path: PathBuf,
    },
    /// It is another key.
    #[error(
        "`{path}` is not the key that this was sealed with: bring that one back from a backup, or name where it is \
         now with RUNNER_KEY"
    )]
    Another {
        /// Where the key is.
        path: PathBuf,
    },
    /// Others could read it.
    #[error("the key `{path}` can be read by others (mode {mode:04o}): run `chmod 600 {path}`")]
    Open {
        /// Where the key is.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is no key.
    #[error("`{path}` is not a key of runner: bring the right file back, or name it with RUNNER_KEY")]
    Malformed {
        /// Where it is.
        path: PathBuf,
    },
    /// It cannot be made or read.
    #[error("the key `{path}` cannot be used: {source}")]
    Io {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel gives no random numbers.
    #[error("the kernel gives no random numbers: {0}")]
    Random(String),
    /// What was sealed is not what it was.
    #[error("what was sealed is damaged")]
    Damaged,
}

impl Keys {
    /// The key in this file.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The key of a state folder, unless another file is named.
    pub fn of(state: &Path, named: Option<PathBuf>) -> Self {
        Self::at(named.unwrap_or_else(|| state.join("key")))
    }

    /// Seals `plain` for whoever names the same `purpose`; makes the key when there is none, on stable storage before
    /// anything is sealed with it. Blocks.
    ///
    /// # Errors
    /// [`SealError`]; a key that others can read is not used.
    pub fn seal(&self, plain: &[u8], purpose: &str) -> Result<(KeyId, Vec<u8>), SealError> {
        let key = match self.read() {
            Err(SealError::Gone { .. }) => self.make()?,
            other => other?,
        };
        let nonce: [u8; NONCE_LEN] = random()?;
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        let sealed = cipher(&key).encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Damaged)?;
        Ok((id(&key), [&nonce[..], &sealed].concat()))
    }

    /// Opens what was sealed for this `purpose`. Blocks.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn open(&self, with: &KeyId, sealed: &[u8], purpose: &str) -> Result<Vec<u8>, SealError> {
        let key = self.read()?;
        if id(&key) != *with {
            return Err(SealError::Another { path: self.path.clone() });
        }
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Damaged)?;
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        cipher(&key).decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError::Damaged)
    }

    fn io(&self, source: io::Error) -> SealError {
        SealError::Io { path: self.path.clone(), source }
    }

    fn read(&self) -> Result<[u8; 32], SealError> {
        let path = || self.path.clone();
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SealError::Gone { path: path() });
            }
            Err(error) => return Err(self.io(error)),
        };
        let found = file.metadata().map_err(|error| self.io(error))?;
        if !found.is_file() {
            return Err(SealError::Malformed { path: path() });
        }
        if found.mode() & 0o077 != 0 {
            return Err(SealError::Open { path: path(), mode: found.mode() & 0o7777 });
        }
        let mut text = String::new();
        file.take(256).read_to_string(&mut text).map_err(|error| self.io(error))?;
        let hex = text.trim_end().strip_prefix(HEAD).filter(|hex| hex.len() == 64 && hex.is_ascii());
        let mut key = [0; 32];
        for (place, byte) in key.iter_mut().enumerate() {
            let digits = hex.and_then(|hex| u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok());
            *byte = digits.ok_or_else(|| SealError::Malformed { path: path() })?;
        }
        Ok(key)
    }

    /// Makes a key: whole, private and on stable storage, or not at all. One that is there meanwhile is taken.
    fn make(&self) -> Result<[u8; 32], SealError> {
        let key: [u8; 32] = random()?;
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let passing: [u8; 8] = random()?;
        let name = format!(".new-key-{:016x}", u64::from_be_bytes(passing));
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let temporary = folder.join(name);
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                writeln!(file, "{HEAD}{hex}")?;
                file.sync_all()
            })
            // A link does not replace what is there, as a rename would.
            .and_then(|()| fs::hard_link(&temporary, &self.path));
        drop(fs::remove_file(&temporary));
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return self.read(),
            Err(error) => return Err(self.io(error)),
        }
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| self.io(error))?;
        Ok(key)
    }
}

fn cipher(key: &[u8; 32]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*key))
}

fn id(key: &[u8; 32]) -> KeyId {
    let digest = Sha256::new().chain_update("runner key id").chain_update(key).finalize();
    KeyId(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SealError::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_sealed_comes_back_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::of(folder.path(), None);
        let (with, sealed) = keys.seal(b"word", "r-1/a").unwrap();
        assert!(!sealed.windows(4).any(|part| part == b"word"));
        assert_eq!(fs::metadata(folder.path().join("key")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left beside the key");
        assert_eq!(keys.open(&with, &sealed, "r-1/a").unwrap(), b"word");
        // The same key again, and another nonce.
        let (again, other) = keys.seal(b"word", "r-1/a").unwrap();
        assert_eq!(again, with);
        assert_ne!(other, sealed);
        assert!(matches!(keys.open(&with, &sealed, "r-1/b"), Err(SealError::Damaged)));
        let mut bent = sealed.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert!(matches!(keys.open(&with, &bent, "r-1/a"), Err(SealError::Damaged)));
        assert!(matches!(keys.open(&with, &sealed[..9], "r-1/a"), Err(SealError::Damaged)));
    }

    #[test]
    fn a_key_that_is_gone_or_another_or_open_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let keys = Keys::of(folder.path(), None);
        let (with, sealed) = keys.seal(b"word", "p").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(keys.open(&with, &sealed, "p"), Err(SealError::Open { mode: 0o640, .. })));
        assert!(matches!(keys.seal(b"x", "p"), Err(SealError::Open { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(keys.open(&with, &sealed, "p"), Err(SealError::Gone { .. })));
        keys.seal(b"x", "p").unwrap();
        assert!(matches!(keys.open(&with, &sealed, "p"), Err(SealError::Another { .. })));
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(keys.open(&with, &sealed, "p"), Err(SealError::Malformed { .. })));
        let elsewhere = Keys::of(folder.path(), Some(folder.path().join("no/such/key")));
        assert!(matches!(elsewhere.seal(b"x", "p"), Err(SealError::Io { .. })));
    }
}
