//! `homeassistant.repoint`: where Home Assistant finds Frigate.
//!
//! The goal is that the entry has the address *and* that Home Assistant runs with it: the file alone says nothing about
//! what runs, and what runs says nothing about the next start. Its pre-image is the entry's own data, and it goes back by
//! the same way with that; a whole older file is never put back, since it would take every other integration back with it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::outcome::{refused, shown};
use super::super::{Action, Call, Fields, Inverse, PreImage, Probe, ready, settle_inside};
use super::guest::Guest;
use super::pick::{Data, Pick, same_url};
use super::work::Work;
use crate::saga::{Answer, Outcome, Settlement, Trace, Verdict};
use crate::transport::{ConfigEntry, Transport};

pub(in crate::action) struct Repoint;

/// What was there before, as it is kept. Sealed: it holds the password of the entry.
#[derive(Serialize, Deserialize)]
pub(super) struct Before {
    pub(super) home: String,
    /// [`FLOW`] or [`FILE`].
    pub(super) way: String,
    pub(super) entry_id: String,
    pub(super) title: String,
    pub(super) data: Data,
    /// It was loaded: what did not work before need not work afterwards.
    pub(super) loaded: bool,
    /// The cameras that the server listed, where it could be asked.
    #[serde(default)]
    pub(super) cameras: Option<BTreeSet<String>>,
}

/// The entry was reconfigured.
pub(super) const FLOW: &str = "flow";

/// Its file was edited.
pub(super) const FILE: &str = "file";

fn outputs(entry: &ConfigEntry, url: &str) -> Map<String, Value> {
    let mut outputs = Map::new();
    outputs.insert("entry_id".to_owned(), json!(entry.entry_id));
    outputs.insert("title".to_owned(), json!(entry.title));
    outputs.insert("url".to_owned(), json!(url));
    outputs
}

impl Action for Repoint {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let work = match Work::read(&transport, &call) {
                Ok(work) => work,
                Err(message) => return refused(&message, &call.redactor),
            };
            let working = transport.begin_inside(&call.key.to_string());
            let end = work.act().await;
            drop(working);
            match end {
                Ok(entry) => {
                    let outputs = outputs(&entry, &work.wanted.url);
                    Outcome::Acted { outputs, trace: Trace::default() }
                }
                Err(trouble) => trouble.outcome(&call.redactor),
            }
        })
    }

    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
        let guest = match Guest::read_fields(&transport, &call) {
            Ok(guest) => guest,
            Err(message) => return ready(Settlement::Unproved { reason: shown(&message, &call.redactor) }),
        };
        Box::pin(async move {
            let timeout = call.timeout;
            match (settle_inside(transport, call).await, guest) {
                (Settlement::Over, Some(guest)) => guest.settle(timeout).await,
                (settled, _) => settled,
            }
        })
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }

    fn inverse(&self) -> Option<&dyn Inverse> {
        Some(self)
    }
}

impl Probe for Repoint {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let unknown = |message: &str| Answer::new(Verdict::Unknown, shown(message, &call.redactor));
            let work = match Work::read(&transport, &call) {
                Ok(work) => work,
                Err(message) => return unknown(&message),
            };
            match work.look().await {
                Ok((verdict, reason, entry)) => {
                    let mut answer = Answer::new(verdict, shown(&reason, &call.redactor));
                    if let Some(entry) = entry {
                        answer.outputs = outputs(&entry, &work.wanted.url);
                    }
                    answer
                }
                Err(trouble) => unknown(trouble.message()),
            }
        })
    }
}

impl Inverse for Repoint {
    fn target(&self, call: &Call) -> Result<String, String> {
        let fields = Fields::new(&call.operation);
        let url = fields.text("url")?.unwrap_or_default();
        Ok(format!("{} in Home Assistant at `{}`", Pick::read(fields)?.words(), url.trim_end_matches('/')))
    }

    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        Box::pin(async move {
            let work = Work::read(&transport, &call)?;
            let before = work.before().await.map_err(|trouble| trouble.message().to_owned())?;
            let value = serde_json::to_value(&before).map_err(|error| error.to_string())?;
            Ok(PreImage { target: Repoint.target(&call)?, value, contents: BTreeMap::new(), sensitive: true })
        })
    }

    fn undo(&self, transport: Transport, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let read = || {
                let before: Before = serde_json::from_value(pre_image.value.clone())
                    .map_err(|_| format!("the pre-image of {} cannot be understood", pre_image.target))?;
                let mut work = Work::read(&transport, &call)?;
                if !same_url(&work.home.url, &before.home) {
                    work.home.url = before.home.clone();
                }
                work.pick = Pick::Id(before.entry_id.clone());
                work.wanted = before.data.clone();
                // A flow calls the entry after its address; in the file it is called what it was called.
                work.title = (before.way == FILE).then(|| before.title.clone());
                Ok::<_, String>((work, before))
            };
            let (work, before) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let working = transport.begin_inside(&call.key.to_string());
            let end = work.back(before.cameras.clone(), before.loaded).await;
            drop(working);
            match end {
                Ok(()) => Outcome::Acted { outputs: Map::new(), trace: Trace::default() },
                Err(trouble) => trouble.outcome(&call.redactor),
            }
        })
    }
}
