//! What it remembers: its setup, what is broken, and since when it runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// How it reaches its broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// On loopback.
    pub port: u16,
    /// `mqtt.user`.
    pub user: String,
    /// `mqtt.password`.
    pub password: String,
}

/// What its configuration and its image make of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// What `/api/version` says: `0.14.1-` or `0.16.0-c2f8de9`.
    pub version: String,
    /// Its cameras; all of them record.
    pub cameras: BTreeSet<String>,
    /// `mqtt.client_id`.
    pub client_id: String,
    /// `mqtt.topic_prefix`.
    pub topic_prefix: String,
    /// Its broker; absent: `mqtt.enabled = false`.
    pub broker: Option<Login>,
    /// The GPU it decodes with; absent: none.
    pub gpu: Option<String>,
    /// `face_recognition.enabled`; 0.14 has none.
    pub face_recognition: bool,
    /// User and password, as port 8971 wants them; absent: port 5000.
    pub login: Option<(String, String)>,
    /// Seconds between two of its statistics, over MQTT as well; the real one takes 15, and 60 over MQTT.
    pub stats_every: u64,
}

impl Setup {
    /// One without a broker, a GPU and a login.
    pub fn new(version: &str, cameras: &[&str]) -> Self {
        Self {
            version: version.to_owned(),
            cameras: cameras.iter().map(|&name| name.to_owned()).collect(),
            client_id: "frigate".to_owned(),
            topic_prefix: "frigate".to_owned(),
            broker: None,
            gpu: None,
            face_recognition: false,
            login: None,
            stats_every: 15,
        }
    }

    /// Whether it is an older one: no face recognition, and detection is on by default.
    pub(super) fn is_0_14(&self) -> bool {
        self.version.starts_with("0.14")
    }
}

/// What is broken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switches {
    /// Detection is off, as it is since 0.16 unless it is switched on.
    pub detection_off: bool,
    /// No camera sends before so many seconds after the start.
    pub warm_up: u64,
    /// These cameras send nothing.
    pub dead: BTreeSet<String>,
    /// Every frame is skipped.
    pub skipping: bool,
    /// It starts again every so many seconds: the loop of a detector that cannot run. 0: it does not.
    pub restarts_every: u64,
    /// The statistics are those of the moment at which this was switched on.
    pub stats_frozen: bool,
    /// The volume of the recordings is full: nothing is recorded.
    pub media_full: bool,
    /// The driver of the GPU does not answer.
    pub gpu_lost: bool,
    /// The image's tag has moved: this is the version now.
    pub version: Option<String>,
    /// Face recognition is off.
    pub faces_off: bool,
    /// It no longer lists these cameras.
    pub missing: BTreeSet<String>,
    /// Its MQTT client finds no broker, as with a name that does not resolve in its pod; taken in at its next start.
    pub mute: bool,
    /// The client id of its MQTT client, whatever its configuration says; taken in at its next start.
    pub client_id: Option<String>,
    /// Its container does not end cleanly: its last will is sent.
    pub dies: bool,
}

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) port: u16,
    pub(super) running: bool,
    /// Seconds since 1970.
    pub(super) started: u64,
    /// The same, of the switch `stats_frozen`.
    pub(super) frozen_at: u64,
    pub(super) setup: Setup,
    pub(super) switches: Switches,
    /// Names that were taught, and the pictures of each.
    pub(super) faces: BTreeMap<String, Vec<String>>,
    pub(super) writes: u64,
}

impl State {
    pub(super) fn new(setup: Setup) -> Self {
        Self {
            port: 0,
            running: false,
            started: 0,
            frozen_at: 0,
            setup,
            switches: Switches::default(),
            faces: BTreeMap::new(),
            writes: 0,
        }
    }

    pub(super) fn version(&self) -> &str {
        self.switches.version.as_deref().unwrap_or(&self.setup.version)
    }

    pub(super) fn face_recognition(&self) -> bool {
        self.setup.face_recognition && !self.switches.faces_off && !self.setup.is_0_14()
    }

    /// The cameras that it lists.
    pub(super) fn cameras(&self) -> impl Iterator<Item = &String> {
        self.setup.cameras.iter().filter(|camera| !self.switches.missing.contains(*camera))
    }

    pub(super) fn detection(&self) -> bool {
        !self.switches.detection_off
    }
}
