//! A folder like the reader's, in which commands are typed and what they say is compared with the page: times,
//! durations and numbers of processes apart, and however many spaces stand between columns.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::page::Typed;

/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Shell {
    folder: tempfile::TempDir,
    bin: tempfile::TempDir,
    shown: String,
}

impl Shell {
    pub(crate) fn new(shown: &str) -> Self {
        let (folder, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(env!("CARGO_BIN_EXE_runner"), bin.path().join("runner")).unwrap();
        fs::create_dir(bin.path().join("run")).unwrap();
        Self { folder, bin, shown: shown.to_owned() }
    }

    /// Writes a file; what begins with `#!` can be run.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path.replace("~/", ""));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn bash(&self, line: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.args(["-c", &format!("exec 2>&1; {line}")])
            .current_dir(self.folder.path())
            .env_remove("RUNNER_STATE")
            .env_remove("RUNNER_KEY")
            .env("PATH", format!("{}:{}", self.bin.path().display(), path()))
            .env("HOME", self.folder.path())
            .env("XDG_RUNTIME_DIR", self.bin.path().join("run"))
            .env("USER", "me")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        bash
    }

    /// Runs a command and compares its exit code and what it says with the page.
    pub(crate) fn type_in(&self, page: &str, typed: &Typed) {
        let command = &typed.command;
        let (code, said) = if let Some(line) = command.strip_prefix("timeout -s KILL ") {
            let (_, line) = line.split_once(' ').unwrap();
            (137, self.kill(line, typed.said.as_ref().unwrap().last().unwrap()))
        } else {
            let output = self.bash(command).output().unwrap();
            (code(&output), String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let place = format!("docs/{page}: `{command}`");
        assert_eq!(code, typed.code, "{place}:\n{said}");
        if command.ends_with('&') {
            self.wait_for_a_run(&place);
        }
        let Some(wanted) = &typed.said else { return };
        let found: Vec<String> = said.lines().map(|line| self.fold(line)).collect();
        let wanted: Vec<String> = wanted.iter().map(|line| self.fold(line)).collect();
        let fits = fits(&wanted, &found);
        assert!(fits, "{place} says\n{said}\nwhere the page has\n{}", wanted.join("\n"));
    }

    /// Kills the command as soon as it has said the last line that the page shows: a condition, not a clock.
    fn kill(&self, line: &str, last: &str) -> String {
        let last = self.fold(last);
        let mut child = self.bash(&format!("exec {line}")).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            said.push_str(&line);
            said.push('\n');
            if matches(&last, &self.fold(&line)) {
                break;
            }
        }
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "it ended before it could be killed:\n{said}");
        said
    }

    fn wait_for_a_run(&self, place: &str) {
        let since = Instant::now();
        while !self.bash("runner status > /dev/null 2> /dev/null").status().unwrap().success() {
            assert!(since.elapsed() < PATIENCE, "{place}: no run");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A line without what differs from run to run.
    fn fold(&self, line: &str) -> String {
        let here = fs::canonicalize(self.folder.path()).unwrap();
        let mut line = line.replace(here.to_str().unwrap(), &self.shown);
        line = line.replace(&format!("@{}", host()), "@laptop");
        let words: Vec<String> = line.split_whitespace().map(folded).collect();
        let mut out: Vec<String> = Vec::new();
        for word in words {
            let unit = matches!(word.trim_end_matches(['.', ',', ';', ')']), "ms" | "s" | "m" | "h" | "d");
            match out.last_mut() {
                // A duration: `1 m 20 s` is as good as `8.2 s`.
                Some(last) if unit && number(last) => {
                    let end: String = word.chars().filter(|c| !c.is_alphabetic()).collect();
                    *last = format!("{}<time>{end}", if last.starts_with('(') { "(" } else { "" });
                    let before = out.len().checked_sub(2).map(|place| out[place].clone());
                    if before.is_some_and(|before| before == "<time>") {
                        let last = out.pop().unwrap();
                        *out.last_mut().unwrap() = last;
                    }
                }
                _ => out.push(word),
            }
        }
        out.join(" ")
    }
}

fn number(word: &str) -> bool {
    let word = word.trim_start_matches('(');
    !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// `2026-11-23T17:05:39Z` with whatever stands around it.
fn folded(word: &str) -> String {
    let bytes = word.as_bytes();
    let at = (0..bytes.len().saturating_sub(19)).find(|at| {
        let part = &word.get(*at..at + 20).unwrap_or_default();
        part.len() == 20 && part.ends_with('Z') && part[..4].bytes().all(|b| b.is_ascii_digit())
    });
    match at {
        Some(at) => format!("{}<when>{}", &word[..at], &word[at + 20..]),
        None => word.to_owned(),
    }
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "a test")]
fn path() -> String {
    std::env::var("PATH").unwrap_or_default()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap())
}

/// Whether a line is as the page has it; `…` stands for anything.
fn matches(wanted: &str, found: &str) -> bool {
    let mut pieces = wanted.split('…');
    let Some(mut rest) = found.strip_prefix(pieces.next().unwrap()) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, between)) = pieces.split_last() else { return rest.is_empty() };
    for piece in between {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Whether all lines are as the page has them; `…` alone stands for any number of them.
fn fits(wanted: &[String], found: &[String]) -> bool {
    match (wanted.split_first(), found.split_first()) {
        (None, None) => true,
        (Some((line, rest)), _) if line == "…" => (0..=found.len()).any(|skip| fits(rest, &found[skip..])),
        (Some((line, wanted)), Some((said, found))) => matches(line, said) && fits(wanted, found),
        _ => false,
    }
}
