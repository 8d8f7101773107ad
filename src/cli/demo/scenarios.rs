//! The ways to break the simulated house on purpose. Each is one of the failures that were seen in a real one or follow
//! from how its parts behave (`docs/frigate.md` lists them), with what a run must do about it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::lab::house::{CAMERAS, CONTAINER, House};
use crate::lab::kubernetes::Rule;

type Done = Result<(), Box<dyn std::error::Error>>;

/// One way to break it.
#[derive(Debug)]
pub(super) struct Scenario {
    /// How it is called.
    pub(super) name: &'static str,
    /// Its number among the known failures.
    pub(super) fact: &'static str,
    /// What is broken, and what has to come of it.
    pub(super) what: &'static str,
    /// The step at which it breaks; absent: before anything begins.
    pub(super) at: Option<&'static str>,
    strike: fn(&House, &Path) -> Done,
}

/// The scenario with this name.
pub(super) fn named(name: &str) -> Result<&'static Scenario, String> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| "there is no such scenario; `runner demo --list` names them".to_owned())
}

/// All of them, a line each.
pub(super) fn list() -> String {
    let mut text = String::new();
    for Scenario { name, fact, what, .. } in SCENARIOS {
        let _written = writeln!(text, "{name:<18} {fact:<4} {what}");
    }
    text
}

/// Breaks the house, once: a house that was opened again stays as it is.
pub(super) fn strike(scenario: &Scenario, house: &House, folder: &Path) {
    let mark = house.folder().join("broken");
    if mark.exists() {
        return;
    }
    let done = (scenario.strike)(house, folder).and_then(|()| Ok(fs::write(&mark, scenario.name)?));
    if let Err(error) = done {
        tracing::warn!(%error, "the simulated house cannot be broken");
    }
}

fn fail(house: &House, rule: Rule) -> Done {
    house.cluster.fail(rule)?;
    Ok(())
}

fn rule(kind: &str, name: &str, fail: &str) -> Rule {
    Rule {
        kind: kind.to_owned(),
        namespace: "frigate".to_owned(),
        name: name.to_owned(),
        fail: fail.to_owned(),
        id: 0,
    }
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "crash-loop",
        fact: "F1",
        what: "the new pod crashes again and again: the deployment fails with its last words, Home Assistant is not touched",
        at: None,
        strike: |house, _| fail(house, rule("Pod", "", "crash-loop")),
    },
    Scenario {
        name: "detector-loop",
        fact: "F2",
        what: "the new Frigate starts again every few seconds and answers in between: it is not proved, and not used",
        at: None,
        strike: |house, _| Ok(house.new.switch(|broken| broken.restarts_every = 3)?),
    },
    Scenario {
        name: "detection-off",
        fact: "F3",
        what: "cameras stream and nothing is detected: the check that asks for more than pictures stops the run",
        at: None,
        strike: |house, _| Ok(house.new.switch(|broken| broken.detection_off = true)?),
    },
    Scenario {
        name: "all-skipped",
        fact: "F5",
        what: "every frame is skipped though the cameras look alive: it is not used",
        at: None,
        strike: |house, _| Ok(house.new.switch(|broken| broken.skipping = true)?),
    },
    Scenario {
        name: "slow-start",
        fact: "F6",
        what: "no camera sends for the first seconds: it is waited for, and the journey goes on",
        at: None,
        strike: |house, _| Ok(house.new.switch(|broken| broken.warm_up = 6)?),
    },
    Scenario {
        name: "address-pending",
        fact: "F7",
        what: "the load balancer gives no address: the deployment fails and says so",
        at: None,
        strike: |house, _| fail(house, rule("Service", "frigate", "pending")),
    },
    Scenario {
        name: "camera-dead",
        fact: "F4",
        what: "a camera that the old Frigate sees sends nothing to the new one: it is not used",
        at: None,
        strike: |house, _| {
            let dead = CAMERAS[..2].iter().map(|&name| name.to_owned());
            Ok(house.new.switch(|broken| broken.dead = dead.collect())?)
        },
    },
    Scenario {
        name: "login-missing",
        fact: "F19",
        what: "the broker does not know the user: that is seen before anything is touched",
        at: None,
        strike: |house, _| Ok(house.broker.remove_user("frigate")?),
    },
    Scenario {
        name: "locked",
        fact: "F23",
        what: "a nightly backup holds the container's lock: it is waited for and never unlocked",
        at: Some("stop-old"),
        strike: |house, _| {
            let lock = |node: &mut crate::lab::proxmox::Node, to: Option<&str>| {
                if let Some(found) = node.containers.get_mut(&CONTAINER) {
                    match to {
                        Some(reason) => drop(found.config.insert("lock".to_owned(), reason.to_owned())),
                        None => drop(found.config.remove("lock")),
                    }
                }
            };
            house.still_fawn.change(|node| lock(node, Some("backup")))?;
            let node = house.still_fawn.clone();
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_secs(4)).await;
                drop(node.change(|node| lock(node, None)));
            });
            Ok(())
        },
    },
    Scenario {
        name: "already-stopped",
        fact: "F25",
        what: "somebody has stopped the old container meanwhile: nothing to do, and nothing to undo of it",
        at: Some("backup"),
        strike: |house, _| {
            Ok(house.still_fawn.change(|node| {
                if let Some(found) = node.containers.get_mut(&CONTAINER) {
                    found.running = false;
                    found.config.insert("onboot".to_owned(), "0".to_owned());
                }
            })?)
        },
    },
    Scenario {
        name: "started-by-hand",
        fact: "F28",
        what: "somebody starts the old container during the soak: two Frigates, and the soak does not pass",
        at: Some("soak"),
        strike: |house, _| {
            Ok(house.still_fawn.change(|node| {
                if let Some(found) = node.containers.get_mut(&CONTAINER) {
                    found.running = true;
                }
            })?)
        },
    },
    Scenario {
        name: "way-back-rots",
        fact: "F29",
        what: "the Coral is unplugged during the soak: the old one could not be started, time stands still until a person says so",
        at: Some("soak"),
        strike: |house, _| Ok(fs::remove_file(house.folder().join("still-fawn/dev/coral"))?),
    },
    Scenario {
        name: "media-full",
        fact: "F34",
        what: "the volume of the recordings is full on the way: the soak does not pass",
        at: Some("soak"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.media_full = true)?),
    },
    Scenario {
        name: "version-moved",
        fact: "F36",
        what: "the image is another one in the middle of the soak: the soak does not pass",
        at: Some("soak"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.version = Some("0.17.0-lab".to_owned()))?),
    },
    Scenario {
        name: "wrong-container",
        fact: "F37",
        what: "container 110 is another one than the plan means: nothing is touched",
        at: None,
        strike: |house, _| {
            Ok(house.still_fawn.change(|node| {
                if let Some(found) = node.containers.get_mut(&CONTAINER) {
                    found.config.insert("hostname".to_owned(), "pihole".to_owned());
                }
            })?)
        },
    },
];
