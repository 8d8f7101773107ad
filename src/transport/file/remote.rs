//! Files on hosts, with what every host has: sh, ls, cat, head, mv, chmod and sync.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{FileError, FilePlace, Found, Present, Write};
use crate::transport::capture::{Capture, Seen};
use crate::transport::launch::{End, Launch, Program, Report};
use crate::transport::redact::Redactor;
use crate::transport::stop::Stop;
use crate::transport::{Target, Transport};

const LOOK: &str = include_str!("look.sh");
const CHANGE: &str = include_str!("change.sh");

/// Exit status of both scripts: it cannot be, whatever is tried.
const NEVER: i32 = 3;
/// Exit status of both scripts: it may go better.
const AGAIN: i32 = 4;

/// What a look says before the content, in bytes at most: folders that are missing, and one line of `ls`.
const HEAD_MAX: usize = 64 * 1024;

pub(super) async fn look(
    transport: &Transport,
    host: &Target,
    place: &FilePlace,
    timeout: Duration,
) -> Result<Found, FileError> {
    let most = usize::try_from(place.most()).unwrap_or(usize::MAX);
    let env = [("P", place.path.clone()), ("N", (most + 1).to_string())];
    let launch = launch(LOOK, env, None);
    let capture = Capture::with_room(&Redactor::default(), None, most + 1 + HEAD_MAX);
    let Report { end, seen } = transport.look_on(host, &launch, capture, timeout).await;
    match end {
        End::Exit(0) => read(place, &seen.stdout),
        End::Exit(status) => Err(place.error(status == NEVER, &last_words(&seen))),
        End::NotStarted { permanent, message } => Err(FileError { permanent, message }),
        End::TimedOut(message) | End::Stopped(message) | End::Lost(message) => {
            Err(FileError { permanent: false, message })
        }
        End::Signal(signal) => Err(place.error(false, &format!("the look was killed by signal {signal}"))),
    }
}

#[expect(clippy::too_many_arguments, reason = "one call of the wrapper with all that belongs to it")]
pub(super) async fn change(
    transport: &Transport,
    host: &Target,
    place: &FilePlace,
    attempt: &str,
    write: Write,
    capture: Capture,
    timeout: Duration,
    stop: Option<Stop>,
) -> Report {
    let above = place.path.rsplit_once('/').map_or("", |(above, _)| above);
    let flag = |is: bool| if is { "1".to_owned() } else { String::new() };
    let owner = write.file.as_ref().filter(|_| write.keep_owner);
    let env = [
        ("P", place.path.clone()),
        ("T", format!("{above}/{}", write.temporary)),
        ("M", write.file.as_ref().map_or_else(String::new, |file| format!("{:04o}", file.mode))),
        ("O", owner.map_or_else(String::new, |file| format!("{}:{}", file.uid, file.gid))),
        ("W", flag(write.file.is_some())),
        ("D", flag(write.parents)),
        ("F", write.folders.join("\n")),
    ];
    let launch = launch(CHANGE, env, write.file.map(|file| file.content));
    let report = transport.act_on(host, attempt, &launch, capture, timeout, stop).await;
    told(place, report)
}

/// A report of the change with its exit status turned into words.
pub(crate) fn told(place: &FilePlace, report: Report) -> Report {
    match report.end {
        End::Exit(status @ (NEVER | AGAIN)) => {
            let FileError { permanent, message } = place.error(status == NEVER, &last_words(&report.seen));
            Report { end: End::NotStarted { permanent, message }, seen: report.seen }
        }
        _ => report,
    }
}

fn launch<const N: usize>(text: &str, env: [(&str, String); N], stdin: Option<Vec<u8>>) -> Launch {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let script: String = lines.flat_map(|line| [line, "\n"]).collect();
    let env: BTreeMap<String, String> = env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    Launch { program: Program::Script(script), env, cwd: Some("/".to_owned()), stdin }
}

fn last_words(seen: &Seen) -> String {
    let last = seen.tail.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.unwrap_or("the shell there says nothing").to_owned()
}

/// Reads what the look said.
fn read(place: &FilePlace, mut said: &[u8]) -> Result<Found, FileError> {
    let strange = || place.error(false, "what the host says of it cannot be understood");
    let mut missing = Vec::new();
    loop {
        let end = said.iter().position(|&byte| byte == b'\n').ok_or_else(strange)?;
        let line = String::from_utf8_lossy(&said[..end]).into_owned();
        said = &said[end + 1..];
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "missing" => missing.push(rest.to_owned()),
            "nothing" => return Ok(Found::Nothing { missing }),
            "link" => {
                return Err(place.error(true, "it is a symbolic link: name the file that it leads to"));
            }
            "folder" => return Err(place.error(true, "it is a folder: name a file")),
            "special" => return Err(place.error(true, "it is a device, socket or pipe: name a file")),
            "file" => {
                if said.len() as u64 > place.most() {
                    return Err(place.too_large());
                }
                let mut fields = rest.split_ascii_whitespace();
                let mode = fields.next().and_then(mode_of).ok_or_else(strange)?;
                let mut number =
                    |skip| fields.nth(skip).and_then(|text| text.parse().ok()).ok_or_else(strange);
                let (uid, gid) = (number(1)?, number(0)?);
                return Ok(Found::File(Present { content: said.to_vec(), mode, uid, gid }));
            }
            _ => return Err(strange()),
        }
    }
}

/// `-rwsr-x--T` as `ls -l` writes it (POSIX.1-2017, `ls`, "long format"), as bits.
fn mode_of(text: &str) -> Option<u32> {
    let letters: Vec<u8> = text.bytes().skip(1).take(9).collect();
    if letters.len() < 9 {
        return None;
    }
    let mut mode = 0;
    for (group, triple) in letters.chunks(3).enumerate() {
        let shift = 6 - 3 * group;
        let special = 0o4000 >> group;
        mode |= u32::from(triple[0] == b'r') << (shift + 2);
        mode |= u32::from(triple[1] == b'w') << (shift + 1);
        match triple[2] {
            b'x' => mode |= 1 << shift,
            b's' | b't' => mode |= 1 << shift | special,
            b'S' | b'T' => mode |= special,
            b'-' => {}
            _ => return None,
        }
    }
    Some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read_as_ls_writes_them() {
        for (text, mode) in [
            ("-rw-r--r--", Some(0o644)),
            ("-rwsr-x--T", Some(0o5750)),
            ("-rwxrwsrwt.", Some(0o3777)),
            ("-rwS------+", Some(0o4600)),
            ("----------", Some(0)),
            ("-rw", None),
            ("-rw-r--r-?", None),
        ] {
            assert_eq!(mode_of(text), mode, "{text}");
        }
    }

    #[test]
    fn what_a_host_says_is_read() {
        let place = FilePlace { host: None, path: "/a/b/c".to_owned() };
        assert_eq!(
            read(&place, b"missing /a/b\nmissing /a\nnothing\n"),
            Ok(Found::Nothing { missing: vec!["/a/b".to_owned(), "/a".to_owned()] })
        );
        let file = Present { content: b"x\ny\0\n".to_vec(), mode: 0o640, uid: 33, gid: 7 };
        let said = b"file -rw-r----- 1 33 7 5 Jan  1 10:00 /a/b/c\nx\ny\0\n";
        assert_eq!(read(&place, said), Ok(Found::File(file)));
        for said in [&b"link\n"[..], b"folder\n", b"special\n"] {
            assert!(read(&place, said).unwrap_err().permanent);
        }
        for said in [&b""[..], b"file\n", b"what\n", b"file -rw-r----- 1 x 7\n"] {
            assert!(!read(&place, said).unwrap_err().permanent);
        }
    }
}
