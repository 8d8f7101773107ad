//! Goal: the simulated Home Assistant answers as the real one did, and the action and the check understand the real one.
//! Method: every recorded exchange (tests/data/transcripts) is played to the simulated one, in order, and the answers are
//! compared: status, keys, types, and the words that mean something. And a server that says nothing but recorded answers
//! is put before the action and the check.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::homeassistant_support;
use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use homeassistant_support::{Frigate, TOKEN, quick};
use runner::lab::homeassistant::{HomeAssistant, Release};
use runner::saga::{FailureClass, Outcome, Verdict};
use serde_json::{Value, json};
use support::http::{Reply, Server};
use support::world::{World, acted, failed};

fn transcript(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/transcripts/{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn exchanges(name: &str) -> Vec<Value> {
    transcript(name)["exchanges"].as_array().unwrap().clone()
}

/// Words that must be the same; of other values the type.
const WORDS: &[&str] = &[
    "base",
    "default",
    "domain",
    "entity_id",
    "errors",
    "friendly_name",
    "handler",
    "icon",
    "message",
    "name",
    "reason",
    "required",
    "optional",
    "source",
    "state",
    "step_id",
    "supports_reconfigure",
    "title",
    "type",
    "version",
    "restored",
    "client_id",
    "camera_name",
    "device_class",
    "result",
    "require_restart",
];

/// How the answer differs from the recorded one, if it does.
fn differs(key: &str, recorded: &Value, seen: &Value) -> Option<String> {
    match (recorded, seen) {
        (Value::Object(recorded), Value::Object(seen)) => {
            // The long list of components is left out of some recordings.
            let keys = |all: &serde_json::Map<String, Value>| {
                all.keys().filter(|key| *key != "components").cloned().collect::<BTreeSet<_>>()
            };
            if keys(recorded) != keys(seen) {
                let (recorded, seen) = (keys(recorded), keys(seen));
                let (more, less): (Vec<_>, Vec<_>) =
                    (seen.difference(&recorded).collect(), recorded.difference(&seen).collect());
                return Some(format!("at `{key}`: {more:?} too many, {less:?} missing"));
            }
            let mut both = recorded.iter().filter(|(key, _)| *key != "components");
            both.find_map(|(key, value)| differs(key, value, &seen[key]))
        }
        // What is a list of names here depends on the house.
        (Value::Array(recorded), Value::Array(_))
            if recorded.first().is_some_and(Value::is_string) && key != "base" =>
        {
            None
        }
        (Value::Array(recorded), Value::Array(seen)) => match recorded.len() == seen.len() {
            true => recorded.iter().zip(seen).find_map(|(recorded, seen)| differs(key, recorded, seen)),
            false => Some(format!("at `{key}`: {} instead of {}", seen.len(), recorded.len())),
        },
        (recorded, seen) if WORDS.contains(&key) || key.is_empty() => {
            (recorded != seen).then(|| format!("at `{key}`: {seen} instead of {recorded}"))
        }
        (recorded, seen) => {
            let same = std::mem::discriminant(recorded) == std::mem::discriminant(seen);
            (!same).then(|| format!("at `{key}`: {seen} is of another type than {recorded}"))
        }
    }
}

/// One simulated Home Assistant with the servers that the recording had.
struct Stage {
    home: HomeAssistant,
    servers: BTreeMap<u16, Frigate>,
    /// What stands there instead of what was recorded.
    names: Mutex<Vec<(String, String)>>,
    played: Mutex<usize>,
    folder: tempfile::TempDir,
    _web: Server,
}

impl Stage {
    async fn start(release: Release, first: u16) -> Self {
        let servers: BTreeMap<u16, Frigate> =
            [15003, 15001, 15004, 15005].map(|port| (port, Frigate::start("frigate-k8s", &["front"]))).into();
        servers[&15004].says(|says| says.version = "0.11.1-abc".to_owned());
        let web = Server::start(|_| Reply::status(404));
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut names: Vec<(String, String)> =
            servers.iter().map(|(port, server)| (at(*port), at(server.port()))).collect();
        names.push((at(15009), at(9)));
        names.push((at(28490), at(web.port)));
        let folder = tempfile::tempdir().unwrap();
        let mut settings = quick(release, servers[&first].url());
        settings.down = Duration::from_millis(400);
        settings.starting = Duration::from_millis(1_500);
        let home = HomeAssistant::start(folder.path(), 0, settings).await.unwrap();
        Self { home, servers, names: Mutex::new(names), played: Mutex::new(0), folder, _web: web }
    }

    /// Waits until what the server has is in the registry of entities.
    async fn knows_its_entities(&self) {
        let (file, begun) = (self.folder.path().join("homeassistant.json"), Instant::now());
        let known = || {
            let stored: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            stored["registry"].as_object().is_some_and(|entities| !entities.is_empty())
        };
        while !known() {
            assert!(begun.elapsed() < Duration::from_secs(20), "no entity is ever registered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A recorded text, as it is here.
    fn here(&self, text: &str) -> String {
        let names = self.names.lock().unwrap();
        names.iter().fold(text.to_owned(), |text, (recorded, here)| text.replace(recorded, here))
    }

    fn there(&self, value: &Value) -> Value {
        serde_json::from_str(&self.here(&value.to_string())).unwrap()
    }

    /// Plays one exchange. What is looked at is looked at until it is so: the recorder waited, too.
    async fn play(&self, exchange: &Value) {
        *self.played.lock().unwrap() += 1;
        let (case, request) = (exchange["case"].as_str().unwrap(), &exchange["request"]);
        let method = request["method"].as_str().unwrap().to_owned();
        let path = self.here(request["path"].as_str().unwrap());
        let body = match &request["body"] {
            Value::Null => None,
            Value::String(raw) => Some(raw.clone()),
            body => Some(self.there(body).to_string()),
        };
        let token = match request["headers"].get("authorization") {
            Some(_) if case.contains("wrong token") => "another",
            Some(_) => TOKEN,
            None => "",
        };
        let recorded = &exchange["response"];
        let begun = Instant::now();
        loop {
            let url = format!("{}{path}", self.home.url());
            let (method, body) = (method.clone(), body.clone());
            let looks = method == "GET";
            let answer =
                tokio::task::spawn_blocking(move || homeassistant_support::ask(&method, &url, token, body));
            let wrong = match (answer.await.unwrap(), recorded) {
                (None, Value::Null) => None,
                (None, _) => Some("no answer".to_owned()),
                (Some((status, _)), Value::Null) => Some(format!("an answer, {status}")),
                (Some((status, _)), recorded) if json!(status) != recorded["status"] => {
                    Some(format!("{status} instead of {}", recorded["status"]))
                }
                (Some((_, seen)), recorded) => {
                    self.learn(&recorded["body"], &seen);
                    differs("", &self.there(&recorded["body"]), &seen)
                }
            };
            let Some(wrong) = wrong else { return };
            assert!(looks && begun.elapsed() < Duration::from_secs(10), "{case}: {wrong}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ids that are made anew.
    fn learn(&self, recorded: &Value, seen: &Value) {
        for pointer in ["/flow_id", "/result/entry_id"] {
            let text = |value: &Value| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
            if let (Some(recorded), Some(seen)) = (text(recorded), text(seen)) {
                self.names.lock().unwrap().push((recorded, seen));
            }
        }
    }

    async fn play_all(&self, name: &str, before: impl AsyncFn(usize, &str)) {
        let all = exchanges(name);
        for (number, exchange) in all.iter().enumerate() {
            before(number, exchange["case"].as_str().unwrap()).await;
            self.play(exchange).await;
        }
        assert_eq!(*self.played.lock().unwrap(), all.len(), "{name}: every exchange is used");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_one_says_how_it_stands() {
    let stage = Stage::start(Release::Reconfigures, 15003).await;
    stage
        .play_all("ha-status", async |_, case| {
            for payload in ["offline", "online"] {
                if case.ends_with(&format!("frigate/available = {payload}")) {
                    stage.home.available("frigate", payload).unwrap();
                }
            }
        })
        .await;
    // And it has the entities that the real one has, in the same states.
    let url = format!("{}/api/states", stage.home.url());
    let (_, states) =
        tokio::task::spawn_blocking(move || homeassistant_support::ask("GET", &url, TOKEN, None))
            .await
            .unwrap()
            .unwrap();
    let seen: BTreeMap<String, String> = states
        .as_array()
        .unwrap()
        .iter()
        .map(|state| {
            (state["entity_id"].as_str().unwrap().to_owned(), state["state"].as_str().unwrap().to_owned())
        })
        .filter(|(id, _)| id != "sun.sun")
        .collect();
    let recorded: BTreeMap<String, String> =
        serde_json::from_value::<Vec<(String, String)>>(transcript("ha-status")["frigate_entities"].clone())
            .unwrap()
            .into_iter()
            .collect();
    assert_eq!(seen, recorded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_one_reconfigures() {
    let stage = Stage::start(Release::Reconfigures, 15003).await;
    stage
        .play_all("ha-reconfigure", async |_, case| match case {
            "server died: the entry stays loaded" => stage.servers[&15005].says(|says| says.dead = true),
            "server is back: loaded without any action" => {
                stage.servers[&15005].says(|says| says.dead = false);
            }
            _ => {}
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_older_one_adds_a_second_entry() {
    let stage = Stage::start(Release::AddsSecond, 15001).await;
    stage.play_all("ha-2024.3.3", async |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_one_starts_without_entries_when_its_file_is_damaged() {
    let stage = Stage::start(Release::Reconfigures, 15003).await;
    let file = stage.home.storage_file();
    let whole = fs::read_to_string(&file).unwrap();
    stage
        .play_all("ha-storage-file", async |_, case| match case {
            // The entities of the registry are there before.
            "stop service" => stage.knows_its_entities().await,
            "truncated file: RUNNING" => {
                stage.home.core("stop").await;
                fs::write(&file, &whole[..whole.len() / 2]).unwrap();
                assert_eq!(stage.home.core("start").await.exit, 0);
            }
            "repaired file, dead url: RUNNING" => {
                stage.home.core("stop").await;
                // As the recording has it: the title is the one from before.
                let old = format!("\"http://{}\"", stage.here("127.0.0.1:15003"));
                fs::write(&file, whole.replace(&old, "\"http://127.0.0.1:9\"")).unwrap();
                stage.home.core("start").await;
            }
            _ => {}
        })
        .await;
    let beside: Vec<String> = fs::read_dir(stage.folder.path().join(".storage"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let recorded = transcript("ha-storage-file")["files_beside"].clone();
    assert_eq!(beside.len(), recorded.as_array().unwrap().len(), "{beside:?}");
    assert!(
        beside
            .iter()
            .any(|name| name.starts_with("core.config_entries.corrupt.2") && name.ends_with("+00:00"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_one_restarts() {
    let stage = Stage::start(Release::Reconfigures, 15003).await;
    let all = exchanges("ha-restart");
    stage
        .play(&json!({ "case": "it runs", "request": all[1]["request"], "response": all[1]["response"] }))
        .await;
    stage.play(&all[0]).await;
    // No answer, then not running, then running, and nothing else in between.
    let mut timeline: Vec<String> = Vec::new();
    let begun = Instant::now();
    while timeline.last().is_none_or(|last| last != "200 RUNNING") || timeline.len() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{timeline:?}");
        let url = format!("{}/api/config", stage.home.url());
        let answer =
            tokio::task::spawn_blocking(move || homeassistant_support::ask("GET", &url, TOKEN, None))
                .await
                .unwrap();
        let seen = answer.map_or_else(
            || "none".to_owned(),
            |(status, body)| format!("{status} {}", body["state"].as_str().unwrap_or_default()),
        );
        // Until it goes it still says that it runs.
        if !(timeline.is_empty() && seen == "200 RUNNING") && timeline.last() != Some(&seen) {
            timeline.push(seen);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let recorded: Vec<String> = transcript("ha-restart")["timeline_api_config"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            if row["detail"]["status"].is_null() {
                "none".to_owned()
            } else {
                row["answer"].as_str().unwrap().to_owned()
            }
        })
        .collect();
    assert_eq!(timeline, recorded);
    // By then its entry is loaded.
    let after = transcript("ha-restart")["timeline_entry_after_running"].clone();
    let states: Vec<&Value> = after.as_array().unwrap().iter().map(|row| &row["entry_state"]).collect();
    let url = format!("{}/api/config/config_entries/entry?domain=frigate", stage.home.url());
    let entries =
        tokio::task::spawn_blocking(move || homeassistant_support::ask("GET", &url, TOKEN, None)).await;
    let (_, entries) = entries.unwrap().unwrap();
    assert_eq!(states, [&entries[0]["state"]]);
    for exchange in &all[1..] {
        stage.play(exchange).await;
    }
}

#[test]
fn the_simulated_one_writes_its_file_as_the_real_one() {
    let recorded = transcript("ha-config-entries-files");
    let text = recorded["snapshots"][1]["text"].as_str().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let written = runtime.block_on(async {
        let stage = Stage::start(Release::Reconfigures, 15003).await;
        fs::read_to_string(stage.home.storage_file()).unwrap()
    });
    // Line by line the same form: the envelope, and an entry on each line with the same keys.
    let shape = |text: &str| -> Vec<String> {
        let keys = |line: &str| -> Option<Vec<String>> {
            let entry: Value = serde_json::from_str(line.trim().trim_end_matches(',')).ok()?;
            Some(entry.as_object()?.keys().cloned().collect())
        };
        text.lines()
            .map(|line| keys(line).map_or_else(|| line.to_owned(), |keys| keys.join(",")))
            .take(7)
            .collect()
    };
    assert_eq!(shape(&written), shape(text));
}

/// Given the file that was recorded before, the action leads it through each that was recorded after: there, back, and a
/// restart. Only times differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_goes_through_all_that_was_recorded() {
    let stage = Stage::start(Release::Reconfigures, 15003).await;
    let recorded = transcript("ha-config-entries-files");
    let snapshots: Vec<String> = recorded["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|snapshot| stage.here(snapshot["text"].as_str().unwrap()))
        .collect();
    let entries = |text: &str| {
        let mut file: Value = serde_json::from_str(text).unwrap();
        for entry in file["data"]["entries"].as_array_mut().unwrap() {
            entry["modified_at"] = Value::Null;
        }
        file
    };
    stage.home.core("stop").await;
    fs::write(stage.home.storage_file(), &snapshots[0]).unwrap();
    assert_eq!(stage.home.core("start").await.exit, 0);
    let world = World::new();
    let step = |name: &str, port: u16| {
        let at = stage.here(&format!("http://127.0.0.1:{port}"));
        let mut step = json!({ "name": name, "url": stage.home.url(), "token": TOKEN, "within": "15s" });
        if name == "homeassistant.repoint" {
            step["frigate_url"] = json!(at);
        }
        step
    };
    let steps = [
        step("homeassistant.repoint", 15001),
        step("homeassistant.repoint", 15003),
        step("homeassistant.restart", 0),
    ];
    assert_eq!(snapshots.len(), steps.len() + 1, "every snapshot is used");
    for (attempt, (step, snapshot)) in (1..).zip(steps.into_iter().zip(&snapshots[1..])) {
        acted(world.actions.act(world.call("s", attempt, step)).await);
        let (wanted, begun) = (entries(snapshot), Instant::now());
        // It is written a little after it is changed.
        loop {
            let text = fs::read_to_string(stage.home.storage_file()).unwrap();
            if entries(&text) == wanted {
                assert_eq!(text.lines().count(), snapshot.lines().count(), "an entry is a line");
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{attempt}: {text}\n{snapshot}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A Home Assistant that says nothing but what was recorded: to each request the next of its answers, the last for ever.
fn recorded(script: Vec<(&'static str, String, Vec<Value>)>) -> Server {
    let script: Mutex<Vec<(&str, String, Vec<Value>)>> = Mutex::new(script);
    Server::start(move |asked| {
        let mut script = script.lock().unwrap();
        let Some((_, _, answers)) =
            script.iter_mut().find(|(method, path, _)| *method == asked.method && *path == asked.target)
        else {
            return Reply::status(404);
        };
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        if answer.is_null() {
            return Reply::Drop;
        }
        let body = match &answer["body"] {
            Value::String(text) => text.clone(),
            body => body.to_string(),
        };
        Reply::Say(u16::try_from(answer["status"].as_u64().unwrap()).unwrap(), Vec::new(), body.into_bytes())
    })
}

/// What the action makes of each recorded end of a flow and each recorded state of the entry after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_action_understands_each_recorded_answer() {
    let (all, running) = (exchanges("ha-reconfigure"), exchanges("ha-restart")[1]["response"].clone());
    let older = exchanges("ha-2024.3.3");
    let case = |part: &str| {
        let found = all.iter().find(|exchange| exchange["case"].as_str().unwrap().starts_with(part));
        found.unwrap_or_else(|| panic!("no case `{part}`"))["response"].clone()
    };
    let (list, start) = (case("entries: loaded"), case("start: form"));
    let flow = start["body"]["flow_id"].as_str().unwrap().to_owned();
    let created = older
        .iter()
        .find(|exchange| exchange["response"]["body"]["type"] == "create_entry")
        .unwrap()["response"]
        .clone();
    let second = created["body"]["result"]["entry_id"].as_str().unwrap().to_owned();
    let removed =
        older.iter().find(|exchange| exchange["case"] == "remove the second entry").unwrap()["response"]
            .clone();
    let unknown = case("unknown entry id: 500");
    for (what, started, sent, after, to, expected) in [
        ("good", &start, case("good url"), case("entry after: new title"), "15001", Ok(())),
        (
            "dead",
            &start,
            case("dead url"),
            list.clone(),
            "15009",
            Err((FailureClass::Transient, "itself cannot reach")),
        ),
        (
            "invalid",
            &start,
            case("invalid url"),
            list.clone(),
            "15009",
            Err((FailureClass::Permanent, "invalid_url")),
        ),
        (
            "no scheme",
            &start,
            case("url without scheme"),
            list.clone(),
            "15009",
            Err((FailureClass::Permanent, "invalid_url")),
        ),
        (
            "no Frigate",
            &start,
            case("url of a web server"),
            list.clone(),
            "28490",
            Err((FailureClass::Transient, "itself cannot reach")),
        ),
        (
            "a field",
            &start,
            case("unknown field"),
            list.clone(),
            "15001",
            Err((FailureClass::Permanent, "400")),
        ),
        (
            "gone",
            &start,
            case("second call on the finished"),
            list.clone(),
            "15001",
            Err((FailureClass::Transient, "Invalid flow")),
        ),
        (
            "too old",
            &start,
            case("too old server"),
            case("entry: setup_error"),
            "15004",
            Err((FailureClass::Permanent, "`setup_error`")),
        ),
        (
            "dies",
            &start,
            case("repoint to it"),
            case("entry: setup_retry"),
            "15005",
            Err((FailureClass::Transient, "`setup_retry`")),
        ),
        ("unknown", &unknown, case("good url"), list.clone(), "15001", Err((FailureClass::Transient, "500"))),
        (
            "second",
            &start,
            created.clone(),
            list.clone(),
            "15001",
            Err((FailureClass::Permanent, "it was removed again")),
        ),
    ] {
        let base = "/api/config/config_entries";
        // Looked at for the entry, for the compare-and-set, and then for what came of it.
        let lists = vec![list.clone(), list.clone(), after];
        let server = recorded(vec![
            ("GET", "/api/config".to_owned(), vec![running.clone()]),
            ("GET", format!("{base}/entry"), lists),
            ("POST", format!("{base}/flow"), vec![started.clone()]),
            ("POST", format!("{base}/flow/{flow}"), vec![sent]),
            ("DELETE", format!("{base}/flow/{flow}"), vec![case("delete the flow")]),
            ("DELETE", format!("{base}/entry/{second}"), vec![removed.clone()]),
        ]);
        let world = World::new();
        let step = json!({ "name": "homeassistant.repoint", "url": server.url(""), "token": TOKEN, "within": "1s",
            "frigate_url": format!("http://127.0.0.1:{to}"), "same_cameras": false });
        let outcome = world.actions.act(world.call("a", 1, step)).await;
        match expected {
            Ok(()) => drop(acted(outcome)),
            Err((class, words)) => {
                let (seen, message, _) = failed(outcome);
                assert!(message.contains(words), "{what}: {message}");
                assert_eq!(seen, class, "{what}: {message}");
            }
        }
        // All of its data is sent again, and nothing that the form does not ask for.
        let asked = server.asked();
        if let Some(sent) = asked.iter().find(|asked| asked.target.ends_with(&flow) && asked.method == "POST")
        {
            let sent: Value = serde_json::from_str(&sent.body).unwrap();
            let keys: Vec<&String> = sent.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["password", "url", "username", "validate_ssl"], "{what}");
        }
        assert!(asked.iter().all(|asked| asked.header("authorization") == Some(&format!("Bearer {TOKEN}"))));
    }
    // Without `supports_reconfigure` nothing is sent at all.
    let entries = older[1]["response"].clone();
    let server = recorded(vec![
        ("GET", "/api/config".to_owned(), vec![older[0]["response"].clone()]),
        ("GET", "/api/config/config_entries/entry".to_owned(), vec![entries]),
    ]);
    let world = World::new();
    let step = json!({ "name": "homeassistant.repoint", "url": server.url(""), "token": TOKEN,
        "frigate_url": "http://127.0.0.1:15003", "same_cameras": false });
    let outcome = world.actions.act(world.call("a", 1, step)).await;
    assert!(matches!(outcome, Outcome::Failed { class: FailureClass::Permanent, .. }), "{outcome:?}");
    assert!(server.asked().iter().all(|asked| asked.method == "GET"));
}

/// What the check makes of each recorded state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_understands_each_recorded_answer() {
    let running = exchanges("ha-restart")[1]["response"].clone();
    let mut looked = 0;
    for name in ["ha-status", "ha-reconfigure", "ha-storage-file"] {
        for exchange in exchanges(name) {
            let path = exchange["request"]["path"].as_str().unwrap();
            let Some(entity) = path.strip_prefix("/api/states/") else { continue };
            let server = recorded(vec![
                ("GET", "/api/config".to_owned(), vec![running.clone()]),
                ("GET", path.to_owned(), vec![exchange["response"].clone()]),
            ]);
            let world = World::new();
            let look = world.look(
                json!({ "name": "homeassistant", "url": server.url(""), "token": TOKEN, "entity": entity }),
            );
            let answer = world.checks.look(look).await;
            let usable = exchange["response"]["status"] == 200
                && exchange["response"]["body"]["state"] != "unavailable";
            let expected = if usable { Verdict::Holds } else { Verdict::Absent };
            assert_eq!(answer.verdict, expected, "{}: {answer:?}", exchange["case"]);
            looked += 1;
        }
    }
    assert!(looked > 10, "{looked}");
    let denied =
        exchanges("ha-status").into_iter().find(|exchange| exchange["response"]["status"] == 401).unwrap();
    let server = recorded(vec![("GET", "/api/config".to_owned(), vec![denied["response"].clone()])]);
    let world = World::new();
    let look = world.look(json!({ "name": "homeassistant", "url": server.url(""), "token": TOKEN }));
    assert_eq!(world.checks.look(look).await.verdict, Verdict::Unknown);
}
