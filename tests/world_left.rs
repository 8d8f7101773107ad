//! Goal: what an action leaves running is named and left alone, and keeps its slot busy. Method: a shell that leaves a child, in a
//! process that starts nothing else meanwhile.

#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use runner::saga::Settlement;
use serde_json::json;
use support::sshd::{kill, until};
use support::world::{World, acted};

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
