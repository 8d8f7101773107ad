//! What a part of the lab remembers: one JSON file, replaced whole before anybody is answered.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpSocket};

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

/// A port of loopback that is somebody's also while he does not listen on it: a socket that is bound and does not listen refuses
/// connections, and keeps others from getting this port when they ask for any (`inet_csk_bind_conflict` in Linux).
#[derive(Debug)]
pub struct Port {
    number: u16,
    _held: TcpSocket,
}

impl Port {
    /// Takes this port, or a free one when it is 0.
    ///
    /// # Errors
    /// That of the system, when somebody listens on it.
    pub fn take(number: u16) -> io::Result<Self> {
        let held = bound(number)?;
        Ok(Self { number: held.local_addr()?.port(), _held: held })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Listens on it, also right after it was let go.
    ///
    /// # Errors
    /// That of the system, when somebody listens on it.
    pub fn listen(&self) -> io::Result<TcpListener> {
        bound(self.number)?.listen(128)
    }
}

fn bound(port: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_stays_whose_it_is() {
        let port = Port::take(0).unwrap();
        let at = (Ipv4Addr::LOCALHOST, port.number());
        let somebody = TcpSocket::new_v4().unwrap();
        assert_eq!(somebody.bind(at.into()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        for _ in 0..2 {
            let refused = std::net::TcpStream::connect(at).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let listener = port.listen().unwrap();
            std::net::TcpStream::connect(at).unwrap();
            assert!(Port::take(port.number()).is_err(), "somebody listens on it");
            drop(listener);
        }
        assert_eq!(
            Port::take(port.number()).unwrap().number(),
            port.number(),
            "the next process takes it over"
        );
    }

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
