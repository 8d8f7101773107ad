//! Local commands against real processes: capture, timeouts, slots, secrets.

#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runner::saga::{CutCause, FailureClass, Settlement, Verdict};
use runner::transport::{Stop, spawn_alone};
use serde_json::json;
use support::sshd::{kill, until};
use support::world::{World, acted, cut, failed};

#[tokio::test]
async fn a_command_gives_its_outputs() {
    let world = World::new();
    let call = world.call(
        "a",
        1,
        json!({
            "argv": ["sh", "-c", "cat; printf %s \"$X\" >&2; pwd"], "env": { "X": "env" }, "stdin": "in\n",
            "outputs": { "all": "text" },
        }),
    );
    let (outputs, trace) = acted(world.actions.act(call).await);
    let folder = world.folder.path().canonicalize().unwrap();
    assert_eq!(outputs["all"], format!("in\n{}", folder.display()));
    assert_eq!(trace.exit, Some(0));
    assert!(trace.bytes > 6 && trace.left_running.is_empty());
    assert!(String::from_utf8(world.log(&trace)).unwrap().contains("env"));

    let call =
        world.call("b", 1, json!({ "script": "printf '{\"a\":{\"b\":[7]}}'", "outputs": { "n": "/a/b/0" } }));
    assert_eq!(acted(world.actions.act(call).await).0["n"], 7);
}

/// Looked for before the start or not: the same program runs, with the name that the plan gives it.
#[tokio::test]
async fn a_program_is_found_where_libc_finds_it() {
    let world = World::new();
    let tool = |folder: &str, content: &str, mode: u32| {
        fs::create_dir_all(world.path(folder)).unwrap();
        let file = world.path(&format!("{folder}/tool"));
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    };
    tool("plain", "#!/bin/sh\necho plain\n", 0o644);
    tool("lost", "#!/no/such/interpreter\n", 0o755);
    tool("first", "#!/bin/sh\necho first\n", 0o755);
    tool("second", "#!/bin/sh\necho second\n", 0o755);
    std::os::unix::fs::symlink("/bin/sh", world.path("first/other")).unwrap();
    let path = |folders: &[&str]| folders.iter().map(|name| world.path(name)).collect::<Vec<_>>().join(":");
    let run = async |argv: &[&str], path: String| {
        let operation = json!({ "argv": argv, "env": { "PATH": path }, "outputs": { "said": "text" } });
        acted(world.actions.act(world.call("a", 1, operation)).await).0["said"].clone()
    };
    assert_eq!(run(&["tool"], path(&["none", "plain", "first", "second"])).await, "first");
    assert_eq!(run(&["tool"], path(&["lost", "second", "first"])).await, "second");
    assert_eq!(run(&["tool"], format!("first:{}", path(&["second"]))).await, "first");
    assert_eq!(run(&["other", "-c", "echo \"$0\""], path(&["first"])).await, "other");
    let missing = json!({ "argv": ["tool"], "env": { "PATH": path(&["none"]) } });
    let (class, message, _) = failed(world.actions.act(world.call("a", 1, missing)).await);
    assert_eq!(class, FailureClass::Permanent);
    assert!(message.contains("was not found in PATH"), "{message}");
}

#[tokio::test]
async fn a_silent_command_leaves_no_log() {
    let world = World::new();
    let (_, trace) = acted(world.actions.act(world.call("a", 1, json!({ "argv": ["true"] }))).await);
    assert_eq!((trace.log, trace.bytes), (None, 0));
    assert!(!world.state().join("logs").exists());
}

#[tokio::test]
async fn a_script_file_is_run_as_its_first_line_says() {
    let world = World::new();
    for (content, expected) in
        [("#!/usr/bin/env -S cat -s\nhi\n", "hi"), ("echo plain $((40 + 2))", "plain 42")]
    {
        let mut call = world.call("a", 1, json!({ "script_file": "/x/y.sh", "outputs": { "o": "text" } }));
        call.bodies = std::sync::Arc::new([("/x/y.sh".to_owned(), content.as_bytes().to_vec())].into());
        let (outputs, _) = acted(world.actions.act(call).await);
        assert!(outputs["o"].as_str().unwrap().ends_with(expected), "{outputs:?}");
    }
    assert_eq!(fs::read_dir(world.state().join("scratch")).unwrap().count(), 0);
}

#[tokio::test]
async fn each_way_to_fail_has_its_words() {
    let world = World::new();
    fs::write(world.path("plain"), "x").unwrap();
    fs::write(world.path("odd"), "#!/no/such/shell\n").unwrap();
    fs::set_permissions(world.path("odd"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let long = "x".repeat(140_000);
    for (operation, class, words) in [
        (
            json!({ "argv": ["sh", "-c", "echo because >&2; exit 7"] }),
            FailureClass::Transient,
            "exit status 7: because",
        ),
        (json!({ "argv": ["sh", "-c", "kill -SEGV $$"] }), FailureClass::Transient, "killed by SIGSEGV (11)"),
        (
            json!({ "argv": ["no-such-program-9"] }),
            FailureClass::Permanent,
            "`no-such-program-9` was not found in PATH `/",
        ),
        (json!({ "argv": ["./missing.sh"] }), FailureClass::Permanent, "missing.sh` does not exist"),
        (json!({ "argv": ["./plain"] }), FailureClass::Permanent, "permission denied"),
        (json!({ "argv": ["./odd"] }), FailureClass::Permanent, "interpreter"),
        (
            json!({ "argv": ["true"], "cwd": "/no/such/folder" }),
            FailureClass::Permanent,
            "cwd `/no/such/folder`",
        ),
        (json!({ "argv": ["echo", long] }), FailureClass::Permanent, "script_file"),
        (json!({ "argv": ["echo", "a\u{0}b"] }), FailureClass::Permanent, "NUL"),
        (json!({ "argv": [] }), FailureClass::Permanent, "argv"),
        (json!({}), FailureClass::Permanent, "exactly one of"),
        (
            json!({ "argv": ["printf", "\\377"], "outputs": { "x": "text" } }),
            FailureClass::Permanent,
            "not UTF-8",
        ),
        (
            json!({ "argv": ["head", "-c", "70000", "/dev/zero"], "outputs": { "x": "text" } }),
            FailureClass::Permanent,
            "longer than 65536",
        ),
        (
            json!({ "argv": ["echo", "{}"], "outputs": { "x": "/a" } }),
            FailureClass::Permanent,
            "nothing at `/a`",
        ),
        (json!({ "name": "teleport" }), FailureClass::Permanent, "no action `teleport`"),
    ] {
        let (found, message, _) = failed(world.actions.act(world.call("a", 1, operation.clone())).await);
        assert!(found == class && message.contains(words), "{operation}: {found:?} {message}");
    }
}

#[tokio::test]
async fn escapes_and_invalid_text_are_harmless_in_the_trace_and_whole_in_the_log() {
    let world = World::new();
    let call = world.call("a", 1, json!({ "argv": ["printf", "\\033[31mred\\377\\n"] }));
    let (_, trace) = acted(world.actions.act(call).await);
    assert_eq!(trace.tail, "\\u{1b}[31mred\u{fffd}");
    assert_eq!(world.log(&trace), b"\x1b[31mred\xff\n");
}

#[tokio::test]
async fn a_child_left_behind_is_named_and_left_alone() {
    let world = World::new();
    // Which has its name when it has been executed.
    let script = "sleep 987 & echo $!; until grep -q sleep /proc/$!/comm; do :; done";
    let call = world.call("a", 1, json!({ "script": script, "outputs": { "pid": "text" } }));
    let started = Instant::now();
    let (outputs, trace) = acted(world.actions.act(call.clone()).await);
    assert!(started.elapsed() < Duration::from_secs(5));
    let pid: u32 = outputs["pid"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        trace.left_running.iter().map(|left| (left.pid, &*left.name)).collect::<Vec<_>>(),
        [(pid, "sleep")]
    );
    assert!(std::path::Path::new(&format!("/proc/{pid}/stat")).exists());
    // Its slot stays busy; the action itself is over.
    assert_eq!(world.actions.settle(call).await, Settlement::Over);
    acted(world.actions.act(world.call("b", 1, json!({ "argv": ["true"] }))).await);
    assert_eq!(fs::read_dir(world.state().join("slots")).unwrap().count(), 2);
    kill("KILL", pid);
    until("the slot is free", || {
        !std::path::Path::new(&format!("/proc/{pid}/stat")).exists() || {
            fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
        }
    });
    acted(world.actions.act(world.call("c", 1, json!({ "argv": ["true"] }))).await);
    assert_eq!(fs::read_dir(world.state().join("slots")).unwrap().count(), 2);
}

/// A child that is being started has every descriptor of this process until the kernel closes those that are not for it, which is
/// after its starter goes on: another attempt that ends at that moment sees it hold its slot.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_leave_nothing_running() {
    let world = std::sync::Arc::new(World::new());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..400 {
        let world = std::sync::Arc::clone(&world);
        tasks.spawn(async move {
            let call = world.call(&format!("s{n}"), 1, json!({ "argv": ["true"] }));
            acted(world.actions.act(call).await).1.left_running
        });
    }
    while let Some(left) = tasks.join_next().await {
        assert_eq!(left.unwrap(), []);
    }
}

/// In a process of its own: the kernel's high-water mark of resident memory, which is read before and after, is everybody's.
#[test]
fn a_flood_is_counted_in_constant_memory() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "a_flood", "--nocapture"]);
    assert!(spawn_alone(|| command.spawn()).unwrap().wait().unwrap().success());
}

#[tokio::test]
#[ignore = "run by another test in a process of its own"]
async fn a_flood() {
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut world = World::new();
    world.secrets = vec!["hunter2-secret".to_owned()];
    let before = peak();
    let started = Instant::now();
    let gigabyte = 1024 * 1024 * 1024u64;
    let call = world.call("a", 1, json!({ "argv": ["head", "-c", gigabyte.to_string(), "/dev/zero"] }));
    let (_, trace) = acted(world.actions.act(call).await);
    assert_eq!(trace.bytes, gigabyte);
    let log = world.state().join(trace.log.unwrap());
    assert_eq!(fs::metadata(&log).unwrap().len(), gigabyte);
    eprintln!("1 GiB in {:?}, {} KiB more", started.elapsed(), peak() - before);
    assert!(peak() - before < 16 * 1024, "{} KiB", peak() - before);
}

#[tokio::test]
async fn a_process_that_ignores_sigterm_ends_at_its_timeout() {
    let world = World::new();
    let mut call = world.call(
        "a",
        1,
        json!({
            "script": "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done",
        }),
    );
    call.timeout = Duration::from_secs(3);
    let key = call.clone();
    let (cause, message, _) = cut(world.actions.act(call).await);
    assert_eq!(cause, CutCause::Timeout);
    assert!(message.contains("3s"), "{message}");
    assert_eq!(world.actions.settle(key).await, Settlement::Over);
    let pid: u32 = fs::read_to_string(world.path("pid")).unwrap().trim().parse().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_stop_ends_what_may_be_ended_and_waits_for_the_rest() {
    let world = World::new();
    let (sender, stop) = Stop::channel();
    let mut stopped = world.call("a", 1, json!({ "script": "echo > started; exec sleep 1000" }));
    stopped.stop = stop.clone();
    let mut finished =
        world.call("b", 1, json!({ "script": "until [ -e go ]; do sleep 0.01; done", "on_stop": "finish" }));
    finished.stop = stop;
    let (first, second) =
        (tokio::spawn(world.actions.act(stopped)), tokio::spawn(world.actions.act(finished)));
    while !world.folder.path().join("started").exists() {
        tokio::task::yield_now().await;
    }
    sender.fire();
    let (cause, ..) = cut(first.await.unwrap());
    assert_eq!(cause, CutCause::Stopped);
    assert!(!second.is_finished());
    fs::write(world.path("go"), "").unwrap();
    acted(second.await.unwrap());
}

#[tokio::test]
async fn secrets_are_in_no_log_no_message_and_no_command_line() {
    let mut world = World::new();
    let secret = "hunter2-very-secret";
    world.secrets = vec![secret.to_owned()];
    let call = world.call("a", 1, json!({
        "script": "cat; printf %s \"$S\" | cut -c1-9 | tr -d '\\n'; sleep 0.05; printf %s \"$S\" | cut -c10-; \
                   echo ready > ready; until [ -e go ]; do sleep 0.01; done; echo \"$S\" >&2; exit 3",
        "env": { "S": secret }, "stdin": secret,
    }));
    let running = tokio::spawn(world.actions.act(call));
    while !world.folder.path().join("ready").exists() {
        tokio::task::yield_now().await;
    }
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains(secret), "{entry:?}");
    }
    fs::write(world.path("go"), "").unwrap();
    let (_, message, trace) = failed(running.await.unwrap());
    assert_eq!(message, "exit status 3: ***");
    assert!(!trace.tail.contains("hunter2"), "{}", trace.tail);
    let log = String::from_utf8(world.log(&trace)).unwrap();
    assert!(log.contains("***") && !log.contains("secret"), "{log}");
    for slot in fs::read_dir(world.state().join("slots")).unwrap().flatten() {
        assert!(!fs::read_to_string(slot.path()).unwrap().contains("hunter2"));
    }
}

/// A large stdin does not deadlock with a process that writes while it reads, nor with one that reads nothing.
#[tokio::test]
async fn a_large_stdin_flows() {
    let world = World::new();
    let text = "0123456789abcdef".repeat(64 * 1024);
    let call = world.call("a", 1, json!({ "argv": ["cat"], "stdin": text }));
    assert_eq!(acted(world.actions.act(call).await).1.bytes, text.len() as u64);
    acted(world.actions.act(world.call("a", 2, json!({ "argv": ["true"], "stdin": text }))).await);
}

#[tokio::test]
async fn checks_answer_by_their_exit_status() {
    let world = World::new();
    for (operation, verdict) in [
        (json!({ "argv": ["true"] }), Verdict::Holds),
        (json!({ "argv": ["false"] }), Verdict::Absent),
        (json!({ "script": "exit 10" }), Verdict::Partial),
        (json!({ "script": "exit 2" }), Verdict::Unknown),
        (json!({ "script": "exit 2", "absent_on": [2] }), Verdict::Absent),
        (json!({ "script": "kill -9 $$" }), Verdict::Unknown),
        (json!({ "argv": ["no-such-program-9"] }), Verdict::Unknown),
        (json!({ "script": "exit 127" }), Verdict::Unknown),
        (json!({ "argv": ["echo", "no"], "outputs": { "x": "/a" } }), Verdict::Unknown),
        (json!({ "name": "crystal-ball" }), Verdict::Unknown),
    ] {
        let answer = world.checks.look(world.look(operation.clone())).await;
        assert_eq!(answer.verdict, verdict, "{operation}: {answer:?}");
        assert!(!answer.reason.is_empty() && !answer.reason.contains('\n'));
    }
    let answer =
        world.checks.look(world.look(json!({ "argv": ["echo", "v1"], "outputs": { "v": "text" } }))).await;
    assert_eq!((answer.outputs["v"].as_str(), answer.facts["stdout"].as_str()), (Some("v1"), Some("v1")));
    assert_eq!(answer.facts["exit"], 0);
    assert!(!world.state().join("logs").exists());
}

#[tokio::test]
async fn a_look_that_takes_too_long_or_is_dropped_is_ended_whole() {
    let world = World::new();
    let gone = |name: &str| {
        let pid: u32 = fs::read_to_string(world.path(name)).unwrap().trim().parse().unwrap();
        until("the process is gone", || {
            fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
        });
    };
    let mut look = world.look(json!({ "script": "sleep 986 & echo $! > late; wait" }));
    look.timeout = Duration::from_millis(300);
    assert_eq!(world.checks.look(look).await.verdict, Verdict::Unknown);
    gone("late");
    let look = world.checks.look(world.look(json!({ "script": "sleep 986 & echo $! > dropped; wait" })));
    let written = async {
        while fs::read_to_string(world.path("dropped")).map_or(true, |text| text.trim().is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = look => panic!("it ended"),
        () = written => {}
    }
    gone("dropped");
}

/// The child of [`settle_after_a_kill`]: acts until it is killed.
#[tokio::test]
#[ignore = "run by another test in a process of its own"]
async fn act_until_killed() {
    let (Some(folder), Some(script)) = (std::env::var_os("WORLD_FOLDER"), std::env::var_os("WORLD_SCRIPT"))
    else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    let transport = support::world::open(folder.clone(), 1);
    let world = World::new();
    let mut call = world.call("a", 1, json!({ "script": script.to_str().unwrap() }));
    call.folder = folder;
    runner::action::Actions::new(transport).act(call).await;
}

/// Runs a script as an attempt in another process, kills that with SIGKILL once the script has written `pid`, and
/// settles from here.
async fn settle_after_a_kill(script: &str, timeout: Duration) -> (Settlement, World, u32) {
    let world = World::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--ignored", "--exact", "act_until_killed"])
        .env("WORLD_FOLDER", world.folder.path())
        .env("WORLD_SCRIPT", script)
        .stdout(Stdio::null());
    let mut child = spawn_alone(|| command.spawn()).unwrap();
    until("the script runs", || fs::read_to_string(world.path("pid")).is_ok_and(|text| text.ends_with('\n')));
    child.kill().unwrap();
    child.wait().unwrap();
    let pid = fs::read_to_string(world.path("pid")).unwrap().trim().parse().unwrap();
    let mut call = world.call("a", 1, json!({ "script": script }));
    call.timeout = timeout;
    let settlement = world.actions.settle(call).await;
    (settlement, world, pid)
}

#[tokio::test]
async fn a_killed_runner_leaves_a_process_that_is_waited_for() {
    let script = "echo $$ > pid; sleep 1; echo > done";
    let (settlement, world, _) = settle_after_a_kill(script, Duration::from_secs(60)).await;
    assert_eq!(settlement, Settlement::Over);
    assert!(world.folder.path().join("done").exists());
}

#[tokio::test]
async fn a_killed_runner_leaves_a_process_that_is_ended() {
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done";
    let (settlement, _, pid) = settle_after_a_kill(script, Duration::from_millis(100)).await;
    assert_eq!(settlement, Settlement::Over);
    assert!(fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z ")));
}

#[tokio::test]
async fn a_killed_runner_and_a_descendant_that_stayed() {
    let script = "sleep 985 & echo $! > pid";
    let (settlement, _, pid) = settle_after_a_kill(script, Duration::from_secs(60)).await;
    assert_eq!(settlement, Settlement::Over);
    assert!(std::path::Path::new(&format!("/proc/{pid}/stat")).exists());
    kill("KILL", pid);
}

#[tokio::test]
async fn an_attempt_without_a_slot_never_ran() {
    let world = World::new();
    assert_eq!(world.actions.settle(world.call("a", 1, json!({ "argv": ["true"] }))).await, Settlement::Over);
}

/// A slot without a pid, as a kill between the start and the record leaves it; and one from before the last boot.
#[tokio::test]
async fn the_holder_of_a_slot_is_found_without_its_pid() {
    let world = World::new();
    let call = world.call("a", 1, json!({ "script": "echo > started; exec sleep 984" }));
    let mut settle = call.clone();
    settle.timeout = Duration::from_millis(100);
    let running = tokio::spawn(world.actions.act(call));
    while !world.folder.path().join("started").exists() {
        tokio::task::yield_now().await;
    }
    let slot = world.state().join("slots/000");
    let record = fs::read_to_string(&slot).unwrap();
    let without = format!("{}}}", record.split(",\"process\"").next().unwrap());
    fs::write(&slot, without.replace("\"boot\":\"", "\"boot\":\"other-")).unwrap();
    assert_eq!(world.actions.settle(settle.clone()).await, Settlement::Over);
    assert!(!running.is_finished());
    fs::write(&slot, &without).unwrap();
    assert_eq!(world.actions.settle(settle).await, Settlement::Over);
    assert_eq!(failed(running.await.unwrap()).2.signal, Some(15));
}

/// The cost of a step beside a bare spawn and wait, in one run. Prints; fails only when it is far off.
#[tokio::test]
async fn a_step_costs_little_more_than_a_bare_process() {
    let world = World::new();
    let count = 300;
    let call = world.call("a", 1, json!({ "argv": ["true"] }));
    let (mut bare, mut ours) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..3 {
        let started = Instant::now();
        for _ in 0..count {
            assert!(spawn_alone(|| Command::new("true").spawn()).unwrap().wait().unwrap().success());
        }
        bare += started.elapsed();
        let started = Instant::now();
        for _ in 0..count {
            acted(world.actions.act(call.clone()).await);
        }
        ours += started.elapsed();
    }
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    eprintln!("bare {:?}, ours {:?}, ratio {ratio:.2}", bare / (3 * count), ours / (3 * count));
    assert!(ratio < 5.0, "{ratio}");
}
