//! Home Assistant over MQTT: each run is a device, its buttons are wishes like any other.
//!
//! Everything that is published is retained state, published anew in every session, so that a broker that was down for a
//! day, or lost its memory, is told all of it again. What a run of before has left there, that was pruned or archived
//! since, is cleared at the beginning of each session. Runs never wait for any of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api;
use super::board::Entry;
use super::entities::{self, Topics};
use super::service::{Problem, Service};
use crate::plan::RunId;
use crate::report;
use crate::transport::{BrokerPlace, MqttError, MqttMessage, MqttSession, MqttStanding, MqttWill, Transport};

/// Runs that are shown at most, the open ones and the newest first: a home has no use for more devices.
const RUNS_MAX: usize = 256;

/// How long a session may take to be made, and to look what is retained.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// The first pause before another try, doubled up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
/// See [`PAUSE`].
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Changes within this time are published as one.
const CALM: Duration = Duration::from_millis(500);

/// Where Home Assistant listens.
#[derive(Clone)]
pub struct HomeAssistant {
    /// Its broker.
    pub broker: BrokerPlace,
    /// The prefix of its discovery.
    pub discovery: String,
    /// What our own topics begin with.
    pub base: String,
    /// Whether it may tell runs what to do.
    pub buttons: bool,
}

/// What is retained of a run: its announcement, and how it stands.
#[derive(Debug, Clone, PartialEq)]
struct Shown {
    config: Value,
    state: Value,
}

struct Home {
    service: Arc<Service>,
    transport: Transport,
    terms: HomeAssistant,
    topics: Topics,
    /// The client id: of this journal, always the same.
    id: String,
    link: String,
}

/// Shows all runs there until `closing` becomes true.
pub(super) fn show(
    service: &Arc<Service>,
    transport: Transport,
    terms: HomeAssistant,
    link: &str,
    closing: watch::Receiver<bool>,
) -> JoinHandle<()> {
    // 48 bits of the journal's name: two journals at one broker are told apart.
    let journal = format!("{:012x}", crate::driver::short_hash(transport.journal().as_bytes()) >> 5);
    let home = Home {
        service: Arc::clone(service),
        topics: Topics::new(&terms.discovery, &terms.base, &journal),
        id: format!("runner{journal}"),
        link: link.trim_end_matches('/').to_owned(),
        transport,
        terms,
    };
    tokio::spawn(home.live(closing))
}

impl Home {
    async fn live(self, mut closing: watch::Receiver<bool>) {
        let mut pause = PAUSE;
        let mut told = String::new();
        loop {
            let mut closes = closing.clone();
            let opened = tokio::select! {
                opened = self.open() => opened,
                () = over(&mut closes) => return,
            };
            let error = match opened {
                Ok((session, left)) => {
                    (pause, told) = (PAUSE, String::new());
                    match self.session(session, left, closing.clone()).await {
                        Some(error) => error,
                        None => return,
                    }
                }
                Err(error) => error.message().to_owned(),
            };
            // Once, and not a thousand times a day.
            if error == told {
                tracing::debug!(error, "Home Assistant is not told of the runs");
            } else {
                tracing::warn!(
                    "Home Assistant is not told of the runs: {error}; it is tried again and again"
                );
                told = error;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = over(&mut closing) => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// A session, and the topics of ours that the broker has retained from before.
    async fn open(&self) -> Result<(MqttStanding, BTreeSet<String>), MqttError> {
        let broker = &self.terms.broker.0;
        let mut look = MqttSession::open(&self.transport, broker.clone(), OPEN_TIMEOUT).await?;
        let mut left = BTreeSet::new();
        for filter in [self.topics.config("+"), self.topics.state("+")] {
            left.extend(look.all_retained(&filter).await?.into_iter().map(|message| message.topic));
        }
        look.close().await;
        let will = MqttWill { topic: self.topics.availability(), payload: "offline".to_owned() };
        let mut filters = Vec::new();
        if self.terms.buttons {
            filters.push(self.topics.command("+"));
        }
        let session =
            MqttStanding::open(&self.transport, broker, &self.id, will, &filters, OPEN_TIMEOUT).await?;
        Ok((session, left))
    }

    /// One session, from its beginning to its end; why it ended, if the process does not.
    async fn session(
        &self,
        mut session: MqttStanding,
        left: BTreeSet<String>,
        mut closing: watch::Receiver<bool>,
    ) -> Option<String> {
        let mut changes = self.service.board.changes();
        let mut known = BTreeMap::new();
        let began = async {
            session.publish(&self.topics.availability(), b"online", true).await?;
            self.all(&session, &mut known).await?;
            for topic in &left {
                let there = self
                    .topics
                    .retained(topic)
                    .is_some_and(|run| known.keys().any(|id| id.to_string() == run));
                if !there {
                    session.publish(topic, b"", true).await?;
                }
            }
            Ok::<(), MqttError>(())
        };
        if let Err(error) = began.await {
            return Some(error.message().to_owned());
        }
        let mut dirty: BTreeSet<RunId> = BTreeSet::new();
        let mut due = None;
        loop {
            let soon = due.unwrap_or_else(Instant::now);
            let published = tokio::select! {
                message = session.next() => match message {
                    Some(message) => self.heard(&session, &known, message).await,
                    None => return Some(session.close().await),
                },
                changed = next_of(&mut changes) => {
                    match changed {
                        Some(run) => drop(dirty.insert(run)),
                        // Too far behind to know which.
                        None => dirty.extend(self.service.board.runs()),
                    }
                    due.get_or_insert_with(|| Instant::now() + CALM);
                    continue;
                }
                () = tokio::time::sleep_until(soon), if due.is_some() => {
                    due = None;
                    self.some(&session, &mut known, std::mem::take(&mut dirty)).await
                }
                () = over(&mut closing) => {
                    drop(session.publish(&self.topics.availability(), b"offline", true).await);
                    session.close().await;
                    return None;
                }
            };
            if let Err(error) = published {
                return Some(error.message().to_owned());
            }
        }
    }

    fn shown(&self, run: &RunId, entry: &Entry) -> Shown {
        let page = format!("{}/runs/{run}", self.link);
        Shown {
            config: entities::config(&self.topics, run, entry, self.terms.buttons, &page),
            state: entities::state(entry),
        }
    }

    /// The runs that are shown: those that go on, and the newest of the others.
    async fn wanted(&self) -> Result<Vec<(RunId, Entry)>, Problem> {
        let mut entries = self.service.entries().await?;
        entries.sort_by_key(|entry| report::standing_word(&entry.row.standing) != "open");
        let mut wanted = Vec::new();
        for entry in entries {
            let run = entry.row.run.clone();
            let archived = self.service.holder.history().is_archived(run.clone()).await;
            if !archived.unwrap_or(false) {
                wanted.push((run, entry));
            }
            if wanted.len() == RUNS_MAX {
                break;
            }
        }
        Ok(wanted)
    }

    /// Publishes every run, and clears those that are shown no more.
    async fn all(&self, session: &MqttStanding, known: &mut BTreeMap<RunId, Shown>) -> Result<(), MqttError> {
        let wanted = match self.wanted().await {
            Ok(wanted) => wanted,
            Err(problem) => {
                tracing::warn!("Home Assistant is not told of all runs: {}", problem.message());
                return Ok(());
            }
        };
        let there: BTreeSet<&RunId> = wanted.iter().map(|(run, _)| run).collect();
        let gone: Vec<RunId> = known.keys().filter(|run| !there.contains(run)).cloned().collect();
        for run in gone {
            for topic in [self.topics.config(&run), self.topics.state(&run)] {
                session.publish(&topic, b"", true).await?;
            }
            known.remove(&run);
        }
        for (run, entry) in &wanted {
            self.one(session, known, run, entry).await?;
        }
        Ok(())
    }

    /// Publishes these runs; all of them when one of them is new.
    async fn some(
        &self,
        session: &MqttStanding,
        known: &mut BTreeMap<RunId, Shown>,
        runs: BTreeSet<RunId>,
    ) -> Result<(), MqttError> {
        if runs.iter().any(|run| !known.contains_key(run)) {
            return self.all(session, known).await;
        }
        for run in runs {
            if let Some(entry) = self.service.board.entry(&run, 0) {
                self.one(session, known, &run, &entry).await?;
            }
        }
        Ok(())
    }

    /// Publishes what is new of a run: how it stands before what is announced, so that nothing is unknown for a moment.
    async fn one(
        &self,
        session: &MqttStanding,
        known: &mut BTreeMap<RunId, Shown>,
        run: &RunId,
        entry: &Entry,
    ) -> Result<(), MqttError> {
        let (now, before) = (self.shown(run, entry), known.get(run));
        if before.is_none_or(|before| before.state != now.state) {
            let state = now.state.to_string();
            session.publish(&self.topics.state(run), state.as_bytes(), true).await?;
        }
        if before.is_none_or(|before| before.config != now.config) {
            let config = now.config.to_string();
            session.publish(&self.topics.config(run), config.as_bytes(), true).await?;
        }
        known.insert(run.clone(), now);
        Ok(())
    }

    /// Does what a button says, or says why not.
    async fn heard(
        &self,
        session: &MqttStanding,
        known: &BTreeMap<RunId, Shown>,
        message: MqttMessage,
    ) -> Result<(), MqttError> {
        let topic = report::text_line(&message.topic);
        if message.payload.is_empty() {
            return Ok(());
        }
        let said =
            report::text_line(&String::from_utf8_lossy(&message.payload[..message.payload.len().min(200)]));
        let refused = |why: &str| tracing::warn!("refused `{said}` at `{topic}`: {why}");
        if message.retained {
            refused("it was said before we listened, and nobody knows when");
            // Else it is said again at each connection.
            return session.publish(&message.topic, b"", true).await;
        }
        let run = self.topics.commanded(&message.topic);
        let run = run.and_then(|name| known.keys().find(|run| run.to_string() == name));
        let Some(run) = run else {
            refused("there is no such run");
            return Ok(());
        };
        let wish = entities::said(&message.payload).and_then(|(word, saying)| {
            let wish = api::wish(word, &saying).map_err(|problem| problem.message().to_owned())?;
            wish.ok_or_else(|| "it is no wish".to_owned())
        });
        let wish = match wish {
            Ok(wish) => wish,
            Err(why) => {
                refused(&why);
                return Ok(());
            }
        };
        let by = format!("somebody via mqtt at {}", self.terms.broker.0.shown());
        match self.service.say(run, wish, by).await {
            Ok(None) => tracing::info!(%run, "did `{said}`"),
            Ok(Some(why)) => tracing::info!(%run, "nothing to do for `{said}`: {why}"),
            Err(problem) => refused(problem.message()),
        }
        Ok(())
    }
}

/// Waits until the process ends.
async fn over(closing: &mut watch::Receiver<bool>) {
    drop(closing.wait_for(|closing| *closing).await);
}

/// The next run that has changed; nothing when more were missed than are kept.
async fn next_of(changes: &mut broadcast::Receiver<RunId>) -> Option<RunId> {
    match changes.recv().await {
        Ok(run) => Some(run),
        Err(RecvError::Lagged(_)) => None,
        Err(RecvError::Closed) => std::future::pending().await,
    }
}
