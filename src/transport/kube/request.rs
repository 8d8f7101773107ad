//! One request: built, sent, answered in time and in bounds.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;

use super::Kube;
use super::error::{Asked, KubeError, Why};

/// How long one request may take: an API server gives up on its own after 60 s, and a webhook has 30.
const REQUEST_MAX: Duration = Duration::from_secs(40);

/// How much of an answer is read, in bytes: a list of everything in a namespace of thousands.
const ANSWER_MAX: usize = 256 << 20;

/// A request before it is sent.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// With a slash at its beginning, escaped.
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) accept: &'static str,
    pub(super) body: Option<(&'static str, Vec<u8>)>,
    pub(super) asked: Asked,
}

impl Ask {
    pub(super) fn get(path: String, asked: Asked) -> Self {
        Self { method: Method::GET, path, query: Vec::new(), accept: "application/json", body: None, asked }
    }

    fn uri(&self) -> String {
        let mut uri = self.path.clone();
        for (number, (name, value)) in self.query.iter().enumerate() {
            uri.push(if number == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.push_str(&escaped(value));
        }
        uri
    }

    fn request(&self) -> Result<Request<Body>, KubeError> {
        let mut request =
            Request::builder().method(self.method.clone()).uri(self.uri()).header(ACCEPT, self.accept);
        // What the server's audit log shows.
        request = request.header(USER_AGENT, concat!("runner/", env!("CARGO_PKG_VERSION")));
        let body = match &self.body {
            Some((kind, bytes)) => {
                request = request.header(CONTENT_TYPE, *kind);
                Body::from(bytes.clone())
            }
            None => Body::empty(),
        };
        request.body(body).map_err(|error| KubeError {
            why: Why::Access,
            message: format!("`{}` cannot be asked: {error}", self.path),
        })
    }
}

impl Kube {
    /// Sends a request and reads a JSON answer. Cancel-safe; what was sent is sent.
    pub(super) async fn json(&self, ask: &Ask) -> Result<Value, KubeError> {
        let body = self.bytes(ask).await?;
        serde_json::from_slice(&body).map_err(|error| {
            KubeError::strange(self.name(), &format!("its answer to `{}` is no JSON: {error}", ask.path))
        })
    }

    /// The same for any answer.
    pub(super) async fn bytes(&self, ask: &Ask) -> Result<Vec<u8>, KubeError> {
        match self.once(ask, &self.open).await {
            // A token that is read again, a plugin that is asked again: once.
            Err(error) if error.is_unauthorized() => {
                let open = self.transport.opened(&self.place, self.deadline, Some(&self.open)).await;
                let Ok(open) = open else { return Err(error) };
                self.once(ask, &open).await
            }
            other => other,
        }
    }

    async fn once(&self, ask: &Ask, open: &super::Open) -> Result<Vec<u8>, KubeError> {
        let limit = self.left().min(REQUEST_MAX);
        let answered = async {
            let sent = open.client.send(ask.request()?).await;
            let (parts, body) =
                sent.map_err(|error| KubeError::unanswered(self.name(), &error))?.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await.map_err(|error| KubeError {
                why: Why::Lost,
                message: format!("cluster `{}`: its answer broke off: {error}", self.name()),
            })?;
            Ok::<_, KubeError>(Response::from_parts(parts, body.to_bytes().to_vec()))
        };
        let answer = match tokio::time::timeout(limit, answered).await {
            Ok(answer) => answer?,
            Err(_) => {
                let message = format!(
                    "cluster `{}`: no answer within {} s to {} {}",
                    self.name(),
                    limit.as_secs_f32().ceil(),
                    ask.method,
                    ask.path
                );
                return Err(KubeError { why: Why::TimedOut, message });
            }
        };
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        let wait =
            answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let (code, wait) = (answer.status().as_u16(), wait.map(Duration::from_secs));
        Err(KubeError::refused(self.name(), &ask.asked, code, answer.body(), wait))
    }
}

/// A text as a part of a path or a query (RFC 3986, section 2.3).
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
