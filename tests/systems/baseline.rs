//! Goal: `baseline` captures what is there before the first change (facts/migration.md 8.1), from every source, with no
//! secret in it; and plans that use what belongs to it load, or say what is missing. Method: the action against the
//! simulated house: Home Assistant, a Proxmox node behind a real sshd, and a Frigate.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::homeassistant_support;
use crate::support;

use std::collections::BTreeMap;

use homeassistant_support::estate::{Estate, VMID};
use homeassistant_support::{House, TOKEN};
use runner::lab::homeassistant::Release;
use runner::plan::recorded::{Cluster, Compensate};
use runner::plan::{Request, Required, load};
use runner::saga::{FailureClass, Verdict};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::both::Served;
use support::proxmox::{Pve, frigate};
use support::world::{World, acted, failed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn home_assistant_before_the_first_change() {
    let mut house = House::start(Release::Reconfigures).await;
    house.world.secrets = vec![TOKEN.to_owned()];
    let operation = json!({ "name": "baseline", "homeassistant": house.home.url(), "token": TOKEN });
    let (outputs, _) = acted(house.world.actions.act(house.world.call("a", 1, operation)).await);
    let entry = &outputs["homeassistant"]["frigate"][0];
    assert_eq!((&entry["title"], &entry["state"]), (&json!(house.old.title()), &json!("loaded")));
    assert_eq!(entry["entry_id"], json!(runner::lab::homeassistant::FRIGATE_ENTRY));
    assert_eq!((&entry["url"], &entry["supports_reconfigure"]), (&json!(house.old.url()), &json!(true)));
    assert!(outputs["homeassistant"]["entries"].as_u64().unwrap() >= 1);
    let (_, states) = house.get("/api/states").await;
    let entities = states.as_array().unwrap().len() - 1; // The sun is nobody's.
    assert!(entities > 2);
    assert_eq!(outputs["homeassistant"]["entities"], json!(entities));
    assert_eq!(outputs["homeassistant"]["file"], Value::Null);
    assert!(!Value::Object(outputs.clone()).to_string().contains(TOKEN));
    assert_eq!((&outputs["container"], &outputs["frigate"]), (&Value::Null, &Value::Null));
    let operation = json!({ "name": "baseline", "homeassistant": house.home.url(), "token": "revoked" });
    let (class, message, _) = failed(house.world.actions.act(house.world.call("a", 2, operation)).await);
    assert_eq!(class, FailureClass::Permanent, "{message}");
    assert!(message.contains("does not know the token") && !message.contains("revoked"), "{message}");
    // Whoever may not render templates still has the rest.
    house.home.break_it(|mishaps| mishaps.no_templates = true).unwrap();
    let operation = json!({ "name": "baseline", "homeassistant": house.home.url(), "token": TOKEN });
    let (outputs, _) = acted(house.world.actions.act(house.world.call("a", 3, operation)).await);
    assert_eq!(outputs["homeassistant"]["entities"], Value::Null);
    assert_eq!(outputs["homeassistant"]["frigate"][0]["url"], json!(house.old.url()));
    assert_eq!(house.home.writes(), 0, "it changed something");
}

/// One that cannot be reconfigured does not show its address: its file does, and is written down with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storage_file_before_the_first_change() {
    let Some(estate) = Estate::start().await else { return };
    let mut operation =
        json!({ "name": "baseline", "homeassistant": estate.house.home.url(), "token": TOKEN });
    let path = estate.house.home.storage_file();
    estate.house.until("it is written", async |_| path.exists()).await;
    let mut at = |fields: Value| {
        operation.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        estate.house.world.call("a", 1, operation.clone())
    };
    let (outputs, _) = acted(estate.house.world.actions.act(at(json!({}))).await);
    assert_eq!(outputs["homeassistant"]["frigate"][0]["url"], Value::Null);
    let guest = json!({ "ha_host": "box", "ha_vmid": VMID, "ha_path": path.display().to_string() });
    let before = std::fs::read(&path).unwrap();
    let (outputs, _) = acted(estate.house.world.actions.act(at(guest)).await);
    let entry = &outputs["homeassistant"]["frigate"][0];
    assert_eq!(entry["url"], json!(estate.house.old.url()), "{entry}");
    let sum: String = Sha256::digest(&before).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(outputs["homeassistant"]["file"], json!({ "sha256": sum, "bytes": before.len() }));
    assert_eq!(std::fs::read(&path).unwrap(), before, "it changed something");
    let half = json!({ "name": "baseline", "homeassistant": "http://h", "token": TOKEN, "ha_host": "box" });
    let (_, message, _) = failed(estate.house.world.actions.act(estate.house.world.call("a", 2, half)).await);
    assert!(message.contains("`ha_host` and `ha_vmid` together"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_container_before_the_first_change() {
    let files = tempfile::tempdir().unwrap();
    let Some(pve) = Pve::start(frigate(files.path(), true)) else { return };
    let world = World::new().with_host(&pve.sshd);
    let operation = |vmid: &str| json!({ "name": "baseline", "host": "box", "vmid": vmid });
    let (outputs, _) = acted(world.actions.act(world.call("a", 1, operation("110"))).await);
    let container = &outputs["container"];
    assert_eq!(
        (&container["status"], &container["hostname"], &container["onboot"]),
        (&json!("running"), &json!("frigate-sf"), &json!(true)),
        "{container}"
    );
    assert!(container["mounts"]["mp0"].as_str().unwrap().contains("/media/frigate"), "{container}");
    assert_eq!(container["devices"].as_object().unwrap().len(), 2, "{container}");
    assert!(container["config"].as_str().unwrap().contains("cores: 8"), "{container}");
    // The digest is the one that the check compares with.
    let check = json!({ "name": "lxc", "host": "box", "vmid": 110, "digest": container["digest"] });
    let answer = world.checks.look(world.look(check)).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{}", answer.reason);
    let (class, message, _) = failed(world.actions.act(world.call("a", 2, operation("111"))).await);
    assert_eq!(class, FailureClass::Permanent, "{message}");
    assert!(message.contains("there is no container 111 on host `box`"), "{message}");
    let (_, message, _) = failed(world.actions.act(world.call("a", 3, operation("110; reboot"))).await);
    assert!(message.contains("must be a number"), "{message}");
}

/// The addresses that are taken: of load balancers alone, those without one included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_addresses_of_the_cluster_before_the_first_change() {
    let served = Served::lab().await.unwrap();
    let service = |name: &str, kind: &str, ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "annotations": { "metallb.io/loadBalancerIPs": ip } },
            "spec": { "type": kind, "selector": { "app": name }, "ports": [{ "port": 80 }] },
        })
    };
    let traefik = service("traefik", "LoadBalancer", "192.168.4.80");
    served.apply("owner", &traefik, "").await.expect(201);
    served
        .until("it has its address", &served.path(&traefik), |one| {
            one.pointer("/status/loadBalancer/ingress/0/ip") == Some(&json!("192.168.4.80"))
        })
        .await;
    // One that wants the same and gets none, and one that has nothing to do with it.
    served.apply("owner", &service("webrtc", "LoadBalancer", "192.168.4.80"), "").await.expect(201);
    served.apply("owner", &service("inside", "ClusterIP", ""), "").await.expect(201);
    let mut world = World::new();
    let kubeconfig = Some(served.kubeconfig().display().to_string());
    world.places.clusters.insert("home".to_owned(), Cluster { context: None, kubeconfig });
    let operation = |cluster: &str| json!({ "name": "baseline", "cluster": cluster });
    let writes = served.lab_itself().writes();
    let (outputs, _) = acted(world.actions.act(world.call("a", 1, operation("home"))).await);
    let mut services = outputs["services"].as_array().unwrap().clone();
    services.sort_by_key(|one| one["name"].as_str().unwrap().to_owned());
    let wanted = json!([
        { "namespace": "frigate", "name": "traefik", "addresses": ["192.168.4.80"] },
        { "namespace": "frigate", "name": "webrtc", "addresses": [] },
    ]);
    assert_eq!(Value::Array(services), wanted);
    assert_eq!(served.lab_itself().writes(), writes, "it changed something");
    assert_eq!((&outputs["frigate"], &outputs["container"]), (&Value::Null, &Value::Null));
    // Nobody who answers is no empty list.
    let gone = world.path("gone");
    let text = std::fs::read_to_string(served.kubeconfig()).unwrap();
    std::fs::write(&gone, text.replace(served.lab_itself().url(), "http://127.0.0.1:9")).unwrap();
    world.places.clusters.insert("gone".to_owned(), Cluster { context: None, kubeconfig: Some(gone) });
    let mut call = world.call("a", 3, operation("gone"));
    call.timeout = std::time::Duration::from_secs(3);
    let (class, message, _) = failed(world.actions.act(call).await);
    assert_eq!(class, FailureClass::Transient, "{message}");
}

/// Loads a plan with these steps; the diagnostics as one text.
fn plan(steps: &str) -> Result<runner::plan::Loaded, String> {
    let text = format!(
        "name = \"p\"\n[secrets]\npw = {{ env = \"PW\" }}\n[brokers.home]\nurl = \"mqtts://b\"\nusername = \"u\"\n\
         password = \"{{{{ secrets.pw }}}}\"\nca = \"ca.pem\"\n{steps}"
    );
    let request = Request {
        text: text.as_bytes(),
        path: "/p/plan.toml",
        given: &BTreeMap::new(),
        vars: &[],
        var_files: &[],
        required: Required::MustBeGiven,
        read: &|path| if path == "/p/ca.pem" { Ok(b"pem".to_vec()) } else { Err(format!("no {path}")) },
    };
    load(&request).map_err(|wrong| wrong.to_string())
}

fn step(forward: &str) -> String {
    format!("[[step]]\nid = \"a\"\nforward = {{ {forward} }}\n")
}

#[test]
fn plans_say_how_a_message_is_taken_back() {
    let message = "action = \"mqtt.publish\", broker = \"home\", topic = \"t\", payload = \"x\"";
    let loaded = plan(&step(&format!("{message}, retain = true"))).unwrap();
    assert_eq!(loaded.definition.steps[0].compensate, Compensate::Inverse);
    assert_eq!(loaded.definition.brokers["home"].ca.as_deref(), Some("/p/ca.pem"));
    let files: BTreeMap<_, _> = loaded.definition.files.iter().collect();
    assert!(files.contains_key(&"/p/ca.pem".to_owned()), "{files:?}");
    for rest in ["", ", retain = false"] {
        let wrong = plan(&step(&format!("{message}{rest}"))).unwrap_err();
        assert!(wrong.contains("no-compensation") && wrong.contains("mqtt.publish"), "{wrong}");
    }
    let told = format!("{}compensate = \"nothing\"\n", step(message));
    assert_eq!(plan(&told).unwrap().definition.steps[0].compensate, Compensate::Nothing);
    for quiet in [
        "action = \"mqtt.heal\", broker = \"home\", url = \"http://f:5000\"",
        "action = \"baseline\", url = \"http://f:5000\"",
    ] {
        assert_eq!(plan(&step(quiet)).unwrap().definition.steps[0].compensate, Compensate::Nothing);
    }
}

#[test]
fn plans_know_what_a_baseline_gives_and_what_a_frigate_says() {
    let check = |baseline: &str, watch: &str| {
        format!(
            "{}[[step]]\nid = \"b\"\nverify = [{{ check = \"frigate\", url = \"http://f:5000\", baseline = \"{baseline}\", \
             watch = {{ {watch} = \"rises\" }} }}]\n",
            step("action = \"baseline\", url = \"http://f:5000\"")
        )
    };
    plan(&check("{{ steps.a.outputs.frigate }}", "uptime")).unwrap();
    let wrong = plan(&check("{{ steps.a.outputs.frigat }}", "uptime")).unwrap_err();
    assert!(wrong.contains("frigate"), "{wrong}");
    let wrong = plan(&check("{{ steps.a.outputs.frigate }}", "uptimes")).unwrap_err();
    assert!(wrong.contains("unknown-fact") && wrong.contains("uptime"), "{wrong}");
}
