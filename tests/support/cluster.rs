//! A Kubernetes cluster to test against: the control plane of `tests/testbed/`, or any that `RUNNER_TEST_KUBECONFIG`
//! names. One for all tests of a binary; each test has namespaces of its own.
//!
//! What only the played one can do (fail on demand, fronts, users) skips loudly on any other. `tests/testbed/README.md`
//! lists all of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::lab::Ran;

/// Ends a `kubectl` that waits for what never comes; on an idle machine nothing here takes a tenth of it.
const NEVER: &str = "120s";

/// A cluster that answers.
pub struct Cluster {
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    cache: TempDir,
    played: Option<Played>,
}

/// The one that is played here.
struct Played {
    process: Child,
    ready: Value,
}

/// A namespace of one test, deleted with its handle, without waiting.
pub struct Namespace {
    cluster: &'static Cluster,
    pub name: String,
    /// Another handle deletes it.
    lent: bool,
}

/// Something that was told to fail, until this is dropped.
pub struct Failing {
    cluster: &'static Cluster,
    id: u64,
}

/// Another way to the API server, with troubles of its own.
pub struct Front {
    cluster: &'static Cluster,
    name: String,
    pub kubeconfig: PathBuf,
}

/// The folder that `tests/testbed/build` has built.
fn built() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testbed/build");
    let asked = Command::new(script).arg("--where").output().ok()?;
    asked.status.success().then(|| PathBuf::from(String::from_utf8(asked.stdout).unwrap().trim()))
}

fn skip(why: &str) {
    if std::env::var_os("RUNNER_WITHOUT_GO").is_some() {
        super::skip::say(why);
    } else {
        super::skip::skip(why);
    }
}

impl Cluster {
    /// The one that all tests of this binary share, or says loudly why there is none. It ends with the process.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match std::env::var_os("RUNNER_TEST_KUBECONFIG") {
            Some(kubeconfig) => Some(Self::given(PathBuf::from(kubeconfig))),
            None => Self::start(),
        });
        if shared.is_none() {
            Self::unbuilt();
        }
        shared.as_ref()
    }

    fn unbuilt() {
        skip("the control plane of the tests is not built: tests/testbed/build does that, with Go 1.26");
    }

    /// Starts one of its own, ended by its handle.
    pub fn start() -> Option<Self> {
        let Some(folder) = built() else {
            Self::unbuilt();
            return None;
        };
        let mut process = Command::new(folder.join("testbed"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the control plane of the tests starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the control plane of the tests did not become ready; it says why above");
        let ready: Value = serde_json::from_str(&line).unwrap();
        Some(Self {
            kubeconfig: PathBuf::from(ready["kubeconfig"].as_str().unwrap()),
            kubectl: folder.join("kubectl"),
            cache: TempDir::new().unwrap(),
            played: Some(Played { process, ready }),
        })
    }

    fn given(kubeconfig: PathBuf) -> Self {
        let kubectl = built().map_or_else(|| PathBuf::from("kubectl"), |folder| folder.join("kubectl"));
        Self { kubeconfig, kubectl, cache: TempDir::new().unwrap(), played: None }
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The `kubectl` of the same version.
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// What the played one said when it was ready; skips loudly on any other.
    pub fn ready(&self) -> Option<&Value> {
        if self.played.is_none() {
            skip("only the control plane of tests/testbed can be told to fail");
        }
        self.played.as_ref().map(|played| &played.ready)
    }

    /// `kubectl` with these words, which hold no spaces.
    pub fn command(&self, words: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.args(words.split_whitespace()).env("KUBECONFIG", &self.kubeconfig);
        command.env("KUBECACHEDIR", self.cache.path()).stdin(Stdio::null());
        command
    }

    pub fn kubectl(&self, words: &str) -> Ran {
        ran(self.command(words), "")
    }

    /// Applies manifests of the whole cluster.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> Ran {
        ran(self.command("apply --server-side --field-manager=test -f -"), manifests).expect(0)
    }

    /// A new namespace whose name begins so.
    pub fn namespace(&'static self, name: &str) -> Namespace {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        self.kubectl(&format!("create namespace {name}")).expect(0);
        Namespace { cluster: self, name, lent: false }
    }

    /// Asks the played one for something; a refusal comes back as its words.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let ready = self.ready().expect("the test has asked for `ready` first");
        let address = ready["control"].as_str().unwrap().trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let body = body.to_string();
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{method} {path}: {text}"));
        if head.contains(" 200 ") { Ok(answer) } else { Err(answer["error"].as_str().unwrap().to_owned()) }
    }

    /// The kubeconfig of a user who may do what RBAC says: nothing, at first. A negative time has run out already.
    pub fn user(&self, name: &str, expires_in_s: i64) -> PathBuf {
        let asked = json!({ "name": name, "expires_in_s": expires_in_s });
        path(&self.ask("POST", "/users", &asked).unwrap()["kubeconfig"])
    }

    /// Adds a node that only takes pods which ask for it with the text that this gives, for a pod's spec in one line.
    pub fn add_node(&self, name: &str, gpus: u32) -> String {
        let key = "testbed.runner/node";
        let asked = json!({
            "name": name, "gpus": gpus, "labels": { key: name },
            "taints": [{ "key": key, "value": name, "effect": "NoSchedule" }],
        });
        self.ask("POST", "/nodes", &asked).unwrap();
        format!("nodeSelector: {{ {key}: {name} }}, tolerations: [{{ key: {key}, operator: Exists }}]")
    }

    /// Switches a node off, or on again.
    pub fn node_is(&self, name: &str, state: &str) {
        self.ask("POST", &format!("/nodes/{name}/{state}"), &Value::Null).unwrap();
    }

    /// Kills the API server and waits until another one is ready over the same store. Everybody on this cluster feels
    /// it: only for one that `start` has given.
    pub fn restart(&self) -> Result<Value, String> {
        self.ask("POST", "/server/restart", &Value::Null)
    }

    /// Opens a way to the API server that only this test takes.
    pub fn front(&'static self, name: &str) -> Front {
        let made = self.ask("POST", &format!("/fronts/{name}"), &Value::Null).unwrap();
        Front { cluster: self, name: name.to_owned(), kubeconfig: path(&made["kubeconfig"]) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(played) = &mut self.played {
            drop(played.process.stdin.take());
            played.process.wait().unwrap();
        }
    }
}

impl Namespace {
    /// Another handle of it, which does not delete it.
    pub fn again(&self) -> Self {
        Self { cluster: self.cluster, name: self.name.clone(), lent: true }
    }

    /// `kubectl` with these words in this namespace.
    pub fn kubectl(&self, words: &str) -> Ran {
        self.kubectl_in(words, "")
    }

    /// The same with something to read.
    pub fn kubectl_in(&self, words: &str, text: &str) -> Ran {
        let mut command = self.cluster.command("");
        command.arg("--namespace").arg(&self.name).args(words.split_whitespace());
        ran(command, text)
    }

    /// The same with words that hold spaces.
    pub fn kubectl_of(&self, words: &[&str]) -> Ran {
        let mut command = self.cluster.command("");
        command.arg("--namespace").arg(&self.name).args(words);
        ran(command, "")
    }

    /// Applies manifests that have to be accepted.
    #[track_caller]
    pub fn apply(&self, manifests: &str) -> Ran {
        self.kubectl_in("apply --server-side --field-manager=test -f -", manifests).expect(0)
    }

    /// Waits until a path in an object has this value; there need not be the object yet, nor the field.
    #[track_caller]
    pub fn wait(&self, object: &str, path: &str, value: &str) {
        let (condition, limit) = (format!("--for=jsonpath={{{path}}}={value}"), format!("--timeout={NEVER}"));
        self.kubectl(&format!("wait {object} --for=create {limit}")).expect(0);
        let mut words: Vec<&str> = vec!["wait"];
        words.extend(object.split_whitespace());
        words.extend([condition.as_str(), limit.as_str()]);
        let waited = self.kubectl_of(&words);
        let seen = || self.kubectl(&format!("get {object} -o yaml")).text();
        assert!(waited.code == 0, "`{path}` of {object} is never `{value}`: {}\n{}", waited.text(), seen());
    }

    /// What stands at a path in an object; nothing when there is none.
    #[track_caller]
    pub fn field(&self, object: &str, path: &str) -> String {
        let output = format!("jsonpath={{{path}}}");
        let mut words = vec!["get"];
        words.extend(object.split_whitespace());
        words.extend(["-o", &output]);
        self.kubectl_of(&words).expect(0).out
    }

    /// Waits until an event says this.
    #[track_caller]
    pub fn event(&self, words: &str) {
        super::sshd::until(&format!("an event says `{words}`"), || {
            self.kubectl("get events -o jsonpath={.items[*]['reason','message']}")
                .expect(0)
                .out
                .contains(words)
        });
    }

    /// Makes objects fail whose name begins so, for as long as the handle lives. `how` is one of those that
    /// `tests/testbed/README.md` lists for the kind.
    pub fn fail(&self, kind: &str, name: &str, how: &str) -> Failing {
        let asked = json!({ "kind": kind, "namespace": self.name, "name": name, "fail": how });
        let made = self.cluster.ask("POST", "/rules", &asked).unwrap();
        Failing { cluster: self.cluster, id: made["id"].as_u64().unwrap() }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.lent {
            return;
        }
        self.cluster.kubectl(&format!("delete namespace {} --wait=false", self.name));
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        drop(self.cluster.ask("DELETE", &format!("/rules/{}", self.id), &Value::Null));
    }
}

impl Front {
    fn ask(&self, method: &str, what: &str, body: &Value) -> Value {
        self.cluster.ask(method, &format!("/fronts/{}/{what}", self.name), body).unwrap()
    }

    /// `kubectl` with these words over this way.
    pub fn command(&self, words: &str) -> Command {
        let mut command = self.cluster.command(words);
        command.env("KUBECONFIG", &self.kubeconfig);
        command
    }

    pub fn kubectl(&self, words: &str) -> Ran {
        ran(self.command(words), "")
    }

    /// Lets something happen to the requests that match.
    pub fn fault(&self, fault: &Value) {
        self.ask("POST", "faults", fault);
    }

    /// All is well again; whoever was stalled goes on.
    pub fn heal(&self) {
        self.ask("DELETE", "faults", &Value::Null);
    }

    /// Refuses connections, and cuts those that are there.
    pub fn down(&self) {
        self.ask("POST", "down", &Value::Null);
    }

    pub fn up(&self) {
        self.ask("POST", "up", &Value::Null);
    }

    /// Cuts every connection in the middle of whatever it carries.
    pub fn cut(&self) {
        self.ask("POST", "cut", &Value::Null);
    }

    /// The requests so far whose method and path, with a blank between, contain these words.
    pub fn requests(&self, words: &str) -> Vec<Value> {
        let words = words.replace(' ', "%20");
        self.ask("GET", &format!("requests?words={words}"), &Value::Null).as_array().unwrap().clone()
    }
}

fn path(value: &Value) -> PathBuf {
    PathBuf::from(value.as_str().unwrap())
}

fn ran(mut command: Command, text: &str) -> Ran {
    if !text.is_empty() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        command.stdin(file);
    }
    let output = command.output().expect("kubectl starts");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
