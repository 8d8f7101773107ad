//! Pages: made here as a whole, readable without a script; what changes something is a form with a POST.
//!
//! Everything that comes from outside is escaped by the templates; pictures are made by `report` and escaped there.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use minijinja::{Environment, Value, context};
use serde::Deserialize;

use super::api::{self, Saying, asker, step_of};
use super::guard::{Refused, Session};
use super::listen::Peer;
use super::service::{Problem, Service};
use super::view;
use crate::driver::History;
use crate::report::{self, Paper};

type App = State<Arc<Service>>;

/// Runs in the list at most: a page of more is no list any more.
const RUNS_MAX: usize = 500;

/// Events on a run's page; all of them are a page of their own.
const LINES_SHOWN: usize = 40;

/// The templates, parsed.
pub(super) struct Templates(Environment<'static>);

impl Templates {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.add_filter("prose", |text: &str| Value::from_safe_string(report::prose_html(text)));
        for (name, text) in [
            ("base.html", include_str!("pages/base.html")),
            ("events.html", include_str!("pages/events.html")),
            ("login.html", include_str!("pages/login.html")),
            ("problem.html", include_str!("pages/problem.html")),
            ("run.html", include_str!("pages/run.html")),
            ("runs.html", include_str!("pages/runs.html")),
            ("sure.html", include_str!("pages/sure.html")),
        ] {
            environment.add_template(name, text).expect("the templates are part of the binary, and tested");
        }
        Self(environment)
    }

    fn render(&self, name: &str, values: Value) -> Result<String, Problem> {
        let template = self.0.get_template(name);
        template
            .and_then(|template| template.render(values))
            .map_err(|error| Problem::Failed(format!("the page `{name}` cannot be made: {error}")))
    }
}

/// Who looks: the session, and the cookie that begins it when it is new.
pub(super) struct Looks {
    session: Session,
    cookie: Option<String>,
    form: String,
}

impl Looks {
    pub(super) fn of(service: &Service, headers: &HeaderMap) -> Self {
        let now_s = service.holder.now().wall_ms / 1_000;
        let (session, cookie) = match service.guard.session(headers, now_s) {
            Some(session) => (session, None),
            None => {
                let (session, cookie) = service.guard.begin(false, now_s);
                (session, Some(cookie))
            }
        };
        let form = service.guard.form_token(&session);
        Self { session, cookie, form }
    }

    /// A whole page around a template.
    fn page(
        self,
        service: &Service,
        status: StatusCode,
        title: &str,
        live: &str,
        (name, values): (&str, Value),
    ) -> Result<Response, Problem> {
        let body = service.templates.render(name, context! { form => self.form.clone(), ..values })?;
        let whole = context! {
            title => title,
            live => live,
            body => Value::from_safe_string(body),
            signs => Value::from_safe_string(report::SIGNS.to_owned()),
            signed_in => self.session.signed_in,
            form => self.form,
            now => report::time_shown(&service.holder.now()),
            version => env!("CARGO_PKG_VERSION"),
        };
        let html = service.templates.render("base.html", whole)?;
        let mut answer = (status, [(CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
        if let Some(cookie) = self.cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
            answer.headers_mut().insert(SET_COOKIE, cookie);
        }
        Ok(answer)
    }
}

/// A problem as a page.
pub(super) fn problem(service: &Service, headers: &HeaderMap, problem: &Problem, back: &str) -> Response {
    let title = match problem {
        Problem::NotFound(_) => "There is nothing here",
        Problem::Wrong(_) | Problem::Refused(_) => "That was not done",
        Problem::Busy(_) => "Not now",
        Problem::Failed(_) => "That went wrong",
    };
    let values = context! { title => title, message => problem.message(), back => back };
    let looks = Looks::of(service, headers);
    match looks.page(service, problem.status(), title, "", ("problem.html", values)) {
        Ok(page) => page,
        Err(other) => other.into_response(),
    }
}

/// A page, or the problem as one.
fn or_problem(
    service: &Service,
    headers: &HeaderMap,
    page: Result<Response, Problem>,
    back: &str,
) -> Response {
    page.unwrap_or_else(|found| problem(service, headers, &found, back))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 1] = [(CONTENT_TYPE, kind)];
    (headers, text).into_response()
}

pub(super) async fn style() -> Response {
    const ALL: &str = concat!(include_str!("../../report/page.css"), include_str!("web.css"));
    asset("text/css; charset=utf-8", ALL)
}

pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("page.js"))
}

pub(super) async fn icon() -> Response {
    asset("image/svg+xml", include_str!("pages/icon.svg"))
}

pub(super) async fn runs(State(service): App, headers: HeaderMap) -> Response {
    let page = async {
        let entries = service.entries().await?;
        let now = service.holder.now();
        let values = context! {
            ready => service.is_ready(),
            summary => view::summary(&entries),
            left_out => entries.len().saturating_sub(RUNS_MAX),
            runs => entries.iter().take(RUNS_MAX).map(|entry| view::row(entry, &now)).collect::<Vec<_>>(),
            plans => service.plans().iter().map(view::plan).collect::<Vec<_>>(),
        };
        let looks = Looks::of(&service, &headers);
        looks.page(&service, StatusCode::OK, "Runs", "/api/v1/live", ("runs.html", values))
    };
    let page = page.await;
    or_problem(&service, &headers, page, "/")
}

pub(super) async fn run(State(service): App, Path(run): Path<String>, headers: HeaderMap) -> Response {
    let page = async {
        let run = service.find(&run).await?;
        let (story, tails) = service.story(&run).await?;
        let way_back = service.way_back_unless(&story.state, None, &[]);
        let driven = service.holder.handle(&run).await.is_some();
        let unresumed = service.unresumed(&run).filter(|_| !driven);
        let now = service.holder.now();
        let values = view::run(&story, &tails, &way_back, unresumed, LINES_SHOWN, &now);
        let live = format!("/api/v1/runs/{run}/live");
        let looks = Looks::of(&service, &headers);
        looks.page(&service, StatusCode::OK, &view::title(&story.state), &live, ("run.html", values))
    };
    let page = page.await;
    or_problem(&service, &headers, page, "/")
}

pub(super) async fn events(State(service): App, Path(run): Path<String>, headers: HeaderMap) -> Response {
    let page = async {
        let run = service.find(&run).await?;
        let (story, _) = service.story(&run).await?;
        let lines: Vec<Value> = story.lines.iter().rev().map(view::line).collect();
        let values = context! { run => run.to_string(), left_out => story.left_out, lines => lines };
        let live = format!("/api/v1/runs/{run}/live");
        let looks = Looks::of(&service, &headers);
        let title = format!("Events of {run}");
        looks.page(&service, StatusCode::OK, &title, &live, ("events.html", values))
    };
    let page = page.await;
    or_problem(&service, &headers, page, "/")
}

pub(super) async fn log(
    State(service): App,
    Path((run, step, place)): Path<(String, String, usize)>,
    headers: HeaderMap,
) -> Response {
    let text = async {
        let run = service.find(&run).await?;
        let (story, _) = service.story(&run).await?;
        let step = step_of(&story.state, &step)?;
        let bytes = service.log(&story, &step, place)?;
        // Lossy and plain: whatever is in it, no browser runs it.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
    };
    let text = text.await;
    or_problem(&service, &headers, text, "/")
}

pub(super) async fn paper(State(service): App, Path(run): Path<String>, headers: HeaderMap) -> Response {
    let page = async {
        let run = service.find(&run).await?;
        let (story, _) = service.story(&run).await?;
        let way_back = service.way_back(&story.state, None);
        let hash = History::hash(service.holder.history(), run.clone(), story.state.seq).await;
        let head = hash.unwrap_or_else(|| "not known".to_owned());
        let (now, story) = (service.holder.now(), &story);
        let html = report::paper_html(&Paper { story, way_back: &way_back, head: &head, now });
        let name = format!("attachment; filename=\"{run}.html\"");
        let kind = [(CONTENT_TYPE, "text/html; charset=utf-8".to_owned()), (CONTENT_DISPOSITION, name)];
        Ok((kind, html).into_response())
    };
    let page = page.await;
    or_problem(&service, &headers, page, "/")
}

/// To which step.
#[derive(Debug, Deserialize)]
pub(super) struct To {
    #[serde(default)]
    to: String,
}

/// What would happen, before it does.
pub(super) async fn sure(
    State(service): App,
    Path((run, word)): Path<(String, String)>,
    Query(To { to }): Query<To>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let run = service.find(&run).await?;
        let (state, _) = service.state(&run).await?;
        let to = Some(to.as_str()).filter(|to| !to.is_empty()).map(|to| step_of(&state, to)).transpose()?;
        let way_back = service.way_back(&state, to.as_ref());
        let (title, values) = view::sure(&state, &word, to.as_ref(), &way_back)
            .ok_or_else(|| Problem::NotFound("there is no such question".to_owned()))?;
        Looks::of(&service, &headers).page(&service, StatusCode::OK, &title, "", ("sure.html", values))
    };
    let page = page.await;
    or_problem(&service, &headers, page, "/")
}

/// The address of a run's page. What was named may be anything, so only what a run can be called is put in it.
fn page_of(run: &str) -> String {
    let plain = run.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if plain { format!("/runs/{run}") } else { "/".to_owned() }
}

fn check_form(service: &Service, headers: &HeaderMap, shown: &str) -> Result<(), Problem> {
    let session = service.guard.session(headers, service.holder.now().wall_ms / 1_000);
    let words = |refused: Refused| Problem::Refused(refused.words().to_owned());
    service.guard.is_form_of(session.as_ref(), shown).map_err(words)
}

/// What a form says of a run.
pub(super) async fn say(
    State(service): App,
    Path((run, word)): Path<(String, String)>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Form(saying): Form<FormSaying>,
) -> Response {
    let saying = saying.saying();
    let said = async {
        check_form(&service, &headers, &saying.form)?;
        let wish = api::wish(&word, &saying)?;
        let run = service.find(&run).await?;
        let by = asker(&saying.by, &peer);
        match wish {
            Some(command) => {
                if let Some(nothing) = service.say(&run, command, by).await? {
                    return Err(Problem::Refused(format!("nothing to do: {nothing}")));
                }
            }
            None => service.go_on(&run, &by).await?,
        }
        Ok(Redirect::to(&page_of(&run.to_string())).into_response())
    };
    let said = said.await;
    or_problem(&service, &headers, said, &page_of(&run))
}

/// A form's fields: all of them texts.
#[derive(Debug, Deserialize)]
pub(super) struct FormSaying {
    #[serde(default)]
    form: String,
    #[serde(default)]
    step: Option<String>,
    #[serde(default)]
    note: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    r#as: Option<String>,
}

impl FormSaying {
    fn saying(self) -> Saying {
        let Self { form, step, note, by, to, r#as } = self;
        Saying { form, step, note, by, to, r#as, ..Saying::default() }
    }
}

/// A run to begin, as a form says it.
#[derive(Debug, Deserialize)]
pub(super) struct FormBegin {
    #[serde(default)]
    form: String,
    plan: String,
    #[serde(default)]
    vars: String,
    #[serde(default)]
    by: String,
}

pub(super) async fn begin(
    State(service): App,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Form(begin): Form<FormBegin>,
) -> Response {
    let begun = async {
        check_form(&service, &headers, &begin.form)?;
        let lines = begin.vars.lines().map(str::trim).filter(|line| !line.is_empty());
        let vars = lines.map(|line| {
            let pair =
                line.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
            pair.ok_or_else(|| Problem::Wrong(format!("`{line}` is not written NAME=VALUE")))
        });
        let vars: Vec<(String, String)> = vars.collect::<Result<_, _>>()?;
        let run = service.start(&begin.plan, &vars, asker(&begin.by, &peer)).await?;
        Ok(Redirect::to(&page_of(&run.to_string())).into_response())
    };
    let begun = begun.await;
    or_problem(&service, &headers, begun, "/")
}

pub(super) async fn login_page(State(service): App, headers: HeaderMap) -> Response {
    let looks = Looks::of(&service, &headers);
    let page =
        looks.page(&service, StatusCode::OK, "Sign in", "", ("login.html", context! { wrong => false }));
    or_problem(&service, &headers, page, "/login")
}

/// A token, as the form says it.
#[derive(Deserialize)]
pub(super) struct FormLogin {
    #[serde(default)]
    form: String,
    #[serde(default)]
    token: String,
}

pub(super) async fn login(State(service): App, headers: HeaderMap, Form(login): Form<FormLogin>) -> Response {
    if let Err(found) = check_form(&service, &headers, &login.form) {
        return problem(&service, &headers, &found, "/login");
    }
    if !service.guard.is_token(login.token.trim()) {
        // Who guesses guesses slowly.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let looks = Looks::of(&service, &headers);
        let values = context! { wrong => true };
        let page = looks.page(&service, StatusCode::FORBIDDEN, "Sign in", "", ("login.html", values));
        return or_problem(&service, &headers, page, "/login");
    }
    let (_, cookie) = service.guard.begin(true, service.holder.now().wall_ms / 1_000);
    let mut answer = Redirect::to("/").into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}

pub(super) async fn logout(
    State(service): App,
    headers: HeaderMap,
    Form(login): Form<FormLogin>,
) -> Response {
    if let Err(found) = check_form(&service, &headers, &login.form) {
        return problem(&service, &headers, &found, "/");
    }
    let (_, cookie) = service.guard.begin(false, service.holder.now().wall_ms / 1_000);
    let mut answer = Redirect::to("/login").into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}
