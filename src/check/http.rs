//! `http`: what a service answers.
//!
//! A refused connection is an answer, that of the host: nobody listens, so what is asked for is `absent`. Everything
//! else that keeps an answer from coming (no such name, no way, no trust, too late) is `unknown`.

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::answer::unknown;
use super::{Check, Look};
use crate::action::{Compared, Expected, Fields, http_outputs, http_request};
use crate::saga::{Answer, Verdict};
use crate::transport::{BODY_MAX, Capture, HttpEnd, Transport, one_line, status_name};

/// How much of one value is kept as a fact, in bytes; of a larger one its size is.
const FACT_MAX: usize = 1024;

pub(super) struct Http;

impl Check for Http {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let fields = Fields::new(&look.operation);
            let read = || {
                let (request, expected) = (http_request(fields, &look.bodies)?, Expected::read(fields)?);
                Ok::<_, String>((request, expected, fields.outputs()?))
            };
            let (mut request, expected, declared) = match read() {
                Ok(read) => read,
                Err(message) => return unknown(&message, &look.redactor),
            };
            request.wants_body = expected.wants_body() || !declared.is_empty();
            let mut capture = Capture::with_room(&look.redactor, None, BODY_MAX);
            let end = transport.request(&request, &mut capture, look.timeout, None).await;
            let seen = capture.finish();
            let say = |verdict, message: &str| Answer::new(verdict, one_line(&look.redactor.text(message)));
            let (status, headers) = match end {
                HttpEnd::Answered { status, headers } => (status, headers),
                HttpEnd::Refused(message) => return say(Verdict::Absent, &message),
                HttpEnd::NotSent { message, .. }
                | HttpEnd::Lost(message)
                | HttpEnd::TimedOut(message)
                | HttpEnd::Stopped(message) => return say(Verdict::Unknown, &message),
            };
            let mut facts = serde_json::Map::new();
            let mut answer = match expected.compare(status, &seen, &mut facts) {
                Compared::Fits => say(Verdict::Holds, &format!("the answer is {}", status_name(status))),
                Compared::Status(message) | Compared::Body(message) => say(Verdict::Absent, &message),
                Compared::Unseen(message) => say(Verdict::Unknown, &message),
            };
            answer.facts.insert("status".to_owned(), Value::from(status));
            for (pointer, value) in facts {
                let value = look.redactor.json(value);
                let length = value.to_string().len();
                let kept = if length > FACT_MAX { Value::from(format!("{length} bytes")) } else { value };
                answer.facts.insert(pointer, kept);
            }
            if answer.verdict == Verdict::Holds {
                let headers: Vec<(String, String)> = headers
                    .iter()
                    .map(|(name, value)| {
                        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                    })
                    .collect();
                match http_outputs(fields, &headers, &seen, &look.redactor) {
                    Ok(outputs) => answer.outputs = outputs,
                    Err(message) => return unknown(&message, &look.redactor),
                }
            }
            answer
        })
    }
}
