//! What is wrong with a plan, where, and what would be right.
//!
//! A [`Diagnostic`] carries the lines it points at, so that it can be rendered, stored and sent without the file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// Byte range within a [`Source`].
pub(super) type Span = Range<usize>;

/// Diagnostics kept per file. A file with more is not a plan, and nobody reads on.
const DIAGNOSTICS_MAX: usize = 200;

/// Longest line that is shown with its underline, in bytes. Longer ones are named by position alone.
const LINE_SHOWN_MAX: usize = 2_000;

/// Most lines shown of one place, so that a table over pages stays readable.
const LINES_SHOWN_MAX: usize = 6;

/// A text that diagnostics point into.
#[derive(Debug)]
pub(super) struct Source<'t> {
    rank: usize,
    path: Arc<str>,
    text: &'t str,
    line_starts: Vec<usize>,
}

impl<'t> Source<'t> {
    /// `rank` orders the diagnostics of several sources: the plan file is 0.
    pub(super) fn new(rank: usize, path: &str, text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Self { rank, path: path.into(), text, line_starts }
    }

    /// The text between two offsets; empty when they do not lie on characters.
    pub(super) fn slice(&self, span: &Span) -> &'t str {
        self.text.get(span.clone()).unwrap_or("")
    }

    /// The number of the line that an offset lies in, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_of(offset) + 1
    }

    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    fn line_end(&self, line: usize) -> usize {
        let end = self.line_starts.get(line + 1).map_or(self.text.len(), |next| next - 1);
        if self.text[..end].ends_with('\r') { end - 1 } else { end }
    }
}

/// How serious it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The plan is refused.
    Error,
    /// The plan is taken; the reader should know.
    Note,
}

/// One thing that is wrong, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A stable, short name in kebab case, for example `unknown-key`.
    pub code: &'static str,
    /// How serious it is.
    pub severity: Severity,
    /// What is wrong, with values in backticks.
    pub message: String,
    /// The file, or the command-line option, it was found in.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What would be right.
    pub help: Option<String>,
    #[serde(skip)]
    rank: usize,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// The lines a diagnostic points at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    text: String,
    line_first: usize,
    span: Span,
    /// What was taken from the source.
    taken: Span,
}

impl Diagnostic {
    pub(super) fn new(
        source: &Source<'_>,
        span: Span,
        code: &'static str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Self {
        let on_character = |mut at: usize| {
            at = at.min(source.text.len());
            while !source.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = on_character(span.start);
        let end = on_character(span.end.max(span.start));
        let line = source.line_of(start);
        let line_start = source.line_starts[line];
        let column = source.text[line_start..start].chars().count() + 1;
        let line_last = source.line_of(end.saturating_sub(1).max(start)).min(line + LINES_SHOWN_MAX - 1);
        let excerpt_end = source.line_end(line_last).max(start);
        let text = &source.text[line_start..excerpt_end];
        let excerpt =
            (text.len() <= LINE_SHOWN_MAX * LINES_SHOWN_MAX && !text.trim().is_empty()).then(|| {
                let span = start - line_start..end.min(excerpt_end).max(start) - line_start;
                Excerpt { text: text.to_owned(), line_first: line + 1, span, taken: line_start..excerpt_end }
            });
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            path: source.path.to_string(),
            line: line + 1,
            column,
            help,
            rank: source.rank,
            excerpt,
        }
    }

    pub(super) fn into_note(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }

    /// The diagnostic as rustc would show it: the place underlined, then the help. `width` is in columns.
    pub fn render(&self, color: bool, width: usize) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(width.max(40));
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Note => Level::NOTE,
        };
        let title = level.primary_title(self.message.as_str()).id(self.code);
        let mut group = match &self.excerpt {
            Some(excerpt) => title.element(
                Snippet::source(excerpt.text.as_str())
                    .path(self.path.as_str())
                    .line_start(excerpt.line_first)
                    .annotation(AnnotationKind::Primary.span(excerpt.span.clone())),
            ),
            None => title.element(Origin::path(self.path.as_str()).line(self.line).char_column(self.column)),
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, 100))
    }
}

/// Everything that is wrong with a plan: never empty, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    #[serde(skip)]
    left_out: usize,
}

impl Diagnostics {
    /// The diagnostics in the order of the file, then those of var files and options.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// All of them, rendered one below the other. `width` is in columns.
    pub fn render(&self, color: bool, width: usize) -> String {
        let mut text: Vec<String> = self.list.iter().map(|one| one.render(color, width)).collect();
        if self.left_out > 0 {
            text.push(format!("… and {} more", self.left_out));
        }
        text.join("\n\n")
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, 100))
    }
}

impl std::error::Error for Diagnostics {}

/// Collects what is wrong while a plan is read.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    pub(super) source: Source<'t>,
    found: Vec<Diagnostic>,
    left_out: usize,
    hidden: Vec<Span>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(source: Source<'t>) -> Self {
        Self { source, found: Vec::new(), left_out: 0, hidden: Vec::new() }
    }

    /// Reports something that is wrong at `span` of the plan file, and what would be right.
    pub(super) fn add_help(
        &mut self,
        span: &Span,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(span, code, message.into(), help.into());
    }

    fn push(&mut self, span: &Span, code: &'static str, message: String, help: String) {
        if self.found.len() >= DIAGNOSTICS_MAX {
            self.left_out += 1;
        } else {
            self.found.push(Diagnostic::new(&self.source, span.clone(), code, message, Some(help)));
        }
    }

    /// Takes over a diagnostic of another source.
    pub(super) fn take(&mut self, diagnostic: Diagnostic) {
        if self.found.len() >= DIAGNOSTICS_MAX {
            self.left_out += 1;
        } else {
            self.found.push(diagnostic);
        }
    }

    /// Keeps this part of the plan file out of every excerpt: it may be a secret.
    pub(super) fn hide(&mut self, span: Span) {
        self.hidden.push(span);
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// Nothing more is kept, so that looking further is idle.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= DIAGNOSTICS_MAX
    }

    /// `Ok` when nothing was wrong.
    pub(super) fn finish(mut self) -> Result<(), Diagnostics> {
        if self.found.is_empty() {
            return Ok(());
        }
        for one in self.found.iter_mut().filter(|one| one.rank == self.source.rank) {
            let shows = |hidden: &Span| {
                one.excerpt.as_ref().is_some_and(|excerpt| {
                    hidden.start < excerpt.taken.end && excerpt.taken.start < hidden.end
                })
            };
            if self.hidden.iter().any(shows) {
                one.excerpt = None;
            }
        }
        self.found
            .sort_by(|a, b| (a.rank, a.line, a.column, a.code).cmp(&(b.rank, b.line, b.column, b.code)));
        self.found.dedup();
        Err(Diagnostics { list: self.found, left_out: self.left_out })
    }
}

/// The nearest of `known`, when it is near enough to be what was meant.
pub fn did_you_mean<'k>(text: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let length = text.chars().count();
    // A third of the letters may differ, two neighbours in each other's place counting as one letter.
    let near = |name: &str| {
        let distance = strsim::osa_distance(text, name);
        distance < length && distance <= (length / 3).max(1)
    };
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(text, name), name))
        .filter(|(likeness, name)| *likeness > 0.8 || near(name))
        .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
        .map(|(_, name)| name)
}

/// What people write who know another tool, and what it is called in a plan: the first of these that is known there.
const ELSEWHERE: &[(&[&str], &[&str])] = &[
    (&["depends_on", "depends", "dependencies", "requires", "after"], &["needs"]),
    (&["name"], &["id"]),
    (&["title", "description", "desc", "label"], &["summary"]),
    (&["if", "condition", "only_if"], &["when"]),
    (&["run", "exec", "execute", "do", "up", "action", "command", "cmd"], &["forward", "argv"]),
    (&["args", "arguments", "entrypoint"], &["argv"]),
    (&["shell", "sh", "bash"], &["script", "command"]),
    (&["exec", "run", "local"], &["command"]),
    (&["key", "ssh_key", "private_key"], &["identity_file"]),
    (&["copy", "template", "write"], &["file"]),
    (&["curl", "request", "get"], &["http"]),
    (&["undo", "rollback", "revert", "down", "backward", "compensation"], &["compensate"]),
    (&["check", "checks", "test", "assert"], &["verify"]),
    (&["tries", "max_attempts"], &["retry", "attempts"]),
    (&["confirm", "approval", "ask"], &["approve"]),
    (&["steps", "task", "tasks"], &["step"]),
    (&["variables", "params"], &["vars"]),
    (&["workdir", "working_dir", "dir", "chdir"], &["cwd"]),
    (&["environment"], &["env"]),
    (&["input"], &["stdin"]),
    (&["max_failures", "failures"], &["max_consecutive_failures"]),
    (&["interval", "period"], &["every"]),
    (&["duration"], &["for"]),
    (&["dest", "destination"], &["path"]),
    (&["src"], &["source"]),
    (&["text", "data"], &["content", "body"]),
    (&["user", "hostname", "ip", "host"], &["address"]),
    (&["uri"], &["url"]),
];

/// What a word of another tool is called here, if that is known in this place.
fn called_here<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    let mut called = ELSEWHERE.iter().filter(|(words, _)| words.contains(&text)).flat_map(|(_, here)| *here);
    called.find_map(|here| known.iter().copied().find(|name| name == here))
}

/// Names shown in one help text at most.
const NAMES_SHOWN_MAX: usize = 12;

/// A help text for an unknown name: the nearest known one, else the known ones.
pub(super) fn help_for<'k>(what: &str, text: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    let elsewhere =
        matches!(what, "keys" | "actions" | "checks").then(|| called_here(text, &known)).flatten();
    if let Some(near) = elsewhere.or_else(|| did_you_mean(text, known.iter().copied())) {
        return format!("did you mean `{near}`?");
    }
    if known.is_empty() {
        return match what {
            "hosts" | "resources" | "secrets" => {
                format!("this plan has no {what}; declare it under `[{what}.{text}]`")
            }
            "variables" => format!("this plan has no {what}; declare it under `[vars]`"),
            _ => format!("this plan has no {what}"),
        };
    }
    let count = known.len();
    known.truncate(NAMES_SHOWN_MAX);
    let names = list(&known);
    let more = if count > NAMES_SHOWN_MAX {
        format!(" and {} more", count - NAMES_SHOWN_MAX)
    } else {
        String::new()
    };
    format!("known {what}: {names}{more}")
}

/// `a`, `b`, `c`.
pub(super) fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// `an integer`, `a string`.
pub(super) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
