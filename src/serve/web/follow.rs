//! Server-sent events: a run event by event, for programs; and that something has changed, for pages.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use super::service::{FOLLOWERS_MAX, Problem, Service};
use crate::driver::history;
use crate::plan::RunId;
use crate::report::{self, standing_word};
use crate::saga::{self, Event, State};

/// Something is sent at least so often, so that a dead connection is noticed on both sides.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Events that are read from the journal at once.
const PIECE: u64 = 256;

/// Changes within this time are told as one.
const CALM: Duration = Duration::from_millis(200);

/// How soon a client that lost the connection comes back.
const RETRY: Duration = Duration::from_secs(2);

fn place(service: &Service) -> Result<OwnedSemaphorePermit, Problem> {
    let place = Arc::clone(&service.followers).try_acquire_owned();
    place.map_err(|_| Problem::Busy(format!("{FOLLOWERS_MAX} connections follow already: end one of them")))
}

fn stream<S>(stream: S) -> Response
where
    S: futures_util::Stream<Item = Result<Sent, Infallible>> + Send + 'static,
{
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// A run on its way to a client.
struct Following {
    service: Arc<Service>,
    run: RunId,
    /// The state after the last event that was read.
    state: Option<State>,
    /// The first event that is sent.
    from: u64,
    read: VecDeque<Event>,
    changes: broadcast::Receiver<RunId>,
    closing: watch::Receiver<bool>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// Follows a run from an event on: each as `event` with its number as id; `rest` when nobody drives it any more.
pub(super) fn follow(service: &Arc<Service>, run: RunId, from: u64) -> Result<Response, Problem> {
    let following = Following {
        service: Arc::clone(service),
        run,
        state: None,
        from: from.max(1),
        read: VecDeque::new(),
        changes: service.board.changes(),
        closing: service.closing(),
        over: false,
        _place: place(service)?,
    };
    Ok(stream(unfold(following, |mut following| async move {
        let sent = following.next().await?;
        Some((Ok(sent.retry(RETRY)), following))
    })))
}

impl Following {
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if self.over {
                return None;
            }
            while let Some(event) = self.read.pop_front() {
                let folded = match &mut self.state {
                    Some(state) => saga::fold(state, &event),
                    None => saga::open(&event).map(|state| self.state = Some(state)),
                };
                if let Err(error) = folded {
                    return Some(self.end("error", &error.to_string()));
                }
                if event.seq >= self.from
                    && let Some(state) = &self.state
                {
                    let line = report::event_line(state, &event);
                    return Some(Sent::default().event("event").id(event.seq.to_string()).data(line));
                }
            }
            // Asked before it is read: what is appended after that is a change.
            let driven = self.service.holder.handle(&self.run).await.is_some();
            let next = self.state.as_ref().map_or(1, |state| state.seq + 1);
            let (history, bodies) = (self.service.holder.history(), self.service.holder.bodies());
            match history::events(history, bodies, &self.run, next, PIECE).await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => {
                    self.read.extend(events);
                    continue;
                }
                Err(error) => return Some(self.end("error", &super::service::chain(&error))),
            }
            if !driven {
                let standing =
                    self.state.as_ref().map_or("open", |state| standing_word(&saga::standing(state)));
                return Some(self.end("rest", standing));
            }
            let closes = tokio::select! {
                () = change_of(&mut self.changes, Some(&self.run)) => false,
                // It is over a moment after its last change.
                _ = self.service.holder.ended(&self.run) => false,
                _ = self.closing.wait_for(|closing| *closing) => true,
            };
            if closes {
                return Some(self.end("closing", ""));
            }
        }
    }

    fn end(&mut self, event: &str, what: &str) -> Sent {
        self.over = true;
        let line = json!({ "v": report::SHOWN_VERSION, "run": self.run, "what": what });
        Sent::default().event(event).data(line.to_string())
    }
}

/// Waits until this run has changed, or any.
async fn change_of(changes: &mut broadcast::Receiver<RunId>, run: Option<&RunId>) {
    loop {
        match changes.recv().await {
            Ok(changed) if run.is_some_and(|run| *run != changed) => {}
            // Who was too far behind does not know, and looks.
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Tells a page that something has changed, of one run or of any: `changed`.
pub(super) fn live(service: &Arc<Service>, run: Option<RunId>) -> Result<Response, Problem> {
    let (changes, closing, place) = (service.board.changes(), service.closing(), place(service)?);
    let state = (changes, closing, run, place, true);
    Ok(stream(unfold(state, |(mut changes, mut closing, run, place, first)| async move {
        if first {
            // The head goes out at once, so that the page knows that it is connected.
            let sent = Sent::default().comment("connected").retry(RETRY);
            return Some((Ok(sent), (changes, closing, run, place, false)));
        }
        if *closing.borrow() {
            return None;
        }
        tokio::select! {
            () = change_of(&mut changes, run.as_ref()) => {}
            _ = closing.wait_for(|closing| *closing) => return None,
        }
        tokio::time::sleep(CALM).await;
        while matches!(changes.try_recv(), Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_))) {}
        let data = run.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string);
        Some((Ok(Sent::default().event("changed").data(data)), (changes, closing, run, place, false)))
    })))
}
