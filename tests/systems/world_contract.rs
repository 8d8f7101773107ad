//! Goal: what every action with a probe and an inverse promises. Method: one suite, run over a list of subjects; an
//! action joins by a [`Subject`]: how its world is set up, looked at and half-changed.
//!
//! The probe changes nothing; run twice equals once; compensating with nothing done is fine; from every point at which
//! an attempt can fail or be cut off, compensating leaves the pre-image, and so does compensating again.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use runner::action::PreImage;
use runner::saga::{Direction, FailureClass, Outcome, Settlement, Verdict};
use serde_json::{Value, json};
use support::sshd::Sshd;
use support::world::{World, acted, failed};

/// Everything below a folder: mode and content by path.
type Tree = BTreeMap<String, (u32, Vec<u8>)>;

fn tree(folder: &Path) -> Tree {
    fn walk(folder: &Path, root: &Path, all: &mut Tree) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let name = path.strip_prefix(root).unwrap().display().to_string();
            all.insert(name, (meta.permissions().mode() & 0o7777, content));
            if meta.is_dir() {
                walk(&path, root, all);
            }
        }
    }
    let mut all = Tree::new();
    walk(folder, folder, &mut all);
    all
}

/// One action in one situation.
struct Subject {
    what: &'static str,
    operation: Value,
    /// Brings the folder into the state before.
    before: fn(&Path),
    /// States that an attempt may leave when it fails or is cut off, beside nothing done and all done.
    halves: Vec<fn(&Path)>,
}

fn file(path: &str, rest: Value) -> Value {
    let mut operation = json!({ "name": "file", "path": path });
    operation.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    operation
}

fn write(path: PathBuf, mode: u32, content: &[u8]) {
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn subjects(root: &Path) -> Vec<Subject> {
    let at = |name: &str| root.join(name).display().to_string();
    vec![
        Subject {
            what: "a file that was not there",
            operation: file(&at("f"), json!({ "content": "new\n" })),
            before: |_| {},
            halves: vec![|root| write(root.join("f"), 0o600, b"")],
        },
        Subject {
            what: "a file that is replaced, bytes and bits",
            operation: file(&at("f"), json!({ "content": "new\u{1}\n'\"\\$X`\n", "mode": "0755" })),
            before: |root| write(root.join("f"), 0o4640, b"old\0\xff\x1e\nend"),
            halves: vec![|root| write(root.join("f"), 0o4640, b"new\x01\n'\"\\$X`\n"), |root| {
                fs::remove_file(root.join("f")).unwrap();
            }],
        },
        Subject {
            what: "folders above it that were not there",
            operation: file(&at("a/b/f"), json!({ "content": "", "parents": true })),
            before: |_| {},
            halves: vec![|root| fs::create_dir(root.join("a")).unwrap(), |root| {
                fs::create_dir_all(root.join("a/b")).unwrap();
            }],
        },
        Subject {
            what: "a file that is removed",
            operation: file(&at("f"), json!({ "absent": true })),
            before: |root| write(root.join("f"), 0o600, b"old"),
            halves: Vec::new(),
        },
        Subject {
            what: "a name that a shell could trip over",
            operation: file(&at("-a b'\"$X*\\n\u{e9}"), json!({ "content": "x" })),
            before: |_| {},
            halves: Vec::new(),
        },
    ]
}

/// A world for one subject: its folder, and the calls.
struct Scene {
    world: World,
    root: PathBuf,
    host: bool,
    _sshd: Option<Sshd>,
}

impl Scene {
    fn here() -> Self {
        let world = World::new();
        let root = world.folder.path().join("root");
        fs::create_dir(&root).unwrap();
        Self { world, root, host: false, _sshd: None }
    }

    fn on_host() -> Option<Self> {
        let sshd = Sshd::start()?;
        let world = World::new().with_host(&sshd);
        let root = sshd.home().join("root");
        fs::create_dir(&root).unwrap();
        Some(Self { world, root, host: true, _sshd: Some(sshd) })
    }

    fn operation(&self, subject: &Subject) -> Value {
        let mut operation = subject.operation.clone();
        if self.host {
            operation["host"] = json!("box");
        }
        operation
    }

    fn clear(&self, subject: &Subject) {
        fs::remove_dir_all(&self.root).unwrap();
        fs::create_dir(&self.root).unwrap();
        (subject.before)(&self.root);
    }

    async fn probe(&self, step: &str, subject: &Subject) -> Verdict {
        let before = tree(&self.root);
        let answer = self.world.actions.probe(self.world.call(step, 0, self.operation(subject))).await;
        assert_eq!(tree(&self.root), before, "{}: the probe changed something", subject.what);
        answer.verdict
    }

    async fn pre_image(&self, step: &str, subject: &Subject) -> PreImage {
        let before = tree(&self.root);
        let taken = self.world.actions.pre_image(self.world.call(step, 0, self.operation(subject))).await;
        assert_eq!(tree(&self.root), before, "{}: the pre-image changed something", subject.what);
        taken.unwrap()
    }

    async fn act(&self, step: &str, attempt: u32, subject: &Subject) {
        let call = self.world.call(step, attempt, self.operation(subject));
        acted(self.world.actions.act(call.clone()).await);
        let settled = self.world.actions.settle(call).await;
        match settled {
            Settlement::Over | Settlement::Ended(Outcome::Acted { .. }) => {}
            other => panic!("{}: settled as {other:?}", subject.what),
        }
    }

    async fn undo(&self, step: &str, attempt: u32, subject: &Subject, pre_image: &PreImage) {
        let mut call = self.world.call(step, attempt, self.operation(subject));
        call.key.direction = Direction::Compensation;
        acted(self.world.actions.undo(call, pre_image.clone()).await);
    }

    async fn all(&self) {
        for (number, subject) in subjects(&self.root).iter().enumerate() {
            let step = |what: &str| format!("s{number}-{what}");
            // There, and once more: nothing changes; and back, and once more.
            self.clear(subject);
            let before = tree(&self.root);
            assert_eq!(self.probe(&step("there"), subject).await, Verdict::Absent, "{}", subject.what);
            let pre_image = self.pre_image(&step("there"), subject).await;
            self.act(&step("there"), 1, subject).await;
            let after = tree(&self.root);
            assert_ne!(after, before, "{}", subject.what);
            assert_eq!(self.probe(&step("there"), subject).await, Verdict::Holds, "{}", subject.what);
            self.act(&step("there"), 2, subject).await;
            assert_eq!(tree(&self.root), after, "{}: twice is not once", subject.what);
            for attempt in 1..=2 {
                self.undo(&step("there"), attempt, subject, &pre_image).await;
                assert_eq!(tree(&self.root), before, "{}: not as before", subject.what);
            }
            // Nothing was done.
            self.undo(&step("nothing"), 1, subject, &pre_image).await;
            assert_eq!(tree(&self.root), before, "{}: undoing nothing changed something", subject.what);
            // Half of it was.
            for (half, leave) in subject.halves.iter().enumerate() {
                let step = step(&format!("half{half}"));
                self.clear(subject);
                let pre_image = self.pre_image(&step, subject).await;
                leave(&self.root);
                assert_ne!(self.probe(&step, subject).await, Verdict::Unknown, "{}", subject.what);
                self.undo(&step, 1, subject, &pre_image).await;
                assert_eq!(tree(&self.root), before, "{}: half {half}", subject.what);
                leave(&self.root);
                self.act(&step, 1, subject).await;
                assert_eq!(self.probe(&step, subject).await, Verdict::Holds, "{}: half {half}", subject.what);
                self.undo(&step, 2, subject, &pre_image).await;
                assert_eq!(tree(&self.root), before, "{}: half {half}, then whole", subject.what);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_keeps_the_contract_here() {
    Scene::here().all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_action_keeps_the_contract_on_a_host() {
    let Some(scene) = Scene::on_host() else { return };
    scene.all().await;
}

/// What a killed attempt leaves beside the file is cleared by whoever comes next, in both directions.
async fn leftovers(scene: &Scene) {
    let subject = &subjects(&scene.root)[1];
    scene.clear(subject);
    let before = tree(&scene.root);
    let pre_image = scene.pre_image("a", subject).await;
    // The name of it is told by an attempt that cannot end: the file cannot be replaced while it is a folder.
    scene.act("a", 1, subject).await;
    let names = |root: &Path| tree(root).into_keys().collect::<Vec<_>>();
    assert_eq!(names(&scene.root), ["f"], "something is left beside the file");
    let digest = {
        use sha2::{Digest, Sha256};
        let path = scene.root.join("f").display().to_string();
        Sha256::digest(format!("r-1/a/{path}"))
    };
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let left = scene.root.join(format!(".runner-{hex}"));
    write(left.clone(), 0o600, b"half");
    scene.act("a", 2, subject).await;
    assert_eq!(names(&scene.root), ["f"]);
    write(left, 0o600, b"half");
    scene.undo("a", 1, subject, &pre_image).await;
    assert_eq!(tree(&scene.root), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_attempt_left_is_cleared() {
    leftovers(&Scene::here()).await;
    if let Some(scene) = Scene::on_host() {
        leftovers(&scene).await;
    }
}

/// What `file` refuses, and that nothing is touched then.
async fn refusals(scene: &Scene) {
    let root = &scene.root;
    fs::create_dir(root.join("folder")).unwrap();
    write(root.join("plain"), 0o644, b"x");
    std::os::unix::fs::symlink(root.join("plain"), root.join("link")).unwrap();
    std::os::unix::fs::symlink(root.join("gone"), root.join("dangling")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::RUSR).unwrap();
    let before: Vec<String> = tree(root).into_keys().collect();
    let most = if scene.host { 1 << 20 } else { 16 << 20 };
    let big = "x".repeat(most + 1);
    let mut attempt = 0;
    for (path, content, words) in [
        ("folder", "x", "it is a folder"),
        ("link", "x", "it is a symbolic link"),
        ("dangling", "x", "it is a symbolic link"),
        ("pipe", "x", "it is a device, socket or pipe"),
        ("no/such/file", "x", "does not exist: create it first, or write `parents = true`"),
        ("plain/file", "x", "no folder"),
        ("big", big.as_str(), "bytes, the most for a file"),
    ] {
        attempt += 1;
        let subject = Subject {
            what: "refused",
            operation: file(&root.join(path).display().to_string(), json!({ "content": content })),
            before: |_| {},
            halves: Vec::new(),
        };
        let call = scene.world.call("refused", attempt, scene.operation(&subject));
        let (class, message, _) = failed(scene.world.actions.act(call).await);
        assert!(message.contains(words), "{path}: {message}");
        assert_eq!(class, FailureClass::Permanent, "{path}: {message}");
        assert_eq!(tree(root).into_keys().collect::<Vec<_>>(), before, "{path}");
    }
    // One that is there and too large is not looked at, and so cannot be replaced.
    fs::write(root.join("plain"), &big).unwrap();
    let operation = file(&root.join("plain").display().to_string(), json!({ "content": "x" }));
    let subject = Subject { what: "large", operation, before: |_| {}, halves: Vec::new() };
    let call = scene.world.call("large", 1, scene.operation(&subject));
    let message = scene.world.actions.pre_image(call).await.unwrap_err();
    assert!(message.contains("bytes, the most for a file"), "{message}");
    assert_eq!(scene.probe("large", &subject).await, Verdict::Unknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_is_refused_here() {
    refusals(&Scene::here()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_is_refused_on_a_host() {
    if let Some(scene) = Scene::on_host() {
        refusals(&scene).await;
    }
}

/// What the check `file` answers.
async fn answers(scene: &Scene) {
    write(scene.root.join("f"), 0o640, b"one two\n");
    let path = |name: &str| scene.root.join(name).display().to_string();
    for (name, fields, verdict) in [
        ("f", json!({}), Verdict::Holds),
        ("g", json!({}), Verdict::Absent),
        ("g", json!({ "absent": true }), Verdict::Holds),
        ("f", json!({ "absent": true }), Verdict::Absent),
        ("f", json!({ "content": "one two\n" }), Verdict::Holds),
        ("f", json!({ "content": "one two" }), Verdict::Absent),
        ("f", json!({ "contains": "two" }), Verdict::Holds),
        ("f", json!({ "contains": "three" }), Verdict::Absent),
        ("f", json!({ "mode": "0640" }), Verdict::Holds),
        ("f", json!({ "mode": "0644" }), Verdict::Partial),
        ("f", json!({ "mode": "0644", "contains": "three" }), Verdict::Absent),
        ("f", json!({ "sha256": "0".repeat(64) }), Verdict::Absent),
        ("f/g", json!({}), Verdict::Unknown),
        (".", json!({}), Verdict::Unknown),
    ] {
        let subject =
            Subject { what: "", operation: file(&path(name), fields), before: |_| {}, halves: Vec::new() };
        let answer = scene.world.checks.look(scene.world.look(scene.operation(&subject))).await;
        assert_eq!(answer.verdict, verdict, "{name} {} {answer:?}", subject.operation);
        if name == "f" {
            assert_eq!((&answer.facts["mode"], &answer.facts["bytes"]), (&json!("0640"), &json!(8)));
            // As the tool says that everybody has.
            let sum = std::process::Command::new("sha256sum").arg(path("f")).output().unwrap();
            let sum = String::from_utf8(sum.stdout).unwrap();
            assert!(sum.starts_with(answer.facts["sha256"].as_str().unwrap()), "{sum}");
        }
    }
    // A secret is not given away by its digest.
    let mut look = scene.world.look(scene.operation(&Subject {
        what: "",
        operation: file(&path("f"), json!({ "content": "one two\n" })),
        before: |_| {},
        halves: Vec::new(),
    }));
    look.secret = true;
    let answer = scene.world.checks.look(look).await;
    assert!(answer.facts.get("sha256").is_none() && answer.facts.get("bytes").is_none(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_says_how_a_file_is() {
    answers(&Scene::here()).await;
    if let Some(scene) = Scene::on_host() {
        answers(&scene).await;
    }
}
