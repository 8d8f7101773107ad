//! The lab's own ssh server takes what the product sends through OpenSSH's client: the wrapper, many sessions over one
//! connection, cuts; and a Proxmox node stands behind it as it stands behind an sshd.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use runner::lab::ssh::Ssh;
use runner::plan::recorded::Host;
use runner::saga::{CutCause, FailureClass, Outcome, Settlement, Verdict};
use serde_json::{Value, json};
use support::proxmox::{frigate, installed};
use support::sshd::until;
use support::world::{World, acted, cut, failed};
use tempfile::TempDir;

fn has_client() -> bool {
    let found = Command::new("ssh").arg("-V").stderr(Stdio::null()).status().is_ok();
    if !found {
        support::skip::skip("there is no ssh client on this machine: apt-get install openssh-client");
    }
    found
}

fn host(ssh: &Ssh) -> Host {
    Host {
        address: "root@127.0.0.1".to_owned(),
        port: Some(ssh.port().into()),
        identity_file: Some(ssh.identity_file().display().to_string()),
        known_hosts: Some(ssh.known_hosts().display().to_string()),
        jump: None,
        sudo: false,
    }
}

async fn world(folder: &Path, bin: &Path) -> (Ssh, World) {
    let ssh = Ssh::start(folder.join("ssh"), 0, bin).await.unwrap();
    let mut world = World::new();
    world.places.hosts.insert("box".to_owned(), host(&ssh));
    (ssh, world)
}

fn op(name: &str, mut rest: Value) -> Value {
    rest["name"] = json!(name);
    rest["host"] = json!("box");
    rest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_go_through_it_as_they_are() {
    if !has_client() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ssh, world) = world(folder.path(), Path::new("/nowhere")).await;
    let odd = "it's \"odd\" $HOME `id` \\n\n*";
    let operation = op(
        "ssh",
        json!({
            "argv": ["sh", "-c", "cat; printf %s \"$X\" >&2; printf %s \"$1\"; pwd", "sh", odd],
            "env": { "X": odd }, "stdin": "in\n", "cwd": "/usr", "outputs": { "all": "text" },
        }),
    );
    let (outputs, trace) = acted(world.actions.act(world.call("a", 1, operation)).await);
    assert_eq!(outputs["all"], format!("in\n{odd}/usr"));
    assert!(String::from_utf8(world.log(&trace)).unwrap().contains(odd));
    for status in [1, 127, 255] {
        let operation = op("ssh", json!({ "script": format!("echo why >&2; exit {status}") }));
        let (class, message, trace) = failed(world.actions.act(world.call("b", status, operation)).await);
        assert_eq!((class, trace.exit), (FailureClass::Transient, Some(status as i32)), "{message}");
    }
    // Nothing of this process's environment is there.
    let operation =
        op("ssh", json!({ "script": "echo $PATH:$CARGO_MANIFEST_DIR", "outputs": { "o": "text" } }));
    let (outputs, _) = acted(world.actions.act(world.call("c", 1, operation)).await);
    assert_eq!(outputs["o"], "/nowhere:/usr/local/bin:/usr/bin:/bin:");
    // Many sessions at once over one connection, and much of it.
    let calls = (0..12).map(|number| {
        let script = format!("head -c 300000 /dev/zero | tr '\\0' x >&2; echo {number}");
        world.actions.act(world.call(
            "d",
            number + 1,
            op("ssh", json!({ "script": script, "outputs": { "n": "text" } })),
        ))
    });
    for (number, outcome) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        let (outputs, trace) = acted(outcome);
        assert_eq!(outputs["n"], number.to_string());
        assert_eq!(trace.bytes, 300_000 + number.to_string().len() as u64 + 1);
    }
    // A signal is one, and a key that it does not know is none.
    let ssh_command = |key: &str| {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", key, "-o"]);
        command.arg(format!("UserKnownHostsFile={}", ssh.known_hosts().display()));
        command.args(["-p", &ssh.port().to_string(), "root@127.0.0.1"]);
        command
    };
    let mut command = ssh_command(&ssh.identity_file().display().to_string());
    let killed =
        tokio::task::spawn_blocking(move || command.arg("kill -9 $$").output().unwrap()).await.unwrap();
    assert_eq!(killed.status.code(), Some(255), "ssh tells a death by signal as 255");
    let other = Ssh::start(folder.path().join("other"), 0, Path::new("/nowhere")).await.unwrap();
    let mut command = ssh_command(&other.identity_file().display().to_string());
    let refused = tokio::task::spawn_blocking(move || command.arg("true").output().unwrap()).await.unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("Permission denied"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_and_a_restart_lose_nothing() {
    if !has_client() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (ssh, world) = world(folder.path(), Path::new("/nowhere")).await;
    let go = world.path("go");
    let script = "echo > \"$GO.started\"; until [ -e \"$GO\" ]; do sleep 0.02; done; echo after";
    let operation = op("ssh", json!({ "script": script, "env": { "GO": go }, "outputs": { "o": "text" } }));
    let call = world.call("a", 1, operation);
    let acting = tokio::spawn(world.actions.act(call.clone()));
    until("it runs", || Path::new(&format!("{go}.started")).exists());
    ssh.cut();
    assert_eq!(cut(acting.await.unwrap()).0, CutCause::Connection);
    let port = ssh.port();
    ssh.stop().await;
    // The same folder: the same port and the same keys.
    let ssh = Ssh::start(folder.path().join("ssh"), 0, Path::new("/nowhere")).await.unwrap();
    assert_eq!(ssh.port(), port);
    std::fs::write(&go, "").unwrap();
    let Settlement::Ended(Outcome::Acted { outputs, .. }) = world.actions.settle(call).await else {
        panic!("it ended well")
    };
    assert_eq!(outputs["o"], "after");
    // A look ends with its connection.
    let file = world.path("pid");
    let script = format!("echo $$ > {file}; exec sleep 977");
    let mut look = world.look(op("ssh", json!({ "script": script })));
    look.timeout = Duration::from_secs(60);
    let looking = tokio::spawn(world.checks.look(look));
    until("it looks", || std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    let pid = std::fs::read_to_string(&file).unwrap();
    ssh.cut();
    assert_eq!(looking.await.unwrap().verdict, Verdict::Unknown);
    let stat = format!("/proc/{}/stat", pid.trim());
    until("the look is ended", || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stands_behind_it() {
    if !has_client() {
        return;
    }
    let files: TempDir = tempfile::tempdir().unwrap();
    let (folder, place) = installed(frigate(files.path(), true).with_machine(116, "haos"));
    let (ssh, world) = world(folder.path(), &folder.path().join("bin")).await;
    place.change(|node| node.containers.get_mut(&110).unwrap().faults.shutdown_ms = 700).unwrap();
    let call = world.call("stop", 1, op("lxc.stop", json!({ "vmid": 110, "onboot": false })));
    let acting = tokio::spawn(world.actions.act(call.clone()));
    until("it shuts down", || place.look(|node| node.containers[&110].pending.is_some()).unwrap());
    ssh.cut();
    cut(acting.await.unwrap());
    let settled = world.actions.settle(call).await;
    assert!(matches!(settled, Settlement::Ended(Outcome::Acted { .. })), "{settled:?}");
    let look = op("lxc", json!({ "vmid": 110, "status": "stopped", "onboot": false, "startable": true }));
    let answer = world.checks.look(world.look(look)).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    let operation = op("vm.exec", json!({ "vmid": 116, "argv": ["echo", "hi"], "outputs": { "o": "text" } }));
    assert_eq!(acted(world.actions.act(world.call("exec", 1, operation)).await).0["o"], "hi");
}
