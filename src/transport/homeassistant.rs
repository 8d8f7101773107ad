//! Home Assistant's REST API: what it says of itself, its config entries and states, and the flows that change them.
//!
//! Everything here was read off recorded exchanges of Home Assistant Core 2024.3.3 and 2025.4.4 (facts: transcripts).
//! An error says whether anything can have happened: a look that got no answer is [`HomeError::Down`], a request that
//! changes something and got none is [`HomeError::Cut`]. Start reading at [`Home::ask`].

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::capture::Capture;
use super::http::{HttpEnd, HttpRequest, may_heal, status_name};
use super::redact::Redactor;
use super::{Transport, one_line};

/// How much of an answer is read, in bytes: all states of a house with thousands of entities are some megabytes.
const ANSWER_MAX: usize = 16 << 20;

/// How long one request may take. Home Assistant itself gives a Frigate server 10 s, twice, before a flow answers.
const REQUEST_MAX: Duration = Duration::from_secs(45);

/// How often is looked whether it is up again. A restart of a small installation is over in 3 s.
const POLL: Duration = Duration::from_millis(200);

/// One Home Assistant and the token for it.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) transport: Transport,
    /// Without a slash at its end.
    pub(crate) url: String,
    pub(crate) token: String,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) redactor: Redactor,
}

/// Why there is no answer that can be used. The message names the address and never the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HomeError {
    /// Its host says that nobody listens: it is down. Nothing happened.
    Refused(String),
    /// It does not answer: it is starting, or out of reach. Nothing happened.
    Down(String),
    /// It does not know the token, or the token's user may not do this.
    Denied(String),
    /// It answered with another status. 408, 425, 429 and 5xx may be others the next time.
    Answered { status: u16, message: String },
    /// The request cannot be made, or the answer is not what Home Assistant says.
    Strange(String),
    /// The request may have been received, and there is no answer.
    Cut { timeout: bool, message: String },
}

/// `GET /api/config`, what matters of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HomeConfig {
    pub(crate) version: String,
    /// `NOT_RUNNING`, `STARTING`, `RUNNING`, `STOPPING`, `FINAL_WRITE`; an old release may not say it.
    #[serde(default = "running")]
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) recovery_mode: bool,
}

fn running() -> String {
    RUNNING.to_owned()
}

/// The state in which it does all that it does.
pub(crate) const RUNNING: &str = "RUNNING";

/// One config entry. Its data, and so the URL of a server, is not shown.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ConfigEntry {
    pub(crate) entry_id: String,
    pub(crate) domain: String,
    pub(crate) title: String,
    /// `loaded`, `setup_error`, `setup_retry`, `not_loaded`, `migration_error`, `failed_unload`, `setup_in_progress`.
    pub(crate) state: String,
    /// Since 2024.11 or so; absent in 2024.3.3.
    #[serde(default)]
    pub(crate) supports_reconfigure: bool,
    #[serde(default)]
    pub(crate) disabled_by: Option<String>,
    #[serde(default)]
    pub(crate) modified_at: Option<f64>,
}

/// The state of one entity.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct EntityState {
    pub(crate) entity_id: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) attributes: Map<String, Value>,
}

/// The state of an entity that cannot be used.
pub(crate) const UNAVAILABLE: &str = "unavailable";

/// An open flow that asks for something.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) flow_id: String,
    /// Where a release says what the flow is for; 2025.4.4 does not.
    pub(crate) source: Option<String>,
    /// What it asks for, with what is taken when nothing is sent.
    pub(crate) fields: Vec<(String, Option<Value>)>,
    /// `base` and names of fields, with words such as `cannot_connect`.
    pub(crate) errors: Map<String, Value>,
}

/// What a flow says.
#[derive(Debug, Clone)]
pub(crate) enum FlowAnswer {
    Form(Form),
    /// It is over, for example with `reconfigure_successful`.
    Ended(String),
    /// It added an entry, with this id.
    Created(String),
}

impl HomeError {
    /// In one line for people.
    pub(crate) fn message(&self) -> &str {
        match self {
            HomeError::Refused(message)
            | HomeError::Down(message)
            | HomeError::Denied(message)
            | HomeError::Answered { message, .. }
            | HomeError::Strange(message)
            | HomeError::Cut { message, .. } => message,
        }
    }

    /// Whether trying again may help; of one that was cut off nobody knows.
    pub(crate) fn may_heal(&self) -> bool {
        match self {
            HomeError::Refused(_) | HomeError::Down(_) | HomeError::Cut { .. } => true,
            HomeError::Answered { status, .. } => may_heal(*status),
            HomeError::Denied(_) | HomeError::Strange(_) => false,
        }
    }
}

impl Form {
    /// What is taken for a field when nothing is sent, if it asks for it.
    pub(crate) fn default(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(known, _)| known == name).and_then(|(_, default)| default.as_ref())
    }

    /// Whether it asks for it.
    pub(crate) fn asks(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| known == name)
    }
}

impl Home {
    /// Sends a request and reads the answer as JSON, by `deadline` at the latest. Dropped, what was sent is sent.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        deadline: Instant,
    ) -> Result<Value, HomeError> {
        let mut headers = vec![("authorization".to_owned(), format!("Bearer {}", self.token))];
        if body.is_some() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        let request = HttpRequest {
            method: method.to_owned(),
            url: format!("{}{path}", self.url),
            headers,
            body: body.map(|body| body.to_string().into_bytes()),
            redirects: 0,
            ca: self.ca.clone(),
            wants_body: true,
        };
        let left = deadline.saturating_duration_since(Instant::now()).min(REQUEST_MAX);
        let mut capture = Capture::with_room(&self.redactor, None, ANSWER_MAX);
        let end = self.transport.request(&request, &mut capture, left, None).await;
        let (looks, text) = (method == "GET", |message: &str| one_line(&self.redactor.text(message)));
        let status = match end {
            HttpEnd::Answered { status, .. } => status,
            HttpEnd::Refused(message) => return Err(HomeError::Refused(text(&message))),
            HttpEnd::NotSent { permanent: false, message } => return Err(HomeError::Down(text(&message))),
            HttpEnd::NotSent { permanent: true, message } => return Err(HomeError::Strange(text(&message))),
            HttpEnd::Lost(message) | HttpEnd::TimedOut(message) | HttpEnd::Stopped(message) if looks => {
                return Err(HomeError::Down(text(&message)));
            }
            HttpEnd::Lost(message) | HttpEnd::Stopped(message) => {
                return Err(HomeError::Cut { timeout: false, message: text(&message) });
            }
            HttpEnd::TimedOut(message) => {
                return Err(HomeError::Cut { timeout: true, message: text(&message) });
            }
        };
        let seen = capture.finish();
        let what = format!("`{method} {}{path}`", self.url);
        match status {
            200..=299 => {}
            401 => {
                return Err(HomeError::Denied(text(&format!(
                    "Home Assistant at `{}` does not know the token (401): make a long-lived one in the profile of an \
                     administrator and put it into the secret",
                    self.url
                ))));
            }
            403 => {
                return Err(HomeError::Denied(text(&format!(
                    "the token for Home Assistant at `{}` may not do this (403): its user must be an administrator",
                    self.url
                ))));
            }
            status => {
                let why = serde_json::from_slice::<Value>(&seen.stdout)
                    .ok()
                    .and_then(|body| body.get("message")?.as_str().map(str::to_owned));
                let why = why.map_or_else(String::new, |why| format!(": {}", brief(&why)));
                let message = text(&format!("{what} is answered with {}{why}", status_name(status)));
                return Err(HomeError::Answered { status, message });
            }
        }
        if seen.overflow {
            return Err(HomeError::Strange(text(&format!(
                "the answer to {what} has more than {ANSWER_MAX} bytes"
            ))));
        }
        serde_json::from_slice(&seen.stdout)
            .map_err(|error| HomeError::Strange(text(&format!("the answer to {what} is not JSON: {error}"))))
    }

    async fn read<T: for<'d> Deserialize<'d>>(&self, path: &str, deadline: Instant) -> Result<T, HomeError> {
        let answer = self.ask("GET", path, None, deadline).await?;
        serde_json::from_value(answer).map_err(|error| {
            HomeError::Strange(format!(
                "the answer to `GET {}{path}` is not that of Home Assistant: {error}",
                self.url
            ))
        })
    }

    /// What it says of itself.
    pub(crate) async fn config(&self, deadline: Instant) -> Result<HomeConfig, HomeError> {
        self.read("/api/config", deadline).await
    }

    /// All config entries, of every domain.
    pub(crate) async fn entries(&self, deadline: Instant) -> Result<Vec<ConfigEntry>, HomeError> {
        self.read("/api/config/config_entries/entry", deadline).await
    }

    /// All states.
    pub(crate) async fn states(&self, deadline: Instant) -> Result<Vec<EntityState>, HomeError> {
        self.read("/api/states", deadline).await
    }

    /// The state of an entity; `None`: there is no such entity.
    pub(crate) async fn state(
        &self,
        entity: &str,
        deadline: Instant,
    ) -> Result<Option<EntityState>, HomeError> {
        match self.read(&format!("/api/states/{}", plain(entity)?), deadline).await {
            Ok(state) => Ok(Some(state)),
            Err(HomeError::Answered { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a flow for an entry. Nothing is changed by it until it is sent what it asks for; an open one is forgotten at
    /// the next restart, and [`drop_flow`](Self::drop_flow) forgets it at once.
    ///
    /// A release that does not know reconfiguring ignores the entry and opens one that adds another (2024.3.3).
    pub(crate) async fn open_flow(
        &self,
        entry: &ConfigEntry,
        deadline: Instant,
    ) -> Result<FlowAnswer, HomeError> {
        let body = json!({
            "handler": entry.domain,
            "entry_id": entry.entry_id,
            "show_advanced_options": false,
        });
        let answer = self.ask("POST", "/api/config/config_entries/flow", Some(&body), deadline).await?;
        self.flow_answer(&answer)
    }

    /// Sends what an open flow asks for. What is left out is taken from what was tried last: send everything.
    pub(crate) async fn send_flow(
        &self,
        flow: &str,
        data: &Value,
        deadline: Instant,
    ) -> Result<FlowAnswer, HomeError> {
        let path = format!("/api/config/config_entries/flow/{}", plain(flow)?);
        let answer = self.ask("POST", &path, Some(data), deadline).await?;
        self.flow_answer(&answer)
    }

    /// Forgets an open flow; one that is over already is fine.
    pub(crate) async fn drop_flow(&self, flow: &str, deadline: Instant) -> Result<(), HomeError> {
        let path = format!("/api/config/config_entries/flow/{}", plain(flow)?);
        match self.ask("DELETE", &path, None, deadline).await {
            Ok(_) | Err(HomeError::Answered { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes an entry with its devices and entities.
    pub(crate) async fn remove_entry(&self, entry: &str, deadline: Instant) -> Result<(), HomeError> {
        let path = format!("/api/config/config_entries/entry/{}", plain(entry)?);
        self.ask("DELETE", &path, None, deadline).await.map(drop)
    }

    /// Asks it to restart. It answers at once and then goes.
    pub(crate) async fn restart(&self, deadline: Instant) -> Result<(), HomeError> {
        self.ask("POST", "/api/services/homeassistant/restart", Some(&json!({})), deadline).await.map(drop)
    }

    /// Waits until it says that it runs. What does not answer, drops the connection or says that it starts is waited for;
    /// a refused token is an answer. Cancel-safe.
    ///
    /// # Errors
    /// The last thing that was seen, when the time is over.
    pub(crate) async fn wait_running(&self, deadline: Instant) -> Result<HomeConfig, HomeError> {
        let mut before = None;
        loop {
            let seen = match self.config(deadline).await {
                Ok(config) if config.state == RUNNING => return Ok(config),
                Ok(config) => HomeError::Down(format!(
                    "Home Assistant at `{}` says that it is `{}`",
                    self.url,
                    one_line(&config.state)
                )),
                Err(error) if error.may_heal() => error,
                // Before its parts are loaded, there is no such path yet.
                Err(error @ HomeError::Answered { status: 404, .. }) => error,
                Err(error) => return Err(error),
            };
            if Instant::now() >= deadline {
                // A look that the end of the time cuts off says nothing of Home Assistant.
                return Err(before.unwrap_or(seen));
            }
            if Instant::now() + POLL >= deadline {
                return Err(seen);
            }
            before = Some(seen);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it is seen to be down, or starting. Cancel-safe.
    pub(crate) async fn wait_gone(&self, deadline: Instant) -> bool {
        const POLL_GONE: Duration = Duration::from_millis(50);
        while Instant::now() < deadline {
            match self.config(deadline).await {
                Ok(config) if config.state == RUNNING => {}
                Ok(_) | Err(HomeError::Refused(_)) => return true,
                // A look that the end of the time cuts off says nothing of Home Assistant.
                Err(HomeError::Down(_)) if Instant::now() < deadline => return true,
                Err(_) => {}
            }
            tokio::time::sleep(POLL_GONE).await;
        }
        false
    }

    fn flow_answer(&self, answer: &Value) -> Result<FlowAnswer, HomeError> {
        let text = |key: &str| answer.get(key).and_then(Value::as_str).map(str::to_owned);
        let strange = |what: &str| {
            HomeError::Strange(format!("a flow of Home Assistant at `{}` {}", self.url, one_line(what)))
        };
        match text("type").as_deref() {
            Some("form") => {
                let fields = answer.get("data_schema").and_then(Value::as_array);
                let fields = fields.map(Vec::as_slice).unwrap_or_default().iter().filter_map(|field| {
                    let name = field.get("name")?.as_str()?.to_owned();
                    Some((name, field.get("default").cloned()))
                });
                let context = answer.pointer("/context/source").and_then(Value::as_str);
                Ok(FlowAnswer::Form(Form {
                    flow_id: text("flow_id").ok_or_else(|| strange("has no id"))?,
                    source: context.map(str::to_owned),
                    fields: fields.collect(),
                    errors: answer.get("errors").and_then(Value::as_object).cloned().unwrap_or_default(),
                }))
            }
            Some("abort") => Ok(FlowAnswer::Ended(text("reason").unwrap_or_default())),
            Some("create_entry") => {
                let id = answer.pointer("/result/entry_id").and_then(Value::as_str);
                Ok(FlowAnswer::Created(id.unwrap_or_default().to_owned()))
            }
            other => Err(strange(&format!("answers with `{}`", other.unwrap_or("nothing")))),
        }
    }
}

/// A part of a path that comes from outside.
fn plain(part: &str) -> Result<&str, HomeError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match !part.is_empty() && part.bytes().all(fits) {
        true => Ok(part),
        false => {
            Err(HomeError::Strange(format!("`{}` cannot be the name of an entity or entry", one_line(part))))
        }
    }
}

/// The beginning of what a server says of itself.
fn brief(text: &str) -> String {
    text.chars().take(200).collect()
}
