//! `homeassistant`: its entries, entities and whether it runs at all.
//!
//! "It answers" is not "it is fine": with a damaged storage file Home Assistant runs without a single entry, an entry
//! stays `loaded` when its server has died, and a loaded one can have nothing but unavailable entities. So each is looked
//! at by itself, and what is not asked for is not judged.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::answer::unknown;
use super::{Check, Look};
use crate::action::{CameraEntities, Fields, home_assistant};
use crate::saga::{Answer, Verdict};
use crate::transport::{
    ConfigEntry, EntityState, Home, HomeError, RUNNING, Transport, UNAVAILABLE, one_line,
};

pub(super) struct HomeAssistant;

/// What the fields ask for.
struct Wanted {
    domain: String,
    entry: Option<String>,
    entry_state: Option<String>,
    count: Option<u64>,
    entity: Option<String>,
    state: Option<String>,
    available: Vec<String>,
    cameras: Vec<String>,
    client_id: Option<String>,
}

impl Wanted {
    fn read(fields: Fields<'_>) -> Result<Self, String> {
        let wanted = Self {
            domain: fields.text("domain")?.unwrap_or_else(|| "frigate".to_owned()),
            entry: fields.text("entry")?,
            entry_state: fields.text("entry_state")?,
            count: fields.number("count")?,
            entity: fields.text("entity")?,
            state: fields.text("state")?,
            available: fields.texts("available")?,
            cameras: fields.texts("cameras")?,
            client_id: fields.text("client_id")?,
        };
        if wanted.state.is_some() && wanted.entity.is_none() {
            return Err("`homeassistant` takes `state` only with `entity`".to_owned());
        }
        Ok(wanted)
    }

    fn asks_for_entries(&self) -> bool {
        self.entry.is_some() || self.entry_state.is_some() || self.count.is_some()
    }

    fn asks_for_states(&self) -> bool {
        !(self.available.is_empty() && self.cameras.is_empty() && self.client_id.is_none())
    }
}

/// What was found, worst first.
#[derive(Default)]
struct Found {
    absent: Vec<String>,
    partial: Vec<String>,
    facts: Map<String, Value>,
}

impl Check for HomeAssistant {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let fields = Fields::new(&look.operation);
            let read = home_assistant(fields, transport, &look.bodies, &look.redactor)
                .and_then(|home| Ok((home, Wanted::read(fields)?)));
            let (home, wanted) = match read {
                Ok(read) => read,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let deadline = Instant::now() + look.timeout;
            let mut found = Found::default();
            if let Err(error) = found.all(&home, &wanted, deadline).await {
                let verdict = match error {
                    HomeError::Refused(_) => Verdict::Absent,
                    _ => Verdict::Unknown,
                };
                return Answer::new(verdict, one_line(&look.redactor.text(error.message())));
            }
            let (verdict, reason) = match (found.absent.is_empty(), found.partial.is_empty()) {
                (false, _) => (Verdict::Absent, found.absent.join("; ")),
                (true, false) => (Verdict::Partial, found.partial.join("; ")),
                (true, true) => {
                    (Verdict::Holds, format!("Home Assistant at `{}` is as it shall be", home.url))
                }
            };
            let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
            answer.facts =
                found.facts.into_iter().map(|(name, value)| (name, look.redactor.json(value))).collect();
            answer
        })
    }
}

impl Found {
    async fn all(&mut self, home: &Home, wanted: &Wanted, deadline: Instant) -> Result<(), HomeError> {
        let config = home.config(deadline).await?;
        self.facts.insert("version".to_owned(), json!(config.version));
        self.facts.insert("running".to_owned(), json!(config.state));
        if config.state != RUNNING {
            self.absent.push(format!("Home Assistant is `{}`", config.state));
            return Ok(());
        }
        if config.recovery_mode {
            self.absent.push("Home Assistant runs in recovery mode".to_owned());
            return Ok(());
        }
        if wanted.asks_for_entries() {
            self.entries(wanted, &home.entries(deadline).await?);
        }
        if let Some(entity) = &wanted.entity {
            let state = home.state(entity, deadline).await?;
            self.entity(entity, wanted.state.as_deref(), state.as_ref());
        }
        if wanted.asks_for_states() {
            self.states(wanted, &home.states(deadline).await?);
        }
        Ok(())
    }

    fn entries(&mut self, wanted: &Wanted, all: &[ConfigEntry]) {
        let of_domain: Vec<&ConfigEntry> = all.iter().filter(|entry| entry.domain == wanted.domain).collect();
        self.facts.insert("entries".to_owned(), json!(all.len()));
        self.facts.insert("count".to_owned(), json!(of_domain.len()));
        if let Some(count) = wanted.count
            && count != of_domain.len() as u64
        {
            self.absent.push(format!(
                "there are {} entries of `{}`, not {count}",
                of_domain.len(),
                wanted.domain
            ));
        }
        let named: Vec<&ConfigEntry> = match &wanted.entry {
            Some(name) => of_domain
                .into_iter()
                .filter(|entry| entry.entry_id == *name || entry.title == *name)
                .collect(),
            None if wanted.entry_state.is_some() => of_domain,
            None => return,
        };
        if named.is_empty() {
            let what = wanted.entry.as_ref().map_or_else(String::new, |name| format!(" `{name}`"));
            self.absent.push(format!("there is no entry{what} of `{}`", wanted.domain));
        }
        let state = wanted.entry_state.as_deref().unwrap_or("loaded");
        for entry in named {
            self.facts.insert("entry_id".to_owned(), json!(entry.entry_id));
            self.facts.insert("title".to_owned(), json!(entry.title));
            self.facts.insert("entry_state".to_owned(), json!(entry.state));
            if entry.state != state {
                self.absent.push(format!("the entry `{}` is `{}`, not `{state}`", entry.title, entry.state));
            }
        }
    }

    fn entity(&mut self, name: &str, wanted: Option<&str>, state: Option<&EntityState>) {
        self.facts.insert("state".to_owned(), state.map_or(Value::Null, |state| json!(state.state)));
        match (state, wanted) {
            (None, _) => self.absent.push(format!("there is no entity `{name}`")),
            (Some(state), Some(wanted)) if state.state != wanted => {
                self.absent.push(format!("`{name}` is `{}`, not `{wanted}`", state.state));
            }
            (Some(state), None) if state.state == UNAVAILABLE => {
                self.absent.push(format!("`{name}` is unavailable"));
            }
            (Some(_), _) => {}
        }
    }

    fn states(&mut self, wanted: &Wanted, states: &[EntityState]) {
        let cameras = CameraEntities(states);
        let mut lost = Vec::new();
        for name in &wanted.available {
            match states.iter().find(|state| state.entity_id == *name) {
                None => lost.push(format!("there is no entity `{name}`")),
                Some(state) if state.state == UNAVAILABLE => lost.push(format!("`{name}` is unavailable")),
                Some(_) => {}
            }
        }
        lost.extend(wanted.cameras.iter().filter_map(|camera| cameras.lack(camera)));
        if let Some(id) = &wanted.client_id {
            let from = cameras.client_ids();
            if from.iter().any(|from| from != id) || from.is_empty() {
                let from = if from.is_empty() { "none is available".to_owned() } else { from.join(", ") };
                self.absent.push(format!("the camera entities come from `{from}`, not from `{id}`"));
            }
        }
        let asked = wanted.available.len() + wanted.cameras.len();
        self.facts.insert("available".to_owned(), json!(asked - lost.len()));
        self.facts.insert("unavailable".to_owned(), json!(lost.len()));
        // Without a word about the entry these are all that was asked for.
        let into = if wanted.asks_for_entries() { &mut self.partial } else { &mut self.absent };
        into.extend(lost);
    }
}
