//! A run on paper: one file that says everything and needs nothing else, as HTML or Markdown.
//!
//! What was planned and by whom, what happened when, the evidence of checks and soaks, approvals with what they were
//! given for, what was there before, how it could be undone today, and the hash that the journal ends with.

use std::fmt::Write;

use serde_json::Value;

use super::chart::{escape, prose_html, soak_svg, soak_words};
use super::ending::headline;
use super::human::{count, duration};
use super::picture::{SIGNS, run_svg};
use super::pre_image::pre_image_shown;
use super::status::standing_word;
use super::step::{detail, shape, summary};
use super::story::{Story, time_shown, value_shown};
use super::{STYLE, guard};
use crate::plan::recorded::{Compensate, Step};
use crate::saga::{Direction, Stamp, described, inverse_described, standing};

/// What is written.
#[derive(Clone, Copy)]
pub struct Paper<'a> {
    /// The run and what happened.
    pub story: &'a Story,
    /// What a rollback would do today: the object of `rollback --dry-run`.
    pub way_back: &'a Value,
    /// The hash of the run's last event, in hex: the chain of all of them ends with it.
    pub head: &'a str,
    /// When it is written.
    pub now: Stamp,
}

/// One part: its heading, and what stands under it.
enum Part {
    Text(String),
    /// Headings of columns, and rows.
    Table(Vec<&'static str>, Vec<Vec<String>>),
    /// A picture, and the same in words.
    Picture(String, String),
    /// Output, line by line.
    Output(String),
    Heading(u8, String),
}

fn how_undone(step: &Step) -> String {
    match &step.compensate {
        Compensate::Inverse => inverse_described(step),
        Compensate::Nothing => "nothing to undo".to_owned(),
        Compensate::Action(operation) => guard::line(&described(operation)),
        Compensate::Irreversible(why) => guard::line(&format!("cannot be undone: {why}")),
    }
}

fn does(step: &Step) -> String {
    match (&step.forward, &step.soak) {
        (Some(forward), _) => guard::line(&described(forward)),
        (None, Some(soak)) => {
            format!("soaks for {}, a sample every {}", duration(soak.for_ms), duration(soak.every_ms))
        }
        (None, None) => format!("verifies: {}", count(step.verify.len(), "check")),
    }
}

fn parts(paper: &Paper<'_>) -> Vec<Part> {
    let story = paper.story;
    let state = &story.state;
    let definition = &state.definition;
    let mut parts = vec![
        Part::Text(headline(state)),
        Part::Table(
            vec!["", ""],
            [
                ("Plan", guard::line(&definition.path)),
                ("About", guard::line(&definition.description)),
                ("Opened", format!("{}, by {}", time_shown(&state.opened), guard::line(&state.by))),
                ("Last event", format!("number {}, {}", state.seq, time_shown(&state.last))),
                ("Head of the journal", format!("sha256 {}", paper.head)),
                ("Written", time_shown(&paper.now)),
            ]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| vec![name.to_owned(), text])
            .collect(),
        ),
        Part::Heading(2, "What was planned".to_owned()),
        Part::Picture(run_svg(state, &paper.now, false), String::new()),
    ];
    let steps = definition.steps.iter().map(|step| {
        let needs: Vec<&str> = step.needs.iter().map(crate::plan::StepId::as_str).collect();
        vec![
            step.id.to_string(),
            summary(step).unwrap_or_default(),
            does(step),
            needs.join(", "),
            how_undone(step),
        ]
    });
    parts.push(Part::Table(vec!["step", "summary", "does", "needs", "is undone by"], steps.collect()));
    if !definition.vars.is_empty() {
        let vars = definition.vars.iter();
        let rows = vars.map(|(name, value)| vec![name.clone(), value_shown(value)]).collect();
        parts.push(Part::Table(vec!["variable", "value"], rows));
    }
    parts.push(Part::Heading(2, "How it stands".to_owned()));
    let stand = definition.steps.iter().zip(&state.steps).enumerate().map(|(place, (step, found))| {
        let word = found.status.word().replace('_', " ");
        vec![step.id.to_string(), word, detail(state, place, &paper.now)]
    });
    parts.push(Part::Table(vec!["step", "state", ""], stand.collect()));
    approvals(story, &mut parts);
    soaks(paper, &mut parts);
    steps_told(story, &mut parts);
    undone(paper.way_back, &mut parts);
    parts.push(Part::Heading(2, "What happened, by event".to_owned()));
    if story.left_out > 0 {
        parts.push(Part::Text(format!("The first {} are left out.", count(story.left_out, "event"))));
    }
    let rows = story.lines.iter().map(|told| {
        let step = told.step.as_ref().map_or_else(String::new, ToString::to_string);
        let word = told.word.replace('_', " ");
        vec![told.seq.to_string(), time_shown(&told.at), step, word, told.detail.clone()]
    });
    parts.push(Part::Table(vec!["event", "when", "step", "what", ""], rows.collect()));
    parts
}

fn approvals(story: &Story, parts: &mut Vec<Part>) {
    if story.approvals.is_empty() {
        return;
    }
    parts.push(Part::Heading(2, "Approvals".to_owned()));
    for each in &story.approvals {
        parts.push(Part::Heading(3, format!("{}: {}", each.step, each.question)));
        let answered = each.answered.map_or_else(String::new, |at| format!(", {}", time_shown(&at)));
        let by = if each.by.is_empty() { String::new() } else { format!(" by {}", each.by) };
        let note = if each.note.is_empty() { String::new() } else { format!(": {}", each.note) };
        parts.push(Part::Text(format!(
            "Asked {}; {}{by}{answered}{note}.",
            time_shown(&each.asked),
            each.result
        )));
        let rows = each.evidence.iter().map(|seen| vec![guard::line(&seen.check), shape(&seen.answer)]);
        parts.push(Part::Table(vec!["evidence", "what was seen"], rows.collect()));
    }
}

fn soaks(paper: &Paper<'_>, parts: &mut Vec<Part>) {
    if paper.story.soaks.is_empty() {
        return;
    }
    parts.push(Part::Heading(2, "Soaks".to_owned()));
    for (step, soak) in &paper.story.soaks {
        let Some(terms) = paper.story.state.step(step).and_then(|(step, _)| step.soak.as_ref()) else {
            continue;
        };
        let healthy_ms = soak.healthy.last().map_or(0, |(_, ms)| *ms);
        parts.push(Part::Heading(3, step.to_string()));
        let words = soak_words(soak, terms, healthy_ms);
        parts.push(Part::Picture(soak_svg(step.as_str(), soak, terms, None, &paper.now), words));
        let rows = soak.marks.iter().map(|(at, sample, why)| {
            let kind = if *sample == crate::saga::Sample::Bad { "bad" } else { "inconclusive" };
            vec![time_shown(at), kind.to_owned(), why.clone()]
        });
        parts.push(Part::Table(vec!["when", "sample", "what was seen"], rows.collect()));
    }
}

fn steps_told(story: &Story, parts: &mut Vec<Part>) {
    parts.push(Part::Heading(2, "Step by step".to_owned()));
    for (step, found) in story.state.definition.steps.iter().zip(&story.state.steps) {
        let attempts = story.attempts.get(&step.id);
        let looks = story.looks.get(&step.id);
        if attempts.is_none_or(Vec::is_empty) && looks.is_none() && found.pre_image.is_none() {
            continue;
        }
        parts.push(Part::Heading(3, step.id.to_string()));
        let rows = attempts.into_iter().flatten().map(|attempt| {
            let what = match attempt.direction {
                Direction::Forward => "attempt",
                Direction::Compensation => "compensation",
            };
            let took = attempt.ended.map_or_else(String::new, |at| duration(at.since_ms(&attempt.started)));
            vec![
                format!("{what} {}", attempt.number),
                time_shown(&attempt.started),
                took,
                attempt.result.to_owned(),
                attempt.message.clone(),
            ]
        });
        parts.push(Part::Table(vec!["", "started", "took", "result", ""], rows.collect()));
        for attempt in attempts.into_iter().flatten().filter(|attempt| !attempt.trace.tail.is_empty()) {
            let lines = guard::last_lines(&attempt.trace.tail, 20);
            parts.push(Part::Output(lines.join("\n")));
        }
        let rows = looks.into_iter().flatten().flat_map(|look| {
            look.answers.iter().map(|answer| vec![look.what.to_owned(), time_shown(&look.at), shape(answer)])
        });
        parts.push(Part::Table(vec!["check", "first and last look", "what was seen"], rows.collect()));
        if let Some(outputs) = found.outputs.as_ref().filter(|outputs| !outputs.is_empty()) {
            parts.push(Part::Table(vec!["output", "value"], outputs.iter().flat_map(told).collect()));
        }
        if let Some(kept) = &found.pre_image {
            let shown = pre_image_shown(kept);
            let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
            parts.push(Part::Text(format!("What was there before: {}, {}.", text("target"), text("kept"))));
            let pieces = shown["pieces"].as_array().into_iter().flatten();
            let of = |piece: &Value, name: &str| piece[name].as_str().unwrap_or_default().to_owned();
            let rows = pieces.map(|piece| vec![of(piece, "name"), of(piece, "text")]);
            parts.push(Part::Table(vec!["piece", ""], rows.collect()));
        }
    }
}

fn undone(way_back: &Value, parts: &mut Vec<Part>) {
    parts.push(Part::Heading(2, "How it could be undone today".to_owned()));
    let rows = |list: &str, second: &str| -> Vec<Vec<String>> {
        let each = way_back[list].as_array().into_iter().flatten();
        let of = |row: &Value, name: &str| guard::line(row[name].as_str().unwrap_or_default());
        each.map(|row| vec![of(row, "step"), of(row, second)]).collect()
    };
    let undo = rows("undo", "does");
    let text = match undo.len() {
        0 => "A rollback would have nothing to undo.".to_owned(),
        steps => format!("A rollback would undo {}, in this order:", count(steps, "step")),
    };
    parts.push(Part::Text(text));
    parts.push(Part::Table(vec!["step", "by"], undo));
    parts.push(Part::Table(vec!["not undone", "because"], rows("stays", "why")));
    for why in way_back["refused"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        parts.push(Part::Text(format!("It would be refused: {}", guard::line(why))));
    }
}

/// The run as one HTML file.
pub fn paper_html(paper: &Paper<'_>) -> String {
    let state = &paper.story.state;
    let title = escape(&format!("{} is {}", state.run, standing_word(&standing(state)).replace('_', " ")));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body class=\"paper\">\n{SIGNS}\n<main>\n<h1>{title}</h1>\n"
    );
    for part in parts(paper) {
        let _ = match part {
            Part::Heading(level, text) => writeln!(html, "<h{level}>{}</h{level}>", escape(&text)),
            Part::Text(text) => writeln!(html, "<p>{}</p>", prose_html(&text)),
            Part::Output(text) => {
                let lines: Vec<String> = text.lines().map(escape).collect();
                writeln!(html, "<pre>{}</pre>", lines.join("\n"))
            }
            Part::Picture(svg, words) => {
                let words = if words.is_empty() {
                    words
                } else {
                    format!("<figcaption>{}</figcaption>", escape(&words))
                };
                writeln!(html, "<figure class=\"scroll\">{svg}{words}</figure>")
            }
            Part::Table(_, rows) if rows.is_empty() => Ok(()),
            Part::Table(heads, rows) => {
                html.push_str("<div class=\"scroll\"><table>\n");
                if heads.iter().any(|head| !head.is_empty()) {
                    let heads: String =
                        heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
                    let _ = writeln!(html, "<thead><tr>{heads}</tr></thead>");
                }
                for row in rows {
                    let cells: String =
                        row.iter().map(|cell| format!("<td>{}</td>", prose_html(cell))).collect();
                    let _ = writeln!(html, "<tr>{cells}</tr>");
                }
                writeln!(html, "</table></div>")
            }
        };
    }
    html.push_str("</main>\n</body>\n</html>\n");
    html
}

/// An output, a row for each of its parts: what a baseline holds of one system is more than one row has room for.
fn told((name, value): (&String, &Value)) -> Vec<Vec<String>> {
    match value {
        Value::Object(parts) if !parts.is_empty() => {
            let row = |(part, value)| vec![guard::line(&format!("{name}.{part}")), value_shown(value)];
            parts.iter().map(row).collect()
        }
        whole => vec![vec![guard::line(name), value_shown(whole)]],
    }
}

/// What acts in Markdown, written so that it does not (CommonMark 0.31, section 2.4).
fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in guard::line(text).chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '&' | '~' | '!'
        ) {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

/// The run as one Markdown file; what is a picture in HTML is words here.
pub fn paper_markdown(paper: &Paper<'_>) -> String {
    let state = &paper.story.state;
    let mut text = format!(
        "# {} is {}\n",
        plain(&state.run.to_string()),
        standing_word(&standing(state)).replace('_', " ")
    );
    for part in parts(paper) {
        let _ = match part {
            Part::Heading(level, heading) => {
                writeln!(text, "\n{} {}", "#".repeat(level.into()), plain(&heading))
            }
            Part::Text(line) => writeln!(text, "\n{}", plain(&line)),
            Part::Picture(_, words) if words.is_empty() => Ok(()),
            Part::Picture(_, words) => writeln!(text, "\n{}", plain(&words)),
            // Indented, so that no line of it can end the block.
            Part::Output(lines) => {
                let lines: Vec<String> =
                    lines.lines().map(|line| format!("    {}", guard::line(line))).collect();
                writeln!(text, "\n{}", lines.join("\n"))
            }
            Part::Table(_, rows) if rows.is_empty() => Ok(()),
            Part::Table(heads, rows) => {
                let _ = writeln!(text, "\n| {} |", heads.join(" | "));
                let _ = writeln!(text, "|{}", " --- |".repeat(heads.len()));
                for row in rows {
                    let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
                    let _ = writeln!(text, "| {} |", cells.join(" | "));
                }
                Ok(())
            }
        };
    }
    text
}
