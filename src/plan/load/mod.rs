//! Reads a plan file: every static rule of the plan format, all errors of a file at once.
//!
//! Start at [`load`]. Syntax errors end the reading, because what a broken line meant cannot be known; all else is
//! collected over the whole file.

mod exclusive;
mod files;
mod operation;
mod order;
mod parts;
mod references;
mod samples;
mod sections;
mod step;
mod table;
mod texts;
mod values;
mod vars;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use toml::de::DeTable;

use self::step::Draft;
use self::table::{Entry, Table};
use self::texts::Kept;
use self::vars::Vars;
use super::diagnostic::{Diagnostic, Diagnostics, Problems, Source};
use super::id::{PlanName, StepId};
use super::keys;
use super::recorded::{DEFINITION_VERSION, Definition, FileRef, OnFailure};

pub use files::FILE_MAX;
pub(super) use files::sha256;
pub(super) use table::to_json;
pub(super) use vars::variable_types;

/// Largest plan file, in bytes. Ten thousand steps need about three.
pub const PLAN_MAX: usize = 4 << 20;

/// What a plan is read from.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Absolute path of the plan file.
    pub path: &'a str,
    /// Its bytes, as read.
    pub text: &'a [u8],
    /// The values that the run was given before, see [`Definition::given`]. They count for less than a var file, and
    /// those that the plan no longer has, or has with another type, count for nothing.
    pub given: &'a BTreeMap<String, serde_json::Value>,
    /// The options `--var NAME=VALUE`, in order.
    pub vars: &'a [(String, String)],
    /// Path and text of each `--var-file`, in order.
    pub var_files: &'a [(String, String)],
    /// What becomes of variables that nobody gives.
    pub required: Required,
    /// The content of an absolute path that a path-typed field names; the error says why not. With a slash at its end it
    /// names Kubernetes manifests, a file or a folder, which come as one text (see [`manifests`](crate::plan::manifests)).
    pub read: &'a dyn Fn(&str) -> Result<Vec<u8>, String>,
}

impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("path", &self.path)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

/// What becomes of a required variable that nobody gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Required {
    /// It is an error.
    MustBeGiven,
    /// A placeholder of its type stands in, for a check of the plan alone.
    TakenAsPresent,
}

/// A plan that keeps every static rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The plan in its recorded form.
    pub definition: Arc<Definition>,
    /// The contents that [`Definition::files`] names, by SHA-256.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What the reader should know, for example an edge that was added.
    pub notes: Vec<Diagnostic>,
    /// The needs that the file does not say, which keep the owners of an exclusive resource apart.
    pub added: Vec<AddedNeed>,
}

/// A need that was added to the plan's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedNeed {
    /// The step that takes the resource.
    pub step: StepId,
    /// The step that frees it, which it needs.
    pub needs: StepId,
    /// The resource.
    pub resource: String,
}

/// Reads a plan.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn load(request: &Request<'_>) -> Result<Loaded, Diagnostics> {
    let text = decode(request)?;
    let mut problems = Problems::new(Source::new(0, request.path, text));
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        match other_format(text) {
            Some(help) => problems.add_help(&span, "toml", toml_message(error.message()), help),
            None => {
                problems.add_help(&span, "toml", toml_message(error.message()), toml_help(error.message()));
            }
        }
    }
    // A key given twice leaves the rest of the file as it was meant.
    if errors.iter().any(|error| error.message() != "duplicate key") {
        problems.finish()?;
        problems = Problems::new(Source::new(0, request.path, text));
    }
    Loader::new(request, problems).plan(document.get_ref())
}

/// What a text that is not TOML seems to be.
fn other_format(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    if text.starts_with('{') {
        Some("this looks like JSON; a plan is TOML: `name = \"…\"`, then a `[[step]]` for each step")
    } else if text.starts_with("---") {
        Some("this looks like YAML; a plan is TOML: `name = \"…\"`, then a `[[step]]` for each step")
    } else {
        None
    }
}

/// The words of the TOML reader, a little closer to ours.
fn toml_message(message: &str) -> String {
    match message {
        "duplicate key" => "this key was given before".to_owned(),
        other => format!("not TOML: {other}"),
    }
}

/// What would be right where the TOML reader stumbled.
fn toml_help(message: &str) -> &'static str {
    if message == "duplicate key" {
        "keep one of them; a new step begins with `[[step]]`"
    } else if message.contains("string") {
        "a text stands in quotation marks: `key = \"text\"`"
    } else if message.contains("array table")
        || message.contains("table header")
        || message.contains("std table")
    {
        "a section is `[vars]`, a step is `[[step]]`, each on a line of its own"
    } else {
        "a line is `key = value`; a value is \"text\", 1, true, [\"a\", \"b\"] or { key = value }"
    }
}

/// The text of the file without a byte order mark.
fn decode<'a>(request: &Request<'a>) -> Result<&'a str, Diagnostics> {
    let refuse = |text: &str, span, code, message: &str, help: &str| {
        let mut problems = Problems::new(Source::new(0, request.path, text));
        problems.add_help(&span, code, message, help);
        problems.finish()
    };
    if request.text.len() > PLAN_MAX {
        // Whoever reads it stops soon after the limit, so how long it is nobody knows.
        let message = format!("the file has more than {PLAN_MAX} bytes");
        refuse("", 0..0, "file-too-big", &message, "a plan is TOML text; split it into several plans")?;
    }
    let text = match std::str::from_utf8(request.text) {
        Ok(text) => text,
        Err(error) => {
            let good = std::str::from_utf8(&request.text[..error.valid_up_to()]).unwrap_or("");
            let help = "a plan is TOML text in UTF-8; save it in that encoding";
            refuse(good, good.len()..good.len(), "not-utf8", "the file is not UTF-8 from here on", help)?;
            ""
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(at) = text.find('\0') {
        refuse(text, at..at, "nul-byte", "the file has a NUL byte", "a plan is TOML text in UTF-8")?;
    }
    if text.trim().is_empty() {
        refuse(
            "",
            0..0,
            "empty-plan",
            "the file is empty",
            "a plan starts with `name = \"…\"` and has steps",
        )?;
    }
    Ok(text)
}

/// What is known while a plan is read.
struct Loader<'d, 'r> {
    problems: Problems<'d>,
    request: &'r Request<'r>,
    folder: String,
    vars: Vars,
    hosts: BTreeSet<String>,
    clusters: BTreeSet<String>,
    brokers: BTreeSet<String>,
    secrets: BTreeSet<String>,
    templates: Vec<Kept>,
    files: BTreeMap<String, FileRef>,
    contents: BTreeMap<String, Vec<u8>>,
    steps: Vec<Draft>,
    /// The steps by id.
    index: HashMap<String, usize>,
    notes: Vec<Diagnostic>,
    added: Vec<AddedNeed>,
}

impl<'d, 'r> Loader<'d, 'r> {
    fn new(request: &'r Request<'r>, problems: Problems<'d>) -> Self {
        Self {
            problems,
            request,
            folder: files::folder(request.path),
            vars: Vars::default(),
            hosts: BTreeSet::new(),
            clusters: BTreeSet::new(),
            brokers: BTreeSet::new(),
            secrets: BTreeSet::new(),
            templates: Vec::new(),
            files: BTreeMap::new(),
            contents: BTreeMap::new(),
            steps: Vec::new(),
            index: HashMap::new(),
            notes: Vec::new(),
            added: Vec::new(),
        }
    }

    fn plan(mut self, document: &'d DeTable<'d>) -> Result<Loaded, Diagnostics> {
        let plan = Table::new(document, 0..0, "the plan", &keys::PLAN, &mut self.problems);
        let name = self.name(&plan);
        let description = self.description(&plan);
        let on_failure = plan.word("on_failure", &ON_FAILURE, &mut self.problems).unwrap_or(OnFailure::Halt);
        let parallelism = plan.integer("parallelism", &mut self.problems);
        self.vars = vars::read(plan.get("vars"), self.request, &mut self.problems);
        let secrets = self.read_secrets(&plan);
        let hosts = self.read_hosts(&plan);
        let clusters = self.read_clusters(&plan);
        let brokers = self.read_brokers(&plan);
        let resources = self.read_resources(&plan);
        self.read_steps(&plan, on_failure);
        let graph = self.resolve_needs();
        let graph = self.check_resources(&resources, graph);
        self.check_references(graph.as_ref());
        let Self { problems, steps, files, contents, vars, request, folder, notes, added, .. } = self;
        problems.finish()?;
        let mut steps: Vec<_> = steps.into_iter().filter_map(|draft| draft.step).collect();
        // They lie where the larger drafts lay, and are kept for the length of the run.
        steps.shrink_to_fit();
        // Without a name there was a problem, and this is not reached.
        let Some(name) = name else { unreachable!("a plan without a name was accepted") };
        let definition = Definition {
            version: DEFINITION_VERSION,
            name,
            description,
            path: request.path.to_owned(),
            folder,
            on_failure,
            parallelism,
            vars: vars.values,
            given: vars.given,
            secrets,
            hosts,
            clusters,
            brokers,
            resources,
            steps,
            files,
        };
        Ok(Loaded { definition: Arc::new(definition), files: contents, notes, added })
    }

    fn name(&mut self, plan: &Table<'d>) -> Option<PlanName> {
        plan.require("name", &mut self.problems)?;
        let text = plan.text("name", &mut self.problems)?;
        match PlanName::new(text.text) {
            Ok(name) => Some(name),
            Err(error) => {
                let help = "a name is a-z, 0-9 and `-`, and starts with a letter or digit";
                self.problems.add_help(&text.span, "bad-name", error.to_string(), help);
                None
            }
        }
    }

    fn description(&mut self, plan: &Table<'d>) -> String {
        let Some(text) = plan.text("description", &mut self.problems) else { return String::new() };
        let value = serde_json::Value::String(text.text.clone());
        vars::refuse_templates(&value, &text.span, "a plan's description", &mut self.problems);
        text.text
    }

    fn read_steps(&mut self, plan: &Table<'d>, on_failure: OnFailure) {
        let items = match plan.get("step") {
            Some(entry) if entry.value.get_ref().is_table() => {
                let help = "write `[[step]]` with two brackets, once for each step";
                self.problems.add_help(
                    &entry.span(),
                    "wrong-type",
                    "`step` must be an array of tables",
                    help,
                );
                return;
            }
            Some(entry) => table::items(entry, "array of tables", &mut self.problems).unwrap_or_default(),
            None => Vec::new(),
        };
        if items.is_empty() {
            let at = plan.get("name").map_or(0..0, |entry: Entry<'_>| entry.span());
            self.problems.add_help(&at, "no-steps", "the plan has no steps", "add a `[[step]]`");
        }
        for (at, item) in items.into_iter().enumerate() {
            self.read_step(at, item, on_failure);
        }
    }
}

/// The words of `on_failure`.
const ON_FAILURE: [(&str, OnFailure); 2] = [("halt", OnFailure::Halt), ("rollback", OnFailure::Rollback)];
