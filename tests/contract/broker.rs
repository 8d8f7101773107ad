//! Lines at a broker: Debian's mosquitto, and the lab's own.

use std::collections::BTreeMap;

use runner::lab::mqtt::User;
use serde_json::{Value, json};

use super::engine::{Line, Place, keep};
use super::support::http::{Reply, Server};
use super::support::lab::full;
use super::support::mosquitto::{Mosquitto, PASSWORD, RIGHTS};
use super::support::player::{Player, Role};
use super::support::world::World;
use super::wire::Wire;

const TOPIC: &str = "frigate/available";

/// What is retained before.
type Before = &'static str;

/// One line adds an action.
pub fn lines() -> Vec<Line<Before>> {
    let publish =
        |payload: &str| json!({ "broker": "home", "topic": TOPIC, "payload": payload, "retain": true });
    vec![
        Line::new("mqtt.publish", "where another was", publish("new"), "old"),
        Line::new("mqtt.publish", "where nothing was", publish("new"), ""),
        Line::new("mqtt.publish", "that clears", publish(""), "old"),
        Line::new("mqtt.heal", "after a will", json!({ "broker": "home", "url": "@frigate" }), "offline"),
    ]
}

/// Whether there is a PUBLISH among the packets (MQTT 3.1.1, section 2.2): several may come at once.
fn publishes(mut packets: &[u8]) -> bool {
    while let Some((first, rest)) = packets.split_first() {
        if first >> 4 == 3 {
            return true;
        }
        let digits = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let length =
            rest.iter().take(digits).rev().fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
        packets = rest.get(digits + length..).unwrap_or_default();
    }
    false
}

struct Post {
    world: World,
    wire: Wire,
    port: u16,
    frigate: Server,
}

impl Post {
    fn at(port: u16) -> Self {
        // A message that is published; in a full run each of all.
        let wire = Wire::to(port, |message| full() || publishes(message));
        let url = format!("mqtt://127.0.0.1:{}", wire.port);
        let world = World::new().with_broker(&url, Some(("ha", PASSWORD)));
        let frigate = Server::start(|_| Reply::ok("0.16.2-local"));
        Self { world, wire, port, frigate }
    }
}

impl Place for Post {
    type Before = Before;
    type Cutter = Wire;

    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    fn cutter(&self) -> &Wire {
        &self.wire
    }

    fn fill(&self, operation: &Value) -> Value {
        serde_json::from_str(&operation.to_string().replace("@frigate", &self.frigate.url(""))).unwrap()
    }

    async fn reset(&self, before: &Before) -> bool {
        let player = Player::start(Role::new(self.port, "somebody", "ha")).await;
        player.publish(TOPIC, before, true).await;
        player.leave().await;
        true
    }

    async fn state(&self) -> Value {
        let role = Role { subscribe: Some(TOPIC), ..Role::new(self.port, "late-reader", "ha") };
        let reader = Player::start(role).await;
        // This is acknowledged behind what is retained.
        reader.publish("nothing/here", "", false).await;
        let came = reader.came();
        reader.leave().await;
        let kept = came.into_iter().find(|(_, _, retained)| *retained);
        json!(kept.map(|(_, payload, _)| payload))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_mosquitto() {
    if let Some(mosquitto) = Mosquitto::start() {
        keep(&mut Post::at(mosquitto.port()), &lines()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_the_lab_s_broker() {
    let folder = tempfile::tempdir().unwrap();
    let user = |(name, right): &(&str, &str)| {
        let (kind, filter) = right.split_once(' ').unwrap();
        let filters = vec![filter.to_owned()];
        let write = if kind == "readwrite" { filters.clone() } else { Vec::new() };
        ((*name).to_owned(), User { password: PASSWORD.to_owned(), read: filters, write })
    };
    let users: BTreeMap<String, User> = RIGHTS.iter().map(user).collect();
    let broker = runner::lab::mqtt::Broker::start(folder.path(), 0, users).await.unwrap();
    keep(&mut Post::at(broker.port()), &lines()).await;
}
