//! The graph of a plan as Mermaid or DOT: needs, gates, soaks, and what cannot be undone.
//!
//! Sources: <https://mermaid.js.org/syntax/flowchart.html> (entity codes `#quot;`), and
//! <https://graphviz.org/doc/info/lang.html> (quoted strings, of which only `\` and `"` need an escape).

use super::guard;
use super::human::duration;
use crate::plan::graph::Graph;
use crate::plan::recorded::{Compensate, Definition, Step};

/// The lines in the box of a step.
fn lines(step: &Step) -> Vec<String> {
    let mut lines = vec![step.id.to_string()];
    if !step.summary.is_empty() {
        lines.push(guard::line(&step.summary));
    }
    if let Some(gate) = &step.gate {
        lines.push(format!("approval: {}", guard::line(&gate.question)));
    }
    if step.window.is_some() {
        lines.push("in a window".to_owned());
    }
    if let Some(soak) = &step.soak {
        lines.push(format!("soak: {}", duration(soak.for_ms)));
    }
    if let Compensate::Irreversible(why) = &step.compensate {
        lines.push(format!("irreversible: {}", guard::line(why)));
    }
    let owners = |word: &str, of: &std::collections::BTreeMap<String, String>| -> Vec<String> {
        of.iter().map(|(resource, owner)| format!("{word} {resource} ({owner})")).collect()
    };
    lines.extend(owners("frees", &step.frees));
    lines.extend(owners("takes", &step.takes));
    lines
}

fn is_irreversible(step: &Step) -> bool {
    matches!(step.compensate, Compensate::Irreversible(_))
}

/// The plan's graph for Graphviz. Ends with a line end.
pub fn dot(definition: &Definition) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut text =
        format!("digraph \"{}\" {{\n  rankdir=TB;\n  node [shape=box];\n", definition.name.as_str());
    let graph = Graph::of(definition);
    for (place, step) in definition.steps.iter().enumerate() {
        let label: Vec<String> = lines(step).iter().map(|line| quoted(line)).collect();
        let shape = match (&step.gate, &step.soak) {
            (Some(_), _) => ", shape=hexagon",
            (None, Some(_)) => ", style=rounded",
            (None, None) => "",
        };
        let pen = if is_irreversible(step) { ", color=red, penwidth=2" } else { "" };
        text.push_str(&format!("  s{place} [label=\"{}\"{shape}{pen}];\n", label.join("\\n")));
    }
    for place in 0..definition.steps.len() {
        for need in graph.needs(place) {
            text.push_str(&format!("  s{need} -> s{place};\n"));
        }
    }
    text.push_str("}\n");
    text
}

/// The plan's graph for Mermaid. Ends with a line end.
pub fn mermaid(definition: &Definition) -> String {
    // What has a meaning in a label is written as its code; `#` first, which begins a code.
    let quoted = |text: &str| {
        let text = text.replace('#', "#35;").replace('"', "#quot;").replace('&', "#amp;");
        let text = text.replace('<', "#lt;").replace('>', "#gt;").replace('`', "#96;");
        text.replace('\\', "#92;")
    };
    let graph = Graph::of(definition);
    let mut text = "flowchart TB\n".to_owned();
    for (place, step) in definition.steps.iter().enumerate() {
        let label: Vec<String> = lines(step).iter().map(|line| quoted(line)).collect();
        let label = label.join("<br/>");
        text.push_str(&match (&step.gate, &step.soak) {
            (Some(_), _) => format!("  s{place}{{{{\"{label}\"}}}}\n"),
            (None, Some(_)) => format!("  s{place}(\"{label}\")\n"),
            (None, None) => format!("  s{place}[\"{label}\"]\n"),
        });
    }
    for place in 0..definition.steps.len() {
        for need in graph.needs(place) {
            text.push_str(&format!("  s{need} --> s{place}\n"));
        }
    }
    let irreversible = definition.steps.iter().enumerate().filter(|(_, step)| is_irreversible(step));
    let irreversible: Vec<String> = irreversible.map(|(place, _)| format!("s{place}")).collect();
    if !irreversible.is_empty() {
        text.push_str("  classDef irreversible stroke:#c00,stroke-width:3px\n");
        text.push_str(&format!("  class {} irreversible\n", irreversible.join(",")));
    }
    text
}
