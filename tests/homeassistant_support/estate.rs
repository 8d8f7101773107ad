//! A house whose Home Assistant lives in a virtual machine, where its storage file is edited.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use runner::lab::homeassistant::{Release, Settings};
use runner::lab::proxmox::Node;
use runner::saga::{Direction, Outcome, Verdict};
use serde_json::{Value, json};

use super::super::support;
use super::super::support::proxmox::Pve;
use super::House;

pub const VMID: u32 = 116;

/// A house whose Home Assistant lives in a virtual machine of a Proxmox node.
pub struct Estate {
    pub house: House,
    pub pve: Pve,
}

impl Estate {
    pub async fn start() -> Option<Self> {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Option<Self> {
        let pve = Pve::start(Node::default().with_machine(VMID, "haos"))?;
        let mut house = House::with(Release::AddsSecond, |settings| {
            // F16 and F41: another integration with the same address, and names that are no ASCII.
            settings.entries =
                vec![json!({ "domain": "generic", "entry_id": "g", "title": "Türkamera ✨ \"q\" \\",
                "data": { "still_image_url": settings.frigate_url, "url": settings.frigate_url } })];
            change(settings);
        })
        .await;
        pve.change(|node| {
            let machine = node.machines.get_mut(&VMID).unwrap();
            machine.home_assistant = Some(house.home.supervisor_address());
        });
        // `docker exec homeassistant …` runs in the container; here all of it is one machine.
        let docker = pve.place.guest(VMID).join("bin/docker");
        fs::write(&docker, "#!/bin/sh\nshift 2\nexec \"$@\"\n").unwrap();
        fs::set_permissions(docker, fs::Permissions::from_mode(0o755)).unwrap();
        house.world.places.hosts.insert("box".to_owned(), support::world::host(&pve.sshd));
        Some(Self { house, pve })
    }

    pub fn step(&self) -> Value {
        let mut step = self.house.repoint();
        step["host"] = json!("box");
        step["vmid"] = json!(VMID);
        step["path"] = json!(self.house.home.storage_file().display().to_string());
        step["within"] = json!("5m");
        step
    }

    pub async fn act(&self, attempt: u32) -> Outcome {
        self.house.world.actions.act(self.house.world.call("repoint", attempt, self.step())).await
    }

    pub async fn undo(&self, attempt: u32, pre_image: &runner::action::PreImage) -> Outcome {
        let mut call = self.house.world.call("repoint", attempt, self.step());
        call.key.direction = Direction::Compensation;
        self.house.world.actions.undo(call, pre_image.clone()).await
    }

    pub async fn pre_image(&self) -> runner::action::PreImage {
        self.house.world.actions.pre_image(self.house.world.call("repoint", 0, self.step())).await.unwrap()
    }

    pub async fn probe(&self) -> (Verdict, String) {
        let answer = self.house.world.actions.probe(self.house.world.call("repoint", 0, self.step())).await;
        (answer.verdict, answer.reason)
    }

    pub fn file(&self) -> Value {
        serde_json::from_slice(&fs::read(self.house.home.storage_file()).unwrap()).unwrap()
    }

    /// As somebody edits it by hand.
    pub fn edit(&self, url: &str, title: &str) {
        let mut file = self.file();
        for entry in file["data"]["entries"].as_array_mut().unwrap() {
            if entry["domain"] == "frigate" {
                entry["data"]["url"] = json!(url);
                entry["title"] = json!(title);
            }
        }
        fs::write(self.house.home.storage_file(), file.to_string()).unwrap();
    }

    /// All is as it shall be, and nothing else was touched.
    pub async fn is_at(&self, url: &str, title: &str, before: &Value) {
        let house = &self.house;
        assert_eq!((house.title().await, house.entry_state().await), (title.to_owned(), "loaded".to_owned()));
        let mut wanted = before.clone();
        for entry in wanted["data"]["entries"].as_array_mut().unwrap() {
            if entry["domain"] == "frigate" {
                entry["data"]["url"] = json!(url);
                entry["title"] = json!(title);
            }
        }
        assert_eq!(self.file(), wanted);
        assert_eq!(house.entries().await.len(), 1);
    }
}
