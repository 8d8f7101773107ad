//! Commands on a host, over a real sshd.

use crate::support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use runner::saga::{CutCause, FailureClass, Outcome, Settlement, Verdict};
use runner::transport::Stop;
use serde_json::{Value, json};
use support::sshd::{Sshd, until};
use support::world::{World, acted, cut, failed};

/// A host and a world that knows it, or a loud skip.
macro_rules! host {
    () => {
        match Sshd::start() {
            Some(sshd) => {
                let world = World::new().with_host(&sshd);
                (sshd, world)
            }
            None => return,
        }
    };
}

fn ssh(mut operation: Value) -> Value {
    operation["name"] = json!("ssh");
    operation["host"] = json!("box");
    operation
}

/// The private folder of the world's journal on the host.
fn private(sshd: &Sshd) -> PathBuf {
    sshd.home().join(".cache/runner/test")
}

fn text(path: impl AsRef<std::path::Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn gone(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "))
}

async fn exists(path: &std::path::Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_gives_its_outputs() {
    let (sshd, world) = host!();
    let odd = "it's \"odd\" $HOME `id` \\n\n*";
    let call = world.call(
        "a",
        1,
        ssh(json!({
            "argv": ["sh", "-c", "cat; printf %s \"$X\" >&2; printf %s \"$1\"; pwd", "sh", odd],
            "env": { "X": odd }, "stdin": "in\n", "cwd": "/usr", "outputs": { "all": "text" },
        })),
    );
    let (outputs, trace) = acted(world.actions.act(call).await);
    assert_eq!(outputs["all"], format!("in\n{odd}/usr"));
    assert_eq!(trace.exit, Some(0));
    let log = String::from_utf8(world.log(&trace)).unwrap();
    assert!(log.contains(odd) && !log.contains("runner "), "{log}");
    // One connection for all.
    let call = world.call(
        "b",
        1,
        ssh(json!({ "script": "printf '{\"a\":7}'; cd; pwd >&2", "outputs": { "n": "/a" } })),
    );
    let (outputs, trace) = acted(world.actions.act(call).await);
    assert_eq!(
        (&outputs["n"], trace.tail.contains(&*sshd.home().to_string_lossy())),
        (&json!(7), true),
        "{trace:?}"
    );
    assert_eq!(sshd.connections(), 1);
    world.transport.close().await;
    until("the connection is closed", || sshd.connections() == 0);
    assert_eq!(fs::read_dir(world.folder.path().join("run")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parallel_steps_share_a_connection() {
    let (sshd, world) = host!();
    let calls = (0..12).map(|number| {
        world.actions.act(world.call(
            "a",
            number + 1,
            ssh(json!({ "argv": ["echo", number], "outputs": { "n": "text" } })),
        ))
    });
    for (number, outcome) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(acted(outcome).0["n"], number.to_string());
    }
    assert_eq!(sshd.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_statuses_are_the_command_s_own() {
    let (_sshd, world) = host!();
    for status in [1, 127, 255] {
        let call = world.call("a", status, ssh(json!({ "script": format!("echo why >&2; exit {status}") })));
        let (class, message, trace) = failed(world.actions.act(call).await);
        assert_eq!((class, trace.exit), (FailureClass::Transient, Some(status as i32)));
        assert_eq!(message, format!("exit status {status}: why"));
    }
    let call = world.call("b", 1, ssh(json!({ "script": "kill -9 $$" })));
    let (_, message, _) = failed(world.actions.act(call).await);
    assert!(message.contains("137") && message.contains("SIGKILL"), "{message}");
    for (operation, words) in [
        (json!({ "argv": ["no-such-program-9", "x"] }), "`no-such-program-9` was not found on host `box`"),
        (json!({ "argv": ["true"], "cwd": "/no/such" }), "cwd `/no/such`"),
        (json!({ "argv": ["true"], "env": { "a-b": "x" } }), "`a-b` cannot be the name"),
    ] {
        let (class, message, _) = failed(world.actions.act(world.call("c", 1, ssh(operation))).await);
        assert!(class == FailureClass::Permanent && message.contains(words), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_file_is_run_on_the_host() {
    let (sshd, world) = host!();
    for (attempt, content, expected) in
        [(1, "#!/bin/cat\nhi\0\u{e9}\n", "#!/bin/cat\nhi\0\u{e9}"), (2, "echo plain", "plain")]
    {
        let operation = ssh(json!({ "script_file": "/x/y.sh", "outputs": { "o": "text" } }));
        let mut call = world.call("a", attempt, operation.clone());
        let bodies = std::sync::Arc::new([("/x/y.sh".to_owned(), content.as_bytes().to_vec())].into());
        call.bodies = std::sync::Arc::clone(&bodies);
        assert_eq!(acted(world.actions.act(call).await).0["o"], expected);
        let mut look = world.look(operation);
        look.bodies = bodies;
        let answer = world.checks.look(look).await;
        assert_eq!(answer.outputs["o"], expected, "{answer:?}");
    }
    until("no script is left", || {
        fs::read_dir(private(&sshd))
            .unwrap()
            .flatten()
            .all(|entry| !entry.file_name().to_string_lossy().starts_with("look"))
    });
}

/// The command outlives its connection and its end and outputs are found again, by this process or the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_connection_hurts_no_command() {
    let (sshd, world) = host!();
    let go = world.path("go");
    let operation = ssh(json!({
        "script": "echo before; echo > \"$GO.started\"; until [ -e \"$GO\" ]; do sleep 0.02; done; echo after; echo err >&2; exit $STATUS",
        "env": { "GO": go, "STATUS": "0" }, "outputs": { "o": "text" },
    }));
    let call = world.call("a", 1, operation);
    let mut failing = world.call("b", 1, call_fields(&call, "7"));
    failing.timeout = Duration::from_secs(60);
    let running = tokio::spawn(world.actions.act(call.clone()));
    let second = tokio::spawn(world.actions.act(failing.clone()));
    exists(std::path::Path::new(&format!("{go}.started"))).await;
    until("both run", || {
        fs::read_dir(private(&sshd).join("attempts"))
            .unwrap()
            .flatten()
            .filter(|a| a.path().join("pid").exists())
            .count()
            == 2
    });
    sshd.cut();
    let (cause, message, _) = cut(running.await.unwrap());
    assert_eq!(cause, CutCause::Connection, "{message}");
    assert_eq!(cut(second.await.unwrap()).0, CutCause::Connection);
    // Still running: the settling waits for it, over a new connection, in what could be another process.
    let world = World::open(world.folder, 2).with_host(&sshd);
    let settling = tokio::spawn(world.actions.settle(call.clone()));
    until("connected again", || sshd.connections() == 1);
    fs::write(&go, "").unwrap();
    let Settlement::Ended(outcome) = settling.await.unwrap() else { panic!("not ended") };
    let (outputs, trace) = acted(outcome);
    assert_eq!(outputs["o"], "before\nafter");
    assert!(trace.tail.contains("err"), "{trace:?}");
    let Settlement::Ended(outcome) = world.actions.settle(failing).await else { panic!("not ended") };
    assert_eq!(failed(outcome).2.exit, Some(7));
    // Asked once more it says the same.
    assert!(matches!(world.actions.settle(call).await, Settlement::Ended(Outcome::Acted { .. })));
}

fn call_fields(call: &runner::action::Call, status: &str) -> Value {
    let mut fields = Value::Object(call.operation.fields.clone());
    fields["name"] = json!("ssh");
    fields["env"]["STATUS"] = json!(status);
    fields
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_writes_into_a_cut_connection_goes_on() {
    let (sshd, world) = host!();
    let go = world.path("go");
    let call = world.call("a", 1, ssh(json!({
        "script": "echo > \"$GO.started\"; until [ -e \"$GO\" ]; do sleep 0.02; done; head -c 3000000 /dev/zero; echo > \"$GO.done\"",
        "env": { "GO": go },
    })));
    let running = tokio::spawn(world.actions.act(call.clone()));
    exists(std::path::Path::new(&format!("{go}.started"))).await;
    sshd.cut();
    cut(running.await.unwrap());
    fs::write(&go, "").unwrap();
    exists(std::path::Path::new(&format!("{go}.done"))).await;
    let Settlement::Ended(outcome) = world.actions.settle(call).await else { panic!("not ended") };
    acted(outcome);
    let spool = private(&sshd).join("attempts/r-1.a.forward.1/out");
    assert_eq!(fs::metadata(spool).unwrap().len(), 64 * 1024 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_and_a_stop_end_the_remote_process() {
    let (_sshd, world) = host!();
    let file = world.path("pid");
    let script = "trap '' TERM; sleep 983 & echo $! > \"$F\"; echo seen; while :; do sleep 0.05; done";
    let mut call = world.call("a", 1, ssh(json!({ "script": script, "env": { "F": file } })));
    call.timeout = Duration::from_secs(3);
    let settle = call.clone();
    let (cause, message, trace) = cut(world.actions.act(call).await);
    assert!(cause == CutCause::Timeout && message.contains("ended there"), "{message}");
    assert_eq!(trace.tail, "seen");
    assert!(gone(&text(&file)));
    assert!(matches!(world.actions.settle(settle).await, Settlement::Ended(Outcome::Failed { .. })));

    let (sender, stop) = Stop::channel();
    let file = world.path("pid2");
    let mut call = world.call(
        "b",
        1,
        ssh(json!({ "script": "echo $$ > \"$F\"; exec sleep 982", "env": { "F": file } })),
    );
    call.stop = stop;
    let running = tokio::spawn(world.actions.act(call));
    until("it runs", || text(&file).ends_with('\n'));
    sender.fire();
    assert_eq!(cut(running.await.unwrap()).0, CutCause::Stopped);
    assert!(gone(&text(&file)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settling_ends_what_outlives_its_timeout() {
    let (sshd, world) = host!();
    let file = world.path("pid");
    let mut call = world.call(
        "a",
        1,
        ssh(json!({ "script": "echo $$ > \"$F\"; exec sleep 981", "env": { "F": file } })),
    );
    let running = tokio::spawn(world.actions.act(call.clone()));
    until("it runs", || text(&file).ends_with('\n'));
    sshd.cut();
    cut(running.await.unwrap());
    call.timeout = Duration::from_millis(100);
    let Settlement::Ended(outcome) = world.actions.settle(call).await else { panic!("not ended") };
    assert_eq!(failed(outcome).2.exit, Some(143));
    assert!(gone(&text(&file)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_never_came_is_over_and_stays_so() {
    let (_sshd, world) = host!();
    let call = world.call("a", 1, ssh(json!({ "argv": ["touch", world.path("touched")] })));
    assert_eq!(world.actions.settle(call.clone()).await, Settlement::Over);
    // Its command comes late, out of a buffer on the way.
    let (_, message, _) = cut(world.actions.act(call.clone()).await);
    assert!(message.contains("knows this attempt"), "{message}");
    assert!(!world.folder.path().join("touched").exists());
    assert_eq!(world.actions.settle(call).await, Settlement::Over);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_fencing_token_is_refused() {
    let (sshd, world) = host!();
    acted(world.actions.act(world.call("a", 1, ssh(json!({ "argv": ["true"] })))).await);
    let newer = tempfile::tempdir().unwrap();
    let newer = World::open(newer, 12).with_host(&sshd);
    acted(newer.actions.act(newer.call("b", 1, ssh(json!({ "argv": ["true"] })))).await);
    let call = world.call("c", 1, ssh(json!({ "argv": ["touch", world.path("touched")] })));
    let (class, message, _) = failed(world.actions.act(call.clone()).await);
    assert_eq!(class, FailureClass::Permanent);
    assert!(message.contains("fencing token 12, newer than our 1"), "{message}");
    assert!(!world.folder.path().join("touched").exists());
    let Settlement::Unproved { reason } = world.actions.settle(call).await else { panic!("proved") };
    assert!(reason.contains("fencing token 12"));
    acted(newer.actions.act(newer.call("d", 1, ssh(json!({ "argv": ["true"] })))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_descendant_does_not_keep_the_action_and_is_named() {
    // Which has its name when it has been executed.
    const NAMED: &str = "sleep 979 & echo $!; until grep -q sleep /proc/$!/comm; do :; done";
    let (_sshd, world) = host!();
    let call = world.call("a", 1, ssh(json!({ "script": NAMED, "outputs": { "pid": "text" } })));
    let (outputs, trace) = acted(world.actions.act(call).await);
    let pid: u32 = outputs["pid"].as_str().unwrap().parse().unwrap();
    assert_eq!((trace.left_running[0].pid, &*trace.left_running[0].name), (pid, "sleep"));
    assert!(!gone(&pid.to_string()));
    support::sshd::kill("KILL", pid);
    // One that left the session is not seen, and keeps nothing either.
    let call = world.call(
        "b",
        1,
        ssh(json!({ "script": "setsid sleep 978 & echo $!", "outputs": { "pid": "text" } })),
    );
    let (outputs, _) = acted(world.actions.act(call).await);
    support::sshd::kill("KILL", outputs["pid"].as_str().unwrap().parse().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_in_no_log_and_no_command_line() {
    let (sshd, mut world) = host!();
    let secret = "hunter2-very-secret";
    world.secrets = vec![secret.to_owned()];
    let go = world.path("go");
    let call = world.call("a", 1, ssh(json!({
        "script": "cat; echo \"$S\"; echo > \"$GO.ready\"; until [ -e \"$GO\" ]; do sleep 0.01; done; echo \"$S\" >&2; exit 3",
        "env": { "S": secret, "GO": go }, "stdin": secret,
    })));
    let running = tokio::spawn(world.actions.act(call));
    exists(std::path::Path::new(&format!("{go}.ready"))).await;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(secret), "{entry:?}");
    }
    fs::write(&go, "").unwrap();
    let (_, message, trace) = failed(running.await.unwrap());
    // The last line of either stream: which of the two is read last is nobody's promise.
    assert!(["exit status 3: ***", "exit status 3: ******"].contains(&&*message), "{message}");
    assert!(!String::from_utf8(world.log(&trace)).unwrap().contains("hunter2"));
    let attempt = private(&sshd).join("attempts/r-1.a.forward.1");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&attempt).unwrap().permissions().mode() & 0o077, 0);
    assert_eq!(fs::metadata(sshd.home().join(".cache/runner")).unwrap().permissions().mode() & 0o077, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_answer_over_ssh() {
    let (mut sshd, world) = host!();
    for (operation, verdict) in [
        (json!({ "argv": ["true"] }), Verdict::Holds),
        (json!({ "argv": ["false"] }), Verdict::Absent),
        (json!({ "script": "exit 10" }), Verdict::Partial),
        (json!({ "script": "exit 255" }), Verdict::Unknown),
        (json!({ "script": "exit 2", "absent_on": [2] }), Verdict::Absent),
        (json!({ "argv": ["no-such-program-9"] }), Verdict::Unknown),
    ] {
        let answer = world.checks.look(world.look(ssh(operation.clone()))).await;
        assert_eq!(answer.verdict, verdict, "{operation}: {answer:?}");
    }
    let look =
        world.look(ssh(json!({ "script": "cat; echo v1", "stdin": "in ", "outputs": { "v": "text" } })));
    assert_eq!(world.checks.look(look).await.outputs["v"], "in v1");
    // Too long, and dropped: ended on the host.
    let file = world.path("late");
    let mut look =
        world.look(ssh(json!({ "script": "echo $$ > \"$F\"; exec sleep 977", "env": { "F": file } })));
    look.timeout = Duration::from_millis(700);
    assert_eq!(world.checks.look(look).await.verdict, Verdict::Unknown);
    until("the late one is gone", || gone(&text(&file)));
    let file = world.path("dropped");
    let look = world
        .checks
        .look(world.look(ssh(json!({ "script": "echo $$ > \"$F\"; exec sleep 976", "env": { "F": file } }))));
    let started = async {
        while !text(&file).ends_with('\n') {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = look => panic!("it ended"),
        () = started => {}
    }
    until("the dropped one is gone", || gone(&text(&file)));
    sshd.stop();
    let answer = world.checks.look(world.look(ssh(json!({ "argv": ["true"] })))).await;
    assert_eq!(answer.verdict, Verdict::Unknown);
    assert!(answer.reason.contains("refuses the connection"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_is_made_again() {
    let (mut sshd, world) = host!();
    acted(world.actions.act(world.call("a", 1, ssh(json!({ "argv": ["true"] })))).await);
    sshd.restart();
    acted(world.actions.act(world.call("a", 2, ssh(json!({ "argv": ["true"] })))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_is_told_apart() {
    let (mut sshd, mut world) = host!();
    let mut attempt = 0;
    let mut refused = async |world: &World| {
        attempt += 1;
        failed(world.actions.act(world.call("a", attempt, ssh(json!({ "argv": ["true"] })))).await)
    };
    sshd.refuse_keys();
    let (class, message, _) = refused(&world).await;
    assert!(class == FailureClass::Permanent && message.contains("takes none of our keys"), "{message}");
    sshd.restart_with_another_key();
    let (class, message, _) = refused(&world).await;
    assert!(class == FailureClass::Permanent && message.contains("ssh-keygen -R '[127.0.0.1]:"), "{message}");
    sshd.unknown();
    let (class, message, _) = refused(&world).await;
    assert!(class == FailureClass::Permanent && message.contains("is not known"), "{message}");
    sshd.stop();
    let (class, message, _) = refused(&world).await;
    assert!(class == FailureClass::Transient && message.contains("refuses the connection"), "{message}");
    world.places.hosts.get_mut("box").unwrap().address = "root@no-such-host.invalid".to_owned();
    let (class, message, _) = refused(&world).await;
    assert!(class == FailureClass::Transient && message.contains("cannot be resolved"), "{message}");
    assert_eq!(fs::read_dir(world.folder.path().join("run")).unwrap().count(), 0);
    let settling = world.actions.settle(world.call("a", 1, ssh(json!({ "argv": ["true"] })))).await;
    assert!(matches!(settling, Settlement::Unproved { reason } if reason.contains("cannot be resolved")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_never_asked_for() {
    let Some(sshd) = Sshd::start_with("") else { return };
    let world = World::new().with_host(&sshd);
    let config = text(PathBuf::from(sshd.known_hosts()).with_file_name("config"));
    let asking = config.replace("PasswordAuthentication no", "PasswordAuthentication yes");
    fs::write(PathBuf::from(sshd.known_hosts()).with_file_name("config"), asking).unwrap();
    let mut sshd = sshd;
    sshd.refuse_keys();
    sshd.restart();
    let mut places = world.places.clone();
    places.hosts.get_mut("box").unwrap().address = "nobody@127.0.0.1".to_owned();
    let mut call = world.call("a", 1, ssh(json!({ "argv": ["true"] })));
    call.places = std::sync::Arc::new(places);
    let (class, message, _) = failed(world.actions.act(call).await);
    assert!(class == FailureClass::Permanent && message.contains("asks for a password"), "{message}");
}

/// A transport that is dropped without closing leaves its master behind, as a kill does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_of_a_killed_process_are_ended() {
    let (sshd, world) = host!();
    acted(world.actions.act(world.call("a", 1, ssh(json!({ "argv": ["true"] })))).await);
    assert_eq!(sshd.connections(), 1);
    let folder = world.folder;
    drop((world.actions, world.checks, world.transport));
    assert_eq!(sshd.connections(), 1);
    let world = World::open(folder, 2);
    until("the old connection is closed", || sshd.connections() == 0);
    assert_eq!(fs::read_dir(world.folder.path().join("run")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_comes_over_whole() {
    let (_sshd, world) = host!();
    let call = world.call("a", 1, ssh(json!({ "argv": ["head", "-c", "20000000", "/dev/zero"] })));
    let (_, trace) = acted(world.actions.act(call).await);
    assert_eq!(trace.bytes, 20_000_000);
    assert_eq!(fs::metadata(world.state().join(trace.log.unwrap())).unwrap().len(), 20_000_000);
}

/// A stop that comes while the connection is made, or at once: nothing runs, or it is ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_any_instant_leaves_nothing_running() {
    let (_sshd, world) = host!();
    for (attempt, delay) in [(1, 0), (2, 0), (3, 5), (4, 15), (5, 30), (6, 60)] {
        let (sender, stop) = Stop::channel();
        let file = world.path(&format!("late{attempt}"));
        let script = "sleep 975; echo > \"$F\"";
        let mut call = world.call("a", attempt, ssh(json!({ "script": script, "env": { "F": file } })));
        call.stop = stop;
        let running = tokio::spawn(world.actions.act(call.clone()));
        tokio::time::sleep(Duration::from_millis(delay)).await;
        sender.fire();
        assert_eq!(cut(running.await.unwrap()).0, CutCause::Stopped);
        call.stop = Stop::never();
        assert!(!matches!(world.actions.settle(call).await, Settlement::Unproved { .. }));
        assert!(!std::path::Path::new(&file).exists());
    }
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains("sleep\u{0}975"), "{entry:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sudo_is_asked_for_without_a_password() {
    let (_sshd, mut world) = host!();
    if std::process::Command::new("sudo")
        .args(["-n", "true"])
        .status()
        .map_or(true, |status| !status.success())
    {
        support::skip::skip("sudo is not there or asks for a password: apt-get install sudo");
        return;
    }
    world.places.hosts.get_mut("box").unwrap().sudo = true;
    // Root's home folder is the real one there: a journal of its own, removed at the end.
    let journal = format!("test-{}", std::process::id());
    let folder = world.folder.path().join("other");
    world.actions = runner::action::Actions::new(support::world::open_as(folder, 1, &journal));
    let operation =
        ssh(json!({ "script": "id -u; echo $X", "env": { "X": "x" }, "outputs": { "o": "text" } }));
    let outcome = world.actions.act(world.call("a", 1, operation)).await;
    let clear = format!(
        "rm -rf \"$HOME/.cache/runner/{journal}\"; rmdir \"$HOME/.cache/runner\" 2>/dev/null || true"
    );
    std::process::Command::new("sudo").args(["-n", "sh", "-c", &clear]).status().unwrap();
    assert_eq!(acted(outcome).0["o"], "0\nx");
}

/// The word that a session has ended may overtake what it wrote: sshd sends the exit status when the shell is gone, and what still
/// stands in its pipes after that. Here nearly all of it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_the_exit_status_is_read() {
    let late = "ForceCommand d=$(mktemp -d) && sh -c \"$SSH_ORIGINAL_COMMAND\" >$d/o 2>$d/e; \
                { sleep 0.3; cat $d/e >&2; cat $d/o; rm -r $d; } & exit 0";
    let Some(sshd) = Sshd::start_with(late) else { return };
    let world = World::new().with_host(&sshd);
    let says = ssh(json!({ "argv": ["printf", "said"], "outputs": { "word": "text" } }));
    let (outputs, _) = acted(world.actions.act(world.call("a", 1, says.clone())).await);
    assert_eq!(outputs["word"], "said");
    let answer = world.checks.look(world.look(says)).await;
    assert_eq!(
        (answer.verdict, answer.outputs.get("word")),
        (Verdict::Holds, Some(&json!("said"))),
        "{answer:?}"
    );
}
