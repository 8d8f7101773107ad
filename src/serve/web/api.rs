//! The API: JSON in, JSON out. What it answers is what `--json` of the command line writes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::follow;
use super::listen::Peer;
use super::service::{Problem, Service};
use crate::driver::history;
use crate::plan::StepId;
use crate::report::{self, RunRow, SHOWN_VERSION};
use crate::saga::{self, Command};

/// Events in one answer at most; the next ones are asked for by their number.
const EVENTS_MAX: u64 = 1_000;

/// The longest note and name that are recorded, in bytes.
const TEXT_MAX: usize = 2_000;

type App = State<Arc<Service>>;

impl Problem {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Problem::NotFound(_) => StatusCode::NOT_FOUND,
            Problem::Wrong(_) => StatusCode::BAD_REQUEST,
            Problem::Refused(_) => StatusCode::CONFLICT,
            Problem::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(super) fn message(&self) -> &str {
        match self {
            Problem::NotFound(text)
            | Problem::Wrong(text)
            | Problem::Refused(text)
            | Problem::Busy(text)
            | Problem::Failed(text) => text,
        }
    }
}

/// A failure, as one object.
pub(super) fn failure(status: StatusCode, message: &str) -> Response {
    let body = json!({ "v": SHOWN_VERSION, "type": "problem", "message": report::text_line(message) });
    (status, Json(body)).into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        failure(self.status(), self.message())
    }
}

/// Whether it lives: the journal answers.
pub(super) async fn healthz(State(service): App) -> Response {
    match service.is_alive().await {
        true => (StatusCode::OK, "ok\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the journal does not answer\n").into_response(),
    }
}

/// Whether every open run was taken on.
pub(super) async fn readyz(State(service): App) -> Response {
    match service.is_ready() {
        true => (StatusCode::OK, "ready\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "resuming\n").into_response(),
    }
}

pub(super) async fn metrics(State(service): App) -> Response {
    match service.metrics().await {
        Ok(text) => ([("content-type", "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// The document of the API, whole: the objects that it names are described by the schema of what `--json` writes.
pub(super) fn document() -> String {
    let objects = report::EVENTS_SCHEMA.replace("#/$defs/", "#/components/schemas/");
    let parts = [include_str!("openapi.json"), objects.as_str()].map(serde_json::from_str::<Value>);
    // Both are part of the binary, and a test reads them.
    let [Ok(mut document), Ok(mut objects)] = parts else { return String::new() };
    if let (Some(schemas), Some(objects)) =
        (document["components"]["schemas"].as_object_mut(), objects["$defs"].as_object_mut())
    {
        schemas.append(objects);
    }
    document.to_string()
}

pub(super) async fn openapi() -> Response {
    static DOCUMENT: std::sync::LazyLock<String> = std::sync::LazyLock::new(document);
    ([("content-type", "application/json")], DOCUMENT.as_str()).into_response()
}

pub(super) async fn runs(State(service): App) -> Result<Json<Value>, Problem> {
    let rows: Vec<RunRow> = service.entries().await?.into_iter().map(|entry| entry.row).collect();
    Ok(Json(report::runs_json(&rows)))
}

pub(super) async fn plans(State(service): App) -> Json<Value> {
    let plans = service.plans();
    let plans: Vec<Value> = plans
        .iter()
        .map(|plan| json!({ "plan": plan.file, "path": plan.path, "description": plan.description }))
        .collect();
    Json(json!({ "v": SHOWN_VERSION, "type": "plans", "plans": plans }))
}

pub(super) async fn run(State(service): App, Path(run): Path<String>) -> Result<Json<Value>, Problem> {
    let run = service.find(&run).await?;
    let (state, tails) = service.state(&run).await?;
    let state = saga::with_tails(&state, &tails);
    Ok(Json(report::status_json(&state, &service.holder.now())))
}

/// Which events.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(default)]
    from: u64,
    limit: Option<u64>,
}

pub(super) async fn events(
    State(service): App,
    Path(run): Path<String>,
    Query(which): Query<Which>,
) -> Result<Json<Value>, Problem> {
    let run = service.find(&run).await?;
    let from = which.from.max(1);
    let upto = from.saturating_add(which.limit.unwrap_or(EVENTS_MAX).min(EVENTS_MAX));
    let (log, bodies) = (service.holder.history(), service.holder.bodies());
    let mut state = None;
    let mut shown = Vec::new();
    for event in history::events(log, bodies, &run, 1, upto - 1).await? {
        let folded = match &mut state {
            Some(state) => saga::fold(state, &event),
            None => saga::open(&event).map(|first| state = Some(first)),
        };
        folded.map_err(|error| Problem::Failed(error.to_string()))?;
        if let Some(state) = state.as_ref().filter(|_| event.seq >= from) {
            shown.push(report::event_json(state, &event));
        }
    }
    Ok(Json(json!({ "v": SHOWN_VERSION, "type": "events", "run": run, "events": shown })))
}

pub(super) async fn follow(
    State(service): App,
    Path(run): Path<String>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = service.find(&run).await?;
    // A browser that comes back says what it saw last.
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    follow::follow(&service, run, last.map_or(which.from, |last| last.saturating_add(1)))
}

pub(super) async fn why(
    State(service): App,
    Path((run, step)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let run = service.find(&run).await?;
    let (state, _) = service.state(&run).await?;
    let step = step_of(&state, &step)?;
    let events =
        history::events(service.holder.history(), service.holder.bodies(), &run, 1, u64::MAX).await?;
    Ok(Json(report::why_json(&state, &step, &events, &service.holder.now())))
}

/// To which step.
#[derive(Debug, Deserialize)]
pub(super) struct To {
    to: Option<String>,
}

pub(super) async fn way_back(
    State(service): App,
    Path(run): Path<String>,
    Query(To { to }): Query<To>,
) -> Result<Json<Value>, Problem> {
    let run = service.find(&run).await?;
    let (state, _) = service.state(&run).await?;
    let to = to.as_deref().map(|to| step_of(&state, to)).transpose()?;
    Ok(Json(service.way_back(&state, to.as_ref())))
}

pub(super) fn step_of(state: &saga::State, name: &str) -> Result<StepId, Problem> {
    let step = StepId::new(name).ok().filter(|step| state.place(step).is_some());
    step.ok_or_else(|| {
        let name = report::text_line(name);
        Problem::NotFound(format!("run `{}` has no step `{name}`", state.run))
    })
}

/// What is said of a run, by a program or by a form.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saying {
    /// The step that it is about.
    #[serde(default)]
    pub(super) step: Option<String>,
    /// Why.
    #[serde(default)]
    pub(super) note: String,
    /// Who says it.
    #[serde(default)]
    pub(super) by: String,
    /// Undo what came after this step.
    #[serde(default)]
    pub(super) to: Option<String>,
    /// Compensations at once.
    #[serde(default)]
    pub(super) parallel: Option<u32>,
    /// `done` or `undone`.
    #[serde(default)]
    pub(super) r#as: Option<String>,
    /// Outputs, when it is done.
    #[serde(default)]
    pub(super) outputs: Map<String, Value>,
    /// Only with forms.
    #[serde(default)]
    pub(super) form: String,
}

/// Who says it, as it is recorded: the name that was given, and where from.
pub(super) fn asker(name: &str, peer: &Peer) -> String {
    let name = report::text_line(name.trim());
    let name = if name.is_empty() { "somebody" } else { &name };
    let from = peer.address.ip();
    match &peer.certificate {
        Some(certificate) => format!("{name} via https from {from} with certificate {certificate}"),
        None => format!("{name} via http from {from}"),
    }
}

/// The wish that a word and what is said with it mean; `None` for `apply`, which is none of the core's.
pub(super) fn wish(word: &str, saying: &Saying) -> Result<Option<Command>, Problem> {
    if saying.note.len() > TEXT_MAX || saying.by.len() > TEXT_MAX {
        return Err(Problem::Wrong(format!("a note and a name have at most {TEXT_MAX} bytes")));
    }
    let name = |text: &str| {
        StepId::new(text)
            .map_err(|_| Problem::NotFound(format!("there is no step `{}`", report::text_line(text))))
    };
    let step = || match saying.step.as_deref().filter(|step| !step.is_empty()) {
        Some(step) => name(step),
        None => Err(Problem::Wrong(format!("`{word}` needs a `step`"))),
    };
    let note = saying.note.trim().to_owned();
    Ok(Some(match word {
        "approve" => Command::Approve { step: step()?, note },
        "reject" => Command::Reject { step: step()?, note },
        "skip" if note.is_empty() => {
            return Err(Problem::Wrong("`skip` needs a `note` that says why".to_owned()));
        }
        "skip" => Command::Skip { step: step()?, note },
        "pause" => Command::Pause,
        "resume" => Command::Unpause,
        "cancel" => Command::Cancel,
        "rollback" => {
            let to = saying.to.as_deref().filter(|to| !to.is_empty()).map(name).transpose()?;
            Command::Rollback { to, parallel: saying.parallel.unwrap_or(1).clamp(1, 64) }
        }
        "resolve" => {
            let done = match saying.r#as.as_deref() {
                Some("done") => true,
                Some("undone") => false,
                _ => return Err(Problem::Wrong("`resolve` needs `as`: `done` or `undone`".to_owned())),
            };
            Command::Resolve { step: step()?, done, outputs: saying.outputs.clone() }
        }
        "apply" => return Ok(None),
        _ => return Err(Problem::NotFound(format!("nothing is called `{}`", report::text_line(word)))),
    }))
}

/// A JSON body; only what says that it is JSON, which no form of another site can.
fn read<T: for<'a> Deserialize<'a> + Default>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    let kind = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("");
    if !kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::Wrong(
            "the body has to be JSON, with `Content-Type: application/json`".to_owned(),
        ));
    }
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Problem::Wrong(format!("the body cannot be read: {error}")))
}

/// Says something of a run. Answered when it is on stable storage.
pub(super) async fn say(
    State(service): App,
    Path((run, word)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let saying: Saying = read(&headers, &body)?;
    let wish = wish(&word, &saying)?;
    let run = service.find(&run).await?;
    let by = asker(&saying.by, &peer);
    let nothing = match wish {
        Some(command) => service.say(&run, command, by.clone()).await?,
        None => service.go_on(&run, &by).await.map(|()| None)?,
    };
    Ok(Json(json!({
        "v": SHOWN_VERSION, "type": "recorded", "command": word, "run": run, "step": saying.step, "by": by,
        "note": saying.note, "changed": nothing.is_none(), "why": nothing,
    })))
}

/// `say` for the one word whose path can be read as well.
pub(super) async fn say_rollback(
    app: App,
    Path(run): Path<String>,
    peer: Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    say(app, Path((run, "rollback".to_owned())), peer, headers, body).await
}

/// A run to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    #[serde(default)]
    plan: String,
    #[serde(default)]
    vars: Map<String, Value>,
    #[serde(default)]
    by: String,
}

/// Begins a run of a plan in the folder of plans.
pub(super) async fn begin(
    State(service): App,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let begin: Begin = read(&headers, &body)?;
    let vars = begin.vars.iter().map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.clone(), text)
    });
    let vars: Vec<(String, String)> = vars.collect();
    let run = service.start(&begin.plan, &vars, asker(&begin.by, &peer)).await?;
    let answer = json!({ "v": SHOWN_VERSION, "type": "begun", "run": run });
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Tells when a run has changed.
pub(super) async fn live_run(State(service): App, Path(run): Path<String>) -> Result<Response, Problem> {
    let run = service.find(&run).await?;
    follow::live(&service, Some(run))
}

/// Tells when any run has changed.
pub(super) async fn live(State(service): App) -> Result<Response, Problem> {
    follow::live(&service, None)
}
