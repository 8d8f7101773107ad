//! What the answers of a Frigate mean. Pure: the same answers, the same judgement.
//!
//! Three kinds of remarks: what is *bad* whenever it is seen; what is bad unless Frigate has just started, which is *open*
//! until its grace is over; and what nobody can know from these answers, which is open as well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};

use super::wanted::Wanted;
use crate::action::camera_names;

/// What a detector says before its first inference, in milliseconds (0.14.1 to 0.17.2; facts/migration.md 5.3).
const PLACEHOLDER_MS: f64 = 10.0;

/// Where Frigate records.
const RECORDINGS: &str = "/media/frigate/recordings";

/// Below this a camera sends nothing, in frames a second.
const FPS_LEAST: f64 = 0.1;

/// How often Frigate takes its statistics, in seconds, and a little (`stats/emitter.py`).
const STATS_EVERY: f64 = 20.0;

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) version: String,
    pub(super) config: Value,
    pub(super) stats: Value,
    /// The statistics of the first of two looks.
    pub(super) earlier: Option<Value>,
    /// The time there, in seconds since 1970.
    pub(super) now: Option<i64>,
    /// The end of the newest recording, by camera, in seconds since 1970.
    pub(super) newest: BTreeMap<String, f64>,
    pub(super) faces: Option<usize>,
    /// The statistics of the old Frigate, which still runs.
    pub(super) beside: Option<Value>,
}

/// What they mean.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) bad: Vec<String>,
    pub(super) open: Vec<String>,
    /// What to say when all is well.
    pub(super) well: String,
    pub(super) facts: Map<String, Value>,
}

impl Seen {
    fn camera(&self, name: &str) -> Option<&Value> {
        self.config.get("cameras")?.get(name)
    }

    fn enabled(&self, name: &str) -> bool {
        self.camera(name).is_some_and(|camera| camera.get("enabled").is_none_or(truthy))
    }

    /// Whether an enabled camera records.
    pub(super) fn records(&self, name: &str) -> bool {
        let on = self.camera(name).and_then(|camera| camera.pointer("/record/enabled"));
        self.enabled(name) && on.is_some_and(truthy)
    }

    fn service(&self, key: &str) -> Option<f64> {
        number(self.stats.get("service")?.get(key))
    }
}

/// Remarks while they are made.
struct Remarks {
    judged: Judged,
    /// Frigate has just started.
    young: bool,
    uptime: f64,
}

impl Remarks {
    fn bad(&mut self, remark: String) {
        self.judged.bad.push(remark);
    }

    fn open(&mut self, remark: String) {
        self.judged.open.push(remark);
    }

    /// Bad, unless it has just started.
    fn when_up(&mut self, remark: String) {
        match self.young {
            true => self.judged.open.push(format!("{remark} ({}s after its start)", self.uptime)),
            false => self.judged.bad.push(remark),
        }
    }

    fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.judged.facts.insert(name.to_owned(), value.into());
    }
}

pub(super) fn judge(wanted: &Wanted, seen: &Seen) -> Judged {
    let uptime = seen.service("uptime").unwrap_or(0.0);
    let young = uptime < wanted.grace.as_secs_f64();
    let mut remarks = Remarks { judged: Judged::default(), young, uptime };
    service(wanted, seen, &mut remarks);
    gone_on(wanted, seen, &mut remarks);
    let names = camera_names(&seen.config);
    camera_set(wanted, seen, &names, &mut remarks);
    cameras(wanted, seen, &names, &mut remarks);
    detector(wanted, seen, &mut remarks);
    face_recognition(wanted, seen, &mut remarks);
    recordings(wanted, seen, &names, &mut remarks);
    gpu(wanted, seen, &mut remarks);
    let mut judged = remarks.judged;
    judged.well = format!("version {}, {} cameras, up for {uptime}s", seen.version, names.len());
    judged
}

fn service(wanted: &Wanted, seen: &Seen, remarks: &mut Remarks) {
    remarks.fact("version", seen.version.clone());
    remarks.fact("uptime", remarks.uptime);
    if let Some(version) = &wanted.version
        && !is_version(&seen.version, version)
    {
        remarks.bad(format!("its version is `{}`, not `{version}`", seen.version));
    }
    if seen.config.get("safe_mode").is_some_and(truthy) {
        remarks.bad("it runs in safe mode: its configuration is invalid".to_owned());
    }
    if let Some(least) = wanted.min_uptime
        && remarks.uptime < least.as_secs_f64()
    {
        remarks.open(format!("it is up for {}s, not yet for {least:?}", remarks.uptime));
    }
    let updated = seen.service("last_updated").filter(|updated| *updated > 0.0);
    remarks.fact("last_updated", updated.map_or(Value::Null, Value::from));
    match (updated, seen.now) {
        (None, _) => remarks.when_up("it does not say when its statistics were taken".to_owned()),
        (Some(_), None) => {
            remarks
                .open("its answers have no date, so that the age of its statistics is not known".to_owned());
        }
        #[expect(clippy::cast_precision_loss, reason = "a time of day is exact until the year 285428681")]
        (Some(updated), Some(now)) => {
            let age = now as f64 - updated;
            remarks.fact("age", age);
            if age > wanted.fresh_within.as_secs_f64() {
                remarks.bad(format!("its statistics are {age}s old: they stand still"));
            }
        }
    }
}

/// What must have gone on between two looks.
fn gone_on(wanted: &Wanted, seen: &Seen, remarks: &mut Remarks) {
    let (Some(earlier), Some(apart)) = (&seen.earlier, wanted.apart) else { return };
    let was = |key: &str| number(earlier.get("service").and_then(|service| service.get(key)));
    let (Some(before), Some(updated), Some(now)) =
        (was("uptime"), was("last_updated"), seen.service("last_updated"))
    else {
        return remarks.open("it does not say how long it is up".to_owned());
    };
    if remarks.uptime < before {
        remarks.bad(format!(
            "it has restarted while it was looked at: up for {before}s, then for {}s",
            remarks.uptime
        ));
    } else if now <= updated {
        match apart >= Duration::from_secs_f64(STATS_EVERY) {
            true => remarks.bad(format!("its statistics have stood still for {apart:?}")),
            false => remarks.open(format!("its statistics have not been taken again within {apart:?}")),
        }
    }
}

fn camera_set(wanted: &Wanted, seen: &Seen, names: &[String], remarks: &mut Remarks) {
    remarks.fact("cameras", names.len());
    if names.is_empty() {
        remarks.bad("it has no cameras".to_owned());
    }
    let before = wanted.before.as_ref().and_then(|before| before.get("cameras")?.as_object());
    let expected: Option<BTreeSet<String>> = match before {
        Some(cameras) => Some(cameras.keys().cloned().collect()),
        None => wanted.cameras.clone(),
    };
    let Some(expected) = expected else { return };
    let there: BTreeSet<String> = names.iter().cloned().collect();
    for missing in expected.difference(&there) {
        remarks.bad(format!("camera `{missing}` is missing"));
    }
    for more in there.difference(&expected) {
        remarks.bad(format!("camera `{more}` was not expected"));
    }
    for (name, camera) in before.into_iter().flatten() {
        if there.contains(name) && camera.get("enabled").is_some_and(truthy) && !seen.enabled(name) {
            remarks.bad(format!("camera `{name}` is disabled, and was not before"));
        }
    }
}

fn cameras(wanted: &Wanted, seen: &Seen, names: &[String], remarks: &mut Remarks) {
    let (mut bad, mut bad_before) = (Vec::new(), Vec::new());
    let (mut slowest, mut most_skipped) = (None::<f64>, None::<f64>);
    for name in names.iter().filter(|name| seen.enabled(name)) {
        let now = seen.stats.get("cameras").and_then(|cameras| cameras.get(name));
        let before = wanted.before.as_ref().and_then(|before| before.get("cameras")?.get(name));
        if let Some(fault) = fault(wanted, now) {
            let beside = seen.beside.as_ref().map(|stats| stats.get("cameras").and_then(|all| all.get(name)));
            let excused = wanted.known_bad.contains(name)
                || before.is_some_and(|camera| self::fault(wanted, Some(camera)).is_some())
                || beside.is_some_and(|camera| self::fault(wanted, camera).is_some());
            if excused {
                bad_before.push(name.clone());
                continue;
            }
            bad.push(name.clone());
            remarks.when_up(format!("camera `{name}` {fault}"));
        } else if let Some(camera) = now {
            let process = number(camera.get("process_fps")).unwrap_or(0.0);
            slowest = Some(slowest.map_or(process, |slowest| slowest.min(process)));
            let ratio = skipped(camera);
            most_skipped = Some(most_skipped.map_or(ratio, |most| most.max(ratio)));
        }
        let off_before =
            before.and_then(|camera| camera.get("detection_enabled")).is_some_and(|on| !truthy(on));
        let on = now.and_then(|camera| camera.get("detection_enabled")).map(truthy);
        if wanted.detection && on == Some(false) && !off_before {
            remarks.bad(format!(
                "detection is off for camera `{name}`: since 0.16 it is unless `detect.enabled` is true"
            ));
        }
    }
    remarks.fact("cameras_bad", bad);
    remarks.fact("cameras_bad_before", bad_before);
    remarks.fact("process_fps", slowest.map_or(Value::Null, Value::from));
    remarks.fact("skipped_ratio", most_skipped.map_or(Value::Null, Value::from));
}

/// What is wrong with the frames of a camera; nothing when all is well.
fn fault(wanted: &Wanted, camera: Option<&Value>) -> Option<String> {
    let Some(camera) = camera else { return Some("is not among the statistics".to_owned()) };
    let fps = |key: &str| number(camera.get(key)).unwrap_or(0.0);
    let (sent, processed) = (fps("camera_fps"), fps("process_fps"));
    if sent < FPS_LEAST {
        return Some("sends no frames".to_owned());
    }
    let ratio = skipped(camera);
    if ratio > wanted.max_skipped {
        return Some(format!(
            "has {:.0} % of its frames skipped: {processed} of {sent} a second are processed",
            ratio * 100.0
        ));
    }
    (processed < wanted.min_process_fps)
        .then(|| format!("has {processed} of {sent} frames a second processed"))
}

/// The share of a camera's frames that is skipped.
fn skipped(camera: &Value) -> f64 {
    let fps = |key: &str| number(camera.get(key)).unwrap_or(0.0);
    let sent = fps("camera_fps");
    if sent > 0.0 { fps("skipped_fps") / sent } else { 0.0 }
}

fn detector(wanted: &Wanted, seen: &Seen, remarks: &mut Remarks) {
    remarks.fact("detection_fps", number(seen.stats.get("detection_fps")).map_or(Value::Null, Value::from));
    let detectors = seen.stats.get("detectors").and_then(Value::as_object);
    let times: Vec<(&String, f64)> = detectors
        .into_iter()
        .flatten()
        .filter_map(|(name, detector)| Some((name, number(detector.get("inference_speed"))?)))
        .collect();
    let measured: Vec<_> = times.iter().filter(|(_, ms)| *ms != PLACEHOLDER_MS && *ms > 0.0).collect();
    let slowest = measured.iter().map(|(_, ms)| *ms).reduce(f64::max);
    remarks.fact("inference_ms", slowest.map_or(Value::Null, Value::from));
    if wanted.detection && times.is_empty() {
        remarks.when_up("it has no detector".to_owned());
    }
    let Some(most) = wanted.detector_max_ms else { return };
    if measured.is_empty() {
        remarks.open(
            "no detector has measured anything yet: exactly 10.0 ms is what Frigate says before".to_owned(),
        );
    }
    for (name, ms) in measured.into_iter().filter(|(_, ms)| *ms > most) {
        remarks.when_up(format!("detector `{name}` takes {ms} ms, more than {most}"));
    }
}

fn face_recognition(wanted: &Wanted, seen: &Seen, remarks: &mut Remarks) {
    let on = seen.config.pointer("/face_recognition/enabled").is_some_and(truthy);
    remarks.fact("face_recognition", on);
    if !wanted.face_recognition {
        return;
    }
    // `/api/faces` answers `{}` with recognition off as well: it is told, and proves nothing.
    remarks.fact("faces", seen.faces.map_or(Value::Null, Value::from));
    if !on {
        remarks.bad("face recognition is off".to_owned());
    } else if seen.stats.pointer("/embeddings/face_recognition_speed").is_none() {
        remarks.when_up("face recognition is configured, but its process says nothing".to_owned());
    }
}

fn recordings(wanted: &Wanted, seen: &Seen, names: &[String], remarks: &mut Remarks) {
    let storage = seen.stats.get("service").and_then(|service| service.get("storage")?.get(RECORDINGS));
    let size = |key: &str| number(storage.and_then(|storage| storage.get(key)));
    if let Some(used) = size("used") {
        remarks.fact("recordings_used_mb", used);
    }
    let share =
        size("free").zip(size("total").filter(|total| *total > 0.0)).map(|(free, total)| free / total);
    if let Some(share) = share {
        remarks.fact("free_percent", (share * 1000.0).round() / 10.0);
    }
    match (wanted.min_free, share) {
        (Some(least), Some(share)) if share < least => remarks.bad(format!(
            "{:.1} % of the recordings' volume is free, less than {:.0} %: Frigate deletes the oldest, and stops",
            share * 100.0,
            least * 100.0
        )),
        (Some(_), None) => remarks.open("it does not say how full the recordings' volume is".to_owned()),
        _ => {}
    }
    let Some(within) = wanted.recordings_within else { return };
    let recording: Vec<&String> = names.iter().filter(|name| seen.records(name)).collect();
    if recording.is_empty() {
        return remarks.bad("no camera records".to_owned());
    }
    if seen.now.is_none() {
        return remarks
            .open("its answers have no date, so that the age of recordings is not known".to_owned());
    }
    for name in recording {
        let silent = fault(wanted, seen.stats.get("cameras").and_then(|all| all.get(name))).is_some();
        let before = remarks.judged.facts.get("cameras_bad_before").and_then(Value::as_array);
        let excused = silent && before.is_some_and(|all| all.iter().any(|one| one.as_str() == Some(name)));
        if !seen.newest.contains_key(name) && !excused {
            remarks.when_up(format!("camera `{name}` has recorded nothing within {within:?}"));
        }
    }
    let oldest = seen.newest.values().copied().reduce(f64::min);
    remarks.fact("newest_recording", oldest.map_or(Value::Null, Value::from));
}

fn gpu(wanted: &Wanted, seen: &Seen, remarks: &mut Remarks) {
    let gpus = seen.stats.get("gpu_usages").and_then(Value::as_object);
    let decode: Vec<Option<f64>> =
        gpus.into_iter().flatten().map(|(_, gpu)| percent(gpu.get("dec"))).collect();
    let most = decode.iter().flatten().copied().reduce(f64::max);
    remarks.fact("decode_percent", most.map_or(Value::Null, Value::from));
    if !wanted.gpu_decode {
        return;
    }
    let lost = gpus.into_iter().flatten().any(|(name, gpu)| {
        name == "error-gpu" || gpu.get("gpu").and_then(Value::as_str).is_some_and(str::is_empty)
    });
    match (lost, most) {
        (true, _) => remarks.bad("Frigate has lost the GPU: its driver does not answer".to_owned()),
        (false, Some(most)) if most > 0.0 => {}
        (false, Some(_)) => remarks.when_up("no GPU is decoding".to_owned()),
        (false, None) if decode.is_empty() => {
            remarks.when_up("it uses no GPU: `hwaccel_args` of its cameras name none".to_owned());
        }
        (false, None) => remarks.open("the GPU does not say how much it decodes".to_owned()),
    }
}

/// Whether a version is the one that is asked for: as many of its parts as are named are equal.
fn is_version(found: &str, asked: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        text.trim().split('-').next().unwrap_or_default().split('.').map(str::to_owned).collect()
    };
    let (found, asked) = (parts(found), parts(asked));
    asked.len() <= found.len() && found[..asked.len()] == asked[..]
}

/// `true`, or 1 as older versions say it.
fn truthy(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| number(Some(value)).is_some_and(|number| number != 0.0))
}

fn number(value: Option<&Value>) -> Option<f64> {
    value.and_then(Value::as_f64)
}

/// A text such as `4.0%`; -1 means that the GPU does not say.
fn percent(value: Option<&Value>) -> Option<f64> {
    let value = value?;
    let text = value.as_str().map(|text| text.trim_end_matches('%').trim().to_owned());
    let number = text.map_or_else(|| value.as_f64(), |text| text.parse().ok());
    number.filter(|number| *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is asked of a Frigate, and one that gives it.
    fn well() -> (Wanted, Value) {
        let camera = json!({ "enabled": true, "camera_fps": 5.0, "process_fps": 5.0, "skipped_fps": 0.0 });
        let wanted = Wanted {
            before: Some(json!({ "cameras": { "front": camera } })),
            detection: true,
            min_process_fps: 0.2,
            max_skipped: 0.5,
            detector_max_ms: Some(50.0),
            gpu_decode: true,
            grace: Duration::from_secs(600),
            fresh_within: Duration::from_secs(60),
            apart: Some(Duration::from_secs(30)),
            ..Wanted::default()
        };
        let answers = json!({
            "config": { "cameras": { "front": { "enabled": true } }, "safe_mode": false },
            "stats": {
                "cameras": { "front": camera },
                "detectors": { "onnx": { "inference_speed": 12.5 } },
                "gpu_usages": { "nvidia": { "gpu": "5%", "dec": "4.0%" } },
                "service": { "uptime": 3600.0, "last_updated": 1000.0 },
            },
            "earlier": { "service": { "uptime": 3570.0, "last_updated": 970.0 } },
        });
        (wanted, answers)
    }

    fn judged(wanted: &Wanted, answers: &Value) -> (Vec<String>, Vec<String>) {
        let seen = Seen {
            config: answers["config"].clone(),
            stats: answers["stats"].clone(),
            earlier: Some(answers["earlier"].clone()),
            now: Some(1010),
            ..Seen::default()
        };
        let Judged { bad, open, .. } = judge(wanted, &seen);
        (bad, open)
    }

    /// One answer is otherwise, and there is exactly one remark: bad, or open.
    #[test]
    fn each_way_to_be_unwell_has_its_words() {
        let (mut wanted, answers) = well();
        assert_eq!(judged(&wanted, &answers), (vec![], vec![]));
        let says = |wanted: &Wanted, pointer: &str, value: &Value, (bad, open): (&str, &str)| {
            let mut other = answers.clone();
            *other.pointer_mut(pointer).unwrap() = value.clone();
            let (found_bad, found_open) = judged(wanted, &other);
            for (found, words) in [(found_bad, bad), (found_open, open)] {
                let fits = match words {
                    "" => found.is_empty(),
                    words => found.len() == 1 && found[0].contains(words),
                };
                assert!(fits, "{pointer} {value}: {words}: {found:?}");
            }
        };
        let (decode, usages) = ("/stats/gpu_usages/nvidia/dec", "/stats/gpu_usages");
        let lost = json!({ "error-gpu": { "gpu": "", "dec": "" } });
        for (pointer, value, words) in [
            (decode, json!("0.0%"), ("no GPU is decoding", "")),
            (decode, json!(-1), ("", "does not say how much it decodes")),
            (usages, json!({}), ("it uses no GPU", "")),
            (usages, lost, ("has lost the GPU", "")),
            ("/stats/detectors/onnx/inference_speed", json!(80.0), ("`onnx` takes 80 ms, more than 50", "")),
            ("/stats/detectors/onnx/inference_speed", json!(10.0), ("", "no detector has measured")),
            ("/config/safe_mode", json!(true), ("it runs in safe mode", "")),
            ("/earlier/service/last_updated", json!(1000.0), ("have stood still for 30s", "")),
            ("/earlier/service/uptime", json!(4000.0), ("it has restarted", "")),
            ("/stats/cameras/front/process_fps", json!(0.1), ("has 0.1 of 5 frames a second processed", "")),
            ("/config/cameras/front/enabled", json!(false), ("`front` is disabled, and was not before", "")),
        ] {
            says(&wanted, pointer, &value, words);
        }
        // Sooner than it takes its statistics again, nobody knows yet.
        wanted.apart = Some(Duration::from_secs(5));
        says(
            &wanted,
            "/earlier/service/last_updated",
            &json!(1000.0),
            ("", "not been taken again within 5s"),
        );
        // What comes up while it starts is waited for.
        wanted.grace = Duration::from_secs(7200);
        says(&wanted, decode, &json!("0.0%"), ("", "no GPU is decoding (3600s after its start)"));
        says(&wanted, "/config/safe_mode", &json!(true), ("it runs in safe mode", ""));
    }
}
