//! What a simulated house has on file, and whether two houses are alike. Each test binary uses the part it needs.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use regex::Regex;
use runner::lab::house::House;
use serde_json::{Value, json};

/// Everything that a house has on file, by what it is called there, without what changes by itself: times, counters, revisions.
pub fn on_file(house: &Path) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut open = vec![house.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(house).unwrap().to_str().unwrap().to_owned();
            // What was tried on a host is remembered there, for whoever settles it.
            if name == "clock.json" || name.ends_with(".lock") || name.contains("/ssh/home/.cache/runner/") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            match name.strip_suffix(".json").or(name.strip_suffix("core.config_entries")) {
                Some(_) => normalized(&name, serde_json::from_slice(&bytes).unwrap(), &mut all),
                None => drop(all.insert(name, Value::from(String::from_utf8_lossy(&bytes)))),
            }
        }
    }
    all
}

fn normalized(name: &str, mut value: Value, all: &mut BTreeMap<String, Value>) {
    let forget = |value: &mut Value, keys: &[&str]| {
        keys.iter().for_each(|key| drop(value.as_object_mut().unwrap().remove(*key)));
    };
    match name {
        "still-fawn/node.json" | "chief-horse/node.json" => {
            for archive in value["archives"].as_array().unwrap() {
                all.insert(format!("archive {}", archive["volid"].as_str().unwrap()), archive.clone());
            }
            forget(&mut value, &["archives", "writes"]);
            for machine in value["machines"].as_object_mut().unwrap().values_mut() {
                forget(machine, &["next_pid"]);
            }
        }
        "homeassistant/homeassistant.json" => forget(&mut value, &["writes", "gaps"]),
        "homeassistant/.storage/core.config_entries" => {
            for entry in value["data"]["entries"].as_array_mut().unwrap() {
                forget(entry, &["modified_at"]);
            }
        }
        "mqtt/mqtt.json" => forget(&mut value, &["written"]),
        "frigate-old/frigate.json" => forget(&mut value, &["started", "frozen_at", "writes"]),
        // Its image is not the house's; whether it runs is.
        "frigate-new/frigate.json" => value = json!(value["running"]),
        "kubernetes/state.json" => {
            for (key, object) in value["objects"].as_object().unwrap() {
                if key.starts_with("events./") {
                    continue;
                }
                let mut object = object.clone();
                forget(&mut object["metadata"], &["resourceVersion", "managedFields"]);
                if key.starts_with("nodes./") {
                    forget(&mut object, &["status"]);
                }
                all.insert(format!("object {key}"), object);
            }
            value = json!([value["users"], value["rules"], value["faults"], value["gone"], value["gpu"]]);
        }
        _ => {}
    }
    all.insert(name.to_owned(), value);
}

/// What may be left behind: the archive, the claims with their volumes and namespace, and the recordings.
pub fn is_kept_data(name: &str) -> bool {
    name.starts_with("archive ")
        || name.starts_with("volumes/") && name.ends_with(".mp4")
        || name == "object namespaces.//frigate"
        || name.starts_with("object persistentvolumeclaims./frigate/")
        || name.starts_with("object persistentvolumes./")
}

/// What differs from the start, kept data aside.
pub fn differences(start: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = start.keys().chain(now.keys()).collect();
    let differ = names.into_iter().filter(|name| start.get(*name) != now.get(*name));
    let told = differ
        .filter(|name| start.contains_key(*name) || !is_kept_data(name))
        .map(|name| format!("{name}\n  was {}\n  is  {}", said(start.get(name)), said(now.get(name))));
    told.collect()
}

fn said(value: Option<&Value>) -> String {
    value.map_or_else(|| "not there".to_owned(), |value| value.to_string().chars().take(4_000).collect())
}

/// Opens a house, waits until it does what it does, and ends it again.
pub fn settled(folder: &Path) {
    // With its runtime all of it is gone.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let house = House::open(folder, Path::new(env!("CARGO_BIN_EXE_runner"))).await.unwrap();
        at_rest(&house).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(10));
}

pub async fn at_rest(house: &House) {
    let since = Instant::now();
    let rests = || {
        let deployed = house.cluster.object("deployments", "apps", "frigate", "frigate").is_some();
        let file = fs::read_to_string(house.folder().join("homeassistant/homeassistant.json")).unwrap();
        let known: Value = serde_json::from_str(&file).unwrap();
        let heard = known["available"]["frigate"] == "online";
        let cameras = known["registry"].as_object().is_some_and(|all| !all.is_empty());
        let topics = house.broker.retained().len() > 2 * house.blueprint.cameras.len();
        // A little after its start Home Assistant writes down an entry of its own.
        let written = fs::read_to_string(house.home.storage_file()).unwrap().contains("\"Backup\"");
        written
            && house.new.is_running() == deployed
            && (heard && cameras && topics || !house.old.is_running())
    };
    // What Home Assistant learns of the cameras comes piece by piece: nothing new at so many looks is all there is.
    let (mut was, mut same) = (None, 0);
    while same < 8 {
        assert!(since.elapsed() < Duration::from_secs(60), "the house does not come to rest");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let known =
            rests().then(|| fs::read(house.folder().join("homeassistant/homeassistant.json")).unwrap());
        same = if known.is_some() && known == was { same + 1 } else { 0 };
        was = known;
    }
}

/// What two journeys from one start have to leave alike, line by line: what the house made up (names, numbers, times) is taken
/// out of it, and of recordings there is only whether there are some. What a guest's agent keeps of a command until somebody has
/// asked for its end is left out: whoever is killed between the two asks no more.
pub fn without_what_is_made_up(all: &BTreeMap<String, Value>) -> Vec<String> {
    let recorded = |name: &str| name.starts_with("volumes/") && name.ends_with(".mp4");
    let unasked = |name: &str| name.contains("/guests/") && name.contains("/exec/");
    let mut made_up: Vec<(Regex, String)> = [
        (r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", "UID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\d{4}_\d\d_\d\d-\d\d_\d\d_\d\d", "TIME"),
        (r"10\.42\.\d+\.\d+", "ADDRESS"),
        (r"containerd://[0-9a-f]{64}", "CONTAINER"),
        (r#""time":\d+"#, r#""time":0"#),
        (r#""nodePort":\d+"#, r#""nodePort":0"#),
        (r#""clusterIPs?":("[^"]*"|\["[^"]*"\])"#, r#""clusterIP":0"#),
    ]
    .map(|(what, instead)| (Regex::new(what).unwrap(), instead.to_owned()))
    .into();
    for object in all.values() {
        if let (Some(name), Some(from)) =
            (object["metadata"]["name"].as_str(), object["metadata"]["generateName"].as_str())
        {
            made_up.push((Regex::new(&regex::escape(name)).unwrap(), format!("{from}NAME")));
        }
    }
    let mut lines: Vec<String> = all
        .iter()
        .filter(|(name, _)| !recorded(name) && !unasked(name))
        .map(|(name, value)| {
            let line = format!("{name} {value}");
            made_up.iter().fold(line, |line, (what, instead)| what.replace_all(&line, instead).into_owned())
        })
        .collect();
    lines.push(format!("recordings: {}", all.keys().any(|name| recorded(name))));
    lines.sort();
    lines
}
