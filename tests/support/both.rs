//! A cluster that a test of both kinds runs against: the lab's own API, or the real control plane of `tests/testbed/`.
//! The same test, the same words; what only one of them can do has no place in such a test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Request;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use runner::lab::kubernetes::{Kubernetes, Rule};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster::{Cluster, Failing, Namespace};

/// A namespace of a cluster.
pub struct Served {
    pub client: Client,
    pub namespace: String,
    kubeconfig: PathBuf,
    kind: Kind,
}

enum Kind {
    Lab { lab: Kubernetes, _folder: TempDir },
    Real { cluster: &'static Cluster, namespace: Namespace },
}

/// Something that was told to fail, until this is dropped.
pub enum Fails<'a> {
    Lab(&'a Kubernetes, u64),
    Real(Failing),
}

impl Drop for Fails<'_> {
    fn drop(&mut self) {
        if let Fails::Lab(lab, id) = self {
            lab.heal(*id).unwrap();
        }
    }
}

/// One answer.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub warning: Option<String>,
    pub body: Value,
}

impl Said {
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }
}

impl Served {
    pub async fn lab() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let lab = Kubernetes::start(folder.path(), 0).await.unwrap();
        let kubeconfig = lab.kubeconfig();
        let client = client(&kubeconfig).await;
        let kind = Kind::Lab { lab, _folder: folder };
        let served = Self { client, namespace: "frigate".to_owned(), kubeconfig, kind };
        served
            .ask("POST", "/api/v1/namespaces", None, Some(&json!({ "metadata": { "name": "frigate" } })))
            .await
            .expect(201);
        Some(served)
    }

    /// Skips loudly where there is none, or one that cannot be told to fail.
    pub async fn real() -> Option<Self> {
        let cluster = Cluster::shared()?;
        cluster.ready()?;
        let namespace = cluster.namespace("both");
        let kubeconfig = cluster.kubeconfig().to_owned();
        let client = client(&kubeconfig).await;
        Some(Self {
            client,
            namespace: namespace.name.clone(),
            kubeconfig,
            kind: Kind::Real { cluster, namespace },
        })
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The lab behind it, of a test that is for it alone.
    pub fn lab_itself(&self) -> &Kubernetes {
        match &self.kind {
            Kind::Lab { lab, .. } => lab,
            Kind::Real { .. } => panic!("this test is not for both"),
        }
    }

    /// Makes objects fail whose name begins so.
    pub fn fail(&self, kind: &str, name: &str, how: &str) -> Fails<'_> {
        match &self.kind {
            Kind::Lab { lab, .. } => {
                let text = |text: &str| text.to_owned();
                let rule = Rule {
                    kind: text(kind),
                    namespace: self.namespace.clone(),
                    name: text(name),
                    fail: text(how),
                    id: 0,
                };
                Fails::Lab(lab, lab.fail(rule).unwrap())
            }
            Kind::Real { namespace, .. } => Fails::Real(namespace.fail(kind, name, how)),
        }
    }

    /// A node with so many GPUs that only takes pods which ask for it; gives what such a pod has in its spec.
    pub fn node(&self, name: &str, gpus: u32) -> Value {
        let name = format!("{name}-{}", self.namespace);
        match &self.kind {
            Kind::Lab { lab, .. } => {
                let key = "testbed.runner/node";
                lab.add_node(&name, gpus, &[(key, &name)], Some((key, &name))).unwrap();
            }
            Kind::Real { cluster, .. } => drop(cluster.add_node(&name, gpus)),
        }
        json!({
            "nodeSelector": { "testbed.runner/node": name },
            "tolerations": [{ "key": "testbed.runner/node", "operator": "Exists" }],
        })
    }

    /// The kubeconfig of somebody who may do nothing yet.
    pub fn user(&self, name: &str) -> PathBuf {
        match &self.kind {
            Kind::Lab { lab, .. } => lab.user(name, None).unwrap(),
            Kind::Real { cluster, .. } => cluster.user(name, 3600),
        }
    }

    /// One request. `@` in the path is this namespace.
    pub async fn ask(&self, method: &str, path: &str, kind: Option<&str>, body: Option<&Value>) -> Said {
        ask(&self.client, method, &path.replace('@', &self.namespace), kind, body).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None, None).await.expect(200)
    }

    /// A server-side apply of an object, which says where it belongs.
    pub async fn apply(&self, manager: &str, object: &Value, query: &str) -> Said {
        let path = format!("{}?fieldManager={manager}{query}", self.path(object));
        self.ask("PATCH", &path, Some("application/apply-patch+yaml"), Some(object)).await
    }

    /// Where an object is.
    pub fn path(&self, object: &Value) -> String {
        let version = object["apiVersion"].as_str().unwrap();
        let kind = object["kind"].as_str().unwrap().to_lowercase();
        let plural = if kind.ends_with('s') { format!("{kind}es") } else { format!("{kind}s") };
        let root = if version.contains('/') { "apis" } else { "api" };
        let name = object["metadata"]["name"].as_str().unwrap();
        let free =
            ["namespaces", "nodes", "customresourcedefinitions", "runtimeclasses", "persistentvolumes"];
        if free.contains(&plural.as_str()) {
            format!("/{root}/{version}/{plural}/{name}")
        } else {
            format!("/{root}/{version}/namespaces/{}/{plural}/{name}", self.namespace)
        }
    }

    /// Waits until what is at a path is as it shall be.
    #[track_caller]
    pub fn until<'a>(
        &'a self,
        what: &'a str,
        path: &'a str,
        holds: impl Fn(&Value) -> bool + 'a,
    ) -> impl Future<Output = Value> + 'a {
        let at = std::panic::Location::caller();
        async move {
            for _ in 0..1200 {
                let said = self.ask("GET", path, None, None).await;
                if holds(&said.body) {
                    return said.body;
                }
                // The condition is waited for; this only keeps the server from being asked without end.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let last = self.ask("GET", path, None, None).await;
            panic!("{at}: never: {what}; last: {:#}", last.body)
        }
    }
}

/// A client as the kubeconfig says.
pub async fn client(kubeconfig: &Path) -> Client {
    let read = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// One request of this client.
pub async fn ask(
    client: &Client,
    method: &str,
    path: &str,
    kind: Option<&str>,
    body: Option<&Value>,
) -> Said {
    let mut request = Request::builder().method(method).uri(path).header("accept", "application/json");
    let bytes =
        body.map(|body| body.as_str().map_or_else(|| body.to_string(), str::to_owned)).unwrap_or_default();
    if body.is_some() {
        request = request.header("content-type", kind.unwrap_or("application/json"));
    }
    let answer = client.send(request.body(Body::from(bytes.into_bytes())).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let warning = parts.headers.get("warning").map(|value| value.to_str().unwrap().to_owned());
    Said { status: parts.status.as_u16(), warning, body }
}

/// Takes a test for both servers.
#[macro_export]
macro_rules! both {
    ($($(#[$meta:meta])* async fn $name:ident($served:ident) $body:block)*) => {
        $($(#[$meta])* async fn $name($served: &support::both::Served) $body)*

        mod the_lab {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(served) = super::support::both::Served::lab().await {
                    super::$name(&served).await;
                }
            })*
        }

        mod the_real_one {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(served) = super::support::both::Served::real().await {
                    super::$name(&served).await;
                }
            })*
        }
    };
}
