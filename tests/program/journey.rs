//! Goal: `plans/frigate.toml` can be taken back from every step, looked at without a trace, examined when much is wrong at once,
//! adapted to another house, and run against a real control plane and a real broker. Method: the real binary in the simulated
//! house, judged by what the house has on file.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runner::lab::house::{Blueprint, House, Outside, PASSWORD, TOKEN};
use serde_json::{Value, json};
use support::cluster::Cluster;
use support::house::{at_rest, differences, on_file, settled};
use support::lab::{Dice, Lab, Ran, full};
use support::mosquitto::{self, Mosquitto};
use support::port::Port;

/// Longer than any of this may take on a busy machine: a limit against hanging.
const LIMIT: Duration = Duration::from_secs(400);

const SECRETS: [(&str, &str); 4] = [
    ("HA_TOKEN", TOKEN),
    ("FRIGATE_MQTT_PASSWORD", PASSWORD),
    ("FRIGATE_CAMERA_USER", "viewer"),
    ("FRIGATE_CAMERA_PASSWORD", "password-of-the-cameras"),
];

/// The plan's steps, in order.
const STEPS: [&str; 15] = [
    "old-is-well",
    "home-assistant-is-well",
    "broker-is-well",
    "cluster-is-well",
    "baseline",
    "lint",
    "deploy",
    "prove",
    "repoint",
    "backup",
    "stop-old",
    "heal",
    "soak",
    "delete-old",
    // Not one of the plan's: all of them.
    "",
];

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_runner"))
}

fn plans() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans")
}

fn run(lab: &Lab, words: &str, env: &[(&str, &str)]) -> Ran {
    let mut command = lab.command(words);
    command.envs(env.iter().copied());
    finish(lab, command)
}

fn finish(lab: &Lab, command: Command) -> Ran {
    let mut going = lab.begin(command);
    assert!(going.ends_within(LIMIT), "it hangs\n{}\n{}", going.out(), going.err());
    going.end()
}

#[test]
fn taken_back_from_any_step_the_house_is_as_it_was() {
    let mut dice = Dice::new("a step to go back from");
    let all = &STEPS[..STEPS.len() - 1];
    let drawn = all[usize::try_from(dice.below(all.len() as u64)).unwrap()];
    let steps = if full() { all.to_vec() } else { vec!["soak", drawn] };
    println!("going back from {steps:?}");
    let lab = Lab::new();
    let house = lab.path("state/demo/house");
    settled(&house);
    let start = on_file(&house);
    let mut kept = BTreeSet::new();
    for step in steps {
        let ran = run(&lab, &format!("demo --back-from {step}"), &[]).expect(0);
        settled(&house);
        let now = on_file(&house);
        let differ = differences(&start, &now);
        assert!(differ.is_empty(), "from {step}:\n{}\n{}", differ.join("\n"), ran.text());
        // What an earlier round has left is still there, and what this one leaves is named.
        let lost: Vec<&String> = kept.iter().filter(|name: &&String| !now.contains_key(*name)).collect();
        assert!(lost.is_empty(), "from {step}: {lost:?}");
        for name in now.keys().filter(|name| !start.contains_key(*name) && !kept.contains(*name)) {
            let word = name.rsplit(['/', ' ']).next().unwrap();
            let word = if name.starts_with("archive ") { name.trim_start_matches("archive ") } else { word };
            let is_named = ran.text().contains(word);
            // A volume goes by the name of its claim, and recordings by that of their volume.
            let by_its_claim = name.starts_with("volumes/") || name.starts_with("object persistentvolumes./");
            assert!(is_named || by_its_claim, "from {step}: `{name}` is left and not named:\n{}", ran.text());
        }
        kept.extend(now.keys().filter(|name| !start.contains_key(*name)).cloned());
        if all.iter().position(|known| *known == step) >= all.iter().position(|known| *known == "deploy") {
            assert!(
                kept.iter().any(|name| name.ends_with(".mp4")),
                "from {step}: no recording of the new one"
            );
        }
        assert!(now.contains_key("still-fawn/recordings/yesterday.mp4"));
    }
}

/// A house of this process, with the file of variables that leads into it.
struct Open {
    lab: Lab,
    house: House,
    vars: PathBuf,
}

impl Open {
    async fn new(blueprint: Blueprint, outside: Outside) -> Self {
        let lab = Lab::new();
        let house = House::open_as(&lab.path("house"), program(), blueprint, outside).await.unwrap();
        let vars = lab.write("vars.toml", &house.variables());
        Self { lab, house, vars }
    }
}

/// Its Frigates are gone in the same moment: that is no gap that Home Assistant saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_house_without_power_notes_nothing_any_more() {
    let Open { lab, house, .. } = Open::new(Blueprint::default(), Outside::default()).await;
    at_rest(&house).await;
    let noted = || {
        let file = fs::read_to_string(lab.path("house/homeassistant/homeassistant.json")).unwrap();
        serde_json::from_str::<Value>(&file).unwrap()["gaps"].clone()
    };
    let before = noted();
    drop(house);
    // Longer than it takes to look at a server again.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(noted(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plan_says_what_is_there_and_changes_nothing() {
    let open = Open::new(Blueprint::default(), Outside::default()).await;
    at_rest(&open.house).await;
    let start = on_file(open.house.folder());
    let words = format!("plan {}/frigate.toml --var-file {}", plans().display(), open.vars.display());
    let ran = run(&open.lab, &words, &SECRETS).expect(0);
    let written: Vec<_> = open.house.writes().into_iter().filter(|(_, times)| *times > 0).collect();
    assert!(written.is_empty(), "{written:?}");
    let differ = differences(&start, &on_file(open.house.folder()));
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    for step in &STEPS[..STEPS.len() - 1] {
        assert!(ran.out.contains(&format!("\n  {step} ")), "{step}: {}", ran.out);
    }
    for words in [
        // What is there,
        "now: lxc: 110 on old: holds (container 110 on host `old` is running)",
        "now: mqtt: frigate: holds (`frigate/available` is online",
        "probe: absent (container 110 on host `old` is running with `onboot` 1)",
        // what would change,
        "+ Namespace frigate would be created",
        "+ Deployment frigate/frigate would be created",
        // and how it is undone.
        "undone by kubernetes.apply: what it made is deleted",
        "undone by homeassistant.repoint: the address that it had, by the same way",
        "undone by lxc.stop: started again, its `onboot` as it was",
        "undone by lxc.destroy: restored from the archive",
        "nothing of it has to be undone",
    ] {
        assert!(ran.out.contains(words), "no `{words}` in:\n{}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_names_everything_that_is_wrong_at_once() {
    let open = Open::new(Blueprint::default(), Outside::default()).await;
    at_rest(&open.house).await;
    let start = on_file(open.house.folder());
    let (lab, house) = (&open.lab, &open.house);
    let well = format!("doctor {}/frigate.toml --var-file {}", plans().display(), open.vars.display());
    run(lab, &well, &SECRETS).expect(0).says("All is well. Nothing was changed.");

    // A copy of the plan without its manifests.
    let plan = lab.write("broken/frigate.toml", &fs::read_to_string(plans().join("frigate.toml")).unwrap());
    let mut vars: toml::Table = house.variables().parse().unwrap();
    // The old host refuses connections, and what is known of the other one is another key.
    let refusing = Port::held();
    vars.insert("old_port".to_owned(), i64::from(refusing.number()).into());
    let known = fs::read_to_string(house.folder().join("known_hosts")).unwrap();
    let keys: Vec<Vec<&str>> = known.lines().map(|line| line.split(' ').collect()).collect();
    let crossed = format!("{} {} {}\n", keys[1][0], keys[0][1], keys[0][2]);
    vars.insert("known_hosts".to_owned(), lab.write("crossed", &crossed).display().to_string().into());
    let kubeconfig = fs::read_to_string(house.cluster.kubeconfig()).unwrap();
    let kubeconfig =
        kubeconfig.replace(house.cluster.url(), &format!("http://127.0.0.1:{}", refusing.number()));
    vars.insert("kubeconfig".to_owned(), lab.write("kubeconfig", &kubeconfig).display().to_string().into());
    // Detection is off in the old Frigate: it is reached, and not well.
    house.still_fawn.change(|node| node.containers.get_mut(&110).unwrap().running = true).unwrap();
    house.old.switch(|broken| broken.detection_off = true).unwrap();
    let vars = lab.write("broken.toml", &vars.to_string());
    let secrets = [
        ("HA_TOKEN", "another token"),
        ("FRIGATE_MQTT_PASSWORD", "another password"),
        ("FRIGATE_CAMERA_USER", "viewer"),
    ];
    let words = format!("doctor {} --var-file {}", plan.display(), vars.display());
    let ran = run(lab, &words, &secrets).expect(2);
    let problems: Vec<&str> = ran.out.lines().filter(|line| line.starts_with("problem")).collect();
    for (what, fix) in [
        ("file `", "bring it there, or correct the path"),
        ("secret `camera_password`", "`FRIGATE_CAMERA_PASSWORD` is not set: set it"),
        ("host `old`", "check that the host is up and sshd listens"),
        ("host `ha`", "ssh-keygen -R"),
        ("cluster `home`", "kubectl --kubeconfig"),
        ("broker `home`", "the secret must be the password of that user"),
        ("Home Assistant at `http://127.0.0.1", "make a long-lived one in the profile of an administrator"),
        ("step `old-is-well`, frigate", "look with `curl http://127.0.0.1"),
    ] {
        let lines: Vec<&&str> = problems.iter().filter(|line| line.contains(what)).collect();
        assert_eq!(lines.len(), 1, "{what}:\n{}", ran.text());
        assert!(lines[0].contains(fix), "no `{fix}` in {}", lines[0]);
    }
    assert_eq!(problems.len(), 8, "{}", ran.text());
    assert!(!ran.text().contains("another password") && !ran.text().contains("another token"));
    house.old.switch(|broken| broken.detection_off = false).unwrap();
    let written: Vec<_> = house.writes().into_iter().filter(|(_, times)| *times > 0).collect();
    assert!(written.is_empty(), "{written:?}");
    let differ = differences(&start, &on_file(house.folder()));
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

/// The plan of `tests/data/second-house`, as `docs/frigate.md` says: copied, its variables and manifests replaced, and without
/// a Coral.
fn second_house(lab: &Lab) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/second-house");
    let plan = fs::read_to_string(plans().join("frigate.toml")).unwrap();
    let (before, rest) = plan.split_once("[resources.\"coral\"]").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    let plan = format!("{before}{after}");
    assert!(plan.contains(", \"coral\" = \"old\" }"));
    let plan = lab.write("mine/frigate.toml", &plan.replace(", \"coral\" = \"old\" }", " }"));
    for entry in fs::read_dir(data.join("frigate")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("mine/frigate/{}", path.file_name().unwrap().to_str().unwrap());
        lab.write(&name, &fs::read_to_string(&path).unwrap());
    }
    lab.write("mine/house.toml", &fs::read_to_string(data.join("house.toml")).unwrap());
    plan
}

/// The folders of the demos of somebody's own plans: each is named after the plan, and after all that is in it.
fn own_demos(lab: &Lab) -> Vec<PathBuf> {
    let all = fs::read_dir(lab.path("state/demo/own")).into_iter().flatten();
    all.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn another_house_is_validated_and_shown_in_a_lab_that_fits_it() {
    let lab = Lab::new();
    second_house(&lab);
    let words = "mine/frigate.toml --var-file mine/house.toml";
    run(&lab, &format!("validate {words}"), &[]).expect(0);
    // Its own secrets are not asked for, and nothing of it is reached: these names exist nowhere.
    let ran = run(&lab, &format!("demo {words}"), &[]).expect(0);
    let demo = own_demos(&lab)[0].join("house");
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(demo.join(name)).unwrap()).unwrap() };
    assert_eq!(read("still-fawn/node.json")["containers"], json!({}), "{}", ran.text());
    let archive = &read("still-fawn/node.json")["archives"][0];
    assert!(archive["volid"].as_str().unwrap().starts_with("nas:backup/vzdump-lxc-204-"), "{archive}");
    assert_eq!(archive["config"]["hostname"], "nvr");
    assert!(!archive["config"].to_string().contains("coral"), "{archive}");
    let new = read("frigate-new/frigate.json");
    assert_eq!(new["running"], true);
    assert_eq!(new["setup"]["cameras"], json!(["front", "garden"]));
    assert_eq!(new["setup"]["client_id"], "nvr-k8s");
    assert_eq!(new["setup"]["gpu"], "NVIDIA GeForce RTX 4060");
    let retained = &read("mqtt/mqtt.json")["retained"];
    assert!(retained["nvr/available"].is_object() && retained["frigate/available"].is_null(), "{retained}");
    // The house has the classes of volumes that the manifests want.
    assert!(read("kubernetes/state.json").to_string().contains("longhorn"));
    // An edited plan has another house, and is not refused by what was seen in this one.
    let words = format!("{words} --var gpu=RTX --back-from cluster-is-well");
    run(&lab, &format!("demo {words}"), &[]).expect(0);
    assert_eq!(own_demos(&lab).len(), 2);
}

#[test]
fn a_plan_that_leads_out_of_the_lab_is_not_shown() {
    let lab = Lab::new();
    second_house(&lab);
    let plan = fs::read_to_string(lab.path("mine/frigate.toml")).unwrap();
    for (from, to, words) in [
        ("\"{{ vars.old_host }}\"", "\"root@pve1.home.arpa\"", "host `old` is at `root@pve1.home.arpa:"),
        ("\"{{ vars.broker }}\"", "\"mqtt://ha.home.arpa\"", "broker `home` is at `mqtt://ha.home.arpa`"),
        (
            "current_url = \"{{ vars.old_url }}\"",
            "current_url = \"http://nvr:5000\"",
            "step `repoint` names `http://nvr:5000`",
        ),
        (
            "[[step]]\nid      = \"lint\"",
            "[[step]]\nid = \"mine\"\nforward = { action = \"command\", argv = [\"reboot\"] }\ncompensate = \"nothing\"\n\n[[step]]\nid      = \"lint\"",
            "step `mine` has a `command`",
        ),
    ] {
        assert!(plan.contains(from), "{from}");
        lab.write("mine/frigate.toml", &plan.replacen(from, to, 1));
        let ran = run(&lab, "demo mine/frigate.toml --var-file mine/house.toml", &[]).expect(2);
        ran.says(words);
        assert!(own_demos(&lab).iter().all(|demo| !demo.join("state/journal").exists()));
    }
}

#[test]
fn what_is_mistyped_is_answered_with_what_is_meant() {
    let lab = Lab::new();
    run(&lab, "demo --scenario unreachable-from-hom", &[])
        .expect(2)
        .says("did you mean `unreachable-from-home`?");
    let ran = run(&lab, "demo --back-from stop-odl", &[]).expect(2);
    ran.says("`--back-from`: the plan has no step `stop-odl`")
        .says("did you mean `stop-old`? its steps are: old-is-well,");
}

/// The users of the plan at a mosquitto.
const USERS: &[(&str, &str)] = &[("frigate", "readwrite frigate/#"), ("homeassistant", "readwrite #")];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_plan_runs_against_a_real_control_plane_and_a_real_broker() {
    let Some(cluster) = Cluster::shared() else { return };
    let (Some(_), Some(broker)) = (cluster.ready(), Mosquitto::start_with(USERS)) else { return };
    let seen: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
    let client = support::both::client(cluster.kubeconfig()).await;
    let watching = tokio::spawn(watch(client, Arc::clone(&seen)));
    let known = Arc::clone(&seen);
    let outside = Outside {
        broker: Some((broker.port(), mosquitto::PASSWORD.to_owned())),
        objects: Some(Arc::new(move |plural: &str, _: &str, namespace: &str, name: &str| {
            known.lock().unwrap().get(&format!("{plural}/{namespace}/{name}")).cloned()
        })),
    };
    let open = Open::new(Blueprint::default(), outside).await;
    let mut vars: toml::Table = open.house.variables().parse().unwrap();
    vars.insert("kubeconfig".to_owned(), cluster.kubeconfig().display().to_string().into());
    let context = cluster.kubectl("config current-context").expect(0).out;
    vars.insert("context".to_owned(), context.trim().into());
    open.lab.write("vars.toml", &vars.to_string());
    // The same plan, but for how long it is watched: a look takes five seconds, so that a sample every second would never be
    // near enough to the one before.
    let plan = fs::read_to_string(plans().join("frigate.toml")).unwrap();
    let mut quick = plan.clone();
    for (from, to) in [
        (r#"for = "3d", every = "5m""#, r#"for = "20s", every = "10s""#),
        (r#"for = "1m", every = "1m""#, r#"for = "10s", every = "10s""#),
    ] {
        assert_eq!(plan.matches(from).count(), 1, "{from}");
        quick = quick.replace(from, to);
    }
    open.lab.write("plans/frigate.toml", &quick);
    for entry in fs::read_dir(plans().join("frigate")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("plans/frigate/{}", path.file_name().unwrap().to_str().unwrap());
        open.lab.write(&name, &fs::read_to_string(&path).unwrap());
    }
    let secrets: Vec<(&str, &str)> = SECRETS
        .iter()
        .map(|&(name, value)| {
            (name, if name == "FRIGATE_MQTT_PASSWORD" { mosquitto::PASSWORD } else { value })
        })
        .collect();
    let until = if full() { "" } else { " --until heal" };
    let words = "plans/frigate.toml --var-file vars.toml";
    let ran = run(&open.lab, &format!("apply {words} -y{until}"), &secrets).expect(0);
    let uses = |name: &str| fs::read_to_string(open.house.home.storage_file()).unwrap().contains(name);
    assert!(uses(&open.house.new.url()) && !uses(&open.house.old.url()), "{}", ran.text());
    assert!(open.house.new.is_running() && !open.house.old.is_running());
    let ready = "get deployment frigate --namespace frigate -o jsonpath={.status.readyReplicas}";
    assert_eq!(cluster.kubectl(ready).expect(0).out, "1");
    let container =
        |open: &Open| open.house.still_fawn.look(|node| node.containers.get(&110).cloned()).unwrap();
    assert_eq!(container(&open).map(|found| found.running), if full() { None } else { Some(false) });

    let ran = run(&open.lab, "rollback -y", &secrets).expect(0);
    assert!(container(&open).unwrap().running, "{}", ran.text());
    assert_eq!(container(&open).unwrap().config["onboot"], "1");
    let since = Instant::now();
    while !uses(&open.house.old.url()) || uses(&open.house.new.url()) {
        assert!(since.elapsed() < LIMIT, "Home Assistant does not go back: {}", ran.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let left = cluster.kubectl(
        "get deployments,services,configmaps,secrets,persistentvolumeclaims --namespace frigate -o name",
    );
    let left: Vec<&str> = left.out.lines().filter(|name| *name != "configmap/kube-root-ca.crt").collect();
    assert_eq!(left, ["persistentvolumeclaim/frigate-config", "persistentvolumeclaim/frigate-media"]);
    let volumes = fs::read_dir(open.house.folder().join("volumes")).unwrap().count();
    assert_eq!(volumes, 1, "what the new one has recorded is there");
    watching.abort();
}

/// Keeps up with the objects of the new Frigate.
async fn watch(client: kube::Client, seen: Arc<Mutex<BTreeMap<String, Value>>>) {
    loop {
        let mut now = BTreeMap::new();
        let mut whole = true;
        for (plural, path) in [
            ("deployments", "/apis/apps/v1/namespaces/frigate/deployments"),
            ("configmaps", "/api/v1/namespaces/frigate/configmaps"),
            ("persistentvolumeclaims", "/api/v1/namespaces/frigate/persistentvolumeclaims"),
            ("persistentvolumes", "/api/v1/persistentvolumes"),
        ] {
            let list = support::both::ask(&client, "GET", path, None, None).await;
            whole &= list.status == 200;
            for item in list.body["items"].as_array().into_iter().flatten() {
                let text = |name: &str| item["metadata"][name].as_str().unwrap_or_default();
                now.insert(format!("{plural}/{}/{}", text("namespace"), text("name")), item.clone());
            }
        }
        if whole {
            *seen.lock().unwrap() = now;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
