//! A real browser over WebDriver (W3C, 2018): the few commands that the tests need, as JSON over HTTP.
//!
//! `fantoccini` brings `webdriver`, which is under the MPL, and `thirtyfour` crates under the Zlib licence: neither is
//! among the licences that may come in.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::until;
use crate::support::port::Port;

const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser and its driver, both ended when it is dropped.
pub struct Browser {
    driver: Child,
    port: Port,
    session: String,
    _profile: tempfile::TempDir,
}

/// A key that does something (WebDriver, section 17.4.2).
pub enum Key {
    Enter,
    Tab,
}

impl Browser {
    /// Starts one, without a window; nothing where there is none.
    pub fn start() -> Option<Self> {
        let port = Port::held();
        let profile = tempfile::Builder::new().prefix("browser").tempdir().unwrap();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={}", port.number()))
            .env("TMPDIR", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .ok()?;
        let mut browser = Self { driver, port, session: String::new(), _profile: profile };
        until("the driver answers", || TcpStream::connect(("127.0.0.1", browser.port.number())).is_ok());
        let folder = browser._profile.path().join("profile");
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ];
        let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", folder.display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.command("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().unwrap_or_else(|| panic!("{session}")).to_owned();
        Some(browser)
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port.number())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.port.number(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The driver keeps the connection, whatever it is asked: its length says where the answer ends.
        let mut stream = BufReader::new(stream);
        let mut length = None;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            let (name, value) = line.split_once(':').unwrap_or(("", ""));
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<u64>().ok();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut text = String::new();
        stream.take(length.unwrap()).read_to_string(&mut text).unwrap();
        let inside = text.as_str();
        let answer: Value = serde_json::from_str(inside).unwrap_or_else(|error| panic!("{error}: {text}"));
        answer["value"].clone()
    }

    #[track_caller]
    fn of(&self, method: &str, path: &str, body: &Value) -> Value {
        let value = self.command(method, &format!("/session/{}{path}", self.session), body);
        assert!(value.get("error").is_none_or(Value::is_null), "{path}: {value}");
        value
    }

    #[track_caller]
    pub fn size(&self, width: u32, height: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        let cdp = |cmd: &str, params: Value| {
            self.of("POST", "/goog/cdp/execute", &json!({ "cmd": cmd, "params": params }));
        };
        cdp("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        cdp("Emulation.setEmulatedMedia", features);
    }

    #[track_caller]
    pub fn go(&self, url: &str) {
        self.of("POST", "/url", &json!({ "url": url }));
    }

    /// What a script returns.
    #[track_caller]
    pub fn script(&self, script: &str) -> Value {
        self.of("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or("").to_owned()
    }

    /// Waits until the page says this, without anybody loading it again.
    #[track_caller]
    pub fn says(&self, text: &str) {
        let mut seen = String::new();
        let end = std::time::Instant::now() + Duration::from_secs(60);
        while !seen.contains(text) {
            assert!(std::time::Instant::now() < end, "the page never says {text:?}: {seen}");
            std::thread::sleep(Duration::from_millis(50));
            seen = self.text();
        }
    }

    #[track_caller]
    fn find(&self, css: &str) -> String {
        let found = self.of("POST", "/element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub fn click(&self, css: &str) {
        self.on(css, "click", &json!({}));
    }

    #[track_caller]
    pub fn write(&self, css: &str, text: &str) {
        self.on(css, "value", &json!({ "text": text }));
    }

    /// Does something with an element: with the one that is there when the page has just been renewed.
    #[track_caller]
    fn on(&self, css: &str, does: &str, body: &Value) {
        let mut done = Value::Null;
        until("the element stays", || {
            done = self.command(
                "POST",
                &format!("/session/{}/element/{}/{does}", self.session, self.find(css)),
                body,
            );
            done["error"] != "stale element reference"
        });
        assert!(done["error"].is_null(), "{css}: {done}");
    }

    /// Presses a key, where the focus is.
    #[track_caller]
    pub fn press(&self, key: Key) {
        let key = match key {
            Key::Enter => "\u{e007}",
            Key::Tab => "\u{e004}",
        };
        let strokes = [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        let keyboard = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.of("POST", "/actions", &keyboard);
    }

    /// Writes what is seen to a file.
    #[track_caller]
    pub fn picture(&self, path: &Path) {
        let shot = self.of("GET", "/screenshot", &Value::Null);
        std::fs::write(path, decoded(shot.as_str().unwrap())).unwrap();
    }

    /// What the page complained of: errors of scripts, and what the content security policy refused.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.of("POST", "/se/log", &json!({ "type": "browser" }));
        let each = log.as_array().into_iter().flatten();
        each.map(|line| line["message"].as_str().unwrap_or("").to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.command("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        // A test that failed has not said good-bye: the browser is of the driver's group.
        let group = rustix::process::Pid::from_child(&self.driver);
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        drop(self.driver.wait());
    }
}

/// RFC 4648 base64.
fn decoded(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for digit in text.bytes().filter_map(digit) {
        held = held << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    bytes
}
