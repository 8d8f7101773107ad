//! How long `runner apply` takes for 500 objects, and `kubectl apply --server-side` for the same folder on the same
//! server: nothing applied yet, and everything applied already.
//!
//! `cargo bench --bench kubernetes`; the goal is at most 1.2 times. Needs the control plane that `tests/testbed/build`
//! builds, or a cluster that `RUNNER_TEST_KUBECONFIG` names. Both go first once, so that the server is warm.

#![allow(clippy::unwrap_used, reason = "a benchmark may end at the first surprise")]

use std::fs;
use std::time::{Duration, Instant};

use support::cluster::Cluster;
use support::lab::Lab;

#[path = "../tests/support/mod.rs"]
mod support;

const OBJECTS: usize = 500;

fn main() {
    let Some(cluster) = Cluster::shared() else { return };
    let folder = tempfile::TempDir::new().unwrap();
    for number in 0..OBJECTS {
        let text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: m{number} }}\ndata: {{ text: '{}' }}\n",
            "x".repeat(500)
        );
        fs::write(folder.path().join(format!("{number:03}.yaml")), text).unwrap();
    }
    let path = folder.path().display().to_string();
    for (round, name) in ["warming", "measured"].iter().enumerate() {
        let (theirs, ours) = (cluster.namespace("bench-theirs"), cluster.namespace("bench-ours"));
        let lab = Lab::new();
        lab.plan(
            "p",
            &format!(
                "name = \"p\"\n[clusters.home]\nkubeconfig = \"{}\"\n[[step]]\nid = \"all\"\nforward = {{ action = \
                 \"kubernetes.apply\", cluster = \"home\", namespace = \"{}\", manifests = \"{path}\" }}\n",
                cluster.kubeconfig().display(),
                ours.name,
            ),
        );
        for (what, words) in [("nothing applied yet", ""), ("everything applied already", "--new-run")] {
            let kubectl =
                took(|| drop(theirs.kubectl_of(&["apply", "--server-side", "-f", &path]).expect(0)));
            let runner = took(|| drop(lab.expect(0, &format!("apply p/p.toml {words}"))));
            let times = runner.as_secs_f64() / kubectl.as_secs_f64();
            print(&format!(
                "{name}, round {round}: {what}: kubectl {kubectl:.2?}, runner {runner:.2?}, {times:.2} times"
            ));
        }
    }
}

fn took(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

#[expect(clippy::print_stdout, reason = "a benchmark's answer")]
fn print(line: &str) {
    println!("{line}");
}
