//! Waits until an entry works: loaded, with its cameras available, no other entry lost, and no Frigate entry more.
//!
//! `loaded` is not enough: an entry stays loaded when its server has died, and its entities follow the retained message
//! of MQTT as well (facts/components.md 5).

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Trouble;
use super::cameras::{CameraEntities, Server};
use super::pick::{DOMAIN, ids};
use crate::transport::{ConfigEntry, Home, HomeError, RUNNING, UNAVAILABLE};

/// How often is looked.
pub(super) const POLL: Duration = Duration::from_millis(250);

/// So many looks in a row must show it: right after a change the entry may still be called loaded, or failed, from before.
pub(super) const LOOKS: u32 = 2;

/// What must be so before an entry counts as working.
pub(super) struct Live<'a> {
    pub(super) home: &'a Home,
    pub(super) entry_id: &'a str,
    /// The title that shows which data Home Assistant runs with.
    pub(super) title: Option<&'a str>,
    /// The server that is asked which cameras it sees; absent: none is asked for.
    pub(super) server: Option<&'a Server>,
    /// Entities that must be available.
    pub(super) entities: &'a [String],
    /// Entries that were there before.
    pub(super) before: &'a BTreeSet<String>,
    pub(super) deadline: Instant,
}

impl Live<'_> {
    /// Waits. Cancel-safe.
    ///
    /// # Errors
    /// What is still missing when the time is over; at once what no waiting heals.
    pub(super) async fn wait(&self) -> Result<ConfigEntry, Trouble> {
        let (mut good, mut bad, mut before) = (0, 0, None);
        loop {
            match self.look().await {
                Ok(entry) => {
                    (good, bad) = (good + 1, 0);
                    if good == LOOKS {
                        return Ok(entry);
                    }
                }
                Err(trouble) => {
                    if Instant::now() >= self.deadline {
                        // A look that the end of the time cuts off says nothing of the entry.
                        return Err(before.unwrap_or(trouble));
                    }
                    let last = Instant::now() + POLL >= self.deadline;
                    let final_word =
                        matches!(trouble, Trouble::Failed { permanent: true, .. } | Trouble::Cut { .. });
                    (good, bad) = (0, if final_word { bad + 1 } else { 0 });
                    if last || bad > LOOKS {
                        return Err(trouble);
                    }
                    before = Some(trouble);
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Looks once.
    async fn look(&self) -> Result<ConfigEntry, Trouble> {
        let home = self.home;
        let config = home.config(self.deadline).await?;
        if config.state != RUNNING {
            return Err(Trouble::transient(format!("Home Assistant is `{}`", config.state)));
        }
        let all = home.entries(self.deadline).await?;
        let lost = self.before.difference(&ids(&all)).count();
        if lost > 0 {
            return Err(Trouble::permanent(format!(
                "{lost} of {} config entries of Home Assistant are gone: if there is a file `core.config_entries.corrupt.…` \
                 beside its storage file, stop it, copy the backup into place, and start it",
                self.before.len()
            )));
        }
        let mut frigate = all.iter().filter(|entry| entry.domain == DOMAIN);
        if let Some(second) = frigate.find(|entry| !self.before.contains(&entry.entry_id)) {
            return Err(Trouble::permanent(format!(
                "Home Assistant has got another Frigate entry meanwhile, `{}` with the id `{}`: every camera would be there \
                 twice. Remove it in Home Assistant",
                second.title, second.entry_id
            )));
        }
        let entry = all.into_iter().find(|entry| entry.entry_id == self.entry_id);
        let entry = entry.ok_or_else(|| {
            Trouble::permanent(format!("the Frigate entry with the id `{}` is gone", self.entry_id))
        })?;
        let url = self.server.map_or_else(String::new, |server| format!(" at `{}`", server.url));
        match entry.state.as_str() {
            "loaded" => {}
            "setup_error" | "migration_error" | "failed_unload" => {
                return Err(Trouble::permanent(format!(
                    "the Frigate entry `{}` is `{}`: the server{url} is no Frigate that the integration takes; Home \
                     Assistant's log says why",
                    entry.title, entry.state
                )));
            }
            state => {
                return Err(Trouble::transient(format!(
                    "the Frigate entry `{}` is `{state}`: Home Assistant does not get what it needs from the server{url}",
                    entry.title
                )));
            }
        }
        if let Some(title) = self.title
            && entry.title != title
        {
            return Err(Trouble::transient(format!(
                "the Frigate entry is called `{}`, not `{title}`: Home Assistant runs with another address",
                entry.title
            )));
        }
        self.entities().await?;
        Ok(entry)
    }

    async fn entities(&self) -> Result<(), Trouble> {
        let sees = match self.server {
            Some(server) => server.streaming(self.deadline).await.map_err(Trouble::transient)?,
            None => BTreeSet::new(),
        };
        if sees.is_empty() && self.entities.is_empty() {
            return Ok(());
        }
        let states = self.home.states(self.deadline).await.map_err(|error| match error {
            HomeError::Cut { message, .. } => Trouble::transient(message),
            other => other.into(),
        })?;
        let cameras = CameraEntities(&states);
        let mut missing: Vec<String> = sees.iter().filter_map(|camera| cameras.lack(camera)).collect();
        for name in self.entities {
            match states.iter().find(|state| state.entity_id == *name) {
                None => missing.push(format!("there is no entity `{name}`")),
                Some(state) if state.state == UNAVAILABLE => missing.push(format!("`{name}` is unavailable")),
                Some(_) => {}
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Trouble::transient(format!(
                "the Frigate entry is loaded, but {}: look at the retained message `…/available` of MQTT too",
                missing.join(", ")
            ))),
        }
    }
}
