//! HTTP/1.1 over TCP and TLS: requests with a deadline, answers that are bounded, and errors that say whether anything
//! was sent.
//!
//! The stack is hyper 1 with rustls on ring and the roots of the system, which is what `kube` 5 is built on. Looks share
//! connections. A request that changes something has a connection of its own: on a shared one that the server closes
//! at that moment, nobody could tell whether it was received (RFC 9110, section 9.2.2). No proxy is used.

mod anyone;

#[cfg(feature = "demo")]
pub(crate) use anyone::Anyone;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{HttpConnector, capture_connection};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::Transport;
use super::capture::{Capture, Stream};
use super::launch::after;
use super::stop::Stop;

/// How much of an answer's body is looked into, in bytes: JSON that somebody compares has a hundredth of it.
pub(crate) const BODY_MAX: usize = 1024 * 1024;

/// How much of an answer's body is read at all, in bytes; it goes into the attempt's log.
const READ_MAX: u64 = 64 << 20;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: shorter than servers keep theirs.
const IDLE_MAX: Duration = Duration::from_secs(4);

type Hyper = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct HttpRequest {
    /// Upper case.
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    /// Absent: none, which is something else than an empty one.
    pub(crate) body: Option<Vec<u8>>,
    /// How many redirects of a GET or HEAD are followed.
    pub(crate) redirects: u32,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub(crate) ca: Option<Vec<u8>>,
    /// Read the body of the answer.
    pub(crate) wants_body: bool,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum HttpEnd {
    /// With an answer; its body is in the capture.
    Answered { status: u16, headers: HeaderMap },
    /// Nobody listens there; nothing was sent.
    Refused(String),
    /// Nothing was sent.
    NotSent { permanent: bool, message: String },
    /// It may have been received; the answer is lost.
    Lost(String),
    /// The same, because it took too long.
    TimedOut(String),
    /// The same, because a person stopped `runner`.
    Stopped(String),
}

/// The clients of one process, made when they are needed.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<BTreeMap<Kind, Hyper>>);

/// What one client is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    shared: bool,
    trust: Trust,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    /// No TLS.
    Nobody,
    System,
    /// These certificates, by their digest.
    Given(Vec<u8>),
    /// Whoever answers: see [`Transport::request_of_anyone`].
    Anyone,
}

/// A refusal before anything was sent.
struct NotSent(String);

impl Transport {
    /// Sends a request and reads the answer into `capture`; follows redirects. Dropping the future closes the
    /// connection, and what was sent is sent.
    pub(crate) async fn request(
        &self,
        request: &HttpRequest,
        capture: &mut Capture,
        timeout: Duration,
        stop: Option<&Stop>,
    ) -> HttpEnd {
        self.request_trusting(request, capture, timeout, stop, false).await
    }

    /// The same of a server that makes its own certificate and whose plan says that anybody's is taken there.
    pub(crate) async fn request_of_anyone(
        &self,
        request: &HttpRequest,
        capture: &mut Capture,
        timeout: Duration,
        stop: Option<&Stop>,
    ) -> HttpEnd {
        self.request_trusting(request, capture, timeout, stop, true).await
    }

    async fn request_trusting(
        &self,
        request: &HttpRequest,
        capture: &mut Capture,
        timeout: Duration,
        stop: Option<&Stop>,
        anyone: bool,
    ) -> HttpEnd {
        let deadline = after(timeout);
        let mut hop = Hop { sent: false, anyone };
        let stopped = async {
            match stop {
                Some(stop) => stop.fired().await,
                None => std::future::pending().await,
            }
        };
        let shown = shown(&request.url);
        let end = tokio::select! {
            biased;
            () = stopped => Err("it was stopped"),
            () = tokio::time::sleep_until(deadline) => Err("there was no answer"),
            end = self.follow(request, capture, &mut hop, deadline) => Ok(end),
        };
        match end {
            Ok(end) => end,
            Err("it was stopped") if !hop.sent => {
                HttpEnd::Stopped(format!("it was stopped before anything was sent to {shown}"))
            }
            Err("it was stopped") => HttpEnd::Stopped(format!(
                "it was stopped while {shown} was to answer, and may have taken effect"
            )),
            Err(_) if !hop.sent => HttpEnd::NotSent {
                permanent: false,
                message: format!("no connection to {shown} within {timeout:?}; nothing was sent"),
            },
            Err(_) => HttpEnd::TimedOut(format!("{shown} did not answer within {timeout:?}")),
        }
    }

    async fn follow(
        &self,
        request: &HttpRequest,
        capture: &mut Capture,
        hop: &mut Hop,
        deadline: Instant,
    ) -> HttpEnd {
        let mut url = request.url.clone();
        let mut left = request.redirects;
        let mut trusted = true;
        loop {
            let response = match self.one(request, &url, trusted, hop).await {
                Ok(response) => response,
                Err(end) => return end,
            };
            let (parts, mut body) = response.into_parts();
            let follows = matches!(request.method.as_str(), "GET" | "HEAD")
                && left > 0
                && matches!(parts.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let next = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok());
            if let (true, Some(next)) = (follows, next) {
                left -= 1;
                let next = joined(&url, next);
                if url.starts_with("https://") && !next.starts_with("https://") {
                    return HttpEnd::Lost(format!("{} sends on to an address without TLS", shown(&url)));
                }
                trusted &= origin(&url) == origin(&next);
                url = next;
                continue;
            }
            let reason = parts.status.canonical_reason().unwrap_or_default();
            capture.take(Stream::Err, format!("{} {reason}\n", parts.status.as_u16()).as_bytes());
            if !request.wants_body || request.method == "HEAD" {
                return HttpEnd::Answered { status: parts.status.as_u16(), headers: parts.headers };
            }
            let mut read = 0;
            loop {
                // A server that sends for ever is cut by the deadline of the caller too; this one is ours.
                let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
                    Ok(Some(Ok(frame))) => frame,
                    Ok(None) => break,
                    Ok(Some(Err(error))) => {
                        let why = chain(&error);
                        return HttpEnd::Lost(format!("the answer of {} broke off: {why}", shown(&url)));
                    }
                    Err(_) => return HttpEnd::TimedOut(format!("{} did not end its answer", shown(&url))),
                };
                if let Some(data) = frame.data_ref() {
                    capture.take(Stream::Out, data);
                    read += data.len() as u64;
                    if read > READ_MAX {
                        break;
                    }
                }
            }
            return HttpEnd::Answered { status: parts.status.as_u16(), headers: parts.headers };
        }
    }

    async fn one(
        &self,
        request: &HttpRequest,
        url: &str,
        trusted: bool,
        hop: &mut Hop,
    ) -> Result<Response<hyper::body::Incoming>, HttpEnd> {
        let never = |NotSent(message): NotSent| HttpEnd::NotSent { permanent: true, message };
        let mut sending = built(request, url, trusted).map_err(never)?;
        let looks = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        let tls = url.starts_with("https://");
        let client =
            self.0.http.client(looks, tls, request.ca.as_deref(), hop.anyone).await.map_err(never)?;
        let mut connection = capture_connection(&mut sending);
        hop.sent = false;
        let answer = client.request(sending);
        tokio::pin!(answer);
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut answer => break answer,
                // From here on bytes may leave.
                _ = connection.wait_for_connection_metadata(), if !hop.sent => hop.sent = true,
            }
        };
        answer.map_err(|error| classed(&error, url))
    }
}

/// How far a request has come.
struct Hop {
    /// There is a connection, so that bytes may have left.
    sent: bool,
    /// Whoever answers is trusted.
    anyone: bool,
}

fn built(request: &HttpRequest, url: &str, trusted: bool) -> Result<Request<Full<Bytes>>, NotSent> {
    let wrong = |what: &str| NotSent(format!("{} cannot be asked: {what}", shown(url)));
    let uri: Uri = url
        .split('#')
        .next()
        .unwrap_or_default()
        .parse()
        .map_err(|error| wrong(&format!("it is no address ({error})")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(wrong("an address begins with `http://` or `https://` and a host"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("it has a user in it: put an `authorization` into `headers`, out of a secret"));
    }
    let method: Method = request.method.parse().map_err(|_| wrong("there is no such method"))?;
    let body = request.body.clone();
    let mut sending = Request::builder().method(method).uri(uri);
    let headers = sending.headers_mut().expect("nothing was wrong so far");
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("runner/", env!("CARGO_PKG_VERSION"))));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in request.headers.iter().filter(|_| trusted) {
        let name: HeaderName =
            name.parse().map_err(|_| wrong(&format!("`{name}` cannot be the name of a header field")))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| wrong(&format!("the header `{name}` holds a line break or another control")))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    let body = body.map_or_else(Full::default, |body| Full::new(Bytes::from(body)));
    sending.body(body).map_err(|error| wrong(&error.to_string()))
}

/// What a failed request means: before there is a connection nothing was sent, after that nobody knows.
fn classed(error: &ClientError, url: &str) -> HttpEnd {
    let (shown, why) = (shown(url), chain(error));
    if !error.is_connect() {
        return HttpEnd::Lost(format!("{shown} did not answer, and may have received it: {why}"));
    }
    for cause in causes(error) {
        let Some(cause) = cause.downcast_ref::<io::Error>() else { continue };
        if cause.kind() == io::ErrorKind::ConnectionRefused {
            return HttpEnd::Refused(format!("{shown} refuses the connection; nothing was sent"));
        }
        if let Some(tls) = tls_error(cause) {
            let permanent = matches!(tls, rustls::Error::InvalidCertificate(_));
            let advice = if permanent { ": name its authority with `ca_file`, or correct `url`" } else { "" };
            let message = format!("no trusted connection to {shown}, {tls}{advice}; nothing was sent");
            return HttpEnd::NotSent { permanent, message };
        }
    }
    HttpEnd::NotSent {
        permanent: false,
        message: format!("no connection to {shown}: {why}; nothing was sent"),
    }
}

/// The TLS error that an I/O error wraps, maybe more than once.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    match inner.downcast_ref::<rustls::Error>() {
        Some(tls) => Some(tls),
        None => inner.downcast_ref::<io::Error>().and_then(tls_error),
    }
}

/// An error and its causes.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> Vec<&'e (dyn Error + 'static)> {
    let mut all = vec![error];
    let mut next = error.source();
    while let Some(cause) = next {
        all.push(cause);
        next = cause.source();
    }
    all
}

/// The causes of an error in words, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in causes(error).into_iter().skip(1) {
        let text = cause.to_string();
        if words.last().is_none_or(|last| !last.ends_with(&text)) {
            words.push(text);
        }
    }
    if words.is_empty() { error.to_string() } else { words.join(": ") }
}

/// The address for messages: without a user and without what is behind a question mark.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    let host = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    format!("`{}{}`", &url[..start], &url[host..])
}

fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Where a redirect leads (RFC 3986, section 5.2, without the removal of dot segments, which servers do).
fn joined(from: &str, to: &str) -> String {
    if to.starts_with("http://") || to.starts_with("https://") {
        return to.to_owned();
    }
    if let Some(rest) = to.strip_prefix("//") {
        let scheme = from.split("://").next().unwrap_or("https");
        return format!("{scheme}://{rest}");
    }
    let origin = origin(from);
    if to.starts_with('/') {
        return format!("{origin}{to}");
    }
    let path = from[origin.len()..].split(['?', '#']).next().unwrap_or_default();
    if to.starts_with('?') {
        return format!("{origin}{path}{to}");
    }
    let folder = path.rfind('/').map_or("", |at| &path[..at]);
    format!("{origin}{folder}/{to}")
}

impl Clients {
    async fn client(
        &self,
        shared: bool,
        tls: bool,
        ca: Option<&[u8]>,
        anyone: bool,
    ) -> Result<Hyper, NotSent> {
        let trust = match (tls, anyone, ca) {
            (false, ..) => Trust::Nobody,
            (true, true, _) => Trust::Anyone,
            (true, false, None) => Trust::System,
            (true, false, Some(ca)) => Trust::Given(Sha256::digest(ca).to_vec()),
        };
        let kind = Kind { shared, trust };
        if let Some(client) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&kind) {
            return Ok(client.clone());
        }
        let roots = match &kind.trust {
            Trust::Nobody | Trust::Anyone => RootCertStore::empty(),
            Trust::System => roots(None, "ca_file").await.map_err(NotSent)?,
            Trust::Given(_) => roots(ca.map(<[u8]>::to_vec), "ca_file").await.map_err(NotSent)?,
        };
        let client = made(roots, shared, kind.trust == Trust::Anyone)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(kind, client.clone());
        Ok(client)
    }
}

/// The certificates that are trusted: these, which the key `field` of the plan names, or those of the system.
///
/// # Errors
/// In words: they cannot be read, or there are none.
pub(super) async fn roots(ca: Option<Vec<u8>>, field: &'static str) -> Result<RootCertStore, String> {
    let work = move || match ca {
        Some(pem) => given(&pem, field),
        None => of_the_system(field),
    };
    let read = tokio::task::spawn_blocking(work).await;
    read.map_err(|_| "`runner` panicked over it; please report that".to_owned())?
}

fn of_the_system(field: &str) -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(format!(
            "this machine trusts no certificate at all: install `ca-certificates`, or write `{field}`"
        ));
    }
    Ok(roots)
}

fn given(pem: &[u8], field: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let read = certificate.map_err(|error| format!("{error:?}"));
        read.and_then(|der| roots.add(der).map_err(|error| error.to_string()))
            .map_err(|why| format!("a certificate in `{field}` cannot be read: {why}"))?;
    }
    if roots.is_empty() {
        return Err(format!("there is no certificate in `{field}`: it takes PEM"));
    }
    Ok(roots)
}

fn made(roots: RootCertStore, shared: bool, anyone: bool) -> Result<Hyper, NotSent> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| NotSent(format!("TLS cannot be used: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tls = tls;
    if anyone {
        tls.dangerous().set_certificate_verifier(Arc::new(anyone::Anyone(provider)));
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_MAX));
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    let idle = if shared { 4 } else { 0 };
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_MAX)
        .pool_max_idle_per_host(idle)
        .pool_timer(hyper_util::rt::TokioTimer::new())
        .build(connector))
}

/// Whether an answer with this status may be another one the next time: a busy server, not a wrong request.
pub(crate) fn may_heal(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || status >= 500
}

/// A status with its name.
pub(crate) fn status_name(status: u16) -> String {
    let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    name.map_or_else(|| status.to_string(), |name| format!("{status} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_where_it_says() {
        for (from, to, there) in [
            ("http://a:1/b/c?d", "https://e/f", "https://e/f"),
            ("https://a:1/b/c?d", "//e/f", "https://e/f"),
            ("http://a:1/b/c?d", "/f?g", "http://a:1/f?g"),
            ("http://a:1/b/c?d", "f", "http://a:1/b/f"),
            ("http://a:1", "f", "http://a:1/f"),
            ("http://a:1/b?c", "?d", "http://a:1/b?d"),
        ] {
            assert_eq!(joined(from, to), there);
        }
        assert_eq!(origin("http://a:1/b"), "http://a:1");
        assert_eq!(shown("http://me:pw@a:1/b?c"), "`http://a:1/b`");
        assert_eq!(shown("http://a:1/b@c"), "`http://a:1/b@c`");
        assert_eq!(origin("http://a:1?b"), "http://a:1");
    }

    #[test]
    fn some_answers_may_be_others_the_next_time() {
        for (status, heals) in
            [(404, false), (400, false), (429, true), (408, true), (500, true), (503, true)]
        {
            assert_eq!(may_heal(status), heals, "{status}");
        }
    }
}
