//! Lines on a host: the lab's Proxmox node and files, behind a real sshd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use runner::lab::proxmox::{Container, Node};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::engine::{Line, Place, keep};
use super::gate::Gate;
use super::support::lab::full;
use super::support::proxmox::{Pve, frigate};
use super::support::world::{World, acted};

/// How container 110 and the folder of files are before.
pub struct Before {
    container: fn(&mut Container),
    files: fn(&Path),
}

fn with(container: fn(&mut Container)) -> Before {
    Before { container, files: |_| {} }
}

fn files(files: fn(&Path)) -> Before {
    Before { container: |_| {}, files }
}

fn onboot(container: &mut Container, value: Option<&str>) {
    container.config.remove("onboot");
    container.config.extend(value.map(|value| ("onboot".to_owned(), value.to_owned())));
}

fn lxc(mut rest: Value) -> Value {
    rest["host"] = json!("box");
    rest["vmid"] = json!(110);
    rest
}

/// One line adds an action.
pub fn lines() -> Vec<Line<Before>> {
    let line = Line::new;
    let stopped = |container: &mut Container| container.running = false;
    let made = json!({ "name": "ssh", "host": "box", "argv": ["test", "-d", "@root/made"] });
    let unmade = json!({ "name": "ssh", "host": "box", "argv": ["rm", "-rf", "@root/made"] });
    let sent = json!({ "name": "ssh", "host": "box", "argv": ["test", "-e", "@guest/sent"] });
    let unsent = json!({ "name": "vm.exec", "host": "box", "vmid": 116, "argv": ["rm", "-f", "sent"] });
    let second = "another archive is no harm, and is made only where the probe finds none of the step";
    vec![
        line("lxc.stop", "with onboot that was 1", lxc(json!({ "onboot": false })), with(|_| {})),
        line(
            "lxc.start",
            "with onboot never set",
            lxc(json!({ "onboot": true })),
            with(|container| {
                container.running = false;
                onboot(container, None);
            }),
        ),
        line(
            "lxc.snapshot",
            "of volumes alone",
            lxc(json!({ "snapshot": "pre-move" })),
            with(|container| {
                drop(container.config.remove("mp0"));
            }),
        ),
        line(
            "lxc.destroy",
            "with an archive of it",
            lxc(json!({ "hostname": "frigate-sf", "archive": "@archive" })),
            with(stopped),
        ),
        Line {
            adds: Some(second),
            ..line("lxc.backup", "of a running one", lxc(json!({ "storage": "local" })), with(|_| {}))
        },
        line(
            "vm.exec",
            "a file in the guest",
            json!({ "host": "box", "vmid": 116, "argv": ["touch", "sent"] }),
            with(|_| {}),
        )
        .explicit(sent, unsent),
        line(
            "ssh",
            "a folder",
            json!({ "host": "box", "argv": ["mkdir", "-p", "@root/made"] }),
            files(|_| {}),
        )
        .explicit(made, unmade),
        line(
            "file",
            "replaced on a host",
            json!({ "host": "box", "path": "@root/f", "content": "new\n", "mode": "0755" }),
            files(|root| {
                fs::write(root.join("f"), "old\n").unwrap();
                fs::set_permissions(root.join("f"), fs::Permissions::from_mode(0o640)).unwrap();
            }),
        ),
        line(
            "file",
            "new on a host, with its folders",
            json!({ "host": "box", "path": "@root/a/b/f", "content": "new\n", "parents": true }),
            files(|_| {}),
        ),
    ]
}

pub struct Host {
    world: World,
    gate: Gate,
    pve: Pve,
    first: Node,
    archive: String,
    root: PathBuf,
    _devices: TempDir,
}

impl Host {
    async fn start() -> Option<Self> {
        let devices = tempfile::tempdir().unwrap();
        let node = frigate(devices.path(), true).with_machine(116, "haos");
        let pve = Pve::start(node)?;
        let world = World::new().with_host(&pve.sshd);
        let root = pve.sshd.home().join("root");
        let backup = lxc(json!({ "name": "lxc.backup", "storage": "local" }));
        let (outputs, _) = acted(world.actions.act(world.call("archive", 1, backup)).await);
        let archive = outputs["archive"].as_str().unwrap().to_owned();
        let first = pve.look(Node::clone);
        let folder = pve.place.folder();
        let gate = Gate::new(folder, &pve.sshd);
        let (bin, real) = (folder.join("bin"), folder.join("real"));
        fs::create_dir(&real).unwrap();
        let everything = full();
        for (tool, changes) in [
            ("pct", "start*|shutdown*|set*|snapshot*|delsnapshot*|destroy*|restore*"),
            ("vzdump", "*"),
            ("qm", "'guest exec '*"),
            ("pvesh", "never"),
            ("pvesm", "never"),
        ] {
            fs::rename(bin.join(tool), real.join(tool)).unwrap();
            gate.before(&bin.join(tool), &real.join(tool), if everything { "*" } else { changes });
        }
        let here = format!("*'{}'*", root.display());
        for tool in ["mv", "mkdir", "rm", "rmdir", "chmod"] {
            if everything || tool != "chmod" {
                gate.before(&bin.join(tool), &Path::new("/bin").join(tool), &here);
            }
        }
        Some(Self { world, gate, pve, first, archive, root, _devices: devices })
    }
}

/// What is in a folder: names, modes, contents.
fn tree(folder: &Path) -> Value {
    let mut all = serde_json::Map::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_dir() { tree(&path) } else { fs::read_to_string(&path).unwrap().into() };
        all.insert(name, json!([meta.permissions().mode() & 0o7777, content]));
    }
    Value::Object(all)
}

/// Without what differs from time to time.
fn timeless(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["time", "volid", "writes", "next_pid", "notes"] {
                fields.remove(key);
            }
            fields.values_mut().for_each(timeless);
        }
        Value::Array(items) => items.iter_mut().for_each(timeless),
        _ => {}
    }
}

impl Place for Host {
    type Before = Before;
    type Cutter = Gate;

    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    fn cutter(&self) -> &Gate {
        &self.gate
    }

    fn fill(&self, operation: &Value) -> Value {
        let text = operation.to_string();
        let guest = self.pve.place.guest(116).join("root");
        let text = text
            .replace("@root", &self.root.display().to_string())
            .replace("@guest", &guest.display().to_string())
            .replace("@archive", &self.archive);
        serde_json::from_str(&text).unwrap()
    }

    /// In the guest, whose agent was not heard when it told the process id: nothing of ours can prove that over.
    fn a_person_looks(&self, reason: &str) -> bool {
        let begun = self.pve.place.guest(116).join("exec");
        reason.contains("it may run in virtual machine 116 and its process id is not known")
            && begun.read_dir().is_ok_and(|mut all| {
                all.all(|one| {
                    let status = one.unwrap().path().join("status");
                    super::support::sshd::until("it has ended", || status.exists());
                    true
                })
            })
    }

    async fn reset(&self, before: &Before) -> bool {
        self.pve.change(|node| {
            *node = self.first.clone();
            (before.container)(node.containers.get_mut(&110).unwrap());
        });
        let guest = self.pve.place.guest(116).join("root");
        for folder in [&self.root, &guest] {
            drop(fs::remove_dir_all(folder));
            fs::create_dir_all(folder).unwrap();
        }
        (before.files)(&self.root);
        true
    }

    async fn state(&self) -> Value {
        let mut node = json!(self.pve.look(Node::clone));
        timeless(&mut node);
        json!({ "node": node, "files": tree(&self.root), "guest": tree(&self.pve.place.guest(116).join("root")) })
    }
}

/// A group of lines on a host of its own, so that the groups go side by side.
async fn on_a_host(chosen: fn(&str) -> bool) {
    let Some(mut host) = Host::start().await else { return };
    let lines: Vec<_> = lines().into_iter().filter(|line| chosen(line.action)).collect();
    assert!(!lines.is_empty());
    keep(&mut host, &lines).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_start_and_stop() {
    on_a_host(|action| matches!(action, "lxc.stop" | "lxc.start" | "lxc.snapshot")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_go_and_come_back() {
    on_a_host(|action| matches!(action, "lxc.destroy" | "lxc.backup")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_and_files_of_a_host() {
    on_a_host(|action| !action.starts_with("lxc.")).await;
}
