//! A small MQTT broker on loopback, which behaves as mosquitto 2.0 does where that matters to who moves a service
//! (facts/components.md section 4, facts/transcripts/mqtt-trace.jsonl):
//!
//! - a message may be retained, and an empty one clears what is;
//! - a client id is taken over: who had it is thrown out and its last will is sent, before the new one is answered;
//! - the last will is sent for whoever goes without a word, and not for whoever says good-bye;
//! - what the access list forbids is acknowledged all the same, published or subscribed;
//! - who is silent for one and a half of its keep-alive is thrown out.
//!
//! MQTT 3.1.1 with QoS 0, 1 and, of what comes in, 2. Sessions are clean. `hub` knows who is there and who gets what;
//! `connection` speaks with one client; `state` is what is remembered. Start reading at [`Broker`].

mod connection;
mod hub;
mod state;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::{Store, StoreError, listen};
use hub::Hub;
use state::State;

pub use state::{Retained, User};

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// It cannot remember.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its port is taken.
    #[error("the lab's broker cannot listen")]
    Listen(#[from] io::Error),
}

/// A running broker. Dropped, it is gone as a killed one is: connections end, no last will is sent, and what is retained
/// is there for the next one on the same folder.
#[derive(Debug)]
pub struct Broker {
    hub: Arc<Hub>,
    port: u16,
    serving: JoinHandle<()>,
}

impl Broker {
    /// Starts it on a folder. The users, the port and what is retained are those of an earlier one on the same folder;
    /// else these users, and `port` or a free one when it is 0.
    ///
    /// # Errors
    /// [`BrokerError`].
    pub async fn start(folder: &Path, port: u16, users: BTreeMap<String, User>) -> Result<Self, BrokerError> {
        let store = Store::open(folder.join("mqtt.json"), || State { port, users, ..State::default() })?;
        let (listener, address) = listen(store.look(|state| state.port)).await?;
        store.change(|state| state.port = address.port())?;
        let hub = Arc::new(Hub::new(store));
        let serving = tokio::spawn(serve(listener, Arc::clone(&hub)));
        Ok(Self { hub, port: address.port(), serving })
    }

    /// Where it listens on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is retained, by topic.
    pub fn retained(&self) -> BTreeMap<String, Retained> {
        self.hub.store.look(|state| state.retained.clone())
    }

    /// The client ids that are connected.
    pub fn connected(&self) -> Vec<String> {
        self.hub.connected()
    }

    /// How many messages were taken from clients and handed on; those that were forbidden do not count.
    pub fn writes(&self) -> u64 {
        self.written().values().sum()
    }

    /// The same by the client ids that sent them.
    pub fn written(&self) -> BTreeMap<String, u64> {
        self.hub.store.look(|state| state.written.clone())
    }

    /// Lets a user in, or changes its password and rights. Who is connected stays so.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be remembered.
    pub fn set_user(&self, name: &str, user: User) -> Result<(), StoreError> {
        self.hub.store.change(|state| {
            state.users.insert(name.to_owned(), user);
        })
    }

    /// Lets a user in no more.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be remembered.
    pub fn remove_user(&self, name: &str) -> Result<(), StoreError> {
        self.hub.store.change(|state| {
            state.users.remove(name);
        })
    }

    /// Stops it, as a kill does, and waits until its port is free.
    pub async fn stop(mut self) {
        self.serving.abort();
        // That it was ended is what was wanted.
        let _ended = (&mut self.serving).await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, hub: Arc<Hub>) {
    // Dropped with this future, it ends every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(stream, Arc::clone(&hub)));
                }
                // Too many open files, for example: the next one may come through.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}
