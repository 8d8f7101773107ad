//! The file `core.config_entries`: written whole from memory, read once at a start, put aside when it is damaged.
//!
//! Sources: facts/migration.md 4.1 and 4.2, transcripts `ha-storage-file.json` and `ha-config-entries-files.json`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::entry::Entry;
use super::{FRIGATE_ENTRY, Release, Settings};

/// Its path in the lab's folder.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join(".storage/core.config_entries")
}

/// Writes the file of an installation that has been used for a while.
pub(super) fn begin(folder: &Path, settings: &Settings) -> io::Result<()> {
    let path = file(folder);
    if path.exists() {
        return Ok(());
    }
    let mut entries = vec![json!({
        "data": { "broker": "core-mosquitto", "port": 1883, "username": "homeassistant", "password": "lab-mqtt" },
        "domain": "mqtt",
        "entry_id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "title": "mqtt",
        "version": 1,
    })];
    if !settings.frigate_url.is_empty() {
        let mut data = json!({ "url": settings.frigate_url });
        if settings.release == Release::Reconfigures {
            data["validate_ssl"] = json!(false);
            data["username"] = json!("");
            data["password"] = json!("");
        }
        entries.push(json!({
            "data": data,
            "domain": "frigate",
            "entry_id": FRIGATE_ENTRY,
            "title": super::frigate::title_of(&settings.frigate_url),
            "version": 2,
        }));
    }
    entries.extend(settings.entries.iter().cloned());
    let entries: Vec<Entry> = entries
        .into_iter()
        .filter_map(|entry| match entry {
            Value::Object(entry) => Some(Entry::of(whole(entry, settings.release))),
            _ => None,
        })
        .collect();
    write(folder, &entries, settings.release)
}

/// An entry with every key that the release writes.
pub(super) fn whole(mut entry: Map<String, Value>, release: Release) -> Map<String, Value> {
    let mut rest = json!({
        "data": {},
        "disabled_by": null,
        "minor_version": 1,
        "options": {},
        "pref_disable_new_entities": false,
        "pref_disable_polling": false,
        "source": "user",
        "unique_id": null,
        "version": 1,
    });
    if release == Release::Reconfigures {
        rest["created_at"] = json!("1970-01-01T00:00:00+00:00");
        rest["modified_at"] = json!("1970-01-01T00:00:00+00:00");
        rest["discovery_keys"] = json!({});
        rest["subentries"] = json!([]);
    }
    if let Value::Object(rest) = rest {
        for (key, value) in rest {
            entry.entry(key).or_insert(value);
        }
    }
    entry
}

/// Writes all entries, as the release lays them out: the newer one has an entry on a line.
pub(super) fn write(folder: &Path, entries: &[Entry], release: Release) -> io::Result<()> {
    let path = file(folder);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let minor = if release == Release::Reconfigures { 5 } else { 1 };
    let sorted = |entry: &Entry| {
        let sorted: std::collections::BTreeMap<&String, &Value> = entry.stored.iter().collect();
        json!(sorted)
    };
    let text = match release {
        Release::Reconfigures => {
            let lines: Vec<String> =
                entries.iter().map(|entry| format!("\n      {}", sorted(entry))).collect();
            let end = if lines.is_empty() { "" } else { "\n    " };
            format!(
                "{{\n  \"version\": 1,\n  \"minor_version\": {minor},\n  \"key\": \"core.config_entries\",\n  \"data\": {{\n    \
                 \"entries\": [{}{end}]\n  }}\n}}",
                lines.join(",")
            )
        }
        Release::AddsSecond => {
            let all = json!({
                "version": 1,
                "minor_version": minor,
                "key": "core.config_entries",
                "data": { "entries": entries.iter().map(sorted).collect::<Vec<Value>>() },
            });
            serde_json::to_string_pretty(&all).map_err(io::Error::other)?
        }
    };
    let beside = path.with_file_name(".core.config_entries.new");
    fs::write(&beside, text)?;
    fs::rename(&beside, &path)
}

/// Reads all entries. A file that is no JSON, an empty one too, is put aside, and there are none then.
pub(super) fn read(folder: &Path) -> io::Result<Vec<Entry>> {
    let path = file(folder);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let read = serde_json::from_slice::<Value>(&bytes).ok();
    let entries = read.as_ref().and_then(|all| all.pointer("/data/entries")?.as_array());
    let Some(entries) = entries else {
        let now =
            Timestamp::from_millisecond(i64::try_from(super::now_ms()).unwrap_or(0)).unwrap_or_default();
        let aside = format!("core.config_entries.corrupt.{}", iso(now));
        tracing::warn!(%aside, "the simulated Home Assistant cannot read its config entries");
        fs::rename(&path, path.with_file_name(aside))?;
        return Ok(Vec::new());
    };
    Ok(entries.iter().filter_map(Value::as_object).map(|entry| Entry::of(entry.clone())).collect())
}

/// A time as Home Assistant writes it: `2026-11-23T01:41:44.044077+00:00`.
pub(super) fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}
