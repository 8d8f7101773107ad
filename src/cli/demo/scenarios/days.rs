//! What shows only in the days after the change: the soak, the way back, and what a soak must bear.

use std::fs;
use std::time::Duration;

use super::{End, PLAIN, Scenario, Then, When, on_container};
use crate::lab::house::HOOK;
use crate::lab::kubernetes::{Fault, Gpu, NO_DRIVER, Trouble};

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "onboot-again",
        facts: &[27],
        breaks: "somebody lets the old container start with its host again",
        does: "that is looked at in the soak every time: time stands still until it is as it was or a person says so",
        end: End::Waits("soak"),
        at: Some("soak"),
        strike: |house, _| {
            Ok(on_container(house, |found| drop(found.config.insert("onboot".to_owned(), "1".to_owned())))?)
        },
        ..PLAIN
    },
    Scenario {
        name: "started-by-hand",
        facts: &[28],
        breaks: "somebody starts the old container during the soak: two Frigates",
        does: "the soak does not pass, and nothing is deleted",
        end: End::Halts("soak"),
        at: Some("soak"),
        strike: |house, _| Ok(on_container(house, |found| found.running = true)?),
        ..PLAIN
    },
    Scenario {
        name: "coral-unplugged",
        facts: &[29],
        breaks: "the Coral is unplugged during the soak: the old container could not be started",
        does: "time stands still, loudly, until it is there again or a person says so",
        end: End::Waits("soak"),
        at: Some("soak"),
        strike: |house, _| Ok(fs::remove_file(house.folder().join("still-fawn/dev/coral"))?),
        ..PLAIN
    },
    Scenario {
        name: "recordings-unmounted",
        facts: &[29],
        breaks: "the pool with the old recordings is exported during the soak",
        does: "the way back is lost: time stands still until it is there again or a person says so",
        end: End::Waits("soak"),
        at: Some("soak"),
        strike: |house, _| {
            let folder = house.folder().join("still-fawn");
            Ok(fs::rename(folder.join("recordings"), folder.join("exported"))?)
        },
        ..PLAIN
    },
    Scenario {
        name: "hook-gone",
        facts: &[29],
        breaks: "the hook script of the old container is deleted during the soak: it could not be started",
        does: "the way back is lost: time stands still until it is there again or a person says so",
        end: End::Waits("soak"),
        at: Some("soak"),
        strike: |house, _| Ok(fs::remove_file(house.still_fawn.path_of(HOOK).unwrap_or_default())?),
        ..PLAIN
    },
    Scenario {
        name: "reconfigured",
        facts: &[29],
        breaks: "somebody edits the memory of the old container during the soak",
        does: "its digest is compared: time stands still until it is as it was or a person says so",
        end: End::Waits("soak"),
        at: Some("soak"),
        strike: |house, _| {
            Ok(on_container(house, |found| drop(found.config.insert("memory".to_owned(), "512".to_owned())))?)
        },
        ..PLAIN
    },
    Scenario {
        name: "archive-pruned",
        facts: &[29],
        breaks: "the last backup of the old container is pruned during the soak",
        does: "the way back is lost: time stands still until a person says so",
        end: End::Waits("soak"),
        at: Some("soak"),
        strike: |house, _| Ok(house.still_fawn.change(|node| node.archives.clear())?),
        ..PLAIN
    },
    Scenario {
        name: "change-of-mind",
        facts: &[30],
        breaks: "nothing; the owner wants the old one back after the change",
        does: "the old one is started and answers before Home Assistant goes back to it; then the new one goes",
        end: End::ChangedMind,
        until: Some("heal"),
        ..PLAIN
    },
    Scenario {
        name: "degrades",
        facts: &[31],
        breaks: "the new Frigate skips all frames from the second day on",
        does: "the soak does not pass, and the way back leads to the old one",
        end: End::BroughtBack("soak"),
        at: Some("soak"),
        then: Some(Then {
            when: When::Hours(40),
            work: |house| Ok(house.new.switch(|broken| broken.skipping = true)?),
        }),
        ..PLAIN
    },
    Scenario {
        name: "cluster-blip",
        facts: &[32],
        breaks: "the cluster does not answer for a while during the soak",
        does: "one look that could not be taken is borne, and the time is not counted",
        end: End::GoesOn,
        at: Some("soak"),
        then: Some(Then {
            when: When::Hours(20),
            work: |house| {
                let fault = Fault::new("GET", "/deployments/", Trouble::Answer(503, None)).times(1);
                Ok(house.cluster.fault(fault).map(drop)?)
            },
        }),
        ..PLAIN
    },
    Scenario {
        name: "asleep",
        facts: &[33],
        breaks: "the machine that watches sleeps for ten days in the soak",
        does: "what nobody has watched does not count: it is watched for three days all the same",
        end: End::GoesOn,
        at: Some("soak"),
        then: Some(Then {
            when: When::Hours(20),
            work: |house| Ok(house.clock.leap(u64::try_from(Duration::from_secs(864_000).as_millis())?)?),
        }),
        ..PLAIN
    },
    Scenario {
        name: "media-full",
        facts: &[34],
        breaks: "the volume of the new recordings is full",
        does: "nothing is recorded any more: the soak does not pass",
        end: End::Halts("soak"),
        at: Some("soak"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.media_full = true)?),
        ..PLAIN
    },
    Scenario {
        name: "gpu-lost",
        facts: &[35],
        breaks: "the driver of the GPU does not answer any more",
        does: "`nvidia-smi` in the pod says so: the soak does not pass",
        end: End::Halts("soak"),
        at: Some("soak"),
        strike: |house, _| {
            house.new.switch(|broken| broken.gpu_lost = true)?;
            Ok(house.cluster.set_gpu(Gpu { broken: Some(NO_DRIVER.to_owned()), ..Gpu::default() })?)
        },
        ..PLAIN
    },
    Scenario {
        name: "version-moved",
        facts: &[36],
        breaks: "the image is another one in the middle of the soak",
        does: "the version is compared at every look: the soak does not pass",
        end: End::Halts("soak"),
        at: Some("soak"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.version = Some("0.17.0-lab".to_owned()))?),
        ..PLAIN
    },
    Scenario {
        name: "protected",
        facts: &[37],
        breaks: "somebody has protected the old container",
        does: "it is not deleted",
        end: End::Halts("delete-old"),
        strike: |house, _| {
            Ok(on_container(house, |found| {
                drop(found.config.insert("protection".to_owned(), "1".to_owned()));
            })?)
        },
        ..PLAIN
    },
];
