//! Goal: P7. The value of a secret that a step uses in its environment, its stdin and a template is found nowhere but
//! where the step itself puts it: not in the state folder, not in what any command says, not in the command line of any
//! process, here or on a host. Method: a value that exists nowhere else, and a thread that reads all of /proc.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use support::lab::{Dice, Lab, Ran};
use support::sshd::Sshd;

/// Reads every command line of the machine until it is dropped.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<(u64, BTreeSet<String>)>>,
}

impl Watch {
    fn start(values: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, values) = (Arc::clone(&stop), values.to_vec());
        let thread = std::thread::spawn(move || {
            let (mut rounds, mut found) = (0, BTreeSet::new());
            while !stopped.load(Ordering::Relaxed) {
                rounds += 1;
                for entry in fs::read_dir("/proc").unwrap().flatten() {
                    let lines =
                        ["cmdline", "comm"].map(|name| fs::read(entry.path().join(name)).unwrap_or_default());
                    for text in lines.map(|line| String::from_utf8_lossy(&line).into_owned()) {
                        if values.iter().any(|value| text.contains(value.as_str())) {
                            found.insert(text);
                        }
                    }
                }
            }
            (rounds, found)
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let (rounds, found) = self.thread.take().unwrap().join().unwrap();
        assert!(rounds > 3, "nobody looked");
        assert!(found.is_empty(), "in a command line: {found:?}");
    }
}

/// Every file below a folder that holds one of the values, byte by byte.
fn holding(folder: &Path, values: &[String], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            holding(&path, values, found);
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            let has = |value: &String| bytes.windows(value.len()).any(|part| part == value.as_bytes());
            if values.iter().any(has) {
                found.push(path.display().to_string());
            }
        }
    }
}

struct Scene {
    lab: Lab,
    values: Vec<String>,
}

impl Scene {
    fn new(what: &str) -> Self {
        let mut dice = Dice::new(what);
        let mut value = || format!("s3cr3t-{:016x}", dice.next());
        let scene = Self { lab: Lab::new(), values: vec![value(), value()] };
        let path = scene.lab.write("home/token", &format!("{}\n", scene.values[1]));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        scene
    }

    /// Steps that use both secrets in every way, say them aloud, fail with them, and are undone with them.
    fn plan(&self, action: &str, hosts: &str) {
        let run = |kind: &str, text: &str, rest: &str| {
            format!("{{ {kind} = {action}, script = '{text}', {rest} }}")
        };
        let uses = "env = { TOKEN = \"{{ secrets.word }}\", MIXED = \"user:{{ secrets.token }}@host\" }, stdin = \"begin {{ secrets.word }} {{ secrets.token }} end\"";
        let say = "cat > @W@/stdin; echo \"$TOKEN\" > @W@/env; echo said $TOKEN; echo $MIXED >&2; sleep 0.3";
        let text = format!(
            "name = \"p\"\n[secrets]\nword = {{ env = \"WORD\" }}\ntoken = {{ file = \"~/token\" }}\n\
             [[step]]\nid = \"uses\"\nforward = {}\nverify = [{}]\ncompensate = {}\n\
             [[step]]\nid = \"fails\"\nforward = {}\nprobe = {}\ncompensate = \"nothing\"\n{hosts}",
            run("action", say, &format!("{uses}, outputs = {{ out = \"text\" }}")),
            run("check", "test \"$(cat @W@/env)\" = \"$TOKEN\" && echo $TOKEN", uses),
            run("action", "echo undoing $TOKEN; cat > @W@/undone", uses),
            run("action", "echo no $TOKEN and $MIXED >&2; cat; test -e @W@/mended", uses),
            run("check", "echo looking for $TOKEN; sleep 0.1; exit 1", uses),
        );
        self.lab.plan("p", &text);
    }

    fn run(&self, words: &str) -> Ran {
        let mut command = self.lab.command(words);
        command.env("WORD", &self.values[0]);
        let ran = self.lab.begin(command).end();
        for value in &self.values {
            assert!(!ran.text().contains(value), "said by `{words}`:\n{}", ran.text());
        }
        ran
    }

    fn nothing_in_the_state_folder(&self) {
        let mut found = Vec::new();
        holding(&self.lab.state(), &self.values, &mut found);
        holding(&self.lab.path("run"), &self.values, &mut found);
        assert!(found.is_empty(), "{found:?}");
    }

    fn everything(&self) {
        let watch = Watch::start(&self.values);
        self.run("-vvv apply p/p.toml").expect(3);
        self.nothing_in_the_state_folder();
        // The steps did get them.
        let both = format!("begin {} {} end", self.values[0], self.values[1]);
        assert_eq!(self.lab.seen("env").trim(), self.values[0]);
        assert_eq!(self.lab.seen("stdin"), both);
        self.run("--json apply p/p.toml").expect(3);
        self.run("apply p/p.toml --color always -v").expect(3);
        self.lab.write("w/mended", "");
        // Killed and gone on with, as well.
        let mut command = self.lab.command("-vv apply p/p.toml");
        command.env("WORD", &self.values[0]);
        let mut going = self.lab.begin(command);
        if !going.ends_within(std::time::Duration::from_millis(150)) {
            going.signal(Signal::KILL);
        }
        let said = going.end().text();
        assert!(self.values.iter().all(|value| !said.contains(value)), "{said}");
        let code = self.run("-vv apply p/p.toml").code;
        assert!(code == 0 || code == 6, "{code}");
        for words in [
            "events",
            "--json events",
            "-vvv events",
            "status",
            "-vv status",
            "--json status",
            "runs",
            "--json runs",
        ] {
            self.run(words).expect(0);
        }
        self.nothing_in_the_state_folder();
        self.run("-vvv rollback p").expect(0);
        assert_eq!(self.lab.seen("undone"), both);
        self.run("--json events").expect(0);
        watch.end();
        self.nothing_in_the_state_folder();
    }
}

#[test]
fn a_secret_stays_out_of_everything_here() {
    let scene = Scene::new("secrets here");
    scene.plan("\"command\"", "");
    scene.everything();
}

#[test]
fn a_secret_stays_out_of_everything_over_ssh() {
    let Some(sshd) = Sshd::start() else { return };
    let scene = Scene::new("secrets over ssh");
    scene.plan("\"ssh\", host = \"box\"", &sshd.host_table());
    scene.everything();
    // What the steps themselves said is kept on the host for a while, where only the user can read it.
    let mut found = Vec::new();
    holding(sshd.home(), &scene.values, &mut found);
    let kept = sshd.home().join(".cache/runner");
    let own = |path: &String| {
        path.contains("/.cache/runner/") && (path.ends_with("/out") || path.ends_with("/err"))
    };
    found.retain(|path| !own(path));
    assert!(found.is_empty(), "left on the host: {found:?}");
    assert_eq!(fs::metadata(kept).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_secret_that_is_missing_or_readable_by_others_starts_nothing() {
    let scene = Scene::new("secrets refused");
    scene.plan("\"command\"", "");
    let lab = &scene.lab;
    let nothing = || assert!(!lab.has("env") && (!lab.state().exists() || lab.runs().is_empty()));
    lab.expect(2, "apply p/p.toml").says("`word`").says("`WORD`").says("nothing was started");
    nothing();
    for mode in [0o640, 0o604, 0o660, 0o644] {
        fs::set_permissions(lab.path("home/token"), fs::Permissions::from_mode(mode)).unwrap();
        let ran = scene.run("apply p/p.toml").expect(2).says("chmod 600").says("home/token");
        assert!(!ran.text().contains("word"), "{}", ran.text());
        nothing();
    }
    // Both at once.
    lab.expect(2, "apply p/p.toml").says("`word`").says("`token`");
    fs::remove_file(lab.path("home/token")).unwrap();
    scene.run("apply p/p.toml").expect(2).says("`token`");
    nothing();
    // A rollback has all that it needs before its first act.
    let path = lab.write("home/token", &scene.values[1]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    scene.run("apply p/p.toml").expect(3);
    let before = lab.events("p");
    lab.expect(2, "rollback p").says("`WORD`");
    assert_eq!((lab.events("p"), lab.has("undone")), (before, false));
    scene.run("rollback p").expect(0);
    // What needs no secret needs none set.
    lab.expect(0, "status p");
    lab.expect(0, "events p");
}
