//! The REST API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{self, Reply};
use super::core::{Inner, drop_connections};
use super::{entities, flows};

type Home = State<Arc<Inner>>;

/// All routes that a client of ours uses, and what is answered to the others.
pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/api/", get(async || answers::message(200, "API running.")))
        .route("/api/config", get(config))
        .route("/api/states", get(states))
        .route("/api/template", post(template))
        .route("/api/states/{id}", get(state))
        .route("/api/services/{domain}/{service}", post(service))
        .route("/api/config/core/check_config", post(check))
        .route("/api/config/config_entries/entry", get(entries))
        .route("/api/config/config_entries/entry/{id}", axum::routing::delete(remove))
        .route("/api/config/config_entries/entry/{id}/reload", post(reload))
        .route("/api/config/config_entries/flow", post(open_flow))
        .route("/api/config/config_entries/flow/{id}", get(flow).post(send_flow).delete(forget_flow))
        .method_not_allowed_fallback(async || Reply::Text(405, "405: Method Not Allowed".to_owned()))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&inner), known))
        .fallback(async || Reply::Text(404, "404: Not Found".to_owned()))
        .with_state(inner)
}

/// Lets nobody in without the token.
async fn known(State(inner): Home, headers: HeaderMap, request: Request<Body>, next: Next) -> Response {
    let token = inner.shared.store.look(|stored| format!("Bearer {}", stored.token));
    match headers.get("authorization").is_some_and(|given| given.as_bytes() == token.as_bytes()) {
        true => next.run(request).await,
        false => Reply::Text(401, "401: Unauthorized".to_owned()).into_response(),
    }
}

async fn config(State(inner): Home) -> Reply {
    let running = inner.memory().running;
    Reply::Json(200, answers::config(inner.shared.release(), running))
}

fn states_of(inner: &Inner, only: Option<&str>) -> Vec<Value> {
    let memory = inner.memory();
    inner.shared.store.look(|stored| {
        let wanted = stored.registry.iter().filter(|(id, _)| only.is_none_or(|only| *id == only));
        wanted
            .map(|(id, known)| entities::state(stored, id, known, &memory.entries, "camera-token"))
            .collect()
    })
}

async fn states(State(inner): Home) -> Reply {
    let mut all = states_of(&inner, None);
    all.push(json!({ "entity_id": "sun.sun", "state": "above_horizon", "attributes": {} }));
    Reply::Json(200, Value::Array(all))
}

/// Renders the one template that is asked for; it answers with text, not with JSON.
async fn template(State(inner): Home, body: Bytes) -> Reply {
    let asked = form_of(&body);
    if inner.shared.mishaps().no_templates {
        return Reply::Text(401, "401: Unauthorized".to_owned());
    }
    match asked.get("template").and_then(Value::as_str) {
        Some("{{ integration_entities('frigate') | list | length }}") => {
            Reply::Text(200, states_of(&inner, None).len().to_string())
        }
        _ => answers::message(400, "Error rendering template: the lab knows only one"),
    }
}

async fn state(State(inner): Home, Path(id): Path<String>) -> Reply {
    match states_of(&inner, Some(&id)).pop() {
        Some(state) => Reply::Json(200, state),
        None => answers::message(404, "Entity not found."),
    }
}

async fn service(State(inner): Home, Path((domain, service)): Path<(String, String)>) -> Reply {
    let mishaps = inner.shared.mishaps();
    match (domain.as_str(), service.as_str()) {
        ("homeassistant", "restart") if mishaps.invalid_config => return answers::trouble(),
        ("homeassistant", "restart" | "stop") => {}
        _ => return Reply::Text(400, "400: Bad Request".to_owned()),
    }
    inner.shared.wrote();
    if !mishaps.ignores_restart {
        let (shared, restarts) = (Arc::clone(&inner.shared), service == "restart");
        drop(inner);
        tokio::spawn(async move {
            // The answer is out first.
            tokio::time::sleep(Duration::from_millis(20)).await;
            shared.stop_core().await;
            let times = shared.times();
            if restarts {
                drop_connections(&shared.port, Duration::from_millis(times.drops)).await;
                tokio::time::sleep(Duration::from_millis(times.down)).await;
                if let Err(error) = shared.start_core().await {
                    tracing::warn!(%error, "the simulated Home Assistant does not come back");
                }
            }
        });
    }
    Reply::Json(200, json!([]))
}

async fn check(State(inner): Home) -> Reply {
    let valid = !inner.shared.mishaps().invalid_config;
    let (result, errors) = if valid { ("valid", Value::Null) } else { ("invalid", json!("Invalid config")) };
    Reply::Json(200, json!({ "result": result, "errors": errors, "warnings": null }))
}

#[derive(Deserialize)]
struct Which {
    domain: Option<String>,
}

async fn entries(State(inner): Home, Query(which): Query<Which>) -> Reply {
    let release = inner.shared.release();
    let memory = inner.memory();
    let wanted = memory
        .entries
        .iter()
        .filter(|entry| which.domain.as_ref().is_none_or(|domain| entry.domain() == domain));
    Reply::Json(200, wanted.map(|entry| entry.listed(release)).collect())
}

async fn remove(State(inner): Home, Path(id): Path<String>) -> Reply {
    match inner.remove(&id) {
        true => {
            inner.shared.wrote();
            Reply::Json(200, json!({ "require_restart": false }))
        }
        false => answers::message(404, "Invalid entry specified"),
    }
}

async fn reload(State(inner): Home, Path(id): Path<String>) -> Reply {
    match inner.with_entry(&id, |entry| entry.domain() == "frigate") {
        None => return answers::message(404, "Invalid entry specified"),
        Some(true) => inner.reload(&id).await,
        Some(false) => {}
    }
    Reply::Json(200, json!({ "require_restart": false }))
}

/// What is no JSON counts as an empty form.
fn form_of(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

async fn open_flow(State(inner): Home, body: Bytes) -> Reply {
    flows::open(&inner, &form_of(&body))
}

async fn flow(State(inner): Home, Path(id): Path<String>) -> Reply {
    flows::again(&inner, &id)
}

async fn send_flow(State(inner): Home, Path(id): Path<String>, body: Bytes) -> Reply {
    flows::send(&inner, &id, &form_of(&body)).await
}

async fn forget_flow(State(inner): Home, Path(id): Path<String>) -> Reply {
    flows::forget(&inner, &id)
}
