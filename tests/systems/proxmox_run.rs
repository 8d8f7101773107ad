//! Goal: an old container is backed up, stopped and destroyed by a plan, and comes back as it was. Method: the whole binary
//! against the lab's node behind a real sshd.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::path::Path;

use runner::lab::proxmox::{Node, Volume};
use serde_json::json;
use support::lab::Lab;
use support::proxmox::{Pve, frigate};
use support::sshd::until;

fn plan(pve: &Pve, destroy: &str) -> String {
    format!(
        r#"name = "old"
{}
[[step]]
id      = "backup"
forward = {{ action = "lxc.backup", host = "box", vmid = 110, storage = "local" }}

[[step]]
id      = "stop"
forward = {{ action = "lxc.stop", host = "box", vmid = 110, onboot = false }}
verify  = [{{ check = "lxc", host = "box", vmid = 110, status = "stopped", onboot = false, archive = "{{{{ steps.backup.outputs.archive }}}}" }}]

[[step]]
id      = "delete"
{destroy}
"#,
        pve.sshd.host_table()
    )
}

const DESTROY: &str = r#"approve = "Delete it?"
forward = { action = "lxc.destroy", host = "box", vmid = 110, hostname = "frigate-sf", archive = "{{ steps.backup.outputs.archive }}" }"#;

fn start(files: &Path) -> Option<Pve> {
    Pve::start(frigate(files, true))
}

/// What a rollback has to bring back: everything but the archive that was made.
fn kept(pve: &Pve) -> String {
    let node = pve.look(|node| Node { writes: 0, archives: Vec::new(), ..node.clone() });
    json!(node).to_string()
}

#[test]
fn a_container_goes_and_comes_back() {
    let files = tempfile::tempdir().unwrap();
    let Some(pve) = start(files.path()) else { return };
    let (lab, before) = (Lab::new(), kept(&pve));
    lab.plan("old", &plan(&pve, DESTROY));
    // Killed while the container shuts down; what `pct` had begun goes on, and its end is found.
    pve.change(|node| node.containers.get_mut(&110).unwrap().faults.shutdown_ms = 1500);
    let going = lab.start("apply p/old.toml");
    until("it shuts down", || pve.look(|node| node.containers[&110].pending.is_some()));
    going.kill();
    lab.expect(4, "apply p/old.toml").says("runner approve");
    assert_eq!(pve.look(|node| (node.containers[&110].running, node.archives.len())), (false, 1));
    let stops = lab.events("old").iter().filter(|event| event.to_string().contains("\"started\"")).count();
    assert!(stops >= 2, "{stops}");
    lab.expect(0, "approve delete");
    lab.expect(0, "apply p/old.toml");
    assert_eq!(pve.look(|node| (node.containers.len(), node.volumes.len())), (0, 0));
    // Nothing to do, and nothing done.
    let writes = pve.look(|node| node.writes);
    lab.expect(0, "apply p/old.toml");
    assert_eq!(pve.look(|node| node.writes), writes);
    lab.expect(0, "rollback old");
    pve.change(|node| node.containers.get_mut(&110).unwrap().faults.shutdown_ms = 0);
    assert_eq!(kept(&pve), before);
    assert_eq!(pve.look(|node| node.archives.len()), 1, "the archive stays");
}

#[test]
fn what_could_not_come_back_is_not_destroyed_unless_the_plan_says_so() {
    let files = tempfile::tempdir().unwrap();
    let Some(pve) = start(files.path()) else { return };
    pve.change(|node| {
        let config = &mut node.containers.get_mut(&110).unwrap().config;
        config.insert("mp1".into(), "local-zfs:subvol-110-disk-1,mp=/recordings".into());
        let volume = Volume { owner: 110, snapshots: true, content: "months".into() };
        node.volumes.insert("local-zfs:subvol-110-disk-1".into(), volume);
    });
    let lab = Lab::new();
    let named = DESTROY.replace("hostname =", "volumes = [\"rootfs\", \"mp1\"], hostname =");
    lab.plan("old", &plan(&pve, &named));
    lab.expect(4, "apply p/old.toml");
    lab.expect(0, "approve delete");
    let said = lab.run("apply p/old.toml");
    assert_eq!(said.code, 3, "{}", said.text());
    let said = said.says("does not hold `mp1`").says("irreversible");
    drop(said);
    assert_eq!(pve.look(|node| (node.containers.len(), node.volumes.len())), (1, 2));
    let why = format!("irreversible = \"nobody needs the recordings\"\n{named}");
    lab.plan("old", &plan(&pve, &why));
    let said = lab.run("apply p/old.toml");
    if said.code == 4 {
        lab.expect(0, "approve delete");
        lab.expect(0, "apply p/old.toml");
    } else {
        said.expect(0);
    }
    assert_eq!(pve.look(|node| (node.containers.len(), node.volumes.len())), (0, 0));
    lab.expect(2, "rollback old").says("nobody needs the recordings");
}

/// What no archive holds is told by `plan`: before there is one, and of the one that is there.
#[test]
fn the_plan_says_what_an_archive_lacks_before_anything_is_done() {
    let files = tempfile::tempdir().unwrap();
    let Some(pve) = start(files.path()) else { return };
    pve.change(|node| {
        let config = &mut node.containers.get_mut(&110).unwrap().config;
        config.insert("mp1".into(), "local-zfs:subvol-110-disk-1,mp=/recordings".into());
        config.insert("mp2".into(), "local-zfs:subvol-110-disk-2,mp=/config,backup=1".into());
        for number in 1..=2 {
            let volume = Volume { owner: 110, snapshots: true, content: "months".into() };
            node.volumes.insert(format!("local-zfs:subvol-110-disk-{number}"), volume);
        }
    });
    let lab = Lab::new();
    let media = files.path().join("media").display().to_string();
    lab.plan("old", &plan(&pve, DESTROY));
    let said = lab
        .expect(0, "plan p/old.toml")
        .says(&format!("the archive will not hold mp0 (bind mount `{media}`)"))
        .says("the archive will not hold mp1 (volume `local-zfs:subvol-110-disk-1` without `backup=1`)")
        .says("destroys `rootfs` (local-zfs:subvol-110-disk-0)\n")
        .says("destroys `mp2` (local-zfs:subvol-110-disk-2), which the plan does not name in `volumes`")
        .says(&format!("leaves `mp0` ({media}) as it is: a bind mount, which no archive holds"))
        .says("an archive made now would not hold `mp1` (local-zfs:subvol-110-disk-1): what it holds could not come back");
    assert!(!said.text().contains("will not hold mp2"), "{}", said.text());
    assert!(!said.text().contains("would not hold `mp2`"), "{}", said.text());
    assert_eq!(pve.look(|node| node.writes), 0, "a look changed something");
    // With the archive there it is that one which is looked into.
    lab.expect(4, "apply p/old.toml");
    let volid = pve.look(|node| node.archives[0].volid.clone());
    lab.expect(0, "plan p/old.toml")
        .says(&format!("the archive `{volid}` does not hold `mp1` (local-zfs:subvol-110-disk-1)"));
}

#[test]
fn a_destruction_needs_a_person() {
    let files = tempfile::tempdir().unwrap();
    let Some(pve) = start(files.path()) else { return };
    let lab = Lab::new();
    lab.plan("old", &plan(&pve, &DESTROY.replace("approve = \"Delete it?\"\n", "")));
    lab.expect(2, "apply p/old.toml").says("approve");
    assert_eq!(pve.look(|node| node.writes), 0);
}
