//! Goal: what every action of the catalog promises. Method: one suite, [`engine`], over a table of lines; a line names an
//! action, what it shall do and how its world is before, and that is all it takes to join. The worlds are the lab's systems
//! and real ones: a node behind a real sshd, mosquitto and the lab's broker, Home Assistant, Kubernetes, a web server.
//!
//! The probe changes nothing; run twice equals once; compensating with nothing done is fine; failed or cut at each request
//! or command that it sends to its world, then compensated, the pre-image is back; cut there and resumed, the goal holds; and
//! a compensation that is cut at each of its own is run again, and the pre-image is back. A cut is a lost connection, a
//! killed process of ours, or a host that goes down; it falls before what is sent arrives, or before its answer comes back. A
//! failure is an error for an answer, with or without the work done. The
//! everyday run cuts around what changes something, `RUNNER_FULL=1` at everything and in every way.
//!
//! What an attempt leaves that fails halfway in one process, file by file, is in `world_contract.rs`.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stdout, reason = "a test of several files")]

mod broker;
mod cluster;
mod engine;
mod gate;
mod home;
mod node;
mod web;
mod wire;

#[path = "../homeassistant_support/mod.rs"]
mod homeassistant_support;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use runner::plan::catalog::{Kind, entries};

/// Actions that are in no line: why, and the test that sees to what they promise all the same.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("baseline", "it only looks", "systems/baseline.rs::home_assistant_before_the_first_change"),
    (
        "command",
        "it is a process of our own machine: whoever cuts it off kills a real runner",
        "world_local.rs::a_killed_runner_leaves_a_process_that_is_waited_for",
    ),
    (
        "homeassistant.restart",
        "nothing tells afterwards whether it was done, and nothing is to be undone",
        "systems/homeassistant_flow.rs::a_restart_is_one_that_was_seen",
    ),
    (
        "kubernetes.exec",
        "what a command in a pod does is told by the plan alone",
        "kubernetes/actions.rs::commands_say_how_they_ended",
    ),
    (
        "kubernetes.restart",
        "nothing tells afterwards whether it was done, and nothing is to be undone",
        "kubernetes/actions.rs::a_restart_makes_new_pods",
    ),
];

#[test]
fn every_action_of_the_catalog_has_its_line() {
    let mut lined: BTreeSet<&str> = BTreeSet::new();
    lined.extend(node::lines().iter().map(|line| line.action));
    lined.extend(broker::lines().iter().map(|line| line.action));
    lined.extend(cluster::lines().iter().map(|line| line.action));
    lined.extend(home::lines().iter().map(|line| line.action));
    lined.extend(web::lines().iter().map(|line| line.action));
    for entry in entries(Kind::Action) {
        let exception = EXCEPTIONS.iter().find(|(name, ..)| *name == entry.name);
        match (lined.contains(entry.name), exception) {
            (true, None) => {}
            (false, Some((name, _, test))) => {
                assert!(!entry.own_inverse, "`{name}` has a way back of its own: it needs a line");
                assert!(support::names::is_a_test(test), "there is no test {test}");
            }
            (false, None) => panic!("the action `{}` is in no line of the contract", entry.name),
            (true, Some(_)) => panic!("the action `{}` is in a line and excepted", entry.name),
        }
    }
    let known = |name: &&str| entries(Kind::Action).any(|entry| entry.name == *name);
    assert!(lined.iter().chain(EXCEPTIONS.iter().map(|(name, ..)| name)).all(known), "{lined:?}");
}
