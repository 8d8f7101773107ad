//! Lines at a cluster: the lab's, whose API is held to a real one in `kubernetes_both.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use runner::action::Call;
use runner::plan::manifests::joined;
use runner::plan::recorded;
use serde_json::{Value, json};

use super::engine::{Line, Place, keep};
use super::support::both::Served;
use super::support::world::World;
use super::wire::{Wire, changes};

/// One line adds an action.
pub fn lines() -> Vec<Line<()>> {
    let of = |mut fields: Value| {
        fields["cluster"] = json!("home");
        fields
    };
    let apply =
        json!({ "manifests": "/m", "namespace": "frigate", "force_conflicts": true, "give_up_after": "1s" });
    vec![
        Line::new(
            "kubernetes.scale",
            "to none",
            of(json!({ "deployment": "frigate/web", "replicas": 0 })),
            (),
        ),
        Line::new("kubernetes.delete", "a Service", of(json!({ "object": "Service frigate/web" })), ()),
        Line::new("kubernetes.delete", "a Deployment", of(json!({ "object": "Deployment frigate/web" })), ()),
        Line::new("kubernetes.apply", "one changed, one new", of(apply), ()),
    ]
}

/// What is applied: a ConfigMap that is another one's, and a Service that is not there.
const MANIFESTS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: settings }\ndata: { k: new, more: x }\n---\n\
                         apiVersion: v1\nkind: Service\nmetadata: { name: other }\nspec: { selector: { app: web }, ports: [{ port: 81 }] }\n";

struct Home {
    served: Served,
    world: World,
    wire: Wire,
    objects: Vec<Value>,
}

impl Home {
    async fn start() -> Option<Self> {
        let served = Served::lab().await?;
        let objects = vec![
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
                "spec": {
                    "replicas": 1, "selector": { "matchLabels": { "app": "web" } },
                    "template": {
                        "metadata": { "labels": { "app": "web" } },
                        "spec": { "containers": [{ "name": "main", "image": "ghcr.io/some/thing:1.2" }] },
                    },
                },
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "labels": { "a": "b" } },
                "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
            }),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" }, "data": { "k": "old" } }),
        ];
        for object in &objects {
            served.apply("owner", object, "").await.expect(201);
        }
        // The same kubeconfig, by way of the wire.
        let url = served.lab_itself().url().to_owned();
        let wire = Wire::to(url.rsplit(':').next().unwrap().parse().unwrap(), changes);
        let mut world = World::new();
        let kubeconfig = world.path("kubeconfig");
        let text = std::fs::read_to_string(served.kubeconfig()).unwrap().replace(&url, &wire.url());
        std::fs::write(&kubeconfig, text).unwrap();
        let kubeconfig = Some(kubeconfig);
        world.places.clusters.insert("home".to_owned(), recorded::Cluster { context: None, kubeconfig });
        Some(Self { served, world, wire, objects })
    }
}

/// What of an object is wanted, and by whom: without the server's bookkeeping.
fn wanted(mut object: Value) -> Value {
    object.as_object_mut().unwrap().remove("status");
    let meta = object["metadata"].as_object_mut().unwrap();
    for key in ["resourceVersion", "uid", "generation", "creationTimestamp"] {
        meta.remove(key);
    }
    if let Some(notes) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
        notes.remove("deployment.kubernetes.io/revision");
    }
    meta.retain(|key, value| key != "annotations" || *value != json!({}));
    let mut owners: Vec<String> = meta["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["subresource"].is_null())
        // Who scaled it last owns the number of its pods, as after `kubectl scale`.
        .map(|entry| {
            format!("{} {} {}", entry["manager"], entry["operation"], entry["fieldsV1"])
                .replace("\"f:replicas\":{},", "")
        })
        .collect();
    owners.sort();
    meta.insert("managedFields".to_owned(), owners.into());
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        for key in ["clusterIP", "clusterIPs"] {
            spec.remove(key);
        }
    }
    object
}

impl Place for Home {
    type Before = ();
    type Cutter = Wire;

    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    fn cutter(&self) -> &Wire {
        &self.wire
    }

    fn fill(&self, operation: &Value) -> Value {
        operation.clone()
    }

    fn dress(&self, call: &mut Call) {
        let manifests = joined(&[("m.yaml".to_owned(), MANIFESTS.into())]);
        call.bodies = Arc::new(BTreeMap::from([("/m".to_owned(), manifests)]));
    }

    async fn reset(&self, (): &()) -> bool {
        false
    }

    /// Once every pod that shall run does, and no other.
    async fn state(&self) -> Value {
        let deployment = self.served.path(&self.objects[0]);
        self.served
            .until("the Deployment comes to rest", &deployment, |is| {
                let count = |pointer: &str| is.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
                is["kind"] != "Deployment" || count("/spec/replicas") == count("/status/availableReplicas")
            })
            .await;
        let mut all = serde_json::Map::new();
        let other = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "other" } });
        for object in self.objects.iter().chain([&other]) {
            let path = self.served.path(object);
            let said = self.served.ask("GET", &path, None, None).await;
            all.insert(path, if said.status == 200 { wanted(said.body) } else { Value::Null });
        }
        Value::Object(all)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_a_cluster() {
    if let Some(mut home) = Home::start().await {
        keep(&mut home, &lines()).await;
    }
}
