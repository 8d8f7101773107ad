//! Frigate's cameras, as the server lists them and as Home Assistant shows them.
//!
//! Sources: facts/migration.md 4.3 (a camera that the server no longer lists loses its device and entities at setup),
//! 4.4 (a camera entity is unavailable while the server's `camera_fps` for it is 0), 5.1 (the server's API and its login).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::transport::{
    Capture, EntityState, HttpEnd, HttpRequest, Redactor, Transport, UNAVAILABLE, one_line, status_name,
};

/// How long a Frigate server may take for one answer: the integration gives it the same.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How much of an answer is read, in bytes: the whole configuration of dozens of cameras.
const BODY_MAX: usize = 4 << 20;

/// The camera entities among all states.
pub(crate) struct CameraEntities<'s>(pub(crate) &'s [EntityState]);

impl CameraEntities<'_> {
    /// The entity of a camera, by the name that the entity itself gives it, else by the id that the integration makes.
    fn of(&self, camera: &str) -> Option<&EntityState> {
        let cameras = || self.0.iter().filter(|state| state.entity_id.starts_with("camera."));
        let named = |state: &&EntityState| {
            state.attributes.get("camera_name").and_then(Value::as_str) == Some(camera)
        };
        let id = format!("camera.{}", slug(camera));
        cameras().find(named).or_else(|| cameras().find(|state| state.entity_id == id))
    }

    /// What is wrong with a camera, in words; nothing when its entity is available.
    pub(crate) fn lack(&self, camera: &str) -> Option<String> {
        match self.of(camera) {
            None => Some(format!("camera `{camera}` has no available entity")),
            Some(state) if state.state == UNAVAILABLE => {
                Some(format!("`{}` is unavailable", state.entity_id))
            }
            Some(_) => None,
        }
    }

    /// The servers that the available entities come from, by their `mqtt.client_id`.
    pub(crate) fn client_ids(&self) -> Vec<String> {
        let ids: BTreeSet<String> = self
            .0
            .iter()
            .filter(|state| {
                state.entity_id.starts_with("camera.") && state.attributes.contains_key("camera_name")
            })
            .filter_map(|state| state.attributes.get("client_id")?.as_str().map(str::to_owned))
            .collect();
        ids.into_iter().collect()
    }
}

/// As Home Assistant makes the id of an entity from a name.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars() {
        match character.is_ascii_alphanumeric() {
            true => slug.push(character.to_ascii_lowercase()),
            false if !slug.ends_with('_') => slug.push('_'),
            false => {}
        }
    }
    slug.trim_matches('_').to_owned()
}

/// A Frigate server as a client asks it.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) transport: Transport,
    pub(super) url: String,
    /// Empty: it asks for none.
    pub(super) username: String,
    pub(super) password: String,
    pub(super) ca: Option<Vec<u8>>,
    /// Whoever answers is trusted, as Home Assistant does without `validate_ssl`: Frigate makes its own certificate.
    pub(super) anyone: bool,
    pub(super) redactor: Redactor,
}

impl Server {
    /// The cameras that it lists.
    ///
    /// # Errors
    /// In words: it could not be asked.
    pub(super) async fn cameras(&self, deadline: Instant) -> Result<BTreeSet<String>, String> {
        let config = self.get("/api/config", deadline).await?;
        let cameras = config.get("cameras").and_then(Value::as_object);
        let cameras =
            cameras.ok_or_else(|| format!("`{}` lists no cameras: is it a Frigate server?", self.url))?;
        Ok(cameras.keys().cloned().collect())
    }

    /// The cameras that it sees: frames come in.
    ///
    /// # Errors
    /// In words: it could not be asked.
    pub(super) async fn streaming(&self, deadline: Instant) -> Result<BTreeSet<String>, String> {
        let stats = self.get("/api/stats", deadline).await?;
        let cameras = stats.get("cameras").and_then(Value::as_object);
        let cameras = cameras.ok_or_else(|| format!("the stats of `{}` have no cameras", self.url))?;
        let sees =
            |stats: &Value| stats.get("camera_fps").and_then(Value::as_f64).is_some_and(|fps| fps > 0.0);
        Ok(cameras.iter().filter(|(_, stats)| sees(stats)).map(|(name, _)| name.clone()).collect())
    }

    async fn get(&self, path: &str, deadline: Instant) -> Result<Value, String> {
        let mut headers = Vec::new();
        if !self.username.is_empty() {
            headers.push(("cookie".to_owned(), self.log_in(deadline).await?));
        }
        let (seen, _) = self.ask("GET", path, headers, None, deadline).await?;
        serde_json::from_slice(&seen)
            .map_err(|error| self.words(&format!("`{}{path}` is not JSON: {error}", self.url)))
    }

    /// The cookie that stands for the login.
    async fn log_in(&self, deadline: Instant) -> Result<String, String> {
        let body = json!({ "user": self.username, "password": self.password }).to_string().into_bytes();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let (_, answered) = self.ask("POST", "/api/login", headers, Some(body), deadline).await?;
        let cookie = answered.get("set-cookie").and_then(|cookie| cookie.split(';').next());
        cookie
            .map(str::to_owned)
            .ok_or_else(|| self.words(&format!("`{}` gives no cookie for a login", self.url)))
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: Vec<(String, String)>,
        body: Option<Vec<u8>>,
        deadline: Instant,
    ) -> Result<(Vec<u8>, BTreeMap<String, String>), String> {
        let request = HttpRequest {
            method: method.to_owned(),
            url: format!("{}{path}", self.url.trim_end_matches('/')),
            headers,
            body,
            redirects: 0,
            ca: self.ca.clone(),
            wants_body: true,
        };
        let left = deadline.saturating_duration_since(Instant::now()).min(ANSWER_MAX);
        let mut capture = Capture::with_room(&self.redactor, None, BODY_MAX);
        let end = match self.anyone {
            true => self.transport.request_of_anyone(&request, &mut capture, left, None).await,
            false => self.transport.request(&request, &mut capture, left, None).await,
        };
        match end {
            HttpEnd::Answered { status: 200, headers } => {
                let headers = headers.iter().map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                });
                Ok((capture.finish().stdout, headers.collect()))
            }
            HttpEnd::Answered { status, .. } => {
                Err(self.words(&format!("`{}{path}` is answered with {}", self.url, status_name(status))))
            }
            HttpEnd::Refused(message)
            | HttpEnd::NotSent { message, .. }
            | HttpEnd::Lost(message)
            | HttpEnd::TimedOut(message)
            | HttpEnd::Stopped(message) => Err(self.words(&message)),
        }
    }

    fn words(&self, message: &str) -> String {
        one_line(&self.redactor.text(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_found_by_what_it_says_of_itself() {
        let state = |id: &str, state: &str, name: Option<&str>| EntityState {
            entity_id: id.to_owned(),
            state: state.to_owned(),
            attributes: name.map(|name| ("camera_name".to_owned(), json!(name))).into_iter().collect(),
        };
        let states = [
            state("camera.renamed_by_its_owner", "idle", Some("front")),
            state("camera.reolink_doorbell", UNAVAILABLE, None),
            state("sensor.yard", "1", Some("yard")),
        ];
        let cameras = CameraEntities(&states);
        assert_eq!(cameras.lack("front"), None);
        assert_eq!(cameras.lack("reolink-doorbell").unwrap(), "`camera.reolink_doorbell` is unavailable");
        assert!(cameras.lack("yard").unwrap().contains("no available entity"));
        assert_eq!(slug("Old IP  camera-1"), "old_ip_camera_1");
    }
}
