//! Runs one process here: own process group, bounded capture, a timeout that really ends it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags};
use rustix::process::{PidfdFlags, Signal};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::capture::{Capture, Stream};
use super::launch::{End, GRACE, Launch, Program, Report, after};
use super::slot::{self, Process, Slot};
use super::stop::Stop;
use super::{Transport, process, program};

/// The longest single argument the kernel takes: 32 pages (`MAX_ARG_STRLEN`, execve(2)), less the final NUL.
const ARGUMENT_MAX: usize = 128 * 1024 - 1;

/// How much is read at once, at first and from a stream that fills it.
const READ_LEN: usize = 4 * 1024;
/// See [`READ_LEN`].
const READ_LEN_MAX: usize = 64 * 1024;

/// What may still lie in a pipe when the process has ended: the largest pipe an unprivileged process can have
/// (`/proc/sys/fs/pipe-max-size`). A descendant that goes on writing cannot keep us reading.
const DRAIN_MAX: usize = 1024 * 1024;

/// How long a process runs before it is listened to, and how long until that is tried again when it cannot be. Most are over by
/// then: they wake us once, by their end, instead of at the end of each stream, and what they said is read from the pipes, which
/// hold 64 KiB. One that says more waits so long, once.
const LISTEN_AFTER: Duration = Duration::from_millis(5);

/// How often a process group is looked at that outlives its leader while it is being stopped.
const GROUP_POLL: Duration = Duration::from_millis(20);

/// One process start at a time in this process: a slot's descriptor is open to inheritance for the length of one.
static SPAWN: Mutex<()> = Mutex::new(());

/// Starts a process while nothing that is only for another one can be inherited.
///
/// For every process that this one starts beside a transport's own: started outside, at the moment in which an attempt
/// starts, it would hold that attempt's slot for as long as it lives, as would what it starts itself. Blocks while another
/// one is started, which takes under a millisecond; `spawn` must not call it again. Its error is `spawn`'s.
pub fn spawn_alone<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _alone = SPAWN.lock().unwrap_or_else(PoisonError::into_inner);
    spawn()
}

/// Runs `launch` to its end.
///
/// With a slot it is an attempt: dropping the future leaves the process running, and its slot tells. Without one it
/// is a look: dropping the future kills its whole group.
pub(crate) async fn run(
    transport: &Transport,
    launch: &Launch,
    mut slot: Option<Slot>,
    mut capture: Capture,
    timeout: Duration,
    stop: Option<Stop>,
) -> Report {
    let deadline = after(timeout);
    let mut started = match start(transport, launch, slot.as_mut()) {
        Ok(started) => started,
        Err((permanent, message)) => return Report::not_started(permanent, message),
    };
    let cut = started.attend(&mut capture, deadline, stop.as_ref()).await;
    let pid = started.child.id();
    if let Some(cut) = cut {
        let over = started.end(&mut capture).await;
        let words = |what: &str| match over {
            true => format!("{what}; it was ended"),
            false => format!("{what}; process {pid} could not be ended, look at it with `ps -fp {pid}`"),
        };
        let end = match cut {
            Cut::TimedOut => End::TimedOut(words(&format!("it took longer than its timeout of {timeout:?}"))),
            Cut::Stopped => End::Stopped(words("it was stopped")),
        };
        return Report { end, seen: capture.finish() };
    }
    let end = match started.reap() {
        Ok(status) => end_of(status),
        Err(error) => End::Lost(format!("its end cannot be read: {error}")),
    };
    started.drain(&mut capture);
    let mut seen = capture.finish();
    if let Some(slot) = &slot {
        seen.left = left_behind(pid, slot.path());
    }
    Report { end, seen }
}

/// Why a process did not come to its own end.
#[derive(Debug, Clone, Copy)]
enum Cut {
    TimedOut,
    Stopped,
}

/// A process of ours.
struct Started {
    child: Child,
    ended: AsyncFd<OwnedFd>,
    out: Output,
    err: Output,
    stdin: Option<(pipe::Sender, Vec<u8>)>,
    buffer: Vec<u8>,
    reaped: bool,
    kill_on_drop: bool,
    _script: Option<ScriptFile>,
}

/// One stream of a process.
enum Output {
    /// Nobody listens yet.
    Unheard(OwnedFd),
    Heard(pipe::Receiver),
    /// It is at its end, or nothing more is wanted of it.
    Over,
}

impl Output {
    fn of(end: Option<impl Into<OwnedFd>>) -> Self {
        end.map_or(Self::Over, |end| Self::Unheard(end.into()))
    }

    fn pipe(&self) -> Option<&pipe::Receiver> {
        match self {
            Self::Heard(pipe) => Some(pipe),
            Self::Unheard(_) | Self::Over => None,
        }
    }

    /// Begins to listen. An error leaves it as it was.
    fn listen(&mut self) -> io::Result<()> {
        if let Self::Unheard(end) = self {
            *self = Self::Heard(pipe::Receiver::from_owned_fd(end.try_clone()?)?);
        }
        Ok(())
    }

    /// The pipe itself; there is none any more from then on.
    fn take(&mut self) -> Option<OwnedFd> {
        match std::mem::replace(self, Self::Over) {
            Self::Unheard(end) => Some(end),
            Self::Heard(pipe) => pipe.into_nonblocking_fd().ok(),
            Self::Over => None,
        }
    }
}

/// Starts the process; the error says whether trying again is in vain, and in words what is wrong.
fn start(transport: &Transport, launch: &Launch, slot: Option<&mut Slot>) -> Result<Started, (bool, String)> {
    let cwd = launch.cwd.as_deref().map(Path::new);
    let kill_on_drop = slot.is_none();
    let machine = |what: &str, error: io::Error| (false, format!("{what}: {error}"));
    let mut script = None;
    let argv = match &launch.program {
        Program::Argv(argv) => argv.clone(),
        Program::Script(text) => vec!["/bin/sh".to_owned(), "-c".to_owned(), text.clone()],
        Program::File(content) => {
            let file =
                ScriptFile::write(transport, content).map_err(|e| machine("cannot write the script", e))?;
            let path = file.0.to_string_lossy().into_owned();
            script = Some(file);
            if content.starts_with(b"#!") { vec![path] } else { vec!["/bin/sh".to_owned(), path] }
        }
    };
    let inherit = slot.as_ref().and_then(|slot| slot.file());
    let spawn = |program: &OsStr| -> Result<_, (bool, String)> {
        let (inherited, rest) =
            stdin_for(launch.stdin.as_deref()).map_err(|e| machine("cannot make a pipe", e))?;
        let mut command = Command::new(program);
        command
            .arg0(&argv[0])
            .args(&argv[1..])
            .envs(&launch.env)
            .process_group(0)
            .stdin(inherited)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(cwd) = cwd {
            command.current_dir(cwd);
        }
        let spawned = spawn_alone(|| {
            let Some(file) = inherit else { return command.spawn() };
            rustix::io::fcntl_setfd(file, FdFlags::empty())?;
            let child = command.spawn();
            if let Err(error) = rustix::io::fcntl_setfd(file, FdFlags::CLOEXEC) {
                // The next child would hold this slot too: it stays busy longer, and nothing is believed over too early.
                tracing::warn!(%error, "cannot close a slot to inheritance");
            }
            child
        });
        let child = spawned.map_err(|error| cannot_start(&argv, cwd, &launch.env, &error))?;
        Ok((child, rest))
    };
    let path = launch.env.get("PATH").map(OsString::from).or_else(inherited_path);
    let found = path.and_then(|path| program::found(&argv[0], &path));
    let (mut child, rest) = match found.and_then(|found| spawn(found.as_os_str()).ok()) {
        Some(spawned) => spawned,
        None => spawn(OsStr::new(&argv[0]))?,
    };
    let pid = child.id();
    let pidfd = || -> io::Result<_> {
        let pid = process::as_pid(pid).ok_or(io::ErrorKind::InvalidData)?;
        Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
    };
    let handle = pidfd();
    if let Some(slot) = slot
        && let Err(error) = slot.started(Process::named(pid, handle.as_ref().ok()))
    {
        // The lock alone still proves when it is over.
        tracing::warn!(%error, pid, "cannot write the pid into its slot");
    }
    let (out, err) = (Output::of(child.stdout.take()), Output::of(child.stderr.take()));
    let watch = || -> io::Result<_> {
        let stdin = match rest {
            Some((writer, rest)) => Some((pipe::Sender::from_owned_fd(writer)?, rest)),
            None => None,
        };
        Ok((process::watch(handle?)?, stdin))
    };
    match watch() {
        Ok((ended, stdin)) => {
            let buffer = vec![0; READ_LEN];
            Ok(Started {
                child,
                ended,
                out,
                err,
                stdin,
                buffer,
                reaped: false,
                kill_on_drop,
                _script: script,
            })
        }
        Err(error) => {
            // It runs, and nobody could attend to it: end it before saying that it did not start.
            signal_group(pid, Signal::KILL);
            let ended = child.wait();
            Err((false, format!("cannot watch the process: {error} (ended: {})", ended.is_ok())))
        }
    }
}

/// The writing end of a pipe and what is still to go into it.
type Unwritten = (OwnedFd, Vec<u8>);

/// What becomes the child's stdin, and what is left to write into it.
fn stdin_for(bytes: Option<&[u8]>) -> io::Result<(Stdio, Option<Unwritten>)> {
    /// Opened once: a copy of a descriptor is had sooner than another one.
    static NOTHING: LazyLock<io::Result<fs::File>> = LazyLock::new(|| fs::File::open("/dev/null"));
    let Some(bytes) = bytes else {
        let nothing =
            NOTHING.as_ref().map_or_else(|_| Ok(Stdio::null()), |file| file.try_clone().map(Into::into));
        return Ok((nothing?, None));
    };
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((reader.into(), fill(writer, bytes)?))
}

/// Writes what the pipe takes before anybody reads; what is left is for later. It takes 64 KiB, and 8 of a user who has many
/// pipes (pipe(7), `pipe-user-pages-soft`).
fn fill(writer: OwnedFd, bytes: &[u8]) -> io::Result<Option<Unwritten>> {
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK)?;
    let taken = match rustix::io::write(&writer, bytes) {
        Ok(taken) => taken,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        Err(error) => return Err(error.into()),
    };
    Ok((taken < bytes.len()).then(|| (writer, bytes[taken..].to_vec())))
}

/// Says why a process could not be started: the program, its `PATH` or the `cwd`, and what to do.
fn cannot_start(
    argv: &[String],
    cwd: Option<&Path>,
    env: &std::collections::BTreeMap<String, String>,
    error: &io::Error,
) -> (bool, String) {
    let program = &argv[0];
    if let Some(cwd) = cwd
        && !cwd.is_dir()
    {
        return (
            true,
            format!(
                "its cwd `{}` is not a folder that can be entered: create it or correct `cwd`",
                cwd.display()
            ),
        );
    }
    if argv.iter().any(|word| word.contains('\0'))
        || env.iter().any(|(key, value)| key.contains('\0') || value.contains('\0'))
    {
        return (true, format!("`{program}` cannot be started: its argv or env holds a NUL character"));
    }
    match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::TOOBIG) => {
            let advice = if argv.iter().any(|word| word.len() > ARGUMENT_MAX) {
                "one argument is longer than 128 KiB: use `script_file` or `stdin`"
            } else {
                "argv and env together are too long: use `script_file` or `stdin`"
            };
            (true, format!("`{program}` cannot be started: {advice}"))
        }
        Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) if program.contains('/') => {
            let path = cwd.map_or_else(|| PathBuf::from(program), |cwd| cwd.join(program));
            if path.exists() {
                return (
                    true,
                    format!(
                        "the interpreter that `{}` names in its first line does not exist: correct that line or install it",
                        path.display()
                    ),
                );
            }
            (true, format!("the program `{}` does not exist: correct `argv` or install it", path.display()))
        }
        Some(rustix::io::Errno::NOENT) => {
            let inherited = || inherited_path().map(|path| path.to_string_lossy().into_owned());
            let path = env.get("PATH").cloned().or_else(inherited).unwrap_or_default();
            (
                true,
                format!(
                    "the program `{program}` was not found in PATH `{path}`: install it or give its full path"
                ),
            )
        }
        Some(rustix::io::Errno::ACCESS) => (
            true,
            format!(
                "`{program}` cannot be executed, permission denied: check its mode (`chmod +x`) and its owner"
            ),
        ),
        Some(rustix::io::Errno::NOEXEC) => {
            (true, format!("`{program}` is not something this machine can execute: is its first line `#!`…?"))
        }
        _ => (false, format!("`{program}` cannot be started: {error}")),
    }
}

/// Where libc looks for the programs of a child that has no `PATH` of its own.
fn inherited_path() -> Option<OsString> {
    std::env::var_os("PATH")
}

impl Started {
    /// Reads, feeds and waits until the process ends (`None`) or must be ended.
    async fn attend(&mut self, capture: &mut Capture, deadline: Instant, stop: Option<&Stop>) -> Option<Cut> {
        let unheard =
            |this: &Self| matches!((&this.out, &this.err), (Output::Unheard(_), _) | (_, Output::Unheard(_)));
        let next = |listens: bool, patience: Duration| match listens {
            true => deadline,
            false => deadline.min(Instant::now() + patience),
        };
        let mut patience = LISTEN_AFTER;
        let alarm = tokio::time::sleep_until(next(!unheard(self), patience));
        tokio::pin!(alarm);
        let stopped = async {
            match stop {
                Some(stop) => stop.fired().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(stopped);
        loop {
            let Self { out, err, stdin, ended, .. } = self;
            tokio::select! {
                biased;
                () = &mut alarm => {
                    if Instant::now() >= deadline {
                        return Some(Cut::TimedOut);
                    }
                    for heard in [out.listen(), err.listen()] {
                        if let Err(error) = heard {
                            tracing::warn!(%error, "cannot listen to a process; it is tried again");
                        }
                    }
                    // Whatever is short does not come back the sooner for being asked for.
                    patience = patience.saturating_mul(2);
                    alarm.as_mut().reset(next(!unheard(self), patience));
                }
                () = &mut stopped => return Some(Cut::Stopped),
                () = readable(out.pipe()) => self.read(Stream::Out, capture),
                () = readable(err.pipe()) => self.read(Stream::Err, capture),
                () = writable(stdin.as_ref()) => self.feed(),
                _ = ended.readable() => return None,
            }
        }
    }

    /// Takes one piece of a stream; forgets the stream at its end.
    fn read(&mut self, stream: Stream, capture: &mut Capture) {
        let end = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        let Some(pipe) = end.pipe() else { return };
        match pipe.try_read(&mut self.buffer) {
            Ok(0) => *end = Output::Over,
            Ok(length) => took(&mut self.buffer, length, stream, capture),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => *end = Output::Over,
        }
    }

    /// Writes what the pipe takes; closes it at the end, or when nobody reads it any more.
    fn feed(&mut self) {
        let Some((pipe, rest)) = &mut self.stdin else { return };
        match pipe.try_write(rest) {
            Ok(length) => {
                rest.drain(..length);
                if rest.is_empty() {
                    self.stdin = None;
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.stdin = None,
        }
    }

    /// Takes what lies in the pipes now. What the process wrote is all there when it has ended.
    fn drain(&mut self, capture: &mut Capture) {
        for stream in [Stream::Out, Stream::Err] {
            let pipe = match stream {
                Stream::Out => self.out.take(),
                Stream::Err => self.err.take(),
            };
            let Some(pipe) = pipe else { continue };
            // The descriptor itself is asked, since the last readiness may be older than the last write. Most have nothing to say;
            // of the others nothing is waited for, since a descendant may hold the other end, or take what is there.
            if !rustix::io::ioctl_fionread(&pipe).is_ok_and(|there| there > 0)
                || rustix::io::ioctl_fionbio(&pipe, true).is_err()
            {
                continue;
            }
            let mut drained = 0;
            while drained < DRAIN_MAX {
                match rustix::io::read(&pipe, &mut self.buffer[..]) {
                    Ok(0) => break,
                    Ok(length) => {
                        drained += length;
                        took(&mut self.buffer, length, stream, capture);
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// The exit status of a process that has ended.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait()?;
        self.reaped = true;
        Ok(status)
    }

    /// Ends the whole group: SIGTERM, [`GRACE`], SIGKILL. Whether the process is over now.
    async fn end(&mut self, capture: &mut Capture) -> bool {
        let pid = self.child.id();
        signal_group(pid, Signal::TERM);
        let grace = Instant::now() + GRACE;
        let mut over = self.attend(capture, grace, None).await.is_none();
        // The process itself may be gone while others of its group still clean up: they have the same grace. It is
        // not reaped yet, so that its group cannot become another's.
        while over && Instant::now() < grace && process::members(pid).map_or(true, |left| !left.is_empty()) {
            tokio::time::sleep(GROUP_POLL).await;
        }
        signal_group(pid, Signal::KILL);
        if !over {
            over = self.attend(capture, Instant::now() + GRACE, None).await.is_none();
        }
        if over && let Err(error) = self.reap() {
            tracing::warn!(%error, pid, "cannot read the exit status of a process that was ended");
        }
        self.drain(capture);
        over
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.reaped || !self.kill_on_drop {
            return;
        }
        signal_group(self.child.id(), Signal::KILL);
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "cannot wait for a process that was killed");
        }
    }
}

/// Hands on what was read; a buffer that was filled was too small.
fn took(buffer: &mut Vec<u8>, length: usize, stream: Stream, capture: &mut Capture) {
    capture.take(stream, &buffer[..length]);
    if length == buffer.len() {
        buffer.resize(READ_LEN_MAX, 0);
    }
}

async fn readable(pipe: Option<&pipe::Receiver>) {
    match pipe {
        Some(pipe) if pipe.readable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

async fn writable(stdin: Option<&(pipe::Sender, Vec<u8>)>) {
    match stdin {
        Some((pipe, _)) if pipe.writable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exit(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::Lost("it ended without status or signal".to_owned()),
    }
}

/// Signals a process group; one that is gone already is fine.
pub(super) fn signal_group(group: u32, signal: Signal) {
    let Some(pid) = process::as_pid(group) else { return };
    match rustix::process::kill_process_group(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => tracing::warn!(%error, group, "cannot signal a process group"),
    }
}

/// The descendants that outlived a process that was reaped: still in its group, or holding its slot.
fn left_behind(group: u32, slot: &Path) -> Vec<(u32, String)> {
    let in_group =
        process::as_pid(group).is_some_and(|pid| rustix::process::test_kill_process_group(pid).is_ok());
    let holding = slot::is_free(slot).is_ok_and(|free| !free);
    let mut left = Vec::new();
    let found = [in_group.then(|| process::members(group)), holding.then(|| process::holders(slot))];
    for found in found.into_iter().flatten() {
        match found {
            Ok(found) => left.extend(found),
            Err(error) => tracing::warn!(%error, "cannot look for what a command left running"),
        }
    }
    left.sort_unstable();
    left.dedup();
    left.into_iter().map(|pid| (pid, process::name(pid))).collect()
}

/// A script as a private file, removed when dropped.
struct ScriptFile(PathBuf);

impl ScriptFile {
    fn write(transport: &Transport, content: &[u8]) -> io::Result<Self> {
        let path = transport.scratch_file()?;
        // No process may be started while the file is open for writing, or executing it fails (ETXTBSY).
        spawn_alone(|| {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path)?;
            file.set_permissions(fs::Permissions::from_mode(0o700))?;
            file.write_all(content)
        })?;
        Ok(Self(path))
    }
}

impl Drop for ScriptFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "cannot remove a script");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Whoever has many pipes is given small ones, and nobody reads yet.
    #[test]
    fn a_small_pipe_is_not_waited_for() {
        let long = (0..20_000).map(|n| (n % 251) as u8).collect::<Vec<_>>();
        for (bytes, size) in [(&long[..], 4096), (&long, 64 * 1024), (&[], 4096), (&long[..4096], 4096)] {
            let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
            let size = rustix::pipe::fcntl_setpipe_size(&writer, size).unwrap();
            let left = fill(writer, bytes).unwrap();
            let rest = left.map(|(writer, rest)| {
                drop(writer);
                rest
            });
            assert_eq!(rest.as_ref().map(Vec::len), bytes.len().checked_sub(size).filter(|&left| left > 0));
            let mut read = Vec::new();
            fs::File::from(reader).read_to_end(&mut read).unwrap();
            read.extend(rest.unwrap_or_default());
            assert_eq!(read, bytes);
        }
    }
}
