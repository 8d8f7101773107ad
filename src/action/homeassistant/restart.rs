//! `homeassistant.restart`: a restart that is seen.
//!
//! The request is answered with 200 in milliseconds, and Home Assistant still says RUNNING then: only one that was seen to
//! go has restarted (facts/components.md 5, transcript `ha-restart.json`).

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, json};
use tokio::time::Instant;

use super::super::outcome::refused;
use super::super::{Action, Call, Fields};
use super::pick::ids;
use super::{Trouble, deadline, home};
use crate::saga::{Outcome, Trace};
use crate::transport::{Home, HomeError, Transport};

/// How long it may take to go: it ends its integrations first, and gives them up to a minute.
const GOES: Duration = Duration::from_secs(75);

pub(in crate::action) struct Restart;

impl Action for Restart {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let fields = Fields::new(&call.operation);
            let read = home(fields, transport.clone(), &call.bodies, &call.redactor)
                .and_then(|home| Ok((home, deadline(call.timeout, fields.duration("within")?))));
            let (home, deadline) = match read {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let working = transport.begin_inside(&call.key.to_string());
            let end = restart(&home, deadline).await;
            drop(working);
            match end {
                Ok(version) => {
                    let mut outputs = Map::new();
                    outputs.insert("version".to_owned(), json!(version));
                    Outcome::Acted { outputs, trace: Trace::default() }
                }
                Err(trouble) => trouble.outcome(&call.redactor),
            }
        })
    }
}

async fn restart(home: &Home, deadline: Instant) -> Result<String, Trouble> {
    home.wait_running(deadline).await?;
    let before = ids(&home.entries(deadline).await?);
    let unanswered = match home.restart(deadline).await {
        Ok(()) => None,
        // It may have gone before it could answer.
        Err(HomeError::Cut { message, .. }) => Some(message),
        Err(HomeError::Answered { status: 500, .. }) => {
            return Err(Trouble::permanent(
                "Home Assistant refuses to restart: its configuration is not valid; look at Settings, System, or run `ha \
                 core check`",
            ));
        }
        Err(error) => return Err(error.into()),
    };
    if !home.wait_gone(deadline.min(Instant::now() + GOES)).await {
        return Err(match unanswered {
            Some(message) => Trouble::Cut { timeout: false, message },
            None => Trouble::transient(format!(
                "Home Assistant at `{}` took the request to restart and was not seen to go",
                home.url
            )),
        });
    }
    let config = home.wait_running(deadline).await.map_err(|error| Trouble::Cut {
        timeout: true,
        message: format!("Home Assistant went down and is not back: {}", error.message()),
    })?;
    let lost = before.difference(&ids(&home.entries(deadline).await?)).count();
    if lost > 0 {
        return Err(Trouble::permanent(format!(
            "after the restart {lost} of {} config entries of Home Assistant are gone: look for a file \
             `core.config_entries.corrupt.…` beside its storage file",
            before.len()
        )));
    }
    Ok(config.version)
}
