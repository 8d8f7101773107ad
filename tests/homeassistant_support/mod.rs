//! The simulated Home Assistant between two small Frigate servers, and the calls that move it from one to the other.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "shared by several test binaries"
)]

pub mod estate;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runner::lab::homeassistant::{HomeAssistant, Release, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::http::{Asked, Reply, Server};
use super::support::world::World;

pub const TOKEN: &str = "the-token-of-the-owner";

/// What a Frigate server says.
#[derive(Debug, Clone)]
pub struct Says {
    pub version: String,
    pub client_id: String,
    /// Name and frames a second.
    pub cameras: Vec<(String, f64)>,
    /// Does not answer.
    pub dead: bool,
}

/// A small Frigate server.
pub struct Frigate {
    server: Server,
    says: Arc<Mutex<Says>>,
}

impl Frigate {
    pub fn start(client_id: &str, cameras: &[&str]) -> Self {
        let (says, handler) = Self::frigate(client_id, cameras);
        Self { server: Server::start(handler), says }
    }

    /// With a certificate that it made itself.
    pub fn start_tls(client_id: &str, cameras: &[&str]) -> Self {
        let (says, handler) = Self::frigate(client_id, cameras);
        Self { server: Server::start_tls(handler).0, says }
    }

    fn frigate(
        client_id: &str,
        cameras: &[&str],
    ) -> (Arc<Mutex<Says>>, impl Fn(&Asked) -> Reply + Send + Sync + 'static) {
        let says = Arc::new(Mutex::new(Says {
            version: "0.16.0-c2f8de9".to_owned(),
            client_id: client_id.to_owned(),
            cameras: cameras.iter().map(|name| ((*name).to_owned(), 5.0)).collect(),
            dead: false,
        }));
        let shared = Arc::clone(&says);
        let handler = move |asked: &Asked| {
            let says = shared.lock().unwrap().clone();
            if says.dead {
                return Reply::Drop;
            }
            let map = |make: &dyn Fn(f64) -> Value| -> Value {
                says.cameras
                    .iter()
                    .map(|(name, fps)| (name.clone(), make(*fps)))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            };
            let body = match asked.target.as_str() {
                "/api/login" => {
                    return Reply::Say(200, vec!["set-cookie: frigate_token=abc; Path=/".to_owned()], b"{}".to_vec());
                }
                "/api/version" => says.version.clone(),
                "/api/config" => json!({
                    "mqtt": { "client_id": says.client_id, "topic_prefix": "frigate" },
                    "model": { "width": 320, "height": 320 },
                    "cameras": map(&|_| json!({ "objects": { "track": ["person"] }, "motion": { "contour_area": 10 } })),
                })
                .to_string(),
                "/api/stats" => json!({ "cameras": map(&|fps| json!({ "camera_fps": fps })), "service": {} }).to_string(),
                _ => return Reply::status(404),
            };
            Reply::ok(body)
        };
        (says, handler)
    }

    pub fn url(&self) -> String {
        self.server.url("")
    }

    pub fn title(&self) -> String {
        format!("127.0.0.1:{}", self.server.port)
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    pub fn says(&self, work: impl FnOnce(&mut Says)) {
        work(&mut self.says.lock().unwrap());
    }

    /// How often somebody asked.
    pub fn asked(&self) -> usize {
        self.server.asked().len()
    }
}

/// One Home Assistant that uses the old server, and a new one beside it.
pub struct House {
    pub world: World,
    pub old: Frigate,
    pub new: Frigate,
    pub home: HomeAssistant,
    pub folder: TempDir,
}

pub const CAMERAS: [&str; 2] = ["front", "reolink_doorbell"];

pub fn quick(release: Release, frigate_url: String) -> Settings {
    let ms = Duration::from_millis;
    Settings {
        release,
        token: TOKEN.to_owned(),
        frigate_url,
        poll: ms(50),
        save_delay: ms(150),
        drops: ms(150),
        down: ms(250),
        starting: ms(100),
        ..Settings::default()
    }
}

impl House {
    pub async fn start(release: Release) -> Self {
        Self::with(release, |_| {}).await
    }

    pub async fn with(release: Release, change: impl FnOnce(&mut Settings)) -> Self {
        let (old, new) = (Frigate::start("frigate", &CAMERAS), Frigate::start("frigate-k8s", &CAMERAS));
        let folder = tempfile::Builder::new().prefix("ha").tempdir().unwrap();
        let mut settings = quick(release, old.url());
        change(&mut settings);
        let home = HomeAssistant::start(folder.path(), 0, settings).await.unwrap();
        let mut world = World::new();
        world.secrets = vec![TOKEN.to_owned()];
        let house = Self { world, old, new, home, folder };
        house
            .until("it runs with its entry loaded", async |house| house.entry_state().await == "loaded")
            .await;
        house
    }

    /// Kills it and starts it again on its folder.
    pub async fn reborn(self) -> Self {
        let Self { world, old, new, home, folder } = self;
        home.stop().await;
        let home = HomeAssistant::start(folder.path(), 0, Settings::default()).await.unwrap();
        Self { world, old, new, home, folder }
    }

    /// Asks its API, as a person would.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.home.url());
        tokio::task::spawn_blocking(move || ask("GET", &url, TOKEN, None))
            .await
            .unwrap()
            .unwrap_or((0, Value::Null))
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.home.url());
        tokio::task::spawn_blocking(move || ask("POST", &url, TOKEN, Some(body.to_string())))
            .await
            .unwrap()
            .unwrap_or((0, Value::Null))
    }

    pub async fn entries(&self) -> Vec<Value> {
        let (_, entries) = self.get("/api/config/config_entries/entry?domain=frigate").await;
        entries.as_array().cloned().unwrap_or_default()
    }

    pub async fn entry_state(&self) -> String {
        let (_, config) = self.get("/api/config").await;
        if config["state"] != "RUNNING" {
            return config["state"].as_str().unwrap_or("down").to_owned();
        }
        let entries = self.entries().await;
        entries.first().and_then(|entry| entry["state"].as_str()).unwrap_or("gone").to_owned()
    }

    pub async fn title(&self) -> String {
        self.entries().await.first().and_then(|entry| entry["title"].as_str()).unwrap_or_default().to_owned()
    }

    /// The entry as it stands in the file.
    pub fn in_file(&self) -> Value {
        let file: Value = serde_json::from_slice(&std::fs::read(self.home.storage_file()).unwrap()).unwrap();
        let entries = file["data"]["entries"].as_array().unwrap();
        entries.iter().find(|entry| entry["domain"] == "frigate").unwrap().clone()
    }

    pub async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self).await {
            assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The step, to the new server.
    pub fn repoint(&self) -> Value {
        json!({
            "name": "homeassistant.repoint",
            "url": self.home.url(),
            "token": TOKEN,
            "frigate_url": self.new.url(),
            "within": "10s",
        })
    }
}

/// One request with nothing of ours in between.
pub fn ask(method: &str, url: &str, token: &str, body: Option<String>) -> Option<(u16, Value)> {
    let (status, text) = ask_text(method, url, token, body)?;
    Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

fn ask_text(method: &str, url: &str, token: &str, body: Option<String>) -> Option<(u16, String)> {
    use std::io::{Read, Write};
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = std::net::TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let body = body.unwrap_or_default();
    let length = body.len();
    let authorization =
        if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{authorization}content-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Some((status, body))
}

fn unchunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
