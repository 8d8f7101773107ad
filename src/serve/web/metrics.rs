//! Metrics in the text format of Prometheus (0.0.4): everything begins with `runner_`, and everything is there from the
//! beginning, if only as 0.

use std::fmt::Write;

use super::board::{Counts, Durations, Entry, STEP_BOUNDS_S};
use crate::journal::Measured;
use crate::report::standing_word;

/// What is measured.
pub(super) struct Measures<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) counts: &'a Counts,
    pub(super) append: &'a Measured,
    pub(super) driven: usize,
    pub(super) followers: usize,
    pub(super) unresumed: usize,
    pub(super) ready: bool,
}

/// Every standing that a run may have, in the words of `status`.
const STANDINGS: [&str; 7] =
    ["open", "complete", "halted", "needs_attention", "resting", "rolled_back", "cancelled"];

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn gauge(text: &mut String, name: &str, help: &str, value: usize) {
    head(text, name, "gauge", help);
    let _ = writeln!(text, "{name} {value}");
}

/// A histogram's lines; `counts` has one more than `bounds`.
fn histogram(text: &mut String, name: &str, label: &str, bounds: &[f64], counts: &[u64], sum_s: f64) {
    let comma = if label.is_empty() { "" } else { "," };
    let mut so_far = 0;
    for (bound, count) in bounds.iter().zip(counts) {
        so_far += count;
        let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {so_far}");
    }
    so_far += counts.get(bounds.len()).copied().unwrap_or(0);
    let _ = writeln!(text, "{name}_bucket{{{label}{comma}le=\"+Inf\"}} {so_far}");
    let braces = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
    let _ = writeln!(text, "{name}_sum{braces} {sum_s}\n{name}_count{braces} {so_far}");
}

/// The metrics as text.
pub(super) fn text(measures: &Measures<'_>) -> String {
    let mut text = String::new();
    head(&mut text, "runner_build_info", "gauge", "The version of runner; always 1.");
    let _ = writeln!(text, "runner_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    gauge(&mut text, "runner_ready", "1 when every open run was taken on.", measures.ready.into());
    head(&mut text, "runner_runs", "gauge", "Runs of the journal by how they stand.");
    for standing in STANDINGS {
        let there = |entry: &&Entry| standing_word(&entry.row.standing) == standing;
        let count = measures.entries.iter().filter(there).count();
        let _ = writeln!(text, "runner_runs{{state=\"{standing}\"}} {count}");
    }
    let asking = measures.entries.iter().filter(|entry| !entry.asks.is_empty()).count();
    let paused = measures.entries.iter().filter(|entry| entry.paused).count();
    gauge(&mut text, "runner_runs_driven", "Runs that this process drives.", measures.driven);
    gauge(&mut text, "runner_runs_waiting_for_approval", "Runs that ask a person.", asking);
    gauge(&mut text, "runner_runs_paused", "Runs that a person paused.", paused);
    gauge(&mut text, "runner_runs_unresumed", "Open runs that could not be taken on.", measures.unresumed);
    gauge(&mut text, "runner_followers", "Connections that follow runs over HTTP.", measures.followers);
    head(&mut text, "runner_events_total", "counter", "Events that were recorded since the start.");
    let _ = writeln!(text, "runner_events_total {}", measures.counts.events);
    head(&mut text, "runner_soak_samples_total", "counter", "Samples of soaks since the start.");
    for (result, count) in ["good", "bad", "inconclusive"].iter().zip(measures.counts.samples) {
        let _ = writeln!(text, "runner_soak_samples_total{{result=\"{result}\"}} {count}");
    }
    let name = "runner_step_duration_seconds";
    head(&mut text, name, "histogram", "From a step's last start to its end.");
    for (result, durations) in ["done", "failed", "compensated"].iter().zip(&measures.counts.steps) {
        let Durations { counts, sum_s } = durations;
        histogram(&mut text, name, &format!("result=\"{result}\""), &STEP_BOUNDS_S, counts, *sum_s);
    }
    let name = "runner_journal_append_seconds";
    head(&mut text, name, "histogram", "From an append to its place on stable storage.");
    let bounds: Vec<f64> =
        measures.append.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect();
    let counts: Vec<u64> = measures.append.buckets.iter().map(|(_, count)| *count).collect();
    histogram(&mut text, name, "", &bounds, &counts, measures.append.sum_s);
    text
}
