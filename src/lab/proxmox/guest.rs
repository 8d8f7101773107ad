//! The guest of a virtual machine: its commands are real processes of this machine, with a `PATH` of their own.
//!
//! A guest has a folder: `bin/` stands first on the `PATH`, `root/` is where commands begin and what `$GUEST_ROOT` names,
//! `exec/PID/` holds what became of a command until somebody has read it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::{FOLDER, Place, Said};
use crate::transport::spawn_alone;

/// Runs a command and writes down how it ended. Started apart, so that it outlives the tool that began it.
const KEEPER: &str = r#"d=$1; shift; cd "$GUEST_ROOT" || exit 1; (exec "$@" < "$d/in" > "$d/out" 2> "$d/err")
echo $? > "$d/status.new"; mv "$d/status.new" "$d/status""#;

/// The variable by which the guest's `ha` finds the lab's Home Assistant.
const HOME_ASSISTANT: &str = "GUEST_HOME_ASSISTANT";

/// How long an order to Home Assistant may take: the command line's own limit (facts, section 4.5).
const ORDER_MAX: Duration = Duration::from_secs(600);

/// How a start went.
pub(super) enum Start {
    Runs,
    Fails(String),
}

impl Place {
    /// The folder of a guest.
    pub fn guest(&self, vmid: u32) -> PathBuf {
        self.folder().join("guests").join(vmid.to_string())
    }
}

pub(super) fn start(
    place: &Place,
    vmid: u32,
    pid: u32,
    argv: &[String],
    stdin: &[u8],
    home_assistant: Option<&str>,
) -> Start {
    let guest = place.guest(vmid);
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", guest.join("bin").display());
    let Some(program) = argv.first() else { return Start::Fails("no command".to_owned()) };
    if !is_there(program, &path) {
        // The words of GLib.
        return Start::Fails(format!(
            "Failed to execute child process “{program}” (No such file or directory)"
        ));
    }
    let (root, kept) = (guest.join("root"), guest.join("exec").join(pid.to_string()));
    let prepared = fs::create_dir_all(&root)
        .and_then(|()| fs::create_dir_all(&kept))
        .and_then(|()| fs::write(kept.join("in"), stdin));
    if let Err(error) = prepared {
        return Start::Fails(error.to_string());
    }
    let mut command = Command::new("/bin/sh");
    command.args(["-c", KEEPER, "keeper"]).arg(&kept).args(argv).env_clear();
    command.env("PATH", path).env("HOME", &root).env("GUEST_ROOT", &root).env(FOLDER, place.folder());
    if let Some(address) = home_assistant {
        command.env(HOME_ASSISTANT, address);
    }
    let spawned = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match spawn_alone(|| spawned.spawn()) {
        Ok(_) => Start::Runs,
        Err(error) => Start::Fails(error.to_string()),
    }
}

fn is_there(program: &str, path: &str) -> bool {
    match program.contains('/') {
        true => Path::new(program).exists(),
        false => path.split(':').any(|folder| Path::new(folder).join(program).exists()),
    }
}

/// What became of a command, as the agent tells it. One that has ended is forgotten with it.
pub(super) fn status(place: &Place, vmid: u32, pid: u32, output_max: usize) -> Option<Value> {
    let kept = place.guest(vmid).join("exec").join(pid.to_string());
    if !kept.is_dir() {
        return None;
    }
    let Ok(status) = fs::read_to_string(kept.join("status")) else { return Some(json!({ "exited": 0 })) };
    let status: i32 = status.trim().parse().unwrap_or(255);
    let mut answer = json!({ "exited": 1 });
    match status - 128 {
        // As the shell that keeps it counts a death by signal.
        signal @ (6 | 9 | 11 | 15) => answer["signal"] = json!(signal),
        _ => answer["exitcode"] = json!(status),
    }
    for (name, key) in [("out", "out-data"), ("err", "err-data")] {
        let mut bytes = fs::read(kept.join(name)).unwrap_or_default();
        if bytes.len() > output_max {
            bytes.truncate(output_max);
            answer[format!("{name}-truncated")] = json!(1);
        }
        if !bytes.is_empty() {
            // Every byte becomes a character, which JSON then encodes again.
            answer[key] = json!(bytes.into_iter().map(char::from).collect::<String>());
        }
    }
    drop(fs::remove_dir_all(kept));
    Some(answer)
}

/// `ha core restart|stop|start|info|check`: an order to the lab's Home Assistant, `POST /lab/core/ORDER` over HTTP.
pub(super) fn ha(_place: &Place, words: &[String]) -> Said {
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let ["core", order] = words[..] else {
        return Said {
            code: 1,
            ..Said::die(format!("Error: unknown command \"{}\" for \"ha\"", words.join(" ")))
        };
    };
    let Some(address) = std::env::var_os(HOME_ASSISTANT) else {
        return Said { code: 1, ..Said::die("Error: the supervisor does not answer") };
    };
    match ask(&address.to_string_lossy(), order) {
        Ok((200, body)) if body.trim().is_empty() => Said::ok("Command completed successfully.\n"),
        Ok((200, body)) => Said::ok(format!("{body}\n")),
        Ok((_, body)) => Said { code: 1, ..Said::die(format!("Error: {body}")) },
        Err(error) => Said { code: 1, ..Said::die(format!("Error: {error}")) },
    }
}

/// `docker exec homeassistant curl … URL`: the status of an answer as Home Assistant's container gets it. Whether the
/// container reaches the server the lab's Home Assistant knows.
pub(super) fn docker(words: &[String]) -> Said {
    let curl = |code: u8, why: String| Said { code, ..Said::die(format!("curl: ({code}) {why}")) };
    let (Some("exec"), Some("homeassistant"), Some("curl"), Some(url)) = (
        words.first().map(String::as_str),
        words.get(1).map(String::as_str),
        words.get(2).map(String::as_str),
        words.last(),
    ) else {
        return Said { code: 1, ..Said::die("docker: the lab has only `exec homeassistant curl … URL`") };
    };
    let Some((address, path)) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')) else {
        return curl(3, "URL rejected".to_owned());
    };
    let home = std::env::var_os(HOME_ASSISTANT).unwrap_or_default();
    let reached = talk(&home.to_string_lossy(), "GET", &format!("/lab/reaches/{address}"));
    if !matches!(reached, Ok((200, _))) {
        return curl(6, format!("Could not resolve host: {address}"));
    }
    match talk(address, "GET", &format!("/{path}")) {
        Ok((status, _)) => Said::ok(status.to_string()),
        Err(error) => curl(7, format!("Failed to connect to {address}: {error}")),
    }
}

fn ask(address: &str, order: &str) -> std::io::Result<(u16, String)> {
    talk(address, "POST", &format!("/lab/core/{order}"))
}

/// One request. The connection ends with the answer.
fn talk(address: &str, method: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ORDER_MAX))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("the answer cannot be understood"))?;
    Ok((status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}
