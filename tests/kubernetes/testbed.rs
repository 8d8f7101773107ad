//! The control plane of the tests is what it says it is: a real API server with real controllers, over a node that is
//! played and can be told to fail. Asked by the real `kubectl`, in the words that people see.
//!
//! What is asserted here is what the tests of the Kubernetes actions stand on.

use crate::{deployment, failing, support};

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use support::cluster::{Cluster, Namespace};
use support::sshd::until;

const WAITING: &str = ".status.containerStatuses[0].state.waiting.reason";
const READY: &str = ".status.conditions[?(@.type==\"Ready\")].status";

/// A cluster that can be told to fail, and a namespace in it.
macro_rules! played {
    ($name:literal) => {
        match Cluster::shared() {
            Some(cluster) if cluster.ready().is_some() => (cluster, cluster.namespace($name)),
            _ => return,
        }
    };
}

#[test]
fn a_service_with_a_gpu_comes_up_answers_and_goes() {
    let (cluster, ns) = played!("whole");
    let node = cluster.add_node(&ns.name, 1);
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: data }\nspec: { accessModes: \
                 [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }\n";
    ns.apply(claim);
    assert_eq!(ns.field("pvc/data", ".status.phase"), "Pending", "it waits for its first consumer");
    let container =
        "resources: { limits: { nvidia.com/gpu: '1' } }, volumeMounts: [{ name: data, mountPath: /data }]";
    let volumes = "volumes: [{ name: data, persistentVolumeClaim: { claimName: data } }]";
    let pod = format!("runtimeClassName: nvidia, {node}, {volumes},");
    ns.apply(&format!(
        "{}---\napiVersion: v1\nkind: Service\nmetadata: {{ name: web, annotations: {{ metallb.io/loadBalancerIPs: \
         192.0.2.77 }} }}\nspec: {{ type: LoadBalancer, selector: {{ app: web }}, ports: [{{ port: 5000 }}] }}\n",
        deployment("web", "", &pod, container)
    ));
    ns.kubectl("rollout status deployment/web --timeout=120s").expect(0).says("successfully rolled out");
    ns.wait("service/web", ".status.loadBalancer.ingress[0].ip", "192.0.2.77");
    assert_eq!(ns.field("pvc/data", ".status.phase"), "Bound");
    let volume = ns.field("pvc/data", ".spec.volumeName");
    let affinity = ".spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]";
    assert_eq!(ns.field(&format!("pv/{volume}"), affinity), ns.name);
    let pods = ns.kubectl("get pods -l app=web -o json").expect(0).out;
    let pods: Value = serde_json::from_str(&pods).unwrap();
    let status = &pods["items"][0]["status"];
    let container = &status["containerStatuses"][0];
    assert!(container["imageID"].as_str().unwrap().starts_with("ghcr.io/some/thing@sha256:"), "{status}");
    assert_eq!((&container["restartCount"], &container["ready"]), (&json!(0), &json!(true)));
    ns.wait(
        "endpointslice -l kubernetes.io/service-name=web",
        ".endpoints[0].addresses[0]",
        status["podIP"].as_str().unwrap(),
    );

    let smi = "exec deploy/web -- nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits";
    assert_eq!(ns.kubectl(smi).expect(0).out, "NVIDIA GeForce RTX 3070, 8192\n");
    ns.kubectl_of(&["exec", "deploy/web", "--", "sh", "-c", "exit 5"]).expect(5);
    assert_eq!(ns.kubectl_in("exec -i deploy/web -- cat", "in and out").expect(0).out, "in and out");
    ns.kubectl("exec deploy/web -- ffmpeg").expect(127).says("executable file not found in $PATH");
    assert_eq!(ns.kubectl("logs deploy/web --tail=1").expect(0).out, "ready\n");

    ns.kubectl("delete deployment/web --cascade=foreground --timeout=120s").expect(0);
    assert_eq!(
        ns.kubectl("get replicasets,pods -o name").expect(0).out,
        "",
        "all of it is gone, bottom first"
    );
    assert_eq!(ns.field("pvc/data", ".status.phase"), "Bound");
    ns.kubectl("delete pvc/data --timeout=120s").expect(0);
    ns.kubectl(&format!("wait --for=delete pv/{volume} --timeout=120s")).expect(0);
}

#[test]
fn what_a_container_does_can_be_written_down() {
    let (_, ns) = played!("script");
    let metadata = "annotations: { testbed.runner/delay: 1s, testbed.runner/exec: '{\"nvidia-smi -L\": {\"stdout\": \
                    \"half\", \"stderr\": \"GPU is lost\", \"code\": 15, \"seconds\": 0.1}}' }";
    ns.apply(&deployment("web", metadata, "", ""));
    ns.kubectl("rollout status deployment/web --timeout=120s").expect(0);
    let ran = ns.kubectl("exec deploy/web -- nvidia-smi -L").expect(15);
    assert_eq!(ran.out, "half");
    ran.says("GPU is lost");
    ns.kubectl("exec deploy/web -- nvidia-smi").expect(127).says("executable file not found");
    let held = ns.fail("Pod", "held", "creating");
    ns.apply(&deployment("held", "", "", ""));
    ns.wait("pod -l app=held", WAITING, "ContainerCreating");
    let logs = || ns.kubectl("logs -f deploy/web --limit-bytes=10");
    std::thread::scope(|scope| {
        let logs = scope.spawn(logs);
        ns.kubectl("scale deployment/web --replicas=0").expect(0);
        assert!(logs.join().unwrap().out.len() <= 10, "it ends with its container");
    });
    drop(held);
    ns.wait("deployment/held", ".status.availableReplicas", "1");
}

#[test]
fn the_real_scheduler_says_what_is_missing() {
    let (cluster, ns) = played!("unschedulable");
    let node = cluster.add_node(&ns.name, 1);
    let gpu = "resources: { limits: { nvidia.com/gpu: '2' } }";
    ns.apply(&deployment("greedy", "", &format!("{node},"), gpu));
    let scheduled = ".status.conditions[?(@.type==\"PodScheduled\")]";
    ns.wait("pod -l app=greedy", &format!("{scheduled}.reason"), "Unschedulable");
    let message = ns.field("pod -l app=greedy", &format!(".items[0]{scheduled}.message"));
    assert!(message.contains("Insufficient nvidia.com/gpu"), "{message}");
}

#[test]
fn an_image_that_cannot_be_pulled() {
    let (_, ns) = played!("image");
    ns.apply(&deployment("web", &failing("image-pull"), "", ""));
    ns.wait("pod -l app=web", WAITING, "ImagePullBackOff");
    ns.event("Failed to pull image");
    ns.kubectl("logs deploy/web").expect(1).says("is waiting to start: ");
}

#[test]
fn a_container_that_crashes_again_and_again() {
    let (_, ns) = played!("crash");
    let probed = "readinessProbe: { exec: { command: ['true'] } }";
    let metadata = "annotations: { testbed.runner/fail: crash-loop, testbed.runner/exit-code: '3', \
                    testbed.runner/logs: \"one\\ntwo\\nthe disk is full\" }";
    ns.apply(&deployment("web", metadata, "", probed));
    until("it began three times more", || {
        let count = ns.field("pod -l app=web", ".items[*].status.containerStatuses[0].restartCount");
        count.parse().is_ok_and(|count: u32| count >= 3)
    });
    ns.wait("pod -l app=web", WAITING, "CrashLoopBackOff");
    let code = ".status.containerStatuses[0].lastState.terminated.exitCode";
    assert_eq!(ns.field("pod -l app=web", &format!(".items[0]{code}")), "3");
    assert_eq!(ns.kubectl("logs deploy/web --previous --tail=1").expect(0).out, "the disk is full\n");
    ns.event("Back-off restarting failed container");
}

#[test]
fn a_pod_that_never_gets_ready_until_it_may() {
    let (_, ns) = played!("probe");
    let failing = ns.fail("Pod", "web", "never-ready");
    let soon =
        deployment("web", "", "", "").replace("  selector", "  progressDeadlineSeconds: 2\n  selector");
    ns.apply(&soon);
    ns.kubectl("rollout status deployment/web --timeout=120s")
        .expect(1)
        .says("exceeded its progress deadline");
    ns.event("Readiness probe failed");
    drop(failing);
    ns.wait("deployment/web", ".status.availableReplicas", "1");
}

#[test]
fn what_a_pod_needs_and_nobody_has() {
    let (_, ns) = played!("missing");
    let file = "volumes: [{ name: settings, configMap: { name: settings } }],";
    ns.apply(&deployment("file", "", file, "volumeMounts: [{ name: settings, mountPath: /s }]"));
    let variable = "env: [{ name: P, valueFrom: { secretKeyRef: { name: keys, key: p } } }]";
    ns.apply(&deployment("variable", "", "", variable));
    ns.wait("pod -l app=variable", WAITING, "CreateContainerConfigError");
    ns.wait("pod -l app=file", WAITING, "ContainerCreating");
    ns.event("configmap \"settings\" not found");
    ns.kubectl("create configmap settings").expect(0);
    ns.kubectl("create secret generic keys --from-literal=p=x").expect(0);
    ns.wait("deployment/file", ".status.availableReplicas", "1");
    ns.wait("deployment/variable", ".status.availableReplicas", "1");

    ns.apply(&deployment("class", "", "runtimeClassName: nowhere,", ""));
    let failure = ".status.conditions[?(@.type==\"ReplicaFailure\")]";
    ns.wait("deployment/class", &format!("{failure}.status"), "True");
    let message = ns.field("deployment/class", &format!("{failure}.message"));
    assert!(message.contains("RuntimeClass \"nowhere\" not found"), "{message}");
}

#[test]
fn addresses_are_pinned_pooled_pending_or_somebody_elses() {
    let (_, ns) = played!("address");
    let service = |name: &str, annotations: &str, pinned: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, annotations: {{ {annotations} }} }}\n\
             spec: {{ type: LoadBalancer, {pinned} selector: {{ app: x }}, ports: [{{ port: 80 }}] }}\n"
        )
    };
    let address = ".status.loadBalancer.ingress[0].ip";
    let failing = ns.fail("Service", "late", "pending");
    ns.apply(&service("first", "", "loadBalancerIP: 192.0.2.81,"));
    ns.wait("service/first", address, "192.0.2.81");
    ns.apply(&service("second", "", "loadBalancerIP: 192.0.2.81,"));
    ns.event("address also in use by another service");
    ns.apply(&service("moved", "testbed.runner/fail: address=192.0.2.99", "loadBalancerIP: 192.0.2.82,"));
    ns.wait("service/moved", address, "192.0.2.99");
    ns.apply(&service("late", "", "loadBalancerIP: 192.0.2.83,"));
    ns.apply(&service("any", "", ""));
    ns.wait("service/any", ".status.loadBalancer.ingress[0].ipMode", "VIP");
    assert!(ns.field("service/any", address).starts_with("198.51.100."));
    assert_eq!(ns.field("service/second", address) + &ns.field("service/late", address), "");
    drop(failing);
    ns.wait("service/late", address, "192.0.2.83");
    let sharing = "metallb.io/allow-shared-ip: both, metallb.io/loadBalancerIPs: 192.0.2.84";
    ns.apply(&service("tcp", sharing, ""));
    ns.apply(&service("udp", sharing, ""));
    ns.wait("service/tcp", address, "192.0.2.84");
    ns.wait("service/udp", address, "192.0.2.84");
    ns.kubectl("delete service/first").expect(0);
    ns.wait("service/second", address, "192.0.2.81");
}

#[test]
fn a_claim_that_gets_no_volume_until_it_may() {
    let (_, ns) = played!("claim");
    let failing = ns.fail("PersistentVolumeClaim", "data", "pending");
    ns.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: data }\nspec: { storageClassName: immediate, \
         accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }\n",
    );
    ns.event("failed to provision volume");
    assert_eq!(ns.field("pvc/data", ".status.phase"), "Pending");
    drop(failing);
    ns.wait("pvc/data", ".status.phase", "Bound");
}

#[test]
fn a_node_that_is_gone_and_comes_back() {
    let (cluster, ns) = played!("gone");
    let node = cluster.add_node(&ns.name, 0);
    ns.apply(&deployment("web", "", &format!("{node},"), ""));
    ns.wait("deployment/web", ".status.availableReplicas", "1");
    cluster.node_is(&ns.name, "gone");
    ns.kubectl("logs deploy/web").expect(1);
    ns.wait(&format!("node/{}", ns.name), READY, "Unknown");
    ns.wait("pod -l app=web", READY, "False");
    cluster.node_is(&ns.name, "back");
    ns.wait(&format!("node/{}", ns.name), READY, "True");
    ns.wait("deployment/web", ".status.availableReplicas", "1");
}

#[test]
fn a_webhook_that_refuses() {
    let (cluster, ns) = played!("webhook");
    let map = |labels: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: x, labels: {{ {labels} }} }}\n")
    };
    for words in ["apply --server-side -f -", "apply --server-side --dry-run=server -f -"] {
        let refused = ns.kubectl_in(words, &map("testbed.runner/refuse: ''")).expect(1);
        refused.says("denied the request: the house rules refuse ConfigMap x");
    }
    ns.apply(&map(""));
    cluster.kubectl(&format!("label namespace {} testbed.runner/refuse=", ns.name)).expect(0);
    ns.kubectl_in("apply --server-side -f -", &map("").replace("name: x", "name: other"))
        .expect(1)
        .says("namespace.refuse.testbed.runner");
}

#[test]
fn an_api_server_with_troubles() {
    let (cluster, ns) = played!("front");
    let front = cluster.front(&ns.name);
    let create = |name: &str| front.kubectl(&format!("-n {} create configmap {name}", ns.name));
    let maps = format!("/api/v1/namespaces/{}/configmaps", ns.name);
    let posts = |answer: u64| {
        let seen = front.requests(&format!("POST {maps}"));
        seen.iter().filter(|request| request["code"] == answer).count()
    };

    front.fault(&json!({ "do": "answer", "code": 429, "reason": "TooManyRequests", "message": "later", "retry_after_s": 1,
        "method": "POST", "path": &maps, "times": 2 }));
    create("patient").expect(0);
    assert_eq!((posts(429), posts(201)), (2, 1), "it was told to wait twice");
    front.fault(
        &json!({ "do": "answer", "code": 409, "reason": "Conflict", "message": "not now", "method": "POST" }),
    );
    create("unlucky").expect(1).says("not now");
    front.heal();

    front.fault(&json!({ "do": "lose", "method": "POST", "path": &maps, "times": 1 }));
    create("lost").expect(1).says("error");
    assert_eq!(ns.field("configmap/lost", ".metadata.name"), "lost", "the answer was lost, not the request");
    front.fault(&json!({ "do": "cut", "method": "POST", "path": &maps, "times": 1 }));
    create("cut").expect(1);
    ns.kubectl("get configmap/cut").expect(1).says("NotFound");

    front.fault(&json!({ "do": "delay", "delay_ms": 100, "after": 1, "times": 1, "path": &maps }));
    create("slow").expect(0);
    create("slower").expect(0);
    front.heal();

    front.fault(&json!({ "do": "stall", "method": "POST", "path": &maps }));
    let mut stalled = front.command(&format!("-n {} create configmap stalled", ns.name));
    let stalled = stalled.stdout(Stdio::null()).spawn().unwrap();
    until("the request hangs", || posts(0) > 2);
    ns.kubectl("get configmap/stalled").expect(1).says("NotFound");
    front.heal();
    assert!(stalled.wait_with_output().unwrap().status.success());

    let mut watch = front.command(&format!("-n {} get configmaps -w -o name", ns.name));
    let mut watch = watch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it watches", || !front.requests("watch=true").is_empty());
    front.down();
    create("refused").expect(1).says("refused");
    watch.wait().unwrap();
    front.up();
    create("again").expect(0);
    front.cut();
    create("after").expect(0);
}

#[test]
fn users_may_what_they_were_given() {
    let (cluster, ns) = played!("users");
    let as_user = |kubeconfig: &PathBuf| {
        let kubeconfig = kubeconfig.display();
        ns.kubectl(&format!("--kubeconfig={kubeconfig} get pods"))
    };
    let user = cluster.user(&ns.name, 3600);
    let words = format!("User \"{}\" cannot list resource \"pods\" in API group \"\"", ns.name);
    as_user(&user).expect(1).says("(Forbidden)").says(&words);
    ns.kubectl("create role reader --verb=list --resource=pods").expect(0);
    ns.kubectl(&format!("create rolebinding reader --role=reader --user={}", ns.name)).expect(0);
    until("the role holds", || as_user(&user).code == 0);
    as_user(&cluster.user(&ns.name, -60)).expect(1).says("logged in to the server");
    let token = ns.kubectl("create token default").expect(0).out;
    let server = cluster.ready().unwrap()["server"].as_str().unwrap();
    let bare = ns.kubectl_of(&[
        "--kubeconfig=/dev/null",
        &format!("--server={server}"),
        "--insecure-skip-tls-verify",
        &format!("--token={}", token.trim()),
        "auth",
        "whoami",
    ]);
    bare.expect(0).says(&format!("system:serviceaccount:{}:default", ns.name));
}

#[test]
fn apply_is_the_real_one() {
    let Some(cluster) = Cluster::shared() else { return };
    let ns = cluster.namespace("apply");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }\ndata: { a: '1' }\n";
    let version = |ns: &Namespace| ns.field("configmap/x", ".metadata.resourceVersion");
    ns.apply(map);
    let before = version(&ns);
    ns.apply(map);
    assert_eq!(version(&ns), before, "the same again is no change");
    let other = map.replace("'1'", "'2'");
    let conflict = ns.kubectl_in("apply --server-side --field-manager=other -f -", &other).expect(1);
    conflict.says("Apply failed with 1 conflict: conflict with \"test\": .data.a");
    let dry = "apply --server-side --field-manager=test --dry-run=server -f - -o jsonpath={.data.a}";
    assert_eq!(ns.kubectl_in(dry, &other).expect(0).out, "2");
    assert_eq!((ns.field("configmap/x", ".data.a"), version(&ns)), ("1".to_owned(), before));
    let unknown = ns.kubectl_in("apply --server-side -f -", &format!("{map}nonsense: 1\n")).expect(1);
    unknown.says("field not declared in schema");
}

#[test]
fn the_real_controllers_roll_out() {
    let Some(cluster) = Cluster::shared() else { return };
    let ns = cluster.namespace("controllers");
    let template = "template: { metadata: { labels: { app: x } }, spec: { containers: [{ name: main, image: 'x:1' }] } }";
    ns.apply(&format!(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{ name: set }}\nspec: {{ replicas: 2, serviceName: set, \
         selector: {{ matchLabels: {{ app: x }} }}, {template} }}\n---\napiVersion: apps/v1\nkind: DaemonSet\n\
         metadata: {{ name: everywhere }}\nspec: {{ selector: {{ matchLabels: {{ app: x }} }}, {template} }}\n---\n\
         apiVersion: batch/v1\nkind: Job\nmetadata: {{ name: once }}\nspec: {{ template: {{ spec: {{ restartPolicy: \
         Never, containers: [{{ name: main, image: 'x:1', command: ['true'] }}] }} }} }}\n"
    ));
    ns.kubectl("rollout status statefulset/set --timeout=120s").expect(0);
    ns.kubectl("rollout status daemonset/everywhere --timeout=120s").expect(0);
    ns.kubectl("wait --for=condition=complete job/once --timeout=120s").expect(0);
    cluster.kubectl(&format!("delete namespace {} --timeout=120s", ns.name)).expect(0);
}

#[test]
fn jobs_that_fail_and_pods_that_do_not_end() {
    let (_, ns) = played!("jobs");
    let _failing = ns.fail("Pod", "once", "crash-loop");
    ns.apply(
        "apiVersion: batch/v1\nkind: Job\nmetadata: { name: once }\nspec: { backoffLimit: 0, template: { spec: { \
         restartPolicy: Never, containers: [{ name: main, image: 'x:1' }] } } }\n",
    );
    ns.kubectl("wait --for=condition=failed job/once --timeout=120s").expect(0);
    let stuck = ns.fail("Pod", "web", "stuck");
    ns.apply(&deployment("web", "", "", ""));
    ns.wait("deployment/web", ".status.availableReplicas", "1");
    ns.kubectl("delete pod -l app=web --wait=false").expect(0);
    assert_ne!(ns.field("pod -l app=web", ".items[*].metadata.deletionTimestamp"), "");
    drop(stuck);
    until("it is gone", || ns.field("pod -l app=web", ".items[*].metadata.deletionTimestamp").is_empty());
}

#[test]
fn what_cannot_be_asked_is_said() {
    let (cluster, ns) = played!("asked");
    let rule =
        |kind: &str, fail: &str| json!({ "kind": kind, "namespace": ns.name, "name": "x", "fail": fail });
    let refused = |path: &str, body: &Value| cluster.ask("POST", path, body).unwrap_err();
    assert!(refused("/rules", &rule("Node", "gone")).contains("not `Node`"));
    assert!(refused("/rules", &rule("Pod", "nonsense")).contains("not `nonsense`"));
    assert!(refused("/fronts/main/faults", &json!({ "do": "dance" })).contains("not `dance`"));
    assert!(refused("/nodes/nowhere/gone", &Value::Null).contains("no node `nowhere`"));
}

/// The API server is killed and another one goes on over the same store; killed before it is ready or while it runs,
/// the whole leaves nothing.
#[test]
fn it_goes_on_after_a_restart_and_ends_with_its_handle_a_signal_or_its_parent() {
    if Cluster::shared().is_none_or(|cluster| cluster.ready().is_none()) {
        return;
    }
    let cluster = Cluster::start().unwrap();
    let ready = cluster.ready().cloned().unwrap();
    let folder = PathBuf::from(ready["folder"].as_str().unwrap());
    println!("ready after {} ms", ready["ready_ms"]);

    cluster.kubectl("create configmap kept").expect(0);
    let mut watch = cluster.command("get configmaps --watch-only -o name");
    let watch = watch.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let watches = || cluster.ask("GET", "/fronts/main/requests?words=watch=true", &Value::Null).unwrap();
    until("it watches", || !watches().as_array().unwrap().is_empty());
    cluster.restart().unwrap();
    let ended = watch.wait_with_output().unwrap();
    assert!(ended.status.code().is_some(), "the watch has ended, and by itself");
    cluster.kubectl("get configmap kept").expect(0);
    cluster.kubectl("create deployment after --image=x:1").expect(0);
    cluster.kubectl("rollout status deployment/after --timeout=120s").expect(0);
    let (program, pid) = (cluster.kubectl_path().with_file_name("testbed"), ready["pid"].as_u64().unwrap());
    assert!(folder.exists());
    drop(cluster);
    assert!(!folder.exists());
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());

    let scratch = tempfile::TempDir::new().unwrap();
    let folder = scratch.path().join("a");
    let mut command = Command::new(&program);
    command.arg("--folder").arg(&folder).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut process = command.spawn().unwrap();
    until("it has begun", || folder.join("log").exists());
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert!(!folder.exists());

    // Its standard input stays open, its parent does not.
    let folder = scratch.path().join("b");
    let (program, argument) = (program.display(), folder.display());
    let script = format!(
        "{program} --keep --folder {argument} </dev/null >/dev/null & until [ -e {argument}/log ]; do :; done"
    );
    assert!(Command::new("sh").arg("-c").arg(script).status().unwrap().success());
    until("it has ended", || fs::metadata(&folder).is_err());
}
