//! Commands in the guest of a virtual machine: the lab's `qm` behind a real sshd, the guest's commands real processes.
//! Every row of the facts about `qm guest exec` has its line here.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use runner::lab::proxmox::{Agent, Node};
use runner::saga::{CutCause, FailureClass, Outcome, Settlement, Verdict};
use runner::transport::Stop;
use serde_json::{Value, json};
use support::proxmox::{Pve, installed, tool};
use support::sshd::until;
use support::world::{World, acted, cut, failed};

fn house() -> Node {
    Node::default().with_machine(116, "haos")
}

macro_rules! node {
    () => {
        match Pve::start(house()) {
            Some(pve) => {
                let world = World::new().with_host(&pve.sshd);
                (pve, world)
            }
            None => return,
        }
    };
}

fn exec(mut rest: Value) -> Value {
    rest["name"] = json!("vm.exec");
    rest["host"] = json!("box");
    rest["vmid"] = json!(116);
    rest
}

fn said(output: &std::process::Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The lab's `qm` says what the facts' section 3 lists, row by row.
#[test]
fn qm_speaks_as_the_real_one() {
    let (_folder, place) = installed(house());
    let qm = |words: &[&str]| said(&tool(&place, &[&["qm"], words].concat()));
    assert_eq!(qm(&["status", "116"]), (0, "status: running\n".to_owned(), String::new()));
    let (code, out, err) = qm(&["status", "105"]);
    assert_ne!(code, 0);
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("", "Configuration file 'nodes/still-fawn/qemu-server/105.conf' does not exist\n")
    );
    // The status of the tool says nothing of the command.
    let (code, out, _) = qm(&["guest", "exec", "116", "--", "sh", "-c", "echo hi; echo no >&2; exit 4"]);
    let expected = "{\n   \"err-data\" : \"no\\n\",\n   \"exitcode\" : 4,\n   \"exited\" : 1,\n   \"out-data\" : \"hi\\n\"\n}\n";
    assert_eq!((code, out.as_str()), (0, expected));
    assert_eq!(qm(&["guest", "exec", "116", "true"]).1, "{\n   \"exitcode\" : 0,\n   \"exited\" : 1\n}\n");
    assert_eq!(
        qm(&["guest", "exec", "116", "--", "sh", "-c", "kill -9 $$"]).1,
        "{\n   \"exited\" : 1,\n   \"signal\" : 9\n}\n"
    );
    // No shell, and what is not ASCII comes encoded twice.
    assert!(qm(&["guest", "exec", "116", "--", "echo", "*", "$HOME", "a|b"]).1.contains("* $HOME a|b"));
    assert!(qm(&["guest", "exec", "116", "--", "echo", "✨"]).1.contains("\u{e2}\u{9c}\u{a8}"));
    // Late: the pid, on stdout, and 0.
    let file = place.guest(116).join("root/go");
    let wait =
        ["guest", "exec", "116", "--timeout", "1", "--", "sh", "-c", "until [ -e go ]; do sleep 0.02; done"];
    let (code, out, err) = qm(&wait);
    assert_eq!((code, err.as_str()), (0, "timeout reached, returning pid\n"));
    let answer: Value = serde_json::from_str(&out).unwrap();
    let pid = answer["pid"].to_string();
    assert_eq!(answer.as_object().unwrap().len(), 1);
    let status = ["guest", "exec-status", "116", &pid];
    assert_eq!(qm(&status).1, "{\n   \"exited\" : 0\n}\n");
    fs::write(file, "").unwrap();
    until("it has ended", || qm(&status).1.contains("\"exited\" : 1"));
    // Read once, and forgotten.
    let (code, _, err) = qm(&status);
    assert!(code != 0 && err.contains("does not exist"), "{err}");
    for (words, text) in [
        (&["guest", "exec", "116", "no-such-9"][..], "Agent error: "),
        (&["guest", "exec", "116", "--synchronous", "0", "--timeout", "3", "true"], "only allowed with"),
        (
            &["guest", "exec", "117", "true"],
            "Configuration file 'nodes/still-fawn/qemu-server/117.conf' does not exist",
        ),
    ] {
        let (code, out, err) = qm(words);
        assert!(code != 0 && out.is_empty() && err.contains(text), "{words:?}: {err}");
    }
    assert_eq!(qm(&["agent", "116", "ping"]), (0, String::new(), String::new()));
    for (agent, running, text) in [
        (Agent::Stopped, true, "QEMU guest agent is not running"),
        (Agent::Absent, true, "No QEMU guest agent configured"),
        (Agent::Running, false, "VM 116 is not running"),
    ] {
        place
            .change(|node| {
                let machine = node.machines.get_mut(&116).unwrap();
                (machine.agent, machine.running) = (agent, running);
            })
            .unwrap();
        for words in [&["guest", "cmd", "116", "ping"][..], &["guest", "exec", "116", "true"]] {
            let (code, out, err) = qm(words);
            assert!(code != 0 && out.is_empty(), "{out}");
            assert_eq!(err.trim_end(), text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guest_s_exit_status_counts_and_both_outputs_are_seen() {
    let (_pve, world) = node!();
    let operation = json!({ "argv": ["sh", "-c", "cat; printf ✨; echo why >&2"], "stdin": "in ", "outputs": { "all": "text" } });
    let (outputs, trace) = acted(world.actions.act(world.call("a", 1, exec(operation))).await);
    assert_eq!((&outputs["all"], trace.exit), (&json!("in ✨"), Some(0)));
    assert!(trace.tail.contains("why") && !trace.tail.contains("exitcode"), "{}", trace.tail);
    // `qm` itself ended with 0.
    let operation = json!({ "argv": ["sh", "-c", "echo 'sed: disk full' >&2; exit 4"] });
    let (class, message, trace) = failed(world.actions.act(world.call("b", 1, exec(operation))).await);
    assert_eq!((class, trace.exit), (FailureClass::Transient, Some(4)));
    assert_eq!(message, "exit status 4 in the guest: sed: disk full");
    let operation = json!({ "argv": ["sh", "-c", "kill -9 $$"] });
    let (_, message, trace) = failed(world.actions.act(world.call("c", 1, exec(operation))).await);
    assert_eq!(trace.signal, Some(9), "{message}");
    // No shell unless one is asked for.
    let operation = json!({ "argv": ["echo", "*", "$HOME", "&&", "x"], "outputs": { "o": "text" } });
    let (outputs, _) = acted(world.actions.act(world.call("d", 1, exec(operation))).await);
    assert_eq!(outputs["o"], "* $HOME && x");
    let operation = json!({ "script": "echo a | tr a b", "outputs": { "o": "text" } });
    let (outputs, _) = acted(world.actions.act(world.call("e", 1, exec(operation))).await);
    assert_eq!(outputs["o"], "b");
}

/// It outlives the 30 seconds of `qm`, the step's time, and the connection: its end is found each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_runs_is_cut_off_and_settled_by_its_end() {
    let (pve, world) = node!();
    pve.change(|node| node.exec_timeout_ms = 50);
    let root = pve.place.guest(116).join("root");
    let wait = |name: &str, code: i32| {
        exec(
            json!({ "argv": ["sh", "-c", format!("until [ -e {name} ]; do sleep 0.02; done; echo ended; exit {code}")] }),
        )
    };
    // Longer than the tool waits by itself, shorter than the step.
    let call = world.call("long", 1, wait("long", 0));
    let acting = tokio::spawn(world.actions.act(call));
    until("it runs", || {
        root.is_dir()
            && pve.place.guest(116).join("exec").read_dir().is_ok_and(|mut all| all.next().is_some())
    });
    fs::write(root.join("long"), "").unwrap();
    assert_eq!(acted(acting.await.unwrap()).1.exit, Some(0));
    // Longer than the step: nobody knows, and it is no failure.
    let mut call = world.call("late", 1, wait("late", 3));
    call.timeout = Duration::from_secs(4);
    let (cause, message, _) = cut(world.actions.act(call.clone()).await);
    assert_eq!(cause, CutCause::Timeout);
    assert!(
        message.contains("still runs in virtual machine 116") && message.contains("exec-status"),
        "{message}"
    );
    let Settlement::Unproved { reason } = world.actions.settle(call.clone()).await else { panic!("it runs") };
    assert!(reason.contains("still runs"), "{reason}");
    fs::write(root.join("late"), "").unwrap();
    call.timeout = Duration::from_secs(30);
    let Settlement::Ended(Outcome::Failed { message, trace, .. }) = world.actions.settle(call.clone()).await
    else {
        panic!("it has ended")
    };
    assert_eq!((message.as_str(), trace.exit), ("exit status 3 in the guest: ended", Some(3)));
    // The connection is lost in the middle.
    let call = world.call("cut", 1, wait("cut", 0));
    let acting = tokio::spawn(world.actions.act(call.clone()));
    until("it runs", || {
        pve.place.guest(116).join("exec").read_dir().is_ok_and(|mut all| all.next().is_some())
    });
    pve.sshd.cut();
    let (cause, _, _) = cut(acting.await.unwrap());
    assert_eq!(cause, CutCause::Connection);
    fs::write(root.join("cut"), "").unwrap();
    let Settlement::Ended(Outcome::Acted { trace, .. }) = world.actions.settle(call).await else {
        panic!("it has ended well")
    };
    assert_eq!(trace.exit, Some(0));
    // Stopped by a person.
    let mut operation = wait("stop", 0);
    operation["on_stop"] = json!("stop");
    let mut call = world.call("stop", 1, operation);
    let (sender, stop) = Stop::channel();
    call.stop = stop;
    let acting = tokio::spawn(world.actions.act(call.clone()));
    until("it runs", || {
        pve.place.guest(116).join("exec").read_dir().is_ok_and(|mut all| all.next().is_some())
    });
    sender.fire();
    let (cause, message, _) = cut(acting.await.unwrap());
    assert_eq!(cause, CutCause::Stopped, "{message}");
    fs::write(root.join("stop"), "").unwrap();
    let settled = world.actions.settle(call).await;
    assert!(matches!(settled, Settlement::Ended(Outcome::Acted { .. })), "{settled:?}");
}

/// A `qm` that is slow: what it was asked for is done at once, and it says so when `goes` is done. What it is asked for is
/// written down.
fn slow_qm(pve: &Pve, goes: &str) -> std::path::PathBuf {
    let (bin, asked) = (pve.place.folder().join("bin"), pve.place.folder().join("asked"));
    fs::rename(bin.join("qm"), bin.join("qm.quick")).unwrap();
    let script = format!(
        "#!/bin/sh\nsaid=$({}/qm.quick \"$@\")\ncode=$?\necho \"$*\" >> {}\ncase $* in *'exec 116'*) {goes} ;; esac\n\
         printf '%s\\n' \"$said\"\nexit $code\n",
        bin.display(),
        asked.display()
    );
    fs::write(bin.join("qm"), script).unwrap();
    fs::set_permissions(bin.join("qm"), fs::Permissions::from_mode(0o755)).unwrap();
    asked
}

/// An attempt that a person stops while the agent begins its command.
async fn stopped_while_it_is_asked(
    pve: &Pve,
    world: &World,
    asked: &std::path::Path,
) -> runner::action::Call {
    let waits = "until [ -e go ]; do sleep 0.02; done";
    let mut call = world.call("a", 1, exec(json!({ "argv": ["sh", "-c", waits], "on_stop": "stop" })));
    let (sender, stop) = Stop::channel();
    call.stop = stop;
    let acting = tokio::spawn(world.actions.act(call.clone()));
    until("it is asked", || asked.exists());
    sender.fire();
    let (cause, message, _) = cut(acting.await.unwrap());
    assert_eq!(cause, CutCause::Stopped, "{message}");
    fs::write(pve.place.guest(116).join("root/go"), "").unwrap();
    call.stop = Stop::never();
    call
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_the_agent_is_asked_waits_for_the_pid() {
    let (pve, world) = node!();
    let asked = slow_qm(&pve, "sleep 1");
    let call = stopped_while_it_is_asked(&pve, &world, &asked).await;
    let settled = world.actions.settle(call).await;
    assert!(matches!(settled, Settlement::Ended(Outcome::Acted { .. })), "{settled:?}");
}

/// One that is killed before it is told the pid has begun something that nobody can find: that is no proof of anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_without_a_pid_is_never_proved_over() {
    let (pve, world) = node!();
    let asked = slow_qm(&pve, "sleep 30");
    let call = stopped_while_it_is_asked(&pve, &world, &asked).await;
    let Settlement::Unproved { reason } = world.actions.settle(call).await else { panic!("proved") };
    assert!(reason.contains("may run in virtual machine 116") && reason.contains(" ps"), "{reason}");
    // Nor is one of which the agent did not say whether it began it.
    fs::rename(pve.place.folder().join("bin/qm.quick"), pve.place.folder().join("bin/qm")).unwrap();
    pve.change(|node| node.machines.get_mut(&116).unwrap().agent_busy = true);
    let call = world.call("b", 1, exec(json!({ "argv": ["true"] })));
    let (cause, message, _) = cut(world.actions.act(call.clone()).await);
    assert!(cause == CutCause::Connection && message.contains("may have been started"), "{message}");
    let settled = world.actions.settle(call).await;
    assert!(matches!(settled, Settlement::Unproved { .. }), "{settled:?}");
}

/// Whoever waited for it on the node is killed once the pid is known: it is found by that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_s_script_that_is_killed_leaves_the_pid() {
    let (pve, world) = node!();
    let asked = slow_qm(&pve, ":");
    let waits = "until [ -e go ]; do sleep 0.02; done; exit 3";
    let call = world.call("a", 1, exec(json!({ "argv": ["sh", "-c", waits] })));
    let acting = tokio::spawn(world.actions.act(call.clone()));
    let at = pve.sshd.home().join(".cache/runner/test/attempts/r-1.a.forward.1");
    let read = |name: &str| fs::read_to_string(at.join(name)).unwrap();
    // It is asked for the end of what it has the pid of.
    until("the pid is told", || fs::read_to_string(&asked).is_ok_and(|asked| asked.contains("exec-status")));
    let number = |text: String, at: usize| text.split_whitespace().nth(at).unwrap().parse::<u32>().unwrap();
    // The wrapper first, so that nobody writes down how the script ended.
    for pid in [number(read("wrapper"), 1), number(read("pid"), 0)] {
        support::sshd::kill("KILL", pid);
    }
    assert_eq!(cut(acting.await.unwrap()).0, CutCause::Connection);
    fs::write(pve.place.guest(116).join("root/go"), "").unwrap();
    let settled = world.actions.settle(call).await;
    let Settlement::Ended(Outcome::Failed { message, .. }) = &settled else { panic!("{settled:?}") };
    assert!(message.contains("exit status 3 in the guest"), "{message}");
}

/// The connection is lost while the guest is asked for the end of what still runs there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_while_it_is_settled_proves_nothing() {
    let (pve, world) = node!();
    let asked = slow_qm(&pve, ":");
    let waits = "until [ -e go ]; do sleep 0.02; done";
    let mut call = world.call("a", 1, exec(json!({ "argv": ["sh", "-c", waits] })));
    call.timeout = Duration::from_secs(4);
    assert_eq!(cut(world.actions.act(call.clone()).await).0, CutCause::Timeout);
    fs::remove_file(&asked).unwrap();
    call.timeout = Duration::from_secs(60);
    let settling = tokio::spawn(world.actions.settle(call.clone()));
    until("the guest is asked", || asked.exists());
    pve.sshd.cut();
    let settled = settling.await.unwrap();
    assert!(matches!(settled, Settlement::Unproved { .. }), "{settled:?}");
    fs::write(pve.place.guest(116).join("root/go"), "").unwrap();
    let settled = world.actions.settle(call).await;
    assert!(matches!(settled, Settlement::Ended(Outcome::Acted { .. })), "{settled:?}");
}

/// Whoever asks for an end has it, and the agent forgets it: for us it is as if it had never been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_somebody_else_has_read_is_known_to_nobody() {
    let (pve, world) = node!();
    let call = world.call(
        "a",
        1,
        exec(json!({ "argv": ["sh", "-c", "until [ -e go ]; do sleep 0.02; done; echo > ended"] })),
    );
    let acting = tokio::spawn(world.actions.act(call.clone()));
    let kept = pve.place.guest(116).join("exec");
    // Its output is the last thing that is made for it; before, the agent itself would miss what is taken away here.
    let runs = |found: &fs::DirEntry| found.path().join("out").exists();
    until("it runs", || kept.read_dir().is_ok_and(|all| all.flatten().any(|found| runs(&found))));
    // What the agent does with an end that was read.
    let pid = kept.read_dir().unwrap().next().unwrap().unwrap().path();
    fs::rename(&pid, pve.place.guest(116).join("read")).unwrap();
    let (cause, message, _) = cut(acting.await.unwrap());
    assert_eq!(cause, CutCause::Connection, "{message}");
    assert!(message.contains("was read by somebody else: nobody knows it"), "{message}");
    // Nothing runs that would be waited for: only the step's probe can say what became of it.
    assert!(matches!(world.actions.settle(call).await, Settlement::Over));
    fs::write(pve.place.guest(116).join("root/go"), "").unwrap();
    until("it has ended", || pve.place.guest(116).join("root/ended").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_agent_cut_off_gives_no_output() {
    let (pve, world) = node!();
    pve.change(|node| node.machines.get_mut(&116).unwrap().output_max = 4);
    let echo = |word: &str| exec(json!({ "argv": ["printf", word], "outputs": { "o": "text" } }));
    let (outputs, _) = acted(world.actions.act(world.call("a", 1, echo("abcd"))).await);
    assert_eq!(outputs["o"], "abcd");
    let (class, message, trace) = failed(world.actions.act(world.call("b", 1, echo("abcdefgh"))).await);
    assert_eq!((class, trace.exit), (FailureClass::Permanent, Some(0)), "{message}");
    // What went wrong is cut off as well, and the status counts.
    let fails = exec(json!({ "argv": ["sh", "-c", "echo abcdefgh >&2; exit 4"] }));
    let (_, message, trace) = failed(world.actions.act(world.call("c", 1, fails)).await);
    assert_eq!((message.as_str(), trace.exit), ("exit status 4 in the guest: abcd", Some(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_refusal_of_the_agent_is_named() {
    let (pve, world) = node!();
    let mut attempt = 0;
    let mut run = async |operation: Value| {
        attempt += 1;
        world.actions.act(world.call("a", attempt, operation)).await
    };
    let (class, message, _) = failed(run(exec(json!({ "argv": ["no-such-9"] }))).await);
    assert!(class == FailureClass::Permanent && message.contains("no such program"), "{message}");
    let mut other = exec(json!({ "argv": ["true"] }));
    other["vmid"] = json!(105);
    let (class, message, _) = failed(run(other).await);
    assert!(class == FailureClass::Permanent && message.contains("this node has no such guest"), "{message}");
    // It may have been started: nobody knows.
    pve.change(|node| node.machines.get_mut(&116).unwrap().agent_busy = true);
    let (cause, message, _) = cut(run(exec(json!({ "argv": ["true"] }))).await);
    assert!(cause == CutCause::Connection && message.contains("may have been started"), "{message}");
    pve.change(|node| node.machines.get_mut(&116).unwrap().agent_busy = false);
    // A lock of a backup does not keep a command away.
    pve.change(|node| node.machines.get_mut(&116).unwrap().config.insert("lock".into(), "backup".into()));
    acted(run(exec(json!({ "argv": ["true"] }))).await);
    for (agent, running, class, words) in [
        (Agent::Stopped, true, FailureClass::Transient, "guest's agent does not answer"),
        (Agent::Absent, true, FailureClass::Permanent, "not set up for a guest agent"),
        (Agent::Running, false, FailureClass::Transient, "VM 116 is not running"),
    ] {
        pve.change(|node| {
            let machine = node.machines.get_mut(&116).unwrap();
            (machine.agent, machine.running) = (agent, running);
        });
        let (found, message, _) = failed(run(exec(json!({ "argv": ["true"] }))).await);
        assert!(found == class && message.contains(words), "{found:?} {message}");
        let look = json!({ "name": "vm", "host": "box", "vmid": 116, "agent": true });
        let answer = world.checks.look(world.look(look)).await;
        assert_eq!(answer.verdict, Verdict::Absent, "{answer:?}");
    }
    pve.change(|node| node.root = false);
    let (class, message, _) = failed(run(exec(json!({ "argv": ["true"] }))).await);
    assert!(class == FailureClass::Permanent && message.contains("`sudo = true`"), "{message}");
}

/// Facts 3: `--pass-stdin` takes 1 MiB, and says so when there is more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stdin_of_a_mebibyte_arrives_and_more_is_refused() {
    let (_pve, world) = node!();
    let most = 1 << 20;
    let count = |length: usize| {
        exec(json!({ "argv": ["wc", "-c"], "stdin": "x".repeat(length), "outputs": { "bytes": "text" } }))
    };
    let (outputs, _) = acted(world.actions.act(world.call("a", 1, count(most))).await);
    assert_eq!(outputs["bytes"], most.to_string());
    let (class, message, _) = failed(world.actions.act(world.call("a", 2, count(most + 1))).await);
    assert!(class == FailureClass::Permanent && message.contains("1 MiB"), "{class:?} {message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_sees_state_and_agent() {
    let (pve, world) = node!();
    pve.change(|node| drop(node.elsewhere.insert(105, "pumped-piglet".to_owned())));
    for (fields, verdict) in [
        (json!({}), Verdict::Holds),
        (json!({ "status": "running", "agent": true, "onboot": true }), Verdict::Holds),
        (json!({ "status": "stopped" }), Verdict::Absent),
        (json!({ "status": "stopped", "agent": true }), Verdict::Partial),
        (json!({ "exists": false }), Verdict::Absent),
        (json!({ "vmid": 999, "exists": false }), Verdict::Holds),
        (json!({ "vmid": 105, "exists": false }), Verdict::Absent),
        (json!({ "vmid": 105 }), Verdict::Absent),
        (json!({ "vmid": 1 }), Verdict::Unknown),
    ] {
        let mut look = json!({ "name": "vm", "host": "box", "vmid": 116 });
        look.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = world.checks.look(world.look(look)).await;
        assert_eq!(answer.verdict, verdict, "{fields} {answer:?}");
    }
}
