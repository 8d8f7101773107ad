//! `runner demo` in a folder of its own, and what its simulated house has on file. Each test binary uses the part it needs.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries"
)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than any of this may take on a busy machine: a limit against hanging.
const LIMIT: Duration = Duration::from_secs(400);

pub struct Demo {
    folder: tempfile::TempDir,
    scenario: Option<&'static str>,
}

impl Demo {
    pub fn new(scenario: Option<&'static str>) -> Self {
        Self { folder: tempfile::Builder::new().prefix("d").tempdir().unwrap(), scenario }
    }

    /// Starts it, the first time or again.
    pub fn start(&self) -> Child {
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

    /// To its rest. Gives the exit code, or 128 and the signal that ended it.
    pub fn run(&self) -> i32 {
        let (mut child, began) = (self.start(), Instant::now());
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code().or(status.signal().map(|signal| 128 + signal)).unwrap();
            }
            if began.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it does not end: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap()
    }

    pub fn house(&self) -> PathBuf {
        let demo = self.folder.path().join("state/demo");
        self.scenario.map_or_else(|| demo.clone(), |name| demo.join("scenarios").join(name)).join("house")
    }

    /// What a part of the house has on file.
    pub fn file(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.house().join(name)).unwrap()).unwrap()
    }

    /// The old container; null when it is gone.
    pub fn container(&self) -> Value {
        self.file("still-fawn/node.json")["containers"]["110"].clone()
    }

    /// An object of the cluster, `deployments.apps/frigate/frigate`; null when it is not there.
    pub fn object(&self, key: &str) -> Value {
        self.file("kubernetes/state.json")["objects"][key].clone()
    }

    /// Home Assistant's storage file, as text.
    pub fn storage(&self) -> String {
        fs::read_to_string(find(&self.house().join("homeassistant"), "core.config_entries")).unwrap()
    }

    /// Home Assistant's entries, as they stand in its file.
    pub fn entries(&self) -> Vec<Value> {
        let all: Value = serde_json::from_str(&self.storage()).unwrap();
        all["data"]["entries"].as_array().unwrap().clone()
    }

    /// The address of one of both Frigates.
    pub fn url(&self, which: &str) -> String {
        format!("http://127.0.0.1:{}", self.file(&format!("frigate-{which}/frigate.json"))["port"])
    }

    /// Which Frigate Home Assistant's one entry names.
    pub fn home_assistant_uses(&self) -> &'static str {
        let entries = self.entries();
        let mut urls = entries.iter().filter(|entry| entry["domain"] == "frigate");
        let url = urls.next().unwrap()["data"]["url"].as_str().unwrap().to_owned();
        assert!(urls.next().is_none(), "{entries:?}");
        match url {
            url if url == self.url("old") => "old",
            url if url == self.url("new") => "new",
            other => panic!("Home Assistant uses {other}"),
        }
    }

    pub fn runs(&self, which: &str) -> bool {
        self.file(&format!("frigate-{which}/frigate.json"))["running"] == true
    }

    /// For how long Home Assistant was without each camera that works: from, to, why; an open end is the end of time.
    pub fn gaps(&self) -> Vec<(u64, u64, String)> {
        let gaps = self.file("homeassistant/homeassistant.json")["gaps"].clone();
        let gaps = gaps.as_array().unwrap().iter().filter(|gap| gap["camera"] != "old_ip_camera");
        let of = |gap: &Value| {
            let (from, to) = (gap["from_ms"].as_u64().unwrap(), gap["to_ms"].as_u64().unwrap_or(u64::MAX));
            (from, to, gap["why"].as_str().unwrap().to_owned())
        };
        gaps.map(of).collect()
    }

    /// The retained `frigate/available`.
    pub fn available(&self) -> String {
        let payload = self.file("mqtt/mqtt.json")["retained"]["frigate/available"]["payload"].clone();
        let bytes =
            payload.as_array().unwrap().iter().map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap());
        String::from_utf8(bytes.collect()).unwrap()
    }

    /// The journey is over: the new Frigate alone, the old container gone, its recordings kept.
    pub fn assert_moved(&self) {
        assert_eq!(self.home_assistant_uses(), "new", "{}", self.said());
        assert_eq!(self.container(), Value::Null, "{}", self.said());
        assert!(self.runs("new"));
        assert!(self.house().join("still-fawn/recordings/yesterday.mp4").exists());
    }

    /// Home Assistant sees what it saw, and the old container runs as it did.
    pub fn assert_as_before(&self) {
        assert_eq!(self.home_assistant_uses(), "old");
        assert_eq!(self.container()["running"], true);
        assert_eq!(self.container()["config"]["onboot"], "1");
        assert!(self.runs("old"));
    }

    /// Nothing was written anywhere, and no new Frigate was ever there.
    pub fn assert_untouched(&self) {
        self.assert_as_before();
        for file in ["still-fawn/node.json", "homeassistant/homeassistant.json", "kubernetes/state.json"] {
            assert_eq!(self.file(file)["writes"], 0, "{file}");
        }
        assert!(!self.runs("new"));
    }

    /// All is as before the run, but for what holds recordings.
    pub fn assert_brought_back(&self) {
        self.assert_as_before();
        assert!(!self.runs("new"));
        assert_eq!(self.object("deployments.apps/frigate/frigate"), Value::Null);
        assert_eq!(self.object("services./frigate/frigate"), Value::Null);
        assert_ne!(self.object("persistentvolumeclaims./frigate/frigate-media"), Value::Null);
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
