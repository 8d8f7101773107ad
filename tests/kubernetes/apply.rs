//! What `kubernetes.apply` does, what its probe sees, and what comes back on the way back.

use std::time::Duration;

use runner::saga::{Direction, FailureClass, Verdict};
use serde_json::json;

use super::support::cluster::Cluster;
use super::support::sshd::until;
use super::support::world::{acted, failed};
use super::{MAP, deployment, failing, played, scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_there_comes_and_goes() {
    let Some(scene) = scene("comes") else { return };
    let all = format!(
        "{MAP}---\n{}---\napiVersion: v1\nkind: Service\nmetadata: {{ name: web }}\nspec: {{ selector: {{ app: web }}, \
         ports: [{{ port: 80 }}] }}\n",
        deployment("web", "", "", "")
    );
    let before = scene.objects();
    let answer = scene.probe("a", &all).await;
    assert_eq!(answer.verdict, Verdict::Absent, "{answer:?}");
    let pre_image = scene.pre_image("a", &all).await;
    assert_eq!(scene.objects(), before, "looking has changed something");
    let outputs = scene.act("a", &all).await;
    assert_eq!(outputs["node"], "gpu-1", "{outputs:?}");
    let image = outputs["images"].as_object().unwrap().values().next().unwrap().as_str().unwrap();
    assert!(image.contains("sha256:"), "{outputs:?}");
    let after = scene.objects();
    assert_eq!(after.len(), before.len() + 3);
    let signed = &after["ConfigMap a"]["metadata"]["annotations"];
    assert_eq!((&signed["runner/run"], &signed["runner/step"]), (&json!("r-1"), &json!("a")));
    let pods = &after["Deployment web"]["spec"]["template"];
    assert!(!pods.to_string().contains("runner/"), "{pods}");
    assert_eq!(scene.managers("configmap a"), ["runner"]);

    // Once more: nothing is touched, not even our annotations.
    let version = scene.ns.field("configmap a", ".metadata.resourceVersion");
    let answer = scene.probe("b", &all).await;
    assert_eq!((answer.verdict, &answer.outputs["node"]), (Verdict::Holds, &json!("gpu-1")), "{answer:?}");
    scene.act("b", &all).await;
    assert_eq!(scene.ns.field("configmap a", ".metadata.resourceVersion"), version);
    assert_eq!(scene.objects(), after);

    for _ in 0..2 {
        scene.undo("a", &all, &pre_image).await;
        assert_eq!(scene.objects(), before);
    }
    assert!(
        scene.ns.kubectl("get pods -o name").expect(0).out.trim().is_empty(),
        "its pods are gone with it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_is_as_it_was_and_its_owner_has_it_again() {
    let Some(scene) = scene("was") else { return };
    let old = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: a, labels: {{ theirs: x }} }}\ndata: {{ k: old, only: theirs }}\n---\n{}",
        deployment(
            "web",
            "",
            "",
            "env: [{ name: A, value: '1' }, { name: B, value: '2' }], ports: [{ containerPort: 80 }]"
        )
    );
    scene.ns.apply(&old);
    scene.ns.wait("deployment/web", ".status.availableReplicas", "1");
    let (before, owners) = (scene.objects(), scene.managers("configmap a"));
    let new = format!(
        "{MAP}---\n{}",
        deployment(
            "web",
            "",
            "terminationGracePeriodSeconds: 5, ",
            "env: [{ name: A, value: 'ours' }, { name: C, value: '3' }], livenessProbe: { httpGet: { path: /, port: 80 } }, \
             resources: { limits: { cpu: '1' } }"
        )
        .replace("thing:1.2", "thing:1.3")
    );
    let pre_image = scene.pre_image("a", &new).await;

    // Without force nothing is touched, and each field is named with its owner.
    let outcome = scene.world.actions.act(scene.call("a", 1, &new, json!({}))).await;
    let (class, message, trace) = failed(outcome);
    assert_eq!(class, FailureClass::Permanent);
    for words in ["nothing was applied", "`.data.k` belongs to `test`", "force_conflicts"] {
        assert!(message.contains(words), "{message}");
    }
    assert!(trace.tail.contains("containers[name=\"main\"].image"), "{}", trace.tail);
    assert_eq!(scene.objects(), before);
    scene.undo("a", &new, &pre_image).await;
    assert_eq!(scene.objects(), before);

    let force = json!({ "force_conflicts": true });
    acted(scene.world.actions.act(scene.call("a", 2, &new, force.clone())).await);
    let changed = scene.objects();
    assert_eq!(changed["ConfigMap a"]["data"], json!({ "k": "new", "more": "x", "only": "theirs" }));
    for _ in 0..2 {
        scene.undo("a", &new, &pre_image).await;
        let mut after = scene.objects();
        // What the controller counts.
        for object in after.values_mut() {
            if let Some(annotations) = object["metadata"].get_mut("annotations") {
                annotations["deployment.kubernetes.io/revision"] = json!("1");
            }
        }
        assert_eq!(after, before);
        assert_eq!(scene.managers("configmap a"), owners);
        assert!(!scene.managers("deployment web").contains(&"runner".to_owned()));
    }
    // Their next apply has no conflict, and can still take its own fields away.
    scene.ns.apply(&old.replace("k: old, only: theirs", "only: theirs").replace("thing:1.2", "thing:1.4"));
    assert_eq!(scene.ns.field("configmap a", ".data"), "{\"only\":\"theirs\"}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_changed_since_stays_theirs() {
    let Some(scene) = scene("since") else { return };
    scene.ns.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { other: x }\n");
    let pre_image = scene.pre_image("a", MAP).await;
    scene.act("a", MAP).await;
    scene.ns.kubectl_in(
        "apply --server-side --force-conflicts --field-manager=somebody -f -",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { k: somebody's }\n",
    );
    let outputs = scene.undo("a", MAP, &pre_image).await;
    assert_eq!(scene.ns.field("configmap a", ".data"), "{\"k\":\"somebody's\",\"other\":\"x\"}");
    assert_eq!(scene.managers("configmap a"), ["somebody", "test"]);
    let left = outputs["left"][0].as_str().unwrap();
    assert!(left.contains("`.data.k` is left as it is: `somebody` has it now"), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_its_namespace_and_definitions_are_kept() {
    let Some(scene) = scene("kept") else { return };
    let name = format!("{}-in", scene.ns.name);
    let group = format!("{}.example", scene.ns.name);
    let all = format!(
        "apiVersion: example\nkind: X\nmetadata: {{ name: none }}\n---\n\
         apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{ name: data, namespace: {name} }}\nspec: {{ accessModes: \
         [ReadWriteOnce], resources: {{ requests: {{ storage: 1Gi }} }} }}\n---\n\
         apiVersion: {group}/v1\nkind: Thing\nmetadata: {{ name: one, namespace: {name} }}\nspec: {{ n: 1 }}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: a, namespace: {name} }}\n---\n\
         apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n---\n\
         apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{ name: things.{group} }}\nspec:\n  \
         group: {group}\n  scope: Namespaced\n  names: {{ kind: Thing, plural: things }}\n  versions:\n  - {{ name: v1, served: \
         true, storage: true, schema: {{ openAPIV3Schema: {{ type: object, properties: {{ spec: {{ type: object, \
         x-kubernetes-preserve-unknown-fields: true }} }} }} }} }}\n"
    );
    let (_, all) = all.split_once("---\n").unwrap();
    let pre_image = scene.pre_image("a", all).await;
    scene.act("a", all).await;
    assert_eq!(scene.probe("a", all).await.verdict, Verdict::Holds);
    let cluster = Cluster::shared().unwrap();
    let outputs = scene.undo("a", all, &pre_image).await;
    let kept: Vec<&str> =
        outputs["kept"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let definition = format!("CustomResourceDefinition things.{group}");
    let (claim, namespace) = (format!("PersistentVolumeClaim {name}/data"), format!("Namespace {name}"));
    assert_eq!(kept, [definition.as_str(), &namespace, &claim]);
    let left = cluster.kubectl(&format!("-n {name} get things.{group},configmaps,pvc -o name")).expect(0).out;
    assert_eq!(left.trim(), "configmap/kube-root-ca.crt\npersistentvolumeclaim/data");

    // Asked to, the definition goes too; and the namespace, once no data is in it.
    cluster.kubectl(&format!("-n {name} delete pvc data")).expect(0);
    let mut call = scene.call("a", 2, all, json!({ "delete_crds": true }));
    call.key.direction = Direction::Compensation;
    acted(scene.world.actions.undo(call, pre_image).await);
    assert_ne!(cluster.kubectl(&format!("get namespace {name}")).code, 0);
    assert_ne!(cluster.kubectl(&format!("get crd things.{group}")).code, 0);
}

/// A StatefulSet whose claims shall go with it.
const SET: &str = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: db }\nspec:\n  replicas: 1\n  serviceName: db\n  \
     persistentVolumeClaimRetentionPolicy: { whenDeleted: Delete, whenScaled: Delete }\n  selector: { matchLabels: { app: db } }\n  \
     template:\n    metadata: { labels: { app: db } }\n    spec: { containers: [{ name: main, image: 'ghcr.io/some/thing:1.2', \
     volumeMounts: [{ name: data, mountPath: /data }] }] }\n  volumeClaimTemplates:\n  - metadata: { name: data }\n    spec: { \
     accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_would_go_with_their_statefulset_are_kept_and_named() {
    for policy in ["Delete", "Retain"] {
        let Some(scene) = scene("claims") else { return };
        let set = SET.replace("whenDeleted: Delete", &format!("whenDeleted: {policy}"));
        let pre_image = scene.pre_image("a", &set).await;
        scene.act("a", &set).await;
        scene.ns.wait("pvc/data-db-0", ".status.phase", "Bound");
        if policy == "Delete" {
            scene.ns.wait("pvc/data-db-0", ".metadata.ownerReferences[0].kind", "StatefulSet");
        }
        // Not by hand either, unless the step says so.
        let place = format!("{}/db", scene.ns.name);
        for (operation, refused) in [
            (
                json!({ "name": "kubernetes.delete", "object": format!("StatefulSet {place}") }),
                "nothing was deleted",
            ),
            (
                json!({ "name": "kubernetes.scale", "statefulset": place, "replicas": 0 }),
                "nothing was changed",
            ),
        ] {
            if policy == "Delete" {
                let (class, message, _) = failed(scene.other("s", 1, operation).await);
                assert!(class == FailureClass::Permanent && message.contains(refused), "{message}");
            }
        }
        for _ in 0..2 {
            let outputs = scene.undo("a", &set, &pre_image).await;
            let kept = format!("PersistentVolumeClaim {}/data-db-0", scene.ns.name);
            assert_eq!(outputs["kept"], json!([kept]), "{policy}");
            assert_eq!(scene.objects().into_keys().collect::<Vec<_>>(), ["PersistentVolumeClaim data-db-0"]);
        }
        // Nothing is on its way to take it yet.
        assert_eq!(scene.ns.field("pvc data-db-0", ".metadata.ownerReferences"), "", "{policy}");
        assert_eq!(scene.ns.field("pvc data-db-0", ".metadata.deletionTimestamp"), "", "{policy}");
        assert_eq!(scene.ns.field("pvc data-db-0", ".status.phase"), "Bound", "{policy}");
    }
}

/// Each kind is waited for in its own way, when it is made, made anew, scaled and restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_that_has_pods_is_waited_for() {
    let Some(scene) = scene("kinds") else { return };
    let image = "containers: [{ name: main, image: 'ghcr.io/some/thing:1.2' }]";
    let workload = |kind: &str, name: &str, more: &str| {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{ name: {name} }}\nspec: {{ {more} selector: {{ matchLabels: {{ app: {name} }} \
             }}, template: {{ metadata: {{ labels: {{ app: {name} }} }}, spec: {{ {image} }} }} }}\n"
        )
    };
    let both = format!(
        "{}---\n{}",
        workload("StatefulSet", "set", "replicas: 2, serviceName: set,"),
        workload("DaemonSet", "daemon", "")
    );
    let all = format!(
        "{both}---\napiVersion: batch/v1\nkind: Job\nmetadata: {{ name: once }}\nspec: {{ template: {{ spec: {{ restartPolicy: Never, {image} \
         }} }} }}\n"
    );
    let pre_image = scene.pre_image("a", &all).await;
    let outputs = scene.act("a", &all).await;
    for (object, path, value) in [
        ("statefulset set", ".status.readyReplicas", "2"),
        ("daemonset daemon", ".status.numberAvailable", "1"),
        ("job once", ".status.succeeded", "1"),
    ] {
        assert_eq!(scene.ns.field(object, path), value, "{object}");
    }
    assert_eq!(outputs["images"].as_object().unwrap().len(), 3, "{outputs:?}");
    assert_eq!(scene.probe("b", &all).await.verdict, Verdict::Holds);

    let pods = |path: &str| {
        let (labels, output) = ("-lapp in (set,daemon)", format!("-ojsonpath={{.items[*]{path}}}"));
        let said = scene.ns.kubectl_of(&["get", "pods", labels, &output]).expect(0).out;
        said.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let before = pods(".metadata.uid");
    for (key, name) in [("statefulset", "set"), ("daemonset", "daemon")] {
        let operation = json!({ "name": "kubernetes.restart", key: format!("{}/{name}", scene.ns.name) });
        acted(scene.other(name, 1, operation).await);
    }
    let after = pods(".metadata.uid");
    assert!(after.len() == 3 && after.iter().all(|pod| !before.contains(pod)), "{before:?} {after:?}");
    for replicas in [1, 2] {
        let place = format!("{}/set", scene.ns.name);
        let operation = json!({ "name": "kubernetes.scale", "statefulset": place, "replicas": replicas });
        acted(scene.other("scale", replicas, operation).await);
        assert_eq!(pods(".metadata.uid").len(), usize::try_from(replicas).unwrap() + 1);
    }

    let newer = both.replace("thing:1.2", "thing:1.3");
    let between = scene.pre_image("b", &newer).await;
    scene.act("b", &newer).await;
    assert_eq!(pods(".spec.containers[0].image"), ["ghcr.io/some/thing:1.3"; 3]);
    scene.undo("b", &newer, &between).await;
    scene.undo("a", &all, &pre_image).await;
    assert!(scene.of("statefulsets,daemonsets,jobs,pods").is_empty());
}

/// What others have put into a namespace that a step made, of whatever kind, stays with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_kept_for_whatever_others_have_put_into_it() {
    let Some(scene) = scene("guests") else { return };
    let cluster = Cluster::shared().unwrap();
    let group = format!("{}.example", scene.ns.name);
    cluster.apply(&format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{ name: guests.{group} }}\nspec:\n  group: \
         {group}\n  scope: Namespaced\n  names: {{ kind: Guest, plural: guests }}\n  versions:\n  - {{ name: v1, served: true, storage: \
         true, schema: {{ openAPIV3Schema: {{ type: object }} }} }}\n"
    ));
    cluster.kubectl(&format!("wait --for=condition=Established crd/guests.{group} --timeout=60s")).expect(0);
    for (number, theirs, kept) in [
        (
            0,
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: { name: x }\nspec: { defaultBackend: { service: { name: x, \
             port: { number: 80 } } } }\n"
                .to_owned(),
            true,
        ),
        (1, format!("apiVersion: {group}/v1\nkind: Guest\nmetadata: {{ name: x }}\n"), true),
        (2, "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: x }\n".to_owned(), true),
        // What the cluster and its controllers write there by themselves is nobody's.
        (3, "apiVersion: v1\nkind: Event\nmetadata: { name: x }\ninvolvedObject: { name: x, namespace: NAME }\n".to_owned(), false),
    ] {
        let name = format!("{}-{number}", scene.ns.name);
        let ours = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n");
        let pre_image = scene.pre_image("a", &ours).await;
        scene.act("a", &ours).await;
        until("the cluster has put its own things there", || {
            cluster.kubectl(&format!("-n {name} get serviceaccount/default configmap/kube-root-ca.crt")).code == 0
        });
        cluster.apply(&theirs.replace("NAME", &name).replace("metadata: { name: x }", &format!("metadata: {{ name: x, namespace: {name} }}")));
        let outputs = scene.undo("a", &ours, &pre_image).await;
        let there = cluster.kubectl(&format!("get namespace {name} -o jsonpath={{.status.phase}}")).out == "Active";
        assert_eq!((there, outputs["kept"].as_array().unwrap().len()), (kept, usize::from(kept)), "{theirs}");
        cluster.kubectl(&format!("delete namespace {name} --wait=false --ignore-not-found"));
    }
    cluster.kubectl(&format!("delete crd guests.{group} --wait=false")).expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_did_not_do_we_do_not_undo() {
    let Some(scene) = scene("not-ours") else { return };
    let pre_image = scene.pre_image("a", MAP).await;
    // Somebody else is faster, and means the same.
    scene.ns.apply(MAP);
    scene.act("a", MAP).await;
    assert_eq!(scene.managers("configmap a"), ["test"], "what is as it shall be is not touched");
    let outputs = scene.undo("a", MAP, &pre_image).await;
    assert_eq!(outputs["kept"].as_array().unwrap().len(), 1);
    assert_eq!(scene.ns.field("configmap a", ".data.k"), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_changes_nothing() {
    let Some(scene) = scene("refused") else { return };
    let with = |object: &str| format!("{MAP}---\n{object}");
    let long = "x".repeat(1_100_000);
    for (object, words) in [
        (
            deployment("web", "", "runtimeClass: nvidia, ", ""),
            ".spec.template.spec.runtimeClass: field not declared in schema",
        ),
        (deployment("web", "", "", "imagePullPolicy: 3"), "expected string"),
        (
            "apiVersion: v1\nkind: Service\nmetadata: { name: s }\nspec: { ports: [{ port: 99999 }] }\n"
                .to_owned(),
            "99999",
        ),
        (
            "apiVersion: v1\nkind: Servize\nmetadata: { name: s }\n".to_owned(),
            "serves no `Servize` of `v1`; there is `Service`",
        ),
        (
            "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: { name: s }\n".to_owned(),
            "it has `Deployment` in `apps/v1`",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: s, namespace: nowhere }\n".to_owned(),
            "namespaces \"nowhere\" not found",
        ),
        (
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: s }}\ndata: {{ k: {long} }}\n"),
            "1048576 bytes",
        ),
        (
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: s }}\ndata: {{ k: {} }}\n",
                "x".repeat(10 << 20)
            ),
            "limit is",
        ),
        (MAP.to_owned(), "a second time"),
        // One of them names the namespace that the other is given.
        (MAP.replace("name: a", &format!("name: a, namespace: {}", scene.ns.name)), "is wanted twice"),
        ("x: [".to_owned(), "no YAML"),
    ] {
        let text = with(&object);
        let outcome = tokio::time::timeout(
            Duration::from_secs(30),
            scene.world.actions.act(scene.call("a", 1, &text, json!({}))),
        );
        let (class, message, _) = failed(outcome.await.expect("it is not tried for ever"));
        assert!(message.contains(words), "{words}: {message}");
        assert_eq!(class, FailureClass::Permanent, "{message}");
        assert!(scene.objects().is_empty(), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_that_cannot_come_says_why() {
    let Some((scene, cluster)) = played("why") else { return };
    let gpu = "resources: { limits: { nvidia.com/gpu: '8' } }";
    let claim = "volumes: [{ name: v, persistentVolumeClaim: { claimName: none } }], ";
    // A volume that is bound, on a node that is not there.
    let name = format!("{}-elsewhere", scene.ns.name);
    let volume = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{ name: elsewhere }}\nspec: {{ accessModes: [ReadWriteOnce], \
         storageClassName: '', volumeName: {name}, resources: {{ requests: {{ storage: 1Gi }} }} }}\n"
    );
    cluster.apply(&format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{ name: {name} }}\nspec: {{ accessModes: [ReadWriteOnce], capacity: \
         {{ storage: 1Gi }}, persistentVolumeReclaimPolicy: Retain, storageClassName: '', local: {{ path: /data }}, nodeAffinity: \
         {{ required: {{ nodeSelectorTerms: [{{ matchExpressions: [{{ key: kubernetes.io/hostname, operator: In, values: \
         [elsewhere] }}] }}] }} }} }}\n"
    ));
    for (name, text, words) in [
        ("gpu", deployment("gpu", "", "", gpu), " nodes are available: 1 Insufficient nvidia.com/gpu"),
        (
            "affinity",
            deployment("affinity", "", "nodeSelector: { no: where }, ", ""),
            "didn't match Pod's node affinity/selector",
        ),
        (
            "image",
            deployment("image", &failing("image-pull"), "", ""),
            "the image `ghcr.io/some/thing:1.2` cannot be had",
        ),
        (
            "crash",
            deployment(
                "crash",
                "annotations: { testbed.runner/fail: crash-loop, testbed.runner/exit-code: '7', testbed.runner/logs: 'no config' }",
                "",
                "readinessProbe: { httpGet: { path: /, port: 80 } }",
            ),
            "its last lines: no config",
        ),
        (
            "elsewhere",
            format!("{volume}---\n{}", deployment("elsewhere", "", &claim.replace("none", "elsewhere"), "")),
            "node(s) didn't match PersistentVolume's node affinity",
        ),
        ("class", deployment("class", "", "runtimeClassName: none, ", ""), "RuntimeClass \"none\" not found"),
        ("claim", deployment("claim", "", claim, ""), "claim `none` is not there"),
    ] {
        let pre_image = scene.pre_image(name, &text).await;
        let (class, message, trace) =
            failed(scene.world.actions.act(scene.call(name, 1, &text, json!({}))).await);
        assert!(message.contains(words), "{name}: {message}\n{}", trace.tail);
        assert!(message.contains("it is applied and cannot be rolled out"), "{message}");
        assert_eq!(class, FailureClass::Permanent);
        assert!(trace.tail.contains("waits: Deployment"), "{}", trace.tail);
        scene.undo(name, &text, &pre_image).await;
        let left: Vec<String> = scene.objects().into_keys().collect();
        let kept = if name == "elsewhere" { vec!["PersistentVolumeClaim elsewhere"] } else { Vec::new() };
        assert_eq!(left, kept, "{name}");
        scene.ns.kubectl("delete pvc elsewhere --ignore-not-found").expect(0);
    }
    cluster.kubectl(&format!("delete pv {name} --wait=false")).expect(0);
    // What only takes its time is waited for, and is no failure of ours when the time is over.
    let text = deployment("slow", &failing("never-ready"), "", "");
    let mut call = scene.call("slow", 1, &text, json!({}));
    call.timeout = Duration::from_secs(15);
    let (class, message, _) = failed(scene.world.actions.act(call).await);
    assert_eq!(class, FailureClass::Transient);
    assert!(
        message.contains("was not rolled out within 15s") && message.contains("0/1 pods ready"),
        "{message}"
    );
    assert!(message.contains("Unhealthy"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_claims_that_do_not_come_say_why() {
    let Some((scene, _)) = played("address") else { return };
    let service = |name: &str, annotations: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, annotations: {{ {annotations} }} }}\nspec: {{ type: \
             LoadBalancer, selector: {{ app: x }}, ports: [{{ port: 80 }}] }}\n"
        )
    };
    let outputs = scene.act("ok", &service("ok", "metallb.io/loadBalancerIPs: 198.51.100.77")).await;
    assert_eq!(outputs["address"], "198.51.100.77");
    assert_eq!(outputs["addresses"][format!("{}/ok", scene.ns.name)], "198.51.100.77");
    for (name, annotations, words) in [
        (
            "taken",
            "metallb.io/loadBalancerIPs: 198.51.100.77",
            "its load balancer address is pending (`198.51.100.77` is pinned)",
        ),
        ("none", "testbed.runner/fail: pending", "its load balancer address is pending"),
        (
            "other",
            "metallb.io/loadBalancerIPs: 198.51.100.78, testbed.runner/fail: 'address=198.51.100.79'",
            "it has the address `198.51.100.79`, and `198.51.100.78` is pinned",
        ),
    ] {
        let text = service(name, annotations);
        let (_, message, _) = failed(scene.world.actions.act(scene.call(name, 1, &text, json!({}))).await);
        assert!(message.contains(words), "{name}: {message}");
    }
    let text = format!(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{ name: data, annotations: {{ testbed.runner/fail: pending }} \
         }}\nspec: {{ accessModes: [ReadWriteOnce], resources: {{ requests: {{ storage: 1Gi }} }} }}\n---\n{}",
        deployment("web", "", "volumes: [{ name: v, persistentVolumeClaim: { claimName: data } }], ", "")
    );
    let (_, message, _) = failed(scene.world.actions.act(scene.call("claim", 1, &text, json!({}))).await);
    assert!(
        message.contains("claim `data` is not bound") && message.contains("ProvisioningFailed"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_come_from_the_step_and_are_seen_nowhere() {
    let Some(mut scene) = scene("secret") else { return };
    scene.world.secrets = vec!["hunter2-secret".to_owned()];
    let place = format!("{}/login", scene.ns.name);
    let more = json!({ "secrets": { place: { "PASSWORD": "hunter2-secret", "PORT": 8554 } } });
    let mut call = scene.call("a", 0, MAP, more.clone());
    call.secret = true;
    let pre_image = scene.world.actions.pre_image(call.clone()).await.unwrap();
    let foreseen = scene.world.actions.foresee(call.clone()).await;
    assert!(foreseen.diff.contains("+ Secret") && foreseen.diff.contains("***"), "{}", foreseen.diff);
    call.key.attempt = 1;
    let (outputs, trace) = acted(scene.world.actions.act(call.clone()).await);
    let read = scene.ns.field("secret login", ".data.PASSWORD");
    assert_eq!(read, "aHVudGVyMi1zZWNyZXQ=");
    let foreseen_again = scene.world.actions.foresee(call.clone()).await;
    assert_eq!((foreseen_again.answer.verdict, foreseen_again.diff.as_str()), (Verdict::Holds, ""));
    let seen = format!("{foreseen:?} {outputs:?} {trace:?} {pre_image:?}");
    for secret in ["hunter2", "aHVudGVyMi1zZWNyZXQ"] {
        assert!(!seen.contains(secret), "{seen}");
    }
    let other = json!({ "secrets": { format!("{}/login", scene.ns.name): { "PASSWORD": "another-secret", "PORT": 8554 } } });
    let foreseen = scene.world.actions.foresee(scene.call("b", 0, MAP, other)).await;
    assert!(
        foreseen.diff.contains("PASSWORD: \"*** (another value)\"")
            && foreseen.diff.contains("another value"),
        "{}",
        foreseen.diff
    );
    call.key.direction = Direction::Compensation;
    acted(scene.world.actions.undo(call, pre_image).await);
    assert!(scene.objects().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_change_is_shown_object_by_object() {
    let Some(scene) = scene("diff") else { return };
    scene.ns.apply(&format!("{}---\n{}", MAP.replace("new", "old"), deployment("web", "", "", "")));
    let all = format!(
        "{MAP}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: b }}\n---\n{}",
        deployment("web", "", "", "").replace("app: web", "app: other")
    );
    let before = scene.objects();
    let foreseen =
        scene.world.actions.foresee(scene.call("a", 0, &all, json!({ "force_conflicts": true }))).await;
    assert_eq!(scene.objects(), before);
    let name = &scene.ns.name;
    for words in [
        format!("~ ConfigMap {name}/a would be changed"),
        "-  k: old".to_owned(),
        "+  k: new".to_owned(),
        format!("+ ConfigMap {name}/b would be created"),
        format!("! Deployment {name}/web would be refused"),
        "field is immutable".to_owned(),
    ] {
        assert!(foreseen.diff.contains(&words), "{words}\n{}", foreseen.diff);
    }
    assert!(foreseen.answer.reason.contains("it would be refused"), "{:?}", foreseen.answer);
}
