//! Many objects: as fast as `kubectl apply --server-side` of the same folder on the same server, or nearly.
//!
//! The promise is 1.2 times its wall time with an optimized binary, probes and pre-images included. What is asserted here,
//! with whatever binary and beside other tests, is ten times that. `RUNNER_FULL=1` takes all 500 objects.

use std::fs;
use std::time::{Duration, Instant};

use super::support::cluster::Cluster;
use super::support::lab::{Lab, full};

const TIMES: u32 = 12;

/// Requests besides one for each object and purpose: discovery, lists, and what a busy server is asked again.
const BESIDES: usize = 12;

/// What makes it fast, whatever the machine: nothing is asked twice that need not be, and nothing object by object that can
/// be listed.
#[test]
fn many_objects_are_no_more_requests_than_they_must_be() {
    let Some((scene, cluster)) = super::played("requests") else { return };
    drop(scene);
    const MAPS: usize = 40;
    const WORKLOADS: usize = 10;
    let front = cluster.front("requests");
    let ns = cluster.namespace("requests");
    let lab = Lab::new();
    for number in 0..MAPS {
        let text =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: m{number} }}\ndata: {{ k: v }}\n");
        lab.write(&format!("p/m/{number:03}.yaml"), &text);
    }
    for number in 0..WORKLOADS {
        let text = super::deployment(&format!("w{number}"), "", "", "");
        lab.write(&format!("p/m/w{number}.yaml"), &text);
    }
    lab.plan(
        "p",
        &format!(
            "name = \"p\"\n[clusters.home]\nkubeconfig = \"{}\"\n[[step]]\nid = \"all\"\nforward = {{ action = \
             \"kubernetes.apply\", cluster = \"home\", namespace = \"{}\", manifests = \"m\" }}\n",
            front.kubeconfig.display(),
            ns.name,
        ),
    );
    let objects = MAPS + WORKLOADS;
    let mut before = 0;
    let mut since = |words: &str| {
        let all = front.requests("");
        let new: Vec<String> = all[before..]
            .iter()
            .map(|one| format!("{} {}", one["method"].as_str().unwrap(), one["path"].as_str().unwrap()))
            .collect();
        before = all.len();
        let of = |what: &str| new.iter().filter(|one| one.contains(what)).count();
        // Every look at the rollout lists each kind once, whatever the number of workloads.
        let (looks, rest) = (of("/deployments?"), of("PATCH"));
        for kind in ["/replicasets?", "/pods?", "/events?"] {
            assert!(of(kind) <= looks, "{words}: {kind}: {new:#?}");
        }
        let lists = of("/deployments?") + of("/replicasets?") + of("/pods?") + of("/events?");
        assert!(new.len() - rest - lists <= BESIDES, "{words}: {new:#?}");
        println!("{words}: {} requests, {rest} of them patches, {looks} looks at the rollout", new.len());
        rest
    };
    lab.expect(0, "apply p/p.toml");
    // Tried once as a whole, then applied.
    assert_eq!(since("nothing applied yet"), 2 * objects);
    lab.expect(0, "apply p/p.toml --new-run");
    assert_eq!(since("everything applied already"), objects);
    lab.expect(0, "rollback p-1");
}

#[test]
fn many_objects_take_no_longer_than_they_take_kubectl() {
    let Some(cluster) = Cluster::shared() else { return };
    let count = if full() { 500 } else { 60 };
    let folder = tempfile::TempDir::new().unwrap();
    for number in 0..count {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: m{number} }}\ndata: {{ number: '{number}', text: '{}' }}\n",
            "x".repeat(500)
        );
        fs::write(folder.path().join(format!("{number:03}.yaml")), text).unwrap();
    }
    let (theirs, ours) = (cluster.namespace("bulk-theirs"), cluster.namespace("bulk-ours"));
    let kubectl = || {
        let began = Instant::now();
        let path = folder.path().display().to_string();
        theirs.kubectl_of(&["apply", "--server-side", "-f", &path]).expect(0);
        began.elapsed()
    };
    let lab = Lab::new();
    lab.plan(
        "p",
        &format!(
            "name = \"p\"\n[clusters.home]\nkubeconfig = \"{}\"\n[[step]]\nid = \"all\"\nforward = {{ action = \
             \"kubernetes.apply\", cluster = \"home\", namespace = \"{}\", manifests = \"{}\" }}\n",
            cluster.kubeconfig().display(),
            ours.name,
            folder.path().display()
        ),
    );
    let runner = |words: &str| {
        let began = Instant::now();
        lab.expect(0, words);
        began.elapsed()
    };
    let judge = |what: &str, theirs: Duration, ours: Duration| {
        println!(
            "{count} objects, {what}: kubectl {theirs:?}, runner {ours:?}, {:.2} times",
            ours.as_secs_f64() / theirs.as_secs_f64()
        );
        assert!(ours < theirs * TIMES, "{what}: {ours:?}, and kubectl takes {theirs:?}");
    };
    judge("nothing applied yet", kubectl(), runner("apply p/p.toml"));
    judge("everything applied already", kubectl(), runner("apply p/p.toml --new-run"));
    assert_eq!(lab.steps("p-2")["all"], "satisfied");
    runner("rollback p-1");
    let left = ours.kubectl("get configmaps -o name").expect(0).out;
    assert_eq!(left.trim(), "configmap/kube-root-ca.crt");
}
