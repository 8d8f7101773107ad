//! The availability of a Frigate: retained as `online`, and steady.
//!
//! One look at it cannot see two clients that fight over one client id: each throws the other out, whose last will says
//! `offline`, and says `online` itself, once per reconnect interval for ever (facts/transcripts/mqtt-trace.jsonl, "both
//! clients reconnecting"). So it is watched for a while. `online` alone, said again, is a client that has reconnected.

use serde_json::Value;
use tokio::time::Instant;

use super::super::Look;
use super::super::answer::unknown;
use super::{WINDOW, window};
use crate::action::Fields;
use crate::saga::{Answer, Verdict};
use crate::transport::{
    FrigateError, FrigateServer, MqttBroker, MqttError, MqttSession, MqttWatched, Transport, check_topic,
    one_line,
};

/// What was seen of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Watch {
    /// What was retained when the look began.
    retained: Option<String>,
    /// What came while it was watched, in order.
    live: Vec<String>,
}

/// What that means.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// Nothing was ever said, or it was cleared.
    Silent,
    /// It is online and stayed so.
    Steady,
    /// It is offline and stayed so, or went offline.
    Offline,
    /// It came and went.
    Flapping,
    /// It says something else.
    Other(String),
}

impl Watch {
    /// Changes from one value to another.
    fn changes(&self) -> usize {
        let all: Vec<&String> = self.retained.iter().chain(&self.live).collect();
        all.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    fn last(&self) -> Option<&str> {
        let last = self.live.last().or(self.retained.as_ref()).map(String::as_str);
        last.filter(|payload| !payload.is_empty())
    }

    fn meaning(&self) -> Meaning {
        // A service that starts goes from offline to online once; one that stops goes the other way once.
        if self.changes() > 1 {
            return Meaning::Flapping;
        }
        match self.last() {
            None => Meaning::Silent,
            Some("online") => Meaning::Steady,
            Some("offline") => Meaning::Offline,
            Some(other) => Meaning::Other(other.chars().take(40).collect()),
        }
    }
}

pub(super) async fn look(transport: &Transport, look: &Look, prefix: &str) -> Answer {
    let fields = Fields::new(&look.operation);
    let topic = format!("{}/available", prefix.trim_end_matches('/'));
    let read = || {
        check_topic(&topic)?;
        let service = fields.text("url")?.map(|_| fields.frigate(&look.bodies)).transpose()?;
        let broker = fields.broker(&look.places, &look.bodies)?;
        Ok::<_, String>((
            broker,
            service,
            fields.duration("steady_for")?.unwrap_or(WINDOW),
            fields.text("client_id")?,
        ))
    };
    let (broker, service, steady_for, client_id) = match read() {
        Ok(read) => read,
        Err(message) => return unknown(&message, &look.redactor),
    };
    let deadline = Instant::now() + look.timeout;
    let (watch, early) = match watch(transport, look, broker, &topic, (steady_for, deadline)).await {
        Ok(watched) => watched,
        Err(error) => return unknown(error.message(), &look.redactor),
    };
    let meaning = watch.meaning();
    let healthy = match (&meaning, service) {
        (Meaning::Offline | Meaning::Silent, Some(service)) => {
            answers(transport, look, service, deadline).await
        }
        _ => None,
    };
    let id = client_id.map_or_else(|| "its client id".to_owned(), |id| format!("the client id `{id}`"));
    let (verdict, reason) = match (&meaning, healthy) {
        (Meaning::Steady, _) if early => (
            Verdict::Unknown,
            format!("`{topic}` is online, but the look was too short to watch it for {steady_for:?}"),
        ),
        (Meaning::Steady, _) => (Verdict::Holds, format!("`{topic}` is online and stayed so")),
        (Meaning::Flapping, _) => (
            Verdict::Absent,
            format!(
                "`{topic}` changed {} times while it was watched: two clients fight over {id}; give each its own \
                 `mqtt.client_id`, and both their own `mqtt.topic_prefix`",
                watch.changes()
            ),
        ),
        (Meaning::Offline, Some(true)) => (
            Verdict::Absent,
            format!(
                "`{topic}` is offline although the service answers: the last will of another client fired; `mqtt.heal` \
                 puts it right"
            ),
        ),
        (Meaning::Offline, Some(false)) => {
            (Verdict::Absent, format!("`{topic}` is offline, and the service does not answer either"))
        }
        (Meaning::Offline, None) => (Verdict::Absent, format!("`{topic}` is offline")),
        (Meaning::Silent, Some(true)) => (
            Verdict::Absent,
            format!(
                "nothing is retained at `{topic}` although the service answers: it has not logged in to the broker (wrong \
                 user or password), it has another topic prefix, or this user may not read there"
            ),
        ),
        (Meaning::Silent, _) => {
            (Verdict::Absent, format!("nothing is retained at `{topic}`, or this user may not read there"))
        }
        (Meaning::Other(text), _) => (Verdict::Absent, format!("`{topic}` is `{text}`, not `online`")),
    };
    let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
    answer.facts.insert("changes".to_owned(), watch.changes().into());
    answer.facts.insert("available".to_owned(), watch.last().map_or(Value::Null, Value::from));
    if let Some(healthy) = healthy {
        answer.facts.insert("healthy".to_owned(), healthy.into());
    }
    look.redactor.json(Value::Object(std::mem::take(&mut answer.facts))).as_object().cloned().map_or_else(
        || unknown("what was seen cannot be shown", &look.redactor),
        |facts| Answer { facts, ..answer },
    )
}

async fn watch(
    transport: &Transport,
    look: &Look,
    broker: MqttBroker,
    topic: &str,
    (steady_for, deadline): (std::time::Duration, Instant),
) -> Result<(Watch, bool), MqttError> {
    let mut session = MqttSession::open(transport, broker, look.timeout).await?;
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    let found = session.retained(topic).await?;
    let mut watch = Watch { retained: found.map(|message| text(&message.payload)), live: Vec::new() };
    let (end, early) = window(steady_for, deadline);
    while let MqttWatched::Message(message) = session.next(end).await? {
        // Enough was seen of what changes all the time.
        if message.topic == topic && !message.retained && watch.live.len() < 1000 {
            watch.live.push(text(&message.payload));
        }
    }
    session.close().await;
    Ok((watch, early))
}

/// Whether the service answers; `None`: nobody knows.
async fn answers(
    transport: &Transport,
    look: &Look,
    service: FrigateServer,
    deadline: Instant,
) -> Option<bool> {
    let left = deadline.saturating_duration_since(Instant::now()).max(super::MARGIN);
    match transport.frigate(service, left, &look.redactor).version().await {
        Ok(_) => Some(true),
        Err(FrigateError::Gone(_) | FrigateError::Broken(_)) => Some(false),
        Err(FrigateError::Unseen(_) | FrigateError::Wrong(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(retained: Option<&str>, live: &[&str]) -> Watch {
        Watch {
            retained: retained.map(str::to_owned),
            live: live.iter().map(|payload| (*payload).to_owned()).collect(),
        }
    }

    #[test]
    fn what_coming_and_going_means() {
        for (retained, live, meaning) in [
            (Some("online"), &[][..], Meaning::Steady),
            // It has reconnected and said so.
            (Some("online"), &["online"], Meaning::Steady),
            // It starts.
            (Some("offline"), &["online"], Meaning::Steady),
            (None, &["online"], Meaning::Steady),
            (Some("online"), &["offline"], Meaning::Offline),
            (Some("offline"), &[], Meaning::Offline),
            // A takeover, once: offline by the will of the loser, and online by the winner.
            (Some("online"), &["offline", "online"], Meaning::Flapping),
            (Some("offline"), &["online", "offline", "online", "offline"], Meaning::Flapping),
            (None, &[], Meaning::Silent),
            (Some("online"), &[""], Meaning::Silent),
            (Some("maybe"), &[], Meaning::Other("maybe".to_owned())),
        ] {
            assert_eq!(watch(retained, live).meaning(), meaning, "{retained:?} {live:?}");
        }
    }
}
