//! `vzdump` and `pct restore`: a container into an archive, and out of it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::{Archive, Container, Node, Volume, now_ms, volumes_of};
use super::options::{Options, bad};
use super::pct::clock;
use super::{Place, Said};
use crate::lab::StoreError;

/// What an archive holds of a container: `rootfs`, and a mount point only when it is a volume marked `backup=1`.
fn included(key: &str, value: &str) -> Result<(), &'static str> {
    match key {
        "rootfs" => Ok(()),
        _ if value.starts_with('/') => Err("not a volume"),
        _ if key.starts_with("unused") => Err("unused"),
        _ if value.split(',').any(|part| part == "backup=1") => Ok(()),
        _ => Err("disabled"),
    }
}

pub(super) fn vzdump(place: &Place, words: &[String]) -> Result<Said, StoreError> {
    let known = ["mode", "storage", "compress", "notes-template", "remove", "quiet", "tmpdir"];
    let read = Options::read(words, &known).and_then(|options| {
        let vmid = options.vmid(0)?;
        Ok((options, vmid))
    });
    let (options, vmid) = match read {
        Ok(read) => read,
        Err(said) => return Ok(said),
    };
    let mut held = false;
    let begun = place.change(|node| begin(node, vmid, &options, &mut held))?;
    let (mut out, failure) = match begun {
        Ok(out) => (out, None),
        Err(Said { out, err, code }) if !held => return Ok(Said { out, err, code }),
        Err(Said { out, err, .. }) => (out, Some(err)),
    };
    if failure.is_none() {
        let takes = place.look(|node| node.backup_ms)?;
        std::thread::sleep(Duration::from_millis(takes));
    }
    let ended = place.change(|node| end(node, vmid, &options, failure))?;
    out.push_str(&ended.out);
    Ok(ended.after(out))
}

fn begin(node: &mut Node, vmid: u32, options: &Options, held: &mut bool) -> Result<String, Said> {
    let storage = options.get("storage").unwrap_or("local");
    let mode = options.get("mode").unwrap_or("snapshot");
    if !["snapshot", "suspend", "stop"].contains(&mode) {
        let why = "does not have a value in the enumeration 'snapshot, suspend, stop'";
        return Err(bad("mode", &format!("value '{mode}' {why}")));
    }
    let mut out = format!("INFO: starting new backup job: vzdump {vmid} --mode {mode} --storage {storage}\n");
    let failed = |out: String, why: String| {
        let lines = format!(
            "{out}ERROR: Backup of VM {vmid} failed - {why}\nINFO: Failed at {}\n",
            clock(now_ms() / 1000)
        );
        Said::task("job errors").after(format!("{lines}INFO: Backup job finished with errors\n"))
    };
    let Some(container) = node.containers.get_mut(&vmid) else {
        return Err(failed(out, format!("unable to find VM '{vmid}'")));
    };
    out.push_str(&format!("INFO: Starting Backup of VM {vmid} (lxc)\n"));
    if let Some(lock) = container.lock() {
        return Err(failed(out, format!("CT is locked ({lock})")));
    }
    let status = if container.running { "running" } else { "stopped" };
    out.push_str(&format!("INFO: status = {status}\n"));
    out.push_str(&format!(
        "INFO: CT Name: {}\n",
        container.config.get("hostname").map_or("", String::as_str)
    ));
    let mut snapshots = true;
    for (key, volume) in volumes_of(&container.config) {
        if key.starts_with("unused") {
            continue;
        }
        let value = &container.config[&key];
        let mount = value.split(',').find_map(|part| part.strip_prefix("mp=")).unwrap_or("/");
        match included(&key, value) {
            Ok(()) => {
                snapshots &= node.volumes.get(&volume).is_some_and(|held| held.snapshots);
                out.push_str(&format!("INFO: including mount point {key} ('{mount}') in backup\n"));
            }
            Err(why) => {
                let kind = if value.starts_with('/') { "bind" } else { "volume" };
                out.push_str(&format!(
                    "INFO: excluding {kind} mount point {key} ('{mount}') from backup ({why})\n"
                ));
            }
        }
    }
    let mode = match (container.running, mode, snapshots) {
        (false, ..) => "stop",
        (true, "snapshot", false) => {
            out.push_str("INFO: mode failure - some volumes do not support snapshots\n");
            out.push_str("INFO: trying 'suspend' mode instead\n");
            "suspend"
        }
        (true, mode, _) => mode,
    };
    out.push_str(&format!("INFO: backup mode: {mode}\n"));
    container.config.insert("lock".to_owned(), "backup".to_owned());
    *held = true;
    if node.backup_fails {
        return Err(Said::task("command 'tar' failed: exit code 2").after(out));
    }
    Ok(out)
}

fn end(node: &mut Node, vmid: u32, options: &Options, failure: Option<String>) -> Said {
    let Some(container) = node.containers.get_mut(&vmid) else { return Said::task("job errors") };
    container.config.remove("lock");
    if let Some(why) = failure {
        let out = format!(
            "ERROR: Backup of VM {vmid} failed - {}\nINFO: Backup job finished with errors\n",
            why.trim_end()
        );
        return Said::task("job errors").after(out);
    }
    let storage = options.get("storage").unwrap_or("local");
    let time = now_ms() / 1000;
    // Two in one second would have one name.
    let taken = |time: u64, archives: &[Archive]| archives.iter().any(|archive| archive.time == time);
    let time = (time..).find(|time| !taken(*time, &node.archives)).unwrap_or(time);
    let stamp = clock(time).replace('-', "_").replace(' ', "-").replace(':', "_");
    let volid = format!("{storage}:backup/vzdump-lxc-{vmid}-{stamp}.tar.zst");
    let mut contents = BTreeMap::new();
    for (key, volume) in volumes_of(&container.config) {
        if let (Ok(()), Some(held)) = (included(&key, &container.config[&key]), node.volumes.get(&volume)) {
            contents.insert(key, held.content.clone());
        }
    }
    let size = 1000 + contents.values().map(|content| content.len() as u64).sum::<u64>();
    let notes = options.get("notes-template").unwrap_or_default().to_owned();
    let (config, raw) = (container.config.clone(), container.raw.clone());
    node.archives.push(Archive { volid: volid.clone(), vmid, size, time, notes, config, raw, contents });
    node.writes += 1;
    let file = volid.rsplit('/').next().unwrap_or_default();
    Said::ok(format!(
        "INFO: creating vzdump archive '/var/lib/vz/dump/{file}'\nINFO: archive file size: {size}B\n\
         INFO: Finished Backup of VM {vmid} (00:00:01)\nINFO: Backup job finished successfully\n"
    ))
}

pub(super) fn restore(place: &Place, vmid: u32, options: &Options) -> Result<Said, StoreError> {
    let volid = options.words.get(1).cloned().unwrap_or_default();
    place.change(|node| {
        let Some(archive) = node.archives.iter().find(|archive| archive.volid == volid).cloned() else {
            return Said::die(format!("volume '{volid}' does not exist"));
        };
        if let Some(container) = node.containers.get(&vmid) {
            if !options.flag("force") {
                let name = &node.name;
                return Said::die(format!(
                    "unable to restore CT {vmid} - CT {vmid} already exists on node '{name}'"
                ));
            }
            if container.running {
                return Said::task("can't overwrite running container");
            }
            if let Some(lock) = container.lock() {
                return Said::task(format!("CT is locked ({lock})"));
            }
        }
        node.writes += 1;
        let storage = options.get("storage").unwrap_or("local").to_owned();
        let mut config = archive.config.clone();
        let mut out = format!("recovering backed-up configuration from '{volid}'\n");
        // The root file system is made first, each under the first number that is free.
        let mut volumes = volumes_of(&archive.config);
        volumes.sort_by_key(|(key, _)| key != "rootfs");
        for (key, old) in volumes.into_iter().filter(|(_, old)| !old.starts_with('/')) {
            let free =
                |number: &u32| !node.volumes.contains_key(&format!("{storage}:subvol-{vmid}-disk-{number}"));
            let number = (0..).find(free).unwrap_or_default();
            let volume = format!("{storage}:subvol-{vmid}-disk-{number}");
            let value = config[&key].replacen(&old, &volume, 1);
            // A volume that the archive does not hold comes back empty.
            let content = archive.contents.get(&key).cloned().unwrap_or_default();
            config.insert(key, value);
            node.volumes.insert(volume, Volume { owner: vmid, snapshots: true, content });
        }
        config.remove("lock");
        out.push_str(&format!("extracting archive '{volid}'\nTotal bytes read: {}\n", archive.size));
        let container = Container { config, raw: archive.raw, ..Container::default() };
        node.containers.insert(vmid, container);
        Said::ok(out)
    })
}
