//! What an attempt, a look and the way back have in common, and the two ways to an entry.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Call, Fields};
use super::cameras::Server;
use super::guest::Guest;
use super::live::{LOOKS, Live, POLL};
use super::pick::{Data, Pick, ids, title_of};
use super::repoint::{Before, FILE, FLOW};
use super::{Trouble, deadline, flow, home};
use crate::saga::Verdict;
use crate::transport::{ConfigEntry, Home, HomeError, Transport};

/// Everything that one attempt, look or way back knows.
pub(super) struct Work {
    pub(super) home: Home,
    pub(super) pick: Pick,
    pub(super) wanted: Data,
    /// What the entry shall be called, where it is not called after its address.
    pub(super) title: Option<String>,
    pub(super) same_cameras: bool,
    pub(super) entities: Vec<String>,
    /// Where its storage file is, for an entry that cannot be reconfigured.
    pub(super) guest: Option<Guest>,
    pub(super) deadline: Instant,
}

impl Work {
    pub(super) fn read(transport: &Transport, call: &Call) -> Result<Self, String> {
        let fields = Fields::new(&call.operation);
        Ok(Self {
            home: home(fields, transport.clone(), &call.bodies, &call.redactor)?,
            pick: Pick::read(fields)?,
            wanted: Data::read(fields)?,
            title: None,
            same_cameras: fields.get("same_cameras").is_none() || fields.flag("same_cameras")?,
            entities: fields.texts("entities")?,
            guest: Guest::read_fields(transport, call)?,
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
            anyone: data.validate_ssl == Some(false),
            redactor: self.home.redactor.clone(),
        }
    }

    /// The entries that Home Assistant runs with. `None`: it does not run, and there is another way to it.
    pub(super) async fn entries(&self, patience: Instant) -> Result<Option<Vec<ConfigEntry>>, Trouble> {
        match self.home.wait_running(self.deadline.min(patience)).await {
            Ok(_) => Ok(Some(self.home.entries(self.deadline).await?)),
            Err(HomeError::Refused(_) | HomeError::Down(_)) if self.guest.is_some() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// How long is waited for one that starts: where an earlier attempt may have stopped it, not for long.
    fn patience(&self) -> Instant {
        match self.guest {
            Some(_) => Instant::now() + PATIENCE,
            None => self.deadline,
        }
    }

    /// Brings it about, from whatever an earlier attempt left, and waits until it works. Gives the entry as it is then.
    pub(super) async fn act(&self) -> Result<ConfigEntry, Trouble> {
        let cameras = if self.same_cameras { Cameras::OfTheOneBefore } else { Cameras::Any };
        let changed = self.change(&cameras).await?;
        self.live(&changed).await
    }

    /// The way back to what was there before, by the way that led here.
    pub(super) async fn back(&self, cameras: Option<BTreeSet<String>>, works: bool) -> Result<(), Trouble> {
        let changed = self.change(&cameras.map_or(Cameras::Any, Cameras::These)).await?;
        if works {
            self.live(&changed).await?;
        }
        Ok(())
    }

    async fn change(&self, cameras: &Cameras) -> Result<Changed, Trouble> {
        let all = self.entries(self.patience()).await?;
        match self.way(all.as_deref())? {
            Way::Flow(entry, all) => self.by_flow(entry, all, cameras).await,
            Way::File(guest) => self.by_file(guest, all.as_deref(), cameras).await,
        }
    }

    /// Which way leads to the entry.
    pub(super) fn way<'w>(&'w self, all: Option<&'w [ConfigEntry]>) -> Result<Way<'w>, Trouble> {
        let entry = match all {
            Some(all) => Some((self.pick.among(all, &self.wanted).map_err(Trouble::permanent)?, all)),
            None => None,
        };
        match (entry, &self.guest) {
            (Some((entry, all)), _) if entry.supports_reconfigure => Ok(Way::Flow(entry, all)),
            (_, Some(guest)) => Ok(Way::File(guest)),
            (Some((entry, _)), None) => Err(Trouble::permanent(cannot(entry))),
            (None, None) => {
                Err(Trouble::transient(format!("Home Assistant at `{}` does not run", self.home.url)))
            }
        }
    }

    /// Changes the data by the reconfigure flow, unless it is so already.
    async fn by_flow(
        &self,
        entry: &ConfigEntry,
        all: &[ConfigEntry],
        cameras: &Cameras,
    ) -> Result<Changed, Trouble> {
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
        Ok(Changed { entry_id: entry.entry_id.clone(), title, full, before: ids(all) })
    }

    /// What the entry will have: what is wanted, and the rest as it is.
    pub(super) fn full(&self, has: &Data) -> Data {
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
        self.lists(has, full, cameras).await?;
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

    /// Whether the server lists every camera that it must.
    pub(super) async fn lists(&self, has: &Data, full: &Data, cameras: &Cameras) -> Result<(), Trouble> {
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
        Ok(())
    }

    async fn live(&self, changed: &Changed) -> Result<ConfigEntry, Trouble> {
        let server = self.same_cameras.then(|| self.server(&changed.full));
        let live = Live {
            home: &self.home,
            entry_id: &changed.entry_id,
            title: changed.title.as_deref(),
            server: server.as_ref(),
            entities: &self.entities,
            before: &changed.before,
            deadline: self.deadline,
        };
        live.wait().await
    }

    /// What is so now, and the entry where it is as it shall be: where it is in so many looks in a row.
    pub(super) async fn look(&self) -> Result<Seen, Trouble> {
        for _ in 1..LOOKS {
            let seen = self.look_once().await?;
            if seen.0 != Verdict::Holds {
                return Ok(seen);
            }
            tokio::time::sleep(POLL).await;
        }
        self.look_once().await
    }

    async fn look_once(&self) -> Result<Seen, Trouble> {
        let all = self.entries(Instant::now() + PATIENCE).await?;
        let (entry, all) = match self.way(all.as_deref()) {
            Ok(Way::Flow(entry, all)) => (entry, all),
            Ok(Way::File(guest)) => return self.look_at_file(guest, all.as_deref()).await,
            // There is an answer, and it is no.
            Err(Trouble::Failed { permanent: true, message }) => match all.as_deref() {
                Some(all) => match self.pick.among(all, &self.wanted) {
                    Ok(entry) => (entry, all),
                    Err(message) => return Ok((Verdict::Absent, message, None)),
                },
                None => return Ok((Verdict::Absent, message, None)),
            },
            Err(trouble) => return Err(trouble),
        };
        debug_assert!(all.iter().any(|known| known.entry_id == entry.entry_id), "it is one of them");
        let fits = match entry.supports_reconfigure {
            true => {
                let open = flow::open(&self.home, entry, self.deadline).await?;
                let fits = open.data.fits(&self.wanted);
                flow::close(&self.home, open, self.deadline).await;
                fits
            }
            false => entry.title == title_of(&self.wanted.url),
        };
        Ok(seen(fits, entry, &self.wanted.url))
    }

    /// What is there before anything is changed.
    pub(super) async fn before(&self) -> Result<Before, Trouble> {
        let all = self.entries(self.patience()).await?;
        let (way, entry_id, title, data) = match self.way(all.as_deref())? {
            Way::Flow(entry, _) => {
                let open = flow::open(&self.home, entry, self.deadline).await?;
                let data = open.data.clone();
                flow::close(&self.home, open, self.deadline).await;
                (FLOW, entry.entry_id.clone(), entry.title.clone(), data)
            }
            Way::File(guest) => {
                let stored = guest.stored(self.deadline).await?;
                let entry = self.pick.stored(&stored, &self.wanted).map_err(Trouble::permanent)?;
                (FILE, entry.entry_id.clone(), entry.title.clone(), entry.data.clone())
            }
        };
        let loaded = all.iter().flatten().any(|entry| entry.entry_id == entry_id && entry.state == "loaded");
        let cameras = match self.same_cameras {
            true => self.server(&data).cameras(self.deadline).await.ok(),
            false => None,
        };
        Ok(Before {
            home: self.home.url.clone(),
            way: way.to_owned(),
            entry_id,
            title,
            data,
            loaded,
            cameras,
        })
    }
}

/// How an entry stands that has, or has not, what is wanted.
pub(super) fn seen(fits: bool, entry: &ConfigEntry, url: &str) -> Seen {
    let title = &entry.title;
    match (fits, entry.state == "loaded") {
        (true, true) => (
            Verdict::Holds,
            format!("the Frigate entry `{title}` has `{url}` and is loaded"),
            Some(entry.clone()),
        ),
        (true, false) => (
            Verdict::Partial,
            format!("the Frigate entry `{title}` has `{url}` and is `{}`", entry.state),
            None,
        ),
        (false, _) => (Verdict::Absent, format!("the Frigate entry `{title}` has another address"), None),
    }
}

/// A verdict, why, and the entry of one that holds.
pub(super) type Seen = (Verdict, String, Option<ConfigEntry>);

/// Which way leads to an entry.
pub(super) enum Way<'w> {
    /// It can be reconfigured.
    Flow(&'w ConfigEntry, &'w [ConfigEntry]),
    /// Its file can be edited while Home Assistant is stopped.
    File(&'w Guest),
}

/// Which cameras a server must list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cameras {
    Any,
    OfTheOneBefore,
    These(BTreeSet<String>),
}

/// An entry that has what is wanted.
pub(super) struct Changed {
    pub(super) entry_id: String,
    /// The title that shows that Home Assistant runs with it.
    pub(super) title: Option<String>,
    /// All of its data.
    pub(super) full: Data,
    /// The entries that must not be lost.
    pub(super) before: BTreeSet<String>,
}

/// How long a look waits for a Home Assistant that starts.
const PATIENCE: Duration = Duration::from_secs(5);

fn cannot(entry: &ConfigEntry) -> String {
    format!(
        "the Frigate entry `{}` cannot be reconfigured over the API: update Frigate's integration to 5.7 or later, or name \
         `host` and `vmid`, so that its entry can be edited while Home Assistant is stopped",
        entry.title
    )
}
