//! Goal: the lab's broker behaves as mosquitto was recorded, and mosquitto as it was. Method: the recorded trace
//! (tests/data/transcripts/mqtt-trace.jsonl) is played again, scene by scene, against both: whoever connected, subscribed,
//! published or died does so again, and what everybody was handed then must come again, in that order.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use runner::lab::mqtt::{Broker, User};
use serde_json::Value;
use support::mosquitto::{Mosquitto, PASSWORD, RIGHTS};
use support::player::{Player, Role};
use support::port::Port;

const TRACE: &str = include_str!("../data/transcripts/mqtt-trace.jsonl");

fn user(who: &str) -> &'static str {
    match who {
        "observer" => "observer",
        "frigate-a" | "seed" => "frigate-lxc",
        "frigate-b" => "frigate-k8s",
        _ => "ha",
    }
}

/// Plays all of it; gives how many lines were played or compared.
async fn play(what: &str, port: u16) -> usize {
    let mut players: BTreeMap<String, Player> = BTreeMap::new();
    // What each was handed, by the trace, since it connected.
    let mut expected: BTreeMap<String, Vec<(String, String, bool)>> = BTreeMap::new();
    let mut scene = String::new();
    let mut lines = 0;
    for line in TRACE.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let (who, done, reason) = (text("who"), text("what"), text("reason"));
        lines += 1;
        match done.as_str() {
            "SCENE" => {
                compare(what, &scene, &players, &expected).await;
                scene = text("name");
                if scene.starts_with("port closed") {
                    let closed = Port::held();
                    assert!(refused(closed.number(), None).await.contains("Connection refused"), "{what}");
                }
                // The process that is killed was not traced while it connected.
                if scene.starts_with("process killed") {
                    let role =
                        Role { prefix: Some("frigate"), ..Role::new(port, "frigate-a", "frigate-lxc") };
                    players.insert("frigate-a".to_owned(), Player::start(role).await);
                }
            }
            "CONNACK" if reason == "Success" => {
                let fighting = scene.contains("takeover");
                let frigate = who.starts_with("frigate");
                // Only where two of them live in peace have they names of their own.
                let one_id = frigate && !scene.contains("healthy second instance");
                let id = if one_id { "frigate" } else { who.as_str() };
                let role = Role {
                    prefix: frigate.then_some("frigate"),
                    will_alone: !scene.contains("publishing online on each connect"),
                    ..Role::new(port, id, user(&who))
                };
                let player = Player::start(role).await;
                if let Some(old) = players.insert(who.clone(), player)
                    && fighting
                {
                    old.until(&format!("thrown out ({what}: {scene})"), |old| old.thrown_out() > 0).await;
                }
                expected.insert(who, Vec::new());
            }
            "CONNACK" => {
                let login = (who != "nobody").then(|| (user(&who), "wrong"));
                let error = refused(port, login).await;
                assert!(error.contains("NotAuthorized"), "{what}: {scene}: {error}");
            }
            "SUBSCRIBE sent" => players[&who].subscribe(&text("topic")).await,
            "PUBLISH sent" if event["qos"] == 1 => {
                players[&who].publish(&text("topic"), &text("payload"), event["retain"] == true).await;
            }
            "PUBLISH sent" => players[&who].mention(&text("topic"), &text("payload")).await,
            "PUBLISH received" => {
                let message = (text("topic"), text("payload"), event["retain"] == true);
                expected.entry(who).or_default().push(message);
            }
            "DISCONNECT sent" | "disconnected"
                if done != "disconnected" || reason == "Normal disconnection" =>
            {
                if let Some(player) = players.remove(&who) {
                    settled(what, &scene, &who, &player, expected.get(&who)).await;
                    player.leave().await;
                }
            }
            "SIGKILL" | "socket closed without DISCONNECT" => players.remove(&who).unwrap().die().await,
            "still connected" => assert_eq!(players[&who].thrown_out(), 0, "{what}: {scene}"),
            // By the broker, of whoever lost its client id: seen above, when it connects again or at the end.
            "disconnected" if reason == "Unspecified error" => {}
            // They stand for what `subscribe`, `publish` and `refused` have waited for.
            "SUBACK" | "PUBACK" | "connect error" => {}
            other => panic!("nobody plays `{other}`: {line}"),
        }
    }
    compare(what, &scene, &players, &expected).await;
    lines
}

async fn compare(
    what: &str,
    scene: &str,
    players: &BTreeMap<String, Player>,
    expected: &BTreeMap<String, Vec<(String, String, bool)>>,
) {
    for (who, player) in players {
        settled(what, scene, who, player, expected.get(who)).await;
    }
}

/// Waits until a player was handed as much as in the trace, and compares it.
async fn settled(
    what: &str,
    scene: &str,
    who: &str,
    player: &Player,
    expected: Option<&Vec<(String, String, bool)>>,
) {
    let Some(expected) = expected else { return };
    let seen = |player: &Player| player.came().len() >= expected.len();
    player.until(&format!("{what}: {scene}: {who} sees {expected:?}"), seen).await;
    assert_eq!(&player.came(), expected, "{what}: {scene}: {who}");
}

/// How a connection fails.
async fn refused(port: u16, login: Option<(&str, &str)>) -> String {
    let mut options = rumqttc::MqttOptions::new("nobody", "127.0.0.1", port);
    if let Some((user, password)) = login {
        options.set_credentials(user, password);
    }
    let mut events = rumqttc::EventLoop::new(options, 1);
    let end = tokio::time::timeout(Duration::from_secs(10), events.poll()).await.unwrap();
    format!("{:?}", end.unwrap_err()).replace("ConnectionRefused, ", "Connection refused, ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lab_s_broker_behaves_as_mosquitto_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let one = |(name, right): &(&str, &str)| {
        let (kind, filter) = right.split_once(' ').unwrap();
        let filters = vec![filter.to_owned()];
        let write = if kind == "readwrite" { filters.clone() } else { Vec::new() };
        (name.to_string(), User { password: PASSWORD.to_owned(), read: filters, write })
    };
    let users: BTreeMap<String, User> = RIGHTS.iter().map(one).collect();
    let broker = Broker::start(folder.path(), 0, users.clone()).await.unwrap();
    assert_eq!(play("the lab's", broker.port()).await, TRACE.lines().count());
    assert_eq!(broker.retained()["frigate/available"].text(), "online");
    // Killed and started again it is where it was, with what it retained, and nobody's will is sent.
    let (port, writes) = (broker.port(), broker.writes());
    let role = Role { prefix: Some("frigate"), ..Role::new(port, "frigate", "frigate-lxc") };
    let frigate = Player::start(role).await;
    assert_eq!((broker.connected(), broker.writes()), (vec!["frigate".to_owned()], writes + 1));
    broker.stop().await;
    let broker = Broker::start(folder.path(), 0, BTreeMap::new()).await.unwrap();
    assert_eq!((broker.port(), broker.writes()), (port, writes + 1));
    assert_eq!(broker.retained()["frigate/available"].text(), "online");
    drop(frigate);
    // Who is silent for too long is thrown out, and its will is sent.
    let role = Role { prefix: Some("frigate"), will_alone: true, ..Role::new(port, "silent", "frigate-lxc") };
    let silent = Player::silent(role, 1).await;
    silent.until("thrown out", |_| broker.retained()["frigate/available"].text() == "offline").await;
    broker.remove_user("ha").unwrap();
    assert!(refused(port, Some(("ha", PASSWORD))).await.contains("NotAuthorized"));
    broker.set_user("ha", users["ha"].clone()).unwrap();
    Player::start(Role::new(port, "x", "ha")).await.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_behaves_as_it_was_recorded() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    assert_eq!(play("mosquitto", mosquitto.port()).await, TRACE.lines().count());
}
