//! One call of the wrapper on a host, from the first byte of the header to its last word.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use openssh::Session;
use tokio::net::unix::pipe;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Target;
use super::marks::{Mark, Marks};
use super::master::Master;
use super::pool::Pool;
use super::refusal::Refusal;
use super::wrapper::{self, Call, Names};
use crate::transport::capture::{Capture, Seen, Stream};
use crate::transport::harmless::one_line;
use crate::transport::launch::{End, GRACE, Launch, Report, after};
use crate::transport::redact::Redactor;
use crate::transport::stop::Stop;
use crate::transport::{LogPlace, Transport};

/// What the ending of a command may take: both graces of the wrapper, and a slow connection.
const END_MAX: Duration = Duration::from_secs(GRACE.as_secs() * 2 + 10);

/// What a settling may take beyond its timeout.
const SETTLE_SLACK: Duration = Duration::from_secs(GRACE.as_secs() * 2 + 20);

/// How long sessions that have ended may still count as open on the host, and how often it is asked.
const SESSION_MAX: Duration = Duration::from_secs(20);
/// See [`SESSION_MAX`].
const SESSION_AGAIN: Duration = Duration::from_millis(50);

/// How much is read at once.
const READ_LEN: usize = 64 * 1024;

/// What a host says of an attempt.
#[derive(Debug)]
pub(crate) enum Settled {
    /// It is over, or never started.
    Over,
    /// Its process and its wrapper are over, and were killed: what another program does for it may go on. With the first line
    /// that it wrote, up to 64 bytes of it.
    Gone(String),
    /// It ended like this.
    Ended(Box<Report>),
    /// It cannot be proved over.
    Unproved(String),
}

impl Transport {
    /// Runs an attempt on a host. A lost connection does not hurt it; [`settle_on`](Self::settle_on) says how it
    /// ended. Dropping the future ends nothing on the host.
    pub(crate) async fn act_on(
        &self,
        target: &Target,
        attempt: &str,
        launch: &Launch,
        capture: Capture,
        timeout: Duration,
        stop: Option<Stop>,
    ) -> Report {
        let names = self.names(attempt);
        let pool = &self.0.pool;
        let host = target.shown();
        let call = Call::Act(launch);
        let beginning = tokio::select! {
            biased;
            () = fired(stop.as_ref()) => {
                let end = End::Stopped(format!("it was stopped before it was sent to {host}"));
                return Report { end, seen: Seen::default() };
            }
            // Dropped on a stop: nothing has been sent yet.
            beginning = begin(pool, target, &names, &call, capture) => beginning,
        };
        let mut talk = match beginning {
            Ok(talk) => talk,
            Err(refusal) => return Report::not_started(refusal.permanent, refusal.message),
        };
        talk.close_stdin = true;
        let Some(cut) = talk.run(after(timeout), stop.as_ref()).await else {
            return talk.report(pool, target, &names, launch).await;
        };
        // What was not sent whole by now is never sent whole, and so never runs.
        if !talk.header.is_empty() {
            talk.stdin = None;
        }
        let limit = Instant::now() + END_MAX;
        let (ended, _) = futures_util::join!(end_attempt(pool, target, &names), talk.run(limit, None));
        let how = match ended {
            Ok(()) => "it was ended there".to_owned(),
            Err(reason) => format!("it may still run there, {reason}"),
        };
        let end = match cut {
            Cut::TimedOut => {
                End::TimedOut(format!("it took longer than its timeout of {timeout:?} on {host}; {how}"))
            }
            Cut::Stopped => End::Stopped(format!("it was stopped on {host}; {how}")),
        };
        Report { end, seen: talk.capture.finish() }
    }

    /// Runs a look on a host. Dropping the future, or losing the connection, ends it there.
    pub(crate) async fn look_on(
        &self,
        target: &Target,
        launch: &Launch,
        capture: Capture,
        timeout: Duration,
    ) -> Report {
        let names = self.names("");
        let pool = &self.0.pool;
        let deadline = after(timeout);
        let call = Call::Look(launch);
        let begun = tokio::time::timeout_at(deadline, begin(pool, target, &names, &call, capture));
        let mut talk = match begun.await {
            Ok(Ok(talk)) => talk,
            Ok(Err(refusal)) => return Report::not_started(refusal.permanent, refusal.message),
            Err(_) => {
                return Report::not_started(
                    false,
                    format!("{} does not answer within {timeout:?}", target.shown()),
                );
            }
        };
        if talk.run(deadline, None).await.is_none() {
            return talk.report(pool, target, &names, launch).await;
        }
        talk.stdin = None;
        talk.run(Instant::now() + END_MAX, None).await;
        let end = End::TimedOut(format!("it took longer than {timeout:?} on {}", target.shown()));
        Report { end, seen: talk.capture.finish() }
    }

    /// Asks a host how an attempt ended; waits there for up to `timeout`, then ends it.
    ///
    /// The log is only written when the attempt has none yet: what came over before the cut is worth more.
    pub(crate) async fn settle_on(
        &self,
        target: &Target,
        attempt: &str,
        redactor: &Redactor,
        log: LogPlace,
        timeout: Duration,
    ) -> Settled {
        let names = self.names(attempt);
        let pool = &self.0.pool;
        let existing = log.state.join(&log.relative).exists().then(|| log.relative.clone());
        let capture = Capture::new(redactor, existing.is_none().then_some(log));
        let mut talk = match begin(pool, target, &names, &Call::Settle(timeout), capture).await {
            Ok(talk) => talk,
            Err(refusal) => return Settled::Unproved(refusal.message),
        };
        talk.close_stdin = true;
        let late = talk.run(after(timeout.saturating_add(SETTLE_SLACK)), None).await.is_some();
        let host = target.shown();
        if late {
            return Settled::Unproved(format!("{host} does not say whether the attempt is over"));
        }
        match talk.word() {
            Some(Mark::Over(how)) => match how.strip_prefix("gone") {
                Some(first) => Settled::Gone(first.trim().to_owned()),
                None => Settled::Over,
            },
            Some(Mark::End(status, _)) => {
                let end = End::Exit(*status);
                let mut seen = talk.capture.finish();
                seen.log = seen.log.or(existing);
                Settled::Ended(Box::new(Report { end, seen }))
            }
            Some(Mark::Stuck(pid)) => Settled::Unproved(format!(
                "process {pid} still runs on {host} and cannot be ended, look at it with `{} ps -fp {pid}`",
                target.command()
            )),
            Some(Mark::Refuse(words)) => Settled::Unproved(refused(words, target, &names, None).1),
            _ => {
                let said = one_line(&String::from_utf8_lossy(talk.streams[1].marks.noise()));
                talk.lost(pool, target).await;
                Settled::Unproved(format!("the connection to {host} was lost while it was asked {said}"))
            }
        }
    }

    fn names(&self, attempt: &str) -> Names {
        let options = &self.0.options;
        Names { journal: options.journal.clone(), token: options.token, attempt: attempt.to_owned() }
    }
}

/// Ends a running attempt on its host by its handle there.
async fn end_attempt(pool: &Pool, target: &Target, names: &Names) -> Result<(), String> {
    let capture = Capture::new(&Redactor::default(), None);
    let mut talk =
        begin(pool, target, names, &Call::Stop, capture).await.map_err(|refusal| refusal.message)?;
    talk.close_stdin = true;
    let late = talk.run(Instant::now() + END_MAX, None).await.is_some();
    match talk.word() {
        Some(Mark::Over(_)) if !late => Ok(()),
        Some(Mark::Stuck(pid)) => {
            Err(format!("process {pid} does not end, look at it with `{} ps -fp {pid}`", target.command()))
        }
        _ => Err(format!("{} does not answer", target.shown())),
    }
}

/// Opens a session for a call and prepares its header. Nothing has been sent yet.
async fn begin(
    pool: &Pool,
    target: &Target,
    names: &Names,
    call: &Call<'_>,
    capture: Capture,
) -> Result<Talk, Refusal> {
    let machine = |what: &str| Refusal::new(true, target, what, "correct the step");
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        Refusal::new(false, target, &format!("the kernel gives no random number: {error}"), "try again")
    })?;
    let nonce: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let header = wrapper::header(&nonce, names, call).map_err(|error| machine(&error.to_string()))?;
    let limit = Instant::now() + SESSION_MAX;
    let mut again = true;
    loop {
        let master = pool.master(target).await?;
        // Ending a command must not wait for commands.
        let permit = match call {
            Call::Stop => None,
            _ => Arc::clone(&master.sessions).acquire_owned().await.ok(),
        };
        let mut command = Session::to_raw_command(Arc::clone(&master.session), wrapper::command_line(target));
        let pipes = Pipes::new().map_err(|error| {
            Refusal::new(false, target, &format!("cannot make a pipe: {error}"), "try again")
        })?;
        let Pipes { ours: (stdin, out, err), theirs } = pipes;
        command.stdin(theirs.0).stdout(theirs.1).stderr(theirs.2);
        let spawned = command.spawn().await;
        // Our copies of the host's ends are closed with it.
        drop(command);
        match spawned {
            Ok(child) => {
                let streams = [out, err].map(|pipe| Side { pipe: Some(pipe), marks: Marks::new(&nonce) });
                return Ok(Talk {
                    master,
                    streams,
                    stdin: Some(stdin),
                    waiting: Some(Box::pin(child.wait())),
                    header: header.into_bytes(),
                    sent: 0,
                    close_stdin: false,
                    marks: Vec::new(),
                    exit: None,
                    capture,
                    buffer: vec![0; READ_LEN],
                    _permit: permit,
                });
            }
            // Without a header nothing ran, so that it is safe to try again: once on a new connection, and for a
            // while on one that stands, since sshd counts a session until its last process there is gone.
            Err(error) => {
                let alive = master.is_alive().await;
                if alive && Instant::now() < limit {
                    drop(permit);
                    tokio::time::sleep(SESSION_AGAIN).await;
                    continue;
                }
                if !alive {
                    pool.forget(target, &master).await;
                }
                if alive || !again {
                    let what = format!("ssh opens no session: {error}");
                    let next = format!("see `MaxSessions` there, or try `{}`", target.command());
                    return Err(Refusal::new(false, target, &what, &next));
                }
                again = false;
            }
        }
    }
}

/// The three streams of a session: our ends, and those that the ssh master is handed.
struct Pipes {
    ours: (pipe::Sender, pipe::Receiver, pipe::Receiver),
    theirs: (OwnedFd, OwnedFd, OwnedFd),
}

impl Pipes {
    fn new() -> io::Result<Self> {
        let make = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (in_reader, in_writer) = make()?;
        let (out_reader, out_writer) = make()?;
        let (err_reader, err_writer) = make()?;
        let out = pipe::Receiver::from_owned_fd(out_reader)?;
        let err = pipe::Receiver::from_owned_fd(err_reader)?;
        Ok(Self {
            ours: (pipe::Sender::from_owned_fd(in_writer)?, out, err),
            theirs: (in_reader, out_writer, err_writer),
        })
    }
}

/// Why a talk did not come to its own end.
#[derive(Debug, Clone, Copy)]
enum Cut {
    TimedOut,
    Stopped,
}

/// One of the two streams from the host.
struct Side {
    pipe: Option<pipe::Receiver>,
    marks: Marks,
}

type Waiting = Pin<Box<dyn Future<Output = Result<ExitStatus, openssh::Error>> + Send>>;

/// One call under way.
struct Talk {
    master: Arc<Master>,
    streams: [Side; 2],
    stdin: Option<pipe::Sender>,
    /// The end of the session. While it is held the ssh master writes what comes.
    waiting: Option<Waiting>,
    header: Vec<u8>,
    sent: usize,
    /// Nothing more will be said after the header.
    close_stdin: bool,
    marks: Vec<Mark>,
    exit: Option<Result<ExitStatus, openssh::Error>>,
    capture: Capture,
    buffer: Vec<u8>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Talk {
    /// Sends, reads and waits until the wrapper's last word or the end of the connection (`None`).
    async fn run(&mut self, deadline: Instant, stop: Option<&Stop>) -> Option<Cut> {
        let late = tokio::time::sleep_until(deadline);
        tokio::pin!(late);
        let stopped = fired(stop);
        tokio::pin!(stopped);
        while !self.is_over() {
            let sending = self.sent < self.header.len();
            let silent = self.streams.iter().all(|side| side.pipe.is_none());
            let Self { streams: [out, err], stdin, waiting, .. } = self;
            tokio::select! {
                biased;
                () = &mut late => return Some(Cut::TimedOut),
                () = &mut stopped => return Some(Cut::Stopped),
                () = readable(out.pipe.as_ref()) => self.read(Stream::Out),
                () = readable(err.pipe.as_ref()) => self.read(Stream::Err),
                () = writable(stdin.as_ref()), if sending => self.send(),
                // Only then: the exit status may overtake the output, and whoever has heard it hangs up on the ssh
                // master (openssh-mux-client 0.17.9, `EstablishedSession`), which throws away what still comes.
                exit = wait(waiting), if silent => {
                    self.waiting = None;
                    self.exit = Some(exit);
                }
            }
        }
        for (side, stream) in self.streams.iter_mut().zip([Stream::Out, Stream::Err]) {
            side.marks.finish(|bytes| self.capture.take(stream, bytes));
        }
        None
    }

    fn is_over(&self) -> bool {
        self.streams.iter().all(|side| side.marks.ended())
            || self.marks.iter().any(|mark| matches!(mark, Mark::Refuse(_) | Mark::Over(_) | Mark::Stuck(_)))
            || self.exit.is_some()
    }

    fn read(&mut self, stream: Stream) {
        let side = &mut self.streams[stream as usize];
        let Some(pipe) = &side.pipe else { return };
        match pipe.try_read(&mut self.buffer) {
            Ok(0) => side.pipe = None,
            Ok(length) => {
                let capture = &mut self.capture;
                let said = side.marks.feed(&self.buffer[..length], |bytes| capture.take(stream, bytes));
                self.marks.extend(said);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => side.pipe = None,
        }
    }

    fn send(&mut self) {
        let Some(pipe) = &self.stdin else { return };
        match pipe.try_write(&self.header[self.sent..]) {
            Ok(length) => {
                self.sent += length;
                if self.sent == self.header.len() {
                    self.header = Vec::new();
                    self.sent = 0;
                    if self.close_stdin {
                        self.stdin = None;
                    }
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.stdin = None,
        }
    }

    /// The word that decides: the end, a refusal, or how a settling went.
    fn word(&self) -> Option<&Mark> {
        let both = self.streams.iter().all(|side| side.marks.ended());
        self.marks.iter().rev().find(|mark| match mark {
            Mark::Begin => false,
            Mark::End(..) => both,
            _ => true,
        })
    }

    /// Forgets the connection if it is gone.
    async fn lost(&mut self, pool: &Pool, target: &Target) -> bool {
        let lost = !self.master.is_alive().await;
        if lost {
            pool.forget(target, &self.master).await;
        }
        lost
    }

    /// What a call that came to its end says of the command.
    async fn report(mut self, pool: &Pool, target: &Target, names: &Names, launch: &Launch) -> Report {
        let host = target.shown();
        let decided = self.word().cloned();
        let begun = self.marks.contains(&Mark::Begin);
        let whole = self.header.is_empty();
        let noise = one_line(&String::from_utf8_lossy(self.streams[1].marks.noise()));
        let lost = decided.is_none() && self.lost(pool, target).await;
        let closed = matches!(self.exit, Some(Ok(_) | Err(openssh::Error::Remote(_))));
        let left = self.marks.iter().find_map(|mark| match mark {
            Mark::End(_, left) if !left.is_empty() => Some(processes(left)),
            _ => None,
        });
        let mut seen = self.capture.finish();
        seen.left = left.unwrap_or_default();
        let end = match decided {
            Some(Mark::End(status, _)) => End::Exit(status),
            Some(Mark::Refuse(words)) if words == "again" => {
                End::Lost(format!("{host} knows this attempt already"))
            }
            Some(Mark::Refuse(words)) => {
                let (permanent, message) = refused(&words, target, names, Some(launch));
                End::NotStarted { permanent, message }
            }
            _ if !whole => End::NotStarted {
                permanent: false,
                message: format!("the connection to {host} was lost before the command was sent"),
            },
            _ if !begun && !lost && closed => End::NotStarted {
                permanent: true,
                message: if noise.contains("sudo") {
                    format!(
                        "{host} does not let us become root with `sudo -n`: {noise}; allow it in sudoers without a password"
                    )
                } else {
                    format!("{host} does not run commands: {noise}; try `{} true`", target.command())
                },
            },
            _ => End::Lost(format!("the connection to {host} was lost while the command ran")),
        };
        Report { end, seen }
    }
}

/// What a refusal of the wrapper means.
fn refused(words: &str, target: &Target, names: &Names, launch: Option<&Launch>) -> (bool, String) {
    let host = target.shown();
    let (what, rest) = words.split_once(' ').unwrap_or((words, ""));
    let rest = one_line(rest);
    match what {
        "cwd" => {
            let cwd = launch.and_then(|launch| launch.cwd.as_deref()).unwrap_or_default();
            (
                true,
                format!(
                    "its cwd `{}` is not a folder that can be entered on {host}: create it or correct `cwd`",
                    one_line(cwd)
                ),
            )
        }
        "program" => (
            true,
            format!("the program `{rest}` was not found on {host}: install it there or give its full path"),
        ),
        "token" => (
            true,
            format!(
                "{host} has seen fencing token {rest}, newer than our {}: another process holds this journal now, and nothing was done",
                names.token
            ),
        ),
        "folder" => (false, format!("cannot write `{rest}` on {host}: check its disk and its owner")),
        _ => (false, format!("{host} refused: {what} {rest}")),
    }
}

/// `12 sleep,13 foo,` as pgrep lists them.
fn processes(list: &str) -> Vec<(u32, String)> {
    list.split(',')
        .filter_map(|entry| {
            let (pid, name) = entry.trim().split_once(' ')?;
            Some((pid.parse().ok()?, one_line(name)))
        })
        .collect()
}

async fn fired(stop: Option<&Stop>) {
    match stop {
        Some(stop) => stop.fired().await,
        None => std::future::pending().await,
    }
}

async fn readable(pipe: Option<&pipe::Receiver>) {
    match pipe {
        Some(pipe) if pipe.readable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

async fn writable(pipe: Option<&pipe::Sender>) {
    match pipe {
        Some(pipe) if pipe.writable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

async fn wait(waiting: &mut Option<Waiting>) -> Result<ExitStatus, openssh::Error> {
    match waiting {
        Some(waiting) => waiting.await,
        None => std::future::pending().await,
    }
}
