//! What containers do: their logs, and commands in them, over a websocket.
//!
//! The protocol is `v5.channel.k8s.io`, or `v4` for who knows no newer one: the first byte of a message is its channel (0
//! standard input, 1 standard output, 2 standard error, 3 the end as a `Status`, 255 of v5 closes the one that follows).
//! Source: k8s.io/apimachinery `util/remotecommand/constants.go` and `pkg/util/httpstream/wsstream`, Kubernetes 1.36.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::place::{Place, Query};
use super::refusal::Refusal;
use super::state::{State, annotation, text_of};
use super::{Shared, faults, smi};

/// The newest protocol that both sides speak.
pub(super) const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// A container as a request names it.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub pod: Value,
    pub name: String,
    status: Value,
}

/// What one command does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Run {
    pub stdout: String,
    pub stderr: String,
    pub code: u32,
    /// How long it runs before it writes anything.
    pub after: Duration,
    /// It writes its standard input to its standard output.
    pub copies: bool,
    /// It writes for ever.
    pub endless: bool,
}

impl Container {
    /// Finds the container.
    ///
    /// # Errors
    /// In the words of the real server: no such pod, no host yet, no such container.
    pub(super) fn find(state: &State, place: &Place, query: &Query) -> Result<Self, Refusal> {
        let pod = state.get(&place.key()).ok_or_else(|| Refusal::not_found(&place.kind, &place.name))?;
        let containers = pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
        let names: Vec<&str> = containers.iter().filter_map(|one| one["name"].as_str()).collect();
        let name = match query.get("container") {
            Some(name) => name.to_owned(),
            None if names.len() == 1 => names[0].to_owned(),
            None => {
                return Err(Refusal::bad(format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    place.name,
                    names.join(" ")
                )));
            }
        };
        if !names.contains(&name.as_str()) {
            return Err(Refusal::bad(format!("container {name} is not valid for pod {}", place.name)));
        }
        let Some(node) = pod["spec"]["nodeName"].as_str() else {
            return Err(Refusal::bad(format!("pod {} does not have a host assigned", place.name)));
        };
        if state.gone.contains(node) {
            return Err(Refusal {
                code: 500,
                reason: None,
                message: "error dialing backend: dial tcp 127.0.0.1:10250: connect: connection refused"
                    .to_owned(),
                details: None,
                retry_after_s: None,
            });
        }
        let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        let status = statuses.into_iter().find(|status| status["name"] == name.as_str());
        let status = status.cloned().unwrap_or_default();
        Ok(Self { pod: pod.clone(), name, status })
    }

    fn running(&self) -> bool {
        self.status["state"]["running"].is_object()
    }

    /// What it has written, as the query wants it.
    ///
    /// # Errors
    /// 400 when it has not run yet, or not before.
    pub(super) fn logs(&self, state: &State, query: &Query) -> Result<String, Refusal> {
        let name = self.pod["metadata"]["name"].as_str().unwrap_or_default();
        let previous = query.flag("previous");
        if previous && self.status["lastState"]["terminated"].is_null() {
            return Err(Refusal::bad(format!(
                "previous terminated container \"{}\" in pod \"{name}\" not found",
                self.name
            )));
        }
        let waiting = self.status["state"]["waiting"]["reason"].as_str();
        let waiting = waiting.or(self.status.is_null().then_some("ContainerCreating"));
        if let Some(reason) = waiting.filter(|reason| *reason != "CrashLoopBackOff" && !previous) {
            return Err(Refusal::bad(format!(
                "container \"{}\" in pod \"{name}\" is waiting to start: {reason}",
                self.name
            )));
        }
        let written = match annotation(&self.pod, faults::LOGS) {
            Some(text) => text.trim_end_matches('\n').to_owned(),
            None => {
                let end = if state.failure("Pod", &self.pod) == "crash-loop" {
                    let code = annotation(&self.pod, faults::EXIT_CODE).unwrap_or("1");
                    format!("fatal: the configuration cannot be read\nexiting with code {code}")
                } else {
                    "ready".to_owned()
                };
                format!("{} starts\nreading its configuration\n{end}", self.name)
            }
        };
        let lines: Vec<&str> = written.split('\n').collect();
        let tail =
            query.number("tailLines").and_then(|tail| usize::try_from(tail).ok()).unwrap_or(usize::MAX);
        let lines = &lines[lines.len().saturating_sub(tail)..];
        let life = self.pod["metadata"]["uid"].as_str().and_then(|uid| state.lives.get(uid));
        let at = text_of(life.and_then(|life| life.started_ms).unwrap_or_default());
        let stamped = query.flag("timestamps");
        let mut text: String = lines
            .iter()
            .map(|line| if stamped { format!("{at} {line}\n") } else { format!("{line}\n") })
            .collect();
        if let Some(limit) = query.number("limitBytes").and_then(|limit| usize::try_from(limit).ok()) {
            let mut limit = limit.min(text.len());
            while !text.is_char_boundary(limit) {
                limit -= 1;
            }
            text.truncate(limit);
        }
        Ok(text)
    }

    /// What a command in it does.
    ///
    /// # Errors
    /// When nothing runs in it.
    pub(super) fn run(&self, state: &State, command: &[String]) -> Result<Run, Refusal> {
        if !self.running() {
            return Err(Refusal {
                code: 500,
                reason: None,
                message: format!("unable to upgrade connection: container not found (\"{}\")", self.name),
                details: None,
                retry_after_s: None,
            });
        }
        if command.is_empty() {
            return Err(Refusal::bad("you must specify at least 1 command for the container"));
        }
        let scripts: Value = annotation(&self.pod, faults::EXEC)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        if let Some(script) = scripts.get(command.join(" ")) {
            let text = |name: &str| script[name].as_str().unwrap_or_default().to_owned();
            return Ok(Run {
                stdout: text("stdout"),
                stderr: text("stderr"),
                code: script["code"].as_u64().and_then(|code| u32::try_from(code).ok()).unwrap_or_default(),
                after: Duration::try_from_secs_f64(script["seconds"].as_f64().unwrap_or_default())
                    .unwrap_or_default(),
                ..Run::default()
            });
        }
        let words = command[1..].join(" ");
        let says = |stdout: String| Run { stdout, ..Run::default() };
        let ends = |code: u32| Run { code, ..Run::default() };
        let gpus = granted(&self.pod);
        let shell_end = || words.rsplit("exit ").next().and_then(|code| code.trim().parse().ok());
        Ok(match command[0].as_str() {
            "true" => ends(0),
            "false" => ends(1),
            "echo" => says(format!("{words}\n")),
            "hostname" => says(format!("{}\n", self.pod["metadata"]["name"].as_str().unwrap_or_default())),
            "cat" => Run { copies: true, ..Run::default() },
            "yes" => Run { endless: true, ..Run::default() },
            "sleep" => match words.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            {
                Some(after) => Run { after, ..Run::default() },
                None => Run {
                    stderr: format!("sleep: invalid time interval '{words}'\n"),
                    code: 1,
                    ..Run::default()
                },
            },
            "sh" if shell_end().is_some() => ends(shell_end().unwrap_or_default()),
            "nvidia-smi" if gpus > 0 => {
                let (stdout, code) = smi::run(&state.gpu, &command[1..], gpus);
                Run { stdout, code, ..Run::default() }
            }
            program => Run {
                stderr: format!(
                    "OCI runtime exec failed: exec failed: unable to start container process: exec: \"{program}\": \
                     executable file not found in $PATH: unknown\n"
                ),
                code: 127,
                ..Run::default()
            },
        })
    }
}

/// How many GPUs a pod was granted.
pub(super) fn granted(pod: &Value) -> u64 {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let limits = containers.filter_map(|one| one.pointer("/resources/limits/nvidia.com~1gpu"));
    limits.filter_map(|limit| limit.as_str()).filter_map(|limit| limit.parse::<u64>().ok()).sum()
}

/// The `Status` with which a command ends.
fn end_of(code: u32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

/// Serves one command over a connection that was upgraded, until it ends or the other side has gone.
pub(super) async fn serve(upgraded: hyper::upgrade::Upgraded, run: Run, query: Query, v5: bool) {
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (wants_in, wants_out, wants_err) = (query.flag("stdin"), query.flag("stdout"), query.flag("stderr"));
    let message = |channel: u8, text: &[u8]| Message::binary([&[channel], text].concat());
    if !run.after.is_zero() {
        let wait = tokio::time::sleep(run.after);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => break,
                heard = socket.next() => match heard {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return,
                    Some(Ok(_)) => {}
                },
            }
        }
    }
    if run.endless {
        let much = "y\n".repeat(2048);
        while socket.send(message(1, much.as_bytes())).await.is_ok() {}
        return;
    }
    if wants_out && !run.stdout.is_empty() && socket.send(message(1, run.stdout.as_bytes())).await.is_err() {
        return;
    }
    if wants_err && !run.stderr.is_empty() && socket.send(message(2, run.stderr.as_bytes())).await.is_err() {
        return;
    }
    let mut copying = run.copies && wants_in;
    while copying {
        let bytes = match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            Some(Ok(_)) => continue,
        };
        let sent = match bytes.split_first() {
            Some((0, rest)) if wants_out => socket.send(message(1, rest)).await,
            Some((255, [0])) if v5 => {
                copying = false;
                Ok(())
            }
            _ => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
    let end = end_of(run.code).to_string();
    if socket.send(message(3, end.as_bytes())).await.is_ok() {
        drop(socket.close(None).await);
        // The other side reads to the end and closes too; nobody waits long for it.
        let closing = async { while let Some(Ok(_)) = socket.next().await {} };
        drop(tokio::time::timeout(Duration::from_secs(5), closing).await);
    }
}

/// Goes on after the logs so far until the container runs no longer.
pub(super) async fn follow(
    shared: Arc<Shared>,
    place: Place,
    container: Container,
    lines: mpsc::Sender<Bytes>,
) {
    let id = container.status["containerID"].clone();
    let mut revisions = shared.revisions.subscribe();
    loop {
        let runs = shared.store.look(|state| {
            let pod = state.get(&place.key());
            let statuses = pod.and_then(|pod| pod["status"]["containerStatuses"].as_array());
            statuses
                .into_iter()
                .flatten()
                .any(|one| one["containerID"] == id && one["state"]["running"].is_object())
        });
        if !runs {
            return;
        }
        tokio::select! {
            changed = revisions.changed() => if changed.is_err() { return },
            () = lines.closed() => return,
        }
    }
}
