//! Goal: `kubernetes.scale`, `.delete`, `.restart` and `.exec` do, prove and take back what they say, and the checks
//! `kubernetes` and `gpu` see what is there. Method: every test against the lab's API and against the real control plane of
//! `tests/testbed/`.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::{both, support};

use std::time::Duration;

use runner::action::{Call, PreImage};
use runner::plan::recorded;
use runner::saga::{Answer, CutCause, Direction, FailureClass, Verdict};
use runner::transport::Stop;
use serde_json::{Map, Value, json};
use support::both::Served;
use support::world::{World, acted, cut, failed};

/// A way to the cluster.
struct Scene<'a> {
    world: World,
    served: &'a Served,
}

impl<'a> Scene<'a> {
    fn new(served: &'a Served) -> Self {
        let mut world = World::new();
        let kubeconfig = Some(served.kubeconfig().display().to_string());
        world.places.clusters.insert("home".to_owned(), recorded::Cluster { context: None, kubeconfig });
        Self { world, served }
    }

    /// `@` in a text is the namespace.
    fn operation(&self, name: &str, fields: &Value) -> Value {
        let text = fields.to_string().replace('@', &self.served.namespace);
        let mut operation: Value = serde_json::from_str(&text).unwrap();
        operation["name"] = name.into();
        operation["cluster"] = "home".into();
        operation
    }

    fn call(&self, attempt: u32, name: &str, fields: &Value) -> Call {
        self.world.call("s", attempt, self.operation(name, fields))
    }

    async fn act(&self, attempt: u32, name: &str, fields: Value) -> Map<String, Value> {
        acted(self.world.actions.act(self.call(attempt, name, &fields)).await).0
    }

    async fn probe(&self, name: &str, fields: Value) -> Verdict {
        self.world.actions.probe(self.call(0, name, &fields)).await.verdict
    }

    async fn pre_image(&self, name: &str, fields: Value) -> PreImage {
        self.world.actions.pre_image(self.call(0, name, &fields)).await.unwrap()
    }

    async fn undo(&self, attempt: u32, name: &str, fields: Value, pre_image: &PreImage) {
        let mut call = self.call(attempt, name, &fields);
        call.key.direction = Direction::Compensation;
        acted(self.world.actions.undo(call, pre_image.clone()).await);
    }

    async fn look(&self, check: &str, fields: Value) -> Answer {
        let mut look = self.world.look(self.operation(check, &fields));
        // The world takes `name` for that of the check.
        if let Some(name) = fields.get("name") {
            look.operation.fields.insert("name".to_owned(), name.clone());
        }
        self.world.checks.look(look).await
    }

    #[track_caller]
    fn sees(
        &self,
        check: &'static str,
        fields: Value,
        verdict: Verdict,
        words: &'static str,
    ) -> impl Future<Output = Answer> {
        let at = std::panic::Location::caller();
        async move {
            let answer = self.look(check, fields.clone()).await;
            assert!(answer.verdict == verdict && answer.reason.contains(words), "{at}: {fields}: {answer:?}");
            answer
        }
    }

    /// A workload that is there.
    async fn web(&self, annotations: Value, container: Value) -> Value {
        let mut main = json!({ "name": "main", "image": "ghcr.io/some/thing:1.2" });
        for (key, value) in container.as_object().unwrap() {
            main[key] = value.clone();
        }
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "replicas": 1, "selector": { "matchLabels": { "app": "web" } },
                "template": { "metadata": { "labels": { "app": "web" }, "annotations": annotations }, "spec": { "containers": [main] } },
            },
        });
        self.served.apply("owner", &web, "").await.expect(201);
        self.served
            .until("it is available", &self.served.path(&web), |one| one["status"]["availableReplicas"] == 1)
            .await;
        web
    }
}

/// What of an object is wanted, and by whom: without the server's bookkeeping.
fn wanted(object: &Value) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove("status");
    let meta = object["metadata"].as_object_mut().unwrap();
    for key in ["resourceVersion", "uid", "generation", "creationTimestamp"] {
        meta.remove(key);
    }
    if let Some(notes) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
        notes.remove("deployment.kubernetes.io/revision");
    }
    meta.retain(|key, value| key != "annotations" || *value != json!({}));
    let owners: Vec<Value> = meta["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["subresource"].is_null())
        .map(|entry| json!({ "manager": entry["manager"], "operation": entry["operation"], "fieldsV1": entry["fieldsV1"] }))
        .collect();
    meta.insert("managedFields".to_owned(), owners.into());
    object
}

both! {
    async fn scaling_keeps_the_contract(served) {
        let scene = Scene::new(served);
        let web = scene.web(json!({}), json!({})).await;
        let path = served.path(&web);
        let name = "kubernetes.scale";
        let none = json!({ "deployment": "@/web", "replicas": 0 });
        let before = served.get(&path).await["spec"].clone();
        assert_eq!(scene.probe(name, none.clone()).await, Verdict::Absent);
        let pre_image = scene.pre_image(name, none.clone()).await;
        // Undoing nothing changes nothing.
        scene.undo(1, name, none.clone(), &pre_image).await;
        let untouched = served.get(&path).await;
        assert_eq!((&untouched["spec"], &untouched["metadata"]["generation"]), (&before, &json!(1)));
        scene.act(1, name, none.clone()).await;
        let pods = served.get("/api/v1/namespaces/@/pods?labelSelector=app%3Dweb").await;
        assert_eq!(pods["items"], json!([]), "nothing runs any more when it is done");
        assert_eq!(scene.probe(name, none.clone()).await, Verdict::Holds);
        scene.sees("kubernetes", json!({ "deployment": "@/web", "replicas": 0 }), Verdict::Holds, "as it shall be").await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "replicas": 1 }), Verdict::Absent, "is to have 0 pods, not 1").await;
        let generation = served.get(&path).await["metadata"]["generation"].clone();
        scene.act(2, name, none.clone()).await;
        assert_eq!(served.get(&path).await["metadata"]["generation"], generation, "twice is once");
        for attempt in 2..=3 {
            scene.undo(attempt, name, none.clone(), &pre_image).await;
            let back = served.get(&path).await;
            assert_eq!((&back["spec"], &back["status"]["availableReplicas"]), (&before, &json!(1)));
        }
        let nobody = json!({ "deployment": "@/nobody", "replicas": 1 });
        let (class, message, _) = failed(scene.world.actions.act(scene.call(4, name, &nobody)).await);
        assert!(class == FailureClass::Permanent && message.contains("nobody is not there"), "{message}");
    }

    async fn what_does_not_come_is_told_with_its_reason(served) {
        let scene = Scene::new(served);
        scene.web(json!({}), json!({})).await;
        let held = served.fail("Pod", "web", "image-pull");
        let mut call = scene.call(1, "kubernetes.scale", &json!({ "deployment": "@/web", "replicas": 2 }));
        call.timeout = Duration::from_secs(15);
        let (class, message, _) = failed(scene.world.actions.act(call).await);
        assert_eq!(class, FailureClass::Transient);
        assert!(message.contains("1/2 pods ready") && message.contains("ImagePullBackOff"), "{message}");
        drop(held);
        scene.act(2, "kubernetes.scale", json!({ "deployment": "@/web", "replicas": 2 })).await;
    }

    async fn a_restart_makes_new_pods(served) {
        let scene = Scene::new(served);
        scene.web(json!({}), json!({})).await;
        let pods = "/api/v1/namespaces/@/pods?labelSelector=app%3Dweb";
        let before = served.get(pods).await["items"][0]["metadata"]["uid"].clone();
        scene.act(1, "kubernetes.restart", json!({ "deployment": "@/web" })).await;
        served.until("only the new one is left", pods, |pods| pods["items"].as_array().unwrap().len() == 1).await;
        let after = served.get(pods).await["items"][0].clone();
        assert_ne!(after["metadata"]["uid"], before);
        assert!(after["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"].is_string());
    }

    async fn deleting_keeps_the_contract(served) {
        let scene = Scene::new(served);
        let web = scene.web(json!({}), json!({})).await;
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "labels": { "a": "b" } },
            "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80 }] },
        });
        served.apply("owner", &service, "").await.expect(201);
        let name = "kubernetes.delete";
        for (object, named) in [(&web, "Deployment @/web"), (&service, "svc @/web")] {
            let fields = json!({ "object": named });
            let path = served.path(object);
            let before = wanted(&served.get(&path).await);
            assert_eq!(scene.probe(name, fields.clone()).await, Verdict::Absent);
            let pre_image = scene.pre_image(name, fields.clone()).await;
            scene.undo(1, name, fields.clone(), &pre_image).await;
            assert_eq!(wanted(&served.get(&path).await), before, "undoing nothing changed something");
            scene.act(1, name, fields.clone()).await;
            assert_eq!(served.ask("GET", &path, None, None).await.status, 404);
            assert_eq!(scene.probe(name, fields.clone()).await, Verdict::Holds);
            scene.act(2, name, fields.clone()).await;
            for attempt in 2..=3 {
                scene.undo(attempt, name, fields.clone(), &pre_image).await;
                assert_eq!(wanted(&served.get(&path).await), before, "not as before");
            }
            // Its owner's next apply has no conflict and changes nothing.
            let again = served.get(&path).await;
            let applied = served.apply("owner", object, "").await.expect(200);
            assert_eq!(applied["metadata"]["generation"], again["metadata"]["generation"]);
        }
        served.until("it runs again", &served.path(&web), |one| one["status"]["availableReplicas"] == 1).await;
        // What was not there does not come back.
        let nothing = json!({ "object": "ConfigMap @/nothing" });
        let pre_image = scene.pre_image(name, nothing.clone()).await;
        scene.act(4, name, nothing.clone()).await;
        scene.undo(4, name, nothing, &pre_image).await;
        assert_eq!(served.ask("GET", "/api/v1/namespaces/@/configmaps/nothing", None, None).await.status, 404);
    }

    async fn data_is_deleted_only_when_the_step_says_so(served) {
        let scene = Scene::new(served);
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "media" },
            "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "immediate", "resources": { "requests": { "storage": "1Gi" } } },
        });
        served.apply("owner", &claim, "").await.expect(201);
        let path = served.path(&claim);
        served.until("it is bound", &path, |one| one["status"]["phase"] == "Bound").await;
        scene.sees("kubernetes", json!({ "object": "pvc @/media" }), Verdict::Holds, "as it shall be").await;
        for object in ["pvc @/media", "Namespace @"] {
            let (class, message, _) = failed(scene.world.actions.act(scene.call(1, "kubernetes.delete", &json!({ "object": object }))).await);
            assert!(class == FailureClass::Permanent && message.contains("nothing was deleted"), "{message}");
        }
        assert_eq!(served.get(&path).await["status"]["phase"], "Bound");
        let fields = json!({ "object": "pvc @/media", "delete_data": true });
        let pre_image = scene.pre_image("kubernetes.delete", fields.clone()).await;
        let volume = served.get(&path).await["spec"]["volumeName"].clone();
        scene.act(2, "kubernetes.delete", fields.clone()).await;
        scene.undo(2, "kubernetes.delete", fields, &pre_image).await;
        let back = served.until("a new volume", &path, |one| one["status"]["phase"] == "Bound").await;
        assert_ne!(back["spec"]["volumeName"], volume, "the claim comes back, what was stored does not");
    }

    async fn rights_are_asked_for_and_exactly_those_that_are_named_are_enough(served) {
        let scene = Scene::new(served);
        scene.web(json!({}), json!({})).await;
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": { "k": "v" } });
        served.apply("owner", &map, "").await.expect(201);
        let mut world = World::new();
        let kubeconfig = Some(served.user("helper").display().to_string());
        world.places.clusters.insert("home".to_owned(), recorded::Cluster { context: None, kubeconfig });
        let over = Scene { world, served };
        let mut rules = Vec::new();
        // Each with the rights that are missing still.
        for (name, fields, rights) in [
            ("kubernetes.scale", json!({ "deployment": "@/web", "replicas": 0 }), vec!["get deployments", "patch deployments/scale", "list pods"]),
            ("kubernetes.scale", json!({ "deployment": "@/web", "replicas": 1 }), vec![]),
            ("kubernetes.restart", json!({ "deployment": "@/web" }), vec!["patch deployments"]),
            ("kubernetes.exec", json!({ "deployment": "@/web", "argv": ["true"] }), vec!["get pods/exec", "create pods/exec"]),
            ("kubernetes.delete", json!({ "object": "ConfigMap @/a" }), vec!["get configmaps", "delete configmaps", "create configmaps", "patch configmaps"]),
        ] {
            let needs = over.world.actions.needs(over.call(0, name, &fields)).await;
            if !rights.is_empty() {
                let missing = needs[0].met.clone().unwrap_err();
                assert!(needs[0].what.contains("for step `s`"), "{needs:?}");
                assert_eq!(missing.matches("may not").count(), rights.len(), "{missing}");
                for right in &rights {
                    let (verb, resource) = right.split_once(' ').unwrap();
                    let group = if resource.starts_with("deployments") { "apps" } else { "" };
                    let grant = format!("apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [\"{verb}\"]");
                    let said = format!("may not `{verb}` `{resource}`: a Role in namespace `{}` with", served.namespace);
                    assert!(missing.contains(&said) && missing.contains(&grant), "{right}: {missing}");
                    rules.push(json!({ "apiGroups": [group], "resources": [resource], "verbs": [verb] }));
                }
            }
            let role = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "r" }, "rules": rules });
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "r" },
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r" },
                "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "helper" }],
            });
            served.apply("owner", &role, "").await;
            served.apply("owner", &binding, "").await;
            // The server learns of rules a moment later.
            let mut met = over.world.actions.needs(over.call(0, name, &fields)).await;
            for _ in 0..100 {
                if met[0].met.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                met = over.world.actions.needs(over.call(0, name, &fields)).await;
            }
            assert!(met[0].met.is_ok(), "{name}: {met:?}");
            let undoes = !matches!(name, "kubernetes.exec" | "kubernetes.restart");
            let pre_image = if undoes { Some(over.pre_image(name, fields.clone()).await) } else { None };
            over.act(1, name, fields.clone()).await;
            if let (Some(pre_image), "kubernetes.delete") = (pre_image, name) {
                over.undo(1, name, fields, &pre_image).await;
            }
        }
    }

    async fn checks_ask_for_the_rights_that_they_need(served) {
        let scene = Scene::new(served);
        let mut world = World::new();
        let kubeconfig = Some(served.user("looker").display().to_string());
        world.places.clusters.insert("home".to_owned(), recorded::Cluster { context: None, kubeconfig });
        let over = Scene { world, served };
        let (web, name) = (json!({ "deployment": "@/web" }), "@/web");
        let in_web = ["get deployments", "list pods", "get pods/exec", "create pods/exec"];
        for (check, fields, rights) in [
            ("kubernetes", web.clone(), in_web[..2].to_vec()),
            ("kubernetes", json!({ "deployment": name, "exec": ["true"] }), in_web.to_vec()),
            ("kubernetes", json!({ "object": "pvc @/data" }), vec!["get persistentvolumeclaims"]),
            ("kubernetes", json!({ "service": name }), vec!["get services", "list endpointslices"]),
            ("kubernetes", json!({ "service": name, "address": "any" }), vec!["get services", "list services of all"]),
            ("gpu", json!({ "node": "gpu-1" }), vec!["get nodes of all"]),
            ("gpu", web, in_web.to_vec()),
            ("frigate.config", json!({ "configmap": "@/config" }), vec!["get configmaps", "list deployments"]),
            ("baseline", json!({}), vec!["list services of all"]),
        ] {
            let needs = |scene: &Scene<'_>| match check {
                "baseline" => scene.world.actions.needs(scene.call(0, check, &fields)),
                _ => scene.world.checks.needs(scene.world.look(scene.operation(check, &fields))),
            };
            let missing = needs(&over).await[0].met.clone().unwrap_err();
            assert_eq!(missing.matches("may not").count(), rights.len(), "{check} {fields}: {missing}");
            for right in &rights {
                let (right, place) = match right.strip_suffix(" of all") {
                    Some(right) => (right, "a ClusterRole".to_owned()),
                    None => (*right, format!("a Role in namespace `{}`", served.namespace)),
                };
                let (verb, resource) = right.split_once(' ').unwrap();
                let words = format!("may not `{verb}` `{resource}`: {place} with");
                assert!(missing.contains(&words), "{check} {fields}: {words}: {missing}");
            }
            let all = needs(&scene).await;
            assert_eq!(all[0].met, Ok(format!("all {} that are needed are there", rights.len())));
        }
        // A step may still have to make the kind; and what asks no cluster needs nothing of one.
        for fields in [json!({ "object": "Nonsense @/web" }), json!({})] {
            let look = scene.world.look(scene.operation("kubernetes", &fields));
            assert_eq!(scene.world.checks.needs(look).await, []);
        }
    }

    async fn commands_say_how_they_ended(served) {
        let scene = Scene::new(served);
        let script = json!({ "report": { "stdout": "{\"faces\": 3}", "stderr": "warming up\n" } });
        scene.web(json!({ "testbed.runner/exec": script.to_string() }), json!({})).await;
        let name = "kubernetes.exec";
        let run = |argv: Value| json!({ "deployment": "@/web", "argv": argv });
        let mut told = run(json!(["report"]));
        told["outputs"] = json!({ "faces": "/faces" });
        let (outputs, trace) = acted(scene.world.actions.act(scene.call(1, name, &told)).await);
        assert_eq!(Value::Object(outputs), json!({ "faces": 3 }));
        let log = String::from_utf8(scene.world.log(&trace)).unwrap();
        assert!(log.contains("faces") && log.contains("warming up"), "both streams: {log}");
        let mut cat = run(json!(["cat"]));
        cat["stdin"] = json!("in and out\n");
        cat["outputs"] = json!({ "text": "text" });
        assert_eq!(Value::Object(scene.act(2, name, cat).await), json!({ "text": "in and out" }));
        let (class, message, trace) = failed(scene.world.actions.act(scene.call(3, name, &run(json!(["sh", "-c", "exit 5"])))).await);
        assert!(class == FailureClass::Transient && message.contains("exit status 5") && trace.exit == Some(5), "{message}");
        let (_, message, _) = failed(scene.world.actions.act(scene.call(4, name, &run(json!(["ffmpeg"])))).await);
        assert!(message.contains("127") || message.contains("not found"), "{message}");
        // Nobody knows whether it still runs.
        let mut call = scene.call(5, name, &run(json!(["sleep", "30"])));
        call.timeout = Duration::from_secs(6);
        let (cause, message, _) = cut(scene.world.actions.act(call).await);
        assert!(cause == CutCause::Timeout && message.contains("may still run"), "{message}");
        let (sender, stop) = Stop::channel();
        let mut call = scene.call(6, name, &run(json!(["sleep", "30"])));
        call.stop = stop;
        sender.fire();
        let (cause, _, _) = cut(scene.world.actions.act(call).await);
        assert_eq!(cause, CutCause::Stopped);
        // What never ends is let go in time, and not kept in memory.
        let mut call = scene.call(7, name, &run(json!(["yes"])));
        call.timeout = Duration::from_secs(6);
        let (cause, _, trace) = cut(scene.world.actions.act(call).await);
        assert!(cause == CutCause::Timeout && trace.bytes > 100_000 && trace.tail.len() < 10_000, "{trace:?}");
        // Refused before it began.
        let mut nowhere = run(json!(["true"]));
        nowhere["container"] = json!("other");
        let (class, message, _) = failed(scene.world.actions.act(scene.call(8, name, &nowhere)).await);
        assert!(class == FailureClass::Permanent && message.contains("refused with status 400"), "{message}");
        let nobody = json!({ "deployment": "@/nobody", "argv": ["true"] });
        let (_, message, _) = failed(scene.world.actions.act(scene.call(9, name, &nobody)).await);
        assert!(message.contains("nobody is not there"), "{message}");
    }

    async fn a_look_at_a_service_asks_who_answers(served) {
        let scene = Scene::new(served);
        let number = served.namespace.bytes().fold(5_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 200;
        let pinned = format!("198.18.7.{}", 20 + number);
        let mut service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "web", "annotations": { "metallb.io/loadBalancerIPs": pinned } },
            "spec": { "type": "LoadBalancer", "selector": { "app": "web" }, "ports": [{ "port": 5000 }] },
        });
        let held = served.fail("Service", "web", "pending");
        served.apply("owner", &service, "").await.expect(201);
        scene.sees("kubernetes", json!({ "service": "@/web" }), Verdict::Absent, "0 ready addresses are behind it").await;
        scene.sees("kubernetes", json!({ "service": "@/web", "address": "any" }), Verdict::Absent, "has no address yet").await;
        drop(held);
        scene.web(json!({}), json!({})).await;
        let ip = "/status/loadBalancer/ingress/0/ip";
        served.until("it has its address", &served.path(&service), |one| one.pointer(ip) == Some(&json!(pinned))).await;
        let slices = "/apis/discovery.k8s.io/v1/namespaces/@/endpointslices";
        served.until("somebody answers", slices, |all| all.pointer("/items/0/endpoints/0/conditions/ready") == Some(&json!(true))).await;
        let seen = scene.sees("kubernetes", json!({ "service": "@/web", "address": "pinned", "endpoints": 1 }), Verdict::Holds, "").await;
        assert_eq!((&seen.facts["address"], &seen.facts["endpoints"]), (&json!(pinned), &json!(1)));
        scene.sees("kubernetes", json!({ "service": "@/web", "address": "192.0.2.1" }), Verdict::Absent, "not 192.0.2.1").await;
        scene.sees("kubernetes", json!({ "service": "@/web", "endpoints": 2 }), Verdict::Absent, "1 ready addresses").await;
        // Somebody else gets the same one.
        service["metadata"]["name"] = json!("thief");
        let stolen = served.fail("Service", "thief", &format!("address={pinned}"));
        served.apply("owner", &service, "").await.expect(201);
        served.until("it has it too", &served.path(&service), |one| one.pointer(ip) == Some(&json!(pinned))).await;
        scene.sees("kubernetes", json!({ "service": "@/web", "address": "pinned" }), Verdict::Absent, "is also that of Service").await;
        drop(stolen);
    }

    async fn a_look_at_a_workload_tells_what_is_wrong(served) {
        let scene = Scene::new(served);
        scene.sees("kubernetes", json!({ "deployment": "@/web" }), Verdict::Absent, "is not there").await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "absent": true }), Verdict::Holds, "").await;
        // Who asks whether the old owner is gone does not mind that it is gone altogether.
        scene.sees("kubernetes", json!({ "deployment": "@/web", "replicas": 0 }), Verdict::Holds, "is not there").await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "replicas": 1 }), Verdict::Absent, "is not there").await;
        let web = scene.web(json!({}), json!({})).await;
        let seen = scene.sees("kubernetes", json!({ "deployment": "@/web" }), Verdict::Holds, "").await;
        assert_eq!((&seen.facts["restarts"], &seen.facts["ready"]), (&json!(0), &json!(1)));
        scene.sees("kubernetes", json!({ "deployment": "@/web", "condition": "Available" }), Verdict::Holds, "").await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "condition": "Available=False" }), Verdict::Absent, "`Available` is True").await;
        let pointer = "/spec/template/spec/containers/0/image";
        let json = |value: Value| json!({ "deployment": "@/web", "json": { pointer: value } });
        scene.sees("kubernetes", json(json!({ "contains": ":1.2" })), Verdict::Holds, "").await;
        let seen = scene.sees("kubernetes", json(json!("other")), Verdict::Absent, "not `\"other\"`").await;
        assert_eq!(seen.facts[pointer], "ghcr.io/some/thing:1.2");
        scene.sees("kubernetes", json!({ "deployment": "@/web", "absent": true }), Verdict::Absent, "is there").await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "exec": ["echo", "well"], "contains": "well" }), Verdict::Holds, "").await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "exec": ["echo", "well"], "contains": "ill" }), Verdict::Absent, "does not contain").await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "exec": ["false"] }), Verdict::Absent, "exit status 1").await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "exec": ["sh", "-c", "exit 7"] }), Verdict::Unknown, "exit status 7").await;
        scene.sees("kubernetes", json!({ "object": "Nonsense @/web" }), Verdict::Unknown, "serves no kind").await;
        // It crashes again and again: `restarts` rises, which a `watch` rule sees.
        let crashing = served.fail("Pod", "web", "crash-loop");
        let pods = "/api/v1/namespaces/@/pods?labelSelector=app%3Dweb";
        let count = "/items/0/status/containerStatuses/0/restartCount";
        served.until("it was restarted", pods, |pods| pods.pointer(count).and_then(Value::as_u64).is_some_and(|count| count > 0)).await;
        let seen = scene.look("kubernetes", json!({ "deployment": "@/web" })).await;
        assert!(seen.facts["restarts"].as_u64().unwrap() > 0, "{seen:?}");
        drop(crashing);
        // Its pods may outlive it.
        let orphans = json!({ "propagationPolicy": "Orphan" });
        served.ask("DELETE", &served.path(&web), None, Some(&orphans)).await.expect(200);
        served.until("it is gone", &served.path(&web), |one| one["code"] == 404).await;
        scene.sees("kubernetes", json!({ "deployment": "@/web", "replicas": 0 }), Verdict::Partial, "1 of its pods are still there").await;
    }

    async fn a_look_at_a_secret_tells_no_value(served) {
        let scene = Scene::new(served);
        let applied = json!({ "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"password\":\"aHVudGVyMg==\"}}" });
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "login", "annotations": applied }, "data": { "password": "aHVudGVyMg==" },
        });
        served.apply("owner", &secret, "").await.expect(201);
        let json = |pointer: &str, value: Value| json!({ "object": "Secret @/login", "json": { pointer: value } });
        for (fields, verdict, words) in [
            (json("/data/password", json!("aHVudGVyMg==")), Verdict::Holds, "as it shall be"),
            (json("/data/password", json!("other")), Verdict::Absent, "at `/data/password` is `\"***\"`, not `\"other\"`"),
            (json("/data", json!("x")), Verdict::Absent, "at `/data` is"),
            (json("/metadata", json!("x")), Verdict::Absent, "at `/metadata` is"),
            (json("", json!("x")), Verdict::Absent, "at `` is"),
        ] {
            let seen = scene.sees("kubernetes", fields, verdict, words).await;
            assert!(!format!("{seen:?}").contains("aHVudGVyMg"), "{seen:?}");
        }
    }

    async fn a_gpu_is_seen_where_it_is(served) {
        let scene = Scene::new(served);
        let mut spec = served.node("gpu", 1);
        let node = spec["nodeSelector"]["testbed.runner/node"].as_str().unwrap().to_owned();
        spec["containers"] = json!([{ "name": "main", "image": "ghcr.io/some/thing:1.2", "resources": { "limits": { "nvidia.com/gpu": "1" } } }]);
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "selector": { "matchLabels": { "app": "web" } },
                "template": { "metadata": { "labels": { "app": "web" } }, "spec": spec },
            },
        });
        scene.sees("gpu", json!({ "node": node }), Verdict::Holds, "offers 1").await;
        scene.sees("gpu", json!({ "node": node, "gpus": 2 }), Verdict::Absent, "offers 1 of `nvidia.com/gpu`, not 2").await;
        scene.sees("gpu", json!({ "node": "nowhere" }), Verdict::Absent, "is not there").await;
        served.apply("owner", &web, "").await.expect(201);
        served.until("it is available", &served.path(&web), |one| one["status"]["availableReplicas"] == 1).await;
        let wanted = json!({ "deployment": "@/web", "name": "RTX 3070", "decoder": true, "memory_free_mib": 1000 });
        let seen = scene.sees("gpu", wanted, Verdict::Holds, "sees 1 GPUs: NVIDIA GeForce RTX 3070").await;
        for (fact, value) in [("granted", json!(1)), ("decoder", json!(23.0)), ("encoder", json!(0.0)), ("memory_total_mib", json!(8192.0))] {
            assert_eq!(seen.facts[fact], value, "{seen:?}");
        }
        scene.sees("gpu", json!({ "deployment": "@/web", "name": "A2000" }), Verdict::Absent, "not a `A2000`").await;
        scene.sees("gpu", json!({ "deployment": "@/web", "gpus": 2 }), Verdict::Absent, "was granted 1").await;
        scene.sees("gpu", json!({ "deployment": "@/web", "memory_free_mib": 7000 }), Verdict::Absent, "are free, not 7000").await;
    }

    async fn what_nvidia_smi_may_say(served) {
        let scene = Scene::new(served);
        let query = "nvidia-smi --query-gpu=index,name,driver_version,utilization.gpu,utilization.decoder,utilization.encoder,\
                     memory.used,memory.total --format=csv,noheader,nounits";
        let broken = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n";
        let node = served.node("smi", 9);
        for (name, stdout, code, fields, verdict, words) in [
            ("two", "0, RTX 3070, 1, 0, 9, 0, 1, 2\n1, RTX 3070, 1, 0, 0, 0, 1, 2\n", 0, json!({ "decoder": true }), Verdict::Holds, "sees 2"),
            ("slice", "0, A100, 1, [N/A], [N/A], [N/A], 1, 2\n", 0, json!({ "decoder": true }), Verdict::Unknown, "does not say"),
            ("old", "0, RTX 3070, 1, 0, 9, 0, [Not Supported], 2\n", 0, json!({ "memory_free_mib": 1 }), Verdict::Unknown, "does not say"),
            ("driver", broken, 18, json!({}), Verdict::Absent, "restart the node"),
            ("noise", "GPU on fire\n", 0, json!({}), Verdict::Unknown, "nobody understands"),
            ("idle", "0, RTX 3070, 1, 0, 0, 7, 1, 2\n", 0, json!({ "decoder": true }), Verdict::Absent, "does nothing"),
        ] {
            let mut spec = node.clone();
            spec["containers"] = json!([{ "name": "main", "image": "ghcr.io/some/thing:1.2", "resources": { "limits": { "nvidia.com/gpu": "1" } } }]);
            let script = json!({ query: { "stdout": stdout, "code": code } }).to_string();
            let one = json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
                "spec": {
                    "selector": { "matchLabels": { "app": name } },
                    "template": { "metadata": { "labels": { "app": name }, "annotations": { "testbed.runner/exec": script } }, "spec": spec },
                },
            });
            served.apply("owner", &one, "").await.expect(201);
            served.until("it is available", &served.path(&one), |one| one["status"]["availableReplicas"] == 1).await;
            let mut fields = fields;
            fields["deployment"] = json!(format!("@/{name}"));
            let answer = scene.look("gpu", fields).await;
            assert!(answer.verdict == verdict && answer.reason.contains(words), "{name}: {answer:?}");
        }
        // A container without the runtime has no such program.
        scene.web(json!({}), json!({})).await;
        scene.sees("gpu", json!({ "deployment": "@/web" }), Verdict::Absent, "was granted 0").await;
    }
}
