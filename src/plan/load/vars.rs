//! Variables: their defaults, var files, and `--var`, each of the type that the plan gives them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::table::{Entry, check_identifier, table, to_json};
use super::{Request, Required};
use crate::plan::diagnostic::{Diagnostic, Problems, Source, Span, help_for, with_article};
use crate::plan::template::{lex, type_name};

/// The type of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VarType {
    Text,
    Bool,
    Integer,
    Float,
    Array,
    Table,
}

const TYPES: [(&str, VarType); 6] = [
    ("string", VarType::Text),
    ("bool", VarType::Bool),
    ("integer", VarType::Integer),
    ("float", VarType::Float),
    ("array", VarType::Array),
    ("table", VarType::Table),
];

/// What helps a value that JSON cannot hold.
const IN_QUOTES: &str = "write it in quotation marks";

/// The names of the types that a variable can have.
pub(in crate::plan) fn variable_types() -> [&'static str; 6] {
    TYPES.map(|(name, _)| name)
}

impl VarType {
    fn of(value: &Value) -> Self {
        match value {
            Value::Bool(_) => VarType::Bool,
            Value::Number(number) if number.is_f64() => VarType::Float,
            Value::Number(_) => VarType::Integer,
            Value::Array(_) => VarType::Array,
            Value::Object(_) => VarType::Table,
            Value::String(_) | Value::Null => VarType::Text,
        }
    }

    fn name(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("string", |(name, _)| name)
    }

    fn placeholder(self, name: &str) -> Value {
        match self {
            VarType::Text => Value::String(format!("<{name}>")),
            VarType::Bool => Value::Bool(false),
            VarType::Integer => Value::from(0),
            VarType::Float => Value::from(0.0),
            VarType::Array => Value::Array(Vec::new()),
            VarType::Table => Value::Object(serde_json::Map::new()),
        }
    }

    /// The value, when it is of this type; an integer is a float too.
    fn take(self, value: Value) -> Result<Value, Value> {
        match (self, value) {
            (VarType::Float, Value::Number(number)) => match number.as_f64() {
                Some(float) => Ok(Value::from(float)),
                None => Err(Value::Number(number)),
            },
            (kind, value) if VarType::of(&value) == kind => Ok(value),
            (_, value) => Err(value),
        }
    }
}

struct Variable {
    kind: VarType,
    value: Option<Value>,
    /// The value was not the plan's own.
    given: bool,
    span: Span,
}

/// The variables with their final values.
#[derive(Debug, Default)]
pub(super) struct Vars {
    pub(super) values: BTreeMap<String, Value>,
    /// Those of them that are not the plan's own.
    pub(super) given: BTreeMap<String, Value>,
    /// Those that hold a placeholder, because nobody gave them.
    pub(super) placeholders: BTreeSet<String>,
}

/// Reads `[vars]` and whatever overrides it: var files in order, then options in order.
pub(super) fn read(section: Option<Entry<'_>>, request: &Request<'_>, problems: &mut Problems<'_>) -> Vars {
    let mut variables = section.map(|section| declared(section, problems)).unwrap_or_default();
    for (name, value) in request.given {
        let kind = variables.get(name).map(|variable| variable.kind);
        if let Some(value) = kind.and_then(|kind| kind.take(value.clone()).ok()) {
            set(&mut variables, name, value);
        }
    }
    for (rank, (path, text)) in request.var_files.iter().enumerate() {
        from_file(&Source::new(1 + rank, path, text), text, &mut variables, problems);
    }
    let first_option = 1 + request.var_files.len();
    for (rank, (name, text)) in request.vars.iter().enumerate() {
        from_option(first_option + rank, name, text, &mut variables, problems);
    }
    let mut vars = Vars::default();
    for (name, variable) in variables {
        if let (true, Some(value)) = (variable.given, &variable.value) {
            vars.given.insert(name.clone(), value.clone());
        }
        let value = match (variable.value, request.required) {
            (Some(value), _) => value,
            (None, Required::TakenAsPresent) => {
                vars.placeholders.insert(name.clone());
                variable.kind.placeholder(&name)
            }
            (None, Required::MustBeGiven) => {
                let help = format!("give it with `--var {name}=…` or in a `--var-file`");
                problems.add_help(
                    &variable.span,
                    "missing-variable",
                    format!("variable `{name}` must be given"),
                    help,
                );
                variable.kind.placeholder(&name)
            }
        };
        vars.values.insert(name, value);
    }
    vars
}

fn declared(section: Entry<'_>, problems: &mut Problems<'_>) -> BTreeMap<String, Variable> {
    let mut variables = BTreeMap::new();
    for (key, value) in table(section, problems).into_iter().flatten() {
        let entry = Entry { key, value };
        if check_identifier(entry, "variable", problems)
            && let Some(variable) = declaration(entry, problems)
        {
            variables.insert(entry.name().to_owned(), variable);
        }
    }
    variables
}

fn declaration(entry: Entry<'_>, problems: &mut Problems<'_>) -> Option<Variable> {
    let required = entry
        .value
        .get_ref()
        .as_table()
        .filter(|table| table.len() == 1)
        .and_then(|table| table.get("required"));
    if let Some(kind) = required {
        let word = kind.get_ref().as_str().unwrap_or("");
        let found = TYPES.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let message = format!("variable `{}` requires a type that does not exist", entry.name());
            let names = TYPES.map(|(name, _)| name);
            problems.add_help(&kind.span(), "unknown-word", message, help_for("types", word, names));
        }
        return found.map(|(_, kind)| Variable {
            kind: *kind,
            value: None,
            given: false,
            span: entry.key.span(),
        });
    }
    match to_json(entry.value.get_ref()) {
        Ok(value) => {
            refuse_templates(&value, &entry.span(), "a variable", problems);
            Some(Variable {
                kind: VarType::of(&value),
                value: Some(value),
                given: false,
                span: entry.key.span(),
            })
        }
        Err(why) => {
            let message = format!("variable `{}`: {why}", entry.name());
            problems.add_help(&entry.span(), "wrong-type", message, IN_QUOTES);
            None
        }
    }
}

/// Reports templates where a value is taken as it stands.
pub(super) fn refuse_templates(value: &Value, span: &Span, what: &str, problems: &mut Problems<'_>) {
    match value {
        Value::String(text) => {
            if let Some(reference) = lex::lex(text).references.first() {
                let message = format!(
                    "{what} is taken as it stands: `{}` would not be replaced",
                    reference.path.join(".")
                );
                problems.add_help(
                    span,
                    "template-not-rendered",
                    message,
                    "use the template where the value is used",
                );
            }
        }
        Value::Array(items) => items.iter().for_each(|item| refuse_templates(item, span, what, problems)),
        Value::Object(table) => table.values().for_each(|item| refuse_templates(item, span, what, problems)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn unknown<'v>(name: &str, known: impl Iterator<Item = &'v String>) -> (String, String) {
    let help = help_for("variables", name, known.map(String::as_str));
    (format!("the plan has no variable `{name}`"), help)
}

fn wrong(name: &str, kind: VarType, found: &str) -> String {
    format!("variable `{name}` must be {}, not {found}", with_article(kind.name()))
}

fn from_file(
    source: &Source<'_>,
    text: &str,
    variables: &mut BTreeMap<String, Variable>,
    problems: &mut Problems<'_>,
) {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let help = Some(super::toml_help(error.message()).to_owned());
        problems.take(Diagnostic::new(source, span, "toml", super::toml_message(error.message()), help));
    }
    if !errors.is_empty() {
        return;
    }
    for (key, value) in document.get_ref() {
        let name: &str = key.get_ref();
        let mut report = |span: Span, code, message: String, help| {
            problems.take(Diagnostic::new(source, span, code, message, help));
        };
        let Some(kind) = variables.get(name).map(|variable| variable.kind) else {
            let (message, help) = unknown(name, variables.keys());
            report(key.span(), "unknown-variable", message, Some(help));
            continue;
        };
        match to_json(value.get_ref()) {
            Err(why) => {
                let message = format!("variable `{name}`: {why}");
                report(value.span(), "wrong-type", message, Some(IN_QUOTES.to_owned()));
            }
            Ok(json) => match kind.take(json) {
                Ok(json) => set(variables, name, json),
                Err(json) => {
                    let help = Some(super::table::write_as(kind.name()).to_owned());
                    report(value.span(), "wrong-type", wrong(name, kind, type_name(&json)), help);
                }
            },
        }
    }
}

fn from_option(
    rank: usize,
    name: &str,
    text: &str,
    variables: &mut BTreeMap<String, Variable>,
    problems: &mut Problems<'_>,
) {
    let shown = format!("--var {name}={text}");
    let source = Source::new(rank, "command line", &shown);
    let name_span = 6..6 + name.len();
    let value_span = 7 + name.len()..shown.len();
    let Some(kind) = variables.get(name).map(|variable| variable.kind) else {
        let (message, help) = unknown(name, variables.keys());
        problems.take(Diagnostic::new(&source, name_span, "unknown-variable", message, Some(help)));
        return;
    };
    let parsed = match kind {
        VarType::Text => Some(Value::String(text.to_owned())),
        VarType::Bool | VarType::Integer | VarType::Float | VarType::Array | VarType::Table => {
            DeValue::parse(text.trim()).ok().and_then(|value| to_json(value.get_ref()).ok())
        }
    };
    match parsed.and_then(|value| kind.take(value).ok()) {
        Some(value) => set(variables, name, value),
        None => {
            let help = match kind {
                VarType::Text => None,
                VarType::Bool => Some("write `true` or `false`".to_owned()),
                VarType::Integer | VarType::Float => Some("write a number".to_owned()),
                VarType::Array => Some(format!("write it as TOML: `--var '{name}=[\"a\", \"b\"]'`")),
                VarType::Table => Some(format!("write it as TOML: `--var '{name}={{ a = 1 }}'`")),
            };
            let message = wrong(name, kind, &format!("`{text}`"));
            problems.take(Diagnostic::new(&source, value_span, "wrong-type", message, help));
        }
    }
}

fn set(variables: &mut BTreeMap<String, Variable>, name: &str, value: Value) {
    if let Some(variable) = variables.get_mut(name) {
        variable.value = Some(value);
        variable.given = true;
    }
}
