//! What may be wrong with the new Frigate, beside the old one that works.

use serde_json::json;

use super::{Done, End, PLAIN, Scenario};
use crate::lab::house::{CAMERAS, House};
use crate::lab::kubernetes::Rule;

fn fail(house: &House, kind: &str, name: &str, fail: &str) -> Done {
    let rule = Rule {
        kind: kind.to_owned(),
        namespace: "frigate".to_owned(),
        name: name.to_owned(),
        fail: fail.to_owned(),
        id: 0,
    };
    house.cluster.fail(rule)?;
    Ok(())
}

pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "crash-loop",
        facts: &[1],
        breaks: "the new pod crashes again and again",
        does: "the deployment fails with its last words; Home Assistant and the old one are not touched",
        end: End::Halts("deploy"),
        strike: |house, _| fail(house, "Pod", "", "crash-loop"),
        ..PLAIN
    },
    Scenario {
        name: "detector-loop",
        facts: &[2],
        breaks: "the new Frigate starts again every few seconds, and answers in between",
        does: "its uptime does not grow from look to look: it is not used",
        end: End::Halts("prove"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.restarts_every = 3)?),
        ..PLAIN
    },
    Scenario {
        name: "detection-off",
        facts: &[3],
        breaks: "cameras stream, and nothing is detected",
        does: "the check asks for more than pictures: it is not used",
        end: End::Halts("deploy"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.detection_off = true)?),
        ..PLAIN
    },
    Scenario {
        name: "camera-dead",
        facts: &[4],
        breaks: "a camera that the old Frigate sees sends nothing to the new one",
        does: "it is compared with the old one: it is not used",
        end: End::Halts("deploy"),
        strike: |house, _| {
            let dead = CAMERAS[..2].iter().map(|&name| name.to_owned());
            Ok(house.new.switch(|broken| broken.dead = dead.collect())?)
        },
        ..PLAIN
    },
    Scenario {
        name: "all-skipped",
        facts: &[5],
        breaks: "every frame is skipped, though the cameras look alive",
        does: "what counts is what is processed: it is not used",
        end: End::Halts("deploy"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.skipping = true)?),
        ..PLAIN
    },
    Scenario {
        name: "slow-start",
        facts: &[6],
        breaks: "no camera sends for the first half minute",
        does: "it is waited for, and not started again",
        end: End::GoesOn,
        until: Some("prove"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.warm_up = 30)?),
        ..PLAIN
    },
    Scenario {
        name: "address-pending",
        facts: &[7],
        breaks: "the load balancer gives the new Frigate no address",
        does: "the deployment fails and says so",
        end: End::Halts("deploy"),
        strike: |house, _| fail(house, "Service", "frigate", "pending"),
        ..PLAIN
    },
    Scenario {
        name: "address-taken",
        facts: &[7],
        breaks: "another service has the address that the new Frigate is to have",
        does: "the deployment fails and says so; the other service keeps it",
        end: End::Halts("deploy"),
        strike: |house, _| {
            let service = json!({
                "metadata": {
                    "name": "ollama", "namespace": "default",
                    "annotations": { "metallb.io/loadBalancerIPs": "198.51.100.83" },
                },
                "spec": {
                    "type": "LoadBalancer", "selector": { "app": "ollama" },
                    "ports": [{ "name": "http", "port": 11434, "targetPort": 11434, "protocol": "TCP" }],
                },
            });
            Ok(house.cluster.make("services", "", "v1", service)?)
        },
        ..PLAIN
    },
    Scenario {
        name: "address-moves",
        facts: &[7],
        breaks: "the load balancer gives the new Frigate another address during the soak",
        does: "the address is compared at every look: the soak does not pass",
        end: End::Halts("soak"),
        at: Some("soak"),
        strike: |house, _| fail(house, "Service", "frigate", "address=198.51.100.99"),
        ..PLAIN
    },
    Scenario {
        name: "no-endpoints",
        facts: &[8],
        breaks: "the service keeps its address, and no pod is behind it any more",
        does: "it is not proved, and Home Assistant is not pointed at it",
        end: End::Halts("prove"),
        at: Some("prove"),
        strike: |house, _| fail(house, "Pod", "", "never-ready"),
        ..PLAIN
    },
    Scenario {
        name: "camera-missing",
        facts: &[18],
        breaks: "the new Frigate does not list a camera, whose device Home Assistant would delete",
        does: "its cameras are compared with those before: it is not used",
        end: End::Halts("deploy"),
        strike: |house, _| Ok(house.new.switch(|broken| broken.missing = [CAMERAS[2].to_owned()].into())?),
        ..PLAIN
    },
    Scenario {
        name: "camera-moved",
        facts: &[44],
        breaks: "a camera gets another address while both run: neither sees it any more",
        does: "both are compared: the new one is not blamed for it",
        end: End::GoesOn,
        at: Some("deploy"),
        until: Some("prove"),
        strike: |house, _| {
            for frigate in [&house.old, &house.new] {
                frigate.switch(|broken| broken.dead.extend([CAMERAS[1].to_owned()]))?;
            }
            Ok(())
        },
        ..PLAIN
    },
];
