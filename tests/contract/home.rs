//! The line at Home Assistant: the simulated one, by its own flow.

use std::time::{Duration, Instant};

use runner::lab::homeassistant::Release;
use serde_json::{Value, json};

use super::engine::{Line, Place, keep};
use super::gate::Gate;
use super::homeassistant_support::estate::Estate;
use super::homeassistant_support::{House, TOKEN};
use super::support::world::World;
use super::wire::{Wire, changes};

/// One line adds an action.
pub fn lines() -> Vec<Line<()>> {
    let fields = json!({ "url": "@home", "token": TOKEN, "frigate_url": "@new", "within": "10s" });
    vec![Line::new("homeassistant.repoint", "by its flow", fields, ())]
}

struct Home {
    house: House,
    wire: Wire,
}

impl Place for Home {
    type Before = ();
    type Cutter = Wire;

    fn world(&mut self) -> &mut World {
        &mut self.house.world
    }

    fn cutter(&self) -> &Wire {
        &self.wire
    }

    fn fill(&self, operation: &Value) -> Value {
        let text = operation.to_string().replace("@home", &self.wire.url());
        serde_json::from_str(&text.replace("@new", &self.house.new.url())).unwrap()
    }

    async fn reset(&self, (): &()) -> bool {
        false
    }

    async fn state(&self) -> Value {
        state(&self.house).await
    }
}

/// Once it is saved: a second after the change, it says.
async fn state(house: &House) -> Value {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let (title, state) = (house.title().await, house.entry_state().await);
        let kept = house.in_file();
        if state == "loaded" && kept["title"] == json!(title) {
            let entry: Vec<Value> =
                ["data", "title", "entry_id", "options"].map(|key| kept[key].clone()).into();
            return json!({ "entry": entry, "entries": house.entries().await.len() });
        }
        assert!(Instant::now() < limit, "it does not come to rest: {title} {state} {kept}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The way by the file: its commands go through the guest's agent, a second each.
struct ByFile {
    estate: Estate,
    gate: Gate,
    _folder: tempfile::TempDir,
}

impl Place for ByFile {
    type Before = ();
    type Cutter = Gate;

    fn world(&mut self) -> &mut World {
        &mut self.estate.house.world
    }

    fn cutter(&self) -> &Gate {
        &self.gate
    }

    fn fill(&self, _operation: &Value) -> Value {
        self.estate.step()
    }

    async fn reset(&self, (): &()) -> bool {
        false
    }

    async fn state(&self) -> Value {
        state(&self.estate.house).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_in_the_file_of_home_assistant() {
    if !super::support::lab::full() {
        super::support::skip::say("the file of Home Assistant, cut at each command: RUNNER_FULL=1 tries it");
        return;
    }
    let Some(estate) = Estate::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let gate = Gate::new(folder.path(), &estate.pve.sshd);
    let (bin, real) = (estate.pve.place.folder().join("bin"), estate.pve.place.folder().join("real"));
    std::fs::create_dir(&real).unwrap();
    std::fs::rename(bin.join("qm"), real.join("qm")).unwrap();
    gate.before(&bin.join("qm"), &real.join("qm"), "'guest exec '*");
    keep(&mut ByFile { estate, gate, _folder: folder }, &lines()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_home_assistant() {
    let house = House::start(Release::Reconfigures).await;
    let port = house.home.url().rsplit(':').next().unwrap().parse().unwrap();
    let mut home = Home { house, wire: Wire::to(port, changes) };
    keep(&mut home, &lines()).await;
}
