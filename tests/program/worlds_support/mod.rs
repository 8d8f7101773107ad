//! The binary from outside: a folder with plans, commands in it, and what they said.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "shared by several test binaries"
)]

use crate::support::skip as loud;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// A folder of its own, with `plans/` in it.
pub struct House {
    folder: TempDir,
    /// Where it is, links resolved.
    pub path: PathBuf,
}

/// What a command said.
#[derive(Debug, PartialEq)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl House {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("house").tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        fs::create_dir(path.join("plans")).unwrap();
        Self { folder, path }
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A plan with these lines after its name, in `plans/NAME.toml`.
    pub fn plan(&self, name: &str, lines: &str) {
        self.write(&format!("plans/{name}.toml"), format!("name = \"{name}\"\n{lines}"));
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap_or_default()
    }

    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.path)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.path)
            .env("USER", "tester")
            .env("XDG_RUNTIME_DIR", self.path.join("runtime"))
            .stdin(Stdio::null());
        command
    }

    /// `runner` with these words.
    pub fn runner(&self, words: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_runner"));
        command.args(words);
        command
    }

    pub fn run(&self, words: &[&str]) -> Said {
        said(self.runner(words).output().unwrap())
    }

    /// Runs a line of shell in which `$R` is `runner`.
    pub fn shell(&self, line: &str) -> Said {
        let mut shell = self.command("bash");
        said(shell.arg("-c").arg(line).env("R", env!("CARGO_BIN_EXE_runner")).output().unwrap())
    }

    pub fn start(&self, words: &[&str]) -> Child {
        self.runner(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Everything that a command said, for a snapshot: without times, paths and process ids.
    pub fn shown(&self, said: &Said) -> String {
        let mut text = format!("exit {}\n", said.code);
        for (name, stream) in [("stdout", &said.out), ("stderr", &said.err)] {
            if !stream.is_empty() {
                text.push_str(&format!("--- {name}\n{stream}"));
            }
        }
        text.replace(&self.path.display().to_string(), "[house]")
    }

    /// The bytes and modes of everything below a folder of the house.
    pub fn tree(&self, name: &str) -> Vec<(PathBuf, u32, u64, Vec<u8>)> {
        let mut found = Vec::new();
        tree(&self.path.join(name), &mut found);
        found
    }
}

fn tree(folder: &Path, found: &mut Vec<(PathBuf, u32, u64, Vec<u8>)>) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.push((path.clone(), meta.permissions().mode(), meta.mtime_nsec().cast_unsigned(), content));
        if meta.is_dir() {
            tree(&path, found);
        }
    }
}

pub fn said(output: Output) -> Said {
    let code = output.status.code().unwrap_or_else(|| 1_000 + output.status.signal().unwrap());
    let said = Said {
        code,
        out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    };
    assert!(!said.err.contains("panicked"), "{}", said.err);
    for stream in [&said.out, &said.err] {
        assert!(
            !stream.contains(|c: char| c.is_control() && c != '\n'),
            "something acts on a terminal: {stream:?}"
        );
        assert!(!stream.contains("Os {"), "an error as Rust writes it: {stream}");
    }
    said
}

/// Redacts what differs from run to run.
pub fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    for (pattern, to) in [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
        (r"\b\d+(\.\d+)? s\b", "[n] s"),
        (r"tester@[^\s:]+", "tester@[host]"),
        (r"\b(process|pid) \d+", "$1 [pid]"),
        (r"-(fp|p) \d+", "-$1 [n]"),
        (r"`kill \d+`", "`kill [pid]`"),
        (r"\]:\d{4,5}'", "]:[port]'"),
        (r"port \d{4,5}", "port [port]"),
        (r"\(\d+\)", "([n])"),
        (r"/tmp/sshd\w+", "[sshd]"),
    ] {
        settings.add_filter(pattern, to);
    }
    settings
}

/// Every line of `text` is one versioned JSON object; gives them back.
#[track_caller]
pub fn objects(text: &str) -> Vec<serde_json::Value> {
    let parse = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(value["v"], 1, "{line}");
        assert!(value["type"].is_string(), "{line}");
        value
    };
    text.lines().map(parse).collect()
}

/// Two steps that leave a line each in `log`, and take it back.
pub const TWO: &str = r#"
[[step]]
id = "one"
forward = { action = "command", script = "echo one >> ../log" }
compensate = { action = "command", script = "echo back one >> ../log" }

[[step]]
id = "two"
forward = { action = "command", script = "echo two >> ../log" }
compensate = { action = "command", script = "echo back two >> ../log" }
"#;

/// One step that runs this.
pub fn one(lines: &str) -> String {
    format!("\n[[step]]\nid = \"it\"\n{lines}\ncompensate = \"nothing\"\n")
}

/// Runs it as a user that owns nothing, after a preparation as ourselves; nothing where that cannot be done.
pub fn as_nobody(house: &House, prepare: &str, words: &[&str]) -> Option<Said> {
    if !rustix::process::geteuid().is_root() {
        skipped("becoming another user needs root");
        return None;
    }
    assert_eq!(
        house.shell(&format!("chmod 755 . && cp $R ./runner && chmod 755 runner && {prepare}")).code,
        0
    );
    let mut command = house.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(house.path.join("runner"))
        .args(words);
    match command.output() {
        Ok(output) => Some(said(output)),
        Err(error) => {
            skipped(&format!("there is no setpriv: {error}"));
            None
        }
    }
}

/// Says that something is only tried with `RUNNER_FULL=1`.
pub fn only_in_full(why: &str) {
    loud::say(why);
}

/// Says loudly that something is not proved here.
pub fn skipped(why: &str) {
    loud::skip(why);
}
