//! Watches: the changes of a collection, one JSON object per line, with bookmarks.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::place::{Place, Query};
use super::read::{Selector, at, list};
use super::refusal::Refusal;

/// How long a watch lasts unless the request says otherwise.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// A bookmark comes this often, and once shortly before the end (as in facts/transcripts/k8s-watch-rollout.json).
const BOOKMARK: Duration = Duration::from_secs(60);

/// The version from which a watch goes on; `None`: what is there first.
///
/// # Errors
/// As the real server says it: a version that is no number.
pub(super) fn begin(query: &Query) -> Result<Option<u64>, Refusal> {
    match query.get("resourceVersion") {
        None | Some("0") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| Refusal {
            code: 500,
            reason: None,
            message: format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
            ),
            details: None,
            retry_after_s: None,
        }),
    }
}

/// Sends changes until the time is over, the lab stops or nobody listens.
pub(super) async fn run(
    shared: Arc<Shared>,
    place: Place,
    query: Query,
    from: Option<u64>,
    lines: mpsc::Sender<Bytes>,
) {
    let mut revisions = shared.revisions.subscribe();
    let selector = Selector::read(&query);
    let limit = query.number("timeoutSeconds").map_or(TIMEOUT, Duration::from_secs);
    let end = Instant::now() + limit;
    let near = end.checked_sub(Duration::from_secs(1)).unwrap_or(end);
    let bookmarks = query.flag("allowWatchBookmarks");
    let mut bookmark = (Instant::now() + BOOKMARK).min(near);
    let mut last;
    let mut first = Vec::new();
    match from {
        Some(from) => last = from,
        None => {
            (last, first) = shared.store.look(|state| {
                let all = list(state, &place, &query);
                let items = all["items"].as_array().cloned().unwrap_or_default();
                (state.revision, items.into_iter().map(|item| event("ADDED", &place, item)).collect())
            });
            if query.flag("sendInitialEvents") && bookmarks {
                let meta = json!({ "resourceVersion": last.to_string(), "annotations": { "k8s.io/initial-events-end": "true" } });
                first.push(event("BOOKMARK", &place, json!({ "metadata": meta })));
            }
        }
    }
    for line in first {
        if lines.send(line).await.is_err() {
            return;
        }
    }
    loop {
        let found = shared.store.look(|state| {
            if last < state.since {
                return Err(state.since);
            }
            let new = state.history.iter().filter(|change| change.revision > last && at(&place, &change.key));
            let mut events = Vec::new();
            for change in new {
                let was = change.before.as_ref().is_some_and(|before| selector.matches(before));
                let is = change.what != "DELETED" && selector.matches(&change.object);
                let what = match (was, is) {
                    (false, false) => continue,
                    (false, true) => "ADDED",
                    (true, true) => "MODIFIED",
                    (true, false) => "DELETED",
                };
                events.push(event(what, &place, (*change.object).clone()));
            }
            Ok((state.revision.max(last), events))
        });
        match found {
            Ok((revision, events)) => {
                last = revision;
                for line in events {
                    if lines.send(line).await.is_err() {
                        return;
                    }
                }
            }
            Err(since) => {
                let mut gone =
                    Refusal::new(410, "Expired", format!("too old resource version: {last} ({since})"));
                gone.details = None;
                drop(lines.send(line(&json!({ "type": "ERROR", "object": gone.body() }))).await);
                return;
            }
        }
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return },
            () = lines.closed() => return,
            () = tokio::time::sleep_until(bookmark), if bookmarks && bookmark < end => {
                let object = json!({ "metadata": { "resourceVersion": last.to_string() } });
                if lines.send(event("BOOKMARK", &place, object)).await.is_err() {
                    return;
                }
                let next = bookmark + BOOKMARK;
                bookmark = if bookmark < near { next.min(near) } else { end };
            }
            () = tokio::time::sleep_until(end) => return,
        }
    }
}

fn event(what: &str, place: &Place, mut object: Value) -> Bytes {
    object["kind"] = place.kind.kind.as_ref().into();
    object["apiVersion"] = place.kind.api_version().into();
    line(&json!({ "type": what, "object": object }))
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}
