//! Reads the rendered fields of `command` and `ssh`, the same for action and check.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::plan::recorded::{Host, Operation};
use crate::transport::{Launch, Program, Target};

/// What the first Ctrl-C does to an action in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnStop {
    /// It is ended.
    Stop,
    /// It is waited for.
    Finish,
}

/// Fields of an operation with messages that name them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    operation: &'a Operation,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(operation: &'a Operation) -> Self {
        Self { operation }
    }

    fn get(self, key: &str) -> Option<&'a Value> {
        self.operation.fields.get(key).filter(|value| !value.is_null())
    }

    fn wrong(self, key: &str, what: &str) -> String {
        format!("`{key}` of `{}` must be {what}", self.operation.name)
    }

    /// A text; numbers and booleans are taken as they are written.
    fn text(self, key: &str) -> Result<Option<String>, String> {
        self.get(key).map(|value| plain(value).ok_or_else(|| self.wrong(key, "a text"))).transpose()
    }

    /// What is to be run. `bodies` holds the content of a `script_file`.
    ///
    /// A `script` is given to `/bin/sh -c` as it is: write `set -eu` on its first line to end at the first error. A
    /// `script_file` that begins with `#!` is executed as a file, another one is read by `/bin/sh`.
    pub(crate) fn launch(self, bodies: &BTreeMap<String, Vec<u8>>) -> Result<Launch, String> {
        let program = match (self.get("argv"), self.text("script")?, self.text("script_file")?) {
            (Some(Value::Array(words)), None, None) => {
                let argv: Option<Vec<String>> = words.iter().map(plain).collect();
                match argv {
                    Some(argv) if argv.first().is_some_and(|program| !program.is_empty()) => {
                        Program::Argv(argv)
                    }
                    _ => return Err(self.wrong("argv", "a list of texts that begins with a program")),
                }
            }
            (Some(_), None, None) => return Err(self.wrong("argv", "a list of texts")),
            (None, Some(script), None) => Program::Script(script),
            (None, None, Some(path)) => match bodies.get(&path) {
                Some(content) => Program::File(content.clone()),
                None => return Err(format!("the content of `{path}` was not recorded")),
            },
            _ => {
                return Err(format!(
                    "`{}` needs exactly one of `argv`, `script`, `script_file`",
                    self.operation.name
                ));
            }
        };
        let mut env = BTreeMap::new();
        match self.get("env") {
            None => {}
            Some(Value::Object(table)) => {
                for (name, value) in table {
                    let value = plain(value).ok_or_else(|| self.wrong("env", "a table of texts"))?;
                    if name.is_empty() || name.contains('=') {
                        return Err(format!("`{name}` in `env` cannot be the name of a variable"));
                    }
                    env.insert(name.clone(), value);
                }
            }
            Some(_) => return Err(self.wrong("env", "a table of texts")),
        }
        Ok(Launch { program, env, cwd: self.text("cwd")?, stdin: self.text("stdin")? })
    }

    /// Where a local command runs: the override, its own `cwd` (from the plan's folder on), or the plan's folder.
    pub(crate) fn local_cwd(cwd: Option<String>, folder: &Path, replaced: Option<&Path>) -> String {
        let cwd = replaced
            .map_or_else(|| cwd.map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd)), Path::to_owned);
        cwd.to_string_lossy().into_owned()
    }

    /// The host an `ssh` operation names.
    pub(crate) fn target(self, hosts: &BTreeMap<String, Host>) -> Result<Target, String> {
        let name = self.text("host")?.ok_or_else(|| format!("`{}` needs a `host`", self.operation.name))?;
        let host = hosts.get(&name).ok_or_else(|| format!("there is no host `{name}` in the plan"))?;
        let port = match &host.port {
            None | Some(Value::Null) => None,
            Some(port) => Some(
                plain(port)
                    .and_then(|port| port.trim().parse().ok())
                    .filter(|&port| port != 0)
                    .ok_or_else(|| format!("the `port` of host `{name}` must be a number from 1 to 65535"))?,
            ),
        };
        Ok(Target {
            name,
            address: host.address.clone(),
            port,
            identity_file: host.identity_file.clone(),
            known_hosts: host.known_hosts.clone(),
            jump: host.jump.clone(),
            sudo: host.sudo,
        })
    }

    /// The declared outputs: name and `text` or a JSON pointer.
    pub(crate) fn outputs(self) -> Result<Map<String, Value>, String> {
        match self.get("outputs") {
            None => Ok(Map::new()),
            Some(Value::Object(table)) => Ok(table.clone()),
            Some(_) => Err(self.wrong("outputs", "a table of `text` or JSON pointers")),
        }
    }

    /// What a stop does; `stop` unless the operation says otherwise.
    pub(crate) fn on_stop(self) -> Result<OnStop, String> {
        match self.text("on_stop")?.as_deref() {
            None | Some("stop") => Ok(OnStop::Stop),
            Some("finish") => Ok(OnStop::Finish),
            Some(_) => Err(self.wrong("on_stop", "`stop` or `finish`")),
        }
    }

    /// Exit statuses of a check that mean `absent` besides 1.
    pub(crate) fn absent_on(self) -> Result<Vec<i64>, String> {
        let wrong = || self.wrong("absent_on", "a list of exit statuses");
        match self.get("absent_on") {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|status| status.as_i64().ok_or_else(wrong)).collect(),
            Some(one) => Ok(vec![one.as_i64().ok_or_else(wrong)?]),
        }
    }
}

/// A value as one word.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
