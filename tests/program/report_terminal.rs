//! The terminal, drawn on a model of one: what a person sees at several sizes, while steps run and afterwards.

#![expect(clippy::unwrap_used, reason = "a test")]

use crate::report_support;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use report_support::stories::*;
use report_support::*;
use runner::report::{Level, Look, Reporter, Size, Terminal, plain, terminal};
use runner::saga::{StepEvent, Tail, Verdict, What};

/// A terminal that keeps what is on it, and every byte that it was sent.
#[derive(Clone)]
struct Model(Arc<Mutex<(vt100::Parser, Vec<u8>)>>);

impl Model {
    fn new(rows: u16, columns: u16) -> Self {
        Self(Arc::new(Mutex::new((vt100::Parser::new(rows, columns, 1_000), Vec::new()))))
    }

    fn reporter(&self, look: Look) -> Terminal {
        let model = self.clone();
        let size = move || {
            let (rows, columns) = model.0.lock().unwrap().0.screen().size();
            Size { rows: rows.into(), columns: columns.into() }
        };
        terminal(Box::new(self.clone()), Box::new(size), look, TimeZone::UTC)
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.0.lock().unwrap().0.screen_mut().set_size(rows, columns);
    }

    /// The rows that are seen.
    fn text(&self) -> String {
        let model = self.0.lock().unwrap();
        let (_, columns) = model.0.screen().size();
        let rows: Vec<String> =
            model.0.screen().rows(0, columns).map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    fn bytes(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().1.clone()).unwrap()
    }
}

impl Write for Model {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut model = self.0.lock().unwrap();
        model.1.extend_from_slice(bytes);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            // As the line discipline does it.
            let (line, end) = line.strip_suffix(b"\n").map_or((line, &b""[..]), |line| (line, &b"\r\n"[..]));
            model.0.process(line);
            model.0.process(end);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The first `events` of a story through a reporter, and `seconds` more.
fn play(reporter: &mut Terminal, story: &Story, events: usize, seconds: f64) {
    for (state, event) in &story.told[..events] {
        reporter.event(state, event);
    }
    let (state, event) = &story.told[events - 1];
    let late = (event.at.wall_ms - at(0.0).wall_ms) as f64 / 1_000.0 + seconds;
    reporter.tick(state, &at(late));
}

/// What stands on the screen after the first `events` of a story and `seconds` more.
fn screen(story: &Story, columns: u16, events: usize, seconds: f64) -> String {
    let model = Model::new(60, columns);
    let mut reporter = model.reporter(Look { width: columns.into(), ..Look::default() });
    reporter.note(Level::Info, "state folder: /srv/state");
    play(&mut reporter, story, events, seconds);
    let shown = model.text();
    reporter.finish();
    shown
}

#[test]
fn bars_while_steps_run() {
    let story = parallel();
    // Two steps run side by side; then one has failed and the other goes on.
    for width in [80, 200] {
        insta::assert_snapshot!(format!("terminal_parallel_both_{width}"), screen(&story, width, 4, 1.5));
        insta::assert_snapshot!(format!("terminal_parallel_one_{width}"), screen(&story, width, 6, 58.0));
        let all = story.told.len();
        insta::assert_snapshot!(format!("terminal_parallel_end_{width}"), screen(&story, width, all, 0.0));
    }
}

#[test]
fn every_story_on_two_terminals() {
    for (name, story) in [
        ("hello", hello()),
        ("failed", failed()),
        ("attention", attention_forward()),
        ("attention_back", attention_back()),
        ("rolled_back", rolled_back()),
        ("going_back", going_back()),
        ("cancelled", cancelled()),
        ("soaking", soaking()),
        ("waiting", waiting(Verdict::Holds)),
        ("window_and_retry", window_and_retry()),
        ("wide", wide()),
    ] {
        let all = story.told.len();
        for width in [80, 200] {
            let shown = screen(&story, width, all, 1.0);
            insta::assert_snapshot!(format!("terminal_{name}_{width}"), shown);
        }
    }
}

#[test]
fn log_lines_appear_above_the_bars() {
    let model = Model::new(20, 80);
    let mut reporter = model.reporter(Look { width: 80, ..Look::default() });
    play(&mut reporter, &parallel(), 4, 1.0);
    let mut lines = reporter.lines();
    lines.write_all(b"connection to still-fawn \x1b[2Jre").unwrap();
    lines.write_all(b"used\nand ").unwrap();
    insta::assert_snapshot!("terminal_log_lines", model.text());
}

#[test]
fn a_soak_shows_what_only_its_process_knows() {
    let story = soaking();
    let (state, event) = story.told.last().unwrap();
    let model = Model::new(10, 120);
    let mut reporter = model.reporter(Look::default());
    let said = |model: &Model| model.text().lines().last().unwrap().to_owned();
    reporter.tick(state, &event.at);
    assert!(said(&model).contains("1 d 12 h of 3 d healthy, budget 7 of 8,"), "{}", said(&model));
    // An hour of good samples that nobody has recorded yet, and the last of them was just taken.
    let tail = Tail { good: 12, good_ms: 3_600_000, last: Some(event.at), ..Tail::default() };
    reporter.tails(&BTreeMap::from([(id("soak"), tail)]));
    reporter.tick(state, &event.at);
    let text = said(&model);
    assert!(text.contains("1 d 13 h of 3 d healthy, budget 7 of 8, sample in 5 m"), "{text}");
}

#[test]
fn what_an_attempt_waits_for_stands_on_its_bar_until_something_happens() {
    let story = parallel();
    let model = Model::new(20, 120);
    let mut reporter = model.reporter(Look { width: 120, ..Look::default() });
    play(&mut reporter, &story, 4, 1.0);
    let (state, event) = &story.told[3];
    reporter.waits(
        state,
        &event.at,
        &id("copy-config"),
        "0/1 pods ready; pod x: Insufficient nvidia.com/gpu\u{1b}[2J",
    );
    reporter.tick(state, &event.at);
    let text = model.text();
    let bar = text.lines().find(|line| line.contains("copy-config")).unwrap();
    assert!(
        bar.contains("running  attempt 1, ")
            && bar.contains(": waits for 0/1 pods ready; pod x: Insufficient"),
        "{text}"
    );
    assert!(!model.bytes().contains("gpu\u{1b}[2J"));
    assert!(text.contains("Copy the recordings"), "{text}");
    for (state, event) in &story.told[4..] {
        reporter.event(state, event);
    }
    reporter.tick(state, &event.at);
    assert!(!model.text().contains("waits for"), "{}", model.text());
}

/// Why a step that was cut off cannot be settled is what matters, in eighty columns too.
#[test]
fn what_a_step_that_was_cut_off_waits_for_has_the_bar_for_itself() {
    let story = settled();
    let cut = story
        .told
        .iter()
        .position(|(_, event)| matches!(&event.what, What::Step { is: StepEvent::Cut { .. }, .. }));
    let model = Model::new(20, 80);
    let mut reporter = model.reporter(Look { width: 80, ..Look::default() });
    play(&mut reporter, &story, cut.unwrap() + 1, 1.0);
    let (state, event) = &story.told[cut.unwrap()];
    reporter.waits(state, &event.at, &id("stop-old"), "proof that attempt 1 is over: nas does not answer");
    reporter.tick(state, &event.at);
    let text = model.text();
    let bar = "stop-old  interrupted  waits for proof that attempt 1 is over: nas does not";
    assert!(text.contains(bar), "{text}");
}

#[test]
fn plain_lines_say_what_is_waited_for_and_the_same_not_again() {
    let story = parallel();
    let model = Model::new(40, 160);
    let mut reporter = plain(Box::new(model.clone()), Look::default(), TimeZone::UTC);
    let (state, event) = &story.told[3];
    let step = id("copy-config");
    for reason in ["ErrImagePull", "ImagePullBackOff", "ErrImagePull", "ImagePullBackOff\u{1b}[2J"] {
        reporter.waits(state, &event.at, &step, reason);
    }
    assert_eq!(model.bytes().lines().count(), 3, "{}", model.bytes());
    let line = model.bytes().lines().next().unwrap().to_owned();
    assert!(line.contains("  copy-config      waits           ErrImagePull"), "{line}");
    assert!(!model.bytes().contains('\u{1b}'));
    let mut quiet = plain(Box::new(model.clone()), Look { quiet: true, ..Look::default() }, TimeZone::UTC);
    quiet.waits(state, &event.at, &step, "nobody reads this");
    assert!(!model.bytes().contains("nobody"));
}

#[test]
fn more_bars_than_rows_are_folded() {
    let story = fifty();
    let all = story.told.len();
    for (rows, columns) in [(24, 80), (24, 20), (3, 80), (60, 200)] {
        let model = Model::new(rows, columns);
        let mut reporter = model.reporter(Look { width: columns.into(), ..Look::default() });
        play(&mut reporter, &story, all, 2.0);
        let shown = model.text();
        insta::assert_snapshot!(format!("terminal_fifty_{rows}x{columns}"), shown);
        let (row, _) = model.0.lock().unwrap().0.screen().cursor_position();
        assert!(row < rows);
        reporter.finish();
        assert!(!model.text().contains("and 2"), "the bars are gone: {}", model.text());
    }
}

#[test]
fn a_window_is_made_wider_and_higher_while_steps_run() {
    let story = fifty();
    let model = Model::new(24, 80);
    let mut reporter = model.reporter(Look { width: 80, ..Look::default() });
    reporter.note(Level::Warning, "the line above");
    play(&mut reporter, &story, 12, 1.0);
    for (rows, columns) in [(24, 200), (24, 80), (40, 80)] {
        model.resize(rows, columns);
        let (state, event) = &story.told[11];
        reporter.tick(state, &event.at);
        let text = model.text();
        let bars = text.lines().filter(|line| line.contains("camera-")).count();
        assert_eq!(bars, 10, "{rows}x{columns}:\n{text}");
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(columns)));
    }
    reporter.finish();
    assert!(!model.text().contains("camera-"), "{}", model.text());
}

#[test]
fn the_cursor_is_never_hidden_and_nothing_but_the_block_is_redrawn() {
    let escape = regex::Regex::new("\u{1b}\\[([0-9]+A|J)").unwrap();
    for story in [parallel(), fifty(), soaking(), rolled_back()] {
        let model = Model::new(24, 80);
        let mut reporter = model.reporter(Look { width: 80, ..Look::default() });
        play(&mut reporter, &story, story.told.len(), 1.0);
        reporter.finish();
        // Up, and away with what is there: no other escape at all.
        assert!(!escape.replace_all(&model.bytes(), "").contains('\u{1b}'));
        assert!(!model.0.lock().unwrap().0.screen().hide_cursor());
    }
}

#[test]
fn quiet_shows_failures_alone_and_colours_only_where_wanted() {
    let draw = |look: Look| {
        let model = Model::new(60, 100);
        let mut reporter = model.reporter(look);
        let story = parallel();
        for (state, event) in &story.told {
            reporter.event(state, event);
        }
        reporter.finish();
        (model.text(), model.bytes())
    };
    let (quiet, _) = draw(Look { quiet: true, ..Look::default() });
    insta::assert_snapshot!("terminal_quiet", quiet);
    let (plain, bytes) = draw(Look::default());
    assert!(!bytes.contains("\u{1b}[31m"), "{bytes:?}");
    let (colored, bytes) = draw(Look { color: true, ..Look::default() });
    assert!(bytes.contains("\u{1b}[31m"), "{bytes:?}");
    assert_eq!(plain, colored, "colour says nothing that words do not say");
}

#[test]
fn a_step_that_a_compensation_undoes_has_its_bar() {
    let mut story = going_back();
    let looked = vec![answer(Verdict::Unknown, "connection refused")];
    story.acted("stop-old", BACK, 1).step("stop-old", StepEvent::UndoneLooked { answers: looked });
    let shown = screen(&story, 80, story.told.len(), 5.0);
    assert!(shown.lines().last().unwrap().contains("undoing_check"), "{shown}");
}

#[test]
fn a_gate_asks_nobody_on_the_way_back() {
    let mut story = waiting(Verdict::Holds);
    let asked = screen(&story, 80, story.told.len(), 1.0);
    assert!(asked.lines().last().unwrap().starts_with("? stop-old"), "{asked}");
    story.rollback(None, None);
    let back = screen(&story, 80, story.told.len(), 1.0);
    assert!(!back.contains("? stop-old"), "{back}");
}

/// The rows of bars, without what turns.
fn bars(model: &Model) -> Vec<String> {
    let still = |line: &str| line.replacen(['|', '/', '-', '\\'], "*", 1);
    let all = model.text();
    all.lines().filter(|line| line.contains("  camera-") || line.contains(" more: ")).map(still).collect()
}

#[test]
fn bars_depend_on_the_present_alone() {
    let mut story = fifty();
    let asked =
        |what: &(_, runner::saga::Event)| what.1.what.step().is_some_and(|step| *step == id("camera-30"));
    let request = story.told.iter().find(|what| asked(what)).unwrap().1.seq;
    story.step(
        "camera-30",
        StepEvent::Approved { request, by: "alice@maple".to_owned(), note: String::new() },
    );
    story.step("camera-30", StepEvent::GateOpened { request, evidence: Vec::new() });
    story.started("camera-30", FORWARD, 1);
    let last = story.told.len() - 1;
    for rows in [24, 60] {
        let model = Model::new(rows, 80);
        let mut old = model.reporter(Look::default());
        // Forward, where steps come and one that is asked about starts, from the top to its place; and back again.
        for at in (0..=last).chain((0..last).rev()).chain([last, last - 3, last, 3, last, 50, 10]) {
            let (state, event) = &story.told[at];
            old.tick(state, &event.at);
            let fresh = Model::new(rows, 80);
            fresh.reporter(Look::default()).tick(state, &event.at);
            let (shown, wanted) = (bars(&model), bars(&fresh));
            assert_eq!(shown.len(), wanted.len(), "{shown:#?}\n{wanted:#?}");
            for (shown, wanted) in shown.iter().zip(&wanted) {
                assert_eq!(shown[1..], wanted[1..], "after event {at}");
            }
        }
    }
}

/// Counts what is written at once; after a while its terminal is gone.
#[derive(Clone)]
struct Gone(Arc<Mutex<(usize, usize)>>);

impl Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut counted = self.0.lock().unwrap();
        counted.0 += 1;
        if counted.0 > counted.1 { Err(std::io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_event_is_one_write_and_a_terminal_that_is_gone_stops_nobody() {
    for most in [usize::MAX, 3] {
        let out = Gone(Arc::new(Mutex::new((0, most))));
        let size = || Size { rows: 24, columns: 80 };
        let mut reporter = terminal(Box::new(out.clone()), Box::new(size), Look::default(), TimeZone::UTC);
        for (state, event) in &fifty().told {
            let before = out.0.lock().unwrap().0;
            reporter.event(state, event);
            reporter.tick(state, &event.at);
            assert!(out.0.lock().unwrap().0 <= before + 2);
        }
        let log = reporter.lines().write_all(b"a line\n");
        assert_eq!(log.is_ok(), most == usize::MAX);
        reporter.finish();
    }
}

#[test]
fn lines_of_many_threads_and_of_one_that_panics() {
    struct LastWords(runner::report::Lines);
    impl Drop for LastWords {
        fn drop(&mut self) {
            self.0.write_all(b"last words\n").unwrap();
        }
    }
    let model = Model::new(300, 80);
    let mut reporter = model.reporter(Look::default());
    let story = fifty();
    play(&mut reporter, &story, 8, 1.0);
    let log = |n: usize, mut lines: runner::report::Lines| {
        (0..50).for_each(|line| writeln!(lines, "line {line} of thread {n}").unwrap());
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|n| (n, reporter.lines())).collect();
        let threads: Vec<_> =
            threads.into_iter().map(|(n, lines)| scope.spawn(move || log(n, lines))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            reporter.tick(&story.told[7].0, &story.told[7].1.at);
        }
    });
    let last = LastWords(reporter.lines());
    let panics = move || {
        let _last = last;
        panic!("as a test wants it");
    };
    std::thread::spawn(panics).join().unwrap_err();
    let text = model.text();
    for said in (0..4).flat_map(|n| (0..50).map(move |line| format!("line {line} of thread {n}"))) {
        assert_eq!(text.lines().filter(|line| **line == said).count(), 1, "{said}\n{text}");
    }
    let below: Vec<&str> = text.lines().skip_while(|line| *line != "last words").skip(1).collect();
    assert_eq!(below.len(), 6, "{text}");
    assert!(below.iter().all(|line| line.contains("  running  ")), "{text}");
}

#[test]
fn windows_that_are_hardly_there() {
    // No model: that of vt100 panics where a wide character meets one column.
    for (rows, columns) in [(1, 1), (2, 2), (5, 3), (24, 8)] {
        let out = Gone(Arc::new(Mutex::new((0, usize::MAX))));
        let size = move || Size { rows, columns };
        let look = Look { color: true, ..Look::default() };
        let mut reporter = terminal(Box::new(out), Box::new(size), look, TimeZone::UTC);
        for story in [wide(), fifty(), waiting(Verdict::Holds)] {
            play(&mut reporter, &story, story.told.len(), 1.0);
            writeln!(reporter.lines(), "猫猫猫\u{2e3b}").unwrap();
        }
        reporter.finish();
    }
}
