//! The words that are sent to a host.
//!
//! The remote command line is [`BOOTSTRAP`], a constant: it reads a header from stdin up to a line with a nonce and
//! evaluates it. A header that does not arrive whole is never evaluated. Everything else (the wrapper's text, argv,
//! script, env, stdin, names) travels in the header, so that no value ever stands in a command line on the host
//! (P7); values are quoted for the shell or in `printf %b` form, never spliced.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::Target;
use crate::transport::capture::CAPTURE_MAX;
use crate::transport::launch::{GRACE, Launch, Program};

/// The command line on the host. One line without `!` or `'` inside, so that any login shell takes it.
const BOOTSTRAP: &str = r#"/bin/sh -c 'unset E H L N; N=$(printf "\n."); N=${N%.}; IFS= read -r E && while IFS= read -r L; do if [ "$L" = "$E" ]; then unset L E; eval "$H"; exit; fi; H=$H$L$N; done; exit 255'"#;

/// What runs on the host, with its comments.
const WRAPPER: &str = include_str!("wrapper.sh");

/// The command line for a host.
pub(super) fn command_line(target: &Target) -> String {
    if target.sudo { format!("sudo -n -- {BOOTSTRAP}") } else { BOOTSTRAP.to_owned() }
}

/// What a call of the wrapper is about.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// See [`TransportOptions`](crate::transport::TransportOptions).
    pub(crate) journal: String,
    pub(crate) token: u64,
    /// The attempt; empty for a look.
    pub(crate) attempt: String,
}

/// One call of the wrapper.
#[derive(Debug)]
pub(super) enum Call<'a> {
    Act(&'a Launch),
    Look(&'a Launch),
    Settle(Duration),
    Stop,
}

/// Why a launch cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsendable {
    #[error("`{0}` cannot be the name of an environment variable on a host: only letters, digits and `_`")]
    Variable(String),
    #[error("`{0}` cannot be the name of a program")]
    ProgramName(String),
    #[error("argv, env, script or cwd holds a NUL character")]
    Nul,
}

/// Everything that goes to the host's stdin for this call.
pub(super) fn header(nonce: &str, names: &Names, call: &Call<'_>) -> Result<String, Unsendable> {
    let mut text = String::with_capacity(8 * 1024);
    let seconds = |time: Duration| time.as_millis().div_ceil(1000);
    text.push_str(nonce);
    text.push('\n');
    for line in WRAPPER.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        text.push_str(line);
        text.push('\n');
    }
    set(&mut text, "rn_nonce", nonce)?;
    set(&mut text, "rn_journal", &names.journal)?;
    set(&mut text, "rn_token", &names.token.to_string())?;
    set(&mut text, "rn_id", &names.attempt.replace('/', "."))?;
    set(&mut text, "rn_limit", &(CAPTURE_MAX + 1).to_string())?;
    set(&mut text, "rn_grace", &seconds(GRACE).to_string())?;
    match call {
        Call::Act(launch) => launched(&mut text, "rn_act", launch)?,
        Call::Look(launch) => launched(&mut text, "rn_look", launch)?,
        Call::Settle(wait) => {
            set(&mut text, "rn_wait", &seconds(*wait).to_string())?;
            text.push_str("rn_settle\n");
        }
        Call::Stop => text.push_str("rn_stop\n"),
    }
    text.push_str(nonce);
    text.push('\n');
    Ok(text)
}

fn launched(text: &mut String, entry: &str, launch: &Launch) -> Result<(), Unsendable> {
    set(text, "rn_cwd", launch.cwd.as_deref().unwrap_or_default())?;
    set(text, "rn_has_in", if launch.stdin.is_some() { "1" } else { "" })?;
    set(text, "rn_in", &printf_b(launch.stdin.as_deref().unwrap_or_default()))?;
    environment(text, &launch.env)?;
    let mut content: &[u8] = &[];
    let argv = match &launch.program {
        Program::Argv(argv) => {
            if argv[0].is_empty() || argv[0].starts_with('-') {
                return Err(Unsendable::ProgramName(argv[0].clone()));
            }
            argv.clone()
        }
        Program::Script(script) => vec!["/bin/sh".to_owned(), "-c".to_owned(), script.clone()],
        Program::File(file) => {
            content = file;
            Vec::new()
        }
    };
    set(text, "rn_has_file", if argv.is_empty() { "1" } else { "" })?;
    set(text, "rn_shebang", if content.starts_with(b"#!") { "1" } else { "" })?;
    set(text, "rn_file", &printf_b(content))?;
    set(text, "rn_script", "")?;
    text.push_str(entry);
    for word in &argv {
        text.push(' ');
        text.push_str(&quote(word)?);
    }
    text.push('\n');
    Ok(())
}

/// A function that exports the environment with builtins alone.
fn environment(text: &mut String, env: &BTreeMap<String, String>) -> Result<(), Unsendable> {
    text.push_str("rn_env() {\n:\n");
    for (name, value) in env {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return Err(Unsendable::Variable(name.clone()));
        }
        writeln!(text, "export {name}={}", quote(value)?).expect("writing into a string does not fail");
    }
    text.push_str("}\n");
    Ok(())
}

fn set(text: &mut String, name: &str, value: &str) -> Result<(), Unsendable> {
    writeln!(text, "{name}={}", quote(value)?).expect("writing into a string does not fail");
    Ok(())
}

/// Quotes a word for a POSIX shell.
fn quote(word: &str) -> Result<String, Unsendable> {
    if word.contains('\0') {
        return Err(Unsendable::Nul);
    }
    Ok(format!("'{}'", word.replace('\'', "'\\''")))
}

/// Any bytes on one line of plain characters, as `printf %b` reads them (POSIX: `\0ooo`).
fn printf_b(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => write!(text, "\\0{byte:03o}").expect("writing into a string does not fail"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use crate::transport::process::{
        self,
        tests::{Started, without_its_first_thread},
    };

    /// Sends a header through the bootstrap as a login shell would run it.
    fn run(shell: &str, header: &str) -> std::process::Output {
        let bootstrap = BOOTSTRAP.replace("/bin/sh", shell);
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new("/bin/sh")
            .args(["-c", &bootstrap])
            .env("HOME", home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(header.as_bytes()).unwrap();
        let output =
            std::thread::scope(|scope| scope.spawn(|| child.wait_with_output().unwrap()).join().unwrap());
        drop(stdin);
        output
    }

    fn names() -> Names {
        Names { journal: "j".to_owned(), token: 1, attempt: "r-1/s/forward/1".to_owned() }
    }

    #[test]
    fn any_value_arrives_as_it_was() {
        let odd = "a'b\"c $HOME `id` \\n \n\n !x Á ü\u{81} *";
        let launch = Launch {
            program: Program::Argv(vec![
                "/bin/sh".into(),
                "-c".into(),
                "printf %s \"$1$V\"; cat".into(),
                "x".into(),
                odd.into(),
            ]),
            env: BTreeMap::from([("V".to_owned(), odd.to_owned())]),
            cwd: Some("/".to_owned()),
            stdin: Some(format!("{odd}\0\x01end\\").into_bytes()),
        };
        for shell in shells() {
            for call in [Call::Act(&launch), Call::Look(&launch)] {
                let output = run(shell, &header("0123abcd", &names(), &call).unwrap());
                let expected = format!(
                    "\u{1e}runner 0123abcd begin\n{odd}{odd}{odd}\0\x01end\\\u{1e}runner 0123abcd end 0\n"
                );
                assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{call:?} {output:?}");
            }
        }
    }

    /// The shells that hosts have.
    fn shells() -> impl Iterator<Item = &'static str> {
        ["/bin/sh", "/bin/bash", "/bin/bash --posix", "/bin/busybox sh"].into_iter().filter(|shell| {
            let there = Path::new(shell.split(' ').next().unwrap()).exists();
            if !there {
                crate::transport::skip::skip(&format!("there is no {shell}: apt-get install busybox"));
            }
            there
        })
    }

    /// A host on which an attempt has begun, its wrapper is gone, and the command is this process.
    fn left(home: &Path, pid: u32, start: u64) {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let attempt = home.join(".cache/runner/j/attempts").join(names().attempt.replace('/', "."));
        fs::create_dir_all(&attempt).unwrap();
        // No process has this pid: it is above the highest (proc_sys_kernel(5), `pid_max`).
        fs::write(attempt.join("wrapper"), format!("{} 4194305 1 89abcdef\n", boot.trim())).unwrap();
        fs::write(attempt.join("pid"), format!("{pid} {start}\n")).unwrap();
    }

    /// What the wrapper says of it, where it has that many seconds to end.
    fn settled(mut shell: Command, home: &Path, grace: &str) -> String {
        let header = header("0123abcd", &names(), &Call::Settle(Duration::ZERO)).unwrap();
        let header = header.replace("rn_grace='5'", &format!("rn_grace='{grace}'"));
        let mut child = shell.env("HOME", home).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(header.as_bytes()).unwrap();
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned()
    }

    /// It has to be ended before it is over.
    #[test]
    fn an_attempt_whose_first_thread_has_ended_is_not_over() {
        for shell in shells() {
            let Some(mut child) = without_its_first_thread() else { return };
            let pid = child.0.id();
            let start = process::stat(pid).unwrap().unwrap().start;
            let home = tempfile::tempdir().unwrap();
            left(home.path(), pid, start);
            let mut bootstrap = Command::new("/bin/sh");
            bootstrap.args(["-c", &BOOTSTRAP.replace("/bin/sh", shell)]);
            let said = settled(bootstrap, home.path(), "5");
            assert!(child.0.try_wait().unwrap().is_some(), "{shell}: it runs, and is said to be {said}");
            assert!(said.contains("over gone"), "{shell}: {said}");
        }
    }

    /// Where `/proc` shows everybody only what is theirs, and the command is somebody else's by now.
    #[test]
    fn an_attempt_that_is_hidden_is_not_over() {
        let hidden = "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"";
        let alone = |argv: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", hidden, "sh"]).args(argv);
            command
        };
        if !alone(&["true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return crate::transport::skip::skip("nothing can be hidden here (needs root)");
        }
        let child = Started(Command::new("sleep").arg("1000").spawn().unwrap());
        for shell in shells() {
            let home = tempfile::tempdir().unwrap();
            left(home.path(), child.0.id(), 1);
            for owned in [".cache/runner", ".cache/runner/j", ".cache/runner/j/attempts", ""] {
                std::os::unix::fs::chown(home.path().join(owned), Some(65534), None).unwrap();
            }
            let said =
                settled(alone(&["/bin/sh", "-c", &BOOTSTRAP.replace("/bin/sh", shell)]), home.path(), "0");
            assert!(said.contains(&format!("stuck {}", child.0.id())), "{shell}: {said}");
        }
    }

    #[test]
    fn a_header_that_is_cut_does_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("touched");
        let launch = Launch {
            program: Program::Argv(vec!["touch".to_owned(), file.to_string_lossy().into_owned()]),
            env: BTreeMap::new(),
            cwd: None,
            stdin: None,
        };
        let whole = header("0123abcd", &names(), &Call::Act(&launch)).unwrap();
        let mut child =
            Command::new("/bin/sh").args(["-c", BOOTSTRAP]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&whole.as_bytes()[..whole.len() - 1 - 8]).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(255));
        assert!(!file.exists());
    }

    #[test]
    fn the_command_line_is_constant_and_plain() {
        assert_eq!(BOOTSTRAP.matches('\'').count(), 2);
        assert!(!BOOTSTRAP.contains('!') && !BOOTSTRAP.contains('\n'));
    }
}
