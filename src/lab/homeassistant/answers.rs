//! Answers that are the same whatever was asked.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Release;

/// What is answered.
pub(super) enum Reply {
    Json(u16, Value),
    Text(u16, String),
    /// Nothing: the connection ends.
    Drop,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let (status, kind, body) = match self {
            Reply::Json(status, value) => (status, "application/json", Body::from(value.to_string())),
            Reply::Text(status, text) => (status, "text/plain; charset=utf-8", Body::from(text)),
            Reply::Drop => {
                // A body that breaks off before its first byte: the client has no answer it can use.
                let broken = futures_util::stream::once(std::future::ready(Err::<Vec<u8>, std::io::Error>(
                    std::io::Error::other("dropped"),
                )));
                (200, "application/json", Body::from_stream(broken))
            }
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, kind)], body).into_response()
    }
}

pub(super) fn message(status: u16, text: &str) -> Reply {
    Reply::Json(status, json!({ "message": text }))
}

pub(super) fn trouble() -> Reply {
    Reply::Text(500, "500 Internal Server Error\n\nServer got itself in trouble".to_owned())
}

/// `/api/config`.
pub(super) fn config(release: Release, running: bool) -> Value {
    let mut config = json!({
        "allowlist_external_dirs": ["/config/www", "/media"],
        "allowlist_external_urls": [],
        "components": ["api", "backup", "camera", "config", "frigate", "frigate.camera", "frigate.sensor", "http", "mqtt"],
        "config_dir": "/config",
        "config_source": "yaml",
        "country": null,
        "currency": "EUR",
        "elevation": 0,
        "external_url": null,
        "internal_url": null,
        "language": "en",
        "latitude": 0.0,
        "location_name": "test",
        "longitude": 0.0,
        "recovery_mode": false,
        "safe_mode": false,
        "state": if running { "RUNNING" } else { "NOT_RUNNING" },
        "time_zone": "UTC",
        "unit_system": {
            "length": "km",
            "accumulated_precipitation": "mm",
            "mass": "g",
            "pressure": "Pa",
            "temperature": "°C",
            "volume": "L",
            "wind_speed": "m/s",
        },
        "version": match release {
            Release::Reconfigures => "2025.4.4",
            Release::AddsSecond => "2024.3.3",
        },
        "whitelist_external_dirs": ["/config/www", "/media"],
    });
    if release == Release::Reconfigures {
        config["debug"] = json!(false);
        config["radius"] = json!(100);
        config["unit_system"]["area"] = json!("m²");
    }
    config
}

/// The first form of the MQTT integration.
pub(super) fn mqtt_form(id: &str) -> Value {
    let text = |kind: &str| json!({ "text": { "type": kind, "multiple": false, "multiline": false } });
    json!({
        "type": "form", "flow_id": id, "handler": "mqtt", "errors": {}, "description_placeholders": null,
        "last_step": null, "preview": null, "step_id": "broker",
        "data_schema": [
            { "selector": text("text"), "name": "broker", "required": true, "default": null },
            { "selector": { "number": { "mode": "box", "min": 1.0, "max": 65535.0, "step": 1.0 } }, "type": "integer",
              "name": "port", "required": true, "default": 1883 },
            { "selector": text("text"), "name": "username", "description": { "suggested_value": "" }, "optional": true },
            { "selector": text("password"), "name": "password", "description": { "suggested_value": null },
              "optional": true },
        ],
    })
}
