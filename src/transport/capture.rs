//! What is kept of a process's output: the beginning of stdout, the last lines of both streams, and all of it in
//! the attempt's log file. Memory is bounded whatever is written.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::harmless::harmless;
use super::redact::{RedactedStream, Redactor};

/// How much of stdout is kept for outputs, in bytes. A larger text is no value to hand to another step, and what
/// is kept goes into the journal.
pub const CAPTURE_MAX: usize = 64 * 1024;

/// How much of both streams is kept to be shown, in bytes and in lines: what fits a screen.
pub const TAIL_MAX: usize = 4 * 1024;
/// See [`TAIL_MAX`].
pub const TAIL_LINES_MAX: usize = 20;

/// The largest log file, in bytes. What comes after is only counted: a process that never stops writing must not
/// fill the disk the journal lives on.
pub const LOG_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Which stream a piece came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// Where an attempt's log goes: a path below the state folder.
#[derive(Debug, Clone)]
pub(crate) struct LogPlace {
    pub(crate) state: PathBuf,
    pub(crate) relative: String,
}

/// What was seen of a process, free of secrets (except [`stdout`](Seen::stdout)).
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The first [`CAPTURE_MAX`] bytes of stdout as they were written, or what else was asked for, secrets included.
    pub(crate) stdout: Vec<u8>,
    /// Stdout was longer than that.
    pub(crate) overflow: bool,
    /// The last lines of both streams, redacted and harmless.
    pub(crate) tail: String,
    /// The log file, relative to the state folder.
    pub(crate) log: Option<String>,
    /// Bytes written in all.
    pub(crate) bytes: u64,
    /// Why the log is not complete.
    pub(crate) log_error: Option<String>,
    /// Descendants that were left running: pid and name.
    pub(crate) left: Vec<(u32, String)>,
}

/// Takes the output of one process.
#[derive(Debug)]
pub(crate) struct Capture {
    stdout: Vec<u8>,
    /// How much of stdout is kept, in bytes.
    room: usize,
    overflow: bool,
    bytes: u64,
    streams: [RedactedStream; 2],
    sink: Sink,
}

/// Takes redacted bytes.
#[derive(Debug)]
struct Sink {
    tail: Vec<u8>,
    log: Log,
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) {
        self.log.write(bytes);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_MAX)..]);
        if self.tail.len() > 4 * TAIL_MAX {
            self.tail.drain(..self.tail.len() - TAIL_MAX);
        }
    }
}

impl Capture {
    /// Nothing captured yet. Without a place there is no log. The file is created at its first byte.
    pub(crate) fn new(redactor: &Redactor, place: Option<LogPlace>) -> Self {
        Self::with_room(redactor, place, CAPTURE_MAX)
    }

    /// As [`new`](Self::new), with another limit for what is kept of stdout, in bytes.
    pub(crate) fn with_room(redactor: &Redactor, place: Option<LogPlace>, room: usize) -> Self {
        Self {
            stdout: Vec::new(),
            room,
            overflow: false,
            bytes: 0,
            streams: [redactor.stream(), redactor.stream()],
            sink: Sink { tail: Vec::new(), log: Log { place, file: None, written: 0, error: None } },
        }
    }

    /// Takes the next piece of a stream.
    pub(crate) fn take(&mut self, stream: Stream, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        if stream == Stream::Out {
            let room = self.room - self.stdout.len();
            self.overflow |= piece.len() > room;
            self.stdout.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        self.streams[stream as usize].feed(piece, |bytes| self.sink.take(bytes));
    }

    /// Writes a line of our own among what was written.
    pub(crate) fn say(&mut self, line: &str) {
        self.take(Stream::Err, line.as_bytes());
        self.take(Stream::Err, b"\n");
    }

    /// Ends both streams.
    pub(crate) fn finish(mut self) -> Seen {
        for stream in &mut self.streams {
            stream.finish(|bytes| self.sink.take(bytes));
        }
        let Log { place, file, error, .. } = self.sink.log;
        Seen {
            stdout: self.stdout,
            overflow: self.overflow,
            tail: tail_of(&self.sink.tail),
            log: file.and(place).map(|place| place.relative),
            bytes: self.bytes,
            log_error: error,
            left: Vec::new(),
        }
    }
}

/// The last whole lines that fit.
fn tail_of(bytes: &[u8]) -> String {
    let cut = bytes.len().saturating_sub(TAIL_MAX);
    let kept = &bytes[cut..];
    let kept = match kept.iter().position(|&byte| byte == b'\n') {
        Some(end) if cut > 0 && end + 1 < kept.len() => &kept[end + 1..],
        _ => kept,
    };
    let text = harmless(kept);
    let text = text.trim_end_matches('\n');
    let lines = text.split('\n').count();
    text.split('\n').skip(lines.saturating_sub(TAIL_LINES_MAX)).collect::<Vec<_>>().join("\n")
}

/// The attempt's log file. A write that fails (a full disk) ends the log, never the process that writes.
#[derive(Debug)]
struct Log {
    place: Option<LogPlace>,
    file: Option<File>,
    written: u64,
    error: Option<String>,
}

impl Log {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.error.is_some() {
            return;
        }
        let Some(place) = &self.place else { return };
        let room = usize::try_from(LOG_MAX - self.written).unwrap_or(usize::MAX);
        let fitting = &bytes[..bytes.len().min(room)];
        let result = match &mut self.file {
            Some(file) => file.write_all(fitting),
            None => create(&place.state.join(&place.relative)).and_then(|mut file| {
                file.write_all(fitting)?;
                self.file = Some(file);
                Ok(())
            }),
        };
        match result {
            Ok(()) => {
                self.written += fitting.len() as u64;
                if fitting.len() < bytes.len() {
                    self.error = Some(format!("the log ends at its limit of {LOG_MAX} bytes"));
                }
            }
            Err(error) => {
                tracing::warn!(log = %place.relative, %error, "the attempt's log is not complete");
                self.error = Some(format!("the log is not complete: {error}"));
            }
        }
    }
}

/// Creates the file and the folders above it, private. An older file of that name is continued, never replaced.
fn create(path: &Path) -> std::io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    match (open(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            open()
        }
        (result, _) => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &tempfile::TempDir) -> Option<LogPlace> {
        Some(LogPlace { state: folder.path().to_owned(), relative: "logs/r-1/s-forward-1.log".to_owned() })
    }

    #[test]
    fn no_byte_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let seen = Capture::new(&Redactor::default(), place(&folder)).finish();
        assert_eq!((seen.log, seen.bytes), (None, 0));
        assert!(!folder.path().join("logs").exists());
    }

    #[test]
    fn the_log_has_all_of_it_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let mut capture = Capture::new(&Redactor::new(["hunter2-secret"]), place(&folder));
        capture.take(Stream::Out, b"out hunter2-");
        capture.take(Stream::Err, b"err\n");
        capture.take(Stream::Out, b"secret\n");
        let seen = capture.finish();
        let log = fs::read_to_string(folder.path().join(seen.log.unwrap())).unwrap();
        assert_eq!(log, "out err\n***\n");
        assert_eq!(seen.tail, "out err\n***");
        assert_eq!(seen.stdout, b"out hunter2-secret\n");
        assert_eq!(seen.bytes, 23);
    }

    #[test]
    fn only_the_beginning_and_the_end_stay_in_memory() {
        let mut capture = Capture::new(&Redactor::default(), None);
        let line = [b'x'; 99];
        for _ in 0..10_000 {
            capture.take(Stream::Out, &line);
            capture.take(Stream::Out, b"\n");
        }
        assert!(
            capture.stdout.capacity() <= 2 * CAPTURE_MAX && capture.sink.tail.capacity() <= 16 * TAIL_MAX
        );
        let seen = capture.finish();
        assert!(seen.overflow);
        assert_eq!(seen.stdout.len(), CAPTURE_MAX);
        assert_eq!(seen.tail.lines().count(), TAIL_LINES_MAX);
        assert!(seen.tail.lines().all(|line| line.len() == 99));
    }

    #[test]
    fn a_full_disk_does_not_fail_the_process() {
        let mut capture = Capture::new(
            &Redactor::default(),
            Some(LogPlace { state: PathBuf::from("/dev"), relative: "full".to_owned() }),
        );
        capture.take(Stream::Out, b"something");
        capture.take(Stream::Out, b" else");
        let seen = capture.finish();
        assert_eq!(seen.tail, "something else");
        assert!(seen.log_error.unwrap().contains("not complete"));
    }
}
