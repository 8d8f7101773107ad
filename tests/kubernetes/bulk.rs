//! Many objects: as fast as `kubectl apply --server-side` of the same folder on the same server, or nearly.
//!
//! The promise is 1.2 times its wall time with an optimized binary, probes and pre-images included. What is asserted here,
//! with whatever binary and beside other tests, is ten times that. `RUNNER_FULL=1` takes all 500 objects.

use std::fs;
use std::time::{Duration, Instant};

use super::support::cluster::Cluster;
use super::support::lab::{Lab, full};

const TIMES: u32 = 12;

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
