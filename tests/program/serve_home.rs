//! Goal: Home Assistant sees each run of a service as a device, its buttons are wishes like any other, and a broker that
//! is down, forgets, or holds what nobody wants any more disturbs nobody. Method: a real mosquitto, and a client that
//! keeps what it is told as Home Assistant would.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::serve_support;
use crate::worlds_support;

use crate::support;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use serve_support::{Serve, until};
use support::mosquitto::{Mosquitto, PASSWORD};
use support::player::{Player, Role};
use worlds_support::House;

/// A gate, then a soak whose way back is looked at.
const MOVE: &str = r#"
[[step]]
id = "before"
forward = { action = "command", script = "echo before >> ../log" }
compensate = { action = "command", script = "echo back before >> ../log" }

[[step]]
id = "gated"
approve = "Go on?"
forward = { action = "command", script = "echo gated >> ../log" }
compensate = { action = "command", script = "echo back gated >> ../log" }

[[step]]
id = "soak"
soak = { for = "1h", every = "100ms" }
verify = [{ check = "command", script = "test ! -e ../bad" }]
rollback_ready = [{ check = "command", script = "test ! -e ../lost" }]
"#;

/// What Home Assistant has seen.
struct Eyes(Player);

impl Eyes {
    async fn open(mosquitto: &Mosquitto) -> Self {
        let again = Some(Duration::from_millis(100));
        let role = Role { subscribe: Some("#"), again, ..Role::new(mosquitto.port(), "homeassistant", "ha") };
        Self(Player::start(role).await)
    }

    /// The last payload of each topic; nothing where it was cleared.
    fn all(&self) -> BTreeMap<String, String> {
        let came = self.0.came().into_iter().map(|(topic, payload, _)| (topic, payload));
        let mut all: BTreeMap<String, String> = came.collect();
        all.retain(|_, payload| !payload.is_empty());
        all
    }

    fn ends(&self, end: &str) -> Option<(String, String)> {
        self.all().into_iter().find(|(topic, _)| topic.ends_with(end))
    }

    fn state(&self, run: &str) -> Value {
        let found = self.ends(&format!("/{run}/state"));
        found.map_or(Value::Null, |(_, payload)| serde_json::from_str(&payload).unwrap())
    }

    fn config(&self, run: &str) -> Value {
        let found = self.ends(&format!("/{run}/config"));
        found.map_or(Value::Null, |(_, payload)| serde_json::from_str(&payload).unwrap())
    }

    fn availability(&self) -> String {
        self.ends("/availability").map_or_else(String::new, |(_, payload)| payload)
    }

    /// Presses a button as it is shown now.
    async fn press(&self, run: &str, button: &str) {
        let part = self.config(run)["components"][button].clone();
        let (topic, payload) =
            (part["command_topic"].as_str().unwrap(), part["payload_press"].as_str().unwrap());
        self.0.publish(topic, payload, false).await;
    }
}

fn notify(house: &House, mosquitto: &Mosquitto, more: &str) {
    let who = format!("url = \"{}\"\nusername = \"ha\"\npassword = \"{PASSWORD}\"\n", mosquitto.url());
    house.write(
        "notify.toml",
        format!(
            "link = \"https://page.example\"\n[homeassistant]\n{who}{more}[[mqtt]]\n{who}topic = \"alerts\"\n"
        ),
    );
    house.shell("chmod 600 notify.toml");
}

fn serve(house: &House) -> Serve {
    Serve::start(house.runner(&["serve", "--plans", "plans", "--notify", "notify.toml"])).ready()
}

fn begin(serve: &Serve, plan: &str) {
    assert_eq!(serve.post("/api/v1/runs", &json!({ "plan": plan, "by": "ann" })).status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_a_device_and_its_buttons_are_wishes() {
    let Some(mosquitto) = Mosquitto::start() else { return };
    let house = House::new();
    house.plan("m", MOVE);
    notify(&house, &mosquitto, "");
    let eyes = Eyes::open(&mosquitto).await;
    let service = serve(&house);
    until("it is there", || eyes.availability() == "online");
    begin(&service, "m");
    until("it is shown to wait", || eyes.state("m-1")["state"] == "waiting");
    until("the button says for what", || {
        eyes.config("m-1")["components"]["approve"]["payload_press"] == "approve gated"
    });

    // What is announced is whole, and points at what is there.
    let (topic, config) = eyes.ends("/m-1/config").unwrap();
    let parts: Vec<&str> = topic.split('/').collect();
    assert_eq!((parts[0], parts[1], parts.len()), ("homeassistant", "device", 5), "{topic}");
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    assert!(parts[2].chars().all(fits) && parts[3].chars().all(fits), "{topic}");
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["device"]["configuration_url"], "https://page.example/runs/m-1");
    assert_eq!(config["origin"]["name"], "runner");
    let (state_topic, state) = eyes.ends("/m-1/state").unwrap();
    let state: Value = serde_json::from_str(&state).unwrap();
    let components = config["components"].as_object().unwrap();
    let mut ids = std::collections::BTreeSet::new();
    for (key, part) in components {
        assert!(ids.insert(part["unique_id"].as_str().unwrap()), "{key}");
        assert!(part["platform"].is_string() && part["name"].is_string(), "{key}: {part}");
        if part["platform"] == "button" {
            assert_eq!(part["availability"][0]["topic"], config["availability"][0]["topic"], "{key}");
            assert_eq!(part["availability"][1]["topic"], state_topic.as_str(), "{key}");
        } else {
            assert_eq!(part["state_topic"], state_topic.as_str(), "{key}");
        }
        // Every value that a template names is there.
        for used in part.to_string().split("value_json.").skip(1) {
            let name: String = used.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            assert!(state.get(&name).is_some(), "{key} shows `{name}`, which {state} lacks");
        }
    }
    for key in
        ["state", "step", "soak", "healthy_since", "rollback_ready", "approve", "pause", "resume", "rollback"]
    {
        assert!(components.contains_key(key), "no {key}");
    }
    let options = components["state"]["options"].as_array().unwrap();
    assert!(options.contains(&state["state"]), "{options:?}");
    assert_eq!(
        (&state["step"], &state["soak"], &state["rollback_ready"]),
        (&"gated".into(), &Value::Null, &"on".into())
    );

    // People are told over MQTT as well.
    until("a notice", || eyes.ends("alerts").is_some());
    let notice: Value = serde_json::from_str(&eyes.ends("alerts").unwrap().1).unwrap();
    assert_eq!((&notice["kind"], &notice["step"]), (&"approval".into(), &"gated".into()));
    assert_eq!(notice["command"], "runner approve m-1 gated");

    // What nobody asks, and what makes no sense, changes nothing.
    let command = components["approve"]["command_topic"].as_str().unwrap();
    for said in ["approve before", "approve nobody", "approve", "PRESS", "cancel"] {
        eyes.0.publish(command, said, false).await;
    }
    eyes.0.publish(&command.replace("m-1", "m-9"), "pause", false).await;
    eyes.press("m-1", "pause").await;
    until("it is shown to be paused", || eyes.state("m-1")["paused"] == true);
    assert_eq!(service.step("m-1", "gated"), "awaiting_approval");
    eyes.press("m-1", "resume").await;
    until("it goes on", || eyes.state("m-1")["paused"] == false);
    eyes.press("m-1", "approve").await;
    until("it soaks", || eyes.state("m-1")["healthy_since"].is_string());
    let soaks = eyes.state("m-1");
    assert_eq!(
        (&soaks["step"], &soaks["soak"], &soaks["state"]),
        (&"soak".into(), &0.into(), &"open".into())
    );
    house.write("lost", "");
    until("the way back is shown to be lost", || eyes.state("m-1")["rollback_ready"] == "off");
    until("and people are told", || eyes.ends("alerts").unwrap().1.contains("way_back_lost"));
    std::fs::remove_file(house.path.join("lost")).unwrap();
    eyes.press("m-1", "rollback").await;
    until("it is shown to be rolled back", || eyes.state("m-1")["state"] == "rolled_back");
    assert_eq!(house.read("log"), "before\ngated\nback gated\nback before\n");
    let events = service.get("/api/v1/runs/m-1/events").body;
    assert!(events.contains("somebody via mqtt at broker"), "{events}");

    // A kill is its last will, a good end is said.
    service.kill();
    until("it is gone", || eyes.availability() == "offline");
    // Said while nobody listened, and kept by the broker.
    eyes.0.publish(command, "rollback", true).await;
    let again = serve(&house);
    until("it is back", || eyes.availability() == "online");
    until("what was said meanwhile is cleared", || !eyes.all().contains_key(command));
    assert!(eyes.config("m-1").is_object());
    // The newest run of a plan stays, so there is another one before the first can be pruned.
    begin(&again, "m");
    until("the next one is shown", || eyes.state("m-2")["state"] == "waiting");
    let (code, error) = again.terminate();
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("refused `rollback`") && error.contains("nobody knows when"), "{error}");
    until("it is gone", || eyes.availability() == "offline");

    // What is pruned is no device any more.
    assert_eq!(house.run(&["runs", "archive", "m-1"]).code, 0);
    assert_eq!(house.run(&["runs", "prune", "m-1", "-y"]).code, 0);
    let last = serve(&house);
    until("its device is gone", || eyes.config("m-1").is_null() && eyes.state("m-1").is_null());
    drop(last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_away_and_forgot_is_told_everything_again() {
    let Some(mut mosquitto) = Mosquitto::start() else { return };
    let house = House::new();
    house.plan("m", MOVE);
    notify(&house, &mosquitto, "buttons = false\n");
    // It need not be there at the start either.
    mosquitto.stop();
    let service = serve(&house);
    begin(&service, "m");
    until("it asks", || service.step("m-1", "gated") == "awaiting_approval");
    mosquitto.again();
    let eyes = Eyes::open(&mosquitto).await;
    until("it is shown to wait", || eyes.state("m-1")["state"] == "waiting");
    assert!(eyes.config("m-1")["components"]["approve"].is_null(), "it may only look");
    let began = eyes.0.came().len();
    mosquitto.stop();
    assert_eq!(service.post("/api/v1/runs/m-1/approve", &json!({ "step": "gated" })).status, 200);
    until("it soaks", || service.step("m-1", "soak") == "soaking");
    mosquitto.again();
    until("all of it is told again", || {
        let since: Vec<_> = eyes.0.came().split_off(began);
        let there = |end: &str| since.iter().any(|(topic, _, _)| topic.ends_with(end));
        there("/m-1/config") && there("/availability") && eyes.state("m-1")["step"] == "soak"
    });
    let (code, error) = service.terminate();
    assert_eq!(code, Some(0), "{error}");
    let said = error.matches("Home Assistant is not told of the runs").count();
    assert!((1..10).contains(&said), "{said} times: {error}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_touched() {
    let house = House::new();
    for (text, why) in [
        ("[homeassistant]\nurl = \"http://x\"\n", "must begin with `mqtt://`"),
        ("[homeassistant]\nurl = \"mqtt://x\"\ndiscovery_prefix = \"a/#\"\n", "wildcard"),
        ("[[mqtt]]\nurl = \"mqtt://me:hunter2@x\"\ntopic = \"t\"\n", "must not hold a user"),
        ("[[mqtt]]\nurl = \"mqtt://x\"\ntopic = \"t/+\"\n", "wildcard"),
        ("[[mqtt]]\nurl = \"mqtts://x\"\nca = \"nowhere.pem\"\ntopic = \"t\"\n", "nowhere.pem"),
        ("[[mqtt]]\nurl = \"mqtt://x\"\n", "makes no sense at line"),
    ] {
        house.write("notify.toml", text);
        house.shell("chmod 600 notify.toml");
        let said = house.run(&["serve", "--listen", "127.0.0.1:0", "--notify", "notify.toml"]);
        assert_eq!(said.code, 2, "{text}: {said:?}");
        assert!(said.err.contains(why) && !said.err.contains("hunter2"), "{text}: {}", said.err);
        assert!(!house.path.join("state").exists());
    }
}
