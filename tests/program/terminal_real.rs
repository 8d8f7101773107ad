//! Goal: on a real terminal bars and lines stay apart while the window changes its size, and a Ctrl-C leaves the
//! terminal as it was. Method: the binary in tmux, which breaks and joins lines anew as most terminals do.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::worlds_support;

use std::time::{Duration, Instant};

use worlds_support::*;

/// How long anything may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(120);

/// A tmux server of its own, ended with the test.
struct Tmux<'h> {
    house: &'h House,
}

impl<'h> Tmux<'h> {
    /// Runs a line of shell in a window of this size; the window stays when it has ended.
    fn start(house: &'h House, columns: u16, rows: u16, line: &str) -> Option<Self> {
        let tmux = Self { house };
        let line = format!("{line}; echo exit $?; exec cat");
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let words = ["-f", "/dev/null", "new-session", "-d", "-s", "it", "-x", &columns, "-y", &rows, &line];
        let mut command = tmux.command(&words);
        match command.status() {
            Ok(status) if status.success() => Some(tmux),
            other => {
                skipped(&format!("no tmux to make a terminal with: {other:?}"));
                None
            }
        }
    }

    fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.house.command("tmux");
        command.args(["-L", "it"]).args(words).env("TMUX_TMPDIR", &self.house.path).env("LC_ALL", "C.UTF-8");
        command
    }

    fn ask(&self, words: &[&str]) -> String {
        String::from_utf8(self.command(words).output().unwrap().stdout).unwrap()
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p", "-t", "it"])
    }

    fn resize(&self, columns: u16, rows: u16) {
        let (columns, rows) = (columns.to_string(), rows.to_string());
        self.ask(&["resize-window", "-t", "it", "-x", &columns, "-y", &rows]);
    }

    /// Waits until the screen is as it should be.
    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < LIMIT, "never: {what}\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        drop(self.command(&["kill-server"]).output());
    }
}

/// Steps that run side by side until there is a file `go`.
fn waiting(house: &House, steps: usize) {
    let step = |n: usize| {
        format!(
            "[[step]]\nid = \"job-{n:02}\"\nneeds = []\nsummary = \"Wait for the word, and say in many words what is \
             waited for, so that a narrow window has to cut it and a wide one shows it whole, ah\"\n\
             forward = {{ action = \"command\", script = \"until [ -e ../go ] || [ ! -d $PWD ]; do sleep 0.05; done\" }}\n\
             compensate = \"nothing\"\n"
        )
    };
    let all: String = (1..=steps).map(step).collect();
    house.plan("jobs", &format!("parallelism = {steps}\n{all}"));
}

/// Every job has one bar, and nothing else is there but the line above.
fn tidy(screen: &str, steps: usize) -> bool {
    let bars: Vec<&str> = screen.lines().filter(|line| line.contains("running")).collect();
    let once = |n: usize| bars.iter().filter(|line| line.contains(&format!("job-{n:02}"))).count() == 1;
    bars.len() == steps
        && (1..=steps).all(once)
        && screen.lines().filter(|line| line.contains("State folder")).count() == 1
}

#[test]
fn a_window_that_changes_its_size() {
    let house = House::new();
    waiting(&house, 6);
    let line = format!("{} apply plans/jobs.toml", env!("CARGO_BIN_EXE_runner"));
    let Some(tmux) = Tmux::start(&house, 80, 24, &line) else { return };
    tmux.until("six bars", |screen| tidy(screen, 6));
    // At the next second everything has its place again: nothing but bars from the first bar on.
    let resized = |columns: u16, rows: u16| {
        tmux.resize(columns, rows);
        tmux.until(&format!("six bars at {columns}x{rows}"), |screen| {
            let below: Vec<&str> =
                screen.trim_end().lines().skip_while(|line| !line.contains("job-")).collect();
            let cut = below.iter().all(|line| line.ends_with('…') == (columns < 200));
            let fits = screen.lines().all(|line| line.chars().count() <= usize::from(columns));
            below.len() == 6 && below.iter().all(|line| line.contains("job-")) && cut && fits
        });
    };
    resized(200, 24);
    tmux.until("the line above is where it was", |screen| tidy(screen, 6));
    // What a narrower window breaks, tmux moves out of sight to its history: there nobody can take it away.
    for (columns, rows) in [(60, 30), (120, 30), (40, 30), (80, 24), (20, 12), (80, 24)] {
        resized(columns, rows);
    }
    house.write("go", "");
    let screen = tmux.until("the end", |screen| screen.contains("exit 0"));
    assert!(!screen.contains("running"), "{screen}");
    assert!(screen.contains("jobs-1 is complete"), "{screen}");
}

#[test]
fn more_steps_than_rows() {
    let house = House::new();
    waiting(&house, 50);
    let line = format!("{} apply plans/jobs.toml", env!("CARGO_BIN_EXE_runner"));
    let Some(tmux) = Tmux::start(&house, 80, 20, &line) else { return };
    let screen = tmux.until("a fold", |screen| screen.contains("and 33 more: 33 running"));
    assert_eq!(screen.lines().filter(|line| line.contains("job-")).count(), 17, "{screen}");
    tmux.resize(80, 60);
    tmux.until("all of them", |screen| screen.lines().filter(|line| line.contains("job-")).count() == 50);
    house.write("go", "");
    tmux.until("the end", |screen| screen.contains("exit 0"));
}

#[test]
fn a_person_ends_it() {
    let house = House::new();
    waiting(&house, 3);
    let line = format!("{} apply plans/jobs.toml", env!("CARGO_BIN_EXE_runner"));
    let Some(tmux) = Tmux::start(&house, 80, 40, &line) else { return };
    tmux.until("three bars", |screen| tidy(screen, 3));
    tmux.ask(&["send-keys", "-t", "it", "C-c"]);
    let screen = tmux.until("the end", |screen| screen.contains("exit 130"));
    assert!(!screen.lines().any(|line| line.contains("running")), "{screen}");
    assert!(screen.contains("Ways forward:"), "{screen}");
    // The cursor is seen, on the line below the last one that was written.
    let cursor = tmux.ask(&["display-message", "-p", "-t", "it", "#{cursor_flag} #{cursor_x}"]);
    assert_eq!(cursor.trim(), "1 0");
}

#[test]
fn a_kill_leaves_a_terminal_that_can_be_used() {
    let house = House::new();
    waiting(&house, 3);
    let runner = env!("CARGO_BIN_EXE_runner");
    let Some(tmux) = Tmux::start(&house, 80, 24, &format!("{runner} apply plans/jobs.toml")) else { return };
    tmux.until("three bars", |screen| tidy(screen, 3));
    let pane = tmux.ask(&["display-message", "-p", "-t", "it", "#{pane_pid}"]);
    house.shell(&format!("kill -9 $(ps -o pid= --ppid {})", pane.trim()));
    let screen = tmux.until("the shell's word", |screen| screen.contains("exit 137"));
    // What the shell says stands on a line of its own, below the bars.
    assert!(screen.lines().any(|line| line.trim() == "exit 137"), "{screen}");
    assert!(tmux.ask(&["display-message", "-p", "-t", "it", "#{cursor_flag}"]).trim() == "1");
    house.write("go", "");
}

#[test]
fn a_soak_shows_its_time_before_it_is_recorded() {
    let house = House::new();
    // It is recorded every 18 seconds, a two-hundredth of its length.
    let soak = "[[step]]\nid = \"soak\"\nsoak = { for = \"1h\", every = \"1s\", max_gap = \"1h\", error_budget = \"1%\" }\n\
                verify = [{ check = \"command\", argv = [\"true\"] }]\n";
    house.plan("soak", soak);
    let line = format!("{} apply plans/soak.toml", env!("CARGO_BIN_EXE_runner"));
    let Some(tmux) = Tmux::start(&house, 120, 24, &line) else { return };
    let shown = regex::Regex::new(r"soaking  ([0-9.]+) s of 1 h healthy, budget 36 of 36, ").unwrap();
    let screen = tmux.until("healthy time", |screen| {
        shown.captures(screen).is_some_and(|found| found[1].parse::<f64>().unwrap() >= 1.0)
    });
    let events = house.run(&["--json", "events"]).out;
    let recorded = objects(&events).iter().filter_map(|event| event["good_ms"].as_u64()).sum::<u64>();
    let healthy: f64 = shown.captures(&screen).unwrap()[1].parse().unwrap();
    assert!((recorded as f64) < healthy * 1_000.0, "{recorded} ms were recorded\n{screen}");
    tmux.ask(&["send-keys", "-t", "it", "C-c"]);
    tmux.until("the end", |screen| screen.contains("exit 130"));
}
