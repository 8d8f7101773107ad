//! What may be wrong with the old Frigate's container and its Proxmox node.

use std::time::Duration;

use super::{End, PLAIN, Scenario, Then, When, container, on_container};
use crate::lab::house::{CONTAINER, House};
use crate::lab::proxmox::Volume;

/// Whether the old Frigate's container is being shut down.
fn is_going(house: &House) -> bool {
    let going = house.still_fawn.look(|node| Some(node.containers.get(&CONTAINER)?.pending.is_some()));
    going.is_ok_and(|going| going == Some(true))
}

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "no-snapshots",
        facts: &[22],
        breaks: "the old container cannot be snapshotted: a bind mount, and a storage without snapshots",
        does: "it is backed up all the same, into an archive that is seen to be there",
        end: End::GoesOn,
        until: Some("backup"),
        strike: |house, _| {
            Ok(house.still_fawn.change(|node| {
                node.volumes.values_mut().for_each(|volume| volume.snapshots = false);
            })?)
        },
        ..PLAIN
    },
    Scenario {
        name: "backup-fails",
        facts: &[22],
        breaks: "the backup of the old container fails in the middle",
        does: "without an archive it is not stopped",
        end: End::Halts("backup"),
        strike: |house, _| Ok(house.still_fawn.change(|node| node.backup_fails = true)?),
        ..PLAIN
    },
    Scenario {
        name: "locked",
        facts: &[23],
        breaks: "a nightly backup holds the old container's lock",
        does: "it is waited for, and never unlocked",
        end: End::GoesOn,
        at: Some("stop-old"),
        until: Some("stop-old"),
        strike: |house, _| {
            on_container(house, |found| drop(found.config.insert("lock".to_owned(), "backup".to_owned())))?;
            let node = house.still_fawn.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                drop(node.change(|node| container(node, |found| drop(found.config.remove("lock")))));
            });
            Ok(())
        },
        ..PLAIN
    },
    Scenario {
        name: "shutdown-hangs",
        facts: &[24],
        breaks: "the old container does not stop within the time of a clean shutdown",
        does: "it is not killed, and not deleted: a person decides",
        end: End::Halts("stop-old"),
        strike: |house, _| Ok(on_container(house, |found| found.faults.shutdown_hangs = true)?),
        ..PLAIN
    },
    Scenario {
        name: "already-stopped",
        facts: &[25],
        breaks: "somebody has stopped the old container meanwhile",
        does: "there is nothing to do, and nothing to undo of it",
        end: End::GoesOn,
        at: Some("backup"),
        until: Some("heal"),
        strike: |house, _| {
            Ok(on_container(house, |found| {
                found.running = false;
                found.config.insert("onboot".to_owned(), "0".to_owned());
            })?)
        },
        ..PLAIN
    },
    Scenario {
        name: "ssh-drops",
        facts: &[26],
        breaks: "the connection to the node is lost while the old container shuts down",
        does: "nothing is assumed: its end is asked for over a new connection",
        end: End::GoesOn,
        until: Some("stop-old"),
        strike: |house, _| Ok(on_container(house, |found| found.faults.shutdown_ms = 2_000)?),
        then: Some(Then {
            when: When::Seen(is_going),
            work: |house| {
                house.cut();
                Ok(())
            },
        }),
        ..PLAIN
    },
    Scenario {
        name: "wrong-container",
        facts: &[37],
        breaks: "container 110 is another one than the plan means",
        does: "its hostname is compared: nothing is touched",
        end: End::Halts("old-is-well"),
        strike: |house, _| {
            Ok(on_container(house, |found| {
                found.config.insert("hostname".to_owned(), "pihole".to_owned());
            })?)
        },
        ..PLAIN
    },
    Scenario {
        name: "owns-recordings",
        facts: &[38],
        breaks: "the old container owns a second volume, with recordings",
        does: "the plan does not name it: the container is not deleted",
        end: End::Halts("delete-old"),
        strike: |house, _| {
            Ok(house.still_fawn.change(|node| {
                let id = "local-zfs:subvol-110-disk-1".to_owned();
                let volume = format!("{id},mp=/media/more,size=500G");
                container(node, |found| drop(found.config.insert("mp1".to_owned(), volume)));
                let content = "recordings of a year".to_owned();
                node.volumes.insert(id, Volume { owner: CONTAINER, snapshots: true, content });
            })?)
        },
        ..PLAIN
    },
    Scenario {
        name: "half-destroyed",
        facts: &[39],
        breaks: "the node loses its power in the middle of the deletion",
        does: "what is half gone is not tried again: a person has to look at it",
        end: End::Halts("delete-old"),
        strike: |house, _| Ok(on_container(house, |found| found.faults.destroy_stops_half = true)?),
        ..PLAIN
    },
];
