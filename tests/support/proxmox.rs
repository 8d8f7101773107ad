//! A Proxmox node: the lab's tools behind a real sshd that clears the environment, so that nothing else is found.

use std::path::Path;
use std::process::{Command, Output};

use runner::lab::proxmox::{Node, Place};
use tempfile::TempDir;

use super::sshd::Sshd;

/// The binary that the stand-ins call.
const RUNNER: &str = env!("CARGO_BIN_EXE_runner");

/// A node and the way to it.
pub struct Pve {
    pub sshd: Sshd,
    pub place: Place,
    _folder: TempDir,
}

impl Pve {
    /// Starts one, or says loudly why not.
    pub fn start(node: Node) -> Option<Self> {
        let (folder, place) = installed(node);
        // `SetEnv PATH` is not enough: a login shell's files put other folders in front.
        let bin = place.folder().join("bin").display().to_string();
        let config = format!(
            "ForceCommand exec /usr/bin/env -i HOME=\"$HOME\" PATH={bin}:/usr/bin:/bin /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""
        );
        Some(Self { sshd: Sshd::start_with(&config)?, place, _folder: folder })
    }

    pub fn change<R>(&self, work: impl FnOnce(&mut Node) -> R) -> R {
        self.place.change(work).unwrap()
    }

    pub fn look<R>(&self, work: impl FnOnce(&Node) -> R) -> R {
        self.place.look(work).unwrap()
    }
}

/// A node's folder with its tools in it.
pub fn installed(node: Node) -> (TempDir, Place) {
    let folder = tempfile::Builder::new().prefix("pve").tempdir().unwrap();
    let place = Place::new(folder.path());
    let machines: Vec<u32> = node.machines.keys().copied().collect();
    place.change(|state| *state = node).unwrap();
    place.install(Path::new(RUNNER)).unwrap();
    for vmid in machines {
        place.install_guest(vmid, Path::new(RUNNER)).unwrap();
    }
    (folder, place)
}

/// Runs one of the tools here.
pub fn tool(place: &Place, words: &[&str]) -> Output {
    Command::new(place.folder().join("bin").join(words[0])).args(&words[1..]).output().unwrap()
}

/// The seed's container 110, as far as this machine can have it: devices and mounts are files of `folder`.
pub fn frigate(folder: &Path, running: bool) -> Node {
    for name in ["renderD128", "coral", "media"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let at = |name: &str| folder.join(name).display().to_string();
    let (gpu, coral) = (format!("{},gid=104", at("renderD128")), format!("path={},mode=0666", at("coral")));
    let media = format!("{},mp=/media/frigate", at("media"));
    Node::default().with_container(
        110,
        &[
            ("cores", "8"),
            ("dev0", &gpu),
            ("dev2", &coral),
            ("features", "fuse=1,nesting=1"),
            ("hostname", "frigate-sf"),
            ("memory", "8192"),
            ("mp0", &media),
            ("onboot", "1"),
            ("rootfs", "local-zfs:subvol-110-disk-0,size=20G"),
        ],
        running,
    )
}
