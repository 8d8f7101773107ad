//! Goal: `kubernetes.apply` does, proves and takes back what it says, on a real API server. Method: the control plane of
//! `tests/testbed/` (or the cluster of `RUNNER_TEST_KUBECONFIG`), looked at with the real `kubectl`; each test has a
//! namespace of its own.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

mod access;
mod actions;
mod apply;
mod both;
mod bulk;
mod runs;
mod testbed;
mod worlds;

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use runner::action::{Call, PreImage};
use runner::plan::manifests::joined;
use runner::plan::recorded;
use runner::saga::{Answer, Direction, Outcome};
use serde_json::{Map, Value, json};
use support::cluster::{Cluster, Namespace};
use support::world::{World, acted};

/// A way to the cluster and a namespace in it.
struct Scene {
    world: World,
    ns: Namespace,
}

impl Scene {
    fn new(name: &str) -> Option<Self> {
        let cluster = Cluster::shared()?;
        let ns = cluster.namespace(name);
        Some(Self::over(cluster.kubeconfig(), ns))
    }

    fn over(kubeconfig: &Path, ns: Namespace) -> Self {
        let mut world = World::new();
        let kubeconfig = Some(kubeconfig.display().to_string());
        world.places.clusters.insert("home".to_owned(), recorded::Cluster { context: None, kubeconfig });
        Self { world, ns }
    }

    /// A call that applies `manifests` in the scene's namespace, with more fields.
    fn call(&self, step: &str, attempt: u32, manifests: &str, more: Value) -> Call {
        let mut operation = json!({
            "name": "kubernetes.apply", "cluster": "home", "manifests": "/m", "namespace": self.ns.name,
            "give_up_after": "1s",
        });
        operation.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut call = self.world.call(step, attempt, operation);
        call.bodies =
            Arc::new(BTreeMap::from([("/m".to_owned(), joined(&[("m.yaml".to_owned(), manifests.into())]))]));
        call
    }

    async fn probe(&self, step: &str, manifests: &str) -> Answer {
        self.world.actions.probe(self.call(step, 0, manifests, json!({}))).await
    }

    async fn pre_image(&self, step: &str, manifests: &str) -> PreImage {
        self.world.actions.pre_image(self.call(step, 0, manifests, json!({}))).await.unwrap()
    }

    async fn act(&self, step: &str, manifests: &str) -> Map<String, Value> {
        acted(self.world.actions.act(self.call(step, 1, manifests, json!({}))).await).0
    }

    async fn undo(&self, step: &str, manifests: &str, pre_image: &PreImage) -> Map<String, Value> {
        let mut call = self.call(step, 1, manifests, json!({}));
        call.key.direction = Direction::Compensation;
        acted(self.world.actions.undo(call, pre_image.clone()).await).0
    }

    /// One attempt of another action on the cluster.
    async fn other(&self, step: &str, attempt: u32, mut operation: Value) -> Outcome {
        operation["cluster"] = json!("home");
        self.world.actions.act(self.world.call(step, attempt, operation)).await
    }

    /// Everything that a test made, as the server gives it, without its bookkeeping.
    fn objects(&self) -> BTreeMap<String, Value> {
        self.of("configmaps,secrets,services,persistentvolumeclaims,deployments,statefulsets,serviceaccounts")
    }

    fn of(&self, kinds: &str) -> BTreeMap<String, Value> {
        let all: Value =
            serde_json::from_str(&self.ns.kubectl(&format!("get {kinds} -o json")).expect(0).out).unwrap();
        let named = all["items"].as_array().unwrap().iter().map(|object| {
            let name = format!(
                "{} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap()
            );
            let mut object = object.clone();
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            for key in ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"] {
                metadata.remove(key);
            }
            (name, object)
        });
        named.filter(|(name, _)| !name.ends_with("kube-root-ca.crt") && !name.ends_with(" default")).collect()
    }

    /// Who owns anything of an object.
    fn managers(&self, object: &str) -> Vec<String> {
        let words = format!("get {object} -o json --show-managed-fields");
        let object: Value = serde_json::from_str(&self.ns.kubectl(&words).expect(0).out).unwrap();
        let mut names: Vec<String> = object["metadata"]["managedFields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["manager"].as_str().map(str::to_owned))
            .collect();
        names.sort();
        names
    }
}

fn scene(name: &str) -> Option<Scene> {
    Scene::new(name)
}

/// One that can be told to fail.
fn played(name: &str) -> Option<(Scene, &'static Cluster)> {
    let cluster = Cluster::shared()?;
    cluster.ready()?;
    Some((scene(name)?, cluster))
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { k: new, more: x }\n";

/// A Deployment of one pod, with more fields of its pod's metadata, pod and container in flow style.
fn deployment(name: &str, metadata: &str, pod: &str, container: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec:\n  \
         selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n    \
         metadata: {{ labels: {{ app: {name} }}, {metadata} }}\n    \
         spec: {{ {pod} containers: [{{ name: main, image: 'ghcr.io/some/thing:1.2', {container} }}] }}\n"
    )
}

/// Tells the played node how such a pod fails.
fn failing(how: &str) -> String {
    format!("annotations: {{ testbed.runner/fail: {how} }}")
}
