//! `frigate`: whether a Frigate does its work, and not only answers.
//!
//! `camera_fps > 0` is true while every frame is skipped, `/api/version` answers between two crashes, and a detector that
//! never ran says 10.0 ms (facts/migration.md 1.2, 1.5, 5.3). So what is asked is whether frames are processed, whether
//! the statistics go on, and what was so before the move. Here Frigate is asked; `judge` says what the answers mean.

mod judge;
mod wanted;

use futures_util::future::BoxFuture;
use serde_json::Value;

use self::judge::{Judged, Seen, judge};
use self::wanted::Wanted;
use super::answer::unknown;
use super::{Check, Look};
use crate::action::{Fields, camera_names};
use crate::saga::{Answer, Verdict};
use crate::transport::{FrigateError, FrigateServer, Transport, one_line};

/// Reasons that are told; the others are counted.
const TOLD_MAX: usize = 4;

pub(super) struct Frigate;

impl Check for Frigate {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let fields = Fields::new(&look.operation);
            let (server, wanted) =
                match fields.frigate(&look.bodies).and_then(|server| Ok((server, Wanted::read(fields)?))) {
                    Ok(read) => read,
                    Err(message) => return unknown(&message, &look.redactor),
                };
            match see(&transport, &look, server, &wanted).await {
                Ok(seen) => answer(&look, judge(&wanted, &seen)),
                Err(FrigateError::Gone(message) | FrigateError::Broken(message)) => {
                    Answer::new(Verdict::Absent, one_line(&look.redactor.text(&message)))
                }
                Err(FrigateError::Unseen(message) | FrigateError::Wrong(message)) => {
                    unknown(&message, &look.redactor)
                }
            }
        })
    }
}

async fn see(
    transport: &Transport,
    look: &Look,
    server: FrigateServer,
    wanted: &Wanted,
) -> Result<Seen, FrigateError> {
    let beside = wanted.beside.clone();
    let mut frigate = transport.frigate(server, look.timeout, &look.redactor);
    let version = frigate.version().await?;
    let config = frigate.json("/api/config").await?;
    let mut stats = frigate.json("/api/stats").await?;
    let mut earlier = None;
    if let Some(apart) = wanted.apart {
        tokio::time::sleep(apart).await;
        earlier = Some(std::mem::replace(&mut stats, frigate.json("/api/stats").await?));
    }
    let now = frigate.now();
    let mut seen = Seen { version, config, stats, earlier, now, ..Seen::default() };
    if let (Some(within), Some(now)) = (wanted.recordings_within, now) {
        // Both ends are given: what Frigate takes for them otherwise is when it was started (0.15, 0.16).
        let after = now.saturating_sub(i64::try_from(within.as_secs()).unwrap_or(i64::MAX));
        for name in camera_names(&seen.config) {
            if seen.records(&name) {
                let path = format!("/api/{}/recordings?after={after}&before={}", encoded(&name), now + 60);
                let list = frigate.json(&path).await?;
                let ends =
                    list.as_array().into_iter().flatten().filter_map(|one| one.get("end_time")?.as_f64());
                if let Some(newest) = ends.reduce(f64::max) {
                    seen.newest.insert(name, newest);
                }
            }
        }
    }
    if wanted.face_recognition {
        // 0.14 and 0.15 have no faces: 404.
        seen.faces = match frigate.json("/api/faces").await {
            Ok(faces) => faces.as_object().map(|faces| faces.keys().filter(|name| *name != "train").count()),
            Err(FrigateError::Wrong(_)) => None,
            Err(error) => return Err(error),
        };
    }
    if let Some(url) = beside {
        let old = FrigateServer { url, login: None, ca: None, anyone: false };
        // It may be gone: then nothing is known of it, and nothing is excused by it.
        seen.beside = transport.frigate(old, look.timeout, &look.redactor).json("/api/stats").await.ok();
    }
    Ok(seen)
}

fn answer(look: &Look, judged: Judged) -> Answer {
    let (verdict, reasons) = match (judged.bad.is_empty(), judged.open.is_empty()) {
        (false, _) => (Verdict::Absent, judged.bad),
        (true, false) => (Verdict::Unknown, judged.open),
        (true, true) => (Verdict::Holds, vec![judged.well]),
    };
    let mut reason = reasons.iter().take(TOLD_MAX).map(String::as_str).collect::<Vec<_>>().join("; ");
    if reasons.len() > TOLD_MAX {
        reason.push_str(&format!("; and {} more", reasons.len() - TOLD_MAX));
    }
    let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
    if let Value::Object(facts) = look.redactor.json(Value::Object(judged.facts)) {
        answer.facts = facts;
    }
    answer
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    name.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
