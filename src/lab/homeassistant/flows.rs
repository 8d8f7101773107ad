//! Config flows of the Frigate integration, step by step as the recorded ones.
//!
//! Source: transcripts `ha-reconfigure.json`, `ha-2024.3.3.json`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::core::Inner;
use super::frigate;
use super::{Release, answers};
use answers::Reply;

/// What the form for a new entry proposes.
const PROPOSED: &str = "http://ccab4aaf-frigate:5000";

/// An open flow.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    /// The entry that it changes; absent: it adds one.
    entry: Option<String>,
    /// What is taken for what is left out.
    defaults: Map<String, Value>,
}

/// The fields of the form, with what a new entry gets.
fn proposal(release: Release) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("url".to_owned(), json!(PROPOSED));
    if release == Release::Reconfigures {
        fields.insert("validate_ssl".to_owned(), json!(true));
        fields.insert("username".to_owned(), json!(""));
        fields.insert("password".to_owned(), json!(""));
    }
    fields
}

fn form(id: &str, flow: &Flow, errors: Value) -> Value {
    let mut schema = Vec::new();
    for (name, kind, required) in [
        ("url", "string", true),
        ("validate_ssl", "boolean", true),
        ("username", "string", false),
        ("password", "string", false),
    ] {
        let Some(default) = flow.defaults.get(name) else { continue };
        let need = if required { "required" } else { "optional" };
        schema.push(json!({ "type": kind, "name": name, need: true, "default": default }));
    }
    json!({ "type": "form", "flow_id": id, "handler": "frigate", "data_schema": schema, "errors": errors,
        "description_placeholders": null, "last_step": null, "preview": null, "step_id": "user" })
}

/// `POST /api/config/config_entries/flow`.
pub(super) fn open(inner: &Arc<Inner>, body: &Value) -> Reply {
    let release = inner.shared.release();
    let Some(handler) = body.get("handler").and_then(Value::as_str) else {
        return answers::message(
            400,
            "Message format incorrect: required key not provided @ data['handler']",
        );
    };
    let named = body.get("entry_id").and_then(Value::as_str);
    let known = named
        .map(|id| inner.with_entry(id, |entry| entry.data("url").is_some().then(|| entry.stored.clone())));
    match handler {
        "frigate" => {}
        "mqtt" if release == Release::Reconfigures => {
            return Reply::Json(200, answers::mqtt_form(&inner.name()));
        }
        _ => return answers::message(404, "Invalid handler specified"),
    }
    let mut flow = Flow { entry: None, defaults: proposal(release) };
    if release == Release::Reconfigures && !inner.shared.mishaps().lies_about_reconfigure {
        match known {
            None => {}
            Some(Some(Some(stored))) => {
                flow.entry = named.map(str::to_owned);
                for (name, default) in &mut flow.defaults {
                    if let Some(value) = stored.get("data").and_then(|data| data.get(name)) {
                        *default = value.clone();
                    }
                }
            }
            Some(_) => return answers::trouble(),
        }
    }
    if let (true, Some(entry)) = (inner.shared.mishaps().meddles, &flow.entry) {
        inner.with_entry(entry, |entry| entry.modified(release));
        inner.save_soon();
    }
    let id = inner.name();
    let answer = form(&id, &flow, Value::Null);
    inner.memory().flows.insert(id, flow);
    Reply::Json(200, answer)
}

/// `GET …/flow/ID`: the step runs again, and what it takes for what is left out is the integration's.
pub(super) fn again(inner: &Inner, id: &str) -> Reply {
    let release = inner.shared.release();
    let mut memory = inner.memory();
    let Some(flow) = memory.flows.get_mut(id) else { return gone() };
    flow.defaults = proposal(release);
    Reply::Json(200, form(id, flow, Value::Null))
}

/// `DELETE …/flow/ID`.
pub(super) fn forget(inner: &Inner, id: &str) -> Reply {
    match inner.memory().flows.remove(id) {
        Some(_) => answers::message(200, "Flow aborted"),
        None => gone(),
    }
}

/// `POST …/flow/ID`.
pub(super) async fn send(inner: &Arc<Inner>, id: &str, body: &Value) -> Reply {
    let Some(mut flow) = inner.memory().flows.get(id).cloned() else { return gone() };
    let mut data = flow.defaults.clone();
    for (name, value) in body.as_object().into_iter().flatten() {
        if !data.contains_key(name) {
            let error = format!("extra keys not allowed @ data['{name}']");
            return Reply::Json(400, json!({ "errors": { "base": [error] } }));
        }
        data.insert(name.clone(), value.clone());
    }
    let url = data.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    let asks_again = |flow: &Flow, word: &str| {
        inner.memory().flows.insert(id.to_owned(), flow.clone());
        Reply::Json(200, form(id, flow, json!({ "base": word })))
    };
    flow.defaults = data.clone();
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return asks_again(&flow, "invalid_url");
    }
    let validate = data.get("validate_ssl") != Some(&json!(false));
    if !inner.shared.reaches(&url) || frigate::stats(&url, validate).await.is_none() {
        return asks_again(&flow, "cannot_connect");
    }
    inner.memory().flows.remove(id);
    let ended = |reason: &str| {
        json!({ "type": "abort", "flow_id": id, "handler": "frigate", "reason": reason,
            "description_placeholders": null })
    };
    let answer = match &flow.entry {
        Some(entry) => {
            inner.reconfigure(entry, data, &url);
            inner.reload_soon(entry);
            ended("reconfigure_successful")
        }
        None if inner
            .memory()
            .entries
            .iter()
            .any(|entry| entry.domain() == "frigate" && entry.url() == url) =>
        {
            return Reply::Json(200, ended("already_configured"));
        }
        None => {
            let entry = inner.add(Value::Object(data), &url);
            inner.reload(&entry).await;
            let release = inner.shared.release();
            let listed = inner.with_entry(&entry, |entry| entry.listed(release));
            json!({ "version": 2, "minor_version": 1, "type": "create_entry", "flow_id": id, "handler": "frigate",
                "description": null, "description_placeholders": null, "title": frigate::title_of(&url), "options": {},
                "result": listed })
        }
    };
    inner.shared.wrote();
    let drops = inner.shared.mishaps().drops_flow_answers;
    if drops > 0 {
        super::complain(inner.shared.store.change(|stored| stored.mishaps.drops_flow_answers = drops - 1));
        return Reply::Drop;
    }
    Reply::Json(200, answer)
}

fn gone() -> Reply {
    answers::message(404, "Invalid flow specified")
}
