//! What the tools of Proxmox say when something is wrong, by their texts: the numbers mean nothing (facts, section 2.0).

use crate::transport::{Target, one_line};

/// Why something was not done or not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Trying again does not help.
    pub(crate) permanent: bool,
    /// Nobody knows whether it had an effect.
    pub(crate) unknown: bool,
    /// In words for people, with what to do next.
    pub(crate) message: String,
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Never,
    Again,
    /// Perhaps it was done.
    Unknown,
}

/// A part of what is said, what that means, and what to do. The first that fits counts.
const TABLE: &[(&str, Class, &str)] = &[
    ("there is no pct", Class::Never, "there is no `pct`: is it a Proxmox node?"),
    ("there is no qm", Class::Never, "there is no `qm`: is it a Proxmox node?"),
    ("there is no vzdump", Class::Never, "there is no `vzdump`: is it a Proxmox node?"),
    ("there is no pvesh", Class::Never, "there is no `pvesh`: is it a Proxmox node?"),
    (
        "please run as root",
        Class::Never,
        "its tools are for root: log in as root, or write `sudo = true` for the host",
    ),
    (
        "ipcc_send_rec",
        Class::Never,
        "its tools are for root: log in as root, or write `sudo = true` for the host",
    ),
    (
        "Unable to load access control list",
        Class::Never,
        "its tools are for root: write `sudo = true` for the host",
    ),
    (
        "no quorum",
        Class::Again,
        "the cluster has no quorum, so that nothing can be changed: look with `pvecm status`",
    ),
    (
        "unable to open file '/etc/pve/",
        Class::Again,
        "the cluster's file system takes no changes, as without a quorum: look with `pvecm status`",
    ),
    (
        "Configuration file 'nodes/",
        Class::Never,
        "this node has no such guest: it was destroyed, the id is another, or it belongs to another node",
    ),
    (
        "is locked (destroyed)",
        Class::Never,
        "it was destroyed half: look at it, then `pct unlock` and `pct destroy` it by hand",
    ),
    (
        "is locked (",
        Class::Again,
        "something else works on it: wait for it, or give the step a longer `timeout`; never unlock it while that runs",
    ),
    ("can't lock file", Class::Again, "another command holds its configuration"),
    (
        "detected modified configuration",
        Class::Again,
        "somebody else has changed its configuration meanwhile",
    ),
    (
        "the configuration has changed since",
        Class::Never,
        "somebody has changed its configuration since it was looked at: look at it, then go on",
    ),
    (
        "snapshot feature is not available",
        Class::Never,
        "a snapshot is impossible: one of its mounts is a bind mount or on a storage without snapshots; back it up with `lxc.backup` instead",
    ),
    ("is not most recent snapshot", Class::Never, "a newer snapshot stands in the way"),
    ("already used", Class::Never, "it has a snapshot of that name"),
    (
        "container did not stop",
        Class::Again,
        "it did not shut down in time and still runs: give it more time with `within`, or allow `kill = true`",
    ),
    (
        "Requesting HA",
        Class::Again,
        "the cluster's HA stack manages it and has not done what it was asked for: look with `ha-manager status`",
    ),
    (
        "used in HA resources",
        Class::Never,
        "the cluster's HA stack manages it: take it out with `ha-manager remove`, or write `purge = true`",
    ),
    (
        "protection mode enabled",
        Class::Never,
        "it is protected: take `protection` off by hand when it shall really go",
    ),
    ("container is running", Class::Never, "it runs, and what runs is not destroyed: stop it first"),
    ("can't overwrite running container", Class::Never, "it runs, and what runs is not overwritten"),
    ("already exists on node", Class::Never, "a container of that id is there already"),
    (
        "Could not get mode or device ID of",
        Class::Never,
        "a device that it is given is not there: plug it in again, or correct its `dev` lines",
    ),
    ("hookscript error", Class::Never, "its hook script fails"),
    (
        "directory '",
        Class::Never,
        "a folder that it mounts is not there: mount it again, or correct its `mp` lines",
    ),
    ("startup for container", Class::Again, "it does not start: look with `pct start --debug`"),
    (
        "No QEMU guest agent configured",
        Class::Never,
        "the machine is not set up for a guest agent: switch it on in its options",
    ),
    (
        "qga command 'guest-exec' failed - got timeout",
        Class::Unknown,
        "the guest is busy and did not answer: the command may have been started",
    ),
    ("got timeout", Class::Again, "the guest is busy and did not answer"),
    (
        "QEMU guest agent is not running",
        Class::Again,
        "the guest's agent does not answer: is the guest up, and `qemu-guest-agent` in it?",
    ),
    (
        "Failed to execute child process",
        Class::Never,
        "the guest has no such program; a shell's words need `[\"sh\", \"-c\", …]`",
    ),
    ("Agent error: ", Class::Never, "the guest's agent refuses it"),
    ("is not running", Class::Again, "it does not run"),
    ("limited to 1 MiB", Class::Never, "stdin is longer than the agent takes"),
    ("400 ", Class::Never, "a value is not as it must be"),
    ("Unknown option", Class::Never, "its version does not know an option: Proxmox VE 8 or newer is needed"),
    ("unable to find VM", Class::Never, "this node has no such guest"),
    ("job errors", Class::Again, "the backup failed"),
];

/// Reads what was said of a guest.
pub(super) fn read(target: &Target, vmid: u32, said: &str) -> Trouble {
    let host = target.shown();
    // The waiting for a lock is no trouble by itself.
    let lines =
        said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("trying to acquire"));
    let lines: Vec<&str> = lines.collect();
    let found = TABLE.iter().find(|(part, ..)| lines.iter().any(|line| line.contains(part)));
    let Some((part, class, means)) = found else {
        let last = lines.last().copied().unwrap_or("its tools say nothing");
        return Trouble {
            permanent: false,
            unknown: false,
            message: format!("guest {vmid} on {host}: {}", short(last)),
        };
    };
    let line = lines.iter().position(|line| line.contains(part)).unwrap_or(0);
    // A refused parameter is named in the line after.
    let words = match *part {
        "400 " => lines[line..].iter().take(2).copied().collect::<Vec<_>>().join(" "),
        _ => lines[line].to_owned(),
    };
    Trouble {
        permanent: *class == Class::Never,
        unknown: *class == Class::Unknown,
        message: format!("guest {vmid} on {host}: {means} ({})", short(&words)),
    }
}

fn short(line: &str) -> String {
    one_line(&line.chars().take(300).collect::<String>())
}
