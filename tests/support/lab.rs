//! A folder of its own for one test of the binary: plans, a state folder, a home, and a world to change.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

/// Ends a test that hangs; nothing is expected to come near it.
const HANGS: Duration = Duration::from_secs(120);

/// Everything that one test touches.
pub struct Lab {
    folder: TempDir,
    outputs: Cell<u32>,
}

/// A command that has ended.
pub struct Ran {
    /// Its exit code, or 128 and the signal that ended it, as a shell says it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A command that runs in a process group of its own, with what it writes in files.
pub struct Going {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    status: Option<ExitStatus>,
}

impl Lab {
    pub fn new() -> Self {
        // Short, so that the sockets' paths are.
        let folder = tempfile::Builder::new().prefix("l").tempdir().unwrap();
        for name in ["p", "home", "run", "out", "w"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder, outputs: Cell::new(0) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text.
    pub fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The folder that plans change, as text.
    pub fn world(&self) -> String {
        self.at("w")
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes `p/NAME.toml`, with `@W@` for the world's folder.
    pub fn plan(&self, name: &str, text: &str) -> PathBuf {
        self.write(&format!("p/{name}.toml"), &text.replace("@W@", &self.world()))
    }

    /// What stands in a file of the world; nothing when there is none.
    pub fn seen(&self, name: &str) -> String {
        fs::read_to_string(self.path("w").join(name)).unwrap_or_default()
    }

    pub fn has(&self, name: &str) -> bool {
        self.path("w").join(name).exists()
    }

    /// Every file below a folder of the world with its content.
    pub fn tree(&self, name: &str) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        walk(&self.path("w").join(name), "", &mut all);
        all
    }

    /// The binary with these words, which hold no spaces, and an environment that has nothing of ours.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.args(words.split_whitespace()).current_dir(self.folder.path()).env_clear();
        command.env("PATH", env!("PATH")).env("HOME", self.path("home")).env("USER", "tester");
        command.env("XDG_RUNTIME_DIR", self.path("run")).env("RUNNER_STATE", self.state());
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    pub fn start(&self, words: &str) -> Going {
        self.begin(self.command(words))
    }

    pub fn begin(&self, mut command: Command) -> Going {
        let number = self.outputs.replace(self.outputs.get() + 1);
        let (out, err) = (self.path(&format!("out/{number}.out")), self.path(&format!("out/{number}.err")));
        command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        Going { child: command.spawn().unwrap(), out, err, status: None }
    }

    /// Begins a command that writes somewhere else.
    pub fn begin_as_it_is(&self, mut command: Command) -> Going {
        let number = self.outputs.replace(self.outputs.get() + 1);
        let (out, err) = (self.path(&format!("out/{number}.out")), self.path(&format!("out/{number}.err")));
        fs::write(&out, "").unwrap();
        fs::write(&err, "").unwrap();
        Going { child: command.spawn().unwrap(), out, err, status: None }
    }

    pub fn run(&self, words: &str) -> Ran {
        self.start(words).end()
    }

    /// Runs a command that has to end with this code.
    #[track_caller]
    pub fn expect(&self, code: i32, words: &str) -> Ran {
        self.run(words).expect(code)
    }

    /// A run's events as programs see them.
    #[track_caller]
    pub fn events(&self, run: &str) -> Vec<Value> {
        json_lines(&self.expect(0, &format!("--json events {run}")).out)
    }

    /// All runs, the newest first.
    #[track_caller]
    pub fn runs(&self) -> Vec<Value> {
        let runs: Value = serde_json::from_str(&self.expect(0, "--json runs").out).unwrap();
        runs["runs"].as_array().unwrap().clone()
    }

    /// The status of every step, by its id.
    #[track_caller]
    pub fn steps(&self, run: &str) -> BTreeMap<String, String> {
        let status = self.expect(0, &format!("--json status {run}"));
        let status: Value = serde_json::from_str(&status.out).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let steps = status["steps"].as_array().unwrap();
        steps.iter().map(|step| (text(&step["id"]), text(&step["status"]))).collect()
    }

    /// Whether a run of this name can be read yet.
    pub fn has_run(&self, run: &str) -> bool {
        self.state().join("journal").exists() && self.run(&format!("status {run}")).code == 0
    }

    /// Waits until the world has this file.
    #[track_caller]
    pub fn wait_for(&self, name: &str) {
        super::sshd::until(&format!("`{name}` is there"), || self.has(name));
    }
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    /// The whole of what it wrote.
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.text().contains(words), "no `{words}` in:\n{}", self.text());
        self
    }
}

impl Going {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap()
    }

    pub fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(pid(self.pid()), signal).unwrap();
    }

    /// Kills it and everything in its own process group; what its steps run is not in that.
    pub fn kill(mut self) -> Ran {
        self.kill_group();
        self.end()
    }

    fn kill_group(&mut self) {
        if self.status.is_none() {
            kill_process_group(pid(self.child.id()), Signal::KILL).ok();
        }
    }

    pub fn ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status.is_some()
    }

    /// Waits until it has ended, or for so long.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let limit = Instant::now() + limit;
        while !self.ended() {
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(left.min(Duration::from_millis(2)));
        }
        true
    }

    /// Waits until it ends.
    #[track_caller]
    pub fn end(mut self) -> Ran {
        assert!(self.ends_within(HANGS), "it hangs\n--- stdout\n{}\n--- stderr\n{}", self.out(), self.err());
        let status = self.status.unwrap();
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
        Ran { code, out: self.out(), err: self.err() }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if !self.ended() {
            self.kill_group();
            drop(self.child.wait());
        }
    }
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// The whole lines of a text, each of which is a JSON object; a last one without its end was cut off.
pub fn json_lines(text: &str) -> Vec<Value> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn walk(folder: &Path, name: &str, all: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = format!("{name}/{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            all.insert(format!("{name}/"), String::new());
            walk(&path, &name, all);
        } else {
            all.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether everything is to be tried in full: `RUNNER_FULL=1`.
pub fn full() -> bool {
    std::env::var_os("RUNNER_FULL").is_some_and(|value| value == "1")
}

/// Numbers that nobody foresees and that come again with the same seed: SplitMix64.
pub struct Dice(u64);

impl Dice {
    /// From `RUNNER_SEED`, else at random; printed, so that a failure can be looked at again.
    pub fn new(what: &str) -> Self {
        let given = std::env::var_os("RUNNER_SEED").map(|seed| seed.to_str().unwrap().parse().unwrap());
        let seed = given.unwrap_or_else(|| getrandom::u64().unwrap() >> 32);
        println!("{what}: RUNNER_SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
