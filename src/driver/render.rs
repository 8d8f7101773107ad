//! From an ask of the core to what the world is given: operations rendered with variables, outputs and secrets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::secrets::Secrets;
use crate::action::{Call, Tell};
use crate::check::Look;
use crate::journal::Bodies;
use crate::plan::recorded::{Broker, Compensate, Definition, Operation, Places, Step};
use crate::plan::template::{self, Scope};
use crate::saga::{AttemptKey, Direction, Outputs, State};
use crate::transport::Stop;

/// How long a check may take unless it says otherwise (DESIGN section 3).
const CHECK_TIMEOUT: Duration = Duration::from_secs(30);

/// Renders for one run.
#[derive(Debug)]
pub(super) struct Renderer {
    pub(super) secrets: Secrets,
    /// Where the plan's folder is now, when it is not where it was (`--cwd`).
    pub(super) cwd: Option<PathBuf>,
    pub(super) stop: Stop,
    pub(super) bodies: Bodies,
    files: Arc<BTreeMap<String, Vec<u8>>>,
    no_places: Arc<Places>,
}

impl Renderer {
    pub(super) fn new(secrets: Secrets, cwd: Option<PathBuf>, stop: Stop, bodies: Bodies) -> Self {
        Self { secrets, cwd, stop, bodies, files: Arc::default(), no_places: Arc::default() }
    }

    /// Reads the recorded contents of the files that a definition names.
    ///
    /// # Errors
    /// What is wrong with the body that cannot be read.
    pub(super) fn load_files(&mut self, definition: &Definition) -> Result<(), String> {
        let mut files = BTreeMap::new();
        for (path, body) in &definition.files {
            let bytes = self.bodies.get(body).map_err(|error| format!("the recorded `{path}`: {error}"))?;
            files.insert(path.clone(), bytes);
        }
        self.files = Arc::new(files);
        Ok(())
    }

    /// Reads those of them that can be read; a look that needs another says so.
    pub(super) fn load_what_there_is(&mut self, definition: &Definition) {
        let read = definition
            .files
            .iter()
            .filter_map(|(path, body)| self.bodies.get(body).ok().map(|bytes| (path.clone(), bytes)));
        self.files = Arc::new(read.collect());
    }

    /// Takes contents that are stored nowhere yet, by the path that names them.
    pub(super) fn with_files(&mut self, files: BTreeMap<String, Vec<u8>>) {
        self.files = Arc::new(files);
    }

    /// Takes what an operation refers to out of the run; nothing is copied that it does not name.
    fn with_scope<T>(
        &self,
        state: &State,
        outputs_wanted: bool,
        work: impl FnOnce(&Scope<'_>) -> Result<T, template::TemplateError>,
    ) -> Result<T, String> {
        let outputs: Outputs = if outputs_wanted { state.outputs() } else { Outputs::new() };
        let run = state.run.to_string();
        let scope = Scope {
            vars: &state.definition.vars,
            outputs: &outputs,
            run: &run,
            secrets: template::Secrets::Values(self.secrets.values()),
        };
        work(&scope).map_err(|error| error.to_string())
    }

    pub(super) fn when(&self, state: &State, value: &Value) -> Result<bool, String> {
        self.with_scope(state, mentions_steps(value), |scope| template::render_bool(value, scope))
    }

    /// The plan's places, rendered; of the brokers only the one that the operation names, because it needs a secret.
    fn places(&self, state: &State, operation: &Operation) -> Result<Arc<Places>, String> {
        let Definition { hosts, clusters, brokers, .. } = &*state.definition;
        if hosts.is_empty() && clusters.is_empty() && brokers.is_empty() {
            return Ok(Arc::clone(&self.no_places));
        }
        Ok(Arc::new(Places {
            hosts: self.section(state, "host", hosts)?,
            clusters: self.section(state, "cluster", clusters)?,
            brokers: self.section(state, "broker", &broker_of(brokers, operation))?,
        }))
    }

    /// One section of the plan, rendered.
    fn section<T: Serialize + DeserializeOwned>(
        &self,
        state: &State,
        what: &str,
        section: &BTreeMap<String, T>,
    ) -> Result<BTreeMap<String, T>, String> {
        let render = |(name, place): (&String, &T)| {
            let value = serde_json::to_value(place).map_err(|error| error.to_string())?;
            let wanted = mentions_steps(&value);
            let value = self.with_scope(state, wanted, |scope| template::render(&value, scope))?;
            let place = serde_json::from_value(value).map_err(|error| format!("{what} `{name}`: {error}"))?;
            Ok((name.clone(), place))
        };
        section.iter().map(render).collect()
    }

    fn operation(&self, state: &State, operation: &Operation) -> Result<Operation, String> {
        let wanted = operation.fields.values().any(mentions_steps);
        self.with_scope(state, wanted, |scope| template::render_operation(operation, scope))
    }

    /// What is given to an action for one attempt; to its own inverse as well, which is told what the action was told.
    ///
    /// # Errors
    /// A template that cannot be rendered, or a step without such an action.
    pub(super) fn call(
        &self,
        state: &State,
        step: &Step,
        direction: Direction,
        attempt: u32,
    ) -> Result<Call, String> {
        let operation = match (direction, &step.compensate) {
            (Direction::Forward, _) | (Direction::Compensation, Compensate::Inverse) => step.forward.as_ref(),
            (Direction::Compensation, Compensate::Action(operation)) => Some(operation),
            (Direction::Compensation, Compensate::Nothing | Compensate::Irreversible(_)) => None,
        };
        let operation = operation.ok_or_else(|| format!("step `{}` has no {direction} action", step.id))?;
        Ok(Call {
            key: AttemptKey { run: state.run.clone(), step: step.id.clone(), direction, attempt },
            operation: self.operation(state, operation)?,
            timeout: Duration::from_millis(step.timeout_ms),
            folder: PathBuf::from(&state.definition.folder),
            cwd_override: self.cwd.clone(),
            places: self.places(state, operation)?,
            bodies: Arc::clone(&self.files),
            redactor: self.secrets.redactor().clone(),
            secret: !template::secrets_of_operation(operation).is_empty(),
            stop: self.stop.clone(),
            tell: Tell::default(),
        })
    }

    /// What is given to an action that looks before its attempt: its own probe, or its pre-image.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub(super) fn look_of_action(&self, state: &State, step: &Step) -> Result<Call, String> {
        let call = self.call(state, step, Direction::Forward, 0)?;
        Ok(Call { timeout: CHECK_TIMEOUT, ..call })
    }

    /// What is given to a check for one look.
    ///
    /// # Errors
    /// A template that cannot be rendered.
    pub(super) fn look(&self, state: &State, operation: &Operation) -> Result<Look, String> {
        let secret = !template::secrets_of_operation(operation).is_empty();
        let places = self.places(state, operation)?;
        let operation = self.operation(state, operation)?;
        let timeout = operation.fields.get("timeout").and_then(Value::as_str);
        Ok(Look {
            timeout: timeout
                .and_then(|text| crate::plan::parse_duration(text).ok())
                .map_or(CHECK_TIMEOUT, Duration::from_millis),
            operation,
            secret,
            folder: PathBuf::from(&state.definition.folder),
            cwd_override: self.cwd.clone(),
            places,
            bodies: Arc::clone(&self.files),
            redactor: self.secrets.redactor().clone(),
        })
    }
}

/// The broker that an operation names: the password of another one need not be known.
fn broker_of(brokers: &BTreeMap<String, Broker>, operation: &Operation) -> BTreeMap<String, Broker> {
    let named = operation.fields.get("broker").and_then(Value::as_str);
    let found = named.and_then(|name| brokers.get_key_value(name));
    found.map(|(name, broker)| (name.clone(), broker.clone())).into_iter().collect()
}

/// Whether a template in here may refer to another step's outputs.
fn mentions_steps(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("{{") && text.contains("steps") || text.contains("{%"),
        Value::Array(items) => items.iter().any(mentions_steps),
        Value::Object(fields) => fields.values().any(mentions_steps),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
