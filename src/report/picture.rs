//! The graph of a run as a picture: its steps in layers, each with its state, and arrows from what is needed.
//!
//! Made here, so that no script is needed to see it. Every state has a sign and a word; colour only repeats them.

use std::fmt::Write;

use super::chart::escape;
use super::guard;
use super::step::{detail, summary, tone};
use super::story::tone_word;
use crate::plan::Graph;
use crate::saga::{Stamp, State, Status};

const BOX_WIDTH: usize = 232;
const BOX_HEIGHT: usize = 66;
const GAP_X: usize = 28;
const GAP_Y: usize = 38;
const MARGIN: usize = 10;

/// Columns of a line in a box.
const COLUMNS: usize = 30;

/// The name of the sign of a status; each is a symbol in [`SIGNS`].
pub fn sign(status: &Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::AwaitingApproval => "asks",
        Status::Running { .. } | Status::Verifying(_) => "running",
        Status::Retrying { .. } | Status::CompensationRetrying { .. } => "again",
        Status::Soaking(_) => "soaking",
        Status::Done | Status::Satisfied => "done",
        Status::Skipped => "skipped",
        Status::Failed { .. } | Status::CompensationFailed { .. } => "failed",
        Status::Interrupted(_) => "cut",
        Status::Compensating { .. } | Status::UndoingCheck { .. } => "again",
        Status::Compensated => "undone",
    }
}

/// Every sign as a symbol; to stand once in a page, before the first that uses one.
pub const SIGNS: &str = concat!(
    "<svg class=\"signs\" aria-hidden=\"true\" focusable=\"false\" width=\"0\" height=\"0\">",
    "<symbol id=\"sign-pending\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"5.5\" stroke-dasharray=\"2.6 2.2\"/></symbol>",
    "<symbol id=\"sign-asks\" viewBox=\"0 0 16 16\"><path d=\"M5.2 6a2.8 2.8 0 1 1 4 2.5c-.9.5-1.2 1-1.2 1.9M8 13v.2\"/></symbol>",
    "<symbol id=\"sign-running\" viewBox=\"0 0 16 16\"><path d=\"M5.5 3.5l6.5 4.5-6.5 4.5z\"/></symbol>",
    "<symbol id=\"sign-again\" viewBox=\"0 0 16 16\"><path d=\"M3.2 8.5a4.9 4.9 0 1 0 1.6-4.1M3 2.5v3h3\"/></symbol>",
    "<symbol id=\"sign-soaking\" viewBox=\"0 0 16 16\"><circle cx=\"8\" cy=\"8\" r=\"5.8\"/><path d=\"M8 4.8V8l2.4 1.6\"/></symbol>",
    "<symbol id=\"sign-done\" viewBox=\"0 0 16 16\"><path d=\"M3 8.6l3.4 3.4L13 4.6\"/></symbol>",
    "<symbol id=\"sign-skipped\" viewBox=\"0 0 16 16\"><path d=\"M3 4l4.5 4L3 12M8.5 4L13 8l-4.5 4\"/></symbol>",
    "<symbol id=\"sign-failed\" viewBox=\"0 0 16 16\"><path d=\"M4 4l8 8M12 4l-8 8\"/></symbol>",
    "<symbol id=\"sign-cut\" viewBox=\"0 0 16 16\"><path d=\"M8 2.5v7M8 12.8v.2\"/></symbol>",
    "<symbol id=\"sign-undone\" viewBox=\"0 0 16 16\"><path d=\"M6.5 3L3 6.5 6.5 10M3.4 6.5H9a3.6 3.6 0 0 1 0 7H7\"/></symbol>",
    "</svg>"
);

/// Where each step stands: its layer and its place in it.
fn layers(graph: &Graph, steps: usize) -> Vec<Vec<usize>> {
    let mut layer = vec![0; steps];
    for &step in graph.order() {
        layer[step] = graph.needs(step).iter().map(|&need| layer[need] + 1).max().unwrap_or(0);
    }
    let mut layers = vec![Vec::new(); layer.iter().max().map_or(0, |most| most + 1)];
    for &step in graph.order() {
        layers[layer[step]].push(step);
    }
    // One pass of barycentres: each step under the middle of what it needs, so that fewer arrows cross.
    let mut place = vec![0.0; steps];
    for row in &mut layers {
        let middle = |step: usize| {
            let needs = graph.needs(step);
            let sum: f64 = needs.iter().map(|&need| place[need]).sum();
            if needs.is_empty() { step as f64 } else { sum / needs.len() as f64 }
        };
        row.sort_by(|a, b| middle(*a).total_cmp(&middle(*b)).then(a.cmp(b)));
        let half = (row.len() as f64 - 1.0) / 2.0;
        for (at, &step) in row.iter().enumerate() {
            place[step] = at as f64 - half;
        }
    }
    layers
}

/// The graph of a run with the states of its steps. With `links` each step leads to `#step-ID` on the same page.
pub fn run_svg(state: &State, now: &Stamp, links: bool) -> String {
    let graph = Graph::of(&state.definition);
    let layers = layers(&graph, state.steps.len());
    let widest = layers.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let width = widest * BOX_WIDTH + (widest - 1) * GAP_X + 2 * MARGIN;
    let height = layers.len() * BOX_HEIGHT + layers.len().saturating_sub(1) * GAP_Y + 2 * MARGIN;
    let mut corner = vec![(0, 0); state.steps.len()];
    for (row, steps) in layers.iter().enumerate() {
        let taken = steps.len() * BOX_WIDTH + steps.len().saturating_sub(1) * GAP_X;
        let left = (width - taken) / 2;
        for (at, &step) in steps.iter().enumerate() {
            corner[step] = (left + at * (BOX_WIDTH + GAP_X), MARGIN + row * (BOX_HEIGHT + GAP_Y));
        }
    }
    let mut svg = format!(
        "<svg class=\"graph\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"group\" aria-label=\"The steps of {run} and what they need\">\
         <defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"head\" d=\"M0 0l8 4-8 4z\"/></marker></defs>",
        run = escape(&state.run.to_string()),
    );
    for step in 0..state.steps.len() {
        for &need in graph.needs(step) {
            let (from, to) = (corner[need], corner[step]);
            let (x1, y1) = (from.0 + BOX_WIDTH / 2, from.1 + BOX_HEIGHT);
            let (x2, y2) = (to.0 + BOX_WIDTH / 2, to.1);
            let bend = (y2.saturating_sub(y1) / 2).max(12);
            let _ = write!(
                svg,
                "<path class=\"edge\" marker-end=\"url(#arrow)\" d=\"M{x1} {y1}C{x1} {} {x2} {} {x2} {y2}\"/>",
                y1 + bend,
                y2.saturating_sub(bend),
            );
        }
    }
    for (place, (step, found)) in state.definition.steps.iter().zip(&state.steps).enumerate() {
        let (x, y) = corner[place];
        let id = escape(step.id.as_str());
        let word = found.status.word().replace('_', " ");
        let said = detail(state, place, now);
        let title = [step.id.to_string(), word.clone(), said.clone(), summary(step).unwrap_or_default()];
        let title: Vec<&str> = title.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        let below = match said.as_str() {
            "" => word.clone(),
            said => format!("{word} · {said}"),
        };
        if links {
            let _ = write!(svg, "<a href=\"#step-{id}\">");
        }
        let gate = if step.gate.is_some() { " gated" } else { "" };
        let _ = write!(
            svg,
            "<g class=\"node {tone}{gate}\"><title>{title}</title>\
             <rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"10\"/>\
             <use class=\"sign\" href=\"#sign-{sign}\" x=\"{sx}\" y=\"{sy}\" width=\"18\" height=\"18\"/>\
             <text class=\"name\" x=\"{tx}\" y=\"{ny}\">{name}</text>\
             <text class=\"word\" x=\"{x0}\" y=\"{wy}\">{below}</text></g>",
            tone = tone_word(tone(found)),
            title = escape(&title.join(": ")),
            sign = sign(&found.status),
            sx = x + 14,
            sy = y + 13,
            tx = x + 40,
            ny = y + 28,
            x0 = x + 15,
            wy = y + 50,
            name = escape(&guard::cut(step.id.as_str(), COLUMNS - 5)),
            below = escape(&guard::cut(&below, COLUMNS + 2)),
        );
        if links {
            svg.push_str("</a>");
        }
    }
    svg.push_str("</svg>");
    svg
}
