//! What a part of the lab remembers: one JSON file, replaced whole before anybody is answered.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

/// Why a part of the lab cannot remember.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Its file cannot be read or replaced.
    #[error("cannot use the lab's file `{path}`")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its file holds something else.
    #[error("the lab's file `{path}` cannot be understood: remove it and begin again")]
    Content {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// A value that survives the process. Clones share it.
#[derive(Debug)]
pub struct Store<T> {
    path: Arc<Path>,
    value: Arc<Mutex<T>>,
}

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self { path: Arc::clone(&self.path), value: Arc::clone(&self.value) }
    }
}

impl<T: Serialize + DeserializeOwned> Store<T> {
    /// Reads the value of an earlier process, or begins with `first`, and writes that.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read, understood or written.
    pub fn open(path: PathBuf, first: impl FnOnce() -> T) -> Result<Self, StoreError> {
        match fs::read(&path) {
            Ok(bytes) => {
                let value = serde_json::from_slice(&bytes)
                    .map_err(|source| StoreError::Content { path: path.clone(), source })?;
                Ok(Self { path: path.into(), value: Arc::new(Mutex::new(value)) })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let value = first();
                write(&path, &value)?;
                Ok(Self { path: path.into(), value: Arc::new(Mutex::new(value)) })
            }
            Err(source) => Err(StoreError::File { path, source }),
        }
    }

    /// Looks at the value.
    pub fn look<R>(&self, work: impl FnOnce(&T) -> R) -> R {
        work(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the value. It is on file when this returns; a killed process leaves the old one or the new one. (Power
    /// loss is no concern of a lab: nothing is synced.)
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be replaced; the value is changed all the same.
    pub fn change<R>(&self, work: impl FnOnce(&mut T) -> R) -> Result<R, StoreError> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut value);
        write(&self.path, &*value)?;
        Ok(result)
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let at = |source| StoreError::File { path: path.to_owned(), source };
    let content = serde_json::to_vec_pretty(value)
        .map_err(|source| StoreError::Content { path: path.to_owned(), source })?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, content).map_err(at)?;
    fs::rename(&beside, path).map_err(at)
}

/// Listens on loopback: on `port`, or on a free one when it is 0. Gives the address with the port that it has, which
/// the caller keeps in its [`Store`] so that it comes back on the same.
///
/// # Errors
/// That of the system, when the port is taken.
pub async fn listen(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_there_for_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/part.json");
        let store = Store::open(path.clone(), || 1).unwrap();
        assert_eq!(store.change(|value| std::mem::replace(value, 2)).unwrap(), 1);
        drop(store);
        assert_eq!(Store::open(path.clone(), || 1).unwrap().look(|value| *value), 2);
        fs::write(&path, "what").unwrap();
        assert!(matches!(Store::<u32>::open(path, || 1), Err(StoreError::Content { .. })));
    }
}
