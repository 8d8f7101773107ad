//! A small Kubernetes: an API server, its controllers, a scheduler and a node with a GPU, on loopback.
//!
//! It answers a named subset of Kubernetes 1.36 over plain HTTP with bearer tokens: discovery, objects of the kinds in
//! `kinds` and of CustomResourceDefinitions, server-side apply with `managedFields`, dry runs, the other patches, watches,
//! logs, commands over websockets, reviews and RBAC. Not there: TLS, protobuf, OpenAPI, YAML that is not JSON, admission
//! plugins, autoscaling, other controllers than those for Deployments, Services, claims and garbage. The same suite passes
//! against it and against a real control plane (`tests/kubernetes/both.rs`), so that it cannot drift from that.
//!
//! What it says comes from facts/transcripts of Kubernetes 1.36.2. Start reading at [`Kubernetes::start`], then `write`.

mod access;
mod containers;
mod defaults;
mod delete;
mod faults;
mod fields;
mod kinds;
mod managers;
mod merge;
mod place;
mod read;
mod reconcile;
mod refusal;
mod serve;
mod smi;
mod state;
mod typed;
mod watch;
mod write;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch as signal;
use tokio::task::{JoinHandle, JoinSet};

use super::{Store, StoreError, listen};
use reconcile::PROVISIONER;
use refusal::Refusal;
use state::{State, User, now_ms, now_text};

pub use faults::{Fault, Rule, Trouble};
pub use smi::{DRIVER_MISMATCH, Gpu, NO_DRIVER};

/// The node that is there from the start and has the one GPU.
const FIRST_NODE: &str = "gpu-1";

/// How long a pod, an address or an end takes unless somebody says otherwise, in milliseconds.
const DELAY_MS: u64 = 30;

/// Why the lab's cluster cannot run.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Its state cannot be kept.
    #[error("the lab's cluster cannot remember")]
    Store(#[from] StoreError),
    /// Its port is taken, or a file of it cannot be written.
    #[error("the lab's cluster cannot use `{what}`")]
    Io {
        /// The port or the file.
        what: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What its parts share.
#[derive(Debug)]
struct Shared {
    store: Store<State>,
    /// The version of the newest change.
    revisions: signal::Sender<u64>,
    stopped: signal::Sender<bool>,
}

impl Shared {
    /// Changes the state; the controllers have answered and all of it is on file when this returns.
    ///
    /// # Errors
    /// 500, in the words of a real server whose store fails.
    fn change<R>(&self, work: impl FnOnce(&mut State) -> R) -> Result<R, Refusal> {
        let changed = self.store.change(|state| {
            let result = work(state);
            reconcile::run(state);
            (result, state.revision)
        });
        match changed {
            Ok((result, revision)) => {
                // Even without a change the controllers may have something to do at another time.
                self.revisions.send_replace(revision);
                Ok(result)
            }
            Err(error) => Err(Refusal::new(500, "InternalError", format!("etcdserver: {error}"))),
        }
    }
}

/// A cluster that answers until it is stopped or dropped.
#[derive(Debug)]
pub struct Kubernetes {
    shared: Arc<Shared>,
    folder: PathBuf,
    url: String,
    accepting: JoinHandle<()>,
    working: JoinHandle<()>,
}

impl Kubernetes {
    /// Starts the cluster of this folder, on this port or, with 0, on the one it had, else a free one. A new one has a node
    /// with a GPU, the classes `local-path` and `immediate`, the RuntimeClass `nvidia` and the usual namespaces; an earlier
    /// one comes back as it was, but that watches begin anew.
    ///
    /// # Errors
    /// [`KubernetesError`] when the port is taken or its state cannot be read or kept.
    pub async fn start(folder: &Path, port: u16) -> Result<Self, KubernetesError> {
        let at = |what: String| move |source| KubernetesError::Io { what, source };
        let store = Store::open(folder.join("state.json"), first)?;
        let port = if port == 0 { store.look(|state| state.port) } else { port };
        let (listener, address) = listen(port).await.map_err(at(format!("port {port}")))?;
        let (revisions, _) = signal::channel(0);
        let (stopped, _) = signal::channel(false);
        let shared = Arc::new(Shared { store, revisions, stopped });
        shared.store.change(|state| {
            state.port = address.port();
            state.since = state.revision;
            reconcile::run(state);
        })?;
        let url = format!("http://{address}");
        let (accepting, working) =
            (tokio::spawn(accept(Arc::clone(&shared), listener)), tokio::spawn(work(Arc::clone(&shared))));
        let lab = Self { shared, folder: folder.to_owned(), url, accepting, working };
        lab.write_kubeconfig("admin")?;
        Ok(lab)
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The kubeconfig of who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// The kubeconfig of a user who may do what roles say: nothing, at first. With a duration its token counts no more
    /// after it.
    ///
    /// # Errors
    /// [`KubernetesError`] when that cannot be kept.
    pub fn user(&self, name: &str, lasts: Option<Duration>) -> Result<PathBuf, KubernetesError> {
        let until_ms = lasts.map(|lasts| now_ms() + i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX / 2));
        self.shared.store.change(|state| {
            state.users.retain(|user| user.name != name);
            state.users.push(User { name: name.to_owned(), token: state::uid(), master: false, until_ms });
        })?;
        self.write_kubeconfig(name)
    }

    fn write_kubeconfig(&self, user: &str) -> Result<PathBuf, KubernetesError> {
        let found =
            self.shared.store.look(|state| state.users.iter().find(|known| known.name == user).cloned());
        let token = found.map(|user| user.token).unwrap_or_default();
        let path = self.folder.join(format!("{user}.kubeconfig"));
        // JSON is YAML.
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{ "name": "lab", "cluster": { "server": self.url } }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": user } }],
            "users": [{ "name": user, "user": { "token": token } }],
        });
        fs::write(&path, format!("{text:#}\n"))
            .map_err(|source| KubernetesError::Io { what: path.display().to_string(), source })?;
        Ok(path)
    }

    /// How many requests have changed something.
    pub fn writes(&self) -> u64 {
        self.shared.store.look(|state| state.writes)
    }

    /// An object as it is; the group of `pods`, `services` and their like is empty, and so is the namespace of what has none.
    pub fn object(&self, plural: &str, group: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared
            .store
            .look(|state| state.get(&format!("{}{namespace}/{name}", kinds::prefix(plural, group))).cloned())
    }

    /// Makes an object in the name of somebody else, unless it is there; nothing when the kind is unknown.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn make(
        &self,
        plural: &str,
        group: &str,
        version: &str,
        object: Value,
    ) -> Result<(), KubernetesError> {
        self.change(|state| {
            if let Some(kind) = kinds::find(state, group, version, plural) {
                state.make(&kind, object);
            }
        })
    }

    /// How long a pod, an address or an end takes from now on.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn set_delay(&self, delay: Duration) -> Result<(), KubernetesError> {
        self.change(|state| state.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX / 4))
    }

    /// Makes objects fail, and gives the number of the rule.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn fail(&self, rule: Rule) -> Result<u64, KubernetesError> {
        self.change(|state| {
            let id = state.next_number();
            state.rules.push(Rule { id, ..rule });
            id
        })
    }

    /// Ends a rule; what failed by it recovers.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn heal(&self, rule: u64) -> Result<(), KubernetesError> {
        self.change(|state| state.rules.retain(|known| known.id != rule))
    }

    /// Lets something happen to requests, and gives the number of the fault.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn fault(&self, fault: Fault) -> Result<u64, KubernetesError> {
        self.change(|state| {
            let id = state.next_number();
            state.faults.push(Fault { id, ..fault });
            id
        })
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn end_faults(&self) -> Result<(), KubernetesError> {
        self.change(|state| state.faults.clear())
    }

    /// Adds a node with so many GPUs, labels, and one taint (`key=value`, not to be scheduled on) or none.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn add_node(
        &self,
        name: &str,
        gpus: u32,
        labels: &[(&str, &str)],
        taint: Option<(&str, &str)>,
    ) -> Result<(), KubernetesError> {
        self.change(|state| node(state, name, gpus, labels, taint))
    }

    /// Switches a node off, or on again.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn set_gone(&self, node: &str, gone: bool) -> Result<(), KubernetesError> {
        self.change(|state| {
            if gone {
                state.gone.insert(node.to_owned());
            } else {
                state.gone.remove(node);
            }
        })
    }

    /// Changes what the GPUs say of themselves.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn set_gpu(&self, gpu: Gpu) -> Result<(), KubernetesError> {
        self.change(|state| state.gpu = gpu)
    }

    /// Has one more class of volumes, which are made when a pod wants them.
    ///
    /// # Errors
    /// [`KubernetesError`] when that cannot be remembered.
    pub fn add_storage_class(&self, name: &str) -> Result<(), KubernetesError> {
        self.change(|state| {
            if let Some(kind) = kinds::find(state, "storage.k8s.io", "v1", "storageclasses") {
                let object = json!({
                    "metadata": { "name": name }, "provisioner": PROVISIONER,
                    "volumeBindingMode": "WaitForFirstConsumer",
                });
                state.make(&kind, object);
            }
        })
    }

    fn change<R>(&self, work: impl FnOnce(&mut State) -> R) -> Result<R, KubernetesError> {
        let (result, revision) = self.shared.store.change(|state| {
            let result = work(state);
            reconcile::run(state);
            (result, state.revision)
        })?;
        self.shared.revisions.send_replace(revision);
        Ok(result)
    }

    /// Stops it: connections are cut, and nothing listens any more when this returns.
    pub async fn stop(mut self) {
        self.shared.stopped.send_replace(true);
        for task in [&mut self.accepting, &mut self.working] {
            task.abort();
            drop(task.await);
        }
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.shared.stopped.send_replace(true);
        self.accepting.abort();
        self.working.abort();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                open.spawn(async move {
                    drop(stream.set_nodelay(true));
                    let service = service_fn(move |request| serve::answer(Arc::clone(&shared), request));
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    // Whoever is cut off, or cuts off, knows it.
                    drop(connection.await);
                });
            }
            Some(_) = open.join_next() => {}
        }
    }
}

/// Lets the controllers work when something is due.
async fn work(shared: Arc<Shared>) {
    let mut revisions = shared.revisions.subscribe();
    loop {
        let due = shared.store.look(|state| state.due_ms);
        let wait = due.map(|due| Duration::from_millis(u64::try_from(due - now_ms()).unwrap_or(0)));
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                // A store that fails is told to whoever asks next.
                drop(shared.change(|_| ()));
            }
        }
    }
}

/// A new cluster.
fn first() -> State {
    let admin = User { name: "admin".to_owned(), token: state::uid(), master: true, until_ms: None };
    let mut state = State {
        port: 0,
        revision: 0,
        writes: 0,
        objects: BTreeMap::new(),
        users: vec![admin],
        rules: Vec::new(),
        faults: Vec::new(),
        number: 0,
        delay_ms: DELAY_MS,
        lives: BTreeMap::new(),
        gone: BTreeSet::new(),
        gpu: Gpu::default(),
        due_ms: None,
        history: VecDeque::new(),
        since: 0,
    };
    let mut make = |group: &str, plural: &str, object: Value| {
        if let Some(kind) = kinds::find(&state, group, "v1", plural) {
            state.make(&kind, object);
        }
    };
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        make("", "namespaces", json!({ "metadata": { "name": name } }));
    }
    let provisioner = PROVISIONER;
    let default = json!({ "storageclass.kubernetes.io/is-default-class": "true" });
    make(
        "storage.k8s.io",
        "storageclasses",
        json!({
            "metadata": { "name": "local-path", "annotations": default }, "provisioner": provisioner,
            "volumeBindingMode": "WaitForFirstConsumer",
        }),
    );
    make(
        "storage.k8s.io",
        "storageclasses",
        json!({ "metadata": { "name": "immediate" }, "provisioner": provisioner }),
    );
    make("node.k8s.io", "runtimeclasses", json!({ "metadata": { "name": "nvidia" }, "handler": "nvidia" }));
    node(&mut state, FIRST_NODE, 1, &[], None);
    state
}

fn node(state: &mut State, name: &str, gpus: u32, labels: &[(&str, &str)], taint: Option<(&str, &str)>) {
    let mut resources = json!({ "cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "200Gi" });
    let mut all =
        json!({ "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64" });
    if gpus > 0 {
        resources["nvidia.com/gpu"] = gpus.to_string().into();
        all["nvidia.com/gpu.present"] = "true".into();
        all["nvidia.com/gpu.count"] = gpus.to_string().into();
        all["nvidia.com/gpu.product"] = "NVIDIA-GeForce-RTX-3070".into();
    }
    for (key, value) in labels {
        all[*key] = (*value).into();
    }
    let mut spec = json!({});
    if let Some((key, value)) = taint {
        spec["taints"] = json!([{ "key": key, "value": value, "effect": "NoSchedule" }]);
    }
    let condition = |kind: &str, status: &str, reason: &str| json!({ "type": kind, "status": status, "reason": reason, "lastTransitionTime": now_text(), "lastHeartbeatTime": now_text() });
    let node = json!({
        "metadata": { "name": name, "labels": all },
        "spec": spec,
        "status": {
            "capacity": resources, "allocatable": resources,
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }, { "type": "Hostname", "address": name }],
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.36.2", "operatingSystem": "linux", "architecture": "amd64", "osImage": "lab",
                "kernelVersion": "6.12.0", "containerRuntimeVersion": "containerd://2.1.0", "machineID": "", "systemUUID": "",
                "bootID": "", "kubeProxyVersion": "",
            },
        },
    });
    if let Some(kind) = kinds::find(state, "", "v1", "nodes") {
        state.make(&kind, node);
    }
}
