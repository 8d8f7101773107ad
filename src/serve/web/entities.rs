//! What Home Assistant is told of a run, and what its buttons say: topics and JSON, nothing of brokers.
//!
//! One *device discovery* message stands for a run and all its entities
//! (home-assistant.io/integrations/mqtt, "Device discovery payload", since 2024.11): one retained message to publish
//! and one to clear, where a message per entity would be nine, which could be cleared by half. Names are written out,
//! which every version that knows the form reads.

use std::fmt::Display;

use serde_json::{Map, Value, json};

use super::api::Saying;
use super::board::Entry;
use crate::plan::{RunId, StepId};
use crate::report::{self, standing_word};

/// The longest state that Home Assistant takes, in characters.
const STATE_MAX: usize = 255;

/// Every word that the entity `State` may say.
const STATES: [&str; 9] = [
    "open",
    "waiting",
    "paused",
    "complete",
    "halted",
    "needs_attention",
    "resting",
    "rolled_back",
    "cancelled",
];

/// The topics of one journal.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    discovery: String,
    base: String,
    node: String,
}

impl Topics {
    /// Below `discovery`, Home Assistant's prefix, and `base`, ours; `journal` is a name in letters, digits and `-`.
    pub(super) fn new(discovery: &str, base: &str, journal: &str) -> Self {
        Self {
            discovery: discovery.to_owned(),
            base: format!("{base}/{journal}"),
            node: format!("runner-{journal}"),
        }
    }

    /// `online` or `offline`, for all runs.
    pub(super) fn availability(&self) -> String {
        format!("{}/availability", self.base)
    }

    /// Where a run is announced.
    pub(super) fn config(&self, run: impl Display) -> String {
        format!("{}/device/{}/{run}/config", self.discovery, self.node)
    }

    /// How a run stands.
    pub(super) fn state(&self, run: impl Display) -> String {
        format!("{}/{run}/state", self.base)
    }

    /// Where a run is told what to do.
    pub(super) fn command(&self, run: impl Display) -> String {
        format!("{}/{run}/command", self.base)
    }

    /// The run that a command topic belongs to.
    pub(super) fn commanded<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(&self.base)?.strip_prefix('/')?.strip_suffix("/command")
    }

    /// The run of a retained topic of ours: its announcement, or how it stands.
    pub(super) fn retained<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let announced = topic
            .strip_prefix(&format!("{}/device/{}/", self.discovery, self.node))
            .and_then(|rest| rest.strip_suffix("/config"));
        let stands = topic
            .strip_prefix(&self.base)
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(|rest| rest.strip_suffix("/state"));
        announced.or(stands).filter(|run| !run.contains('/'))
    }
}

/// How a run stands, in one of [`STATES`].
fn state_word(entry: &Entry) -> &'static str {
    match standing_word(&entry.row.standing) {
        "open" if !entry.asks.is_empty() => "waiting",
        "open" if entry.paused => "paused",
        word => word,
    }
}

/// What its entities show, as one object.
pub(super) fn state(entry: &Entry) -> Value {
    let moving: Vec<&str> = entry.moving.iter().map(StepId::as_str).collect();
    let step: String = moving.join(", ").chars().take(STATE_MAX).collect();
    let ready = entry.is_rollback_ready();
    json!({
        "state": state_word(entry),
        "step": (!step.is_empty()).then_some(step),
        "done": entry.row.done,
        "total": entry.row.total,
        "soak": entry.soak(),
        "healthy_since": entry.healthy_since().map(|since| report::time_exact(&since)),
        "rollback_ready": ready.map(|ready| if ready { "on" } else { "off" }),
        "asks": entry.asks.first(),
        "pausable": standing_word(&entry.row.standing) == "open" && !entry.paused,
        "paused": entry.paused,
        "undoable": entry.way_back == Some(true),
        "headline": entry.headline,
    })
}

/// The announcement of a run: a device, its entities, and its buttons where it may be told what to do. `page` is where
/// people read more.
pub(super) fn config(topics: &Topics, run: &RunId, entry: &Entry, buttons: bool, page: &str) -> Value {
    let (name, version) = (run.to_string(), env!("CARGO_PKG_VERSION"));
    let id = format!("{}-{name}", topics.node);
    let availability = json!({ "topic": topics.availability() });
    let mut parts = Map::new();
    let shows = |key: &str, platform: &str, title: &str, more: Value| {
        let mut part = json!({
            "platform": platform,
            "unique_id": format!("{id}-{key}"),
            "name": title,
            "state_topic": topics.state(run),
            "value_template": format!("{{{{ value_json.{key} }}}}"),
        });
        extend(&mut part, more);
        (key.to_owned(), part)
    };
    parts.extend([
        shows(
            "state",
            "sensor",
            "State",
            json!({
                "device_class": "enum", "options": STATES, "icon": "mdi:truck-delivery",
                "json_attributes_topic": topics.state(run),
                "json_attributes_template":
                    "{{ {'headline': value_json.headline, 'done': value_json.done, 'total': value_json.total} | tojson }}",
            }),
        ),
        shows("step", "sensor", "Step", json!({ "icon": "mdi:debug-step-over" })),
        shows("soak", "sensor", "Soak", json!({ "unit_of_measurement": "%", "icon": "mdi:progress-clock" })),
        shows("healthy_since", "sensor", "Healthy since", json!({ "device_class": "timestamp" })),
        shows(
            "rollback_ready",
            "binary_sensor",
            "Rollback ready",
            json!({ "payload_on": "on", "payload_off": "off", "icon": "mdi:undo-variant" }),
        ),
    ]);
    if buttons {
        let button = |key: &str, title: &str, says: &str, when: &str, more: Value| {
            let template = format!("{{{{ 'online' if {when} else 'offline' }}}}");
            let mut part = json!({
                "platform": "button",
                "unique_id": format!("{id}-{key}"),
                "name": title,
                "command_topic": topics.command(run),
                "payload_press": says,
                "availability":
                    [availability.clone(), { "topic": topics.state(run), "value_template": template }],
                "availability_mode": "all",
            });
            extend(&mut part, more);
            (key.to_owned(), part)
        };
        // What is pressed names the step that was shown: a press for another question answers nothing.
        let says = entry.asks.first().map_or_else(|| "approve".to_owned(), |step| format!("approve {step}"));
        parts.extend([
            button("approve", "Approve", &says, "value_json.asks", json!({ "icon": "mdi:check-bold" })),
            button("pause", "Pause", "pause", "value_json.pausable", json!({ "icon": "mdi:pause" })),
            button("resume", "Resume", "resume", "value_json.paused", json!({ "icon": "mdi:play" })),
            // Not on the pages that Home Assistant makes by itself: it asks nobody whether they are sure.
            button(
                "rollback",
                "Roll back",
                "rollback",
                "value_json.undoable",
                json!({ "icon": "mdi:undo", "entity_category": "config" }),
            ),
        ]);
    }
    json!({
        "device": {
            "identifiers": [id], "name": name, "manufacturer": "runner", "sw_version": version,
            "model": entry.row.plan, "configuration_url": page,
        },
        "origin": { "name": "runner", "sw_version": version },
        "availability": [availability],
        "qos": 1,
        "components": parts,
    })
}

fn extend(part: &mut Value, more: Value) {
    if let (Value::Object(part), Value::Object(more)) = (part, more) {
        part.extend(more);
    }
}

/// What a button says: the word of a wish, and what it is about.
///
/// # Errors
/// In words, why it makes no sense.
pub(super) fn said(payload: &[u8]) -> Result<(&'static str, Saying), String> {
    let text = std::str::from_utf8(payload).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut words = text.split_ascii_whitespace();
    let known = match words.next() {
        Some("approve") => "approve",
        Some("pause") => "pause",
        Some("resume") => "resume",
        Some("rollback") => "rollback",
        _ => return Err("it is none of `approve STEP`, `pause`, `resume` and `rollback`".to_owned()),
    };
    let step = words.next().map(str::to_owned);
    if (known == "approve") != step.is_some() || words.next().is_some() {
        return Err("it is none of `approve STEP`, `pause`, `resume` and `rollback`".to_owned());
    }
    Ok((known, Saying { step, ..Saying::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_say_whose_they_are() {
        let topics = Topics::new("homeassistant", "runner", "abc");
        assert_eq!(topics.config("f-1"), "homeassistant/device/runner-abc/f-1/config");
        for topic in [topics.config("f-1"), topics.state("f-1")] {
            assert_eq!(topics.retained(&topic), Some("f-1"), "{topic}");
            assert_eq!(Topics::new("homeassistant", "runner", "ab").retained(&topic), None, "{topic}");
        }
        assert_eq!(topics.commanded(&topics.command("f-1")), Some("f-1"));
        for topic in [
            "runner/abc/availability",
            "runner/abc/f-1/command",
            "homeassistant/status",
            "runner/abc/a/b/state",
        ] {
            assert_eq!(topics.retained(topic), None, "{topic}");
        }
    }

    #[test]
    fn only_what_a_button_says_is_understood() {
        let (word, saying) = said(b"approve stop-old").unwrap();
        assert_eq!((word, saying.step.as_deref()), ("approve", Some("stop-old")));
        for (payload, word) in [(&b"pause"[..], "pause"), (b"resume", "resume"), (b"rollback", "rollback")] {
            assert_eq!(said(payload).unwrap().0, word);
        }
        for payload in
            [&b"approve"[..], b"approve a b", b"pause now", b"rollback to", b"", b"PRESS", b"cancel", b"\xff"]
        {
            assert!(said(payload).is_err(), "{payload:?}");
        }
    }
}
