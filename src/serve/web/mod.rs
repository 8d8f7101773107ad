//! The service over HTTP: the API, the page, metrics, health. One port, HTTP/1.1, with TLS when it has a certificate.
//!
//! Keeps P7 (no secret reaches a page, whatever a command writes is shown and not run) and P2 (an answer is given after
//! the append it stands for). On loopback it is open to this machine; anywhere else a token is needed (`guard`), or
//! a certificate of the client (`tls`).

mod api;
mod board;
mod entities;
mod follow;
mod guard;
mod home;
mod listen;
mod metrics;
mod pages;
mod service;
mod tell;
mod tls;
mod view;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use board::Board;
pub use guard::is_private;
pub use home::HomeAssistant;
pub use service::{PlanFile, Plans};
pub use tell::Receiver;
pub use tls::{Tls, TlsFiles};

use crate::driver::{Holder, Unresumed};
use crate::journal::JournalError;
use crate::transport::Transport;
use guard::{Guard, Refused};
use listen::Peer;
use service::{Problem, Service};

/// The longest body of a request, in bytes: notes, names and variables.
const BODY_MAX: usize = 64 * 1024;

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take to be answered; who follows is answered at once and then told for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an end waits until Home Assistant was told of it.
const HOME_TIMEOUT: Duration = Duration::from_secs(5);

/// What the service is made of.
pub struct Settings {
    /// Whoever does not show this is refused.
    pub token: Option<Vec<u8>>,
    /// Connections are secret, and a client's certificate may stand in for the token.
    pub tls: Option<Tls>,
    /// Plans that a run can be begun from.
    pub plans: Option<Box<dyn Plans>>,
    /// The state folder.
    pub folder: PathBuf,
    /// Who is told of what people have to know.
    pub receivers: Vec<Receiver>,
    /// Where runs are shown as devices.
    pub home: Option<HomeAssistant>,
    /// What links to the page begin with; absent: the address that is listened on.
    pub link: Option<String>,
    /// How they are reached.
    pub transport: Transport,
}

/// The service, on its port.
pub struct Web {
    service: Arc<Service>,
    url: String,
    listening: JoinHandle<()>,
    home: Option<JoinHandle<()>>,
}

impl Web {
    /// Begins to answer. `board` is what the holder's runs write on.
    ///
    /// # Errors
    /// What the system says of the listener.
    pub fn start(
        listener: TcpListener,
        holder: Arc<Holder>,
        board: Arc<Board>,
        settings: Settings,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(std::io::Error::other)?;
        let journal = settings.folder.display().to_string();
        let url = format!("{}://{address}", if settings.tls.is_some() { "https" } else { "http" });
        let link = settings.link.unwrap_or_else(|| url.clone());
        let secure = settings.tls.is_some();
        let guard = Guard::new(address.ip(), secure, settings.token.as_deref(), &journal, random);
        let service =
            Arc::new(Service::new(holder, Arc::clone(&board), guard, settings.plans, settings.folder));
        tell::tell(&board, &settings.transport, settings.receivers, &link, service.closing());
        let home = settings
            .home
            .map(|terms| home::show(&service, settings.transport, terms, &link, service.closing()));
        let listening =
            tokio::spawn(listen::listen(listener, settings.tls, router(&service), service.closing()));
        Ok(Self { service, url, listening, home })
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every open run was taken on, but for these: from here on it is ready.
    pub fn resumed(&self, left: &[Unresumed]) {
        self.service.resumed(left);
    }

    /// Whether the journal answers; an error is one that it does not get over in this process.
    ///
    /// # Errors
    /// What it says.
    pub async fn is_alive(&self) -> Result<bool, JournalError> {
        self.service.settled().await.map_or(Ok(false), |said| said.map(|()| true))
    }

    /// Lets everybody go and answers no more.
    pub async fn close(self) {
        self.service.close();
        if let Some(home) = self.home {
            drop(tokio::time::timeout(HOME_TIMEOUT, home).await);
        }
        drop(self.listening.await);
    }
}

/// The API: every path that the document describes, and who answers there.
fn described() -> [(&'static str, MethodRouter<Arc<Service>>); 14] {
    [
        ("/api/v1/live", get(api::live)),
        ("/api/v1/plans", get(api::plans)),
        ("/api/v1/runs", get(api::runs).post(api::begin)),
        ("/api/v1/runs/{run}", get(api::run)),
        ("/api/v1/runs/{run}/events", get(api::events)),
        ("/api/v1/runs/{run}/follow", get(api::follow)),
        ("/api/v1/runs/{run}/live", get(api::live_run)),
        ("/api/v1/runs/{run}/rollback", get(api::way_back).post(api::say_rollback)),
        ("/api/v1/runs/{run}/steps/{step}", get(api::why)),
        ("/api/v1/runs/{run}/{word}", post(api::say)),
        ("/healthz", get(api::healthz)),
        ("/metrics", get(api::metrics)),
        ("/openapi.json", get(api::openapi)),
        ("/readyz", get(api::readyz)),
    ]
}

fn router(service: &Arc<Service>) -> Router {
    let api = described().into_iter().fold(Router::new(), |all, (path, answers)| all.route(path, answers));
    api.route("/", get(pages::runs))
        .route("/begin", post(pages::begin))
        .route("/icon.svg", get(pages::icon))
        .route("/login", get(pages::login_page).post(pages::login))
        .route("/logout", post(pages::logout))
        .route("/page.js", get(pages::script))
        .route("/style.css", get(pages::style))
        .route("/runs/{run}", get(pages::run))
        .route("/runs/{run}/events", get(pages::events))
        .route("/runs/{run}/report.html", get(pages::paper))
        .route("/runs/{run}/say/{word}", post(pages::say))
        .route("/runs/{run}/steps/{step}/log/{place}", get(pages::log))
        .route("/runs/{run}/sure/{word}", get(pages::sure))
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(Arc::clone(service), every))
        .with_state(Arc::clone(service))
}

fn for_people(path: &str) -> bool {
    !path.starts_with("/api/") && !matches!(path, "/healthz" | "/metrics" | "/openapi.json" | "/readyz")
}

async fn nothing(State(service): State<Arc<Service>>, headers: HeaderMap, request: Request) -> Response {
    let problem = Problem::NotFound("there is nothing at this address".to_owned());
    match for_people(request.uri().path()) {
        true => pages::problem(&service, &headers, &problem, "/"),
        false => problem.into_response(),
    }
}

/// What every request goes through: who asks, its turn, its time; and every answer: what a browser may do with it.
async fn every(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let certified = request.extensions().get::<Peer>().is_some_and(|peer| peer.certificate.is_some());
    let mut answer = match admitted(&service, request.method(), request.headers(), &path, certified) {
        Ok(()) => in_turn(&service, request, next, &path).await,
        Err(Refused::Token) if for_people(&path) && request.method() == Method::GET => {
            Redirect::to("/login").into_response()
        }
        Err(refused) => {
            let status = match refused {
                Refused::Token => StatusCode::UNAUTHORIZED,
                Refused::Host => StatusCode::MISDIRECTED_REQUEST,
                Refused::Origin | Refused::Form => StatusCode::FORBIDDEN,
            };
            let mut answer = api::failure(status, refused.words());
            if refused == Refused::Token {
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            answer
        }
    };
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

fn admitted(
    service: &Service,
    method: &Method,
    headers: &HeaderMap,
    path: &str,
    certified: bool,
) -> Result<(), Refused> {
    let open = certified
        || matches!(path, "/healthz" | "/readyz" | "/login" | "/style.css" | "/page.js" | "/icon.svg");
    let session = match service.guard.needs_token() {
        true => service.guard.session(headers, service.holder.now().wall_ms / 1_000),
        false => None,
    };
    service.guard.admits(method, headers, session.as_ref(), open)
}

async fn in_turn(service: &Arc<Service>, request: Request, next: Next, path: &str) -> Response {
    // Who speaks slowly keeps nobody waiting: a turn begins when everything is said.
    let request = match whole(request).await {
        Ok(request) => request,
        Err((status, why)) => return api::failure(status, &why),
    };
    // A service manager asks these, and has to be answered whatever else is asked.
    let first = matches!(path, "/healthz" | "/readyz");
    // Everybody may try a token, and who guesses is answered slowly.
    let signs_in = path == "/login" && request.method() == Method::POST;
    let turns = if signs_in { &service.logins } else { &service.requests };
    let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(turns).acquire_owned());
    let turn = if first { None } else { Some(turn.await) };
    if matches!(turn, Some(Err(_) | Ok(Err(_)))) {
        let mut answer =
            api::failure(StatusCode::SERVICE_UNAVAILABLE, "too many ask at once: ask again in a moment");
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        return answer;
    }
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await;
    answer.unwrap_or_else(|_| api::failure(StatusCode::REQUEST_TIMEOUT, "the request took too long"))
}

/// The request with its whole body, or what is wrong with that.
async fn whole(request: Request) -> Result<Request, (StatusCode, String)> {
    let (head, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => Ok(Request::from_parts(head, Body::from(body))),
        Ok(Err(_)) => {
            let why = format!("the body is longer than {BODY_MAX} bytes, or it broke off");
            Err((StatusCode::PAYLOAD_TOO_LARGE, why))
        }
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned())),
    }
}

/// What a browser may do with what it gets: nothing from elsewhere, no script but ours, no frame, no guess at types.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_path_of_the_api_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(&api::document()).unwrap();
        let mut paths: Vec<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        paths.sort_unstable();
        assert_eq!(paths, described().map(|(path, _)| path));
    }

    #[test]
    fn every_template_is_one() {
        drop(pages::Templates::new());
    }
}
