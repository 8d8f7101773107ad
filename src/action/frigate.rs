//! What is kept of a Frigate to compare with later: the part of its configuration and statistics that says which cameras
//! it has and how each of them does. Pure. Nothing in it is a secret: no address of a camera, no password.

use serde_json::{Map, Value, json};

/// The cameras of a configuration (`/api/config`), in order.
pub(crate) fn camera_names(config: &Value) -> Vec<String> {
    let cameras = config.get("cameras").and_then(Value::as_object);
    let mut names: Vec<String> = cameras.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    names.sort();
    names
}

/// What `baseline` keeps of a Frigate, from `/api/version`, `/api/config` and `/api/stats`.
pub(crate) fn summary(version: &str, config: &Value, stats: &Value) -> Value {
    let mut cameras = Map::new();
    for name in camera_names(config) {
        let set = |path: &str| config.pointer(&format!("/cameras/{}{path}", escaped(&name))).cloned();
        let seen = |key: &str| stats.pointer(&format!("/cameras/{}/{key}", escaped(&name))).cloned();
        let camera = json!({
            "enabled": set("/enabled").unwrap_or(Value::Bool(true)),
            "record": set("/record/enabled"),
            "detect": set("/detect/enabled"),
            "camera_fps": seen("camera_fps"),
            "process_fps": seen("process_fps"),
            "skipped_fps": seen("skipped_fps"),
            "detection_fps": seen("detection_fps"),
            "detection_enabled": seen("detection_enabled"),
        });
        cameras.insert(name, camera);
    }
    let detectors = stats.get("detectors").and_then(Value::as_object);
    let detectors: Map<String, Value> = detectors
        .into_iter()
        .flatten()
        .map(|(name, detector)| (name.clone(), detector.get("inference_speed").cloned().unwrap_or_default()))
        .collect();
    json!({
        "version": version,
        "cameras": cameras,
        "client_id": config.pointer("/mqtt/client_id"),
        "topic_prefix": config.pointer("/mqtt/topic_prefix"),
        "mqtt_host": config.pointer("/mqtt/host"),
        "face_recognition": config.pointer("/face_recognition/enabled"),
        "detectors": detectors,
        "uptime": stats.pointer("/service/uptime"),
        "gpus": stats.get("gpu_usages").and_then(Value::as_object).map(|gpus| gpus.keys().collect::<Vec<_>>()),
    })
}

/// A name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
