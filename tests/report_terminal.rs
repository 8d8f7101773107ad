//! The terminal, drawn on a model of one: what a person sees at several sizes, while steps run and afterwards.

#![expect(clippy::unwrap_used, reason = "a test")]

mod report_support;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use report_support::stories::*;
use report_support::*;
use runner::report::{Level, Look, Reporter, Size, Terminal, terminal};
use runner::saga::{StepEvent, Tail, Verdict};

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
