//! Goal: what went wrong with the owner's scripts, or was bound to (facts/migration.md 1.3 and 1.4), cannot happen here: a
//! test for each defect, numbered in the order of the facts. Method: the lab's node behind a real sshd and the simulated
//! Home Assistant, broken in the same way; where a person's `-y` is part of it, the whole binary.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::homeassistant_support;
use crate::support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use homeassistant_support::estate::Estate;
use homeassistant_support::{CAMERAS, House, TOKEN};
use runner::action::PreImage;
use runner::lab::homeassistant::{FRIGATE_ENTRY, Release};
use runner::lab::proxmox::{Container, Node};
use runner::saga::{Direction, FailureClass, Outcome, Verdict};
use serde_json::{Value, json};
use support::lab::{Lab, Ran};
use support::proxmox::{Pve, frigate, tool};
use support::world::{World, acted, failed};
use tempfile::TempDir;

/// A node with the owner's container, and what its `pct` was called with.
struct Shed {
    pve: Pve,
    world: World,
    _files: TempDir,
}

impl Shed {
    fn start(running: bool) -> Option<Self> {
        let files = tempfile::tempdir().unwrap();
        let pve = Pve::start(frigate(files.path(), running).with_machine(116, "haos"))?;
        let world = World::new().with_host(&pve.sshd);
        Some(Self { pve, world, _files: files })
    }

    /// Puts a line of shell before `pct`, which has the call in `$*`.
    fn before_pct(&self, line: &str) {
        let bin = self.pve.place.folder().join("bin");
        let real = self.pve.place.folder().join("pct");
        if !real.exists() {
            fs::rename(bin.join("pct"), &real).unwrap();
        }
        let text = format!("#!/bin/sh\n{line}\nexec '{}' \"$@\"\n", real.display());
        fs::write(bin.join("pct"), text).unwrap();
        fs::set_permissions(bin.join("pct"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn container<R>(&self, work: impl FnOnce(&mut Container) -> R) -> R {
        self.pve.change(|node| work(node.containers.get_mut(&110).unwrap()))
    }

    fn is(&self) -> Container {
        self.pve.look(|node| node.containers[&110].clone())
    }

    async fn act(&self, attempt: u32, operation: &Value) -> Outcome {
        self.world.actions.act(self.world.call("a", attempt, operation.clone())).await
    }

    async fn pre_image(&self, operation: &Value) -> PreImage {
        self.world.actions.pre_image(self.world.call("a", 0, operation.clone())).await.unwrap()
    }

    async fn undo(&self, attempt: u32, operation: &Value, pre_image: &PreImage) -> Outcome {
        let mut call = self.world.call("a", attempt, operation.clone());
        call.key.direction = Direction::Compensation;
        self.world.actions.undo(call, pre_image.clone()).await
    }
}

macro_rules! shed {
    ($running:expr) => {
        match Shed::start($running) {
            Some(shed) => shed,
            None => return,
        }
    };
}

fn lxc(name: &str, mut rest: Value) -> Value {
    rest["name"] = json!(format!("lxc.{name}"));
    rest["host"] = json!("box");
    rest["vmid"] = json!(110);
    rest
}

/// The binary, from a test that is async.
fn run(lab: &Lab, words: &str) -> Ran {
    tokio::task::block_in_place(|| lab.run(words))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_01_nobody_looked_at_the_exit_status_in_the_guest() {
    let shed = shed!(true);
    let script = "echo 'sed: couldn'\\''t flush: No space left on device' >&2; exit 4";
    let said = tool(&shed.pve.place, &["qm", "guest", "exec", "116", "--", "sh", "-c", script]);
    assert_eq!(said.status.code(), Some(0), "the tool ends well whatever the command did");
    let exec = json!({ "name": "vm.exec", "host": "box", "vmid": 116, "script": script });
    let (_, message, trace) = failed(shed.act(1, &exec).await);
    assert!(message.contains("exit status 4 in the guest") && message.contains("No space left"), "{message}");
    assert_eq!(trace.exit, Some(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_02_a_restart_that_failed_was_called_a_success() {
    let house = House::start(Release::Reconfigures).await;
    house.home.break_it(|mishaps| mishaps.ignores_restart = true).unwrap();
    let step =
        json!({ "name": "homeassistant.restart", "url": house.home.url(), "token": TOKEN, "within": "2s" });
    let mut call = house.world.call("restart", 1, step);
    call.timeout = std::time::Duration::from_secs(2);
    // The page is there all the time, with the words that the script looked for.
    assert_eq!(house.get("/api/").await.0, 200);
    let (_, message, _) = failed(house.world.actions.act(call).await);
    assert!(message.contains("was not seen to go"), "{message}");
}

/// The text was replaced everywhere, `.` stood for anything and nothing ended the pattern (3); it was done while Home
/// Assistant ran, which may write the file from its memory (5); and the way back by a copy was never tried (12).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defects_03_05_and_12_the_file_was_edited_blindly_at_a_run_and_never_back() {
    let start = Estate::with(|settings| {
        let old = settings.frigate_url.clone();
        let other = |id: &str, url: String| json!({ "domain": "generic", "entry_id": id, "title": url, "data": { "url": url } });
        settings.entries.extend([
            other("same", old.clone()),
            other("longer", format!("{old}0/api")),
            other("dots", old.replace("127.0.0.1", "127x0x0x1")),
        ]);
    });
    let Some(estate) = start.await else { return };
    estate.house.home.break_it(|mishaps| mishaps.saves_at_stop = true).unwrap();
    let (before, house) = (estate.file(), &estate.house);
    let pre_image = estate.pre_image().await;
    for attempt in 1..=2 {
        acted(estate.act(attempt).await);
        estate.is_at(&house.new.url(), &house.new.title(), &before).await;
    }
    acted(estate.undo(1, &pre_image).await);
    estate.is_at(&house.old.url(), &house.old.title(), &before).await;
}

/// Run again after it was done, the script took the new address for the old one, and the way back had nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_04_a_second_run_lost_the_way_back() {
    let house = House::start(Release::Reconfigures).await;
    let lab = Lab::new();
    let token = lab.write("token", TOKEN);
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let plan = format!(
        "name = \"move\"\n[secrets]\ntoken = {{ file = \"{}\" }}\n[[step]]\nid = \"repoint\"\n\
         forward = {{ action = \"homeassistant.repoint\", url = \"{}\", token = \"{{{{ secrets.token }}}}\", frigate_url = \"{}\" }}\n",
        token.display(),
        house.home.url(),
        house.new.url()
    );
    lab.plan("move", &plan);
    for _ in 0..2 {
        drop(run(&lab, "apply p/move.toml").expect(0));
        assert_eq!(house.title().await, house.new.title());
    }
    // Another run finds it done: what it did not do it does not undo.
    drop(run(&lab, "apply p/move.toml --new-run").expect(0));
    drop(run(&lab, "rollback move-2").expect(0));
    assert_eq!(house.title().await, house.new.title());
    // And the first one still knows what was there before it.
    drop(run(&lab, "rollback move-1").expect(0));
    assert_eq!(house.title().await, house.old.title());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_06_home_assistant_was_said_to_have_no_api_for_it_and_the_title_stayed() {
    let house = House::start(Release::Reconfigures).await;
    acted(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    assert_eq!((house.title().await, house.entry_state().await), (house.new.title(), "loaded".to_owned()));
    assert!(
        house.home.gaps().iter().all(|gap| !gap.why.contains("does not run")),
        "nothing is restarted for it"
    );
}

const VERIFY: &str = r#"[[step]]
id      = "verify"
verify  = [{ check = "http", url = "http://127.0.0.1:9/api/version" }]
verify_within = "1s"
"#;

const SNAPSHOT: &str = r#"[[step]]
id      = "snapshot"
forward = { action = "lxc.snapshot", host = "box", vmid = 110, snapshot = "pre-k8s" }
"#;

const STOP: &str = r#"[[step]]
id       = "stop"
approve  = "Stop it?"
evidence = [@evidence@]
forward  = { action = "lxc.stop", host = "box", vmid = 110, onboot = false }
"#;

/// `-y` answered every question, `proceed despite failed verification` and `continue without a snapshot` among them (7); a
/// snapshot is impossible with a bind mount, so that it would have gone on without one (8).
#[test]
fn defects_07_and_08_yes_to_everything_went_on_without_a_verification_and_a_snapshot() {
    let files = tempfile::tempdir().unwrap();
    let Some(pve) = Pve::start(frigate(files.path(), true)) else { return };
    let lab = Lab::new();
    let stopped = r#"{ check = "lxc", host = "box", vmid = 110, status = "stopped" }"#;
    for (name, first, evidence, code, words) in [
        ("one", VERIFY, "", 3, "`verify` did not hold"),
        ("two", SNAPSHOT, "", 3, "a snapshot is impossible"),
        ("three", "", stopped, 4, "Stop it?"),
    ] {
        let steps = format!("{first}\n{}", STOP.replace("@evidence@", evidence));
        lab.plan(name, &format!("name = \"{name}\"\n{}{steps}", pve.sshd.host_table()));
        let said = lab.run(&format!("apply -y p/{name}.toml"));
        assert_eq!(said.code, code, "{name}: {}", said.text());
        drop(said.says(words));
        assert_ne!(lab.steps(name)["stop"], "done", "{name}");
        assert!(pve.look(|node| node.containers[&110].running), "{name}: it was stopped all the same");
        assert_eq!(pve.look(|node| node.containers[&110].config["onboot"].clone()), "1", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_09_the_container_was_killed_and_not_shut_down() {
    let shed = shed!(true);
    let log = shed.pve.place.folder().join("calls");
    shed.before_pct(&format!("echo \"$*\" >> '{}'", log.display()));
    acted(shed.act(1, &lxc("stop", json!({ "onboot": false }))).await);
    let calls = fs::read_to_string(log).unwrap();
    assert!(calls.lines().any(|call| call.starts_with("shutdown 110")), "{calls}");
    assert!(!calls.lines().any(|call| call.starts_with("stop ")) && !calls.contains("forceStop"), "{calls}");
    // And when it does not go, it stays until somebody allows it.
    shed.container(|container| (container.running, container.faults.shutdown_hangs) = (true, true));
    let (_, message, _) = failed(shed.act(2, &lxc("stop", json!({ "within": "1s" }))).await);
    assert!(message.contains("`kill = true`") && shed.is().running, "{message}");
}

/// Each further run took one more snapshot, and an `onboot` that could not be set was only printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_10_snapshots_grew_and_a_failing_onboot_was_only_printed() {
    let shed = shed!(true);
    shed.container(|container| drop(container.config.remove("mp0")));
    for attempt in 1..=3 {
        acted(shed.act(attempt, &lxc("snapshot", json!({ "snapshot": "pre-k8s" }))).await);
    }
    assert_eq!(shed.is().snapshots.len(), 1);
    shed.before_pct(
        "case $1 in set) echo \"unable to open file '/etc/pve/x' - Permission denied\" >&2; exit 2 ;; esac",
    );
    let stop = lxc("stop", json!({ "onboot": false }));
    let pre_image = shed.pre_image(&stop).await;
    let (class, message, _) = failed(shed.act(4, &stop).await);
    assert!(class == FailureClass::Transient && message.contains("takes no changes"), "{message}");
    assert_eq!((shed.is().running, shed.is().config["onboot"].as_str()), (false, "1"), "half of it is done");
    shed.before_pct("");
    acted(shed.undo(1, &stop, &pre_image).await);
    assert_eq!((shed.is().running, shed.is().config["onboot"].as_str()), (true, "1"));
}

/// The way back took `onboot` for 1, failed when the container ran already, and always said that it was complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_11_the_way_back_guessed_and_was_always_complete() {
    let shed = shed!(true);
    shed.container(|container| drop(container.config.remove("onboot")));
    let stop = lxc("stop", json!({ "onboot": false }));
    let pre_image = shed.pre_image(&stop).await;
    acted(shed.act(1, &stop).await);
    assert!(!shed.is().running && shed.is().config.get("onboot").is_none_or(|line| line == "0"));
    // It does not come up: that is no way back.
    shed.container(|container| container.faults.start_fails = true);
    let (_, message, _) = failed(shed.undo(1, &stop, &pre_image).await);
    assert!(message.contains("does not start"), "{message}");
    shed.container(|container| container.faults.start_fails = false);
    // Somebody has started it already.
    shed.container(|container| container.running = true);
    acted(shed.undo(2, &stop, &pre_image).await);
    assert!(shed.is().running && !shed.is().config.contains_key("onboot"), "{:?}", shed.is().config);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_13_deleting_and_adding_the_entry_again_was_advised() {
    let house = House::start(Release::Reconfigures).await;
    let entities = async || {
        let (_, all) = house.get("/api/states").await;
        let mut ids: Vec<String> =
            all.as_array().unwrap().iter().map(|one| one["entity_id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let before = entities().await;
    assert!(before.iter().any(|id| id == "camera.front"), "{before:?}");
    acted(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    let entries = house.entries().await;
    assert_eq!((entries.len(), &entries[0]["entry_id"]), (1, &json!(FRIGATE_ENTRY)));
    house.until("its entities are there", async |_| entities().await == before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defect_14_entities_that_exist_were_taken_for_entities_that_work() {
    let house = House::start(Release::Reconfigures).await;
    let look = async || {
        let check =
            json!({ "name": "homeassistant", "url": house.home.url(), "token": TOKEN, "cameras": CAMERAS });
        house.world.checks.look(house.world.look(check)).await
    };
    assert_eq!(look().await.verdict, Verdict::Holds);
    house.home.available("frigate", "offline").unwrap();
    house.until("they are seen to be unavailable", async |_| look().await.verdict != Verdict::Holds).await;
    let (status, camera) = house.get("/api/states/camera.front").await;
    assert_eq!((status, &camera["state"]), (200, &json!("unavailable")), "it exists all the same");
    let answer = look().await;
    assert!(matches!(answer.verdict, Verdict::Absent | Verdict::Partial), "{answer:?}");
}

/// What the scripts had in common: they do not know where they stand. A node as they leave it is told for what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_scripts_left_is_seen_by_the_checks() {
    let shed = shed!(false);
    shed.pve.change(|node: &mut Node| node.containers.get_mut(&110).unwrap().config.remove("mp0"));
    let look = json!({ "name": "lxc", "host": "box", "vmid": 110, "status": "stopped", "onboot": false });
    let answer = shed.world.checks.look(shed.world.look(look)).await;
    assert_eq!(
        answer.verdict,
        Verdict::Partial,
        "stopped, and the next boot of its host starts it: {answer:?}"
    );
}
