//! `qm guest exec`: a command inside a virtual machine, by its guest agent, to its end.
//!
//! The tool's exit status says nothing of the command; the answer does (facts, section 3). It is started without waiting, so
//! that its pid is on the host's record at once; then it is asked for its end. A pid without an end is *still running*: an
//! unknown outcome, never a failure. There is no shell in between. What it wrote comes encoded twice when it is not ASCII:
//! that is undone for showing it, and it is never good enough to be written back into the guest; hash and edit there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::{FAILED, launch, lines_of, trouble};
use crate::transport::capture::{Capture, Seen};
use crate::transport::launch::{End, Report};
use crate::transport::stop::Stop;
use crate::transport::{LogPlace, Redactor, Settled, Target, Transport};

/// How much of an answer is kept, in bytes: JSON with both streams, each up to [`CAPTURE_MAX`](crate::transport::CAPTURE_MAX)
/// and escaped.
const ANSWER_MAX: usize = 1 << 20;

/// Exit status of the script: the command still runs in the guest.
const RUNNING: i32 = 6;

/// Exit status of a script that was ended: before the agent was asked, or with the pid.
const ENDED: i32 = 143;

/// The part of an attempt's time that the host's script leaves to us for hearing of its end.
const SLACK: Duration = Duration::from_secs(3);

/// A command for a guest.
#[derive(Debug, Clone)]
pub(crate) struct GuestCommand {
    /// The virtual machine.
    pub(crate) vmid: u32,
    /// Program and arguments, passed as they are: no globs, pipes or variables unless the program is a shell. Never a secret:
    /// it stands in the process list of host and guest.
    pub(crate) argv: Vec<String>,
    /// Its stdin, 1 MiB at most.
    pub(crate) stdin: Option<Vec<u8>>,
}

/// How a command in a guest ended.
#[derive(Debug)]
pub(crate) enum GuestEnd {
    /// With this exit status. `out` and `err` are what it wrote, as bytes.
    Exited { code: i32, out: Vec<u8>, err: Vec<u8>, truncated: bool },
    /// By this signal.
    Killed { signal: i32, out: Vec<u8>, err: Vec<u8> },
    /// It still runs, as this process of the guest.
    Running { pid: u32, message: String },
    /// It is over, and its end was read by somebody else: nobody knows how it ended.
    Forgotten(String),
    /// Nobody knows whether it began: the connection was lost, or the agent did not say. It may still run.
    Lost(String),
    /// A person stopped us; it may still run.
    Stopped(String),
    /// It never started.
    NotStarted { permanent: bool, message: String },
}

/// What a host says of an earlier attempt.
#[derive(Debug)]
pub(crate) enum GuestSettled {
    /// It is over, or never started; how it ended nobody knows.
    Over,
    /// It ended like this; `seen` as of any process.
    Ended(GuestEnd, Seen),
    /// It cannot be proved over.
    Unproved(String),
}

impl Transport {
    /// Runs a command in a guest as one attempt and waits for its end, for `timeout` at most. Not cancel-safe: spawn it.
    ///
    /// An attempt's name is for one call of one command: who needs several in one attempt of a step adds a part to each,
    /// `{attempt}/stop`. A lost connection does not hurt it, and [`settle_guest`](Self::settle_guest) finds its end.
    #[expect(clippy::too_many_arguments, reason = "one call of the wrapper with all that belongs to it")]
    pub(crate) async fn guest_exec(
        &self,
        target: &Target,
        attempt: &str,
        command: &GuestCommand,
        redactor: &Redactor,
        log: Option<LogPlace>,
        timeout: Duration,
        stop: Option<Stop>,
    ) -> (GuestEnd, Seen) {
        let launch = launched(command, timeout.saturating_sub(SLACK));
        let capture = Capture::with_room(redactor, log, ANSWER_MAX);
        let report = self.act_on(target, attempt, &launch, capture, timeout, stop).await;
        read(target, command.vmid, report)
    }

    /// Runs a command that only looks; nothing is kept of it on the host. Cancel-safe, but what was begun in the guest runs to
    /// its own end.
    pub(crate) async fn guest_look(
        &self,
        target: &Target,
        command: &GuestCommand,
        redactor: &Redactor,
        timeout: Duration,
    ) -> (GuestEnd, Seen) {
        let launch = launched(command, timeout.saturating_sub(SLACK));
        let capture = Capture::with_room(redactor, None, ANSWER_MAX);
        let report = self.look_on(target, &launch, capture, timeout).await;
        read(target, command.vmid, report)
    }

    /// Says how an attempt of [`guest_exec`](Self::guest_exec) ended. One that still runs in the guest is waited for, for
    /// `timeout` at most. Cancel-safe.
    pub(crate) async fn settle_guest(
        &self,
        target: &Target,
        attempt: &str,
        vmid: u32,
        redactor: &Redactor,
        log: LogPlace,
        timeout: Duration,
    ) -> GuestSettled {
        let began = tokio::time::Instant::now();
        let unproved = |why: &str| GuestSettled::Unproved(unseen(target, vmid, why));
        let pid: u32 = match self.settle_on(target, attempt, redactor, log, timeout).await {
            Settled::Over => return GuestSettled::Over,
            Settled::Gone(first) => match first.strip_prefix("pid ").and_then(|pid| pid.parse().ok()) {
                Some(pid) => pid,
                None => {
                    let host = target.shown();
                    return unproved(&format!("the script that waited for it on {host} was killed"));
                }
            },
            Settled::Unproved(reason) => return GuestSettled::Unproved(reason),
            Settled::Ended(report) => match read(target, vmid, *report) {
                (GuestEnd::Running { pid, .. }, _) => pid,
                (GuestEnd::Lost(why) | GuestEnd::Stopped(why), _) => return unproved(&why),
                (GuestEnd::Forgotten(_), _) => return GuestSettled::Over,
                (end, seen) => return GuestSettled::Ended(end, seen),
            },
        };
        let left = timeout.saturating_sub(began.elapsed()).max(SLACK * 2);
        let mut env = environment(vmid, left.saturating_sub(SLACK));
        env.insert("Q".to_owned(), pid.to_string());
        let capture = Capture::with_room(redactor, None, ANSWER_MAX);
        let launch = launch(include_str!("guest.sh"), env, &[], None);
        let report = self.look_on(target, &launch, capture, left).await;
        match read(target, vmid, report) {
            (GuestEnd::Running { message, .. }, _) => GuestSettled::Unproved(message),
            // What did not start, or was lost, is the question, not the command.
            (
                GuestEnd::NotStarted { message, .. } | GuestEnd::Stopped(message) | GuestEnd::Lost(message),
                _,
            ) => GuestSettled::Unproved(format!(
                "whether process {pid} still runs in virtual machine {vmid} cannot be told: {message}"
            )),
            (GuestEnd::Forgotten(_), _) => GuestSettled::Over,
            (end, seen) => GuestSettled::Ended(end, seen),
        }
    }
}

fn environment(vmid: u32, timeout: Duration) -> BTreeMap<String, String> {
    let timeout = timeout.as_secs().max(1).to_string();
    [
        ("ID", vmid.to_string()),
        ("T", timeout),
        ("Q", String::new()),
        ("I", String::new()),
        ("Z", "0.2".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

fn launched(command: &GuestCommand, timeout: Duration) -> crate::transport::Launch {
    let mut env = environment(command.vmid, timeout);
    if command.stdin.is_some() {
        env.insert("I".to_owned(), "1".to_owned());
    }
    launch(include_str!("guest.sh"), env, &command.argv, command.stdin.clone())
}

/// What may run in a guest, and cannot be looked for: the agent tells the end of a process to who knows its id, and lists none.
fn unseen(target: &Target, vmid: u32, why: &str) -> String {
    format!(
        "{why}; it may run in virtual machine {vmid} and its process id is not known: look with `{} qm guest exec {vmid} -- ps ax`",
        target.command()
    )
}

/// Reads what the script said.
fn read(target: &Target, vmid: u32, report: Report) -> (GuestEnd, Seen) {
    let Report { end, seen } = report;
    let text = String::from_utf8_lossy(&seen.stdout).into_owned();
    let host = target.shown();
    let number = |word: &str| lines_of(&text, word).last().and_then(|value| value.parse::<u32>().ok());
    let pid = number("running").or_else(|| number("pid"));
    let running = |pid: u32| GuestEnd::Running {
        pid,
        message: format!(
            "the command still runs in virtual machine {vmid} on {host} as process {pid}: look with `{} qm guest exec-status \
             {vmid} {pid}`, which tells its end once",
            target.command()
        ),
    };
    let end = match end {
        End::Exit(0) => answer(&text, seen.overflow).unwrap_or_else(|| {
            GuestEnd::Lost(format!("the answer of virtual machine {vmid} on {host} cannot be understood"))
        }),
        End::Exit(RUNNING) => match pid {
            Some(pid) => running(pid),
            None => GuestEnd::Lost(format!("{host} does not say what became of the command")),
        },
        End::Exit(FAILED) => {
            let said: Vec<&str> = lines_of(&text, "said");
            let trouble = trouble::read(target, vmid, &said.join("\n"));
            match (number("lost"), trouble.unknown) {
                (Some(pid), _) => GuestEnd::Forgotten(format!(
                    "the end of process {pid} in virtual machine {vmid} on {host} was read by somebody else: nobody knows it"
                )),
                (None, true) => GuestEnd::Lost(trouble.message),
                (None, false) => {
                    GuestEnd::NotStarted { permanent: trouble.permanent, message: trouble.message }
                }
            }
        }
        End::Exit(ENDED) if pid.is_none() => GuestEnd::NotStarted {
            permanent: false,
            message: format!(
                "the script on {host} was ended before it asked virtual machine {vmid} for anything"
            ),
        },
        // It was ended while it waited: what it waited for goes on.
        End::Exit(status) => {
            pid.map_or_else(|| GuestEnd::Lost(format!("the script on {host} ended with {status}")), running)
        }
        End::Signal(signal) => pid.map_or_else(
            || GuestEnd::Lost(format!("the script on {host} was killed by signal {signal}")),
            running,
        ),
        // What was begun in the guest is not ended by ending what waits for it.
        End::TimedOut(message) => pid.map_or_else(|| GuestEnd::Lost(message), running),
        End::Stopped(message) => match pid {
            Some(pid) => {
                GuestEnd::Stopped(format!("{message}; the command still runs in the guest as process {pid}"))
            }
            None => GuestEnd::Stopped(message),
        },
        End::Lost(message) => GuestEnd::Lost(message),
        End::NotStarted { permanent, message } => GuestEnd::NotStarted { permanent, message },
    };
    (end, seen)
}

/// The agent's answer: of one that is too long for us, only the number in front of it.
fn answer(text: &str, overflow: bool) -> Option<GuestEnd> {
    let head = |word: &str| lines_of(text, word).first().and_then(|value| value.parse::<i32>().ok());
    let json = text.split_once("answer\n").and_then(|(_, json)| serde_json::from_str::<Value>(json).ok());
    let Some(json) = json else {
        let code = head("exitcode").filter(|_| overflow || text.contains("answer\n"));
        return code.map(|code| GuestEnd::Exited { code, out: Vec::new(), err: Vec::new(), truncated: true });
    };
    let stream = |key: &str| json[key].as_str().map(plain).unwrap_or_default();
    let (out, err) = (stream("out-data"), stream("err-data"));
    let truncated =
        ["out-truncated", "err-truncated"].iter().any(|key| json[*key] == 1 || json[*key] == true);
    let number = |key: &str| json[key].as_i64().and_then(|number| i32::try_from(number).ok());
    match (number("exitcode"), number("signal")) {
        (Some(code), _) => Some(GuestEnd::Exited { code, out, err, truncated }),
        (None, Some(signal)) => Some(GuestEnd::Killed { signal, out, err }),
        (None, None) => None,
    }
}

/// What was written: every byte had become a character of its own. Where that cannot be, the text is taken as it is.
fn plain(text: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    match bytes {
        Some(bytes) if std::str::from_utf8(&bytes).is_ok() => bytes,
        _ => text.as_bytes().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_what_they_say() {
        let read = |json: &str| answer(&format!("pid 4711\nexitcode 0\nanswer\n{json}\n"), false);
        let Some(GuestEnd::Exited { code: 4, err, .. }) =
            read("{\n   \"err-data\" : \"sed: full\",\n   \"exitcode\" : 4,\n   \"exited\" : 1\n}")
        else {
            panic!("the guest's exit code")
        };
        assert_eq!(err, b"sed: full");
        assert!(matches!(
            read("{ \"exited\" : 1, \"signal\" : 9 }"),
            Some(GuestEnd::Killed { signal: 9, .. })
        ));
        assert!(read("{ \"exited\" : 0 }").is_none());
        // Cut off by our own limit: the number is known, the text is not.
        let cut = answer("pid 1\nexitcode 3\nanswer\n{\n \"out-data\" : \"aaa", true);
        assert!(matches!(cut, Some(GuestEnd::Exited { code: 3, truncated: true, .. })));
    }

    #[test]
    fn what_was_encoded_twice_is_read_once() {
        // `e2 9c a8` came as `c3a2 c29c c2a8`.
        assert_eq!(plain("\u{e2}\u{9c}\u{a8}"), "✨".as_bytes());
        assert_eq!(plain("✨"), "✨".as_bytes());
        assert_eq!(plain("plain"), b"plain");
    }
}
