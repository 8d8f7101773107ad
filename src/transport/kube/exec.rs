//! Commands in containers, over a websocket.
//!
//! `kube` answers well even where the other side has refused the command: only the status at the end says how it ended
//! (facts/components.md 1), so one that never comes means that nobody knows. The connection can be cut here; the command
//! may go on in its container all the same, and no API tells whether it does.

use futures_util::future::OptionFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::AttachParams;
use kube::client::UpgradeConnectionError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout_at;

use super::error::{KubeError, Why};
use super::objects::Object;
use super::{Kube, Right};
use crate::transport::capture::{Capture, Stream};
use crate::transport::launch::{End, Report};
use crate::transport::stop::Stop;

/// How much may be on its way in one direction, in bytes.
const BUFFER: usize = 64 << 10;

/// A command for a container.
#[derive(Debug, Clone)]
pub(crate) struct InPod<'a> {
    /// The pod.
    pub(crate) pod: &'a Object,
    /// Absent: its only one.
    pub(crate) container: Option<&'a str>,
    /// The program and its arguments.
    pub(crate) argv: &'a [String],
    /// What it reads; absent: nothing.
    pub(crate) stdin: Option<&'a [u8]>,
}

impl Kube {
    /// Runs a command in a container until it ends, its time is over or a person stops it. Not cancel-safe: dropped, the
    /// connection is closed and the command may go on.
    pub(crate) async fn exec(&self, command: &InPod<'_>, mut capture: Capture, stop: Option<&Stop>) -> Report {
        let namespace = command.pod.namespace.as_deref().unwrap_or(self.namespace());
        let pods: Api<Pod> = Api::namespaced(self.open.client.clone(), namespace);
        let params = AttachParams {
            container: command.container.map(str::to_owned),
            stdin: command.stdin.is_some(),
            stdout: true,
            stderr: true,
            tty: false,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
        };
        let begun = timeout_at(self.deadline, pods.exec(&command.pod.name, command.argv, &params)).await;
        let mut process = match begun {
            Ok(Ok(process)) => process,
            Ok(Err(error)) => return self.refused_command(command, namespace, &error),
            Err(_) => {
                let message = format!("{}: no answer in time; whether the command has begun is not known", self.shown(command));
                return Report { end: End::TimedOut(message), seen: capture.finish() };
            }
        };
        let status = process.take_status();
        let (out, err) = (process.stdout(), process.stderr());
        let input = process.stdin();
        let fed = async {
            if let (Some(mut input), Some(bytes)) = (input, command.stdin) {
                // A command that does not read to the end has ended, and its status says how.
                if input.write_all(bytes).await.is_ok() {
                    drop(input.shutdown().await);
                }
            }
        };
        let read = pump(out, err, &mut capture);
        let whole = async { tokio::join!(fed, read, OptionFuture::from(status)).2.flatten() };
        let stopped = async {
            match stop {
                Some(stop) => stop.fired().await,
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            biased;
            ended = whole => Ok(ended),
            () = tokio::time::sleep_until(self.deadline) => Err(true),
            () = stopped => Err(false),
        };
        let shown = self.shown(command);
        let end = match end {
            Ok(Some(status)) => end_of(&shown, &status),
            Ok(None) => End::Lost(format!(
                "{shown}: the connection ended without an exit status; whether the command still runs is not known"
            )),
            Err(true) => End::TimedOut(format!("{shown}: it took too long and was let go; it may still run in its container")),
            Err(false) => End::Stopped(format!("{shown}: let go; it may still run in its container")),
        };
        // Aborts what is still on its way.
        drop(process);
        Report { end, seen: capture.finish() }
    }

    fn shown(&self, command: &InPod<'_>) -> String {
        let program = command.argv.first().map(String::as_str).unwrap_or_default();
        format!("cluster `{}`: `{program}` in {}", self.name(), command.pod.shown())
    }

    fn refused_command(&self, command: &InPod<'_>, namespace: &str, error: &kube::Error) -> Report {
        let shown = self.shown(command);
        let kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) = error else {
            let error = KubeError::unanswered(self.name(), error);
            return match error.why {
                Why::Lost | Why::TimedOut => Report { end: End::Lost(error.message), seen: Default::default() },
                Why::NotSent { permanent } => Report::not_started(permanent, error.message),
                Why::Access | Why::Strange | Why::Refused(_) => Report::not_started(true, error.message),
            };
        };
        let code = code.as_u16();
        let (permanent, why) = match code {
            401 => (true, "the account of the kubeconfig is not known to the cluster".to_owned()),
            403 => {
                let right = Right {
                    verb: "create",
                    group: String::new(),
                    resource: "pods/exec".to_owned(),
                    namespace: Some(namespace.to_owned()),
                };
                (true, format!("the account may not `create` `pods/exec` in namespace `{namespace}`: it needs {}", right.rule()))
            }
            404 => (false, "there is no such pod (any more)".to_owned()),
            400 => (true, "the pod has no node yet, or no such container: name one of its containers with `container`".to_owned()),
            _ => (false, "its container does not run, or its node does not answer".to_owned()),
        };
        Report::not_started(permanent, format!("{shown}: refused with status {code}: {why}"))
    }
}

/// Takes both streams to their ends.
async fn pump<R: AsyncRead + Unpin>(out: Option<R>, err: Option<R>, capture: &mut Capture) {
    let mut open = [(out, Stream::Out), (err, Stream::Err)];
    let mut buffers = [vec![0; BUFFER], vec![0; BUFFER]];
    loop {
        let [(out, _), (err, _)] = &mut open;
        let [first, second] = &mut buffers;
        let (which, read) = tokio::select! {
            read = next(out, first), if out.is_some() => (0, read),
            read = next(err, second), if err.is_some() => (1, read),
            else => return,
        };
        if read == 0 {
            open[which].0 = None;
        } else {
            capture.take(open[which].1, &buffers[which][..read]);
        }
    }
}

async fn next<R: AsyncRead + Unpin>(stream: &mut Option<R>, buffer: &mut [u8]) -> usize {
    match stream {
        Some(stream) => stream.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

/// How a command ended, by the status that the server sent last (`v4.channel.k8s.io` and later).
fn end_of(shown: &str, status: &Status) -> End {
    if status.status.as_deref() == Some("Success") {
        return End::Exit(0);
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref()).into_iter().flatten();
    let mut codes = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = codes.find_map(|cause| cause.message.as_ref()?.trim().parse().ok());
    let message = status.message.as_deref().unwrap_or("no reason was given");
    match code {
        Some(code) => End::Exit(code),
        None if message.contains("executable file not found") || message.contains("no such file or directory") => {
            End::NotStarted { permanent: true, message: format!("{shown}: {message}") }
        }
        None => End::Lost(format!("{shown}: it ended without an exit status: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_end_has_its_meaning() {
        let end = |value| end_of("x", &serde_json::from_value(value).unwrap());
        assert!(matches!(end(json!({ "status": "Success" })), End::Exit(0)));
        let code = json!({ "status": "Failure", "reason": "NonZeroExitCode", "details": { "causes": [{ "reason": "ExitCode", "message": "5" }] } });
        assert!(matches!(end(code), End::Exit(5)));
        let none = json!({ "status": "Failure", "message": "exec: \"x\": executable file not found in $PATH" });
        assert!(matches!(end(none), End::NotStarted { permanent: true, .. }));
        assert!(matches!(end(json!({ "status": "Failure", "message": "the container has gone" })), End::Lost(_)));
    }
}
