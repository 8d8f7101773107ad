//! What a plan wants of a Frigate.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::action::Fields;

/// The fields, read.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) version: Option<String>,
    /// Exactly these.
    pub(super) cameras: Option<BTreeSet<String>>,
    /// What `baseline` kept.
    pub(super) before: Option<Value>,
    pub(super) known_bad: BTreeSet<String>,
    pub(super) beside: Option<String>,
    pub(super) detection: bool,
    pub(super) min_process_fps: f64,
    /// As a part of 1.
    pub(super) max_skipped: f64,
    pub(super) detector_max_ms: Option<f64>,
    pub(super) face_recognition: bool,
    pub(super) recordings_within: Option<Duration>,
    /// As a part of 1.
    pub(super) min_free: Option<f64>,
    pub(super) gpu_decode: bool,
    pub(super) min_uptime: Option<Duration>,
    pub(super) grace: Duration,
    pub(super) fresh_within: Duration,
    pub(super) apart: Option<Duration>,
}

/// The least of processed frames a second that is more than none: a camera whose frames were all skipped still had 0.1
/// (facts/migration.md 1.2).
const PROCESS_FPS_LEAST: f64 = 0.2;

impl Wanted {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, String> {
        let set = |key: &str| {
            Ok::<_, String>(fields.list(key)?.map(|all| all.into_iter().collect::<BTreeSet<_>>()))
        };
        let before = match fields.get("baseline") {
            None => None,
            Some(value) if value.get("cameras").is_some_and(Value::is_object) => Some(value.clone()),
            Some(_) => {
                return Err(
                    fields.wrong("baseline", "the output `frigate` of a step with the action `baseline`")
                );
            }
        };
        let detection = fields.get("detection").map_or(Ok(true), |_| fields.flag("detection"))?;
        #[expect(clippy::cast_precision_loss, reason = "frames a second and milliseconds are small")]
        let number = |key: &str| Ok::<_, String>(fields.number(key)?.map(|number| number as f64));
        Ok(Self {
            version: fields.text("version")?,
            cameras: set("cameras")?,
            before,
            known_bad: set("known_bad")?.unwrap_or_default(),
            beside: fields.text("beside")?.map(|url| url.trim_end_matches('/').to_owned()),
            detection,
            min_process_fps: number("min_process_fps")?.unwrap_or(PROCESS_FPS_LEAST),
            max_skipped: fields.share("max_skipped")?.unwrap_or(0.5),
            detector_max_ms: number("detector_max_ms")?,
            face_recognition: fields.flag("face_recognition")?,
            recordings_within: fields.duration("recordings_within")?,
            min_free: fields.share("min_free")?,
            gpu_decode: fields.flag("gpu_decode")?,
            min_uptime: fields.duration("min_uptime")?,
            grace: fields.duration("grace")?.unwrap_or(Duration::from_secs(600)),
            fresh_within: fields.duration("fresh_within")?.unwrap_or(Duration::from_secs(60)),
            apart: fields.duration("apart")?,
        })
    }
}
