//! `runner lint`: reads what it is given, and shows what the lint finds in it.
//!
//! The library does the judging; here are files, standard input, the text for people and the lines for programs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use crate::lint::{self, Context, Finding, Fixed, Options, Report, Rule, Severity, Source, Target, redact};

/// What is read of one source at most: one byte more than the lint looks at, so that it notices.
const READ_MAX_BYTES: u64 = 1024 * 1024 + 1;

/// How many files a kustomization may bring in.
const FILES_MAX: usize = 200;

/// How much of a line is shown.
const LINE_MAX_CHARS: usize = 200;

const EXIT_OK: u8 = 0;
const EXIT_UNEXPECTED: u8 = 1;
const EXIT_REFUSED: u8 = 2;

/// Judge Frigate configurations, or Kubernetes manifests that hold some
///
/// Finds what Frigate refuses, and what it accepts and then does not do. Exits 0 without errors, 2 with.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Example: runner lint --frigate 0.16 --context context.toml config.yml")]
pub(crate) struct LintArgs {
    /// Configuration, manifest or kustomization; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "explain")]
    files: Vec<PathBuf>,
    /// Version the files are meant for, such as 0.16 or 0.16.2 [default: the context's, else 0.16]
    ///
    /// Example: runner lint --frigate 0.16 config.yml
    #[arg(long, value_name = "VERSION")]
    frigate: Option<Target>,
    /// What the files do not say, as JSON or TOML: image, gpu, env, phase and more
    ///
    /// Example: runner lint --context context.toml config.yml
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// Make the changes that are certain, after showing them as a diff
    ///
    /// Example: runner lint --fix config.yml
    #[arg(long)]
    fix: bool,
    /// Tell the story behind a rule, such as L7
    ///
    /// Example: runner lint --explain L7
    #[arg(long, value_name = "CODE", conflicts_with_all = ["fix", "context", "frigate"])]
    explain: Option<String>,
}

/// How to show what was found.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Show {
    /// One JSON object a finding on `out`, words for people on `err`.
    pub(crate) json: bool,
    /// Also what was not judged.
    pub(crate) verbose: bool,
    /// Colours on `out`.
    pub(crate) color: bool,
}

/// Runs the command and returns its exit code. `stdin` is read when a file is called `-`.
pub(crate) fn run(
    args: &LintArgs,
    show: Show,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let result = match &args.explain {
        Some(code) => explain(code, show, out, err),
        None => judge(args, show, stdin, out, err),
    };
    match result {
        Ok(code) => code,
        // Whoever reads has closed the pipe: a quiet end.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_OK,
        Err(error) => {
            let _ignored = writeln!(err, "error: {error}");
            EXIT_UNEXPECTED
        }
    }
}

fn explain(code: &str, show: Show, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
    let Some(rule) = lint::explain(code) else {
        writeln!(
            err,
            "error: there is no rule `{code}`: they go from L1 to L30 and from X1 to X16, without X15"
        )?;
        return Ok(EXIT_REFUSED);
    };
    if show.json {
        let Rule { code, severity, title, why, fix, story, needs, .. } = rule;
        let line = serde_json::json!({
            "v": lint::FINDING_VERSION, "code": code, "severity": severity, "title": title, "why": why, "fix": fix,
            "story": story, "needs": needs,
        });
        writeln!(out, "{line}")?;
    } else {
        write!(out, "{}", rule.told())?;
    }
    Ok(EXIT_OK)
}

/// A source that was read.
struct Held {
    name: String,
    /// Where a fix is written; absent for standard input.
    path: Option<PathBuf>,
    bytes: Vec<u8>,
}

fn judge(
    args: &LintArgs,
    show: Show,
    stdin: &mut dyn Read,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let options = match options(args) {
        Ok(options) => options,
        Err(message) => {
            writeln!(err, "error: {message}")?;
            return Ok(EXIT_REFUSED);
        }
    };
    let (mut held, complaints) = read_all(&args.files, stdin);
    for complaint in &complaints {
        writeln!(err, "error: {complaint}")?;
    }
    if args.fix {
        fix_all(&mut held, &options, show, out, err)?;
    }
    let report = lint::check(&sources(&held), &options);
    for finding in &report.findings {
        if show.json {
            writeln!(out, "{}", serde_json::to_string(finding)?)?;
        } else {
            let text = held.iter().find(|held| held.name == finding.file).map(|held| held.bytes.as_slice());
            writeln!(out, "{}\n", rendered(finding, text.unwrap_or_default(), show.color))?;
        }
    }
    if show.verbose {
        for silent in &report.not_judged {
            writeln!(
                err,
                "{}: {} not judged: the context does not say `{}`",
                silent.file, silent.code, silent.needs
            )?;
        }
    }
    let nothing = report.configurations == 0 && report.findings.is_empty() && complaints.is_empty();
    if nothing {
        writeln!(err, "error: there is no Frigate configuration in these files")?;
    } else if complaints.is_empty() || report.configurations > 0 {
        writeln!(err, "{}", summary(&report))?;
    }
    if report.cut {
        writeln!(err, "there is more than is shown: mend this first")?;
    }
    let refused = report.has_errors() || !complaints.is_empty() || nothing;
    Ok(if refused { EXIT_REFUSED } else { EXIT_OK })
}

fn options(args: &LintArgs) -> Result<Options, String> {
    let context = match &args.context {
        None => Context::default(),
        Some(path) => {
            let name = path.display();
            let text =
                fs::read_to_string(path).map_err(|error| unreadable("context", &name.to_string(), &error))?;
            Context::parse(&text).map_err(|error| format!("{name}: {error}"))?
        }
    };
    if let (None, Some(target)) = (&args.frigate, &context.target) {
        target.parse::<Target>().map_err(|error| format!("`target` of the context: {error}"))?;
    }
    Ok(Options { target: args.frigate, context })
}

/// Why a file cannot be read, and what to do.
fn unreadable(what: &str, name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no {what} `{name}`: check the path; it is relative to the current folder")
        }
        io::ErrorKind::IsADirectory => {
            format!("`{name}` is a folder: name the files in it, or its kustomization")
        }
        io::ErrorKind::PermissionDenied => format!("the {what} `{name}` may not be read by this user"),
        io::ErrorKind::InvalidData => format!("the {what} `{name}` is not UTF-8"),
        _ => format!("the {what} `{name}` cannot be read: {error}"),
    }
}

fn sources(held: &[Held]) -> Vec<Source<'_>> {
    held.iter().map(|held| Source { name: &held.name, text: &held.bytes }).collect()
}

/// Reads the files, and those that kustomizations among them name.
fn read_all(files: &[PathBuf], stdin: &mut dyn Read) -> (Vec<Held>, Vec<String>) {
    let mut held: Vec<Held> = Vec::new();
    let mut complaints = Vec::new();
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<(PathBuf, bool)> = files.iter().rev().map(|file| (file.clone(), true)).collect();
    while let Some((path, asked_for)) = waiting.pop() {
        if held.len() >= FILES_MAX {
            complaints.push(format!("more than {FILES_MAX} files"));
            break;
        }
        if asked_for && path.as_os_str() == "-" {
            match read_limited(stdin) {
                Ok(bytes) => held.push(Held { name: "<stdin>".to_owned(), path: None, bytes }),
                Err(error) => complaints.push(format!("<stdin>: {error}")),
            }
            continue;
        }
        let path = if path.is_dir() { kustomization_in(&path) } else { path };
        if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
            continue;
        }
        let name = path.display().to_string();
        match fs::File::open(&path).and_then(|mut file| read_limited(&mut file)) {
            Ok(bytes) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                let named = lint::references(&Source { name: &name, text: &bytes });
                waiting.extend(named.iter().rev().map(|reference| (folder.join(reference), false)));
                held.push(Held { name, path: Some(path), bytes });
            }
            // What a kustomization names may be elsewhere, or be made later: a remark is for who asked for the file.
            Err(error) if asked_for => complaints.push(unreadable("file", &name, &error)),
            Err(_) => {}
        }
    }
    (held, complaints)
}

fn kustomization_in(folder: &Path) -> PathBuf {
    ["kustomization.yaml", "kustomization.yml", "Kustomization"]
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| folder.to_owned())
}

fn read_limited(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(READ_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn fix_all(
    held: &mut [Held],
    options: &Options,
    show: Show,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<()> {
    for index in 0..held.len() {
        let name = held[index].name.clone();
        let Fixed { text, applied } = lint::fix(&sources(held), &name, options);
        if applied.is_empty() {
            if held[index].path.is_none() && !show.json {
                out.write_all(&held[index].bytes)?;
            }
            continue;
        }
        let before = String::from_utf8_lossy(&held[index].bytes).into_owned();
        write!(err, "{}", diff(&name, &before, &text))?;
        match &held[index].path {
            Some(path) => replace(path, &text)?,
            None if show.json => {}
            None => out.write_all(text.as_bytes())?,
        }
        let codes: BTreeSet<&str> = applied.iter().map(|finding| finding.code).collect();
        let codes: Vec<&str> = codes.into_iter().collect();
        writeln!(err, "{name}: fixed {} ({})", counted(applied.len(), "finding"), codes.join(", "))?;
        held[index].bytes = text.into_bytes();
    }
    Ok(())
}

/// The change as a unified diff, without secrets.
fn diff(name: &str, before: &str, after: &str) -> String {
    let (before, after) = (redact(before), redact(after));
    similar::TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(2)
        .header(name, name)
        .to_string()
}

/// Writes a file so that it is either the old or the new one at any time.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let path = path.canonicalize()?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".runner-fix");
    let beside = path.with_file_name(name);
    let result = (|| {
        let mut file = fs::File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    })();
    if result.is_err() {
        let _ignored = fs::remove_file(&beside);
    }
    result
}

fn rendered(finding: &Finding, bytes: &[u8], color: bool) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let line = text.lines().nth(finding.line as usize - 1).map(redact).unwrap_or_default();
    let line: String =
        line.chars().take(LINE_MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let start = line.char_indices().map(|(at, _)| at).nth(finding.column as usize - 1).unwrap_or(line.len());
    let end = line[start..].find([' ', ',', '}', ']']).map_or(line.len(), |end| start + end.max(1));
    let end =
        if line[start..end].len() > 1 { start + line[start..end].trim_end_matches(':').len() } else { end };
    let snippet = Snippet::source(line.as_str())
        .line_start(finding.line as usize)
        .path(finding.file.as_str())
        .annotation(AnnotationKind::Primary.span(start..end));
    let why = Level::NOTE.message(finding.why.as_str());
    let fix = Level::HELP.message(finding.fix.as_str());
    let group = level
        .primary_title(finding.message.as_str())
        .id(finding.code)
        .element(snippet)
        .element(why)
        .element(fix);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}

fn summary(report: &Report) -> String {
    let counts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Info]
        .into_iter()
        .filter(|severity| report.count(*severity) > 0)
        .map(|severity| match severity {
            Severity::Info => counted(report.count(severity), "remark"),
            _ => counted(report.count(severity), severity.word()),
        })
        .collect();
    let found = if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") };
    format!("{found} in {}", counted(report.configurations, "configuration"))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
