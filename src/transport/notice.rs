//! A word to somebody outside, over HTTP: sent once, and nothing depends on it.

use std::time::Duration;

use super::Transport;
use super::capture::Capture;
use super::http::{HttpEnd, HttpRequest};
use super::redact::Redactor;

/// What is sent: a POST.
pub struct Notice {
    /// Where; may hold a secret.
    pub url: String,
    /// Names in lower case; values may be secrets.
    pub headers: Vec<(String, String)>,
    /// What is said.
    pub body: Vec<u8>,
}

impl Transport {
    /// Sends a notice. Dropping the future closes the connection.
    ///
    /// # Errors
    /// In a few words why nobody took it; the address is not in them, because it may hold a secret.
    pub async fn notify(&self, notice: Notice, timeout: Duration) -> Result<(), String> {
        let Notice { url, headers, body } = notice;
        let request = HttpRequest {
            method: "POST".to_owned(),
            url,
            headers,
            body: Some(body),
            redirects: 0,
            ca: None,
            wants_body: false,
        };
        let mut capture = Capture::new(&Redactor::new([""; 0]), None);
        match self.request(&request, &mut capture, timeout, None).await {
            HttpEnd::Answered { status: 200..=299, .. } => Ok(()),
            HttpEnd::Answered { status, .. } => Err(format!("it answered with status {status}")),
            HttpEnd::Refused(_) => Err("nobody listens there".to_owned()),
            HttpEnd::NotSent { .. } => Err("it cannot be reached".to_owned()),
            HttpEnd::TimedOut(_) => Err("it did not answer in time".to_owned()),
            HttpEnd::Lost(_) | HttpEnd::Stopped(_) => Err("the connection was lost".to_owned()),
        }
    }
}
