//! Reads the rendered fields of actions and checks, with messages that name them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::plan::expect::{self, Comparison};
use crate::plan::recorded::{Cluster, Host, Operation, Places};
use crate::transport::{ClusterPlace, FilePlace, FrigateServer, Launch, MqttBroker, Program, Target};

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

    pub(crate) fn get(self, key: &str) -> Option<&'a Value> {
        self.operation.fields.get(key).filter(|value| !value.is_null())
    }

    pub(crate) fn wrong(self, key: &str, what: &str) -> String {
        format!("`{key}` of `{}` must be {what}", self.operation.name)
    }

    /// A text; numbers and booleans are taken as they are written.
    pub(crate) fn text(self, key: &str) -> Result<Option<String>, String> {
        self.get(key).map(|value| plain(value).ok_or_else(|| self.wrong(key, "a text"))).transpose()
    }

    /// A boolean; absent: false.
    pub(crate) fn flag(self, key: &str) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "`true` or `false`")),
        }
    }

    /// A whole number, not negative.
    pub(crate) fn number(self, key: &str) -> Result<Option<u64>, String> {
        let read = |value: &Value| value.as_u64().ok_or_else(|| self.wrong(key, "a whole number"));
        self.get(key).map(read).transpose()
    }

    /// A list of texts; absent: empty.
    pub(crate) fn texts(self, key: &str) -> Result<Vec<String>, String> {
        let wrong = || self.wrong(key, "a list of texts");
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|item| plain(item).ok_or_else(wrong)).collect(),
            Some(_) => Err(wrong()),
        }
    }

    /// A duration such as `5m`.
    pub(crate) fn duration(self, key: &str) -> Result<Option<Duration>, String> {
        let read = |text: String| {
            let read = crate::plan::parse_duration(&text);
            read.map(Duration::from_millis).map_err(|_| self.wrong(key, "a duration such as `5m`"))
        };
        self.text(key)?.map(read).transpose()
    }

    /// A mode as octal text, `0644`.
    pub(crate) fn mode(self) -> Result<Option<u32>, String> {
        let read = |text: String| {
            u32::from_str_radix(&text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777 && text.len() <= 5)
                .ok_or_else(|| self.wrong("mode", "an octal text such as `0644`"))
        };
        self.text("mode")?.map(read).transpose()
    }

    /// The content of a file that was recorded with the plan.
    pub(crate) fn recorded(
        self,
        key: &str,
        bodies: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Option<Vec<u8>>, String> {
        let Some(path) = self.text(key)? else { return Ok(None) };
        let content = bodies.get(&path).ok_or_else(|| format!("the content of `{path}` was not recorded"))?;
        Ok(Some(content.clone()))
    }

    /// The file that `path` names: on `host`, else here, from the plan's folder on.
    pub(crate) fn place(self, hosts: &BTreeMap<String, Host>, folder: &Path) -> Result<FilePlace, String> {
        let path = self.text("path")?.ok_or_else(|| format!("`{}` needs a `path`", self.operation.name))?;
        let host = if self.get("host").is_some() { Some(self.target(hosts)?) } else { None };
        if path.is_empty() || path.ends_with('/') || path.contains(['\0', '\n']) {
            return Err(self.wrong("path", "the path of a file, without a line break"));
        }
        let path = match &host {
            None => folder.join(path).to_string_lossy().into_owned(),
            Some(_) if path.starts_with('/') => path,
            Some(host) => {
                return Err(format!("`path` is `{path}`, which is not absolute on host `{}`", host.name));
            }
        };
        Ok(FilePlace { host, path })
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
        Ok(Launch {
            program,
            env,
            cwd: self.text("cwd")?,
            stdin: self.text("stdin")?.map(String::into_bytes),
        })
    }

    /// Where a local command runs: the override, its own `cwd` (from the plan's folder on), or the plan's folder.
    pub(crate) fn local_cwd(cwd: Option<String>, folder: &Path, replaced: Option<&Path>) -> String {
        let cwd = replaced
            .map_or_else(|| cwd.map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd)), Path::to_owned);
        cwd.to_string_lossy().into_owned()
    }

    /// The host an `ssh` operation names.
    pub(crate) fn target(self, hosts: &BTreeMap<String, Host>) -> Result<Target, String> {
        self.target_of("host", hosts)
    }

    /// The host that the field `key` names.
    pub(crate) fn target_of(self, key: &str, hosts: &BTreeMap<String, Host>) -> Result<Target, String> {
        let name = self.text(key)?.ok_or_else(|| format!("`{}` needs a `{key}`", self.operation.name))?;
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
            identity_file: given(host.identity_file.as_ref()),
            known_hosts: given(host.known_hosts.as_ref()),
            jump: given(host.jump.as_ref()),
            sudo: host.sudo,
        })
    }

    /// The name of the operation.
    pub(crate) fn name(self) -> String {
        self.operation.name.clone()
    }

    /// A list of texts that is not empty, each as it stands.
    pub(crate) fn words(self, name: &'static str) -> Result<Option<Vec<String>>, String> {
        let wrong = || self.wrong(name, "a list of texts that is not empty");
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(words)) if !words.is_empty() => {
                words.iter().map(plain).collect::<Option<_>>().map(Some).ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
        }
    }

    /// The cluster that an operation names; a relative kubeconfig counts from the plan's folder on, `~` is the home.
    pub(crate) fn cluster(
        self,
        clusters: &BTreeMap<String, Cluster>,
        folder: &Path,
    ) -> Result<ClusterPlace, String> {
        let name =
            self.text("cluster")?.ok_or_else(|| format!("`{}` needs a `cluster`", self.operation.name))?;
        let cluster =
            clusters.get(&name).ok_or_else(|| format!("there is no cluster `{name}` in the plan"))?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let kubeconfig = given(&cluster.kubeconfig).map(|path| match path.strip_prefix("~/") {
            Some(rest) => std::env::home_dir().unwrap_or_default().join(rest),
            None => folder.join(&path),
        });
        Ok(ClusterPlace { name, context: given(&cluster.context), kubeconfig })
    }

    /// The broker that an operation names.
    pub(crate) fn broker(
        self,
        places: &Places,
        bodies: &BTreeMap<String, Vec<u8>>,
    ) -> Result<MqttBroker, String> {
        let name =
            self.text("broker")?.ok_or_else(|| format!("`{}` needs a `broker`", self.operation.name))?;
        let found =
            places.brokers.get(&name).ok_or_else(|| format!("there is no broker `{name}` in the plan"))?;
        let ca = match &found.ca {
            None => None,
            Some(path) => {
                let content = bodies.get(path);
                Some(content.ok_or_else(|| format!("the content of `{path}` was not recorded"))?.clone())
            }
        };
        let (username, password) = (found.username.clone(), found.password.clone());
        Ok(MqttBroker { username, password, ca, ..MqttBroker::read(&name, &found.url)? })
    }

    /// The Frigate that an operation names with `url`, `user`, `password`, `tls` and `ca_file`.
    pub(crate) fn frigate(self, bodies: &BTreeMap<String, Vec<u8>>) -> Result<FrigateServer, String> {
        let url = self.text("url")?.ok_or_else(|| format!("`{}` needs a `url`", self.operation.name))?;
        let login = match (self.text("user")?, self.text("password")?) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => return Err("`user` and `password` belong together".to_owned()),
        };
        let anyone = match self.text("tls")?.as_deref() {
            None => false,
            Some("insecure") => true,
            Some(_) => return Err(self.wrong("tls", "`insecure`, or absent")),
        };
        let url = url.trim_end_matches('/').to_owned();
        Ok(FrigateServer { url, login, ca: self.recorded("ca_file", bodies)?, anyone })
    }

    /// A share such as `5%`, as a part of 1.
    pub(crate) fn share(self, key: &str) -> Result<Option<f64>, String> {
        let read = |text: String| {
            let number = text.strip_suffix('%').and_then(|text| text.trim().parse::<f64>().ok());
            let share = number.filter(|number| (0.0..=100.0).contains(number)).map(|number| number / 100.0);
            share.ok_or_else(|| self.wrong(key, "a share such as `5%`"))
        };
        self.text(key)?.map(read).transpose()
    }

    /// A list of texts that may be absent.
    pub(crate) fn list(self, key: &str) -> Result<Option<Vec<String>>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => {
                let items: Option<Vec<String>> = items.iter().map(plain).collect();
                items.map(Some).ok_or_else(|| self.wrong(key, "a list of texts"))
            }
            Some(_) => Err(self.wrong(key, "a list of texts")),
        }
    }

    /// What is expected, by JSON pointer.
    pub(crate) fn expectations(self, key: &str) -> Result<Vec<(String, Vec<Comparison>)>, String> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Value::Object(table) = value else { return Err(self.wrong(key, "a table of comparisons")) };
        let read = |(pointer, value): (&String, &Value)| {
            let read = expect::parse(value).map_err(|wrong| {
                let why: Vec<String> = wrong.into_iter().map(|wrong| wrong.message).collect();
                format!("`{key}` at `{pointer}`: {}", why.join(", "))
            })?;
            Ok((pointer.clone(), read))
        };
        table.iter().map(read).collect()
    }

    /// The declared outputs: name and `text` or a JSON pointer.
    pub(crate) fn outputs(self) -> Result<Map<String, Value>, String> {
        match self.get("outputs") {
            None => Ok(Map::new()),
            Some(Value::Object(table)) => Ok(table.clone()),
            Some(_) => Err(self.wrong("outputs", "a table of `text` or JSON pointers")),
        }
    }

    /// What a stop does, unless the operation says otherwise.
    pub(crate) fn on_stop(self, default: OnStop) -> Result<OnStop, String> {
        match self.text("on_stop")?.as_deref() {
            None => Ok(default),
            Some("stop") => Ok(OnStop::Stop),
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

/// A text that is not empty: a variable that is may stand where nothing is meant.
fn given(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
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
