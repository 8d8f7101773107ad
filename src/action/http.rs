//! `http`: a request, and what is expected of its answer.
//!
//! It works inside our process. A request that was cut off has ended here when the process is gone or its connection
//! closed; whether the server received it, only the step's probe can say.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::fields::{Fields, OnStop};
use super::outcome::{outputs_of, refused, shown, trace_of};
use super::{Action, Call};
use crate::plan::expect::{self, Comparison};
use crate::saga::{CutCause, FailureClass, Outcome, Trace};
use crate::transport::{
    BODY_MAX, CAPTURE_MAX, Capture, HttpEnd, HttpRequest, Redactor, Seen, Transport, may_heal, status_name,
};

pub(super) struct Http;

/// What is expected of an answer.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Empty: any of 200 to 299.
    statuses: Vec<u16>,
    json: Vec<(String, Vec<Comparison>)>,
    contains: Option<String>,
}

/// How an answer compares with what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Compared {
    /// It is as expected.
    Fits,
    /// It has another status.
    Status(String),
    /// Its body is another.
    Body(String),
    /// It cannot be compared.
    Unseen(String),
}

/// The request that the fields describe, the same for action and check.
pub(crate) fn request(
    fields: Fields<'_>,
    bodies: &std::collections::BTreeMap<String, Vec<u8>>,
) -> Result<HttpRequest, String> {
    let url = fields.text("url")?.ok_or("`http` needs a `url`")?;
    let mut headers = Vec::new();
    match fields.get("headers") {
        None => {}
        Some(Value::Object(table)) => {
            for (name, value) in table {
                let value = value.as_str().ok_or_else(|| fields.wrong("headers", "a table of texts"))?;
                headers.push((name.clone(), value.to_owned()));
            }
        }
        Some(_) => return Err(fields.wrong("headers", "a table of texts")),
    }
    let body = match (fields.text("body")?, fields.get("body_json")) {
        (Some(_), Some(_)) => return Err("`http` takes one of `body` and `body_json`".to_owned()),
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(value)) => {
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            Some(value.to_string().into_bytes())
        }
        (None, None) => None,
    };
    let default = if body.is_some() { "POST" } else { "GET" };
    let redirects = match fields.get("redirects") {
        None => 0,
        Some(value) => value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| fields.wrong("redirects", "a number"))?,
    };
    Ok(HttpRequest {
        method: fields.text("method")?.unwrap_or_else(|| default.to_owned()),
        url,
        headers,
        body,
        redirects,
        ca: fields.recorded("ca_file", bodies)?,
        wants_body: true,
    })
}

impl Expected {
    pub(crate) fn read(fields: Fields<'_>) -> Result<Self, String> {
        let status = |value: &Value| {
            let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
            number.ok_or_else(|| fields.wrong("status", "a status or an array of them"))
        };
        let statuses = match fields.get("status") {
            None => Vec::new(),
            Some(Value::Array(all)) => all.iter().map(status).collect::<Result<_, _>>()?,
            Some(one) => vec![status(one)?],
        };
        let mut json = Vec::new();
        match fields.get("json") {
            None => {}
            Some(Value::Object(table)) => {
                for (pointer, value) in table {
                    let read = expect::parse(value).map_err(|wrong| {
                        let why: Vec<String> = wrong.into_iter().map(|wrong| wrong.message).collect();
                        format!("`json` at `{pointer}`: {}", why.join(", "))
                    })?;
                    json.push((pointer.clone(), read));
                }
            }
            Some(_) => return Err(fields.wrong("json", "a table of comparisons")),
        }
        Ok(Self { statuses, json, contains: fields.text("contains")? })
    }

    /// Whether the body of the answer matters.
    pub(crate) fn wants_body(&self) -> bool {
        !self.json.is_empty() || self.contains.is_some()
    }

    /// Compares an answer; puts the value at each pointer that is asked for into `facts`, as it was seen.
    pub(crate) fn compare(&self, status: u16, seen: &Seen, facts: &mut Map<String, Value>) -> Compared {
        let wanted = match self.statuses.as_slice() {
            [] => (200..300).contains(&status),
            some => some.contains(&status),
        };
        let document = match self.json.is_empty() || seen.overflow {
            true => None,
            false => Some(serde_json::from_slice::<Value>(&seen.stdout)),
        };
        if let Some(Ok(document)) = &document {
            for (pointer, _) in &self.json {
                if let Some(value) = document.pointer(pointer) {
                    facts.insert(pointer.clone(), value.clone());
                }
            }
        }
        if !wanted {
            return Compared::Status(format!("the answer is {}{}", status_name(status), self.statuses()));
        }
        if self.wants_body() && seen.overflow {
            return Compared::Unseen(format!("the answer has more than {BODY_MAX} bytes"));
        }
        if let Some(part) = &self.contains
            && memchr::memmem::find(&seen.stdout, part.as_bytes()).is_none()
        {
            return Compared::Body(format!("the answer does not contain `{part}`"));
        }
        let document = match document {
            None => return Compared::Fits,
            Some(Ok(document)) => document,
            Some(Err(error)) => return Compared::Body(format!("the answer is not JSON: {error}")),
        };
        self.differs(&document, &document).map_or(Compared::Fits, Compared::Body)
    }

    /// Compares a document itself; puts the value at each pointer that is asked for into `facts`, as `shown` has it:
    /// the same document, without what nobody may see of it.
    ///
    /// # Errors
    /// In words, the first place that is not as expected.
    pub(crate) fn compare_json(
        &self,
        document: &Value,
        shown: &Value,
        facts: &mut Map<String, Value>,
    ) -> Result<(), String> {
        for (pointer, _) in &self.json {
            if let Some(value) = shown.pointer(pointer) {
                facts.insert(pointer.clone(), value.clone());
            }
        }
        self.differs(document, shown).map_or(Ok(()), Err)
    }

    /// The first place of a document that is not as expected.
    fn differs(&self, document: &Value, shown: &Value) -> Option<String> {
        self.json.iter().find_map(|(pointer, comparisons)| {
            let found = document.pointer(pointer);
            let comparison = comparisons.iter().find(|comparison| !comparison.holds(found))?;
            let found = shown
                .pointer(pointer)
                .map_or_else(|| "nothing".to_owned(), |value| format!("`{}`", brief(value)));
            Some(format!("at `{pointer}` is {found}, not {}", comparison.wanted()))
        })
    }

    fn statuses(&self) -> String {
        match self.statuses.as_slice() {
            [] => String::new(),
            some => {
                let some: Vec<String> = some.iter().map(ToString::to_string).collect();
                format!(", not {}", some.join(" or "))
            }
        }
    }
}

/// A value in a message: its beginning.
fn brief(value: &Value) -> String {
    const SHOWN_MAX: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The declared outputs out of an answer: as those of a command, and `header:NAME`.
pub(crate) fn outputs(
    fields: Fields<'_>,
    headers: &[(String, String)],
    seen: &Seen,
    redactor: &Redactor,
) -> Result<Map<String, Value>, String> {
    let mut from_body = fields.outputs()?;
    let mut outputs = Map::new();
    let declared = from_body.clone();
    for (name, how) in &declared {
        let Some(header) = how.as_str().and_then(|how| how.strip_prefix("header:")) else { continue };
        from_body.remove(name);
        let value = headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(header));
        let (_, value) =
            value.ok_or_else(|| format!("the answer has no header `{header}` for the output `{name}`"))?;
        outputs.insert(name.clone(), Value::String(redactor.text(value)));
    }
    let overflow = seen.overflow || seen.stdout.len() > CAPTURE_MAX;
    let taken = outputs_of(&from_body, &seen.stdout, overflow, redactor);
    outputs.extend(taken.map_err(|message| message.replace("stdout", "the answer"))?);
    Ok(outputs)
}

impl Action for Http {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let fields = Fields::new(&call.operation);
            let read = || {
                Ok::<_, String>((
                    request(fields, &call.bodies)?,
                    Expected::read(fields)?,
                    fields.on_stop(OnStop::Finish)?,
                ))
            };
            let (request, expected, on_stop) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let working = transport.begin_inside(&call.key.to_string());
            let mut capture = Capture::with_room(&call.redactor, Some(transport.log(call.log())), BODY_MAX);
            let stop = (on_stop == OnStop::Stop).then_some(&call.stop);
            let end = transport.request(&request, &mut capture, call.timeout, stop).await;
            drop(working);
            let seen = capture.finish();
            let outcome = outcome(end, fields, &expected, seen, &call.redactor);
            drop(call);
            outcome
        })
    }
}

fn outcome(
    end: HttpEnd,
    fields: Fields<'_>,
    expected: &Expected,
    mut seen: Seen,
    redactor: &Redactor,
) -> Outcome {
    let failed = |class, message: &str, trace: Trace| Outcome::Failed {
        class,
        message: shown(message, redactor),
        trace,
    };
    let cut = |cause, message: &str, trace| Outcome::Cut { cause, message: shown(message, redactor), trace };
    match end {
        HttpEnd::Answered { status, headers } => {
            let headers: Vec<(String, String)> = headers
                .iter()
                .map(|(name, value)| {
                    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect();
            let compared = expected.compare(status, &seen, &mut Map::new());
            let outputs = match &compared {
                Compared::Fits => outputs(fields, &headers, &seen, redactor),
                _ => Ok(Map::new()),
            };
            seen.stdout = Vec::new();
            let trace = trace_of(seen);
            match (compared, outputs) {
                (Compared::Fits, Ok(outputs)) => Outcome::Acted { outputs, trace },
                (Compared::Fits, Err(message)) => failed(FailureClass::Permanent, &message, trace),
                (Compared::Status(message), _) => {
                    let class =
                        if may_heal(status) { FailureClass::Transient } else { FailureClass::Permanent };
                    failed(class, &message, trace)
                }
                // It was understood, and what it says may be another thing the next time.
                (Compared::Body(message), _) => failed(FailureClass::Transient, &message, trace),
                (Compared::Unseen(message), _) => failed(FailureClass::Permanent, &message, trace),
            }
        }
        HttpEnd::Refused(message) => failed(FailureClass::Transient, &message, trace_of(seen)),
        HttpEnd::NotSent { permanent, message } => {
            let class = if permanent { FailureClass::Permanent } else { FailureClass::Transient };
            failed(class, &message, trace_of(seen))
        }
        HttpEnd::Lost(message) => cut(CutCause::Connection, &message, trace_of(seen)),
        HttpEnd::TimedOut(message) => cut(CutCause::Timeout, &message, trace_of(seen)),
        HttpEnd::Stopped(message) => cut(CutCause::Stopped, &message, trace_of(seen)),
    }
}
