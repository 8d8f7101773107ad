//! `qm`: virtual machines and the agent of their guests. Texts: facts about Proxmox, section 3.

use std::io::Read;

use serde_json::{Value, json};

use super::guest::{self, Start};
use super::node::{Agent, Machine, Node, now_ms};
use super::options::Options;
use super::pct::not_found;
use super::{Place, Said};
use crate::lab::StoreError;

/// The most that `--pass-stdin` takes, in bytes.
const STDIN_MAX: u64 = 1 << 20;

type Result<T = Said> = std::result::Result<T, StoreError>;

pub(super) fn run(place: &Place, words: &[String]) -> Result {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let owned = |from: usize| words[from..].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match words[..] {
        ["status", ..] => on(place, &owned(1), |machine| {
            let status = if machine.running { "running" } else { "stopped" };
            Said::ok(format!("status: {status}\n"))
        }),
        ["config", ..] => on(place, &owned(1), |machine| {
            let lines = machine.config.iter().map(|(key, value)| format!("{key}: {value}\n"));
            Said::ok(lines.collect::<String>())
        }),
        ["guest", "cmd", vmid, "ping"] | ["agent", vmid, "ping"] => {
            let vmid = vmid.parse().unwrap_or(0);
            place.look(|node| reachable(node, vmid).err().unwrap_or_default())
        }
        ["guest", "exec", ..] => exec(place, &owned(2)),
        ["guest", "exec-status", vmid, pid] => {
            let (vmid, pid) = (vmid.parse().unwrap_or(0), pid.parse().unwrap_or(0));
            match place.look(|node| reachable(node, vmid).map(|()| node.machines[&vmid].output_max))? {
                Err(said) => Ok(said),
                Ok(most) => Ok(match guest::status(place, vmid, pid, most) {
                    Some(status) => Said::ok(pretty(&status)),
                    None => Said::task(format!(
                        "Agent error: Guest agent command failed, error was 'PID {pid} does not exist'"
                    )),
                }),
            }
        }
        _ => Ok(Said::die(format!("ERROR: unknown command 'qm {}'", words.join(" ")))),
    }
}

fn on(place: &Place, words: &[String], work: impl FnOnce(&Machine) -> Said) -> Result {
    let vmid = match Options::read(words, &["verbose"]).and_then(|options| options.vmid(0)) {
        Ok(vmid) => vmid,
        Err(said) => return Ok(said),
    };
    place.look(|node| match node.machines.get(&vmid) {
        Some(machine) => work(machine),
        None => not_found(node, "qemu-server", vmid),
    })
}

/// Whether the agent can be asked something.
fn reachable(node: &Node, vmid: u32) -> std::result::Result<(), Said> {
    let machine = node.machines.get(&vmid).ok_or_else(|| not_found(node, "qemu-server", vmid))?;
    match (machine.agent, machine.running) {
        (Agent::Absent, _) => Err(Said::die("No QEMU guest agent configured")),
        (_, false) => Err(Said::die(format!("VM {vmid} is not running"))),
        (Agent::Stopped, true) => Err(Said::die("QEMU guest agent is not running")),
        (Agent::Running, true) => Ok(()),
    }
}

fn exec(place: &Place, words: &[String]) -> Result {
    let read = Options::read(words, &["timeout", "synchronous", "pass-stdin"]).and_then(|options| {
        let (vmid, timeout) = (options.vmid(0)?, options.number("timeout")?);
        Ok((options, vmid, timeout))
    });
    let (options, vmid, timeout) = match read {
        Ok(read) => read,
        Err(said) => return Ok(said),
    };
    let synchronous = options.get("synchronous").is_none_or(|value| value != "0");
    if !synchronous && timeout.is_some() {
        return Ok(Said::die("parameter 'timeout' is only allowed with 'synchronous'"));
    }
    let mut argv: Vec<String> = options.words[1..].to_vec();
    argv.extend(options.rest.clone());
    let mut stdin = Vec::new();
    if options.flag("pass-stdin") {
        drop(std::io::stdin().lock().take(STDIN_MAX + 1).read_to_end(&mut stdin));
        if stdin.len() as u64 > STDIN_MAX {
            return Ok(Said::die("'input-data' (STDIN) is limited to 1 MiB, aborting"));
        }
    }
    let begun = place.change(|node| {
        reachable(node, vmid)?;
        let default = node.exec_timeout_ms;
        let machine = node.machines.get_mut(&vmid).expect("it was reachable a line before");
        machine.next_pid += 1;
        let Machine { next_pid, home_assistant, agent_busy, output_max, .. } = machine;
        Ok((*next_pid, home_assistant.clone(), *agent_busy, *output_max, default))
    })?;
    let (pid, home_assistant, busy, output_max, default_ms) = match begun {
        Ok(begun) => begun,
        Err(said) => return Ok(said),
    };
    match guest::start(place, vmid, pid, &argv, &stdin, home_assistant.as_deref()) {
        Start::Runs if busy => {
            return Ok(Said::task(format!("VM {vmid} qga command 'guest-exec' failed - got timeout")));
        }
        Start::Runs => {}
        Start::Fails(why) => {
            return Ok(Said::task(format!("Agent error: Guest agent command failed, error was '{why}'")));
        }
    }
    let only_pid = pretty(&json!({ "pid": pid }));
    if !synchronous {
        return Ok(Said::ok(only_pid));
    }
    let wait_ms = timeout.map_or(default_ms, |seconds| seconds * 1000);
    let until = now_ms() + wait_ms;
    loop {
        match guest::status(place, vmid, pid, output_max) {
            Some(status) if status["exited"] == json!(1) => return Ok(Said::ok(pretty(&status))),
            _ if wait_ms > 0 && now_ms() >= until => {
                let err = "timeout reached, returning pid\n".to_owned();
                return Ok(Said { out: only_pid, err, code: 0 });
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
}

/// As Perl's JSON writes it: sorted, three spaces, ` : `.
fn pretty(value: &Value) -> String {
    let Value::Object(object) = value else { return format!("{value}\n") };
    let mut keys: Vec<&String> = object.keys().collect();
    keys.sort();
    let lines: Vec<String> = keys.into_iter().map(|key| format!("   \"{key}\" : {}", object[key])).collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}
