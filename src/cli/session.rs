//! What a command finds around it: streams, colours, the state folder.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::{Color, Global};
use crate::report::{self, Look};

/// Around one command.
#[derive(Debug)]
pub(super) struct Session {
    state: Option<PathBuf>,
    pub(super) json: bool,
    quiet: bool,
    verbose: u8,
    color: bool,
    pub(super) color_err: bool,
    /// A person sees what is drawn.
    pub(super) terminal: bool,
    width: usize,
}

/// The environment variable with this name, if it is set and not empty.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Session {
    pub(super) fn new(global: &Global) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let wanted = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && environment("NO_COLOR").is_none(),
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
            terminal: out && err,
            width: width.filter(|&width| width >= 40).unwrap_or(100),
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
    pub(super) fn options(&self) -> String {
        match &self.state {
            Some(state) if environment("RUNNER_STATE").is_none_or(|set| Path::new(&set) != state) => {
                format!("--state {}", report::shell_word(&state.display().to_string()))
            }
            _ => String::new(),
        }
    }

    /// Writes to standard output; a closed pipe is a quiet end.
    pub(super) fn say(&self, text: &str) {
        drop(std::io::stdout().lock().write_all(text.as_bytes()));
    }

    /// Writes a text for people: standard output, or standard error when programs read that.
    pub(super) fn tell(&self, text: &str) {
        if self.json {
            drop(std::io::stderr().lock().write_all(text.as_bytes()));
        } else {
            self.say(text);
        }
    }

    /// Writes to standard error as it stands.
    pub(super) fn err(&self, text: &str) {
        drop(std::io::stderr().lock().write_all(text.as_bytes()));
    }

    /// Writes an aside to standard error, unless it is to be quiet.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            drop(writeln!(std::io::stderr().lock(), "{text}"));
        }
    }

    /// Writes a warning to standard error.
    pub(super) fn warn(&self, text: &str) {
        let (on, off) = if self.color_err { ("\u{1b}[33m", "\u{1b}[0m") } else { ("", "") };
        drop(writeln!(std::io::stderr().lock(), "{on}warning:{off} {text}"));
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
        .with_writer(std::io::stderr)
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
