//! `homeassistant.repoint`: where Home Assistant finds Frigate.
//!
//! The goal is that the entry has the address *and* that Home Assistant runs with it: the file alone says nothing about
//! what runs, and what runs says nothing about the next start. Its pre-image is the entry's own data, and it goes back by
//! the same way with that; a whole older file is never put back, since it would take every other integration back with it.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::outcome::{refused, shown};
use super::super::{Action, Call, Fields, Inverse, PreImage, Probe};
use super::cameras::Server;
use super::live::Live;
use super::pick::{Data, Pick, ids, same_url, title_of};
use super::{Trouble, deadline, flow, home};
use crate::saga::{Answer, Outcome, Trace, Verdict};
use crate::transport::{ConfigEntry, Home, Transport};

pub(in crate::action) struct Repoint;

/// Everything that one attempt, look or way back knows.
struct Work {
    home: Home,
    pick: Pick,
    wanted: Data,
    same_cameras: bool,
    entities: Vec<String>,
    deadline: Instant,
}

/// What was there before, as it is kept. Sealed: it holds the password of the entry.
#[derive(Serialize, Deserialize)]
struct Before {
    home: String,
    entry_id: String,
    title: String,
    url: String,
    #[serde(default)]
    validate_ssl: Option<bool>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    /// It was loaded: what did not work before need not work afterwards.
    loaded: bool,
    /// How many entries there were, of all integrations.
    entries: usize,
    /// The cameras that the server listed, where it could be asked.
    #[serde(default)]
    cameras: Option<BTreeSet<String>>,
}

impl Work {
    fn read(transport: &Transport, call: &Call) -> Result<Self, String> {
        let fields = Fields::new(&call.operation);
        Ok(Self {
            home: home(fields, transport.clone(), &call.bodies, &call.redactor)?,
            pick: Pick::read(fields)?,
            wanted: Data::read(fields)?,
            same_cameras: fields.get("same_cameras").is_none() || fields.flag("same_cameras")?,
            entities: fields.texts("entities")?,
            deadline: deadline(call.timeout, fields.duration("within")?),
        })
    }

    /// The server with this data, as we ask it.
    fn server(&self, data: &Data) -> Server {
        Server {
            transport: self.home.transport.clone(),
            url: data.url.clone(),
            username: data.username.clone().unwrap_or_default(),
            password: data.password.clone().unwrap_or_default(),
            ca: self.home.ca.clone(),
            redactor: self.home.redactor.clone(),
        }
    }

    /// Does it, from whatever an earlier attempt left. Gives the entry as it is then.
    async fn act(&self) -> Result<ConfigEntry, Trouble> {
        self.home.wait_running(self.deadline).await?;
        let all = self.home.entries(self.deadline).await?;
        let entry = self.pick.among(&all, &self.wanted).map_err(Trouble::permanent)?;
        if !entry.supports_reconfigure {
            return Err(Trouble::permanent(cannot(entry)));
        }
        let cameras = if self.same_cameras { Cameras::OfTheOneBefore } else { Cameras::Any };
        let (shown, full) = self.by_flow(entry, &cameras).await?;
        self.live(&shown, &full, &ids(&all)).await
    }

    /// Changes the data by the reconfigure flow, unless it is so already. Gives the entry with the title that shows it, and
    /// all of its data.
    async fn by_flow(&self, entry: &ConfigEntry, cameras: &Cameras) -> Result<(Shown, Data), Trouble> {
        let open = flow::open(&self.home, entry, self.deadline).await?;
        let has = open.data.clone();
        let full = self.full(&has);
        if has.fits(&self.wanted) {
            flow::close(&self.home, open, self.deadline).await;
        } else {
            if let Err(trouble) = self.ready(entry, &has, &full, cameras).await {
                flow::close(&self.home, open, self.deadline).await;
                return Err(trouble);
            }
            flow::send(&self.home, open, &self.wanted, self.deadline).await?;
        }
        // An entry that had the address before may be called as its owner likes.
        let title = (!has.fits(&self.wanted)).then(|| title_of(&self.wanted.url));
        Ok((Shown { entry_id: entry.entry_id.clone(), title }, full))
    }

    /// What the entry will have: what is wanted, and the rest as it is.
    fn full(&self, has: &Data) -> Data {
        let wanted = self.wanted.clone();
        Data {
            url: wanted.url,
            validate_ssl: wanted.validate_ssl.or(has.validate_ssl),
            username: wanted.username.or_else(|| has.username.clone()),
            password: wanted.password.or_else(|| has.password.clone()),
        }
    }

    /// What must hold before anything is changed: no camera is missing, and nobody else changed the entry meanwhile.
    async fn ready(
        &self,
        entry: &ConfigEntry,
        has: &Data,
        full: &Data,
        cameras: &Cameras,
    ) -> Result<(), Trouble> {
        if *cameras != Cameras::Any {
            let before = match cameras {
                Cameras::These(cameras) => cameras.clone(),
                Cameras::Any | Cameras::OfTheOneBefore => {
                    let asked = self.server(has).cameras(self.deadline).await;
                    asked.map_err(|why| {
                        Trouble::transient(format!(
                            "cannot ask the server before which cameras it lists: {why}; where it is gone for good, write \
                             `same_cameras = false`"
                        ))
                    })?
                }
            };
            let after = self.server(full).cameras(self.deadline).await.map_err(Trouble::transient)?;
            let missing: Vec<String> = before.difference(&after).map(|name| format!("`{name}`")).collect();
            if !missing.is_empty() {
                return Err(Trouble::permanent(format!(
                    "`{}` does not list {}: Home Assistant would delete their devices and entities; nothing was changed",
                    full.url,
                    missing.join(", ")
                )));
            }
        }
        let now = self.home.entries(self.deadline).await?;
        let now = now.iter().find(|now| now.entry_id == entry.entry_id);
        match now {
            Some(now) if now.title == entry.title && now.modified_at == entry.modified_at => Ok(()),
            _ => Err(Trouble::transient(format!(
                "somebody else changed the Frigate entry `{}` at this moment; nothing was sent",
                entry.title
            ))),
        }
    }

    async fn live(
        &self,
        shown: &Shown,
        full: &Data,
        before: &BTreeSet<String>,
    ) -> Result<ConfigEntry, Trouble> {
        let server = self.same_cameras.then(|| self.server(full));
        let live = Live {
            home: &self.home,
            entry_id: &shown.entry_id,
            title: shown.title.as_deref(),
            server: server.as_ref(),
            entities: &self.entities,
            before,
            deadline: self.deadline,
        };
        live.wait().await
    }

    /// What is so now, and the entry where it could be seen.
    async fn look(&self) -> Result<(Verdict, String, Option<ConfigEntry>), Trouble> {
        self.home.wait_running(self.deadline.min(Instant::now() + PATIENCE)).await?;
        let all = self.home.entries(self.deadline).await?;
        let entry = match self.pick.among(&all, &self.wanted) {
            Ok(entry) => entry,
            Err(message) => return Ok((Verdict::Absent, message, None)),
        };
        let by_title = entry.title == title_of(&self.wanted.url);
        let fits = match entry.supports_reconfigure {
            true => {
                let open = flow::open(&self.home, entry, self.deadline).await?;
                let fits = open.data.fits(&self.wanted);
                flow::close(&self.home, open, self.deadline).await;
                fits
            }
            false => by_title,
        };
        let url = &self.wanted.url;
        Ok(match (fits, entry.state == "loaded") {
            (true, true) => (
                Verdict::Holds,
                format!("the Frigate entry `{}` has `{url}` and is loaded", entry.title),
                Some(entry.clone()),
            ),
            (true, false) => (
                Verdict::Partial,
                format!("the Frigate entry `{}` has `{url}` and is `{}`", entry.title, entry.state),
                None,
            ),
            (false, _) => {
                (Verdict::Absent, format!("the Frigate entry `{}` has another address", entry.title), None)
            }
        })
    }

    async fn before(&self) -> Result<Before, Trouble> {
        self.home.wait_running(self.deadline).await?;
        let all = self.home.entries(self.deadline).await?;
        let entry = self.pick.among(&all, &self.wanted).map_err(Trouble::permanent)?;
        if !entry.supports_reconfigure {
            return Err(Trouble::permanent(cannot(entry)));
        }
        let open = flow::open(&self.home, entry, self.deadline).await?;
        let data = open.data.clone();
        flow::close(&self.home, open, self.deadline).await;
        let cameras = match self.same_cameras {
            true => self.server(&data).cameras(self.deadline).await.ok(),
            false => None,
        };
        Ok(Before {
            home: self.home.url.clone(),
            entry_id: entry.entry_id.clone(),
            title: entry.title.clone(),
            url: data.url,
            validate_ssl: data.validate_ssl,
            username: data.username,
            password: data.password,
            loaded: entry.state == "loaded",
            entries: all.len(),
            cameras,
        })
    }

    /// The way back to what was there before, by the way that led here.
    async fn back(&self, before: &Before) -> Result<(), Trouble> {
        self.home.wait_running(self.deadline).await?;
        let all = self.home.entries(self.deadline).await?;
        let entry = self.pick.among(&all, &self.wanted).map_err(Trouble::permanent)?;
        let cameras = before.cameras.clone().map_or(Cameras::Any, Cameras::These);
        let (shown, full) = self.by_flow(entry, &cameras).await?;
        if before.loaded {
            self.live(&shown, &full, &ids(&all)).await?;
        }
        Ok(())
    }
}

/// Which cameras a server must list.
#[derive(Debug, PartialEq, Eq)]
enum Cameras {
    Any,
    OfTheOneBefore,
    These(BTreeSet<String>),
}

/// What shows that Home Assistant runs with the data.
struct Shown {
    entry_id: String,
    title: Option<String>,
}

/// How long a look waits for a Home Assistant that starts.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

fn cannot(entry: &ConfigEntry) -> String {
    format!(
        "the Frigate entry `{}` cannot be reconfigured over the API: update Frigate's integration to 5.7 or later, or name \
         `host` and `vmid`, so that its entry can be edited while Home Assistant is stopped",
        entry.title
    )
}

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
                work.wanted = Data {
                    url: before.url.clone(),
                    validate_ssl: before.validate_ssl,
                    username: before.username.clone(),
                    password: before.password.clone(),
                };
                Ok::<_, String>((work, before))
            };
            let (work, before) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let working = transport.begin_inside(&call.key.to_string());
            let end = work.back(&before).await;
            drop(working);
            match end {
                Ok(()) => Outcome::Acted { outputs: Map::new(), trace: Trace::default() },
                Err(trouble) => trouble.outcome(&call.redactor),
            }
        })
    }
}
