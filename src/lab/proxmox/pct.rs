//! `pct`: containers. Texts and streams: facts about Proxmox, tables 2.1 and 2.2.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use super::node::{Container, Node, Pending, Snapshot, now_ms, volumes_of};
use super::options::{Options, bad};
use super::{Place, Said, backup};
use crate::lab::StoreError;

/// How long a clean shutdown may take unless told otherwise (`pct shutdown` of PVE 8).
const SHUTDOWN: u64 = 60;

/// How often what takes time is looked at.
const AGAIN: Duration = Duration::from_millis(20);

type Result<T = Said> = std::result::Result<T, StoreError>;

pub(super) fn run(place: &Place, words: &[String]) -> Result {
    let Some((command, rest)) = words.split_first() else {
        return Ok(Said::die("ERROR: no command specified"));
    };
    let known: &[&str] = match command.as_str() {
        "status" => &["verbose"],
        "shutdown" => &["timeout", "forceStop"],
        "reboot" => &["timeout"],
        "stop" => &["skiplock", "overrule-shutdown"],
        "start" => &["skiplock", "debug"],
        "set" => &["onboot", "delete", "digest", "protection", "hostname", "description"],
        "snapshot" => &["description"],
        "rollback" => &["start"],
        "delsnapshot" => &["force"],
        "destroy" => &["purge", "force", "destroy-unreferenced-disks"],
        "restore" => &["storage", "force", "unique", "start"],
        _ => &[],
    };
    let read = Options::read(rest, known).and_then(|options| {
        let vmid = if command == "list" { 0 } else { options.vmid(0)? };
        Ok((options, vmid))
    });
    let (options, vmid) = match read {
        Ok(read) => read,
        Err(said) => return Ok(said),
    };
    match command.as_str() {
        "list" => place.look(list),
        "status" => on(place, vmid, |container, _| status(vmid, container, options.flag("verbose"))),
        "config" => on(place, vmid, |container, _| config(container)),
        "listsnapshot" => on(place, vmid, |container, _| list_snapshots(container)),
        "start" => start(place, vmid),
        "stop" => stop(place, vmid),
        "shutdown" => shutdown(place, vmid, &options),
        "reboot" => reboot(place, vmid),
        "set" => change(place, vmid, |container, _| set(container, &options)),
        "snapshot" => change(place, vmid, |container, node| snapshot(container, node, &options)),
        "delsnapshot" => change(place, vmid, |container, node| {
            let name = options.words.get(1).cloned().unwrap_or_default();
            if let Some(said) = unwritable(node, vmid, Some(container)) {
                return said;
            }
            let count = container.snapshots.len();
            container.snapshots.retain(|snapshot| snapshot.name != name);
            if container.snapshots.len() == count {
                return Said::task(format!("snapshot '{name}' does not exist"));
            }
            Said::default()
        }),
        "rollback" => change(place, vmid, |container, node| rollback(vmid, container, node, &options)),
        "destroy" => destroy(place, vmid, &options),
        "unlock" => change(place, vmid, |container, _| match container.config.remove("lock") {
            Some(_) => Said::default(),
            None => Said::die("no lock found trying to remove any lock"),
        }),
        "exec" => exec(place, vmid, &options),
        "restore" => backup::restore(place, vmid, &options),
        other => Ok(Said::die(format!("ERROR: unknown command 'pct {other}'"))),
    }
}

/// What every tool says of a container that this node does not have.
pub(super) fn not_found(node: &Node, kind: &str, vmid: u32) -> Said {
    Said::die(format!("Configuration file 'nodes/{}/{kind}/{vmid}.conf' does not exist", node.name))
}

fn on(place: &Place, vmid: u32, work: impl FnOnce(&Container, &Node) -> Said) -> Result {
    place.look(|node| match node.containers.get(&vmid) {
        Some(container) => work(container, node),
        None => not_found(node, "lxc", vmid),
    })
}

/// Changes a container; a call that succeeds counts as a write.
pub(super) fn change(
    place: &Place,
    vmid: u32,
    work: impl FnOnce(&mut Container, &mut Node) -> Said,
) -> Result {
    place.change(|node| {
        let Some(mut container) = node.containers.remove(&vmid) else { return not_found(node, "lxc", vmid) };
        let said = work(&mut container, node);
        node.containers.insert(vmid, container);
        if said.code == 0 {
            node.writes += 1;
        }
        said
    })
}

/// Why nothing can be written: no quorum, somebody else is writing, or a lock.
fn unwritable(node: &Node, vmid: u32, container: Option<&Container>) -> Option<Said> {
    if !node.quorum {
        let file = format!("/etc/pve/nodes/{}/lxc/{vmid}.conf.tmp.4242", node.name);
        return Some(Said::task(format!("unable to open file '{file}' - Permission denied")));
    }
    let container = container?;
    if container.faults.config_busy {
        let file = format!("/run/lock/lxc/pve-config-{vmid}.lock");
        return Some(Said::task(format!(
            "trying to acquire lock...\ncan't lock file '{file}' - got timeout"
        )));
    }
    container.lock().map(|lock| Said::task(format!("CT is locked ({lock})")))
}

fn list(node: &Node) -> Said {
    let mut out = String::new();
    for (vmid, container) in &node.containers {
        if out.is_empty() {
            out.push_str(&format!("{:<10} {:<10} {:<12} {:<20}\n", "VMID", "Status", "Lock", "Name"));
        }
        let status = if container.running { "running" } else { "stopped" };
        let lock = container.lock().unwrap_or_default();
        let name = container.config.get("hostname").map_or("", String::as_str);
        out.push_str(&format!("{vmid:<10} {status:<10} {lock:<12} {name:<20}\n"));
    }
    Said::ok(out)
}

fn status(vmid: u32, container: &Container, verbose: bool) -> Said {
    let status = if container.running { "running" } else { "stopped" };
    if !verbose {
        return Said::ok(format!("status: {status}\n"));
    }
    let mut lines = vec![format!("status: {status}"), format!("vmid: {vmid}"), "type: lxc".to_owned()];
    lines.push(format!("name: {}", container.config.get("hostname").map_or("", String::as_str)));
    lines.push(format!("uptime: {}", if container.running { 3600 } else { 0 }));
    if container.running {
        lines.push("pid: 1234".to_owned());
    }
    lines.extend(container.lock().map(|lock| format!("lock: {lock}")));
    lines.sort();
    Said::ok(lines.join("\n") + "\n")
}

fn config(container: &Container) -> Said {
    let mut out = String::new();
    container.config.iter().for_each(|(key, value)| out.push_str(&format!("{key}: {value}\n")));
    container.raw.iter().for_each(|line| out.push_str(&format!("{line}\n")));
    Said::ok(out)
}

fn list_snapshots(container: &Container) -> Said {
    let mut out = String::new();
    for (depth, snapshot) in container.snapshots.iter().enumerate() {
        let indent = " ".repeat(depth);
        let time = clock(snapshot.time);
        let text = if snapshot.description.is_empty() { "no-description" } else { &snapshot.description };
        out.push_str(&format!("{indent}`-> {:<27} {time:<23} {text}\n", snapshot.name));
    }
    let indent = " ".repeat(container.snapshots.len());
    Said::ok(format!("{out}{indent}`-> {:<51} You are here!\n", "current"))
}

/// `2025-12-11 20:44:00` in UTC.
pub(super) fn clock(seconds: u64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(0)).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn start(place: &Place, vmid: u32) -> Result {
    change(place, vmid, |container, node| {
        if container.running {
            return Said::die(format!("CT {vmid} already running"));
        }
        if !node.quorum {
            return Said::die("cluster not ready - no quorum?");
        }
        if container.ha {
            let at_ms = now_ms() + container.faults.ha_ms;
            container.pending = Some(Pending { running: true, at_ms });
            return Said::ok(format!("Requesting HA start for CT {vmid}\n"));
        }
        if let Some(said) = unwritable(node, vmid, Some(container)) {
            return said;
        }
        if let Some(why) = cannot_start(place, vmid, container) {
            return Said::task(format!("{why}startup for container '{vmid}' failed"));
        }
        container.running = true;
        container.pending = None;
        ended_well(container)
    })
}

/// A task that ended well; its warnings are said on stdout, and counted on stderr (PVE::RESTEnvironment, PVE::UPID).
fn ended_well(container: &Container) -> Said {
    if !container.faults.warns {
        return Said::default();
    }
    let err = "Task finished with 1 warning(s)!\n".to_owned();
    let out = "WARN: old systemd (< v232) detected, container won't run in a pure cgroupv2 environment!\n"
        .to_owned();
    Said { out, err, code: 0 }
}

/// What keeps it from starting, as the captured words of the container say it.
fn cannot_start(place: &Place, vmid: u32, container: &Container) -> Option<String> {
    for (key, value) in &container.config {
        let first = value.split(',').next().unwrap_or_default();
        let path = first.strip_prefix("path=").unwrap_or(first);
        if key.starts_with("dev") && !std::path::Path::new(path).exists() {
            return Some(format!("Could not get mode or device ID of {path}\n"));
        }
        if key.starts_with("mp") && path.starts_with('/') && !std::path::Path::new(path).exists() {
            return Some(format!("directory '{path}' does not exist\n"));
        }
    }
    let failed = |why: String| Some(format!("hookscript error for {vmid} on pre-start: {why}\n"));
    let hook = container.config.get("hookscript");
    if let Some(volume) = hook {
        let path = place.path_of(volume);
        match path.and_then(|path| path.metadata().ok()).filter(std::fs::Metadata::is_file) {
            None => return failed(format!("script '{volume}' does not exist")),
            Some(file) if file.permissions().mode() & 0o111 == 0 => {
                return failed(format!("script '{volume}' is not executable"));
            }
            Some(_) => {}
        }
    }
    if container.faults.hook_fails {
        let script = hook.map_or("hook", String::as_str);
        return failed(format!("command '{script}' failed: exit code 1"));
    }
    container.faults.start_fails.then(String::new)
}

fn stop(place: &Place, vmid: u32) -> Result {
    change(place, vmid, |container, node| {
        if !container.running {
            return Said::die(format!("CT {vmid} not running"));
        }
        if container.ha {
            return request_stop(vmid, container);
        }
        if let Some(said) = unwritable(node, vmid, Some(container)) {
            return said;
        }
        container.running = false;
        container.pending = None;
        Said::default()
    })
}

fn request_stop(vmid: u32, container: &mut Container) -> Said {
    container.pending = Some(Pending { running: false, at_ms: now_ms() + container.faults.ha_ms });
    Said::ok(format!("Requesting HA stop for CT {vmid}\n"))
}

fn shutdown(place: &Place, vmid: u32, options: &Options) -> Result {
    let timeout = match options.number("timeout") {
        Ok(timeout) => Duration::from_secs(timeout.unwrap_or(SHUTDOWN)),
        Err(said) => return Ok(said),
    };
    let mut waits = false;
    let said = change(place, vmid, |container, node| {
        if !container.running {
            return Said::die(format!("CT {vmid} not running"));
        }
        if container.ha {
            return request_stop(vmid, container);
        }
        if let Some(said) = unwritable(node, vmid, Some(container)) {
            return said;
        }
        waits = true;
        if !container.faults.shutdown_hangs {
            let at_ms = now_ms() + container.faults.shutdown_ms;
            container.pending = Some(Pending { running: false, at_ms });
        }
        Said::default()
    })?;
    if !waits {
        return Ok(said);
    }
    let until = now_ms() + u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    loop {
        let stopped = place.look(|node| match node.containers.get(&vmid) {
            Some(container) if container.running => None,
            Some(container) => Some(ended_well(container)),
            None => Some(Said::default()),
        })?;
        if let Some(said) = stopped {
            return Ok(said);
        }
        if now_ms() >= until {
            break;
        }
        std::thread::sleep(AGAIN);
    }
    if options.flag("forceStop") {
        return change(place, vmid, |container, _| {
            container.running = false;
            container.pending = None;
            Said::default()
        });
    }
    Ok(Said::task("container did not stop").after(format!("lxc-stop: {vmid}: timed out\n")))
}

fn reboot(place: &Place, vmid: u32) -> Result {
    change(place, vmid, |container, node| {
        if !container.running {
            // "VM" is what the real one says.
            return Said::die(format!("VM {vmid} not running"));
        }
        unwritable(node, vmid, Some(container)).unwrap_or_default()
    })
}

fn set(container: &mut Container, options: &Options) -> Said {
    if options.get("digest").is_some_and(|digest| digest != container.digest()) {
        return Said::die("detected modified configuration - file changed by other user? Try again.");
    }
    if let Some(lock) = container.lock() {
        return Said::die(format!("CT is locked ({lock})"));
    }
    for key in ["onboot", "protection"] {
        if let Some(value) = options.get(key) {
            if !matches!(value, "0" | "1") {
                return bad(key, &format!("type check ('boolean') failed - got '{value}'"));
            }
            container.config.insert(key.to_owned(), value.to_owned());
        }
    }
    for key in ["hostname", "description"] {
        if let Some(value) = options.get(key) {
            container.config.insert(key.to_owned(), value.to_owned());
        }
    }
    for key in options.get("delete").into_iter().flat_map(|keys| keys.split(',')) {
        container.config.remove(key);
    }
    Said::default()
}

fn snapshot(container: &mut Container, node: &Node, options: &Options) -> Said {
    let vmid = options.vmid(0).unwrap_or(0);
    let name = options.words.get(1).cloned().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let fits = name.len() >= 2 && name.len() <= 40 && name.bytes().all(plain);
    if !fits || !name.as_bytes()[0].is_ascii_alphabetic() {
        return bad("snapname", &format!("invalid configuration ID '{name}'"));
    }
    if matches!(name.as_str(), "current" | "vzdump") {
        return Said::die(format!("unable to use snapshot name '{name}' (reserved name)"));
    }
    if let Some(said) = unwritable(node, vmid, Some(container)) {
        return said;
    }
    if container.snapshots.iter().any(|snapshot| snapshot.name == name) {
        return Said::task(format!("snapshot name '{name}' already used"));
    }
    let mut contents = std::collections::BTreeMap::new();
    for (key, volume) in volumes_of(&container.config) {
        match node.volumes.get(&volume) {
            Some(held) if held.snapshots => contents.insert(key, held.content.clone()),
            _ => return Said::task("snapshot feature is not available"),
        };
    }
    let (description, config) =
        (options.get("description").unwrap_or_default().to_owned(), container.config.clone());
    let time = now_ms() / 1000;
    container.snapshots.push(Snapshot { name, time, description, config, contents });
    ended_well(container)
}

fn rollback(vmid: u32, container: &mut Container, node: &mut Node, options: &Options) -> Said {
    let name = options.words.get(1).cloned().unwrap_or_default();
    if let Some(said) = unwritable(node, vmid, Some(container)) {
        return said;
    }
    let Some(at) = container.snapshots.iter().position(|snapshot| snapshot.name == name) else {
        return Said::task(format!("snapshot '{name}' does not exist"));
    };
    if at + 1 < container.snapshots.len() {
        let volume = volumes_of(&container.config).into_iter().map(|(_, volume)| volume).next();
        let volume = volume.unwrap_or_default();
        return Said::task(format!("can't rollback, '{name}' is not most recent snapshot on '{volume}'"));
    }
    let snapshot = container.snapshots[at].clone();
    for (key, volume) in volumes_of(&snapshot.config) {
        if let (Some(held), Some(content)) = (node.volumes.get_mut(&volume), snapshot.contents.get(&key)) {
            held.content.clone_from(content);
        }
    }
    container.config = snapshot.config;
    container.running = options.flag("start");
    container.pending = None;
    Said::default()
}

fn destroy(place: &Place, vmid: u32, options: &Options) -> Result {
    place.change(|node| {
        let Some(container) = node.containers.get(&vmid) else { return not_found(node, "lxc", vmid) };
        if container.config.get("protection").is_some_and(|value| value == "1") {
            return Said::die(format!("can't remove CT {vmid} - protection mode enabled"));
        }
        if container.ha && !options.flag("purge") {
            return Said::die(format!(
                "unable to remove CT {vmid} - used in HA resources and purge parameter not set."
            ));
        }
        if container.running && !options.flag("force") {
            return Said::die(format!("unable to destroy CT {vmid} - container is running"));
        }
        if let Some(said) = unwritable(node, vmid, Some(container)) {
            return said;
        }
        node.writes += 1;
        let (volumes, half) = (volumes_of(&container.config), container.faults.destroy_stops_half);
        let warned = ended_well(container);
        let (mut out, mut err) = (String::new(), String::new());
        if half {
            let container = node.containers.get_mut(&vmid).expect("it was there a line before");
            container.config.insert("lock".to_owned(), "destroyed".to_owned());
        }
        for (key, volume) in volumes {
            match node.volumes.get(&volume).map(|held| held.owner) {
                Some(owner) if owner == vmid => {
                    node.volumes.remove(&volume);
                    out.push_str(&format!("removing volume '{volume}' ({key})\n"));
                }
                Some(_) => {
                    err.push_str(&format!("ignore deletion of '{volume}', CT {vmid} isn't the owner!\n"));
                }
                None => {}
            }
            if half {
                return Said { out, err: "received interrupt\n".to_owned(), code: 255 };
            }
        }
        node.containers.remove(&vmid);
        if options.flag("purge") {
            out.push_str(&format!("purging CT {vmid} from related configurations..\n"));
        }
        Said { out: out + &err + &warned.out, err: warned.err, code: 0 }
    })
}

/// Runs a command of the machine in the name of the container: its output and its exit status pass through.
fn exec(place: &Place, vmid: u32, options: &Options) -> Result {
    let said = on(place, vmid, |container, _| match container.running {
        true => Said::default(),
        false => Said::die(format!("container '{vmid}' not running!")),
    })?;
    if said.code != 0 {
        return Ok(said);
    }
    let argv = if options.rest.is_empty() { options.words.get(1..) } else { Some(&options.rest[..]) };
    let Some((program, arguments)) = argv.and_then(|argv| argv.split_first()) else {
        return Ok(Said::die("400 not enough arguments"));
    };
    // Its streams are ours.
    Ok(match Command::new(program).args(arguments).status() {
        Ok(status) => Said {
            code: status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255),
            ..Said::default()
        },
        Err(error) => Said { code: 127, ..Said::die(format!("lxc-attach: {vmid}: {program}: {error}")) },
    })
}
