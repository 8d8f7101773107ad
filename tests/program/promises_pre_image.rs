//! Goal: what was there before a step comes back, whatever happened since, and no secret is kept in clear for it.
//! Method: the binary with `file` and `http` steps, killed in the middle, with its key lost and changed, with its plan
//! edited; and every file of the state folder read byte by byte.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::http::{Reply, Server};
use support::lab::{Dice, Going, Lab, Ran};
use support::sshd::{Sshd, until};

/// Every file below a folder that holds the value, byte by byte.
fn holding(folder: &Path, value: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            holding(&path, value, found);
        } else if path.is_file()
            && fs::read(&path).unwrap().windows(value.len()).any(|part| part == value.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
}

#[track_caller]
fn nowhere(folder: &Path, values: &[&str]) {
    for value in values {
        let mut found = Vec::new();
        holding(folder, value, &mut found);
        assert!(found.is_empty(), "`{value}` is in {found:?}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// With the secret in its environment, and whatever else.
fn with(lab: &Lab, words: &str, env: &[(&str, &str)]) -> Ran {
    let mut command = lab.command(words);
    command.env("WORD", "n3w-s3cr3t-word").envs(env.iter().copied());
    let ran = lab.begin(command).end();
    assert!(!ran.text().contains("s3cr3t"), "said by `{words}`:\n{}", ran.text());
    ran
}

fn count(lab: &Lab, run: &str, event: &str) -> usize {
    lab.events(run).iter().filter(|line| line["event"] == event).count()
}

/// The step whose pre-image is sealed comes first, so that another one would be undone before it.
const SECRET: &str = "name = \"p\"\n[secrets]\nword = { env = \"WORD\" }\n[[step]]\nid = \"conf\"\n\
    forward = { action = \"file\", path = \"@W@/conf\", content = \"password={{ secrets.word }}\\n\" }\n\
    [[step]]\nid = \"open\"\nforward = { action = \"file\", path = \"@W@/open\", content = \"open\\n\" }\n";

fn secret_scene() -> Lab {
    let lab = Lab::new();
    lab.plan("p", SECRET);
    lab.write("w/conf", "password=0ld-s3cr3t-word\n");
    lab
}

#[test]
fn a_pre_image_that_may_hold_a_secret_is_sealed_and_comes_back() {
    let lab = secret_scene();
    let values = ["0ld-s3cr3t-word", "n3w-s3cr3t-word"];
    with(&lab, "-vv apply p/p.toml", &[]).expect(0);
    assert_eq!(lab.seen("conf"), "password=n3w-s3cr3t-word\n");
    nowhere(&lab.state(), &values);
    assert_eq!(mode(&lab.state().join("key")), 0o600);
    with(&lab, "-vvv events p", &[]).expect(0);
    with(&lab, "--json events p", &[]).expect(0);
    fs::remove_file(lab.path("p/p.toml")).unwrap();
    with(&lab, "-vv rollback p", &[]).expect(0);
    assert_eq!(lab.seen("conf"), "password=0ld-s3cr3t-word\n");
    assert!(!lab.has("open"));
    nowhere(&lab.state(), &values);
}

#[test]
fn what_needs_no_seal_makes_no_key_and_what_only_its_owner_reads_does() {
    let lab = Lab::new();
    let step = |more: &str| {
        format!(
            "name = \"p\"\n[[step]]\nid = \"a\"\nforward = {{ action = \"file\", path = \"@W@/f\", content = \"x\"{more} }}\n"
        )
    };
    lab.write("w/f", "everybody may read this\n");
    lab.plan("p", &step(""));
    lab.expect(0, "apply p/p.toml");
    assert!(!lab.state().join("key").exists());
    lab.expect(0, "rollback p");
    lab.plan("p", &step(", sensitive = true"));
    lab.expect(0, "apply p/p.toml --new-run");
    assert!(lab.state().join("key").exists());
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("f"), "everybody may read this\n");
    let lab = Lab::new();
    let path = lab.write("w/f", "the key of somebody else\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    lab.plan("p", &step(", mode = \"0644\""));
    lab.expect(0, "apply p/p.toml");
    nowhere(&lab.state(), &["the key of somebody else"]);
    lab.expect(0, "rollback p");
    assert_eq!((lab.seen("f").as_str(), mode(&path)), ("the key of somebody else\n", 0o600));
}

#[test]
fn a_lost_or_wrong_key_is_said_before_anything_is_undone() {
    let lab = secret_scene();
    with(&lab, "apply p/p.toml", &[]).expect(0);
    let (key, kept) = (lab.state().join("key"), lab.path("kept"));
    let untouched = |lab: &Lab, ran: Ran, words: &str| {
        ran.expect(2).says("step `conf`").says(words).says("nothing was undone");
        assert_eq!(lab.seen("conf"), "password=n3w-s3cr3t-word\n");
        assert!(lab.has("open"));
    };
    let doctor = "doctor p/p.toml --rollback";
    let looked = "what was there before step `conf`: ";
    with(&lab, doctor, &[]).expect(0).says(&format!("ok       {looked}can be brought back"));
    fs::rename(&key, &kept).unwrap();
    untouched(&lab, with(&lab, "rollback p", &[]), "is gone");
    with(&lab, doctor, &[])
        .expect(2)
        .says(&format!("problem  {looked}cannot be brought back"))
        .says("is gone")
        .says("ok       what was there before step `open`: can be brought back");
    // Another one.
    let other = secret_scene();
    with(&other, "apply p/p.toml", &[]).expect(0);
    fs::copy(other.state().join("key"), &key).unwrap();
    untouched(&lab, with(&lab, "rollback p", &[]), "is not the key");
    fs::write(&key, "nonsense").unwrap();
    untouched(&lab, with(&lab, "rollback p", &[]), "is not a key of runner");
    fs::copy(&kept, &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    untouched(&lab, with(&lab, "rollback p", &[]), "chmod 600");
    // It may be anywhere.
    fs::remove_file(&key).unwrap();
    with(&lab, doctor, &[("RUNNER_KEY", kept.to_str().unwrap())]).expect(0);
    with(&lab, "rollback p", &[("RUNNER_KEY", kept.to_str().unwrap())]).expect(0);
    assert_eq!(lab.seen("conf"), "password=0ld-s3cr3t-word\n");
    assert!(!key.exists());
}

#[test]
fn a_failing_step_whose_key_is_gone_undoes_nothing_by_itself() {
    let lab = secret_scene();
    let plan = SECRET.replace("name = \"p\"", "name = \"p\"\non_failure = \"rollback\"");
    let gone = "[[step]]\nid = \"fails\"\nforward = { action = \"command\", script = \"rm state/key; exit 1\", cwd = \"..\" }\ncompensate = \"nothing\"\n";
    lab.plan("p", &format!("{plan}{gone}"));
    // The step takes the key away in the middle of the run.
    with(&lab, "apply p/p.toml", &[]).expect(6).says("is gone");
    assert_eq!(lab.seen("conf"), "password=n3w-s3cr3t-word\n");
    assert!(lab.has("open"), "something was undone before the key was missed");
}

#[test]
fn a_second_attempt_takes_no_second_pre_image() {
    let lab = Lab::new();
    lab.write("w/f", "before");
    lab.plan(
        "p",
        "name = \"p\"\n[[step]]\nid = \"a\"\nretry = { attempts = 2, backoff = \"10ms\", on = \"verify\" }\n\
         forward = { action = \"file\", path = \"@W@/f\", content = \"after\" }\nverify_within = \"10ms\"\n\
         verify = [{ check = \"command\", script = 'echo x >> \"$W/looked\"; [ $(wc -l < \"$W/looked\") -gt 2 ]', env = { W = \"@W@\" } }]\n",
    );
    let ran = lab.run("apply p/p.toml");
    assert!(ran.code == 0 || ran.code == 3, "{}", ran.text());
    lab.run("apply p/p.toml");
    assert_eq!(count(&lab, "p-1", "pre_image_taken"), 1);
    assert!(count(&lab, "p-1", "started") >= 2);
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("f"), "before");
}

#[test]
fn after_a_rollback_to_a_step_the_pre_image_is_a_new_one() {
    let lab = Lab::new();
    lab.write("w/f", "first");
    lab.plan(
        "p",
        "name = \"p\"\n[[step]]\nid = \"zero\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n\
         [[step]]\nid = \"a\"\nforward = { action = \"file\", path = \"@W@/f\", content = \"after\" }\n",
    );
    lab.expect(0, "apply p/p.toml");
    lab.expect(0, "rollback p --to zero");
    assert_eq!(lab.seen("f"), "first");
    lab.write("w/f", "second");
    lab.expect(0, "apply p/p.toml");
    assert_eq!((lab.seen("f").as_str(), count(&lab, "p", "pre_image_taken")), ("after", 2));
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("f"), "second");
}

#[test]
fn what_was_there_before_this_run_is_not_undone() {
    let lab = Lab::new();
    lab.write("w/f", "as it shall be");
    let plan = "name = \"p\"\n[[step]]\nid = \"a\"\nforward = { action = \"file\", path = \"@W@/f\", content = \"as it shall be\" }\n";
    lab.plan("p", plan);
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.steps("p")["a"], "satisfied");
    assert_eq!((count(&lab, "p", "pre_image_taken"), count(&lab, "p", "started")), (0, 0));
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("f"), "as it shall be");
}

#[test]
fn an_edited_target_is_refused_because_it_could_not_be_undone() {
    let lab = Lab::new();
    lab.write("w/one", "before");
    let plan = |file: &str, check: &str| {
        format!(
            "name = \"p\"\n[[step]]\nid = \"a\"\nforward = {{ action = \"file\", path = \"@W@/{file}\", content = \"after\" }}\n\
             verify_within = \"10ms\"\nverify = [{{ check = \"command\", argv = [\"{check}\"] }}]\n"
        )
    };
    lab.plan("p", &plan("one", "false"));
    lab.expect(3, "apply p/p.toml");
    assert_eq!(lab.seen("one"), "after");
    lab.plan("p", &plan("two", "true"));
    lab.expect(3, "apply p/p.toml").says("could not be undone").says("w/one");
    assert!(!lab.has("two"));
    lab.expect(0, "rollback p");
    assert_eq!((lab.seen("one").as_str(), lab.has("two")), ("before", false));
}

/// Ends a runner at a random instant; says whether it had ended by itself.
fn disturbed(mut going: Going, dice: &mut Dice, most_ms: u64) -> bool {
    let ended = going.ends_within(Duration::from_millis(dice.below(most_ms)));
    if ended {
        going.end().expect(0);
    } else {
        going.kill();
    }
    ended
}

/// Files, killed at any instant, there and back.
fn killed(dice: &mut Dice, host: &str, hosts: &str, most_ms: u64, kills: u32) {
    let lab = Lab::new();
    let mut plan = format!("name = \"p\"\n{hosts}");
    for number in 0..8 {
        let (path, more) = match number % 4 {
            0 => (format!("f{number}"), ""),
            1 => (format!("deep{number}/a/f"), ", parents = true"),
            _ => (format!("old{number}"), ", mode = \"0600\""),
        };
        if number % 4 > 1 {
            lab.write(&format!("w/{path}"), &format!("before {number}\n"));
        }
        plan.push_str(&format!(
            "[[step]]\nid = \"s{number}\"\nforward = {{ action = \"file\"{host}, path = \"@W@/{path}\", content = \"after {number}\\n\"{more} }}\n"
        ));
    }
    lab.plan("p", &plan);
    let before = lab.tree("");
    let mut done = 0;
    while done < kills && !disturbed(lab.start("apply p/p.toml"), dice, most_ms) {
        done += 1;
    }
    lab.expect(0, "apply p/p.toml");
    let after = lab.tree("");
    assert!(after.keys().all(|name| !name.contains(".runner-")), "{after:?}");
    for number in 0..8 {
        let content = format!("after {number}\n");
        assert!(after.values().any(|found| *found == content), "{number}: {after:?}");
    }
    assert!(count(&lab, "p", "pre_image_taken") == 8, "one pre-image a step");
    while done < 2 * kills && !disturbed(lab.start("rollback p"), dice, most_ms) {
        done += 1;
    }
    lab.expect(0, "rollback p");
    assert_eq!(lab.tree(""), before);
    println!("killed {done} times");
}

#[test]
fn files_killed_at_any_instant_are_whole_and_come_back() {
    let mut dice = Dice::new("files here");
    for _ in 0..3 {
        killed(&mut dice, "", "", 60, 8);
    }
}

#[test]
fn files_on_a_host_killed_at_any_instant_are_whole_and_come_back() {
    let Some(sshd) = Sshd::start() else { return };
    let mut dice = Dice::new("files over ssh");
    killed(&mut dice, ", host = \"box\"", &sshd.host_table(), 800, 4);
}

/// A server that takes effect at a PUT and may not say so, and a runner that is killed while it waits for the answer.
fn cut_request(takes_effect: bool) -> usize {
    let (on, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (state, first) = (Arc::clone(&on), Arc::clone(&told));
    let server = Server::start(move |asked| match asked.method.as_str() {
        "PUT" => {
            let again = first.swap(true, Ordering::SeqCst);
            if takes_effect || again {
                state.store(true, Ordering::SeqCst);
            }
            if again { Reply::ok("") } else { Reply::Hang }
        }
        "DELETE" => {
            state.store(false, Ordering::SeqCst);
            Reply::ok("")
        }
        _ => Reply::ok(format!("{{\"on\":{}}}", state.load(Ordering::SeqCst))),
    });
    let lab = Lab::new();
    let url = server.url("/light");
    lab.plan(
        "p",
        &format!(
            "name = \"p\"\n[secrets]\nword = {{ env = \"WORD\" }}\n[[step]]\nid = \"on\"\n\
             forward = {{ action = \"http\", method = \"PUT\", url = \"{url}\", headers = {{ Authorization = \"Bearer {{{{ secrets.word }}}}\" }}, body = \"on {{{{ secrets.word }}}}\" }}\n\
             probe = {{ check = \"http\", url = \"{url}\", json = {{ \"/on\" = true }} }}\n\
             compensate = {{ action = \"http\", method = \"DELETE\", url = \"{url}\", headers = {{ X-Token = \"{{{{ secrets.word }}}}\" }} }}\n"
        ),
    );
    let mut command = lab.command("apply p/p.toml");
    command.env("WORD", "n3w-s3cr3t-word");
    let going = lab.begin(command);
    until("it was asked", || told.load(Ordering::SeqCst));
    going.kill();
    with(&lab, "-vv apply p/p.toml", &[]).expect(0);
    assert!(on.load(Ordering::SeqCst));
    with(&lab, "-vv rollback p", &[]).expect(0);
    assert!(!on.load(Ordering::SeqCst));
    with(&lab, "-vvv events p", &[]).expect(0);
    nowhere(&lab.state(), &["n3w-s3cr3t-word"]);
    let asked = server.asked();
    let puts: Vec<_> = asked.iter().filter(|asked| asked.method == "PUT").collect();
    assert_eq!(puts[0].header("authorization"), Some("Bearer n3w-s3cr3t-word"));
    assert_eq!(puts[0].body, "on n3w-s3cr3t-word");
    puts.len()
}

#[test]
fn a_request_that_was_cut_off_is_settled_by_its_probe_and_sent_again_only_when_it_took_no_effect() {
    assert_eq!(cut_request(true), 1);
    assert_eq!(cut_request(false), 2);
}

#[test]
fn a_request_that_was_cut_off_and_has_no_probe_needs_a_person() {
    let server = Server::start(|_| Reply::Drop);
    let lab = Lab::new();
    let url = server.url("/");
    lab.plan(
        "p",
        &format!("name = \"p\"\n[[step]]\nid = \"a\"\nforward = {{ action = \"http\", method = \"POST\", url = \"{url}\" }}\ncompensate = \"nothing\"\n"),
    );
    lab.expect(6, "apply p/p.toml").says("runner resolve");
    lab.expect(6, "apply p/p.toml");
    assert_eq!(server.asked().len(), 1, "it was sent again without anybody knowing");
}
