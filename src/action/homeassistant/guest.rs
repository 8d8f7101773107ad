//! The storage file inside Home Assistant's virtual machine, and its core stopped and started, through the guest agent.
//!
//! Home Assistant OS has neither Python nor jq on its host side, so the file is read and edited in place by a POSIX awk
//! program that parses all of it. What comes out of the guest is never written back into it: text that is no ASCII does not
//! survive `qm guest exec` (facts/migration.md 3). Values go in on stdin, where no process list shows them.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::super::{Call, Fields};
use super::Trouble;
use super::pick::Data;
use crate::saga::Settlement;
use crate::transport::{GuestCommand, GuestEnd, GuestSettled, Redactor, Target, Transport, one_line};

/// Where Home Assistant OS keeps it, seen from its host side.
const PATH: &str = "/mnt/data/supervisor/homeassistant/.storage/core.config_entries";

const AWK: &str = include_str!("storage.awk");
const READ: &str = include_str!("read.sh");
const EDIT: &str = include_str!("edit.sh");

/// The parts of an attempt that run in the guest and change something, each an attempt of its own on the host.
const PARTS: [&str; 3] = ["stop", "edit", "start"];

/// How long a look into the guest may take: the agent answers once a second.
const LOOK_MAX: Duration = Duration::from_secs(40);

/// One virtual machine with Home Assistant in it, and the attempt that works there.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    transport: Transport,
    target: Target,
    vmid: u32,
    path: String,
    attempt: String,
    backup: String,
    redactor: Redactor,
}

/// What the file holds.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) sha256: String,
    /// How long it is.
    pub(super) bytes: u64,
    /// How many entries there are, of all integrations.
    pub(super) entries: usize,
    pub(super) frigate: Vec<StoredEntry>,
}

/// A Frigate entry as it stands in the file.
#[derive(Clone)]
pub(super) struct StoredEntry {
    /// The how-manieth of all entries, from 1.
    pub(super) place: usize,
    pub(super) entry_id: String,
    pub(super) title: String,
    pub(super) data: Data,
    pub(super) disabled: bool,
    /// It has a password, which was not asked for.
    has_password: bool,
}

impl Guest {
    /// The guest that the fields name, if they do.
    ///
    /// # Errors
    /// In words, a field that cannot be read.
    pub(super) fn read_fields(transport: &Transport, call: &Call) -> Result<Option<Self>, String> {
        Self::named(transport, call, ["host", "vmid", "path"])
    }

    /// The guest that the fields with these names name: its host, its number, and the path of the file.
    pub(super) fn named(
        transport: &Transport,
        call: &Call,
        [host, number, path]: [&str; 3],
    ) -> Result<Option<Self>, String> {
        let fields = Fields::new(&call.operation);
        let vmid = match (fields.get(host).is_some(), fields.number(number)?) {
            (false, None) => return Ok(None),
            (true, Some(vmid)) => {
                u32::try_from(vmid).map_err(|_| fields.wrong(number, "the number of a guest"))?
            }
            _ => return Err(format!("`{}` takes `{host}` and `{number}` together", call.operation.name)),
        };
        let file = fields.text(path)?.unwrap_or_else(|| PATH.to_owned());
        if !file.starts_with('/') || file.contains(['\0', '\n']) {
            return Err(fields.wrong(path, "the absolute path of a file"));
        }
        Ok(Some(Self {
            transport: transport.clone(),
            target: fields.target_of(host, &call.places.hosts)?,
            vmid,
            backup: format!("{file}.runner-{}-{}", call.key.run, call.key.step),
            path: file,
            attempt: call.key.to_string(),
            redactor: call.redactor.clone(),
        }))
    }

    /// Where the file as it was before is kept, in the guest.
    pub(super) fn backup(&self) -> &str {
        &self.backup
    }

    /// Proves everything over that an attempt began in the guest.
    pub(super) async fn settle(&self, timeout: Duration) -> Settlement {
        let deadline = Instant::now() + timeout;
        for part in PARTS {
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = format!("{}/{part}", self.attempt);
            let log = self.transport.log(format!("logs/guest/{}.log", attempt.replace('/', "-")));
            let settled =
                self.transport.settle_guest(&self.target, &attempt, self.vmid, &self.redactor, log, left);
            if let GuestSettled::Unproved(reason) = settled.await {
                return Settlement::Unproved { reason: one_line(&self.redactor.text(&reason)) };
            }
        }
        Settlement::Over
    }

    /// What stands in the file, passwords of its Frigate entries included.
    pub(super) async fn stored(&self, deadline: Instant) -> Result<Stored, Trouble> {
        self.read("1", deadline).await
    }

    /// The same without any password: it stays in the guest.
    pub(super) async fn stored_without_passwords(&self, deadline: Instant) -> Result<Stored, Trouble> {
        self.read("", deadline).await
    }

    async fn read(&self, passwords: &str, deadline: Instant) -> Result<Stored, Trouble> {
        let argv = ["sh", "-c", READ, "sh", AWK, &self.path, passwords];
        let out = self.run(None, &argv, None, deadline).await?;
        let text = String::from_utf8_lossy(&out).into_owned();
        let place = format!("`{}` in virtual machine {}", self.path, self.vmid);
        stored(&text).map_err(|why| {
            Trouble::permanent(format!(
                "{place} {why}; it is left as it is. A copy that was made before: `{}`",
                self.backup
            ))
        })
    }

    /// Whether Home Assistant reaches the server from where it runs, in its container, whatever the host reaches.
    pub(super) async fn reaches(&self, url: &str, deadline: Instant) -> Result<(), Trouble> {
        let version = format!("{}/api/version", url.trim_end_matches('/'));
        let argv = [
            "docker",
            "exec",
            "homeassistant",
            "curl",
            "-sS",
            "-k",
            "-o",
            "/dev/null",
            "-m",
            "10",
            "-w",
            "%{http_code}",
            &version,
        ];
        let cannot = |why: &str| {
            Trouble::transient(format!(
                "from inside Home Assistant `{url}` cannot be reached: {why}; nothing was changed. A name must resolve in its \
                 container: an address always does"
            ))
        };
        let out = match self.run(None, &argv, None, deadline).await {
            Ok(out) => out,
            Err(Trouble::Failed { permanent: false, message }) => return Err(cannot(&message)),
            Err(other) => return Err(other),
        };
        match String::from_utf8_lossy(&out).trim() {
            // Where a login is asked for, there is a server too.
            "200" | "401" => Ok(()),
            other => Err(cannot(&format!("it answers with `{}`", one_line(other)))),
        }
    }

    /// Stops the core. It is over when the supervisor says so.
    pub(super) async fn stop(&self, deadline: Instant) -> Result<(), Trouble> {
        self.run(Some("stop"), &["ha", "core", "stop"], None, deadline).await.map(drop)
    }

    /// Starts the core.
    pub(super) async fn start(&self, deadline: Instant) -> Result<(), Trouble> {
        self.run(Some("start"), &["ha", "core", "start"], None, deadline).await.map(drop)
    }

    /// Replaces values of one entry, all at once or not at all, when the file is still the one that was read. The file as it
    /// was is kept beside it.
    pub(super) async fn edit(
        &self,
        read: &Stored,
        entry: &StoredEntry,
        edits: &[(&str, Value)],
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let (place, count) = (entry.place.to_string(), read.entries.to_string());
        let argv = ["sh", "-c", EDIT, "sh", AWK, &self.path, &place, &read.sha256, &self.backup, &count];
        let lines: String =
            edits.iter().map(|(path, value)| format!("{path} {}\n", ascii(&value.to_string()))).collect();
        let out = self.run(Some("edit"), &argv, Some(lines.into_bytes()), deadline).await?;
        let out = String::from_utf8_lossy(&out).into_owned();
        let last = out.lines().last().unwrap_or_default();
        let words = match last.split_once(' ') {
            Some(("sha256", _)) => return Ok(()),
            Some(("refused", "changed")) => {
                return Err(Trouble::transient(format!(
                    "`{}` was changed by somebody else at this moment; it is left as it is",
                    self.path
                )));
            }
            Some(("refused", "backup" | "copy" | "rename")) => {
                "no copy of it could be written: is the disk full?"
            }
            Some(("refused", "edit")) => "not exactly the values that were meant were found in it",
            Some(("refused", "proof")) => "what the edit would make of it is not what was meant",
            _ => "the guest does not say what became of it",
        };
        Err(Trouble::permanent(format!(
            "`{}` in virtual machine {} was not edited: {words}; it is as it was",
            self.path, self.vmid
        )))
    }

    async fn run(
        &self,
        part: Option<&str>,
        argv: &[&str],
        stdin: Option<Vec<u8>>,
        deadline: Instant,
    ) -> Result<Vec<u8>, Trouble> {
        let command = GuestCommand {
            vmid: self.vmid,
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            stdin,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let (end, _) = match part {
            None => {
                let left = left.min(LOOK_MAX);
                self.transport.guest_look(&self.target, &command, &self.redactor, left).await
            }
            Some(part) => {
                let attempt = format!("{}/{part}", self.attempt);
                self.transport
                    .guest_exec(&self.target, &attempt, &command, &self.redactor, None, left, None)
                    .await
            }
        };
        let what = argv.iter().take(3).copied().filter(|word| word.len() < 20).collect::<Vec<_>>().join(" ");
        let there = format!("in virtual machine {}", self.vmid);
        let said = |bytes: &[u8]| one_line(String::from_utf8_lossy(bytes).lines().last().unwrap_or_default());
        match end {
            GuestEnd::Exited { code: 0, out, truncated: false, .. } => Ok(out),
            GuestEnd::Exited { code, out, err, .. } => {
                let said = if err.is_empty() { said(&out) } else { said(&err) };
                Err(Trouble::transient(format!("`{what}` {there} ended with {code}: {said}")))
            }
            GuestEnd::Killed { signal, .. } => {
                Err(Trouble::transient(format!("`{what}` {there} was killed by signal {signal}")))
            }
            GuestEnd::NotStarted { permanent, message } => Err(Trouble::Failed { permanent, message }),
            // A look that nobody heard of changed nothing.
            GuestEnd::Running { message, .. }
            | GuestEnd::Forgotten(message)
            | GuestEnd::Lost(message)
            | GuestEnd::Stopped(message)
                if part.is_none() =>
            {
                Err(Trouble::transient(message))
            }
            GuestEnd::Running { message, .. } => Err(Trouble::Cut { timeout: true, message }),
            GuestEnd::Forgotten(message) | GuestEnd::Lost(message) | GuestEnd::Stopped(message) => {
                Err(Trouble::Cut { timeout: false, message })
            }
        }
    }
}

impl StoredEntry {
    /// Whether the entry has a value that could be replaced.
    pub(super) fn has(&self, path: &str) -> bool {
        match path {
            "data.validate_ssl" => self.data.validate_ssl.is_some(),
            "data.username" => self.data.username.is_some(),
            "data.password" => self.has_password,
            _ => true,
        }
    }
}

/// Reads what `read.sh` says.
fn stored(text: &str) -> Result<Stored, String> {
    let mut read = Stored { sha256: String::new(), bytes: 0, entries: 0, frigate: Vec::new() };
    let mut whole = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["missing"] => return Err("is not there".to_owned()),
            ["bad", why @ ..] => {
                return Err(format!(
                    "is damaged ({}): Home Assistant would start without any entry",
                    why.join(" ")
                ));
            }
            ["bytes", count] => read.bytes = count.parse().unwrap_or(0),
            ["sha256", sum] => read.sha256 = (*sum).to_owned(),
            ["entries", count] => read.entries = count.parse().unwrap_or(0),
            ["frigate", place, id, title, url, ssl, username, password, disabled] => {
                let strange = || "cannot be understood".to_owned();
                let text = |hex: &str| {
                    unhex(hex).map(|value| value.and_then(|value| value.as_str().map(str::to_owned)))
                };
                read.frigate.push(StoredEntry {
                    place: place.parse().map_err(|_| strange())?,
                    entry_id: text(id)?.ok_or_else(strange)?,
                    title: text(title)?.ok_or_else(strange)?,
                    data: Data {
                        url: text(url)?.ok_or_else(strange)?,
                        validate_ssl: unhex(ssl)?.and_then(|flag| flag.as_bool()),
                        username: text(username)?,
                        password: if *password == "+" { None } else { text(password)? },
                    },
                    disabled: unhex(disabled)?.is_some_and(|by| !by.is_null()),
                    has_password: *password != "-",
                });
            }
            ["end"] => whole = true,
            _ => {}
        }
    }
    match whole && read.sha256.len() == 64 {
        true => Ok(read),
        false => Err("could not be read".to_owned()),
    }
}

/// A JSON value that came as hex of its text; `-`: there is none.
fn unhex(hex: &str) -> Result<Option<Value>, String> {
    if hex == "-" {
        return Ok(None);
    }
    let digit = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(digit).collect();
    let value = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    value.map(Some).ok_or_else(|| "cannot be understood".to_owned())
}

/// JSON in ASCII alone: what is sent through several programs arrives as it was.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn shell(script: &str, arguments: &[&str], stdin: &str) -> String {
        let mut child = Command::new("sh")
            .args(["-c", script, "sh", AWK])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn house() -> Value {
        serde_json::json!({ "version": 1, "minor_version": 5, "key": "core.config_entries", "data": { "entries": [
            { "domain": "generic", "entry_id": "g", "title": "Türkamera ✨ \"q\" \\",
              "data": { "url": "http://old:5000", "n": [1, -2.5e3, { "title": "no" }, []] },
              "options": { "data": { "url": "http://old:5000" } } },
            { "data": { "password": "p\"w", "url": "http://old:5000", "username": "u", "validate_ssl": false },
              "domain": "frigate", "entry_id": "f", "title": "öld:5000", "disabled_by": null },
        ] } })
    }

    #[test]
    fn exactly_one_entry_is_edited_and_every_other_byte_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("core.config_entries");
        let (file, backup) = (path.display().to_string(), folder.path().join("b").display().to_string());
        for text in [house().to_string(), serde_json::to_string_pretty(&house()).unwrap() + "\n"] {
            std::fs::write(&path, &text).unwrap();
            drop(std::fs::remove_file(&backup));
            let read = stored(&shell(READ, &[&file, "1"], "")).unwrap();
            assert_eq!((read.entries, read.frigate.len()), (2, 1));
            let entry = &read.frigate[0];
            assert_eq!((entry.place, entry.title.as_str(), entry.disabled), (2, "öld:5000", false));
            assert_eq!(entry.data.password.as_deref(), Some("p\"w"));
            let edits = format!(
                "title {}\ndata.url \"http://new:5000/&\\\\1\"\ndata.validate_ssl true\n",
                ascii("\"nëw ✨\"")
            );
            let place = entry.place.to_string();
            let said = shell(EDIT, &[&file, &place, &read.sha256, &backup, "2"], &edits);
            assert!(said.starts_with("sha256 "), "{said}");
            let mut wanted = house();
            wanted["data"]["entries"][1]["title"] = "nëw ✨".into();
            wanted["data"]["entries"][1]["data"]["url"] = "http://new:5000/&\\1".into();
            wanted["data"]["entries"][1]["data"]["validate_ssl"] = true.into();
            let after = std::fs::read_to_string(&path).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), wanted);
            assert_eq!(std::fs::read_to_string(&backup).unwrap(), text);
            // Read before that edit: compare-and-set.
            let said = shell(EDIT, &[&file, &place, &read.sha256, &backup, "2"], "title \"x\"\n");
            assert_eq!(said, "refused changed\n");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "something is left beside it");
        }
    }

    #[test]
    fn what_is_no_json_is_said_and_never_edited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("core.config_entries");
        let file = path.display().to_string();
        let whole = house().to_string();
        for text in
            ["", "{", &whole[..whole.len() - 1], &format!("{whole}x"), &whole.replace(":5,", ":,5,"), "[]"]
        {
            std::fs::write(&path, text).unwrap();
            let said = stored(&shell(READ, &[&file, "0"], "")).map(|_| ()).unwrap_err();
            assert!(said.contains("is damaged"), "{text}: {said}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(stored(&shell(READ, &[&file, "0"], "")).map(|_| ()).unwrap_err(), "is not there");
        // Values that are not there, a wrong count, a wrong place: refused, and the file is as it was.
        std::fs::write(&path, &whole).unwrap();
        let read = stored(&shell(READ, &[&file, "0"], "")).unwrap();
        assert_eq!(read.frigate[0].data.password, None);
        let backup = folder.path().join("b").display().to_string();
        for (place, count, edits) in
            [("2", "2", "data.nothing 1\n"), ("2", "3", "title \"x\"\n"), ("7", "2", "title \"x\"\n")]
        {
            let said = shell(EDIT, &[&file, place, &read.sha256, &backup, count], edits);
            assert!(said.starts_with("refused "), "{said}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
        }
    }
}
