//! What a step costs, end to end, beside what the machine charges for the same work in the same run.
//!
//! `cargo bench --bench step`, or `cargo bench --bench step -- --quick` for a first impression. It measures the
//! figures that `docs/performance.md` promises: the binary as it is shipped applies plans of `true` steps, in turns
//! with bash running the same lines and with raw 200-byte appends, each with its own `fdatasync`, on the same disk.
//! Noise hits both sides of a pair; the median of the pairs' ratios is what counts.
//!
//! `RUNNER_BENCH_DIR` chooses another folder than `target/`; one in memory is refused, since a sync costs nothing
//! there. With `RUNNER_BENCH_STRICT=1` a missed figure is an exit status of 1.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

mod support;

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use support::binary;

/// The promised figures.
const COST_MAX: f64 = 1.1;
const GROWTH_MAX: f64 = 1.2;
const RESUME_MAX_MS: f64 = 40.0;
const MEMORY_MAX_KIB: f64 = 16.0 * 1024.0;
/// A flood may cost that much more memory than a step that says nothing.
const FLOOD_MAX_KIB: f64 = 2.0 * 1024.0;
/// Syncs of 50 parallel steps that end together, whose 100 events would need as many one by one.
const SHARED_MAX: f64 = 50.0;

/// How much is measured.
struct Size {
    rounds: usize,
    steps: usize,
    many: usize,
    resumes: usize,
    flood_bytes: u64,
}

const FULL: Size = Size { rounds: 7, steps: 1_000, many: 10_000, resumes: 11, flood_bytes: 1_000_000_000 };
const QUICK: Size = Size { rounds: 3, steps: 1_000, many: 3_000, resumes: 5, flood_bytes: 100_000_000 };

/// A folder for everything, and a fresh state folder below it for each run.
struct Bench {
    folder: tempfile::TempDir,
    states: usize,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fresh_state(&mut self) -> PathBuf {
        if self.states > 0 {
            // What was measured before is no burden for what comes: not on the disk, and not in its queue.
            drop(fs::remove_dir_all(self.path(&format!("state-{}", self.states))));
        }
        self.states += 1;
        self.path(&format!("state-{}", self.states))
    }

    /// A plan of `steps` steps that do nothing, one after the other.
    fn plan(&self, steps: usize) -> PathBuf {
        let mut text = "name = \"bench\"\n".to_owned();
        for step in 0..steps {
            write!(
                text,
                "\n[[step]]\nid = \"s{step}\"\nidempotent = true\n\
                 forward = {{ action = \"command\", argv = [\"true\"] }}\ncompensate = \"nothing\"\n"
            )
            .unwrap();
        }
        self.file(&format!("{steps}.toml"), &text)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn apply(plan: &Path, state: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("apply").arg(plan).arg("--state").arg(state);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Applies a plan to its end and says how long that took.
fn applied(plan: &Path, state: &Path) -> Duration {
    let start = Instant::now();
    let status = apply(plan, state).stdout(Stdio::null()).status().unwrap();
    let took = start.elapsed();
    assert!(status.success(), "{status}");
    took
}

/// `steps` lines of `/bin/true` in bash.
fn in_bash(script: &Path) -> Duration {
    let start = Instant::now();
    assert!(Command::new("bash").arg(script).status().unwrap().success());
    start.elapsed()
}

/// `times` appends of 200 bytes, each synced.
fn raw_appends(path: &Path, times: usize) -> Duration {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    let line = [b'x'; 200];
    let start = Instant::now();
    for _ in 0..times {
        file.write_all(&line).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The most memory a process ever had resident, in KiB; `None` when it is over.
fn peak_kib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Applies a plan and looks at its memory until it is over.
fn peak_of(plan: &Path, state: &Path) -> f64 {
    let mut child = apply(plan, state).stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0.0;
    while child.try_wait().unwrap().is_none() {
        peak = peak_kib(child.id()).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(1));
    }
    peak
}

/// Reads what a run says until a line has all of `words`.
fn until(child: &mut Child, words: &[&str]) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the run ended without saying {words:?}");
        if words.iter().all(|word| line.split_whitespace().any(|each| each == *word)) {
            break;
        }
    }
    child.stdout = Some(lines.into_inner());
}

/// Kills a run in the middle and says how long the next process takes to its first new start, in milliseconds. What
/// is taken is when the line that says so arrives, a little after the start itself.
fn resume_ms(plan: &Path, state: &Path, steps: usize) -> f64 {
    let mut first = apply(plan, state).stdout(Stdio::piped()).spawn().unwrap();
    until(&mut first, &[&format!("s{}", steps / 2), "started"]);
    first.kill().unwrap();
    first.wait().unwrap();
    let start = Instant::now();
    let mut second = apply(plan, state).stdout(Stdio::piped()).spawn().unwrap();
    until(&mut second, &["started"]);
    let took = start.elapsed();
    second.kill().unwrap();
    second.wait().unwrap();
    took.as_secs_f64() * 1e3
}

/// How many syncs 50 steps that end together cost; `None` without strace or flock.
fn shared_syncs(bench: &mut Bench) -> Option<f64> {
    let mut text = "name = \"bench\"\nparallelism = 50\n".to_owned();
    // They end together, when we let go of what all of them wait for.
    let gate = bench.path("gate");
    let shut = File::create(&gate).ok()?;
    shut.lock().ok()?;
    for step in 0..50 {
        write!(
            text,
            "\n[[step]]\nid = \"s{step}\"\nneeds = []\nidempotent = true\n\
             forward = {{ action = \"command\", argv = [\"flock\", \"-s\", \"{}\", \"true\"] }}\ncompensate = \"nothing\"\n",
            gate.display()
        )
        .unwrap();
    }
    let plan = bench.file("parallel.toml", &text);
    let (state, trace) = (bench.fresh_state(), bench.path("trace"));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=fdatasync", "-o"]).arg(&trace);
    strace.arg(binary()).arg("apply").arg(plan).arg("--state").arg(state);
    strace.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut run = strace.spawn().ok()?;
    let mut lines = BufReader::new(run.stdout.take()?).lines().map_while(Result::ok);
    lines.by_ref().filter(|line| line.contains(" started ")).nth(49);
    drop(shut);
    // It must not wait for us.
    lines.for_each(drop);
    if !run.wait().ok()?.success() {
        return None;
    }
    Some(fs::read_to_string(trace).ok()?.matches("fdatasync(").count() as f64)
}

/// One line of the table, and whether the figure is kept.
fn figure(name: &str, value: f64, most: f64, unit: &str, more: &str) -> bool {
    let kept = value <= most;
    let verdict = if kept { "kept" } else { "MISSED" };
    println!("{name:<44} {value:>9.2} {unit:<4} at most {most:>8.2}  {verdict:<6}  {more}");
    kept
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let size = if quick { QUICK } else { FULL };
    let base = std::env::var("RUNNER_BENCH_DIR")
        .map_or_else(|_| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), Into::into);
    fs::create_dir_all(&base).unwrap();
    let magic = rustix::fs::fstatfs(File::open(&base).unwrap()).unwrap().f_type as u32;
    // tmpfs and ramfs (Linux `include/uapi/linux/magic.h`).
    if matches!(magic, 0x0102_1994 | 0x8584_58f6) {
        eprintln!("`{}` is in memory, where a sync costs nothing: set RUNNER_BENCH_DIR", base.display());
        return ExitCode::from(2);
    }
    let mut bench = Bench { folder: tempfile::tempdir_in(&base).unwrap(), states: 0 };
    let plan = bench.plan(size.steps);
    let script = bench.file("lines.sh", &"/bin/true\n".repeat(size.steps));
    let raw = bench.path("raw");
    let steps = size.steps as f64;
    let us = |took: Duration, steps: f64| took.as_secs_f64() * 1e6 / steps;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{} steps, {} rounds, {cores} cores, file system 0x{magic:x}\n", size.steps, size.rounds);

    let (mut costs, mut ratios, mut bashes, mut raws) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let state = bench.fresh_state();
    applied(&plan, &state);
    for _ in 0..size.rounds {
        let state = bench.fresh_state();
        let (bash, raw) = (in_bash(&script), raw_appends(&raw, size.steps));
        let ours = applied(&plan, &state);
        costs.push(us(ours, steps));
        bashes.push(us(bash, steps));
        raws.push(us(raw, steps));
        ratios.push(ours.as_secs_f64() / (bash + raw).as_secs_f64());
    }
    let mut kept = true;
    ratios.sort_by(f64::total_cmp);
    let spread = format!(
        "step {:.0} us, bash {:.0} us, sync {:.0} us; pairs {:.2} to {:.2}",
        median(&mut costs),
        median(&mut bashes),
        median(&mut raws),
        ratios[0],
        ratios[ratios.len() - 1],
    );
    kept &= figure("cost of a step / (bash + sync)", median(&mut ratios), COST_MAX, "", &spread);

    let many = bench.plan(size.many);
    let mut growth = Vec::new();
    for _ in 0..(size.rounds / 2).max(1) {
        let state = bench.fresh_state();
        let few = applied(&plan, &state);
        let state = bench.fresh_state();
        let all = applied(&many, &state);
        growth.push(us(all, size.many as f64) / us(few, steps));
    }
    let name = format!("cost of a step at {} / at {}", size.many, size.steps);
    kept &= figure(&name, median(&mut growth), GROWTH_MAX, "", "");

    let mut resumes = Vec::new();
    for _ in 0..size.resumes {
        let state = bench.fresh_state();
        resumes.push(resume_ms(&plan, &state, size.steps));
    }
    let name = format!("killed at {}: process start to first start", size.steps / 2);
    let middle = median(&mut resumes);
    let spread = format!("{:.0} to {:.0}", resumes[0], resumes[resumes.len() - 1]);
    kept &= figure(&name, middle, RESUME_MAX_MS, "ms", &spread);

    let state = bench.fresh_state();
    let memory = peak_of(&plan, &state);
    let name = format!("resident memory, {} steps", size.steps);
    kept &= figure(&name, memory, MEMORY_MAX_KIB, "KiB", "");

    let one = |name: &str, argv: &str| {
        format!(
            "name = \"{name}\"\n[[step]]\nid = \"s\"\nidempotent = true\n\
             forward = {{ action = \"command\", argv = {argv} }}\ncompensate = \"nothing\"\n"
        )
    };
    let quiet = bench.file("quiet.toml", &one("quiet", "[\"sleep\", \"0.1\"]"));
    let bytes = size.flood_bytes;
    let flood = bench.file("flood.toml", &one("flood", &format!("[\"head\", \"-c{bytes}\", \"/dev/zero\"]")));
    let state = bench.fresh_state();
    let before = peak_of(&quiet, &state);
    let state = bench.fresh_state();
    let after = peak_of(&flood, &state);
    let name = format!("memory a flood of {} MB adds", bytes / 1_000_000);
    kept &= figure(&name, after - before, FLOOD_MAX_KIB, "KiB", &format!("{before:.0} to {after:.0}"));

    match shared_syncs(&mut bench) {
        Some(syncs) => kept &= figure("syncs of 50 parallel steps", syncs, SHARED_MAX, "", ""),
        None => println!("syncs of 50 parallel steps: not counted, strace or flock is missing"),
    }

    let strict = std::env::var("RUNNER_BENCH_STRICT").is_ok_and(|value| value == "1");
    if kept || !strict { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
