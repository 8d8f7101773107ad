//! The terminal, drawn into memory: what a person sees at two widths, while steps run and afterwards.

mod report_support;

use indicatif::{InMemoryTerm, ProgressDrawTarget};
use jiff::tz::TimeZone;
use report_support::stories::*;
use report_support::*;
use runner::report::{Level, Look, Reporter, terminal};

/// What stands on the screen after the first `events` of a story and `seconds` more.
fn screen(story: &Story, width: u16, events: usize, seconds: f64) -> String {
    let term = InMemoryTerm::new(60, width);
    let look = Look { width: width.into(), ..Look::default() };
    let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
    let mut reporter = terminal(target, look, TimeZone::UTC);
    reporter.note(Level::Info, "state folder: /srv/state");
    for (state, event) in &story.told[..events] {
        reporter.event(state, event);
    }
    let (state, event) = &story.told[events - 1];
    let late = (event.at.wall_ms - at(0.0).wall_ms) as f64 / 1_000.0 + seconds;
    reporter.tick(state, &at(late));
    let shown = term.contents();
    reporter.finish();
    assert!(shown.lines().all(|line| line.chars().count() <= usize::from(width)));
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
fn a_story_leaves_one_line_for_every_step_that_ended() {
    for (name, story) in [("hello", hello()), ("failed", failed()), ("attention", attention_forward())] {
        let all = story.told.len();
        insta::assert_snapshot!(format!("terminal_{name}_80"), screen(&story, 80, all, 1.0));
        insta::assert_snapshot!(format!("terminal_{name}_200"), screen(&story, 200, all, 1.0));
    }
}

#[test]
fn log_lines_appear_above_the_bars() {
    use std::io::Write;
    let term = InMemoryTerm::new(20, 80);
    let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
    let mut reporter = terminal(target, Look { width: 80, ..Look::default() }, TimeZone::UTC);
    let story = parallel();
    for (state, event) in &story.told[..4] {
        reporter.event(state, event);
    }
    let mut lines = reporter.lines();
    lines.write_all(b"connection to still-fawn \x1b[2Jre").unwrap();
    lines.write_all(b"used\nand ").unwrap();
    insta::assert_snapshot!("terminal_log_lines", term.contents());
}

#[test]
fn a_soak_and_a_gate_have_their_bars() {
    let story = soaking();
    insta::assert_snapshot!("terminal_soaking_80", screen(&story, 80, story.told.len(), 30.0));
    let story = waiting(runner::saga::Verdict::Holds);
    insta::assert_snapshot!("terminal_waiting_80", screen(&story, 80, story.told.len(), 30.0));
}

#[test]
fn quiet_shows_failures_alone_and_colours_only_where_wanted() {
    let draw = |look: Look| {
        let term = InMemoryTerm::new(60, 100);
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        let mut reporter = terminal(target, look, TimeZone::UTC);
        let story = parallel();
        for (state, event) in &story.told {
            reporter.event(state, event);
        }
        reporter.finish();
        (term.contents(), String::from_utf8_lossy(&term.contents_formatted()).into_owned())
    };
    let (quiet, _) = draw(Look { quiet: true, ..Look::default() });
    insta::assert_snapshot!("terminal_quiet", quiet);
    let (plain, formatted) = draw(Look::default());
    assert!(!formatted.contains("\u{1b}[31m"), "{formatted:?}");
    let (colored, formatted) = draw(Look { color: true, ..Look::default() });
    assert!(formatted.contains("\u{1b}[31m"), "{formatted:?}");
    assert_eq!(plain, colored, "colour says nothing that words do not say");
}
