//! Whole runs by the binary: what is shown before, kills at any instant, the way back out of the journal alone, and the
//! manifests of `plans/frigate/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::support::cluster::{Cluster, Namespace};
use super::support::lab::{Dice, Lab, Ran, full};
use super::support::sshd::until;
use super::{MAP, Scene, deployment, played};

fn plan(lab: &Lab, kubeconfig: &Path, namespace: &str, more: &str) {
    lab.plan(
        "p",
        &format!(
            "name = \"p\"\n[clusters.home]\nkubeconfig = \"{}\"\n[[step]]\nid = \"deploy\"\ntimeout = \"2m\"\nforward = {{ \
             action = \"kubernetes.apply\", cluster = \"home\", namespace = \"{namespace}\", manifests = \"m\"{more} }}\n",
            kubeconfig.display()
        ),
    );
}

fn scene(name: &str) -> Option<(Lab, Scene)> {
    Some((Lab::new(), super::scene(name)?))
}

#[test]
fn what_would_change_is_shown_before_and_drift_after() {
    let Some((lab, scene)) = scene("shown") else { return };
    let kubeconfig = Cluster::shared().unwrap().kubeconfig();
    plan(&lab, kubeconfig, &scene.ns.name, "");
    lab.write("p/m/a.yaml", MAP);
    lab.write("p/m/b.yaml", &deployment("web", "", "", ""));
    lab.write("p/m/README.md", "not a manifest");
    let seen = lab.expect(0, "plan p/p.toml");
    for words in [format!("+ ConfigMap {}/a would be created", scene.ns.name), "k: new".to_owned()] {
        assert!(seen.out.contains(&words), "{}", seen.out);
    }
    assert!(scene.objects().is_empty());
    lab.expect(0, "doctor p/p.toml").says("rights on cluster `home` for step `deploy`");
    lab.expect(0, "apply p/p.toml");
    lab.expect(0, "apply p/p.toml --new-run");
    assert_eq!(lab.steps("p-2")["deploy"], "satisfied");
    scene.ns.kubectl_in(
        "apply --server-side --force-conflicts --field-manager=somebody -f -",
        &MAP.replace("new", "other"),
    );
    let drift = lab.expect(0, "drift p-1");
    // What somebody took is theirs: an apply would be refused.
    for words in
        ["drifted", "would be refused", "`.data.k` belongs to `somebody`", "!   .data.k: conflict with"]
    {
        assert!(drift.out.contains(words), "{words}\n{}", drift.out);
    }
    scene.ns.kubectl("delete deployment web").expect(0);
    let drift = lab.expect(0, "drift p-1");
    let gone = format!("+ Deployment {}/web would be created", scene.ns.name);
    assert!(drift.out.contains("drifted") && drift.out.contains(&gone), "{}", drift.out);
}

/// Who looks only later is asked for beforehand too.
#[test]
fn what_a_later_check_may_not_see_is_said_by_doctor() {
    let Some((scene, cluster)) = played("blind") else { return };
    let (lab, name) = (Lab::new(), &scene.ns.name);
    let user = cluster.user("blind", 3600);
    for (verbs, kinds) in [("get,create,patch,delete", "configmaps"), ("get,list", "deployments.apps,pods")] {
        let role = kinds.split('.').next().unwrap();
        scene.ns.kubectl(&format!("create role {role} --verb={verbs} --resource={kinds}")).expect(0);
        scene.ns.kubectl(&format!("create rolebinding {role} --role={role} --user=blind")).expect(0);
    }
    until("the rights are there", || scene.ns.kubectl("auth can-i list pods --as=blind").code == 0);
    lab.write("p/m/a.yaml", MAP);
    plan(&lab, &user, name, "");
    let text = fs::read_to_string(lab.path("p/p.toml")).unwrap();
    let look = format!("check = \"gpu\", cluster = \"home\", deployment = \"{name}/web\"");
    lab.plan("p", &format!("{text}[[step]]\nid = \"prove\"\nverify = [{{ {look} }}]\n"));
    let said = lab.expect(2, "doctor p/p.toml").text();
    for words in [
        "ok       rights on cluster `home` for step `deploy`: all 4 that are needed are there",
        "problem  rights on cluster `home` for step `prove`, gpu",
        "may not `create` `pods/exec`: a Role in namespace",
        "There is 1 problem.",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
}

#[test]
fn manifests_are_recorded_checked_and_built() {
    let Some((lab, scene)) = scene("recorded") else { return };
    let cluster = Cluster::shared().unwrap();
    plan(&lab, cluster.kubeconfig(), &scene.ns.name, "");
    lab.write("p/m/a.yaml", &format!("{MAP}---\n{MAP}"));
    lab.write("p/m/b.yaml", "x: [\n");
    let said = lab.expect(2, "validate p/p.toml");
    for words in ["bad-manifest", "`b.yaml` is no YAML that can be read"] {
        assert!(said.text().contains(words), "{words}\n{}", said.text());
    }
    lab.write("p/m/b.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: b }\n");
    lab.expect(2, "validate p/p.toml").says("`a.yaml` has ConfigMap a a second time");
    lab.write("p/m/a.yaml", MAP);
    lab.write("p/m/kustomization.yaml", "resources: [a.yaml, b.yaml]\nnamePrefix: k-\n");
    let mut command = lab.command("validate p/p.toml");
    command.env("PATH", lab.path("out"));
    lab.begin(command).end().expect(2).says("`kubectl`, which builds it, is not in PATH");
    let mut command = lab.command("apply p/p.toml");
    let folder = cluster.kubectl_path().parent().unwrap().display();
    command.env("PATH", format!("{folder}:{}", env!("PATH")));
    lab.begin(command).end().expect(0);
    assert_eq!(scene.objects().into_keys().collect::<Vec<_>>(), ["ConfigMap k-a", "ConfigMap k-b"]);
    // The way back needs the journal alone.
    fs::remove_dir_all(lab.path("p")).unwrap();
    lab.expect(0, "rollback p");
    assert!(scene.objects().is_empty());
}

/// Values of Secrets are in no file of the state folder, whatever is tried with them.
#[test]
fn secrets_are_not_recorded_and_manifests_that_hold_them_are_refused() {
    let Some((lab, scene)) = scene("secrets") else { return };
    let name = &scene.ns.name;
    plan(&lab, Cluster::shared().unwrap().kubeconfig(), name, "");
    lab.write("p/m/a.yaml", MAP);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: { name: login, labels: { app: web } }\ntype: kubernetes.io/basic-auth\n";
    lab.write("p/m/s.yaml", &format!("{secret}stringData: {{ password: hunter2-clear }}\n"));
    for words in ["validate p/p.toml", "plan p/p.toml", "apply p/p.toml"] {
        let said = lab.expect(2, words).text();
        for words in
            ["secret-in-manifest", "`s.yaml` has Secret login with its values", "secrets = { \"login\" = {"]
        {
            assert!(said.contains(words), "{words}\n{said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
    // Somebody has one there already, and nobody knows whose secret that is.
    let theirs = "data: { password: aHVudGVyMi10aGVpcnM=, username: aHVudGVyMg== }\n";
    scene.ns.apply(&format!("{secret}{theirs}"));
    // Without values it says the type and the labels; the step fills it in.
    lab.write("p/m/s.yaml", secret);
    let more = format!(
        ", force_conflicts = true, secrets = {{ \"{name}/login\" = {{ username = \"frigate\", password = \"{{{{ secrets.login }}}}\" }} }}"
    );
    plan(&lab, Cluster::shared().unwrap().kubeconfig(), name, &more);
    let with = fs::read_to_string(lab.path("p/p.toml")).unwrap();
    lab.plan(
        "p",
        &with.replace("[clusters.home]", "[secrets]\nlogin = { env = \"LOGIN\" }\n[clusters.home]"),
    );
    let run = |words: &str| {
        let mut command = lab.command(words);
        command.env("LOGIN", "hunter2-value");
        lab.begin(command).end().expect(0)
    };
    for words in ["plan p/p.toml", "apply p/p.toml"] {
        assert!(!run(words).text().contains("hunter2"), "{words}");
    }
    let field = |path: &str| scene.ns.field("secret login", path);
    assert_eq!(field(".data.password"), "aHVudGVyMi12YWx1ZQ==");
    assert_eq!(
        (field(".type"), field(".metadata.labels.app")),
        ("kubernetes.io/basic-auth".to_owned(), "web".to_owned())
    );
    run("rollback p");
    assert_eq!(field(".data"), r#"{"password":"aHVudGVyMi10aGVpcnM=","username":"aHVudGVyMg=="}"#);
    let kubeconfig = Cluster::shared().unwrap().kubeconfig().display();
    lab.plan(
        "d",
        &format!(
            "name = \"d\"\n[clusters.home]\nkubeconfig = \"{kubeconfig}\"\n[[step]]\nid = \"delete\"\nforward = {{ action = \
             \"kubernetes.delete\", cluster = \"home\", object = \"Secret {name}/login\" }}\n"
        ),
    );
    run("apply p/d.toml");
    assert!(scene.objects().is_empty());
    run("rollback d");
    assert_eq!(field(".data.password"), "aHVudGVyMi10aGVpcnM=");
    for secret in ["hunter2", "aHVudGVyMi", "aHVudGVyMi12YWx1ZQ"] {
        for path in walk(&lab.state()) {
            let bytes = fs::read(&path).unwrap();
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{secret} is in {}", path.display());
        }
    }
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(walk(&entry.path())),
            kind if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
    all
}

/// Whoever watches sees what is waited for while it is waited for, not only when it has failed.
#[test]
fn what_a_rollout_waits_for_is_said_while_it_waits() {
    let Some((lab, scene)) = scene("live") else { return };
    plan(&lab, Cluster::shared().unwrap().kubeconfig(), &scene.ns.name, "");
    let gpu = "resources: { limits: { nvidia.com/gpu: '8' } }";
    lab.write("p/m/a.yaml", &deployment("web", "", "", gpu));
    let mut going = lab.start("apply p/p.toml");
    until("it says what it waits for", || {
        let said = going.out();
        said.lines().any(|line| {
            line.contains("  waits  ")
                && line.contains("0/1 pods ready; pod web-")
                && line.contains("Insufficient nvidia.com/gpu")
        })
    });
    assert!(!going.ends_within(Duration::ZERO), "it still waits");
    scene.ns.kubectl("patch deployment web --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/template/spec/containers/0/resources/limits\"}]").expect(0);
    going.end().expect(0);
}

/// What is there before: somebody else's.
fn theirs(ns: &Namespace) {
    ns.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: a }}\ndata: {{ k: old, only: theirs }}\n---\n{}",
        deployment("web", "", "", "env: [{ name: A, value: '1' }]")
    ));
    ns.wait("deployment/web", ".status.availableReplicas", "1");
}

fn ours(lab: &Lab) {
    let mut all = format!("{MAP}---\n{}", deployment("web", "", "", "env: [{ name: A, value: '2' }]"));
    for number in 0..6 {
        all.push_str(&format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: m{number} }}\ndata: {{ k: v }}\n"
        ));
    }
    all.push_str(
        "---\napiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { selector: { app: web }, ports: [{ port: 80 }] }\n\
         ---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: { name: data }\nspec: { accessModes: [ReadWriteOnce], \
         resources: { requests: { storage: 1Gi } } }\n",
    );
    all.push_str(&format!("---\n{}", deployment("new", "", "", "")));
    lab.write("p/m/all.yaml", &all);
}

/// Objects with what differs from one namespace to another taken out.
fn compared(scene: &Scene) -> BTreeMap<String, Value> {
    let text = serde_json::to_string(&scene.objects()).unwrap().replace(&scene.ns.name, "NAMESPACE");
    let mut all: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    for object in all.values_mut() {
        if let Some(spec) = object["spec"].as_object_mut() {
            // Given out by the cluster.
            spec.remove("clusterIP");
            spec.remove("clusterIPs");
        }
        if let Some(annotations) = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("deployment.kubernetes.io/revision");
            if annotations.is_empty() {
                object["metadata"].as_object_mut().unwrap().remove("annotations");
            }
        }
    }
    all
}

/// Runs a command until it ends by itself, killing it at random instants.
fn disturbed(lab: &Lab, dice: &mut Dice, words: &str, most_ms: u64, kills: u32) -> (u32, Ran) {
    let mut killed = 0;
    loop {
        let mut going = lab.start(words);
        let wait = if killed < kills {
            Duration::from_millis(dice.below(most_ms))
        } else {
            Duration::from_secs(110)
        };
        if going.ends_within(wait) {
            return (killed, going.end());
        }
        going.kill();
        killed += 1;
    }
}

/// The example of the design: the way back deletes the new owner, and the old one starts when it is seen to be gone.
#[test]
fn the_old_owner_comes_back_when_the_new_one_is_deleted() {
    let Some((lab, scene)) = scene("owners") else { return };
    let name = &scene.ns.name;
    lab.write("p/m.yaml", &deployment("web", "", "", ""));
    lab.write("old-runs", "");
    let kubeconfig = Cluster::shared().unwrap().kubeconfig().display();
    lab.plan(
        "p",
        &format!(
            "name = \"p\"\n[clusters.home]\nkubeconfig = \"{kubeconfig}\"\n[resources.client]\nowners = [\"old\", \"new\"]\n\
             held_at_start = \"old\"\ngone.old = [{{ check = \"command\", argv = [\"test\", \"!\", \"-e\", \"../old-runs\"] }}]\n\
             gone.new = [{{ check = \"kubernetes\", cluster = \"home\", deployment = \"{name}/web\", replicas = 0 }}]\n\
             [[step]]\nid = \"stop-old\"\nfrees = {{ client = \"old\" }}\nforward = {{ action = \"command\", argv = [\"rm\", \
             \"../old-runs\"] }}\nprobe = {{ check = \"command\", argv = [\"test\", \"!\", \"-e\", \"../old-runs\"] }}\n\
             compensate = {{ action = \"command\", argv = [\"touch\", \"../old-runs\"] }}\n\
             [[step]]\nid = \"deploy\"\ntakes = {{ client = \"new\" }}\nforward = {{ action = \"kubernetes.apply\", cluster = \
             \"home\", namespace = \"{name}\", manifests = \"m.yaml\" }}\n"
        ),
    );
    lab.expect(0, "apply p/p.toml");
    assert!(!lab.path("old-runs").exists());
    let mut back = lab.start("rollback p");
    assert!(back.ends_within(Duration::from_secs(60)), "it waits for ever: {}", back.out());
    back.end().expect(0);
    assert!(lab.path("old-runs").exists());
    assert!(scene.objects().is_empty());
}

/// Fifty kills in full, a tenth of them otherwise.
#[test]
fn killed_at_any_instant_it_comes_to_the_same_and_all_the_way_back() {
    let Some((lab, undisturbed)) = scene("undisturbed") else { return };
    let kubeconfig = Cluster::shared().unwrap().kubeconfig();
    theirs(&undisturbed.ns);
    ours(&lab);
    plan(&lab, kubeconfig, &undisturbed.ns.name, ", force_conflicts = true");
    let before = compared(&undisturbed);
    lab.expect(0, "apply p/p.toml");
    let (after, claim) = (compared(&undisturbed), "PersistentVolumeClaim data");
    lab.expect(0, "rollback p");
    let mut back = compared(&undisturbed);
    assert!(back.remove(claim).is_some(), "data is kept");
    assert_eq!(back, before);

    let kills = if full() { 50 } else { 5 };
    let mut dice = Dice::new("kubernetes");
    let (mut there, mut home) = (0, 0);
    while there < kills || home < kills {
        let (lab, scene) = (Lab::new(), super::scene("killed").unwrap());
        theirs(&scene.ns);
        ours(&lab);
        plan(&lab, kubeconfig, &scene.ns.name, ", force_conflicts = true");
        let (killed, ran) = disturbed(&lab, &mut dice, "apply p/p.toml", 1500, 5);
        ran.expect(0);
        there += killed;
        assert_eq!(compared(&scene), after);
        let (killed, ran) = disturbed(&lab, &mut dice, "rollback p", 1500, 5);
        ran.expect(0);
        home += killed;
        let mut back = compared(&scene);
        assert!(back.remove(claim).is_some(), "data is kept");
        assert_eq!(back, before);
        for object in ["configmap a", "deployment web"] {
            assert!(!scene.managers(object).contains(&"runner".to_owned()), "{object}");
        }
    }
    println!("killed {there} times on the way there and {home} times on the way back");
}

/// `plans/kubernetes.toml` as it lies there, with the manifests beside it.
#[test]
fn the_manifests_of_frigate_go_there_and_back_with_both_claims_bound() {
    let Some((scene, cluster)) = played("frigate-beside") else { return };
    drop(scene);
    let lab = Lab::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    lab.write("p/kubernetes.toml", &fs::read_to_string(root.join("kubernetes.toml")).unwrap());
    for entry in fs::read_dir(root.join("frigate")).unwrap() {
        let entry = entry.unwrap();
        let name = format!("p/frigate/{}", entry.file_name().to_str().unwrap());
        lab.write(&name, &fs::read_to_string(entry.path()).unwrap());
    }
    let manifests = lab.at("p/frigate");
    let linted =
        Command::new(env!("CARGO_BIN_EXE_runner")).arg("lint").args(files(&manifests)).output().unwrap();
    assert!(linted.status.success(), "{}", String::from_utf8_lossy(&linted.stdout));
    assert!(!String::from_utf8_lossy(&linted.stdout).contains("warning"), "{linted:?}");
    let with = |words: &str| {
        let mut command = lab.command(words);
        for name in
            ["FRIGATE_MQTT_USER", "FRIGATE_MQTT_PASSWORD", "FRIGATE_CAMERA_USER", "FRIGATE_CAMERA_PASSWORD"]
        {
            command.env(name, format!("s3cret-{name}"));
        }
        lab.begin(command).end()
    };
    let var = format!("--var kubeconfig={}", cluster.kubeconfig().display());
    let said = with(&format!("-vv apply p/kubernetes.toml {var}")).expect(0);
    let text = said.text() + &lab.expect(0, "-vv events kubernetes").text();
    assert!(text.contains("Frigate is at 198.51.100.83, on gpu-1"), "{text}");
    assert!(!text.contains("s3cret-"), "{text}");
    let claims = || cluster.kubectl("-n frigate get pvc -o jsonpath={.items[*].status.phase}").expect(0).out;
    assert_eq!(claims(), "Bound Bound");
    let address = |name: &str| {
        let output = "-o jsonpath={.status.loadBalancer.ingress[0].ip}";
        cluster.kubectl(&format!("-n frigate get service {name} {output}")).expect(0).out
    };
    assert_eq!(
        (address("frigate"), address("frigate-webrtc")),
        ("198.51.100.83".to_owned(), "198.51.100.84".to_owned())
    );
    let said = with("rollback kubernetes").expect(0).text();
    for kept in ["PersistentVolumeClaim frigate/frigate-media", "Namespace frigate"] {
        assert!(said.contains(&format!("kept: {kept}")), "{said}");
    }
    assert_eq!(claims(), "Bound Bound");
    let left = cluster.kubectl("-n frigate get deployments,services,secrets,pods -o name").expect(0).out;
    assert_eq!(left.trim(), "");
    cluster.kubectl("delete namespace frigate --wait=false").expect(0);
}

fn files(folder: &str) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}
