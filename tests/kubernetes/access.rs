//! Every way to an account and to the server that a kubeconfig can name: tokens, certificates, plugins, the account of a
//! pod, proxies; and what is said when one of them does not work.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use runner::saga::FailureClass;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::cluster::{Cluster, Namespace};
use super::support::lab::Lab;
use super::support::skip;
use super::support::sshd::until;
use super::support::world::failed;
use super::{MAP, Scene, played};

/// A folder for kubeconfigs, with an account that may do what is needed in one namespace.
struct Accounts {
    folder: TempDir,
    cluster: &'static Cluster,
    ns: Namespace,
    token: String,
}

impl Accounts {
    fn new(name: &str) -> Option<Self> {
        let (scene, cluster) = played(name)?;
        let ns = scene.ns;
        ns.kubectl("create serviceaccount robot").expect(0);
        let verbs = "--verb=get,list,create,patch,delete";
        ns.kubectl(&format!("create role robot {verbs} --resource=configmaps")).expect(0);
        let who = format!("--serviceaccount={0}:robot --user=robot", ns.name);
        ns.kubectl(&format!("create rolebinding robot --role=robot {who}")).expect(0);
        let token = ns.kubectl("create token robot").expect(0).out.trim().to_owned();
        until("the right is there", || {
            let account = format!("--as=system:serviceaccount:{}:robot", ns.name);
            ns.kubectl(&format!("auth can-i patch configmaps {account}")).code == 0
        });
        Some(Self { folder: TempDir::new().unwrap(), cluster, ns, token })
    }

    /// What the cluster's own kubeconfig says of it.
    fn server(&self) -> Value {
        let mut command = self.cluster.command("config view --raw --minify -o json");
        command.env("KUBECONFIG", self.cluster.kubeconfig());
        let all: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        all["clusters"][0]["cluster"].clone()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A kubeconfig with this user; `more` is of its cluster.
    fn kubeconfig(&self, user: Value, more: Value) -> PathBuf {
        let mut server = self.server();
        server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let all = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": server }],
            "users": [{ "name": "u", "user": user }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        });
        self.write("kubeconfig", &all.to_string())
    }

    /// A program that notes that it was called, and then does this.
    fn plugin(&self, script: &str) -> PathBuf {
        let calls = self.folder.path().join("calls").display().to_string();
        let path = self.write("plugin", &format!("#!/bin/sh\necho called >>'{calls}'\n{script}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn calls(&self) -> usize {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default().lines().count()
    }

    fn exec(&self, plugin: &Path) -> Value {
        json!({ "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": plugin, "interactiveMode": "IfAvailable",
        } })
    }

    fn scene(&self, kubeconfig: &Path) -> Scene {
        Scene::over(kubeconfig, self.ns.again())
    }

    /// There and back.
    async fn works(&self, what: &str, scene: &Scene) {
        let pre_image = scene.pre_image("a", MAP).await;
        scene.act("a", MAP).await;
        assert_eq!(self.ns.field("configmap a", ".data.k"), "new", "{what}");
        scene.undo("a", MAP, &pre_image).await;
        let left: Vec<String> = scene.objects().into_keys().collect();
        assert_eq!(left, ["ServiceAccount robot"], "{what}");
    }

    /// It is refused for good, in these words, and none that are secret.
    async fn refused(&self, what: &str, scene: &Scene, words: &[&str]) {
        let (class, message, trace) =
            failed(scene.world.actions.act(scene.call("a", 1, MAP, json!({}))).await);
        assert_eq!(class, FailureClass::Permanent, "{what}: {message}");
        for words in words {
            assert!(message.contains(words), "{what}: {words}: {message}");
        }
        for secret in ["s3cret", self.token.as_str()] {
            assert!(!format!("{message}{trace:?}").contains(secret), "{what}: {message}");
        }
    }
}

/// An `ExecCredential` with this status, as a plugin prints it.
fn credential(status: Value) -> String {
    let whole = json!({
        "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status,
    });
    format!("cat <<'END'\n{whole}\nEND")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_files_of_tokens_and_certificates_get_in() {
    let Some(accounts) = Accounts::new("tokens") else { return };
    let kubeconfig = accounts.kubeconfig(json!({ "token": accounts.token }), json!({}));
    accounts.works("a token", &accounts.scene(&kubeconfig)).await;

    // A file is read again when what was in it is refused.
    let file = accounts.write("token", "s3cret-and-wrong");
    let kubeconfig = accounts.kubeconfig(json!({ "tokenFile": file }), json!({}));
    let scene = accounts.scene(&kubeconfig);
    accounts.refused("a wrong token", &scene, &["log in again"]).await;
    accounts.write("token", &accounts.token);
    accounts.works("a file that has another token now", &scene).await;
    accounts.write("token", &format!("{}\n", accounts.token));
    accounts.works("a file that ends in a line break, as an editor leaves it", &scene).await;
    accounts.write("token", "\n");
    accounts.refused("an empty file", &accounts.scene(&kubeconfig), &["token", "is empty"]).await;
    let gone = accounts.kubeconfig(json!({ "tokenFile": "/no/such/token" }), json!({}));
    accounts.refused("no such file", &accounts.scene(&gone), &["/no/such/token"]).await;

    // Of several contexts the one that the plan names is taken, else the current one.
    let all = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [
            { "name": "c", "cluster": accounts.server() }, { "name": "n", "cluster": { "server": "https://127.0.0.1:1" } },
        ],
        "users": [{ "name": "u", "user": { "token": accounts.token } }],
        "contexts": [
            { "name": "home", "context": { "cluster": "c", "user": "u" } },
            { "name": "nowhere", "context": { "cluster": "n", "user": "u" } },
        ],
    });
    let kubeconfig = accounts.write("kubeconfig", &all.to_string());
    let scene = accounts.scene(&kubeconfig);
    let mut call = scene.call("a", 1, MAP, json!({}));
    call.timeout = std::time::Duration::from_secs(2);
    let (_, message, _) = failed(scene.world.actions.act(call).await);
    assert!(message.contains("no connection"), "{message}");
    let in_context = |name: &str| {
        let mut scene = accounts.scene(&kubeconfig);
        scene.world.places.clusters.get_mut("home").unwrap().context = Some(name.to_owned());
        scene
    };
    accounts.works("a context that is not the current one", &in_context("home")).await;
    accounts.refused("a context that is not there", &in_context("other"), &["context: other"]).await;

    // Certificates in files beside the kubeconfig.
    let theirs = accounts.cluster.user("robot", 3600);
    let mut command = accounts.cluster.command("config view --raw --minify -o json");
    command.env("KUBECONFIG", &theirs);
    let all: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let user = &all["users"][0]["user"];
    for (field, name) in [("client-certificate-data", "robot.crt"), ("client-key-data", "robot.key")] {
        let text = base64::engine::general_purpose::STANDARD.decode(user[field].as_str().unwrap()).unwrap();
        accounts.write(name, std::str::from_utf8(&text).unwrap());
    }
    let user = json!({ "client-certificate": "robot.crt", "client-key": "robot.key" });
    let kubeconfig = accounts.kubeconfig(user, json!({}));
    accounts.works("a certificate", &accounts.scene(&kubeconfig)).await;

    // A token goes with its account.
    accounts.ns.kubectl("create serviceaccount gone").expect(0);
    let token = accounts.ns.kubectl("create token gone").expect(0).out.trim().to_owned();
    accounts.ns.kubectl("delete serviceaccount gone").expect(0);
    let kubeconfig = accounts.kubeconfig(json!({ "token": token }), json!({}));
    accounts
        .refused("a token that is over", &accounts.scene(&kubeconfig), &["its token or certificate"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_are_asked_for_credentials_and_asked_again() {
    let Some(accounts) = Accounts::new("plugins") else { return };
    let good = credential(json!({ "token": accounts.token }));
    let plugin = accounts.plugin(&good);
    let kubeconfig = accounts.kubeconfig(accounts.exec(&plugin), json!({}));
    accounts.works("a plugin", &accounts.scene(&kubeconfig)).await;
    // kube 5 asks it three times to make a client: for a certificate, for when that ends, and for a token.
    let client = 3;
    assert_eq!(accounts.calls(), client, "what it gives has no end, so that one client does");

    // What it gave is over before it says so.
    let wrong = credential(json!({ "token": "s3cret-and-wrong" }));
    let calls = accounts.folder.path().join("calls").display().to_string();
    let first = format!("[ \"$(wc -l <'{calls}')\" -le {} ]", 2 * client);
    accounts.plugin(&format!("if {first}; then\n{wrong}\nelse\n{good}\nfi"));
    accounts.works("a plugin whose first token is refused", &accounts.scene(&kubeconfig)).await;
    assert_eq!(accounts.calls(), 3 * client);

    // What has run out by its own word is asked for anew.
    accounts.plugin(&credential(
        json!({ "token": accounts.token, "expirationTimestamp": "2020-01-01T00:00:00Z" }),
    ));
    accounts.works("a plugin whose tokens have run out", &accounts.scene(&kubeconfig)).await;
    assert!(accounts.calls() > 4 * client, "{}", accounts.calls());

    for (what, script, words) in [
        ("it fails", "echo s3cret >&2; echo s3cret; exit 3".to_owned(), "plugin"),
        ("it says nothing", "true".to_owned(), "plugin"),
        ("it says nonsense", "echo s3cret".to_owned(), "plugin"),
        ("it always gives what is refused", wrong, "log in again"),
    ] {
        accounts.plugin(&script);
        accounts.refused(what, &accounts.scene(&kubeconfig), &[words]).await;
    }
    let mut asks = accounts.exec(&plugin);
    asks["exec"]["interactiveMode"] = json!("Always");
    let kubeconfig = accounts.kubeconfig(asks, json!({}));
    accounts.refused("it asks a person", &accounts.scene(&kubeconfig), &["asks a person"]).await;
    let nowhere = accounts.kubeconfig(accounts.exec(Path::new("/no/such/plugin")), json!({}));
    accounts.refused("it is not there", &accounts.scene(&nowhere), &["/no/such/plugin"]).await;
}

/// A proxy that opens tunnels (RFC 9110, section 9.3.6), and counts them.
struct Proxy {
    address: String,
    tunnels: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(refuses: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tunnels = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&tunnels);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, counter) = (stream.unwrap(), Arc::clone(&counter));
                std::thread::spawn(move || tunnel(stream, refuses, &counter));
            }
        });
        Self { address, tunnels }
    }

    fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}

fn tunnel(mut stream: TcpStream, refuses: bool, counter: &AtomicUsize) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next());
    let Some(target) = target.filter(|_| !refuses) else {
        drop(stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"));
        return;
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let mut other = TcpStream::connect(target).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut from, mut to) = (stream.try_clone().unwrap(), other.try_clone().unwrap());
    let back = std::thread::spawn(move || {
        drop(std::io::copy(&mut other, &mut stream));
        drop(stream.shutdown(std::net::Shutdown::Both));
    });
    drop(std::io::copy(&mut from, &mut to));
    drop(to.shutdown(std::net::Shutdown::Both));
    back.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_is_gone_through() {
    let Some(accounts) = Accounts::new("proxy") else { return };
    let (proxy, closed) = (Proxy::start(false), Proxy::start(true));
    let user = json!({ "token": accounts.token });
    let through = |proxy: &Proxy| json!({ "proxy-url": format!("http://{}", proxy.address) });
    let kubeconfig = accounts.kubeconfig(user.clone(), through(&proxy));
    accounts.works("`proxy-url`", &accounts.scene(&kubeconfig)).await;
    assert!(proxy.tunnels() > 0, "it was not asked");

    let kubeconfig = accounts.kubeconfig(user.clone(), through(&closed));
    let scene = accounts.scene(&kubeconfig);
    let mut call = scene.call("a", 1, MAP, json!({}));
    call.timeout = std::time::Duration::from_secs(2);
    let (_, message, _) = failed(scene.world.actions.act(call).await);
    assert!(message.contains("no connection") && message.contains("nothing was sent"), "{message}");

    // By the environment, for a whole process; and not, where it says so.
    let kubeconfig = accounts.kubeconfig(user, json!({}));
    let lab = Lab::new();
    lab.write("p/m.yaml", MAP);
    plan(&lab, &format!("kubeconfig = \"{}\"", kubeconfig.display()), &accounts.ns.name);
    for (variable, except, more) in
        [("HTTPS_PROXY", "", 1), ("https_proxy", "", 1), ("HTTPS_PROXY", "127.0.0.1", 0)]
    {
        let before = proxy.tunnels();
        let mut command = lab.command("plan p/p.toml");
        command.env(variable, format!("http://{}", proxy.address)).env("NO_PROXY", except);
        let said = lab.begin(command).end().expect(0);
        assert!(said.out.contains("would be created"), "{}", said.out);
        assert_eq!(usize::from(proxy.tunnels() > before), more, "{variable}, NO_PROXY={except}");
    }
}

fn plan(lab: &Lab, cluster: &str, namespace: &str) {
    lab.plan(
        "p",
        &format!(
            "name = \"p\"\n[clusters.home]\n{cluster}\n[[step]]\nid = \"a\"\nforward = {{ action = \"kubernetes.apply\", \
             cluster = \"home\", namespace = \"{namespace}\", manifests = \"m.yaml\" }}\n"
        ),
    );
}

/// As in a pod: no kubeconfig, two variables, and a token where a pod has it. The mounts are in a namespace of their own.
#[test]
fn the_account_of_a_pod_gets_in() {
    let Some(accounts) = Accounts::new("pod") else { return };
    let may = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/run"]).output();
    if !may.is_ok_and(|ran| ran.status.success()) {
        return skip::skip("nothing can be mounted here, so no pod can be played");
    }
    let server = accounts.server();
    let address = server["server"].as_str().unwrap().trim_start_matches("https://");
    let (host, port) = address.rsplit_once(':').unwrap();
    let ca = server["certificate-authority-data"].as_str().unwrap();
    let ca = base64::engine::general_purpose::STANDARD.decode(ca).unwrap();
    accounts.write("ca.crt", std::str::from_utf8(&ca).unwrap());
    accounts.write("token", &accounts.token);
    accounts.write("namespace", &accounts.ns.name);
    let lab = Lab::new();
    lab.write("p/m.yaml", MAP);
    // No namespace is named: that of the pod is taken.
    lab.plan(
        "p",
        "name = \"p\"\n[clusters.home]\n[[step]]\nid = \"a\"\nforward = { action = \"kubernetes.apply\", cluster = \"home\", \
         manifests = \"m.yaml\" }\n",
    );
    let said = lab.run("plan p/p.toml");
    assert!(said.text().contains("this is no pod with an account"), "{}", said.text());
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p {account} && cp ca.crt token namespace {account}/ && exec \"$@\""
    );
    for (words, there) in [("apply p/p.toml", true), ("rollback p", false)] {
        let inner = lab.command(words);
        let mut command = Command::new("unshare");
        command
            .args(["-rm", "sh", "-c", &script, "sh", "env", "-C"])
            .arg(lab.path(""))
            .arg(inner.get_program());
        command.args(inner.get_args()).current_dir(accounts.folder.path()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
        lab.begin(command).end().expect(0);
        assert_eq!(accounts.ns.kubectl("get configmap a").code == 0, there, "{words}");
    }
}
