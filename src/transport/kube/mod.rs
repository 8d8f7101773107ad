//! Kubernetes: one client per cluster and account, requests with a deadline, errors that say what they mean.
//!
//! Objects are plain JSON here, because any kind is served, whether this binary knows it or not; what a kind is called
//! in a path is asked of the server (`discovery`). Only this folder names `kube` and `k8s_openapi`. Nothing is tried
//! again here except once with new credentials: what a lost answer means, only the caller can say.
//!
//! Start reading at [`Transport::cluster`], then [`Kube`] in `objects`. Errors and what they mean: [`KubeError`].

mod access;
mod discovery;
mod error;
mod objects;
mod request;
mod rights;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::time::Instant;

use super::Transport;
use super::launch::after;

pub(crate) use discovery::Resource;
pub(crate) use error::{KubeError, Why};
pub(crate) use objects::{Applied, Object, Patch, Propagation, Select};
pub(crate) use rights::Right;

/// A cluster of the plan: where it is and as whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClusterPlace {
    /// Its name in the plan.
    pub(crate) name: String,
    /// The context of the kubeconfig; absent: its current one.
    pub(crate) context: Option<String>,
    /// An absolute path; absent: `KUBECONFIG`, `~/.kube/config`, or the account of the pod that we run in.
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// The clients of one process, made when they are needed.
#[derive(Debug, Default)]
pub(super) struct Clusters(Mutex<BTreeMap<ClusterPlace, Arc<tokio::sync::Mutex<Option<Arc<Open>>>>>>);

/// A client with what was learned over it.
struct Open {
    client: Client,
    /// Where objects go that name no namespace.
    namespace: String,
    kinds: tokio::sync::Mutex<Option<Arc<Vec<Resource>>>>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// The way to one cluster, for one call: no request over it outlives its deadline. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Kube {
    transport: Transport,
    place: ClusterPlace,
    open: Arc<Open>,
    deadline: Instant,
}

impl Transport {
    /// The way to a cluster, for no longer than `timeout`. Reads the kubeconfig and runs its exec plugin, if the client is
    /// not there yet; asks the cluster nothing. Cancel-safe.
    ///
    /// # Errors
    /// [`Why::Access`]: the kubeconfig cannot be used, or its plugin has failed.
    pub(crate) async fn cluster(&self, place: &ClusterPlace, timeout: Duration) -> Result<Kube, KubeError> {
        let deadline = after(timeout);
        let open = self.opened(place, deadline, None).await?;
        Ok(Kube { transport: self.clone(), place: place.clone(), open, deadline })
    }

    /// The client for a place; a new one when the one there is is `refused`.
    async fn opened(
        &self,
        place: &ClusterPlace,
        deadline: Instant,
        refused: Option<&Arc<Open>>,
    ) -> Result<Arc<Open>, KubeError> {
        let slot = {
            let mut all = self.0.clusters.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(place.clone()).or_default())
        };
        // One at a time: an exec plugin may ask a browser, and nobody wants that eight times.
        let mut slot = slot.lock().await;
        let expired = |open: &Arc<Open>| {
            open.client
                .valid_until()
                .as_ref()
                .is_some_and(|until| until.as_second() <= jiff::Timestamp::now().as_second())
        };
        if let Some(open) = &*slot
            && !refused.is_some_and(|refused| Arc::ptr_eq(refused, open))
            && !expired(open)
        {
            return Ok(Arc::clone(open));
        }
        let (client, namespace) = access::client(place, deadline).await?;
        let kinds = tokio::sync::Mutex::new(None);
        let open = Arc::new(Open { client, namespace, kinds });
        *slot = Some(Arc::clone(&open));
        Ok(open)
    }
}

impl Kube {
    /// The cluster's name in the plan.
    pub(crate) fn name(&self) -> &str {
        &self.place.name
    }

    /// Where objects go that name no namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.open.namespace
    }

    /// What is left of the time.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}
