//! How quickly a second terminal is answered while the first one drives a run.
//!
//! One process drives a run as an operator has one: twenty steps under way, a thousand in the plan, and a chain of steps of
//! some ten milliseconds each that makes its log grow all the while. Every
//! command that asks it or says something is a process of its own, as at a terminal, measured from its start to its end.
//! Where that time goes is taken apart: a process that does nothing, the same with a journal that nobody holds, and a
//! question over the socket without a process.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench"
)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use support::binary;

/// What is promised of a command, in milliseconds, at the median.
const ANSWER_MAX_MS: f64 = 50.0;

/// How many ask at once.
const AT_ONCE: usize = 50;

/// Steps under way at once in the run that is driven.
const RUNNING: usize = 20;

/// Steps of the chain beside them, and how long each takes, in seconds: it must not end before the bench does.
const CHAIN: usize = 1_000;
/// See [`CHAIN`].
const NAP: &str = "0.05";

/// Steps of a plan that nobody has, for an impression of how things grow.
const VAST: usize = 20_000;

/// Gates that stand open in a run that nobody drives, to be answered one by one.
const GATES: usize = 60;

struct Bench {
    folder: tempfile::TempDir,
    calls: usize,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn runner(&self, words: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(words).current_dir(self.folder.path()).env("XDG_RUNTIME_DIR", self.path("run"));
        command.env("RUNNER_STATE", self.path("state")).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs a command to its end and says how many milliseconds that took.
    fn took(&self, words: &[&str]) -> f64 {
        let mut command = self.runner(words);
        let start = Instant::now();
        let status = command.status().unwrap();
        let took = start.elapsed();
        assert!(status.success(), "{words:?}: {status}");
        ms(took)
    }

    fn plan(&self, name: &str, text: &str) -> String {
        let path = self.path(&format!("{name}.toml"));
        fs::write(&path, format!("name = \"{name}\"\n{text}")).unwrap();
        path.display().to_string()
    }

    /// How a run stands, in words.
    fn status(&self, run: &str) -> String {
        let mut command = self.runner(&["status", run]);
        String::from_utf8(command.stdout(Stdio::piped()).output().unwrap().stdout).unwrap()
    }

    /// How many events the run that grows has.
    fn events(&self) -> usize {
        let mut command = self.runner(&["--json", "events", "busy"]);
        let out = command.stdout(Stdio::piped()).output().unwrap().stdout;
        out.iter().filter(|&&byte| byte == b'\n').count()
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn step(id: &str, lines: &str, argv: &str) -> String {
    format!(
        "\n[[step]]\nid = \"{id}\"\n{lines}idempotent = true\n\
         forward = {{ action = \"command\", argv = {argv} }}\ncompensate = \"nothing\"\n"
    )
}

/// Begins a run that is driven: twenty steps that wait, and a chain of others.
fn drive(bench: &Bench, name: &str, chain: usize, argv: &str) -> Child {
    let mut text = format!("parallelism = {}\n", RUNNING + 1);
    for at in 0..RUNNING {
        text += &step(&format!("w{at}"), "needs = []\n", "[\"sleep\", \"3600\"]");
    }
    for at in 0..chain {
        let needs = if at == 0 { "needs = []\n".to_owned() } else { String::new() };
        text += &step(&format!("s{at}"), &needs, argv);
    }
    let plan = bench.plan(name, &text);
    let mut child = bench.runner(&["apply", &plan]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("s50 ") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the run ended");
    }
    // Somebody has to read on, or the run waits for its own terminal.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    child
}

/// A question over the socket, without a process of its own, in milliseconds.
fn asked(socket: &Path) -> f64 {
    let start = Instant::now();
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"{\"v\":1,\"request\":\"runs\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.contains("busy-1"), "{line}");
    ms(start.elapsed())
}

/// One line of the table, and whether the figure is kept.
fn figure(name: &str, values: &mut [f64], most: Option<f64>) -> bool {
    values.sort_by(f64::total_cmp);
    let (middle, worst) = (values[values.len() / 2], values[values.len() - 1]);
    let verdict = match most {
        Some(most) if middle > most => "MISSED",
        Some(_) => "kept",
        None => "",
    };
    println!(
        "{name:<44} {middle:>8.1} ms at the median {worst:>8.1} ms at worst  {:>4} calls  {verdict}",
        values.len()
    );
    most.is_none_or(|most| middle <= most)
}

fn main() -> ExitCode {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let folder = tempfile::Builder::new().prefix("second").tempdir_in("/tmp").unwrap();
    let bench = Bench { folder, calls: if quick { 5 } else { 20 } };
    fs::create_dir(bench.path("run")).unwrap();
    let mut kept = true;

    // Runs that rest, to be said things of: many gates, and runs that can be closed and undone.
    let gates: String = (0..GATES)
        .map(|at| step(&format!("g{at}"), "needs = []\napprove = \"Go on?\"\n", "[\"true\"]"))
        .fold(String::new(), |mut all, one| {
            write!(all, "{one}").unwrap();
            all
        });
    let gated = bench.plan("gates", &gates);
    bench.runner(&["apply", &gated, "--no-wait"]).status().unwrap();
    for at in 0..bench.calls {
        for name in ["close", "undo"] {
            let text = step("it", "", "[\"true\"]") + &step("gate", "approve = \"Go on?\"\n", "[\"true\"]");
            let plan = bench.plan(&format!("{name}{at}"), &text);
            bench.runner(&["apply", &plan, "--no-wait"]).status().unwrap();
        }
    }
    let many = |words: &dyn Fn(usize) -> Vec<String>| -> Vec<f64> {
        let call = |at| {
            let words = words(at);
            bench.took(&words.iter().map(String::as_str).collect::<Vec<&str>>())
        };
        (0..bench.calls).map(call).collect()
    };
    let fixed = |words: &'static str| move |_: usize| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    figure("a process that only starts (--version)", &mut many(&fixed("--version")), None);
    figure("status, nobody holds the journal", &mut many(&fixed("status gates")), None);

    let busy = drive(&bench, "busy", CHAIN, &format!("[\"sleep\", \"{NAP}\"]"));
    let pointer = fs::read_to_string(bench.path("state/holder.json")).unwrap();
    let socket = pointer.split("\"socket\":\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let socket = PathBuf::from(socket);
    figure("a question over the socket, no process", &mut many_asked(&socket, bench.calls), None);
    let before = bench.events();
    println!("\n{RUNNING} steps under way, {CHAIN} in a chain, {before} events and growing\n");

    for words in ["status gates", "status busy", "runs", "why busy w3", "events gates", "events busy"] {
        let mut values = many(&|_| words.split(' ').map(str::to_owned).collect());
        // What has to be printed grows with the log; nothing is promised of that.
        let most = (words != "events busy").then_some(ANSWER_MAX_MS);
        kept &= figure(words, &mut values, most);
    }
    let of = |word: &'static str, from: usize| {
        move |at: usize| vec![word.to_owned(), "gates".to_owned(), format!("g{}", from + at)]
    };
    kept &= figure("approve", &mut many(&of("approve", 0)), Some(ANSWER_MAX_MS));
    let skip = of("skip", 2 * bench.calls);
    let noted = |at: usize| [skip(at), vec!["--note".to_owned(), "bench".to_owned()]].concat();
    kept &= figure("skip", &mut many(&noted), Some(ANSWER_MAX_MS));
    kept &= figure("reject", &mut many(&of("reject", bench.calls)), Some(ANSWER_MAX_MS));
    for run in ["gates", "busy"] {
        let turn = |at: usize| vec![["pause", "resume"][at % 2].to_owned(), run.to_owned()];
        kept &= figure(&format!("pause and resume, {run}"), &mut many(&turn), Some(ANSWER_MAX_MS));
    }
    bench.took(&["resume", "busy"]);
    let run = |word: &'static str, name: &'static str| {
        move |at: usize| vec![word.to_owned(), format!("{name}{at}")]
    };
    kept &= figure("cancel", &mut many(&run("cancel", "close")), Some(ANSWER_MAX_MS));
    kept &= figure("rollback of one step", &mut many(&run("rollback", "undo")), Some(ANSWER_MAX_MS));

    let words = [&["status", "gates"][..], &["status", "busy"], &["runs"], &["why", "busy", "w3"]];
    let start = Instant::now();
    let all: Vec<Child> = (0..AT_ONCE).map(|at| bench.runner(words[at % 4]).spawn().unwrap()).collect();
    for mut one in all {
        assert!(one.wait().unwrap().success());
    }
    let took = ms(start.elapsed());
    let each = took / AT_ONCE as f64;
    println!("{AT_ONCE} at once: all were answered after {took:.0} ms, {each:.1} ms each");
    kept &= each <= ANSWER_MAX_MS;
    let after = bench.events();
    println!("\n{after} events at the end");
    if after <= before {
        eprintln!("the log did not grow while it was measured");
        kept = false;
    }
    let end = bench.status("busy");
    if !end.contains(&format!("s{}", CHAIN - 1)) || !end.contains("pending") {
        eprintln!("the chain came to its end while it was measured");
        kept = false;
    }
    stop(busy);
    if !quick {
        println!("\na plan of {VAST} steps, of which nothing is promised\n");
        let vast = drive(&bench, "vast", VAST, "[\"true\"]");
        for words in ["status vast", "runs", "why vast w3"] {
            let call = |_| bench.took(&words.split(' ').collect::<Vec<&str>>());
            figure(words, &mut (0..5).map(call).collect::<Vec<f64>>(), None);
        }
        let turn = |at: usize| bench.took(&[["pause", "resume"][at % 2], "vast"]);
        figure("pause and resume, vast", &mut (0..6).map(turn).collect::<Vec<f64>>(), None);
        stop(vast);
    }
    let strict = std::env::var("RUNNER_BENCH_STRICT").is_ok_and(|value| value == "1");
    if kept || !strict { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends a process that drives. What is under way is stopped with it; killed, it would leave twenty sleeps.
fn stop(mut driving: Child) {
    let pid = rustix::process::Pid::from_child(&driving);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    driving.wait().unwrap();
}

fn many_asked(socket: &Path, calls: usize) -> Vec<f64> {
    (0..calls).map(|_| asked(socket)).collect()
}
