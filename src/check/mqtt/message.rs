//! A message that is as expected, retained or while it is looked.

use serde_json::Value;
use tokio::time::Instant;

use super::super::Look;
use super::super::answer::unknown;
use super::{WINDOW, window};
use crate::action::Fields;
use crate::plan::expect::Comparison;
use crate::saga::{Answer, Verdict};
use crate::transport::{MqttError, MqttMessage, MqttSession, MqttWatched, Transport, check_filter, one_line};

/// How much of a message or of one value is kept as a fact, in bytes; of a larger one its size is.
const FACT_MAX: usize = 1024;

/// What is expected.
struct Expected {
    payload: Option<String>,
    contains: Option<String>,
    json: Vec<(String, Vec<Comparison>)>,
    retained: Option<bool>,
    absent: bool,
}

impl Expected {
    fn read(fields: Fields<'_>) -> Result<Self, String> {
        let retained = fields.get("retained").map(|_| fields.flag("retained")).transpose()?;
        Ok(Self {
            payload: fields.text("payload")?,
            contains: fields.text("contains")?,
            json: fields.expectations("json")?,
            retained,
            absent: fields.flag("absent")?,
        })
    }

    /// Whether a message counts at all.
    fn counts(&self, message: &MqttMessage) -> bool {
        (!self.absent || message.retained)
            && self.retained.is_none_or(|retained| retained == message.retained)
    }

    /// Whether it is as expected.
    ///
    /// # Errors
    /// In words, how it differs.
    fn fits(&self, message: &MqttMessage) -> Result<(), String> {
        let at = &message.topic;
        if let Some(payload) = &self.payload
            && payload.as_bytes() != message.payload
        {
            return Err(format!("`{at}` is `{}`, not `{payload}`", brief(&message.payload)));
        }
        if let Some(part) = &self.contains
            && memchr::memmem::find(&message.payload, part.as_bytes()).is_none()
        {
            return Err(format!("`{at}` does not contain `{part}`"));
        }
        if self.json.is_empty() {
            return Ok(());
        }
        let document: Value = serde_json::from_slice(&message.payload)
            .map_err(|error| format!("`{at}` is not JSON: {error}"))?;
        for (pointer, comparisons) in &self.json {
            let found = document.pointer(pointer);
            if let Some(comparison) = comparisons.iter().find(|comparison| !comparison.holds(found)) {
                let found = found.map_or_else(
                    || "nothing".to_owned(),
                    |value| format!("`{}`", brief(value.to_string().as_bytes())),
                );
                return Err(format!("`{at}` has {found} at `{pointer}`, not {}", comparison.wanted()));
            }
        }
        Ok(())
    }
}

pub(super) async fn look(transport: &Transport, look: &Look, topic: &str) -> Answer {
    let fields = Fields::new(&look.operation);
    let read = || {
        check_filter(topic)?;
        let broker = fields.broker(&look.places, &look.bodies)?;
        Ok::<_, String>((broker, Expected::read(fields)?, fields.duration("within")?.unwrap_or(WINDOW)))
    };
    let (broker, expected, within) = match read() {
        Ok(read) => read,
        Err(message) => return unknown(&message, &look.redactor),
    };
    let deadline = Instant::now() + look.timeout;
    let watching = async {
        let mut session = MqttSession::open(transport, broker, look.timeout).await?;
        let retained_alone = expected.absent || expected.retained == Some(true);
        let (mut seen, mut fitting) = (None, None);
        if retained_alone && !topic.contains(['+', '#']) {
            if let Some(message) = session.retained(topic).await? {
                seen = Some(message);
            }
        } else {
            session.subscribe(topic).await?;
        }
        let (end, early) = match retained_alone {
            // A broker hands retained messages out at once; what is left is a moment for a slow one.
            true => (Instant::now() + std::time::Duration::from_millis(250), false),
            false => window(within, deadline),
        };
        let mut why = None;
        if let Some(message) = &seen {
            match expected.fits(message) {
                Ok(()) => fitting = seen.clone(),
                Err(differs) => why = Some(differs),
            }
        }
        while fitting.is_none() && !(retained_alone && seen.is_some()) {
            match session.next(end).await? {
                MqttWatched::Nothing => break,
                MqttWatched::Message(message) if !expected.counts(&message) => {}
                MqttWatched::Message(message) if expected.absent => {
                    seen = Some(message);
                    break;
                }
                MqttWatched::Message(message) => {
                    match expected.fits(&message) {
                        Ok(()) => fitting = Some(message.clone()),
                        Err(differs) => why = Some(differs),
                    }
                    seen = Some(message);
                }
            }
        }
        session.close().await;
        Ok::<_, MqttError>((seen, fitting, why, early))
    };
    let (seen, fitting, why, early) = match watching.await {
        Ok(seen) => seen,
        Err(error) => return unknown(error.message(), &look.redactor),
    };
    let say = |verdict, message: &str| Answer::new(verdict, one_line(&look.redactor.text(message)));
    let mut answer = match (expected.absent, &seen, &fitting) {
        (true, None, _) => say(Verdict::Holds, &format!("nothing is retained at `{topic}`")),
        (true, Some(message), _) => {
            say(Verdict::Absent, &format!("`{}` is retained: `{}`", message.topic, brief(&message.payload)))
        }
        (false, _, Some(message)) => {
            let how = if message.retained { "is retained" } else { "came" };
            say(Verdict::Holds, &format!("`{}` {how} as expected", message.topic))
        }
        (false, Some(_), None) => say(Verdict::Absent, why.as_deref().unwrap_or("it is another message")),
        (false, None, None) if expected.retained == Some(true) => say(
            Verdict::Absent,
            &format!("nothing is retained at `{topic}`, or this user may not read there"),
        ),
        (false, None, None) if early => say(
            Verdict::Unknown,
            &format!("no message came at `{topic}`, but the look was shorter than `within`"),
        ),
        (false, None, None) => say(
            Verdict::Absent,
            &format!("no message came at `{topic}` within {within:?}, or this user may not read there"),
        ),
    };
    if let Some(message) = fitting.as_ref().or(seen.as_ref()) {
        facts(&mut answer, look, &expected, message);
    }
    answer
}

fn facts(answer: &mut Answer, look: &Look, expected: &Expected, message: &MqttMessage) {
    answer.facts.insert("topic".to_owned(), message.topic.clone().into());
    answer.facts.insert("retained".to_owned(), message.retained.into());
    if look.secret {
        return;
    }
    let kept = |value: Value| {
        let value = look.redactor.json(value);
        let length = value.to_string().len();
        if length > FACT_MAX { Value::from(format!("{length} bytes")) } else { value }
    };
    let text = String::from_utf8_lossy(&message.payload).into_owned();
    answer.facts.insert("payload".to_owned(), kept(text.into()));
    if let Ok(document) = serde_json::from_slice::<Value>(&message.payload) {
        for (pointer, _) in &expected.json {
            if let Some(value) = document.pointer(pointer) {
                answer.facts.insert(pointer.clone(), kept(value.clone()));
            }
        }
    }
}

/// The beginning of a message, for people.
fn brief(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 80;
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
