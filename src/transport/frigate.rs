//! Frigate's HTTP API, as far as a look needs it: port 5000 without a login, port 8971 with one.
//!
//! Source: facts/migration.md 5.1 and facts/transcripts/frigate-api.json (Frigate 0.16.2). What the time is there, the
//! `date` of its answers says: its clock is not ours.

use std::time::Duration;

use hyper::header::{DATE, SET_COOKIE};
use serde_json::Value;
use tokio::time::Instant;

use super::capture::Capture;
use super::http::{HttpEnd, HttpRequest, status_name};
use super::launch::after;
use super::{Redactor, Transport};

/// The largest answer that is read, in bytes: the configuration of a hundred cameras has some 600 KB.
const ANSWER_MAX: usize = 8 << 20;

/// Where a Frigate is and who we are there.
#[derive(Clone)]
pub(crate) struct FrigateServer {
    /// `http://host:5000` or `https://host:8971`, without a slash at its end.
    pub(crate) url: String,
    /// User and password for port 8971.
    pub(crate) login: Option<(String, String)>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub(crate) ca: Option<Vec<u8>>,
    /// Whoever answers is trusted: Frigate makes its own certificate.
    pub(crate) anyone: bool,
}

/// Why Frigate was not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FrigateError {
    /// The host says that nobody listens.
    Gone(String),
    /// No answer, or none that could be read: nobody knows.
    Unseen(String),
    /// It answers with an error, and may not the next time.
    Broken(String),
    /// The request is wrong: no such path, no rights, no trust.
    Wrong(String),
}

impl FrigateError {
    pub(crate) fn message(&self) -> &str {
        match self {
            FrigateError::Gone(message)
            | FrigateError::Unseen(message)
            | FrigateError::Broken(message)
            | FrigateError::Wrong(message) => message,
        }
    }
}

/// A Frigate that is asked; logs in when it must.
pub(crate) struct Frigate {
    transport: Transport,
    server: FrigateServer,
    redactor: Redactor,
    deadline: Instant,
    cookie: Option<String>,
    /// What the time was there at its last answer, in seconds since 1970.
    now: Option<i64>,
}

impl Transport {
    /// A Frigate, for so long.
    pub(crate) fn frigate(&self, server: FrigateServer, timeout: Duration, redactor: &Redactor) -> Frigate {
        let (transport, redactor, deadline) = (self.clone(), redactor.clone(), after(timeout));
        Frigate { transport, server, redactor, deadline, cookie: None, now: None }
    }
}

impl Frigate {
    /// What it calls its version, for example `0.16.0-c2f8de9`.
    pub(crate) async fn version(&mut self) -> Result<String, FrigateError> {
        let body = self.get("/api/version").await?;
        Ok(String::from_utf8_lossy(&body).trim().to_owned())
    }

    /// The JSON at a path.
    pub(crate) async fn json(&mut self, path: &str) -> Result<Value, FrigateError> {
        let body = self.get(path).await?;
        serde_json::from_slice(&body).map_err(|error| {
            FrigateError::Broken(format!("`{}{path}` does not answer with JSON: {error}", self.server.url))
        })
    }

    /// The time there when it last answered, in seconds since 1970; `None` when its answers do not say.
    pub(crate) fn now(&self) -> Option<i64> {
        self.now
    }

    async fn get(&mut self, path: &str) -> Result<Vec<u8>, FrigateError> {
        if let (None, Some((user, password))) = (&self.cookie, self.server.login.clone()) {
            self.cookie = Some(self.login(&user, &password).await?);
        }
        let cookie = self.cookie.iter().map(|cookie| ("cookie".to_owned(), cookie.clone())).collect();
        let (status, _, body) = self.ask("GET", path, cookie, None).await?;
        let shown = format!("`{}{path}` answers {}", self.server.url, status_name(status));
        match status {
            200..=299 => Ok(body),
            401 if self.server.login.is_none() => Err(FrigateError::Wrong(format!(
                "{shown}: this is the port with a login; write `user` and `password`, or use port 5000"
            ))),
            500..=599 | 408 | 429 => Err(FrigateError::Broken(shown)),
            _ => Err(FrigateError::Wrong(shown)),
        }
    }

    /// The cookie of a session, as `name=value`: the name is configurable (`auth.cookie_name`).
    async fn login(&mut self, user: &str, password: &str) -> Result<String, FrigateError> {
        let body = serde_json::json!({ "user": user, "password": password }).to_string().into_bytes();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let (status, cookie, _) = self.ask("POST", "/api/login", headers, Some(body)).await?;
        match (status, cookie) {
            (200..=299, Some(cookie)) => Ok(cookie),
            (200..=299, None) => Err(FrigateError::Wrong(format!(
                "`{}/api/login` answers without a cookie: is this Frigate with `auth` on?",
                self.server.url
            ))),
            (401, _) => Err(FrigateError::Wrong(format!(
                "`{}/api/login` refuses user `{user}`: check `user` and `password`",
                self.server.url
            ))),
            (status, _) => {
                let message = format!("`{}/api/login` answers {}", self.server.url, status_name(status));
                Err(if status >= 500 || status == 429 {
                    FrigateError::Broken(message)
                } else {
                    FrigateError::Wrong(message)
                })
            }
        }
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: Vec<(String, String)>,
        body: Option<Vec<u8>>,
    ) -> Result<(u16, Option<String>, Vec<u8>), FrigateError> {
        let request = HttpRequest {
            method: method.to_owned(),
            url: format!("{}{path}", self.server.url),
            headers,
            body,
            redirects: 0,
            ca: self.server.ca.clone(),
            wants_body: true,
        };
        let mut capture = Capture::with_room(&self.redactor, None, ANSWER_MAX);
        let left = self.deadline.saturating_duration_since(Instant::now());
        let end = match self.server.anyone {
            true => self.transport.request_of_anyone(&request, &mut capture, left, None).await,
            false => self.transport.request(&request, &mut capture, left, None).await,
        };
        let seen = capture.finish();
        let (status, headers) = match end {
            HttpEnd::Answered { status, headers } => (status, headers),
            HttpEnd::Refused(message) => return Err(FrigateError::Gone(message)),
            HttpEnd::NotSent { permanent: true, message } => return Err(FrigateError::Wrong(message)),
            HttpEnd::NotSent { message, .. }
            | HttpEnd::Lost(message)
            | HttpEnd::TimedOut(message)
            | HttpEnd::Stopped(message) => return Err(FrigateError::Unseen(message)),
        };
        if seen.overflow {
            let message = format!("`{}{path}` answers with more than {ANSWER_MAX} bytes", self.server.url);
            return Err(FrigateError::Wrong(message));
        }
        let text = |value: &hyper::header::HeaderValue| value.to_str().ok().map(str::to_owned);
        if let Some(date) = headers.get(DATE).and_then(text) {
            self.now = jiff::fmt::rfc2822::parse(&date).ok().map(|date| date.timestamp().as_second());
        }
        let cookie = headers.get(SET_COOKIE).and_then(text);
        let cookie = cookie.and_then(|cookie| cookie.split(';').next().map(|pair| pair.trim().to_owned()));
        Ok((status, cookie.filter(|pair| pair.contains('=')), seen.stdout))
    }
}
