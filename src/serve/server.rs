//! The holder's side of the control socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::place::Pointer;
use super::protocol::{Answer, Envelope, LINE_MAX, PROTOCOL_VERSION, Request, RestLine};
use crate::driver::history::History;
use crate::driver::{Ended, Holder, SubmitError, WishError};
use crate::plan::RunId;

/// Connections served at once; more wait.
const CONNECTIONS_MAX: usize = 256;

/// Of these, how many may follow runs: others always find a place for a short question, whoever follows and never
/// reads.
const FOLLOWERS_MAX: usize = 192;

/// A client that takes nothing for so long is let go. One that follows and comes back goes on where it stopped.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a process that ends waits for clients to take the rest of their answers.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A client has to say what it wants within this time.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Events that are read from the journal at once for a client that follows.
const PIECE: u64 = 512;

/// Why the control socket cannot be offered.
#[derive(Debug, thiserror::Error)]
#[error("cannot offer the control socket `{socket}`")]
pub struct ControlError {
    /// Where.
    pub socket: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A control socket that nobody is told of yet.
#[derive(Debug)]
pub struct Bound {
    listener: UnixListener,
    pointer: Pointer,
    state: PathBuf,
}

/// The control socket, offered to other processes.
#[derive(Debug)]
pub struct Server {
    pointer: Pointer,
    state: PathBuf,
    accepting: JoinHandle<()>,
    answering: mpsc::Sender<()>,
    answered: mpsc::Receiver<()>,
}

/// Makes the control socket of a state folder's holder.
///
/// # Errors
/// [`ControlError`] when the socket cannot be made.
pub fn bind(state: &Path, runtime: &Path, token: u64) -> Result<Bound, ControlError> {
    let socket = runtime.join(format!("control-{token}"));
    let failed = |source| ControlError { socket: socket.clone(), source };
    // Only the journal's holder comes here, so any other socket is a dead holder's.
    for entry in std::fs::read_dir(runtime).map_err(failed)?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b"control-") {
            drop(std::fs::remove_file(entry.path()));
        }
    }
    let listener = UnixListener::bind(&socket).map_err(failed)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    let pointer = Pointer { socket, pid: std::process::id(), token, serves: false };
    Ok(Bound { listener, pointer, state: state.to_owned() })
}

impl Bound {
    /// Leaves a pointer to the socket in the state folder and answers until it is closed.
    ///
    /// # Errors
    /// [`ControlError`] when the pointer cannot be left: nobody finds the socket then.
    pub fn offer(self, holder: Arc<Holder>) -> Result<Server, ControlError> {
        let Self { listener, mut pointer, state } = self;
        pointer.serves = holder.is_serving();
        pointer.leave(&state).map_err(|source| ControlError { socket: pointer.socket.clone(), source })?;
        let (answering, answered) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, holder, answering.downgrade()));
        Ok(Server { pointer, state, accepting, answering, answered })
    }
}

impl Server {
    /// Takes no more questions and waits until those that were asked are answered; not for long, so that who does
    /// not read keeps nobody waiting.
    pub async fn close(self) {
        let Self { pointer, state, accepting, answering, mut answered } = self;
        accepting.abort();
        pointer.remove(&state);
        drop(std::fs::remove_file(&pointer.socket));
        drop(answering);
        if tokio::time::timeout(CLOSE_TIMEOUT, answered.recv()).await.is_err() {
            tracing::debug!("left a client that does not read");
        }
    }
}

async fn accept(listener: UnixListener, holder: Arc<Holder>, answering: mpsc::WeakSender<()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let followers = Arc::new(Semaphore::new(FOLLOWERS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let holder = Arc::clone(&holder);
                let (answering, followers) = (answering.clone(), Arc::clone(&followers));
                tokio::spawn(async move {
                    if let Err(error) = connection(stream, &holder, &answering, &followers).await {
                        tracing::debug!(%error, "a control connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket does not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    stream: UnixStream,
    holder: &Holder,
    answering: &mpsc::WeakSender<()>,
    followers: &Semaphore,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(LINE_MAX as u64));
    let read = tokio::time::timeout(READ_TIMEOUT, reader.read_until(b'\n', &mut line));
    read.await.map_err(|_| io::ErrorKind::TimedOut)??;
    // Held to the end. Without one the process is closing: who asks so late asks the next holder.
    let Some(_answering) = answering.upgrade() else { return Ok(()) };
    let error = |message: String| Answer::Error { message };
    let request = match understood(&line) {
        Ok(request) => request,
        Err(message) => return send(&mut writer, &error(message)).await,
    };
    match request {
        Request::Hello => send(&mut writer, &Answer::Done).await,
        Request::Runs => {
            let answer = match History::runs(holder.history()).await {
                Ok(runs) => Answer::Runs(runs.into_iter().map(|head| (head.run, head.last_seq)).collect()),
                Err(problem) => error(chain(&problem)),
            };
            send(&mut writer, &answer).await
        }
        Request::Read { run, from, limit } => match events(holder, &mut writer, &run, from, limit).await? {
            Ok(_) => send(&mut writer, &Answer::Done).await,
            Err(message) => send(&mut writer, &error(message)).await,
        },
        Request::Kept { run } => {
            let kept = History::kept(holder.history(), run).await;
            send(&mut writer, &Answer::Kept(kept.and_then(raw))).await
        }
        Request::Checkpoint { run } => {
            let found = History::checkpoint(holder.history(), run).await;
            let found = found.and_then(|(seq, body)| Some((seq, raw(body)?)));
            send(&mut writer, &Answer::Checkpoint(found)).await
        }
        Request::Hash { run, seq } => {
            send(&mut writer, &Answer::Hash(History::hash(holder.history(), run, seq).await)).await
        }
        Request::Follow { run, from } => {
            let Ok(_place) = followers.try_acquire() else {
                let message = format!("{FOLLOWERS_MAX} terminals follow runs already: end one of them");
                return send(&mut writer, &error(message)).await;
            };
            // A client says nothing more, so that what comes next from it is its end: nobody is left to tell then.
            let gone = async {
                let mut rest = [0; 64];
                while reader.read(&mut rest).await.is_ok_and(|count| count > 0) {}
            };
            tokio::select! {
                followed = follow(holder, &mut writer, run, from) => followed,
                () = gone => Ok(()),
            }
        }
        Request::Wish { run, command, by } => {
            let answer = match holder.wish(&run, command, by).await {
                Ok(()) => Answer::Done,
                Err(WishError::Refused(refusal)) => Answer::Refused(refusal),
                Err(WishError::Gone) => Answer::Gone,
            };
            send(&mut writer, &answer).await
        }
        Request::Record { run, command, by } => {
            // Where runs live whoever waits for them, what is said of one takes it on.
            let said = match holder.is_serving() {
                true => holder.say(&run, command, by).await,
                false => holder.record(&run, &command, &by).await.map(drop),
            };
            let answer = said.map_or_else(refused, |()| Answer::Done);
            send(&mut writer, &answer).await
        }
        Request::Submit(submission) => {
            let answer = match holder.submit(*submission, Vec::new()).await {
                Ok(submitted) => Answer::Submitted { run: submitted.run, attached: submitted.attached },
                Err(problem) => refused(problem),
            };
            send(&mut writer, &answer).await
        }
    }
}

/// The request on a line, or why it is none. What has another version is not read: even what looks alike may mean
/// something else there.
fn understood(line: &[u8]) -> Result<Request, String> {
    let value: serde_json::Value =
        serde_json::from_slice(line).map_err(|error| format!("the request cannot be read: {error}"))?;
    match value.get("v").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(PROTOCOL_VERSION) => Err(format!(
            "the request has protocol version {found}, and the process that holds the journal speaks version \
             {PROTOCOL_VERSION}: use the `runner` that it was started with, or let it end first"
        )),
        Some(_) => serde_json::from_slice::<Envelope>(line)
            .map(|envelope| envelope.request)
            .map_err(|error| format!("the request cannot be read: {error}")),
        None => Err("the request cannot be read: it has no protocol version".to_owned()),
    }
}

fn refused(problem: SubmitError) -> Answer {
    match problem {
        SubmitError::Refused(refusal) => Answer::Refused(refusal),
        SubmitError::Running { run } | SubmitError::Open { run } => Answer::Running { run },
        SubmitError::Stopping => Answer::Gone,
        SubmitError::Secrets(message) => Answer::SecretsMissing { message },
        other @ (SubmitError::History(_) | SubmitError::Drive(_)) => Answer::Error { message: chain(&other) },
    }
}

/// JSON as it is stored; what is none is left out.
fn raw(bytes: Vec<u8>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(bytes).ok()?).ok()
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Sends stored events; the next sequence number, or why they cannot be read.
async fn events(
    holder: &Holder,
    writer: &mut OwnedWriteHalf,
    run: &RunId,
    from: u64,
    limit: u64,
) -> io::Result<Result<u64, String>> {
    let (mut next, mut left) = (from, limit);
    while left > 0 {
        let piece = left.min(PIECE);
        let stored = match History::stored(holder.history(), run.clone(), next, piece).await {
            Ok(stored) => stored,
            Err(problem) => return Ok(Err(chain(&problem))),
        };
        let count = stored.len() as u64;
        for (seq, body) in stored {
            let Some(record) = raw(body) else {
                return Ok(Err(format!("event {seq} of run `{run}` is not JSON")));
            };
            send(writer, &Answer::Event(seq, record)).await?;
            next = seq + 1;
        }
        left -= count;
        if count < piece {
            break;
        }
    }
    Ok(Ok(next))
}

async fn follow(holder: &Holder, writer: &mut OwnedWriteHalf, run: RunId, from: u64) -> io::Result<()> {
    let handle = holder.handle(&run).await;
    let mut next = from;
    let mut last = handle.map(|handle| handle.follow());
    loop {
        match events(holder, writer, &run, next, u64::MAX).await? {
            Ok(after) => next = after,
            Err(message) => return send(writer, &Answer::Error { message }).await,
        }
        let Some(seq) = &mut last else { break };
        if *seq.borrow_and_update() >= next {
            continue;
        }
        if seq.changed().await.is_err() {
            // The task has ended; what it appended last is read in one more round.
            last = None;
        }
    }
    let rest = match holder.ended(&run).await.as_deref() {
        None => RestLine::default(),
        Some(Ended::Rest(rest)) => {
            let signal = holder.stopped_by();
            RestLine { wake_ms: rest.wake_ms, stopped: rest.stopped, signal, ..RestLine::default() }
        }
        Some(Ended::Refused(refusal)) => RestLine { refused: Some(refusal.clone()), ..RestLine::default() },
        Some(Ended::Failed(problem)) => RestLine { error: Some(chain(problem)), ..RestLine::default() },
    };
    send(writer, &Answer::Rest(rest)).await
}

async fn send(writer: &mut OwnedWriteHalf, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    tokio::time::timeout(WRITE_TIMEOUT, writer.write_all(&line)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_version_is_read() {
        assert!(matches!(understood(br#"{"v":1,"request":"hello"}"#), Ok(Request::Hello)));
        for version in [0, 2, 99] {
            let line = format!(r#"{{"v":{version},"request":"hello"}}"#);
            let why = understood(line.as_bytes()).unwrap_err();
            assert!(
                why.contains(&format!("version {version},")) && why.contains("speaks version 1"),
                "{why}"
            );
        }
        for line in [&b""[..], b"hello", b"{\"v\":1,", b"{}", b"{\"v\":1,\"request\":\"fly\"}", b"\xff\xfe"] {
            assert!(understood(line).unwrap_err().contains("cannot be read"));
        }
    }

    /// Time stands still but where everybody waits, so that the bound costs no time.
    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_let_go_at_the_bound() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (_reader, mut writer) = ours.into_split();
        let answer = Answer::Error { message: "x".repeat(100_000) };
        let mut sent = 0;
        let (error, waited) = loop {
            let began = tokio::time::Instant::now();
            match send(&mut writer, &answer).await {
                Ok(()) => sent += 1,
                Err(error) => break (error, began.elapsed()),
            }
            assert!(sent < 1_000, "a socket takes everything");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(waited >= WRITE_TIMEOUT && waited < WRITE_TIMEOUT * 2, "{waited:?}");
    }
}
