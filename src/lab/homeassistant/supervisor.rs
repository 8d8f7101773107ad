//! The supervisor beside it: `ha core stop|start|restart|info|check`, and the lab's switches over HTTP for parts of the lab
//! that run in other processes.
//!
//! Source: facts/migration.md 4.5.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use super::answers::Reply;
use super::{Shared, complain};

/// What a call of `ha` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The exit status.
    pub exit: u8,
    /// What stands on stdout.
    pub stdout: String,
    /// What stands on stderr.
    pub stderr: String,
}

impl Said {
    fn done() -> Self {
        Self { exit: 0, stdout: "Command completed successfully.\n".to_owned(), stderr: String::new() }
    }

    fn error(message: &str) -> Self {
        Self { exit: 1, stdout: String::new(), stderr: format!("Error: {message}\n") }
    }
}

/// `ha core VERB`. A start and a restart answer when the core does.
pub(super) async fn core(shared: &Arc<Shared>, verb: &str) -> Said {
    let wants = |running: bool| {
        complain(shared.store.change(|stored| {
            stored.running = running;
            stored.writes += 1;
        }));
    };
    match verb {
        "stop" => {
            wants(false);
            shared.stop_core().await;
            Said::done()
        }
        "start" => {
            let fails = shared.mishaps().start_fails;
            if fails > 0 {
                complain(shared.store.change(|stored| stored.mishaps.start_fails = fails - 1));
                return Said::error("Can't start Home Assistant Core: it is told to fail");
            }
            wants(true);
            started(shared).await
        }
        "restart" => {
            wants(true);
            match shared.restart_core().await {
                Ok(()) => runs(shared).await,
                Err(error) => Said::error(&error.to_string()),
            }
        }
        "check" if shared.mishaps().invalid_config => Said::error("Home Assistant Core config is invalid"),
        "check" => Said::done(),
        "info" => {
            let info = "arch: amd64\nboot: true\nimage: ghcr.io/home-assistant/qemux86-64-homeassistant\nport: 8123\n\
                        ssl: false\nversion: 2025.4.4\nwatchdog: true\n";
            Said { exit: 0, stdout: info.to_owned(), stderr: String::new() }
        }
        other => Said::error(&format!("unknown command \"{other}\" for \"ha core\"")),
    }
}

async fn started(shared: &Arc<Shared>) -> Said {
    tokio::time::sleep(Duration::from_millis(shared.times().down)).await;
    match shared.start_core().await {
        Ok(()) => runs(shared).await,
        Err(error) => Said::error(&error.to_string()),
    }
}

/// Waits until it runs, as the supervisor does.
async fn runs(shared: &Arc<Shared>) -> Said {
    loop {
        match &*shared.core.lock().await {
            Some(core) if core.runs() => return Said::done(),
            Some(_) => {}
            None => return Said::error("Home Assistant Core stopped while it was starting"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Answers on its own port.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/core/{verb}", post(verb).get(verb))
        .route("/lab/core/{verb}", post(order))
        .route("/lab/gaps", get(gaps))
        .route("/lab/reaches/{address}", get(reaches))
        .route("/lab/writes", get(writes))
        .route("/lab/available/{prefix}/{payload}", post(available))
        .with_state(shared);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::warn!(%error, "the simulated supervisor stopped answering");
    }
}

async fn verb(State(shared): State<Arc<Shared>>, Path(verb): Path<String>) -> Reply {
    // It goes on when who asked is gone.
    let said = tokio::spawn(async move { core(&shared, &verb).await }).await;
    let said = said.unwrap_or_else(|_| Said::error("the simulated supervisor panicked"));
    Reply::Json(200, json!(said))
}

/// The same for the stand-in of `ha` in the simulated virtual machine: 200 with what it prints beside its own words, else what
/// went wrong.
async fn order(State(shared): State<Arc<Shared>>, Path(verb): Path<String>) -> Reply {
    let said = tokio::spawn(async move { core(&shared, &verb).await }).await;
    match said {
        Ok(said) if said == Said::done() => Reply::Text(200, String::new()),
        Ok(Said { exit: 0, stdout, .. }) => Reply::Text(200, stdout.trim_end().to_owned()),
        Ok(said) => Reply::Text(500, said.stderr.trim_start_matches("Error: ").trim_end().to_owned()),
        Err(_) => Reply::Text(500, "the simulated supervisor panicked".to_owned()),
    }
}

async fn reaches(State(shared): State<Arc<Shared>>, Path(address): Path<String>) -> Reply {
    let status = if shared.reaches(&format!("http://{address}")) { 200 } else { 503 };
    Reply::Json(status, json!({}))
}

async fn gaps(State(shared): State<Arc<Shared>>) -> Reply {
    Reply::Json(200, shared.store.look(|stored| json!(stored.gaps)))
}

async fn writes(State(shared): State<Arc<Shared>>) -> Reply {
    Reply::Json(200, shared.store.look(|stored| json!(stored.writes)))
}

async fn available(
    State(shared): State<Arc<Shared>>,
    Path((prefix, payload)): Path<(String, String)>,
) -> Reply {
    complain(shared.heard_available(&prefix, &payload));
    Reply::Json(200, json!({}))
}
