//! A plan's graph as text that other tools draw: Mermaid and Graphviz DOT.

use serde_json::{Value, json};

use super::guard;
use super::human::duration;
use super::shown::SHOWN_VERSION;
use super::step::summary;
use crate::plan::recorded::{Compensate, Definition, Step};
use crate::plan::{AddedNeed, StepId};

/// Columns of a line in a box; longer ones are broken between words.
const LABEL_COLUMNS: usize = 40;

/// The language that the graph is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphFormat {
    /// Mermaid's `flowchart` (mermaid.js.org): drawn by many forges and editors where Markdown is.
    Mermaid,
    /// Graphviz's DOT (graphviz.org/doc/info/lang.html).
    Dot,
}

impl GraphFormat {
    fn word(self) -> &'static str {
        match self {
            GraphFormat::Mermaid => "mermaid",
            GraphFormat::Dot => "dot",
        }
    }
}

/// What a step is, as far as a picture shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Acts,
    Watches,
    Looks,
}

impl Shape {
    fn of(step: &Step) -> Self {
        match (&step.soak, &step.forward) {
            (Some(_), _) => Shape::Watches,
            (None, Some(_)) => Shape::Acts,
            (None, None) => Shape::Looks,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Shape::Acts => "acts",
            Shape::Watches => "soaks",
            Shape::Looks => "verifies",
        }
    }
}

/// One arrow, from what is needed to what needs it.
struct Edge<'a> {
    from: usize,
    to: usize,
    /// It was added, to keep the owners of this resource apart.
    added: Option<&'a str>,
}

fn edges<'a>(definition: &Definition, added: &'a [AddedNeed]) -> Vec<Edge<'a>> {
    let place = |id: &StepId| definition.steps.iter().position(|step| &step.id == id);
    let mut edges = Vec::new();
    for (to, step) in definition.steps.iter().enumerate() {
        for need in &step.needs {
            let Some(from) = place(need) else { continue };
            let added = added.iter().find(|edge| edge.step == step.id && &edge.needs == need);
            edges.push(Edge { from, to, added: added.map(|edge| edge.resource.as_str()) });
        }
    }
    edges
}

fn irreversible(step: &Step) -> Option<&str> {
    match &step.compensate {
        Compensate::Irreversible(why) => Some(why),
        Compensate::Inverse | Compensate::Nothing | Compensate::Action(_) => None,
    }
}

/// The lines in a step's box, safe to print and not yet escaped for any language.
fn label(step: &Step) -> Vec<String> {
    let mut lines = vec![step.id.to_string()];
    let mut add = |text: String| lines.extend(guard::wrap(&guard::line(&text), LABEL_COLUMNS, 0));
    add(step.summary.clone());
    if let Some(soak) = &step.soak {
        add(format!("soaks for {}, a sample every {}", duration(soak.for_ms), duration(soak.every_ms)));
    }
    for (resource, owner) in &step.frees {
        add(format!("frees {resource} from {owner}"));
    }
    for (resource, owner) in &step.takes {
        add(format!("takes {resource} for {owner}"));
    }
    if let Some(why) = irreversible(step) {
        add(format!("irreversible: {why}"));
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn question(step: &Step) -> Option<Vec<String>> {
    let gate = step.gate.as_ref()?;
    Some(guard::wrap(&guard::line(&gate.question), LABEL_COLUMNS, 0))
}

/// The graph of a plan; ends with a line end. `added`: the needs that are not in the file.
///
/// A gate is a node of its own before its step. Labels hold what the plan says, templates as they stand; whatever
/// they contain, they stay labels.
pub fn graph_text(definition: &Definition, added: &[AddedNeed], format: GraphFormat) -> String {
    match format {
        GraphFormat::Mermaid => mermaid(definition, added),
        GraphFormat::Dot => dot(definition, added),
    }
}

fn mermaid(definition: &Definition, added: &[AddedNeed]) -> String {
    // Entity codes are the only escape there is, and `#` begins one. A label that begins with a backtick would be
    // Markdown. (mermaid.js.org/syntax/flowchart.html, "Entity codes to escape characters")
    let escape = |line: &String| -> String {
        let mut safe = String::with_capacity(line.len());
        for c in line.chars() {
            match c {
                '"' => safe.push_str("#quot;"),
                '&' => safe.push_str("#amp;"),
                '<' => safe.push_str("#lt;"),
                '>' => safe.push_str("#gt;"),
                '#' | '`' | '\\' | '*' | '_' | '~' | '[' | ']' | '{' | '}' | '|' | ';' => {
                    safe.push_str(&format!("#{};", u32::from(c)));
                }
                _ => safe.push(c),
            }
        }
        safe
    };
    let lines = |lines: &[String]| lines.iter().map(escape).collect::<Vec<_>>().join("<br/>");
    let mut text = format!("---\ntitle: {}\n---\nflowchart TD\n", definition.name);
    for (place, step) in definition.steps.iter().enumerate() {
        // A step may be called `end`, which Mermaid keeps for itself; so nodes have numbers.
        if let Some(question) = question(step) {
            text.push_str(&format!("    g{place}{{\"{}\"}}:::gate\n", lines(&question)));
        }
        let (open, close) = match Shape::of(step) {
            Shape::Acts => ("[", "]"),
            Shape::Watches => ("([", "])"),
            Shape::Looks => ("(", ")"),
        };
        let class = if irreversible(step).is_some() { ":::irreversible" } else { "" };
        text.push_str(&format!("    s{place}{open}\"{}\"{close}{class}\n", lines(&label(step))));
        if step.gate.is_some() {
            text.push_str(&format!("    g{place} --> s{place}\n"));
        }
    }
    for edge in edges(definition, added) {
        let to = if definition.steps[edge.to].gate.is_some() { "g" } else { "s" };
        let arrow = match edge.added {
            Some(resource) => format!("-.->|\"{}\"|", escape(&guard::line(resource))),
            None => "-->".to_owned(),
        };
        text.push_str(&format!("    s{} {arrow} {to}{}\n", edge.from, edge.to));
    }
    text.push_str("    classDef gate stroke-dasharray:4 3\n");
    text.push_str("    classDef irreversible stroke:#c00,stroke-width:3px\n");
    text
}

fn dot(definition: &Definition, added: &[AddedNeed]) -> String {
    // In a quoted string only `"` must be escaped; in a label a backslash begins an escape of its own.
    let escape = |line: &String| line.replace('\\', "\\\\").replace('"', "\\\"");
    let lines = |lines: &[String]| lines.iter().map(escape).collect::<Vec<_>>().join("\\n");
    let mut text = format!(
        "digraph \"{}\" {{\n    node [shape=box, fontname=\"sans-serif\"];\n    edge [fontname=\"sans-serif\"];\n",
        definition.name
    );
    for step in &definition.steps {
        if let Some(question) = question(step) {
            // A step's id has no space, so this is nobody else's name.
            text.push_str(&format!(
                "    \"approve {}\" [shape=diamond, style=dashed, label=\"{}\"];\n",
                step.id,
                lines(&question)
            ));
            text.push_str(&format!("    \"approve {0}\" -> \"{0}\";\n", step.id));
        }
        let mut style = match Shape::of(step) {
            Shape::Acts => String::new(),
            Shape::Watches => "style=rounded, peripheries=2, ".to_owned(),
            Shape::Looks => "style=rounded, ".to_owned(),
        };
        if irreversible(step).is_some() {
            style.push_str("color=\"#cc0000\", penwidth=3, ");
        }
        text.push_str(&format!("    \"{}\" [{style}label=\"{}\"];\n", step.id, lines(&label(step))));
    }
    for edge in edges(definition, added) {
        let (from, to) = (&definition.steps[edge.from], &definition.steps[edge.to]);
        let gate = if to.gate.is_some() { "approve " } else { "" };
        let style = edge.added.map_or_else(String::new, |resource| {
            format!(" [style=dashed, label=\"{}\"]", escape(&guard::line(resource)))
        });
        text.push_str(&format!("    \"{}\" -> \"{gate}{}\"{style};\n", from.id, to.id));
    }
    text.push_str("}\n");
    text
}

/// The graph for programs: one object, with the text in it.
pub fn graph_json(definition: &Definition, added: &[AddedNeed], format: GraphFormat) -> Value {
    let steps: Vec<Value> = definition
        .steps
        .iter()
        .map(|step| {
            json!({
                "id": step.id,
                "summary": summary(step),
                "kind": Shape::of(step).word(),
                "approve": step.gate.as_ref().map(|gate| gate.question.as_str()),
                "soak_ms": step.soak.as_ref().map(|soak| soak.for_ms),
                "irreversible": irreversible(step),
            })
        })
        .collect();
    let edges: Vec<Value> = edges(definition, added)
        .iter()
        .map(|edge| {
            json!({
                "from": definition.steps[edge.from].id,
                "to": definition.steps[edge.to].id,
                "added_for": edge.added,
            })
        })
        .collect();
    json!({
        "v": SHOWN_VERSION,
        "type": "graph",
        "plan": definition.name,
        "file": definition.path,
        "format": format.word(),
        "text": graph_text(definition, added, format),
        "steps": steps,
        "edges": edges,
    })
}
