//! What may be wrong with Home Assistant, its virtual machine and the broker.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;

use super::{Done, End, OLDER, PLAIN, Scenario, Then, When, struck};
use crate::lab::house::{House, MACHINE, USER};
use crate::lab::proxmox::Agent;

/// Puts a program before the others of the guest.
fn in_guest(house: &House, name: &str, script: &str) -> Done {
    let path = house.chief_horse.guest(MACHINE).join("bin").join(name);
    fs::write(&path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Whether Home Assistant's storage file names the new Frigate.
fn is_edited(house: &House) -> bool {
    fs::read_to_string(house.home.storage_file()).is_ok_and(|text| text.contains(&house.new.url()))
}

/// Ends this process as a power cut does.
fn power_cut(house: &House) -> Done {
    struck(house)?;
    Ok(kill_process(getpid(), Signal::KILL)?)
}

/// The new address works for us, and not from where Home Assistant runs.
fn unreachable(house: &Arc<House>, _: &Path) -> Done {
    let url = house.new.url();
    Ok(house.home.break_it(|mishaps| mishaps.cannot_reach = url)?)
}

/// At its next start Home Assistant finds an empty storage file.
fn loses_entries(house: &Arc<House>, _: &Path) -> Done {
    let bin = house.chief_horse.guest(MACHINE).join("bin");
    fs::rename(bin.join("ha"), bin.join("ha.real"))?;
    let script = format!(
        "#!/bin/sh\nif [ \"$2\" = start ] && [ ! -e '{bin}/lost' ]; then : > '{bin}/lost'; : > '{file}'; fi\n\
         exec '{bin}/ha.real' \"$@\"\n",
        bin = bin.display(),
        file = house.home.storage_file().display(),
    );
    in_guest(house, "ha", &script)
}

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "unreachable-from-home",
        facts: &[9],
        breaks: "the new address works for us, and not from where Home Assistant runs",
        does: "its own reconfigure flow tries it first and refuses: nothing is changed there, and the new Frigate goes again",
        end: End::RolledBack("repoint"),
        strike: unreachable,
        ..PLAIN
    },
    Scenario {
        name: "unreachable-from-older",
        facts: &[9],
        breaks: "the same, and Home Assistant is too old to be reconfigured",
        does: "the address is tried from inside of its container before it is stopped: it is not stopped, and the new Frigate \
               goes again",
        end: End::RolledBack("repoint"),
        furniture: OLDER,
        strike: unreachable,
        ..PLAIN
    },
    Scenario {
        name: "agent-down",
        facts: &[10],
        breaks: "the guest agent of Home Assistant's virtual machine does not run",
        does: "that is seen before anything is touched",
        end: End::Halts("home-assistant-is-well"),
        strike: |house, _| {
            Ok(house.chief_horse.change(|node| {
                if let Some(machine) = node.machines.get_mut(&MACHINE) {
                    machine.agent = Agent::Stopped;
                }
            })?)
        },
        ..PLAIN
    },
    Scenario {
        name: "start-outlasts",
        facts: &[11],
        breaks: "Home Assistant, too old to be reconfigured, takes longer to start than the guest agent waits",
        does: "a process that still runs is no failure: it is asked again until it has ended",
        end: End::GoesOn,
        until: Some("repoint"),
        furniture: OLDER,
        strike: |house, _| {
            house.chief_horse.change(|node| node.exec_timeout_ms = 500)?;
            Ok(house.home.set_down(Duration::from_secs(3))?)
        },
        ..PLAIN
    },
    Scenario {
        name: "disk-full",
        facts: &[12],
        breaks: "the disk of Home Assistant's virtual machine is full when its file is to be edited",
        does: "the exit code inside of the guest counts, not that of `qm`: the file is as it was, and all goes back",
        end: End::RolledBack("repoint"),
        furniture: OLDER,
        strike: |house, _| {
            in_guest(
                house,
                "cp",
                "#!/bin/sh\necho \"cp: error writing: No space left on device\" >&2\nexit 1\n",
            )
        },
        ..PLAIN
    },
    Scenario {
        name: "cut-at-edit",
        facts: &[13],
        breaks: "the power goes between the edit of Home Assistant's file and its start",
        does: "the file has the new address and nothing runs: that is seen, and Home Assistant started",
        end: End::Resumed,
        until: Some("repoint"),
        furniture: OLDER,
        then: Some(Then { when: When::Seen(is_edited), work: power_cut }),
        ..PLAIN
    },
    Scenario {
        name: "overwritten",
        facts: &[14],
        breaks: "another integration changes something, and Home Assistant writes its file from memory when it stops",
        does: "the file is edited only after that, and looked at after the start",
        end: End::GoesOn,
        until: Some("repoint"),
        furniture: OLDER,
        strike: |house, _| Ok(house.home.break_it(|mishaps| mishaps.saves_at_stop = true)?),
        ..PLAIN
    },
    Scenario {
        name: "entries-lost",
        facts: &[15],
        breaks: "Home Assistant finds an empty file at its start, and runs without a single integration",
        does: "it answers, and that is not taken for well: a person is told where the copy from before is",
        end: End::NeedsAttention("repoint"),
        furniture: OLDER,
        strike: loses_entries,
        ..PLAIN
    },
    Scenario {
        name: "same-address-twice",
        facts: &[16, 41],
        breaks: "another integration has the old address too, and names that are not ASCII",
        does: "exactly one entry is edited; every other byte of the file stays",
        end: End::GoesOn,
        until: Some("repoint"),
        furniture: OLDER,
        ..PLAIN
    },
    Scenario {
        name: "not-set-up",
        facts: &[17],
        breaks: "Home Assistant takes the new address, and then cannot set the integration up",
        does: "it gets the old address again at once, whoever is awake",
        end: End::RolledBack("repoint"),
        strike: |house, _| {
            let url = house.new.url();
            Ok(house.home.break_it(|mishaps| mishaps.cannot_set_up = url)?)
        },
        ..PLAIN
    },
    Scenario {
        name: "login-missing",
        facts: &[19],
        breaks: "the broker does not know the user that the new Frigate logs in as",
        does: "that is seen before anything is touched",
        end: End::Halts("broker-is-well"),
        strike: |house, _| Ok(house.broker.remove_user(USER)?),
        ..PLAIN
    },
    Scenario {
        name: "broker-unseen",
        facts: &[19],
        breaks: "the new Frigate's pod does not find the broker; its API is green, and `available` is the old one's",
        does: "its statistics are listened for at the broker: it is not proved",
        end: End::Halts("prove"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.mute = true)?),
        ..PLAIN
    },
    Scenario {
        name: "same-client-id",
        facts: &[20],
        breaks: "the new configuration has the MQTT client id of the old instance",
        does: "the configuration is judged beside the old instance: nothing is deployed",
        end: End::Halts("lint"),
        manifests: &[("10-config.yaml", "client_id: frigate-k8s", "client_id: frigate")],
        ..PLAIN
    },
    Scenario {
        name: "clients-fight",
        facts: &[20],
        breaks: "both Frigates log in with one client id all the same, and throw each other out for ever",
        does: "the broker is watched for a while: it is not proved, and the old one is not stopped",
        end: End::Halts("prove"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.client_id = Some("frigate".to_owned()))?),
        ..PLAIN
    },
    Scenario {
        name: "last-will",
        facts: &[21],
        breaks: "the old Frigate dies at its shutdown, and its last will says `offline` for both",
        does: "`online` is said again of the new one, once that answers",
        end: End::GoesOn,
        until: Some("heal"),
        strike: |house, _| Ok(house.old.switch(|broken| broken.dies = true)?),
        ..PLAIN
    },
    Scenario {
        name: "home-changed",
        facts: &[40],
        breaks: "Home Assistant has got another integration since, when all is to be brought back",
        does: "the address of one entry goes back, never a whole older file: the new integration stays",
        end: End::ChangedMind,
        at: Some("stop-old"),
        until: Some("heal"),
        furniture: OLDER,
        strike: |house, _| {
            let house = Arc::clone(house);
            tokio::spawn(async move {
                let entry = json!({
                    "data": { "host": "203.0.113.7" }, "domain": "shelly", "title": "Garage",
                    "entry_id": "dddddddddddddddddddddddddddddddd",
                });
                house.home.add_entry(entry).await;
            });
            Ok(())
        },
        ..PLAIN
    },
    Scenario {
        name: "meddled",
        facts: &[42],
        breaks: "somebody changes Home Assistant's entry at the moment in which it is to be changed",
        does: "what was looked at is not what is there: nothing is sent, and all goes back",
        end: End::RolledBack("repoint"),
        at: Some("repoint"),
        strike: |house, _| Ok(house.home.break_it(|mishaps| mishaps.meddles = true)?),
        ..PLAIN
    },
    Scenario {
        name: "token-revoked",
        facts: &[43],
        breaks: "Home Assistant's token was revoked",
        does: "that is seen before anything is touched",
        end: End::Halts("home-assistant-is-well"),
        strike: |house, _| Ok(house.home.set_token("another-token")?),
        ..PLAIN
    },
];
