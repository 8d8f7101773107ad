//! Goal: `runner demo` takes the simulated house where it says, whatever happens on the way. Method: the real binary, judged by
//! what the house itself has on file, not by what `runner` says.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::lab;

/// Longer than any of this may take on a busy machine: a limit against hanging.
const LIMIT: Duration = Duration::from_secs(400);

struct Demo {
    folder: tempfile::TempDir,
    scenario: Option<&'static str>,
}

impl Demo {
    fn new(scenario: Option<&'static str>) -> Self {
        Self { folder: tempfile::Builder::new().prefix("d").tempdir().unwrap(), scenario }
    }

    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(["--state", "state", "demo"]).current_dir(self.folder.path()).env("NO_COLOR", "1");
        if let Some(scenario) = self.scenario {
            command.args(["--scenario", scenario]);
        }
        command.env("XDG_RUNTIME_DIR", self.folder.path().join("run")).stdin(Stdio::null());
        fs::create_dir_all(self.folder.path().join("run")).unwrap();
        let out =
            fs::File::options().create(true).append(true).open(self.folder.path().join("said")).unwrap();
        command.stdout(out.try_clone().unwrap()).stderr(out);
        command.spawn().unwrap()
    }

    /// To its rest. Gives the exit code.
    fn run(&self) -> i32 {
        let (mut child, began) = (self.start(), Instant::now());
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status
                    .code()
                    .unwrap_or_else(|| panic!("signal {:?}: {}", status.signal(), self.said()));
            }
            if began.elapsed() > LIMIT {
                child.kill().unwrap();
                panic!("it does not end: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap()
    }

    fn house(&self) -> PathBuf {
        let demo = self.folder.path().join("state/demo");
        self.scenario.map_or_else(|| demo.clone(), |name| demo.join("scenarios").join(name)).join("house")
    }

    fn file(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.house().join(name)).unwrap()).unwrap()
    }

    fn container(&self) -> Value {
        self.file("still-fawn/node.json")["containers"]["110"].clone()
    }

    /// Which Frigate Home Assistant's one entry names.
    fn home_assistant_uses(&self) -> &'static str {
        let entries = find(&self.house().join("homeassistant"), "core.config_entries");
        let entries: Value = serde_json::from_slice(&fs::read(entries).unwrap()).unwrap();
        let mut urls = entries["data"]["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["domain"] == "frigate");
        let url = urls.next().unwrap()["data"]["url"].as_str().unwrap().to_owned();
        assert!(urls.next().is_none(), "{entries}");
        let of =
            |name: &str| format!("http://127.0.0.1:{}", self.file(&format!("{name}/frigate.json"))["port"]);
        match url {
            url if url == of("frigate-old") => "old",
            url if url == of("frigate-new") => "new",
            other => panic!("Home Assistant uses {other}"),
        }
    }

    /// The journey is over: the new Frigate alone, the old container gone, its recordings kept.
    fn assert_moved(&self) {
        assert_eq!(self.home_assistant_uses(), "new", "{}", self.said());
        assert_eq!(self.container(), Value::Null, "{}", self.said());
        assert_eq!(self.file("frigate-new/frigate.json")["running"], true);
        assert!(self.house().join("still-fawn/recordings/yesterday.mp4").exists());
    }

    /// Nothing has moved: Home Assistant sees what it saw, and the old container runs as it did.
    fn assert_untouched(&self) {
        assert_eq!(self.home_assistant_uses(), "old", "{}", self.said());
        assert_eq!(self.container()["running"], true, "{}", self.said());
        assert_eq!(self.container()["config"]["onboot"], "1", "{}", self.said());
    }
}

fn find(folder: &Path, name: &str) -> PathBuf {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with(name) {
                return path;
            }
        }
    }
    panic!("there is no {name}");
}

#[test]
fn the_journey_ends_where_it_should_and_nobody_misses_a_camera() {
    let demo = Demo::new(None);
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
    // Home Assistant polls every second: less than two of its polls without a camera.
    for gap in demo.file("homeassistant/homeassistant.json")["gaps"].as_array().unwrap() {
        let (from, to) = (gap["from_ms"].as_u64().unwrap(), gap["to_ms"].as_u64());
        let down_anyway = gap["camera"] == "old_ip_camera";
        assert!(down_anyway || to.is_some_and(|to| to - from < 2_000), "{gap}");
    }
    // Again it has nothing to do.
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
}

#[test]
fn killed_at_any_instant_it_ends_as_undisturbed() {
    let kills = if lab::full() { 100 } else { 6 };
    let mut dice = lab::Dice::new("the journey");
    let demo = Demo::new(None);
    for _ in 0..kills {
        let mut child = demo.start();
        std::thread::sleep(Duration::from_millis(dice.below(9_000)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
}

#[test]
fn what_is_broken_before_is_seen_before_anything_is_touched() {
    for scenario in ["wrong-container", "login-missing", "detection-off"] {
        let demo = Demo::new(Some(scenario));
        assert_eq!(demo.run(), 3, "{scenario}: {}", demo.said());
        demo.assert_untouched();
    }
}

#[test]
fn an_old_one_that_is_started_by_hand_keeps_the_soak_from_passing() {
    let demo = Demo::new(Some("started-by-hand"));
    assert_eq!(demo.run(), 3, "{}", demo.said());
    assert_eq!(demo.home_assistant_uses(), "new");
    assert_eq!(demo.container()["running"], true, "nothing was deleted: {}", demo.said());
}

#[test]
fn a_way_back_that_rots_is_said_and_nothing_is_deleted() {
    let demo = Demo::new(Some("way-back-rots"));
    assert_eq!(demo.run(), 4, "{}", demo.said());
    assert_eq!(demo.container()["running"], false, "{}", demo.said());
}
