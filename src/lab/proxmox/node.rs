//! What a node remembers: its containers, virtual machines, volumes and archives, and how they are broken.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its cluster has a quorum; without one nothing is written.
    pub quorum: bool,
    /// Who calls its tools is root.
    pub root: bool,
    /// Its containers.
    pub containers: BTreeMap<u32, Container>,
    /// Its virtual machines.
    pub machines: BTreeMap<u32, Machine>,
    /// Volumes by their id, `local-zfs:subvol-110-disk-0`.
    pub volumes: BTreeMap<String, Volume>,
    /// Archives of guests.
    pub archives: Vec<Archive>,
    /// Guests of other nodes: id and node.
    pub elsewhere: BTreeMap<u32, String>,
    /// How long `qm guest exec` waits unless told otherwise, in milliseconds.
    pub exec_timeout_ms: u64,
    /// `vzdump` fails in the middle.
    pub backup_fails: bool,
    /// `vzdump` takes so long, in milliseconds; the guest is locked meanwhile.
    pub backup_ms: u64,
    /// How often something was changed by a call.
    pub writes: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "still-fawn".to_owned(),
            quorum: true,
            root: true,
            containers: BTreeMap::new(),
            machines: BTreeMap::new(),
            volumes: BTreeMap::new(),
            archives: Vec::new(),
            elsewhere: BTreeMap::new(),
            exec_timeout_ms: 30_000,
            backup_fails: false,
            backup_ms: 0,
            writes: 0,
        }
    }
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// The lines of its configuration, `lock` among them.
    pub config: BTreeMap<String, String>,
    /// Its lines of raw LXC configuration.
    pub raw: Vec<String>,
    /// It runs.
    pub running: bool,
    /// What will become of it by itself.
    pub pending: Option<Pending>,
    /// Its snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The cluster's HA stack manages it.
    pub ha: bool,
    /// How it is broken.
    pub faults: Faults,
}

/// A change of state that comes by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pending {
    /// It will run then.
    pub running: bool,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// How a container is broken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Faults {
    /// A clean shutdown takes so long, in milliseconds.
    pub shutdown_ms: u64,
    /// A clean shutdown never ends.
    pub shutdown_hangs: bool,
    /// What the HA stack was asked for takes so long, in milliseconds.
    pub ha_ms: u64,
    /// Its hook script fails before it is started.
    pub hook_fails: bool,
    /// Its configuration is being written by somebody else.
    pub config_busy: bool,
    /// The machine goes down in the middle of its destruction.
    pub destroy_stops_half: bool,
    /// Its processes do not come up.
    pub start_fails: bool,
    /// What is done to it goes well, with a warning.
    pub warns: bool,
}

/// A snapshot of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When, in seconds since 1970.
    pub time: u64,
    /// What it was made for.
    pub description: String,
    /// The configuration then.
    pub config: BTreeMap<String, String>,
    /// What the volumes held then.
    pub contents: BTreeMap<String, String>,
}

/// A volume of a storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// The guest that owns it.
    pub owner: u32,
    /// Its storage can take snapshots.
    pub snapshots: bool,
    /// What it holds: enough to see whether it came back.
    pub content: String,
}

/// An archive of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// Its id, `local:backup/vzdump-lxc-110-….tar.zst`.
    pub volid: String,
    /// Of which guest.
    pub vmid: u32,
    /// In bytes.
    pub size: u64,
    /// When, in seconds since 1970.
    pub time: u64,
    /// What was noted with it.
    pub notes: String,
    /// The configuration then.
    pub config: BTreeMap<String, String>,
    /// Its lines of raw LXC configuration.
    pub raw: Vec<String>,
    /// What the volumes held, by their key in the configuration.
    pub contents: BTreeMap<String, String>,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The lines of its configuration, `lock` among them.
    pub config: BTreeMap<String, String>,
    /// It runs.
    pub running: bool,
    /// Its guest agent.
    pub agent: Agent,
    /// The next process id of its guest.
    pub next_pid: u32,
    /// Where the lab's Home Assistant takes orders, `127.0.0.1:PORT`: what the guest's `ha` talks to.
    pub home_assistant: Option<String>,
    /// The agent starts a command and does not answer in time.
    pub agent_busy: bool,
    /// How much of each output of a command the agent keeps, in bytes.
    pub output_max: usize,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            config: BTreeMap::new(),
            running: true,
            agent: Agent::Running,
            next_pid: 4711,
            home_assistant: None,
            agent_busy: false,
            // `GUEST_EXEC_MAX_OUTPUT` of qemu-ga.
            output_max: 16 << 20,
        }
    }
}

/// A guest agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// It answers.
    Running,
    /// It does not.
    Stopped,
    /// The machine is not set up for one.
    Absent,
}

impl Node {
    /// The seed's node: container 110 with its devices and mounts as `config` says, on volumes that can take snapshots.
    pub fn with_container(mut self, vmid: u32, config: &[(&str, &str)], running: bool) -> Self {
        let lines = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let container = Container { config: lines.collect(), running, ..Container::default() };
        for (key, volume) in volumes_of(&container.config) {
            if !volume.starts_with('/') {
                let content = format!("{key} of {vmid}");
                let owner = owner_of(&volume).unwrap_or(vmid);
                self.volumes.insert(volume, Volume { owner, snapshots: true, content });
            }
        }
        self.containers.insert(vmid, container);
        self
    }

    /// A virtual machine with a guest agent that answers.
    pub fn with_machine(mut self, vmid: u32, name: &str) -> Self {
        let config = [("agent", "1"), ("name", name), ("onboot", "1")];
        let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        self.machines.insert(vmid, Machine { config, ..Machine::default() });
        self
    }

    /// Lets come what was to come by itself.
    pub(super) fn pass_time(&mut self) {
        let now = now_ms();
        for container in self.containers.values_mut() {
            if let Some(pending) = container.pending.take_if(|pending| pending.at_ms <= now) {
                container.running = pending.running;
            }
        }
    }
}

impl Container {
    /// What would keep others away.
    pub(super) fn lock(&self) -> Option<&str> {
        self.config.get("lock").map(String::as_str)
    }

    /// The digest that `pvesh` gives of the configuration.
    pub(super) fn digest(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.config {
            text.push_str(&format!("{key}: {value}\n"));
        }
        self.raw.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        Sha256::digest(text).iter().take(20).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The volumes and mounts of a configuration: key, and volume id or path of the host.
pub(super) fn volumes_of(config: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let is_volume = |key: &str| {
        let numbered = |prefix: &str| {
            key.strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
        };
        key == "rootfs" || numbered("mp") || numbered("unused")
    };
    let first = |value: &str| value.split(',').next().unwrap_or_default().to_owned();
    config.iter().filter(|(key, _)| is_volume(key)).map(|(key, value)| (key.clone(), first(value))).collect()
}

/// The owner that a volume's name tells, `subvol-113-disk-0`.
pub(super) fn owner_of(volume: &str) -> Option<u32> {
    volume.split_once(':')?.1.split('-').nth(1)?.parse().ok()
}

#[expect(clippy::disallowed_methods, reason = "the lab is a world of its own, with its own clock")]
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
