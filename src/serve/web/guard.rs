//! Who may ask, and what a browser may be made to ask.
//!
//! On loopback without a token everybody on this machine may; a page of somebody else's in a browser here may not:
//! the name that was asked for has to be a loopback one (a rebound DNS name is not), and what changes something has to
//! come from a page of ours. With a token, whoever does not show it is refused, whatever else is right.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

/// How long a session lasts after the token was shown, in seconds.
const SESSION_S: i64 = 7 * 24 * 3_600;

/// The cookie's name.
pub(super) const COOKIE_NAME: &str = "runner_session";

/// Why something is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// No token, or another one.
    Token,
    /// The name that was asked for is not ours.
    Host,
    /// A page of somebody else's asks.
    Origin,
    /// The form does not belong to this session.
    Form,
}

impl Refused {
    pub(super) fn words(self) -> &'static str {
        match self {
            Refused::Token => "a token is needed: send `Authorization: Bearer TOKEN`, or sign in",
            Refused::Host => {
                "this service is asked for by another name than a loopback one: use 127.0.0.1 or localhost"
            }
            Refused::Origin => "a page of another site asks for this: it is refused",
            Refused::Form => "this form is not of the present session: load the page again, then send it",
        }
    }
}

/// Decides who may ask.
pub(super) struct Guard {
    loopback: bool,
    secure: bool,
    /// The hash of the token, when one is needed.
    token: Option<[u8; 32]>,
    /// What sessions are signed with.
    key: [u8; 32],
}

/// A session that a cookie proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    id: String,
    /// The token was shown.
    pub(super) signed_in: bool,
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Compares in a time that says nothing about where they differ.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let differ = one.iter().zip(other).fold(0_u8, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differ) == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Guard {
    /// A guard for this address; `token` is needed from everybody when it is given. Sessions outlive a restart then.
    pub(super) fn new(
        address: IpAddr,
        secure: bool,
        token: Option<&[u8]>,
        journal: &str,
        random: [u8; 32],
    ) -> Self {
        let key = match token {
            Some(token) => hash(&[b"runner sessions", journal.as_bytes(), token]),
            None => random,
        };
        let token = token.map(|token| hash(&[b"token", token]));
        Self { loopback: address.is_loopback(), secure, token, key }
    }

    pub(super) fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Signs twice, so that nothing can be put behind what was signed (RFC 2104 in short).
    fn sign(&self, what: &[&[u8]]) -> String {
        let inner = hash(&[&self.key, &hash(what)]);
        hex(&hash(&[b"outer", &self.key, &inner]))
    }

    fn signed(&self, what: &[&[u8]], signature: &str) -> bool {
        let (ours, theirs) = (self.sign(what), signature.as_bytes());
        same(&hash(&[ours.as_bytes()]), &hash(&[theirs]))
    }

    /// Whether this is the token.
    pub(super) fn is_token(&self, shown: &str) -> bool {
        let shown = hash(&[b"token", shown.as_bytes()]);
        self.token.as_ref().is_some_and(|token| same(token, &shown))
    }

    /// A new session, and the value of its cookie.
    pub(super) fn begin(&self, signed_in: bool, now_s: i64) -> (Session, String) {
        let mut id = [0_u8; 16];
        if getrandom::fill(&mut id).is_err() {
            tracing::warn!("the system gives no random numbers");
        }
        let session = Session { id: hex(&id), signed_in };
        let kind = if signed_in { "in" } else { "any" };
        let until = (now_s + SESSION_S).to_string();
        let signature = self.sign(&[b"session", session.id.as_bytes(), kind.as_bytes(), until.as_bytes()]);
        let secure = if self.secure { "; Secure" } else { "" };
        let value = format!(
            "{COOKIE_NAME}={}.{kind}.{until}.{signature}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_S}{secure}",
            session.id
        );
        (session, value)
    }

    /// The session that the cookies prove.
    pub(super) fn session(&self, headers: &HeaderMap, now_s: i64) -> Option<Session> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs =
            cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find_map(|(name, value)| {
            let mut parts = value.split('.');
            let (id, kind, until, signature) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            let what: [&[u8]; 4] = [b"session", id.as_bytes(), kind.as_bytes(), until.as_bytes()];
            let good = name == COOKIE_NAME && parts.next().is_none() && self.signed(&what, signature);
            (good && until.parse::<i64>().ok()? > now_s)
                .then(|| Session { id: id.to_owned(), signed_in: kind == "in" })
        })
    }

    /// What a form of this session has to send along.
    pub(super) fn form_token(&self, session: &Session) -> String {
        self.sign(&[b"form", session.id.as_bytes()])
    }

    /// Whether a form was made for this session.
    pub(super) fn is_form_of(&self, session: Option<&Session>, shown: &str) -> Result<(), Refused> {
        match session {
            Some(session) if self.signed(&[b"form", session.id.as_bytes()], shown) => Ok(()),
            Some(_) | None => Err(Refused::Form),
        }
    }

    /// Whether a request may be answered at all.
    pub(super) fn admits(
        &self,
        method: &Method,
        headers: &HeaderMap,
        session: Option<&Session>,
        open: bool,
    ) -> Result<(), Refused> {
        if self.loopback && self.token.is_none() && !names_loopback(headers) {
            return Err(Refused::Host);
        }
        if !method.is_safe() {
            comes_from_us(headers, self.secure)?;
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let shown = bearer.is_some_and(|token| self.is_token(token.trim()));
        let may = open || shown || self.token.is_none() || session.is_some_and(|session| session.signed_in);
        if may { Ok(()) } else { Err(Refused::Token) }
    }
}

/// The name in `Host`, without a port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|value| value.to_str().ok()) else { return false };
    let name = host_name(host);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A browser says which page asks; who says nothing is no browser, and has no cookies of one.
fn comes_from_us(headers: &HeaderMap, secure: bool) -> Result<(), Refused> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return Err(Refused::Origin);
    }
    let Some(origin) = text(ORIGIN.as_str()) else { return Ok(()) };
    let host = text(HOST.as_str()).unwrap_or("");
    // Behind a proxy that ends TLS the page is of https, and what reaches us is not.
    let schemes: &[&str] = if secure { &["https://"] } else { &["http://", "https://"] };
    let ours = schemes.iter().any(|scheme| origin.strip_prefix(scheme) == Some(host));
    if ours && !host.is_empty() { Ok(()) } else { Err(Refused::Origin) }
}

/// Whether an address may be listened on without anything that says who asks.
pub fn is_private(address: &SocketAddr) -> bool {
    address.ip().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn guard(token: Option<&str>) -> Guard {
        Guard::new("127.0.0.1".parse().unwrap(), false, token.map(str::as_bytes), "j", [7; 32])
    }

    #[test]
    fn only_loopback_names_reach_an_open_service() {
        let guard = guard(None);
        for (host, good) in [
            ("127.0.0.1:7447", true),
            ("localhost:7447", true),
            ("LocalHost", true),
            ("[::1]:7447", true),
            ("evil.example:7447", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let admitted = guard.admits(&Method::GET, &headers(&[("host", host)]), None, false);
            assert_eq!(admitted.is_ok(), good, "{host}");
        }
        assert_eq!(guard.admits(&Method::GET, &HeaderMap::new(), None, false), Err(Refused::Host));
    }

    #[test]
    fn a_page_of_somebody_else_changes_nothing() {
        let guard = guard(None);
        let host = ("host", "127.0.0.1:7447");
        for (more, good) in [
            (&[][..], true),
            (&[("origin", "http://127.0.0.1:7447")], true),
            (&[("origin", "http://localhost:7447")], false),
            (&[("origin", "http://evil.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "http://127.0.0.1:7447.evil.example")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "same-origin")], true),
        ] {
            let all: Vec<_> = [host].into_iter().chain(more.iter().copied()).collect();
            let admitted = guard.admits(&Method::POST, &headers(&all), None, false);
            assert_eq!(admitted.is_ok(), good, "{more:?}");
        }
    }

    #[test]
    fn a_token_or_a_session_that_showed_it_is_needed() {
        let guard = guard(Some("s3cret"));
        let ask = |pairs: &[(&'static str, &str)]| {
            let headers = headers(pairs);
            let session = guard.session(&headers, 100);
            guard.admits(&Method::GET, &headers, session.as_ref(), false)
        };
        assert_eq!(ask(&[]), Err(Refused::Token));
        assert_eq!(ask(&[("authorization", "Bearer s3cre")]), Err(Refused::Token));
        assert_eq!(ask(&[("authorization", "Bearer s3cret2")]), Err(Refused::Token));
        assert_eq!(ask(&[("authorization", "Bearer s3cret")]), Ok(()));
        let cookie = |signed_in, at| {
            let (_, value) = guard.begin(signed_in, at);
            value.split(';').next().unwrap().to_owned()
        };
        assert_eq!(ask(&[("cookie", &cookie(true, 0))]), Ok(()));
        assert_eq!(ask(&[("cookie", &cookie(false, 0))]), Err(Refused::Token));
        assert_eq!(ask(&[("cookie", &cookie(true, -SESSION_S))]), Err(Refused::Token), "it has ended");
        let forged = cookie(false, 0).replace(".any.", ".in.");
        assert_eq!(ask(&[("cookie", &forged)]), Err(Refused::Token));
    }

    #[test]
    fn a_form_belongs_to_its_session() {
        let guard = guard(None);
        let ((one, _), (two, _)) = (guard.begin(false, 0), guard.begin(false, 0));
        assert_eq!(guard.is_form_of(Some(&one), &guard.form_token(&one)), Ok(()));
        assert_eq!(guard.is_form_of(Some(&one), &guard.form_token(&two)), Err(Refused::Form));
        assert_eq!(guard.is_form_of(None, &guard.form_token(&one)), Err(Refused::Form));
        assert_eq!(guard.is_form_of(Some(&one), ""), Err(Refused::Form));
    }
}
