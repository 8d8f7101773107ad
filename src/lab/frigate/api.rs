//! What it answers, as the real one was recorded, its slips included: creating a face answers `success: false` although
//! it was created, and an unknown path of one part is an unknown camera.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State as Part};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use super::Inner;
use super::stats::{config, recordings, stats};

/// The largest body that is taken.
const BODY_MAX: usize = 1 << 20;

/// The cookie of a login: this lab's sessions never end.
const COOKIE: &str = "frigate_token=lab";

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new().fallback(dated).with_state(inner)
}

/// An answer before it has a date.
enum Say {
    Text(u16, String),
    Json(u16, Value),
    /// A status and a header, without a body.
    Bare(u16, HeaderName, String),
}

async fn dated(Part(inner): Part<Arc<Inner>>, request: Request) -> Response {
    let said = answer(&inner, request).await;
    let seconds = i64::try_from(inner.clock.now().as_secs()).unwrap_or(i64::MAX);
    let mut response = Response::builder();
    let date = jiff::Timestamp::from_second(seconds)
        .and_then(|now| jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now));
    if let Ok(date) = date {
        response = response.header(header::DATE, date);
    }
    let built = match said {
        Say::Text(status, text) => response
            .status(status)
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Body::from(text)),
        Say::Json(status, value) => response
            .status(status)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(value.to_string())),
        Say::Bare(status, name, value) => response.status(status).header(name, value).body(Body::empty()),
    };
    built.unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

async fn answer(inner: &Inner, request: Request) -> Say {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let query: BTreeMap<String, String> =
        Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default();
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return Say::Json(413, json!({ "detail": "too large" }));
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let login = inner.store.look(|state| state.setup.login.clone());
    if path == "/api/login" && parts.method == Method::POST {
        return logged_in(login.as_ref(), &body);
    }
    if login.is_some() && !knows_cookie(&parts.headers) {
        return Say::Bare(401, header::LOCATION, "/login".to_owned());
    }
    if let Some(trimmed) = path.strip_suffix('/').filter(|path| *path != "/api") {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        return Say::Bare(307, header::LOCATION, format!("http://{host}{trimmed}"));
    }
    let method = parts.method.as_str();
    match (method, path.as_str()) {
        ("GET", _) => looked_at(inner, &path, &parts.headers, &query),
        ("POST" | "PUT", _) => changed(inner, &path, &parts.headers, &body),
        _ => Say::Json(405, json!({ "detail": "Method Not Allowed" })),
    }
}

fn looked_at(inner: &Inner, path: &str, headers: &HeaderMap, query: &BTreeMap<String, String>) -> Say {
    let now = inner.clock.now().as_secs();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let user = || text("remote-user").unwrap_or_else(|| "anonymous".to_owned());
    let role = || text("remote-role").unwrap_or_else(|| "viewer".to_owned());
    inner.store.look(|state| match path {
        "/api" | "/api/" => Say::Text(200, "Frigate is running. Alive and healthy!".to_owned()),
        "/api/version" => Say::Text(200, state.version().to_owned()),
        "/api/stats" => Say::Json(200, stats(state, now)),
        "/api/config" => Say::Json(200, config(state)),
        "/api/config/raw" => Say::Json(404, json!({ "success": false, "message": "Could not find file" })),
        "/api/config/schema.json" => Say::Json(200, json!({ "title": "FrigateConfig" })),
        "/api/faces" if !state.setup.is_0_14() => Say::Json(200, json!(state.faces)),
        "/api/go2rtc/streams" => Say::Text(500, "Internal Server Error".to_owned()),
        "/api/nvinfo" => Say::Json(200, json!({})),
        "/api/events" | "/api/labels" | "/api/sub_labels" | "/api/users" => Say::Json(200, json!([])),
        "/api/review" if text("remote-user").is_none() => {
            Say::Json(401, json!({ "message": "No authorization headers." }))
        }
        "/api/review" => Say::Json(200, json!([])),
        "/api/metrics" => {
            Say::Text(200, format!("frigate_service_uptime_seconds {}\n", super::stats::uptime(state, now)))
        }
        "/api/profile" => Say::Json(200, json!({ "username": user(), "role": role() })),
        "/api/auth" if text("x-server-port").as_deref() == Some("5000") => {
            Say::Bare(202, HeaderName::from_static("remote-role"), "admin".to_owned())
        }
        "/api/auth" => Say::Bare(401, header::LOCATION, "/login".to_owned()),
        _ if path.starts_with("/api/logs/") => {
            Say::Json(500, json!({ "success": false, "message": "Could not find log file" }))
        }
        _ if path.starts_with("/api/events/") => Say::Json(404, json!("Event not found")),
        _ => match path.strip_prefix("/api/").and_then(|rest| rest.strip_suffix("/recordings")) {
            Some(camera) => {
                let at = |key: &str| query.get(key).and_then(|text| text.parse().ok());
                #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
                let (after, before) =
                    (at("after").unwrap_or(now as f64 - 3600.0), at("before").unwrap_or(now as f64));
                Say::Json(200, recordings(state, camera, now, after, before))
            }
            None => Say::Json(404, json!({ "success": false, "message": "Camera not found" })),
        },
    })
}

fn changed(inner: &Inner, path: &str, headers: &HeaderMap, body: &Value) -> Say {
    let role = headers.get("remote-role").and_then(|value| value.to_str().ok());
    let off = || Say::Json(400, json!({ "message": "Face recognition is not enabled.", "success": false }));
    let missing = |name: &str| {
        let detail =
            json!([{ "type": "missing", "loc": ["body", name], "msg": "Field required", "input": body }]);
        Say::Json(422, json!({ "detail": detail }))
    };
    match role {
        None => return Say::Json(403, json!({ "detail": "Role not provided" })),
        Some("admin") => {}
        Some(role) => {
            let detail = format!("Role {role} not authorized. Required: admin");
            return Say::Json(403, json!({ "detail": detail }));
        }
    }
    let now = inner.clock.now().as_secs();
    let changed = inner.store.change(|state| match path {
        "/api/restart" => {
            state.writes += 1;
            state.started = now;
            Say::Json(
                200,
                json!({ "success": true, "message": "Restarting (this can take up to one minute)..." }),
            )
        }
        "/api/faces/recognize" => missing("file"),
        "/api/faces/reprocess" if !state.face_recognition() => off(),
        "/api/config/save" => {
            Say::Json(400, json!({ "success": false, "message": "\nYour configuration is invalid." }))
        }
        _ => match path.strip_prefix("/api/faces/").and_then(|rest| rest.strip_suffix("/create")) {
            Some(_) if !state.face_recognition() => off(),
            Some(name) => {
                state.writes += 1;
                state.faces.entry(name.to_owned()).or_default();
                // It says so although it worked.
                Say::Json(200, json!({ "success": false, "message": "Successfully created face folder." }))
            }
            None => Say::Json(404, json!({ "success": false, "message": "Camera not found" })),
        },
    });
    changed.unwrap_or_else(|error| Say::Text(500, error.to_string()))
}

fn logged_in(login: Option<&(String, String)>, body: &Value) -> Say {
    let missing: Vec<Value> = ["user", "password"]
        .into_iter()
        .filter(|key| body.get(key).is_none())
        .map(|key| json!({ "type": "missing", "loc": ["body", key], "msg": "Field required", "input": body }))
        .collect();
    if !missing.is_empty() {
        return Say::Json(422, json!({ "detail": missing }));
    }
    match login {
        Some((user, password)) if body["user"] == json!(user) && body["password"] == json!(password) => {
            Say::Bare(200, header::SET_COOKIE, format!("{COOKIE}; HttpOnly; Path=/; SameSite=lax"))
        }
        _ => Say::Json(401, json!({ "message": "Login failed" })),
    }
}

fn knows_cookie(headers: &HeaderMap) -> bool {
    let cookies = headers.get(header::COOKIE).and_then(|cookies| cookies.to_str().ok()).unwrap_or_default();
    cookies.split(';').any(|pair| pair.trim() == COOKIE)
}
