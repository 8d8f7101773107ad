//! The way by the storage file, for an entry that cannot be reconfigured: stop, edit this one entry in place, prove it,
//! start, look again.
//!
//! Home Assistant reads the file at its start alone and writes all of it from memory whenever any entry changes: an edit
//! while it runs may be lost, and one that was not may never have been read (facts/migration.md 4.2). So it is stopped
//! first, whatever comes it is started again, and afterwards both are looked at: the file, and by the entry's title, which
//! is edited with its address, what runs. Cut off anywhere, the next attempt sees from these two how far it had come.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Trouble;
use super::guest::{Guest, StoredEntry};
use super::pick::{ids, title_of};
use super::work::{Cameras, Changed, Seen, Work, seen};
use crate::saga::Verdict;
use crate::transport::ConfigEntry;

/// How long it may still answer after its supervisor says that it stopped.
const GOES: Duration = Duration::from_secs(30);

impl Work {
    /// Brings it about by the file. `all` is what runs now, if it runs.
    pub(super) async fn by_file(
        &self,
        guest: &Guest,
        all: Option<&[ConfigEntry]>,
        cameras: &Cameras,
    ) -> Result<Changed, Trouble> {
        let stored = guest.stored(self.deadline).await?;
        let entry = self.pick.stored(&stored, &self.wanted).map_err(Trouble::permanent)?;
        let (edits, full) = (self.edits(entry), self.full(&entry.data));
        if let Some((path, _)) = edits.iter().find(|(path, _)| !entry.has(path)) {
            return Err(Trouble::permanent(format!(
                "the Frigate entry `{}` has no `{}`: this release of the integration knows none; nothing was changed",
                entry.title,
                path.trim_start_matches("data.")
            )));
        }
        let runs = runs_with(all, entry);
        if !(edits.is_empty() && runs) {
            if !edits.is_empty() {
                self.lists(&entry.data, &full, cameras).await?;
                guest.reaches(&full.url, self.deadline).await?;
            }
            // What is edited and does not run needs no stop.
            if !edits.is_empty() || all.is_some() {
                guest.stop(self.deadline).await?;
                if !self.home.wait_gone(self.deadline.min(Instant::now() + GOES)).await {
                    return Err(Trouble::transient(format!(
                        "Home Assistant at `{}` still answers after it was stopped; its file was not touched",
                        self.home.url
                    )));
                }
            }
            let edited = self.edit(guest, &entry.entry_id).await;
            let started = guest.start(self.deadline).await;
            edited?;
            started?;
            self.home.wait_running(self.deadline).await.map_err(|error| Trouble::Cut {
                timeout: true,
                message: format!("Home Assistant was started and does not run yet: {}", error.message()),
            })?;
        }
        let after = guest.stored(self.deadline).await?;
        if after.entries < stored.entries {
            return Err(Trouble::permanent(format!(
                "{} of {} entries are gone from Home Assistant's storage file; as it was before it is kept as `{}`",
                stored.entries - after.entries,
                stored.entries,
                guest.backup()
            )));
        }
        let now = after.frigate.iter().find(|now| now.entry_id == entry.entry_id);
        let now = now.filter(|now| self.edits(now).is_empty()).ok_or_else(|| {
            Trouble::transient(format!(
                "after its start Home Assistant's storage file has another address for the Frigate entry `{}` again",
                entry.title
            ))
        })?;
        let mut before = all.map(ids).unwrap_or_default();
        before.extend(stored.frigate.iter().map(|entry| entry.entry_id.clone()));
        Ok(Changed { entry_id: now.entry_id.clone(), title: Some(now.title.clone()), full, before })
    }

    /// Edits the file while it is not in use; what is in it already is left.
    async fn edit(&self, guest: &Guest, entry_id: &str) -> Result<(), Trouble> {
        // It may have been written at the stop.
        let stored = guest.stored(self.deadline).await?;
        let entry = stored.frigate.iter().find(|entry| entry.entry_id == entry_id);
        let entry = entry.ok_or_else(|| {
            Trouble::permanent(format!(
                "the Frigate entry with the id `{entry_id}` is gone from the storage file"
            ))
        })?;
        let edits = self.edits(entry);
        if edits.is_empty() {
            return Ok(());
        }
        guest.edit(&stored, entry, &edits, self.deadline).await
    }

    /// What is to be replaced in an entry; nothing when it has what is wanted.
    fn edits(&self, entry: &StoredEntry) -> Vec<(&'static str, Value)> {
        let (has, wanted) = (&entry.data, &self.wanted);
        let mut edits = Vec::new();
        if has.url.trim_end_matches('/') != wanted.url.trim_end_matches('/') {
            edits.push(("data.url", json!(wanted.url)));
            let title = self.title.clone().unwrap_or_else(|| title_of(&wanted.url));
            if title != entry.title {
                edits.push(("title", json!(title)));
            }
        } else if let Some(title) = &self.title
            && *title != entry.title
        {
            edits.push(("title", json!(title)));
        }
        if wanted.validate_ssl.is_some() && wanted.validate_ssl != has.validate_ssl {
            edits.push(("data.validate_ssl", json!(wanted.validate_ssl)));
        }
        if wanted.username.is_some() && wanted.username != has.username {
            edits.push(("data.username", json!(wanted.username)));
        }
        if wanted.password.is_some() && wanted.password != has.password {
            edits.push(("data.password", json!(wanted.password)));
        }
        edits
    }

    /// What is so now, of file and memory.
    pub(super) async fn look_at_file(
        &self,
        guest: &Guest,
        all: Option<&[ConfigEntry]>,
    ) -> Result<Seen, Trouble> {
        let stored = guest.stored(self.deadline).await?;
        let entry = match self.pick.stored(&stored, &self.wanted) {
            Ok(entry) => entry,
            Err(message) => return Ok((Verdict::Absent, message, None)),
        };
        let has = self.edits(entry).is_empty();
        let running = all.and_then(|all| all.iter().find(|running| running.entry_id == entry.entry_id));
        let title = &entry.title;
        Ok(match (has, all.is_some(), running) {
            (true, true, Some(running)) if running.title == *title => seen(true, running, &self.wanted.url),
            (true, true, _) => (
                Verdict::Partial,
                format!(
                    "the Frigate entry `{title}` has its new address in the storage file, and Home Assistant runs with another: \
                     it was edited and not started again"
                ),
                None,
            ),
            (true, false, _) => (
                Verdict::Partial,
                format!("the Frigate entry `{title}` has its new address, and Home Assistant does not run"),
                None,
            ),
            (false, ..) => {
                (Verdict::Absent, format!("the Frigate entry `{title}` has another address"), None)
            }
        })
    }
}

/// Whether what runs is what stands in the file.
fn runs_with(all: Option<&[ConfigEntry]>, entry: &StoredEntry) -> bool {
    all.is_some_and(|all| {
        all.iter().any(|running| running.entry_id == entry.entry_id && running.title == entry.title)
    })
}
