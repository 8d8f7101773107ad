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
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use runner::lab::house::{PASSWORD, TOKEN};
use serde_json::Value;

/// Longer than any of this may take on a busy machine: a limit against hanging.
const LIMIT: Duration = Duration::from_secs(400);

/// Those that it prints with `--keep`.
const SECRETS: [(&str, &str); 4] = [
    ("HA_TOKEN", TOKEN),
    ("FRIGATE_MQTT_PASSWORD", PASSWORD),
    ("FRIGATE_CAMERA_USER", "viewer"),
    ("FRIGATE_CAMERA_PASSWORD", "lab-password-of-the-cameras"),
];

pub struct Demo {
    folder: tempfile::TempDir,
    scenario: Option<&'static str>,
}

impl Demo {
    pub fn new(scenario: Option<&'static str>) -> Self {
        Self { folder: tempfile::Builder::new().prefix("d").tempdir().unwrap(), scenario }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("NO_COLOR", "1").stdin(Stdio::null());
        command.env("XDG_RUNTIME_DIR", self.folder.path().join("run"));
        fs::create_dir_all(self.folder.path().join("run")).unwrap();
        command
    }

    /// Starts it, the first time or again.
    pub fn start(&self) -> Child {
        self.start_with(&[])
    }

    /// Starts it with more options.
    pub fn start_with(&self, options: &[&str]) -> Child {
        let mut command = self.command(env!("CARGO_BIN_EXE_runner"));
        command.args(["--state", "state", "demo"]).args(options);
        if let Some(scenario) = self.scenario {
            command.args(["--scenario", scenario]);
        }
        let out =
            fs::File::options().create(true).append(true).open(self.folder.path().join("said")).unwrap();
        command.stdout(out.try_clone().unwrap()).stderr(out);
        command.spawn().unwrap()
    }

    /// To its rest. Gives the exit code, or 128 and the signal that ended it.
    pub fn run(&self) -> i32 {
        self.end(self.start())
    }

    /// Waits until it ends. Gives the exit code, or 128 and the signal that ended it.
    pub fn end(&self, mut child: Child) -> i32 {
        let mut ended = None;
        self.wait_for(&mut child, "it ends", |_, status| {
            ended = status;
            status.is_some()
        });
        let status = ended.unwrap();
        status.code().or(status.signal().map(|signal| 128 + signal)).unwrap()
    }

    /// Waits until it has said something.
    pub fn until_said(&self, child: &mut Child, words: &str) {
        self.wait_for(child, words, |demo, status| {
            assert!(status.is_none(), "it ended before it said `{words}`: {}", demo.said());
            demo.said().contains(words)
        });
    }

    fn wait_for(
        &self,
        child: &mut Child,
        what: &str,
        mut come: impl FnMut(&Self, Option<ExitStatus>) -> bool,
    ) {
        let began = Instant::now();
        loop {
            let status = child.try_wait().unwrap();
            if come(self, status) {
                return;
            }
            if began.elapsed() > LIMIT {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it does not come to `{what}`: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `runner` says of the journal, as one object.
    pub fn shown(&self, words: &[&str]) -> Value {
        serde_json::from_slice(&self.asked(words)).unwrap()
    }

    /// How a step of its run stands.
    pub fn step(&self, id: &str) -> Value {
        let steps = self.shown(&["status"])["steps"].clone();
        steps.as_array().unwrap().iter().find(|step| step["id"] == id).unwrap().clone()
    }

    /// The run's events.
    pub fn events(&self) -> Vec<Value> {
        super::lab::json_lines(&String::from_utf8(self.asked(&["events"])).unwrap())
    }

    fn asked(&self, words: &[&str]) -> Vec<u8> {
        let mut command = self.command(env!("CARGO_BIN_EXE_runner"));
        command.arg("--state").arg(self.state()).arg("--json").args(words).envs(SECRETS);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Types a line into a shell, as a person does who reads it off the screen.
    pub fn typed(&self, line: &str) -> Output {
        let folder = Path::new(env!("CARGO_BIN_EXE_runner")).parent().unwrap().display();
        self.command("sh").args(["-c", &format!("PATH='{folder}':$PATH; {line}")]).output().unwrap()
    }

    /// What `runner report` writes of the run.
    pub fn report(&self) -> String {
        let (state, out) = (self.state(), self.folder.path().join("report.md"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.arg("--state").arg(state).args(["report", "frigate", "--out"]).arg(&out);
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
        fs::read_to_string(out).unwrap()
    }

    /// All that it has said so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).unwrap()
    }

    fn own(&self) -> PathBuf {
        let demo = self.folder.path().join("state/demo");
        self.scenario.map_or_else(|| demo.clone(), |name| demo.join("scenarios").join(name))
    }

    pub fn house(&self) -> PathBuf {
        self.own().join("house")
    }

    /// The state folder of its run.
    pub fn state(&self) -> PathBuf {
        self.own().join("state")
    }

    /// Keeps a copy of the house as it is now.
    pub fn keep(&self) {
        copy(&self.house(), &self.folder.path().join("kept"));
    }

    /// Begins again, in the house that was kept: the same one, with the same names, ports and folder.
    pub fn again(&self) {
        fs::remove_dir_all(self.own()).unwrap();
        copy(&self.folder.path().join("kept"), &self.house());
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

/// Copies a folder, links and modes as they are.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
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
