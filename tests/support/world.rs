//! A transport in a temporary folder, and calls with as few words as possible.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use runner::action::{Actions, Call, Tell};
use runner::check::{Checks, Look};
use runner::plan::recorded::{Broker, Host, Operation, Places};
use runner::plan::{PlanName, RunId, StepId};
use runner::saga::{AttemptKey, Direction, Outcome, Trace};
use runner::transport::{Redactor, Stop, Transport, TransportOptions};
use serde_json::Value;
use tempfile::TempDir;

use super::sshd::Sshd;

/// A state folder and the way to the world.
pub struct World {
    pub folder: TempDir,
    pub transport: Transport,
    pub actions: Actions,
    pub checks: Checks,
    pub places: Places,
    pub secrets: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        Self::open(tempfile::Builder::new().prefix("w").tempdir().unwrap(), 1)
    }

    /// Opens the world in a folder again, as the next process would.
    pub fn open(folder: TempDir, token: u64) -> Self {
        let transport = open(folder.path().to_owned(), token);
        let (actions, checks) = (Actions::new(transport.clone()), Checks::new(transport.clone()));
        Self { folder, transport, actions, checks, places: Places::default(), secrets: Vec::new() }
    }

    pub fn with_host(mut self, sshd: &Sshd) -> Self {
        self.places.hosts.insert("box".to_owned(), host(sshd));
        self
    }

    /// Takes in a broker under the name `home`, as this user.
    pub fn with_broker(mut self, url: &str, user: Option<(&str, &str)>) -> Self {
        self.set_broker("home", url, user);
        self
    }

    /// The same later, and under any name.
    pub fn set_broker(&mut self, name: &str, url: &str, user: Option<(&str, &str)>) {
        let broker = Broker {
            url: url.to_owned(),
            username: user.map(|(user, _)| user.to_owned()),
            password: user.map(|(_, password)| password.to_owned()),
            ca: None,
        };
        self.places.brokers.insert(name.to_owned(), broker);
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn call(&self, step: &str, attempt: u32, operation: Value) -> Call {
        Call {
            key: AttemptKey {
                run: RunId::new(PlanName::new("r").unwrap(), 1),
                step: StepId::new(step).unwrap(),
                direction: Direction::Forward,
                attempt,
            },
            operation: operation_of(operation),
            timeout: Duration::from_secs(300),
            folder: self.folder.path().to_owned(),
            cwd_override: None,
            places: Arc::new(self.places.clone()),
            bodies: Arc::default(),
            redactor: Redactor::new(&self.secrets),
            secret: false,
            stop: Stop::never(),
            tell: Tell::default(),
        }
    }

    pub fn look(&self, operation: Value) -> Look {
        Look {
            operation: operation_of(operation),
            timeout: Duration::from_secs(30),
            folder: self.folder.path().to_owned(),
            cwd_override: None,
            places: Arc::new(self.places.clone()),
            bodies: Arc::default(),
            redactor: Redactor::new(&self.secrets),
            secret: false,
        }
    }

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn log(&self, trace: &Trace) -> Vec<u8> {
        fs::read(self.state().join(trace.log.as_ref().unwrap())).unwrap()
    }
}

pub fn open(folder: PathBuf, token: u64) -> Transport {
    open_as(folder, token, "test")
}

/// Opens the transport of another journal.
pub fn open_as(folder: PathBuf, token: u64, journal: &str) -> Transport {
    let (state, runtime) = (folder.join("state"), folder.join("run"));
    Transport::open(TransportOptions { state, runtime, journal: journal.to_owned(), token }).unwrap()
}

pub fn host(sshd: &Sshd) -> Host {
    Host {
        address: format!("{}@127.0.0.1", Sshd::user()),
        port: Some(Value::from(sshd.port())),
        identity_file: Some(sshd.identity_file()),
        known_hosts: Some(sshd.known_hosts()),
        jump: None,
        sudo: false,
    }
}

fn operation_of(value: Value) -> Operation {
    let Value::Object(mut fields) = value else { panic!("a table") };
    let name =
        fields.remove("name").map_or_else(|| "command".to_owned(), |name| name.as_str().unwrap().to_owned());
    Operation { name, fields }
}

pub fn acted(outcome: Outcome) -> (serde_json::Map<String, Value>, Trace) {
    match outcome {
        Outcome::Acted { outputs, trace } => (outputs, trace),
        other => panic!("not acted: {other:?}"),
    }
}

pub fn failed(outcome: Outcome) -> (runner::saga::FailureClass, String, Trace) {
    match outcome {
        Outcome::Failed { class, message, trace } => (class, message, trace),
        other => panic!("not failed: {other:?}"),
    }
}

pub fn cut(outcome: Outcome) -> (runner::saga::CutCause, String, Trace) {
    match outcome {
        Outcome::Cut { cause, message, trace } => (cause, message, trace),
        other => panic!("not cut: {other:?}"),
    }
}
