//! What a command finds around it: streams, colours, the state folder.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::fail::Fail;
use super::{Color, Global};
use crate::driver::{Leaps, SystemClock};
use crate::plan::recorded::Definition;
use crate::report::{self, Look, exit};

/// Around one command.
#[derive(Debug, Clone)]
pub(super) struct Session {
    state: Option<PathBuf>,
    pub(super) json: bool,
    quiet: bool,
    verbose: u8,
    pub(super) color: bool,
    pub(super) color_err: bool,
    /// A person sees what is drawn.
    pub(super) terminal: bool,
    width: usize,
    /// Gives back what was needed until now and hardly is again.
    pub(super) let_go: fn(),
    /// The time of a simulated house, where runs are driven in one.
    pub(super) leaps: Option<Leaps>,
    /// Who tells of a run beside its reporter.
    pub(super) teller: Option<Teller>,
    /// What makes a plan fit where it is shown, when it is shown somewhere.
    pub(super) fit: Option<fn(&mut Definition)>,
    /// Why a part of the answer did not reach standard output.
    lost: Arc<Mutex<Option<std::io::Error>>>,
}

/// What is said when a step begins, by the step's id.
#[derive(Clone)]
pub(super) struct Teller(pub(super) Arc<Tell>);

/// See [`Teller`].
type Tell = dyn Fn(&str) -> Option<String> + Send + Sync;

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

/// The environment variable with this name, if it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// How large the terminal is now; 24 rows of 80 columns where it does not say.
pub(super) fn terminal_size() -> report::Size {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let or = |found: Option<u16>, otherwise: usize| found.filter(|&n| n > 0).map_or(otherwise, usize::from);
    report::Size { rows: or(size.map(|size| size.ws_row), 24), columns: or(size.map(|size| size.ws_col), 80) }
}

impl Session {
    pub(super) fn new(global: &Global, let_go: fn()) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        // A dumb terminal cannot take back what is drawn, and shows colours as rubbish.
        let able = environment("TERM").is_none_or(|term| term != "dumb");
        let wanted = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && able && environment("NO_COLOR").is_none(),
        };
        let width =
            rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col));
        start_log(global.verbose, wanted(err));
        Self {
            state: global.state.clone(),
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            color: wanted(out) && !global.json,
            color_err: wanted(err),
            terminal: out && err && able,
            width: width.filter(|&width| width >= 40).unwrap_or(100),
            let_go,
            leaps: None,
            teller: None,
            fit: None,
            lost: Arc::default(),
        }
    }

    /// Works in another state folder from now on.
    #[cfg(feature = "demo")]
    pub(super) fn set_state(&mut self, folder: PathBuf) {
        self.state = Some(folder);
    }

    /// What runs are driven by.
    pub(super) fn clock(&self) -> SystemClock {
        let clock = SystemClock::new();
        // For tests: the clocks of a release cannot be bent.
        #[cfg(debug_assertions)]
        let clock = match environment("RUNNER_TEST_CLOCK") {
            Some(file) => clock.bent(file.into()),
            None => clock,
        };
        match &self.leaps {
            Some(leaps) => clock.leaping(leaps.clone()),
            None => clock,
        }
    }

    pub(super) fn look(&self) -> Look {
        Look { color: self.color, width: self.width, quiet: self.quiet, verbose: self.verbose }
    }

    /// The state folder: as asked for, else `state/` beside the nearest `plans/` above the plan, else here.
    pub(super) fn state_folder(&self, plan: Option<&Path>) -> PathBuf {
        if let Some(state) = &self.state {
            return state.clone();
        }
        let plans = plan.into_iter().flat_map(Path::ancestors).find(|above| above.ends_with("plans"));
        plans.and_then(Path::parent).map_or_else(|| PathBuf::from("state"), |above| above.join("state"))
    }

    /// The options that a command to paste needs to find the same journal.
    pub(super) fn options(&self, folder: &Path) -> String {
        let found_anyway = match &self.state {
            Some(state) => environment("RUNNER_STATE").is_some_and(|set| Path::new(&set) == state),
            // The folder beside the plan may be another than the one that a command without a plan looks into.
            None => match (folder.canonicalize(), Path::new("state").canonicalize()) {
                (Ok(used), Ok(here)) => used == here,
                _ => false,
            },
        };
        if found_anyway {
            return String::new();
        }
        format!("--state {}", report::shell_word(&folder.display().to_string()))
    }

    /// Writes to standard output; a closed pipe is a quiet end.
    pub(super) fn say(&self, text: &str) {
        drop(self.out().write_all(text.as_bytes()));
    }

    /// Standard output, which remembers when it could not be written.
    pub(super) fn out(&self) -> Out {
        Out(Arc::clone(&self.lost))
    }

    /// The exit code of a command, after everything was said. When a part of it did not reach standard output, a
    /// command that was to `answer` has failed; what a run came to stays what it is.
    pub(super) fn said(&self, code: u8, answer: bool) -> Result<u8, Fail> {
        let Some(why) = self.lost.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(code);
        };
        let text = format!("standard output cannot be written, a part of the answer is missing: {why}");
        if answer && code == exit::COMPLETE {
            return Err(
                Fail::unexpected(text).help("write it where there is room, then run the command again")
            );
        }
        self.warn(&format!("{text}; `runner events` says it again"));
        Ok(code)
    }

    /// Says why a command could not do what was asked.
    pub(super) fn fail(&self, fail: &Fail) {
        drop(std::io::stderr().lock().write_all(fail.text(self).as_bytes()));
        if self.json {
            self.say(&fail.json());
        }
    }

    /// Writes a text for people: standard output, or standard error when programs read that.
    pub(super) fn tell(&self, text: &str) {
        if self.json {
            drop(std::io::stderr().lock().write_all(text.as_bytes()));
        } else {
            self.say(text);
        }
    }

    /// Writes what a command was to say when all went well, unless it is to be quiet.
    pub(super) fn answer(&self, text: &str) {
        if !self.quiet {
            self.tell(text);
        }
    }

    /// Writes a text that is made for other programs: a schema, a script, a page. With `--json` it is one object.
    pub(super) fn document(&self, name: &str, text: &str) {
        if self.json {
            let object = serde_json::json!({
                "v": report::SHOWN_VERSION, "type": "document", "name": name, "text": text,
            });
            self.say(&format!("{}\n", report::json_line(&object)));
        } else {
            self.say(text);
        }
    }

    /// Writes an aside to standard error, unless it is to be quiet.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            drop(Log.write_all(format!("{text}\n").as_bytes()));
        }
    }

    /// Writes a warning to standard error.
    pub(super) fn warn(&self, text: &str) {
        let (on, off) = if self.color_err { ("\u{1b}[33m", "\u{1b}[0m") } else { ("", "") };
        drop(Log.write_all(format!("{on}warning:{off} {text}\n").as_bytes()));
    }
}

/// Standard output. A closed pipe is a quiet end; any other failure is kept for the end of the command.
pub(super) struct Out(Arc<Mutex<Option<std::io::Error>>>);

impl Out {
    fn keep<T>(&self, result: std::io::Result<T>) -> std::io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            if kind != std::io::ErrorKind::BrokenPipe {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            kind.into()
        })
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        // Flushed at once: what stays in a buffer fails where nobody looks.
        self.keep(out.write_all(bytes).and_then(|()| out.flush()))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.keep(std::io::stdout().lock().flush())
    }
}

/// Where log lines go while bars are on the screen; else standard error.
static ABOVE_BARS: Mutex<Option<Box<dyn Write + Send>>> = Mutex::new(None);

/// Sends log lines above the bars of a terminal (`Some`), or to standard error again.
pub(super) fn log_above(bars: Option<Box<dyn Write + Send>>) {
    *ABOVE_BARS.lock().unwrap_or_else(PoisonError::into_inner) = bars;
}

/// A line of conversation on its way: above the bars, while there are any.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut *ABOVE_BARS.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bars) => bars.write(bytes),
            None => std::io::stderr().lock().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where modules say what they do beside events: warnings always, more with `-vv` and `-vvv`.
fn start_log(verbose: u8, color: bool) {
    let level = match verbose {
        0 | 1 => tracing::Level::WARN,
        2 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    let log = tracing_subscriber::fmt()
        .with_writer(|| Log)
        .with_max_level(level)
        .with_ansi(color)
        .with_target(verbose > 2);
    // A second start is a test in the same process.
    drop(log.try_init());
}

/// Who asks: for the record.
pub(super) fn asker() -> String {
    let user = environment("USER").or_else(|| environment("LOGNAME"));
    let user = user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    format!("{user}@{}", host())
}

/// The machine's name.
pub(super) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
