//! Goal: no promised figure (`docs/performance.md`) is missed by an order of magnitude without somebody noticing.
//! Method: the binary as the tests build it, beside the same work in the same run; limits are ten times the figures,
//! so that neither a busy machine nor an unoptimized build fails them. `benches/step.rs` measures the figures themselves.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One at a time: they measure.
static ALONE: Mutex<()> = Mutex::new(());

fn plan(folder: &Path, steps: usize) -> PathBuf {
    let mut text = "name = \"cost\"\n".to_owned();
    for step in 0..steps {
        write!(
            text,
            "\n[[step]]\nid = \"s{step}\"\nidempotent = true\n\
             forward = {{ action = \"command\", argv = [\"true\"] }}\ncompensate = \"nothing\"\n"
        )
        .unwrap();
    }
    let path = folder.join(format!("{steps}.toml"));
    fs::write(&path, text).unwrap();
    path
}

fn apply(plan: &Path, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg("apply").arg(plan).arg("--state").arg(state).env_remove("RUNNER_STATE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn applied(plan: &Path, state: &Path) -> Duration {
    let start = Instant::now();
    assert!(apply(plan, state).status().unwrap().success());
    start.elapsed()
}

fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn until_started(child: &mut Child, step: Option<&str>) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.contains(&"started") && step.is_none_or(|step| words.contains(&step)) {
            return;
        }
    }
    panic!("the run ended without starting {step:?}");
}

#[test]
fn a_step_costs_what_a_line_of_bash_and_a_sync_do() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    const STEPS: usize = 500;
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plan = plan(folder.path(), STEPS);
    let script = folder.path().join("lines.sh");
    fs::write(&script, "/bin/true\n".repeat(STEPS)).unwrap();

    let start = Instant::now();
    assert!(Command::new("bash").arg(script).status().unwrap().success());
    let mut raw = File::create(folder.path().join("raw")).unwrap();
    for _ in 0..STEPS {
        raw.write_all(&[b'x'; 200]).unwrap();
        raw.sync_data().unwrap();
    }
    let theirs = start.elapsed();
    let ours = applied(&plan, &folder.path().join("state"));
    assert!(ours < 11 * theirs, "{ours:?} for {STEPS} steps, where bash and syncs take {theirs:?}");
}

#[test]
fn a_long_plan_costs_no_more_by_the_step() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (few, many) = (plan(folder.path(), 200), plan(folder.path(), 2_000));
    let few = applied(&few, &folder.path().join("few"));
    let many = applied(&many, &folder.path().join("many"));
    assert!(many < 12 * 10 * few, "{many:?} for 2,000 steps and {few:?} for 200");
}

#[test]
fn a_killed_run_goes_on_at_once_and_in_little_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (plan, state) = (plan(folder.path(), 1_000), folder.path().join("state"));
    let mut first = apply(&plan, &state).stdout(Stdio::piped()).spawn().unwrap();
    until_started(&mut first, Some("s500"));
    let kib = peak_kib(first.id()).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(kib < 10 * 16 * 1024, "{kib} KiB were resident");

    let start = Instant::now();
    let mut second = apply(&plan, &state).stdout(Stdio::piped()).spawn().unwrap();
    until_started(&mut second, None);
    let took = start.elapsed();
    // Sixty times the figure: an unoptimized build reads a plan some fifteen times slower.
    assert!(took < Duration::from_millis(60 * 40), "the first new step started after {took:?}");
    // Nobody reads on; the run goes on.
    drop(second.stdout.take());
    assert!(second.wait().unwrap().success());
}
