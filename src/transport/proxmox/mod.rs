//! Proxmox VE over ssh: `pct`, `vzdump`, `qm` and `pvesh` on the node that owns the guest.
//!
//! One attempt is one script on the host, run by the wrapper like any other command: it outlives a lost connection, its
//! end is found again by settling, and an exit status of 255 is that of the tool when the wrapper recorded it and ssh's
//! when nobody did. The tools' numbers mean nothing beyond that: their texts are read, in [`trouble`]. Sources: facts
//! about Proxmox, sections 2 and 3 (pve-container 5.3 and 6.1, qemu-server 8.4 and 9.2).

mod config;
mod guest;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::capture::{Capture, Seen};
use super::launch::{End, Launch, Program, Report};
use super::stop::Stop;
use super::{Redactor, Target, Transport};

pub(crate) use config::{Archive, Config, Volume, archives};
pub(crate) use guest::{GuestCommand, GuestEnd, GuestSettled};
pub(crate) use trouble::Trouble;

const PRELUDE: &str = include_str!("prelude.sh");

/// Exit status of the scripts: a tool failed, and what it said is on stdout.
const FAILED: i32 = 5;

/// How much of a look is kept, in bytes: a configuration, and the archives of one guest.
const LOOK_MAX: usize = 1 << 20;

/// What a look shall see besides state and configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// The digest of the configuration.
    pub(crate) digest: bool,
    /// The names of its snapshots.
    pub(crate) snapshots: bool,
    /// The guest's archives on this storage.
    pub(crate) storage: Option<String>,
    /// What this archive holds.
    pub(crate) archive: Option<String>,
}

/// What was seen of a container.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    /// The node's own name.
    pub(crate) node: String,
    /// Absent: this node has no such container.
    pub(crate) container: Option<Container>,
    /// The node of the cluster that has a guest with this id, when this one has not.
    pub(crate) elsewhere: Option<String>,
    /// The guest's archives on the storage that was asked for.
    pub(crate) archives: Vec<Archive>,
    /// The configuration inside the archive that was asked for; absent: there is no such archive.
    pub(crate) archived: Option<Config>,
}

/// A container that is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Container {
    pub(crate) running: bool,
    pub(crate) lock: Option<String>,
    /// As `pct config` prints it.
    pub(crate) text: String,
    pub(crate) config: Config,
    pub(crate) digest: Option<String>,
    pub(crate) snapshots: Vec<String>,
    /// Devices and sources of bind mounts that are not on the host.
    pub(crate) gone: Vec<String>,
}

/// What was seen of a virtual machine.
#[derive(Debug, Clone)]
pub(crate) enum MachineSight {
    /// This node has none; perhaps another node of the cluster has.
    Absent { elsewhere: Option<String> },
    /// It is there. Its agent answers, or what `qm` says instead.
    Present { running: bool, config: Config, agent: Result<(), String> },
}

/// Something to be done to a container.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Power(Power),
    Snapshot { name: String, description: String },
    DeleteSnapshot { name: String },
    Backup { storage: String, mode: String, note: String },
    Destroy { expected: String, purge: bool },
    Restore { archive: String, storage: String, onboot: Onboot },
}

/// The state that a container shall have.
#[derive(Debug, Clone)]
pub(crate) struct Power {
    /// Absent: as it is.
    pub(crate) running: Option<bool>,
    pub(crate) onboot: Onboot,
    /// How long a clean shutdown may take.
    pub(crate) within: Duration,
    /// Kill it after that.
    pub(crate) kill: bool,
}

/// What `onboot` shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onboot {
    Keep,
    /// Off, whether the line says so or is not there.
    Off,
    On,
    /// Exactly this line; absent: no line.
    Exactly(Option<bool>),
}

impl Onboot {
    fn word(self) -> &'static str {
        match self {
            Onboot::Keep => "",
            Onboot::Off => "no",
            Onboot::On => "yes",
            Onboot::Exactly(None) => "unset",
            Onboot::Exactly(Some(false)) => "0",
            Onboot::Exactly(Some(true)) => "1",
        }
    }
}

impl Change {
    fn launch(&self, vmid: u32, timeout: Duration) -> Launch {
        let flag = |is: bool| if is { "1".to_owned() } else { String::new() };
        let mut env = BTreeMap::from([("ID".to_owned(), vmid.to_string())]);
        let mut set = |key: &str, value: String| drop(env.insert(key.to_owned(), value));
        let mut own = Duration::from_secs(30);
        let script = match self {
            Change::Power(power) => {
                own += power.within;
                let status = match power.running {
                    None => "keep",
                    Some(true) => "running",
                    Some(false) => "stopped",
                };
                set("S", status.to_owned());
                set("B", power.onboot.word().to_owned());
                set("T", power.within.as_secs().max(1).to_string());
                set("K", flag(power.kill));
                include_str!("power.sh").to_owned()
            }
            Change::Snapshot { name, description } => {
                set("N", name.clone());
                set("M", description.clone());
                set("R", String::new());
                include_str!("snapshot.sh").to_owned()
            }
            Change::DeleteSnapshot { name } => {
                set("N", name.clone());
                set("R", flag(true));
                include_str!("snapshot.sh").to_owned()
            }
            Change::Backup { storage, mode, note } => {
                set("G", storage.clone());
                set("O", mode.clone());
                set("M", note.clone());
                include_str!("backup.sh").to_owned()
            }
            Change::Destroy { expected, purge } => {
                set("C", expected.clone());
                set("P", flag(*purge));
                include_str!("destroy.sh").to_owned()
            }
            Change::Restore { archive, storage, onboot } => {
                set("A", archive.clone());
                set("G", storage.clone());
                set("S", "stopped".to_owned());
                set("B", onboot.word().to_owned());
                set("T", "60".to_owned());
                set("K", String::new());
                format!("{}\n{}", include_str!("restore.sh"), include_str!("power.sh"))
            }
        };
        set("W", timeout.saturating_sub(own).as_secs().to_string());
        launch(&script, env, &[], None)
    }
}

impl Transport {
    /// Looks at a container and at what it needs of its node. Cancel-safe.
    pub(crate) async fn look_at_container(
        &self,
        target: &Target,
        vmid: u32,
        wanted: &Wanted,
        timeout: Duration,
    ) -> Result<Sight, Trouble> {
        let flag = |is: bool| if is { "1".to_owned() } else { String::new() };
        let env = BTreeMap::from([
            ("ID".to_owned(), vmid.to_string()),
            ("D".to_owned(), flag(wanted.digest)),
            ("L".to_owned(), flag(wanted.snapshots)),
            ("G".to_owned(), wanted.storage.clone().unwrap_or_default()),
            ("A".to_owned(), wanted.archive.clone().unwrap_or_default()),
        ]);
        let capture = Capture::with_room(&Redactor::default(), None, LOOK_MAX);
        let launch = launch(include_str!("look.sh"), env, &[], None);
        let report = self.look_on(target, &launch, capture, timeout).await;
        seen(target, vmid, report, |text| read(vmid, text))
    }

    /// Looks at a virtual machine and asks its guest agent for a sign. Cancel-safe.
    pub(crate) async fn look_at_machine(
        &self,
        target: &Target,
        vmid: u32,
        timeout: Duration,
    ) -> Result<MachineSight, Trouble> {
        let env = BTreeMap::from([("ID".to_owned(), vmid.to_string())]);
        let capture = Capture::with_room(&Redactor::default(), None, LOOK_MAX);
        let launch = launch(include_str!("machine.sh"), env, &[], None);
        let report = self.look_on(target, &launch, capture, timeout).await;
        seen(target, vmid, report, |text| machine(vmid, text))
    }

    /// Does something to a container, as one attempt. Its end is told by [`told_of_container`](told). Not cancel-safe.
    #[expect(clippy::too_many_arguments, reason = "one call of the wrapper with all that belongs to it")]
    pub(crate) async fn change_container(
        &self,
        target: &Target,
        vmid: u32,
        attempt: &str,
        change: &Change,
        capture: Capture,
        timeout: Duration,
        stop: Option<Stop>,
    ) -> Report {
        let launch = change.launch(vmid, timeout);
        let report = self.act_on(target, attempt, &launch, capture, timeout, stop).await;
        told(target, vmid, report)
    }
}

/// A script for a node, behind what all of them begin with.
fn launch(text: &str, env: BTreeMap<String, String>, argv: &[String], stdin: Option<Vec<u8>>) -> Launch {
    let lines = PRELUDE.lines().chain(text.lines()).map(str::trim).filter(|line| !line.starts_with('#'));
    let script: String = lines.flat_map(|line| [line, "\n"]).collect();
    let program = match argv {
        [] => Program::Script(script),
        words => {
            let mut all = vec!["/bin/sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()];
            all.extend(words.iter().cloned());
            Program::Argv(all)
        }
    };
    Launch { program, env, cwd: Some("/".to_owned()), stdin }
}

/// A report of a script with what the tools said turned into words: a failure that is understood, or one of which nobody
/// knows whether it had an effect.
pub(crate) fn told(target: &Target, vmid: u32, report: Report) -> Report {
    let Report { end, seen } = report;
    let end = match end {
        End::Exit(FAILED) => {
            let Trouble { permanent, unknown, message } = trouble::read(target, vmid, &said(&seen));
            match unknown {
                true => End::Lost(message),
                false => End::NotStarted { permanent, message },
            }
        }
        other => other,
    };
    Report { end, seen }
}

/// What the tools said before a script gave up.
fn said(seen: &Seen) -> String {
    let text = String::from_utf8_lossy(&seen.stdout);
    let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("said ")).collect();
    lines.join("\n")
}

/// The values of the lines that begin with a word.
pub(crate) fn lines_of<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(' ').filter(|(first, _)| *first == word).map(|(_, rest)| rest))
        .collect()
}

/// What a look's script said, or why it said nothing that helps.
fn seen<T>(
    target: &Target,
    vmid: u32,
    report: Report,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Trouble> {
    let Report { end, seen } = told(target, vmid, report);
    let host = target.shown();
    match end {
        End::Exit(0) if !seen.overflow => {
            read(&String::from_utf8_lossy(&seen.stdout)).ok_or_else(|| Trouble {
                permanent: false,
                unknown: false,
                message: format!("what {host} says of guest {vmid} cannot be understood"),
            })
        }
        End::NotStarted { permanent, message } => Err(Trouble { permanent, unknown: false, message }),
        End::TimedOut(message) | End::Stopped(message) | End::Lost(message) => {
            Err(Trouble { permanent: false, unknown: true, message })
        }
        End::Exit(_) | End::Signal(_) => {
            let words = seen.tail.lines().last().unwrap_or("the shell there says nothing");
            let message = format!("{host} does not say how guest {vmid} is: {words}");
            Err(Trouble { permanent: false, unknown: false, message })
        }
    }
}

fn json_of(text: &str, word: &str) -> Option<Value> {
    lines_of(text, word).first().and_then(|line| serde_json::from_str(line).ok())
}

/// The node of the cluster that has the guest.
fn elsewhere(vmid: u32, text: &str) -> Option<String> {
    let rows = json_of(text, "cluster")?;
    let row = rows.as_array()?.iter().find(|row| row["vmid"].as_u64() == Some(u64::from(vmid)))?;
    row["node"].as_str().map(str::to_owned)
}

fn is_running(status: &str) -> Option<bool> {
    match status {
        "running" => Some(true),
        "stopped" => Some(false),
        _ => None,
    }
}

fn machine(vmid: u32, text: &str) -> Option<MachineSight> {
    if text.lines().last()? == "absent" {
        return Some(MachineSight::Absent { elsewhere: elsewhere(vmid, text) });
    }
    let status = lines_of(text, "status").first()?.strip_prefix("status: ").and_then(is_running)?;
    let agent = match lines_of(text, "agent").first().copied() {
        Some("answers") => Ok(()),
        Some(why) => Err(why.to_owned()),
        None => Err("it says nothing".to_owned()),
    };
    Some(MachineSight::Present { running: status, config: Config::read(&lines_of(text, "config")), agent })
}

fn read(vmid: u32, text: &str) -> Option<Sight> {
    let json = |word: &str| json_of(text, word);
    let mut found = Sight { node: lines_of(text, "host").first()?.to_string(), ..Sight::default() };
    if let Some(rows) = json("archives") {
        found.archives = archives(&rows);
    }
    let archived = lines_of(text, "archived");
    if !archived.is_empty() {
        found.archived = Some(Config::read(&archived));
    }
    match text.lines().last()? {
        "absent" => {
            found.elsewhere = elsewhere(vmid, text);
        }
        "present" => {
            let status: BTreeMap<&str, &str> =
                lines_of(text, "status").into_iter().filter_map(|line| line.split_once(": ")).collect();
            let lines = lines_of(text, "config");
            let config = Config::read(&lines);
            found.container = Some(Container {
                running: is_running(status.get("status")?)?,
                lock: status
                    .get("lock")
                    .map(|lock| (*lock).to_owned())
                    .or_else(|| config.get("lock").map(str::to_owned)),
                text: lines.join("\n"),
                digest: json("digest").and_then(|object| Some(object["digest"].as_str()?.to_owned())),
                snapshots: lines_of(text, "snapshot")
                    .into_iter()
                    .filter_map(|line| line.trim_start_matches([' ', '`', '-', '>']).split(' ').next())
                    .filter(|name| !name.is_empty() && *name != "current")
                    .map(str::to_owned)
                    .collect(),
                gone: lines_of(text, "gone").into_iter().map(str::to_owned).collect(),
                config,
            });
        }
        _ => return None,
    }
    Some(found)
}
