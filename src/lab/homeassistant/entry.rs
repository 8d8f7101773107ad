//! One config entry: what stands in the file, and how it stands now.

use serde_json::{Map, Value, json};

use super::Release;
use super::frigate::View;
use jiff::Timestamp;

/// How an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    NotLoaded,
    SettingUp,
    Loaded,
    /// Its server cannot be reached; it is tried again.
    Retry,
    /// Nothing heals it but another server.
    Error,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            State::NotLoaded => "not_loaded",
            State::SettingUp => "setup_in_progress",
            State::Loaded => "loaded",
            State::Retry => "setup_retry",
            State::Error => "setup_error",
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    /// As it stands in the file, or will.
    pub(super) stored: Map<String, Value>,
    pub(super) state: State,
    /// What its server said last.
    pub(super) view: Option<View>,
    /// Whether its server answered the last time.
    pub(super) reached: bool,
}

impl Entry {
    pub(super) fn of(stored: Map<String, Value>) -> Self {
        Self { stored, state: State::NotLoaded, view: None, reached: false }
    }

    fn text(&self, key: &str) -> &str {
        self.stored.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn id(&self) -> &str {
        self.text("entry_id")
    }

    pub(super) fn domain(&self) -> &str {
        self.text("domain")
    }

    pub(super) fn title(&self) -> &str {
        self.text("title")
    }

    pub(super) fn data(&self, key: &str) -> Option<&Value> {
        self.stored.get("data")?.get(key)
    }

    pub(super) fn url(&self) -> String {
        self.data("url").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Whether it checks its server's certificate.
    pub(super) fn validates(&self) -> bool {
        self.data("validate_ssl") != Some(&json!(false))
    }

    /// Notes that it was changed.
    pub(super) fn modified(&mut self, release: Release) {
        if release == Release::Reconfigures {
            let now = i64::try_from(super::now_ms()).unwrap_or(0);
            let now = Timestamp::from_millisecond(now).unwrap_or_default();
            self.stored.insert("modified_at".to_owned(), json!(super::storage::iso(now)));
        }
    }

    /// As the API lists it: without its data.
    pub(super) fn listed(&self, release: Release) -> Value {
        let domain = self.domain();
        let plain = |key: &str| self.stored.get(key).cloned().unwrap_or(Value::Null);
        let seconds = |key: &str| {
            let time = self.text(key).parse::<Timestamp>().map_or(0, Timestamp::as_microsecond);
            #[expect(clippy::cast_precision_loss, reason = "as Python makes it")]
            let seconds = time as f64 / 1e6;
            seconds
        };
        let mut listed = json!({
            "entry_id": self.id(),
            "domain": domain,
            "title": self.title(),
            "source": plain("source"),
            "state": self.state.word(),
            "supports_options": domain != "backup",
            "supports_remove_device": domain == "mqtt",
            "supports_unload": true,
            "pref_disable_new_entities": plain("pref_disable_new_entities"),
            "pref_disable_polling": plain("pref_disable_polling"),
            "disabled_by": plain("disabled_by"),
            "reason": null,
        });
        if release == Release::Reconfigures {
            listed["created_at"] = json!(seconds("created_at"));
            listed["modified_at"] = json!(seconds("modified_at"));
            listed["supports_reconfigure"] = json!(matches!(domain, "frigate" | "mqtt"));
            listed["supported_subentry_types"] = match domain {
                "mqtt" => json!({ "device": { "supports_reconfigure": true } }),
                _ => json!({}),
            };
            listed["error_reason_translation_key"] = Value::Null;
            listed["error_reason_translation_placeholders"] = Value::Null;
            listed["num_subentries"] = json!(0);
        }
        listed
    }
}
