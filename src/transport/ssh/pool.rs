//! One connection per host, made at its first use and shared by all steps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use super::Target;
use super::master::Master;
use super::refusal::Refusal;

/// The connections of a process.
#[derive(Debug)]
pub(in crate::transport) struct Pool {
    runtime: PathBuf,
    masters: Mutex<BTreeMap<Target, Arc<OnceCell<Arc<Master>>>>>,
}

impl Pool {
    pub(in crate::transport) fn new(runtime: PathBuf) -> Self {
        Self { runtime, masters: Mutex::new(BTreeMap::new()) }
    }

    /// The connection to a host: the one that stands, or a new one. Steps that ask at once wait for the same.
    ///
    /// A connection that was lost may not be noticed here, but by who uses it: see [`forget`](Self::forget).
    pub(super) async fn master(&self, target: &Target) -> Result<Arc<Master>, Refusal> {
        let cell = Arc::clone(self.lock().entry(target.clone()).or_default());
        let master =
            cell.get_or_try_init(|| async { Master::connect(&self.runtime, target).await.map(Arc::new) });
        master.await.cloned()
    }

    /// Forgets a connection that is lost, unless another one stands in its place already.
    pub(super) async fn forget(&self, target: &Target, lost: &Arc<Master>) {
        let removed = {
            let mut masters = self.lock();
            let same =
                masters.get(target).and_then(|cell| cell.get()).is_some_and(|held| Arc::ptr_eq(held, lost));
            same.then(|| masters.remove(target)).flatten()
        };
        if removed.is_some() {
            lost.end().await;
        }
    }

    /// Ends all connections.
    pub(in crate::transport) async fn close(&self) {
        let masters = std::mem::take(&mut *self.lock());
        for master in masters.values().filter_map(|cell| cell.get()) {
            master.end().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Target, Arc<OnceCell<Arc<Master>>>>> {
        self.masters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
