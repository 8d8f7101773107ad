//! What a Home Assistant has of Frigate before anything is changed, for `baseline` (facts/migration.md 8.1).

use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::Call;
use super::guest::Guest;
use super::pick::DOMAIN;
use super::{Trouble, flow};
use crate::transport::{Home, HomeError};

/// The Frigate entries with their addresses, how many entries and how many entities of Frigate there are, and the storage
/// file where the call names the virtual machine that it lies in. Nothing of it is a password. Changes nothing.
///
/// What the running one has comes before what its file says, which is written a little later.
pub(in crate::action) async fn census(home: &Home, call: &Call, deadline: Instant) -> Result<Value, Trouble> {
    let guest = Guest::named(&home.transport, call, ["ha_host", "ha_vmid", "ha_path"]);
    let guest = guest.map_err(Trouble::permanent)?;
    let all = home.entries(deadline).await?;
    let stored = match guest {
        Some(guest) => Some(guest.stored_without_passwords(deadline).await?),
        None => None,
    };
    let mut mine = Vec::new();
    for entry in all.iter().filter(|entry| entry.domain == DOMAIN) {
        let url = if entry.supports_reconfigure {
            let open = flow::open(home, entry, deadline).await?;
            let url = open.data.url.clone();
            flow::close(home, open, deadline).await;
            Some(url)
        } else {
            let mut in_file = stored.iter().flat_map(|stored| &stored.frigate);
            in_file.find(|stored| stored.entry_id == entry.entry_id).map(|stored| stored.data.url.clone())
        };
        mine.push(json!({
            "entry_id": entry.entry_id,
            "title": entry.title,
            "state": entry.state,
            "supports_reconfigure": entry.supports_reconfigure,
            "disabled_by": entry.disabled_by,
            "url": url,
        }));
    }
    let template = json!({ "template": "{{ integration_entities('frigate') | list | length }}" });
    let entities = match home.ask("POST", "/api/template", Some(&template), deadline).await {
        Ok(count) => count,
        // Only an administrator may: whoever is none still has the rest.
        Err(HomeError::Denied(_)) => Value::Null,
        Err(error) => return Err(error.into()),
    };
    let file = stored.map(|stored| json!({ "sha256": stored.sha256, "bytes": stored.bytes }));
    Ok(json!({ "entries": all.len(), "frigate": mine, "entities": entities, "file": file }))
}
