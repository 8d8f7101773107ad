//! What it says of itself: configuration, statistics, recordings. Shapes as recorded from 0.16.2.

use serde_json::{Map, Value, json};

use super::state::State;

/// `/api/config` of 0.16.2 as it was recorded, without label maps; `CAMERA` stands for each camera.
const CONFIG: &str = include_str!("config.json");

/// Frames a second of a camera.
const FPS: f64 = 5.0;

/// How large the recordings' volume is, in MB.
const VOLUME_MB: f64 = 200_000.0;

/// Seconds since the start, as far as a loop of restarts lets it.
pub(super) fn uptime(state: &State, now: u64) -> u64 {
    let up = now.saturating_sub(state.started);
    match state.switches.restarts_every {
        0 => up,
        every => up % every,
    }
}

/// `/api/stats` at this time.
pub(super) fn stats(state: &State, now: u64) -> Value {
    let now = if state.switches.stats_frozen { state.frozen_at } else { now };
    let up = uptime(state, now);
    // A snapshot is taken now and then.
    let since = up % state.setup.stats_every.max(1);
    let (up, taken) = (up - since, now - since.min(now));
    let warm = up >= state.switches.warm_up;
    let mut cameras = Map::new();
    let mut detecting = 0.0;
    for name in state.cameras() {
        let sends = warm && !state.switches.dead.contains(name);
        let fps = if sends { FPS } else { 0.0 };
        let skipped = if state.switches.skipping { fps } else { 0.0 };
        let processed = if state.switches.skipping && sends { 0.1 } else { fps };
        let detection = if state.detection() && sends && !state.switches.skipping { 0.4 } else { 0.0 };
        detecting += detection;
        cameras.insert(
            name.clone(),
            json!({
                "camera_fps": fps, "process_fps": processed, "skipped_fps": skipped, "detection_fps": detection,
                "detection_enabled": state.detection(), "pid": 301, "capture_pid": 302, "ffmpeg_pid": 303,
                "audio_rms": 0, "audio_dBFS": 0,
            }),
        );
    }
    let free = if state.switches.media_full { 12.0 } else { VOLUME_MB * 0.6 };
    // Before the first inference it is a constant.
    let inference = if detecting > 0.0 { 8.31 } else { 10.0 };
    let mut stats = json!({
        "cameras": cameras,
        "detectors": { "onnx": { "inference_speed": inference, "detection_start": 0.0, "pid": 300 } },
        "detection_fps": detecting,
        "service": {
            "uptime": up,
            "version": state.version(),
            "latest_version": "0.16.2",
            "storage": {
                "/media/frigate/recordings": {
                    "total": VOLUME_MB, "used": VOLUME_MB - free, "free": free, "mount_type": "ext4",
                },
                "/dev/shm": { "total": 2048.0, "used": 120.0, "free": 1928.0, "mount_type": "tmpfs" },
            },
            "last_updated": taken,
        },
    });
    if state.face_recognition() {
        stats["embeddings"] = json!({ "face_recognition_speed": 21.4, "face_recognition": 0.0 });
    } else if !state.setup.is_0_14() {
        stats["embeddings"] = json!({});
    }
    if let Some(gpu) = &state.setup.gpu {
        stats["gpu_usages"] = match state.switches.gpu_lost {
            true => json!({ "error-gpu": { "gpu": "", "mem": "" } }),
            false => {
                json!({ gpu: { "gpu": "1.0%", "mem": "43.8%", "enc": "0.0%", "dec": if warm { "4.0%" } else { "0.0%" } } })
            }
        };
    }
    stats
}

/// `/api/config`.
pub(super) fn config(state: &State) -> Value {
    let mut config: Value = serde_json::from_str(CONFIG).unwrap_or_else(|error| {
        unreachable!("it is part of the program, and a test reads it: {error}");
    });
    let camera = config["cameras"]["CAMERA"].take();
    let mut cameras = Map::new();
    for name in state.cameras() {
        let mut camera = camera.clone();
        camera["name"] = json!(name);
        camera["detect"]["enabled"] = json!(state.detection());
        camera["record"]["enabled"] = json!(true);
        camera["record"]["enabled_in_config"] = json!(true);
        camera["live"] = match state.setup.is_0_14() {
            true => json!({ "stream_name": name, "height": 720, "quality": 8 }),
            false => json!({ "streams": { name: name }, "height": 720, "quality": 8 }),
        };
        camera["face_recognition"]["enabled"] = json!(state.face_recognition());
        if state.setup.is_0_14() {
            without(&mut camera, &["face_recognition", "lpr"]);
        }
        cameras.insert(name.clone(), camera);
    }
    config["cameras"] = Value::Object(cameras);
    config["version"] = if state.setup.is_0_14() { json!(0.14) } else { json!("0.16-0") };
    config["detect"]["enabled"] = json!(state.detection());
    config["face_recognition"]["enabled"] = json!(state.face_recognition());
    if state.setup.is_0_14() {
        without(&mut config, &["face_recognition", "lpr", "classification"]);
    }
    let mqtt = &mut config["mqtt"];
    mqtt["enabled"] = json!(state.setup.broker.is_some());
    mqtt["client_id"] = json!(state.setup.client_id);
    mqtt["topic_prefix"] = json!(state.setup.topic_prefix);
    if let Some(login) = &state.setup.broker {
        (mqtt["port"], mqtt["user"]) = (json!(login.port), json!(login.user));
    }
    config
}

/// `/api/CAMERA/recordings` between two times: segments of ten seconds, the last of which has just ended.
pub(super) fn recordings(state: &State, camera: &str, now: u64, after: f64, before: f64) -> Value {
    let records = state.setup.cameras.contains(camera)
        && !state.switches.dead.contains(camera)
        && !state.switches.media_full
        && uptime(state, now) >= state.switches.warm_up;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
    let (start, now) = ((now - uptime(state, now)) as f64, now as f64);
    let mut list = Vec::new();
    let mut end = now - now % 10.0;
    // An hour is more than anybody asks for.
    while records && end - 10.0 >= start && end >= after && list.len() < 360 {
        if end - 10.0 <= before {
            list.push(json!({
                "id": format!("{end}-{camera}"), "start_time": end - 10.0, "end_time": end, "segment_size": 4.2,
                "motion": 3, "objects": 0, "duration": 10.0,
            }));
        }
        end -= 10.0;
    }
    list.reverse();
    Value::Array(list)
}

fn without(value: &mut Value, keys: &[&str]) {
    if let Value::Object(table) = value {
        keys.iter().for_each(|key| drop(table.remove(*key)));
    }
}
