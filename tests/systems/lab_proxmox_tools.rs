//! The lab's `pct` and `vzdump` say what the facts' tables 2.1 and 2.2 list, row by row: text, stream and exit status.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use runner::lab::proxmox::{Node, Place};
use support::proxmox::{frigate, installed, tool};
use tempfile::TempDir;

struct House {
    place: Place,
    files: TempDir,
    _folder: TempDir,
}

impl House {
    fn new(running: bool) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (folder, place) = installed(frigate(files.path(), running));
        Self { place, files, _folder: folder }
    }

    fn change(&self, work: impl FnOnce(&mut Node)) {
        self.place.change(work).unwrap();
    }

    /// Exit status, stdout and stderr.
    fn run(&self, line: &str) -> (i32, String, String) {
        let output = tool(&self.place, &line.split(' ').collect::<Vec<_>>());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    fn says_nothing(&self, line: &str) {
        assert_eq!(self.run(line), (0, String::new(), String::new()), "{line}");
    }

    /// It fails with this as the last line of stderr.
    fn fails(&self, line: &str, code: Option<i32>, text: &str) {
        let (found, _, err) = self.run(line);
        assert_eq!(err.lines().last(), Some(text), "{line}");
        assert!(found != 0 && code.is_none_or(|code| code == found), "{line}: {found}");
    }
}

const GONE: &str = "Configuration file 'nodes/still-fawn/lxc/111.conf' does not exist";

#[test]
fn what_is_read() {
    let house = House::new(true);
    assert_eq!(house.run("pct status 110").1, "status: running\n");
    let (_, out, _) = house.run("pct status 110 --verbose");
    let mut sorted: Vec<&str> = out.lines().collect();
    sorted.sort_unstable();
    assert_eq!(out.lines().collect::<Vec<_>>(), sorted);
    assert!(!out.contains("lock:"));
    house.change(|node| {
        drop(node.containers.get_mut(&110).unwrap().config.insert("lock".into(), "backup".into()));
    });
    assert!(house.run("pct status 110 --verbose").1.contains("lock: backup\n"));
    assert_eq!(
        house.run("pct list").1,
        "VMID       Status     Lock         Name                \n110        running    backup       frigate-sf          \n"
    );
    house.change(|node| {
        let container = node.containers.get_mut(&110).unwrap();
        container.config.remove("lock");
        container.config.remove("onboot");
        container.raw.push("lxc.cgroup2.devices.allow: c 226:128 rwm".to_owned());
    });
    let (_, out, _) = house.run("pct config 110");
    assert!(
        out.starts_with("cores: 8\n") && out.ends_with("lxc.cgroup2.devices.allow: c 226:128 rwm\n"),
        "{out}"
    );
    assert!(!out.contains("onboot") && !out.contains("digest"), "{out}");
    let digest = house.run("pvesh get /nodes/still-fawn/lxc/110/config --output-format json").1;
    assert!(digest.contains("\"digest\""), "{digest}");
    for command in ["status", "config", "start", "stop", "shutdown", "listsnapshot", "destroy", "unlock"] {
        house.fails(&format!("pct {command} 111"), None, GONE);
    }
    house.change(|node| node.containers.clear());
    house.says_nothing("pct list");
}

#[test]
fn what_starts_and_stops() {
    let house = House::new(true);
    house.fails("pct start 110", None, "CT 110 already running");
    house.says_nothing("pct shutdown 110 --timeout 5");
    for command in ["stop", "shutdown"] {
        house.fails(&format!("pct {command} 110"), None, "CT 110 not running");
    }
    house.fails("pct reboot 110", None, "VM 110 not running");
    house.fails("pct exec 110 -- true", None, "container '110' not running!");
    house.says_nothing("pct start 110");
    assert_eq!(house.run("pct exec 110 -- sh -c exit\u{a0}7").0, 127, "one word is one program");
    let output = tool(&house.place, &["pct", "exec", "110", "--", "sh", "-c", "echo hi; exit 7"]);
    assert_eq!((output.status.code(), output.stdout), (Some(7), b"hi\n".to_vec()));
    // A shutdown that does not end, with and without force.
    house.change(|node| node.containers.get_mut(&110).unwrap().faults.shutdown_hangs = true);
    house.fails("pct shutdown 110 --timeout 1", Some(255), "container did not stop");
    assert_eq!(house.run("pct status 110").1, "status: running\n");
    house.says_nothing("pct shutdown 110 --timeout 1 --forceStop 1");
    assert_eq!(house.run("pct status 110").1, "status: stopped\n");
    // What keeps it from starting.
    let coral = house.files.path().join("coral");
    std::fs::remove_file(&coral).unwrap();
    let (code, _, err) = house.run("pct start 110");
    assert_eq!(code, 255);
    let words = format!(
        "Could not get mode or device ID of {}\nstartup for container '110' failed\n",
        coral.display()
    );
    assert_eq!(err, words);
    std::fs::write(&coral, "").unwrap();
    let media = house.files.path().join("media");
    std::fs::remove_file(&media).unwrap();
    assert!(
        house
            .run("pct start 110")
            .2
            .starts_with(&format!("directory '{}' does not exist\n", media.display()))
    );
    std::fs::write(&media, "").unwrap();
    house.change(|node| node.containers.get_mut(&110).unwrap().faults.hook_fails = true);
    assert!(house.run("pct start 110").2.starts_with("hookscript error for 110 on pre-start: "));
    // The HA stack takes a request, and the state is another thing.
    house.change(|node| {
        let container = node.containers.get_mut(&110).unwrap();
        (container.faults.hook_fails, container.ha, container.faults.ha_ms) = (false, true, 60_000);
    });
    assert_eq!(house.run("pct start 110"), (0, "Requesting HA start for CT 110\n".to_owned(), String::new()));
    assert_eq!(house.run("pct status 110").1, "status: stopped\n");
    house.change(|node| node.quorum = false);
    house.fails("pct start 110", None, "cluster not ready - no quorum?");
}

#[test]
fn what_ends_with_warnings() {
    let house = House::new(false);
    house.change(|node| node.containers.get_mut(&110).unwrap().faults.warns = true);
    for line in ["pct start 110", "pct shutdown 110"] {
        let (code, out, err) = house.run(line);
        assert_eq!((code, err.as_str()), (0, "Task finished with 1 warning(s)!\n"), "{line}");
        assert!(out.starts_with("WARN: "), "{line}: {out}");
    }
}

#[test]
fn what_is_set_and_locked() {
    let house = House::new(false);
    for _ in 0..2 {
        house.says_nothing("pct set 110 --onboot 0");
    }
    assert!(house.run("pct config 110").1.contains("onboot: 0\n"));
    for _ in 0..2 {
        house.says_nothing("pct set 110 --delete onboot");
    }
    assert!(!house.run("pct config 110").1.contains("onboot"));
    let (code, _, err) = house.run("pct set 110 --onboot maybe");
    assert!(code != 0 && err.starts_with("400 Parameter verification failed.\nonboot: "), "{err}");
    let (code, _, err) = house.run("pct set 110 --onboot 1 --digest 0123");
    assert!(code != 0 && err.starts_with("detected modified configuration"), "{err}");
    house.fails("pct unlock 110", None, "no lock found trying to remove any lock");
    house.change(|node| {
        drop(node.containers.get_mut(&110).unwrap().config.insert("lock".into(), "backup".into()));
    });
    for line in ["pct start 110", "pct set 110 --onboot 1", "pct destroy 110", "pct snapshot 110 one"] {
        house.fails(line, None, "CT is locked (backup)");
    }
    house.says_nothing("pct unlock 110");
    house.change(|node| node.containers.get_mut(&110).unwrap().faults.config_busy = true);
    let (_, _, err) = house.run("pct start 110");
    assert!(
        err.starts_with("trying to acquire lock...\ncan't lock file '") && err.ends_with("got timeout\n"),
        "{err}"
    );
}

#[test]
fn what_snapshots_do() {
    let house = House::new(true);
    house.fails("pct snapshot 110 before", Some(255), "snapshot feature is not available");
    house.change(|node| drop(node.containers.get_mut(&110).unwrap().config.remove("mp0")));
    house.says_nothing("pct snapshot 110 before --description why");
    house.fails("pct snapshot 110 before", Some(255), "snapshot name 'before' already used");
    assert!(house.run("pct snapshot 110 9x").2.contains("invalid configuration ID '9x'"));
    assert_ne!(house.run("pct snapshot 110 vzdump").0, 0);
    let (_, out, _) = house.run("pct listsnapshot 110");
    assert!(
        out.contains("before") && out.contains("why") && out.trim_end().ends_with("You are here!"),
        "{out}"
    );
    house.says_nothing("pct snapshot 110 after");
    let (code, _, err) = house.run("pct rollback 110 before");
    assert_eq!(
        (code, err.as_str()),
        (255, "can't rollback, 'before' is not most recent snapshot on 'local-zfs:subvol-110-disk-0'\n")
    );
    house.says_nothing("pct delsnapshot 110 after");
    house.fails("pct delsnapshot 110 after", Some(255), "snapshot 'after' does not exist");
    house.fails("pct rollback 110 after", Some(255), "snapshot 'after' does not exist");
    // It kills what runs, and does not start it again.
    house.says_nothing("pct rollback 110 before");
    assert_eq!(house.run("pct status 110").1, "status: stopped\n");
    house.says_nothing("pct rollback 110 before --start 1");
    assert_eq!(house.run("pct status 110").1, "status: running\n");
}

#[test]
fn what_is_destroyed() {
    let house = House::new(true);
    house.fails("pct destroy 110", None, "unable to destroy CT 110 - container is running");
    house.says_nothing("pct shutdown 110");
    house.change(|node| {
        drop(node.containers.get_mut(&110).unwrap().config.insert("protection".into(), "1".into()));
    });
    house.fails("pct destroy 110", None, "can't remove CT 110 - protection mode enabled");
    house.change(|node| {
        let container = node.containers.get_mut(&110).unwrap();
        container.config.remove("protection");
        container.ha = true;
        container.config.insert("mp1".into(), "local-zfs:subvol-113-disk-0,mp=/x".into());
        let volume = node.volumes["local-zfs:subvol-110-disk-0"].clone();
        node.volumes.insert(
            "local-zfs:subvol-113-disk-0".into(),
            runner::lab::proxmox::Volume { owner: 113, ..volume },
        );
    });
    let words = "unable to remove CT 110 - used in HA resources and purge parameter not set.";
    house.fails("pct destroy 110", None, words);
    let (code, out, _) = house.run("pct destroy 110 --purge 1");
    assert_eq!(code, 0);
    assert!(
        out.contains("ignore deletion of 'local-zfs:subvol-113-disk-0', CT 110 isn't the owner!"),
        "{out}"
    );
    assert!(out.contains("purging CT 110 from related configurations.."), "{out}");
    house
        .place
        .look(|node| assert_eq!(node.volumes.keys().collect::<Vec<_>>(), ["local-zfs:subvol-113-disk-0"]))
        .unwrap();
    assert!(house.files.path().join("media").exists(), "a bind mount is left alone");
    house.fails("pct destroy 110", None, &GONE.replace("111", "110"));
    let house = House::new(false);
    house.change(|node| node.containers.get_mut(&110).unwrap().faults.destroy_stops_half = true);
    assert_eq!(house.run("pct destroy 110").0, 255);
    assert!(house.run("pct config 110").1.contains("lock: destroyed\n"));
}

#[test]
fn what_is_backed_up_and_restored() {
    let house = House::new(true);
    house.change(|node| {
        let container = node.containers.get_mut(&110).unwrap();
        container.config.insert("mp1".into(), "local-zfs:subvol-110-disk-1,mp=/a,backup=1".into());
        container.config.insert("mp2".into(), "local-zfs:subvol-110-disk-2,mp=/b".into());
        let volume = node.volumes["local-zfs:subvol-110-disk-0"].clone();
        for number in 1..=2 {
            node.volumes.insert(format!("local-zfs:subvol-110-disk-{number}"), volume.clone());
        }
    });
    let (code, out, err) = house.run("vzdump 110 --mode snapshot --storage local --notes-template mine");
    assert_eq!((code, err.as_str()), (0, ""));
    for line in [
        "INFO: Starting Backup of VM 110 (lxc)",
        "INFO: including mount point rootfs ('/') in backup",
        "INFO: excluding bind mount point mp0 ('/media/frigate') from backup (not a volume)",
        "INFO: including mount point mp1 ('/a') in backup",
        "INFO: excluding volume mount point mp2 ('/b') from backup (disabled)",
        "INFO: backup mode: snapshot",
        "INFO: Backup job finished successfully",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}\n{out}");
    }
    // Volumes that cannot be frozen, and a container that is stopped.
    house.change(|node| node.volumes.values_mut().for_each(|volume| volume.snapshots = false));
    let out = house.run("vzdump 110 --mode snapshot --storage local").1;
    assert!(out.contains(
        "INFO: mode failure - some volumes do not support snapshots\nINFO: trying 'suspend' mode instead\n"
    ));
    let (code, out, err) = house.run("vzdump 111 --storage local");
    assert!(code != 0 && out.contains("unable to find VM '111'"), "{out}");
    assert!(out.ends_with("INFO: Backup job finished with errors\n") && err == "job errors\n", "{out}");
    house.change(|node| node.backup_fails = true);
    let (code, out, _) = house.run("vzdump 110 --storage local");
    assert!(code != 0 && out.contains("Backup of VM 110 failed"), "{out}");
    assert!(!house.run("pct config 110").1.contains("lock:"), "the lock is let go");
    let archive = house.place.look(|node| node.archives[0].volid.clone()).unwrap();
    house.fails(
        &format!("pct restore 110 {archive} --storage local-zfs"),
        None,
        "unable to restore CT 110 - CT 110 already exists on node 'still-fawn'",
    );
    house.fails(
        &format!("pct restore 110 {archive} --force 1"),
        Some(255),
        "can't overwrite running container",
    );
    house.says_nothing("pct shutdown 110");
    house.change(|node| node.backup_fails = false);
    assert!(house.run("vzdump 110 --mode snapshot --storage local").1.contains("INFO: backup mode: stop\n"));
    assert_eq!(house.run("pct destroy 110").0, 0);
    let (code, out, _) = house.run(&format!("pct restore 110 {archive} --storage local-zfs"));
    assert!(code == 0 && out.starts_with("recovering backed-up configuration from '"), "{out}");
    assert!(house.run("pct config 110").1.contains("mp0: "), "{}", house.run("pct config 110").1);
    // What the archive did not hold comes back empty.
    let contents = house
        .place
        .look(|node| node.volumes.values().map(|volume| volume.content.clone()).collect::<Vec<_>>());
    assert_eq!(contents.unwrap().iter().filter(|content| content.is_empty()).count(), 1);
}
