//! Telling people what they have to know: that somebody is asked, that a run halted, needs attention, lost its way back,
//! or is over. Each notice says the command and the link that answer it.
//!
//! Whoever is told has a queue and a task of its own: one that hangs delays its own notices and nothing else, and what
//! does not fit into its queue is dropped with a warning. A notice is sent once and never proves anything: the journal
//! does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};

use super::board::{Board, Entry};
use crate::plan::{RunId, StepId};
use crate::report::{self, standing_word};
use crate::transport::{BrokerPlace, Notice, Transport};

/// Notices that wait for one receiver.
const QUEUE_MAX: usize = 64;

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who is told, and how.
#[derive(Clone)]
pub enum Receiver {
    /// A POST with a JSON object.
    Webhook {
        /// Where; may hold a secret.
        url: String,
        /// Further headers; may hold secrets.
        headers: Vec<(String, String)>,
    },
    /// A topic of ntfy (docs.ntfy.sh/publish, 2.11): a POST with a text.
    Ntfy {
        /// The topic's address; may hold a secret.
        url: String,
        /// An access token.
        token: Option<String>,
    },
    /// A topic at a broker: the object of a webhook, not retained.
    Mqtt {
        /// Where, and who we are there.
        broker: BrokerPlace,
        /// The topic.
        topic: String,
    },
}

impl Receiver {
    fn word(&self) -> &'static str {
        match self {
            Receiver::Webhook { .. } => "webhook",
            Receiver::Ntfy { .. } => "ntfy",
            Receiver::Mqtt { .. } => "mqtt",
        }
    }
}

/// One thing that people have to know.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    kind: &'static str,
    run: RunId,
    step: Option<StepId>,
    text: String,
    command: String,
    loud: bool,
}

/// What was known of a run when it was last looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    asks: BTreeSet<StepId>,
    standing: &'static str,
}

impl Known {
    fn of(entry: &Entry) -> Self {
        Self { asks: entry.asks.iter().cloned().collect(), standing: standing_word(&entry.row.standing) }
    }
}

/// What is new between two looks.
fn news(run: &RunId, before: &Known, entry: &Entry) -> Vec<News> {
    let now = Known::of(entry);
    let mut all = Vec::new();
    for step in now.asks.difference(&before.asks) {
        let (kind, what) = match entry.lost.contains(step) {
            true => ("way_back_lost", "has lost its way back and stands still until you answer"),
            false => ("approval", "waits for your answer"),
        };
        all.push(News {
            kind,
            run: run.clone(),
            step: Some(step.clone()),
            text: format!("Step {step} of {run} {what}. {}", entry.headline),
            command: format!("runner approve {run} {step}"),
            loud: true,
        });
    }
    if now.standing != before.standing {
        let (loud, command) = match now.standing {
            "halted" | "needs_attention" => (true, format!("runner status {run}")),
            "complete" | "rolled_back" | "cancelled" => (false, format!("runner status {run}")),
            _ => return all,
        };
        let (run, text) = (run.clone(), entry.headline.clone());
        all.push(News { kind: now.standing, run, step: None, text, command, loud });
    }
    all
}

/// Tells `receivers` what happens on the board, until `closing` becomes true. `link` is what links begin with.
pub(super) fn tell(
    board: &Arc<Board>,
    transport: &Transport,
    receivers: Vec<Receiver>,
    link: &str,
    closing: watch::Receiver<bool>,
) {
    if receivers.is_empty() {
        return;
    }
    let link = link.trim_end_matches('/').to_owned();
    let queues: Vec<_> = receivers
        .into_iter()
        .map(|receiver| {
            let (sender, queue) = mpsc::channel(QUEUE_MAX);
            let word = receiver.word();
            tokio::spawn(send(transport.clone(), receiver, link.clone(), queue));
            (word, sender)
        })
        .collect();
    tokio::spawn(watch_board(Arc::clone(board), queues, closing));
}

async fn watch_board(
    board: Arc<Board>,
    queues: Vec<(&'static str, mpsc::Sender<News>)>,
    mut closing: watch::Receiver<bool>,
) {
    let mut changes = board.changes();
    let mut known: BTreeMap<RunId, Known> = BTreeMap::new();
    loop {
        let changed = tokio::select! {
            changed = changes.recv() => changed,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        let runs = match changed {
            Ok(run) => vec![run],
            Err(RecvError::Lagged(_)) => board.runs(),
            Err(RecvError::Closed) => return,
        };
        for run in runs {
            let Some(entry) = board.entry(&run, 0) else { continue };
            let before = known.get(&run).cloned().unwrap_or_default();
            for news in news(&run, &before, &entry) {
                for (word, queue) in &queues {
                    if queue.try_send(news.clone()).is_err() {
                        tracing::warn!(%run, receiver = word, "a notice was dropped: the receiver is too slow");
                    }
                }
            }
            known.insert(run, Known::of(&entry));
        }
    }
}

async fn send(transport: Transport, receiver: Receiver, link: String, mut queue: mpsc::Receiver<News>) {
    while let Some(news) = queue.recv().await {
        let page = format!("{link}/runs/{}", news.run);
        let object = json!({
            "v": report::SHOWN_VERSION, "type": "notice", "kind": news.kind, "run": news.run,
            "step": news.step, "text": news.text, "command": news.command, "link": page,
        });
        let object = object.to_string().into_bytes();
        let sent = match &receiver {
            Receiver::Mqtt { broker, topic } => {
                transport.publish_notice(broker, topic, object, TIMEOUT).await
            }
            Receiver::Webhook { url, headers } => {
                let mut headers = headers.clone();
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
                transport.notify(Notice { url: url.clone(), headers, body: object }, TIMEOUT).await
            }
            Receiver::Ntfy { url, token } => {
                let mut headers = vec![
                    ("title".to_owned(), format!("{}: {}", news.run, news.kind.replace('_', " "))),
                    ("click".to_owned(), page),
                    ("priority".to_owned(), if news.loud { "high" } else { "default" }.to_owned()),
                ];
                if let Some(token) = token {
                    headers.push(("authorization".to_owned(), format!("Bearer {token}")));
                }
                let body = format!("{}\n{}", news.text, news.command);
                let notice = Notice { url: url.clone(), headers, body: body.into_bytes() };
                transport.notify(notice, TIMEOUT).await
            }
        };
        if let Err(why) = sent {
            tracing::warn!(run = %news.run, receiver = receiver.word(), why, "a notice was not taken");
        }
    }
}
