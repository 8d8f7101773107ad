//! The HTTP side: one request in, one answer out.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::containers::{self, Container, PROTOCOLS};
use super::faults::{self, Trouble};
use super::place::{Place, Query};
use super::refusal::Refusal;
use super::state::{State, User};
use super::write::{Patch, Writer, Written};
use super::{Shared, access, delete, read, watch, write};

/// The largest body that is taken, in bytes (`MaxRequestBodyBytes` of k8s.io/apiserver).
const BODY_MAX: usize = 3 << 20;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The connection is cut instead of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub(super) struct Cut;

/// Answers one request.
pub(super) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
    let method = request.method().clone();
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let quiet = target.starts_with("/readyz") || target.starts_with("/livez");
    let trouble = if quiet || shared.store.look(|state| state.faults.is_empty()) {
        None
    } else {
        shared.store.change(|state| faults::hit(&mut state.faults, method.as_str(), &target)).ok().flatten()
    };
    match trouble {
        Some(Trouble::Cut) => return Err(Cut),
        Some(Trouble::Delay(ms)) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Trouble::Answer(code, retry_after_s)) => {
            let reason = match code {
                409 => "Conflict",
                410 => "Expired",
                429 => "TooManyRequests",
                503 => "ServiceUnavailable",
                _ => "InternalError",
            };
            let mut refusal = Refusal::new(code, reason, "the lab was told to answer so");
            refusal.retry_after_s = retry_after_s;
            return Ok(refused(&refusal));
        }
        Some(Trouble::Lose) => {
            drop(route(shared, request).await);
            return Err(Cut);
        }
        None => {}
    }
    Ok(route(shared, request).await.unwrap_or_else(|refusal| refused(&refusal)))
}

async fn route(shared: Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let query = Query::read(request.uri().query());
    if matches!(path.as_str(), "/readyz" | "/livez" | "/healthz") {
        return Ok(text("ok"));
    }
    let headers = request.headers().clone();
    let header = |name| headers.get(name).and_then(|value: &hyper::header::HeaderValue| value.to_str().ok());
    let user = shared.store.look(|state| access::user(state, header(AUTHORIZATION)))?;
    if method == Method::GET {
        let aggregated = header(ACCEPT).is_some_and(|accept| accept.contains("as=APIGroupDiscoveryList"));
        if let Some(found) = shared.store.look(|state| read::discovery(state, &path, aggregated)) {
            let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
            let aggregated = found["kind"] == "APIGroupDiscoveryList";
            return Ok(json_of(200, &found, if aggregated { kind } else { "application/json" }));
        }
    }
    let upgrade = header(hyper::header::UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket"));
    if upgrade && path.ends_with("/exec") {
        let on = hyper::upgrade::on(&mut request);
        return exec(&shared, &user, &path, query, &headers, on);
    }
    let body = Limited::new(request.into_body(), BODY_MAX).collect().await.map_err(|_| {
        let message = format!("Request entity too large: limit is {BODY_MAX}");
        Refusal::new(413, "RequestEntityTooLarge", message)
    })?;
    let body = body.to_bytes();
    let review = path.starts_with("/apis/auth") && method == Method::POST;
    if review {
        let asked = json_body(&body)?;
        if let Some(answer) = shared.store.look(|state| access::review(state, &user, &path, asked)) {
            return Ok(json_of(201, &answer, "application/json"));
        }
    }
    let place = shared.store.look(|state| Place::read(state, &path))?;
    let verb = match (method.as_str(), place.name.is_empty()) {
        ("GET" | "HEAD", _) if query.flag("watch") => "watch",
        ("GET" | "HEAD", false) => "get",
        ("GET" | "HEAD", true) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", false) => "delete",
        ("DELETE", true) => "deletecollection",
        _ => {
            return Err(Refusal::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
            ));
        }
    };
    shared.store.look(|state| access::check(state, &user, verb, &place))?;
    match verb {
        "watch" => {
            let from = watch::begin(&query)?;
            let (lines, body) = streamed();
            tokio::spawn(watch::run(shared, place, query, from, lines));
            return Ok(stream_of(body, "application/json"));
        }
        "list" => return Ok(ok(&shared.store.look(|state| read::list(state, &place, &query)))),
        "get" if place.subresource == "log" => return logs(shared, place, query).await,
        "get" if place.subresource == "exec" => {
            return Err(Refusal::bad("Upgrade request required"));
        }
        "get" => return shared.store.look(|state| read::get(state, &place)).map(|found| ok(&found)),
        _ => {}
    }
    let writer = Writer {
        manager: manager(&query, header(USER_AGENT)),
        dry_run: query.get("dryRun").is_some(),
        query,
    };
    let kind = header(CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
    change(&shared, verb, place, writer, &kind, &body).await
}

/// Everything that changes something.
async fn change(
    shared: &Arc<Shared>,
    verb: &str,
    place: Place,
    writer: Writer,
    kind: &str,
    body: &[u8],
) -> Result<Response<Body>, Refusal> {
    let written = match verb {
        "delete" | "deletecollection" => {
            let options = if body.is_empty() { Value::Null } else { json_body(body)? };
            let mut options = options;
            if let Some(policy) = writer.query.get("propagationPolicy") {
                options["propagationPolicy"] = policy.into();
            }
            let dry = writer.dry_run || options["dryRun"].as_array().is_some_and(|all| !all.is_empty());
            return shared
                .change(move |state| {
                    if verb_is_one(&place) {
                        let body = delete::delete(state, &place, &options, dry)?;
                        state.writes += u64::from(!dry);
                        return Ok(body);
                    }
                    let found = read::list(state, &place, &writer.query);
                    for item in found["items"].as_array().into_iter().flatten() {
                        let text =
                            |name: &str| item["metadata"][name].as_str().unwrap_or_default().to_owned();
                        let one = Place { name: text("name"), namespace: text("namespace"), ..place.clone() };
                        delete::delete(state, &one, &options, dry)?;
                        state.writes += u64::from(!dry);
                    }
                    Ok(found)
                })?
                .map(|body| ok(&body));
        }
        "create" => {
            let object = json_body(body)?;
            shared.change(move |state| write::create(state, &place, &writer, object))?
        }
        "update" => {
            let object = json_body(body)?;
            shared.change(move |state| match place.subresource.as_str() {
                "scale" => write::set_scale(state, &place, &writer, &object),
                _ => write::replace(state, &place, &writer, object),
            })?
        }
        _ => {
            let how = match kind {
                "application/apply-patch+yaml" => Patch::Apply,
                "application/merge-patch+json" => Patch::Merge,
                "application/strategic-merge-patch+json" => Patch::Strategic,
                "application/json-patch+json" => Patch::Json,
                _ => return Err(write::unsupported()),
            };
            let change = match json_body(body) {
                // A named subset: YAML that is not JSON too is not read here.
                Err(refusal) if how == Patch::Apply => {
                    let message = format!("error decoding YAML: {}", refusal.message);
                    return Err(Refusal::bad(message));
                }
                change => change?,
            };
            shared.change(move |state| write::patch(state, &place, &writer, how, change))?
        }
    };
    let Written { status, body, warnings } = written?;
    let mut answer = json_of(status, &body, "application/json");
    for warning in warnings {
        let warning = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
        if let Ok(value) = warning.parse() {
            answer.headers_mut().append("warning", value);
        }
    }
    Ok(answer)
}

fn verb_is_one(place: &Place) -> bool {
    !place.name.is_empty()
}

/// `fieldManager`, else the user agent up to its first slash, else `unknown`.
fn manager(query: &Query, agent: Option<&str>) -> String {
    let agent = agent.and_then(|agent| agent.split(['/', ' ']).next()).filter(|name| !name.is_empty());
    query.get("fieldManager").or(agent).unwrap_or("unknown").to_owned()
}

async fn logs(shared: Arc<Shared>, place: Place, query: Query) -> Result<Response<Body>, Refusal> {
    let found: Result<_, Refusal> = shared.store.look(|state: &State| {
        let container = Container::find(state, &place, &query)?;
        let written = container.logs(state, &query)?;
        Ok((container, written))
    });
    let (container, written) = found?;
    if !query.flag("follow") {
        return Ok(text(&written));
    }
    let (lines, body) = streamed();
    if lines.send(Bytes::from(written)).await.is_ok() {
        tokio::spawn(containers::follow(shared, place, container, lines));
    }
    Ok(stream_of(body, "text/plain"))
}

fn exec(
    shared: &Arc<Shared>,
    user: &User,
    path: &str,
    query: Query,
    headers: &HeaderMap,
    on: hyper::upgrade::OnUpgrade,
) -> Result<Response<Body>, Refusal> {
    let run = shared.store.look(|state| {
        let place = Place::read(state, path)?;
        // A websocket begins with a GET, which counts as `create` all the same since 1.35; either right will do here.
        access::check(state, user, "create", &place)
            .or_else(|_| access::check(state, user, "get", &place))?;
        let command: Vec<String> = query.all("command").map(str::to_owned).collect();
        Container::find(state, &place, &query)?.run(state, &command)
    })?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let offered: Vec<&str> = header("sec-websocket-protocol").split(',').map(str::trim).collect();
    let Some(protocol) = PROTOCOLS.iter().find(|known| offered.contains(known)) else {
        return Err(Refusal::bad(format!("unable to upgrade: unsupported protocols {offered:?}")));
    };
    let v5 = *protocol == PROTOCOLS[0];
    let mut stopped = shared.stopped.subscribe();
    tokio::spawn(async move {
        if let Ok(upgraded) = on.await {
            tokio::select! {
                () = containers::serve(upgraded, run, query, v5) => {}
                _ = stopped.changed() => {}
            }
        }
    });
    let accept = derive_accept_key(header("sec-websocket-key").as_bytes());
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", accept)
        .header("sec-websocket-protocol", *protocol)
        .body(Full::new(Bytes::new()).boxed_unsync());
    answer.map_err(|_| Refusal::bad("the websocket's key cannot be a header"))
}

fn json_body(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::bad(format!("the body of the request is not JSON: {error}")))
}

fn ok(value: &Value) -> Response<Body> {
    json_of(200, value, "application/json")
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let mut answer = json_of(refusal.code, &refusal.body(), "application/json");
    if let Some(seconds) = refusal.retry_after_s {
        answer.headers_mut().insert("retry-after", seconds.into());
    }
    answer
}

fn json_of(status: u16, value: &Value, kind: &'static str) -> Response<Body> {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}

fn text(words: &str) -> Response<Body> {
    let mut answer = Response::new(Full::new(Bytes::from(words.to_owned())).boxed_unsync());
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

fn streamed() -> (mpsc::Sender<Bytes>, Body) {
    let (lines, received) = mpsc::channel::<Bytes>(64);
    let frames = stream::unfold(received, |mut received| async move {
        let bytes = received.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), received))
    });
    (lines, BodyExt::boxed_unsync(StreamBody::new(frames)))
}

fn stream_of(body: Body, kind: &'static str) -> Response<Body> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    answer
}
