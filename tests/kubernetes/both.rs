//! Goal: the lab's Kubernetes is like a real one. Method: one suite, run against the lab's API and against the real control
//! plane of `tests/testbed/`, so that the lab cannot drift; and what a real one was recorded to answer is played to both.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::{both, support};

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::both::{Served, ask, client};

fn exchanges(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kubernetes").join(name);
    let read: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    read["exchanges"].as_array().unwrap().clone()
}

/// What was allotted, and so differs, is taken out.
fn allotted(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(table) = spec.as_object_mut() {
        for name in ["clusterIP", "clusterIPs", "volumeName"] {
            table.remove(name);
        }
        for port in table.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            port.as_object_mut().unwrap().remove("nodePort");
        }
    }
    spec
}

/// As text, without what is a server's own: what its parser says of bad syntax, and differences in Go's notation.
fn own_words(value: &Value) -> String {
    fn plain(value: &Value) -> Value {
        match value {
            Value::String(text) if text.contains("error decoding YAML") => "error decoding YAML".into(),
            Value::String(text) if text.contains("is immutable after creation") => {
                text.split('\n').next().unwrap().into()
            }
            Value::Array(items) => items.iter().map(plain).collect(),
            Value::Object(table) => table.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
            other => other.clone(),
        }
    }
    plain(value).to_string()
}

/// Plays what was recorded, with this namespace for the recorded one, and compares.
async fn play(served: &Served, name: &str, recorded: &str) {
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for exchange in exchanges(name) {
        let (case, request, want) =
            (exchange["case"].as_str().unwrap(), &exchange["request"], &exchange["want"]);
        let home = |text: &str| {
            text.replace(&format!("namespaces/{recorded}"), &format!("namespaces/{}", served.namespace))
        };
        let mut body = request.get("body").map(|body| {
            let mut body = body.clone();
            if body["metadata"]["namespace"] == recorded {
                body["metadata"]["namespace"] = served.namespace.as_str().into();
            }
            if let Some(version) = body["metadata"]["resourceVersion"].as_str() {
                body["metadata"]["resourceVersion"] = versions[version].as_str().into();
            }
            body
        });
        if let Some(size) =
            body.as_ref().and_then(|body| body["data"]["x"].as_str()).filter(|text| text.contains("bytes of"))
        {
            let size: usize = size.trim_start_matches('(').split(' ').next().unwrap().parse().unwrap();
            body.as_mut().unwrap()["data"]["x"] = "a".repeat(size).into();
        }
        let path = home(request["path"].as_str().unwrap());
        let kind = request["type"].as_str();
        let said = served.ask(request["method"].as_str().unwrap(), &path, kind, body.as_ref()).await;
        let mut differs = |what: &str, is: &Value, wanted: &Value| {
            if is != wanted {
                wrong.push(format!("{case}: {what}\n   is     {is}\n   wanted {wanted}"));
            }
        };
        differs("status", &json!(said.status), &want["status"]);
        if let Some(refusal) = want.get("refusal") {
            for part in ["reason", "message", "details"] {
                let wanted = own_words(&refusal[part]);
                let wanted = Value::String(
                    wanted.replace(&format!("({recorded}/"), &format!("({}/", served.namespace)).replace(
                        &format!("namespace {recorded} "),
                        &format!("namespace {} ", served.namespace),
                    ),
                );
                let is = Value::String(own_words(&said.body[part]));
                differs(part, &is, &wanted);
            }
            continue;
        }
        if said.status >= 300 || !said.body.is_object() {
            continue;
        }
        if let (Some(old), Some(new)) =
            (want["version"].as_str(), said.body["metadata"]["resourceVersion"].as_str())
        {
            versions.insert(old.to_owned(), new.to_owned());
        }
        if let Some(generation) = want.get("generation") {
            differs("generation", &said.body["metadata"]["generation"], generation);
        }
        if let Some(warning) = want.get("warning") {
            differs("warning", &json!(said.warning), warning);
        }
        for part in ["spec", "data"] {
            differs(part, &allotted(&said.body[part]), &allotted(&want[part]));
        }
        if let Some(managers) = want["managers"].as_array() {
            let mut all = BTreeMap::new();
            for one in said.body["metadata"]["managedFields"].as_array().into_iter().flatten() {
                if one["subresource"].is_null() {
                    let name =
                        one["manager"].as_str().unwrap().replace("kube-controller-manager", "recorder");
                    all.insert(format!("{name} {}", one["operation"]), one["fieldsV1"].clone());
                }
            }
            for one in managers {
                let key = format!("{} {}", one["manager"].as_str().unwrap(), one["operation"]);
                differs(&format!("fields of {key}"), all.get(&key).unwrap_or(&Value::Null), &one["fieldsV1"]);
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn deployment(name: &str, annotations: Value, more: Value) -> Value {
    let mut pod = json!({ "containers": [{ "name": "main", "image": "ghcr.io/some/thing:1.2" }] });
    for (key, value) in more.as_object().into_iter().flatten() {
        if key == "container" {
            for (key, value) in value.as_object().unwrap() {
                pod["containers"][0][key] = value.clone();
            }
        } else {
            pod[key] = value.clone();
        }
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name }, "annotations": annotations }, "spec": pod },
        },
    })
}

fn config(name: &str, data: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data })
}

const PODS: &str = "/api/v1/namespaces/@/pods";

fn available(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && object["status"]["updatedReplicas"] == object["spec"]["replicas"]
        && object["status"]["availableReplicas"] == object["spec"]["replicas"]
}

fn scheduled(pods: &Value) -> Option<&Value> {
    let conditions = pods["items"][0]["status"]["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == "PodScheduled")
}

both! {
    async fn what_was_recorded_of_applies_is_answered(served) {
        play(served, "apply.json", "frigate").await;
    }

    async fn an_object_that_is_applied_again_is_the_same(served) {
        let object = config("a", json!({ "x": "1" }));
        let made = served.apply("runner", &object, "").await.expect(201);
        let same = served.apply("runner", &object, "").await.expect(200);
        assert_eq!(made["metadata"]["resourceVersion"], same["metadata"]["resourceVersion"]);
        let dry = served.apply("runner", &config("a", json!({ "x": "2" })), "&dryRun=All").await.expect(200);
        assert_eq!(dry["data"]["x"], "2");
        assert_eq!(served.get(&served.path(&object)).await["data"]["x"], "1");
        // What is no longer applied goes, unless somebody else has it.
        served.apply("runner", &config("a", json!({ "x": "1", "y": "1" })), "").await.expect(200);
        served.apply("other", &config("a", json!({ "y": "1" })), "").await.expect(200);
        let left = served.apply("runner", &config("a", json!({})), "").await.expect(200);
        assert_eq!(left["data"], json!({ "y": "1" }));
    }

    async fn who_changes_a_field_takes_it(served) {
        let object = config("a", json!({ "x": "1", "y": "1" }));
        let path = served.path(&object);
        served.apply("runner", &object, "").await.expect(201);
        let merge = Some("application/merge-patch+json");
        let change = json!({ "data": { "x": "2" } });
        served.ask("PATCH", &format!("{path}?fieldManager=person"), merge, Some(&change)).await.expect(200);
        let said = served.apply("runner", &object, "").await.expect(409);
        assert_eq!(said["message"], "Apply failed with 1 conflict: conflict with \"person\" using v1: .data.x");
        // Entries can be forgotten by who may write them.
        let json = Some("application/json-patch+json");
        let forget = json!([{ "op": "replace", "path": "/metadata/managedFields", "value": [{}] }]);
        let left = served.ask("PATCH", &path, json, Some(&forget)).await.expect(200);
        assert!(left["metadata"].get("managedFields").is_none(), "{left:#}");
        // Then what is there belongs to nobody who can be asked.
        let said = served.apply("runner", &object, "").await.expect(409);
        assert_eq!(said["message"], "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x");
        served.apply("runner", &object, "&force=true").await.expect(200);
        let test = json!([{ "op": "test", "path": "/data/x", "value": "9" }, { "op": "remove", "path": "/data/x" }]);
        served.ask("PATCH", &path, json, Some(&test)).await.expect(422);
    }

    async fn a_service_with_a_gpu_comes_up_and_goes(served) {
        let mut pod = served.node("gpu", 1);
        pod["runtimeClassName"] = json!("nvidia");
        pod["volumes"] = json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }]);
        pod["container"] = json!({
            "resources": { "limits": { "nvidia.com/gpu": "1" } },
            "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
        });
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        });
        let claimed = served.apply("runner", &claim, "").await.expect(201);
        assert_eq!((&claimed["status"]["phase"], &claimed["spec"]["storageClassName"]), (&json!("Pending"), &json!("local-path")));
        // An address that no other test of this cluster asks for.
        let number = served.namespace.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 200;
        let pinned = format!("192.0.2.{}", 20 + number);
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "web", "annotations": { "metallb.io/loadBalancerIPs": pinned } },
            "spec": { "type": "LoadBalancer", "selector": { "app": "web" }, "ports": [{ "port": 5000 }] },
        });
        served.apply("runner", &service, "").await.expect(201);
        let web = deployment("web", json!({}), pod.clone());
        served.apply("runner", &web, "").await.expect(201);
        served.until("it is available", &served.path(&web), available).await;
        let ip = "/status/loadBalancer/ingress/0/ip";
        served.until("it has its address", &served.path(&service), |one| one.pointer(ip) == Some(&json!(pinned))).await;
        served.until("the claim is bound", &served.path(&claim), |one| one["status"]["phase"] == "Bound").await;
        let pods = served.get(&format!("{PODS}?labelSelector=app%3Dweb")).await;
        let status = &pods["items"][0]["status"];
        let container = &status["containerStatuses"][0];
        assert!(container["imageID"].as_str().unwrap().starts_with("ghcr.io/some/thing@sha256:"), "{status:#}");
        let slices = "/apis/discovery.k8s.io/v1/namespaces/@/endpointslices?labelSelector=kubernetes.io/service-name%3Dweb";
        let behind = "/items/0/endpoints/0/addresses/0";
        served.until("the pod is behind the service", slices, |all| all.pointer(behind) == Some(&status["podIP"])).await;
        // A second pod finds no GPU.
        let mut more = web.clone();
        more["spec"]["replicas"] = json!(2);
        served.apply("runner", &more, "").await.expect(200);
        let lacks = |pods: &Value| {
            pods["items"].as_array().into_iter().flatten().any(|pod| pod.to_string().contains("Insufficient nvidia.com/gpu"))
        };
        served.until("there is no second GPU", &format!("{PODS}?labelSelector=app%3Dweb"), lacks).await;
        // From the bottom up, and the data stays.
        let options = json!({ "propagationPolicy": "Foreground" });
        served.ask("DELETE", &served.path(&web), None, Some(&options)).await.expect(200);
        served.until("it is gone", &served.path(&web), |one| one["code"] == 404).await;
        assert_eq!(served.get("/apis/apps/v1/namespaces/@/replicasets").await["items"], json!([]));
        assert_eq!(served.get(&served.path(&claim)).await["status"]["phase"], "Bound");
        served.ask("DELETE", &served.path(&claim), None, None).await.expect(200);
        served.until("the claim is gone", &served.path(&claim), |one| one["code"] == 404).await;
    }

    async fn a_template_that_changes_is_rolled_out_anew(served) {
        let mut web = deployment("web", json!({}), json!({}));
        web["spec"]["strategy"] = json!({ "type": "Recreate" });
        served.apply("runner", &web, "").await.expect(201);
        served.until("it is available", &served.path(&web), available).await;
        web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/some/thing:1.3");
        let changed = served.apply("runner", &web, "").await.expect(200);
        assert_eq!(changed["metadata"]["generation"], 2);
        assert!(!available(&changed), "the answer carries the old status: {:#}", changed["status"]);
        let done = served.until("it is available again", &served.path(&web), available).await;
        assert_eq!(done["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
        let scale = format!("{}/scale", served.path(&web));
        let none = json!({ "spec": { "replicas": 0 } });
        served.ask("PATCH", &scale, Some("application/merge-patch+json"), Some(&none)).await.expect(200);
        let rests = |one: &Value| {
            one["status"]["observedGeneration"] == one["metadata"]["generation"] && one["status"]["replicas"].is_null()
        };
        let none = served.until("nothing runs", &served.path(&web), rests).await;
        let conditions = none["status"]["conditions"].as_array().unwrap();
        let available = conditions.iter().find(|one| one["type"] == "Available").unwrap();
        assert_eq!(available["status"], "True", "a Deployment of nothing is available");
    }

    async fn each_failure_is_seen_where_it_is_seen_in_life(served) {
        let waiting = "/items/0/status/containerStatuses/0/state/waiting/reason";
        for (how, reason) in [("image-pull", "ImagePullBackOff"), ("crash-loop", "CrashLoopBackOff"), ("creating", "ContainerCreating")] {
            served.apply("runner", &deployment(how, json!({ "testbed.runner/fail": how }), json!({})), "").await.expect(201);
            let pods = format!("{PODS}?labelSelector=app%3D{how}");
            served.until(reason, &pods, |pods| pods.pointer(waiting) == Some(&json!(reason))).await;
        }
        let missing = json!({ "container": { "env": [{ "name": "P", "valueFrom": { "secretKeyRef": { "name": "keys", "key": "p" } } }] } });
        served.apply("runner", &deployment("lacks", json!({}), missing), "").await.expect(201);
        let pods = format!("{PODS}?labelSelector=app%3Dlacks");
        served.until("its secret is missing", &pods, |pods| pods.pointer(waiting) == Some(&json!("CreateContainerConfigError"))).await;
        let class = deployment("class", json!({}), json!({ "runtimeClassName": "nowhere" }));
        served.apply("runner", &class, "").await.expect(201);
        let seen = served
            .until("its pods are refused", &served.path(&class), |one| one["status"].to_string().contains("ReplicaFailure"))
            .await;
        assert!(seen["status"].to_string().contains("RuntimeClass \\\"nowhere\\\" not found"), "{:#}", seen["status"]);
        let greedy = deployment("greedy", json!({}), json!({ "container": { "resources": { "limits": { "nvidia.com/gpu": "200" } } } }));
        served.apply("runner", &greedy, "").await.expect(201);
        let pods = format!("{PODS}?labelSelector=app%3Dgreedy");
        let none = |pods: &Value| scheduled(pods).is_some_and(|one| one["reason"] == "Unschedulable");
        let pods = served.until("no node has that many", &pods, none).await;
        let message = scheduled(&pods).unwrap()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("Insufficient nvidia.com/gpu"), "{message}");
    }

    async fn a_rollout_that_does_not_get_on_says_so(served) {
        let fails = served.fail("Pod", "slow", "never-ready");
        let mut slow = deployment("slow", json!({}), json!({}));
        slow["spec"]["progressDeadlineSeconds"] = json!(2);
        served.apply("runner", &slow, "").await.expect(201);
        served.until("the deadline", &served.path(&slow), |one| one["status"].to_string().contains("ProgressDeadlineExceeded")).await;
        drop(fails);
        served.until("it is available", &served.path(&slow), available).await;
    }

    async fn addresses_are_pinned_pending_or_somebody_elses(served) {
        let number = served.namespace.bytes().fold(3_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 200;
        let pinned = format!("203.0.113.{}", 20 + number);
        let service = |name: &str| json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "annotations": { "metallb.io/loadBalancerIPs": pinned } },
            "spec": { "type": "LoadBalancer", "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
        });
        let ip = |one: &Value| one.pointer("/status/loadBalancer/ingress/0/ip").cloned();
        served.apply("runner", &service("a"), "").await.expect(201);
        served.until("it is there", &served.path(&service("a")), |one| ip(one) == Some(json!(pinned))).await;
        served.apply("runner", &service("b"), "").await.expect(201);
        served
            .until("it is taken", "/api/v1/namespaces/@/events", |all| all.to_string().contains("address also in use by another service"))
            .await;
        assert_eq!(ip(&served.get(&served.path(&service("b"))).await), None);
        let held = served.fail("Service", "a", "pending");
        served.until("it is given back", &served.path(&service("a")), |one| ip(one).is_none()).await;
        drop(held);
    }

    async fn logs_are_what_was_written(served) {
        let lines = json!({ "testbed.runner/logs": "one\ntwo\nthree" });
        let web = deployment("web", lines, json!({}));
        served.apply("runner", &web, "").await.expect(201);
        served.until("it is available", &served.path(&web), available).await;
        let pods = served.get(&format!("{PODS}?labelSelector=app%3Dweb")).await;
        let pod = format!("{PODS}/{}", pods["items"][0]["metadata"]["name"].as_str().unwrap());
        assert_eq!(served.get(&format!("{pod}/log")).await, "one\ntwo\nthree\n");
        assert_eq!(served.get(&format!("{pod}/log?tailLines=1")).await, "three\n");
        let before = served.ask("GET", &format!("{pod}/log?previous=true"), None, None).await.expect(400);
        assert!(before["message"].as_str().unwrap().contains("previous terminated container \"main\""), "{before:#}");
    }

    async fn what_rules_refuse_is_refused(served) {
        let mut object = config("a", json!({}));
        object["metadata"]["labels"] = json!({ "testbed.runner/refuse": "yes" });
        for query in ["", "&dryRun=All"] {
            let said = served.apply("runner", &object, query).await.expect(403);
            let words = "admission webhook \"object.refuse.testbed.runner\" denied the request: the house rules refuse ConfigMap a";
            assert_eq!(said["message"], words);
        }
    }

    async fn rights_are_those_of_roles(served) {
        let name = format!("reader-{}", served.namespace);
        let reader = client(&served.user(&name)).await;
        let path = format!("/api/v1/namespaces/{}/configmaps", served.namespace);
        let said = ask(&reader, "GET", &path, None, None).await.expect(403);
        let words = format!(
            "configmaps is forbidden: User \"{name}\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"{}\"",
            served.namespace
        );
        assert_eq!(said["message"], words.as_str());
        let may = |verb: &str| json!({ "spec": { "resourceAttributes": {
            "namespace": served.namespace, "verb": verb, "resource": "configmaps",
        } } });
        let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        assert_eq!(ask(&reader, "POST", reviews, None, Some(&may("list"))).await.expect(201)["status"]["allowed"], false);
        let rbac = "rbac.authorization.k8s.io";
        let rules = json!([{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"] }]);
        let role = json!({ "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": { "name": "r" }, "rules": rules });
        let binding = json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": { "name": "r" },
            "subjects": [{ "kind": "User", "apiGroup": rbac, "name": name }],
            "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "r" },
        });
        served.apply("runner", &role, "").await.expect(201);
        served.apply("runner", &binding, "").await.expect(201);
        let mut allowed = false;
        for _ in 0..2_400 {
            allowed = ask(&reader, "GET", &path, None, None).await.status == 200;
            if allowed {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert!(allowed, "the authorizer learns of the role soon");
        assert_eq!(ask(&reader, "POST", reviews, None, Some(&may("list"))).await.expect(201)["status"]["allowed"], true);
        assert_eq!(ask(&reader, "POST", reviews, None, Some(&may("delete"))).await.expect(201)["status"]["allowed"], false);
    }

    async fn a_namespace_on_its_way_out_takes_nothing_more(served) {
        let mut held = config("held", json!({}));
        held["metadata"]["finalizers"] = json!(["example.org/held"]);
        served.apply("runner", &held, "").await.expect(201);
        let home = "/api/v1/namespaces/@";
        let going = served.ask("DELETE", home, None, None).await.expect(200);
        assert_eq!(going["status"]["phase"], "Terminating");
        for said in [
            served.apply("runner", &config("late", json!({})), "").await,
            served.ask("POST", "/api/v1/namespaces/@/configmaps", None, Some(&config("late", json!({})))).await,
        ] {
            let said = said.expect(403);
            assert_eq!(said["details"]["causes"][0]["reason"], "NamespaceTerminating", "{said:#}");
        }
        let free = json!({ "metadata": { "finalizers": null } });
        let merge = Some("application/merge-patch+json");
        served.until("it is to go too", &served.path(&held), |one| one["metadata"]["deletionTimestamp"].is_string()).await;
        served.ask("PATCH", &served.path(&held), merge, Some(&free)).await.expect(200);
        served.until("it is gone", home, |one| one["code"] == 404).await;
    }

    async fn commands_run_in_containers(served) {
        use kube::Api;
        use kube::api::AttachParams;
        use tokio::io::AsyncReadExt;
        use tokio::io::AsyncWriteExt;

        let web = deployment("web", json!({}), json!({}));
        served.apply("runner", &web, "").await.expect(201);
        served.until("it is available", &served.path(&web), available).await;
        let pods = served.get(&format!("{PODS}?labelSelector=app%3Dweb")).await;
        let name = pods["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(served.client.clone(), &served.namespace);
        let params = AttachParams { stdin: true, ..AttachParams::default() };
        let mut process = api.exec(&name, ["cat"], &params).await.unwrap();
        let status = process.take_status().unwrap();
        let (mut input, mut output) = (process.stdin().unwrap(), process.stdout().unwrap());
        input.write_all(b"in and out").await.unwrap();
        input.shutdown().await.unwrap();
        let mut text = String::new();
        output.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "in and out");
        assert_eq!(status.await.unwrap().status.as_deref(), Some("Success"));
        let mut process = api.exec(&name, ["sh", "-c", "exit 5"], &AttachParams::default()).await.unwrap();
        let status = process.take_status().unwrap().await.unwrap();
        let causes = status.details.unwrap().causes.unwrap();
        assert_eq!((causes[0].reason.as_deref(), causes[0].message.as_deref()), (Some("ExitCode"), Some("5")));
        assert!(api.exec("nobody", ["true"], &AttachParams::default()).await.is_err());
    }

    async fn a_watch_tells_what_changes(served) {
        let first = served.apply("runner", &config("a", json!({ "x": "1" })), "").await.expect(201);
        let version = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        served.apply("runner", &config("a", json!({ "x": "2" })), "").await.expect(200);
        served.apply("runner", &config("b", json!({})), "").await.expect(201);
        served.ask("DELETE", &served.path(&config("a", json!({}))), None, None).await.expect(200);
        let path = format!("/api/v1/namespaces/@/configmaps?watch=1&resourceVersion={version}&timeoutSeconds=2&allowWatchBookmarks=true");
        let said = served.ask("GET", &format!("{path}&fieldSelector=metadata.name%3Da"), None, None).await;
        let text = said.body.as_str().map(str::to_owned).unwrap_or_else(|| said.body.to_string());
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).filter(|what| *what != "BOOKMARK").collect();
        assert_eq!(told, ["MODIFIED", "DELETED"], "{text}");
        assert_eq!(events[0]["object"]["data"]["x"], "2");
        let said = served.ask("GET", "/api/v1/namespaces/@/configmaps?watch=1&resourceVersion=abc", None, None).await;
        assert_eq!((said.status, said.body["reason"].is_null()), (500, true), "{:#}", said.body);
    }

    async fn kinds_can_be_added(served) {
        let group = format!("{}.example.org", served.namespace);
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("cameras.{group}") },
            "spec": {
                "group": group, "scope": "Namespaced", "names": { "plural": "cameras", "singular": "camera", "kind": "Camera" },
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
                }],
            },
        });
        served.apply("runner", &definition, "").await.expect(201);
        let camera = json!({ "apiVersion": format!("{group}/v1"), "kind": "Camera", "metadata": { "name": "yard" }, "spec": { "fps": 5 } });
        let mut made = served.apply("runner", &camera, "").await;
        for _ in 0..2_400 {
            if made.status != 404 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            made = served.apply("runner", &camera, "").await;
        }
        assert_eq!(made.expect(201)["metadata"]["generation"], 1);
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
        let status = format!("{}/status", served.path(&camera));
        let said = served.ask("PATCH", &status, Some("application/merge-patch+json"), Some(&ready)).await.expect(200);
        assert_eq!((&said["metadata"]["generation"], &said["spec"]["fps"]), (&json!(1), &json!(5)));
        served.ask("DELETE", &served.path(&definition), None, None).await.expect(200);
    }
}
