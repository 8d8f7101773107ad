//! Why a command could not do what was asked: in words, with the exit code and the next move.

use std::error::Error;
use std::path::Path;

use super::session::Session;
use crate::driver::{HistoryError, RecordError, SubmitError};
use crate::journal::JournalError;
use crate::report::{self, exit};
use crate::saga::Refusal;
use crate::serve::ClientError;

/// How often a command is asked again when who held the journal went away: each time it was another one, which
/// ended in the moment between two questions.
const AGAIN: u32 = 10;

/// A command that failed.
#[derive(Debug)]
pub(super) struct Fail {
    pub(super) code: u8,
    /// What happened, causes included; one line, or several for a report that is whole in itself.
    pub(super) message: String,
    /// What to do next.
    help: Option<String>,
    /// What people read instead: diagnostics and differences with their own layout.
    whole: Option<String>,
    /// Who held the journal went away, or others were quicker, before anything was done: asked again, the command
    /// finds things as they are now. At most so many times.
    pub(super) again: u32,
}

impl Fail {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { code: exit::USAGE, message: message.into(), help: None, whole: None, again: 0 }
    }

    pub(super) fn unexpected(message: impl Into<String>) -> Self {
        Self { code: exit::UNEXPECTED, message: message.into(), help: None, whole: None, again: 0 }
    }

    pub(super) fn held(message: impl Into<String>) -> Self {
        Self { code: exit::HELD, message: message.into(), help: None, whole: None, again: 0 }
    }

    /// A process that holds the journal and says nothing.
    pub(super) fn holder_silent(pid: Option<u32>, folder: &Path) -> Self {
        let who = pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        Self::held(format!("{who} holds the journal in `{}` and does not answer", folder.display())).find(pid)
    }

    /// How to find who does not answer.
    fn find(self, pid: Option<u32>) -> Self {
        self.help(pid.map_or_else(|| "find it with `fuser` on that folder and end it".to_owned(), hangs))
    }

    /// To be asked again, at most so many times.
    fn again(mut self, times: u32) -> Self {
        self.again = times;
        self
    }

    /// A text that is whole in itself, and what it comes to in one line.
    pub(super) fn report(code: u8, message: impl Into<String>, text: String) -> Self {
        Self { code, message: message.into(), help: None, whole: Some(text), again: 0 }
    }

    /// An end with nothing more to say.
    pub(super) fn silent(code: u8) -> Self {
        Self::report(code, "", String::new())
    }

    /// The same, with what was going on before it.
    pub(super) fn after(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn text(&self, session: &Session) -> String {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let (on, off) = if session.color_err { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
        let mut text = format!("{on}error:{off} {}\n", lines(&self.message));
        if let Some(help) = &self.help {
            text.push_str(&format!("  help: {}\n", lines(help)));
        }
        text
    }

    /// The same for programs: one object and its line end, or nothing where there is nothing to say. The pieces of
    /// a diagnostic have lines of their own, before this one.
    pub(super) fn json(&self) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        let object = serde_json::json!({
            "v": report::SHOWN_VERSION, "type": "error", "code": self.code, "message": self.message,
            "help": self.help,
        });
        format!("{}\n", report::json_line(&object))
    }
}

/// Every line of a message without anything that acts on a terminal: names in it may be anybody's.
pub(super) fn lines(text: &str) -> String {
    text.split('\n').map(report::text_line).collect::<Vec<_>>().join("\n")
}

/// The nearest state folder with a journal in it above the current folder.
fn above() -> Option<std::path::PathBuf> {
    let here = std::env::current_dir().ok()?;
    let mut states = here.ancestors().map(|above| above.join("state"));
    states.find(|state| state.join("journal").is_dir())
}

/// Who owns the nearest folder above `path` that can be looked at.
fn owner(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = whole.ancestors().find_map(|above| std::fs::metadata(above).ok());
    let us = rustix::process::geteuid().as_raw();
    match found {
        Some(found) if found.uid() != us => format!(" (uid {}; this is uid {us})", found.uid()),
        _ => String::new(),
    }
}

/// What to do about a process that holds the journal and says nothing.
pub(super) fn hangs(pid: u32) -> String {
    format!(
        "look at it with `ps -fp {pid}`; when it hangs, end it with `kill {pid}`: nothing recorded is lost"
    )
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// What may have been meant, and where to look.
fn meant(near: Option<&str>, look: &str) -> String {
    match near {
        Some(near) => format!("did you mean `{near}`? {look}"),
        None => look.to_owned(),
    }
}

impl From<Refusal> for Fail {
    fn from(refusal: Refusal) -> Self {
        let help = match &refusal {
            Refusal::NoSuchStep { run, near, .. } => {
                let near = near.as_ref().map(crate::plan::StepId::as_str);
                Some(meant(near, &format!("`runner status {run}` lists its steps")))
            }
            Refusal::StepIs { step, .. } => {
                Some(format!("`runner status` shows how step `{step}` stands and every way forward"))
            }
            Refusal::RunIs { run, .. } => {
                Some(format!("`runner status {run}` shows how it stands and every way forward"))
            }
            Refusal::Nothing { .. } => None,
            Refusal::Irreversible { steps, .. } => Some(format!(
                "nothing was undone; what came after step `{}` can be undone with `--to {0}`",
                steps.last().map_or("", |(step, _)| step.as_str())
            )),
        };
        let fail = Fail::usage(refusal.to_string());
        match help {
            Some(help) => fail.help(help),
            None => fail,
        }
    }
}

impl From<HistoryError> for Fail {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Journal(error) => error.into(),
            HistoryError::NoSuchRun { ref run, .. } if run.is_empty() => {
                Fail::usage("the journal has no runs yet").help("`runner apply PLAN` starts one")
            }
            HistoryError::NoSuchRun { ref near, .. } => {
                Fail::usage(error.to_string()).help(meant(near.as_deref(), "`runner runs` lists them"))
            }
            HistoryError::HolderSilent { pid } => Fail::held(error.to_string()).help(hangs(pid)),
            HistoryError::HolderGone => {
                Fail::unexpected(error.to_string()).help("run the command again").again(AGAIN)
            }
            HistoryError::Holder(_) => Fail::unexpected(error.to_string()).help("run the command again"),
            HistoryError::Event { .. } | HistoryError::Illegal { .. } => Fail::unexpected(chain(&error)),
        }
    }
}

impl From<ClientError> for Fail {
    fn from(error: ClientError) -> Self {
        HistoryError::from(error).into()
    }
}

impl From<JournalError> for Fail {
    fn from(error: JournalError) -> Self {
        let help = match &error {
            JournalError::NotFound { .. } => {
                let fail = Fail::usage(chain(&error));
                return fail.help(match above() {
                    Some(state) => format!(
                        "there is one in `{}`: run the command in `{}`, or give `--state {}`",
                        state.display(),
                        state.parent().unwrap_or(&state).display(),
                        report::shell_word(&state.display().to_string()),
                    ),
                    None => "name the state folder with `--state DIR`, or run it where `state/` is; `runner apply \
                             PLAN` makes one and says where"
                        .to_owned(),
                });
            }
            JournalError::NotAFolder { .. } => {
                return Fail::usage(chain(&error)).help("name another folder with `--state DIR`");
            }
            JournalError::Newer { .. } => {
                return Fail::usage(chain(&error))
                    .help("use the newer `runner` that wrote it; nothing was changed in it");
            }
            JournalError::Archived { run } => {
                let help =
                    format!("`runner events {run}` reads it; `runner apply PLAN --new-run` starts another");
                return Fail::usage(chain(&error)).help(help);
            }
            JournalError::Held { .. } => return Fail::held(chain(&error)),
            JournalError::DiskFull { .. } => {
                return Fail::unexpected(error.to_string()).help(
                    "make room on that disk, then run the same command again: it goes on where it stopped, and \
                     nothing that was recorded is lost",
                );
            }
            JournalError::Damaged { .. } => {
                "nothing in it was repaired; keep a copy of the state folder as it is, then put back a backup of it, \
                 or go on with an empty one with `--state DIR`"
            }
            JournalError::Io { source, path, .. } => match source.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    let help = format!(
                        "run it as the user that owns the state folder{}, or name another one with `--state DIR`",
                        owner(path)
                    );
                    return Fail::unexpected(chain(&error)).help(help);
                }
                std::io::ErrorKind::ReadOnlyFilesystem => {
                    "that file system is mounted read-only: mount it writable, or name a state folder elsewhere with \
                     `--state DIR`"
                }
                std::io::ErrorKind::NotFound => {
                    "see that the folder above it is there, or name another state folder with `--state DIR`"
                }
                _ => "mend that, then run the same command again: nothing that was recorded is lost",
            },
            JournalError::Poisoned { .. }
            | JournalError::OutOfOrder { .. }
            | JournalError::TooLarge { .. }
            | JournalError::NoSuchRun { .. }
            | JournalError::NoSuchBody { .. }
            | JournalError::Closed => return Fail::unexpected(chain(&error)),
        };
        Fail::unexpected(chain(&error)).help(help)
    }
}

impl From<RecordError> for Fail {
    fn from(error: RecordError) -> Self {
        SubmitError::from(error).into()
    }
}

impl From<SubmitError> for Fail {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::History(error) => error.into(),
            SubmitError::Drive(error) => Fail::unexpected(chain(&error)),
            SubmitError::Running { ref run } => {
                let help =
                    format!("`runner status {run}` shows how far it is; stop it with Ctrl-C where it runs");
                Fail::usage(error.to_string()).help(help).again(1)
            }
            SubmitError::Open { ref run } => {
                let help = format!("`runner apply` goes on with it, `runner cancel {run}` closes it");
                Fail::usage(error.to_string()).help(help).again(1)
            }
            SubmitError::Secrets(why) => Fail::usage(why).help("nothing was started"),
            SubmitError::Stopping => {
                Fail::held(error.to_string()).help("run the command again in a moment").again(AGAIN)
            }
        }
    }
}

/// What the operating system says about a file, in words that say what to do.
pub(super) fn file(what: &str, path: &Path, error: &std::io::Error) -> Fail {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => match std::fs::read_link(path) {
            Ok(to) => Fail::usage(format!(
                "the {what} `{shown}` is a link to `{}`, which is not there",
                to.display()
            ))
            .help("bring back what it points to, or name another file"),
            Err(_) => Fail::usage(format!("there is no {what} `{shown}`"))
                .help("check the path; it is relative to the current folder"),
        },
        std::io::ErrorKind::IsADirectory => {
            Fail::usage(format!("`{shown}` is a folder, not a {what}")).help("name the file in it")
        }
        std::io::ErrorKind::PermissionDenied => Fail::usage(format!(
            "the {what} `{shown}` may not be read by this user"
        ))
        .help(format!("look at its mode and at those of the folders above it with `namei -l {shown}`")),
        std::io::ErrorKind::NotADirectory => Fail::usage(format!("there is no {what} `{shown}`"))
            .help("something in the middle of that path is a file, not a folder"),
        std::io::ErrorKind::InvalidInput => Fail::usage(format!("`{shown}` is not a file with text in it"))
            .help(format!(
                "write the {what} into a file and name that: a pipe or a device cannot be read again"
            )),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Fail::usage(format!("the {what} `{shown}` is a link that leads back to itself"))
                .help("look at it with `ls -l`, then name a file that can be read")
        }
        _ => Fail::usage(format!("the {what} `{shown}` cannot be read: {error}"))
            .help("look at it with `ls -l`, then name a file that can be read"),
    }
}
