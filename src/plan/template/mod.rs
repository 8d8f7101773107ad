//! Templates: Jinja over variables, outputs and secrets, strict about everything that is undefined.
//!
//! Rendering is bounded in work and in output, reads nothing but the [`Scope`], and keeps secrets out of its
//! errors (P7). Start at [`render`].

pub(in crate::plan) mod lex;
mod operation;
mod outputs;
mod secrets;
mod uses;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use self::lex::Lexed;
use super::id::StepId;

pub use operation::render_operation;
pub use outputs::{steps_in, steps_of_operation};
pub use secrets::{secrets_in, secrets_of_definition, secrets_of_operation};
pub use uses::uses_outputs;

/// Longest rendered string, in bytes. A body larger than this belongs into a file.
pub const OUTPUT_MAX: usize = 1 << 20;

/// Work one string may cost: the engine counts one per instruction and one per 64 bytes, so that this pays for
/// [`OUTPUT_MAX`] four times over.
const FUEL: u64 = 4 * (OUTPUT_MAX as u64) / 64;

/// What templates can see.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The plan's variables.
    pub vars: &'a BTreeMap<String, Value>,
    /// The outputs of the steps that have any.
    pub outputs: &'a BTreeMap<StepId, Map<String, Value>>,
    /// The run's id; empty when unknown.
    pub run: &'a str,
    /// The secrets.
    pub secrets: Secrets<'a>,
}

/// How secrets appear.
#[derive(Clone, Copy)]
pub enum Secrets<'a> {
    /// With their values: for what is executed.
    Values(&'a BTreeMap<String, String>),
    /// As `<secret NAME>`: for what is shown and compared.
    Masked,
}

impl std::fmt::Debug for Secrets<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Secrets::Values(_) => "Values(…)",
            Secrets::Masked => "Masked",
        })
    }
}

/// Why a template could not be rendered. Never holds the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot render `{template}`: {reason}")]
pub struct TemplateError {
    /// The template as it stands in the plan, shortened.
    pub template: String,
    /// What went wrong.
    pub reason: String,
}

impl TemplateError {
    fn new(template: &str, reason: impl Into<String>) -> Self {
        const SHOWN_MAX: usize = 120;
        let mut shown: String = template.chars().take(SHOWN_MAX).collect();
        if shown.len() < template.len() {
            shown.push('…');
        }
        Self { template: shown, reason: reason.into() }
    }
}

/// Renders every string in `value`, through arrays and tables; keys stay as they are. A string that is exactly
/// one expression keeps the type of its value.
///
/// # Errors
/// [`TemplateError`] for anything undefined, for a syntax error, and beyond the bounds.
pub fn render(value: &Value, scope: &Scope<'_>) -> Result<Value, TemplateError> {
    Ok(match value {
        Value::String(text) => render_string(text, scope)?,
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| render(item, scope)).collect::<Result<_, _>>()?)
        }
        Value::Object(table) => Value::Object(
            table
                .iter()
                .map(|(key, item)| Ok((key.clone(), render(item, scope)?)))
                .collect::<Result<_, TemplateError>>()?,
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// Renders a text to a text.
///
/// # Errors
/// As [`render`].
pub fn render_text(text: &str, scope: &Scope<'_>) -> Result<String, TemplateError> {
    let lexed = lex::lex(text);
    if !lexed.is_template {
        return Ok(text.to_owned());
    }
    let context = context(text, &lexed, scope)?;
    let template = environment().template_from_named_str("plan", &lexed.code);
    let rendered = template.and_then(|template| template.render(context));
    bounded(text, rendered.map_err(|error| explain(text, &lexed, &error))?)
}

/// Renders the value of a `when`: a boolean, or a template of one.
///
/// # Errors
/// As [`render`], and when the result is no boolean.
pub fn render_bool(value: &Value, scope: &Scope<'_>) -> Result<bool, TemplateError> {
    match render(value, scope)? {
        Value::Bool(holds) => Ok(holds),
        other => {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Err(TemplateError::new(&shown, format!("it gives {}, not a boolean", type_name(&other))))
        }
    }
}

fn render_string(text: &str, scope: &Scope<'_>) -> Result<Value, TemplateError> {
    let lexed = lex::lex(text);
    let Some(expression) = lexed.expression.clone() else {
        return render_text(text, scope).map(Value::String);
    };
    let context = context(text, &lexed, scope)?;
    let fail = |error: minijinja::Error| explain(text, &lexed, &error);
    let compiled = environment().compile_expression(&lexed.code[expression]).map_err(fail)?;
    let value = compiled.eval(context).map_err(fail)?;
    if value.is_undefined() {
        return Err(TemplateError::new(text, "it is undefined"));
    }
    let value = serde_json::to_value(&value)
        .map_err(|_| TemplateError::new(text, "its value is no text, number, boolean, array or table"))?;
    match value {
        Value::String(rendered) => bounded(text, rendered).map(Value::String),
        Value::Array(_) | Value::Object(_) => {
            bounded(text, value.to_string())?;
            Ok(value)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value),
    }
}

fn bounded(text: &str, rendered: String) -> Result<String, TemplateError> {
    if rendered.len() > OUTPUT_MAX {
        return Err(TemplateError::new(text, "it gives more than 1 MiB"));
    }
    Ok(rendered)
}

/// Says why the engine refused. What the engine says may quote a value, so that a template over secrets gets
/// only the kind of error.
fn explain(text: &str, lexed: &Lexed, error: &minijinja::Error) -> TemplateError {
    let kind = error.kind();
    let has_secret = lexed.references.iter().any(|reference| reference.path[0] == "secrets");
    let reason = match (kind, error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too much work or gives too much text".to_owned(),
        (_, Some(detail)) if !has_secret || kind == ErrorKind::SyntaxError => format!("{kind}: {detail}"),
        (_, _) => kind.to_string(),
    };
    TemplateError::new(text, reason)
}

/// Parses a template without rendering it.
pub(in crate::plan) fn check_syntax(lexed: &Lexed) -> Result<(), String> {
    let environment = environment();
    let parsed = match &lexed.expression {
        Some(expression) => environment.compile_expression(&lexed.code[expression.clone()]).map(|_| ()),
        None => environment.template_from_named_str("plan", &lexed.code).map(|_| ()),
    };
    parsed.map_err(|error| error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
}

/// Names that the template uses and nothing defines.
pub(in crate::plan) fn undefined_names(lexed: &Lexed) -> Vec<String> {
    let environment = environment();
    let names = match &lexed.expression {
        Some(expression) => environment
            .compile_expression(&lexed.code[expression.clone()])
            .map(|expression| expression.undeclared_variables(false)),
        None => environment
            .template_from_named_str("plan", &lexed.code)
            .map(|template| template.undeclared_variables(false)),
    };
    let known =
        |name: &str| lex::ROOTS.contains(&name) || environment.globals().any(|(global, _)| global == name);
    let mut names: Vec<String> = names.into_iter().flatten().filter(|name| !known(name)).collect();
    names.sort_unstable();
    names
}

/// The engine: strict, bounded, without the functions that would show the whole context.
fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            environment.set_syntax(syntax);
        }
        environment.remove_global("debug");
        environment.add_filter("shell_quote", shell_quote);
        environment
    })
}

/// One word of a POSIX shell, whatever is in it.
fn shell_quote(value: &minijinja::Value) -> Result<String, minijinja::Error> {
    let text = match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => return Err(ErrorKind::UndefinedError.into()),
        None if value.try_iter().is_ok() => {
            let detail = "shell_quote takes one word; quote each item by itself";
            return Err(minijinja::Error::new(ErrorKind::InvalidOperation, detail));
        }
        None => value.to_string(),
    };
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

/// The context with what the template refers to and nothing else.
fn context(text: &str, lexed: &Lexed, scope: &Scope<'_>) -> Result<minijinja::Value, TemplateError> {
    let undefined = |path: &[String]| TemplateError::new(text, format!("`{}` is undefined", path.join(".")));
    let mut roots: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for reference in &lexed.references {
        let path = reference.path.as_slice();
        let (root, name) = match path {
            [root, name, ..] => (root.as_str(), name.as_str()),
            _ => {
                return Err(TemplateError::new(
                    text,
                    format!("`{}` must be followed by a name", path.join(".")),
                ));
            }
        };
        let value = match root {
            "vars" => scope.vars.get(name).cloned(),
            "run" => (name == "id" && !scope.run.is_empty()).then(|| Value::from(scope.run)),
            "secrets" => match scope.secrets {
                Secrets::Values(values) => values.get(name).map(|value| Value::from(value.as_str())),
                Secrets::Masked => Some(Value::String(format!("<secret {name}>"))),
            },
            _ => StepId::new(name).ok().and_then(|id| scope.outputs.get(&id)).map(|outputs| {
                Value::Object(Map::from_iter([("outputs".to_owned(), Value::Object(outputs.clone()))]))
            }),
        };
        let value =
            value.ok_or_else(|| undefined(&path[..path.len().min(if root == "steps" { 4 } else { 2 })]))?;
        roots.entry(root).or_default().insert(name.to_owned(), value);
    }
    Ok(minijinja::Value::from(Serde(roots)))
}

/// The type of a value as a reader would say it, with its article.
pub(in crate::plan) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
