//! Goal: P1 to P5 hold for a runner that is killed at any instant. Method: a plan of twenty steps drawn by lot is
//! applied and killed with SIGKILL again and again until it is complete, then rolled back likewise; its steps count
//! their own effects. The runner's process group is killed and the steps are not, so that what was left running has
//! to be settled. `RUNNER_FULL=1` kills ten times as often; `RUNNER_SEED` repeats a failure.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::time::Duration;

use support::lab::{Dice, Lab, full, json_lines};
use support::sshd::{Sshd, until};
use support::twenty::Twenty;

/// Kills in one direction of one plan, so that many plans are seen and each of them comes to its end.
const KILLS_OF_ONE: u32 = 12;

/// Runs a command until it ends by itself, killing it at random instants; tells how often it was killed.
fn disturbed(lab: &Lab, dice: &mut Dice, words: &str, most_ms: u64, most_kills: u32) -> u32 {
    let mut kills = 0;
    let mut acknowledged = Vec::new();
    loop {
        let mut going = lab.start(words);
        let wait_ms = if kills < most_kills { dice.below(most_ms) } else { 60_000 };
        if going.ends_within(Duration::from_millis(wait_ms)) {
            going.end().expect(0);
            break;
        }
        assert!(kills < most_kills, "it does not come to its end");
        acknowledged.extend(json_lines(&going.kill().out));
        kills += 1;
    }
    // P2: what was said is in the journal, word for word.
    let events = lab.events("p");
    for line in acknowledged.iter().filter(|line| line["type"] == "event") {
        assert!(events.contains(line), "acknowledged and lost: {line}");
    }
    kills
}

/// One plan there and back; tells how often it was killed on each way.
fn there_and_back(dice: &mut Dice, hosts: &str, most_ms: u64, most_kills: u32) -> (u32, u32) {
    let plan = Twenty::new(dice, !hosts.is_empty());
    let calm = Lab::new();
    plan.write(&calm, "p", hosts);
    calm.expect(0, "-q apply p/p.toml");
    plan.check_forward(&calm.seen("log"), &calm.events("p"));

    let lab = Lab::new();
    plan.write(&lab, "p", hosts);
    let before = lab.tree("files");
    let there = disturbed(&lab, dice, "--json apply p/p.toml", most_ms, most_kills);
    assert_eq!(lab.tree("files"), calm.tree("files"));
    let log = lab.seen("log");
    plan.check_forward(&log, &lab.events("p"));

    // P4: what it needs is in the journal.
    std::fs::remove_file(lab.path("p/p.toml")).unwrap();
    let back = disturbed(&lab, dice, "--json rollback p", most_ms, most_kills);
    assert_eq!(lab.tree("files"), before);
    plan.check_back(&lab.seen("log")[log.len()..], &lab.events("p"));
    (there, back)
}

fn kill_until(what: &str, kills: u32, hosts: &str, most_ms: u64) {
    let mut dice = Dice::new(what);
    let (mut there, mut back, mut plans) = (0, 0, 0);
    while there < kills || back < kills {
        let left = kills.saturating_sub(there).max(kills.saturating_sub(back));
        let (one, other) = there_and_back(&mut dice, hosts, most_ms, KILLS_OF_ONE.min(left));
        (there, back, plans) = (there + one, back + other, plans + 1);
    }
    println!("{what}: {plans} plans, killed {there} times on the way there and {back} times on the way back");
}

#[test]
fn killed_here_at_any_instant() {
    kill_until("killed here", if full() { 200 } else { 20 }, "", 150);
}

#[test]
fn killed_over_ssh_at_any_instant() {
    let Some(sshd) = Sshd::start() else { return };
    let hosts = format!("\n{}", sshd.host_table());
    kill_until("killed over ssh", if full() { 50 } else { 5 }, &hosts, 600);
    // Masters that a killed runner left behind were ended by the next one, and the last one ended its own.
    until("no connection is left", || sshd.connections() == 0);
}
