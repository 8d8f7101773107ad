//! Goal: Home Assistant Core itself does what the simulated one is built on: what a restart looks like from outside, that an
//! edit while it runs is lost when anything is saved, and that a damaged storage file costs every entry. Method: Core 2024.3.3
//! from the package index in an environment of its own outside the checkout, onboarded and with a token beforehand, without
//! the Frigate integration; the check and the restart are ours. Slow: `RUNNER_FULL=1`, and only where it can be installed.
//! `RUNNER_HOMEASSISTANT` names an environment that has it already.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runner::saga::Verdict;
use serde_json::{Value, json};
use support::port::Port;
use support::world::{World, acted};

/// Where Core is installed, or why nowhere.
fn environment() -> Option<PathBuf> {
    if std::env::var_os("RUNNER_FULL").is_none() {
        support::skip::say("Home Assistant itself: RUNNER_FULL=1 tries it");
        return None;
    }
    if let Some(given) = std::env::var_os("RUNNER_HOMEASSISTANT") {
        return Some(PathBuf::from(given));
    }
    let cache = std::env::temp_dir().join("runner-homeassistant-2024.3.3");
    if cache.join("bin/hass").exists() {
        return Some(cache);
    }
    let installed =
        Command::new("python3.11").args(["-m", "venv"]).arg(&cache).status().is_ok_and(|s| s.success())
            && Command::new(cache.join("bin/pip"))
                .args(["install", "-q", "homeassistant==2024.3.3", "josepy<2"])
                .status()
                .is_ok_and(|status| status.success());
    if !installed {
        support::skip::say(
            "Home Assistant 2024.3.3 cannot be installed here: it takes Python 3.11 and a package index",
        );
        return None;
    }
    Some(cache)
}

/// One Home Assistant that runs, with its token.
struct Core {
    hass: PathBuf,
    config: tempfile::TempDir,
    child: Child,
    port: Port,
    token: String,
}

fn start(hass: &Path, config: &Path) -> Child {
    Command::new(hass)
        .arg("-c")
        .arg(config)
        .env("HOME", config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The token, signed with the standard library of the Python that comes with it.
fn sign(environment: &Path) -> String {
    let script = "import jwt,sys;print(jwt.encode({'iss':'f'*32,'iat':1700000000,'exp':4100000000},'k'*64,algorithm='HS256'))";
    let output = Command::new(environment.join("bin/python")).args(["-c", script]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Core {
    fn begin(environment: &Path) -> Self {
        let config = tempfile::Builder::new().prefix("hass").tempdir().unwrap();
        let storage = config.path().join(".storage");
        fs::create_dir(&storage).unwrap();
        let port = Port::held();
        fs::write(
            config.path().join("configuration.yaml"),
            format!("http:\n  server_host: 127.0.0.1\n  server_port: {}\napi:\nconfig:\nlogger:\n  default: error\n",
                port.number()),
        )
        .unwrap();
        let store = |key: &str, version: u32, minor: u32, data: Value| {
            let file = json!({ "version": version, "minor_version": minor, "key": key, "data": data });
            fs::write(storage.join(key), file.to_string()).unwrap();
        };
        store("onboarding", 4, 1, json!({ "done": ["user", "core_config", "analytics", "integration"] }));
        store(
            "auth",
            1,
            1,
            json!({
                "users": [{ "id": "u", "group_ids": ["system-admin"], "is_owner": true, "is_active": true, "name": "owner",
                    "system_generated": false, "local_only": false }],
                "groups": [{ "id": "system-admin", "name": "Administrators" }, { "id": "system-users", "name": "Users" },
                    { "id": "system-read-only", "name": "Read Only" }],
                "credentials": [],
                "refresh_tokens": [{ "id": "f".repeat(32), "user_id": "u", "client_id": null, "client_name": "runner",
                    "client_icon": null, "token_type": "long_lived_access_token",
                    "created_at": "2023-11-14T22:13:20+00:00", "access_token_expiration": 2_400_000_000.0,
                    "token": "t".repeat(64), "jwt_key": "k".repeat(64), "last_used_at": null, "last_used_ip": null,
                    "credential_id": null, "version": "2024.3.3" }],
            }),
        );
        let entry = |id: &str, title: &str| {
            json!({ "entry_id": id, "version": 1, "minor_version": 1, "domain": "sun", "title": title, "data": {},
                "options": {}, "pref_disable_new_entities": false, "pref_disable_polling": false, "source": "user",
                "unique_id": null, "disabled_by": null })
        };
        store("core.config_entries", 1, 1, json!({ "entries": [entry("s", "Sun")] }));
        let hass = environment.join("bin/hass");
        let child = start(&hass, config.path());
        let core = Self { hass, config, child, port, token: sign(environment) };
        core.until("it runs", || core.look(json!({})).0 == Verdict::Holds);
        core
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }

    fn file(&self) -> PathBuf {
        self.config.path().join(".storage/core.config_entries")
    }

    fn look(&self, fields: Value) -> (Verdict, String) {
        let world = World::new();
        let mut check =
            json!({ "name": "homeassistant", "url": self.url(), "token": self.token, "domain": "sun" });
        check.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let answer = runtime.block_on(async { world.checks.look(world.look(check)).await });
        (answer.verdict, answer.reason)
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(180), "never: {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends it in good order, and waits.
    fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    fn start(&mut self) {
        self.child = start(&self.hass, self.config.path());
        self.until("it runs again", || self.look(json!({})).0 == Verdict::Holds);
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn entries_restart_and_the_storage_file_are_as_the_simulated_one_has_them() {
    let Some(environment) = environment() else { return };
    let mut core = Core::begin(&environment);
    assert_eq!(core.look(json!({ "count": 1, "entry": "Sun" })).0, Verdict::Holds);
    let (verdict, reason) = core.look(json!({ "token": "another" }));
    assert_eq!((verdict, reason.contains("401")), (Verdict::Unknown, true), "{reason}");
    assert_eq!(core.look(json!({ "entity": "sun.nothing" })).0, Verdict::Absent);

    // Edited while it is stopped: it survives, and it is read.
    core.stop();
    let text = fs::read_to_string(core.file()).unwrap();
    assert!(text.contains("\"Sun\""), "{text}");
    fs::write(core.file(), text.replace("\"Sun\"", "\"Sonne ✨\"")).unwrap();
    core.start();
    assert_eq!(core.look(json!({ "count": 1, "entry": "Sonne ✨" })).0, Verdict::Holds);

    // Edited while it runs: not read.
    let text = fs::read_to_string(core.file()).unwrap();
    let edited = text.replace("Sonne ✨", "Mond").replace("Sonne \\u2728", "Mond");
    assert_ne!(edited, text);
    fs::write(core.file(), &edited).unwrap();
    assert_eq!(core.look(json!({ "entry": "Sonne ✨" })).0, Verdict::Holds);
    fs::write(core.file(), &text).unwrap();

    // Truncated: it runs, with no entry, and the file is put aside.
    core.stop();
    fs::write(core.file(), &text[..text.len() / 2]).unwrap();
    core.start();
    let (verdict, reason) = core.look(json!({ "entry": "Sonne ✨" }));
    assert_eq!(verdict, Verdict::Absent, "{reason}");
    let aside = fs::read_dir(core.config.path().join(".storage"))
        .unwrap()
        .filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("core.config_entries.corrupt.")
        })
        .count();
    assert_eq!(aside, 1);
}

/// The restart of Core itself ends its process with 100, and whoever watches over it starts it again: as the supervisor does.
#[test]
fn a_restart_is_seen_to_go_and_to_come_back() {
    let Some(environment) = environment() else { return };
    let mut core = Core::begin(&environment);
    let (url, token) = (core.url(), core.token.clone());
    let acting = std::thread::spawn(move || {
        let world = World::new();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut call =
            world.call("r", 1, json!({ "name": "homeassistant.restart", "url": url, "token": token }));
        call.timeout = Duration::from_secs(170);
        runtime.block_on(async { acted(world.actions.act(call).await) })
    });
    let ended = core.child.wait().unwrap();
    assert_eq!(ended.code(), Some(100), "{ended:?}");
    core.child = start(&core.hass, core.config.path());
    let (outputs, _) = acting.join().unwrap();
    assert_eq!(outputs["version"], "2024.3.3");
}
