//! What a service costs that has nothing to do but watch: 1,000 soaks of days, each with a cheap check every five minutes.
//!
//! The binary serves a journal, the runs are begun over HTTP, and then nobody asks it anything for two rounds of samples.
//! Its processor time and resident memory are read from `/proc`. The samples of all runs keep the distance in which they
//! were begun, so that a round is spread over as long as the beginning took. `RUNNER_BENCH_BIN` measures another
//! binary, `RUNNER_BENCH_RUNS` another number of runs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What is promised: percent of one core on average, and resident memory in MB.
const CORE_MAX_PERCENT: f64 = 2.0;
/// See [`CORE_MAX_PERCENT`].
const RESIDENT_MAX_MB: f64 = 150.0;

/// Runs, and how often each is sampled.
const RUNS: usize = 1_000;
/// See [`RUNS`].
const EVERY: Duration = Duration::from_secs(300);

/// Rounds of samples that are measured.
const ROUNDS: u32 = 2;

/// Killed when it is dropped.
struct Service {
    child: Child,
    address: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Service {
    fn start(folder: &std::path::Path) -> Self {
        let binary = std::env::var("RUNNER_BENCH_BIN");
        let mut command = Command::new(binary.as_deref().unwrap_or(env!("CARGO_BIN_EXE_runner")));
        command.args(["serve", "--listen", "127.0.0.1:0", "--plans", "plans", "--state", "state"]);
        command.current_dir(folder).env("XDG_RUNTIME_DIR", folder.join("run")).env_remove("RUNNER_STATE");
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().to_owned();
        Self { child, address }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (host, long) = (&self.address, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {long}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.ask("GET", "/metrics", "");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }

    /// Processor time of all its threads until now, and of those that have ended.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        // USER_HZ is 100 on every Linux that runs programs like this one (proc(5)).
        Duration::from_millis(ticks * 10)
    }

    fn memory_mb(&self, of: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(of)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1_024.0 / 1e6
    }
}

fn main() -> ExitCode {
    // `cargo test --benches` is not asked for figures.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runs = std::env::var("RUNNER_BENCH_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there");
    fs::write(&there, "").unwrap();
    fs::create_dir(folder.path().join("plans")).unwrap();
    for run in 0..runs {
        let text = format!(
            "name = \"soak{run}\"\n[[step]]\nid = \"soak\"\nsoak = {{ for = \"3d\", every = \"{}s\" }}\n\
             verify = [{{ check = \"file\", path = \"{}\" }}]\n",
            EVERY.as_secs(),
            there.display()
        );
        fs::write(folder.path().join(format!("plans/soak{run}.toml")), text).unwrap();
    }
    let service = Service::start(folder.path());
    let began = Instant::now();
    for run in 0..runs {
        let answer = service.ask("POST", "/api/v1/runs", &format!("{{\"plan\":\"soak{run}\"}}"));
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }
    let samples = "runner_soak_samples_total{result=\"good\"}";
    while service.metric(samples) < runs as u64 {
        assert!(began.elapsed() < EVERY, "the runs were not begun in time");
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("{runs} runs soak after {:.1} s", began.elapsed().as_secs_f64());
    let (sampled, cpu, start) = (service.metric(samples), service.cpu(), Instant::now());
    for round in 1..=ROUNDS {
        std::thread::sleep((start + EVERY * round).saturating_duration_since(Instant::now()));
        let (spent, passed) = (service.cpu() - cpu, start.elapsed());
        println!(
            "after {:.0} s: {:.2} s of processor time, {:.2} % of one core, {:.1} MB resident",
            passed.as_secs_f64(),
            spent.as_secs_f64(),
            100.0 * spent.as_secs_f64() / passed.as_secs_f64(),
            service.memory_mb("VmRSS")
        );
    }
    let percent = 100.0 * (service.cpu() - cpu).as_secs_f64() / start.elapsed().as_secs_f64();
    let (resident, peak) = (service.memory_mb("VmRSS"), service.memory_mb("VmHWM"));
    let taken = service.metric(samples) - sampled;
    println!(
        "{taken} samples, {percent:.2} % of one core, {resident:.1} MB resident, {peak:.1} MB at the peak"
    );
    let whole = taken + runs as u64 / 10 >= u64::from(ROUNDS) * runs as u64;
    if !whole || percent >= CORE_MAX_PERCENT || peak >= RESIDENT_MAX_MB {
        eprintln!("promised: {ROUNDS} samples a run, {CORE_MAX_PERCENT} % of one core, {RESIDENT_MAX_MB} MB");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
