//! Goal: what the transport, the actions and the check of MQTT promise, against brokers that are real. Method: every test
//! runs against each broker of `brokers`: Debian's mosquitto with users, access list and TLS, and the lab's own.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runner::action::PreImage;
use runner::lab::mqtt::User;
use runner::saga::{Answer, Direction, FailureClass, Outcome, Verdict};
use serde_json::{Value, json};
use support::http::{Reply, Server};
use support::mosquitto::{Mosquitto, PASSWORD, RIGHTS};
use support::player::{Player, Role};
use support::port::Port;
use support::world::{World, acted, failed};

const USER: Option<(&str, &str)> = Some(("ha", PASSWORD));

/// The brokers there are.
struct Broker {
    what: &'static str,
    port: u16,
    _held: Box<dyn std::any::Any>,
}

async fn brokers() -> Vec<Broker> {
    let mut all = Vec::new();
    if let Some(mosquitto) = Mosquitto::start() {
        all.push(Broker { what: "mosquitto", port: mosquitto.port(), _held: Box::new(mosquitto) });
    }
    let folder = tempfile::tempdir().unwrap();
    let lab = runner::lab::mqtt::Broker::start(folder.path(), 0, users()).await.unwrap();
    all.push(Broker { what: "the lab's", port: lab.port(), _held: Box::new((lab, folder)) });
    all
}

/// The rights of mosquitto's access list.
fn users() -> BTreeMap<String, User> {
    let user = |(name, right): &(&str, &str)| {
        let (kind, filter) = right.split_once(' ').unwrap();
        let filters = vec![filter.to_owned()];
        let write = if kind == "readwrite" { filters.clone() } else { Vec::new() };
        (name.to_string(), User { password: PASSWORD.to_owned(), read: filters, write })
    };
    RIGHTS.iter().map(user).collect()
}

impl Broker {
    fn world(&self, user: Option<(&str, &str)>) -> World {
        World::new().with_broker(&format!("mqtt://127.0.0.1:{}", self.port), user)
    }

    /// What is retained there, as somebody else sees it.
    async fn retained(&self, topic: &str) -> Option<String> {
        let role = Role { subscribe: Some(topic), ..Role::new(self.port, "late-reader", "ha") };
        let reader = Player::start(role).await;
        // This is acknowledged behind what is retained.
        reader.publish("nothing/here", "", false).await;
        let came = reader.came();
        reader.leave().await;
        came.into_iter().find(|(_, _, retained)| *retained).map(|(_, payload, _)| payload)
    }
}

async fn look(world: &World, operation: Value) -> Answer {
    world.checks.look(world.look(operation)).await
}

fn publish(topic: &str, payload: &str, retain: bool) -> Value {
    json!({ "name": "mqtt.publish", "broker": "home", "topic": topic, "payload": payload, "retain": retain })
}

async fn act(world: &World, step: &str, attempt: u32, operation: Value) -> Outcome {
    world.actions.act(world.call(step, attempt, operation)).await
}

async fn undo(world: &World, step: &str, operation: Value, pre_image: &PreImage) -> Outcome {
    let mut call = world.call(step, 1, operation);
    call.key.direction = Direction::Compensation;
    world.actions.undo(call, pre_image.clone()).await
}

async fn pre_image(world: &World, step: &str, operation: Value) -> PreImage {
    world.actions.pre_image(world.call(step, 0, operation)).await.unwrap()
}

async fn probe(world: &World, step: &str, operation: Value) -> Verdict {
    world.actions.probe(world.call(step, 0, operation)).await.verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retained_message_is_put_and_what_was_there_comes_back() {
    for broker in brokers().await {
        let world = broker.world(USER);
        for (step, before) in [("a", None), ("b", Some("old")), ("c", Some("new"))] {
            let topic = format!("frigate/{step}");
            let ha = Player::start(Role::new(broker.port, "somebody", "ha")).await;
            if let Some(before) = before {
                ha.publish(&topic, before, true).await;
            }
            let operation = publish(&topic, "new", true);
            let holds = if before == Some("new") { Verdict::Holds } else { Verdict::Absent };
            assert_eq!(probe(&world, step, operation.clone()).await, holds, "{} {step}", broker.what);
            let pre_image = pre_image(&world, step, operation.clone()).await;
            // Nothing was done.
            acted(undo(&world, step, operation.clone(), &pre_image).await);
            assert_eq!(broker.retained(&topic).await.as_deref(), before, "{} {step}", broker.what);
            // Twice equals once.
            for attempt in 1..3 {
                acted(act(&world, step, attempt, operation.clone()).await);
                assert_eq!(broker.retained(&topic).await.as_deref(), Some("new"), "{} {step}", broker.what);
                assert_eq!(
                    probe(&world, step, operation.clone()).await,
                    Verdict::Holds,
                    "{} {step}",
                    broker.what
                );
            }
            for _ in 0..2 {
                acted(undo(&world, step, operation.clone(), &pre_image).await);
                assert_eq!(broker.retained(&topic).await.as_deref(), before, "{} {step}", broker.what);
            }
            ha.leave().await;
        }
        // An empty one clears, and comes back as what was there.
        let operation = publish("frigate/b", "", true);
        let pre_image = pre_image(&world, "d", operation.clone()).await;
        acted(act(&world, "d", 1, operation.clone()).await);
        assert_eq!(broker.retained("frigate/b").await, None, "{}", broker.what);
        assert_eq!(probe(&world, "d", operation.clone()).await, Verdict::Holds, "{}", broker.what);
        acted(undo(&world, "d", operation, &pre_image).await);
        assert_eq!(broker.retained("frigate/b").await.as_deref(), Some("old"), "{}", broker.what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_not_retained_arrives_and_leaves_nothing() {
    for broker in brokers().await {
        let world = broker.world(USER);
        let role = Role { subscribe: Some("frigate/#"), ..Role::new(broker.port, "listener", "observer") };
        let listener = Player::start(role).await;
        for (attempt, qos) in [(1, 0), (2, 1), (3, 2)] {
            let mut operation = publish("frigate/restart", &format!("q{qos}"), false);
            operation["qos"] = json!(qos);
            acted(act(&world, "a", attempt, operation).await);
        }
        listener.until("three came", |listener| listener.came().len() == 3).await;
        let came: Vec<String> = listener.came().into_iter().map(|(_, payload, _)| payload).collect();
        assert_eq!(came, ["q0", "q1", "q2"], "{}", broker.what);
        assert_eq!(broker.retained("frigate/restart").await, None);
        let operation = publish("frigate/restart", "q1", false);
        assert_eq!(probe(&world, "a", operation.clone()).await, Verdict::Absent);
        let pre_image = pre_image(&world, "a", operation.clone()).await;
        acted(undo(&world, "a", operation, &pre_image).await);
        assert_eq!(listener.came().len(), 3, "{}", broker.what);
        listener.leave().await;
    }
}

/// The transcript's scene "denied publish": PUBACK arrives, nobody receives the message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_proves_nothing() {
    for broker in brokers().await {
        let ha = Player::start(Role::new(broker.port, "somebody", "ha")).await;
        ha.publish("frigate/available", "offline", true).await;
        ha.leave().await;
        let world = broker.world(Some(("observer", PASSWORD)));
        for retain in [true, false] {
            let outcome = act(&world, "a", 1, publish("frigate/available", "online", retain)).await;
            let (class, message, _) = failed(outcome);
            assert_eq!(class, FailureClass::Permanent, "{}: {message}", broker.what);
            assert!(
                message.contains("acknowledged the message") && message.contains("user `observer`"),
                "{message}"
            );
        }
        assert_eq!(broker.retained("frigate/available").await.as_deref(), Some("offline"), "{}", broker.what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_it_from_a_broker_is_told_apart() {
    for broker in brokers().await {
        for (user, words) in
            [(Some(("ha", "wrong pass")), "user `ha`: not authorised"), (None, "not authorised")]
        {
            let mut world = broker.world(user);
            world.secrets = vec!["wrong pass".to_owned()];
            let outcome = act(&world, "a", 1, publish("frigate/x", "y", true)).await;
            let (class, message, _) = failed(outcome);
            assert_eq!(class, FailureClass::Permanent, "{}: {message}", broker.what);
            assert!(message.contains(words) && !message.contains("wrong pass"), "{}: {message}", broker.what);
            let answer =
                look(&world, json!({ "name": "mqtt", "broker": "home", "topic": "frigate/x" })).await;
            assert_eq!(answer.verdict, Verdict::Unknown, "{}: {}", broker.what, answer.reason);
        }
    }
    let nobody = Port::held();
    let world = World::new().with_broker(&format!("mqtt://127.0.0.1:{}", nobody.number()), USER);
    let (class, message, _) = failed(act(&world, "a", 1, publish("frigate/x", "y", true)).await);
    assert_eq!(class, FailureClass::Transient, "{message}");
    assert!(message.contains("nobody listens"), "{message}");
    let answer = look(&world, json!({ "name": "mqtt", "broker": "home", "topic": "a" })).await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    // Somebody who takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://127.0.0.1:{}", silent.local_addr().unwrap().port());
    let world = World::new().with_broker(&url, USER);
    let mut call = world.call("a", 1, publish("frigate/x", "y", true));
    call.timeout = Duration::from_millis(300);
    let (class, message, _) = failed(world.actions.act(call).await);
    assert_eq!(class, FailureClass::Transient, "{message}");
    assert!(message.contains("in time"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_compared() {
    for broker in brokers().await {
        let world = broker.world(USER);
        let ha = Player::start(Role::new(broker.port, "somebody", "ha")).await;
        ha.publish("frigate/stats", r#"{"service":{"version":"0.16.2-x","uptime":61}}"#, true).await;
        let check = |fields: Value| {
            let mut operation =
                json!({ "name": "mqtt", "broker": "home", "topic": "frigate/stats", "within": "200ms" });
            operation.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            operation
        };
        for (fields, verdict) in [
            (json!({}), Verdict::Holds),
            (json!({ "retained": true }), Verdict::Holds),
            (json!({ "retained": false }), Verdict::Absent),
            (json!({ "topic": "frigate/+" }), Verdict::Holds),
            (json!({ "topic": "frigate/+", "retained": true }), Verdict::Holds),
            (json!({ "topic": "frigate/none" }), Verdict::Absent),
            (json!({ "topic": "frigate/none", "retained": true }), Verdict::Absent),
            (json!({ "topic": "frigate/none", "absent": true }), Verdict::Holds),
            (json!({ "absent": true }), Verdict::Absent),
            (json!({ "topic": "#a", "absent": true }), Verdict::Unknown),
            (json!({ "payload": "x" }), Verdict::Absent),
            (json!({ "contains": "0.16.2" }), Verdict::Holds),
            (json!({ "json": { "/service/uptime": { "at_least": 60 } } }), Verdict::Holds),
            (json!({ "json": { "/service/uptime": { "at_least": 62 } } }), Verdict::Absent),
            (json!({ "json": { "/service/none": { "exists": false } } }), Verdict::Holds),
        ] {
            let answer = look(&world, check(fields.clone())).await;
            assert_eq!(answer.verdict, verdict, "{} {fields}: {}", broker.what, answer.reason);
        }
        let answer = look(&world, check(json!({ "json": { "/service/uptime": { "at_least": 60 } } }))).await;
        assert_eq!(answer.facts["/service/uptime"], json!(61));
        // A live one, while it waits.
        let wait = check(
            json!({ "topic": "frigate/events", "retained": false, "payload": "second", "within": "20s" }),
        );
        let looking = look(&world, wait);
        tokio::pin!(looking);
        let mut sent = 0;
        let answer = loop {
            tokio::select! {
                answer = &mut looking => break answer,
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    ha.publish("frigate/events", if sent > 0 { "second" } else { "first" }, false).await;
                    sent += 1;
                }
            }
        };
        assert_eq!(
            (answer.verdict, &answer.facts["retained"]),
            (Verdict::Holds, &json!(false)),
            "{answer:?}"
        );
        ha.leave().await;
    }
}

fn available(url: Option<&str>, steady_for: &str) -> Value {
    let mut operation = json!({
        "name": "mqtt", "broker": "home", "available": "frigate", "steady_for": steady_for, "client_id": "frigate",
    });
    if let Some(url) = url {
        operation["url"] = json!(url);
    }
    operation
}

/// A service that answers until it is told not to.
fn frigate_api() -> (Server, Arc<AtomicBool>) {
    let lives = Arc::new(AtomicBool::new(true));
    let server = {
        let lives = Arc::clone(&lives);
        Server::start(move |asked| match asked.target.as_str() {
            _ if !lives.load(Ordering::SeqCst) => Reply::status(502),
            "/api/version" => Reply::ok("0.16.2-local"),
            _ => Reply::status(404),
        })
    };
    (server, lives)
}

/// F19: the login to the broker is missing. F21: the will of a killed instance fires while the service is healthy. And the
/// transcript's "clean DISCONNECT": the retained value stays online, stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn availability_and_a_will_that_fired() {
    for broker in brokers().await {
        let world = broker.world(USER);
        let (api, lives) = frigate_api();
        let answer = look(&world, available(Some(&api.url("")), "100ms")).await;
        assert_eq!(answer.verdict, Verdict::Absent);
        assert!(
            answer.reason.contains("has not logged in to the broker"),
            "{}: {}",
            broker.what,
            answer.reason
        );

        let role = |id| Role { prefix: Some("frigate"), ..Role::new(broker.port, id, "frigate-k8s") };
        let new = Player::start(role("frigate-k8s")).await;
        let answer = look(&world, available(None, "100ms")).await;
        assert_eq!(answer.verdict, Verdict::Holds, "{}: {}", broker.what, answer.reason);
        // A look that is shorter than what it shall watch has not seen it.
        let mut short = world.look(available(None, "10s"));
        short.timeout = Duration::from_secs(1);
        assert_eq!(world.checks.look(short).await.verdict, Verdict::Unknown);

        // The old instance shares the prefix and is killed.
        let old = Player::start(role("frigate-lxc")).await;
        old.die().await;
        while broker.retained("frigate/available").await.as_deref() != Some("offline") {}
        let answer = look(&world, available(Some(&api.url("")), "100ms")).await;
        assert_eq!(answer.verdict, Verdict::Absent);
        assert!(answer.reason.contains("last will of another client fired"), "{}", answer.reason);
        assert_eq!((&answer.facts["healthy"], &answer.facts["available"]), (&json!(true), &json!("offline")));

        let heal = json!({ "name": "mqtt.heal", "broker": "home", "url": api.url("") });
        assert_eq!(probe(&world, "h", heal.clone()).await, Verdict::Absent);
        acted(act(&world, "h", 1, heal.clone()).await);
        acted(act(&world, "h", 2, heal.clone()).await);
        assert_eq!(probe(&world, "h", heal.clone()).await, Verdict::Holds);
        assert_eq!(look(&world, available(None, "100ms")).await.verdict, Verdict::Holds);
        // It stays online when the service leaves in good order, and nothing is said for a service that is gone.
        new.leave().await;
        assert_eq!(broker.retained("frigate/available").await.as_deref(), Some("online"), "{}", broker.what);
        acted(act(&world, "c", 1, publish("frigate/available", "offline", true)).await);
        lives.store(false, Ordering::SeqCst);
        let (class, message, _) = failed(act(&world, "h", 3, heal).await);
        assert_eq!(class, FailureClass::Transient, "{message}");
        assert!(message.contains("nothing was said in its name"), "{message}");
        assert_eq!(broker.retained("frigate/available").await.as_deref(), Some("offline"));
        let answer = look(&world, available(Some(&api.url("")), "100ms")).await;
        assert!(answer.reason.contains("does not answer either"), "{}", answer.reason);
    }
}

/// F20: two clients on one id throw each other out for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_id_that_two_fight_over_is_seen() {
    for broker in brokers().await {
        let world = broker.world(USER);
        let role = Role {
            prefix: Some("frigate"),
            again: Some(Duration::from_millis(100)),
            ..Role::new(broker.port, "frigate", "frigate-lxc")
        };
        let (one, other) = (Player::start(role.clone()).await, Player::start(role).await);
        other.until("thrown out", |other| other.thrown_out() > 0).await;
        let answer = look(&world, available(None, "2s")).await;
        assert_eq!(answer.verdict, Verdict::Absent, "{}: {}", broker.what, answer.reason);
        assert!(
            answer.reason.contains("two clients fight over the client id `frigate`"),
            "{}",
            answer.reason
        );
        assert!(answer.facts["changes"].as_u64().unwrap() > 2, "{answer:?}");
        one.die().await;
        other.die().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_whom_it_trusts() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    let mut world = World::new().with_broker(&mosquitto.tls_url(), USER);
    // Nobody of the system's vouches for it.
    let (class, message, _) = failed(act(&world, "a", 1, publish("frigate/x", "y", true)).await);
    assert_eq!(class, FailureClass::Permanent, "{message}");
    assert!(message.contains("no trusted connection") && message.contains("`ca` of the broker"), "{message}");
    world.places.brokers.get_mut("home").unwrap().ca = Some("/p/ca.pem".to_owned());
    let trusting = |ca: &str, attempt| {
        let mut call = world.call("b", attempt, publish("frigate/x", "y", true));
        call.bodies = std::sync::Arc::new([("/p/ca.pem".to_owned(), ca.as_bytes().to_vec())].into());
        call
    };
    acted(world.actions.act(trusting(mosquitto.ca(), 1)).await);
    let answer = world.actions.probe(trusting(mosquitto.ca(), 0)).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    // Another authority, something that is no certificate, and a port that does not speak TLS.
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap().cert.pem();
    for (ca, words) in
        [(other.as_str(), "`ca` of the broker"), ("nothing", "there is no certificate in `ca`")]
    {
        let (class, message, _) = failed(world.actions.act(trusting(ca, 2)).await);
        assert_eq!(class, FailureClass::Permanent, "{message}");
        assert!(message.contains(words), "{message}");
    }
    let plain = format!("mqtts://127.0.0.1:{}", mosquitto.port());
    let world = World::new().with_broker(&plain, USER);
    let (_, message, _) = failed(act(&world, "c", 1, publish("frigate/x", "y", true)).await);
    assert!(message.contains("no trusted connection"), "{message}");
    let left = std::fs::read_dir(world.folder.path().join("run")).unwrap().count();
    assert_eq!(left, 0, "a socket is left behind");
}
