//! Goal: containers are stopped, started, snapshotted, backed up and destroyed as the facts' section 2 demands, and always
//! come back. Method: the lab's tools behind a real sshd; what they say is read by the product; the node's state is
//! compared.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use runner::action::PreImage;
use runner::lab::proxmox::{Container, Node, Volume};
use runner::saga::{Answer, CutCause, Direction, FailureClass, Outcome, Settlement, Verdict};
use serde_json::{Value, json};
use support::proxmox::{Pve, frigate};
use support::sshd::until;
use support::world::{World, acted, cut, failed};
use tempfile::TempDir;

/// A node with the seed's container, and a world that knows it.
struct House {
    pve: Pve,
    world: World,
    files: TempDir,
}

impl House {
    fn start(running: bool) -> Option<Self> {
        let files = tempfile::tempdir().unwrap();
        let pve = Pve::start(frigate(files.path(), running))?;
        let world = World::new().with_host(&pve.sshd);
        Some(Self { pve, world, files })
    }

    fn container<R>(&self, work: impl FnOnce(&mut Container) -> R) -> R {
        self.pve.change(|node| work(node.containers.get_mut(&110).unwrap()))
    }

    /// Everything that the node holds, without its counter.
    fn state(&self) -> Node {
        self.pve.look(|node| Node { writes: 0, ..node.clone() })
    }

    fn same(&self, before: &Node, what: &str) {
        assert_eq!(json!(self.state()), json!(before), "{what}");
    }

    async fn act(&self, step: &str, attempt: u32, operation: &Value) -> Outcome {
        self.world.actions.act(self.world.call(step, attempt, operation.clone())).await
    }

    async fn probe(&self, step: &str, operation: &Value) -> Answer {
        self.world.actions.probe(self.world.call(step, 0, operation.clone())).await
    }

    async fn pre_image(&self, step: &str, operation: &Value) -> Result<PreImage, String> {
        self.world.actions.pre_image(self.world.call(step, 0, operation.clone())).await
    }

    async fn undo(&self, step: &str, attempt: u32, operation: &Value, pre_image: &PreImage) -> Outcome {
        let mut call = self.world.call(step, attempt, operation.clone());
        call.key.direction = Direction::Compensation;
        self.world.actions.undo(call, pre_image.clone()).await
    }

    async fn check(&self, fields: Value) -> Answer {
        let mut look = json!({ "name": "lxc", "host": "box", "vmid": 110 });
        look.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.world.checks.look(self.world.look(look)).await
    }

    /// An archive of the container as it is.
    async fn archive(&self) -> String {
        let (outputs, _) = acted(self.act("archive", 1, &lxc("backup", json!({ "storage": "local" }))).await);
        outputs["archive"].as_str().unwrap().to_owned()
    }
}

macro_rules! house {
    ($running:expr) => {
        match House::start($running) {
            Some(house) => house,
            None => return,
        }
    };
}

fn lxc(name: &str, mut rest: Value) -> Value {
    rest["name"] = json!(format!("lxc.{name}"));
    rest["host"] = json!("box");
    if rest.get("vmid").is_none() {
        rest["vmid"] = json!(110);
    }
    rest
}

fn destroy(archive: &str) -> Value {
    lxc("destroy", json!({ "hostname": "frigate-sf", "archive": archive }))
}

/// One action in one situation: one entry adds it to the contract.
struct Subject {
    what: &'static str,
    operation: Value,
    before: fn(&mut Container),
    /// States that an attempt may leave when it is cut off, beside nothing done and all done.
    halves: Vec<fn(&mut Container)>,
}

fn onboot(container: &mut Container, value: Option<&str>) {
    container.config.remove("onboot");
    container.config.extend(value.map(|value| ("onboot".to_owned(), value.to_owned())));
}

fn subjects(archive: &str) -> Vec<Subject> {
    vec![
        Subject {
            what: "a stop, with onboot that was 1",
            operation: lxc("stop", json!({ "onboot": false })),
            before: |_| {},
            halves: vec![|container| container.running = false],
        },
        Subject {
            what: "a stop, with onboot that was never set",
            operation: lxc("stop", json!({})),
            before: |container| onboot(container, None),
            halves: vec![],
        },
        Subject {
            what: "a start, with onboot that was 0",
            operation: lxc("start", json!({ "onboot": true })),
            before: |container| {
                container.running = false;
                onboot(container, Some("0"));
            },
            halves: vec![|container| container.running = true],
        },
        Subject {
            what: "a start, with onboot that was never set",
            operation: lxc("start", json!({ "onboot": true })),
            before: |container| {
                container.running = false;
                onboot(container, None);
            },
            halves: vec![],
        },
        Subject {
            what: "a snapshot",
            operation: lxc("snapshot", json!({ "snapshot": "pre-move" })),
            before: |container| drop(container.config.remove("mp0")),
            halves: vec![],
        },
        Subject {
            what: "a destruction",
            operation: destroy(archive),
            before: |container| container.running = false,
            halves: vec![],
        },
    ]
}

/// The probe changes nothing; twice is once; undoing nothing is fine; from every point the pre-image comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_keeps_the_contract() {
    let house = house!(true);
    let archive = house.archive().await;
    let first = house.state();
    for (number, subject) in subjects(&archive).iter().enumerate() {
        let (what, operation) = (subject.what, &subject.operation);
        let step = format!("s{number}");
        let reset = || {
            house.pve.change(|node| *node = first.clone());
            house.container(subject.before);
            house.state()
        };
        let before = reset();
        let answer = house.probe(&step, operation).await;
        assert!(matches!(answer.verdict, Verdict::Absent | Verdict::Partial), "{what}: {answer:?}");
        let pre_image = house.pre_image(&step, operation).await.unwrap();
        house.same(&before, what);
        acted(house.undo(&step, 9, operation, &pre_image).await);
        house.same(&before, what);
        let (outputs, _) = acted(house.act(&step, 1, operation).await);
        let after = house.state();
        assert_ne!(json!(after), json!(before), "{what}");
        let answer = house.probe(&step, operation).await;
        assert_eq!((answer.verdict, &answer.outputs), (Verdict::Holds, &outputs), "{what}: {answer:?}");
        acted(house.act(&step, 2, operation).await);
        house.same(&after, what);
        let settled = house.world.actions.settle(house.world.call(&step, 1, operation.clone())).await;
        let Settlement::Ended(Outcome::Acted { outputs: settled, .. }) = settled else {
            panic!("{what}: {settled:?}")
        };
        assert_eq!(settled, outputs, "{what}");
        for attempt in 1..=2 {
            acted(house.undo(&step, attempt, operation, &pre_image).await);
            house.same(&before, what);
        }
        for half in &subject.halves {
            reset();
            house.container(half);
            acted(house.undo(&step, 3, operation, &pre_image).await);
            house.same(&before, what);
            house.container(half);
            acted(house.act(&step, 3, operation).await);
            house.same(&after, what);
        }
    }
}

/// `pct` goes on when the connection is lost, and so does what comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_whose_connection_is_cut_is_settled_by_its_end() {
    let house = house!(true);
    house.container(|container| container.faults.shutdown_ms = 1500);
    let operation = lxc("stop", json!({ "onboot": false }));
    let call = house.world.call("stop", 1, operation.clone());
    let acting = tokio::spawn(house.world.actions.act(call.clone()));
    until("it shuts down", || house.pve.look(|node| node.containers[&110].pending.is_some()));
    house.pve.sshd.cut();
    let (cause, _, _) = cut(acting.await.unwrap());
    assert_eq!(cause, CutCause::Connection);
    let settled = house.world.actions.settle(call).await;
    assert!(matches!(settled, Settlement::Ended(Outcome::Acted { .. })), "{settled:?}");
    assert_eq!(house.probe("stop", &operation).await.verdict, Verdict::Holds);
    let state = house.state();
    assert!(!state.containers[&110].running && state.containers[&110].config["onboot"] == "0");
    // The tool's own 255 is no lost connection: it failed, and nobody needs to settle it.
    house.container(|container| (container.running, container.faults.shutdown_hangs) = (true, true));
    let operation = lxc("stop", json!({ "within": "1s" }));
    let (class, message, _) = failed(house.act("hangs", 1, &operation).await);
    assert!(class == FailureClass::Transient && message.contains("`kill = true`"), "{message}");
    assert!(house.state().containers[&110].running, "killed without being told to");
    let operation = lxc("stop", json!({ "within": "1s", "kill": true }));
    acted(house.act("hangs", 2, &operation).await);
    assert!(!house.state().containers[&110].running);
}

/// Facts 2.2: it runs when we look, and `pct` answers that it does not: somebody else, or its own end, was quicker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_to_its_state_meanwhile_is_no_failure() {
    let house = house!(true);
    let bin = house.pve.place.folder().join("bin/pct");
    let real = house.pve.place.folder().join("pct");
    std::fs::rename(&bin, &real).unwrap();
    // Between our look and our call the same is done by somebody else.
    let text = format!(
        "#!/bin/sh\ncase $1 in shutdown | start) '{0}' \"$@\" ;; esac\nexec '{0}' \"$@\"\n",
        real.display()
    );
    std::fs::write(&bin, text).unwrap();
    std::fs::set_permissions(&bin, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (attempt, name, words, running) in
        [(1, "stop", "CT 110 not running", false), (2, "start", "CT 110 already running", true)]
    {
        let (_, trace) = acted(house.act("race", attempt, &lxc(name, json!({}))).await);
        assert!(trace.tail.contains(words), "there was no race: {}", trace.tail);
        assert_eq!(house.state().containers[&110].running, running, "{name}");
    }
}

/// Facts 2.0: a task with warnings ends with 0 and counts them on stderr.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ends_with_warnings_has_ended_well_and_they_are_shown() {
    let house = house!(true);
    house.container(|container| {
        container.config.remove("mp0");
        container.faults.warns = true;
    });
    let archive = house.archive().await;
    for (attempt, operation) in (1..).zip([
        lxc("snapshot", json!({ "snapshot": "one" })),
        lxc("stop", json!({})),
        lxc("start", json!({})),
        lxc("stop", json!({})),
        destroy(&archive),
    ]) {
        let (_, trace) = acted(house.act("warned", attempt, &operation).await);
        assert!(trace.tail.contains("Task finished with 1 warning(s)!"), "{operation}: {}", trace.tail);
        assert!(trace.tail.contains("WARN: "), "{operation}: {}", trace.tail);
    }
    assert!(house.state().containers.is_empty());
}

/// Facts 2.1: what the HA stack manages is destroyed with `purge` alone, which takes it out of there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_managed_container_is_purged_only_when_the_plan_says_so() {
    let house = house!(false);
    let archive = house.archive().await;
    house.container(|container| container.ha = true);
    let before = house.state();
    let mut operation = destroy(&archive);
    let (class, message, _) = failed(house.act("a", 1, &operation).await);
    assert!(class == FailureClass::Permanent && message.contains("`purge = true`"), "{class:?} {message}");
    house.same(&before, "refused, and something was done");
    operation["purge"] = json!(true);
    acted(house.act("a", 2, &operation).await);
    assert!(house.state().containers.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_s_lock_is_waited_for_and_never_taken_away() {
    let house = house!(true);
    house.container(|container| drop(container.config.insert("lock".into(), "backup".into())));
    let call = house.world.call("stop", 1, lxc("stop", json!({ "within": "5s" })));
    let acting = tokio::spawn(house.world.actions.act(call));
    let log = house.world.state().join("logs/r-1/stop-forward-1.log");
    until("it has met the lock", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("is locked"))
    });
    assert!(
        house.state().containers[&110].running && house.state().containers[&110].config["lock"] == "backup"
    );
    house.container(|container| drop(container.config.remove("lock")));
    acted(acting.await.unwrap());
    assert!(!house.state().containers[&110].running);
    // For longer than the step lasts: it may be tried again, and is still locked.
    house.container(|container| {
        container.running = true;
        container.config.insert("lock".into(), "backup".into());
    });
    let mut call = house.world.call("late", 1, lxc("stop", json!({ "within": "1s" })));
    call.timeout = Duration::from_secs(33);
    let (class, message, _) = failed(house.world.actions.act(call).await);
    assert!(class == FailureClass::Transient && message.contains("CT is locked (backup)"), "{message}");
    assert_eq!(house.state().containers[&110].config["lock"], "backup");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_written_by_somebody_else_is_waited_for() {
    let house = house!(true);
    house.container(|container| container.faults.config_busy = true);
    let call = house.world.call("stop", 1, lxc("stop", json!({ "within": "5s" })));
    let acting = tokio::spawn(house.world.actions.act(call));
    let log = house.world.state().join("logs/r-1/stop-forward-1.log");
    until("it has met the lock", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("can't lock file"))
    });
    assert!(house.state().containers[&110].running);
    house.container(|container| container.faults.config_busy = false);
    acted(acting.await.unwrap());
    assert!(!house.state().containers[&110].running);
    // For longer than the step lasts: it may be tried again.
    house.container(|container| (container.running, container.faults.config_busy) = (true, true));
    let mut call = house.world.call("late", 1, lxc("stop", json!({ "within": "1s" })));
    call.timeout = Duration::from_secs(33);
    let (class, message, _) = failed(house.world.actions.act(call).await);
    assert!(
        class == FailureClass::Transient && message.contains("another command holds its configuration"),
        "{message}"
    );
}

/// The HA stack takes the request, and by the time that a stop may take nothing has come of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ha_stack_has_not_done_is_not_done() {
    let house = house!(true);
    house.container(|container| (container.ha, container.faults.ha_ms) = (true, 600_000));
    let (class, message, _) =
        failed(house.act("stop", 1, &lxc("stop", json!({ "within": "1s", "onboot": false }))).await);
    assert!(class == FailureClass::Transient && message.contains("`ha-manager status`"), "{message}");
    let container = &house.state().containers[&110];
    assert!(container.running && container.config["onboot"] == "1", "what was not stopped was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_parameter_is_named() {
    let house = house!(true);
    let operation = lxc("backup", json!({ "storage": "local", "mode": "gently" }));
    let (class, message, _) = failed(house.act("a", 1, &operation).await);
    assert_eq!(class, FailureClass::Permanent, "{message}");
    assert!(
        message.contains("a value is not as it must be")
            && message.contains("400 Parameter verification failed. mode: value 'gently'"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_script_that_is_gone_is_seen_before_a_start() {
    let house = house!(false);
    let volume = "local:snippets/coral.sh";
    let path = house.pve.place.path_of(volume).unwrap();
    let set = |volume: &str| {
        house.container(|container| drop(container.config.insert("hookscript".into(), volume.into())));
    };
    let mut attempt = 0;
    let mut cannot = async |gone: &str, words: &str| {
        let answer = house.check(json!({ "startable": true })).await;
        assert_eq!((answer.verdict, &answer.facts["gone"]), (Verdict::Absent, &json!([gone])));
        assert!(answer.reason.contains(&format!("could not be started: `{gone}` is not there")));
        attempt += 1;
        let (class, message, _) = failed(house.act("a", attempt, &lxc("start", json!({}))).await);
        assert!(class == FailureClass::Permanent && message.contains(words), "{message}");
    };
    set(volume);
    cannot(volume, "script 'local:snippets/coral.sh' does not exist").await;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    cannot("the x bit of local:snippets/coral.sh", "is not executable").await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(house.check(json!({ "startable": true })).await.verdict, Verdict::Holds);
    // A storage that is gone with all that was on it.
    set("nas:snippets/coral.sh");
    cannot("nas:snippets/coral.sh", "its hook script fails").await;
    set(volume);
    acted(house.act("b", 1, &lxc("start", json!({}))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_tells_the_digest_that_nobody_may_change() {
    let house = house!(true);
    let (outputs, _) = acted(house.act("stop", 1, &lxc("stop", json!({ "onboot": false }))).await);
    let same = json!({ "digest": outputs["digest"] });
    assert_eq!(house.check(same.clone()).await.verdict, Verdict::Holds);
    house.container(|container| drop(container.config.insert("memory".into(), "512".into())));
    let answer = house.check(same.clone()).await;
    assert!(
        answer.verdict == Verdict::Absent && answer.reason.contains("another configuration"),
        "{answer:?}"
    );
    house.container(|container| drop(container.config.insert("memory".into(), "8192".into())));
    assert_eq!(house.check(same).await.verdict, Verdict::Holds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_root_works_through_sudo() {
    let mut house = house!(true);
    house.pve.change(|node| node.root = false);
    let sudo = house.pve.place.folder().join("bin/sudo");
    let text = format!(
        "#!/bin/sh\n[ \"$1 $2\" = '-n --' ] || exit 1\nshift 2\n{}=1 exec \"$@\"\n",
        runner::lab::proxmox::SUDO
    );
    std::fs::write(&sudo, text).unwrap();
    std::fs::set_permissions(&sudo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let stop = lxc("stop", json!({ "onboot": false }));
    let (class, message, _) = failed(house.act("stop", 1, &stop).await);
    assert!(class == FailureClass::Permanent && message.contains("`sudo = true`"), "{message}");
    house.world.places.hosts.get_mut("box").unwrap().sudo = true;
    let before = house.state();
    let pre_image = house.pre_image("stop", &stop).await.unwrap();
    acted(house.act("stop", 2, &stop).await);
    assert_eq!(house.check(json!({ "status": "stopped", "onboot": false })).await.verdict, Verdict::Holds);
    house.archive().await;
    house.pve.change(|node| node.archives.clear());
    acted(house.undo("stop", 3, &stop, &pre_image).await);
    house.same(&before, "the way back through sudo");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_container_from_its_state_is_named() {
    let house = house!(false);
    let start = lxc("start", json!({}));
    let mut attempt = 0;
    let mut fails = async |operation: &Value, class: FailureClass, words: &str| {
        attempt += 1;
        let (found, message, _) = failed(house.act("a", attempt, operation).await);
        assert!(found == class && message.contains(words), "{words}: {found:?} {message}");
        assert!(message.contains("host `box`"), "{message}");
    };
    use FailureClass::{Permanent, Transient};
    let coral = house.files.path().join("coral");
    std::fs::remove_file(&coral).unwrap();
    let gone = format!("Could not get mode or device ID of {}", coral.display());
    fails(&start, Permanent, &gone).await;
    let answer = house.check(json!({ "startable": true })).await;
    assert_eq!(
        (answer.verdict, &answer.facts["gone"]),
        (Verdict::Absent, &json!([coral.display().to_string()]))
    );
    std::fs::write(&coral, "").unwrap();
    assert_eq!(house.check(json!({ "startable": true })).await.verdict, Verdict::Holds);
    std::fs::remove_file(house.files.path().join("media")).unwrap();
    fails(&start, Permanent, "a folder that it mounts is not there").await;
    assert_eq!(house.check(json!({ "startable": true })).await.verdict, Verdict::Absent);
    std::fs::write(house.files.path().join("media"), "").unwrap();
    house.container(|container| container.faults.hook_fails = true);
    fails(&start, Permanent, "its hook script fails").await;
    house.container(|container| (container.faults.hook_fails, container.faults.start_fails) = (false, true));
    fails(&start, Transient, "it does not start").await;
    house.container(|container| container.faults.start_fails = false);
    house.pve.change(|node| node.quorum = false);
    fails(&start, Transient, "no quorum").await;
    house.pve.change(|node| node.quorum = true);
    house.container(|container| drop(container.config.insert("lock".into(), "destroyed".into())));
    fails(&start, Permanent, "destroyed half").await;
    house.container(|container| drop(container.config.remove("lock")));
    // The HA stack takes the request, and does nothing.
    house.container(|container| (container.ha, container.faults.ha_ms) = (true, 300));
    acted(house.act("ha", 1, &start).await);
    assert!(house.state().containers[&110].running, "the request was taken for the state");
    // Not root, not here, not anywhere.
    house.pve.change(|node| node.root = false);
    fails(&start, Permanent, "`sudo = true`").await;
    house.pve.change(|node| {
        node.root = true;
        node.elsewhere.insert(113, "fun-bedbug".to_owned());
    });
    fails(&lxc("stop", json!({ "vmid": 113 })), Permanent, "it belongs to node `fun-bedbug`").await;
    fails(&lxc("stop", json!({ "vmid": 999 })), Permanent, "there is no container 999").await;
    assert_eq!(house.probe("x", &lxc("stop", json!({ "vmid": 113 }))).await.verdict, Verdict::Unknown);
    // A host without the tools is no Proxmox node.
    std::fs::remove_file(house.pve.place.folder().join("bin/pct")).unwrap();
    fails(&start, Permanent, "is it a Proxmox node?").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_comes_and_goes_and_a_bind_mount_is_named() {
    let house = house!(true);
    let operation = lxc("snapshot", json!({ "snapshot": "pre-move", "description": "before the move" }));
    let (class, message, _) = failed(house.act("a", 1, &operation).await);
    assert!(
        class == FailureClass::Permanent
            && message.contains("bind mount")
            && message.contains("`lxc.backup`"),
        "{message}"
    );
    house.container(|container| drop(container.config.remove("mp0")));
    let before = house.state();
    let pre_image = house.pre_image("a", &operation).await.unwrap();
    assert_eq!(house.probe("a", &operation).await.verdict, Verdict::Absent);
    for attempt in 2..=3 {
        acted(house.act("a", attempt, &operation).await);
        assert_eq!(house.state().containers[&110].snapshots.len(), 1);
    }
    assert_eq!(house.state().containers[&110].snapshots[0].description, "before the move");
    assert_eq!(house.probe("a", &operation).await.verdict, Verdict::Holds);
    // One that was there before stays.
    let kept = house.pre_image("b", &operation).await.unwrap();
    acted(house.undo("b", 1, &operation, &kept).await);
    assert_eq!(house.state().containers[&110].snapshots.len(), 1);
    for attempt in 1..=2 {
        acted(house.undo("a", attempt, &operation, &pre_image).await);
        house.same(&before, "the snapshot is gone");
    }
    let reserved = lxc("snapshot", json!({ "snapshot": "current" }));
    let (class, message, _) = failed(house.act("c", 1, &reserved).await);
    assert!(class == FailureClass::Permanent && message.contains("are taken"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_proved_and_says_what_it_lacks() {
    let house = house!(true);
    let operation = lxc("backup", json!({ "storage": "local" }));
    assert_eq!(house.probe("a", &operation).await.verdict, Verdict::Absent);
    let (outputs, _) = acted(house.act("a", 1, &operation).await);
    let state = house.state();
    assert_eq!(outputs["archive"], json!(state.archives[0].volid));
    assert_eq!(outputs["bytes"], json!(state.archives[0].size));
    let media = house.files.path().join("media").display().to_string();
    assert_eq!(outputs["lacks"], json!([format!("mp0 (bind mount `{media}`)")]));
    // The probe finds the archive of this step, with the same outputs, and not that of another.
    let answer = house.probe("a", &operation).await;
    assert_eq!((answer.verdict, &answer.outputs), (Verdict::Holds, &outputs));
    assert_eq!(house.probe("b", &operation).await.verdict, Verdict::Absent);
    // Cut off in the middle: it goes on there.
    house.pve.change(|node| node.backup_ms = 800);
    let call = house.world.call("c", 1, operation.clone());
    let acting = tokio::spawn(house.world.actions.act(call.clone()));
    until("it is backed up", || house.state().containers[&110].config.contains_key("lock"));
    house.pve.sshd.cut();
    cut(acting.await.unwrap());
    let Settlement::Ended(Outcome::Acted { outputs, .. }) = house.world.actions.settle(call).await else {
        panic!("it ended well")
    };
    assert_eq!(outputs["archive"], json!(house.state().archives[1].volid));
    house.pve.change(|node| node.backup_fails = true);
    let (class, message, _) = failed(house.act("d", 1, &operation).await);
    assert!(class == FailureClass::Transient && message.contains("the backup failed"), "{message}");
    let elsewhere = lxc("backup", json!({ "storage": "local", "vmid": 111 }));
    assert_eq!(failed(house.act("e", 1, &elsewhere).await).0, FailureClass::Permanent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_destroyed_that_should_not_be() {
    let house = house!(true);
    let archive = house.archive().await;
    let before = house.state();
    let mut attempt = 0;
    let mut refuses = async |change: fn(&mut Node), operation: &Value, class: FailureClass, words: &str| {
        house.pve.change(|node| {
            *node = before.clone();
            node.containers.get_mut(&110).unwrap().running = false;
            change(node);
        });
        let set = house.state();
        attempt += 1;
        let (found, message, _) = failed(house.act("a", attempt, operation).await);
        assert!(found == class && message.contains(words), "{words}: {found:?} {message}");
        house.same(&set, words);
        let message = house.pre_image("a", operation).await.unwrap_err();
        assert!(message.contains(words), "{words}: {message}");
    };
    fn config(node: &mut Node, key: &str, value: &str) {
        node.containers.get_mut(&110).unwrap().config.insert(key.to_owned(), value.to_owned());
    }
    use FailureClass::{Permanent, Transient};
    let good = destroy(&archive);
    refuses(|node| node.containers.get_mut(&110).unwrap().running = true, &good, Permanent, "it runs").await;
    refuses(|node| config(node, "protection", "1"), &good, Permanent, "it is protected").await;
    refuses(|node| config(node, "lock", "backup"), &good, Transient, "its lock is `backup`").await;
    refuses(|node| config(node, "lock", "destroyed"), &good, Permanent, "destroyed half").await;
    refuses(|node| config(node, "hostname", "nas"), &good, Permanent, "its hostname is `nas`").await;
    let recordings = |node: &mut Node| config(node, "mp1", "local-zfs:subvol-110-disk-1,mp=/recordings");
    refuses(recordings, &good, Permanent, "it owns `mp1` (local-zfs:subvol-110-disk-1)").await;
    refuses(|node| node.archives.clear(), &good, Permanent, "there is no archive").await;
    let other = |node: &mut Node| {
        node.containers.clear();
        node.elsewhere.insert(110, "fun-bedbug".to_owned());
    };
    refuses(other, &good, Permanent, "belongs to node `fun-bedbug`").await;
    assert_eq!(house.probe("a", &good).await.verdict, Verdict::Unknown, "gone from here is not gone");
    // What the plan lets go, and the archive does not hold, cannot come back: no pre-image, so that only a step that says
    // `irreversible` goes on.
    house.pve.change(|node| {
        *node = before.clone();
        node.containers.get_mut(&110).unwrap().running = false;
        recordings(node);
        let volume = Volume { owner: 110, snapshots: true, content: "months".to_owned() };
        node.volumes.insert("local-zfs:subvol-110-disk-1".to_owned(), volume);
    });
    let mut named = good.clone();
    named["volumes"] = json!(["rootfs", "mp1"]);
    let message = house.pre_image("a", &named).await.unwrap_err();
    assert!(message.contains("does not hold `mp1`") && message.contains("`irreversible"), "{message}");
    let mut without = named.clone();
    without.as_object_mut().unwrap().remove("archive");
    assert!(house.pre_image("a", &without).await.unwrap_err().contains("has no archive to come back from"));
    acted(house.act("b", 1, &without).await);
    assert!(house.state().containers.is_empty() && house.state().volumes.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_container_comes_back_from_its_archive() {
    let house = house!(false);
    house.container(|container| onboot(container, None));
    let archive = house.archive().await;
    // Set after the backup: the archive does not know it.
    house.container(|container| onboot(container, Some("0")));
    let (before, operation) = (house.state(), destroy(&archive));
    let pre_image = house.pre_image("a", &operation).await.unwrap();
    assert_eq!(house.probe("a", &operation).await.verdict, Verdict::Absent);
    // Nothing was done.
    acted(house.undo("a", 1, &operation, &pre_image).await);
    house.same(&before, "undoing nothing");
    for attempt in 1..=2 {
        acted(house.act("a", attempt, &operation).await);
        assert!(house.state().containers.is_empty());
    }
    assert_eq!(house.probe("a", &operation).await.verdict, Verdict::Holds);
    assert_eq!(house.check(json!({ "exists": false })).await.verdict, Verdict::Holds);
    for attempt in 2..=3 {
        acted(house.undo("a", attempt, &operation, &pre_image).await);
        house.same(&before, "it is back");
    }
    // Half a restoration is none.
    house.container(|container| drop(container.config.insert("lock".into(), "create".into())));
    let (class, message, _) = failed(house.undo("a", 9, &operation, &pre_image).await);
    assert!(class == FailureClass::Permanent && message.contains("restored half"), "{message}");
    house.container(|container| drop(container.config.remove("lock")));
    // Half of it: nobody tries again by himself, in neither direction.
    house.container(|container| container.faults.destroy_stops_half = true);
    failed(house.act("a", 3, &operation).await);
    assert_eq!(house.probe("a", &operation).await.verdict, Verdict::Partial);
    let half = house.state();
    let (class, message, _) = failed(house.act("a", 4, &operation).await);
    assert!(class == FailureClass::Permanent && message.contains("by hand"), "{message}");
    let (class, message, _) = failed(house.undo("a", 4, &operation, &pre_image).await);
    assert!(class == FailureClass::Permanent && message.contains("by hand"), "{message}");
    house.same(&half, "half destroyed stays so");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_sees_all_that_a_way_back_needs() {
    let house = house!(true);
    let archive = house.archive().await;
    let digest = house.check(json!({})).await.facts["digest"].as_str().unwrap().to_owned();
    for (fields, verdict) in [
        (json!({}), Verdict::Holds),
        (json!({ "status": "running", "onboot": true, "hostname": "frigate-sf" }), Verdict::Holds),
        (json!({ "status": "stopped" }), Verdict::Absent),
        (json!({ "status": "stopped", "onboot": true }), Verdict::Partial),
        (json!({ "onboot": false }), Verdict::Absent),
        (json!({ "hostname": "nas" }), Verdict::Absent),
        (json!({ "exists": true, "digest": digest, "startable": true, "archive": archive }), Verdict::Holds),
        (json!({ "digest": "0123" }), Verdict::Absent),
        (json!({ "archive": "local:backup/none.tar.zst" }), Verdict::Absent),
        (json!({ "vmid": 111 }), Verdict::Absent),
        (json!({ "vmid": 111, "exists": false }), Verdict::Holds),
        (json!({ "exists": false }), Verdict::Absent),
        (json!({ "vmid": "x" }), Verdict::Unknown),
    ] {
        let answer = house.check(fields.clone()).await;
        assert_eq!(answer.verdict, verdict, "{fields} {answer:?}");
    }
    // No line is off.
    house.container(|container| onboot(container, None));
    assert_eq!(house.check(json!({ "onboot": false })).await.verdict, Verdict::Holds);
    assert_eq!(
        house.check(json!({ "digest": digest })).await.verdict,
        Verdict::Absent,
        "the configuration changed"
    );
    // Could not look is never absent.
    house.pve.change(|node| node.root = false);
    assert_eq!(house.check(json!({ "exists": false })).await.verdict, Verdict::Unknown);
}
